//! What may go wrong beside copies that go on without their pass: each of these tests failed once.

use super::independence::*;
use super::jobs::{held, like};
use super::*;
use crate::daemon::api::runs::{Runs, apply};
use crate::model::{Absence, Identity, Size, Uid};
use crate::plan::HeldReason;

const SLOW_BACKEND: &str = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: slow}\n";

#[tokio::test(start_paused = true)]
async fn a_backend_that_moved_is_used_when_its_copies_have_ended() {
    let five = Five::copying(&["copy"]).await;
    five.write("slow", &format!("{SLOW_BACKEND}spec: {{driver: sim, sim: {{path: ../elsewhere.sim}}}}\n"));
    five.pass(None).await;
    five.end().await;
    five.pass(Some(Due::Time)).await;
    five.pass(Some(Due::Time)).await;
    let world = five.reconciler.pass(due(), CancellationToken::new(), Arc::new(LogReporter)).await.unwrap().world;
    let view = format!("{:?}", world[&name("slow")]);
    assert!(!view.contains("still runs"), "{view}");
}

fn due() -> Trigger {
    Trigger::Loop(Some(Due::Time), CancellationToken::new())
}

#[tokio::test(start_paused = true)]
async fn with_one_call_at_once_a_copy_does_not_block_what_was_planned_with_it() {
    let five = Five::new(false).await;
    five.write("slow", &format!("{SLOW_BACKEND}spec: {{driver: sim, concurrency: 1}}\n"));
    five.slow(Some(Call::Copy));
    five.declare_copies(&["copy"]);
    five.declare("new", |backend| backend == "slow");
    five.leaving_pass(None).await;
    assert!(!five.reconciler.background.is_busy(), "the backend waits for the copy: {:?}", five.running());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_copy_is_entered_at_once_on_a_backend_that_was_slow_once() {
    let five = Five::new(false).await;
    five.slow(Some(Call::List));
    five.pass(Some(Due::Time)).await;
    five.catch_up().await;
    five.slow(Some(Call::Copy));
    five.declare_copies(&["copy"]);
    five.leaving_pass(None).await;
    assert_eq!(five.running(), ["volume/copy"]);
    // The pass that follows what it changed.
    five.pass(Some(Due::Time)).await;
    let report = five.end().await;
    assert_eq!(report.changed, 1, "busy: {:?}; nothing else wakes the loop", report.busy);
}

#[tokio::test(start_paused = true)]
async fn room_that_a_running_step_will_take_is_counted_before_all_others() {
    for first in ["zz", "bb"] {
        let five = Five::new(false).await;
        five.capacity(Size(100 << 20));
        five.slow(Some(Call::Copy));
        five.thick(first, "40Mi");
        five.leaving_pass(None).await;
        assert_eq!(five.running(), [format!("volume/{first}")]);
        five.thick("cc", "55Mi");
        let plan = five.plan().await;
        let full = held(&plan).contains(&("cc", HeldReason::PoolFull));
        assert!(full, "beside {first}: {:?} {:?}", held(&plan), plan.steps);
    }
}

#[tokio::test(start_paused = true)]
async fn room_that_a_running_step_will_take_is_counted_also_without_its_document() {
    let five = Five::new(false).await;
    five.capacity(Size(100 << 20));
    five.slow(Some(Call::Copy));
    five.thick("bb", "40Mi");
    five.leaving_pass(None).await;
    five.remove("bb");
    five.thick("cc", "55Mi");
    let plan = five.plan().await;
    assert!(held(&plan).contains(&("cc", HeldReason::PoolFull)), "{:?} {:?}", held(&plan), plan.steps);
}

#[tokio::test(start_paused = true)]
async fn the_approval_of_a_restore_that_failed_is_given_back_also_if_a_sweep_is_late() {
    let five = Five::restoring().await;
    five.pools.slowness.fails.store(true, Ordering::SeqCst);
    five.ended_only().await;
    five.unfinished_by_hand();
    five.slow(Some(Call::Sweep));
    five.answer().await;
    five.pools.slowness.fails.store(false, Ordering::SeqCst);
    five.slow(None);
    five.catch_up().await;
    assert_eq!(five.awaiting().await, None, "it is approved");
}

#[tokio::test(start_paused = true)]
async fn the_approval_of_a_restore_that_failed_is_given_back_also_if_a_command_observes_it() {
    let five = Five::restoring().await;
    five.pools.slowness.fails.store(true, Ordering::SeqCst);
    five.ended_only().await;
    let nothing = Operation::ForgetObject((Kind::Volume, name("none")).into(), None);
    assert!(five.operate(nothing).await.is_err());
    five.answer().await;
    assert_eq!(five.awaiting().await, None, "it is approved");
    assert_eq!(five.reconciler.known().failures.all().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_a_command_observes_is_known_to_the_daemon() {
    let five = Five::copying(&["copy"]).await;
    five.pools.slowness.fails.store(true, Ordering::SeqCst);
    five.ended_only().await;
    let nothing = Operation::ForgetObject((Kind::Volume, name("none")).into(), None);
    assert!(five.operate(nothing).await.is_err());
    five.slow(None);
    let report = five.answer().await;
    // It is entered, and not begun again at once.
    assert_eq!((report.failed.len(), five.running().len(), five.live("slow").contains("copy")), (1, 0, false));
    assert_eq!(five.reconciler.known().failures.all().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_approval_of_a_restore_that_failed_is_given_back_also_if_an_apply_is_refused() {
    let five = Five::restoring().await;
    five.pools.slowness.fails.store(true, Ordering::SeqCst);
    five.ended_only().await;
    let specs = real(&five.dir.path().join("specs"));
    let ask = ApplyRequest { specs, approve: vec!["0123456789ab".to_owned()], ..ApplyRequest::default() };
    let report =
        five.reconciler.pass(Trigger::Client(ask), CancellationToken::new(), Arc::new(LogReporter)).await.unwrap();
    assert_eq!(report.refused.len(), 1);
    five.answer().await;
    assert_eq!(five.awaiting().await, None, "it is approved");
}

#[tokio::test(start_paused = true)]
async fn an_apply_waits_for_a_copy_that_a_pass_has_just_begun() {
    let five = Five::new(false).await;
    five.slow(Some(Call::Copy));
    five.declare_copies(&["copy"]);
    let reconciler = Arc::clone(&five.reconciler);
    let pass = tokio::spawn(async move {
        let trigger = Trigger::Loop(None, CancellationToken::new());
        reconciler.pass(trigger, CancellationToken::new(), Arc::new(LogReporter)).await.map(|_| ())
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let specs = real(&five.dir.path().join("specs"));
    let ask = ApplyRequest { specs, ..ApplyRequest::default() };
    let mut lines = apply(&five.reconciler, &Arc::<Runs>::default(), ask);
    let mut told = Vec::new();
    while let Some(line) = lines.recv().await {
        told.push(line);
    }
    pass.await.unwrap().unwrap();
    assert!(five.live("slow").contains("copy"), "it ended before the copy: {:?}", told.last());
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_renamed_meanwhile_is_not_made_again() {
    let five = Five::copying(&["copy"]).await;
    five.remove("copy");
    let meta = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: other, renamedFrom: copy}\n";
    five.write("other", &format!("{meta}spec: {{size: 1Mi, backend: slow, source: {{volume: old-slow}}}}\n"));
    let plan = five.plan().await;
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_failed_is_made_again_on_a_backend_that_answers_for_nothing() {
    let five = like(Absence::ByLedger).await;
    five.slow(Some(Call::Copy));
    five.declare_copies(&["copy"]);
    five.leaving_pass(None).await;
    assert_eq!(five.running(), ["volume/copy"]);
    five.pools.slowness.copies_fail.store(true, Ordering::SeqCst);
    assert_eq!(five.end().await.failed.len(), 1);
    five.pools.slowness.copies_fail.store(false, Ordering::SeqCst);
    let plan = five.plan().await;
    assert_eq!((plan.steps.len(), held(&plan)), (1, vec![]), "it certainly had no effect");
}

#[tokio::test(start_paused = true)]
async fn manifests_do_not_count_as_applied_when_a_copy_fails_at_the_end_of_a_pass() {
    let five = Five::copying(&["copy"]).await;
    five.pools.slowness.copies_fail.store(true, Ordering::SeqCst);
    five.pools.slowness.short.store(true, Ordering::SeqCst);
    *five.pools.slowness.also.lock().unwrap() = Some((name("a"), Call::Step));
    five.declare("new", |backend| backend == "a");
    tokio::time::sleep(Duration::from_millis(9400)).await;
    assert_eq!(five.running(), ["volume/copy"]);
    five.pass(None).await;
    assert!(five.running().is_empty() && five.live("a").contains("new-a") && !five.live("slow").contains("copy"));
    let revision = five.reconciler.read().await.reading.revision.clone();
    let is_applied = five.reconciler.known().applied.as_ref().is_some_and(|at| at.revision == revision);
    assert!(!is_applied);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_copies_nothing_does_not_wait_for_copies() {
    let five = Five::new(false).await;
    five.write("slow", &format!("{SLOW_BACKEND}spec: {{driver: sim, concurrency: 2}}\n"));
    five.slow(Some(Call::Copy));
    five.declare_copies(&["copy"]);
    five.leaving_pass(None).await;
    assert_eq!(five.running(), ["volume/copy"]);
    five.slow(None);
    assert!(five.pools.sims[&name("slow")].capabilities().shares_blocks.is_some());
    five.write("s", "apiVersion: kiln/v1\nkind: Snapshot\nmetadata: {name: s}\nspec: {volume: old-slow}\n");
    five.pass(None).await;
    assert!(five.live_snapshot("s"), "postponed until the copy has ended");
}

impl Five {
    fn live_snapshot(&self, snapshot: &str) -> bool {
        let world = self.pools.sims[&name("slow")].world();
        let world = world.lock().unwrap();
        let start = format!("kiln-snap.prod.{snapshot}.");
        world.live_objects().any(|(native, _)| native.as_str().starts_with(&start))
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_has_not_failed_because_a_listing_had_a_gap() {
    let five = Five::copying(&["copy"]).await;
    five.ended_only().await;
    five.pools.slowness.partial.store(true, Ordering::SeqCst);
    let report = five.end().await;
    assert_eq!(report.failed, vec![], "nothing shows that it is not there");
}

#[test]
fn what_is_being_copied_is_not_made_independent_of_its_snapshot() {
    use crate::model::fixtures::{identity, volume};
    use crate::model::{Action, ObjectRef, Reason, Step, Tags};
    use crate::plan::RunningStep;
    let step = |id: Identity, action: Action| Step::new(name("slow"), id, action, Reason::HasClones);
    let (old, of) = (identity(Kind::Snapshot, "old"), identity(Kind::Snapshot, "of-db"));
    let parent = |uid: Uid| (uid == volume("db").uid).then_some(old.uid);
    let source = ObjectRef::new(volume("db").native(), volume("db").uid, Size(1));
    let step_of = step(of, Action::Snapshot { volume: source, tags: Tags::default(), n: 0 });
    let copy = RunningStep { step: step_of, since: 0, done: 0, total: 0 };
    assert!(copy.forbids(&step(old.clone(), Action::Detach), parent).is_some());
}
