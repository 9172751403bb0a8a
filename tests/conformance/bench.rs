//! Pools to hold drivers to their promises on.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln::driver::settings::config;
use kiln::driver::sim::FaultRates;
use kiln::driver::sim::{Fault, SimDriver, SimObject};
use kiln::driver::{Driver, LocalSettings, connect};
use kiln::model::{
    Access, Address, BackendSpec, Capabilities, DriverConfig, Meta, NativeName, Owner, Percent, Seconds, Size,
};

/// The unit in which claims write and read content.
pub(crate) const BLOCK: u64 = 4096;

/// A pool that was never used, and powers over it that a driver does not have.
pub(crate) trait Bench: Send + Sync {
    /// A connection to the pool, which sees all that this bench does to it.
    fn driver(&self) -> Arc<dyn Driver>;
    /// Another connection, as another process would have: on it objects that the bench holds open need not be seen to be.
    fn another(&self) -> Arc<dyn Driver> {
        self.driver()
    }
    /// Makes an object that nobody owns, with a stamp in its first block.
    fn make_foreign(&self, native: &NativeName, size: u64, stamp: u64);
    /// Makes what a crash leaves of an object being made.
    fn make_left_over(&self, temporary: &NativeName, size: u64);
    /// Everything on the pool that may not change by itself: equal before and after, nothing was touched.
    fn fingerprint(&self) -> String;
    /// Damages the newest copy of a ledger, or all.
    fn damage_ledger(&self, owner: &Owner, all: bool);
    /// Damages every record of an owner's suspensions.
    fn damage_suspensions(&self, owner: &Owner);

    /// Where all objects are, on a backend whose lists need not show them.
    fn addresses(&self) -> Vec<Address> {
        panic!("this bench is of a backend that lists its objects")
    }

    /// Cuts the next call short in the middle of its changes, where a restore takes several steps.
    fn cut_short(&self) {
        panic!("this bench cuts no call short");
    }

    /// Writes a stamp all over a block of a live object.
    fn write(&self, native: &NativeName, block: u64, stamp: u64) {
        let file = OpenOptions::new().write(true).open(self.path(native)).unwrap();
        let bytes: Vec<u8> = stamp.to_le_bytes().into_iter().cycle().take(BLOCK as usize).collect();
        file.write_all_at(&bytes, block * BLOCK).unwrap();
    }
    /// The stamp of a block. `None`: there is no such block.
    fn read(&self, native: &NativeName, block: u64) -> Option<u64> {
        let file = File::open(self.path(native)).unwrap();
        let mut bytes = vec![0; BLOCK as usize];
        file.read_exact_at(&mut bytes, block * BLOCK).ok()?;
        let mut words = bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        let first = words.next().unwrap();
        assert!(words.all(|word| word == first), "block {block} of {native} is torn");
        Some(first)
    }
    /// Opens a live object for writing until what is returned is dropped.
    fn hold_open(&self, native: &NativeName) -> Box<dyn Any> {
        Box::new(OpenOptions::new().read(true).write(true).open(self.path(native)).unwrap())
    }
    /// The file or device of a live object.
    fn path(&self, native: &NativeName) -> PathBuf {
        match self.driver().access(&Address::flat(native)) {
            Access::File(path) | Access::Block(path) => path,
            Access::None => panic!("{native} cannot be opened from outside, and this bench has no way of its own"),
        }
    }
}

fn backend(config: DriverConfig) -> BackendSpec {
    BackendSpec {
        meta: Meta { name: "bench".parse().unwrap(), labels: BTreeMap::new(), renamed_from: None },
        config,
        concurrency: 8.try_into().unwrap(),
        timeout: Seconds(30),
        max_fill: Percent(100),
        overcommit: None,
        via: Vec::new(),
    }
}

/// The simulator; in memory, or in a file.
pub(crate) struct SimBench {
    driver: Arc<SimDriver>,
    file: Option<(tempfile::TempDir, PathBuf)>,
}

impl SimBench {
    pub(crate) fn in_memory() -> Self {
        let world = Arc::default();
        Self { driver: Arc::new(SimDriver::new(world, FaultRates::NONE, 0)), file: None }
    }

    /// With a driver that can do less.
    pub(crate) fn able_to(change: impl FnOnce(&mut kiln::model::Capabilities)) -> Self {
        let mut capabilities = Capabilities::everything();
        change(&mut capabilities);
        let driver = SimDriver::new(Arc::default(), FaultRates::NONE, 0).with_capabilities(capabilities);
        Self { driver: Arc::new(driver), file: None }
    }

    pub(crate) fn in_a_file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool.sim");
        let driver = SimDriver::at(&path, 0);
        Self { driver: Arc::new(driver), file: Some((dir, path)) }
    }

    fn edit<T>(&self, change: impl FnOnce(&mut kiln::driver::sim::SimWorld) -> T) -> T {
        self.driver.edit(change).unwrap()
    }
}

impl Bench for SimBench {
    fn driver(&self) -> Arc<dyn Driver> {
        Arc::clone(&self.driver) as Arc<dyn Driver>
    }
    fn another(&self) -> Arc<dyn Driver> {
        let driver = match &self.file {
            Some((_, path)) => SimDriver::at(path, 1),
            None => SimDriver::new(self.driver.world(), FaultRates::NONE, 1),
        };
        Arc::new(driver.with_capabilities(self.driver.capabilities().clone()))
    }
    fn make_foreign(&self, native: &NativeName, size: u64, stamp: u64) {
        self.edit(|world| {
            world.make_by_hand(native, SimObject::empty(Size(size)));
            assert!(world.write(native, 0, stamp));
        });
    }
    fn addresses(&self) -> Vec<Address> {
        self.edit(|world| world.addresses())
    }
    fn make_left_over(&self, temporary: &NativeName, size: u64) {
        self.edit(|world| world.make_by_hand(temporary, SimObject::empty(Size(size))));
    }
    fn fingerprint(&self) -> String {
        self.edit(|world| {
            let live: Vec<_> = world.live_objects().collect();
            let trash: Vec<_> = world.trashed_objects().collect();
            format!("{:?}\n{live:#?}\n{trash:#?}", world.pool())
        })
    }
    fn cut_short(&self) {
        self.driver.fail_at(self.driver.calls(), Fault::Half);
    }
    fn damage_ledger(&self, owner: &Owner, all: bool) {
        self.edit(|world| world.damage_ledger(owner, all));
    }
    fn damage_suspensions(&self, owner: &Owner) {
        assert!(self.edit(|world| world.damage_suspensions(owner)), "there is none");
    }
    fn write(&self, native: &NativeName, block: u64, stamp: u64) {
        assert!(self.edit(|world| world.write(native, block, stamp)), "no block {block} in {native}");
    }
    fn read(&self, native: &NativeName, block: u64) -> Option<u64> {
        self.edit(|world| world.read(native, block))
    }
    fn hold_open(&self, native: &NativeName) -> Box<dyn Any> {
        struct Open(Arc<SimDriver>, NativeName);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.edit(|world| world.close(&self.1, "bench")).unwrap();
            }
        }
        assert!(self.edit(|world| world.open(native, "bench")), "{native} is not there");
        Box::new(Open(Arc::clone(&self.driver), native.clone()))
    }
}

/// A directory for the local driver, which it has to make itself.
pub(crate) struct LocalBench {
    root: PathBuf,
    _dir: tempfile::TempDir,
}

impl LocalBench {
    /// In a new directory below `parent`.
    pub(crate) fn below(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        Self { root: dir.path().join("pool"), _dir: dir }
    }
}

impl Bench for LocalBench {
    fn driver(&self) -> Arc<dyn Driver> {
        connect(&backend(config("local", LocalSettings { path: self.root.clone(), create: true }.values()))).unwrap()
    }
    fn make_foreign(&self, native: &NativeName, size: u64, stamp: u64) {
        // Where the name is one of Kiln's, the object has Kiln's form too: it may be another owner's.
        let path = match native.is_reserved() {
            false => self.root.join(native.as_str()),
            true => {
                fs::create_dir(self.root.join(native.as_str())).unwrap();
                self.root.join(native.as_str()).join(format!("{native}.img"))
            }
        };
        let file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        file.set_len(size).unwrap();
        let bytes: Vec<u8> = stamp.to_le_bytes().into_iter().cycle().take(BLOCK as usize).collect();
        file.write_all_at(&bytes, 0).unwrap();
    }
    fn make_left_over(&self, temporary: &NativeName, size: u64) {
        self.make_foreign(temporary, size, 0xDEAD);
    }
    fn fingerprint(&self) -> String {
        let mut lines = Vec::new();
        walk(&self.root, &self.root, &mut lines);
        lines.sort();
        lines.join("\n")
    }
    fn damage_ledger(&self, owner: &Owner, all: bool) {
        let newest = format!("{owner}.ledger");
        let mut damaged = 0;
        for entry in fs::read_dir(self.root.join(".kiln-pool")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name == newest || (all && name.starts_with(&newest)) {
                let mut bytes = fs::read(entry.path()).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
                fs::write(entry.path(), bytes).unwrap();
                damaged += 1;
            }
        }
        assert!(damaged > 0, "there is no {newest}");
    }
    fn damage_suspensions(&self, owner: &Owner) {
        let mut damaged = 0;
        for entry in fs::read_dir(self.root.join(".kiln-pool/suspended")).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{owner}.")) {
                let mut bytes = fs::read(&path).unwrap();
                let last = bytes.len() - 3;
                bytes[last] ^= 0x10;
                fs::write(path, bytes).unwrap();
                damaged += 1;
            }
        }
        assert!(damaged > 0, "there is none");
    }
}

/// Everything below a directory with its content; locks, which come and go, and the trash's own directory, left out.
fn walk(root: &Path, dir: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let shown = path.strip_prefix(root).unwrap().display().to_string();
        let kind = path.symlink_metadata().unwrap();
        if kind.is_dir() {
            if shown != ".trash" {
                lines.push(format!("{shown}/"));
            }
            walk(root, &path, lines);
        } else if !shown.ends_with(".lock") {
            let hash = blake3::hash(&fs::read(&path).unwrap());
            lines.push(format!("{shown} {} {}", kind.len(), hash.to_hex()));
        }
    }
}
