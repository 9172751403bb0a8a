//! The identity of an object.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Address, Kind, LedgerEntry, Name, NativeForm, NativeName, ObjectId, Owner, Size, Uid};

/// The identity of an object: its owner, kind, name and uid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The name of the Stack.
    pub owner: Owner,
    /// Volume or Snapshot.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: Name,
    /// Its uid among all objects of this name.
    pub uid: Uid,
}

impl Identity {
    /// Returns the identity that a name contains. Under a temporary name it is that of a volume, whatever the object was to become.
    pub fn of(native: &NativeName) -> Option<Self> {
        let (form, owner, name, uid) = native.parse()?;
        let kind = match form {
            NativeForm::Snapshot => Kind::Snapshot,
            NativeForm::Volume | NativeForm::Temporary => Kind::Volume,
        };
        Some(Self { owner, kind, name, uid })
    }

    /// Returns the id of the document that declares the object.
    pub fn id(&self) -> ObjectId {
        ObjectId::new(self.kind, &self.name)
    }

    /// Returns the ledger's entry of an object of which only this is known.
    pub fn ledger_entry(&self, n: u32, at: Address, size: Size) -> LedgerEntry {
        let Address { native, parent_volume } = at;
        LedgerEntry {
            kind: self.kind,
            name: self.name.clone(),
            n,
            native,
            size,
            protected: false,
            restored: BTreeSet::new(),
            declared_in: None,
            accepted: None,
            parent_volume: parent_volume.map(Box::new),
        }
    }

    /// Returns the temporary name under which the object is created before it is published.
    pub fn temporary(&self) -> NativeName {
        NativeName::temporary(&self.owner, &self.name, self.uid)
    }

    /// Returns the native name that Kiln gives to an object of this identity.
    pub fn native(&self) -> NativeName {
        let form = match self.kind {
            Kind::Snapshot => NativeForm::Snapshot,
            Kind::Volume | Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => {
                NativeForm::Volume
            }
        };
        NativeName::of(form, &self.owner, &self.name, self.uid)
    }
}
