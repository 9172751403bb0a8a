//! Copies that go on without the pass that began them.

use super::independence::*;
use super::*;
use crate::daemon::api::protocol::RunLine;
use crate::daemon::api::runs::{Runs, apply};
use crate::engine::{OperationError, operate};
use crate::model::ObjectId;
use crate::plan::{HeldReason, Plan, RUNNING_FIX};

impl Five {
    /// Declares volumes on the slow backend that are copies of `old-slow`.
    fn declare_copies(&self, volumes: &[&str]) {
        for volume in volumes {
            let meta = format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {volume}}}\n");
            let spec = "spec: {size: 1Mi, backend: slow, source: {volume: old-slow}}\n";
            self.write(volume, &format!("{meta}{spec}"));
        }
    }

    /// A daemon that has left a copy: that takes ten seconds.
    async fn copying(volumes: &[&str]) -> Self {
        let five = Self::new(false).await;
        five.slow(Some(Call::Copy));
        five.declare_copies(volumes);
        five.leaving_pass(None).await;
        five
    }

    /// A pass while another one is due.
    async fn leaving_pass(&self, due: Option<Due>) {
        let leave = CancellationToken::new();
        leave.cancel();
        self.pass_until(due, leave).await;
    }

    fn running(&self) -> Vec<String> {
        self.reconciler.jobs.running().iter().map(|running| running.step.identity.id().to_string()).collect()
    }

    /// Waits for the next end of a copy, and makes the pass that the loop makes then.
    async fn end(&self) -> Report {
        let ended = tokio::time::timeout(Duration::from_secs(100), self.reconciler.jobs.ended.notified());
        ended.await.unwrap();
        let answer = Trigger::Loop(Some(Due::Answer), CancellationToken::new());
        self.reconciler.pass(answer, CancellationToken::new(), Arc::new(LogReporter)).await.unwrap()
    }

    async fn operate(&self, operation: Operation) -> Result<(), OperationError> {
        let setup = self.reconciler.setup(self.reconciler.read().await.reading);
        operate(&setup, operation).await.map(|_| ())
    }
}

fn held(plan: &Plan) -> Vec<(&str, HeldReason)> {
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
    let five = Five::new(false).await;
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
