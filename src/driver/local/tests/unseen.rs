//! Writers that a lease does not notice: through another mount of the same files, or on another host. It takes root, /dev/fuse, bindfs
//! and QEMU.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use super::evidence::{FileStamp, is_locked_by_writer};
use super::lease::{Lease, Leased};
use super::*;
use crate::model::ClientVisibility;

/// A directory through FUSE, as one of several hosts sees a share.
struct Fuse(tempfile::TempDir);

impl Fuse {
    fn of(under: &Path) -> Self {
        let at = tempfile::tempdir().unwrap();
        run("bindfs", &[under, at.path()]);
        Self(at)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        run("umount", &[Path::new("--lazy"), self.0.path()]);
    }
}

#[expect(clippy::disallowed_methods, reason = "this test needs other programs")]
fn run(program: &str, arguments: &[&Path]) {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} cannot be run (it takes its package and root): {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

fn quiet() -> content::CopyWork {
    content::CopyWork { now: 0, progress: Arc::new(|_, _| ()), abandoned: Arc::default() }
}

#[tokio::test]
async fn on_fuse_a_lease_proves_no_idleness() {
    let under = tempfile::tempdir().unwrap();
    let (one, other) = (Fuse::of(under.path()), Fuse::of(under.path()));
    fs::write(one.path("disk.raw"), vec![1; 8192]).unwrap();
    let native = NativeName::new("disk.raw");
    let clients = async || {
        let pool = Local::connect(other.0.path(), false);
        pool.observe(&Scope::Objects(vec![Address::flat(&native)])).await.unwrap().objects.remove(0).clients
    };
    assert_eq!(clients().await, Clients::Unknown, "another mount may have a writer");
    let shown = |path: &Path| Local::connect(path, false).capabilities().client_visibility;
    assert_eq!(shown(other.0.path()), ClientVisibility::None);
    assert_eq!(shown(under.path()), ClientVisibility::All);
    let writer = fs::OpenOptions::new().write(true).open(one.path("disk.raw")).unwrap();
    assert!(!matches!(Lease::take(open(&other.path("disk.raw")).as_fd()), Leased::Idle(_)));
    assert_eq!(clients().await, Clients::Unknown);
    drop(writer);
    let file = open(&other.path("disk.raw"));
    let Leased::Unproven(lease) = Lease::take(file.as_fd()) else { panic!("a lease that proves nothing elsewhere") };
    assert!(!lease.broken());
    // It would wait until the lease is given back.
    let late = fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(other.path("disk.raw"));
    assert!(late.is_err() && lease.broken(), "it still shows who opens the file here: {late:?}");
    drop(lease);
    let _here = fs::OpenOptions::new().write(true).open(other.path("disk.raw")).unwrap();
    assert!(matches!(clients().await, Clients::Some(_)), "a lease that is refused proves that there is a writer");
}

#[test]
fn a_copy_is_refused_if_another_mount_writes_meanwhile() {
    let (under, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (Fuse::of(under.path()), Fuse::of(under.path()));
    fs::write(one.path("disk.raw"), vec![1; 1 << 20]).unwrap();
    let from = open(&other.path("disk.raw"));
    let into = || fs::File::create(home.path().join("copy")).unwrap().into();
    content::fill(&into(), &from, 1 << 20, false, "disk.raw", &quiet()).unwrap();
    let writes = one.path("disk.raw");
    let progress = Arc::new(move |done, _| {
        if done == 0 {
            write_at(&writes, 4096, &[2; 4096]);
        }
    });
    let work = content::CopyWork { progress, ..quiet() };
    let error = content::fill(&into(), &from, 1 << 20, false, "disk.raw", &work).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
}

#[test]
fn a_write_through_another_mount_changes_the_stamp_at_once() {
    let under = tempfile::tempdir().unwrap();
    let (one, other) = (Fuse::of(under.path()), Fuse::of(under.path()));
    fs::write(one.path("disk.raw"), vec![1; 8192]).unwrap();
    let read = open(&other.path("disk.raw"));
    let before = FileStamp::of(&read).unwrap();
    let _ = rustix::fs::fstat(&read).unwrap();
    write_at(&one.path("disk.raw"), 0, &vec![2; 12288]);
    assert_ne!(FileStamp::of(&read).unwrap(), before, "not the one that the kernel has cached");
}

/// The lock stays as long as its end of the pipe.
#[expect(clippy::disallowed_methods, reason = "the locks are those of QEMU itself")]
fn qemu(path: &Path, options: &[&str]) -> std::process::Child {
    let mut child = Command::new("qemu-io")
        .args(options)
        .args(["-f", "raw"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the package is qemu-utils");
    // It answers when the image is open.
    child.stdin.as_mut().unwrap().write_all(b"length\n").unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("MiB"), "{line}");
    child
}

#[test]
fn a_writer_is_seen_by_the_locks_of_qemu() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("disk.raw");
    fs::write(&path, vec![1; 1 << 20]).unwrap();
    let file = open(&path);
    assert!(!is_locked_by_writer(file.as_fd()));
    for (options, writes) in [(&["-r"][..], false), (&[], true)] {
        let mut qemu = qemu(&path, options);
        assert_eq!(is_locked_by_writer(file.as_fd()), writes, "{options:?}");
        drop(qemu.stdin.take());
        qemu.wait().unwrap();
    }
    assert!(!is_locked_by_writer(file.as_fd()));
}

/// As a server of a network file system passes it on: the lock of a program that no lease notices.
#[tokio::test]
async fn a_lock_of_a_writer_is_a_client_although_a_lease_is_granted() {
    let bench = Bench::new().await;
    let db = bench.volume("db", MIB).await;
    let elsewhere = fs::File::open(bench.image(&db)).unwrap();
    lock(&elsewhere, 101, libc::F_RDLCK);
    let clients = named(&bench, &db).await.clients;
    assert!(matches!(&clients, Clients::Some(who) if who[0].contains("QEMU")), "{clients:?}");
    let message =
        bench.refused(&step(db.clone(), Action::Trash { ttl: Seconds(1), with: Vec::new() }), ErrorKind::Busy).await;
    assert!(message.contains("QEMU"), "{message}");
    bench.refused(&step(db.clone(), Action::Destroy), ErrorKind::Busy).await;
    // Closing it would not do: a child that another test starts has it open until its exec.
    lock(&elsewhere, 101, libc::F_UNLCK);
    // A program that only reads holds this one.
    lock(&elsewhere, 100, libc::F_RDLCK);
    assert_eq!(named(&bench, &db).await.clients, Clients::None);
    assert_eq!(bench.run(&step(db, Action::Destroy)).await, Ok(Outcome::Changed));
}

async fn named(bench: &Bench, identity: &Identity) -> Object {
    bench.driver.observe(&Scope::Objects(vec![Address::flat(&identity.native())])).await.unwrap().objects.remove(0)
}

/// Locks a byte for reading, as QEMU does for each permission that it uses, or unlocks it.
#[expect(unsafe_code, reason = "rustix has no locks of open file descriptions")]
fn lock(file: &fs::File, byte: libc::off_t, how: libc::c_int) {
    use std::os::fd::AsRawFd;
    // SAFETY: all fields of `flock` are integers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = how as libc::c_short;
    (lock.l_start, lock.l_len) = (byte, 1);
    // SAFETY: the descriptor is open, and `lock` is a `flock`.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) };
    assert_eq!(answer, 0);
}

/// An overlay whose layers are in a tmpfs.
struct Overlay(tempfile::TempDir);

impl Overlay {
    fn new() -> Self {
        let at = tempfile::tempdir().unwrap();
        run("mount", &[Path::new("-ttmpfs"), Path::new("tmpfs"), at.path()]);
        for layer in ["lower", "upper", "work", "merged"] {
            fs::create_dir(at.path().join(layer)).unwrap();
        }
        let overlay = Self(at);
        let layer = |name: &str| overlay.path(name).display().to_string();
        let options = format!("-olowerdir={},upperdir={},workdir={}", layer("lower"), layer("upper"), layer("work"));
        let merged = overlay.path("merged");
        run("mount", &[Path::new("-toverlay"), Path::new(&options), Path::new("overlay"), &merged]);
        overlay
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        run("umount", &[Path::new("--lazy"), &self.path("merged")]);
        run("umount", &[Path::new("--lazy"), self.0.path()]);
    }
}

#[tokio::test]
async fn on_overlayfs_a_lease_proves_no_idleness() {
    let overlay = Overlay::new();
    fs::write(overlay.path("merged/disk.raw"), vec![1; 8192]).unwrap();
    let native = NativeName::new("disk.raw");
    let pool = Local::connect(&overlay.path("merged"), false);
    assert_eq!(pool.capabilities().client_visibility, ClientVisibility::None);
    let clients =
        async || pool.observe(&Scope::Objects(vec![Address::flat(&native)])).await.unwrap().objects.remove(0).clients;
    // A program that has the file of the upper layer open is not noticed.
    let writer = fs::OpenOptions::new().write(true).open(overlay.path("upper/disk.raw")).unwrap();
    assert_eq!(clients().await, Clients::Unknown);
    drop(writer);
    // One that uses the overlay is.
    let writer = fs::OpenOptions::new().write(true).open(overlay.path("merged/disk.raw")).unwrap();
    assert!(matches!(clients().await, Clients::Some(_)));
    drop(writer);
}
