//! Inspects an image before a volume is created from it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use serde::Deserialize;

use super::head::{self, HEAD, Qcow2, TAIL};
use crate::driver::local::content;
use crate::driver::local::evidence::FileStamp;
use crate::driver::local::lease::{self, Lease, Leased};
use crate::driver::tool::{self, ToolLimits, ToolOutput};
use crate::model::{DriverError, ErrorKind, ImageFormat, ImageObservation, ImageRef, Size};

/// The limits of an inspection. Reading all tables of a qcow2 image of 10 TiB takes some seconds.
const LOOKING: ToolLimits = ToolLimits { time: Some(Duration::from_secs(60)), cpu: Some(30), memory: 1 << 30, file: 0 };

/// Inspects an image: whether it exists, has the declared format and refers to no other file, and the size of its disk. Blocks.
pub fn look(image: &ImageRef) -> ImageObservation {
    match open(image) {
        Ok(opened) => ImageObservation::Good { size: Size(opened.size), used: opened.used, device: opened.device },
        Err(error) if error.kind == ErrorKind::NotFound => ImageObservation::Missing,
        Err(error) => ImageObservation::Refused { why: error.message },
    }
}

/// An open image that was inspected.
pub(super) struct OpenedImage {
    pub(super) file: OwnedFd,
    /// Size of the disk.
    pub(super) size: u64,
    /// Maximum number of bytes that a copy of the disk occupies.
    pub(super) used: u64,
    /// The device on which a copy can share its blocks.
    device: Option<u64>,
    stamp: FileStamp,
}

impl OpenedImage {
    /// Whether the image is unchanged since the inspection started. Otherwise a user with write permission could add a reference to another
    /// file afterwards.
    pub(super) fn is_unchanged(&self) -> Result<bool, Errno> {
        Ok(FileStamp::of(&self.file)? == self.stamp)
    }
}

/// Opens and inspects an image.
///
/// # Errors
/// `NotFound`; `Denied`; `Conflict` if it has another format or refers to other files; `Unsupported` without `qemu-img`. The message is the
/// end of a sentence about the image.
pub(super) fn open(image: &ImageRef) -> Result<OpenedImage, DriverError> {
    // Does not block on a FIFO.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = fs::open(&image.path, flags, Mode::empty()).map_err(|errno| {
        let kind = match errno {
            Errno::NOENT | Errno::NOTDIR => ErrorKind::NotFound,
            Errno::ACCESS | Errno::PERM => ErrorKind::Denied,
            _ => ErrorKind::Permanent,
        };
        DriverError::before(kind, format!("it cannot be opened: {errno}"))
    })?;
    let unread = |errno: Errno| DriverError::before(ErrorKind::Permanent, format!("it cannot be read: {errno}"));
    let refuse = |why: String| DriverError::before(ErrorKind::Conflict, why);
    let stat = fs::fstat(&file).map_err(unread)?;
    let stamp = FileStamp::of(&file).map_err(unread)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refuse("it is not a regular file".to_owned()));
    }
    if let Leased::Writers = Lease::take(file.as_fd()) {
        let who = lease::writers(file.as_fd()).join(", ");
        return Err(DriverError::before(ErrorKind::Busy, format!("it is open for writing by {who}")));
    }
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    let (head, tail) = ends_of(&file, length).map_err(unread)?;
    if let Some(other) = head::other_format(image.format, &head, &tail) {
        return Err(refuse(format!(
            "it is an image of the format {other} by its content, not {}{}",
            image.format,
            if other == "qcow2" { ": write `format: qcow2`" } else { "" }
        )));
    }
    let (size, used, device) = match image.format {
        ImageFormat::Raw if length == 0 => return Err(refuse("it is empty".to_owned())),
        ImageFormat::Raw => (length, content::allocated(&stat).min(length), Some(stat.st_dev)),
        ImageFormat::Qcow2 => {
            let header = head::qcow2(&head).map_err(refuse)?;
            let clusters = second_opinion(&file, length, &header)?;
            (header.size, clusters.saturating_mul(header.cluster).min(header.size), None)
        }
    };
    Ok(OpenedImage { file, size, used, device, stamp })
}

/// Returns the image format of a file by its content. `None` for a raw disk.
///
/// # Errors
/// If it cannot be read.
pub(in crate::driver) fn format_of(file: &OwnedFd) -> Result<Option<&'static str>, Errno> {
    let length = u64::try_from(fs::fstat(file)?.st_size).unwrap_or(0);
    let (head, tail) = ends_of(file, length)?;
    Ok(head::other_format(ImageFormat::Raw, &head, &tail))
}

/// Reads the start and the end of a file.
fn ends_of(file: &OwnedFd, length: u64) -> Result<(Vec<u8>, Vec<u8>), Errno> {
    Ok((read_at(file, 0, HEAD)?, read_at(file, length.saturating_sub(TAIL as u64), TAIL)?))
}

/// Reads a part of a file, which is shorter at the end of the file.
fn read_at(file: &OwnedFd, at: u64, length: usize) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; length];
    let mut done = 0;
    while done < length {
        match retry_on_intr(|| rustix::io::pread(file, &mut buffer[done..], at + done as u64))? {
            0 => break,
            n => done += n,
        }
    }
    buffer.truncate(done);
    Ok(buffer)
}

/// Returns the path by which a tool opens a file that this process has open. It leads to the file itself, even if the file was renamed.
pub(super) fn name_for_tools(file: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// Output of `qemu-img info --output=json`: the size, and the fields that must be absent.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    virtual_size: u64,
    format: String,
    backing_filename: Option<String>,
    full_backing_filename: Option<String>,
    #[serde(default)]
    encrypted: bool,
    format_specific: Option<Specific>,
}

#[derive(Deserialize)]
struct Specific {
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Data {
    data_file: Option<String>,
}

/// Checks with QEMU that an image with a safe header is safe and complete. (QEMU reads a truncated file as zeroes without an error; only its
/// check detects it.) Returns the number of clusters with data.
pub(super) fn second_opinion(file: &OwnedFd, length: u64, header: &Qcow2) -> Result<u64, DriverError> {
    let refuse = |why: String| DriverError::before(ErrorKind::Conflict, why);
    let said = qemu_img(&["info", "--output=json", "-f", "qcow2"], &[name_for_tools(file)], LOOKING, &mut || Ok(()))?;
    if !said.status.success() {
        return Err(refuse(format!("qemu-img cannot read it ({}): {}", said.status, said.complaint())));
    }
    let info: Info = serde_json::from_slice(&said.out)
        .map_err(|error| refuse(format!("the output of qemu-img cannot be parsed: {error}")))?;
    let data_file = info.format_specific.and_then(|specific| specific.data).and_then(|data| data.data_file);
    let refers = info.backing_filename.or(info.full_backing_filename).or(data_file);
    if info.format != "qcow2" || refers.is_some() || info.encrypted || info.virtual_size != header.size {
        return Err(refuse("qemu-img reads its header differently, which is not safe".to_owned()));
    }
    let options = ["check", "--output=json", "-f", "qcow2"];
    let said = qemu_img(&options, &[name_for_tools(file)], LOOKING, &mut || Ok(()))?;
    let damaged = || refuse("it is damaged or truncated; `qemu-img check` shows where".to_owned());
    // Exit code 3: leaked clusters, which occupy space; no data is missing. Source: qemu-img(1).
    match said.status.code() {
        Some(0 | 3) => {}
        Some(2) => return Err(damaged()),
        _ => return Err(refuse(format!("qemu-img cannot check it ({}): {}", said.status, said.complaint()))),
    }
    let checked: CheckedImage = serde_json::from_slice(&said.out)
        .map_err(|error| refuse(format!("the output of qemu-img cannot be parsed: {error}")))?;
    // QEMU tolerates up to a cluster missing at the end, because an image without data may end after its first table, and any image after
    // compressed data. Any other last cluster must be complete, or data is lost.
    let last = header.table_end.checked_next_multiple_of(header.cluster);
    let table_is_last = last.is_some_and(|end| end >= checked.image_end_offset);
    // The table of internal snapshots is written last, and is not padded either.
    let list_end = snapshots_end(file, header).map_err(|_| damaged())?;
    let list_is_last =
        list_end.checked_next_multiple_of(header.cluster).is_some_and(|end| end >= checked.image_end_offset);
    let may_end_early = table_is_last
        || header.snapshots > 0 && list_is_last
        || checked.compressed_clusters > 0 && checked.orphans == 0;
    if length < header.table_end || length < list_end || length < checked.image_end_offset && !may_end_early {
        return Err(damaged());
    }
    Ok(checked.allocated_clusters)
}

/// Returns the end of the table of internal snapshots; 0 without any. Volumes are created from the current state of the image; the snapshots
/// only show whether the file is complete.
fn snapshots_end(file: &OwnedFd, header: &Qcow2) -> Result<u64, Errno> {
    // Source of the lengths in an entry: docs/interop/qcow2.txt of QEMU.
    const ENTRY: u64 = 40;
    let mut end = if header.snapshots == 0 { 0 } else { header.snapshots_at };
    for _ in 0..header.snapshots {
        let at = end.checked_next_multiple_of(8).ok_or(Errno::INVAL)?;
        let entry = read_at(file, at, ENTRY as usize)?;
        let u16_at = |at: usize| Some(u16::from_be_bytes(entry.get(at..at + 2)?.try_into().ok()?));
        let extra = || Some(u32::from_be_bytes(entry.get(36..40)?.try_into().ok()?));
        let (Some(id), Some(name), Some(extra)) = (u16_at(12), u16_at(14), extra()) else { return Err(Errno::INVAL) };
        let length = ENTRY + u64::from(id) + u64::from(name) + u64::from(extra);
        end = at.checked_add(length).ok_or(Errno::INVAL)?;
    }
    Ok(end)
}

/// Output of `qemu-img check --output=json`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CheckedImage {
    image_end_offset: u64,
    #[serde(default)]
    allocated_clusters: u64,
    #[serde(default)]
    compressed_clusters: u64,
    #[serde(default)]
    orphans: u64,
}

/// Runs `qemu-img`. The options include the formats.
pub(super) fn qemu_img(
    options: &[&str],
    operands: &[String],
    limits: ToolLimits,
    go_on: &mut dyn FnMut() -> Result<(), DriverError>,
) -> Result<ToolOutput, DriverError> {
    let options = options.iter().map(|option| (*option).to_owned());
    let arguments: Vec<String> = options.chain(["--".to_owned()]).chain(operands.iter().cloned()).collect();
    tool::run("qemu-img", &arguments, limits, go_on).map_err(|error| match error.kind {
        ErrorKind::Unsupported => {
            DriverError { message: format!("{} (package qemu-utils on Debian)", error.message), ..error }
        }
        _ => error,
    })
}
