//! What later passes know of a backend that an earlier one left behind.

use super::independence::*;
use super::*;
use crate::plan::HeldReason;

/// A pass of the loop. `leave`: another one is due.
async fn reported(five: &Five, due: Option<Due>, leave: bool) -> Report {
    let token = CancellationToken::new();
    if leave {
        token.cancel();
    }
    five.reconciler.pass(Trigger::Loop(due, token), CancellationToken::new(), Arc::new(LogReporter)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_not_taken_for_an_older_state_of_itself_after_a_pass_has_changed_it() {
    let five = Five::new(false).await;
    five.slow(Some(Call::List));
    five.pass(Some(Due::Time)).await;
    five.catch_up().await;
    five.slow(None);
    five.declare("new", |backend| backend == "slow");
    assert_eq!(reported(&five, None, false).await.changed, 1);
    // Another backend has answered.
    let plan = reported(&five, Some(Due::Answer), false).await.plan.unwrap();
    assert_eq!((plan.steps, plan.held), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn no_step_fails_because_the_naming_of_the_process_is_late() {
    let five = Five::new(false).await;
    five.slow(Some(Call::Announce));
    five.declare("new", |_| true);
    let report = reported(&five, None, false).await;
    assert_eq!((report.failed, report.busy), (vec![], [name("slow")].into()));
    five.catch_up().await;
    assert!(five.live("slow").contains("new-slow"));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_due_on_a_busy_backend_starts_no_pass() {
    let mut five = Five::new(false).await;
    five.pools.slowness.fails.store(true, Ordering::SeqCst);
    five.declare("bad", |backend| backend == "slow");
    assert_eq!(reported(&five, None, false).await.failed.len(), 1);
    five.slow(Some(Call::Step));
    five.declare("long", |backend| backend == "slow");
    reported(&five, None, true).await;
    tokio::time::advance(Duration::from_secs(4)).await;
    while five.ended.try_recv().is_ok() {}
    five.pass(Some(Due::Time)).await;
    let after = five.ended.try_recv().unwrap().unwrap();
    assert!(five.reconciler.background.is_busy());
    assert!(after.due.is_none_or(|at| at > tokio::time::Instant::now()), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn manifests_count_as_applied_only_when_steps_that_go_on_have_ended() {
    let five = left_behind(Call::Step).await;
    let content = five.reconciler.read().await.content;
    let is_applied = || five.reconciler.known().applied.as_ref().is_some_and(|applied| applied.content == content);
    assert!(!is_applied());
    five.catch_up().await;
    assert!(is_applied() && five.live("slow").contains("new-slow"));
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_showed_before_its_steps_is_not_used_after_them() {
    let five = left_behind(Call::Step).await;
    let answer = async || {
        let ended = five.reconciler.background.ended.notified();
        tokio::time::timeout(Duration::from_secs(100), ended).await.unwrap();
    };
    answer().await;
    // It is observed too late for the next pass, which knows nothing of it.
    five.slow(Some(Call::List));
    let plan = reported(&five, Some(Due::Answer), false).await.plan.unwrap();
    let held: Vec<_> = plan.held.iter().map(|held| held.reason).collect();
    assert!(plan.steps.is_empty() && held.iter().all(|reason| *reason == HeldReason::Unobserved), "{held:?}");
    answer().await;
    let plan = reported(&five, Some(Due::Answer), false).await.plan.unwrap();
    assert_eq!((plan.steps, plan.held), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn steps_that_go_on_count_as_removals_also_when_their_backend_goes_away() {
    let five = Five::new(false).await;
    five.write("stack", LIMITED);
    (0..3).for_each(|n| five.declare(&format!("out{n}"), |backend| ["slow", "a"].contains(&backend)));
    five.pass(None).await;
    five.catch_up().await;
    five.slow(Some(Call::Step));
    (0..3).for_each(|n| five.undeclare(&format!("out{n}"), "slow"));
    five.pass(Some(Due::Time)).await;
    tokio::time::advance(CONFIRM).await;
    reported(&five, Some(Due::Time), true).await;
    let ended = five.reconciler.background.ended.notified();
    tokio::time::timeout(Duration::from_secs(100), ended).await.unwrap();
    assert!((0..3).all(|n| !five.live("slow").contains(&format!("out{n}-slow"))));
    five.pools.slowness.gone.store(true, Ordering::SeqCst);
    (0..3).for_each(|n| five.undeclare(&format!("out{n}"), "a"));
    five.pass(None).await;
    tokio::time::advance(CONFIRM).await;
    five.pass(Some(Due::Time)).await;
    assert!((0..3).all(|n| five.live("a").contains(&format!("out{n}-a"))), "{:?}", five.live("a"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_a_client_did_not_use_is_asked_for_again_at_once() {
    let five = Five::new(false).await;
    five.slow(Some(Call::List));
    five.declare("new", |backend| backend == "slow");
    five.pass(None).await;
    let ended = five.reconciler.background.ended.notified();
    tokio::time::timeout(Duration::from_secs(100), ended).await.unwrap();
    let specs = real(&five.dir.path().join("specs"));
    let only = vec![(Kind::Volume, name("old-a")).into()];
    let apply = Trigger::Client(ApplyRequest { specs, only, ..ApplyRequest::default() });
    five.reconciler.pass(apply, CancellationToken::new(), Arc::new(LogReporter)).await.unwrap();
    five.pass(Some(Due::Answer)).await;
    five.catch_up().await;
    assert!(five.live("slow").contains("new-slow"));
}
