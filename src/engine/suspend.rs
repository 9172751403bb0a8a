//! What a person suspends, and resumes. It is kept in the store alone: who loses that is asked again.

use std::sync::Arc;

use crate::model::{Kind, Name, Object, Owner, Place, Records, Seconds, Specs, Suspension};
use crate::plan::{View, suspended_because};
use crate::store::{Batch, StoreError};

use super::acts::ActError;
use super::execute::commit;
use super::look::Intent;
use super::pass::Pass;
use super::{Setup, rfc3339};

/// This owner's suspensions whose time has not passed, that of everything first.
pub fn suspensions(records: &Records, owner: &Owner, now: u64) -> Vec<Suspension> {
    let counts = |suspension: &&Suspension| suspension.owner == *owner && suspension.is_in_force(now);
    records.suspensions.values().filter(counts).cloned().collect()
}

/// Suspends an object, or everything of this owner: until it is resumed, or for so long. Another suspension of the same takes the
/// place of one that there is. Nothing is looked at for an object that is declared or remembered, so this works while backends are
/// away. Returns a sentence.
///
/// # Errors
/// [`ActError::Usage`] for what nobody knows, and [`ActError::Store`].
pub async fn suspend(
    setup: &Setup,
    object: Option<(Kind, Name)>,
    reason: &str,
    length: Option<Seconds>,
) -> Result<Vec<String>, ActError> {
    if reason.trim().is_empty() {
        return Err(ActError::Usage("a suspension needs a reason: others will read it".to_owned()));
    }
    let records = records(setup)?;
    if let Some((kind, name)) = &object {
        must_be_known(setup, &records, *kind, name).await?;
    }
    let (now, owner) = (setup.clock.now(), &setup.specs.stack.owner);
    let suspension = Suspension {
        owner: owner.clone(),
        object,
        reason: reason.trim().to_owned(),
        since: now,
        until: length.map(|length| now.saturating_add(length.0)),
    };
    let until = suspension.until.map(|until| format!(" until {}", rfc3339(until))).unwrap_or_default();
    let said = format!("{} is suspended{until}: {}", named(&suspension), suspension.reason);
    let changes = [(suspension.key(), Some(suspension))];
    write(setup, &records, changes.into()).await?;
    Ok(vec![said])
}

/// Ends the suspension of an object, or that of everything. (Objects that are suspended by name stay so, and everything that is
/// suspended keeps each of its objects so.) Returns what is so now, a sentence each.
///
/// # Errors
/// [`ActError::Usage`] if that is not suspended, and [`ActError::Store`].
pub async fn resume(setup: &Setup, object: Option<(Kind, Name)>) -> Result<Vec<String>, ActError> {
    let records = records(setup)?;
    let in_force = suspensions(&records, &setup.specs.stack.owner, setup.clock.now());
    let (those, others): (Vec<_>, Vec<_>) = in_force.into_iter().partition(|suspension| suspension.object == object);
    let others: Vec<String> =
        others.iter().map(|other| format!("{}: {}", named(other), suspended_because(other))).collect();
    let Some(lifted) = those.into_iter().next() else {
        let what = match &object {
            Some((kind, name)) => format!("{}/{name} is not suspended by its name", kind.as_lower()),
            None => "there is no suspension of everything".to_owned(),
        };
        let instead = if others.is_empty() { "nor is anything else".to_owned() } else { others.join("; ") };
        return Err(ActError::Usage(format!("{what}; {instead}")));
    };
    write(setup, &records, vec![(lifted.key(), None)]).await?;
    let mut said = vec![format!("{} is resumed", named(&lifted))];
    said.extend(others.into_iter().map(|other| format!("still suspended: {other}")));
    Ok(said)
}

fn named(suspension: &Suspension) -> String {
    match &suspension.object {
        Some((kind, name)) => format!("{}/{name}", kind.as_lower()),
        None => format!("everything of {}", suspension.owner),
    }
}

fn records(setup: &Setup) -> Result<Arc<Records>, ActError> {
    match &setup.store {
        Some(store) => Ok(store.records()?),
        None => Err(StoreError::Io { path: String::new(), message: "it is not open".to_owned() }.into()),
    }
}

/// Writes suspensions, and removes those whose time has passed.
async fn write(
    setup: &Setup,
    records: &Records,
    mut suspensions: Vec<(String, Option<Suspension>)>,
) -> Result<(), ActError> {
    let now = setup.clock.now();
    let passed = records.suspensions.iter().filter(|(_, suspension)| !suspension.is_in_force(now));
    suspensions.splice(0..0, passed.map(|(key, _)| (key.clone(), None)));
    match &setup.store {
        Some(store) => Ok(commit(store, Batch { suspensions, ..Batch::default() }).await?),
        None => Ok(()),
    }
}

/// A name mistyped would suspend nothing, and nobody would notice.
async fn must_be_known(setup: &Setup, records: &Arc<Records>, kind: Kind, name: &Name) -> Result<(), ActError> {
    let (specs, owner): (&Specs, _) = (&setup.specs, &setup.specs.stack.owner);
    let declared = match kind {
        Kind::Volume => specs.volumes.contains_key(name),
        Kind::Snapshot => specs.snapshots.contains_key(name),
        Kind::Export => specs.exports.contains_key(name),
        Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => {
            let sentence = format!("a {} cannot be suspended: only volumes, snapshots and exports", kind.as_lower());
            return Err(ActError::Usage(sentence));
        }
    };
    let ledgers = || records.backends.values().filter_map(|record| record.ledger.as_ref());
    let entered = || {
        let ours = ledgers().filter(|ledger| ledger.owner == *owner);
        ours.flat_map(|ledger| ledger.whole.values()).any(|entry| entry.kind == kind && entry.name == *name)
    };
    if declared || records.find(owner, kind, name).is_some() || entered() {
        return Ok(());
    }
    let pass = Pass::begin(setup, Arc::clone(records), Intent::Look).await;
    let is_it = |o: &Object| o.place != Place::Temporary && o.is(owner, kind, name);
    let there = pass.looked.world.values().any(|view| match view {
        View::Seen { observed, .. } | View::Taken { observed, .. } => observed.objects.iter().any(is_it),
        View::Unseen { .. } | View::Unbuilt => false,
    });
    if there {
        return Ok(());
    }
    let mut sentence = format!("{}/{name} is not declared, not there, and not remembered", kind.as_lower());
    if let Some(unobserved) = pass.unobserved().first() {
        sentence.push_str(&format!(" (but {})", unobserved.message));
    }
    Err(ActError::Usage(sentence))
}
