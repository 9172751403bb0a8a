//! Taking over the objects of another owner.

use std::collections::HashSet;

use crate::model::{
    Action, DriverError, Expect, Identity, Ledger, LedgerView, Name, NativeName, Object, Owner, Place, Reason, Risk,
    Seconds, Step, Tags, Verb,
};

use super::error::OperationError;
use super::run::{Executed, begin, lower, make, observed};
use super::stackless::refuse_without_stack;
use super::trash::{Trashed, by_hand};
use crate::engine::ledger;
use crate::engine::setup::Setup;

/// Makes this Stack the owner of all objects of `from` on a declared backend; names and uids stay. Objects that `from` suspended stay
/// suspended.
///
/// # Errors
/// See [`OperationError`]. Then no object was given.
pub async fn adopt_owner(setup: &Setup, backend: &Name, from: &Owner) -> Result<Executed, OperationError> {
    let specs = &setup.reading.specs;
    let owner = &specs.stack.owner;
    if !specs.backends.contains_key(backend) {
        return Err(OperationError::Usage(format!("no Backend {backend} is declared")));
    }
    let mut session = begin(setup).await?;
    let observed = observed(&session, backend)?;
    refuse_without_stack(specs, backend, Some(&observed), session.records.backends.get(backend))?;
    let failed = |error: DriverError| OperationError::Failed(format!("{backend}: {error}"));
    let theirs = match session.observations.backends.get(backend) {
        Some(open) if from != owner => open.ledger(from).await.map_err(failed)?,
        _ => observed.ledger.clone(),
    };
    if let Some(LedgerView::Unreadable(why) | LedgerView::Damaged(why)) = theirs {
        return Err(OperationError::Unobserved(format!("{backend}: {why}")));
    }
    let Some(theirs) = theirs.as_ref().and_then(LedgerView::ledger) else {
        if let Some(unobserved) = session.unobserved().into_iter().find(|unobserved| unobserved.backend == *backend) {
            return Err(OperationError::Unobserved(unobserved.message));
        }
        return Err(OperationError::Usage(format!("{from} has no ledger on {backend}")));
    };
    let pool = session.init_and_lock(backend).await.map_err(failed)?;
    if from == owner {
        let ledger = Ledger { stack: specs.stack.id.clone(), ..theirs.clone() };
        session.ledgers.insert(backend.clone(), ledger.into());
        session.write_ledger(backend).await.map_err(failed)?;
        let done = vec![format!("{backend} now belongs to this Stack (id {})", specs.stack.id)];
        return Ok(Executed { done, left: Vec::new() });
    }
    let _their_lock = match session.observations.backends.get(backend) {
        Some(open) => open.lock_of(from).await.map_err(|error| OperationError::Held(format!("{backend}: {error}")))?,
        None => return Err(OperationError::Unobserved(format!("{backend} is not open"))),
    };
    let mut ours = match &observed.ledger {
        Some(LedgerView::Good(ledger)) if ledger.stack == specs.stack.id => Ledger::clone(ledger),
        Some(LedgerView::Unreadable(why)) => return Err(OperationError::Unobserved(format!("{backend}: {why}"))),
        Some(_) => {
            return Err(OperationError::Held(format!(
                "the ledger of {owner} on {backend} is damaged, or another Stack's"
            )));
        }
        None => ledger::first(pool, owner, specs),
    };
    ledger::take_over(&mut ours, theirs);
    // Names in use: this owner's, and those of live objects of `from`.
    let (mut taken, mut live) = (HashSet::new(), HashSet::new());
    for object in observed.objects.iter().filter(|o| o.place != Place::Temporary) {
        let Some(identity) = &object.identity else { continue };
        let key = (identity.kind, &identity.name);
        if identity.owner == *owner {
            taken.insert(key);
        } else if identity.owner == *from && object.place == Place::Live {
            live.insert(key);
        }
    }
    let mut steps = Vec::new();
    let mut left = 0;
    for object in observed.objects.iter().filter(|o| o.place != Place::Temporary) {
        let Some(identity) = object.identity.as_ref().filter(|id| id.owner == *from) else { continue };
        let mine = Identity { owner: owner.clone(), ..identity.clone() };
        if let Some(why) = &object.conflict {
            return Err(OperationError::Held(format!("{} cannot be given away: {why}", object.native)));
        }
        if taken.contains(&(mine.kind, &mine.name)) {
            let sentence = format!("{owner} has a {} {} on {backend} already", mine.kind.as_lower(), mine.name);
            return Err(OperationError::Usage(sentence));
        }
        match object.place {
            Place::Trash if live.contains(&(mine.kind, &mine.name)) => left += 1,
            Place::Trash => give_trashed(&mut steps, backend, object, mine, session.now),
            _ => steps.push(give(backend, object, mine)),
        }
    }
    // Before the first object changes its owner: an interruption must not lose a suspension.
    let suspended = session.take_over_suspensions(backend, from).await.map_err(failed)?;
    session.ledgers.insert(backend.clone(), ours.into());
    session.write_ledger(backend).await.map_err(failed)?;
    let given = |step: &Step| {
        let is_rename = step.action.verb() == Verb::Move;
        is_rename.then(|| format!("{} {} is now {}", lower(step), step.identity.name, step.native))
    };
    let mut executed = make(&mut session, steps, given, Some(backend), true).await?;
    executed.done.extend(suspended);
    if left > 0 {
        executed.done.push(format!("in the trash of {from} stay objects whose names are taken: {left}"));
    } else if executed.left.is_empty()
        && let Some(open) = session.observations.backends.get(backend)
        && let Err(error) = open.remove_ledger(from).await
    {
        executed.left.push(failed(error));
    }
    Ok(executed)
}

/// The steps that give an object in the trash to another owner: restore it, rename it, and trash it again for the remaining time. After a
/// crash between them the object is live, and is given as a live object.
fn give_trashed(steps: &mut Vec<Step>, backend: &Name, object: &Object, mine: Identity, now: u64) {
    let Some(theirs) = object.identity.clone() else { return };
    let before = Tags { expires: None, ..object.tags.clone() };
    let trashed = Trashed { backend: backend.clone(), object: object.clone(), expires: object.tags.expires };
    let out = by_hand(&trashed, theirs, Action::Undelete { tags: before }, Reason::OwnerGiven, Risk::None);
    let renamed = Step { after: vec![steps.len()], ..give(backend, object, mine) };
    let ttl = Seconds(object.tags.expires.unwrap_or(now).saturating_sub(now));
    let back = Step {
        action: Action::Trash { ttl },
        expect: Expect { place: Some(Place::Live), size: Some(object.size), idle: true, ..Expect::default() },
        after: vec![steps.len() + 1],
        ..renamed.clone()
    };
    steps.extend([out, renamed, back]);
}

/// The step that gives a live object to another owner.
fn give(backend: &Name, object: &Object, mine: Identity) -> Step {
    let before = Tags { expires: None, ..object.tags.clone() };
    let own_name = before.identity.is_some();
    let native: NativeName = if own_name { object.native.clone() } else { mine.native() };
    let tags = Tags { identity: own_name.then(|| Box::new(mine.clone())), ..before.clone() };
    Step {
        expect: Expect { place: Some(Place::Live), size: Some(object.size), tags: Some(before), ..Expect::default() },
        native,
        ..Step::new(backend.clone(), mine, Action::Rename { from: object.native.clone(), tags }, Reason::OwnerGiven)
    }
}
