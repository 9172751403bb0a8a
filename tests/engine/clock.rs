//! A host's clock that is wrong, or was: what it stamped counts no longer than it should, and a single run does not destroy by it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::atomic::Ordering;

use crate::rig::{HEAD, Rig, run, specs, volume};
use kiln::engine::{OperationError, Purge, Report, trash_purge, trash_purge_list};
use kiln::model::{Kind, Reading};
use kiln::plan::HeldReason;

const DAY: u64 = 86_400;
const YEAR: u64 = 365 * DAY;

fn volumes(names: &[&str]) -> Reading {
    let head = HEAD.replace("maxRemovals: 1000", "maxRemovals: 1");
    let volumes: Vec<String> = names.iter().map(|name| volume(name, "size: 1Mi")).collect();
    specs(&format!("{head}{}", volumes.concat()))
}

fn held(report: &Report) -> Vec<HeldReason> {
    report.plan.as_ref().unwrap().held.iter().map(|held| held.reason).collect()
}

#[test]
fn a_removal_that_a_clock_ahead_noted_counts_for_a_day_once_the_clock_is_right() {
    run(async {
        let rig = Rig::new();
        rig.settle(&volumes(&["a", "b", "c", "d"]), 3, "made").await;
        rig.clock.0.fetch_add(YEAR, Ordering::SeqCst);
        rig.settle(&volumes(&["b", "c", "d"]), 3, "removed in a year").await;
        rig.clock.0.fetch_sub(YEAR, Ordering::SeqCst);
        rig.pass(&volumes(&["b", "c", "d"])).await.unwrap();
        let fewer = volumes(&["c", "d"]);
        let soon = rig.fork(true);
        soon.clock.0.fetch_add(DAY - 10, Ordering::SeqCst);
        assert_eq!(held(&soon.pass(&fewer).await.unwrap()), [HeldReason::RemovalLimit], "it still counts");
        rig.clock.0.fetch_add(DAY, Ordering::SeqCst);
        assert_eq!(held(&rig.pass(&fewer).await.unwrap()), [], "for a day");
    });
}

#[test]
fn a_single_purge_does_not_believe_a_clock_that_jumped_ahead() {
    run(async {
        let rig = Rig::new();
        rig.settle(&volumes(&["a", "b"]), 3, "made").await;
        let fewer = volumes(&["b"]);
        rig.settle(&fewer, 3, "removed").await;
        let listed = async |rig: &Rig| {
            let (found, left) = trash_purge_list(&rig.setup(&fewer), &Purge::Expired).await.unwrap();
            (found.len(), left)
        };
        assert_eq!(listed(&rig).await, (0, 0), "its week has not passed");
        rig.clock.0.fetch_add(YEAR, Ordering::SeqCst);
        assert_eq!(listed(&rig).await, (0, 1), "no record confirms that a year has passed");
        assert_eq!(listed(&rig).await, (0, 1), "asking twice confirms nothing");
        assert_eq!(listed(&rig.fork(false)).await, (0, 1), "nor does a new store");
        rig.clock.0.fetch_sub(YEAR - 6 * DAY - 10, Ordering::SeqCst);
        rig.pass(&fewer).await.unwrap();
        rig.clock.0.fetch_add(2 * DAY, Ordering::SeqCst);
        assert_eq!(listed(&rig).await, (1, 0), "a run less than a day before its end recorded the time");
    });
}

#[test]
fn a_purge_of_expired_objects_leaves_what_has_time_before_it_or_was_changed_since_it_was_listed() {
    run(async {
        let rig = Rig::new();
        rig.settle(&volumes(&["a", "b"]), 3, "made").await;
        let fewer = volumes(&["b"]);
        rig.settle(&fewer, 3, "removed").await;
        let named = Purge::Named((Kind::Volume, "a".parse().unwrap()).into());
        let (listed, _) = trash_purge_list(&rig.setup(&fewer), &named).await.unwrap();
        let purged = async |what: &Purge, listed: &[_]| trash_purge(&rig.setup(&fewer), what, listed).await.unwrap();
        let early = purged(&Purge::Expired, &listed).await;
        assert!(matches!(early.left.as_slice(), [OperationError::Held(why)] if why.contains("not over")), "{early:?}");
        let mut others = listed.clone();
        others[0].object.tags.labels.insert("since".to_owned(), "then".to_owned());
        let changed = purged(&named, &others).await;
        assert!(matches!(changed.left.as_slice(), [OperationError::Failed(_)]), "{changed:?}");
        assert_eq!(rig.world().trashed_objects().count(), 1);
        assert!(purged(&named, &listed).await.left.is_empty());
        assert_eq!(rig.world().trashed_objects().count(), 0);
    });
}

#[test]
fn a_removal_that_a_clock_slightly_ahead_noted_keeps_its_time() {
    run(async {
        let rig = Rig::new();
        rig.settle(&volumes(&["a", "b", "c", "d"]), 3, "made").await;
        rig.clock.0.fetch_add(200, Ordering::SeqCst);
        rig.settle(&volumes(&["b", "c", "d"]), 3, "removed").await;
        rig.clock.0.fetch_sub(200, Ordering::SeqCst);
        rig.pass(&volumes(&["b", "c", "d"])).await.unwrap();
        rig.clock.0.fetch_add(DAY + 100, Ordering::SeqCst);
        let fewer = volumes(&["c", "d"]);
        assert_eq!(held(&rig.fork(true).pass(&fewer).await.unwrap()), [HeldReason::RemovalLimit]);
        rig.clock.0.fetch_add(200, Ordering::SeqCst);
        assert_eq!(held(&rig.pass(&fewer).await.unwrap()), []);
    });
}

#[test]
fn a_time_that_was_recorded_in_the_future_confirms_no_later_jump() {
    run(async {
        let rig = Rig::new();
        rig.settle(&volumes(&["a", "b"]), 3, "made").await;
        let fewer = volumes(&["b"]);
        rig.settle(&fewer, 3, "removed").await;
        rig.clock.0.fetch_add(YEAR, Ordering::SeqCst);
        rig.pass(&fewer).await.unwrap();
        rig.clock.0.fetch_sub(YEAR - 30 * DAY, Ordering::SeqCst);
        let (found, left) = trash_purge_list(&rig.setup(&fewer), &Purge::Expired).await.unwrap();
        assert_eq!((found.len(), left), (0, 1));
    });
}
