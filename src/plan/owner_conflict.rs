//! Pools that another owner uses, or another Stack of this name: what is blocked, and how to get the objects back.

use crate::model::{BackendRecord, Kind, LedgerView, Name, Observed, Owner, Place, Reading, Stack};

use super::blocked::{BlockCause, Blocked};
use super::types::HeldReason;

/// Blocks a pool without our ledger on which another owner has objects under names that we declare: most likely the Stack was
/// renamed, or got its first name.
pub(super) fn check_no_other_owner(reading: &Reading, name: &Name, observed: &Observed) -> Result<(), Blocked> {
    let specs = &*reading.specs;
    let declared_here = |kind: Kind, object: &Name| match kind {
        Kind::Volume => specs.volumes.get(object).is_some_and(|v| v.backend == *name),
        Kind::Snapshot => {
            specs.snapshots.get(object).and_then(|s| specs.volumes.get(&s.volume)).is_some_and(|v| v.backend == *name)
        }
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Export | Kind::Approval => false,
    };
    let live = observed.objects.iter().filter(|o| o.place == Place::Live).filter_map(|o| o.identity.as_ref());
    let mut clashes = live.filter(|id| id.owner != specs.stack.owner && declared_here(id.kind, &id.name));
    let Some(clash) = clashes.next() else { return Ok(()) };
    let owner: &Owner = &clash.owner;
    // The message holds for everything declared on the backend: what the other owner has and what it does not have.
    let others = match clashes.filter(|id| id.owner == *owner).count() {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    Err(Blocked {
        reason: HeldReason::OwnerChanged,
        message: format!(
            "the pool holds objects of {owner} that are declared here: {} {}{others}",
            clash.kind.as_lower(),
            clash.name
        ),
        fix: former_owner(reading, name, owner, observed),
        cause: BlockCause::Shared,
    })
}

/// Returns why a pool without our ledger is blocked if our objects got another owner there, by `kiln adopt --from-owner`.
pub(super) fn given_away(name: &Name, observed: &Observed, record: Option<&BackendRecord>) -> Option<Blocked> {
    let ours = &record?.ledger.as_ref()?.complete;
    // An unfinished object was not adopted: its temporary name has the identity that it was to get.
    let given = observed.objects.iter().filter(|object| object.place != Place::Temporary);
    let other =
        &given.filter_map(|object| object.identity.as_ref()).find(|identity| ours.contains_key(&identity.uid))?.owner;
    Some(Blocked {
        reason: HeldReason::OwnerChanged,
        message: format!("the objects of this Stack on the pool were adopted by {other}"),
        fix: format!("`kiln adopt {name} --from-owner {other}` adopts them back"),
        cause: BlockCause::Shared,
    })
}

/// Returns the Stack that a record of a Backend is of, if it is another one: two Stacks use one store.
pub fn of_another_stack(stack: &Stack, record: &BackendRecord) -> Option<String> {
    if record.owner != stack.owner {
        return Some(record.owner.to_string());
    }
    let id = &record.ledger.as_ref()?.stack;
    (*id != stack.id).then(|| format!("{} (id {id:?})", record.owner))
}

/// Blocks a Backend of whose name the store has another pool, that of another Stack. To accept this pool would drop the records of that
/// Stack. It counts as unobserved: the store does not say which pool this Stack had.
pub(super) fn shared_store(name: &Name, other: &str) -> Blocked {
    Blocked {
        reason: HeldReason::OwnerChanged,
        message: format!("the store has another pool as backend {name}, that of the Stack {other}"),
        fix: "give each Stack a store of its own: `--state DIR`, with every command".to_owned(),
        cause: BlockCause::Unobserved,
    }
}

/// Returns the fix for a pool that belongs to another Stack of this name.
pub(super) fn other_stack(reading: &Reading, backend: &Name, id: &str) -> String {
    let stack = &reading.specs.stack;
    let back = match id {
        "" => "if this Stack document is new and its objects were created without one".to_owned(),
        id => format!(
            "if the id of this Stack was changed, write `spec: {{id: {id}}}` in it again; if it replaces that Stack"
        ),
    };
    format!(
        "{back}, `kiln adopt {backend} --from-owner {owner}` adopts the objects; otherwise give this Stack another name",
        owner = stack.owner
    )
}

/// Returns the fix for a pool that belongs to an owner of another name. Without a Stack document, the missing document is most likely
/// that owner's: adopting its objects, or accepting the pool, would create other objects beside them.
fn former_owner(reading: &Reading, backend: &Name, owner: &Owner, observed: &Observed) -> String {
    if !reading.specs.stack.declared && *owner != reading.specs.stack.owner {
        return missing_stack(owner, observed);
    }
    if *owner == Owner::unnamed() {
        return format!(
            "if its objects were created before this Stack was declared, `kiln adopt {backend} --from-owner {owner}` adopts them; \
             if they belong to other manifests, `kiln forget backend/{backend}` accepts the pool and creates new objects beside them"
        );
    }
    format!(
        "if this Stack was renamed, write `metadata: {{name: {owner}}}` in it again, or give it the objects with `kiln adopt \
         {backend} --from-owner {owner}`; if it is another Stack, which is to have objects of its own beside those, `kiln forget \
         backend/{backend}` accepts the pool"
    )
}

/// Returns the fix for a pool with another owner's objects while no Stack is declared.
pub fn missing_stack(owner: &Owner, observed: &Observed) -> String {
    let id = match observed.others.get(owner) {
        Some(LedgerView::Good(ledger)) => ledger.stack.as_str(),
        _ => "…",
    };
    format!(
        "no Stack is declared: restore its document (`kind: Stack`, `metadata: {{name: {owner}}}`, `spec: {{id: {id}}}`)"
    )
}
