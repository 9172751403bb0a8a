//! Copies that go on without the pass that began them.

use super::independence::*;
use super::*;
use crate::daemon::api::protocol::RunLine;
use crate::daemon::api::runs::{Runs, apply};
use crate::driver::sim::{SimMode, SimObject};
use crate::engine::{OperationError, operate};
use crate::model::{Absence, Capabilities, Identity, ObjectId, Restores, Size, Uid};
use crate::plan::{HeldReason, Plan, RUNNING_FIX};

impl Five {
    /// Declares volumes on the slow backend that are copies of `old-slow`.
    pub(super) fn declare_copies(&self, volumes: &[&str]) {
        for volume in volumes {
            let meta = format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {volume}}}\n");
            let spec = "spec: {size: 1Mi, backend: slow, source: {volume: old-slow}}\n";
            self.write(volume, &format!("{meta}{spec}"));
        }
    }

    /// A daemon that has left a copy: that takes ten seconds.
    pub(super) async fn copying(volumes: &[&str]) -> Self {
        let five = Self::new(false).await;
        five.slow(Some(Call::Copy));
        five.declare_copies(volumes);
        five.leaving_pass(None).await;
        five
    }

    /// A pass while another one is due.
    pub(super) async fn leaving_pass(&self, due: Option<Due>) {
        let leave = CancellationToken::new();
        leave.cancel();
        self.pass_until(due, leave).await;
    }

    pub(super) fn running(&self) -> Vec<String> {
        self.reconciler.jobs.running().iter().map(|running| running.step.identity.id().to_string()).collect()
    }

    /// Waits for the next end of a copy, and makes the pass that the loop makes then.
    pub(super) async fn end(&self) -> Report {
        let ended = tokio::time::timeout(Duration::from_secs(100), self.reconciler.jobs.ended.notified());
        ended.await.unwrap();
        let answer = Trigger::Loop(Some(Due::Answer), CancellationToken::new());
        self.reconciler.pass(answer, CancellationToken::new(), Arc::new(LogReporter)).await.unwrap()
    }

    pub(super) async fn operate(&self, operation: Operation) -> Result<(), OperationError> {
        let setup = self.reconciler.setup(self.reconciler.read().await.reading);
        operate(&setup, operation).await.map(|_| ())
    }
}

impl Five {
    /// The loop's pass for an answer.
    pub(super) async fn answer(&self) -> Report {
        let answer = Trigger::Loop(Some(Due::Answer), CancellationToken::new());
        self.reconciler.pass(answer, CancellationToken::new(), Arc::new(LogReporter)).await.unwrap()
    }

    pub(super) fn thick(&self, volume: &str, size: &str) {
        let meta = format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {volume}}}\n");
        self.write(volume, &format!("{meta}spec: {{size: {size}, backend: slow, provisioning: thick}}\n"));
    }

    pub(super) fn capacity(&self, size: Size) {
        let world = self.pools.sims[&name("slow")].world();
        drop(SimDriver::new(world, FaultRates::NONE, 0).with_capacity(Some(size)));
    }

    /// A daemon that has left a restore under a person's approval.
    pub(super) async fn restoring() -> Self {
        Self::restoring_with(Capabilities::everything()).await
    }

    pub(super) async fn restoring_with(capabilities: Capabilities) -> Self {
        let five = Self::of(false, capabilities).await;
        let head = "apiVersion: kiln/v1\nkind:";
        five.write("s", &format!("{head} Snapshot\nmetadata: {{name: s}}\nspec: {{volume: old-slow}}\n"));
        five.pass(None).await;
        let spec = "spec: {size: 1Mi, backend: slow, restore: {snapshot: s, request: one}}";
        five.write("old-slow", &format!("{head} Volume\nmetadata: {{name: old-slow}}\n{spec}\n"));
        five.pass(None).await;
        let digest = five.awaiting().await.unwrap();
        five.operate(Operation::Approve(digest, None)).await.unwrap();
        assert_eq!(five.awaiting().await, None);
        five.slow(Some(Call::Copy));
        five.leaving_pass(Some(Due::Time)).await;
        assert_eq!(five.running(), ["volume/old-slow"]);
        five
    }

    pub(super) async fn awaiting(&self) -> Option<String> {
        self.plan().await.awaiting.map(|set| set.digest)
    }

    /// Waits until the jobs have ended; no pass enters it.
    pub(super) async fn ended_only(&self) {
        self.reconciler.jobs.wait(|_| true).await;
        assert!(self.running().is_empty());
    }

    pub(super) fn unfinished_by_hand(&self) {
        let (kind, volume, owner) = (Kind::Volume, name("half"), "prod".parse().unwrap());
        let uid = Uid::derive("5c1d2e8a90", &owner, kind, &name("slow"), &volume, 0);
        let identity = Identity { owner, kind, name: volume, uid };
        let world = self.pools.sims[&name("slow")].world();
        world.lock().unwrap().make_by_hand(&identity.temporary(), SimObject::empty(Size(1 << 20)));
    }
}

pub(super) async fn like(absence: Absence) -> Five {
    let mode = SimMode { absence: Some(absence), ..SimMode::default() };
    Five::of(false, mode.capabilities()).await
}

pub(super) fn held(plan: &Plan) -> Vec<(&str, HeldReason)> {
    plan.held.iter().map(|held| (held.name.as_str(), held.reason)).collect()
}

#[tokio::test(start_paused = true)]
async fn everything_else_on_the_backend_is_done_while_a_copy_goes_on() {
    let five = Five::copying(&["copy"]).await;
    assert!(!five.reconciler.background.is_busy(), "only the copy goes on");
    assert_eq!(five.running(), ["volume/copy"]);
    five.declare("new", |_| true);
    tokio::time::timeout(Duration::from_millis(500), five.pass(None)).await.unwrap();
    assert!(five.live("slow").contains("new-slow") && !five.live("slow").contains("copy"));
    let plan = five.plan().await;
    assert_eq!((plan.steps.len(), held(&plan)), (0, vec![("copy", HeldReason::Progressing)]));
    let setup = five.reconciler.setup(five.reconciler.read().await.reading);
    let overview = crate::engine::overview(&setup, &[]).await;
    let of_copy = |object: &crate::report::ObjectStatus<'_>| object.metadata.name.as_str() == "copy";
    let status = crate::report::status(&overview, &setup.reading).into_iter().find(of_copy).unwrap().status;
    assert_eq!(status.condition, crate::report::Condition::Progressing);
    assert!(status.message.contains(", 43 % of 100, since "), "{}", status.message);
    let is_applied =
        || five.reconciler.known().applied.as_ref().is_some_and(|at| at.revision == setup.reading.revision);
    assert!(!is_applied(), "not before the copy is there");
    let report = five.end().await;
    assert_eq!((report.changed, report.failed), (1, vec![]));
    assert!(five.live("slow").contains("copy"));
    assert!(five.running().is_empty() && five.store().intents().unwrap().is_empty());
    assert!(is_applied());
    assert!(five.pools.sims[&name("slow")].world().lock().unwrap().repeated().is_empty());
    let last = five.store().journal(1).unwrap().remove(0);
    assert_eq!((last.name.as_str(), last.outcome.as_str()), ("copy", "changed"));
    assert!(last.millis >= 10_000, "{last:?}");
    let plan = five.plan().await;
    assert_eq!((plan.steps.len(), held(&plan)), (0, vec![]));
    // The writer lock is free, and the ledger has the copy.
    five.undeclare("new", "slow");
    five.remove("copy");
    five.pass(None).await;
    tokio::time::advance(CONFIRM).await;
    five.pass(Some(Due::Time)).await;
    assert_eq!(five.live("slow"), ["old-slow".to_owned()].into());
}

#[tokio::test(start_paused = true)]
async fn a_source_is_not_removed_before_it_is_copied() {
    let five = Five::copying(&["copy"]).await;
    five.remove("copy");
    five.undeclare("old", "slow");
    five.pass(None).await;
    tokio::time::advance(CONFIRM).await;
    five.pass(Some(Due::Time)).await;
    let plan = five.plan().await;
    assert_eq!(held(&plan), [("old-slow", HeldReason::Progressing)], "{plan:?}");
    assert_eq!(plan.held[0].fix, RUNNING_FIX);
    assert!(five.live("slow").contains("old-slow"));
    five.end().await;
    tokio::time::advance(CONFIRM).await;
    five.pass(Some(Due::Time)).await;
    // Now the copy is removed, and in the trash it still needs its source.
    assert_eq!(five.live("slow"), ["old-slow".to_owned()].into());
    assert_eq!(held(&five.plan().await), [("old-slow", HeldReason::HasDependents)]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_fails_is_tried_again_later() {
    let five = Five::copying(&["copy"]).await;
    five.pools.slowness.fails.store(true, Ordering::SeqCst);
    let report = five.end().await;
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert_eq!(five.reconciler.known().failures.all().count(), 1);
    assert!(five.running().is_empty() && !five.live("slow").contains("copy"));
    five.pools.slowness.fails.store(false, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(60)).await;
    five.leaving_pass(Some(Due::Time)).await;
    assert_eq!(five.running(), ["volume/copy"]);
    five.end().await;
    assert!(five.live("slow").contains("copy") && five.reconciler.known().failures.all().next().is_none());
}

#[tokio::test(start_paused = true)]
async fn copies_leave_half_of_the_calls_to_others_and_follow_each_other() {
    let five = Five::of(false, Capabilities { shares_blocks: None, ..Capabilities::everything() }).await;
    let head = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: slow}\n";
    five.write("slow", &format!("{head}spec: {{driver: sim, concurrency: 2}}\n"));
    five.slow(Some(Call::Copy));
    five.declare_copies(&["copy1", "copy2", "copy3"]);
    five.leaving_pass(None).await;
    assert_eq!(five.running(), ["volume/copy1"]);
    five.declare("new", |backend| backend == "slow");
    five.leaving_pass(None).await;
    assert_eq!(five.running(), ["volume/copy1"]);
    assert!(five.live("slow").contains("new-slow"));
    for made in ["copy1", "copy2"] {
        five.end().await;
        assert!(five.live("slow").contains(made), "{:?}", five.live("slow"));
    }
    assert_eq!(five.running(), ["volume/copy3"]);
    five.end().await;
    assert!(five.live("slow").contains("copy3"));
    assert!(five.pools.sims[&name("slow")].world().lock().unwrap().repeated().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_copy_whose_end_is_observed_late_is_entered_once() {
    let five = Five::copying(&["copy"]).await;
    // This listing begins before the copy has ended, and is used after it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    five.slow(Some(Call::List));
    five.leaving_pass(Some(Due::Time)).await;
    assert!(five.reconciler.background.is_busy());
    five.slow(None);
    let mut changed = 0;
    for _ in 0..4 {
        let ended = async {
            tokio::select! {
                () = five.reconciler.jobs.ended.notified() => {}
                () = five.reconciler.background.ended.notified() => {}
            }
        };
        if tokio::time::timeout(Duration::from_secs(100), ended).await.is_err() {
            break;
        }
        let answer = Trigger::Loop(Some(Due::Answer), CancellationToken::new());
        let pass = five.reconciler.pass(answer, CancellationToken::new(), Arc::new(LogReporter));
        let report = pass.await.unwrap();
        assert_eq!((report.failed, report.plan.unwrap().steps), (vec![], vec![]));
        changed += report.changed;
    }
    assert_eq!((changed, five.running().len()), (1, 0));
    assert!(five.live("slow").contains("copy"));
    assert!(five.pools.sims[&name("slow")].world().lock().unwrap().repeated().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_session_of_a_copy_is_used_while_the_place_of_its_backend_is_the_same() {
    let five = Five::copying(&["copy"]).await;
    let head = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: slow}\n";
    five.write("slow", &format!("{head}spec: {{driver: sim, timeout: 60s, maxFill: 70%}}\n"));
    five.declare("new", |backend| backend == "slow");
    five.pass(None).await;
    assert!(five.live("slow").contains("new-slow"));
    let before = five.live("slow");
    five.write("slow", &format!("{head}spec: {{driver: sim, sim: {{path: ../elsewhere.sim}}}}\n"));
    five.declare("later", |backend| backend == "slow");
    five.pass(None).await;
    let plan = five.reconciler.known().last_pass.clone().unwrap();
    assert_eq!((plan.changed, five.live("slow")), (0, before));
    let world = five.reconciler.pass(due(), CancellationToken::new(), Arc::new(LogReporter)).await.unwrap().world;
    let why = format!("{:?}", world[&name("slow")]);
    assert!(why.contains("a step still runs in the place where it was before"), "{why}");
    assert_eq!(five.store().intents().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_on_a_backend_that_is_not_declared_any_more_ends() {
    let five = Five::copying(&["copy"]).await;
    ["slow", "old-slow", "copy"].iter().for_each(|file| five.remove(file));
    five.pass(None).await;
    tokio::time::advance(CONFIRM).await;
    five.pass(Some(Due::Time)).await;
    assert_eq!((five.running().len(), five.store().intents().unwrap().len()), (1, 1));
    five.end().await;
    assert_eq!((five.running().len(), five.store().intents().unwrap().len()), (0, 0));
    assert!(five.live("slow").contains("copy"));
    // The pool can be used again, by any name.
    let lock = five.pools.sims[&name("slow")].lock(&"prod".parse().unwrap()).await;
    assert!(lock.is_ok());
}

#[tokio::test(start_paused = true)]
async fn commands_neither_forget_nor_purge_what_a_copy_needs() {
    let five = Five::copying(&["copy"]).await;
    let copy: ObjectId = (Kind::Volume, name("copy")).into();
    for operation in [Operation::ForgetObject(copy, None), Operation::ForgetBackend(name("slow"), None)] {
        match five.operate(operation).await {
            Err(OperationError::Held(why)) => assert!(why.contains("a step on volume copy still runs"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((five.running().len(), five.store().intents().unwrap().len()), (1, 1));
    five.end().await;
    assert!(five.live("slow").contains("copy"));
}

#[tokio::test(start_paused = true)]
async fn an_apply_waits_for_the_copies_of_what_it_applies() {
    let five = Five::copying(&["copy"]).await;
    let specs = real(&five.dir.path().join("specs"));
    let run = async |only: Vec<ObjectId>| {
        let began = tokio::time::Instant::now();
        let ask = ApplyRequest { specs: specs.clone(), only, ..ApplyRequest::default() };
        let mut lines = apply(&five.reconciler, &Arc::<Runs>::default(), ask);
        let mut told = Vec::new();
        while let Some(line) = lines.recv().await {
            told.push(line);
        }
        (began.elapsed(), told)
    };
    five.declare("new", |_| true);
    let (took, told) = run(vec![(Kind::Volume, name("new-slow")).into()]).await;
    assert!(took < Duration::from_secs(1) && five.live("slow").contains("new-slow"), "{took:?}: {told:?}");
    let (took, told) = run(Vec::new()).await;
    assert!(took > Duration::from_secs(5), "{took:?}");
    assert!(format!("{told:?}").contains("waiting for volume/copy: create"), "{told:?}");
    assert!(matches!(told.last(), Some(RunLine::Done(report)) if report.failed.is_empty()), "{told:?}");
    assert!(five.live("slow").contains("copy") && five.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_approval_of_a_restore_that_failed_is_given_back() {
    let five = Five::restoring().await;
    five.pools.slowness.fails.store(true, Ordering::SeqCst);
    assert_eq!(five.end().await.failed.len(), 1);
    assert_eq!(five.awaiting().await, None, "it is approved");
}

#[tokio::test(start_paused = true)]
async fn what_a_copy_does_is_known_while_its_backend_is_busy_and_when_it_is_back() {
    let five = Five::copying(&["copy"]).await;
    // The copy goes on for 20 s; this listing takes from the fifth to the fifteenth.
    *five.pools.slowness.also.lock().unwrap() = Some((name("slow"), Call::Step));
    tokio::time::sleep(Duration::from_secs(5)).await;
    five.slow(Some(Call::List));
    five.leaving_pass(Some(Due::Time)).await;
    assert!(five.reconciler.background.is_busy());
    let trigger = || Trigger::Loop(Some(Due::Time), CancellationToken::new());
    let pass = async || five.reconciler.pass(trigger(), CancellationToken::new(), Arc::new(LogReporter)).await.unwrap();
    assert_eq!(pass().await.running.len(), 1, "while it is busy");
    five.reconciler.background.ended.notified().await;
    five.slow(None);
    assert_eq!(five.running(), ["volume/copy"]);
    assert_eq!(held(&five.answer().await.plan.unwrap()), [("copy", HeldReason::Progressing)], "when it is back");
    assert_eq!(five.store().intents().unwrap().len(), 1);
    five.end().await;
    assert!(five.live("slow").contains("copy") && five.store().intents().unwrap().is_empty());
    assert!(five.pools.sims[&name("slow")].world().lock().unwrap().repeated().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_backend_never_gets_more_calls_at_once_than_it_allows() {
    let five = Five::new(false).await;
    let head = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: slow}\n";
    five.write("slow", &format!("{head}spec: {{driver: sim, concurrency: 2}}\n"));
    five.slow(Some(Call::Copy));
    five.declare_copies(&["copy"]);
    five.leaving_pass(None).await;
    five.slow(Some(Call::Step));
    let before = five.pools.slowness.made.load(Ordering::SeqCst);
    ["new", "later"].iter().for_each(|volume| five.declare(volume, |backend| backend == "slow"));
    five.leaving_pass(None).await;
    assert_eq!(five.pools.slowness.made.load(Ordering::SeqCst) - before, 1, "beside the copy");
}

#[tokio::test(start_paused = true)]
async fn copies_for_which_there_is_no_room_are_postponed() {
    let five = Five::of(false, Capabilities { shares_blocks: None, ..Capabilities::everything() }).await;
    let head = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: slow}\n";
    five.write("slow", &format!("{head}spec: {{driver: sim, concurrency: 2}}\n"));
    five.slow(Some(Call::Copy));
    five.declare_copies(&["copy1", "copy2"]);
    five.leaving_pass(None).await;
    let report = five.answer().await;
    assert_eq!((report.postponed, report.skipped, report.stopped), (1, 0, false));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_ends_in_a_panic_is_made_again() {
    let five = Five::copying(&["copy"]).await;
    five.pools.slowness.panics.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(five.running().is_empty(), "it has ended");
    five.pools.slowness.panics.store(false, Ordering::SeqCst);
    five.slow(None);
    five.end().await;
    five.pass(Some(Due::Time)).await;
    assert!(five.live("slow").contains("copy") && five.store().intents().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_room_of_a_step_that_runs_is_not_checked_again_and_counted_once() {
    let five = Five::new(false).await;
    five.slow(Some(Call::Copy));
    five.thick("bb", "40Mi");
    five.leaving_pass(None).await;
    let unfinished = five.reconciler.jobs.running()[0].step.address_of_unfinished().unwrap().native;
    let world = five.pools.sims[&name("slow")].world();
    world.lock().unwrap().change_by_hand(&unfinished, |object| {
        (object.size, object.thick) = (Size(30 << 20), true);
    });
    five.capacity(Size(30 << 20));
    assert_eq!(held(&five.plan().await), [("bb", HeldReason::Progressing)]);
    five.capacity(Size(100 << 20));
    five.thick("cc", "30Mi");
    let plan = five.plan().await;
    assert_eq!((plan.steps.len(), held(&plan)), (1, vec![("bb", HeldReason::Progressing)]));
}

#[test]
fn what_a_running_step_forbids() {
    use crate::model::fixtures::{identity, volume};
    use crate::model::{Action, InnerSnapshot, ObjectRef, Reason, Seconds, Step, Tags};
    use crate::plan::RunningStep;
    let step = |id: Identity, action: Action| Step::new(name("slow"), id, action, Reason::NotThere);
    let running = |step: Step| RunningStep { step, since: 0, done: 0, total: 0 };
    let none = |_: Uid| None;
    let snapshot = identity(Kind::Snapshot, "s");
    let parent = |uid: Uid| (uid == volume("clone").uid).then_some(snapshot.uid);
    // A clone while it is made independent of its snapshot.
    let detach = running(step(snapshot.clone(), Action::Detach));
    assert!(detach.forbids(&step(volume("clone"), Action::Destroy), parent).is_some());
    assert!(detach.forbids(&step(volume("other"), Action::Destroy), parent).is_none());
    // The volume that a nested source is inside of.
    let nested = ObjectRef {
        parent_volume: Some(volume("db").native()),
        ..ObjectRef::new(snapshot.native(), snapshot.uid, Size(1))
    };
    let restore = running(step(volume("web"), Action::Restore { snapshot: nested, request: "r".to_owned() }));
    let rename = Action::Rename { from: volume("db").native(), tags: Tags::default() };
    let rename = Step { native: volume("new").native(), ..step(volume("db"), rename) };
    assert!(restore.forbids(&rename, none).is_some(), "its snapshot is found by its name");
    assert!(restore.forbids(&step(volume("db"), Action::Grow { to: Size(2) }), none).is_some());
    // What moves inside of a volume.
    let with =
        vec![InnerSnapshot { identity: snapshot.clone(), native: snapshot.native(), size: Size(1), released: false }];
    let trash = running(step(volume("db"), Action::Trash { ttl: Seconds(1), with }));
    assert!(trash.forbids(&step(snapshot.clone(), Action::Destroy), none).is_some());
    // What leaves the content as it is.
    let source = ObjectRef::new(volume("db").native(), volume("db").uid, Size(1));
    let copy = running(step(snapshot, Action::Snapshot { volume: source.clone(), tags: Tags::default(), n: 0 }));
    assert!(copy.forbids(&step(volume("db"), Action::SetTags { tags: Tags::default() }), none).is_none());
    assert!(copy.forbids(&step(volume("db"), Action::Reserve), none).is_some());
    // A copy of what is being written.
    let reserve = running(step(volume("db"), Action::Reserve));
    let of_db = Action::Snapshot { volume: source, tags: Tags::default(), n: 0 };
    assert!(reserve.forbids(&step(identity(Kind::Snapshot, "t"), of_db), none).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_listing_from_before_the_end_of_a_copy_does_not_show_it() {
    let five = Five::copying(&["copy"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    five.slow(Some(Call::Answer));
    five.leaving_pass(Some(Due::Time)).await;
    five.slow(None);
    five.reconciler.background.ended.notified().await;
    assert!(five.running().is_empty());
    let report = five.answer().await;
    assert_eq!((report.changed, report.failed, report.plan.unwrap().steps), (0, vec![], vec![]));
    let report = five.end().await;
    assert_eq!((report.changed, report.failed, report.plan.unwrap().steps), (1, vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_reported_as_done_and_is_not_there_has_failed() {
    let five = Five::copying(&["copy"]).await;
    five.ended_only().await;
    let uid = five.live_native("copy");
    five.pools.sims[&name("slow")].world().lock().unwrap().delete_by_hand(&uid);
    assert_eq!(five.end().await.failed.len(), 1);
}

impl Five {
    fn live_native(&self, volume: &str) -> crate::model::NativeName {
        let world = self.pools.sims[&name("slow")].world();
        let world = world.lock().unwrap();
        let start = format!("kiln.prod.{volume}.");
        world.live_objects().find(|(native, _)| native.as_str().starts_with(&start)).unwrap().0.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_on_a_backend_that_answers_for_names_only_is_shown_when_it_has_ended() {
    let five = like(Absence::ByName).await;
    five.slow(Some(Call::Copy));
    five.declare_copies(&["copy"]);
    five.leaving_pass(None).await;
    assert_eq!(five.running(), ["volume/copy"]);
    let report = five.end().await;
    assert_eq!((report.changed, report.failed), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_half_restore_that_is_a_job_is_completed_and_done_once() {
    let mode = SimMode { restore: Some(Restores::InSteps), ..SimMode::default() };
    let five = Five::restoring_with(mode.capabilities()).await;
    let report = five.end().await;
    assert_eq!((report.changed, report.failed), (1, vec![]));
    five.pass(Some(Due::Time)).await;
    let plan = five.plan().await;
    assert_eq!((plan.steps.len(), held(&plan)), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn the_copy_of_an_apply_does_not_wait_for_those_of_others() {
    let five = Five::new(false).await;
    let head = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: slow}\n";
    five.write("slow", &format!("{head}spec: {{driver: sim, concurrency: 2}}\n"));
    five.slow(Some(Call::Copy));
    five.declare_copies(&["copy1"]);
    five.leaving_pass(None).await;
    five.declare_copies(&["copy2"]);
    let (specs, only) = (real(&five.dir.path().join("specs")), vec![(Kind::Volume, name("copy2")).into()]);
    let ask = Trigger::Client(ApplyRequest { specs, only, ..ApplyRequest::default() });
    let report = five.reconciler.pass(ask, CancellationToken::new(), Arc::new(LogReporter)).await.unwrap();
    assert_eq!((report.changed, report.postponed), (1, 0), "{report:?}");
}
