//! Finds the snapshots and clones of an object. Pure.

use foldhash::{HashMap, HashMapExt};

use super::declared::{Declared, DeclaredView};
use super::related::{RelatedObject, RelatedObjects};
use super::status::ObjectStatus;
use crate::model::{Kind, Name, Object, ObjectId, SourceSpec, Uid};
use crate::plan::{Observation, Overview};

/// Which objects were made from each object.
pub(super) struct Sources<'s, 'a> {
    /// Every object.
    all: &'s [ObjectStatus<'a>],
    /// The indexes of the objects that were made from a source, in order.
    made: HashMap<MadeFrom<'s>, Vec<usize>>,
}

#[derive(PartialEq, Eq, Hash)]
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
        let by_uid: HashMap<Uid, &Object> = observed.filter_map(|object| Some((object.uid()?, object))).collect();
        let source_of = |status: &'s ObjectStatus<'a>| {
            let object = status.status.uid.and_then(|uid| by_uid.get(&uid));
            // What was observed is certain: under a declared name there may be another object by now.
            let observed = object.and_then(|object| object.tags.volume.or(object.parent)).map(MadeFrom::Observed);
            observed.or_else(|| match status.spec.as_ref()? {
                DeclaredView::Specs(Declared::Snapshot(spec)) => Some(MadeFrom::Named(Kind::Volume, &spec.volume)),
                DeclaredView::Specs(Declared::Volume(spec)) => match spec.source.as_deref()? {
                    SourceSpec::Volume(name) | SourceSpec::Quiesced(name) => Some(MadeFrom::Named(Kind::Volume, name)),
                    SourceSpec::Snapshot(name) => Some(MadeFrom::Named(Kind::Snapshot, name)),
                    SourceSpec::Image(_) => None,
                },
                DeclaredView::Specs(Declared::Export(_) | Declared::Target(_) | Declared::Backend(_))
                | DeclaredView::Json(_) => None,
            })
        };
        let mut made: HashMap<MadeFrom<'s>, Vec<usize>> = HashMap::new();
        for (index, status) in all.iter().enumerate() {
            if let Some(source) = source_of(status) {
                made.entry(source).or_default().push(index);
            }
        }
        Self { all, made }
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

    /// Returns the objects whose source is this one, in the order of all objects.
    fn made_from(&self, object: &ObjectStatus<'_>) -> impl Iterator<Item = &'s ObjectStatus<'a>> {
        let is_live = object.status.place.as_deref() != Some("trash");
        let named = is_live.then(|| MadeFrom::Named(object.kind, &object.metadata.name));
        let sources = object.status.uid.map(MadeFrom::Observed).into_iter().chain(named);
        let mut made: Vec<usize> = sources.filter_map(|source| self.made.get(&source)).flatten().copied().collect();
        made.sort_unstable();
        made.into_iter().map(|index| &self.all[index])
    }
}

fn view(made: &ObjectStatus<'_>, source: &ObjectStatus<'_>) -> RelatedObject {
    RelatedObject {
        name: made.metadata.name.clone().into_owned(),
        source: ObjectId::new(source.kind, &source.metadata.name).to_string(),
        size: made.status.size,
        written_size: made.status.written_size.clone(),
        created_at: made.status.created_at,
        condition: made.status.condition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::name;
    use crate::model::{Stack, VolumeSpec};
    use crate::report::fixtures::{overview, reading};
    use crate::report::status;

    #[test]
    fn the_clones_of_many_objects_are_found_without_comparing_each_with_each() {
        // If each object were compared with each other one, this would take minutes.
        let mut reading = reading(Stack::unnamed(), &["v0"]);
        let first = reading.specs.volumes[&name("v0")].clone();
        for n in 1..100_000 {
            let (mut clone, source) = (first.clone(), name(&format!("v{}", n / 2)));
            clone.meta.name = name(&format!("v{n}"));
            let clone = VolumeSpec { source: Some(SourceSpec::Volume(source).into()), ..clone };
            reading.specs_mut().volumes.insert(clone.meta.name.clone(), clone);
        }
        let overview = overview(Vec::new());
        let all = status(&overview, &reading);
        let sources = Sources::new(&all, &overview);
        let clones = |object| sources.related_to(object).map_or(0, |related| related.clones.len());
        assert_eq!(all.iter().map(clones).sum::<usize>(), 99_999);
        let of_seven = all.iter().find(|object| object.metadata.name.as_str() == "v7");
        let of_seven = sources.related_to(of_seven.unwrap()).unwrap().clones;
        assert_eq!(of_seven.iter().map(|clone| clone.name.as_str()).collect::<Vec<_>>(), ["v14", "v15"]);
    }
}
