//! Names, owners, uids and the native names made of them.
//!
//! The name of an object on a backend is its identity: `kiln.<owner>.<name>.<uid>`. Making an object and marking it as ours is
//! therefore one atomic call on every backend, and a listing of names tells who owns what, with no tags read.
//!
//! Names are the keys of everything, and there are a hundred thousand of them: short ones lie in place, and copies are cheap.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

/// Why a text is not a name. The sentence completes "the name …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("must not be empty")]
    Empty,
    /// Longer than the limit, in bytes.
    #[error("has {len} characters; at most {max} are allowed")]
    TooLong {
        /// How long it is.
        len: usize,
        /// How long it may be.
        max: usize,
    },
    /// A character outside of `[a-z0-9-]`.
    #[error("may hold only a-z, 0-9 and '-', not {0:?}")]
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
            /// The most characters that one may have.
            pub const MAX: usize = $max;
            /// The text.
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
    /// Who owns objects declared without a Stack.
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
    /// A decision to let held removals go.
    Approval,
}

impl Kind {
    /// Every kind, in the order in which tables list them.
    pub const ALL: [Kind; 7] =
        [Kind::Stack, Kind::Backend, Kind::Volume, Kind::Snapshot, Kind::Target, Kind::Export, Kind::Approval];

    /// As in `kind:`.
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

    /// As on the command line: `volume` in `volume/db`.
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

    /// Reads `Volume`, `volume` and `volumes` alike.
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

/// A document, or the object that it declares, by kind and name: `volume/db`. It is stored as a pair.
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

/// Eight base32 characters (`a-z2-7`, 40 bits) that tell one incarnation of an object from all others in its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SmolStr", into = "SmolStr")]
pub struct Uid([u8; 8]);

// As one number: the same order as that of the bytes, without a call for each of a million comparisons.
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
    /// The `n`-th uid that a name may get. Pure: any machine derives the same. Fields are separated by a byte that none of
    /// them can hold, so that no two different lists of fields read alike.
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

    /// The text.
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

/// What a backend calls an object. Any text that the backend allows: adopted objects keep the names they had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NativeName(SmolStr);

/// The three forms of native names that Kiln makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NativeForm {
    /// `kiln.…`
    Volume,
    /// `kiln-snap.…`
    Snapshot,
    /// `kiln-tmp.…`: being made; never what a manifest declares.
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
    /// A name as found on a backend or given by a person.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(SmolStr::new(text))
    }

    /// The name that Kiln gives.
    pub fn of(form: NativeForm, owner: &Owner, name: &Name, uid: Uid) -> Self {
        Self(format_smolstr!("{}.{owner}.{name}.{uid}", form.prefix()))
    }

    /// The name under which the object of this identity is filled before it is published.
    pub fn temporary(owner: &Owner, name: &Name, uid: Uid) -> Self {
        Self::of(NativeForm::Temporary, owner, name, uid)
    }

    /// What the name says, where it is one of Kiln's. Labels hold no dots, so there is one way to read it.
    pub fn parse(&self) -> Option<(NativeForm, Owner, Name, Uid)> {
        let mut parts = self.0.split('.');
        let prefix = parts.next()?;
        let form = [NativeForm::Volume, NativeForm::Snapshot, NativeForm::Temporary]
            .into_iter()
            .find(|form| form.prefix() == prefix)?;
        let (owner, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
        match parts.next() {
            Some(_) => None,
            None => Some((form, owner.parse().ok()?, name.parse().ok()?, uid.parse().ok()?)),
        }
    }

    /// Whether the name lies in the space that Kiln keeps for itself. No object outside of it is ever taken for one of ours by
    /// its name, and no `object:` may lie in it.
    pub fn is_reserved(&self) -> bool {
        ["kiln.", "kiln-snap.", "kiln-tmp."].iter().any(|prefix| self.0.starts_with(prefix))
    }

    /// The text.
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
    fn native_names_are_read_back_and_nothing_else_is() {
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
