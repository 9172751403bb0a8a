//! A reading of the manifests, and whether it withdraws an object that it does not declare.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Coverage, Doubt, Extent, FieldPlace, Kind, Ledger, Name, PlacedField, SourcePlace, Specs, Uid};

/// A reading of the manifests: what they declare, and facts about their files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// What the manifests declare.
    pub specs: Arc<Specs>,
    /// In a Git work tree the id of the commit, followed by `-dirty` if the files differ from it. Elsewhere a hash over the paths and
    /// contents of all files.
    pub revision: String,
    /// Whether any file has a problem, so that an undeclared object may only be unreadable. One-shot commands refuse such manifests; the daemon
    /// acts on the valid documents, and removes nothing.
    pub broken: bool,
    /// Whether the files were read only once. A missing document may be in a file that is being written.
    #[serde(default)]
    pub unconfirmed: bool,
    /// What the reading covers: see [`Reading::withdraws`].
    pub coverage: Coverage,
    /// Where each document starts.
    pub places: Arc<Places>,
    /// Where fields of each document are written, as far as fixes may name them.
    #[serde(default, skip_serializing_if = "has_none")]
    pub field_places: Arc<FieldPlaces>,
    /// Documents that name a path which the path policy refuses. They are Held(NotAllowed), and the path is not opened. Each once, sorted by
    /// kind and name.
    pub not_allowed: Vec<NotAllowed>,
    /// Documents that are invalid now. One-shot commands refuse them; the daemon applies their last valid content if it is known. Each once,
    /// sorted by kind and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// Where documents start, by kind and name.
pub type Places = BTreeMap<Kind, BTreeMap<Name, SourcePlace>>;

/// Where fields of documents are written, by kind and name. Of several fields of one name the outermost is first.
pub type FieldPlaces = BTreeMap<Kind, BTreeMap<Name, Arc<[FieldPlace]>>>;

fn has_none(places: &Arc<FieldPlaces>) -> bool {
    places.is_empty()
}

/// A document that names a path which the path policy refuses.
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
    /// Whether the path did not respond in time. Its target is unknown, and its objects are Unobserved until it responds.
    #[serde(default, rename = "silent", skip_serializing_if = "std::ops::Not::not")]
    pub unresponsive: bool,
}

/// A document that is invalid now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Of the document.
    pub kind: Kind,
    /// Of the document.
    pub name: Name,
    /// The problem with its place, and whether the last valid content applies, in one sentence.
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
    /// The reading does not cover it: it stays as it is.
    NotCovered,
    /// It may be declared nevertheless.
    Doubted(Doubt),
}

impl Reading {
    /// Returns a reading of these specs that covers everything and knows no files.
    pub fn of(specs: Specs) -> Self {
        Self {
            specs: Arc::new(specs),
            revision: String::new(),
            broken: false,
            unconfirmed: false,
            coverage: Coverage::default(),
            places: Arc::default(),
            field_places: Arc::default(),
            not_allowed: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// Returns the specs to change them for this reading only.
    pub fn specs_mut(&mut self) -> &mut Specs {
        Arc::make_mut(&mut self.specs)
    }

    /// Whether another reading declares the same and may act on the same, wherever its documents are.
    pub fn declares_the_same(&self, other: &Self) -> bool {
        self.specs == other.specs && self.not_allowed == other.not_allowed && self.unreadable == other.unreadable
    }

    /// Returns where a document starts.
    pub fn place(&self, kind: Kind, name: &Name) -> Option<&SourcePlace> {
        self.places.get(&kind)?.get(name)
    }

    /// Returns where a document starts, to follow what is to be written in it: ` (specs/db.yaml:3:1)`. Empty if that is unknown.
    pub fn place_of(&self, kind: Kind, name: &Name) -> String {
        let place = self.place(kind, name).filter(|place| !place.file.is_empty());
        place.map(|place| format!(" ({place})")).unwrap_or_default()
    }

    /// Returns where a field of a document is written, or else where the document starts, in the form of [`Reading::place_of`].
    pub fn place_of_field(&self, kind: Kind, name: &Name, field: PlacedField) -> String {
        let fields = self.field_places.get(&kind).and_then(|fields| fields.get(name));
        let written = fields.and_then(|fields| fields.iter().find(|place| place.field == field));
        match (self.place(kind, name), written) {
            (Some(SourcePlace { file, .. }), Some(FieldPlace { line, column, .. })) if !file.is_empty() => {
                format!(" ({file}:{line}:{column})")
            }
            _ => self.place_of(kind, name),
        }
    }

    /// Returns why a document may not be acted on, if the path policy refuses a path that it names.
    pub fn not_allowed(&self, kind: Kind, name: &Name) -> Option<&NotAllowed> {
        let found = self.not_allowed.binary_search_by(|barred| (barred.kind, &barred.name).cmp(&(kind, name)));
        found.ok().map(|index| &self.not_allowed[index])
    }

    /// Decides whether this reading withdraws an object. This is the only check before an object is removed, released or purged, gets a
    /// tombstone or is reported as an orphan, and before its approvals lapse. `ledger`: the ledger of the object's pool.
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

    /// Returns the doubt that prevents a withdrawn object from being destroyed: its directory is gone, and a one-shot command cannot tell for
    /// how long. Removals that can be undone are not affected.
    pub fn doubts_destruction(&self, ledger: Option<&Ledger>, uid: Uid) -> Option<Doubt> {
        let Coverage { extent: Extent::Whole, young: true, young_until: None, .. } = &self.coverage else {
            return None;
        };
        let ledger = ledger?;
        let declared_in = ledger.complete.get(&uid)?.declared_in.as_deref()?;
        let gone = self.coverage.vanished(declared_in, ledger.reading.as_ref())?;
        Some(Doubt::Vanished(gone.to_owned(), None))
    }

    /// Whether the reading declares everything of the owner, so that a missing name is significant.
    pub fn is_whole(&self) -> bool {
        self.coverage.extent == Extent::Whole && !self.broken && !self.unconfirmed
    }

    /// Returns the doubt that a whole reading is of other manifests than the last whole reading of a pool.
    pub fn is_other_source(&self, ledger: Option<&Ledger>) -> Option<Doubt> {
        let last = ledger?.reading.as_ref()?;
        match self.coverage.extent {
            Extent::Whole => self.coverage.differs_from(last),
            Extent::Partial | Extent::OneFile => None,
        }
    }

    /// Returns the file that declares an object, as a ledger entry stores it. `None` for standard input.
    pub fn declared_in(&self, kind: Kind, name: &Name) -> Option<String> {
        let place = self.place(kind, name)?;
        let Coverage { extent, root, file, stdin, .. } = &self.coverage;
        match (file, extent) {
            _ if *stdin => None,
            // Another directory may contain a file of the same name.
            (Some(file), Extent::Partial | Extent::OneFile) => Some(file.clone()),
            (Some(_), Extent::Whole) => self.coverage.files.first().cloned(),
            (None, _) => {
                let below = place.file.strip_prefix(root.as_str())?.trim_start_matches('/');
                (!below.is_empty()).then(|| below.to_owned())
            }
        }
    }
}
