//! Making steps: side by side where they do not wait for each other, each with its intent before and its outcome after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::driver::StepContext;
use crate::model::{
    Action, Clients, DriverError, Effect, ErrorKind, JournalEntry, Ledger, Name, Object, ObjectRecord, OpenIntent,
    Outcome, Place, Reading, Reason, Scope, Step, Suspension, Tags, Uid,
};
use crate::store::{Batch, Store, StoreError};

use super::batch_writer::BatchWriter;
use super::effect::Seen;
use super::observe::Backend;
use super::suspend::{ObjectSuspensions, StepSuspensions};
use super::{Clock, Event, Report, Reporter, ledger};

/// A call is tried this often where its error may pass, with pauses that double from a tenth of a second: under two seconds in
/// all, so that a pass ends soon; the next pass goes on.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A step that copies much may take as long as it likes while it gets on; without progress for this many times the Backend's
/// time-out it is given up.
const STALLED: u32 = 10;
/// For each call that a backend takes, the intents of so many steps are written down ahead, in one commit: a commit costs the same for
/// one as for many.
const AHEAD: usize = 4;
/// What was made is entered in the ledger at least this often (architecture: "within 5 s").
const LEDGER_EVERY: Duration = Duration::from_secs(5);

/// Everything that making steps needs.
pub(super) struct Run<'r> {
    /// Which suspensions hold a step, though they were made after the plan.
    pub step_suspensions: &'r StepSuspensions,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub backends: &'r BTreeMap<Name, Backend>,
    /// The ledgers, as already written.
    pub ledgers: &'r mut BTreeMap<Name, Ledger>,
    pub reporter: Arc<dyn Reporter>,
    pub stop: CancellationToken,
    pub reading: &'r Reading,
    pub revision: String,
    /// Why steps on a backend that is not among `backends` cannot be made.
    pub unready: &'r BTreeMap<Name, DriverError>,
}

/// How far a step has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// Its intent is being written down, or it waits for its call, or that runs.
    Begun,
    /// Its call is over; what came of it is being written down.
    Called,
    Done,
    /// Failed before any effect, or not begun because one before it was not done.
    Undone,
    /// Failed, and perhaps had its effect.
    Unsure,
}

/// What a step's task sends while it runs and when it ends.
enum Message {
    Begun(usize),
    Progress(usize, u64, u64),
    Called(usize),
    Retrying(usize, DriverError, u64),
}

struct Ended {
    index: usize,
    end: Result<End, StoreError>,
}

/// How a step's task ended.
enum End {
    /// The pass was stopped before its call.
    Stopped,
    /// Its object was suspended before its call.
    Suspended(Suspension),
    /// Its call was made.
    Called(Result<Outcome, DriverError>),
}

impl Run<'_> {
    /// Makes all steps, as far as they can be made, and enters them in the ledgers.
    ///
    /// Returns the steps that certainly had no effect: never begun, or failed before it.
    ///
    /// # Errors
    /// If the store fails: then no further step is begun.
    pub(super) async fn make(&mut self, steps: &[Step], report: &mut Report) -> Result<Vec<usize>, StoreError> {
        let mut stages = vec![Stage::Waiting; steps.len()];
        let mut lanes: BTreeMap<&Name, Lane> =
            self.backends.iter().map(|(name, open)| (name, Lane::new(open))).collect();
        // Whatever stops the pass, or a store that fails, also keeps steps from being made that are written down already.
        let stop = self.stop.child_token();
        let mut tasks: JoinSet<Ended> = JoinSet::new();
        let (sender, mut messages) = mpsc::unbounded_channel();
        let (batch_writer, writing) = BatchWriter::new(Arc::clone(&self.store));
        // Given up with this pass, should it be.
        let mut writer = JoinSet::new();
        writer.spawn(writing);
        let mut unwritten: Vec<usize> = Vec::new();
        let mut write_at = Instant::now() + LEDGER_EVERY;
        let mut broken: Option<StoreError> = None;
        let mut queue = Queue::new(steps);
        loop {
            if !stop.is_cancelled() {
                lanes.values_mut().for_each(Lane::refill);
                while let Some(index) =
                    queue.next(steps, |step| lanes.get(&step.backend).is_none_or(|l| l.has_room(step)))
                {
                    let step = &steps[index];
                    stages[index] = Stage::Begun;
                    let Some(lane) = lanes.get_mut(&step.backend) else {
                        let not_open = || DriverError::before(ErrorKind::Unreachable, "its backend is not open");
                        let error = self.unready.get(&step.backend).cloned().unwrap_or_else(not_open);
                        // Told when it ends: of thousands of these none is under way.
                        tasks.spawn(async move { Ended { index, end: Ok(End::Called(Err(error))) } });
                        continue;
                    };
                    lane.take(step);
                    let one = One {
                        index,
                        step: step.clone(),
                        step_suspensions: self.step_suspensions.by(index),
                        backend: lane.backend.clone(),
                        calls: Arc::clone(&lane.calls),
                        stop: stop.clone(),
                        store: Arc::clone(&self.store),
                        batch_writer: batch_writer.clone(),
                        clock: Arc::clone(&self.clock),
                        revision: self.revision.clone(),
                        sender: sender.clone(),
                    };
                    tasks.spawn(async move { Ended { index, end: one.make().await } });
                }
            }
            tokio::select! {
                biased;
                Some(message) = messages.recv() => match message {
                    // With several threads a task may end before what it sent is read.
                    Message::Begun(index) | Message::Progress(index, ..) | Message::Called(index) | Message::Retrying(index, ..)
                        if stages[index] != Stage::Begun => {}
                    Message::Begun(index) => self.reporter.event(Event::Started(index, &steps[index])),
                    Message::Progress(index, done, total) => self.reporter.event(Event::Progress(index, done, total)),
                    // The backend has room for the next call while this outcome is written down.
                    Message::Called(index) => {
                        lanes.entry(&steps[index].backend).and_modify(|lane| lane.free(&steps[index]));
                        stages[index] = Stage::Called;
                    }
                    Message::Retrying(index, error, millis) => {
                        self.reporter.event(Event::Retrying(index, &steps[index], &error, millis));
                    }
                },
                joined = tasks.join_next() => {
                    let Some(joined) = joined else { break };
                    let Ok(ended) = joined else {
                        // The task's own panic: its step is as a crash would leave it, its intent open, and the next pass looks.
                        tracing::error!("a step ended in a panic");
                        report.stopped = true;
                        continue;
                    };
                    let step = &steps[ended.index];
                    if stages[ended.index] == Stage::Begun {
                        lanes.entry(&step.backend).and_modify(|lane| lane.free(step));
                    }
                    match ended.end {
                        Err(error) => {
                            stages[ended.index] = Stage::Unsure;
                            broken.get_or_insert(error);
                            stop.cancel();
                        }
                        Ok(End::Stopped) => stages[ended.index] = Stage::Waiting,
                        Ok(End::Suspended(suspension)) => {
                            stages[ended.index] = Stage::Undone;
                            report.skipped += 1;
                            self.reporter.event(Event::Skipped(ended.index, step, "it was suspended before its turn"));
                            report.suspended.push((step.clone(), suspension));
                            skip(&mut queue, ended.index, steps, &mut stages, report, &*self.reporter);
                        }
                        Ok(End::Called(result)) => {
                            stages[ended.index] = match &result {
                                Ok(_) => Stage::Done,
                                Err(error) if error.effect == Effect::No => Stage::Undone,
                                Err(_) => Stage::Unsure,
                            };
                            self.reporter.event(Event::Finished(ended.index, step, &result));
                            match result {
                                Ok(Outcome::Changed) => report.changed += 1,
                                Ok(Outcome::Unchanged) => report.unchanged += 1,
                                Err(error) => report.failed.push((step.clone(), error)),
                            }
                            if stages[ended.index] == Stage::Done {
                                unwritten.push(ended.index);
                                queue.done(ended.index, steps);
                            } else {
                                skip(&mut queue, ended.index, steps, &mut stages, report, &*self.reporter);
                            }
                        }
                    }
                }
                () = tokio::time::sleep_until(write_at), if !unwritten.is_empty() => {
                    self.enter(steps, &mut unwritten, report).await;
                    write_at = Instant::now() + LEDGER_EVERY;
                }
            }
        }
        drop(batch_writer);
        writer.join_next().await;
        self.enter(steps, &mut unwritten, report).await;
        let left: Vec<usize> = (0..steps.len()).filter(|index| stages[*index] == Stage::Waiting).collect();
        for index in left {
            report.stopped = true;
            report.skipped += 1;
            self.reporter.event(Event::Skipped(index, &steps[index], "stopped before its turn"));
        }
        let untouched = (0..steps.len()).filter(|index| matches!(stages[*index], Stage::Waiting | Stage::Undone));
        broken.map_or(Ok(untouched.collect()), Err)
    }

    /// Looks at what was touched and enters what is seen in the ledgers. What was reported as done and is not seen so has failed.
    async fn enter(&mut self, steps: &[Step], unwritten: &mut Vec<usize>, report: &mut Report) {
        let mut by_backend: BTreeMap<&Name, Vec<usize>> = BTreeMap::new();
        // An object with several steps is compared with the last: the others' effects are within it.
        let last: BTreeMap<Uid, usize> =
            steps.iter().enumerate().map(|(index, step)| (step.identity.uid, index)).collect();
        for index in unwritten.drain(..) {
            by_backend.entry(&steps[index].backend).or_default().push(index);
        }
        for (name, indexes) in by_backend {
            let (Some(backend), Some(ledger)) = (self.backends.get(name), self.ledgers.get_mut(name)) else { continue };
            let natives: BTreeSet<_> = indexes.iter().map(|index| steps[*index].native.clone()).collect();
            // One listing costs less than many looks by name; and only a listing shows all clones.
            let detaches = indexes.iter().any(|index| steps[*index].action == Action::Detach);
            let scope =
                if natives.len() > 64 || detaches { Scope::All } else { Scope::Objects(natives.into_iter().collect()) };
            let seen = match backend.observe(&scope).await {
                Ok(seen) => seen,
                Err(error) => {
                    // What the calls said is entered all the same: what vanishes now must not look like what never was.
                    for index in &indexes {
                        ledger::note(ledger, &steps[*index], as_reported(&steps[*index]).as_ref(), self.clock.now());
                        ledger::declare(ledger, steps[*index].identity.uid, self.reading);
                    }
                    let written = backend.write_ledger_again(ledger).await;
                    let and = if written.is_ok() { "" } else { ", nor could its ledger be written" };
                    let message = format!("done, but {name} could not be looked at afterwards{and}: {error}");
                    let error = DriverError { kind: error.kind, effect: Effect::Yes, message };
                    report.failed.extend(indexes.last().map(|index| (steps[*index].clone(), error)));
                    continue;
                }
            };
            let now = self.clock.now();
            let seen = Seen::new(&seen);
            let mut batch = Batch::default();
            let last_done = indexes.last().copied();
            for index in indexes {
                let step = &steps[index];
                let (live, trashed) = (seen.find(step, Place::Live), seen.find(step, Place::Trash));
                let is_last = last.get(&step.identity.uid) == Some(&index);
                if is_last && seen.shows(step) == Some(false) {
                    let result = Err(not_seen(step));
                    self.reporter.event(Event::Finished(index, step, &result));
                    batch.journal.push(journal_entry(step, &self.revision, now, &result, Duration::ZERO));
                    report.changed = report.changed.saturating_sub(1);
                    report.failed.extend(result.err().map(|error| (step.clone(), error)));
                    continue;
                }
                ledger::note(ledger, step, live.or(trashed), now);
                ledger::declare(ledger, step.identity.uid, self.reading);
                batch.objects.push(record(step, live, trashed, now));
            }
            let written = backend.write_ledger_again(ledger).await;
            if let Err(error) = written {
                // Done, and not safely known: what vanishes now could not be told from what never was.
                let message = format!("done, but the ledger of {name} could not be written: {error}");
                let error = DriverError { kind: error.kind, effect: Effect::Yes, message };
                report.failed.extend(last_done.map(|index| (steps[index].clone(), error)));
            }
            if let Err(error) = commit(&self.store, batch).await {
                tracing::warn!(%error, "what was seen could not be recorded");
            }
        }
    }
}

fn not_seen(step: &Step) -> DriverError {
    let message = format!("{} was reported as done, and a look at {} does not show it", step.action, step.native);
    DriverError::unknown(ErrorKind::Conflict, message)
}

/// Skips every step that waits for one that was not done.
fn skip(
    queue: &mut Queue,
    index: usize,
    steps: &[Step],
    stages: &mut [Stage],
    report: &mut Report,
    reporter: &dyn Reporter,
) {
    for index in queue.waiting_for(index) {
        stages[index] = Stage::Undone;
        report.skipped += 1;
        report.waiting.push(steps[index].clone());
        reporter.event(Event::Skipped(index, &steps[index], "what it waits for was not done"));
    }
}

/// The steps of one backend that are begun, and not yet over for it.
struct Lane {
    backend: Backend,
    /// As many as the backend takes at once.
    calls: Arc<Semaphore>,
    most: usize,
    begun: usize,
    /// Of these, those that copy.
    long: usize,
    /// Whether more are begun: many at once, then none for a while, so that their intents become one commit.
    fills: bool,
}

impl Lane {
    fn new(backend: &Backend) -> Self {
        let most = backend.spec.concurrency.get() as usize;
        let calls = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { backend: backend.clone(), calls, most, begun: 0, long: 0, fills: true }
    }

    /// To be called before steps are begun.
    fn refill(&mut self) {
        self.fills |= self.begun <= self.most;
    }

    /// Whether a step can be begun. Copies get half of the calls, so that they do not block the rest.
    fn has_room(&self, step: &Step) -> bool {
        self.fills && (!step.action.is_long() || self.long < self.most.div_ceil(2))
    }

    fn take(&mut self, step: &Step) {
        self.begun += 1;
        self.long += usize::from(step.action.is_long());
        self.fills = self.begun < self.most.saturating_mul(AHEAD);
    }

    fn free(&mut self, step: &Step) {
        self.begun -= 1;
        self.long -= usize::from(step.action.is_long());
    }
}

/// What a step that made or took an object says that is there now.
fn as_reported(step: &Step) -> Option<Object> {
    let (size, tags) = match &step.action {
        Action::Create { size, tags, .. } => (*size, tags),
        Action::Snapshot { volume, tags, .. } => (volume.size, tags),
        Action::Adopt { tags, .. } | Action::Undelete { tags } | Action::Rename { tags, .. } => {
            (step.expect.size?, tags)
        }
        _ => return None,
    };
    Some(Object {
        native: step.native.clone(),
        place: Place::Live,
        identity: Some(step.identity.clone()),
        size,
        used: None,
        tags: tags.clone(),
        conflict: None,
        unfinished: false,
        parent: None,
        clients: Clients::Unknown,
        image: None,
        written: crate::model::Written::Unknown,
    })
}

/// The record of an object after its step.
fn record(step: &Step, live: Option<&Object>, trashed: Option<&Object>, now: u64) -> (Uid, Option<ObjectRecord>) {
    let record = live.or(trashed).map(|object| ObjectRecord {
        identity: step.identity.clone(),
        backend: step.backend.clone(),
        native: object.native.clone(),
        size: object.size,
        tags: Tags { expires: None, ..object.tags.clone() },
        seen: Some(object.clone()),
        seen_at: now,
    });
    (step.identity.uid, record)
}

/// Commits off the async threads: a commit blocks until it is on disk.
pub(super) async fn commit(store: &Arc<dyn Store>, batch: Batch) -> Result<(), StoreError> {
    if !store.waits_for_disk() {
        return store.commit(batch);
    }
    let store = Arc::clone(store);
    match tokio::task::spawn_blocking(move || store.commit(batch)).await {
        Ok(result) => result,
        Err(error) => {
            Err(StoreError::Io { path: String::new(), message: format!("a commit ended in a panic: {error}") })
        }
    }
}

/// One step on its way.
struct One {
    index: usize,
    step: Step,
    step_suspensions: ObjectSuspensions,
    backend: Backend,
    calls: Arc<Semaphore>,
    stop: CancellationToken,
    store: Arc<dyn Store>,
    batch_writer: BatchWriter,
    clock: Arc<dyn Clock>,
    revision: String,
    sender: mpsc::UnboundedSender<Message>,
}

impl One {
    /// The intent, the call, the outcome: each durable before the next.
    async fn make(self) -> Result<End, StoreError> {
        let intent = OpenIntent { id: self.store.next_intent(), step: self.step.clone(), at: self.clock.now() };
        let id = intent.id;
        self.batch_writer.commit(Batch { open: vec![intent], ..Batch::default() }).await?;
        let turn = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            turn = self.calls.acquire() => turn.ok(),
        };
        let Some(turn) = turn else {
            self.batch_writer.commit(Batch { close: vec![id], ..Batch::default() }).await?;
            return Ok(End::Stopped);
        };
        let calling = self.batch_writer.calling();
        // Nobody listening any more is no reason to stop.
        let _ = self.sender.send(Message::Begun(self.index));
        let began = Instant::now();
        let called = self.call().await;
        drop((turn, calling));
        let result = match called {
            Ok(Ok(outcome)) => self.seen_to_give_way().await.map(|()| outcome),
            Ok(failed) => failed,
            Err(suspension) => {
                self.batch_writer.commit(Batch { close: vec![id], ..Batch::default() }).await?;
                return Ok(End::Suspended(suspension));
            }
        };
        if self.store.waits_for_disk() {
            let _ = self.sender.send(Message::Called(self.index));
        }
        let entry = journal_entry(&self.step, &self.revision, self.clock.now(), &result, began.elapsed());
        // Without a known end the intent stays open: the next observation says whether there was an effect.
        let is_known = result.as_ref().err().is_none_or(|error| error.effect != Effect::Unknown);
        let close = if is_known { vec![id] } else { Vec::new() };
        self.batch_writer.commit_soon(Batch { close, journal: vec![entry], ..Batch::default() }).await?;
        Ok(End::Called(result))
    }

    /// Calls the driver, again where that may help. `Err`: the object is suspended, and no call was made.
    async fn call(&self) -> Result<Result<Outcome, DriverError>, Suspension> {
        let mut pause = FIRST_PAUSE;
        let (mut failed, mut tried) = (None, 0);
        loop {
            tried += 1;
            match self.step_suspensions.suspended(&self.backend, &self.step, self.clock.now()).await {
                Ok(None) => {}
                Ok(Some(suspension)) => return failed.map(Err).ok_or(suspension),
                Err(error) => return Ok(Err(failed.unwrap_or(error))),
            }
            match self.attempt().await {
                Err(error) if error.kind.retryable() && tried < TRIES => {
                    failed = Some(error.clone());
                    let pausing = pause + jitter(self.step.identity.uid, pause);
                    let millis = u64::try_from(pausing.as_millis()).unwrap_or(u64::MAX);
                    let _ = self.sender.send(Message::Retrying(self.index, error, millis));
                    tokio::time::sleep(pausing).await;
                    pause *= 2;
                }
                result => return Ok(result),
            }
        }
    }

    /// Checks that what gives way is gone: by its name alone no driver can refuse the rename that comes in its place, and there
    /// would be two objects of one name. Every other report is checked when all steps are done.
    async fn seen_to_give_way(&self) -> Result<(), DriverError> {
        if self.step.reason != Reason::GivesWay {
            return Ok(());
        }
        let seen = self.backend.observe(&Scope::Objects(vec![self.step.native.clone()])).await;
        let seen = seen.map_err(|error| DriverError { effect: Effect::Unknown, ..error })?;
        match Seen::new(&seen).shows(&self.step) {
            Some(true) => Ok(()),
            Some(false) | None => Err(not_seen(&self.step)),
        }
    }

    async fn attempt(&self) -> Result<Outcome, DriverError> {
        let ticks = Arc::new(AtomicU64::new(0));
        let progress = {
            let (ticks, sender, index) = (Arc::clone(&ticks), self.sender.clone(), self.index);
            Arc::new(move |done, total| {
                ticks.fetch_add(1, Ordering::Relaxed);
                let _ = sender.send(Message::Progress(index, done, total));
            })
        };
        let context = StepContext { now: self.clock.now(), progress };
        let mut call = self.backend.driver.execute(&self.step, &context);
        let timeout = self.backend.spec.timeout;
        let limit = self.backend.limit() * if self.step.action.is_long() { STALLED } else { 1 };
        loop {
            let before = ticks.load(Ordering::Relaxed);
            match tokio::time::timeout(limit, &mut call).await {
                Ok(result) => return result,
                Err(_) if ticks.load(Ordering::Relaxed) > before => {}
                Err(_) => return Err(DriverError::timed_out(timeout)),
            }
        }
    }
}

/// Up to half of the pause, by the object: retries of many objects do not come in one beat, and a run can be repeated exactly.
fn jitter(uid: Uid, pause: Duration) -> Duration {
    let spread = uid.as_str().bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 100;
    pause * spread / 200
}

/// The journal's line about a step.
pub(super) fn journal_entry(
    step: &Step,
    revision: &str,
    now: u64,
    result: &Result<Outcome, DriverError>,
    took: Duration,
) -> JournalEntry {
    JournalEntry {
        at: now,
        revision: revision.to_owned(),
        owner: step.identity.owner.clone(),
        backend: step.backend.clone(),
        kind: step.identity.kind,
        name: step.identity.name.clone(),
        uid: step.identity.uid,
        action: step.action.verb().to_string(),
        detail: step.action.to_string(),
        outcome: match result {
            Ok(Outcome::Changed) => "changed",
            Ok(Outcome::Unchanged) => "unchanged",
            Err(_) => "failed",
        }
        .to_owned(),
        message: result.as_ref().err().map(ToString::to_string),
        millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Steps that wait for nothing any more, in the order of the plan, by backend and by whether they copy: where there is room for one
/// of a kind, there is room for any.
struct Queue {
    waiting: Vec<usize>,
    needed_by: Vec<Vec<usize>>,
    free: BTreeMap<(Name, bool), BTreeSet<usize>>,
}

impl Queue {
    fn new(steps: &[Step]) -> Self {
        let mut needed_by = vec![Vec::new(); steps.len()];
        for (index, step) in steps.iter().enumerate() {
            for needed in &step.after {
                needed_by[*needed].push(index);
            }
        }
        let waiting = steps.iter().map(|step| step.after.len()).collect();
        let mut queue = Self { waiting, needed_by, free: BTreeMap::new() };
        for index in (0..steps.len()).filter(|index| steps[*index].after.is_empty()) {
            queue.release(index, steps);
        }
        queue
    }

    fn release(&mut self, index: usize, steps: &[Step]) {
        let step = &steps[index];
        self.free.entry((step.backend.clone(), step.action.is_long())).or_default().insert(index);
    }

    /// The first free step for which there is room.
    fn next(&mut self, steps: &[Step], has_room: impl Fn(&Step) -> bool) -> Option<usize> {
        let firsts = self.free.values().filter_map(|free| free.first().copied());
        let index = firsts.filter(|index| has_room(&steps[*index])).min()?;
        let step = &steps[index];
        self.free.get_mut(&(step.backend.clone(), step.action.is_long()))?.remove(&index);
        Some(index)
    }

    /// Everything that waits for a step, however far behind it; once.
    fn waiting_for(&mut self, index: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut look = vec![index];
        while let Some(index) = look.pop() {
            look.extend(std::mem::take(&mut self.needed_by[index]).into_iter().filter(|other| found.insert(*other)));
        }
        found
    }

    fn done(&mut self, index: usize, steps: &[Step]) {
        for other in std::mem::take(&mut self.needed_by[index]) {
            self.waiting[other] -= 1;
            if self.waiting[other] == 0 {
                self.release(other, steps);
            }
        }
    }
}
