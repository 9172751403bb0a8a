//! Objects without an owner on a backend, and the names under which they could be declared. Pure.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::model::{
    Address, Capabilities, Identity, Kind, LedgerView, Name, Object, Observed, Place, Reading, Size, Specs,
};
use crate::plan::{Observation, Overview};
use crate::text::{did_you_mean, is_unsafe};

/// An object without an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unowned {
    /// Volume or Snapshot.
    pub kind: Kind,
    /// Its native name.
    pub native: String,
    /// Of a snapshot: the native name of its volume, if the backend shows it.
    pub of: Option<String>,
    /// What it is called in messages: `VOLUME@NAME` for a snapshot inside of a volume, else its native name.
    pub shown: String,
    /// Its size for clients.
    pub size: Size,
    /// Its allocated bytes, if cheap to know.
    pub used: Option<u64>,
    /// The limits that are set on it, by the names of their fields in `qos`: a document without them takes them away.
    pub qos: Map<String, Value>,
    /// The declared volume or snapshot that adopts it, if any.
    pub declared: Option<Name>,
    /// How it could be declared, or why it cannot be adopted.
    pub adoption: Result<Adoption, String>,
}

/// The names in the document that adopts an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// A free name to declare it under.
    pub name: Name,
    /// Of a snapshot: its volume, which is declared, or in the same list.
    pub volume: Option<Name>,
}

/// Why the objects on a backend cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum NotListed {
    /// No document declares the backend. With the question whether another is meant.
    #[error("no Backend {0} is declared{1}")]
    NotDeclared(Name, String),
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

/// Lists the objects without an owner on a declared backend, by address. Each gets a name that no declared, existing, trashed or lost
/// object has.
///
/// # Errors
/// See [`NotListed`].
pub fn unowned(overview: &Overview, reading: &Reading, backend: &Name) -> Result<Vec<Unowned>, NotListed> {
    let specs = &reading.specs;
    if !specs.backends.contains_key(backend) {
        let meant = did_you_mean(backend.as_str(), specs.backends.keys().map(Name::as_str));
        return Err(NotListed::NotDeclared(backend.clone(), meant));
    }
    let (capabilities, observed) = match overview.world.get(backend) {
        Some(
            Observation::Seen { capabilities, observed } | Observation::LockedBy { capabilities, observed, by: _ },
        ) => (capabilities, observed),
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
    let mut taken: BTreeSet<Name> = specs.volumes.keys().chain(specs.snapshots.keys()).cloned().collect();
    for observed in overview.world.values().filter_map(Observation::observed) {
        taken.extend(names_of(observed, specs));
    }
    let here = specs.volumes.values().filter(|volume| volume.backend == *backend);
    let adopting = here.filter_map(|volume| Some(((None, volume.adopt.as_deref()?), &volume.meta.name)));
    let of_volume = specs.snapshots.values();
    let of_volume = of_volume.filter_map(|one| Some(((Some(&one.volume), one.adopt.as_deref()?), &one.meta.name)));
    let adopting = adopting.chain(of_volume).collect();
    let mut list = UnownedList { capabilities, adopting, taken, volumes: volumes_of(observed, specs) };
    let mut objects: Vec<&Object> =
        observed.objects.iter().filter(|object| object.identity.is_none() && object.place == Place::Live).collect();
    // Volumes first: they may be declared together with their snapshots.
    objects.sort_by_key(|object| (object.kind(), object.address()));
    let mut unowned: Vec<(Address, Unowned)> =
        objects.into_iter().map(|object| (object.address(), list.judge(object))).collect();
    unowned.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(unowned.into_iter().map(|(_, unowned)| unowned).collect())
}

/// Returns the names of this owner's objects: existing and lost ones.
fn names_of(observed: &Observed, specs: &Specs) -> Vec<Name> {
    let owner = &specs.stack.owner;
    let there = observed.objects.iter().filter_map(|object| object.identity.as_ref());
    let mut names: Vec<Name> = there.filter(|id| id.owner == *owner).map(|id| id.name.clone()).collect();
    if let Some(ledger) = observed.ledger.as_ref().and_then(LedgerView::ledger) {
        names.extend(ledger.complete.values().map(|entry| entry.name.clone()));
    }
    names
}

/// Returns the document of each volume with an owner, by the volume's native name, or why there is none.
fn volumes_of(observed: &Observed, specs: &Specs) -> HashMap<String, Result<Name, String>> {
    let live = observed.objects.iter().filter(|object| object.place == Place::Live);
    let owned = live.filter_map(|object| Some((object, object.identity.as_ref()?)));
    let document = |(object, id): (&Object, &Identity)| {
        let name = match (id.owner == specs.stack.owner, specs.volumes.contains_key(&id.name)) {
            (true, true) => Ok(id.name.clone()),
            (true, false) => Err(format!("its volume {} is not declared", id.name)),
            (false, _) => Err(format!("its volume belongs to {}", id.owner)),
        };
        (object.native.to_string(), name)
    };
    owned.filter(|(_, id)| id.kind == Kind::Volume).map(document).collect()
}

/// What objects without an owner are judged by.
struct UnownedList<'a> {
    capabilities: &'a Capabilities,
    /// The documents that adopt an object, by its native name and, for a snapshot, its declared volume.
    adopting: HashMap<(Option<&'a Name>, &'a str), &'a Name>,
    taken: BTreeSet<Name>,
    /// By native name: the declared name of each volume judged so far, or why it has none.
    volumes: HashMap<String, Result<Name, String>>,
}

impl UnownedList<'_> {
    fn judge(&mut self, object: &Object) -> Unowned {
        let native = object.native.as_str();
        let of = object.volume_native().map(ToString::to_string);
        let declared = self.declared(object, of.as_deref()).cloned();
        let adoption = match &declared {
            Some(name) => match object.why_not_adopted() {
                Some(why) => Err(why),
                None => Ok(Adoption { name: name.clone(), volume: None }),
            },
            None => self.adoption(object, of.as_deref()),
        };
        if object.kind() == Kind::Volume {
            let name = adoption.as_ref().map(|adoption| adoption.name.clone());
            self.volumes.insert(native.to_owned(), name.map_err(|_| "its volume cannot be adopted".to_owned()));
        }
        Unowned {
            kind: object.kind(),
            native: native.to_owned(),
            of,
            shown: object.address().to_string(),
            size: object.size,
            used: object.used,
            qos: object.settings.limits(),
            declared,
            adoption,
        }
    }

    /// Returns the name of the document that adopts an object, if there is one.
    fn declared(&self, object: &Object, of: Option<&str>) -> Option<&Name> {
        let volume = match object.kind() == Kind::Snapshot {
            true => Some(self.volumes.get(of?)?.as_ref().ok()?),
            false => None,
        };
        self.adopting.get(&(volume, object.native.as_str())).copied()
    }

    fn adoption(&mut self, object: &Object, of: Option<&str>) -> Result<Adoption, String> {
        if let Some(why) = why_not(object) {
            return Err(why);
        }
        if object.settings.encrypted {
            return Err("it is encrypted, and its document needs `encryption`: write one by hand".to_owned());
        }
        let native = object.native.as_str();
        let (name, volume) = match object.kind() == Kind::Snapshot {
            false => (name_for(native, &self.taken), None),
            true => {
                if !self.capabilities.snapshots.as_ref().is_some_and(|snapshots| snapshots.adopt) {
                    return Err("it is a snapshot, and the backend cannot adopt those".to_owned());
                }
                let of = of.ok_or("the backend does not show which volume it is a snapshot of")?;
                let volume = self.volumes.get(of).cloned();
                let volume = volume.unwrap_or_else(|| Err(format!("its volume {of} was not listed")))?;
                (name_for(&format!("{volume}-{native}"), &self.taken), Some(volume))
            }
        };
        let name = name.ok_or("no free name can be derived from its native name")?;
        self.taken.insert(name.clone());
        Ok(Adoption { name, volume })
    }
}

/// Returns why an object cannot be adopted, as far as a listing shows.
fn why_not(object: &Object) -> Option<String> {
    let native = object.native.as_str();
    if let Some(of) = &object.copy_of {
        return Some(format!("it is a copy of {}, which is on another pool", of.id()));
    }
    if let Some(blocker) = &object.blocker {
        return Some(blocker.message.clone());
    }
    if let Some(why) = object.why_not_adopted() {
        return Some(why);
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
