//! `kind: Backend`, and what a driver adds to it.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::Meta;
use crate::model::table::{
    Complaint, DocumentTable, FieldCheck, FieldForm, FieldRule, FieldTable, Setting, Settings, Text, fields,
};
use crate::model::{Kind, Percent, Seconds};

pub(super) const BACKEND: DocumentTable = DocumentTable {
    doc: "A pool of storage behind a driver.",
    spec: &BackendSpec::TABLE,
    example: ("fast", r#"{"driver": "local", "local": {"path": "../pool", "create": true}}"#),
};

fields! {
    /// A pool of storage and how it is talked to.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct BackendSpec("BackendSpec") {
        given {
            /// `metadata`.
            meta: Meta,
            /// The driver and its section.
            config: DriverConfig,
        }
        /// Calls in flight at once.
        "concurrency" => concurrency: NonZeroU32 = FieldRule::default(FieldForm::Whole { min: 1, max: 1024 }, "8"),
        /// Of one call.
        "timeout" => timeout: Seconds = FieldRule::default(FieldForm::Duration { min: 1 }, "30s"),
        /// Share of the capacity past which nothing is created or grown.
        "maxFill" => max_fill: Percent = FieldRule::default(FieldForm::Share { min: 1, max: 100 }, "90%"),
        /// Provisioned bytes by capacity, for thin volumes.
        "overcommit" => overcommit: Option<Percent>, with Overcommit = FieldRule::optional(FieldForm::Factor),
        /// Runs the driver elsewhere, over this command's standard streams, like [ssh, storage-1].
        "via" => via: Vec<String> =
            FieldRule::optional(FieldForm::List { of: &FieldForm::Text(Text::line(4096)), min: 1, max: 64 }),
    }
    checked [
        FieldRule::required("write `driver: local`, or another driver", FieldForm::Text(Text::of(is_driver))).named(
            "driver",
            "local, sim, rbd, lvm, … One that this Kiln does not have: what is declared on it is held as Unsupported.",
        ),
    ]
}

impl BackendSpec {
    /// Whether a call reaches the same thing in the same way as under `other`: what failed there would fail here.
    pub fn is_reached_like(&self, other: &BackendSpec) -> bool {
        self.config == other.config && self.via == other.via && self.timeout == other.timeout
    }
}

/// A factor is kept as a share.
struct Overcommit;

impl Overcommit {
    #[expect(clippy::option_option, reason = "a field that may not be written, of a form that its table excludes")]
    fn read(value: Option<Setting>) -> Option<Option<Percent>> {
        match value {
            None => Some(None),
            Some(Setting::Factor(share)) => Some(Some(share)),
            Some(_) => None,
        }
    }

    fn write(share: &Option<Percent>) -> Option<Setting> {
        share.map(Setting::Factor)
    }
}

pub(super) fn is_driver(text: &str) -> FieldCheck {
    let fits = text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
    Complaint::unless(fits, "is {}, which is not the name of a driver", "for example local, sim or rbd")
}

/// What manifests may say to a driver.
#[derive(Debug, Clone, Copy)]
pub struct DriverTable {
    /// Of the documents that it is a driver for: Backend or Target.
    pub kind: Kind,
    /// As in `spec.driver`; its section has the same name.
    pub name: &'static str,
    /// The fields of its section.
    pub settings: FieldTable,
    /// What to write where the section is missing, if it must be there.
    pub required: Option<&'static str>,
    /// Whether it is for people with a Stack only.
    pub needs_stack: bool,
    /// Provisioned bytes by capacity where nothing is written; `None`: without limit.
    pub overcommit: Option<Percent>,
    /// Where the pool is said to be if no key field is written.
    pub place: &'static str,
}

impl DriverTable {
    /// Where the pool of these settings is, by the fields that say it, in their order.
    pub fn pool<'v>(&self, settings: &'v Settings) -> Vec<Option<&'v Setting>> {
        self.settings.all().filter(|field| field.is_key).map(|field| settings.get(field.name)).collect()
    }

    /// The settings of a Backend with this driver.
    pub fn config(&self, settings: Settings, built: bool) -> DriverConfig {
        let keys: Vec<String> = self.pool(&settings).into_iter().flatten().map(Setting::shown).collect();
        let place = match (built, keys.is_empty()) {
            (false, _) => self.name.to_owned(),
            (true, true) => self.place.to_owned(),
            (true, false) => keys.join(" "),
        };
        DriverConfig { driver: self.name.to_owned(), settings, place, built }
    }
}

/// `Backend.spec.driver` with its section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverConfig {
    driver: String,
    /// The section, checked by the driver's table, with its defaults.
    pub settings: Settings,
    place: String,
    built: bool,
}

impl DriverConfig {
    /// A driver that this Kiln does not have: its objects are Held(Unsupported), and its settings are not kept.
    pub fn unbuilt(driver: String) -> Self {
        Self { place: driver.clone(), driver, settings: Settings::default(), built: false }
    }

    /// As in `spec.driver`.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Whether this Kiln has the driver.
    pub fn is_built(&self) -> bool {
        self.built
    }

    /// Where the pool is, in words for people; equal for two Backends that certainly point to one pool.
    pub fn place(&self) -> String {
        self.place.clone()
    }
}
