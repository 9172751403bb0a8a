//! Where paths lead, asked so that none of them can keep the asker.
//!
//! A file system that does not answer (a server that is away, FUSE) keeps whoever looks at a path on it, perhaps for good: such a call
//! has no time limit, and cannot be called off. So threads of their own look, one as long as all goes well; a path that does not
//! answer in time is not known for now. The thread that hangs is left to itself, and until it is back nothing is asked there again: no
//! further thread comes to hang, and nobody waits a second time.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};

/// So long is waited while no answer comes. A disk that was asleep, or a server that is there, takes less as a rule; and who asks for
/// the daemon's state waits as long.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// So long, and another thread takes on what is left: a path that hangs must not cost those after it their limit. Local file systems
/// answer a thousand times sooner.
const PATIENCE: Duration = Duration::from_millis(20);

/// For all paths together, should each of them answer just in time. A server on the network answers 10,000 times within it.
const WHOLE: Duration = Duration::from_secs(20);

/// Threads that hang at one time, after which none is started and no path is known: of hosts with so many dead mounts nobody has told.
const MOST_OUT: usize = 128;

/// Bytes of stack: a path has at most 4 KiB, and a few of them are on it.
const STACK: usize = 256 << 10;

/// Where a path leads, with no link left in it; or why that cannot be said.
pub(super) type Led = Result<PathBuf, String>;

/// What was found out in one go, by path. What is not among it did not answer.
pub(super) type Answers = HashMap<PathBuf, Led>;

/// The directories that were followed in one go.
type Directories = HashMap<PathBuf, Led>;

type PathQuestion = dyn Fn(&Path, &mut Directories) -> Led + Send + Sync;

/// Asks the host.
pub(super) struct Resolver {
    ask: Arc<PathQuestion>,
    limit: Duration,
    out: Arc<Out>,
}

/// The lanes in which a thread hangs, with how many do. More than one only where several asked at the same moment.
type Out = Mutex<HashMap<PathBuf, usize>>;

/// Paths that hang together, if they do: by one thread, one after the other.
struct Lane {
    key: PathBuf,
    paths: Vec<PathBuf>,
}

/// What is asked in one go.
struct Batch {
    work: Mutex<Work>,
    done: Condvar,
}

#[derive(Default)]
struct Work {
    waiting: VecDeque<Lane>,
    /// Of those that a thread is at.
    taken: Vec<PathBuf>,
    answers: Answers,
    /// Nobody waits any longer.
    over: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one of this process: threads that hang are its own, whoever had asked.
pub(super) fn host() -> &'static Resolver {
    static HOST: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(follow_beside, LIMIT));
    &HOST
}

impl Resolver {
    pub(super) fn new(ask: impl Fn(&Path, &mut Directories) -> Led + Send + Sync + 'static, limit: Duration) -> Self {
        Self { ask: Arc::new(ask), limit, out: Arc::default() }
    }

    /// Follows paths, each with the lane that it is in: where one of them hangs, the others of it are not asked.
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
            Lane { key: key.to_owned(), paths: paths.into_iter().map(Path::to_owned).collect() }
        });
        let work = Work { waiting: waiting.collect(), ..Work::default() };
        self.wait_for(&Arc::new(Batch { work: Mutex::new(work), done: Condvar::new() }))
    }

    /// Whether a thread still hangs there.
    pub(super) fn is_out(&self, lane: &Path) -> bool {
        lock(&self.out).contains_key(lane)
    }

    fn wait_for(&self, batch: &Arc<Batch>) -> Answers {
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
        // While the work is locked: a thread that comes back now finds itself among them.
        let mut out = lock(&self.out);
        for lane in &work.taken {
            *out.entry(lane.clone()).or_default() += 1;
        }
        std::mem::take(&mut work.answers)
    }

    /// Starts a thread beside so many of this batch. `false` if there may be no more, or the host gives none: then what is left is not
    /// known.
    fn start(&self, batch: &Arc<Batch>, beside: usize) -> bool {
        if lock(&self.out).values().sum::<usize>() + beside >= MOST_OUT {
            return false;
        }
        let (ask, out, batch) = (Arc::clone(&self.ask), Arc::clone(&self.out), Arc::clone(batch));
        let named = thread::Builder::new().name("kiln-paths".to_owned()).stack_size(STACK);
        named.spawn(move || batch.run(&*ask, &out)).is_ok()
    }
}

impl Batch {
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
            self.bring_back(&lane.key, out);
        }
    }

    fn bring_back(&self, lane: &Path, out: &Out) {
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

/// As [`follow`], with the directory of the path followed once for all that is in it.
fn follow_beside(path: &Path, directories: &mut Directories) -> Led {
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        if !directories.contains_key(parent) {
            directories.insert(parent.to_owned(), follow(parent));
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
    follow(path)
}

/// Where a path leads, of which the end need not be there yet. No link is left in the answer.
///
/// # Errors
/// Why that cannot be said, in words: a link that leads nowhere, a directory that may not be looked into, a link of `/proc` to what
/// its text does not say.
fn follow(path: &Path) -> Led {
    let mut missing = Vec::new();
    let mut there = path;
    loop {
        match fs::canonicalize(there) {
            Ok(mut real) => {
                // Links in /proc lead elsewhere than their text says: into what another process sees as its root.
                let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
                match (fs::metadata(there), fs::metadata(&real)) {
                    (Ok(led), Ok(said)) if same(&led, &said) => {}
                    _ => return Err(format!("{} is not what it says", there.display())),
                }
                real.extend(missing.iter().rev());
                return Ok(real);
            }
            // What is not there is made there, and nowhere else; a link would be followed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match (there.parent(), there.file_name()) {
                (Some(parent), Some(name)) if fs::symlink_metadata(there).is_err() => {
                    missing.push(name);
                    there = parent;
                }
                _ => return Err(format!("{} is a link that leads nowhere", there.display())),
            },
            Err(error) => return Err(format!("{}: {error}", there.display())),
        }
    }
}

/// A host some of whose paths do not answer until they are let go.
#[cfg(test)]
pub(super) mod hanging {
    use super::*;

    /// Paths that hang, and how many threads hang there now.
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
                    follow_beside(path, directories)
                },
                limit,
            )
        }
    }

    /// Waits until no thread hangs there.
    pub(in super::super) fn wait_until_back(resolver: &Resolver, lane: &Path) {
        let began = Instant::now();
        while resolver.is_out(lane) {
            assert!(began.elapsed() < Duration::from_secs(60), "it does not come back");
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
    fn a_path_that_hangs_keeps_one_thread_and_nobody_else() {
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
        // Nobody waits a second time: with nothing else to ask, no thread is even started.
        assert!(resolver.resolve([(dead, dead)]).is_empty());
        hanging.let_go(dead);
        wait_until_back(&resolver, dead);
        assert_eq!(resolver.resolve([(dead, dead)])[dead], Ok(dead.to_owned()));
    }

    #[test]
    fn many_that_hang_are_waited_for_at_once_and_those_of_one_lane_by_one_thread() {
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
        // The lane as well hangs at one of them.
        assert_eq!(hanging.threads(), 21);
        dead.iter().for_each(|path| hanging.let_go(path));
        dead.iter().for_each(|path| wait_until_back(&resolver, path));
        wait_until_back(&resolver, lane);
        assert_eq!(resolver.resolve(dead.iter().map(|path| (lane, path.as_path()))).len(), 20);
    }

    #[test]
    fn so_many_threads_hang_and_no_more() {
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
    fn beside_one_another_paths_are_followed_as_they_are_alone() {
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
            assert_eq!(follow_beside(&path, &mut directories), follow(&path), "{path:?}");
        }
        for path in ["/", "/proc/self/root/etc", "/proc/self/fd/0", "/proc/self/environ"].map(Path::new) {
            assert_eq!(follow_beside(path, &mut directories), follow(path), "{path:?}");
        }
    }
}
