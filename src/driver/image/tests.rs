//! Images as good and as bad people write them, with the real `qemu-img`; without it these fail.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::inspect::qemu_img;
use super::*;
use crate::driver::local::content::CopyWork;
use crate::driver::tool::ToolLimits;
use crate::model::{DriverError, ErrorKind, ImageFormat, ImageObservation, ImageRef, Size};

const MIB: u64 = 1 << 20;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A sparse disk of 8 MiB with something at a few places.
    fn disk(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let file = fs::File::create(&path).unwrap();
        file.set_len(8 * MIB).unwrap();
        for (n, at) in [0, 70_000, 3 * MIB + 5, 8 * MIB - 4096].into_iter().enumerate() {
            file.write_all_at(&[n as u8 + 1; 4096], at).unwrap();
        }
        path
    }

    /// `qemu-img OPTIONS -- OPERANDS`, with names in this directory.
    fn qemu(&self, options: &[&str], operands: &[&str]) {
        let named = |name: &&str| {
            if name.chars().next().is_some_and(char::is_alphabetic) {
                self.path(name).display().to_string()
            } else {
                (*name).to_owned()
            }
        };
        let operands: Vec<String> = operands.iter().map(named).collect();
        let limits = ToolLimits { time: Some(Duration::from_secs(60)), cpu: None, memory: 8 << 30, file: u64::MAX };
        let said = qemu_img(options, &operands, limits, &mut || Ok(())).unwrap();
        assert!(said.status.success(), "{options:?}: {}", said.complaint());
    }

    /// The disk as qcow2.
    fn qcow2(&self, name: &str) -> PathBuf {
        self.disk("disk.raw");
        self.qemu(&["convert", "-f", "raw", "-O", "qcow2"], &["disk.raw", name]);
        self.path(name)
    }

    fn fill(&self, image: &ImageRef, size: u64, thick: bool) -> Result<PathBuf, DriverError> {
        let Size(seen) = match look(image) {
            ImageObservation::Good { size, .. } => size,
            other => panic!("{other:?}"),
        };
        let path = self.path("volume");
        let source = open(image, Some(Size(seen)), size)?;
        let _ = fs::remove_file(&path);
        let into = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let work = CopyWork {
            now: 0,
            progress: Arc::new(move |done, all| tell.lock().unwrap().push((done, all))),
            abandoned: Arc::default(),
        };
        source.fill(&into.into(), size, thick, &work)?;
        let told = told.lock().unwrap();
        assert!(!told.is_empty() && told.iter().all(|(done, all)| done <= all), "{told:?}");
        assert!(told.is_sorted_by_key(|(done, _)| *done), "{told:?}");
        let data = told.iter().map(|(_, all)| *all).max().unwrap_or_default();
        assert!(data <= fs::metadata(&image.path).unwrap().len(), "what is checked is not copied: {told:?}");
        Ok(path)
    }
}

fn raw(path: &Path) -> ImageRef {
    ImageRef { path: path.to_owned(), format: ImageFormat::Raw, sha256: None }
}

fn qcow2(path: &Path) -> ImageRef {
    ImageRef { format: ImageFormat::Qcow2, ..raw(path) }
}

fn sha256(path: &Path) -> Option<String> {
    let hash = Sha256::digest(fs::read(path).unwrap());
    Some(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[track_caller]
fn refused(image: &ImageRef, part: &str) {
    match look(image) {
        ImageObservation::Refused { why } => assert!(why.contains(part), "{part:?} is not in {why:?}"),
        other => panic!("{other:?}: {part}"),
    }
    assert!(open(image, Some(Size(8 * MIB)), 1 << 60).is_err(), "nothing is begun with it");
}

#[test]
fn an_image_is_copied_bit_for_bit_and_keeps_its_holes() {
    let bench = Bench::new();
    let (flat, packed) = (bench.disk("a.raw"), bench.qcow2("a.qcow2"));
    let wanted = fs::read(&flat).unwrap();
    for image in [raw(&flat), qcow2(&packed)] {
        for sha256 in [None, sha256(&image.path)] {
            for (size, thick) in [(8 * MIB, false), (12 * MIB, false), (12 * MIB, true)] {
                let image = ImageRef { sha256: sha256.clone(), ..image.clone() };
                assert!(matches!(look(&image), ImageObservation::Good { size: Size(s), .. } if s == 8 * MIB));
                let volume = bench.fill(&image, size, thick).unwrap();
                let got = fs::read(&volume).unwrap();
                assert_eq!(got.len() as u64, size);
                assert!(got[..wanted.len()] == wanted[..], "{image:?}");
                assert!(got[wanted.len()..].iter().all(|byte| *byte == 0));
                let used = volume.metadata().unwrap().blocks() * 512;
                assert_eq!(used >= size, thick, "{used} of {size} are used: {image:?}");
            }
        }
    }
}

#[test]
fn content_that_differs_from_the_checksum_is_refused() {
    let bench = Bench::new();
    for image in [raw(&bench.disk("a.raw")), qcow2(&bench.qcow2("a.qcow2"))] {
        let image = ImageRef { sha256: Some("0".repeat(64)), ..image };
        let error = bench.fill(&image, 8 * MIB, false).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.message.contains(&sha256(&image.path).unwrap()), "{error}");
    }
}

#[test]
fn a_missing_path_or_a_directory_is_no_image() {
    let bench = Bench::new();
    assert_eq!(look(&raw(&bench.path("gone"))), ImageObservation::Missing);
    assert_eq!(look(&raw(&bench.path("gone/further"))), ImageObservation::Missing);
    refused(&raw(bench.0.path()), "not a regular file");
    rustix::fs::mknodat(rustix::fs::CWD, bench.path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    refused(&raw(&bench.path("fifo")), "not a regular file");
    refused(&raw(Path::new("/dev/zero")), "not a regular file");
    fs::write(bench.path("empty"), b"").unwrap();
    refused(&raw(&bench.path("empty")), "empty");
    refused(&qcow2(&bench.path("empty")), "does not begin");
}

#[test]
fn an_image_that_refers_to_other_files_is_refused() {
    let bench = Bench::new();
    let good = bench.qcow2("good.qcow2");
    fs::write(bench.path("secret"), vec![7; MIB as usize]).unwrap();
    bench
        .qemu(&["create", "-f", "qcow2", "-b", bench.path("secret").to_str().unwrap(), "-F", "raw"], &["backed.qcow2"]);
    refused(&qcow2(&bench.path("backed.qcow2")), "backing file");
    let data = format!("data_file={},data_file_raw=on", bench.path("data").display());
    bench.qemu(&["create", "-f", "qcow2", "-o", &data], &["split.qcow2", "1M"]);
    refused(&qcow2(&bench.path("split.qcow2")), "data file");
    // The bit alone, without the name.
    let bytes = fs::read(&good).unwrap();
    let with = |name: &str, at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        fs::write(bench.path(name), bytes).unwrap();
        bench.path(name)
    };
    refused(&qcow2(&with("bit", 79, 4)), "data file");
    refused(&qcow2(&with("encrypted", 35, 1)), "encrypted");
    refused(&qcow2(&with("corrupt", 79, 2)), "corrupt");
    let mut both = bytes.clone();
    both[0x8001..0x8006].copy_from_slice(b"CD001");
    fs::write(bench.path("iso"), both).unwrap();
    refused(&qcow2(&bench.path("iso")), "format iso");
    let text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/passwd\" 0\n";
    fs::write(bench.path("vmdk"), text).unwrap();
    refused(&raw(&bench.path("vmdk")), "format vmdk");
    refused(&qcow2(&bench.path("vmdk")), "format vmdk");
}

/// The reader of headers refuses these images before QEMU is asked, so that QEMU is asked alone here, with the header of a good one.
#[test]
fn qemu_is_asked_too_whether_an_image_refers_to_other_files() {
    let bench = Bench::new();
    let good = bench.qcow2("good.qcow2");
    let header = head::qcow2(&fs::read(&good).unwrap()).unwrap();
    let asked = |name: &str| {
        let file = fs::File::open(bench.path(name)).unwrap();
        let length = file.metadata().unwrap().len();
        inspect::second_opinion(&file.into(), length, &header).map(|_| ()).map_err(|error| error.message)
    };
    assert_eq!(asked("good.qcow2"), Ok(()));
    let (data, luks) = (format!("data_file={}", bench.path("data").display()), bench.path("key"));
    fs::write(&luks, "passphrase").unwrap();
    let secret = format!("secret,id=s,file={}", luks.display());
    bench.qemu(
        &["create", "-f", "qcow2", "-b", bench.path("disk.raw").to_str().unwrap(), "-F", "raw"],
        &["backed", "8M"],
    );
    bench.qemu(&["create", "-f", "qcow2", "-o", &data], &["split", "8M"]);
    bench.qemu(&["create", "-f", "qcow2"], &["larger", "9M"]);
    let options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    bench.qemu(&["create", "--object", &secret, "-f", "qcow2", "-o", options], &["encrypted", "8M"]);
    for name in ["backed", "split", "larger", "encrypted"] {
        let answer = asked(name);
        assert!(answer.as_ref().is_err_and(|why| why.contains("differently, which is not safe")), "{name}: {answer:?}");
    }
}

#[test]
fn the_format_is_the_one_that_is_written() {
    let bench = Bench::new();
    refused(&raw(&bench.qcow2("a.qcow2")), "format qcow2");
    refused(&qcow2(&bench.disk("a.raw")), "does not begin");
    // What a guest can do: a whole disk that begins with a header which names a file of the host.
    let disk = bench.disk("guest.raw");
    fs::write(bench.path("x"), b"x").unwrap();
    bench.qemu(&["create", "-f", "qcow2", "-b", bench.path("x").to_str().unwrap(), "-F", "raw"], &["evil", "1M"]);
    let header = fs::read(bench.path("evil")).unwrap();
    fs::OpenOptions::new().write(true).open(&disk).unwrap().write_all_at(&header[..4096], 0).unwrap();
    refused(&raw(&disk), "format qcow2");
    refused(&qcow2(&disk), "backing file");
}

#[test]
fn damage_is_refused_and_never_read_as_zeroes() {
    let bench = Bench::new();
    let bytes = fs::read(bench.qcow2("good.qcow2")).unwrap();
    let cut = bench.path("cut.qcow2");
    for part in 0..25 {
        fs::write(&cut, &bytes[..bytes.len() * part / 25]).unwrap();
        refused(&qcow2(&cut), "");
    }
    // Random bytes behind a good beginning; a generator of its own, so that the seed is all there is to know.
    let seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut state = seed;
    let mut good = 0;
    for round in 0..12 {
        let mut bytes = bytes.clone();
        for _ in 0..8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = 24 + state as usize % 200_000;
            bytes[at] = (state >> 40) as u8;
        }
        fs::write(&cut, &bytes).unwrap();
        match look(&qcow2(&cut)) {
            ImageObservation::Good { .. } => good += 1,
            ImageObservation::Refused { why } => assert!(!why.is_empty(), "seed {seed:#x}, round {round}"),
            ImageObservation::Missing => panic!("seed {seed:#x}, round {round}"),
        }
    }
    assert!(good < 12, "no damage was ever seen");
}

#[test]
fn internal_snapshots_are_no_damage_and_a_volume_gets_the_current_state() {
    let bench = Bench::new();
    let path = bench.qcow2("a.qcow2");
    let wanted = fs::read(bench.path("disk.raw")).unwrap();
    for snapshots in 1..=3 {
        bench.qemu(&["snapshot", "-c", &format!("s{snapshots}")], &["a.qcow2"]);
        let volume = bench.fill(&qcow2(&path), 8 * MIB, false).unwrap();
        assert!(fs::read(volume).unwrap() == wanted, "{snapshots}");
    }
    // Its list of snapshots is the last thing in it, and ends within a cluster.
    let bytes = fs::read(&path).unwrap();
    assert_ne!(bytes.len() % (64 << 10), 0, "nothing is shown by this image");
    for missing in [1, 40, 70_000] {
        fs::write(&path, &bytes[..bytes.len() - missing]).unwrap();
        refused(&qcow2(&path), "truncated");
    }
}

#[test]
fn every_way_of_writing_qcow2_is_read() {
    let bench = Bench::new();
    let wanted = fs::read(bench.disk("disk.raw")).unwrap();
    for options in [
        &["-c"][..],
        &["-o", "compat=0.10"],
        &["-o", "cluster_size=512"],
        &["-o", "cluster_size=2M"],
        &["-o", "preallocation=metadata"],
        &["-o", "extended_l2=on,cluster_size=128k"],
    ] {
        bench.qemu(&[&["convert", "-f", "raw", "-O", "qcow2"], options].concat(), &["disk.raw", "a.qcow2"]);
        let volume = bench.fill(&qcow2(&bench.path("a.qcow2")), 8 * MIB, false).unwrap();
        assert!(fs::read(volume).unwrap() == wanted, "{options:?}");
        fs::remove_file(bench.path("a.qcow2")).unwrap();
    }
    bench.qemu(&["create", "-f", "qcow2"], &["empty.qcow2", "8M"]);
    let volume = bench.fill(&qcow2(&bench.path("empty.qcow2")), 8 * MIB, false).unwrap();
    assert!(fs::read(volume).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn inspecting_a_huge_disk_reads_little() {
    let bench = Bench::new();
    bench.qemu(&["create", "-f", "qcow2", "-o", "cluster_size=2M"], &["huge.qcow2", "1P"]);
    let image = qcow2(&bench.path("huge.qcow2"));
    let size = match look(&image) {
        ImageObservation::Good { size, .. } => size,
        // Where its tables alone are more than a look may use.
        ImageObservation::Refused { .. } => return,
        ImageObservation::Missing => panic!(),
    };
    assert_eq!(size, Size(1 << 50));
    let error = open(&image, Some(size), 1 << 30).err().unwrap();
    assert!(error.kind == ErrorKind::Conflict && error.message.contains("1125899906842624"), "{error}");
}

#[test]
fn an_image_that_is_not_the_planned_one_or_is_written_to_is_refused() {
    let bench = Bench::new();
    let image = raw(&bench.disk("a.raw"));
    for seen in [None, Some(Size(MIB))] {
        assert_eq!(open(&image, seen, 8 * MIB).err().unwrap().kind, ErrorKind::Conflict);
    }
    let _writer = fs::OpenOptions::new().append(true).open(&image.path).unwrap();
    refused(&image, "open for writing");
}

#[test]
fn a_backing_file_added_after_inspection_is_never_opened() {
    let bench = Bench::new();
    let path = bench.qcow2("a.qcow2");
    fs::write(bench.path("secret"), vec![7; 8 * MIB as usize]).unwrap();
    let secret = bench.path("secret");
    bench.qemu(&["create", "-f", "qcow2", "-b", secret.to_str().unwrap(), "-F", "raw"], &["evil", "8M"]);
    for image in [qcow2(&path), raw(&bench.disk("a.raw"))] {
        let source = open(&image, Some(Size(8 * MIB)), 8 * MIB).unwrap();
        let evil = fs::read(bench.path("evil")).unwrap();
        let writer = fs::OpenOptions::new().write(true).open(&image.path).unwrap();
        writer.write_all_at(&evil, 0).unwrap();
        // Its times set back, as its owner can.
        writer.set_modified(std::time::UNIX_EPOCH).unwrap();
        drop(writer);
        let into = fs::File::create_new(bench.path("volume")).unwrap();
        let work = CopyWork { now: 0, progress: Arc::new(|_, _| ()), abandoned: Arc::default() };
        let error = source.fill(&into.into(), 8 * MIB, false, &work).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Busy, "{error}");
        let got = fs::read(bench.path("volume")).unwrap();
        assert!(!got.chunks(512).any(|block| block == [7; 512]), "the secret is in it");
        fs::remove_file(bench.path("volume")).unwrap();
    }
}

#[test]
fn a_disk_goes_out_whole_or_not_at_all() {
    let bench = Bench::new();
    let disk = bench.disk("disk.raw");
    let wanted = fs::read(&disk).unwrap();
    let out = bench.path("out");
    let nothing: Arc<dyn Fn(u64, u64) + Send + Sync> = Arc::new(|_, _| ());
    for format in [ImageFormat::Raw, ImageFormat::Qcow2] {
        let mut wish =
            Export { from: &disk, what: "volume/db", file: &out, format, force: false, abandoned: Arc::default() };
        // The rest of an interrupted run blocks nothing.
        fs::write(bench.path(".out.kiln-tmp"), b"half").unwrap();
        export(&wish, Arc::clone(&nothing)).unwrap();
        let error = export(&wish, Arc::clone(&nothing)).unwrap_err();
        assert!(error.kind == ErrorKind::Conflict && error.message.contains("--force"), "{error}");
        wish.force = true;
        export(&wish, Arc::clone(&nothing)).unwrap();
        assert!(!bench.path(".out.kiln-tmp").exists());
        let image = ImageRef { path: out.clone(), format, sha256: sha256(&out) };
        assert_eq!(fs::read(bench.fill(&image, 8 * MIB, false).unwrap()).unwrap(), wanted, "and back");

        let before = fs::read(&out).unwrap();
        let writer = fs::OpenOptions::new().append(true).open(&disk).unwrap();
        let error = export(&wish, Arc::clone(&nothing)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Busy, "{error}");
        drop(writer);
        let beside = fs::File::create(bench.path(".out.kiln-tmp")).unwrap();
        rustix::fs::flock(&beside, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let error = export(&wish, Arc::clone(&nothing)).unwrap_err();
        assert!(error.kind == ErrorKind::Busy && error.message.contains("another process"), "{error}");
        drop(beside);
        assert_eq!(fs::read(&out).unwrap(), before);
        fs::remove_file(&out).unwrap();
    }
}

#[test]
fn an_export_replaces_nothing_of_kilns() {
    let bench = Bench::new();
    let disk = bench.disk("disk.raw");
    let own = "kiln.prod.db.aaaaaaaa";
    fs::create_dir(bench.path(own)).unwrap();
    fs::create_dir(bench.path("dir")).unwrap();
    for (file, why) in [
        (bench.path(&format!("{own}/x.raw")), "object"),
        (bench.path(&format!("{own}.img")), "object"),
        (disk.clone(), "itself"),
        (bench.path("dir"), "regular"),
    ] {
        let wish = Export {
            from: &disk,
            what: "volume/db",
            file: &file,
            format: ImageFormat::Raw,
            force: true,
            abandoned: Arc::default(),
        };
        let error = export(&wish, Arc::new(|_, _| ())).unwrap_err();
        assert!(error.kind == ErrorKind::Conflict && error.message.contains(why), "{error}");
    }
}
