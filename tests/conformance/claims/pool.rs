//! The pool's mark, ledgers and locks.

use std::sync::Arc;

use kiln::model::{ErrorKind, Kind, Ledger, LedgerEntry, LedgerView, Owner, Scope, Suspension, SuspensionId};

use crate::suite::Bench;
use crate::suite::kit::Kit;

pub(crate) async fn found_twice_gives_one_id(bench: &dyn Bench) {
    let (first, second) = (bench.another(), bench.another());
    let pool = first.metadata().init_pool().await.unwrap();
    assert!(pool.0.len() == 32 && pool.0.bytes().all(|b| b.is_ascii_hexdigit()), "{pool:?}");
    let before = bench.fingerprint();
    for driver in [first, second, bench.another()] {
        assert_eq!(driver.metadata().init_pool().await.unwrap(), pool);
        let all = Scope::All { owner: "prod".parse().unwrap() };
        assert_eq!(driver.observe(&all).await.unwrap().pool, Some(pool.clone()));
    }
    assert_eq!(bench.fingerprint(), before);
}

/// A ledger with something in it, by its serial.
fn ledger(kit: &Kit<'_>, serial: u64) -> Ledger {
    let db = kit.identity(Kind::Volume, "db");
    let entry = LedgerEntry {
        kind: db.kind,
        name: db.name.clone(),
        n: 0,
        native: db.native(),
        size: kit.size,
        protected: true,
        restored: ["once".to_owned()].into(),
        declared_in: Some("storage/db.yaml".into()),
        accepted: None,
        parent_volume: None,
    };
    let mut ledger = Ledger::new(kit.pool.clone(), kit.owner.clone(), "5c1d2e8a90".to_owned());
    ledger.serial = serial;
    ledger.complete.insert(db.uid, entry);
    ledger.next.insert("volume/ключ".to_owned(), u32::try_from(serial).unwrap());
    ledger
}

async fn view(kit: &Kit<'_>, owner: &Owner) -> Option<LedgerView> {
    let all = Scope::All { owner: owner.clone() };
    let seen = kit.bench.another().observe(&all).await.unwrap();
    assert_eq!(kit.bench.another().metadata().ledger(owner).await.unwrap(), seen.ledger, "read alone");
    seen.ledger
}

pub(crate) async fn ledger_round_trip_and_second_copy(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let _lock = kit.driver.metadata().lock(&kit.owner).await.unwrap();
    for serial in 1..=3 {
        kit.driver.metadata().write_ledger(&ledger(&kit, serial)).await.unwrap();
        assert_eq!(view(&kit, &kit.owner).await, Some(LedgerView::Good(Arc::new(ledger(&kit, serial)))));
    }
    bench.damage_ledger(&kit.owner, false);
    assert_older(&kit, 2).await;
    // A damaged copy is not what the next write keeps as its second.
    kit.driver.metadata().write_ledger(&ledger(&kit, 4)).await.unwrap();
    assert_eq!(view(&kit, &kit.owner).await, Some(LedgerView::Good(Arc::new(ledger(&kit, 4)))));
    bench.damage_ledger(&kit.owner, false);
    assert_older(&kit, 2).await;
}

/// The newest copy is damaged: the one before it is shown, and shown as that.
async fn assert_older(kit: &Kit<'_>, serial: u64) {
    match view(kit, &kit.owner).await {
        Some(LedgerView::Older(older, why)) => {
            assert_eq!((Ledger::clone(&older), why.is_empty()), (ledger(kit, serial), false))
        }
        other => panic!("a damaged newest copy is shown as {other:?}"),
    }
}

pub(crate) async fn ledger_is_changed_by_entries(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let _lock = kit.driver.metadata().lock(&kit.owner).await.unwrap();
    let (first, second, third) = (
        ledger(&kit, 1),
        ledger(&kit, 2),
        Ledger { serial: 3, ..Ledger::new(kit.pool.clone(), kit.owner.clone(), String::new()) },
    );
    kit.driver.metadata().write_ledger(&first).await.unwrap();
    let to_second = second.commit_from(&first).unwrap();
    assert_eq!(to_second.changes.len(), 1, "{to_second:?}");
    // Again: the answer to the first call may have been lost.
    for _ in 0..2 {
        kit.driver.metadata().change_ledger(&to_second).await.unwrap();
        assert_eq!(view(&kit, &kit.owner).await, Some(LedgerView::Good(Arc::new(second.clone()))));
    }
    kit.driver.metadata().change_ledger(&third.commit_from(&second).unwrap()).await.unwrap();
    assert_eq!(view(&kit, &kit.owner).await, Some(LedgerView::Good(Arc::new(third.clone()))));
    bench.damage_ledger(&kit.owner, false);
    assert_older(&kit, 2).await;
}

pub(crate) async fn changes_of_another_ledger_are_refused(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let _lock = kit.driver.metadata().lock(&kit.owner).await.unwrap();
    let (first, second) = (ledger(&kit, 1), ledger(&kit, 2));
    let commit = second.commit_from(&first).unwrap();
    let refused = async |why: &str| {
        let error = kit.driver.metadata().change_ledger(&commit).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Conflict, kiln::model::Effect::No), "{why}: {error}");
    };
    refused("there is none").await;
    kit.driver.metadata().write_ledger(&first).await.unwrap();
    let elsewhere = Ledger { stack: "another".to_owned(), serial: 2, ..ledger(&kit, 1) };
    kit.driver.metadata().change_ledger(&elsewhere.commit_from(&first).unwrap()).await.unwrap();
    refused("the serial is that of other changes").await;
    kit.driver.metadata().write_ledger(&ledger(&kit, 3)).await.unwrap();
    refused("it is newer").await;
    assert_eq!(view(&kit, &kit.owner).await, Some(LedgerView::Good(Arc::new(ledger(&kit, 3)))));
    let backwards = ledger(&kit, 2).commit_from(&ledger(&kit, 3)).unwrap();
    let error = kit.driver.metadata().change_ledger(&backwards).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "an earlier serial: {error}");
    let fourth = ledger(&kit, 4).commit_from(&ledger(&kit, 3)).unwrap();
    bench.damage_ledger(&kit.owner, false);
    let error = kit.driver.metadata().change_ledger(&fourth).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "the newest copy is damaged: {error}");
    assert!(matches!(view(&kit, &kit.owner).await, Some(LedgerView::Older(there, _)) if *there == elsewhere));
}

pub(crate) async fn damaged_ledger_is_reported(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let _lock = kit.driver.metadata().lock(&kit.owner).await.unwrap();
    for serial in 1..=2 {
        kit.driver.metadata().write_ledger(&ledger(&kit, serial)).await.unwrap();
    }
    bench.damage_ledger(&kit.owner, true);
    match view(&kit, &kit.owner).await {
        Some(LedgerView::Damaged(why)) => assert!(!why.trim().is_empty()),
        other => panic!("a damaged ledger is shown as {other:?}"),
    }
    // It is still the same pool, and a new ledger heals it.
    assert_eq!(kit.all().await.pool, Some(kit.pool.clone()));
    kit.driver.metadata().write_ledger(&ledger(&kit, 3)).await.unwrap();
    assert_eq!(view(&kit, &kit.owner).await, Some(LedgerView::Good(Arc::new(ledger(&kit, 3)))));
}

pub(crate) async fn ledgers_of_owners_are_apart(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let theirs = Kit { owner: "staging".parse().unwrap(), ..Kit::new(bench).await };
    for (kit, serial) in [(&kit, 1), (&theirs, 5)] {
        let _lock = kit.driver.metadata().lock(&kit.owner).await.unwrap();
        kit.driver.metadata().write_ledger(&ledger(kit, serial)).await.unwrap();
    }
    bench.damage_ledger(&theirs.owner, true);
    assert_eq!(view(&kit, &kit.owner).await, Some(LedgerView::Good(Arc::new(ledger(&kit, 1)))));
    assert!(matches!(view(&kit, &theirs.owner).await, Some(LedgerView::Damaged(_))));
}

pub(crate) async fn removed_ledger_is_gone(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let _lock = kit.driver.metadata().lock(&kit.owner).await.unwrap();
    for serial in 1..=2 {
        kit.driver.metadata().write_ledger(&ledger(&kit, serial)).await.unwrap();
    }
    for _ in 0..2 {
        kit.driver.metadata().remove_ledger(&kit.owner).await.unwrap();
        assert_eq!(view(&kit, &kit.owner).await, None);
    }
    assert_eq!(kit.all().await.pool, Some(kit.pool.clone()), "the pool lost its mark with it");
}

pub(crate) async fn lock_excludes_second_writer_and_is_released_on_drop(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let other: Owner = "staging".parse().unwrap();
    for round in 0..2 {
        let lock = kit.driver.metadata().lock(&kit.owner).await.unwrap();
        for driver in [&kit.driver, &bench.another()] {
            let Err(error) = driver.metadata().lock(&kit.owner).await else { panic!("two writers") };
            assert_eq!(error.kind, ErrorKind::OtherWriter);
            let pid = std::process::id().to_string();
            assert!(error.message.contains(&pid), "does not name the process: {error}");
        }
        let theirs = kit.driver.metadata().lock(&other).await.unwrap();
        // Neither is in the way of a step of its owner's.
        kit.volume(&format!("db-{round}")).await;
        drop((lock, theirs));
    }
}

pub(crate) async fn locks_are_seen_while_they_are_held(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    assert!(kit.all().await.locked.is_empty());
    let lock = kit.driver.metadata().lock(&kit.owner).await.unwrap();
    for driver in [&kit.driver, &bench.another()] {
        let seen = driver.observe(&Scope::All { owner: kit.owner.clone() }).await.unwrap();
        assert_eq!(seen.locked, std::slice::from_ref(&kit.owner));
    }
    // Looking does not take the lock away, nor let it go.
    kit.volume("db").await;
    assert!(bench.another().metadata().lock(&kit.owner).await.is_err());
    drop(lock);
    assert!(kit.all().await.locked.is_empty());
}

fn suspension(owner: &Owner, reason: &str) -> Suspension {
    let object = Some((Kind::Volume, "db".parse().unwrap()).into());
    let id = Some(SuspensionId::of(reason));
    let reason = reason.to_owned();
    Suspension { id, owner: owner.clone(), object, reason, since: 1000, until: Some(9000), resumed: None }
}

fn ended(suspension: &Suspension) -> Suspension {
    Suspension { resumed: Some(2000), ..suspension.clone() }
}

pub(crate) async fn suspensions_are_recorded_without_the_writer_lock(bench: &dyn Bench) {
    let fresh = bench.another();
    let owner: Owner = "prod".parse().unwrap();
    assert_eq!(fresh.metadata().suspensions(&owner).await, Ok(Vec::new()), "a pool without the mark has none");
    let kit = Kit::new(bench).await;
    // The driver that holds the lock sees what another connection writes, without being opened anew.
    let _lock = kit.driver.metadata().lock(&kit.owner).await.unwrap();
    assert_eq!(kit.driver.metadata().suspensions(&kit.owner).await, Ok(Vec::new()));
    let (one, other) = (suspension(&kit.owner, "fsck"), suspension(&kit.owner, "backup"));
    for suspension in [&one, &other, &one] {
        bench.another().metadata().write_suspension(suspension).await.unwrap();
    }
    for driver in [kit.driver.clone(), bench.another()] {
        let mut seen = driver.metadata().suspensions(&kit.owner).await.unwrap();
        seen.sort_by(|a, b| b.reason.cmp(&a.reason));
        assert_eq!(seen, [one.clone(), other.clone()]);
    }
}

pub(crate) async fn a_resume_takes_the_place_of_its_suspension_and_never_the_reverse(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let (one, late) = (suspension(&kit.owner, "fsck"), suspension(&kit.owner, "late"));
    for record in [&one, &ended(&one), &ended(&late), &one, &late] {
        kit.driver.metadata().write_suspension(record).await.unwrap();
    }
    let mut seen = bench.another().metadata().suspensions(&kit.owner).await.unwrap();
    seen.sort_by(|a, b| a.reason.cmp(&b.reason));
    assert_eq!(seen, [ended(&one), ended(&late)]);
}

pub(crate) async fn suspensions_of_owners_are_apart(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let other: Owner = "test".parse().unwrap();
    kit.driver.metadata().write_suspension(&suspension(&kit.owner, "fsck")).await.unwrap();
    assert_eq!(bench.another().metadata().suspensions(&other).await, Ok(Vec::new()));
    kit.driver.metadata().write_suspension(&ended(&suspension(&other, "fsck"))).await.unwrap();
    assert_eq!(bench.another().metadata().suspensions(&kit.owner).await, Ok(vec![suspension(&kit.owner, "fsck")]));
}

pub(crate) async fn a_suspension_that_cannot_be_read_is_no_absent_one(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    kit.driver.metadata().write_suspension(&suspension(&kit.owner, "fsck")).await.unwrap();
    bench.damage_suspensions(&kit.owner);
    let error = bench.another().metadata().suspensions(&kit.owner).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
}

pub(crate) async fn suspensions_in_force_have_a_limit(bench: &dyn Bench) {
    let kit = Kit::new(bench).await;
    let nth = |n: usize| suspension(&kit.owner, &format!("reason {n}"));
    // One that was ended leaves room for another.
    kit.driver.metadata().write_suspension(&nth(0)).await.unwrap();
    kit.driver.metadata().write_suspension(&ended(&nth(0))).await.unwrap();
    for n in 1..=Suspension::MOST {
        kit.driver.metadata().write_suspension(&nth(n)).await.unwrap();
    }
    let error = kit.driver.metadata().write_suspension(&nth(Suspension::MOST + 1)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permanent, "{error}");
    kit.driver.metadata().write_suspension(&nth(1)).await.unwrap();
    kit.driver.metadata().write_suspension(&ended(&nth(1))).await.unwrap();
    kit.driver.metadata().write_suspension(&nth(Suspension::MOST + 1)).await.unwrap();
}
