//! The only file that uses sled. It isolates the defects of sled.
//!
//! sled 0.34 panics on damaged files, in the calling thread and in its own threads; a call or its destructor may then never return. Every call
//! therefore runs under `catch_unwind`, calls that open and close run on separate threads with a deadline, and a damaged database is leaked
//! instead of dropped. Its `flush` returns before the data is on disk: [`Db::sync`] adds the `fdatasync`.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Once;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::error::DbError;
use super::lock;

/// Cache size in bytes. The default is 1 GiB. With 8 MiB, 100,000 records are scanned and written as fast as with 64 MiB, and take 60 MB less.
const CACHE: u64 = 8 * 1024 * 1024;

/// Of how many rows a scan reads one again by its key, after as many bytes as the cache may have. sled removes pages only after thousands of
/// calls, and a scan makes one call for each page: all pages of 100,000 records would stay in memory until the end of the scan, 40 MB
/// instead of 10.
const ROWS_PER_CALL: usize = 2;

/// Deadline of a call. Opening 100,000 records takes 0.04 s; a call that takes a thousand times as long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// An open database.
pub(super) struct Db {
    sled: ManuallyDrop<sled::Db>,
    /// The file with the log, for `fdatasync`.
    file: File,
}

/// A row to write, or to remove.
pub(super) type Write = (Vec<u8>, Option<Vec<u8>>);

impl Db {
    /// Opens the database in `dir`, or creates it.
    pub(super) fn open(dir: &Path) -> Result<Db, DbError> {
        if !lock::wait_until_free(&dir.join("db"), PATIENCE) {
            return Err(DbError::Io("another program has its files locked".to_owned(), None));
        }
        let path = dir.to_owned();
        on_own_thread("opening it", move || {
            let config = sled::Config::new().path(&path).cache_capacity(CACHE);
            let sled = ManuallyDrop::new(config.open().map_err(from_sled)?);
            let file = File::open(path.join("db")).map_err(|e| from_io(&e))?;
            Ok(Db { sled, file })
        })
    }

    /// Returns the row under this key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        guarded("reading it", || Ok(self.sled.get(key).map_err(from_sled)?.map(|row| row.to_vec())))
    }

    /// Calls `each` with every row whose key starts with `prefix`, in the order of keys, until it fails.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), DbError>,
    ) -> Result<(), DbError> {
        guarded("reading it", || {
            let mut read = 0;
            for (number, row) in self.sled.scan_prefix(prefix).enumerate() {
                let (key, row) = row.map_err(from_sled)?;
                read += row.len() as u64;
                if read > CACHE && number % ROWS_PER_CALL == 0 {
                    self.sled.get(&key).map_err(from_sled)?;
                }
                each(&key, &row)?;
            }
            Ok(())
        })
    }

    /// Writes these rows atomically. They are on disk after the next [`sync`](Self::sync).
    pub(super) fn write(&self, rows: Vec<Write>) -> Result<(), DbError> {
        let mut batch = sled::Batch::default();
        for (key, row) in rows {
            match row {
                Some(row) => batch.insert(key, row),
                None => batch.remove(key),
            }
        }
        guarded("writing it", || self.sled.apply_batch(batch).map_err(from_sled))
    }

    /// Makes all writes durable.
    pub(super) fn sync(&self) -> Result<(), DbError> {
        guarded("writing it", || {
            self.sled.flush().map_err(from_sled)?;
            sync_data(&self.file).map_err(|e| from_io(&e))
        })
    }

    /// Closes the database. A database that is only dropped is leaked, as a damaged one must be, whose destructor may never return.
    pub(super) fn close(self) -> Result<(), DbError> {
        let Db { sled, file: _ } = self;
        let sled = ManuallyDrop::into_inner(sled);
        on_own_thread("closing it", move || {
            sled.flush().map_err(from_sled)?;
            drop(sled);
            Ok(())
        })
    }
}

/// Makes the content of a file durable.
fn sync_data(file: &File) -> io::Result<()> {
    #[cfg(test)]
    if !super::tests::power::syncing(file) {
        return Ok(());
    }
    file.sync_data()
}

/// Decides whether an error of the file system means damage, or only that the database could not be read.
pub(super) fn from_io(error: &io::Error) -> DbError {
    use rustix::io::Errno;
    // Errors that sled gets only for damaged files: another kind of file under the name, or an invalid offset.
    const NOT_OURS: [Errno; 7] =
        [Errno::NOENT, Errno::NOTDIR, Errno::ISDIR, Errno::LOOP, Errno::EXIST, Errno::INVAL, Errno::FBIG];
    match Errno::from_io_error(error) {
        Some(errno) if !NOT_OURS.contains(&errno) => DbError::Io(error.to_string(), Some(errno.raw_os_error())),
        _ => DbError::Damaged(error.to_string()),
    }
}

fn from_sled(error: sled::Error) -> DbError {
    match error {
        sled::Error::Io(e) => from_io(&e),
        other => DbError::Damaged(other.to_string()),
    }
}

thread_local! {
    /// Whether panics on this thread come from sled and are caught.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Suppresses the messages of sled's panics on the terminal. With a failing disk they would appear to be a bug of Kiln; the note has the relevant
/// part. Panics of all other threads go to the previous hook.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // The names of the threads of sled 0.34.7.
            let thread = std::thread::current();
            let is_sleds = thread.name().is_some_and(|name| name.starts_with("sled-io-") || name == "log flusher");
            if !is_sleds && !QUIET.try_with(Cell::get).unwrap_or(false) {
                previous(info);
            }
        }));
    });
}

/// Calls sled, and converts a panic into an error.
fn guarded<T>(doing: &str, call: impl FnOnce() -> Result<T, DbError>) -> Result<T, DbError> {
    hush();
    let before = QUIET.replace(true);
    // A panic may leave sled's database inconsistent; it is not used again.
    let ended = panic::catch_unwind(AssertUnwindSafe(call));
    QUIET.set(before);
    ended.unwrap_or_else(|panic| {
        let message = match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.as_str(),
            (_, Some(text)) => text,
            _ => "no message",
        };
        let first = message.lines().next().unwrap_or_default();
        Err(DbError::Damaged(format!("{doing} failed inside sled ({})", first.chars().take(120).collect::<String>())))
    })
}

/// Makes a call that may never return. Its thread is abandoned after [`PATIENCE`].
fn on_own_thread<T: Send + 'static>(
    doing: &'static str,
    call: impl FnOnce() -> Result<T, DbError> + Send + 'static,
) -> Result<T, DbError> {
    let (send, receive) = sync_channel(1);
    let thread = std::thread::Builder::new().name("kiln-store".to_owned()).spawn(move || {
        // The caller may have stopped waiting.
        let _ = send.send(guarded(doing, call));
    });
    if let Err(e) = thread {
        return Err(DbError::Io(format!("no thread can be started: {e}"), e.raw_os_error()));
    }
    match receive.recv_timeout(PATIENCE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            Err(DbError::Damaged(format!("{doing} did not end within {} s", PATIENCE.as_secs())))
        }
        Err(RecvTimeoutError::Disconnected) => Err(DbError::Damaged(format!("{doing} ended without an answer"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`a_panic_in_sled_is_an_error_and_prints_nothing`] searches for.
    const CAUGHT: &str = "this one is caught";
    const OTHERS: &str = "this one is somebody else's";

    #[test]
    #[ignore = "run by a_panic_in_sled_is_an_error_and_prints_nothing, as a process of its own"]
    fn child() {
        let inside = on_own_thread("reading it", || -> Result<(), DbError> { panic!("{CAUGHT}, in a thread") });
        assert!(matches!(inside, Err(DbError::Damaged(how)) if how.contains(CAUGHT)));
        let here = guarded("reading it", || -> Result<(), DbError> { panic!("{CAUGHT}") });
        assert!(matches!(here, Err(DbError::Damaged(how)) if how.contains(CAUGHT)));
        let sleds = std::thread::Builder::new().name("sled-io-1".to_owned()).spawn(|| panic!("{CAUGHT}")).unwrap();
        assert!(sleds.join().is_err());
        let others = std::thread::spawn(|| panic!("{OTHERS}"));
        assert!(others.join().is_err());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what reaches the terminal is seen from outside only")]
    fn a_panic_in_sled_is_an_error_and_prints_nothing() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::db::tests::child", "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(!text.contains(CAUGHT), "{text}");
        assert!(text.contains(OTHERS), "{text}");
    }
}
