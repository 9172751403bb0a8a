//! The driver sections of Backends and Targets, and the checks of Backends.

use super::document::{BackendBody, Pool, PoolPlace, Reference};
use crate::driver::settings as drivers;
use crate::manifest::fields::{At, Fields};
use crate::manifest::read;
use crate::manifest::text::quote;
use crate::model::table::{Setting, Settings};
use crate::model::{BackendSpec, DriverTable, Kind, Meta};
use crate::text::closest;

/// A driver's section.
pub(super) struct Section<'a> {
    table: Option<&'static DriverTable>,
    /// Its place, if it is written.
    at: Option<At<'a>>,
    /// `None` if the section has a problem, or is required and missing. Of a driver without a table: as written.
    pub(super) settings: Option<Settings>,
}

/// Reads the section of the driver, and reports the sections of other drivers and all unknown fields.
pub(super) fn section<'a>(
    mut fields: Fields<'a>,
    kind: Kind,
    driver: Option<&str>,
    references: &mut Vec<Reference>,
) -> Section<'a> {
    let mut read = Section { table: None, at: None, settings: None };
    let written = driver.unwrap_or_default();
    let meant = driver.and_then(|driver| meant_driver(&fields, kind, driver));
    let driver = meant.or(driver);
    for table in drivers::tables(kind) {
        let at = fields.get(table.name);
        match (driver, at) {
            (Some(driver), _) if driver == table.name => {
                // The section of a misspelt driver is misspelt like it, or will be told as missing once the driver is right.
                let same = meant.and_then(|_| fields.peek(written));
                read = own(table, at.or(same), meant.is_some(), &fields, references);
            }
            (Some(driver), Some(at)) => {
                at.wrong(
                    format_args!("is not the section of the driver {driver}"),
                    format!("write `driver: {}`, or remove `{0}`", table.name),
                );
            }
            (_, None) | (None, _) => {}
        }
    }
    if let (Some(driver), None) = (driver, read.table) {
        // Only such a driver knows its fields; the section must at least be a map.
        let at = meant.and_then(|meant| fields.get(meant)).or_else(|| fields.peek(driver));
        read.settings = match at {
            Some(at) => read::written_map(at),
            None => Some(Settings::default()),
        };
    }
    fields.finish_except(written);
    read
}

/// Drivers of Backends that are planned, and have no table yet. Their names can be misspelt, too.
const PLANNED: [&str; 4] = ["glusterfs", "lvm", "nfs", "sheepdog"];

/// Names of other storage that resemble the name of a driver.
const NOT_MISSPELT: [&str; 5] = ["afs", "drbd", "nbd", "xfs", "zfs"];

/// Reports a misspelt driver. Returns the one that was meant. A driver that this version does not have is no mistake: its objects are held.
fn meant_driver(fields: &Fields<'_>, kind: Kind, driver: &str) -> Option<&'static str> {
    let meant = misspelt(kind, driver)?;
    let at = fields.peek("driver")?;
    at.wrong(format_args!("is {}, which is not a driver", quote(driver)), format!("did you mean `driver: {meant}`?"));
    Some(meant)
}

/// Returns the driver that a name is probably a typing error of.
fn misspelt(kind: Kind, driver: &str) -> Option<&'static str> {
    let planned = PLANNED.into_iter().chain(["ceph"]).filter(|_| kind == Kind::Backend);
    let names: Vec<&str> = drivers::tables(kind).map(|table| table.name).chain(planned).collect();
    if names.contains(&driver) || NOT_MISSPELT.contains(&driver) {
        return None;
    }
    // The driver for Ceph is that of its block devices.
    closest(driver, names).map(|name| if name == "ceph" { "rbd" } else { name })
}

/// Reads the section of a driver. `is_meant`: the driver is misspelt, so a missing section is no problem of its own.
fn own<'a>(
    table: &'static DriverTable,
    at: Option<At<'a>>,
    is_meant: bool,
    spec: &Fields<'_>,
    references: &mut Vec<Reference>,
) -> Section<'a> {
    let settings = match (at, table.required) {
        (Some(at), _) => read::map(at, &table.settings, references),
        (None, Some(hint)) => {
            if !is_meant {
                spec.at().missing(table.name, hint);
            }
            None
        }
        (None, None) => Some(table.settings.defaults()),
    };
    Section { table: Some(table), at, settings }
}

/// `kind: Backend`.
pub(super) fn backend(
    fields: Fields<'_>,
    mut values: Settings,
    meta: Option<Meta>,
    references: &mut Vec<Reference>,
) -> Option<BackendBody> {
    let driver_at = fields.peek("driver");
    let driver = match values.take("driver") {
        Some(Setting::Text(driver)) => Some(driver),
        _ => None,
    };
    let overcommit_written = fields.peek("overcommit").is_some();
    let Section { table, at, settings } = section(fields, Kind::Backend, driver.as_deref(), references);
    let driver = driver?;
    let mut spec = BackendSpec::from_values(&mut values, meta?, drivers::config(&driver, settings?))?;
    if !overcommit_written {
        spec.overcommit = drivers::overcommit(&driver);
    }
    let pool = at.zip(table).and_then(|(at, table)| pool(at, table, &spec));
    Some(BackendBody { spec, driver_span: driver_at?.span(), pool })
}

/// Returns the pool that a section names, if it names one.
fn pool(section: At<'_>, table: &DriverTable, spec: &BackendSpec) -> Option<Pool> {
    let written = section.fields(|_| Vec::new())?;
    let mut keys = table.settings.all().filter(|field| field.is_key);
    let span = keys.find_map(|field| written.peek(field.name))?.span();
    let place = match table.pool(&spec.config.settings).as_slice() {
        [Some(Setting::Path(path))] if spec.via.is_empty() => PoolPlace::Path(path.clone()),
        values => {
            let values = values.iter().map(|value| value.map(Setting::shown).unwrap_or_default());
            PoolPlace::Other {
                via: spec.via.clone(),
                key: std::iter::once(table.name.to_owned()).chain(values).collect(),
            }
        }
    };
    Some(Pool { span, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_driver_that_exists_elsewhere_is_a_misspelt_one() {
        let elsewhere = [
            "lvm",
            "xfs",
            "nfs",
            "glusterfs",
            "sheepdog",
            "lio",
            "nvmet",
            "nbd",
            "drbd",
            "cinder",
            "csi",
            "process",
            "set",
            "tgt",
            "zfs",
            "btrfs",
            "ceph",
            "iscsi",
            "nvme",
            "smb",
            "scst",
            "linstor",
            "longhorn",
            "vhost",
        ];
        for driver in elsewhere {
            assert_eq!(misspelt(Kind::Backend, driver), None, "{driver}");
        }
        for driver in ["tgt", "lio", "scst", "nvmet", "iet", "nbd", "set", "spdk"] {
            assert_eq!(misspelt(Kind::Target, driver), None, "{driver}");
        }
        assert_eq!(
            ["locla", "smi", "rdb", "cpeh", "lmv", "lvmm", "nsf", "glusterf"].map(|driver| misspelt(
                Kind::Backend,
                driver
            )
            .unwrap_or_default()),
            ["local", "sim", "rbd", "rbd", "lvm", "lvm", "nfs", "glusterfs"]
        );
    }
}
