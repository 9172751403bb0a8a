//! O13: whether what was reported is true. Functions that can say no, as the other [oracles](super::oracles).

use std::collections::{BTreeMap, BTreeSet};

use kiln::engine::Event;
use kiln::model::{Action, Effect, JournalEntry, JournalOutcome, Ledger, Place, Provisioning, Step, Uid};

use super::gate::Done;
use super::host::Passed;
use super::pool::Thing;

/// O13: what a pass reported as done is seen to be done.
pub fn o13_reports_are_true(
    passed: &Passed,
    things: &[(String, Thing)],
    ledgers: &BTreeMap<String, Ledger>,
) -> Result<(), String> {
    let failed = &passed.report.failed;
    // The end of the pass could not be observed, which it says.
    if failed.iter().any(|(_, error)| error.effect != Effect::No) {
        return Ok(());
    }
    let mut outcomes: BTreeMap<usize, JournalOutcome> = BTreeMap::new();
    for event in &passed.heard {
        if let Event::Finished { step, outcome, .. } = event {
            outcomes.insert(*step, outcome.clone());
        }
    }
    outcomes.retain(|_, outcome| matches!(outcome, JournalOutcome::Changed | JournalOutcome::Unchanged));
    for step in outcomes.keys().map(|index| &passed.run.steps[*index]).filter(|step| step.action.is_first()) {
        let ledger = step.backend().and_then(|backend| ledgers.get(backend.as_str()));
        // If it vanished now, it could not be told from what never was.
        if !ledger.is_some_and(|ledger| ledger.complete.contains_key(&step.identity.uid)) {
            return Err(format!("O13: reported as done, and not in the ledger: {} {}", step.action, step.native));
        }
    }
    let claims = outcomes.len();
    let mut last: BTreeMap<Uid, &Step> = BTreeMap::new();
    for index in outcomes.keys() {
        let step = &passed.run.steps[*index];
        last.insert(step.identity.uid, step);
    }
    for step in last.values() {
        if !is_shown(step, things) {
            return Err(format!("O13: reported as done, and not so: {} {}", step.action, step.native));
        }
    }
    let counted = passed.report.changed + passed.report.unchanged;
    if counted != claims {
        return Err(format!("O13: {counted} steps are counted as done, and {claims} were told"));
    }
    Ok(())
}

/// O13: what the journal tells as done reached the backend. Not so if the backend lied: a later line takes that back.
pub fn o13_journal_tells_only_effects(journal: &[JournalEntry], done: &[Done]) -> Result<(), String> {
    let made: BTreeSet<(Uid, String)> =
        done.iter().map(|one| (one.step.identity.uid, one.step.action.to_string())).collect();
    let of_steps = journal.iter().filter(|entry| entry.destroys.is_some() && entry.outcome == JournalOutcome::Changed);
    match of_steps.into_iter().find(|entry| !made.contains(&(entry.uid, entry.detail.clone()))) {
        Some(entry) => Err(format!("O13: the journal tells that this was done: {} {}", entry.detail, entry.name)),
        None => Ok(()),
    }
}

/// O13: the journal tells every step that had an effect as done, also if the process died in it. (A sweep has no line.)
pub fn o13_journal_tells_every_effect(journal: &[JournalEntry], done: &[Done]) -> Result<(), String> {
    let is_done = |entry: &&JournalEntry| matches!(entry.outcome, JournalOutcome::Changed | JournalOutcome::Unchanged);
    let told: BTreeSet<(Uid, &str)> =
        journal.iter().filter(is_done).map(|entry| (entry.uid, entry.detail.as_str())).collect();
    for one in done.iter().filter(|one| one.changed() && one.step.action != Action::Sweep) {
        let detail = one.step.action.to_string();
        if !told.contains(&(one.step.identity.uid, detail.as_str())) {
            return Err(format!("O13: the journal does not tell that this was done: {detail} {}", one.step.native));
        }
    }
    Ok(())
}

/// Whether a pool shows the effect of a step, by rules that know nothing of the engine's ways.
fn is_shown(step: &Step, things: &[(String, Thing)]) -> bool {
    let pool = step.backend().map(ToString::to_string).unwrap_or_default();
    let objects = || things.iter().filter(|(at, _)| *at == pool).map(|(_, thing)| &thing.object);
    let of_uid = |place: Place| objects().find(|o| o.uid() == Some(step.identity.uid) && o.place == place);
    let live = of_uid(Place::Live).filter(|object| object.native == step.native);
    match &step.action {
        Action::Create { size, .. } => live.is_some_and(|object| object.size >= *size),
        Action::Snapshot { .. } | Action::Adopt { .. } | Action::Rename { .. } => live.is_some(),
        Action::Grow { to } => live.is_some_and(|object| object.size >= *to),
        Action::Restore { request, .. } => live.is_some_and(|o| o.tags.restored.as_ref() == Some(request)),
        Action::SetTags { tags } => live.is_some_and(|object| object.tags.lasting() == tags.lasting()),
        Action::Reserve => live.is_some_and(|object| object.provisioning == Some(Provisioning::Thick)),
        Action::Configure { settings } => live.is_some_and(|object| object.settings == *settings),
        Action::Undelete { .. } => live.is_some() && of_uid(Place::Trash).is_none(),
        Action::Trash { .. } => of_uid(Place::Live).is_none() && of_uid(Place::Trash).is_some(),
        Action::Destroy => of_uid(Place::Live).is_none() && of_uid(Place::Trash).is_none(),
        Action::Purge => of_uid(Place::Trash).is_none(),
        Action::Sweep => of_uid(Place::Temporary).is_none(),
        Action::Detach => objects().all(|object| object.parent != Some(step.identity.uid)),
    }
}
