//! Finds the snapshots and clones of an object. Pure.

use std::collections::BTreeMap;

use super::declared::{Declared, DeclaredView};
use super::related::{RelatedObject, RelatedObjects};
use super::status::ObjectStatus;
use crate::model::{Kind, Name, Object, ObjectId, SourceSpec, Uid};
use crate::plan::{Observation, Overview};

/// Which object each object was made from.
pub(super) struct Sources<'s, 'a> {
    /// Every object with its source.
    all: Vec<(&'s ObjectStatus<'a>, MadeFrom<'s>)>,
}

enum MadeFrom<'s> {
    /// As declared.
    Named(Kind, &'s Name),
    /// As observed.
    Observed(Uid),
}

impl<'s, 'a> Sources<'s, 'a> {
    /// Finds the source of every snapshot and clone. `all`: the status of every object.
    pub(super) fn new(all: &'s [ObjectStatus<'a>], overview: &Overview) -> Self {
        let observed = overview.world.values().filter_map(Observation::observed).flat_map(|observed| &observed.objects);
        let by_uid: BTreeMap<Uid, &Object> = observed.filter_map(|object| Some((object.uid()?, object))).collect();
        let source_of = |status: &'s ObjectStatus<'a>| {
            let object = status.status.uid.and_then(|uid| by_uid.get(&uid));
            // What was observed is certain: under a declared name there may be another object by now.
            let observed = object.and_then(|object| object.tags.volume.or(object.parent)).map(MadeFrom::Observed);
            observed.or_else(|| match status.spec.as_ref()? {
                DeclaredView::Specs(Declared::Snapshot(spec)) => Some(MadeFrom::Named(Kind::Volume, &spec.volume)),
                DeclaredView::Specs(Declared::Volume(spec)) => match spec.source.as_ref()? {
                    SourceSpec::Volume(name) => Some(MadeFrom::Named(Kind::Volume, name)),
                    SourceSpec::Snapshot(name) => Some(MadeFrom::Named(Kind::Snapshot, name)),
                    SourceSpec::Image(_) => None,
                },
                DeclaredView::Specs(Declared::Export(_) | Declared::Backend(_)) | DeclaredView::Json(_) => None,
            })
        };
        Self { all: all.iter().filter_map(|status| Some((status, source_of(status)?))).collect() }
    }

    /// Returns the snapshots and clones of an object; None for an object of a kind that has none.
    pub(super) fn related_to(&self, object: &ObjectStatus<'_>) -> Option<RelatedObjects> {
        match object.kind {
            Kind::Volume | Kind::Snapshot => {}
            Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => return None,
        }
        let (mut snapshots, mut clones) = (Vec::new(), Vec::new());
        for made in self.made_from(object) {
            match made.kind {
                Kind::Snapshot => {
                    snapshots.push(view(made, object));
                    clones.extend(self.made_from(made).map(|clone| view(clone, made)));
                }
                Kind::Volume | Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => {
                    clones.push(view(made, object));
                }
            }
        }
        clones.sort_by(|a, b| a.name.cmp(&b.name));
        Some(RelatedObjects { snapshots, clones })
    }

    /// Returns the objects whose source is this one.
    fn made_from<'o>(&'o self, object: &'o ObjectStatus<'_>) -> impl Iterator<Item = &'s ObjectStatus<'a>> + 'o {
        let is_live = object.status.place.as_deref() != Some("trash");
        self.all.iter().filter_map(move |(made, source)| {
            let is_made_from = match source {
                MadeFrom::Observed(uid) => object.status.uid == Some(*uid),
                MadeFrom::Named(kind, name) => is_live && object.kind == *kind && *object.metadata.name == **name,
            };
            is_made_from.then_some(*made)
        })
    }
}

fn view(made: &ObjectStatus<'_>, source: &ObjectStatus<'_>) -> RelatedObject {
    RelatedObject {
        name: made.metadata.name.clone().into_owned(),
        source: ObjectId::new(source.kind, &source.metadata.name).to_string(),
        size: made.status.size,
        created_at: made.status.created_at,
        condition: made.status.condition,
    }
}
