//! Another program acts in the middle of a step, before each of its calls in turn.

use std::os::fd::OwnedFd;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::crash::{home, now, while_at, while_each};
use super::*;

/// What a client that opens a file for writing gets: the file's inode, whether it has it open or is kept waiting by a lease.
#[derive(Default)]
struct Client {
    inode: Option<u64>,
    _file: Option<OwnedFd>,
}

/// Opens a file as a client does that goes away rather than wait.
fn open_at(path: PathBuf, client: Arc<Mutex<Client>>) -> impl FnOnce() + 'static {
    move || {
        let Ok(there) = path.metadata() else { return };
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, flags, Mode::empty());
        assert!(matches!(opened, Ok(_) | Err(Errno::AGAIN)), "{opened:?}");
        *client.lock().unwrap() = Client { inode: Some(there.ino()), _file: opened.ok() };
    }
}

#[tokio::test]
async fn an_object_that_a_client_opens_while_it_is_destroyed_stays() {
    for purge in [true, false] {
        let (mut kept, mut gone) = (0, 0);
        for n in 0.. {
            let bench = Bench::at(home()).await;
            let db = bench.volume("db", MIB).await;
            let (place, file, action) = if purge {
                now(&bench, &step(db.clone(), Action::Trash { ttl: Seconds(60), with: Vec::new() })).unwrap();
                let native = db.native();
                let image = bench.trashed(native.as_str()).join(format!("{native}.img"));
                (Place::Trash, image, Action::Purge)
            } else {
                (Place::Live, bench.image(&db), Action::Destroy)
            };
            let client = Arc::new(Mutex::new(Client::default()));
            let Some(result) = while_at(n, open_at(file.clone(), client.clone()), &bench, &step(db.clone(), action))
            else {
                break;
            };
            let at = format!("{place:?}, opened before call {n}");
            let inode = client.lock().unwrap().inode;
            match inode {
                Some(inode) => {
                    let error = result.expect_err(&at);
                    assert_eq!(
                        (error.kind, error.effect),
                        (ErrorKind::Busy, crate::model::Effect::No),
                        "{at}: {error}"
                    );
                    assert_eq!(file.metadata().map(|file| file.ino()).ok(), Some(inode), "{at}: its file is gone");
                    assert_eq!(bench.only().await.place, place, "{at}");
                    kept += 1;
                }
                None => {
                    assert_eq!(result, Ok(Outcome::Changed), "{at}");
                    gone += 1;
                }
            }
        }
        assert!(kept > 3 && gone > 1, "{kept} {gone}");
    }
}

#[tokio::test]
async fn a_client_that_opens_a_volume_while_it_is_restored_has_the_volume() {
    let (mut busy, mut done, mut exchanged) = (0, 0, 0);
    for n in 0.. {
        let bench = Bench::at(home()).await;
        let db = bench.volume("db", 64 * 1024).await;
        write_at(&bench.image(&db), 0, b"old");
        let snap = identity(Kind::Snapshot, "s");
        now(&bench, &step(snap.clone(), snapshot_of("db", 64 * 1024))).unwrap();
        write_at(&bench.image(&db), 0, b"new");
        let restore = Action::Restore { snapshot: reference(&snap, 64 * 1024), request: "r".into() };
        let client = Arc::new(Mutex::new(Client::default()));
        let (mut opens, image, opened) =
            (Some(open_at(bench.image(&db), client.clone())), bench.image(&db), client.clone());
        let other = Arc::new(Mutex::new(false));
        let is_other = other.clone();
        let meanwhile = move |call| {
            if call == n
                && let Some(opens) = opens.take()
            {
                opens();
            }
            let inode = opened.lock().unwrap().inode;
            *is_other.lock().unwrap() |= inode.is_some() && image.metadata().map(|file| file.ino()).ok() != inode;
        };
        let (result, calls) = while_each(meanwhile, &bench, &step(db.clone(), restore));
        if calls <= n {
            break;
        }
        exchanged += u32::from(*other.lock().unwrap());
        let inode = client.lock().unwrap().inode;
        let at = format!("opened before call {n}: {result:?}");
        assert_eq!(bench.image(&db).metadata().map(|file| file.ino()).ok(), inode, "{at}: the client has another file");
        assert_eq!(bench.temporaries(), [], "{at}");
        match result {
            Ok(outcome) => {
                assert_eq!((outcome, read_at(&bench.image(&db), 0, 3)), (Outcome::Changed, b"old".to_vec()), "{at}");
                done += 1;
            }
            Err(error) => {
                assert_eq!((error.kind, error.effect), (ErrorKind::Busy, crate::model::Effect::No), "{at}");
                assert_eq!(read_at(&bench.image(&db), 0, 3), b"new", "{at}");
                busy += 1;
            }
        }
    }
    assert!(busy > 5 && done > 1, "{busy} {done}");
    // Only who opens it in the last instant before the exchange sees another file there, until that is taken back.
    assert_eq!(exchanged, 1);
}

#[tokio::test]
async fn data_that_comes_back_into_an_empty_shell_is_never_removed() {
    let (mut kept, mut made) = (0, 0);
    for n in 0.. {
        let bench = Bench::at(home()).await;
        let db = volume("db");
        now(&bench, &step(db.clone(), create_with(MIB, None, labelled("a")))).unwrap();
        fs::remove_file(bench.image(&db)).unwrap();
        let image = bench.image(&db);
        let written = Arc::new(Mutex::new(false));
        let (path, told) = (image.clone(), written.clone());
        let puts_back = move || {
            if let Ok(file) = fs::File::create_new(&path) {
                file.write_all_at(b"theirs", 0).unwrap();
                *told.lock().unwrap() = true;
            }
        };
        let Some(result) = while_at(n, puts_back, &bench, &step(db.clone(), create(64 * 1024))) else { break };
        let at = format!("put back before call {n}: {result:?}");
        if *written.lock().unwrap() {
            assert_eq!(fs::read(&image).unwrap(), b"theirs", "{at}");
            kept += 1;
        } else {
            assert_eq!(result, Ok(Outcome::Changed), "{at}");
            made += 1;
        }
    }
    assert!(kept > 3 && made > 1, "{kept} {made}");
}

/// Keeps a file from being removed: as root by its immutable attribute, else by the mode of its directory.
struct Pinned(PathBuf, fs::File);

impl Pinned {
    fn new(path: PathBuf) -> Self {
        let file = fs::File::open(&path).unwrap();
        Self::set(&path, &file, true);
        Self(path, file)
    }

    fn set(path: &Path, file: &fs::File, pinned: bool) {
        if rustix::process::geteuid().is_root() {
            let mut flags = ioctl_getflags(file).unwrap();
            flags.set(IFlags::IMMUTABLE, pinned);
            ioctl_setflags(file, flags).unwrap();
        } else {
            let mode = if pinned { 0o500 } else { 0o700 };
            let _ = fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(mode));
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        Self::set(&self.0, &self.1, false);
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_destroyed_keeps_its_place() {
    let bench = Bench::new().await;
    let db = bench.volume("db", MIB).await;
    let destroy = step(db.clone(), Action::Destroy);
    let pinned = Pinned::new(bench.image(&db));
    let message = bench.refused(&destroy, ErrorKind::Denied).await;
    assert_eq!(bench.only().await.place, Place::Live);
    let is_root = rustix::process::geteuid().is_root();
    assert!(!is_root || message.ends_with(&format!("; fix: chattr -i -a {}", pinned.0.display())), "{message}");
    drop(pinned);

    let native = db.native();
    assert_eq!(
        bench.run(&step(db.clone(), Action::Trash { ttl: Seconds(60), with: Vec::new() })).await,
        Ok(Outcome::Changed)
    );
    let image = bench.trashed(native.as_str()).join(format!("{native}.img"));
    let pinned = Pinned::new(image.clone());
    let message = bench.refused(&step(db.clone(), Action::Purge), ErrorKind::Denied).await;
    assert_eq!(bench.only().await.place, Place::Trash);
    assert!(!is_root || message.ends_with(&format!("; fix: chattr -i -a {}", image.display())), "{message}");
    drop(pinned);
    bench.twice(&step(db, Action::Purge)).await;
    assert_eq!(bench.objects().await, Vec::new());
}

#[tokio::test]
async fn the_rest_of_a_destroyed_object_is_swept_when_possible() {
    let (mut back, mut left) = (0, 0);
    for n in 0.. {
        let bench = Bench::new().await;
        let db = volume("db");
        now(&bench, &step(db.clone(), create_with(MIB, None, labelled("a")))).unwrap();
        let removed = bench.removed(&db);
        let tags = [&bench.dir(&db), &removed].map(|dir| dir.join("tags.json"));
        let there = move |tags: &[PathBuf; 2]| tags.iter().find(|tags| tags.exists()).cloned();
        let to_pin = tags.clone();
        let pinned = Arc::new(Mutex::new(None));
        let pins = pinned.clone();
        let pin = move || *pins.lock().unwrap() = there(&to_pin).map(Pinned::new);
        let Some(result) = while_at(n, pin, &bench, &step(db.clone(), Action::Destroy)) else { break };
        let at = format!("pinned before call {n}: {result:?}");
        let temporary = NativeName::new(removed.file_name().unwrap().to_str().unwrap());
        let sweep = step_on(db.clone(), temporary, Action::Sweep, Expect::default());
        match result.map_err(|error| error.effect) {
            Ok(_) => {}
            Err(crate::model::Effect::No) => {
                assert_eq!((bench.only().await.place, bench.image(&db).exists()), (Place::Live, true), "{at}");
                back += 1;
            }
            Err(_) => {
                assert_eq!(bench.only().await.place, Place::Temporary, "{at}");
                let error = now(&bench, &sweep).expect_err(&at);
                let fix = format!("; fix: chattr -i -a {}", tags[1].display());
                assert!(error.message.ends_with(&fix) || !rustix::process::geteuid().is_root(), "{error}");
                left += 1;
            }
        }
        if let Some(Pinned(_, file)) = &*pinned.lock().unwrap() {
            // Wherever it is now.
            there(&tags).iter().for_each(|tags| Pinned::set(tags, file, false));
        }
        if removed.exists() {
            assert_eq!(now(&bench, &sweep), Ok(Outcome::Changed), "{at}");
        } else if bench.dir(&db).exists() {
            assert_eq!(now(&bench, &step(db, Action::Destroy)), Ok(Outcome::Changed), "{at}");
        }
        assert_eq!(bench.objects().await, Vec::new(), "{at}");
    }
    assert!(left > 0 && (back > 0 || rustix::process::geteuid().is_root()), "{back} {left}");
}

/// Moves an object's directory away and puts another with data of its own under its name.
fn replaces(dir: PathBuf, aside: PathBuf, image: String) -> impl FnOnce() + 'static {
    move || {
        if dir.exists() {
            fs::rename(&dir, aside).unwrap();
        }
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(image), b"theirs").unwrap();
    }
}

#[tokio::test]
async fn a_directory_that_replaces_that_of_an_object_at_the_last_instant_is_neither_moved_nor_changed() {
    let steps = ["destroy", "purge", "trash", "undelete", "rename", "restore", "grow", "tags"];
    for what in steps {
        let mut refused = 0;
        for n in 0.. {
            let bench = Bench::at(home()).await;
            let db = bench.volume("db", 64 * 1024).await;
            write_at(&bench.image(&db), 0, b"ours");
            let snap = identity(Kind::Snapshot, "s");
            if what == "restore" {
                now(&bench, &step(snap.clone(), snapshot_of("db", 64 * 1024))).unwrap();
            }
            let (native, in_trash) = (db.native(), ["purge", "undelete"].contains(&what));
            if in_trash {
                now(&bench, &step(db.clone(), Action::Trash { ttl: Seconds(60), with: Vec::new() })).unwrap();
            }
            let dir = if in_trash { bench.trashed(native.as_str()) } else { bench.dir(&db) };
            let renamed = Identity { name: "other".parse().unwrap(), ..db.clone() };
            let made = match what {
                "destroy" => step(db.clone(), Action::Destroy),
                "purge" => step(db.clone(), Action::Purge),
                "trash" => step(db.clone(), Action::Trash { ttl: Seconds(60), with: Vec::new() }),
                "undelete" => step(db.clone(), Action::Undelete { tags: labelled("a"), with: Vec::new() }),
                "grow" => step(db.clone(), Action::Grow { to: Size(128 * 1024) }),
                "tags" => step(db.clone(), Action::SetTags { tags: labelled("a") }),
                "rename" => step(renamed, Action::Rename { from: native.clone(), tags: labelled("a") }),
                _ => {
                    let snapshot = reference(&snap, 64 * 1024);
                    step(db.clone(), Action::Restore { snapshot, request: "r".into() })
                }
            };
            // One that is there before the step finds it is not as planned.
            let made = Step { expect: Expect { size: Some(Size(64 * 1024)), ..made.expect }, ..made };
            let (aside, image) = (bench.path.join("aside"), format!("{native}.img"));
            let act = replaces(dir.clone(), aside.clone(), image.clone());
            let Some(result) = while_at(n, act, &bench, &made) else { break };
            let at = format!("{what}, replaced before call {n}: {result:?}");
            assert_eq!(fs::read(dir.join(&image)).ok().as_deref(), Some(&b"theirs"[..]), "{at}");
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "{at}");
            if result.as_ref().is_err_and(|error| error.message.contains("was replaced")) {
                assert_eq!(read_at(&aside.join(&image), 0, 4), b"ours", "{at}");
                refused += 1;
            }
        }
        assert!(refused > 0, "{what}");
    }
}
