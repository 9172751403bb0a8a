//! Resolves paths without blocking on a file system that does not respond.
//!
//! A call on an unresponsive file system (a server that is down, FUSE) may block forever, and cannot be cancelled. Paths are therefore
//! resolved by separate threads, by one if all goes well. A path that does not respond in time is unknown. Its thread is abandoned, and
//! the path is not tried again until that thread returns, so no second thread blocks on it and no caller waits for it twice.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};

/// Time to wait while no answer arrives. A disk that spins up, or a server that is up, usually takes less. Clients that ask for the state
/// of the daemon wait as long.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// Time without an answer after which another thread starts on the remaining paths, so that one unresponsive path does not use up the
/// limit of the others. Local file systems answer a thousand times faster.
const PATIENCE: Duration = Duration::from_millis(20);

/// Time limit for all paths together. A server on the network answers 10,000 times within it.
const WHOLE: Duration = Duration::from_secs(20);

/// Number of blocked threads at which no further one is started, and paths are unknown. No known host has as many dead mounts.
const MOST_OUT: usize = 128;

/// Stack size in bytes: a path has at most 4 KiB, and few are on the stack.
const STACK: usize = 256 << 10;

/// A path with all links resolved, or why it cannot be resolved.
pub(super) type Resolved = Result<PathBuf, String>;

/// Results by path. A path that is missing here did not respond.
pub(super) type Answers = HashMap<PathBuf, Resolved>;

/// Directories that one thread resolved.
type Directories = HashMap<PathBuf, Resolved>;

type PathQuestion = dyn Fn(&Path, &mut Directories) -> Resolved + Send + Sync;

/// Resolves paths on this host.
pub(super) struct Resolver {
    ask: Arc<PathQuestion>,
    limit: Duration,
    out: Arc<Out>,
}

/// The lanes with blocked threads, and the number of these. More than one thread only if several callers asked at the same time.
type Out = Mutex<HashMap<PathBuf, usize>>;

/// Paths that one thread resolves one after the other, because they are likely to block together.
struct PathLane {
    key: PathBuf,
    paths: Vec<PathBuf>,
}

/// The paths of one call of [`Resolver::resolve`].
struct PathBatch {
    work: Mutex<Work>,
    done: Condvar,
}

#[derive(Default)]
struct Work {
    waiting: VecDeque<PathLane>,
    /// The lanes that threads are working on.
    taken: Vec<PathBuf>,
    answers: Answers,
    /// Whether the caller has stopped waiting.
    over: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the resolver of this process, which all callers share so that blocked threads are counted together.
pub(super) fn host() -> &'static Resolver {
    static HOST: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(resolve_in_directory, LIMIT));
    &HOST
}

impl Resolver {
    pub(super) fn new(
        ask: impl Fn(&Path, &mut Directories) -> Resolved + Send + Sync + 'static,
        limit: Duration,
    ) -> Self {
        Self { ask: Arc::new(ask), limit, out: Arc::default() }
    }

    /// Resolves paths, each given with its lane. When one blocks, the remaining paths of its lane are not tried.
    pub(super) fn resolve<'p>(&self, paths: impl IntoIterator<Item = (&'p Path, &'p Path)>) -> Answers {
        let mut lanes: HashMap<&Path, Vec<&Path>> = HashMap::new();
        for (lane, path) in paths {
            lanes.entry(lane).or_default().push(path);
        }
        {
            let out = lock(&self.out);
            lanes.retain(|lane, _| !out.contains_key(*lane));
        }
        if lanes.is_empty() {
            return Answers::new();
        }
        let waiting = lanes.into_iter().map(|(key, mut paths)| {
            paths.sort_unstable();
            paths.dedup();
            PathLane { key: key.to_owned(), paths: paths.into_iter().map(Path::to_owned).collect() }
        });
        let work = Work { waiting: waiting.collect(), ..Work::default() };
        self.wait_for(&Arc::new(PathBatch { work: Mutex::new(work), done: Condvar::new() }))
    }

    /// Whether a thread is blocked in a lane.
    pub(super) fn is_out(&self, lane: &Path) -> bool {
        lock(&self.out).contains_key(lane)
    }

    fn wait_for(&self, batch: &Arc<PathBatch>) -> Answers {
        let began = Instant::now();
        let mut can_start = self.start(batch, 0);
        if !can_start {
            return Answers::new();
        }
        let (mut known, mut last) = (0, began);
        let mut work = lock(&batch.work);
        while !(work.waiting.is_empty() && work.taken.is_empty()) && began.elapsed() < WHOLE {
            if work.answers.len() > known {
                (known, last) = (work.answers.len(), Instant::now());
            } else if can_start && !work.waiting.is_empty() && last.elapsed() >= PATIENCE {
                let hanging = work.taken.len();
                drop(work);
                can_start = self.start(batch, hanging);
                last = Instant::now();
                work = lock(&batch.work);
                continue;
            } else if last.elapsed() >= self.limit {
                break;
            }
            work = batch.done.wait_timeout(work, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
        }
        work.over = true;
        work.waiting.clear();
        // The work is still locked: a thread that returns now finds itself in `out`.
        let mut out = lock(&self.out);
        for lane in &work.taken {
            *out.entry(lane.clone()).or_default() += 1;
        }
        std::mem::take(&mut work.answers)
    }

    /// Starts a thread in addition to `beside` blocked ones of this batch. Returns `false` if there are too many or no thread can be
    /// started.
    fn start(&self, batch: &Arc<PathBatch>, beside: usize) -> bool {
        if lock(&self.out).values().sum::<usize>() + beside >= MOST_OUT {
            return false;
        }
        let (ask, out, batch) = (Arc::clone(&self.ask), Arc::clone(&self.out), Arc::clone(batch));
        let named = thread::Builder::new().name("kiln-paths".to_owned()).stack_size(STACK);
        named.spawn(move || batch.run(&*ask, &out)).is_ok()
    }
}

impl PathBatch {
    fn run(&self, ask: &PathQuestion, out: &Out) {
        let mut directories = Directories::new();
        loop {
            let lane = {
                let mut work = lock(&self.work);
                let Some(lane) = work.waiting.pop_front() else { return };
                work.taken.push(lane.key.clone());
                lane
            };
            for path in lane.paths {
                let led = ask(&path, &mut directories);
                let mut work = lock(&self.work);
                if work.over {
                    break;
                }
                work.answers.insert(path, led);
            }
            self.return_lane(&lane.key, out);
        }
    }

    fn return_lane(&self, lane: &Path, out: &Out) {
        let mut work = lock(&self.work);
        if let Some(index) = work.taken.iter().position(|taken| taken == lane) {
            work.taken.swap_remove(index);
        }
        if work.over {
            let mut out = lock(out);
            if let Some(count) = out.get_mut(lane) {
                *count -= 1;
                if *count == 0 {
                    out.remove(lane);
                }
            }
        }
        if work.waiting.is_empty() && work.taken.is_empty() {
            self.done.notify_all();
        }
    }
}

/// Resolves a path like [`resolve_path`], but its directory only once for all paths in it.
fn resolve_in_directory(path: &Path, directories: &mut Directories) -> Resolved {
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        if !directories.contains_key(parent) {
            directories.insert(parent.to_owned(), resolve_path(parent));
        }
        if let Some(Ok(real)) = directories.get(parent) {
            let end = real.join(name);
            match fs::symlink_metadata(&end) {
                Ok(meta) if !meta.is_symlink() => return Ok(end),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(end),
                _ => {}
            }
        }
    }
    resolve_path(path)
}

/// Resolves all links of a path. Its last parts need not exist yet.
///
/// # Errors
/// A message: a dangling link, a directory that may not be searched, or a link of `/proc` whose target is not what its text says.
fn resolve_path(path: &Path) -> Resolved {
    let mut missing = Vec::new();
    let mut there = path;
    loop {
        match fs::canonicalize(there) {
            Ok(mut real) => {
                // A link in /proc may lead elsewhere than its text says: into the root directory of another process.
                let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
                match (fs::metadata(there), fs::metadata(&real)) {
                    (Ok(led), Ok(said)) if same(&led, &said) => {}
                    _ => return Err(format!("{} leads elsewhere than its text says", there.display())),
                }
                real.extend(missing.iter().rev());
                return Ok(real);
            }
            // A missing file would be created here; a dangling link would be followed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match (there.parent(), there.file_name()) {
                (Some(parent), Some(name)) if fs::symlink_metadata(there).is_err() => {
                    missing.push(name);
                    there = parent;
                }
                _ => return Err(format!("{} is a dangling link", there.display())),
            },
            Err(error) => return Err(format!("{}: {error}", there.display())),
        }
    }
}

/// A host with paths that do not respond until they are released.
#[cfg(test)]
pub(super) mod hanging {
    use super::*;

    /// The unresponsive paths, and the number of threads blocked at each.
    #[derive(Clone, Default)]
    pub(in super::super) struct Hanging(Arc<(Mutex<HashMap<PathBuf, usize>>, Condvar)>);

    impl Hanging {
        pub(in super::super) fn hang(&self, path: &Path) {
            lock(&self.0.0).insert(path.to_owned(), 0);
        }

        pub(in super::super) fn let_go(&self, path: &Path) {
            lock(&self.0.0).remove(path);
            self.0.1.notify_all();
        }

        pub(in super::super) fn threads(&self) -> usize {
            lock(&self.0.0).values().sum()
        }

        pub(in super::super) fn resolver(&self, limit: Duration) -> Resolver {
            let hanging = self.clone();
            Resolver::new(
                move |path, directories| {
                    let mut paths = lock(&hanging.0.0);
                    if let Some(count) = paths.get_mut(path) {
                        *count += 1;
                    }
                    while paths.contains_key(path) {
                        paths = hanging.0.1.wait(paths).unwrap();
                    }
                    drop(paths);
                    resolve_in_directory(path, directories)
                },
                limit,
            )
        }
    }

    /// Waits until no thread is blocked in the lane.
    pub(in super::super) fn wait_until_back(resolver: &Resolver, lane: &Path) {
        let began = Instant::now();
        while resolver.is_out(lane) {
            assert!(began.elapsed() < Duration::from_secs(60), "the thread does not return");
            thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::hanging::{Hanging, wait_until_back};
    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn a_hanging_path_blocks_one_thread_and_no_caller() {
        let hanging = Hanging::default();
        let (dead, good) = (Path::new("/kiln-dead"), Path::new("/"));
        hanging.hang(dead);
        let resolver = hanging.resolver(SHORT);
        for _ in 0..3 {
            let answers = resolver.resolve([(dead, dead), (good, good), (Path::new("/usr"), Path::new("/usr"))]);
            assert_eq!(answers.len(), 2, "{answers:?}");
            assert_eq!(answers[good], Ok(good.to_owned()));
            assert!(resolver.is_out(dead) && !resolver.is_out(good));
            assert_eq!(hanging.threads(), 1);
        }
        // No caller waits a second time: without another path no thread is started.
        assert!(resolver.resolve([(dead, dead)]).is_empty());
        hanging.let_go(dead);
        wait_until_back(&resolver, dead);
        assert_eq!(resolver.resolve([(dead, dead)])[dead], Ok(dead.to_owned()));
    }

    #[test]
    fn hanging_paths_are_awaited_together_and_those_of_one_lane_by_one_thread() {
        let hanging = Hanging::default();
        let dead: Vec<PathBuf> = (0..20).map(|n| format!("/kiln-dead-{n}").into()).collect();
        dead.iter().for_each(|path| hanging.hang(path));
        let resolver = hanging.resolver(SHORT);
        let lane = Path::new("/kiln-lane");
        assert!(resolver.resolve(dead.iter().map(|path| (lane, path.as_path()))).is_empty());
        assert_eq!(hanging.threads(), 1);
        let good = Path::new("/");
        let each = dead.iter().map(|path| (path.as_path(), path.as_path()));
        assert_eq!(resolver.resolve(each.chain([(good, good)])).len(), 1);
        // One more thread is blocked in the lane.
        assert_eq!(hanging.threads(), 21);
        dead.iter().for_each(|path| hanging.let_go(path));
        dead.iter().for_each(|path| wait_until_back(&resolver, path));
        wait_until_back(&resolver, lane);
        assert_eq!(resolver.resolve(dead.iter().map(|path| (lane, path.as_path()))).len(), 20);
    }

    #[test]
    fn the_number_of_blocked_threads_is_limited() {
        let hanging = Hanging::default();
        let dead: Vec<PathBuf> = (0..MOST_OUT + 50).map(|n| format!("/kiln-dead-{n}").into()).collect();
        dead.iter().for_each(|path| hanging.hang(path));
        let resolver = hanging.resolver(Duration::from_millis(50));
        for _ in 0..3 {
            assert!(resolver.resolve(dead.iter().map(|path| (path.as_path(), path.as_path()))).is_empty());
            assert_eq!(hanging.threads(), MOST_OUT);
        }
        dead.iter().for_each(|path| hanging.let_go(path));
    }

    #[test]
    fn paths_in_one_directory_resolve_as_each_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("real/deep")).unwrap();
        fs::write(at("real/file"), "").unwrap();
        for (link, to) in [("link", "real"), ("nowhere", "gone/x"), ("real/out", "/etc"), ("circle", "circle")] {
            std::os::unix::fs::symlink(to, at(link)).unwrap();
        }
        let mut directories = Directories::new();
        for path in [
            "link",
            "link/file",
            "link/deep/new",
            "link/deep",
            "link/out",
            "link/out/x",
            "link/file/x",
            "nowhere",
            "nowhere/x",
            "circle",
            "circle/x",
            "a/b/c",
            "real",
        ] {
            let path = at(path);
            assert_eq!(resolve_in_directory(&path, &mut directories), resolve_path(&path), "{path:?}");
        }
        for path in ["/", "/proc/self/root/etc", "/proc/self/fd/0", "/proc/self/environ"].map(Path::new) {
            assert_eq!(resolve_in_directory(path, &mut directories), resolve_path(path), "{path:?}");
        }
    }
}
