//! How much work the operations on a whole backend are: counted, and never measured.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::*;
use crate::driver::Driver;
use crate::driver::sim::FaultRates;
use crate::driver::sim::{SimDriver, SimWorld};
use crate::manifest::fixtures::reading_of;
use crate::model::{BackendSpec, COMPARED, DriverError, Name, Reading};
use crate::plan::Plan;
use crate::store::{MemoryStore, Store};

pub(super) struct Fixed(pub(super) u64);

impl Clock for Fixed {
    fn now(&self) -> u64 {
        self.0
    }
}

/// Every backend is this simulated pool.
pub(super) struct One(pub(super) Arc<Mutex<SimWorld>>);

impl Connect for One {
    fn connect(&self, _: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(SimDriver::new(Arc::clone(&self.0), FaultRates::NONE, 0)))
    }
}

/// Confirms every plan.
pub(super) struct Yes;

#[async_trait]
impl Reporter for Yes {
    fn event(&self, _: Event) {}
    async fn confirm(&self, _: &Plan) -> Confirmation {
        Confirmation::Given
    }
}

fn text_of(owner: &str, volumes: usize) -> String {
    let head = "apiVersion: kiln/v1\nkind:";
    let mut text = format!(
        "{head} Stack\nmetadata: {{name: {owner}}}\nspec: {{id: 5c1d2e8a90, defaults: {{backend: pool}}, \
         safety: {{maxRemovals: 100000, maxRemovedPercent: 100, maxRemovedBytes: 1Pi}}}}\n---\n\
         {head} Backend\nmetadata: {{name: pool}}\nspec: {{driver: sim}}\n"
    );
    for n in 0..volumes {
        text.push_str(&format!("---\n{head} Volume\nmetadata: {{name: v{n}}}\nspec: {{size: 1Mi}}\n"));
    }
    text
}

fn specs(owner: &str, volumes: usize) -> Reading {
    // As a directory that holds it.
    Reading { coverage: Default::default(), ..reading_of(&text_of(owner, volumes)) }
}

/// How often each operation on a backend of `count` objects looks at one of them to compare it.
async fn comparisons(count: usize) -> BTreeMap<&'static str, usize> {
    let world = Arc::new(Mutex::new(SimWorld::new(7)));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let setup = |specs: Reading, now: u64| Setup {
        reading: Arc::new(specs),
        store: Some(Arc::clone(&store)),
        connect: Arc::new(One(Arc::clone(&world))),
        clock: Arc::new(Fixed(1_800_000_000 + now)),
        jobs: Arc::default(),
    };
    let (pool, old): (Name, crate::model::Owner) = ("pool".parse().unwrap(), "old".parse().unwrap());
    let apply = async |setup: Setup| reconcile_once(&setup, &Options::default(), Arc::new(Yes)).await.unwrap();
    let mut counts = BTreeMap::new();
    let mut count_of = |what| {
        counts.insert(what, COMPARED.take());
    };
    assert_eq!(apply(setup(specs("old", count), 0)).await.changed, count);
    // Half of them in the trash.
    apply(setup(specs("old", count / 2), 1)).await;
    COMPARED.take();
    let given = setup(specs("new", count / 2), 2);
    assert_eq!(adopt_owner(&given, &pool, &old).await.unwrap().done.len(), count);
    count_of("adopt --from-owner");
    forget_backend(&given, &pool, None).await.unwrap();
    count_of("forget backend");
    // A pass notes the time, which a purge has to agree with.
    apply(setup(specs("new", count / 2), 30 * 86_400)).await;
    let later = setup(specs("new", count / 2), 30 * 86_400);
    COMPARED.take();
    let (listed, _) = trash_purge_list(&later, &Purge::Expired).await.unwrap();
    assert_eq!(trash_purge(&later, &Purge::Expired, &listed).await.unwrap().done.len(), count / 2);
    count_of("trash purge");
    assert_eq!(world.lock().unwrap().live_objects().count(), count / 2);
    counts.insert("trash restore", restore_comparisons(count).await);
    counts
}

/// Likewise, for a volume that comes back with `count` snapshots.
async fn restore_comparisons(count: usize) -> usize {
    let world = Arc::new(Mutex::new(SimWorld::new(7)));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let setup = |reading: Reading| Setup {
        reading: Arc::new(reading),
        store: Some(Arc::clone(&store)),
        connect: Arc::new(One(Arc::clone(&world))),
        clock: Arc::new(Fixed(1_800_000_000)),
        jobs: Arc::default(),
    };
    let head = "apiVersion: kiln/v1\nkind:";
    // The last volume of an owner is not removed.
    let (mut text, without) = (text_of("prod", 2), specs("prod", 1));
    for n in 0..count {
        text.push_str(&format!("---\n{head} Snapshot\nmetadata: {{name: s{n}}}\nspec: {{volume: v1}}\n"));
    }
    let all = Reading { coverage: Default::default(), ..reading_of(&text) };
    let apply = async |setup: Setup| reconcile_once(&setup, &Options::default(), Arc::new(Yes)).await.unwrap();
    assert_eq!(apply(setup(all)).await.changed, count + 2);
    assert_eq!(apply(setup(without.clone())).await.changed, count + 1);
    COMPARED.take();
    let back = trash_restore(&setup(without), crate::model::Kind::Volume, &"v1".parse().unwrap()).await.unwrap();
    assert_eq!(back.done.len(), count + 1, "{back:?}");
    COMPARED.take()
}

#[tokio::test]
async fn operations_on_a_whole_backend_take_work_in_proportion_to_its_objects() {
    let (few, many) = (comparisons(40).await, comparisons(80).await);
    for (what, few) in few {
        let many = many[what];
        // Twice the objects: about twice the work, and four times if each were compared with each.
        assert!(many <= few * 5 / 2 + 20, "{what}: {few} comparisons for 40 objects, {many} for 80");
    }
}
