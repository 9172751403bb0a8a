//! Endpoints: where steps are made.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use super::{Name, NameError};

/// Where a step is made, or where an object is.
///
/// Stored as one text: a Backend as its plain name, as all versions do, and a Target as `target/NAME`. (A name has no slash.)
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "SmolStr", into = "SmolStr")]
pub enum Endpoint {
    /// A Backend: a pool of storage.
    Backend(Name),
    /// A Target: a server that exports volumes.
    Target(Name),
}

const TARGET: &str = "target/";

impl Endpoint {
    /// Returns the name of the Backend, if it is one.
    pub fn backend(&self) -> Option<&Name> {
        match self {
            Self::Backend(name) => Some(name),
            Self::Target(_) => None,
        }
    }

    /// Returns the name of the Target, if it is one.
    pub fn target(&self) -> Option<&Name> {
        match self {
            Self::Target(name) => Some(name),
            Self::Backend(_) => None,
        }
    }
}

impl From<Name> for Endpoint {
    fn from(backend: Name) -> Self {
        Self::Backend(backend)
    }
}

/// For people: a Backend by its name, a Target as `target tgt1`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(name) => name.fmt(f),
            Self::Target(name) => write!(f, "target {name}"),
        }
    }
}

impl TryFrom<SmolStr> for Endpoint {
    type Error = NameError;

    fn try_from(text: SmolStr) -> Result<Self, NameError> {
        match text.strip_prefix(TARGET) {
            Some(target) => target.parse().map(Self::Target),
            None => text.try_into().map(Self::Backend),
        }
    }
}

impl From<Endpoint> for SmolStr {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Backend(name) => name.into(),
            Endpoint::Target(name) => format_smolstr!("{TARGET}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_backend_is_its_plain_name_and_a_target_cannot_be_taken_for_one() {
        let name = || "tgt1".parse::<Name>().unwrap();
        for (endpoint, stored) in
            [(Endpoint::Backend(name()), "\"tgt1\""), (Endpoint::Target(name()), "\"target/tgt1\"")]
        {
            assert_eq!(serde_json::to_string(&endpoint).unwrap(), stored);
            assert_eq!(serde_json::from_str::<Endpoint>(stored).unwrap(), endpoint);
        }
        // As a version without Targets reads the field.
        assert!(serde_json::from_str::<Name>("\"target/tgt1\"").is_err());
        for wrong in ["\"backend/tgt1\"", "\"target/\"", "\"target/a/b\"", "\"\""] {
            assert!(serde_json::from_str::<Endpoint>(wrong).is_err(), "{wrong}");
        }
    }
}
