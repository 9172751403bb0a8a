//! What a stranger puts into a pool, and what this user may not see: neither is followed, waited for, or taken for absent.

use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;
use crate::model::Restores;

/// Long enough for any look on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does something as a user who is not root, on a pool that belongs to it.
fn unprivileged<T: Send>(bench: &Bench, work: impl FnOnce() -> T + Send) -> T {
    const NOBODY: u32 = 65534;
    let root = rustix::process::geteuid().is_root();
    if root {
        fs::set_permissions(bench._home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&bench.path, Some(NOBODY), Some(NOBODY)).unwrap();
        for (path, ..) in bench.tree() {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if root {
                // Of this thread alone.
                let user = rustix::process::Uid::from_raw(NOBODY);
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            }
            work()
        });
        thread.join().unwrap()
    })
}

fn observe_all(bench: &Bench) -> Result<Observed, DriverError> {
    observe::observe(&bench.path, false, &Scope::All { owner: owner() })
}

#[tokio::test]
async fn names_lead_nowhere_but_into_their_directory() {
    let bench = Bench::new().await;
    fs::create_dir(bench.path.join("sub")).unwrap();
    fs::write(bench.path.join("sub/file"), b"x").unwrap();
    fs::write(bench._home.path().join("outside"), b"x").unwrap();
    symlink("sub", bench.path.join("link")).unwrap();
    symlink("sub/file", bench.path.join("linked")).unwrap();
    let pool = LocalPool::open(&bench.path).ok().unwrap();
    let open = |dir, name: &str| pool::open_in(dir, name, OFlags::RDONLY, Mode::empty()).map(drop);
    let absolute = bench.path.join("sub/file");
    assert_eq!(open(pool.root(), "sub/file"), Ok(()));
    for (name, errno) in [
        ("..", Errno::XDEV),
        ("../outside", Errno::XDEV),
        ("sub/../../outside", Errno::XDEV),
        (absolute.to_str().unwrap(), Errno::XDEV),
        ("link/file", Errno::LOOP),
        ("linked", Errno::LOOP),
    ] {
        assert_eq!(open(pool.root(), name), Err(errno), "{name}");
    }
    let sub = pool::open_dir(pool.root(), "sub").unwrap();
    assert_eq!(open(sub.as_fd(), "../linked"), Err(Errno::XDEV));
}

/// Opening a FIFO waits for its other end.
#[tokio::test]
async fn a_fifo_is_not_waited_for() {
    let bench = Bench::new().await;
    let db = bench.volume("db", MIB).await;
    let mut ledger = Ledger::new(bench.look().await.pool.unwrap(), owner(), "stack".to_owned());
    ledger.serial = 1;
    bench.driver.write_ledger(&ledger).await.unwrap();
    drop(bench.driver.lock(&owner()).await.unwrap());
    let mark = bench.path.join(".kiln-pool");
    let places = [bench.dir(&db).join("tags.json"), bench.image(&db), mark.join("prod.ledger"), mark.join("prod.lock")];
    for place in places {
        let before = fs::read(&place).ok();
        let _ = fs::remove_file(&place);
        rustix::fs::mknodat(rustix::fs::CWD, &place, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (send, receive) = channel();
        let (path, native) = (bench.path.clone(), db.native());
        // Not joined: one that waits, waits for ever.
        std::thread::spawn(move || {
            let all = observe::observe(&path, false, &Scope::All { owner: owner() });
            send.send((all, observe::observe(&path, false, &Scope::Objects(vec![Address::flat(&native)])))).unwrap();
        });
        assert!(receive.recv_timeout(PATIENCE).is_ok(), "a look waits at {}", place.display());
        fs::remove_file(&place).unwrap();
        if let Some(before) = before {
            fs::write(&place, before).unwrap();
        }
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_makes_its_list_incomplete() {
    let bench = Bench::new().await;
    let (a, b) = (bench.volume("a", MIB).await, bench.volume("b", MIB).await);
    let snap = identity(Kind::Snapshot, "s");
    assert_eq!(bench.run(&step(snap.clone(), snapshot_of("a", MIB))).await, Ok(Outcome::Changed));
    assert_eq!(
        bench.run(&step(b.clone(), Action::Trash { ttl: Seconds(60), with: Vec::new() })).await,
        Ok(Outcome::Changed)
    );
    let all = |seen: &Observed| (seen.listed.volumes, seen.listed.snapshots, seen.listed.trash, seen.gaps.len());
    let trashed = bench.trashed(b.native().as_str());
    for (path, listed) in [
        (bench.dir(&a), (false, true, true, 1)),
        (bench.dir(&snap), (true, false, true, 1)),
        (trashed, (true, true, false, 1)),
        (bench.path.join(".trash"), (true, true, false, 1)),
    ] {
        let before = path.metadata().unwrap().permissions();
        unprivileged(&bench, || {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
            let seen = observe_all(&bench).unwrap();
            fs::set_permissions(&path, before).unwrap();
            assert_eq!(all(&seen), listed, "{}: {:?}", path.display(), seen.gaps);
            assert!(seen.gaps[0].contains(path.file_name().unwrap().to_str().unwrap()), "{:?}", seen.gaps);
        });
    }
    assert_eq!(unprivileged(&bench, || all(&observe_all(&bench).unwrap())), (true, true, true, 0));
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_or_written_makes_the_pool_unreachable() {
    let bench = Bench::new().await;
    let (mark, id) = (bench.path.join(".kiln-pool"), bench.path.join(".kiln-pool/id"));
    let changes = [
        (&bench.path, 0o500, "write to"),
        (&mark, 0o500, "write to"),
        (&mark, 0o600, "read"),
        (&mark, 0o300, "read"),
        (&id, 0o200, "read"),
    ];
    for (path, mode, word) in changes {
        let before = path.metadata().unwrap().permissions();
        unprivileged(&bench, || {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            let seen = observe_all(&bench);
            fs::set_permissions(path, before).unwrap();
            let error = seen.unwrap_err();
            let said = error.message.contains(&format!("this user may not {word} "));
            assert!(error.kind == ErrorKind::Unreachable && said, "{mode:o} of {}: {error}", path.display());
        });
    }
    assert!(unprivileged(&bench, || observe_all(&bench).unwrap().pool.is_some()));
}

/// Its owner could not read what another user makes in a pool.
#[tokio::test]
async fn a_pool_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bench = Bench::new().await;
    unprivileged(&bench, || ());
    fs::set_permissions(&bench.path, fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::chown(&bench.path, Some(12345), Some(12345)).unwrap();
    let seen = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let user = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            observe_all(&bench)
        });
        thread.join().unwrap()
    });
    let error = seen.unwrap_err();
    assert!(error.kind == ErrorKind::Unreachable && error.message.contains("belongs to user 12345"), "{error}");
}

#[test]
fn missing_abilities_of_the_file_system_are_found_at_connect() {
    use super::fault::{Call, fail_once};
    let home = tempfile::tempdir().unwrap();
    let can = || ability::capabilities(home.path());
    let both = || {
        let can = can();
        (can.unusable, can.restore)
    };
    assert_eq!(both(), (None, Restores::Atomic));
    for (call, errno, word) in [
        (Call::Sync, Errno::INVAL, "fsync of directories"),
        (Call::Link, Errno::PERM, "hard links"),
        (Call::Link, Errno::OPNOTSUPP, "hard links"),
    ] {
        fail_once(call, errno);
        let unusable = can().unusable.unwrap();
        assert!(unusable.contains(word) && unusable.contains(home.path().to_str().unwrap()), "{unusable}");
    }
    // The first rename with flags is an exchange, which only a restore needs.
    fail_once(Call::Rename, Errno::INVAL);
    assert_eq!(both(), (None, Restores::No));
    fail_once(Call::Rename, Errno::INVAL);
    fail_once(Call::Rename, Errno::INVAL);
    assert!(can().unusable.unwrap().contains("RENAME_NOREPLACE"));
    // A fault is no lack.
    for call in [Call::Sync, Call::Link, Call::Rename, Call::Create] {
        fail_once(call, Errno::IO);
        assert_eq!(both(), (None, Restores::Atomic), "{call:?}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left");
    // The rest of an interrupted run blocks nothing.
    fs::create_dir(home.path().join(".kiln-try")).unwrap();
    fs::write(home.path().join(".kiln-try/a"), b"").unwrap();
    assert_eq!(can().unusable, None);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}
