//! The pool as a whole: its mark, its locks and ledgers, its listings, and what else is in the directory.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::super::claims::StepClaims;
use super::*;
use crate::model::Resource;

#[tokio::test]
async fn foreign_entries_have_no_owner_and_never_change() {
    let bench = Bench::new().await;
    fs::write(bench.path.join("x.img"), b"abc").unwrap();
    fs::create_dir(bench.path.join("lost+found")).unwrap();
    fs::create_dir(bench.path.join("kiln.Bad.name")).unwrap();
    symlink("/", bench.path.join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.path.join("fifo"), Mode::RUSR).unwrap();
    let odd = std::os::unix::ffi::OsStrExt::as_bytes(bench.path.as_os_str()).iter().copied().chain(*b"/o\xffd");
    let odd = PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(odd.collect()));
    fs::write(odd, b"").unwrap();
    fs::write(bench.path.join(".trash/stray"), b"").unwrap();
    let objects = bench.objects().await;
    assert_eq!(objects.len(), 7, "{objects:#?}");
    assert!(objects.iter().all(|object| object.identity.is_none()));
    assert_eq!(objects.iter().find(|o| o.native.as_str() == "x.img").unwrap().size, Size(3));
    let at = step_on(volume("db"), NativeName::new("x.img"), create(MIB), Expect::default());
    bench.refused(&at, ErrorKind::Conflict).await;
}

#[tokio::test]
async fn a_pool_that_is_not_there_is_unreachable_or_to_be_made() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("pool");
    let kind = async |driver: Local| driver.observe(&Scope::All { owner: owner() }).await.unwrap_err().kind;
    assert_eq!(kind(Local::connect(&path, false)).await, ErrorKind::Unreachable);
    assert_eq!(Local::connect(&path, false).init_pool().await.unwrap_err().kind, ErrorKind::Unreachable);
    let seen = Local::connect(&path, true).observe(&Scope::All { owner: owner() }).await.unwrap();
    assert_eq!((seen.pool, seen.objects.len(), seen.gaps.len()), (None, 0, 0));
    assert!(!path.exists(), "looking makes nothing");
    let deep = home.path().join("not/there");
    assert_eq!(kind(Local::connect(&deep, true)).await, ErrorKind::Unreachable);
    assert_eq!(Local::connect(&deep, true).init_pool().await.unwrap_err().kind, ErrorKind::Unreachable);
    fs::write(&path, b"").unwrap();
    assert_eq!(kind(Local::connect(&path, true)).await, ErrorKind::Unreachable);
    fs::remove_file(&path).unwrap();

    let driver = Local::connect(&path, true);
    let ids = [driver.init_pool(), driver.init_pool(), driver.init_pool()];
    let [a, b, c] = ids;
    let (a, b, c) = tokio::join!(a, b, c);
    let id = a.unwrap();
    assert_eq!((&id, &id), (&b.unwrap(), &c.unwrap()), "the second process reads what the first wrote");
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(driver.observe(&Scope::All { owner: owner() }).await.unwrap().pool, Some(id));
    assert_eq!(fs::read_dir(path.join(".kiln-pool")).unwrap().count(), 1, "the losers leave nothing");
    fs::write(path.join(".kiln-pool/id"), "zz").unwrap();
    let seen = driver.observe(&Scope::All { owner: owner() }).await.unwrap();
    assert_eq!((seen.pool, seen.gaps.len()), (None, 1));
    assert_eq!(driver.init_pool().await.unwrap_err().kind, ErrorKind::Permanent);
    // Nothing is written into what has lost its mark: it may be the directory below a mount that is gone.
    let refused = driver.execute(&step(volume("db"), create(MIB)), &StepContext::at(NOW)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_lock_without_its_file_or_its_pool_is_lost() {
    let bench = Bench::new().await;
    let run = async || bench.driver.execute(&step(volume("b"), create(MIB)), &StepContext::at(NOW)).await;
    let _lock = bench.driver.lock(&owner()).await.unwrap();
    fs::rename(bench.path.join(".kiln-pool/prod.lock"), bench.path.join("elsewhere")).unwrap();
    assert_eq!(run().await.unwrap_err().kind, ErrorKind::OtherWriter);
    fs::write(bench.path.join(".kiln-pool/prod.lock"), "").unwrap();
    assert_eq!(run().await.unwrap_err().kind, ErrorKind::OtherWriter, "another file excludes no process");
    fs::write(bench.path.join(".kiln-pool/id"), "0".repeat(32)).unwrap();
    assert_eq!(run().await.unwrap_err().kind, ErrorKind::Unreachable, "another pool than the one that was locked");
}

/// The number of a process is used again, also on other hosts.
#[tokio::test]
async fn a_process_that_wrote_is_named_while_it_lives() {
    let bench = Bench::new().await;
    let lock_and_write = async || {
        let lock = bench.driver.lock(&owner()).await.unwrap();
        bench.driver.announce(&owner()).await;
        drop(lock);
    };
    lock_and_write().await;
    let file = bench.path.join(".kiln-pool/prod.lock");
    let parent = std::os::unix::process::parent_id();
    let stat = fs::read_to_string(format!("/proc/{parent}/stat")).unwrap();
    let begun: u64 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    let me = fs::read_to_string(&file).unwrap();
    let host = me.split_once(" on ").unwrap().1.split_once(", begun ").unwrap().0.to_owned();
    let lives = format!("pid {parent} on {host}, begun {begun}\n");
    let earlier = format!("pid {parent} on {host}, begun {}\n", begun - 1);
    let elsewhere = format!("pid {parent} on not-{host}, begun {begun}\n");
    let older = format!("pid {parent} on {host}\n");
    for (notes, expected) in [(&lives, 1), (&earlier, 0), (&elsewhere, 0), (&older, 0)] {
        fs::write(&file, notes).unwrap();
        // Also after this process has had the lock.
        for _ in 0..2 {
            let writers = bench.driver.observe(&Scope::All { owner: owner() }).await.unwrap().writers;
            let pids: Vec<u32> = writers.values().flatten().map(|writer| writer.pid).collect();
            assert_eq!(pids, vec![parent; expected], "{notes}");
            lock_and_write().await;
        }
    }
}

/// A person may answer that nothing is to be changed.
#[tokio::test]
async fn a_lock_that_nothing_was_written_under_leaves_the_pool_as_it_was() {
    let bench = Bench::new().await;
    let file = bench.path.join(".kiln-pool/prod.lock");
    let step = step(volume("a"), create(MIB));
    drop(bench.driver.lock(&owner()).await.unwrap());
    assert!(!file.exists(), "the file was made for this lock");
    let noted = "pid 1 on another-host, begun 3\n";
    fs::write(&file, noted).unwrap();
    let lock = bench.driver.lock(&owner()).await.unwrap();
    let other = Local::connect(&bench.path, true).lock(&owner()).await.err().unwrap();
    let holder = format!("pid {} on ", std::process::id());
    assert!(other.kind == ErrorKind::OtherWriter, "{other:?}");
    assert!(other.message.contains(&holder), "{}", other.message);
    drop(lock);
    assert_eq!(fs::read_to_string(&file).unwrap(), noted);
    let lock = bench.driver.lock(&owner()).await.unwrap();
    bench.driver.execute(&step, &StepContext::at(NOW)).await.unwrap();
    drop(lock);
    assert!(fs::read_to_string(&file).unwrap().starts_with(&holder), "a step names the process");
}

/// Its file is made for the lock and removed after it.
#[tokio::test]
async fn a_lock_whose_file_comes_and_goes_has_one_holder() {
    const TIMES: usize = 100;
    let bench = Bench::new().await;
    let holders = AtomicUsize::new(0);
    let take_often = || {
        let pool = LocalPool::open(&bench.path).ok().unwrap();
        let mut taken = 0;
        while taken < TIMES {
            match lock::take(&pool, &owner()) {
                Ok(held) => {
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
                    held.check(&pool).unwrap();
                    std::thread::yield_now();
                    holders.fetch_sub(1, Ordering::SeqCst);
                    taken += 1;
                }
                // Another thread has it, which may be kept waiting for the processor while it does.
                Err(error) => assert_eq!(error.kind, ErrorKind::OtherWriter, "{error}"),
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(take_often))));
    assert!(!bench.path.join(".kiln-pool/prod.lock").exists());
}

/// A process that observes again and again must never make a writer believe that there is another writer.
#[tokio::test]
async fn reading_never_takes_the_lock_from_a_writer() {
    let bench = Bench::new().await;
    drop(bench.driver.lock(&owner()).await.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let looker = std::thread::spawn({
        let (path, stop) = (bench.path.clone(), stop.clone());
        move || {
            let pool = LocalPool::open(&path).ok().unwrap();
            while !stop.load(Ordering::Relaxed) {
                lock::held(&pool, &mut Vec::new());
            }
        }
    });
    for _ in 0..300 {
        drop(bench.driver.lock(&owner()).await.unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    looker.join().unwrap();
}

#[tokio::test]
async fn an_abandoned_step_stops_and_keeps_the_lock_until_then() {
    let bench = Bench::new().await;
    let db = bench.volume("db", 256 * MIB).await;
    if bench.driver.capabilities().copies_open_volumes() {
        return;
    }
    write_at(&bench.image(&db), 0, &vec![5; 256 << 20]);
    let lock = bench.driver.lock(&owner()).await.unwrap();
    let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let context = StepContext {
        now: NOW,
        progress: Arc::new(move |done, _| {
            if done == 0 {
                begun.send(()).unwrap();
                wait.lock().unwrap().recv().unwrap();
            }
        }),
    };
    let snapshot = step(identity(Kind::Snapshot, "s"), snapshot_of("db", 256 * MIB));
    let running = tokio::spawn({
        let (driver, snapshot) = (bench.driver.clone(), snapshot.clone());
        async move { driver.execute(&snapshot, &context).await }
    });
    has_begun.recv().await.unwrap();
    running.abort();
    let _ = running.await;
    drop(lock);
    let second = Local::connect(&bench.path, false);
    assert_eq!(
        second.observe(&Scope::All { owner: owner() }).await.unwrap().locked,
        [owner()],
        "the copy is still running"
    );
    go.send(()).unwrap();
    let lock = second.lock(&owner()).await.unwrap();
    assert_eq!(bench.only().await.identity, Some(db), "it was stopped, and left nothing");
    drop(lock);
}

/// A step that was given up on may still be running: nothing else is begun meanwhile on its object, nor on its native names.
#[test]
fn one_step_at_a_time_on_an_object_and_on_a_native_name() {
    let claims = StepClaims::default();
    let at = |identity, native: &str, action| {
        step_on(identity, NativeName::new(native), action, Expect { place: Some(Place::Live), ..Expect::default() })
    };
    let rename = |from: &str| Action::Rename { from: NativeName::new(from), tags: Tags::default() };
    let first = || at(volume("a"), "new", rename("old"));
    for (second, waits) in [
        (first(), true),
        (step(volume("a"), create(MIB)), true),
        (at(volume("b"), "new", create(MIB)), true),
        (at(volume("b"), "old", Action::Destroy), true),
        (at(volume("b"), "other", rename("new")), true),
        (at(volume("b"), "other", create(MIB)), false),
    ] {
        let running = claims.take(&first());
        assert_eq!(claims.must_wait(&second), waits, "{:?} on {}", second.action, second.native);
        drop(running);
        assert!(!claims.must_wait(&second) && !claims.must_wait(&first()));
        drop(claims.take(&second));
    }
}

#[tokio::test]
async fn a_ledger_survives_the_loss_of_either_copy() {
    let bench = Bench::new().await;
    let id = bench.look().await.pool.unwrap();
    let mut ledger = Ledger::new(id, owner(), "stack".to_owned());
    let view = async || bench.look().await.ledger;
    for serial in 1..=3 {
        ledger.serial = serial;
        bench.driver.write_ledger(&ledger).await.unwrap();
    }
    let main = bench.path.join(".kiln-pool/prod.ledger");
    let old = bench.path.join(".kiln-pool/prod.ledger.old");
    let (whole, older) = (fs::read(&main).unwrap(), fs::read(&old).unwrap());
    let previous = Ledger { serial: 2, ..ledger.clone() };
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damage in [&b""[..], &whole[..whole.len() / 2], &flipped] {
        fs::write(&main, damage).unwrap();
        assert!(matches!(view().await, Some(LedgerView::Older(older, _)) if *older == previous));
        // Writing over a damaged one does not push the whole copy out.
        ledger.serial = 4;
        bench.driver.write_ledger(&ledger).await.unwrap();
        assert_eq!(fs::read(&old).unwrap(), older);
        assert_eq!(view().await, Some(LedgerView::Good(Arc::new(ledger.clone()))));
        fs::write(&main, damage).unwrap();
        fs::write(&old, damage).unwrap();
        assert!(matches!(view().await, Some(LedgerView::Damaged(_))));
        fs::write(&old, &older).unwrap();
    }
    // What a crash leaves between the two renames, and beside.
    fs::remove_file(&main).unwrap();
    fs::write(bench.path.join(".kiln-pool/prod.ledger.new"), b"half").unwrap();
    assert!(matches!(view().await, Some(LedgerView::Older(older, _)) if *older == previous));
    bench.driver.write_ledger(&ledger).await.unwrap();
    assert_eq!(view().await, Some(LedgerView::Good(Arc::new(ledger.clone()))));
}

/// A copy that cannot be read may be whole, and newer than the other: neither is used, and neither is replaced.
#[tokio::test]
async fn an_unreadable_newest_ledger_is_not_passed_over_for_the_older_copy() {
    let bench = Bench::new().await;
    let mut ledger = Ledger::new(bench.look().await.pool.unwrap(), owner(), "stack".to_owned());
    for serial in 1..=2 {
        ledger.serial = serial;
        bench.driver.write_ledger(&ledger).await.unwrap();
    }
    let main = bench.path.join(".kiln-pool/prod.ledger");
    let whole = fs::read(&main).unwrap();
    let body = br#"{"pool": "what a later kiln calls otherwise"}"#;
    let understood = [format!("kiln-ledger 1 {}\n", blake3::hash(body).to_hex()).into_bytes(), body.to_vec()].concat();
    let newer = [b"kiln-ledger 2 ".to_vec(), whole["kiln-ledger 1 ".len()..].to_vec()].concat();
    let link: &dyn Fn() = &|| symlink("elsewhere", &main).unwrap();
    let directory: &dyn Fn() = &|| fs::create_dir(&main).unwrap();
    let write = |bytes: Vec<u8>| move |main: &Path| fs::write(main, &bytes).unwrap();
    let (newer, understood) = (write(newer), write(understood));
    fs::remove_file(&main).unwrap();
    for make in [link, directory, &|| newer(&main), &|| understood(&main)] {
        make();
        let view = bench.look().await.ledger;
        assert!(matches!(view, Some(LedgerView::Unreadable(_))), "{view:?}");
        let before = bench.tree();
        ledger.serial = 3;
        let error = bench.driver.write_ledger(&ledger).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Unreachable, crate::model::Effect::No), "{error}");
        assert_eq!(bench.tree(), before, "it was written over");
        if main.symlink_metadata().unwrap().is_dir() {
            fs::remove_dir(&main).unwrap();
        } else {
            fs::remove_file(&main).unwrap();
        }
    }
    // Where the newest is damaged or missing, a second copy that cannot be read may be the one that counts.
    let old = bench.path.join(".kiln-pool/prod.ledger.old");
    fs::remove_file(&old).unwrap();
    symlink("elsewhere", &old).unwrap();
    for newest in [None, Some(b"damaged")] {
        if let Some(bytes) = newest {
            fs::write(&main, bytes).unwrap();
        }
        let view = bench.look().await.ledger;
        assert!(matches!(view, Some(LedgerView::Unreadable(_))), "{view:?}");
    }
}

#[tokio::test]
async fn an_object_with_unknown_clients_is_not_removed() {
    let bench = Bench::new().await;
    let db = bench.volume("db", MIB).await;
    let pool = LocalPool::open(&bench.path).ok().unwrap();
    let found = pool.find(db.native().as_str(), Place::Live).unwrap().unwrap();
    // As a disk's read error would: the file cannot be opened any more.
    fs::rename(bench.image(&db), bench.path.join("elsewhere")).unwrap();
    symlink("../elsewhere", bench.image(&db)).unwrap();
    let removal = step(db, Action::Destroy);
    let context = content::CopyWork { now: NOW, progress: Arc::new(|_, _| ()), abandoned: Arc::default() };
    let task = steps::Task { pool: &pool, step: &removal, work: &context };
    assert!(task.idle(&found).is_err(), "its clients are unknown");
}

#[tokio::test]
async fn an_older_ledger_never_takes_the_place_of_a_newer_one() {
    let bench = Bench::new().await;
    let mut ledger = Ledger::new(bench.look().await.pool.unwrap(), owner(), "stack".to_owned());
    ledger.serial = 7;
    bench.driver.write_ledger(&ledger).await.unwrap();
    let before = bench.tree();
    bench.driver.write_ledger(&ledger).await.unwrap();
    let same_number = Ledger { stack: "other".to_owned(), ..ledger.clone() };
    for refused in [same_number, Ledger { serial: 6, ..ledger.clone() }] {
        let error = bench.driver.write_ledger(&refused).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Conflict, crate::model::Effect::No), "{error}");
    }
    assert_eq!(bench.tree(), before);
    // A damaged copy says nothing about what is newer.
    for ending in ["ledger", "ledger.old"] {
        fs::write(bench.path.join(format!(".kiln-pool/prod.{ending}")), b"damaged").unwrap();
    }
    ledger.serial = 1;
    bench.driver.write_ledger(&ledger).await.unwrap();
    assert_eq!(bench.look().await.ledger, Some(LedgerView::Good(Arc::new(ledger))));
}

/// A write that was given up on keeps the lock for as long as it is there, and is not started once its caller is gone.
#[tokio::test]
async fn an_abandoned_ledger_write_is_not_started_and_keeps_the_lock() {
    let bench = Bench::new().await;
    let mut ledger = Ledger::new(bench.look().await.pool.unwrap(), owner(), "stack".to_owned());
    ledger.serial = 1;
    let lock = bench.driver.lock(&owner()).await.unwrap();
    let inner = bench.driver.0.clone();
    // Something else is being written, for as long as this is not told to go on.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let other = tokio::spawn(inner.clone().with_ledgers("other".parse().unwrap(), move |_| {
        begun.send(()).unwrap();
        wait.recv().unwrap();
        Ok(())
    }));
    has_begun.await.unwrap();
    {
        let driver = bench.driver.clone();
        let mut writing = driver.write_ledger(&ledger);
        let nobody = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(writing.as_mut().poll(nobody).is_pending(), "it waits for the other");
    }
    drop(lock);
    let second = Local::connect(&bench.path, false);
    assert_eq!(second.observe(&Scope::All { owner: owner() }).await.unwrap().locked, [owner()], "it is still there");
    go.send(()).unwrap();
    other.await.unwrap().unwrap();
    let lock = second.lock(&owner()).await.unwrap();
    assert_eq!(bench.look().await.ledger, None, "its caller is gone");
    drop(lock);
}

#[tokio::test]
async fn many_objects_are_listed_quickly() {
    const COUNT: usize = 2000;
    let bench = Bench::new().await;
    for n in 0..COUNT {
        let id = volume(&format!("v{n}"));
        fs::create_dir(bench.dir(&id)).unwrap();
        fs::File::create(bench.image(&id)).unwrap().set_len(MIB).unwrap();
        if n % 4 == 0 {
            fs::write(bench.dir(&id).join("tags.json"), object::encode(&labelled("x"))).unwrap();
        }
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = busy();
        let objects = observe::observe(&bench.path, false, &Scope::All { owner: owner() }).unwrap().objects;
        times.push(busy() - begun);
        assert_eq!(objects.len(), COUNT);
        assert!(objects.is_sorted_by(|a, b| (&a.native, a.place) < (&b.native, b.place)));
    }
    times.sort();
    // An optimised build takes about 10 µs for each; this bound is for a debug build.
    assert!(times[0].as_millis() < 1000, "{COUNT} objects in {times:?}");
    eprintln!("{COUNT} objects in {times:?}");
}

/// The time that processors have worked for this thread: how busy the machine is with something else does not count.
fn busy() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

/// A listing taken while objects go to the trash and back sees each of them, in one place or the other.
#[tokio::test]
async fn a_listing_among_renames_misses_nothing() {
    let bench = Bench::new().await;
    for n in 0..200 {
        bench.volume(&format!("v{n}"), 4096).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mover = std::thread::spawn({
        let (path, stop) = (bench.path.clone(), stop.clone());
        move || {
            for n in (0..200).cycle() {
                let native = volume(&format!("v{n}")).native();
                let (live, trash) = (path.join(native.as_str()), path.join(".trash").join(native.as_str()));
                if fs::rename(&live, &trash).is_err() {
                    fs::rename(&trash, &live).unwrap();
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::yield_now();
            }
        }
    });
    let mut complete = 0;
    for _ in 0..50 {
        let seen = bench.look().await;
        if seen.listed == crate::model::Listed::COMPLETE {
            complete += 1;
            let uids: HashSet<_> = seen.objects.iter().filter_map(Object::uid).collect();
            assert_eq!(uids.len(), 200, "an object on its way was taken for absent");
        } else {
            assert!(!seen.gaps.is_empty());
        }
    }
    stop.store(true, Ordering::Relaxed);
    mover.join().unwrap();
    assert!(complete > 0, "no listing was ever complete");
}

#[tokio::test]
#[ignore = "fills its file system: run it alone, with TMPDIR on one of at most 2 GiB that is only there for it"]
async fn a_full_pool_leaves_nothing_half_made() {
    let bench = Bench::new().await;
    let room = bench.look().await.capacity(Resource::Data).unwrap();
    assert!(room.total < 2 << 30, "this file system is too large to be filled for a test");
    assert_eq!(bench.run(&step(volume("t"), thick(4 * MIB))).await, Ok(Outcome::Changed));
    let id = bench.look().await.pool.unwrap();
    let mut ledger = Ledger::new(id, owner(), "stack".to_owned());
    bench.driver.write_ledger(&ledger).await.unwrap();
    let beyond = room.total + MIB;
    bench.refused(&step(volume("u"), thick(beyond)), ErrorKind::Full).await;
    bench.refused(&step(volume("t"), Action::Grow { to: Size(beyond) }), ErrorKind::Full).await;
    assert_eq!(bench.only().await.size, Size(4 * MIB));
    let after = bench.look().await.capacity(Resource::Data).unwrap();
    assert!(after.used < room.used + 16 * MIB, "what was taken in vain was given back: {room:?} {after:?}");
    // With no room left at all something can still be removed: the ledger that must be written for it has a reserve.
    let mut filler = fs::File::create(bench._home.path().join("filler")).unwrap();
    for size in [MIB as usize, 4096, 1] {
        while std::io::Write::write_all(&mut filler, &vec![7; size]).is_ok() && filler.sync_data().is_ok() {}
    }
    ledger.stack = "s".repeat(100_000);
    ledger.serial += 1;
    bench.driver.write_ledger(&ledger).await.unwrap();
    assert_eq!(
        bench.run(&step(volume("t"), Action::Trash { ttl: Seconds(1), with: Vec::new() })).await,
        Ok(Outcome::Changed)
    );
    assert_eq!(bench.run(&step(volume("t"), Action::Purge)).await, Ok(Outcome::Changed));
}

/// The space that an observation counts as used beyond what `df` shows. It must be observed twice while the free space stays the same: another
/// process can use space and free it again during one observation.
async fn used_beyond(driver: &Local, path: &Path) -> u64 {
    let used_and_free = || {
        let stat = rustix::fs::statvfs(path).unwrap();
        ((stat.f_blocks - stat.f_bfree) * stat.f_frsize, stat.f_bavail * stat.f_frsize)
    };
    let mut last = None;
    for _ in 0..10_000 {
        let (used, free) = used_and_free();
        let seen = driver.observe(&Scope::All { owner: owner() }).await.unwrap().capacity(Resource::Data).unwrap();
        if used_and_free() == (used, free) {
            assert_eq!(seen.total, used + free, "what is reserved for root is no room, and is not used");
            let beyond = seen.used - used;
            if last.replace(beyond) == Some(beyond) {
                return beyond;
            }
        }
    }
    panic!("the file system of {} is never at rest", path.display());
}

#[tokio::test]
async fn the_reserve_that_is_to_be_made_is_no_room_for_volumes() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("pool");
    let driver = Local::connect(&path, true);
    let reserve = 4 * MIB + 32 * 4096;
    assert_eq!(used_beyond(&driver, home.path()).await, reserve, "not made yet");
    let id = driver.init_pool().await.unwrap();
    assert_eq!(used_beyond(&driver, &path).await, reserve, "marked");
    driver.write_ledger(&Ledger::new(id, owner(), "stack".to_owned())).await.unwrap();
    assert!(path.join(".kiln-pool/reserve").metadata().unwrap().blocks() * 512 >= 4 * MIB);
    assert_eq!(used_beyond(&driver, &path).await, 0, "it is there");
}
