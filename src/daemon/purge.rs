//! The purge of expired objects in the trash, after a pass that leaves no doubt about them.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::reconciler::Reconciler;
use super::schedule::VANISHED;
use crate::engine::{self, Blockers, Executed, OpenPass, Options, Purge, Report, Trashed};
use crate::manifest::ManifestState;
use crate::model::{Identity, Kind, LedgerView, Name, PurgeMode, Reading, Step, Uid};
use crate::plan::{self, Observation, Referenced};

impl Reconciler {
    /// Records how long each object has been observed in the trash, and how long no document has referred to it.
    pub(super) fn note_trash(&self, manifests: &ManifestState, reading: &Arc<Reading>, report: &Report) {
        let reading = confirmed_by_object(reading);
        let specs = &reading.specs;
        let complete = |(name, view): (&Name, &Observation)| match view {
            Observation::Seen { .. } if shows_all(view) => Some(name.clone()),
            _ => None,
        };
        let complete = report.world.iter().filter_map(complete).collect();
        let trash = engine::trash_in(&report.world, &specs.stack.owner);
        let ttl = specs.stack.trash.ttl.into();
        let referenced = Referenced::of(specs);
        // A manifest that cannot be read may refer to any object.
        let is_referenced =
            |trashed: &Trashed| !manifests.problems.is_empty() || is_referenced(trashed, &referenced, &reading, report);
        self.known().expiry.note(&trash, &complete, ttl, self.config.clock.now(), Instant::now(), is_referenced);
    }

    /// Purges the expired objects in the trash. `reading` is that of the pass, and has no problems. `pass`: the pass, if it is still open.
    pub(super) async fn purge(
        self: &Arc<Self>,
        pass: Option<OpenPass<'_>>,
        reading: &Arc<Reading>,
        options: &Options,
        report: &Report,
        manifests: &ManifestState,
    ) {
        let reading = confirmed_by_object(reading);
        let specs = &reading.specs;
        if specs.stack.trash.purge != PurgeMode::Auto || report.stopped || !report.breaches.is_empty() {
            return;
        }
        let mut expired: Vec<Trashed> = {
            let (referenced, concerned) = (Referenced::of(specs), Concerned::by(report));
            let (known, wall, now) = (self.known(), self.config.clock.now(), Instant::now());
            let trash = engine::trash_in(&report.world, &specs.stack.owner).into_iter();
            let certain = trash.filter(|trashed| {
                is_certain(trashed, &referenced, &concerned, &reading, report) && !is_suspended(trashed, report)
            });
            certain.filter(|trashed| known.expiry.is_expired(trashed, wall, now)).collect()
        };
        if expired.is_empty() {
            return;
        }
        // The pass may have taken hours. Objects that were declared again since then must stay.
        let again = self.read().await;
        let is_same_stack = again.reading.specs.stack.owner == manifests.reading.specs.stack.owner
            && again.reading.specs.stack.id == manifests.reading.specs.stack.id
            && again.reading.specs.stack.trash == manifests.reading.specs.stack.trash;
        // A directory may have vanished since the pass began: it has to wait.
        let mut now = Reading::clone(&again.reading);
        now.coverage.young = reading.coverage.young || again.content != manifests.content;
        now.coverage.young_until =
            now.coverage.young.then(|| self.config.clock.now().saturating_add(VANISHED.as_secs()));
        let may_go_on = !options.stop.is_cancelled()
            && !self.is_checkout_running().await
            && again.problems.is_empty()
            && again.usable
            && is_same_stack;
        let referenced = Referenced::of(&now.specs);
        expired.retain(|trashed| may_go_on && !is_referenced(trashed, &referenced, &now, report));
        if expired.is_empty() {
            self.wake.notify_one();
            return;
        }
        let setup = self.setup(Arc::new(now));
        let purged = match pass {
            Some(pass) => engine::trash_purge_after(pass, &setup, &expired).await,
            None => engine::trash_purge(&setup, &Purge::Expired, &expired).await,
        };
        match purged {
            Ok(Executed { done, left }) => {
                self.metrics.purged(done.len());
                done.iter().for_each(|done| tracing::info!("{done}: it had expired"));
                left.iter().for_each(|why| tracing::warn!("an expired object was not purged: {why}"));
            }
            Err(error) => tracing::warn!("cannot purge expired objects: {error}"),
        }
    }
}

/// Returns the reading without the mark that it was the only one: in the trash each object is confirmed on its own.
fn confirmed_by_object(reading: &Arc<Reading>) -> Arc<Reading> {
    match reading.unconfirmed {
        true => Arc::new(Reading { unconfirmed: false, ..Reading::clone(reading) }),
        false => Arc::clone(reading),
    }
}

/// Whether a document refers to an object, or may, as far as the reading shows. `referenced` is of its specs.
fn is_referenced(trashed: &Trashed, referenced: &Referenced<'_>, reading: &Reading, report: &Report) -> bool {
    let observed = report.world.get(&trashed.backend).and_then(Observation::observed);
    let ledger = observed.and_then(|observed| observed.ledger.as_ref()).and_then(LedgerView::ledger);
    let is_named = trashed.object.identity.as_ref().is_none_or(|id| referenced.contains(id.kind, &id.name));
    is_named || engine::is_kept_by_reading(reading, ledger, &trashed.object)
}

/// Whether the object was suspended when the pass began. (The purge itself checks later suspensions.)
fn is_suspended(trashed: &Trashed, report: &Report) -> bool {
    let identity = trashed.object.identity.as_ref();
    identity.is_some_and(|id| plan::suspension_of(&report.suspensions, id.kind, &id.name).is_some())
}

/// The objects that a step or hold of a pass is about, by uid and by name, those that a step moves inside of its volume, and the snapshots
/// of restores that are not complete; and what blocks objects. Built once for all objects in the trash.
struct Concerned<'a> {
    uids: HashSet<Uid>,
    names: HashSet<(Kind, &'a Name)>,
    blockers: Blockers<'a>,
}

impl<'a> Concerned<'a> {
    fn by(report: &'a Report) -> Self {
        let plan = || report.plan.iter();
        let inner = |step: &'a Step| step.action.with().iter().map(|inner| &inner.identity);
        let steps = || plan().flat_map(|plan| &plan.steps).flat_map(move |step| inner(step).chain([&step.identity]));
        let held = || plan().flat_map(|plan| &plan.held);
        let uids = steps().map(|id| id.uid).chain(held().filter_map(|held| held.uid));
        // The purge observes only what it destroys, not the volumes whose restore needs it.
        let uids = uids.chain(engine::sources_of_restores(&report.world).into_keys());
        let copied = report.running.iter().filter_map(|running| running.source()).map(|source| source.uid);
        let uids = uids.chain(copied).collect();
        let names = steps().map(|id| (id.kind, &id.name)).chain(held().map(|held| (held.kind, &held.name))).collect();
        Self { uids, names, blockers: Blockers::in_world(&report.world) }
    }

    fn contains(&self, identity: &Identity) -> bool {
        self.uids.contains(&identity.uid) || self.names.contains(&(identity.kind, &identity.name))
    }
}

/// Whether everything was observed that can depend on an object in the trash.
fn shows_all(view: &Observation) -> bool {
    let ledger = view.observed().and_then(|observed| observed.ledger.as_ref()).and_then(LedgerView::ledger);
    view.shows_all(ledger)
}

/// Whether nothing about an object in the trash is in doubt: its backend was observed completely, it is consistent, no step or
/// hold concerns it, and no document refers to it.
fn is_certain(
    trashed: &Trashed,
    referenced: &Referenced<'_>,
    concerned: &Concerned<'_>,
    reading: &Reading,
    report: &Report,
) -> bool {
    let Some(view @ Observation::Seen { observed, .. }) = report.world.get(&trashed.backend) else { return false };
    let Some(identity) = &trashed.object.identity else { return false };
    report.plan.is_some()
        && shows_all(view)
        && observed.gaps.is_empty()
        && trashed.object.conflict.is_none()
        && concerned.blockers.why(&trashed.backend, &trashed.object).is_none()
        && !trashed.clients_unseen
        && report.usable.contains(&trashed.backend)
        && !concerned.contains(identity)
        && !is_referenced(trashed, referenced, reading, report)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::manifest::fixtures::reading_of;
    use crate::model::fixtures::{name, nth};
    use crate::model::{
        Absence, Action, Address, Blocker, BlockerReason, Capabilities, InnerSnapshot, Ledger, Listed, NativeName,
        Object, ObjectRef, Observed, Place, PoolId, Reason, Restoring, Size, Tags, Verb,
    };
    use crate::plan::{Held, HeldReason, Plan, RunningStep};

    fn trashed() -> Trashed {
        let object = Object::of(nth(Kind::Volume, "db", 0), Place::Trash, Size(1));
        Trashed { backend: name("fast"), object, expires: Some(1), clients_unseen: false }
    }

    fn observed() -> Observed {
        Observed { pool: Some(PoolId("p".to_owned())), objects: vec![trashed().object], ..Observed::nothing() }
    }

    fn seen(observed: Observed) -> Observation {
        Observation::Seen { capabilities: Capabilities::everything(), observed }
    }

    /// The report of a pass that leaves nothing in doubt.
    fn report() -> Report {
        Report {
            plan: Some(Plan::of("prod".parse().unwrap(), String::new(), Vec::new())),
            world: [(name("fast"), seen(observed()))].into(),
            usable: BTreeSet::from([name("fast")]),
            ..Report::default()
        }
    }

    fn with_step(identity: Identity) -> Report {
        let step = Step::new(name("fast"), identity, Action::Destroy, Reason::NotThere);
        Report { plan: Some(Plan::of("prod".parse().unwrap(), String::new(), vec![step])), ..report() }
    }

    /// The object comes back inside of its volume.
    fn with_volume() -> Report {
        let mut report = with_step(nth(Kind::Volume, "web", 0));
        let with = InnerSnapshot::of(&trashed().object, false).into_iter().collect();
        report.plan.as_mut().unwrap().steps[0].action = Action::Undelete { tags: Tags::default(), with };
        report
    }

    fn with_held(volume: &str, uid: Option<Uid>) -> Report {
        let mut report = report();
        report.plan.as_mut().unwrap().held.push(Held {
            kind: Kind::Volume,
            name: name(volume),
            action: Verb::Create,
            endpoint: None,
            uid,
            reason: HeldReason::InUse,
            message: String::new(),
            fix: String::new(),
            in_trash: false,
        });
        report
    }

    /// A step of an earlier pass still copies the object.
    fn being_copied() -> Report {
        let Object { native, size, .. } = trashed().object;
        let volume = ObjectRef::new(native, trashed().object.uid().unwrap(), size);
        let action = Action::Snapshot { volume, tags: Tags::default(), n: 0 };
        let step = Step::new(name("fast"), nth(Kind::Snapshot, "s", 0), action, Reason::NotThere);
        Report { running: vec![RunningStep { step, since: 0, done: 0, total: 0 }], ..report() }
    }

    fn in_world(view: Observation) -> Report {
        Report { world: [(name("fast"), view)].into(), ..report() }
    }

    /// The restore of another volume from the object is not complete.
    fn half_restored(place: Place, parent_volume: Option<NativeName>) -> Report {
        let begun = Restoring { request: "one".to_owned(), snapshot: trashed().object.uid(), size: None };
        let mut half = Object::of(nth(Kind::Volume, "web", 0), place, Size(1));
        half.tags.restoring = Some(Box::new(begun));
        let mut observed = observed();
        observed.objects[0].parent_volume = parent_volume;
        observed.objects.push(half);
        in_world(seen(observed))
    }

    fn declared(volume: &str) -> Reading {
        let head = "apiVersion: kiln/v1\nkind:";
        let text = format!(
            "{head} Stack\nmetadata: {{name: prod}}\nspec: {{id: 5c1d2e8a90, defaults: {{backend: fast}}}}\n---\n\
             {head} Backend\nmetadata: {{name: fast}}\nspec: {{driver: sim}}\n---\n\
             {head} Volume\nmetadata: {{name: {volume}}}\nspec: {{size: 1Mi}}\n"
        );
        let mut reading = reading_of(&text);
        // Like a directory with the Stack, it covers all objects of the owner.
        reading.coverage.prune();
        reading
    }

    fn certain(trashed: &Trashed, reading: &Reading, report: &Report) -> bool {
        is_certain(trashed, &Referenced::of(&reading.specs), &Concerned::by(report), reading, report)
    }

    #[test]
    fn an_object_is_purged_only_if_nothing_about_it_is_in_doubt() {
        let reading = declared("other");
        assert!(certain(&trashed(), &reading, &report()));
        assert!(
            certain(&trashed(), &reading, &with_step(nth(Kind::Volume, "other", 0))),
            "steps for other objects cause no doubt"
        );
        assert!(certain(&trashed(), &reading, &with_held("other", None)));
        assert!(!certain(&trashed(), &declared("db"), &report()), "a document refers to it");
        assert!(!certain(&trashed(), &reading, &being_copied()), "it is being copied");
        let partly = |listed: Listed| in_world(seen(Observed { listed, ..observed() }));
        let all = Listed::COMPLETE;
        let conflict = Trashed {
            object: Object { conflict: Some("its tags contradict its name".to_owned()), ..trashed().object },
            ..trashed()
        };
        assert!(!certain(&conflict, &reading, &report()), "it is inconsistent");
        let mirrored = Blocker { reason: BlockerReason::Mirrored, message: "it is mirrored".to_owned() };
        let blocked = Object { blocker: Some(Box::new(mirrored.clone())), ..trashed().object };
        assert!(!certain(&Trashed { object: blocked, ..trashed() }, &reading, &report()), "it is blocked");
        let inside_of_blocked = |place: Place| {
            let volume = Object::of(nth(Kind::Volume, "web", 0), place, Size(1));
            let object = Object { parent_volume: Some(volume.native.clone()), ..trashed().object };
            let volume = Object { blocker: Some(Box::new(mirrored.clone())), ..volume };
            let report = in_world(seen(Observed { objects: vec![object.clone(), volume], ..observed() }));
            certain(&Trashed { object, ..trashed() }, &reading, &report)
        };
        assert!(!inside_of_blocked(Place::Live) && !inside_of_blocked(Place::Trash), "its volume is blocked");
        let unowned = Trashed { object: Object { identity: None, ..trashed().object }, ..trashed() };
        assert!(!certain(&unowned, &reading, &report()), "it has no identity");
        let unseen = Trashed { clients_unseen: true, ..trashed() };
        assert!(!certain(&unseen, &reading, &report()), "a client may have it open");
        let gaps = Observed { gaps: vec!["an entry cannot be read".to_owned()], ..observed() };
        let locked = Observation::LockedBy {
            by: "pid 1".to_owned(),
            capabilities: Capabilities::everything(),
            observed: observed(),
        };
        let by_name = |answers_for_all: bool| {
            let mut ledger = Ledger::new(PoolId("p".to_owned()), "prod".parse().unwrap(), String::new());
            let web = nth(Kind::Volume, "web", 0);
            let at = Address::flat(&web.native());
            ledger.complete.insert(web.uid, web.ledger_entry(0, at.clone(), Size(1)));
            let queried = answers_for_all.then_some(at).into_iter().collect();
            let ledger = Some(LedgerView::Good(Arc::new(ledger)));
            in_world(Observation::Seen {
                capabilities: Capabilities { absence: Absence::ByName, ..Capabilities::everything() },
                observed: Observed { listed: Listed::NONE, queried, ledger, ..observed() },
            })
        };
        assert!(certain(&trashed(), &reading, &by_name(true)), "each object of the ledger is shown or proven absent");
        let inside = nth(Kind::Volume, "web", 0).native();
        let goes_along = half_restored(Place::Trash, Some(inside.clone()));
        assert!(certain(&trashed(), &reading, &goes_along), "it goes before the volume that it is inside of");
        for (doubt, report) in [
            ("a step is planned for it", with_step(nth(Kind::Volume, "db", 0))),
            ("a step brings it back with its volume", with_volume()),
            ("a step is planned for another of its name", with_step(nth(Kind::Volume, "db", 1))),
            ("it is held by its uid", with_held("renamed", Some(nth(Kind::Volume, "db", 0).uid))),
            ("its name is held", with_held("db", None)),
            ("volumes are not listed completely", partly(Listed { volumes: false, ..all })),
            ("snapshots are not listed completely", partly(Listed { snapshots: false, ..all })),
            ("the trash is not listed completely", partly(Listed { trash: false, ..all })),
            ("the restore of a volume from it is not complete", half_restored(Place::Live, None)),
            ("a volume whose restore from it is not complete may come back", half_restored(Place::Trash, None)),
            (
                "it is inside of a volume whose restore from it is not complete",
                half_restored(Place::Live, Some(inside)),
            ),
            ("its backend did not answer for each object of the ledger", by_name(false)),
            ("its backend has gaps", in_world(seen(gaps))),
            ("another process holds the lock", in_world(locked)),
            ("its backend was not observed", in_world(Observation::Failed { why: "away".to_owned(), fix: None })),
            ("its backend cannot be used", Report { usable: BTreeSet::new(), ..report() }),
            ("there is no plan", Report { plan: None, ..report() }),
        ] {
            assert!(!certain(&trashed(), &reading, &report), "{doubt}");
        }
    }
}
