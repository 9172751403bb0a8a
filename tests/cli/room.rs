//! Pools that have little: room, inodes, abilities of the file system, another owner. On file systems that are made for the test, by
//! the real binary. It takes root, loop devices and /dev/fuse.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use crate::mounted::{Mounted, run};
use crate::sandbox::{Ran, Sandbox};

const MIB: u64 = 1 << 20;

/// A sandbox whose pool is the directory `pool` of a mounted file system.
fn sandbox_on(at: &Path, max_fill: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let pool = at.join("pool");
    sandbox.write(
        "specs/stack.yaml",
        &format!(
            "apiVersion: kiln/v1\nkind: Stack\nmetadata: {{name: prod}}\nspec: {{id: 5c1d2e8a90}}\n---\n\
             apiVersion: kiln/v1\nkind: Backend\nmetadata: {{name: fast}}\n\
             spec: {{driver: local, local: {{path: {}, create: true}}, maxFill: {max_fill}}}\n",
            pool.display()
        ),
    );
    sandbox.write("config.toml", &format!("[allow]\npaths = [\"{}\"]\n", at.display()));
    sandbox
}

fn kiln(sandbox: &Sandbox, command: &str) -> Ran {
    sandbox.kiln(&format!("--config config.toml {command}"))
}

/// The data file of an object, wherever its pool is.
fn data_file(sandbox: &Sandbox, at: &Path, name: &str) -> PathBuf {
    let object = kiln(sandbox, &format!("get {name} -o json")).json()[0].clone();
    let native = object["status"]["object"].as_str().unwrap().to_owned();
    at.join("pool").join(&native).join(format!("{native}.img"))
}

fn free(at: &Path) -> u64 {
    let stat = rustix::fs::statvfs(at).unwrap();
    stat.f_bavail * stat.f_frsize
}

/// Takes all bytes that are left.
pub(crate) fn fill_up(at: &Path) {
    let mut filler = fs::OpenOptions::new().append(true).create(true).open(at.join("filler")).unwrap();
    for size in [MIB as usize, 4096, 1024] {
        while filler.write_all(&vec![7; size]).is_ok() {}
        filler.sync_data().unwrap();
    }
}

/// Takes all inodes that are left.
fn take_inodes(at: &Path) {
    fs::create_dir(at.join("many")).unwrap();
    let taken = (0..).take_while(|n| File::create(at.join(format!("many/{n}"))).is_ok()).count();
    assert!(taken > 0);
}

#[test]
fn copies_without_reflinks_are_held_before_they_fill_the_pool() {
    let disk = Mounted::new("ext4", "e2fsprogs", 128 * MIB, &["-m", "0"]);
    let sandbox = sandbox_on(&disk.at, "90%");
    sandbox.volume("db", "size: 64Mi");
    kiln(&sandbox, "apply").ends(0);
    let file = data_file(&sandbox, &disk.at, "volume/db");
    fs::OpenOptions::new().write(true).open(file).unwrap().write_all(&vec![5; 30 * MIB as usize]).unwrap();
    for name in ["a", "b", "c"] {
        sandbox.snapshot(name, "volume: db");
    }
    kiln(&sandbox, "plan").ends(4).says("PoolFull").says("30Mi at once");
    kiln(&sandbox, "apply").ends(4).says("PoolFull").says("created snapshot/a").says("created snapshot/b");
    assert!(free(&disk.at) > 10 * MIB, "room is left for others: {}", free(&disk.at));
    kiln(&sandbox, "doctor").ends(4).says("PoolFull");
}

#[test]
fn without_inodes_objects_leave_and_grow_and_none_is_made() {
    let disk = Mounted::new("ext4", "e2fsprogs", 64 * MIB, &["-N", "512"]);
    let sandbox = sandbox_on(&disk.at, "100%");
    for name in ["a", "b", "c", "d"] {
        sandbox.volume(name, "size: 1Mi");
    }
    kiln(&sandbox, "apply").ends(0);
    take_inodes(&disk.at);
    assert!(File::create(disk.at.join("one-more")).is_err());
    sandbox.volume("new", "size: 1Mi");
    sandbox.volume("a", "size: 2Mi");
    sandbox.remove("specs/b.yaml");
    kiln(&sandbox, "doctor").ends(4).says("PoolFull").says("inodes");
    let ran = kiln(&sandbox, "apply").ends(4).says("PoolFull").says("grew volume/a");
    ran.says("removed volume/b on fast: moved to the trash");
    kiln(&sandbox, "trash purge volume/b --yes").ends(0);
    sandbox.remove("specs/new.yaml");
    sandbox.remove("specs/c.yaml");
    kiln(&sandbox, "apply").ends(0).says("removed volume/c on fast: moved to the trash");
}

#[test]
fn without_inodes_doctor_says_so_though_nothing_is_held() {
    let disk = Mounted::new("ext4", "e2fsprogs", 64 * MIB, &["-N", "512"]);
    let sandbox = sandbox_on(&disk.at, "100%");
    sandbox.volume("a", "size: 1Mi");
    kiln(&sandbox, "apply").ends(0);
    kiln(&sandbox, "doctor").ends(0).says("No problems found");
    take_inodes(&disk.at);
    // The last are kept for what objects need to leave.
    for n in 0..50 {
        fs::remove_file(disk.at.join(format!("many/{n}"))).unwrap();
    }
    kiln(&sandbox, "doctor").says("backend/fast").says("inodes");
}

/// The reserve has grown with the ledger: one that is far larger than the smallest reserve is written with no byte left.
#[test]
fn a_large_ledger_is_written_on_a_full_pool() {
    let disk = Mounted::new("ext4", "e2fsprogs", 64 * MIB, &["-m", "0"]);
    let sandbox = sandbox_on(&disk.at, "100%");
    for name in ["a", "b", "c"] {
        sandbox.volume(name, "size: 1Mi");
    }
    kiln(&sandbox, "apply").ends(0);
    // As with some 30,000 objects.
    swell(&disk.at.join("pool/.kiln-pool/prod.ledger"), 6 * MIB as usize);
    sandbox.volume("a", "size: 2Mi");
    kiln(&sandbox, "apply").ends(0);
    let reserve = disk.at.join("pool/.kiln-pool/reserve").metadata().unwrap();
    assert!(reserve.blocks() * 512 > 8 * MIB, "the reserve has {} bytes", reserve.blocks() * 512);
    fill_up(&disk.at);
    sandbox.volume("a", "size: 3Mi");
    sandbox.remove("specs/b.yaml");
    kiln(&sandbox, "apply").ends(0).says("grew volume/a").says("removed volume/b on fast: moved to the trash");
    // The reserve is spent, and others have taken what it gave: the older copy of the ledger gives its room.
    fill_up(&disk.at);
    assert!(!disk.at.join("pool/.kiln-pool/reserve").exists());
    kiln(&sandbox, "suspend volume/a --reason full").ends(0);
    kiln(&sandbox, "resume volume/a").ends(0);
    sandbox.remove("specs/c.yaml");
    kiln(&sandbox, "apply").ends(0).says("removed volume/c on fast: moved to the trash");
    kiln(&sandbox, "trash purge volume/b --yes").ends(0);
}

/// Adds so many bytes of spent approvals to a ledger.
fn swell(path: &Path, bytes: usize) {
    let text = fs::read(path).unwrap();
    let line = text.iter().position(|byte| *byte == b'\n').unwrap();
    let mut ledger: serde_json::Value = serde_json::from_slice(&text[line + 1..]).unwrap();
    let spent: Vec<String> = (0..bytes / 10_000).map(|n| format!("{n:09997x}")).collect();
    ledger["spent"] = serde_json::json!(spent);
    let body = serde_json::to_vec(&ledger).unwrap();
    let mut whole = format!("kiln-ledger 1 {}\n", blake3::hash(&body).to_hex()).into_bytes();
    whole.extend(body);
    fs::write(path, whole).unwrap();
}

#[test]
fn a_file_system_that_lacks_a_need_is_held_while_planning() {
    let under = tempfile::tempdir().unwrap();
    let mount = Fuse::of(under.path());
    let sandbox = sandbox_on(&mount.at, "100%");
    sandbox.volume("db", "size: 1Mi");
    for _ in 0..2 {
        kiln(&sandbox, "plan").ends(4).says("Unsupported").says("RENAME_NOREPLACE").says("ext4, XFS");
        kiln(&sandbox, "apply").ends(4).says("RENAME_NOREPLACE");
    }
    kiln(&sandbox, "doctor").ends(4).says("RENAME_NOREPLACE");
    let left: Vec<_> = fs::read_dir(under.path()).unwrap().collect();
    assert!(left.is_empty(), "nothing was begun, and nothing is left: {left:?}");
}

/// A directory seen through FUSE, where renames know no flags.
struct Fuse {
    at: PathBuf,
    _dir: tempfile::TempDir,
}

impl Fuse {
    fn of(under: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("mnt");
        fs::create_dir(&at).unwrap();
        run("bindfs", &[], &[under, &at], "it takes root and /dev/fuse; the package is bindfs");
        Self { at, _dir: dir }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        run("umount", &["--lazy"], &[&self.at], "the package is mount");
    }
}

/// What root makes in the pool of a user belongs to that user.
#[test]
fn files_created_by_root_belong_to_the_owner_of_the_pool() {
    const USER: u32 = 12345;
    let sandbox = Sandbox::with_stack();
    // The pool is made too, and belongs to the owner of the directory that it is in.
    chown(sandbox.path(""), Some(USER), Some(USER)).unwrap();
    sandbox.volume("first", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.volume("db", "size: 1Mi, protected: true");
    sandbox.volume("gone", "size: 1Mi");
    sandbox.volume("other", "size: 1Mi");
    sandbox.snapshot("monday", "volume: db");
    fs::write(sandbox.path("pool/disk.raw"), vec![1; 4096]).unwrap();
    chown(sandbox.path("pool/disk.raw"), Some(USER), Some(USER)).unwrap();
    sandbox.volume("old", "size: 4096, adopt: {name: disk.raw}");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/gone.yaml");
    sandbox.volume("db", "size: 2Mi, protected: false, restore: {snapshot: monday, request: one}");
    sandbox.kiln("apply --yes").ends(0);
    let mut seen = 0;
    let mut todo = vec![sandbox.path("pool")];
    while let Some(path) = todo.pop() {
        let stat = path.symlink_metadata().unwrap();
        assert_eq!((stat.uid(), stat.gid()), (USER, USER), "{}", path.display());
        let read = if stat.is_dir() { 0o500 } else { 0o400 };
        assert_eq!(stat.mode() & read, read, "{}", path.display());
        seen += 1;
        if stat.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 15, "{seen}");
}
