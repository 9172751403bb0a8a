//! The writer lock, while others act before and after each call of the process that takes it.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::crash::{home, meanwhile};
use super::*;

thread_local! {
    static CHILD: RefCell<Option<Vec<OwnedFd>>> = const { RefCell::new(None) };
}

/// Called after each try to lock a file: a child process that is being started has a copy of its descriptor.
pub(in crate::driver::local) fn tried(file: BorrowedFd<'_>) {
    CHILD.with_borrow_mut(|child| {
        if let Some(copies) = child {
            copies.push(file.try_clone_to_owned().unwrap());
        }
    });
}

/// An empty pool, and the path of the lock's file.
fn pool() -> (tempfile::TempDir, LocalPool, PathBuf) {
    let home = home();
    LocalPool::open(home.path()).ok().unwrap().mark_made().unwrap();
    let (pool, file) = (LocalPool::open(home.path()).ok().unwrap(), home.path().join(".kiln-pool/prod.lock"));
    (home, pool, file)
}

fn exclusive(file: &fs::File) -> Result<(), Errno> {
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// Takes the lock while another acts before call `n`. Returns the result and the number of calls.
fn take_while(
    n: u32,
    act: impl FnOnce() + 'static,
    pool: &LocalPool,
) -> (Result<Arc<lock::HeldLock>, DriverError>, u32) {
    let mut act = Some(act);
    let once = move |call| {
        if call == n
            && let Some(act) = act.take()
        {
            act();
        }
    };
    meanwhile(once, || lock::take(pool, &owner()))
}

/// An abandoned step keeps the lock of its writer. Whenever it ends, the next writer of this process waits for that, and is not refused.
#[test]
fn a_step_that_ends_while_the_lock_is_taken_is_not_another_writer() {
    // More than three tries.
    for (n, wrote) in (0..16).flat_map(|n| [(n, false), (n, true)]) {
        let (_home, pool, file) = pool();
        let step = lock::take(&pool, &owner()).unwrap();
        if wrote {
            step.note();
        }
        drop(lock::LocalLock(step.clone()));
        let (taken, _) = take_while(n, move || drop(step), &pool);
        let taken = taken.unwrap_or_else(|error| panic!("it ended before call {n}, wrote: {wrote}: {error}"));
        taken.check(&pool).unwrap();
        drop(taken);
        assert_eq!(file.exists(), wrote);
    }
}

#[test]
fn a_writer_that_ends_while_the_lock_is_taken_leaves_it_or_refuses_it() {
    let (mut taken, mut refused) = (0, 0);
    for n in 0.. {
        let (_home, pool, _) = pool();
        let ended = lock::take(&pool, &owner()).unwrap();
        let (result, calls) = take_while(n, move || drop(ended), &pool);
        match result {
            Ok(held) => {
                held.check(&pool).unwrap();
                taken += 1;
            }
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::OtherWriter, "{error}");
                refused += 1;
            }
        }
        if calls <= n {
            break;
        }
    }
    assert!(taken > 2 && refused > 0, "{taken} {refused}");
}

/// Its text names the process that wrote to the pool, for as long as that lives.
#[test]
fn the_file_of_a_lock_under_which_another_wrote_stays() {
    let (mut stayed, mut went) = (0, 0);
    for n in 0.. {
        let (home, pool, file) = pool();
        let wrote = Arc::new(AtomicBool::new(false));
        let other = (LocalPool::open(home.path()).ok().unwrap(), wrote.clone());
        let writes = move || {
            if let Ok(held) = lock::take(&other.0, &owner()) {
                held.note();
                other.1.store(true, Ordering::SeqCst);
            }
        };
        let (taken, calls) = take_while(n, writes, &pool);
        drop(taken.unwrap());
        let wrote = wrote.load(Ordering::SeqCst);
        assert_eq!(file.exists(), wrote, "before call {n}");
        if wrote {
            stayed += 1
        } else {
            went += 1
        }
        if calls <= n {
            break;
        }
    }
    assert!(stayed > 2 && went > 1, "{stayed} {went}");
}

/// A process that locked a file that lost its name finds out, and takes the lock on the next file, as this one does.
#[test]
fn a_lock_on_a_file_that_lost_its_name_is_not_in_the_way() {
    let mut in_the_way = 0;
    for n in 0.. {
        let (_home, pool, file) = pool();
        let other: Arc<Mutex<Option<fs::File>>> = Arc::default();
        let keeps = other.clone();
        let locks_and_removes = move || {
            let Ok(opened) = fs::File::open(&file) else { return };
            if exclusive(&opened).is_ok() {
                fs::remove_file(&file).unwrap();
                *keeps.lock().unwrap() = Some(opened);
            }
        };
        let (taken, calls) = take_while(n, locks_and_removes, &pool);
        taken.unwrap_or_else(|error| panic!("before call {n}: {error}")).check(&pool).unwrap();
        in_the_way += u32::from(other.lock().unwrap().is_some());
        if calls <= n {
            break;
        }
    }
    assert!(in_the_way > 0);
}

/// A child process has copies of all descriptors until it executes its program.
#[test]
fn copies_of_descriptors_in_a_child_keep_no_lock() {
    for n in 0.. {
        let (_home, pool, file) = pool();
        let opened: Arc<Mutex<Vec<fs::File>>> = Arc::default();
        let (keeps, path) = (opened.clone(), file.clone());
        let opens_and_removes = move || {
            keeps.lock().unwrap().extend(fs::File::open(&path));
            let _ = fs::remove_file(&path);
        };
        CHILD.set(Some(Vec::new()));
        let (taken, calls) = take_while(n, opens_and_removes, &pool);
        let copies = CHILD.take().unwrap();
        assert!(!copies.is_empty());
        drop(taken.unwrap());
        opened.lock().unwrap().extend(fs::File::open(&file));
        for file in opened.lock().unwrap().iter() {
            assert_eq!(exclusive(file), Ok(()), "before call {n}");
        }
        if calls <= n {
            break;
        }
    }
}

/// As on a file system whose answers about a name are out of date, or among writers that come and go without an end.
#[test]
fn a_lock_whose_file_never_stays_is_refused_in_the_end() {
    for exists in [false, true] {
        let (_home, pool, file) = pool();
        if exists {
            fs::write(&file, "").unwrap();
        }
        let toggles = move |_| {
            if fs::remove_file(&file).is_err() {
                fs::write(&file, "").unwrap();
            }
        };
        let patience = Duration::from_millis(20);
        let begun = Instant::now();
        let (refused, _) = meanwhile(toggles, || lock::take_within(&pool, &owner(), patience));
        let error = refused.err().unwrap();
        assert_eq!(error.kind, ErrorKind::OtherWriter, "{error}");
        assert!(error.message.contains("all the time"), "{error}");
        assert!(begun.elapsed() >= patience);
    }
}
