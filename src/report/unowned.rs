//! Objects without an owner on a backend, and the names under which they could be declared. Pure.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{Kind, LedgerView, Name, Object, Observed, Place, Reading, Size, Specs};
use crate::plan::{Observation, Overview};
use crate::text::is_unsafe;

/// An object without an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unowned {
    /// Its native name.
    pub native: String,
    /// Its size for clients.
    pub size: Size,
    /// Its allocated bytes, if cheap to know.
    pub used: Option<u64>,
    /// The declared volume that adopts it, if any.
    pub declared: Option<Name>,
    /// A free name to declare it under, or why it cannot be adopted.
    pub name: Result<Name, String>,
}

/// Why the objects on a backend cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum NotListed {
    /// No document declares the backend.
    #[error("no Backend {0} is declared")]
    NotDeclared(Name),
    /// The observation failed.
    #[error("{0} could not be observed: {1}")]
    Unobserved(Name, String),
    /// The host configuration forbids it.
    #[error("{0}: {1}")]
    NotAllowed(Name, String),
    /// This version of Kiln does not have the driver.
    #[error("the driver of {0} is not implemented yet")]
    Unsupported(Name),
}

/// Lists the objects without an owner on a declared backend, by native name. Each gets a name that no declared, existing, trashed or
/// lost volume has.
///
/// # Errors
/// See [`NotListed`].
pub fn unowned(overview: &Overview, reading: &Reading, backend: &Name) -> Result<Vec<Unowned>, NotListed> {
    let specs = &reading.specs;
    if !specs.backends.contains_key(backend) {
        return Err(NotListed::NotDeclared(backend.clone()));
    }
    let observed = match overview.world.get(backend) {
        Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) => observed,
        Some(Observation::Failed { why, fix: _ }) => {
            return Err(NotListed::Unobserved(backend.clone(), why.clone()));
        }
        Some(Observation::Unsupported) | None => {
            return Err(match reading.not_allowed(Kind::Backend, backend) {
                Some(barred) => NotListed::NotAllowed(backend.clone(), barred.message.clone()),
                None => NotListed::Unsupported(backend.clone()),
            });
        }
    };
    let mut taken: BTreeSet<Name> = specs.volumes.keys().cloned().collect();
    for observed in overview.world.values().filter_map(Observation::observed) {
        taken.extend(names_of(observed, specs));
    }
    let here = specs.volumes.values().filter(|volume| volume.backend == *backend);
    let adopting: HashMap<&str, &Name> =
        here.filter_map(|volume| Some((volume.adopt.as_deref()?, &volume.meta.name))).collect();
    let mut unowned: Vec<&Object> =
        observed.objects.iter().filter(|object| object.identity.is_none() && object.place == Place::Live).collect();
    unowned.sort_by(|a, b| a.native.cmp(&b.native));
    Ok(unowned.into_iter().map(|object| entry(object, &adopting, &mut taken)).collect())
}

/// Returns the names of this owner's volumes: existing and lost ones.
fn names_of(observed: &Observed, specs: &Specs) -> Vec<Name> {
    let owner = &specs.stack.owner;
    let there = observed.objects.iter().filter_map(|object| object.identity.as_ref());
    let mut names: Vec<Name> = there.filter(|id| id.owner == *owner).map(|id| id.name.clone()).collect();
    if let Some(ledger) = observed.ledger.as_ref().and_then(LedgerView::ledger) {
        names.extend(
            ledger.complete.values().filter(|entry| entry.kind == Kind::Volume).map(|entry| entry.name.clone()),
        );
    }
    names
}

/// Returns the entry of an object without an owner. `adopting`: the declared volumes that adopt an object, by its native name.
fn entry(object: &Object, adopting: &HashMap<&str, &Name>, taken: &mut BTreeSet<Name>) -> Unowned {
    let native = object.native.as_str();
    let declared = adopting.get(native).map(|name| (*name).clone());
    let name = match (&declared, why_not(object)) {
        (Some(name), _) => Ok(name.clone()),
        (None, Some(why)) => Err(why),
        (None, None) => match name_for(native, taken) {
            Some(name) => {
                taken.insert(name.clone());
                Ok(name)
            }
            None => Err("no free name can be derived from its native name".to_owned()),
        },
    };
    Unowned { native: native.to_owned(), size: object.size, used: object.used, declared, name }
}

/// Returns why an object cannot be adopted, as far as a listing shows.
fn why_not(object: &Object) -> Option<String> {
    let native = object.native.as_str();
    if let Some(why) = &object.conflict {
        return Some(why.clone());
    }
    if let Some(format) = &object.image {
        return Some(format!("it holds an image of the format {format}, not a raw disk"));
    }
    if object.native.is_reserved() {
        return Some("its name has the form that Kiln reserves".to_owned());
    }
    // Manifests refuse these names. U+FFFD stands for bytes that are not UTF-8.
    let unwritable = |c| c == '\u{fffd}' || is_unsafe(c);
    if native.contains('/') || native.starts_with(['.', '-']) || native.len() > 255 || native.contains(unwritable) {
        return Some("its name cannot be written in a manifest".to_owned());
    }
    (object.size == Size(0)).then(|| "it is empty, or not a volume".to_owned())
}

/// Returns a free DNS label that resembles a native name.
fn name_for(native: &str, taken: &BTreeSet<Name>) -> Option<Name> {
    let stem = [".img", ".raw"].iter().find_map(|end| native.strip_suffix(end)).unwrap_or(native);
    let mut label = String::new();
    for c in stem.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => label.push(c),
            _ if label.is_empty() || label.ends_with('-') => {}
            _ => label.push('-'),
        }
    }
    // Leaves room for a number: names have at most 63 characters.
    label.truncate(56);
    let label = match label.trim_end_matches('-') {
        "" => "volume",
        label => label,
    };
    let numbered = (2..10_000_u32).map(|number| format!("{label}-{number}"));
    std::iter::once(label.to_owned())
        .chain(numbered)
        .filter_map(|text| text.parse().ok())
        .find(|name| !taken.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_remind_of_native_names_and_differ() {
        let mut taken = BTreeSet::new();
        for (native, want) in [
            ("db01", "db01"),
            ("DB01.img", "db01-2"),
            ("volume-1234.raw", "volume-1234"),
            ("My Disk (old).qcow2", "my-disk-old-qcow2"),
            ("__x__", "x"),
            ("é", "volume"),
            ("日本", "volume-2"),
            ("123", "123"),
        ] {
            let name = name_for(native, &taken).unwrap();
            assert_eq!(name.as_str(), want, "{native}");
            assert!(taken.insert(name), "{native}");
        }
        let long = name_for(&"a".repeat(300), &taken).unwrap();
        assert!(taken.insert(long.clone()));
        assert_ne!(name_for(&"a".repeat(299), &taken).unwrap(), long);
    }
}
