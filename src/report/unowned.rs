//! What nobody owns on a backend, and the names under which it could be declared. Pure.

use std::collections::{BTreeSet, HashMap};

use thiserror::Error;

use crate::model::{Kind, LedgerView, Name, Object, Observed, Place, Reading, Size, Specs};
use crate::plan::{Observation, Overview};
use crate::text::is_unsafe;

/// An object that nobody owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unowned {
    /// What the backend calls it.
    pub native: String,
    /// Its length, as a client would see it.
    pub size: Size,
    /// What it takes up, where that is cheap to know.
    pub used: Option<u64>,
    /// The volume that is declared to take it over, if one is.
    pub declared: Option<Name>,
    /// The name under which it could be declared, or why it cannot be taken over.
    pub name: Result<Name, String>,
}

/// Why the objects on a backend cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
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
    /// This Kiln has no such driver.
    #[error("the driver of {0} is not built yet")]
    Unsupported(Name),
}

/// Lists the objects on a declared backend that nobody owns, by native name. Each is given a name of its own, which no declared
/// volume has, no volume that is there or in the trash, and none that is missed.
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
        Some(Observation::Failed { why }) => {
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
    for view in overview.world.values() {
        if let Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } = view {
            taken.extend(names_of(observed, specs));
        }
    }
    let here = specs.volumes.values().filter(|volume| volume.backend == *backend);
    let adopting: HashMap<&str, &Name> =
        here.filter_map(|volume| Some((volume.adopt.as_deref()?, &volume.meta.name))).collect();
    let mut strangers: Vec<&Object> =
        observed.objects.iter().filter(|object| object.identity.is_none() && object.place == Place::Live).collect();
    strangers.sort_by(|a, b| a.native.cmp(&b.native));
    Ok(strangers.into_iter().map(|object| judge(object, &adopting, &mut taken)).collect())
}

/// The names of volumes of this owner that are there, and of those that are missed.
fn names_of(observed: &Observed, specs: &Specs) -> Vec<Name> {
    let owner = &specs.stack.owner;
    let there = observed.objects.iter().filter_map(|object| object.identity.as_ref());
    let mut names: Vec<Name> = there.filter(|id| id.owner == *owner).map(|id| id.name.clone()).collect();
    if let Some(ledger) = observed.ledgers.get(owner).and_then(LedgerView::ledger) {
        names.extend(
            ledger.complete.values().filter(|entry| entry.kind == Kind::Volume).map(|entry| entry.name.clone()),
        );
    }
    names
}

/// `adopting`: by the native name, the volume that is declared to take the object over.
fn judge(object: &Object, adopting: &HashMap<&str, &Name>, taken: &mut BTreeSet<Name>) -> Unowned {
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
            None => Err("no name can be made for it".to_owned()),
        },
    };
    Unowned { native: native.to_owned(), size: object.size, used: object.used, declared, name }
}

/// Why an object cannot be taken over, where that can be seen.
fn why_not(object: &Object) -> Option<String> {
    let native = object.native.as_str();
    if let Some(why) = &object.conflict {
        return Some(why.clone());
    }
    if let Some(format) = &object.image {
        return Some(format!("it holds an image of the format {format}, not a raw disk"));
    }
    if object.native.is_reserved() {
        return Some("its name is of the form that Kiln keeps for itself".to_owned());
    }
    // Manifests refuse these names. U+FFFD stands for bytes that are not UTF-8.
    let unwritable = |c| c == '\u{fffd}' || is_unsafe(c);
    if native.contains('/') || native.starts_with(['.', '-']) || native.len() > 255 || native.contains(unwritable) {
        return Some("its name cannot be written in a manifest".to_owned());
    }
    (object.size == Size(0)).then(|| "it is empty, or no volume".to_owned())
}

/// A DNS label that reminds of a native name, and that is free.
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
    // Room for a number: names have at most 63 characters.
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
