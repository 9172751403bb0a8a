//! Locks, full disks, read-only places, newer formats: a clear error, or a look that goes without.

use std::os::unix::fs::PermissionsExt;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use super::*;

/// A file system of so many KiB; `None` where this user may not mount.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn of(kib: u64) -> Option<Tmpfs> {
        let dir = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={kib}k,mode=0700")).unwrap();
        match mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), options.as_c_str()) {
            Ok(()) => Some(Tmpfs(dir)),
            Err(e) => {
                println!("not run: this user may not mount a tmpfs ({e})");
                None
            }
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("state")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

fn io_message(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    match result {
        Err(StoreError::Io { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_living_holder_is_named_and_a_dead_one_is_not_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), NOW).unwrap();
    for result in [open(dir.path(), NOW + 1).map(drop), look(dir.path()).map(drop)] {
        match result {
            Err(StoreError::Locked { pid, since, .. }) => {
                assert_eq!(pid, std::process::id());
                assert_eq!(since, "2026-02-03T04:05:06Z");
            }
            other => panic!("{other:?}"),
        }
    }
    opened.store.commit(put(1)).unwrap();
    drop(opened);
    // As a dead process leaves it, with a pid that some other living process has now.
    fs::write(dir.path().join("lock"), "pid 1\nsince 2020-01-01T00:00:00Z\n").unwrap();
    assert!(look(dir.path()).unwrap().is_some());
    let again = open(dir.path(), NOW).unwrap();
    assert_eq!(again.notes, Vec::<String>::new());
    assert_eq!(again.store.records().unwrap().objects.len(), 1);
}

#[test]
fn readers_do_not_block_writers() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), NOW).unwrap());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let mut looks = 0;
            while looks == 0 || !done.load(std::sync::atomic::Ordering::Relaxed) {
                match look(dir.path()) {
                    Ok(Some(_)) => looks += 1,
                    // A writer has it.
                    Err(StoreError::Locked { .. }) => {}
                    other => panic!("{other:?}"),
                }
            }
            looks
        });
        for round in 0..20 {
            let opened = open(dir.path(), NOW).unwrap();
            assert_eq!(opened.notes, Vec::<String>::new(), "round {round}");
            opened.store.commit(put(round)).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(looker.join().unwrap() > 0);
    });
    assert_eq!(look(dir.path()).unwrap().unwrap().store.records().unwrap().objects.len(), 20);
}

#[test]
fn commands_that_only_read_create_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(look(&dir.path().join("none")).unwrap().is_none());
    assert!(look(dir.path()).unwrap().is_none());
    assert!(listing(dir.path()).is_empty());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let looked = look(&file).unwrap();
    assert!(looked.is_none_or(|opened| opened.notes.len() == 1));
    assert!(io_message(open(&file, NOW)).contains("directory"));
}

#[test]
fn a_full_disk_is_reported_when_the_store_is_opened() {
    let Some(tmpfs) = Tmpfs::of(2048) else { return };
    // Full before there is a store.
    let filler = tmpfs.0.path().join("filler");
    fs::write(&filler, vec![1; 1800 << 10]).unwrap();
    assert!(io_message(open(&tmpfs.path(), NOW)).contains("no space"));
    fs::remove_file(&filler).unwrap();
    drop(tmpfs);

    // Full when there is one: what is in it is not touched, and can be looked at.
    let Some(tmpfs) = Tmpfs::of(16 << 10) else { return };
    let filler = tmpfs.0.path().join("filler");
    let opened = open(&tmpfs.path(), NOW).unwrap();
    opened.store.commit(put(1)).unwrap();
    drop(opened);
    fs::write(&filler, vec![1; 64 << 20]).unwrap_err();
    let before = listing(&tmpfs.path().join("db"));
    assert!(io_message(open(&tmpfs.path(), NOW)).contains("no space"));
    assert_eq!(listing(&tmpfs.path().join("db")), before);
    let looked = look(&tmpfs.path()).unwrap().unwrap();
    assert_eq!(looked.notes, Vec::<String>::new());
    assert_eq!(looked.store.records().unwrap().objects.len(), 1);
    fs::remove_file(&filler).unwrap();
    let again = open(&tmpfs.path(), NOW).unwrap();
    assert_eq!(again.notes, Vec::<String>::new());
    assert_eq!(again.store.records().unwrap().objects.len(), 1);
}

#[test]
fn a_disk_that_fills_up_fails_the_commit_and_loses_nothing() {
    for kib in [4 << 10, 5 << 10, 6500, 7 << 10] {
        let Some(tmpfs) = Tmpfs::of(kib) else { return };
        let opened = open(&tmpfs.path(), NOW).unwrap();
        let mut acknowledged = 0;
        let error = loop {
            let backends = vec![(name("fast"), Some(backend(1_000 + acknowledged)))];
            match opened.store.commit(Batch { backends, ..put(acknowledged) }) {
                Ok(()) => acknowledged += 1,
                Err(e) => break e,
            }
            assert!(acknowledged < 100_000, "it never fills up");
        };
        assert!(matches!(&error, StoreError::Io { message, .. } if message.contains("no space")), "{error}");
        println!("{kib} KiB: {acknowledged} commits, then: {error}");
        assert!(opened.store.commit(put(0)).is_err(), "after a failed write nothing is written");
        drop(opened);
        // With room again, all that was acknowledged is there.
        mount_remount(tmpfs.0.path(), MountFlags::empty(), c"size=64m").unwrap();
        let again = open(&tmpfs.path(), NOW).unwrap();
        assert_eq!(again.notes, Vec::<String>::new(), "{kib}");
        let records = again.store.records().unwrap();
        for n in 0..acknowledged {
            assert_eq!(records.objects.get(&identity(n).uid), Some(&object(n)), "{kib}: {n}");
        }
    }
}

#[test]
fn batches_that_share_a_failed_write_all_fail() {
    let Some(tmpfs) = Tmpfs::of(5 << 10) else { return };
    let opened = open(&tmpfs.path(), NOW).unwrap();
    let fill = |writer: u64| {
        let store = &opened.store;
        // Until the first error: all before it was acknowledged.
        move || (0..100_000).map(|n| writer * 100_000 + n).take_while(|n| store.commit(put(*n)).is_ok()).collect()
    };
    let acknowledged: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8).map(|writer| scope.spawn(fill(writer))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert!(acknowledged.iter().all(|of_one| of_one.len() < 100_000), "it never fills up");
    drop(opened);
    mount_remount(tmpfs.0.path(), MountFlags::empty(), c"size=64m").unwrap();
    let records = open(&tmpfs.path(), NOW).unwrap().store.records().unwrap();
    for n in acknowledged.iter().flatten() {
        assert_eq!(records.objects.get(&identity(*n).uid), Some(&object(*n)), "{n} was acknowledged and is lost");
    }
}

#[test]
fn a_read_only_store_can_be_read() {
    let Some(tmpfs) = Tmpfs::of(16 << 10) else { return };
    assert!(look(&tmpfs.path()).unwrap().is_none());
    let opened = open(&tmpfs.path(), NOW).unwrap();
    opened.store.commit(put(1)).unwrap();
    drop(opened);
    mount_remount(tmpfs.0.path(), MountFlags::RDONLY, c"").unwrap();
    let looked = look(&tmpfs.path()).unwrap().unwrap();
    assert_eq!(looked.notes, Vec::<String>::new());
    assert_eq!(looked.store.records().unwrap().objects.len(), 1);
    assert!(io_message(open(&tmpfs.path(), NOW)).contains("read-only"));
    assert!(io_message(open(&tmpfs.0.path().join("other"), NOW)).contains("read-only"));
}

#[test]
fn the_store_is_readable_by_its_user_only() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    drop(open(&state, NOW).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state.join("db")), 0o700);
    assert_eq!(mode(&state.join("mark")), 0o600);
    assert_eq!(mode(&state.join("lock")), 0o600);
    let made = dir.path().join("made");
    drop(open(&made, NOW).unwrap());
    assert_eq!(mode(&made), 0o700);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    // Known by the mark.
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), NOW).unwrap());
    let text = "kiln-store format=9 of=the-future";
    fs::write(dir.path().join("mark"), format!("{text} crc={:08x}\n", crc32fast::hash(text.as_bytes()))).unwrap();
    let before = listing(dir.path()).into_iter().filter(|(name, _)| name != "lock").collect::<Vec<_>>();
    for result in [open(dir.path(), NOW).map(drop), look(dir.path()).map(drop)] {
        assert!(matches!(result, Err(StoreError::Newer { found: 9, known: 3, .. })), "{result:?}");
    }
    let after = listing(dir.path()).into_iter().filter(|(name, _)| name != "lock").collect::<Vec<_>>();
    assert_eq!(after, before);

    // Known by a row, with no mark.
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), NOW).unwrap());
    fs::remove_file(dir.path().join("mark")).unwrap();
    let db = db::Db::open(&dir.path().join("db")).unwrap();
    let key = codec::key(codec::kind::OBJECT, identity(1).uid.as_str());
    let rows = codec::rows_of_format(&key, b"who knows", codec::FORMAT + 1);
    db.write(vec![(codec::row_key(&key, 0), rows.into_iter().next())]).unwrap();
    db.close().unwrap();
    for result in [open(dir.path(), NOW).map(drop), look(dir.path()).map(drop)] {
        assert!(matches!(result, Err(StoreError::Newer { found: 4, known: 3, .. })), "{result:?}");
    }
    assert!(!listing(dir.path()).keys().any(|name| name.starts_with("damaged")));
}

#[test]
fn a_store_is_of_the_first_format_but_for_what_later_ones_brought() {
    let dir = tempfile::tempdir().unwrap();
    let formats = |batch: Batch| {
        open(dir.path(), NOW).unwrap().store.commit(batch).unwrap();
        let db = db::Db::open(&dir.path().join("db")).unwrap();
        let mut formats = BTreeMap::new();
        db.scan(b"", |key, row| {
            formats.entry(key[0] as char).or_insert_with(Vec::new).push(u16::from_be_bytes([row[16], row[17]]));
            Ok(())
        })
        .unwrap();
        db.close().unwrap();
        formats
    };
    let mark = || fs::read_to_string(dir.path().join("mark")).unwrap();
    let suspensions = vec![(suspension(1).key(), Some(suspension(1)))];
    // An earlier program refuses it, and neither takes the row for damage nor acts on what is suspended.
    let with = formats(Batch { suspensions, open: vec![intent(1)], journal: vec![line(1)], ..put(1) });
    let first = |kinds: &[char]| kinds.iter().map(|kind| (*kind, vec![1])).collect::<BTreeMap<_, _>>();
    assert_eq!(with, [first(&['i', 'j', 'm', 'o']), BTreeMap::from([('s', vec![2])])].into_iter().flatten().collect());
    // Without it, a process that goes back keeps the store.
    let both = formats(Batch { suspensions: vec![(recorded(1).key(), Some(recorded(1)))], ..Batch::default() });
    assert_eq!(both[&'s'], [2, 3], "one with an id has a key that an earlier program would take for damage");
    formats(Batch { suspensions: vec![(recorded(1).key(), None)], ..Batch::default() });
    let without = formats(Batch { suspensions: vec![(suspension(1).key(), None)], ..Batch::default() });
    assert_eq!(without, first(&['i', 'j', 'm', 'o']));
    assert!(mark().starts_with("kiln-store format=1 "), "{}", mark());
}
