//! What the conformance suite does not ask: faults, strictness, and the file.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::{Instant, timeout};

use super::*;
use crate::driver::sim::{FaultRates, SimSettings};
use crate::driver::{Driver, PoolMetadata, StepContext};
use crate::model::fixtures::{self, volume as identity};
use crate::model::{
    Action, Address, DriverError, Effect, ErrorKind, Ledger, LedgerView, Listed, NativeName, ObjectRef, Observed,
    Origin, Outcome, Percent, Place, PoolId, Provisioning, Reason, Resource, Scope, Seconds, Size, Step, Tags,
    VolumeSettings,
};

const SIZE: Size = Size(1 << 20);

fn step(name: &str, action: Action) -> Step {
    let identity = identity(name);
    Step::new("sim".parse::<crate::model::Name>().unwrap(), identity, action, Reason::NotThere)
}

fn create(name: &str, provisioning: Provisioning) -> Step {
    step(
        name,
        Action::Create {
            size: SIZE,
            provisioning,
            origin: None,
            tags: Tags::default(),
            settings: VolumeSettings::default(),
            n: 0,
        },
    )
}

fn thin(name: &str) -> Step {
    create(name, Provisioning::Thin)
}

fn trash(name: &str) -> Step {
    step(name, Action::Trash { ttl: Seconds(60), with: Vec::new() })
}

async fn run(driver: &SimDriver, step: &Step) -> Result<Outcome, DriverError> {
    driver.execute(step, &StepContext::at(1000)).await
}

fn everything() -> Scope {
    Scope::All { owner: identity("db").owner }
}

async fn all(driver: &SimDriver) -> Observed {
    driver.observe(&everything()).await.unwrap()
}

fn driver() -> SimDriver {
    SimDriver::new(Arc::default(), FaultRates::NONE, 0)
}

/// A driver whose next call meets a fault.
fn failing(fault: Fault) -> SimDriver {
    let driver = driver();
    driver.fail_at(0, fault);
    driver
}

fn world(driver: &SimDriver) -> SimWorld {
    driver.world().lock().unwrap().clone()
}

fn effects(driver: &SimDriver) -> Vec<SimEffect> {
    world(driver).events().iter().map(|event| event.effect).collect()
}

#[tokio::test]
async fn an_error_comes_before_the_effect() {
    let driver = failing(Fault::Error);
    let error = run(&driver, &thin("db")).await.unwrap_err();
    assert_eq!((error.effect, error.kind.retryable()), (Effect::No, true));
    assert_eq!(world(&driver), SimWorld::default());
}

#[tokio::test]
async fn a_lost_reply_follows_the_effect_and_reports_it_as_unknown() {
    let driver = failing(Fault::LostReply);
    assert_eq!(run(&driver, &thin("db")).await.unwrap_err().effect, Effect::Unknown);
    assert_eq!(run(&driver, &thin("db")).await, Ok(Outcome::Unchanged));
    assert_eq!(effects(&driver), [SimEffect::Created]);
}

#[tokio::test]
async fn half_an_effect_leaves_a_temporary_object_that_the_next_try_replaces() {
    let driver = failing(Fault::Half);
    assert_eq!(run(&driver, &thin("db")).await.unwrap_err().effect, Effect::Unknown);
    let places: Vec<_> = all(&driver).await.objects.iter().map(|object| object.place).collect();
    assert_eq!(places, [Place::Temporary]);
    assert_eq!(run(&driver, &thin("db")).await, Ok(Outcome::Changed));
    let places: Vec<_> = all(&driver).await.objects.iter().map(|object| object.place).collect();
    assert_eq!(places, [Place::Live]);
    assert_eq!(effects(&driver), [SimEffect::HalfMade, SimEffect::Created]);
}

#[tokio::test]
async fn atomic_steps_are_never_half_done() {
    let driver = driver();
    run(&driver, &thin("db")).await.unwrap();
    driver.fail_at(1, Fault::Half);
    let before = world(&driver);
    assert_eq!(run(&driver, &trash("db")).await.unwrap_err().effect, Effect::No);
    assert_eq!(world(&driver), before);
}

#[tokio::test]
async fn a_stale_listing_is_one_change_behind_and_calls_itself_complete() {
    let driver = driver();
    run(&driver, &thin("db")).await.unwrap();
    let before = all(&driver).await;
    run(&driver, &trash("db")).await.unwrap();
    let after = all(&driver).await;
    driver.fail_at(driver.calls(), Fault::Stale);
    let stale = all(&driver).await;
    assert_eq!((stale.listed, &stale), (Listed::COMPLETE, &before));
    assert_ne!(stale, after);
    // A look-up by name does not lag.
    driver.fail_at(driver.calls(), Fault::Stale);
    let named = driver.observe(&Scope::Objects(vec![Address::flat(&identity("db").native())])).await.unwrap();
    assert_eq!(named.objects[0].place, Place::Trash);
    assert_eq!(all(&driver).await, after);
}

#[tokio::test]
async fn a_truncated_listing_is_reported_as_incomplete() {
    let driver = driver();
    for i in 0..9 {
        run(&driver, &thin(&format!("db-{i}"))).await.unwrap();
        if i % 3 == 0 {
            run(&driver, &trash(&format!("db-{i}"))).await.unwrap();
        }
    }
    let whole = all(&driver).await;
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..40 {
        driver.fail_at(driver.calls(), Fault::Cut);
        let cut = all(&driver).await;
        assert_ne!(cut.listed, Listed::COMPLETE);
        assert_eq!(cut.gaps.len(), 1);
        assert!(cut.objects.iter().all(|object| whole.objects.contains(object)));
        let missing = whole.objects.iter().filter(|object| !cut.objects.contains(object));
        for place in missing.map(|object| object.place) {
            let list = if place == Place::Trash { cut.listed.trash } else { cut.listed.volumes };
            assert!(!list, "an object is missing from a list that is called complete");
            kinds.insert(place);
        }
    }
    assert_eq!(kinds.len(), 2, "forty cuts should have met both lists");
}

#[tokio::test(start_paused = true)]
async fn slowness_and_hanging_are_in_virtual_time() {
    let driver = failing(Fault::Slow);
    let began = Instant::now();
    assert_eq!(run(&driver, &thin("db")).await, Ok(Outcome::Changed));
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    for (fault, place) in [(Fault::Hang, Some(Place::Live)), (Fault::HangAfter, Some(Place::Trash))] {
        driver.fail_at(driver.calls(), fault);
        let hung = timeout(Duration::from_secs(86_400), run(&driver, &trash("db"))).await;
        assert!(hung.is_err(), "{fault:?} ended");
        assert_eq!(all(&driver).await.objects.first().map(|object| object.place), place);
    }
}

#[tokio::test]
async fn a_lie_changes_nothing() {
    let driver = failing(Fault::Lie);
    assert_eq!(run(&driver, &thin("db")).await, Ok(Outcome::Changed));
    assert_eq!(world(&driver), SimWorld::default());
    assert!(effects(&driver).is_empty());
}

#[tokio::test]
async fn a_second_life_of_a_uid_is_noticed() {
    let driver = driver();
    for times in 0..2 {
        for step in [thin("db"), step("db", Action::Destroy)] {
            assert_eq!(run(&driver, &step).await, Ok(Outcome::Changed));
            assert_eq!(world(&driver).repeated().is_empty(), times == 0);
        }
    }
    let world = world(&driver);
    let again: Vec<_> = world.repeated().iter().map(|event| event.effect).collect();
    assert_eq!(again, [SimEffect::Created, SimEffect::Destroyed]);
}

#[tokio::test]
async fn entries_and_metadata_end_and_what_exists_can_still_be_changed_and_removed() {
    let at_most = |metadata, most| SimWorld { metadata, most, ..SimWorld::new(0) };
    for world in [at_most(Some(Size(8192 + 4095)), None), at_most(None, Some(2))] {
        let driver = SimDriver::new(Arc::new(Mutex::new(world)), FaultRates::NONE, 0);
        for name in ["a", "b"] {
            assert_eq!(run(&driver, &thin(name)).await, Ok(Outcome::Changed));
        }
        assert_eq!(run(&driver, &thin("c")).await.unwrap_err().kind, ErrorKind::Full);
        let seen = all(&driver).await.capacities;
        assert_eq!((seen.len(), seen[0].more_objects()), (1, Some(0)), "{seen:?}");
        let grow = Action::Grow { to: Size(SIZE.bytes() * 2) };
        assert_eq!(run(&driver, &step("a", grow)).await, Ok(Outcome::Changed));
        assert_eq!(run(&driver, &trash("a")).await, Ok(Outcome::Changed));
        assert_eq!(run(&driver, &step("b", Action::Destroy)).await, Ok(Outcome::Changed));
        assert_eq!(run(&driver, &thin("c")).await, Ok(Outcome::Changed));
    }
}

#[tokio::test]
async fn room_ends_and_comes_back() {
    let limited = SimWorld { capacity: Some(Size(SIZE.bytes() * 2)), ..SimWorld::new(0) };
    let driver = SimDriver::new(Arc::new(Mutex::new(limited)), FaultRates::NONE, 0);
    for name in ["a", "b"] {
        assert_eq!(run(&driver, &create(name, Provisioning::Thick)).await, Ok(Outcome::Changed));
    }
    let full = run(&driver, &create("c", Provisioning::Thick)).await.unwrap_err();
    assert_eq!((full.kind, full.effect), (ErrorKind::Full, Effect::No));
    assert_eq!(all(&driver).await.capacity(Resource::Data).unwrap().used, SIZE.bytes() * 2);
    assert_eq!(
        run(&driver, &step("a", Action::Grow { to: Size(SIZE.bytes() * 2) })).await.unwrap_err().kind,
        ErrorKind::Full
    );
    // Thin volumes take only what is written, and then that cannot be written.
    assert_eq!(run(&driver, &thin("c")).await, Ok(Outcome::Changed));
    let native = identity("c").native();
    assert!(!driver.edit(|world| world.write(&native, 0, 1)).unwrap());
    assert_eq!(run(&driver, &step("a", Action::Destroy)).await, Ok(Outcome::Changed));
    assert!(driver.edit(|world| world.write(&native, 0, 1)).unwrap());
}

#[tokio::test]
async fn the_lint_refuses_to_remove_protected_objects() {
    let driver = driver();
    run(&driver, &thin("db")).await.unwrap();
    let tags = Tags { protected: true, ..Tags::default() };
    run(&driver, &step("db", Action::SetTags { tags })).await.unwrap();
    for action in [Action::Trash { ttl: Seconds(60), with: Vec::new() }, Action::Destroy] {
        assert_eq!(run(&driver, &step("db", action)).await.unwrap_err().kind, ErrorKind::Conflict);
    }
    assert_eq!(run(&driver, &step("db", Action::SetTags { tags: Tags::default() })).await, Ok(Outcome::Changed));
    assert_eq!(run(&driver, &trash("db")).await, Ok(Outcome::Changed));
}

#[tokio::test]
async fn tags_that_contradict_the_name_are_a_conflict_and_nothing_is_done_to_the_object() {
    let driver = driver();
    run(&driver, &thin("db")).await.unwrap();
    let native = identity("db").native();
    let change = |change: fn(&mut SimObject)| driver.edit(|world| world.change_by_hand(&native, change)).unwrap();
    assert!(change(|object| object.tags.identity = Some(Box::new(identity("other")))));
    assert!(all(&driver).await.objects[0].conflict.is_some());
    let before = world(&driver);
    for action in [trash("db").action, Action::Destroy, Action::SetTags { tags: Tags::default() }] {
        assert_eq!(run(&driver, &step("db", action)).await.unwrap_err().kind, ErrorKind::Conflict);
    }
    assert_eq!(world(&driver), before);
    change(|object| object.tags = Tags::default().into());
    change(|object| object.tags_unreadable = true);
    assert!(all(&driver).await.objects[0].conflict.is_some());
}

#[tokio::test]
async fn a_lock_that_was_taken_over_is_no_longer_ours() {
    let driver = driver();
    driver.init_pool().await.unwrap();
    let owner = identity("db").owner;
    let lock = driver.lock(&owner).await.unwrap();
    run(&driver, &thin("a")).await.unwrap();
    driver.edit(|world| world.steal_lock(&owner)).unwrap();
    assert_eq!(run(&driver, &thin("b")).await.unwrap_err().kind, ErrorKind::OtherWriter);
    let ledger = crate::model::Ledger::new(all(&driver).await.pool.unwrap(), owner.clone(), String::new());
    assert_eq!(driver.write_ledger(&ledger).await.unwrap_err().kind, ErrorKind::OtherWriter);
    drop(lock);
    assert!(driver.lock(&owner).await.is_err(), "letting go of a lost lock let go of the thief's");
}

#[tokio::test]
async fn the_ledger_is_written_only_with_the_lock_and_for_this_pool() {
    let driver = driver();
    let pool = driver.init_pool().await.unwrap();
    let owner = identity("db").owner;
    let ledger = crate::model::Ledger::new(pool, owner.clone(), String::new());
    assert_eq!(driver.write_ledger(&ledger).await.unwrap_err().kind, ErrorKind::Permanent);
    let _lock = driver.lock(&owner).await.unwrap();
    driver.write_ledger(&ledger).await.unwrap();
    driver.edit(|world| world.swap_pool(Some(PoolId("another".to_owned())))).unwrap();
    assert_eq!(driver.write_ledger(&ledger).await.unwrap_err().kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn a_pool_in_memory_is_there_for_the_next_connection_of_this_process_and_of_its_backend_only() {
    let connect = |name: &str| {
        let settings = SimSettings { path: None, seed: 0, capacity: Some(SIZE), faults: None, mode: None };
        let config = crate::driver::settings::config("sim", settings.values());
        crate::driver::connect(&fixtures::backend(name, config)).unwrap()
    };
    let pool = connect("one").metadata().init_pool().await.unwrap();
    connect("one").execute(&thin("db"), &StepContext::at(0)).await.unwrap();
    let seen = connect("one").observe(&everything()).await.unwrap();
    assert_eq!(seen.capacity(Resource::Data).unwrap().total, SIZE.bytes());
    assert_eq!((seen.pool, seen.objects.len()), (Some(pool.clone()), 1));

    assert_eq!(connect("two").observe(&everything()).await.unwrap().pool, None);
    assert_ne!(connect("two").metadata().init_pool().await.unwrap(), pool, "two pools of one seed");
}

#[tokio::test]
async fn the_dice_of_a_pool_run_on_from_one_connection_to_the_next_and_repeat_from_their_seed() {
    let dir = tempfile::tempdir().unwrap();
    let rates = FaultRates { error: Percent(50), ..FaultRates::NONE };
    // As a daemon does: a connection for each pass. What a fault does to a listing is whether it fails.
    let passes = async |path: Option<&std::path::Path>, name: &str, seed: u64| {
        let name = name.parse().unwrap();
        let settings =
            SimSettings { path: path.map(Into::into), seed, capacity: None, faults: Some(rates), mode: None };
        let mut met = Vec::new();
        for _ in 0..32 {
            met.push(SimDriver::connect(&name, settings.clone()).observe(&everything()).await.is_err());
        }
        met
    };
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    for (first, again) in [
        (passes(Some(&one), "dice", 7).await, passes(Some(&other), "dice", 7).await),
        (passes(None, "dice-one", 7).await, passes(None, "dice-other", 7).await),
    ] {
        assert!(first.contains(&true) && first.contains(&false), "the same dice in each pass: {first:?}");
        assert_eq!(first, again, "one seed gives the same faults");
    }
    assert_ne!(passes(Some(&one), "dice", 8).await, passes(Some(&other), "dice", 7).await);
}

#[tokio::test]
async fn whatever_fails_each_object_is_made_and_destroyed_once_and_strangers_keep_theirs() {
    let percent = Percent(8);
    let rates = FaultRates {
        error: percent,
        lost_reply: percent,
        half: percent,
        stale: percent,
        cut: percent,
        lie: percent,
        slow: Percent(0),
        hang: Percent(0),
    };
    let (mut effects, mut unknown) = (0, 0);
    for seed in 0..200 {
        let driver = SimDriver::new(Arc::default(), rates, seed);
        let foreign = NativeName::new("volume-1");
        driver.edit(|world| world.make_by_hand(&foreign, SimObject::empty(SIZE))).unwrap();
        // Each step until a look by name agrees with it: what an engine does.
        let steps = [
            (thin("db"), Some(Place::Live)),
            (trash("db"), Some(Place::Trash)),
            (step("db", Action::Undelete { tags: Tags::default(), with: Vec::new() }), Some(Place::Live)),
            (step("db", Action::Destroy), None),
        ];
        for (step, place) in steps {
            for attempt in 0.. {
                assert!(attempt < 100, "seed {seed}: {:?} never comes true", step.action);
                let answer = run(&driver, &step).await;
                unknown += u32::from(matches!(answer, Err(DriverError { effect: Effect::Unknown, .. })));
                let names = Scope::Objects(vec![step.address()]);
                let seen = driver.observe(&names).await.ok().filter(|seen| !seen.queried.is_empty());
                if seen.is_some_and(|seen| seen.objects.first().map(|object| object.place) == place) {
                    break;
                }
            }
        }
        let world = world(&driver);
        assert!(world.repeated().is_empty(), "seed {seed}: {:?}", world.repeated());
        assert_eq!(world.live(&foreign), Some(&SimObject { id: 1, ..SimObject::empty(SIZE) }), "seed {seed}");
        assert_eq!(world.trashed_objects().count(), 0, "seed {seed}");
        effects += world.events().len();
    }
    assert!(effects >= 800 && unknown > 50, "{effects} effects, {unknown} unknown: the faults were not met");
}

// The file.

fn at(path: &std::path::Path) -> SimDriver {
    SimDriver::at(path, 0)
}

#[tokio::test]
async fn drivers_of_one_file_see_each_other_and_a_new_one_sees_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/on/founding.sim");
    let (first, second) = (at(&path), at(&path));
    assert_eq!(second.init_pool().await.unwrap(), first.init_pool().await.unwrap());
    run(&first, &thin("a")).await.unwrap();
    run(&second, &thin("b")).await.unwrap();
    let clone = Action::Create {
        size: SIZE,
        provisioning: Provisioning::Thin,
        origin: Some(Origin::Volume(ObjectRef::new(identity("a").native(), identity("a").uid, SIZE))),
        tags: Tags { labels: [("é\n".to_owned(), "\"".to_owned())].into(), ..Tags::default() },
        settings: VolumeSettings::default(),
        n: 0,
    };
    first.edit(|world| assert!(world.write(&identity("a").native(), 3, 33))).unwrap();
    run(&second, &step("c", clone)).await.unwrap();
    run(&first, &trash("b")).await.unwrap();
    let owner = identity("a").owner;
    let lock = second.lock(&owner).await.unwrap();
    let pool = first.init_pool().await.unwrap();
    second.write_ledger(&crate::model::Ledger::new(pool, owner, String::new())).await.unwrap();
    drop(lock);
    let expected = all(&first).await;
    assert_eq!(expected.objects.len(), 3);
    for driver in [&second, &at(&path)] {
        assert_eq!(all(driver).await, expected);
        assert_eq!(world(driver), world(&first));
    }
    assert_eq!(world(&at_read(&path).await).read(&identity("c").native(), 3), Some(33));
    // Another file of the same seed is another pool.
    assert_ne!(at(&dir.path().join("other.sim")).init_pool().await.unwrap(), expected.pool.unwrap());
}

/// A change that its caller no longer waits for has the last handle of the lock.
#[test]
fn a_change_that_outlives_its_writer_lets_go_of_a_lock_whose_file_was_replaced() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.sim");
    let owner = identity("a").owner;
    let [of_pool, of_owner] =
        ["lock".to_owned(), format!("{owner}.lock")].map(|end| dir.path().join(format!("pool.sim.{end}")));
    let open = |path: &std::path::Path| fs::File::options().read(true).write(true).open(path).unwrap();
    let exclusive = |file: &fs::File| flock(file, FlockOperation::NonBlockingLockExclusive);
    let driver = at(&path);
    let (pool, lock) = runtime.block_on(async {
        let pool = driver.init_pool().await.unwrap();
        (pool, driver.lock(&owner).await.unwrap())
    });
    let replaced = open(&of_owner);
    fs::rename(&of_owner, dir.path().join("elsewhere")).unwrap();
    fs::write(&of_owner, "").unwrap();
    // Another process reads the pool, so that the change waits.
    let reader = open(&of_pool);
    flock(&reader, FlockOperation::LockShared).unwrap();
    runtime.block_on(async {
        let ledger = Ledger::new(pool, owner, String::new());
        let mut writing = driver.write_ledger(&ledger);
        let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(writing.as_mut().poll(context).is_pending(), "it waits for the reader");
    });
    drop((lock, driver));
    assert_eq!(exclusive(&replaced), Err(Errno::AGAIN), "the change keeps the lock");
    drop(reader);
    // Waits until the change has ended, but not for ever.
    runtime.shutdown_timeout(Duration::from_secs(60));
    assert_eq!(exclusive(&open(&of_pool)), Ok(()), "the change waits for itself");
    assert_eq!(exclusive(&replaced), Ok(()), "the lock is released");
    assert!(of_owner.exists(), "the file of another lock");
}

async fn at_read(path: &std::path::Path) -> SimDriver {
    let driver = at(path);
    all(&driver).await;
    driver
}

/// Format 1 had both copies of a ledger as a whole in every line.
#[tokio::test]
async fn a_file_of_format_1_is_read_and_the_first_change_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.sim");
    let (db, pool) = (identity("db"), PoolId("0123456789abcdef0123456789abcdef".to_owned()));
    let older = Ledger { serial: 1, ..Ledger::new(pool.clone(), db.owner.clone(), String::new()) };
    let mut newest = Ledger { serial: 2, ..older.clone() };
    newest.complete.insert(db.uid, db.ledger_entry(0, Address::flat(&db.native()), SIZE));
    let rows = serde_json::json!([
        {"Pool": pool}, {"Live": [db.native(), {"size": SIZE}]}, {"Ledger": [db.owner, [newest, older]]}
    ]);
    let line = rows.to_string();
    let text = format!("kiln-sim 1 0123456789abcdef\n{:08x} {line}\n", crc32fast::hash(line.as_bytes()));
    fs::write(&path, &text).unwrap();
    let driver = at(&path);
    let seen = all(&driver).await;
    assert_eq!((seen.pool, seen.objects.len()), (Some(pool), 1));
    assert_eq!(seen.ledger, Some(LedgerView::Good(Arc::new(newest.clone()))));
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "it was only read");
    let after = Ledger { serial: 3, stack: "another".to_owned(), ..newest.clone() };
    let lock = driver.lock(&db.owner).await.unwrap();
    driver.change_ledger(&after.commit_from(&newest).unwrap()).await.unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with("kiln-sim 2 "), "an earlier version refuses it");
    // The next change is a line of its own, which only has what is new.
    let length = fs::metadata(&path).unwrap().len();
    let last = Ledger { serial: 4, stack: "a third".to_owned(), ..after.clone() };
    driver.change_ledger(&last.commit_from(&after).unwrap()).await.unwrap();
    let added = fs::metadata(&path).unwrap().len() - length;
    assert!(added < 250, "{added} bytes");
    drop(lock);
    let again = at_read(&path).await;
    assert_eq!(world(&again), world(&driver));
    assert_eq!(all(&again).await.ledger, Some(LedgerView::Good(Arc::new(last))));
    again.edit(|world| world.damage_ledger(&db.owner, false)).unwrap();
    assert!(matches!(all(&at(&path)).await.ledger, Some(LedgerView::Older(older, _)) if *older == after));
}

#[tokio::test]
async fn a_torn_last_line_is_a_change_that_never_was_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.sim");
    let driver = at(&path);
    driver.init_pool().await.unwrap();
    run(&driver, &thin("a")).await.unwrap();
    let before = (fs::read(&path).unwrap(), world(&driver));
    run(&driver, &thin("b")).await.unwrap();
    let whole = fs::read(&path).unwrap();
    for end in before.0.len()..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        assert_eq!(world(&at_read(&path).await), before.1, "cut after {end} bytes");
    }
    let again = at(&path);
    assert_eq!(run(&again, &thin("c")).await, Ok(Outcome::Changed));
    assert_eq!(world(&at_read(&path).await), world(&again));
}

#[tokio::test]
async fn damage_is_never_read_as_an_empty_pool() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.sim");
    let driver = at(&path);
    driver.init_pool().await.unwrap();
    for name in ["a", "b", "c"] {
        run(&driver, &thin(name)).await.unwrap();
    }
    let (whole, last) = (fs::read(&path).unwrap(), {
        let text = fs::read_to_string(&path).unwrap();
        text.trim_end().rfind('\n').unwrap()
    });
    for at_byte in 0..last {
        let mut bytes = whole.clone();
        bytes[at_byte] ^= 0x04;
        fs::write(&path, &bytes).unwrap();
        let seen = at(&path).observe(&everything()).await;
        // The generation may be any number: a changed one is as good.
        let harmless = (11..27).contains(&at_byte);
        match seen {
            Err(error) => assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, Effect::No)),
            Ok(seen) => assert!(harmless && seen.objects.len() == 3, "byte {at_byte} was not missed: {seen:?}"),
        }
    }
    for bytes in [&b""[..], b"kiln-sim 3 0123456789abcdef\n", b"something else, and longer than any header is"] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(driver.observe(&everything()).await.unwrap_err().kind, ErrorKind::Unreachable);
        assert!(run(&driver, &thin("d")).await.is_err());
        assert_eq!(fs::read(&path).unwrap(), bytes, "what cannot be read was written over");
    }
    fs::remove_file(&path).unwrap();
    let seen = all(&driver).await;
    assert_eq!((seen.pool, seen.objects.len()), (None, 0), "the pool is gone, and its mark with it");
}

#[tokio::test]
async fn damage_of_the_only_line_is_no_torn_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.sim");
    at(&path).init_pool().await.unwrap();
    let whole = fs::read(&path).unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for at_byte in header..whole.len() - 1 {
        let mut bytes = whole.clone();
        bytes[at_byte] ^= 0x04;
        fs::write(&path, &bytes).unwrap();
        let error = at(&path).observe(&everything()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "byte {at_byte}");
        fs::write(&path, &whole[..at_byte]).unwrap();
        assert!(at(&path).observe(&everything()).await.is_err(), "cut at {at_byte}");
    }
}

#[tokio::test]
async fn the_log_is_written_anew_before_it_grows_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.sim");
    let (driver, reader) = (at(&path), at(&path));
    driver.init_pool().await.unwrap();
    let (mut largest, mut shrank, mut last) = (0, 0, 0);
    for i in 0..1500_u64 {
        driver
            .edit(|world| world.make_by_hand(&NativeName::new("volume-1"), SimObject::empty(Size(4096 * (i + 1)))))
            .unwrap();
        let now = fs::metadata(&path).unwrap().len();
        largest = largest.max(now);
        shrank += u32::from(now < last);
        last = now;
        if i % 100 == 0 || now < 1000 {
            assert_eq!(all(&reader).await.objects[0].size, Size(4096 * (i + 1)));
        }
    }
    assert!(shrank >= 1 && largest < 200_000, "written anew {shrank} times, at most {largest} bytes");
    all(&reader).await;
    assert_eq!(world(&reader), world(&driver));
}

#[tokio::test]
async fn a_hundred_thousand_objects_are_read_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool.sim");
    let driver = at(&path);
    driver.init_pool().await.unwrap();
    let many = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
    driver
        .edit(|world| {
            for i in 0..many {
                let mut object = SimObject::empty(SIZE);
                object.tags.labels.insert("tier".to_owned(), format!("t{}", i % 7));
                world.make_by_hand(&identity(&format!("db-{i}")).native(), object);
            }
        })
        .unwrap();
    let began = std::time::Instant::now();
    assert_eq!(all(&at(&path)).await.objects.len(), many);
    let took = began.elapsed();
    // Some ten times what it takes on a small machine: this is to catch a quadratic step, not a slow day.
    assert!(took < Duration::from_secs(5), "reading {many} objects took {took:?}");
    let began = std::time::Instant::now();
    for i in 0..50 {
        run(&driver, &thin(&format!("more-{i}"))).await.unwrap();
    }
    let each = began.elapsed() / 50;
    assert!(each < Duration::from_millis(500), "a change among {many} objects took {each:?}");
    println!("{many} objects read in {took:?}, a change made in {each:?}");
}
