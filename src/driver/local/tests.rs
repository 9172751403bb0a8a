//! What is particular to this driver; what every driver must do is in the conformance suite.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::file_id::FileId;
use super::pool::LocalPool;
use super::*;
use crate::driver::{Driver, PoolMetadata, StepContext};
use crate::model::fixtures::{identity, owner, volume};
use crate::model::{
    Access, Action, Address, Clients, DriverError, ErrorKind, Expect, Identity, Kind, Ledger, LedgerView, NativeName,
    Object, ObjectRef, Observed, Origin, Outcome, Place, Provisioning, Reason, Scope, Seconds, Size, Step, Tags,
    VolumeSettings,
};

mod confined;
pub(super) mod crash;
mod disturbed;
pub(super) mod fault;
mod instants;
mod leftovers;
pub(super) mod locks;
mod marks;
pub(super) mod power;
mod unseen;
mod whole_pool;

const MIB: u64 = 1 << 20;
const NOW: u64 = 1_000_000;

/// A pool in a directory of its own, marked. The file system under test is that of the directory for temporary files.
struct Bench {
    driver: Local,
    path: PathBuf,
    _home: tempfile::TempDir,
}

fn step_on(identity: Identity, native: NativeName, action: Action, expect: Expect) -> Step {
    Step { expect, native, ..Step::new("b".parse::<crate::model::Name>().unwrap(), identity, action, Reason::NotThere) }
}

fn step(identity: Identity, action: Action) -> Step {
    let native = identity.native();
    let place = match action {
        Action::Create { .. } | Action::Snapshot { .. } => None,
        Action::Undelete { .. } | Action::Purge => Some(Place::Trash),
        _ => Some(Place::Live),
    };
    step_on(identity, native, action, Expect { place, ..Expect::default() })
}

fn create(size: u64) -> Action {
    create_with(size, None, Tags::default())
}

fn create_with(size: u64, origin: Option<Origin>, tags: Tags) -> Action {
    Action::Create {
        size: Size(size),
        provisioning: Provisioning::Thin,
        origin,
        tags,
        settings: VolumeSettings::default(),
        n: 0,
    }
}

fn labelled(value: &str) -> Tags {
    Tags { labels: [("l".to_owned(), value.to_owned())].into(), ..Tags::default() }
}

fn reference(identity: &Identity, size: u64) -> ObjectRef {
    ObjectRef::new(identity.native(), identity.uid, Size(size))
}

fn snapshot_of(name: &str, size: u64) -> Action {
    let tags = Tags { volume: Some(volume(name).uid), ..Tags::default() };
    Action::Snapshot { volume: reference(&volume(name), size), tags, n: 0 }
}

impl Bench {
    async fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap()).await
    }

    async fn at(home: tempfile::TempDir) -> Self {
        let path = home.path().join("pool");
        let driver = Local::connect(&path, true);
        driver.init_pool().await.unwrap();
        Self { driver, path, _home: home }
    }

    async fn run(&self, step: &Step) -> Result<Outcome, DriverError> {
        self.driver.execute(step, &StepContext::at(NOW)).await
    }

    /// Makes the step, and once more: the second time nothing is left to do.
    async fn twice(&self, step: &Step) {
        assert_eq!(self.run(step).await, Ok(Outcome::Changed), "{:?}", step.action);
        let before = self.tree();
        assert_eq!(self.run(step).await, Ok(Outcome::Unchanged), "again: {:?}", step.action);
        assert_eq!(self.tree(), before);
    }

    async fn refused(&self, step: &Step, kind: ErrorKind) -> String {
        let before = self.tree();
        let error = self.run(step).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (kind, crate::model::Effect::No), "{error}");
        assert_eq!(self.tree(), before, "a refused step touched something");
        error.message
    }

    async fn look(&self) -> Observed {
        self.driver.observe(&Scope::All { owner: owner() }).await.unwrap()
    }

    async fn objects(&self) -> Vec<Object> {
        let seen = self.look().await;
        assert_eq!((seen.listed, seen.gaps.clone()), (crate::model::Listed::COMPLETE, Vec::new()));
        seen.objects
    }

    async fn only(&self) -> Object {
        let objects = self.objects().await;
        assert_eq!(objects.len(), 1, "{objects:#?}");
        objects.into_iter().next().unwrap()
    }

    fn dir(&self, identity: &Identity) -> PathBuf {
        self.path.join(identity.native().as_str())
    }

    fn image(&self, identity: &Identity) -> PathBuf {
        self.dir(identity).join(format!("{}.img", identity.native()))
    }

    fn trashed(&self, native: &str) -> PathBuf {
        self.path.join(".trash").join(native)
    }

    fn temporary(&self, id: &Identity) -> PathBuf {
        self.path.join(id.temporary().as_str())
    }

    /// Where the directory of a live object goes when it is removed.
    fn removed(&self, id: &Identity) -> PathBuf {
        let pool = LocalPool::open(&self.path).ok().unwrap();
        let own = FileId::of(pool.root(), id.native().as_str()).unwrap();
        self.path.join(format!("{}.{own}", id.temporary()))
    }

    /// The temporary names in the pool.
    fn temporaries(&self) -> Vec<NativeName> {
        let names = fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("kiln-tmp.")).map(NativeName::new).collect()
    }

    /// Everything in the pool but locks: paths, types, modes, and the content of files.
    fn tree(&self) -> Vec<(PathBuf, u32, Vec<u8>)> {
        fn walk(at: &Path, into: &mut Vec<(PathBuf, u32, Vec<u8>)>) {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                let meta = path.symlink_metadata().unwrap();
                let content = if meta.is_file() {
                    let bytes = fs::read(&path).unwrap();
                    blake3::hash(&bytes).as_bytes().iter().copied().chain(meta.len().to_le_bytes()).collect()
                } else {
                    Vec::new()
                };
                into.push((path.clone(), meta.mode(), content));
                if meta.is_dir() {
                    walk(&path, into);
                }
            }
        }
        let mut tree = Vec::new();
        walk(&self.path, &mut tree);
        tree.retain(|(path, ..)| path.extension().is_none_or(|e| e != "lock"));
        tree.sort();
        tree
    }

    async fn volume(&self, name: &str, size: u64) -> Identity {
        assert_eq!(self.run(&step(volume(name), create(size))).await, Ok(Outcome::Changed));
        volume(name)
    }
}

fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

fn read_at(path: &Path, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fs::File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

#[tokio::test]
async fn files_are_for_their_user_alone_and_nothing_is_left_of_them() {
    let bench = Bench::new().await;
    let db = volume("db");
    bench.twice(&step(db.clone(), create_with(MIB, None, labelled("a")))).await;
    assert_eq!(bench.image(&db).metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(bench.dir(&db).metadata().unwrap().mode() & 0o777, 0o700);
    bench.twice(&step(db.clone(), Action::SetTags { tags: Tags::default() })).await;
    assert!(!bench.dir(&db).join("tags.json").exists(), "plain tags need no file");
    bench.twice(&step(db.clone(), Action::Trash { ttl: Seconds(60), with: Vec::new() })).await;
    assert_eq!(bench.only().await.tags.expires, Some(NOW + 60));
    bench.twice(&step(db, Action::Purge)).await;
    let left = bench.tree().into_iter().map(|(path, ..)| path).collect::<Vec<_>>();
    assert_eq!(left, [".kiln-pool", ".kiln-pool/id", ".trash"].map(|p| bench.path.join(p)));
}

#[tokio::test]
async fn a_name_of_the_manifests_choice_is_known_by_its_tags() {
    let bench = Bench::new().await;
    let db = volume("db");
    let at = |native: &str, action, place| {
        let expect = Expect { place, ..Expect::default() };
        step_on(db.clone(), NativeName::new(native), action, expect)
    };
    bench.twice(&at("disk-7", create(MIB), None)).await;
    let seen = bench.only().await;
    assert_eq!((seen.native.as_str(), seen.identity), ("disk-7", Some(db.clone())));
    bench.twice(&at("disk-7", Action::SetTags { tags: labelled("x") }, Some(Place::Live))).await;
    assert_eq!(bench.only().await.identity, Some(db.clone()), "replacing the tags keeps whose it is");
    bench.twice(&at("disk-7", Action::Trash { ttl: Seconds(5), with: Vec::new() }, Some(Place::Live))).await;
    bench.twice(&at("disk-7", Action::Undelete { tags: labelled("x"), with: Vec::new() }, Some(Place::Trash))).await;
    let rename = Action::Rename { from: NativeName::new("disk-7"), tags: labelled("x") };
    bench.twice(&at("disk-8", rename, Some(Place::Live))).await;
    assert_eq!(bench.only().await.native.as_str(), "disk-8");
    let rename = Action::Rename { from: NativeName::new("disk-8"), tags: labelled("x") };
    bench.twice(&step(db.clone(), rename)).await;
    assert_eq!(bench.only().await.native, db.native());
    for bad in ["../x", ".", "..", "", ".trash", ".kiln-pool", "a/b", "a\0b", &"x".repeat(241)] {
        bench.refused(&at(bad, create(MIB), None), ErrorKind::Permanent).await;
    }
}

#[tokio::test]
async fn an_adopted_file_stays_where_it_is_and_comes_back_there() {
    let bench = Bench::new().await;
    let db = volume("db");
    let file = bench.path.join("old.img");
    fs::write(&file, vec![7; 10_000]).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let seen = bench.only().await;
    assert_eq!((seen.native.as_str(), seen.identity, seen.size), ("old.img", None, Size(10_000)));
    let at = |action, place| {
        let expect = Expect { place: Some(place), ..Expect::default() };
        step_on(db.clone(), NativeName::new("old.img"), action, expect)
    };
    bench.twice(&at(Action::Adopt { tags: labelled("a"), n: 0 }, Place::Live)).await;
    let seen = bench.only().await;
    assert_eq!(bench.driver.access(&seen.address()), Access::File(file.clone()));
    assert_eq!((seen.identity, seen.tags.adopted, seen.size), (Some(db.clone()), true, Size(10_000)));
    bench.twice(&at(Action::SetTags { tags: labelled("b") }, Place::Live)).await;
    bench.twice(&at(Action::Grow { to: Size(20_480) }, Place::Live)).await;

    let snap = identity(Kind::Snapshot, "s");
    let of = ObjectRef::new(NativeName::new("old.img"), db.uid, Size(20_480));
    bench
        .twice(&step(
            snap.clone(),
            Action::Snapshot { volume: of, tags: Tags { volume: Some(db.uid), ..Tags::default() }, n: 0 },
        ))
        .await;
    write_at(&file, 0, b"changed");
    let restore = Action::Restore { snapshot: reference(&snap, 20_480), request: "r".into() };
    bench.twice(&at(restore, Place::Live)).await;
    assert_eq!(read_at(&file, 0, 3), [7, 7, 7]);
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o640, "its permissions are unchanged");
    bench.twice(&step(snap, Action::Destroy)).await;

    bench.twice(&at(Action::Trash { ttl: Seconds(9), with: Vec::new() }, Place::Live)).await;
    let seen = bench.only().await;
    assert_eq!((seen.place, seen.identity, seen.tags.expires), (Place::Trash, Some(db.clone()), Some(NOW + 9)));
    assert!(!file.exists());
    bench.twice(&at(Action::Undelete { tags: labelled("c"), with: Vec::new() }, Place::Trash)).await;
    assert_eq!((&bench.only().await.tags.labels, file.exists()), (&labelled("c").labels, true));
    bench.twice(&at(Action::Destroy, Place::Live)).await;
    assert_eq!(bench.objects().await, Vec::new());

    // Another file that later has this name has no owner.
    fs::write(&file, b"new").unwrap();
    assert_eq!(bench.only().await.identity, None);
}

#[tokio::test]
async fn only_a_plain_file_with_one_name_is_adopted() {
    let bench = Bench::new().await;
    let adopt = |native: &str| {
        let expect = Expect { place: Some(Place::Live), ..Expect::default() };
        step_on(volume("db"), NativeName::new(native), Action::Adopt { tags: Tags::default(), n: 0 }, expect)
    };
    fs::write(bench.path.join("target"), b"x").unwrap();
    symlink("target", bench.path.join("link")).unwrap();
    fs::create_dir(bench.path.join("dir")).unwrap();
    fs::write(bench.path.join("two"), b"x").unwrap();
    fs::hard_link(bench.path.join("two"), bench.path.join("names")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.path.join("fifo"), Mode::RUSR).unwrap();
    for native in ["link", "dir", "two", "fifo", "not-there"] {
        bench.refused(&adopt(native), ErrorKind::Conflict).await;
    }
    // It is seen before it is tried.
    let seen = bench.objects().await;
    let why = |native: &str| seen.iter().find(|o| o.native.as_str() == native).unwrap().conflict.clone();
    for (native, word) in [
        ("link", "a symbolic link and not a regular file"),
        ("dir", "a directory and not a regular file"),
        ("fifo", "a FIFO and not a regular file"),
        ("two", "hard links"),
        ("names", "hard links"),
    ] {
        assert!(why(native).unwrap().contains(word), "{native}: {:?}", why(native));
    }
    assert_eq!(why("target"), None);
    let other = step_on(volume("other"), NativeName::new("target"), adopt("target").action, Expect::default());
    assert_eq!(bench.run(&other).await, Ok(Outcome::Changed));
    bench.refused(&adopt("target"), ErrorKind::Conflict).await;
}

#[tokio::test]
async fn links_are_never_followed() {
    let bench = Bench::new().await;
    let outside = tempfile::tempdir().unwrap();
    let db = volume("db");
    let victim = outside.path().join(format!("{}.img", db.native()));
    fs::write(&victim, vec![1; 8192]).unwrap();

    // In the place of the object's directory.
    symlink(outside.path(), bench.dir(&db)).unwrap();
    assert!(bench.only().await.conflict.unwrap().contains("symbolic link"));
    for action in [
        create(MIB),
        Action::Destroy,
        Action::Grow { to: Size(MIB) },
        Action::Trash { ttl: Seconds(1), with: Vec::new() },
    ] {
        bench.refused(&step(db.clone(), action), ErrorKind::Conflict).await;
    }
    fs::remove_file(bench.dir(&db)).unwrap();
    // In the place of its data.
    fs::create_dir(bench.dir(&db)).unwrap();
    symlink(&victim, bench.image(&db)).unwrap();
    assert!(bench.only().await.conflict.unwrap().contains("symbolic link"));
    bench.refused(&step(db.clone(), Action::Grow { to: Size(MIB) }), ErrorKind::Conflict).await;
    fs::remove_dir_all(bench.dir(&db)).unwrap();
    // In the place of what is being made, of the trash, and of the mark.
    symlink(outside.path(), bench.temporary(&db)).unwrap();
    bench.refused(&step(db.clone(), create(MIB)), ErrorKind::Conflict).await;
    fs::remove_file(bench.temporary(&db)).unwrap();
    bench.volume("db", MIB).await;
    fs::remove_dir(bench.path.join(".trash")).unwrap();
    symlink(outside.path(), bench.path.join(".trash")).unwrap();
    bench.refused(&step(db.clone(), Action::Trash { ttl: Seconds(1), with: Vec::new() }), ErrorKind::Conflict).await;
    let seen = bench.look().await;
    assert!(!seen.listed.trash && seen.listed.volumes, "{:?}", seen.gaps);
    fs::remove_file(bench.path.join(".trash")).unwrap();
    fs::rename(bench.path.join(".kiln-pool"), outside.path().join("mark")).unwrap();
    symlink(outside.path().join("mark"), bench.path.join(".kiln-pool")).unwrap();
    let error = bench.driver.observe(&Scope::All { owner: owner() }).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    bench.refused(&step(db.clone(), Action::Destroy), ErrorKind::Unreachable).await;
    assert_eq!(fs::read(&victim).unwrap(), vec![1; 8192]);
}

#[tokio::test]
async fn who_has_an_object_open_for_writing_is_named() {
    let bench = Bench::new().await;
    let db = bench.volume("db", MIB).await;
    let snap = identity(Kind::Snapshot, "s");
    assert_eq!(bench.run(&step(snap.clone(), snapshot_of("db", MIB))).await, Ok(Outcome::Changed));
    let scope = Scope::Objects(vec![Address::flat(&db.native()), Address::flat(&NativeName::new("nothing"))]);
    let clients = async || bench.driver.observe(&scope).await.unwrap().objects.remove(0).clients;
    assert_eq!(clients().await, Clients::None);

    let writer = fs::OpenOptions::new().write(true).open(bench.image(&db)).unwrap();
    let me = format!("pid {}", std::process::id());
    assert!(matches!(clients().await, Clients::Some(list) if list[0].starts_with(&me)));
    let restore = Action::Restore { snapshot: reference(&snap, MIB), request: "r".into() };
    for action in [Action::Trash { ttl: Seconds(1), with: Vec::new() }, restore.clone(), Action::Destroy] {
        let message = bench.refused(&step(db.clone(), action), ErrorKind::Busy).await;
        assert!(message.contains(&me), "{message}");
    }
    drop(writer);

    // A reader blocks no writer.
    let _reader = fs::File::open(bench.image(&db)).unwrap();
    assert_eq!(clients().await, Clients::None);
    bench.twice(&step(db.clone(), restore)).await;
    bench.twice(&step(db.clone(), Action::Trash { ttl: Seconds(1), with: Vec::new() })).await;
}

/// On a file system without reflink: opening the source while it is copied must neither tear the copy nor hang the opener.
#[tokio::test]
async fn a_writer_who_comes_during_a_copy_ends_it() {
    let bench = Bench::new().await;
    if bench.driver.capabilities().copies_open_volumes() {
        return;
    }
    let db = bench.volume("db", 64 * MIB).await;
    write_at(&bench.image(&db), 0, &vec![5; 64 << 20]);
    let image = bench.image(&db);
    let opened = Arc::new(Mutex::new(None));
    let thread = Arc::new(Mutex::new(None));
    let (to_open, to_join) = (opened.clone(), thread.clone());
    let context = StepContext {
        now: NOW,
        // At the first word of progress someone opens the source, and waits for the lease to be given back.
        progress: Arc::new(move |_, _| {
            to_join.lock().unwrap().get_or_insert_with(|| {
                let (image, opened) = (image.clone(), to_open.clone());
                let (started, wait) = std::sync::mpsc::channel();
                let thread = std::thread::spawn(move || {
                    // Nonblocking, so that it answers at once that a lease is in the way, and has begun to break it.
                    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                    let answer = rustix::fs::open(&image, flags, Mode::empty());
                    started.send(()).unwrap();
                    *opened.lock().unwrap() = Some(answer.err());
                });
                wait.recv().unwrap();
                thread
            });
        }),
    };
    let snapshot = step(identity(Kind::Snapshot, "s"), snapshot_of("db", 64 * MIB));
    let error = bench.driver.execute(&snapshot, &context).await.unwrap_err();
    let writer = thread.lock().unwrap().take().unwrap();
    writer.join().unwrap();
    assert_eq!((error.kind, error.effect), (ErrorKind::Busy, crate::model::Effect::No), "{error}");
    assert_eq!(*opened.lock().unwrap(), Some(Some(Errno::AGAIN)), "the lease was in the way");
    assert_eq!(bench.only().await.identity, Some(db), "nothing is left of the copy");
    fs::OpenOptions::new().write(true).open(bench.image(&volume("db"))).unwrap();
    assert_eq!(bench.run(&snapshot).await, Ok(Outcome::Changed), "and afterwards it can be made");
}

#[tokio::test]
async fn a_copy_keeps_holes_and_content() {
    let bench = Bench::new().await;
    let size = 64 * MIB;
    let db = bench.volume("db", size).await;
    let places = [0, 4096, 10 * MIB, 33 * MIB + 4096, size - 4096];
    for (n, place) in places.into_iter().enumerate() {
        write_at(&bench.image(&db), place, &[n as u8 + 1; 4096]);
    }
    let snap = identity(Kind::Snapshot, "s");
    assert_eq!(bench.run(&step(snap.clone(), snapshot_of("db", size))).await, Ok(Outcome::Changed));
    assert_eq!(fs::read(bench.image(&snap)).unwrap(), fs::read(bench.image(&db)).unwrap());
    assert!(bench.image(&snap).metadata().unwrap().blocks() * 512 < MIB, "holes were filled");
    assert_eq!(bench.image(&snap).metadata().unwrap().mode() & 0o777, 0o400);
    let seen = bench.objects().await.into_iter().find(|o| o.native == snap.native()).unwrap();
    assert!(seen.used.unwrap() < MIB);
}

#[test]
fn the_progress_of_a_copy_counts_data_and_no_holes() {
    let home = tempfile::tempdir().unwrap();
    let (source, target) = (home.path().join("a"), home.path().join("b"));
    let from = fs::File::create_new(&source).unwrap();
    from.set_len(64 * MIB).unwrap();
    for place in [0, 40 * MIB] {
        write_at(&source, place, &[1; 4096]);
    }
    // A copy of a file that is open for writing is refused.
    drop(from);
    let into: OwnedFd = fs::File::create_new(&target).unwrap().into();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let progress = Arc::new(move |done, total| tell.lock().unwrap().push((done, total)));
    let work = content::CopyWork { now: 0, progress, abandoned: Arc::default() };
    let from: OwnedFd = fs::File::open(&source).unwrap().into();
    content::fill(&into, &from, 64 * MIB, false, "x", &work).unwrap();
    let told = told.lock().unwrap();
    // Where blocks are shared nothing is copied; file systems have blocks of at most 64 KiB.
    assert!(told.iter().all(|(done, total)| done <= total && *total <= 2 * 65_536), "{told:?}");
    assert!(told.last().is_some_and(|(done, total)| done == total), "{told:?}");
}

#[tokio::test]
async fn copying_in_user_space_equals_copying_in_the_kernel() {
    // /dev/shm and the like do not take part: the function is asked directly, with a source that the kernel cannot copy from.
    let home = tempfile::tempdir().unwrap();
    let (source, target) = (home.path().join("a"), home.path().join("b"));
    let content: Vec<u8> = (0..3 * MIB).map(|n| (n * 7 % 251) as u8).collect();
    fs::write(&source, &content).unwrap();
    let into: OwnedFd = fs::OpenOptions::new().create(true).append(true).read(true).open(&target).unwrap().into();
    let from: OwnedFd = fs::File::open(&source).unwrap().into();
    let work = content::CopyWork { now: 0, progress: Arc::new(|_, _| ()), abandoned: Arc::default() };
    // An append-only descriptor makes copy_file_range answer EBADF, which is not one of the ways of saying "by hand".
    let refused = content::fill(&into, &from, 3 * MIB, false, "x", &work);
    assert!(refused.is_err());
    let plain: OwnedFd = fs::OpenOptions::new().write(true).read(true).open(&target).unwrap().into();
    let mut at = 0;
    while let Some(n) = content::copy_by_hand(&plain, &from, at, 1 << 30).unwrap() {
        at += n;
    }
    assert_eq!(fs::read(&target).unwrap(), content);
}

#[tokio::test]
async fn damaged_and_contradicting_tags_are_conflicts_and_nothing_is_touched() {
    let bench = Bench::new().await;
    let db = bench.volume("db", MIB).await;
    let tags = bench.dir(&db).join("tags.json");
    let other = serde_json::to_string(&identity(Kind::Volume, "other")).unwrap();
    let contradiction = format!(r#"{{"format":1,"tags":{{"identity":{other}}}}}"#);
    for bad in ["", "{", r#"{"format":2,"tags":{}}"#, r#"{"format":1,"tags":{"unknown":1}}"#, &contradiction] {
        fs::write(&tags, bad).unwrap();
        let seen = bench.only().await;
        assert!(seen.conflict.is_some() && seen.identity == Some(db.clone()), "{bad}");
        for action in [Action::SetTags { tags: Tags::default() }, Action::Destroy, create(MIB)] {
            bench.refused(&step(db.clone(), action), ErrorKind::Conflict).await;
        }
    }
    fs::remove_file(&tags).unwrap();
    symlink("/etc/hostname", &tags).unwrap();
    assert!(bench.only().await.conflict.is_some());
    fs::remove_file(&tags).unwrap();
    fs::remove_file(bench.image(&db)).unwrap();
    fs::create_dir(bench.image(&db)).unwrap();
    assert!(bench.only().await.conflict.unwrap().contains("is a directory"));
    fs::remove_dir(bench.image(&db)).unwrap();
    fs::write(bench.image(&db), b"").unwrap();
    fs::write(bench.dir(&db).join("second.img"), b"").unwrap();
    assert!(bench.only().await.conflict.unwrap().contains("several"));
}

#[tokio::test]
async fn an_object_with_a_file_of_somebody_else_is_not_removed() {
    let bench = Bench::new().await;
    let db = bench.volume("db", MIB).await;
    fs::write(bench.dir(&db).join("notes.txt"), b"mine").unwrap();
    let restore = Action::Restore { snapshot: reference(&db, MIB), request: "r".into() };
    for action in [Action::Destroy, restore] {
        let message = bench.refused(&step(db.clone(), action), ErrorKind::Conflict).await;
        assert!(message.contains("notes.txt"), "{message}");
    }
}

#[tokio::test]
async fn thin_volumes_have_any_length() {
    let bench = Bench::new().await;
    let huge = bench.driver.capabilities().max_size;
    assert_eq!(bench.run(&step(volume("h"), create(huge))).await, Ok(Outcome::Changed));
    assert_eq!(read_at(&bench.image(&volume("h")), huge - 1, 1), [0]);
}

fn thick(size: u64) -> Action {
    let tags = Tags { provisioning: Some(Provisioning::Thick), ..Tags::default() };
    Action::Create {
        size: Size(size),
        provisioning: Provisioning::Thick,
        origin: None,
        tags,
        settings: VolumeSettings::default(),
        n: 0,
    }
}

#[tokio::test]
async fn discarded_space_of_a_thick_volume_is_shown_and_reserved_again() {
    use rustix::fs::{FallocateFlags, fallocate};
    let bench = Bench::new().await;
    let db = volume("db");
    assert_eq!(bench.run(&step(db.clone(), thick(4 * MIB))).await, Ok(Outcome::Changed));
    let shown = async || bench.only().await.provisioning;
    assert_eq!(shown().await, Some(Provisioning::Thick));
    let file = fs::File::options().read(true).write(true).open(bench.image(&db)).unwrap();
    file.write_all_at(b"kept", 3 * MIB).unwrap();
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, MIB, MIB).unwrap();
    assert_eq!(shown().await, Some(Provisioning::Thin));
    let reserve = step(db.clone(), Action::Reserve);
    let idle = Step { expect: Expect { idle: true, ..reserve.expect.clone() }, ..reserve };
    bench.refused(&idle, ErrorKind::Busy).await;
    drop(file);
    assert_eq!(bench.run(&idle).await, Ok(Outcome::Changed));
    assert_eq!(shown().await, Some(Provisioning::Thick));
    assert_eq!(read_at(&bench.image(&db), 3 * MIB, 4), b"kept");
    assert_eq!(read_at(&bench.image(&db), MIB, 4), [0; 4]);
    assert_eq!(bench.run(&idle).await, Ok(Outcome::Unchanged));
}

#[tokio::test]
async fn a_thin_volume_that_is_written_in_full_is_not_shown_as_thick() {
    let bench = Bench::new().await;
    let db = bench.volume("db", MIB).await;
    assert_eq!(bench.only().await.provisioning, Some(Provisioning::Thin));
    fs::write(bench.image(&db), vec![1; MIB as usize]).unwrap();
    assert_eq!(bench.only().await.provisioning, None);
}
