//! Power cuts: what of the database was not synced is gone.
//!
//! Beside a watched database its content is kept as of its last `fdatasync`. A cut leaves that, and everything else of the store as it
//! is: the mark may have been written back by itself.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;

struct Watched {
    which: (u64, u64),
    path: PathBuf,
    synced: Vec<u8>,
    /// Its syncs do nothing: the process is killed before each of them.
    killed: bool,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

fn with<T>(dir: &Path, work: impl FnOnce(&mut Watched) -> T) -> T {
    let mut all = WATCHED.lock().unwrap();
    work(all.iter_mut().find(|one| one.path.starts_with(dir)).unwrap())
}

/// Called instead of a sync. Whether it is to be made.
pub(in crate::store) fn syncing(file: &File) -> bool {
    let stat = file.metadata().unwrap();
    let mut all = WATCHED.lock().unwrap();
    // The inode of a database that is gone may be another's by now.
    let which = (stat.dev(), stat.ino());
    let is_it = |one: &&mut Watched| {
        let there = one.path.metadata().is_ok_and(|there| (there.dev(), there.ino()) == which);
        one.which == which && there
    };
    let Some(one) = all.iter_mut().find(is_it) else { return true };
    if !one.killed {
        one.synced = fs::read(&one.path).unwrap();
    }
    !one.killed
}

/// Watches the store in `dir`, which is as it is on disk.
fn watch(dir: &Path) {
    let path = dir.join("db/db");
    let stat = path.metadata().unwrap();
    let synced = fs::read(&path).unwrap();
    WATCHED.lock().unwrap().push(Watched { which: (stat.dev(), stat.ino()), path, synced, killed: false });
}

/// Opens what a cut leaves of the store in `dir`.
fn after_cut(dir: &Path) -> (OpenedStore, tempfile::TempDir) {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, &copy.path().join("state"));
    fs::write(copy.path().join("state/db/db"), with(dir, |one| one.synced.clone())).unwrap();
    (open(&copy.path().join("state"), NOW).unwrap(), copy)
}

#[test]
fn a_power_cut_loses_no_acknowledged_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), NOW).unwrap().store;
    watch(dir.path());
    for n in 0..10 {
        store.commit(Batch { journal: vec![line(n)], ..put(n) }).unwrap();
        let (cut, _copy) = after_cut(dir.path());
        assert_eq!(cut.notes, Vec::<String>::new(), "after commit {n}");
        let content = Content::of(&*cut.store);
        assert_eq!(content.records.objects.len() as u64, n + 1, "a commit that was acknowledged is gone");
        assert_eq!(content.records.objects.get(&identity(n).uid), Some(&object(n)));
        assert_eq!(content.journal.len() as u64, n + 1);
    }
}

#[test]
fn writes_of_a_killed_process_are_synced_before_the_batch_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), NOW).unwrap().store;
    watch(dir.path());
    store.commit(put(1)).unwrap();
    let mark = fs::read(dir.path().join("mark")).unwrap();
    with(dir.path(), |one| one.killed = true);
    store.commit(put(2)).unwrap();
    drop(store);
    // It was killed between writing and syncing: the mark is written after that.
    fs::write(dir.path().join("mark"), mark).unwrap();
    with(dir.path(), |one| one.killed = false);

    let opened = open(dir.path(), NOW).unwrap();
    assert_eq!(Content::of(&*opened.store).records.objects.len(), 2, "the next process reads it from memory");
    let (cut, _copy) = after_cut(dir.path());
    assert_eq!(cut.notes, Vec::<String>::new(), "the mark asks for no more than the disk has");
    assert_eq!(Content::of(&*cut.store).records.objects.len(), 2);
}

/// A scan of many rows is long enough for a batch to come between two of them.
#[test]
fn a_reader_sees_whole_batches() {
    const ROWS: u64 = 100;
    let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let store = open(home.path(), NOW).unwrap().store;
    let enough = AtomicBool::new(false);
    let until = Instant::now() + Duration::from_secs(60);
    let (mut whole, mut none) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::SeqCst) {
                store.commit(Batch { open: (1..=ROWS).map(intent).collect(), ..Batch::default() }).unwrap();
                store.commit(Batch { close: (1..=ROWS).map(IntentId).collect(), ..Batch::default() }).unwrap();
            }
        });
        // A panic here must not leave the writer running.
        let mut wrong = None;
        while (whole < 10 || none < 10) && wrong.is_none() && Instant::now() < until {
            match store.intents().unwrap().len() as u64 {
                0 => none += 1,
                ROWS => whole += 1,
                part => wrong = Some(part),
            }
        }
        enough.store(true, Ordering::SeqCst);
        assert_eq!(wrong, None, "of {ROWS} rows of one batch some were seen");
    });
    assert!(whole >= 10 && none >= 10, "{whole} {none}");
}
