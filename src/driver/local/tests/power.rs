//! Every step with a power cut before each of its calls: what was not synced is gone. Then the same step again.
//!
//! A model of the disk is kept beside the pool: each `fsync` of a file copies its content into the model, each `fsync` of a directory its
//! entries. What the model holds survives a cut. A cut is tried on three disks: the *strict* one holds nothing else; the *journalled*
//! one moves an entry between two directories in one piece; the *eager* one has written all directories, and no content, by itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::crash::{Case, cases, home, now, prepared, shape};
use super::*;
use crate::model::Suspension;

/// A directory's entries: inode and mode, by name.
type Entries = BTreeMap<String, (u64, u32)>;
/// Directories and files by their paths: the mode, and the content of files.
type Image = BTreeMap<PathBuf, (u32, Option<Arc<Vec<u8>>>)>;

#[derive(Default)]
struct Disk {
    root: PathBuf,
    strict: HashMap<u64, Entries>,
    journalled: HashMap<u64, Entries>,
    content: HashMap<u64, Arc<Vec<u8>>>,
    /// Renames of which no directory was synced yet: the two directories and names.
    moves: Vec<[(u64, String); 2]>,
    /// What a cut before each call so far would have left.
    cuts: Vec<Image>,
}

thread_local! {
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

fn inode(fd: BorrowedFd<'_>) -> u64 {
    rustix::fs::fstat(fd).unwrap().st_ino
}

fn entries_of(path: &Path) -> Entries {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let stat = entry.path().symlink_metadata().unwrap();
        (entry.file_name().into_string().unwrap(), (stat.ino(), stat.mode()))
    };
    fs::read_dir(path).unwrap().map(entry).collect()
}

fn is_dir(mode: u32) -> bool {
    rustix::fs::FileType::from_raw_mode(mode).is_dir()
}

/// Called before every call.
pub(in crate::driver::local) fn point() {
    DISK.with_borrow_mut(|disk| {
        if let Some(disk) = disk {
            let eager = disk.eager();
            let images = [disk.image(&disk.journalled), disk.image(&eager)];
            for image in images {
                if !disk.cuts.iter().rev().take(2).any(|cut| *cut == image) {
                    disk.cuts.push(image);
                }
            }
        }
    });
}

/// Called when a file or directory has been synced.
pub(in crate::driver::local) fn synced(fd: BorrowedFd<'_>) {
    DISK.with_borrow_mut(|disk| {
        let Some(disk) = disk else { return };
        let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let own = inode(fd);
        if !is_dir(rustix::fs::fstat(fd).unwrap().st_mode) {
            disk.content.insert(own, Arc::new(fs::read(path).unwrap()));
            return;
        }
        let now = entries_of(&path);
        disk.strict.insert(own, now.clone());
        let (with, others) =
            std::mem::take(&mut disk.moves).into_iter().partition(|m| m.iter().any(|(d, _)| *d == own));
        disk.moves = others;
        let current = disk.eager();
        for (dir, name) in Vec::from_iter(<Vec<[(u64, String); 2]>>::into_iter(with).flatten()) {
            let there = current.get(&dir).and_then(|entries| entries.get(&name)).copied();
            let entries = disk.journalled.entry(dir).or_default();
            match there {
                Some(entry) => drop(entries.insert(name, entry)),
                None => drop(entries.remove(&name)),
            }
        }
        disk.journalled.insert(own, now);
    });
}

/// Called before an entry is renamed.
pub(in crate::driver::local) fn renaming(from: (BorrowedFd<'_>, &str), to: (BorrowedFd<'_>, &str)) {
    DISK.with_borrow_mut(|disk| {
        if let Some(disk) = disk {
            disk.moves.push([from, to].map(|(dir, name)| (inode(dir), name.to_owned())));
        }
    });
}

impl Disk {
    /// A disk on which all of this directory is.
    fn of(root: &Path) -> Self {
        let mut disk = Self { root: root.to_owned(), ..Self::default() };
        disk.strict = disk.eager();
        disk.journalled = disk.strict.clone();
        let mut todo = vec![root.to_owned()];
        while let Some(dir) = todo.pop() {
            for (name, (ino, mode)) in entries_of(&dir) {
                let path = dir.join(name);
                if is_dir(mode) {
                    todo.push(path)
                } else {
                    drop(disk.content.insert(ino, Arc::new(fs::read(path).unwrap())))
                }
            }
        }
        disk
    }

    /// All directories as they are.
    fn eager(&self) -> HashMap<u64, Entries> {
        let mut all = HashMap::new();
        let mut todo = vec![self.root.clone()];
        while let Some(dir) = todo.pop() {
            let entries = entries_of(&dir);
            todo.extend(entries.iter().filter(|(_, (_, mode))| is_dir(*mode)).map(|(name, _)| dir.join(name)));
            all.insert(dir.metadata().unwrap().ino(), entries);
        }
        all
    }

    /// What there is after a cut on a disk with these directories.
    fn image(&self, dirs: &HashMap<u64, Entries>) -> Image {
        let mut image = Image::new();
        let mut todo = vec![(PathBuf::new(), self.root.metadata().unwrap().ino())];
        while let Some((path, ino)) = todo.pop() {
            for (name, (ino, mode)) in dirs.get(&ino).into_iter().flatten() {
                let path = path.join(with_stand_in(name, *ino));
                if is_dir(*mode) {
                    image.insert(path.clone(), (*mode, None));
                    todo.push((path, *ino));
                } else {
                    let content = self.content.get(ino).cloned().unwrap_or_default();
                    image.insert(path, (*mode, Some(content)));
                }
            }
        }
        image
    }
}

/// In images, stands for the identity of the directory itself at the end of a temporary name: a directory that is made again has another.
const SELF: &str = ".SELF";

/// Returns a name with [`SELF`] instead of the identities at its end, if one of them is that of this inode. A name that says that it is of
/// another directory stays as it is.
fn with_stand_in(name: &str, inode: u64) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let is_own = |id: &&str| id.split('-').next() == Some(&format!("{inode:x}"));
    match parts[..] {
        ["kiln-tmp", owner, of, uid, ref ids @ ..] if ids.iter().any(is_own) => {
            format!("kiln-tmp.{owner}.{of}.{uid}{SELF}")
        }
        _ => name.to_owned(),
    }
}

/// Puts an image into a directory.
fn make(image: &Image, at: &Path) {
    for (path, (mode, content)) in image {
        let path = at.join(path);
        match content {
            None => fs::create_dir(&path).unwrap(),
            Some(content) => fs::write(&path, content.as_slice()).unwrap(),
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777)).unwrap();
    }
    let home = fs::File::open(at).unwrap();
    for name in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        if let Some(plain) = name.strip_suffix(SELF) {
            let id = FileId::of(home.as_fd(), &name).unwrap();
            fs::rename(at.join(&name), at.join(format!("{plain}.{id}"))).unwrap();
        }
    }
}

/// Room and locks: what they hold means nothing.
fn of_meaning(image: Image) -> Image {
    let none = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name == "reserve" || name.starts_with("spare.") || name.ends_with(".lock")
    };
    image.into_iter().filter(|(path, _)| !none(path)).collect()
}

/// Does something below a directory beside a model of its disk.
fn modelled<T>(root: &Path, work: impl FnOnce() -> T) -> (T, Disk) {
    DISK.set(Some(Disk::of(root)));
    let done = work();
    (done, DISK.take().unwrap())
}

/// Does something below a directory, and returns what a cut before each of its calls leaves. At its end, all of it survives one.
fn recorded<T>(root: &Path, what: &str, work: impl FnOnce() -> T) -> (T, Vec<Image>) {
    let (done, disk) = modelled(root, work);
    let now = Disk::of(root);
    let (now, strict) = (of_meaning(now.image(&now.strict)), of_meaning(disk.image(&disk.strict)));
    let lost: Vec<_> =
        now.iter().filter(|(path, node)| strict.get(*path) != Some(node)).map(|(path, _)| path).collect();
    let back: Vec<_> = strict.keys().filter(|path| !now.contains_key(*path)).collect();
    assert!(lost.is_empty() && back.is_empty(), "{what}: it was said to be done, and a cut undoes {lost:?} {back:?}");
    (done, disk.cuts)
}

#[tokio::test]
async fn a_power_cut_undoes_no_step_and_any_cut_step_is_finished_by_doing_it_again() {
    let mut cuts = 0;
    // What is converted is synced by the same call as what is copied.
    for case in cases().into_iter().filter(|case| !case.what.contains("qcow2")) {
        let Case { what, step, .. } = &case;
        let bench = prepared(&case).await;
        let (done, images) = recorded(&bench.path, what, || now(&bench, step));
        assert_eq!(done, Ok(Outcome::Changed), "{what}");
        let wanted = shape(&bench);
        // A file that was taken over is known by its inode, which a copy of the disk does not keep.
        let copied = if step.native.is_reserved() { &images[..] } else { &[] };
        for (n, image) in copied.iter().enumerate() {
            let home = home();
            let path = home.path().join("pool");
            fs::create_dir(&path).unwrap();
            make(image, &path);
            let cut = Bench { driver: Local::connect(&path, false), path, _home: home };
            let again = now(&cut, step);
            assert!(again.is_ok(), "{what}, cut {n}: {again:?}\n{:#?}", image.keys());
            assert_eq!(shape(&cut), wanted, "{what}, cut {n}");
            cuts += 1;
        }
    }
    eprintln!("{cuts} cuts");
    assert!(cuts > 100, "{cuts}");
}

#[tokio::test]
async fn a_power_cut_leaves_the_ledger_before_or_the_one_after() {
    let bench = Bench::at(home()).await;
    let pool = LocalPool::open(&bench.path).ok().unwrap();
    let mut ledger = Ledger::new(bench.look().await.pool.unwrap(), owner(), "stack".to_owned());
    let mut cuts = 0;
    for serial in 1..=4 {
        let before = (serial > 1).then(|| LedgerView::Good(Arc::new(ledger.clone())));
        ledger.serial = serial;
        // The third finds no room, and is written over the reserve.
        if serial == 3 {
            super::fault::fail_once(super::fault::Call::Create, Errno::NOSPC);
        }
        let what = format!("ledger {serial}");
        let (done, images) = recorded(&bench.path, &what, || ledger::write(&pool, &ledger));
        done.unwrap();
        for (n, image) in images.iter().enumerate() {
            let home = home();
            make(image, home.path());
            let seen = Local::connect(home.path(), false).observe(&Scope::All { owner: owner() }).await.unwrap();
            let seen = seen.ledger;
            let after = Some(LedgerView::Good(Arc::new(ledger.clone())));
            assert!(seen == before || seen == after, "{what}, cut {n}: {seen:?}");
            cuts += 1;
        }
    }
    assert!(cuts > 20, "{cuts}");
    let (done, _) = recorded(&bench.path, "removing the ledger", || ledger::remove(&pool, &owner()));
    done.unwrap();
}

#[test]
fn a_power_cut_leaves_no_identity_or_the_one_that_was_given() {
    let home = home();
    let path = home.path().join("pool");
    let driver = Local::connect(&path, true);
    let (id, images) = recorded(home.path(), "founding", || driver.0.init_pool());
    let id = id.unwrap();
    for (n, image) in images.iter().enumerate() {
        let home = super::crash::home();
        make(image, home.path());
        let driver = Local::connect(&home.path().join("pool"), true);
        let again = driver.0.init_pool();
        assert!(again.is_ok(), "cut {n}: {again:?}");
    }
    assert_eq!(driver.0.init_pool(), Ok(id));
    assert!(images.len() > 5, "{}", images.len());
}

#[tokio::test]
async fn a_power_cut_undoes_no_suspension() {
    let bench = Bench::at(home()).await;
    let record = leftovers::suspension("the power may fail");
    let ended = Suspension { resumed: Some(NOW + 1), ..record.clone() };
    let after_cut = |image: &Image| {
        let home = home();
        make(image, home.path());
        let pool = LocalPool::open(home.path()).ok().unwrap();
        suspended::read(&pool, &owner(), &mut BTreeMap::new()).unwrap()
    };
    let pool = LocalPool::open(&bench.path).ok().unwrap();
    let (done, images) = recorded(&bench.path, "a suspension", || suspended::write(&pool, &record));
    done.unwrap();
    assert!(images.iter().all(|image| after_cut(image).len() <= 1));
    // What it ends may come back beside the end, which counts.
    let (done, disk) = modelled(&bench.path, || suspended::write(&pool, &ended));
    done.unwrap();
    for image in &disk.cuts {
        assert!(!after_cut(image).is_empty(), "neither the suspension nor its end is there");
    }
    assert!(after_cut(&disk.image(&disk.strict)).iter().any(|record| record.resumed.is_some()));
}
