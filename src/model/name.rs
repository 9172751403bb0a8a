//! Names, owners, uids, and native names, which consist of them.
//!
//! The name of an object on a backend is its identity: `kiln.<owner>.<name>.<uid>`. Creating an object and marking its owner is
//! therefore one atomic call on every backend, and a listing of names shows all owners without reading tags.
//!
//! There may be 100,000 names, and they are used as keys: short ones are stored inline, and copies are cheap.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Why a text is not a name. The message completes "the name …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("must not be empty")]
    Empty,
    /// Longer than the limit, in bytes.
    #[error("has {len} characters; at most {max} are allowed")]
    TooLong {
        /// Its length.
        len: usize,
        /// The maximum length.
        max: usize,
    },
    /// A character outside of `[a-z0-9-]`.
    #[error("may contain only a-z, 0-9 and '-', not {0:?}")]
    Character(char),
    /// A dash at either end.
    #[error("must begin and end with a letter or a digit")]
    Dash,
}

fn check_label(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(bad) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(NameError::Character(bad));
    }
    if text.len() > max {
        return Err(NameError::TooLong { len: text.len(), max });
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Dash);
    }
    Ok(())
}

macro_rules! label {
    ($(#[$doc:meta])* $type:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "SmolStr", into = "SmolStr")]
        pub struct $type(SmolStr);

        impl $type {
            /// Maximum number of characters.
            pub const MAX: usize = $max;
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check_label(text, Self::MAX)?;
                Ok(Self(SmolStr::new(text)))
            }
        }
        impl TryFrom<SmolStr> for $type {
            type Error = NameError;
            fn try_from(text: SmolStr) -> Result<Self, NameError> {
                check_label(&text, Self::MAX)?;
                Ok(Self(text))
            }
        }
        impl From<$type> for SmolStr {
            fn from(name: $type) -> SmolStr {
                name.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

label!(
    /// `metadata.name`: a DNS-1123 label of at most 63 characters.
    Name,
    63
);
label!(
    /// The name of a Stack, which owns the objects its manifests declare: a DNS-1123 label of at most 20 characters.
    Owner,
    20
);

impl Owner {
    /// Returns the owner of objects that are declared without a Stack.
    pub fn unnamed() -> Self {
        Self(SmolStr::new_static("default"))
    }
}

/// The kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The owner and its policy.
    Stack,
    /// A pool of storage behind a driver.
    Backend,
    /// A volume.
    Volume,
    /// A snapshot of a volume.
    Snapshot,
    /// A server that exports volumes to clients.
    Target,
    /// A volume or snapshot offered to clients.
    Export,
    /// An approval of held removals.
    Approval,
}

impl Kind {
    /// Every kind, in the order in which tables list them.
    pub const ALL: [Kind; 7] =
        [Kind::Stack, Kind::Backend, Kind::Volume, Kind::Snapshot, Kind::Target, Kind::Export, Kind::Approval];

    /// Returns the kind as in `kind:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Stack => "Stack",
            Kind::Backend => "Backend",
            Kind::Volume => "Volume",
            Kind::Snapshot => "Snapshot",
            Kind::Target => "Target",
            Kind::Export => "Export",
            Kind::Approval => "Approval",
        }
    }

    /// Returns the kind as on the command line: `volume` in `volume/db`.
    pub fn as_lower(self) -> &'static str {
        match self {
            Kind::Stack => "stack",
            Kind::Backend => "backend",
            Kind::Volume => "volume",
            Kind::Snapshot => "snapshot",
            Kind::Target => "target",
            Kind::Export => "export",
            Kind::Approval => "approval",
        }
    }

    /// Parses `Volume`, `volume` or `volumes`.
    pub fn parse_loosely(text: &str) -> Option<Kind> {
        let lower = text.to_ascii_lowercase();
        Kind::ALL.into_iter().find(|k| lower == k.as_lower() || lower.strip_suffix('s') == Some(k.as_lower()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The id of a document, or of the object that it declares, by kind and name: `volume/db`. Stored as a pair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(Kind, Name)", into = "(Kind, Name)")]
pub struct ObjectId {
    /// The kind of document.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: Name,
}

impl ObjectId {
    /// Returns the id of this kind and name.
    pub fn new(kind: Kind, name: &Name) -> Self {
        Self { kind, name: name.clone() }
    }
}

impl From<(Kind, Name)> for ObjectId {
    fn from((kind, name): (Kind, Name)) -> Self {
        Self { kind, name }
    }
}

impl From<ObjectId> for (Kind, Name) {
    fn from(id: ObjectId) -> Self {
        (id.kind, id.name)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.kind.as_lower(), self.name))
    }
}

/// A unique id: eight base32 characters (`a-z2-7`, 40 bits) that distinguish an object from all earlier ones of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SmolStr", into = "SmolStr")]
pub struct Uid([u8; 8]);

// Compared as one number, which has the order of the bytes and is faster.
impl Ord for Uid {
    fn cmp(&self, other: &Self) -> Ordering {
        u64::from_be_bytes(self.0).cmp(&u64::from_be_bytes(other.0))
    }
}
impl PartialOrd for Uid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Hash for Uid {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(u64::from_be_bytes(self.0));
    }
}

impl Uid {
    /// Derives the `n`-th uid of a name. Every machine derives the same one. Fields are separated by a byte that none of them may contain, so
    /// different fields are hashed as different bytes.
    pub fn derive(stack_id: &str, owner: &Owner, kind: Kind, backend: &Name, name: &Name, n: u32) -> Self {
        let mut hash = blake3::Hasher::new();
        for part in [stack_id, owner.as_str(), kind.as_str(), backend.as_str(), name.as_str(), &n.to_string()] {
            hash.update(part.as_bytes());
            hash.update(&[0]);
        }
        let digest = hash.finalize();
        let mut bits = digest.as_bytes()[..5].iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        let mut text = [0; 8];
        for slot in text.iter_mut().rev() {
            *slot = b"abcdefghijklmnopqrstuvwxyz234567"[(bits & 31) as usize];
            bits >>= 5;
        }
        Self(text)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Uid {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some(bad) = text.chars().find(|c| !matches!(c, 'a'..='z' | '2'..='7')) {
            return Err(NameError::Character(bad));
        }
        match text.as_bytes().try_into() {
            Ok(bytes) => Ok(Self(bytes)),
            Err(_) if text.is_empty() => Err(NameError::Empty),
            Err(_) => Err(NameError::TooLong { len: text.len(), max: 8 }),
        }
    }
}
impl TryFrom<SmolStr> for Uid {
    type Error = NameError;
    fn try_from(text: SmolStr) -> Result<Self, NameError> {
        text.parse()
    }
}
impl From<Uid> for SmolStr {
    fn from(uid: Uid) -> SmolStr {
        SmolStr::new(uid.as_str())
    }
}
impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The native name of an object on a backend. Any text that the backend allows, because adopted objects keep their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NativeName(SmolStr);

/// The forms of native names that Kiln gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NativeForm {
    /// `kiln.…`
    Volume,
    /// `kiln-snap.…`
    Snapshot,
    /// `kiln-tmp.…`: an object that is being created or removed.
    Temporary,
}

impl NativeForm {
    fn prefix(self) -> &'static str {
        match self {
            NativeForm::Volume => "kiln",
            NativeForm::Snapshot => "kiln-snap",
            NativeForm::Temporary => "kiln-tmp",
        }
    }
}

impl NativeName {
    /// Returns a name as observed on a backend or given by a person.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(SmolStr::new(text))
    }

    /// Returns the name that Kiln gives to an object.
    pub fn of(form: NativeForm, owner: &Owner, name: &Name, uid: Uid) -> Self {
        Self([form.prefix(), owner.as_str(), name.as_str(), uid.as_str()].join(".").into())
    }

    /// Returns the temporary name under which an object is created before it is published.
    pub fn temporary(owner: &Owner, name: &Name, uid: Uid) -> Self {
        Self::of(NativeForm::Temporary, owner, name, uid)
    }

    /// Parses a name that Kiln gave. The parts contain no dots, so this is unambiguous. After a temporary name, a driver may append
    /// parts of its own.
    pub fn parse(&self) -> Option<(NativeForm, Owner, Name, Uid)> {
        // Not `'.'`: the search for one character is slow in short texts, and there may be 100,000.
        let mut parts = self.0.split(['.']);
        let prefix = parts.next()?;
        let form = [NativeForm::Volume, NativeForm::Snapshot, NativeForm::Temporary]
            .into_iter()
            .find(|form| form.prefix() == prefix)?;
        let (owner, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
        if form != NativeForm::Temporary && parts.next().is_some() {
            return None;
        }
        Some((form, owner.parse().ok()?, name.parse().ok()?, uid.parse().ok()?))
    }

    /// Whether it is the name of an object that is being created, or whose creation was interrupted.
    pub fn is_temporary(&self) -> bool {
        matches!(self.parse(), Some((NativeForm::Temporary, ..)))
    }

    /// Whether the name has a prefix that is reserved for Kiln. Only objects with such a name have an owner by name, and no `object:` may be
    /// such a name.
    pub fn is_reserved(&self) -> bool {
        ["kiln.", "kiln-snap.", "kiln-tmp."].iter().any(|prefix| self.0.starts_with(prefix))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_names_are_parsed_and_foreign_names_are_not() {
        let owner: Owner = "prod".parse().unwrap();
        let name: Name = "db-1".parse().unwrap();
        let uid = Uid::derive("0123456789", &owner, Kind::Volume, &"fast".parse().unwrap(), &name, 0);
        for form in [NativeForm::Volume, NativeForm::Snapshot, NativeForm::Temporary] {
            let native = NativeName::of(form, &owner, &name, uid);
            assert_eq!(native.parse(), Some((form, owner.clone(), name.clone(), uid)));
            assert!(native.is_reserved());
        }
        for foreign in [
            "kiln",
            "kiln.a.b",
            "kiln.a.b.c",
            "kiln.a.b.aaaaaaaa.x",
            "kiln-snap.a.b.aaaaaaaa.x",
            "Kiln.a.b.aaaaaaaa",
            "kiln.A.b.aaaaaaaa",
            "volume-1",
        ] {
            assert_eq!(NativeName::new(foreign).parse(), None, "{foreign}");
        }
    }

    #[test]
    fn uids_depend_on_every_field_and_are_the_same_everywhere() {
        let derive = |id: &str, owner: &str, kind, backend: &str, name: &str, n| {
            Uid::derive(id, &owner.parse().unwrap(), kind, &backend.parse().unwrap(), &name.parse().unwrap(), n)
        };
        let base = derive("5c1d2e8a90", "prod", Kind::Volume, "fast", "db", 0);
        for other in [
            derive("5c1d2e8a91", "prod", Kind::Volume, "fast", "db", 0),
            derive("5c1d2e8a90", "proe", Kind::Volume, "fast", "db", 0),
            derive("5c1d2e8a90", "prod", Kind::Snapshot, "fast", "db", 0),
            derive("5c1d2e8a90", "prod", Kind::Volume, "slow", "db", 0),
            derive("5c1d2e8a90", "prod", Kind::Volume, "fast", "dc", 0),
            derive("5c1d2e8a90", "prod", Kind::Volume, "fast", "db", 1),
        ] {
            assert_ne!(base, other);
        }
        assert_eq!(base.as_str().parse(), Ok(base));
    }

    #[test]
    fn labels_are_dns_1123() {
        for good in ["a", "a-b", "0", &"x".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "é", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert!("x".repeat(21).parse::<Owner>().is_err());
    }
}
