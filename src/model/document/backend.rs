//! `kind: Backend`, and what a driver adds to it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Meta;
use crate::model::table::{
    Complaint, DocumentTable, FieldCheck, FieldForm, FieldRule, FieldTable, FieldValue, Setting, Settings, Text, fields,
};
use crate::model::{Kind, Percent, Seconds, Size};

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
#[serde(from = "StoredConfig", into = "StoredConfig")]
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

/// As saved plans hold it: `local` and `sim` in the form that they had while the model knew each driver's settings, others as values.
#[derive(Clone, Serialize, Deserialize)]
enum StoredConfig {
    Local { path: PathBuf, create: bool },
    Sim { path: Option<PathBuf>, seed: u64, capacity: Option<Size>, faults: BTreeMap<String, Percent> },
    Unbuilt { driver: String },
    Driver { driver: String, settings: Settings, place: String },
}

/// The faults of `sim`: as stored, and in manifests.
const FAULTS: [(&str, &str); 8] = [
    ("error", "error"),
    ("lost_reply", "lostReply"),
    ("half", "half"),
    ("stale", "stale"),
    ("cut", "cut"),
    ("slow", "slow"),
    ("hang", "hang"),
    ("lie", "lie"),
];

impl From<StoredConfig> for DriverConfig {
    fn from(stored: StoredConfig) -> Self {
        let built = |driver: &str, place: Option<&PathBuf>, settings| Self {
            driver: driver.to_owned(),
            place: place.map_or("memory".to_owned(), |path| path.display().to_string()),
            settings,
            built: true,
        };
        match stored {
            StoredConfig::Local { path, create } => {
                let settings = Settings::default().with("path", path.to_value()).with("create", create.to_value());
                built("local", Some(&path), settings)
            }
            StoredConfig::Sim { path, seed, capacity, faults } => {
                let rates = FAULTS.iter().fold(Settings::default(), |rates, (stored, name)| {
                    rates.with(name, faults.get(*stored).filter(|rate| rate.0 > 0).and_then(Percent::to_value))
                });
                let settings = Settings::default().with("path", path.to_value()).with("seed", seed.to_value());
                let faults = (rates != Settings::default()).then_some(Setting::Map(rates));
                built("sim", path.as_ref(), settings.with("capacity", capacity.to_value()).with("faults", faults))
            }
            StoredConfig::Unbuilt { driver } => Self::unbuilt(driver),
            StoredConfig::Driver { driver, settings, place } => Self { driver, settings, place, built: true },
        }
    }
}

impl From<DriverConfig> for StoredConfig {
    fn from(config: DriverConfig) -> Self {
        if !config.built {
            return Self::Unbuilt { driver: config.driver };
        }
        let mut left = config.settings.clone();
        let old = match config.driver.as_str() {
            "local" => local(&mut left),
            "sim" => sim(&mut left),
            _ => None,
        };
        let DriverConfig { driver, settings, place, built: _ } = config;
        old.unwrap_or(Self::Driver { driver, settings, place })
    }
}

fn local(settings: &mut Settings) -> Option<StoredConfig> {
    let path = PathBuf::from_field(settings.take("path"))?;
    Some(StoredConfig::Local { path, create: bool::from_field(settings.take("create"))? })
}

fn sim(settings: &mut Settings) -> Option<StoredConfig> {
    let mut rates = match settings.take("faults") {
        Some(Setting::Map(rates)) => rates,
        _ => Settings::default(),
    };
    let faults = FAULTS.iter().map(|(stored, name)| {
        let rate = Option::<Percent>::from_field(rates.take(name))?.unwrap_or(Percent(0));
        Some(((*stored).to_owned(), rate))
    });
    Some(StoredConfig::Sim {
        faults: faults.collect::<Option<_>>()?,
        path: FieldValue::from_field(settings.take("path"))?,
        seed: FieldValue::from_field(settings.take("seed"))?,
        capacity: FieldValue::from_field(settings.take("capacity"))?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_driver_is_stored_as_it_was_before_there_were_tables() {
        for (text, driver, place, settings) in [
            (
                json!({"Local": {"path": "/srv/pool", "create": true}}),
                "local",
                "/srv/pool",
                json!({"path": "/srv/pool", "create": true}),
            ),
            (
                json!({"Sim": {"path": null, "seed": 7, "capacity": 4096, "faults": {"error": 10, "lost_reply": 5, "half": 0,
                    "stale": 0, "cut": 0, "slow": 0, "hang": 0, "lie": 0}}}),
                "sim",
                "memory",
                json!({"seed": 7, "capacity": 4096, "faults": {"error": "10%", "lostReply": "5%"}}),
            ),
            (json!({"Unbuilt": {"driver": "rbd"}}), "rbd", "rbd", json!({})),
        ] {
            let config: DriverConfig = serde_json::from_value(text.clone()).unwrap();
            assert_eq!((config.driver(), config.place().as_str()), (driver, place));
            assert_eq!((config.is_built(), config.settings.json()), (driver != "rbd", settings));
            assert_eq!(serde_json::to_value(&config).unwrap(), text);
        }
    }
}
