//! Which native names a backend allows.

use serde::{Deserialize, Serialize};

use super::{Identity, Kind, NativeName};

/// The native names that objects may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRules {
    /// Whether the manifest may choose a native name with `object:`.
    pub own: bool,
    /// The longest name, in bytes as the backend counts them.
    pub max_bytes: usize,
    /// What the backend puts before each name and counts too, in bytes: LVM names a device after the volume group and the volume.
    pub prefix_bytes: usize,
    /// What a dash counts, in bytes: 2 where dashes are doubled, as in the names of LVM's devices.
    pub dash_bytes: usize,
    /// The characters of names.
    pub alphabet: NameAlphabet,
}

/// The characters of native names. Names that Kiln makes contain `a-z`, `0-9`, `.` and `-`, which every backend allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameAlphabet {
    /// All that a manifest may write.
    Any,
    /// `A-Z`, `a-z`, `0-9`, `.`, `_`, `+` and `-`.
    Portable,
}

/// Why a name cannot be used on a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameFault {
    /// It counts as so many bytes, more than are allowed.
    TooLong(usize),
    /// It contains a character that is not allowed.
    Character(char),
}

impl NameRules {
    /// Returns the rules of a backend that allows every name of at most so many bytes.
    pub fn up_to(max_bytes: usize) -> Self {
        Self { own: true, max_bytes, prefix_bytes: 0, dash_bytes: 1, alphabet: NameAlphabet::Any }
    }

    /// Returns the bytes that a name counts as.
    pub fn bytes(&self, name: &str) -> usize {
        let dashes = name.bytes().filter(|byte| *byte == b'-').count();
        self.prefix_bytes + (name.len() - dashes) + dashes * self.dash_bytes
    }

    /// Checks a name.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self, name: &NativeName) -> Result<(), NameFault> {
        let is_portable = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
        let stranger = match self.alphabet {
            NameAlphabet::Any => None,
            NameAlphabet::Portable => name.as_str().chars().find(|c| !is_portable(c)),
        };
        let bytes = self.bytes(name.as_str());
        match stranger {
            Some(character) => Err(NameFault::Character(character)),
            None if bytes > self.max_bytes => Err(NameFault::TooLong(bytes)),
            None => Ok(()),
        }
    }

    /// Returns the longest name that Kiln gives to an object of this identity: that under which a snapshot lives, or the temporary one of a
    /// volume.
    pub fn longest(identity: &Identity) -> NativeName {
        if identity.kind == Kind::Snapshot { identity.native() } else { identity.temporary() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::identity;

    #[test]
    fn a_name_counts_its_prefix_and_its_dashes() {
        let rules = NameRules { prefix_bytes: 3, dash_bytes: 2, ..NameRules::up_to(10) };
        assert_eq!([rules.bytes(""), rules.bytes("abc"), rules.bytes("a-b-c")], [3, 6, 10]);
        assert_eq!(rules.check(&NativeName::new("a-b-c")), Ok(()));
        assert_eq!(rules.check(&NativeName::new("a-b-cd")), Err(NameFault::TooLong(11)));
    }

    #[test]
    fn an_alphabet_refuses_what_it_does_not_contain() {
        let rules = NameRules { alphabet: NameAlphabet::Portable, ..NameRules::up_to(40) };
        assert_eq!(rules.check(&NativeName::new("A-z_0.9+")), Ok(()));
        for (name, bad) in [("a b", ' '), ("a:b", ':'), ("größe", 'ö')] {
            assert_eq!(rules.check(&NativeName::new(name)), Err(NameFault::Character(bad)));
            assert_eq!(NameRules::up_to(40).check(&NativeName::new(name)), Ok(()));
        }
    }

    #[test]
    fn the_longest_name_of_a_volume_is_temporary_and_that_of_a_snapshot_its_own() {
        for (kind, prefix) in [(Kind::Volume, "kiln-tmp."), (Kind::Snapshot, "kiln-snap.")] {
            let identity = identity(kind, "db");
            let longest = NameRules::longest(&identity);
            assert!(longest.as_str().starts_with(prefix), "{longest}");
            for dash_bytes in [1, 2] {
                let rules = NameRules { dash_bytes, ..NameRules::up_to(40) };
                let bytes = |name: &NativeName| rules.bytes(name.as_str());
                assert_eq!(bytes(&longest), bytes(&identity.native()).max(bytes(&identity.temporary())));
            }
        }
    }
}
