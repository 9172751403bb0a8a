//! The settings tables of the drivers. No function here calls a driver.

use super::registry::{DRIVERS, find};
use crate::model::table::{FieldForm, FieldTable, Settings};
use crate::model::{DriverConfig, DriverTable, Kind, Percent};

/// Returns the tables of the drivers for documents of a kind.
pub fn tables(kind: Kind) -> impl Iterator<Item = &'static DriverTable> {
    DRIVERS.iter().map(|(table, _)| table).filter(move |table| table.kind == kind)
}

/// Returns the configuration of a Backend for a driver. The settings of an unknown driver are kept as written.
pub fn config(driver: &str, settings: Settings) -> DriverConfig {
    match find(driver) {
        Some((table, open)) => table.config(settings, open.is_some()),
        None => DriverConfig::unimplemented(driver.to_owned(), settings),
    }
}

/// Whether a Backend with the driver needs a Stack.
pub fn needs_stack(driver: &str) -> bool {
    find(driver).is_none_or(|(table, _)| table.needs_stack)
}

/// Returns the default of `overcommit` for a driver. `None`: no limit.
pub fn overcommit(driver: &str) -> Option<Percent> {
    find(driver).map_or(Some(Percent(100)), |(table, _)| table.overcommit)
}

/// Returns the default paths of the drivers for a kind. The path policy allows them, because a document without the field uses them too.
pub fn default_paths(kind: Kind) -> impl Iterator<Item = &'static str> {
    fn of(table: &FieldTable, out: &mut Vec<&'static str>) {
        for field in table.all() {
            match (field.form, field.default) {
                (FieldForm::Map(table), _) => of(table, out),
                (FieldForm::Path, Some(path)) => out.push(path),
                _ => {}
            }
        }
    }
    let mut out = Vec::new();
    tables(kind).for_each(|driver| of(&driver.settings, &mut out));
    out.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the name of a field suggests a secret.
    fn suggests_secret(name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        ["secret", "pass", "pwd", "token", "cred", "auth", "key"].iter().any(|part| name.contains(part))
    }

    /// The settings of a driver are stored, and shown in JSON and saved plans: a secret is in a file, and the setting is its path.
    #[test]
    fn no_setting_of_a_driver_is_a_secret_itself() {
        fn check(driver: &str, table: &FieldTable, seen: &mut usize) {
            for field in table.all() {
                let is_path = matches!(field.form, FieldForm::Path);
                if suggests_secret(field.name) || field.is_secret {
                    assert!(field.is_secret, "{driver}: mark `{}`, so that problems do not show it", field.name);
                    assert!(is_path, "{driver}: `{}` would be stored and shown; take the path of a file", field.name);
                    *seen += 1;
                }
                if let FieldForm::Map(table) = field.form {
                    check(driver, table, seen);
                }
            }
        }
        let mut seen = 0;
        for kind in Kind::ALL {
            tables(kind).for_each(|driver| check(driver.name, &driver.settings, &mut seen));
        }
        assert!(seen > 0, "the keyring of rbd");
    }
}
