//! Writes a volume or snapshot to an image file.

use std::fs::Metadata;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::{self, FileType, Mode, OFlags};

use super::fill::{CONVERTING_MEMORY, conversion_failed};
use super::inspect::{format_of, name_for_tools, qemu_img};
use crate::driver::NewFile;
use crate::driver::local::content::{self, CopyWork};
use crate::driver::local::evidence::FileStamp;
use crate::driver::local::fail;
use crate::driver::local::lease::{self, Lease, Leased};
use crate::driver::tool::ToolLimits;
use crate::model::{DriverError, ErrorKind, ImageFormat, NativeName};

/// The source and the target of an export.
#[derive(Debug, Clone)]
pub struct Export<'a> {
    /// The source: a regular file with the raw disk.
    pub from: &'a Path,
    /// The name of the source in messages.
    pub what: &'a str,
    /// The target.
    pub file: &'a Path,
    /// The format of the target.
    pub format: ImageFormat,
    /// Whether to replace an existing target.
    pub force: bool,
    /// Set to abandon the export, which then leaves no file.
    pub abandoned: Arc<AtomicBool>,
}

/// Writes an image, completely or not at all ([`NewFile`]). Blocks.
///
/// # Errors
/// `Busy` if a process has the source open for writing, or another export to the file is running; `Conflict` if the file exists;
/// `Full`, `Denied`, …
pub fn export(export: &Export<'_>, progress: Arc<dyn Fn(u64, u64) + Send + Sync>) -> Result<(), DriverError> {
    let Export { from, what, file, format, force, abandoned } = export;
    let conflict = |message: String| DriverError::before(ErrorKind::Conflict, message);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let source = fs::open(*from, flags, Mode::empty()).map_err(|e| fail::before(format!("opening {what}"), e))?;
    let stat = fs::fstat(&source).map_err(|e| fail::before(format!("reading {what}"), e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(conflict(format!("{what} is not a regular file")));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if *format == ImageFormat::Raw
        && let Some(other) = format_of(&source).map_err(|e| fail::before(format!("reading {what}"), e))?
    {
        return Err(conflict(format!(
            "{what} holds an image of the format {other}: a raw file of it would be read as that image and not as the disk; \
             export it with `--format qcow2`, which keeps every byte"
        )));
    }
    let busy = |who: String| {
        DriverError::before(
            ErrorKind::Busy,
            format!("{what} is open for writing by {who}; an image of it would be inconsistent"),
        )
    };
    let lease = match Lease::take(source.as_fd()) {
        Leased::Idle(lease) | Leased::Unproven(lease) => Some(lease),
        Leased::Writers => return Err(busy(lease::writers(source.as_fd()).join(", "))),
        Leased::Unknown => None,
    };
    let stamp = || FileStamp::of(&source).map_err(|e| fail::before(format!("reading {what}"), e));
    let before = stamp()?;
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| conflict(format!("{} does not name a file", file.display())))?;
    check_target(file, name, (stat.st_dev, stat.st_ino), *force)?;
    // An incomplete image is removed on drop.
    let target = NewFile::begin(file, 0o600)?;
    let work = CopyWork { now: 0, progress, abandoned: Arc::clone(abandoned) };
    match format {
        ImageFormat::Raw => {
            // The copy takes a lease of its own.
            drop(lease);
            content::fill(target.file(), &source, size, false, what, &work)?;
        }
        ImageFormat::Qcow2 => {
            convert(&source, target.file(), size, what, &work, &|| lease.as_ref().is_some_and(Lease::broken))?;
        }
    }
    work.check()?;
    if stamp()?.written != before.written {
        return Err(busy("a process that wrote to it meanwhile".to_owned()));
    }
    target.publish(*force)
}

/// Refuses a target that must not be replaced.
fn check_target(file: &Path, name: &str, source: (u64, u64), force: bool) -> Result<(), DriverError> {
    let conflict =
        |message: &str| Err(DriverError::before(ErrorKind::Conflict, format!("{}: {message}", file.display())));
    // A relative path may begin inside the directory of an object.
    let whole = file
        .parent()
        .and_then(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent }.canonicalize().ok());
    let ours = |name: &str| NativeName::new(name.strip_suffix(".img").unwrap_or(name)).parse().is_some();
    if ours(name) || whole.is_some_and(|dir| dir.iter().any(|part| part.to_str().is_some_and(ours))) {
        return conflict("this path belongs to an object of Kiln");
    }
    match file.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(_) if !force => conflict("the file exists; --force replaces it"),
        Ok(there) if same(&there, source) => conflict("this is the volume itself"),
        Ok(there) if !there.is_file() => conflict("it is not a regular file, and is not replaced"),
        Ok(_) => Ok(()),
    }
}

fn same(there: &Metadata, source: (u64, u64)) -> bool {
    (there.dev(), there.ino()) == source
}

fn convert(
    from: &OwnedFd,
    into: &OwnedFd,
    size: u64,
    what: &str,
    work: &CopyWork,
    disturbed: &dyn Fn() -> bool,
) -> Result<(), DriverError> {
    let limits = ToolLimits { time: None, cpu: None, memory: CONVERTING_MEMORY, file: u64::MAX };
    let names = [name_for_tools(from), name_for_tools(into)];
    let busy = || DriverError::before(ErrorKind::Busy, format!("{what} was opened for writing meanwhile"));
    // The tool writes no zeroes.
    let data = fs::fstat(from).map_or(0, |stat| content::allocated(&stat)).min(size);
    let said = qemu_img(&["convert", "-f", "raw", "-O", "qcow2"], &names, limits, &mut || {
        let written = fs::fstat(into).map_or(0, |stat| content::allocated(&stat));
        (work.progress)(written.min(data), data);
        if disturbed() { Err(busy()) } else { work.check() }
    })?;
    if disturbed() {
        return Err(busy());
    }
    if !said.status.success() {
        return Err(conversion_failed(what, &said));
    }
    (work.progress)(data, data);
    Ok(())
}
