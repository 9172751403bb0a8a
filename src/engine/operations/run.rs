//! How operations begin, execute steps and record what they did: as a pass does.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{Effect, Endpoint, Kind, Name, Object, Observed, Reading, Step, Uid};
use crate::plan::{self, Observation, Plan};
use crate::store::Batch;

use super::error::OperationError;
use crate::engine::blockers::Blockers;
use crate::engine::event::{Confirmation, Event, Reporter};
use crate::engine::options::Options;
use crate::engine::record::commit;
use crate::engine::report::Report;
use crate::engine::session::Session;
use crate::engine::setup::Setup;

/// What the steps of an operation did. Steps that are done stay done when another one fails, so both are reported.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Executed {
    /// A sentence for each thing that was done.
    pub done: Vec<String>,
    /// Why each other thing was not done, or not completely.
    pub left: Vec<OperationError>,
}

/// Begins a session: observes, takes the writer locks and recovers, as every pass does.
pub(super) async fn begin(setup: &Setup) -> Result<Session<'_>, OperationError> {
    let mut session = Session::begin_writing(setup, None).await?;
    session.recover(&Silent).await?;
    Ok(session)
}

pub(super) async fn remember(session: &Session<'_>, batch: Batch) -> Result<(), OperationError> {
    match &session.store {
        Some(store) => Ok(commit(store, batch).await?),
        None => Ok(()),
    }
}

/// Executes the steps of an operation in the same way as those of a plan. `sentence` says what a step did. A backend that has just been
/// `given` to this owner is usable even if the plan holds it. Suspended objects are skipped unless a person named each object (`by_name`).
///
/// # Errors
/// If a backend is not usable. Then no step was begun.
pub(super) async fn make(
    session: &mut Session<'_>,
    steps: Vec<Step>,
    sentence: impl Fn(&Step) -> Option<String>,
    given: Option<&Name>,
    by_name: bool,
) -> Result<Executed, OperationError> {
    steps.iter().try_for_each(|step| match &step.endpoint {
        Endpoint::Backend(backend) => must_be_usable(session, backend, given),
        Endpoint::Target(_) => Err(OperationError::Unobserved(nothing_done(&step.endpoint))),
    })?;
    check_not_blocked(session, &steps)?;
    let plan = Arc::new(Plan::of(session.specs().stack.owner.clone(), session.reading().revision.clone(), steps));
    let mut report = Report::default();
    let effects = Arc::new(Effects::default());
    let options = Options { by_name, ..Options::default() };
    let made = session.execute(&plan, &options, Arc::clone(&effects) as Arc<dyn Reporter>, &mut report).await;
    let done = effects.steps().iter().filter_map(|index| sentence(plan.steps.get(*index)?)).collect();
    let is_left = |step: &Step, why: String| format!("{} {} is left: {why}", lower(step), step.identity.name);
    let failed = report
        .failed
        .iter()
        .map(|(step, error)| OperationError::Failed(format!("{} {}: {error}", lower(step), step.identity.name)));
    let suspended = report
        .suspended
        .iter()
        .map(|(step, suspension)| OperationError::Held(is_left(step, plan::suspended_because(suspension))));
    let waiting = report
        .waiting
        .iter()
        .map(|step| OperationError::Failed(is_left(step, "a step that has to come first was not done".to_owned())));
    let store = made.err().map(OperationError::Store);
    Ok(Executed { done, left: failed.chain(suspended).chain(waiting).chain(store).collect() })
}

/// Checks that nothing keeps the objects of steps from being changed.
fn check_not_blocked(session: &Session<'_>, steps: &[Step]) -> Result<(), OperationError> {
    let inner = steps.iter().flat_map(|step| step.action.with()).map(|inner| inner.identity.uid);
    let changed: HashSet<Uid> = steps.iter().map(|step| step.identity.uid).chain(inner).collect();
    let blockers = Blockers::in_world(&session.observations.world);
    let is_changed = |object: &&Object| object.uid().is_some_and(|uid| changed.contains(&uid));
    session.observations.world.iter().try_for_each(|(backend, view)| {
        view.objects().iter().filter(is_changed).try_for_each(|object| check_free(&blockers, backend, object))
    })
}

/// Checks that no step of an earlier pass runs for which `of` holds.
pub(super) fn check_none_runs(session: &Session<'_>, of: impl Fn(&Step) -> bool) -> Result<(), OperationError> {
    let mut running = session.observations.running.values().map(|running| &running.step).filter(|step| of(step));
    running.next().map_or(Ok(()), |step| {
        let name = &step.identity.name;
        let why = format!("a step on {} {name} still runs: {}", lower(step), step.action);
        Err(OperationError::Held(format!("{why}; fix: {}", plan::RUNNING_FIX)))
    })
}

/// Checks that nothing blocks an object.
pub(super) fn check_free(blockers: &Blockers<'_>, backend: &Name, object: &Object) -> Result<(), OperationError> {
    let Some((blocked, blocker)) = blockers.of(backend, object) else { return Ok(()) };
    let (native, message) = (&blocked.native, &blocker.message);
    Err(OperationError::Held(format!("{native} cannot be changed: {message}; fix: {}", blocker.fix())))
}

fn nothing_done(endpoint: &dyn Display) -> String {
    format!("nothing is done on {endpoint}: see `kiln plan`")
}

pub(super) fn must_be_usable(
    session: &Session<'_>,
    backend: &Name,
    given: Option<&Name>,
) -> Result<(), OperationError> {
    match session.observations.world.get(backend) {
        Some(Observation::LockedBy { by, .. }) => Err(locked(backend, by)),
        _ if session.usable.contains(backend) || given == Some(backend) => Ok(()),
        _ => Err(OperationError::Unobserved(nothing_done(backend))),
    }
}

/// What was observed of a declared backend that no other process writes to.
pub(super) fn observed(session: &Session<'_>, backend: &Name) -> Result<Observed, OperationError> {
    match session.observations.world.get(backend) {
        Some(Observation::Seen { observed, .. }) => Ok(observed.clone()),
        Some(Observation::LockedBy { by, .. }) => Err(locked(backend, by)),
        Some(Observation::Failed { why, fix: _ }) => {
            Err(OperationError::Unobserved(format!("{backend} could not be observed: {why}")))
        }
        Some(Observation::Unsupported) | None => Err(no_driver(session.reading(), backend)),
    }
}

fn locked(backend: &Name, by: &str) -> OperationError {
    OperationError::Held(format!("another process is writing to {backend}: {by}"))
}

/// Why a declared backend is not opened.
pub(super) fn no_driver(reading: &Reading, backend: &Name) -> OperationError {
    match reading.not_allowed(Kind::Backend, backend) {
        Some(barred) => OperationError::Held(format!("{backend}: {}", barred.message)),
        None => OperationError::Usage(format!("the driver of {backend} is not implemented yet")),
    }
}

pub(super) fn lower(step: &Step) -> &'static str {
    step.identity.kind.as_lower()
}

/// Notes which steps had their effect: an operation returns that as its result. Notes are logged.
#[derive(Default)]
struct Effects(Mutex<BTreeSet<usize>>);

impl Effects {
    /// The steps, by their index.
    fn steps(&self) -> BTreeSet<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Reporter for Effects {
    fn event(&self, event: Event) {
        if let Event::Finished { step, effect, .. } = &event {
            let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match effect {
                None | Some(Effect::Yes) => drop(steps.insert(*step)),
                // Also a step that was reported as done and is not observed to be.
                Some(Effect::No | Effect::Unknown) => drop(steps.remove(step)),
            }
        }
        Silent.event(event);
    }

    async fn confirm(&self, plan: &Plan) -> Confirmation {
        Silent.confirm(plan).await
    }
}

/// Reports nothing to a person. Notes are logged.
struct Silent;

#[async_trait]
impl Reporter for Silent {
    fn event(&self, event: Event) {
        if let Event::Note { message } = event {
            tracing::info!("{message}");
        }
    }

    async fn confirm(&self, _plan: &Plan) -> Confirmation {
        Confirmation::NotAsked
    }
}
