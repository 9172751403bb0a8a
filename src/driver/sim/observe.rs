//! Observations of the simulated pool, and the effect of faults on them.

use std::collections::BTreeSet;

use crate::model::{Address, Clients, Kind, Listed, Object, Observed, Owner, Place, Provisioning, Scope, Written};

use super::copies::Copies;
use super::fault::Fault;
use super::world::{SimKey, SimObject, SimWorld, identity_of, is_snapshot, put};

/// Observes the pool. `choice` decides where a truncated listing ends.
pub(super) fn observe(
    world: &SimWorld,
    scope: &Scope,
    fault: Option<Fault>,
    choice: u64,
    locked: Vec<Owner>,
) -> Observed {
    let mut objects = match scope {
        Scope::All { .. } if fault == Some(Fault::Stale) => lagging(world),
        Scope::All { .. } => {
            world.content.objects.iter().map(|(key, object)| describe(world, key, object, false)).collect()
        }
        Scope::Objects(addresses) => at(world, addresses),
    };
    objects.sort_by(|a, b| (&a.native, &a.parent_volume, a.place).cmp(&(&b.native, &b.parent_volume, b.place)));
    let ledgers = &world.content.ledgers;
    let (ledger, owners) = match scope {
        Scope::All { owner } => (ledgers.get(owner).map(Copies::view), ledgers.keys().cloned().collect()),
        Scope::Objects(_) => (None, BTreeSet::new()),
    };
    let mut seen = Observed {
        pool: world.content.pool.clone(),
        objects,
        ledger,
        owners,
        capacities: world.capacities(),
        locked,
        ..Observed::nothing_in(scope)
    };
    match (fault, scope) {
        (Some(Fault::Cut), Scope::All { .. }) => cut(&mut seen, choice),
        (Some(Fault::Cut), Scope::Objects(_)) => answer_for_some(&mut seen, choice),
        _ => {}
    }
    seen
}

/// Returns an object as observed. `closely`: by its name, with its clients, and whether it was ever written.
fn describe(world: &SimWorld, key: &SimKey, object: &SimObject, closely: bool) -> Object {
    let SimKey { native, volume, trashed } = key;
    let (identity, conflict) = identity_of(native, object);
    let unowned_kind = match identity.is_none() && is_snapshot(key, object) {
        true => Kind::Snapshot,
        false => Kind::Volume,
    };
    let place = match trashed {
        Some(_) => Place::Trash,
        None if native.is_temporary() => Place::Temporary,
        None => Place::Live,
    };
    let is_volume = place != Place::Temporary && !is_snapshot(key, object);
    let written = match (closely, object.content.is_empty()) {
        (false, _) => Written::Unknown,
        (true, true) => Written::Never,
        (true, false) => Written::Yes,
    };
    let clients = match closely.then(|| world.open.get(&key.address())) {
        None => Clients::Unknown,
        Some(Some(clients)) if trashed.is_none() => Clients::Some(clients.clone()),
        Some(_) => Clients::None,
    };
    Object {
        id: object.id(),
        used: Some(object.used()),
        created: (object.created > 0).then_some(object.created),
        tags: object.tags.clone(),
        settings: object.settings.clone(),
        provisioning: is_volume.then_some(if object.thick { Provisioning::Thick } else { Provisioning::Thin }),
        conflict,
        blocker: object.blocker.clone(),
        parent: object.parent,
        needed_by: object.needed_by.clone(),
        clients,
        written,
        identity,
        parent_volume: volume.clone(),
        unowned_kind,
        of_volume: object.of_volume.clone(),
        ..Object::new(native.clone(), place, object.size)
    }
}

fn at(world: &SimWorld, addresses: &[Address]) -> Vec<Object> {
    let addresses: BTreeSet<_> = addresses.iter().collect();
    let of_address = |at: &'_ Address| {
        let from = world.content.objects.range(SimKey::new(at.clone(), None)..);
        let found = from.take_while(|(key, _)| key.native == at.native && key.volume == at.parent_volume);
        found.map(|(key, object)| describe(world, key, object, true)).collect::<Vec<_>>()
    };
    addresses.into_iter().flat_map(of_address).collect()
}

/// Returns the objects before the last change.
fn lagging(world: &SimWorld) -> Vec<Object> {
    let mut objects = world.content.objects.clone();
    for (key, old) in &world.before {
        put(&mut objects, key.clone(), old.clone());
    }
    objects.iter().map(|(key, object)| describe(world, key, object, false)).collect()
}

/// Whether an address is in the first half of all. Each `choice` halves them in another way.
fn is_in_first_half(at: &Address, choice: u64) -> bool {
    let at = at.to_string();
    let sum = at.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    (sum >> (choice % 8)).is_multiple_of(2)
}

/// Leaves about half of the objects out of the lists, always the same ones, as a backend does that answers only for names.
pub(super) fn list_some(seen: &mut Observed) {
    seen.objects.retain(|object| is_in_first_half(&object.address(), 0));
    seen.listed = Listed::NONE;
}

/// Leaves about half of the names without an answer, or all of them.
fn answer_for_some(seen: &mut Observed, choice: u64) {
    let is_answered = |at: &Address| choice % 4 != 3 && is_in_first_half(at, choice);
    seen.queried.retain(is_answered);
    seen.objects.retain(|object| is_answered(&object.address()));
    seen.gaps.push("the answer ended early".to_owned());
}

/// Truncates one of the lists, or all of them, and marks them as incomplete.
fn cut(seen: &mut Observed, choice: u64) {
    let (all, one) = (choice % 4 == 3, choice % 4);
    let of = |object: &Object| match (object.place, object.kind() == Kind::Snapshot) {
        (Place::Trash, _) => 2,
        (_, true) => 1,
        (_, false) => 0,
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
