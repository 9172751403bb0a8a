//! Every driver keeps the contract of `kiln::driver`: the same claims, on every backend that can be had here.
//!
//! The local driver is held to it on the file system of the temporary directory, whatever that is, and in images mounted for the test
//! on ext4 (where a copy is made byte by byte) and on XFS and btrfs (which can share blocks between files). That needs root, loop
//! devices, e2fsprogs, xfsprogs and btrfs-progs; without them those tests fail and say so, since a contract that was not looked at is
//! not kept.

#![expect(
    clippy::unwrap_used,
    reason = "in a test it is an assertion; clippy.toml excuses only functions marked as tests"
)]

#[path = "conformance/memory.rs"]
mod memory;
mod mounted;
#[path = "conformance/mod.rs"]
mod suite;
#[path = "conformance/toy.rs"]
mod toy;

use std::path::Path;
use std::sync::Arc;

use kiln::driver::StepContext;
use kiln::model::{
    Absence, Action, Capabilities, ClientVisibility, CloneAbility, Effect, ErrorKind, Growth, ImageFormat,
    ImageObservation, ImageRef, Kind, NameAlphabet, NameRules, Origin, Outcome, Restores, SettingsAbility, Size,
    SnapshotAbility, TrashAbility,
};
use mounted::{Mounted, run};
use suite::kit::Kit;
use suite::{Bench, LocalBench, SimBench, hold_all};
use toy::ToyBench;

#[test]
fn the_simulator_in_memory() {
    let inapplicable = hold_all("the simulator in memory", |_| SimBench::in_memory());
    assert_eq!(
        inapplicable,
        [
            "a_half_restore_is_completed_never_reported_as_done_and_never_copied",
            "records_show_what_was_made_until_it_is_destroyed",
        ]
    );
}

#[test]
fn the_simulator_in_a_file() {
    hold_all("the simulator in a file", |_| SimBench::in_a_file());
}

#[test]
fn a_simulator_that_can_do_little() {
    hold_all("a simulator that can do little", |_| {
        SimBench::able_to(|can| {
            can.granularity = 1 << 22;
            can.thick = false;
            can.grow = Growth::Idle;
            can.snapshots = Some(SnapshotAbility { nested: false, while_open: false, adopt: false });
            can.clones = Some(CloneAbility { of_volume: false, depend: false, detach: false });
            can.restore = Restores::No;
            can.rename = false;
            can.names.own = false;
            can.adopt = false;
            can.settings = SettingsAbility { qos: true, qos_live: false, encryption: false };
        })
    });
}

#[test]
fn a_simulator_with_snapshots_inside_of_volumes() {
    hold_all("a simulator with snapshots inside of volumes", |_| {
        SimBench::able_to(|can| {
            can.snapshots = Some(SnapshotAbility { nested: true, while_open: true, adopt: true });
        })
    });
}

#[test]
fn a_simulator_whose_trash_takes_volumes_with_the_snapshots_inside() {
    hold_all("a simulator whose trash takes volumes with the snapshots inside", |_| {
        SimBench::able_to(|can| {
            can.snapshots = Some(SnapshotAbility { nested: true, while_open: true, adopt: true });
            can.trash = TrashAbility::Volumes;
        })
    });
}

#[test]
fn a_simulator_whose_trash_takes_volumes_alone() {
    hold_all("a simulator whose trash takes volumes alone", |_| {
        SimBench::able_to(|can| can.trash = TrashAbility::Volumes)
    });
}

#[test]
fn a_simulator_without_trash() {
    hold_all("a simulator without trash", |_| SimBench::able_to(|can| can.trash = TrashAbility::None));
}

#[test]
fn a_simulator_without_snapshots() {
    hold_all("a simulator without snapshots", |_| SimBench::able_to(without_snapshots));
}

#[test]
fn a_simulator_without_clones() {
    hold_all("a simulator without clones", |_| SimBench::able_to(|can| can.clones = None));
}

#[test]
fn a_simulator_with_volumes_only() {
    hold_all("a simulator with volumes only", |_| {
        SimBench::able_to(|can| {
            without_snapshots(can);
            can.clones = None;
            can.trash = TrashAbility::None;
        })
    });
}

/// Nothing to restore a volume from.
fn without_snapshots(can: &mut Capabilities) {
    can.snapshots = None;
    can.restore = Restores::No;
}

#[test]
fn a_toy_driver_written_from_the_contributing_page() {
    hold_all("the toy", |_| ToyBench::default());
}

#[test]
fn a_simulator_with_short_names() {
    hold_all("a simulator with short names", |_| {
        SimBench::able_to(|can| {
            can.names =
                NameRules { prefix_bytes: 8, dash_bytes: 2, alphabet: NameAlphabet::Portable, ..NameRules::up_to(80) };
        })
    });
}

#[test]
fn a_simulator_whose_calls_cannot_be_repeated() {
    hold_all("a simulator whose calls cannot be repeated", |_| SimBench::able_to(|can| can.repeatable = false));
}

#[test]
fn a_simulator_that_restores_in_several_steps() {
    let inapplicable = hold_all("a simulator that restores in several steps", |_| {
        SimBench::able_to(|can| can.restore = Restores::InSteps)
    });
    assert_eq!(inapplicable, ["records_show_what_was_made_until_it_is_destroyed"], "claims that no driver is held to");
}

#[test]
fn a_simulator_that_answers_only_for_names() {
    hold_all("a simulator that answers only for names", |_| {
        SimBench::able_to(|can| {
            can.absence = Absence::ByName;
            can.snapshots = Some(SnapshotAbility { nested: true, while_open: true, adopt: true });
        })
    });
}

#[test]
fn a_simulator_whose_ledger_proves_absence() {
    let inapplicable = hold_all("a simulator whose ledger proves absence", |_| {
        SimBench::able_to(|can| {
            can.absence = Absence::ByLedger;
            can.trash = TrashAbility::None;
            can.adopt = false;
            can.snapshots = Some(SnapshotAbility { nested: false, while_open: true, adopt: false });
        })
    });
    assert!(!inapplicable.contains(&"records_show_what_was_made_until_it_is_destroyed"));
}

#[test]
fn a_simulator_that_is_blind_to_clients() {
    hold_all("a simulator that is blind to clients", |_| {
        SimBench::able_to(|can| {
            can.client_visibility = ClientVisibility::None;
            can.snapshots = Some(SnapshotAbility { nested: false, while_open: false, adopt: true });
        })
    });
}

#[test]
fn local_on_the_file_system_of_the_temporary_directory() {
    let dir = tempfile::tempdir().unwrap();
    hold_all("local", |_| LocalBench::below(dir.path()));
}

#[test]
fn local_on_ext4() {
    // As large as that of XFS: what fits there must fit here, and the image is sparse.
    let mount = Mounted::new("ext4", "e2fsprogs", 320 << 20, &[]);
    hold_all("local on ext4", |_| LocalBench::below(&mount.at));
}

#[test]
fn local_on_xfs() {
    // Below 300 MB, mkfs.xfs makes nothing.
    let mount = Mounted::new("xfs", "xfsprogs", 320 << 20, &[]);
    hold_all("local on XFS", |_| LocalBench::below(&mount.at));
}

#[test]
fn local_on_btrfs() {
    // Below 109 MiB, mkfs.btrfs makes nothing.
    let mount = Mounted::new("btrfs", "btrfs-progs", 512 << 20, &[]);
    hold_all("local on btrfs", |_| LocalBench::below(&mount.at));
}

/// A copy that finds out half-way that there is no room has filled the pool for everybody else.
#[test]
fn a_copy_without_room_is_refused_before_it_begins() {
    let mount = Mounted::new("ext4", "e2fsprogs", 96 << 20, &["-m", "0"]);
    let bench = LocalBench::below(&mount.at);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kit = Kit::new(&bench).await;
        assert_eq!(kit.can().shares_blocks, None);
        let volume = kit.identity(Kind::Volume, "db");
        let size = Size(40 << 20);
        assert_eq!(kit.act(&volume, kit.create_action(size, None)).await, Ok(Outcome::Changed));
        let data = std::fs::OpenOptions::new().write(true).open(bench.path(&volume.native())).unwrap();
        std::io::Write::write_all(&mut &data, &vec![7; 30 << 20]).unwrap();
        drop(data);
        let object = kit.reference(&volume, size);
        // Room for one copy and not for two: the first waits at its beginning, with its room taken.
        let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let waiting = StepContext {
            now: 0,
            progress: Arc::new(move |done, _| {
                if done == 0 {
                    begun.send(()).unwrap();
                    wait.lock().unwrap().recv().unwrap();
                }
            }),
        };
        let first = kit.step(&kit.identity(Kind::Snapshot, "first"), kit.snapshot_action(&object));
        let running = tokio::spawn({
            let driver = Arc::clone(&kit.driver);
            async move { driver.execute(&first, &waiting).await }
        });
        has_begun.recv().await.unwrap();
        let never = || StepContext { now: 0, progress: Arc::new(|_, _| panic!("it was begun")) };
        let elsewhere = tempfile::tempdir().unwrap();
        let image = elsewhere.path().join("disk.qcow2");
        let raw = bench.path(&volume.native());
        run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2"], &[&raw, &image], "the package is qemu-utils");
        let image = ImageRef { path: image, format: ImageFormat::Qcow2, sha256: None };
        let origin = Origin::Image { image: image.clone(), size: Some(size) };
        for step in [
            kit.step(&kit.identity(Kind::Snapshot, "second"), kit.snapshot_action(&object)),
            kit.step(
                &kit.identity(Kind::Volume, "clone"),
                kit.create_action(size, Some(Origin::Volume(object.clone()))),
            ),
            kit.step(&kit.identity(Kind::Volume, "imported"), kit.create_action(size, Some(origin))),
        ] {
            let before = kit.all().await.objects;
            let error = kit.driver.execute(&step, &never()).await.unwrap_err();
            assert_eq!((error.kind, error.effect), (ErrorKind::Full, Effect::No), "{error}");
            assert!(error.message.contains("nothing was copied"), "{error}");
            assert_eq!(kit.all().await.objects, before, "{:?} left something", step.action);
        }
        let takes = match kiln::driver::image::look(&image) {
            ImageObservation::Good { used, .. } => used,
            other => panic!("{other:?}"),
        };
        assert!(((30 << 20)..(31 << 20)).contains(&takes), "the data of the image, not its disk: {takes}");
        go.send(()).unwrap();
        assert_eq!(running.await.unwrap(), Ok(Outcome::Changed));
    });
}

fn free_in(at: &Path) -> u64 {
    let stat = rustix::fs::statvfs(at).unwrap();
    stat.f_bavail * stat.f_frsize
}

/// Fills a file system with a file, up to so many bytes.
fn leave_free(at: &Path, file: &Path, bytes: u64) {
    let file = std::fs::File::create(file).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free_in(at) - bytes).unwrap();
}

/// Others write while space is reserved: what they leave free is not used up.
#[test]
fn a_reservation_that_loses_its_room_leaves_the_rest_free() {
    const MIB: u64 = 1 << 20;
    let mount = Mounted::new("ext4", "e2fsprogs", 1024 * MIB, &["-m", "0"]);
    let bench = LocalBench::below(&mount.at);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kit = Kit::new(&bench).await;
        let volume = kit.identity(Kind::Volume, "db");
        let size = Size(600 * MIB);
        assert_eq!(kit.act(&volume, kit.create_action(size, None)).await, Ok(Outcome::Changed));
        let reserve = kit.step(&volume, Action::Reserve);
        let other = mount.at.join("other");
        let free = || free_in(&mount.at);
        leave_free(&mount.at, &other, 300 * MIB);
        let error = kit.driver.execute(&reserve, &StepContext::at(1)).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Full, Effect::No), "{error}");
        let message = &error.message;
        assert!(message.contains("reserving the space of") && message.ends_with("nothing was reserved"), "{error}");
        std::fs::remove_file(&other).unwrap();
        // Now the room is taken while the space is reserved.
        let at_first = std::sync::Once::new();
        let (mount_at, other_at) = (mount.at.clone(), other.clone());
        let progress = move |done, total| {
            assert_eq!(total, size.bytes());
            at_first.call_once(|| {
                assert!(done < total, "in pieces");
                leave_free(&mount_at, &other_at, 200 * MIB);
            });
        };
        let context = StepContext { now: 1, progress: Arc::new(progress) };
        let error = kit.driver.execute(&reserve, &context).await.unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Full, Effect::Unknown), "{error}");
        assert!(free() > 190 * MIB, "{} are free", free());
        std::fs::remove_file(&other).unwrap();
        assert_eq!(kit.run(&reserve).await, Ok(Outcome::Changed));
        assert!(free() < 424 * MIB);
    });
}

/// A file occupies what lists its extents too.
#[test]
fn the_holes_of_a_fragmented_file_are_reserved() {
    const MIB: u64 = 1 << 20;
    let mount = Mounted::new("ext4", "e2fsprogs", 96 * MIB, &["-m", "0", "-b", "4096"]);
    let bench = LocalBench::below(&mount.at);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kit = Kit::new(&bench).await;
        let volume = kit.identity(Kind::Volume, "db");
        assert_eq!(kit.act(&volume, kit.create_action(Size(MIB), None)).await, Ok(Outcome::Changed));
        let path = bench.path(&volume.native());
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, flags, 0, MIB).unwrap();
        // Written and unwritten blocks are different extents.
        for block in (0..256).step_by(2) {
            std::os::unix::fs::FileExt::write_all_at(&file, &[7; 4096], block * 4096).unwrap();
        }
        file.sync_all().unwrap();
        rustix::fs::fallocate(&file, flags | rustix::fs::FallocateFlags::PUNCH_HOLE, 100 * 4096, 4096).unwrap();
        file.sync_all().unwrap();
        drop(file);
        let used = || std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap()) * 512;
        let before = used();
        assert!(before >= MIB, "{before}");
        let reserve = kit.step(&volume, Action::Reserve);
        assert_eq!(kit.run(&reserve).await, Ok(Outcome::Changed));
        assert_eq!(used(), before + 4096);
        assert_eq!(kit.run(&reserve).await, Ok(Outcome::Unchanged));
    });
}
