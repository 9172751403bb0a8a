use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::model::fixtures::{name, owner, volume};
use crate::model::{
    BackendRecord, COMPARED, Capabilities, LedgerView, ObjectRecord, PoolId, Records, Seconds, Size, Stack, Suspension,
    Suspensions, Tags, Tombstone, VolumeSettings,
};
use crate::plan::{Inputs, plan};
use crate::report::fixtures::{NOW, reading};

/// Reason, name, bytes, since and fix.
type Told = (&'static str, String, Option<u64>, Option<u64>, String);

fn declared(volumes: &[&str]) -> Reading {
    reading(Stack { owner: owner(), declared: true, id: "5c1d2e8a90".to_owned(), ..Stack::unnamed() }, volumes)
}

fn object(text: &str, place: Place, tags: Tags) -> Object {
    let identity = volume(text);
    Object {
        used: (place == Place::Temporary).then_some(512),
        tags: tags.into(),
        ..Object::of(identity, place, Size(1 << 30))
    }
}

fn live(text: &str) -> Object {
    object(text, Place::Live, Tags::default())
}

fn trashed(text: &str, expires: u64) -> Object {
    object(text, Place::Trash, Tags { expires: Some(expires), ..Tags::default() })
}

/// A pool with these objects, whose ledger knows them and `gone`, as does the store.
struct Scene {
    specs: Reading,
    ledger: Ledger,
    observed: Observed,
    records: Records,
}

impl Scene {
    fn new(declared: &[&str], objects: Vec<Object>, gone: &[&str]) -> Self {
        let pool = PoolId("p".to_owned());
        let mut scene = Self {
            specs: self::declared(declared),
            ledger: Ledger::new(pool.clone(), owner(), "5c1d2e8a90".to_owned()),
            observed: Observed { pool: Some(pool), objects, ..Observed::nothing() },
            records: Records::default(),
        };
        let gone: Vec<Object> = gone.iter().map(|text| live(text)).collect();
        for object in scene.observed.objects.clone().iter().chain(&gone) {
            let identity = object.identity.clone().unwrap();
            let entry = identity.ledger_entry(0, object.address(), object.size);
            scene.ledger.complete.insert(identity.uid, entry);
            let last = (object.native.clone(), object.size, Tags::default(), VolumeSettings::default());
            let record = ObjectRecord::new(identity.clone(), name("fast"), last, Some(object), NOW - 60);
            scene.records.objects.insert(identity.uid, record);
        }
        scene
    }

    fn overview(&self) -> Overview {
        let mut observed = self.observed.clone();
        observed.ledger = Some(LedgerView::Good(Arc::new(self.ledger.clone())));
        let capabilities = Capabilities::everything();
        let world = BTreeMap::from([(name("fast"), Observation::Seen { capabilities, observed })]);
        let mut records = self.records.clone();
        let record = BackendRecord {
            place: "memory".to_owned(),
            pool: self.ledger.pool.clone(),
            owner: owner(),
            observed_at: NOW,
            ledger: Some(self.ledger.clone()),
        };
        records.backends.insert(name("fast"), record);
        let suspended = Suspensions::union(records.suspensions.values()).in_force(NOW);
        let inputs = Inputs { suspended: &suspended, ..Inputs::new(&self.specs, &world, &records) };
        let (plan, judged) = (plan(&inputs), inputs.judged);
        let nothing = crate::report::fixtures::overview(Vec::new());
        Overview { world, judged, paths: BTreeMap::new(), records: Arc::new(records), suspended, plan, ..nothing }
    }

    fn orphans(&self) -> Vec<Told> {
        let orphans = orphans(&self.overview(), &self.specs);
        let parts = orphans.into_iter().map(|orphan| {
            let called = orphan.object.map(|object| object.name.to_string()).unwrap_or_default();
            (orphan.reason.as_str(), called, orphan.bytes, orphan.since, orphan.fix)
        });
        parts.collect()
    }

    fn forget_in_ledger(&mut self, text: &str) {
        self.ledger.complete.remove(&volume(text).uid);
    }
}

fn orphan(reason: &'static str, called: &str, bytes: Option<u64>, since: Option<u64>, fix: &str) -> Told {
    (reason, called.to_owned(), bytes, since, fix.to_owned())
}

#[test]
fn declared_planned_held_and_released_objects_are_no_orphans() {
    let released = object("released", Place::Live, Tags { retained: true, ..Tags::default() });
    let protected = object("protected", Place::Live, Tags { protected: true, ..Tags::default() });
    let objects = vec![live("db"), live("leaves"), protected, released, trashed("kept", NOW + 1)];
    // `lost` is declared and gone: it is held, and missed.
    assert_eq!(Scene::new(&["db", "new", "lost"], objects, &["lost"]).orphans(), []);
}

#[test]
fn orphans_are_found_with_work_in_proportion_to_the_objects() {
    let comparisons = |count: usize| {
        let texts: Vec<String> = (0..count).map(|n| format!("v{n}")).collect();
        let names = |from: usize, to: usize| texts[from..to].iter().map(String::as_str).collect::<Vec<_>>();
        let objects = names(0, count / 2).into_iter().map(|text| trashed(text, NOW - 1)).collect();
        let scene = Scene::new(&[], objects, &names(count / 2, count));
        let overview = scene.overview();
        COMPARED.take();
        assert_eq!(orphans(&overview, &scene.specs).len(), count);
        COMPARED.take()
    };
    let (few, many) = (comparisons(40), comparisons(80));
    assert!(few >= 20 && many <= 2 * few + 20, "{few} comparisons for 40 objects, {many} for 80");
}

#[test]
fn an_unaccounted_object_is_reported() {
    let scene = Scene::new(&["db"], vec![live("db"), live("stray")], &[]);
    let mut overview = scene.overview();
    // The planner plans for all that is ours; this is for the day on which it does not.
    overview.plan.steps.clear();
    let found = orphans(&overview, &scene.specs);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].reason, found[0].bytes), (OrphanReason::Unaccounted, Some(1 << 30)));
    assert_eq!((found[0].since, found[0].native.clone()), (Some(NOW - 60), volume("stray").native()));
    let in_doubt = Reading { unconfirmed: true, ..scene.specs };
    assert_eq!(orphans(&overview, &in_doubt), [], "it may be declared all the same");
}

#[test]
fn unfinished_objects_are_orphans_only_without_a_writer() {
    let half = object("new", Place::Temporary, Tags::default());
    let mut scene = Scene::new(&["db", "new"], vec![live("db"), half], &[]);
    scene.forget_in_ledger("new");
    scene.records.objects.remove(&volume("new").uid);
    assert_eq!(scene.orphans(), [orphan("LeftOver", "new", Some(512), None, "`kiln apply`")]);
    scene.observed.locked = vec![owner()];
    assert_eq!(scene.orphans(), []);
}

#[test]
fn expired_trash_shows_its_expiry_and_what_keeps_it() {
    let mut scene = Scene::new(&["db"], vec![live("db"), trashed("old", NOW - 5), trashed("kept", NOW - 5)], &[]);
    let suspension = Suspension {
        id: None,
        owner: owner(),
        object: Some(ObjectId::new(Kind::Volume, &name("kept"))),
        reason: "who needs it?".to_owned(),
        since: NOW,
        until: Some(NOW + Seconds(60).0),
        resumed: None,
    };
    scene.records.suspensions.insert(suspension.key(), suspension);
    let resume = "`kiln resume volume/kept`, then `kiln trash purge`";
    let size = Some(1 << 30);
    let expected = [
        orphan("Expired", "kept", size, Some(NOW - 5), resume),
        orphan("Expired", "old", size, Some(NOW - 5), "`kiln trash purge`"),
    ];
    assert_eq!(scene.orphans(), expected);
}

#[test]
fn a_remembered_object_is_an_orphan_until_its_tombstone() {
    let mut scene = Scene::new(&["db"], vec![live("db")], &["dropped", "stone", "storeonly"]);
    for text in ["stone", "storeonly"] {
        scene.forget_in_ledger(text);
    }
    let stone = Tombstone { kind: Kind::Volume, name: name("stone"), at: NOW };
    scene.ledger.tombstones.insert(volume("stone").uid, stone);
    let seen = Some(NOW - 60);
    let expected = [
        orphan("Remembered", "dropped", None, seen, "`kiln apply`"),
        orphan("Remembered", "stone", None, seen, "`kiln apply`"),
        orphan("Remembered", "storeonly", None, seen, "`kiln forget volume/storeonly`"),
    ];
    assert_eq!(scene.orphans(), expected);
    scene.observed.listed.volumes = false;
    assert_eq!(scene.orphans(), [], "an absence that is not proven says nothing");
}
