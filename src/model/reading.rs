//! What one reading of the manifests found, and whether it withdraws an object by not naming it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Coverage, Doubt, Extent, Kind, Ledger, Name, SourcePlace, Specs, Uid};

/// One reading of the manifests: what they declare, and what is known of the files that declare it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// What is declared.
    pub specs: Arc<Specs>,
    /// In a Git work tree the id of the commit, with `-dirty` after it if what was read is anything else. Elsewhere a hash of the content
    /// of all files with their paths.
    pub revision: String,
    /// Whether some file had a problem, so that what is missing here may only be unreadable. One-shot commands refuse before
    /// it matters; the daemon goes on with what is good, and then nothing is removed.
    pub broken: bool,
    /// Whether these files were read only once: a document that is missing may be in a file that is just being written.
    #[serde(default)]
    pub unconfirmed: bool,
    /// What the reading covers: see [`Reading::withdraws`].
    pub coverage: Coverage,
    /// Where each document begins.
    pub places: Arc<Places>,
    /// Documents that name a path which manifests may not reach on this host: they are Held(NotAllowed), and nothing is opened
    /// for them. One of each, sorted by kind and name.
    pub not_allowed: Vec<NotAllowed>,
    /// Documents that have no valid meaning as they are written now. One-shot commands never have any, since they refuse; the
    /// daemon goes on, by what these said last where that is known. One of each, sorted by kind and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// Where documents begin, by kind and name.
pub type Places = BTreeMap<Kind, BTreeMap<Name, SourcePlace>>;

/// A path that manifests may not reach, and the document that names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotAllowed {
    /// Of the document.
    pub kind: Kind,
    /// Of the document.
    pub name: Name,
    /// Why, in one sentence.
    pub message: String,
    /// What to do about it.
    pub fix: String,
    /// Whether the path did not answer in time: it may lead anywhere, and its objects are Unobserved until it answers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
}

/// A document that has no valid meaning as it is written now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Of the document.
    pub kind: Kind,
    /// Of the document.
    pub name: Name,
    /// Where and what the problem is, and whether what it said last holds, in one sentence.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

/// Whether a reading withdraws an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// A document declares it.
    Declared,
    /// No document declares it any more.
    Withdrawn,
    /// The reading does not cover it: it is left as it is.
    NotCovered,
    /// It may be declared all the same.
    Doubted(Doubt),
}

impl Reading {
    /// A reading of these specs that covers everything, with no file known.
    pub fn of(specs: Specs) -> Self {
        Self {
            specs: Arc::new(specs),
            revision: String::new(),
            broken: false,
            unconfirmed: false,
            coverage: Coverage::default(),
            places: Arc::default(),
            not_allowed: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// The specs, to change them for this reading alone.
    pub fn specs_mut(&mut self) -> &mut Specs {
        Arc::make_mut(&mut self.specs)
    }

    /// Whether another reading declares the same, and as much of it may be acted on, wherever its documents stand.
    pub fn declares_the_same(&self, other: &Self) -> bool {
        self.specs == other.specs && self.not_allowed == other.not_allowed && self.unreadable == other.unreadable
    }

    /// Where a document begins.
    pub fn place(&self, kind: Kind, name: &Name) -> Option<&SourcePlace> {
        self.places.get(&kind)?.get(name)
    }

    /// Why a document may not be acted on, if it names a path out of reach.
    pub fn not_allowed(&self, kind: Kind, name: &Name) -> Option<&NotAllowed> {
        let found = self.not_allowed.binary_search_by(|barred| (barred.kind, &barred.name).cmp(&(kind, name)));
        found.ok().map(|index| &self.not_allowed[index])
    }

    /// Whether this reading withdraws an object: the one question that is asked before an object is removed, released or purged, before
    /// it gets a tombstone, before it is reported as an orphan and before its approvals lapse. `ledger`: that of the object's pool.
    pub fn withdraws(&self, kind: Kind, name: &Name, ledger: Option<&Ledger>, uid: Uid) -> Withdrawal {
        if self.specs.declares(kind, name) {
            return Withdrawal::Declared;
        }
        let declared_in = ledger.and_then(|ledger| ledger.complete.get(&uid)?.declared_in.as_deref());
        match self.coverage.extent {
            Extent::Whole => {}
            Extent::Partial => return Withdrawal::NotCovered,
            Extent::OneFile if declared_in.is_some() && declared_in == self.coverage.file.as_deref() => {}
            Extent::OneFile => return Withdrawal::NotCovered,
        }
        let of_all = match (self.broken, self.unconfirmed) {
            (true, _) => Some(Doubt::Problem),
            (_, true) => Some(Doubt::ReadOnce),
            _ => None,
        };
        let last = ledger.and_then(|ledger| ledger.reading.as_ref());
        let doubt = of_all.or_else(|| self.is_other_source(ledger)).or_else(|| self.coverage.doubt(declared_in?, last));
        doubt.map_or(Withdrawal::Withdrawn, Withdrawal::Doubted)
    }

    /// The doubt that keeps a withdrawn object from being destroyed: its directory is gone, and a reading by a command that reads once
    /// cannot tell for how long. What a person can take back is withdrawn all the same.
    pub fn doubts_destruction(&self, ledger: Option<&Ledger>, uid: Uid) -> Option<Doubt> {
        let Coverage { extent: Extent::Whole, young: true, young_until: None, .. } = &self.coverage else {
            return None;
        };
        let ledger = ledger?;
        let declared_in = ledger.complete.get(&uid)?.declared_in.as_deref()?;
        let gone = self.coverage.vanished(declared_in, ledger.reading.as_ref())?;
        Some(Doubt::Vanished(gone.to_owned(), None))
    }

    /// Whether everything that the owner has is declared here, so that a name which is missing means something.
    pub fn is_whole(&self) -> bool {
        self.coverage.extent == Extent::Whole && !self.broken && !self.unconfirmed
    }

    /// Why a whole reading is not of the manifests that were last read whole for a pool, if it is not.
    pub fn is_other_source(&self, ledger: Option<&Ledger>) -> Option<Doubt> {
        let last = ledger?.reading.as_ref()?;
        match self.coverage.extent {
            Extent::Whole => self.coverage.differs_from(last),
            Extent::Partial | Extent::OneFile => None,
        }
    }

    /// The file that declares an object, as a ledger entry keeps it. None of standard input.
    pub fn declared_in(&self, kind: Kind, name: &Name) -> Option<String> {
        let place = self.place(kind, name)?;
        let Coverage { extent, root, file, stdin, .. } = &self.coverage;
        match (file, extent) {
            _ if *stdin => None,
            // Another directory can hold a file of the same name.
            (Some(file), Extent::Partial | Extent::OneFile) => Some(file.clone()),
            (Some(_), Extent::Whole) => self.coverage.files.first().cloned(),
            (None, _) => {
                let below = place.file.strip_prefix(root.as_str())?.trim_start_matches('/');
                (!below.is_empty()).then(|| below.to_owned())
            }
        }
    }
}
