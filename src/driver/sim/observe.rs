//! Observations of the simulated pool, and the effect of faults on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Capacity, Kind, Listed, NativeName, Object, Observed, Owner, Place, Scope, Uid};

use super::fault::Fault;
use super::world::{SimObject, SimWorld};

/// Observes the pool. `choice` decides where a truncated listing ends.
pub(super) fn observe(
    world: &SimWorld,
    scope: &Scope,
    fault: Option<Fault>,
    choice: u64,
    locked: Vec<Owner>,
) -> Observed {
    let mut objects = match scope {
        Scope::All if fault == Some(Fault::Stale) => lagging(world),
        Scope::All => everything(world),
        Scope::Objects(names) => named(world, names),
    };
    objects.sort_by(|a, b| (&a.native, a.place).cmp(&(&b.native, b.place)));
    let mut seen = Observed {
        pool: world.pool.clone(),
        listed: Listed::COMPLETE,
        gaps: Vec::new(),
        objects,
        ledgers: world.ledger_views(),
        capacity: world.capacity.map(|total| Capacity { total: total.bytes(), used: world.used(), objects: None }),
        locked,
        writers: BTreeMap::new(),
    };
    if fault == Some(Fault::Cut) {
        cut(&mut seen, choice);
    }
    seen
}

fn everything(world: &SimWorld) -> Vec<Object> {
    let live = world.live.iter().map(|(native, object)| world.describe(native, Place::Live, object, false));
    let trash = world.trash.iter().map(|((native, _), object)| world.describe(native, Place::Trash, object, false));
    live.chain(trash).collect()
}

fn named(world: &SimWorld, names: &[NativeName]) -> Vec<Object> {
    let mut names: Vec<_> = names.iter().collect();
    names.sort();
    names.dedup();
    let mut objects = Vec::new();
    for native in names {
        if let Some(object) = world.live.get(native) {
            objects.push(world.describe(native, Place::Live, object, true));
        }
        let first: Option<Uid> = "22222222".parse().ok();
        let trash = first.map(|first| world.trash.range((native.clone(), first)..)).into_iter().flatten();
        for (_, object) in trash.take_while(|((name, _), _)| name == native) {
            objects.push(world.describe(native, Place::Trash, object, true));
        }
    }
    objects
}

/// Returns the objects before the last change.
fn lagging(world: &SimWorld) -> Vec<Object> {
    let mut live = world.live.clone();
    let mut trash = world.trash.clone();
    for (native, old) in &world.before.live {
        put(&mut live, native.clone(), old.clone());
    }
    for (key, old) in &world.before.trash {
        put(&mut trash, key.clone(), old.clone());
    }
    let before = SimWorld { live, trash, ..SimWorld::default() };
    everything(&before)
}

fn put<K: Ord>(map: &mut std::collections::BTreeMap<K, Arc<SimObject>>, key: K, value: Option<Arc<SimObject>>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

/// Truncates one of the lists, or all of them, and marks them as incomplete.
fn cut(seen: &mut Observed, choice: u64) {
    let (all, one) = (choice % 4 == 3, choice % 4);
    let of = |object: &Object| match (object.place, object.identity.as_ref().map(|id| id.kind)) {
        (Place::Trash, _) => 2,
        (_, Some(Kind::Snapshot)) => 1,
        _ => 0,
    };
    let concerned = seen.objects.iter().filter(|object| all || of(object) == one).count() as u64;
    let mut left = if concerned == 0 { 0 } else { (choice >> 8) % concerned };
    seen.objects.retain(|object| {
        let stays = !(all || of(object) == one) || left > 0;
        if all || of(object) == one {
            left = left.saturating_sub(1);
        }
        stays
    });
    let Listed { volumes, snapshots, trash } = &mut seen.listed;
    for (list, is) in [(volumes, 0), (snapshots, 1), (trash, 2)] {
        *list &= !(all || one == is);
    }
    let what = ["volumes", "snapshots", "the trash", "objects"][one as usize];
    seen.gaps.push(format!("the listing of {what} ended early"));
}
