//! Observing what steps touched, and entering it in the ledgers and the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{
    Absence, Action, DriverError, Effect, Endpoint, ErrorKind, Object, Outcome, Place, Scope, Step, Uid, VolumeSettings,
};
use crate::store::Batch;

use super::backend_session::BackendSession;
use super::effect::{ObservedObjects, concerned, not_observed, pool_replaced};
use super::event::Event;
use super::execution::Execution;
use super::ledger::{self, SharedLedger};
use super::record::{commit, journal_entry, record_after, record_of_inner};
use super::report::Report;
use super::span::backend_span;

/// Observes the objects that steps of one endpoint touched, and enters the result in its ledger. A step that was reported as done, and
/// whose effect is not observed, has failed.
///
/// `place`: the session of the endpoint and its ledger, as already written.
pub(super) async fn verify(
    execution: &Execution,
    endpoint: &Endpoint,
    place: Option<(&BackendSession, &mut SharedLedger)>,
    done: Vec<(usize, Outcome)>,
    report: &mut Report,
) {
    let steps = execution.steps();
    let outcomes: BTreeMap<usize, Outcome> = done.into_iter().collect();
    let indexes: Vec<usize> = outcomes.keys().copied().collect();
    let (Some((backend, ledger)), Some(name)) = (place, endpoint.backend()) else {
        // Nothing that cannot be verified counts as done.
        let message = format!("done, but {endpoint} is not open: its effect cannot be verified");
        let error = DriverError { effect: Effect::Yes, ..DriverError::before(ErrorKind::Unreachable, message) };
        report.failed.extend(indexes.iter().map(|index| (steps[*index].clone(), error.clone())));
        return;
    };
    let uids = |step: &Step| {
        let inner = step.action.with().iter().map(|inner| inner.identity.uid);
        inner.chain([step.identity.uid]).collect::<Vec<Uid>>()
    };
    let here = steps.iter().enumerate().filter(|(_, step)| step.endpoint == *endpoint);
    let mut of_object: BTreeMap<Uid, Vec<usize>> = BTreeMap::new();
    for (uid, index) in here.flat_map(|(index, step)| uids(step).into_iter().map(move |uid| (uid, index))) {
        of_object.entry(uid).or_default().push(index);
    }
    let mut addresses: BTreeSet<_> = indexes.iter().flat_map(|index| concerned(&steps[*index])).collect();
    // One listing costs less than many observations by name; and only a listing shows all clones.
    let detaches = indexes.iter().any(|index| steps[*index].action == Action::Detach);
    let can = backend.driver.capabilities();
    let lists = can.absence == Absence::ByList;
    if detaches && !lists {
        addresses.extend(ledger.addresses());
    }
    let scope = if lists && (addresses.len() > 64 || detaches) {
        Scope::All { owner: execution.setup.reading.specs.stack.owner.clone() }
    } else {
        Scope::Objects(addresses.into_iter().collect())
    };
    let seen = match backend.observe(&scope).await {
        Ok(seen) if seen.pool.as_ref() != Some(&ledger.pool) => Err(pool_replaced()),
        answer => answer,
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => {
            // What the calls reported is entered all the same: an object that vanishes now must count as lost, not as never created.
            for index in &indexes {
                ledger::note(ledger, &steps[*index], as_reported(&steps[*index]).as_ref(), false, execution.now());
                ledger::declare(ledger, steps[*index].identity.uid, &execution.setup.reading);
            }
            let written = backend.write_ledger(ledger).await;
            let and = if written.is_ok() { "" } else { ", nor could its ledger be written" };
            let message = format!("done, but {name} could not be observed afterwards{and}: {error}");
            let error = DriverError { effect: Effect::Yes, ..DriverError::before(error.kind, message) };
            report.failed.extend(indexes.last().map(|index| (steps[*index].clone(), error)));
            return;
        }
    };
    let steps_done = indexes.len();
    let now = execution.now();
    let before = detaches.then(|| ledger.clone());
    let seen = ObservedObjects::of(&seen, can, before.as_deref());
    let mut batch = Batch::default();
    let last_done = indexes.last().copied();
    let mut not_shown = None;
    for index in indexes {
        let step = &steps[index];
        let (live, trashed) = (seen.find(step, Place::Live), seen.find(step, Place::Trash));
        // What certainly had no effect hides none.
        let is_undone = |other: &Step| {
            let failed = |(step, error): &(Step, DriverError)| error.effect == Effect::No && step == other;
            report.waiting.contains(other) || report.failed.iter().any(failed)
        };
        let mut later = of_object.get(&step.identity.uid).into_iter().flatten().filter(|other| **other > index);
        let shown = seen.shows(step);
        let is_hidden = shown == Some(false)
            && later.any(|other| hides(&steps[*other].action, &step.action) && !is_undone(&steps[*other]));
        if !is_hidden && shown == Some(false) {
            let result = Err(not_observed(step));
            execution.event(Event::finished(index, step, &result));
            batch.journal.push(journal_entry(step, execution.revision(), now, &result, Duration::ZERO));
            match outcomes[&index] {
                Outcome::Changed => report.changed = report.changed.saturating_sub(1),
                Outcome::Unchanged => report.unchanged = report.unchanged.saturating_sub(1),
            }
            report.failed.extend(result.err().map(|error| (step.clone(), error)));
            continue;
        }
        let reported = match (shown, live.or(trashed)) {
            (None, None) if can.absence != Absence::ByLedger => as_reported(step),
            _ => None,
        };
        if reported.is_some() {
            // The observation was incomplete. As if there had been none, what the call reported is entered.
            not_shown = Some(index);
        }
        ledger::note(ledger, step, live.or(trashed).or(reported.as_ref()), shown == Some(true), now);
        ledger::declare(ledger, step.identity.uid, &execution.setup.reading);
        if reported.is_some() {
            continue;
        }
        let known = ledger.complete.get(&step.identity.uid).map(|entry| &entry.name);
        batch.objects.push(record_after(step, known, name, live, trashed, now));
        batch.objects.extend(seen.inner(step).map(|(id, object)| record_of_inner(name, id, object, now)));
    }
    if let Some(index) = not_shown {
        let message = format!("done, but {name} could not be observed completely afterwards");
        let error = DriverError { effect: Effect::Yes, ..DriverError::before(ErrorKind::Unreachable, message) };
        report.failed.push((steps[index].clone(), error));
    }
    let written = backend.write_ledger(ledger).await;
    if let Err(error) = written {
        // Done, and not safely known: what vanishes now could not be told from what never was.
        let message = format!("done, but the ledger of {name} could not be written: {error}");
        let error = DriverError { effect: Effect::Yes, ..DriverError::before(error.kind, message) };
        report.failed.extend(last_done.map(|index| (steps[index].clone(), error)));
    }
    if let Err(error) = commit(&execution.store, batch).await {
        tracing::warn!(%error, "the observation could not be recorded in the store");
    }
    backend_span(name).in_scope(|| tracing::debug!(steps = steps_done, "steps verified"));
}

/// Whether an observation after a later step of an object does not show the effect of an earlier one: because it changes the same, or moves
/// the object.
fn hides(later: &Action, earlier: &Action) -> bool {
    let is_in_place = match later {
        Action::Grow { .. } | Action::SetTags { .. } | Action::Reserve | Action::Configure { .. } => true,
        // The expectation of a restore contains the tags.
        Action::Restore { .. }
        | Action::Create { .. }
        | Action::Snapshot { .. }
        | Action::Rename { .. }
        | Action::Adopt { .. }
        | Action::Trash { .. }
        | Action::Undelete { .. }
        | Action::Destroy
        | Action::Purge
        | Action::Sweep
        | Action::Detach => false,
    };
    let keeps_settings = matches!(later, Action::Restore { .. } | Action::Rename { .. });
    match earlier {
        Action::Configure { .. } => !(is_in_place || keeps_settings) || matches!(later, Action::Configure { .. }),
        Action::SetTags { .. } | Action::Adopt { .. } | Action::Undelete { .. } | Action::Rename { .. } => {
            !is_in_place || matches!(later, Action::SetTags { .. })
        }
        Action::Grow { .. } | Action::Reserve => !is_in_place,
        // Settings and tags of a creation can be changed later.
        Action::Create { .. }
        | Action::Snapshot { .. }
        | Action::Restore { .. }
        | Action::Trash { .. }
        | Action::Destroy
        | Action::Purge
        | Action::Sweep
        | Action::Detach => true,
    }
}

/// What a step that made or took an object says that is there now.
fn as_reported(step: &Step) -> Option<Object> {
    let none = VolumeSettings::default();
    let (size, tags, settings) = match &step.action {
        Action::Create { size, tags, settings, .. } => (*size, tags, settings),
        Action::Snapshot { volume, tags, .. } => (volume.size, tags, &none),
        Action::Adopt { tags, .. } | Action::Undelete { tags, .. } | Action::Rename { tags, .. } => {
            (step.expect.size?, tags, &none)
        }
        Action::Grow { .. }
        | Action::Restore { .. }
        | Action::SetTags { .. }
        | Action::Reserve
        | Action::Configure { .. }
        | Action::Trash { .. }
        | Action::Destroy
        | Action::Purge
        | Action::Sweep
        | Action::Detach => return None,
    };
    Some(Object {
        tags: tags.clone().into(),
        settings: settings.clone(),
        identity: Some(step.identity.clone()),
        parent_volume: step.parent_volume.clone(),
        ..Object::new(step.native.clone(), Place::Live, size)
    })
}
