//! `kind: Backend`, and the configuration of its driver.

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
    /// A pool of storage, and how its driver is called.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct BackendSpec("BackendSpec") {
        given {
            /// `metadata`.
            meta: Meta,
            /// The driver and its section.
            config: DriverConfig,
        }
        /// Maximum number of concurrent calls.
        "concurrency" => concurrency: NonZeroU32 = FieldRule::default(FieldForm::Whole { min: 1, max: 1024 }, "8"),
        /// Time limit of one call.
        "timeout" => timeout: Seconds = FieldRule::default(FieldForm::Duration { min: 1 }, "30s"),
        /// Percentage of the capacity above which nothing is created or grown.
        "maxFill" => max_fill: Percent = FieldRule::default(FieldForm::Share { min: 1, max: 100 }, "90%"),
        /// Provisioned bytes of thin volumes, as a multiple of the capacity.
        "overcommit" => overcommit: Option<Percent>, with Overcommit = FieldRule::optional(FieldForm::Factor),
        /// Runs the driver elsewhere, over the standard streams of this command, like [ssh, storage-1].
        "via" => via: Vec<String> =
            FieldRule::optional(FieldForm::List { of: &FieldForm::Text(Text::line(4096)), min: 1, max: 64 }),
    }
    checked [
        FieldRule::required("write `driver: local`, or another driver", FieldForm::Text(Text::of(is_driver))).named(
            "driver",
            "local, sim, rbd, lvm, … The objects of a driver that this version does not have are held as Unsupported.",
        ),
    ]
}

impl BackendSpec {
    /// Whether calls reach the same pool in the same way as under `other`, so that a failure there is one here.
    pub fn is_reached_like(&self, other: &BackendSpec) -> bool {
        self.config == other.config && self.via == other.via && self.timeout == other.timeout
    }
}

/// Stores a factor as a percentage.
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

/// The settings that manifests can give to a driver.
#[derive(Debug, Clone, Copy)]
pub struct DriverTable {
    /// The kind of documents that use the driver: Backend or Target.
    pub kind: Kind,
    /// The name in `spec.driver`, and of the section.
    pub name: &'static str,
    /// The fields of its section.
    pub settings: FieldTable,
    /// The hint if the section is missing; `None` if it is optional.
    pub required: Option<&'static str>,
    /// Whether it requires a Stack.
    pub needs_stack: bool,
    /// The default of `overcommit`; `None`: no limit.
    pub overcommit: Option<Percent>,
    /// Where the pool is, if no key field is written.
    pub place: &'static str,
}

impl DriverTable {
    /// Returns the key fields of these settings, which identify the pool, in order.
    pub fn pool<'v>(&self, settings: &'v Settings) -> Vec<Option<&'v Setting>> {
        self.settings.all().filter(|field| field.is_key).map(|field| settings.get(field.name)).collect()
    }

    /// Returns the configuration of a Backend with this driver.
    pub fn config(&self, settings: Settings, implemented: bool) -> DriverConfig {
        let keys: Vec<String> = self.pool(&settings).into_iter().flatten().map(Setting::shown).collect();
        let place = match (implemented, keys.is_empty()) {
            (false, _) => self.name.to_owned(),
            (true, true) => self.place.to_owned(),
            (true, false) => keys.join(" "),
        };
        DriverConfig { driver: self.name.to_owned(), settings, place, implemented }
    }
}

/// `Backend.spec.driver` with its section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverConfig {
    driver: String,
    /// The section, checked with the table of the driver, with its defaults. Of a driver that this version does not have: as written, but
    /// for what may be a secret, and with relative paths as they are, since nothing tells what is a path.
    pub settings: Settings,
    place: String,
    #[serde(rename = "built")]
    implemented: bool,
}

impl DriverConfig {
    /// Returns the configuration of a driver that this version does not have. Its objects are Held(Unsupported).
    pub fn unimplemented(driver: String, settings: Settings) -> Self {
        Self { place: driver.clone(), driver, settings, implemented: false }
    }

    /// Returns the name in `spec.driver`.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Whether this version has the driver.
    pub fn is_implemented(&self) -> bool {
        self.implemented
    }

    /// Returns where the pool is, for people. Two Backends with the same place certainly have the same pool.
    pub fn place(&self) -> String {
        self.place.clone()
    }
}
