//! Copies an image into the data of a new volume.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs;
use rustix::io::{Errno, retry_on_intr};
use sha2::{Digest, Sha256};

use super::inspect::{self, name_for_tools, qemu_img};
use crate::driver::local::content::{self, CopyWork};
use crate::driver::local::lease::{Lease, Leased};
use crate::driver::tool::ToolLimits;
use crate::model::{DriverError, ErrorKind, ImageFormat, ImageRef, Size};

/// Bytes per read while hashing: large enough that the cost of calls is negligible.
const BUFFER: usize = 1 << 20;
/// Address space of a conversion: at most 64 threads, each with a stack of 8 MiB and a reserved arena of 64 MiB.
pub(super) const CONVERTING_MEMORY: u64 = 8 << 30;

/// An open image that was inspected and may be copied.
pub(in crate::driver) struct ImageSource<'a> {
    image: &'a ImageRef,
    opened: inspect::OpenedImage,
    what: String,
}

/// Opens an image for a volume of `size` bytes. `seen`: its observation when the step was planned. Changes nothing.
///
/// # Errors
/// `NotFound`; `Busy` if a process writes to it; `Conflict` if it differs from the observation, is too large, or must not be used.
pub(in crate::driver) fn open(image: &ImageRef, seen: Option<Size>, size: u64) -> Result<ImageSource<'_>, DriverError> {
    let what = format!("the {} image {}", image.format, image.path.display());
    let opened = inspect::open(image)
        .map_err(|error| DriverError { message: format!("{what} is not used: {}", error.message), ..error })?;
    let conflict = |message| Err(DriverError::before(ErrorKind::Conflict, message));
    if seen != Some(Size(opened.size)) {
        return conflict(format!("{what} has changed since it was inspected: its disk has {} bytes", opened.size));
    }
    if opened.size > size {
        return conflict(format!("{what} has a disk of {} bytes, and the volume {size}", opened.size));
    }
    Ok(ImageSource { image, opened, what })
}

impl ImageSource<'_> {
    /// Fills a new, empty file with the disk of the image, followed by zeroes up to `size`.
    ///
    /// # Errors
    /// `Conflict` if the checksum differs from the declared one, `Busy` if a process changed the image meanwhile, `Full`, …
    pub(in crate::driver) fn fill(
        &self,
        into: &OwnedFd,
        size: u64,
        thick: bool,
        work: &CopyWork,
    ) -> Result<(), DriverError> {
        match self.image.format {
            ImageFormat::Raw => self.copy(into, size, thick, work)?,
            ImageFormat::Qcow2 => self.convert(into, size, thick, work)?,
        }
        self.unchanged()
    }

    /// Refuses an image that was written to after the inspection began.
    fn unchanged(&self) -> Result<(), DriverError> {
        if self.opened.is_unchanged().map_err(|errno| self.failed("reading", errno))? {
            return Ok(());
        }
        let message = format!("{} was changed after it was inspected", self.what);
        Err(DriverError::before(ErrorKind::Busy, message))
    }

    /// The hash is computed from the copy, which no other process can access, so the checked content is the published content.
    fn copy(&self, into: &OwnedFd, size: u64, thick: bool, work: &CopyWork) -> Result<(), DriverError> {
        let copied = Arc::new(AtomicU64::new(0));
        let (tell, data) = (Arc::clone(&work.progress), Arc::clone(&copied));
        let copying = CopyWork {
            now: work.now,
            progress: Arc::new(move |done, total| {
                data.store(total, Ordering::Relaxed);
                tell(done, total);
            }),
            abandoned: Arc::clone(&work.abandoned),
        };
        content::fill(into, &self.opened.file, size, thick, &self.what, &copying)?;
        let copied = copied.load(Ordering::Relaxed);
        self.check(into, self.opened.size, &mut || {
            // No data is copied, but the call is alive.
            (work.progress)(copied, copied);
            work.check()
        })
    }

    fn convert(&self, into: &OwnedFd, size: u64, thick: bool, work: &CopyWork) -> Result<(), DriverError> {
        let from = &self.opened.file;
        let busy = || {
            let message = format!("{} was opened for writing while it was being read", self.what);
            DriverError::before(ErrorKind::Busy, message)
        };
        let lease = match Lease::take(from.as_fd()) {
            Leased::Idle(lease) | Leased::Unproven(lease) => Some(lease),
            Leased::Writers => return Err(busy()),
            Leased::Unknown => None,
        };
        let disturbed = || lease.as_ref().is_some_and(Lease::broken);
        // A process that opens it for writing from now on is detected; until now, none has written to it.
        self.unchanged()?;
        let length = fs::fstat(from).map(|stat| u64::try_from(stat.st_size).unwrap_or(0)).unwrap_or(0);
        let data = self.opened.used.min(size);
        self.check(from, length, &mut || {
            (work.progress)(0, data);
            if disturbed() { Err(busy()) } else { work.check() }
        })?;
        content::check_room(into, self.opened.used, &format!("copying {}", self.what), "nothing was copied")?;
        content::allot(into, size, thick).map_err(|errno| self.failed("making room for", errno))?;
        let limits = ToolLimits { time: None, cpu: None, memory: CONVERTING_MEMORY, file: size };
        let names = [name_for_tools(from), name_for_tools(into)];
        // The target exists, contains zeroes, and keeps its length: the tool writes only data.
        let options = ["convert", "-n", "--target-is-zero", "-f", "qcow2", "-O", "raw"];
        let said = qemu_img(&options, &names, limits, &mut || {
            // Blocks have 512 bytes. A thick target has all of its blocks from the start.
            let blocks = fs::fstat(into).map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or(0) * 512);
            (work.progress)(if thick { 0 } else { blocks.min(data) }, data);
            if disturbed() { Err(busy()) } else { work.check() }
        })?;
        if !said.status.success() {
            return Err(conversion_failed(&self.what, &said));
        }
        if disturbed() {
            return Err(busy());
        }
        (work.progress)(data, data);
        Ok(())
    }

    fn failed(&self, doing: &str, errno: Errno) -> DriverError {
        crate::driver::local::fail::before(format!("{doing} {}", self.what), errno)
    }

    /// Compares the checksum of the first bytes of a file with the declared one, if there is one.
    fn check(
        &self,
        file: &OwnedFd,
        length: u64,
        go_on: &mut dyn FnMut() -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        let Some(wanted) = &self.image.sha256 else { return Ok(()) };
        let mut hash = Sha256::new();
        let mut buffer = vec![0; BUFFER];
        let mut at = 0;
        while at < length {
            go_on()?;
            let piece = usize::try_from(length - at).unwrap_or(BUFFER).min(BUFFER);
            let read = retry_on_intr(|| rustix::io::pread(file, &mut buffer[..piece], at));
            let n = read.map_err(|errno| self.failed("reading", errno))?;
            if n == 0 {
                break;
            }
            hash.update(&buffer[..n]);
            at += n as u64;
        }
        let got: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if got == *wanted {
            return Ok(());
        }
        let message = format!("{} has the sha256 {got}, and {wanted} is declared; nothing was made of it", self.what);
        Err(DriverError::before(ErrorKind::Conflict, message))
    }
}

/// Returns the error of a failed conversion. The target is useless then.
pub(super) fn conversion_failed(what: &str, said: &crate::driver::tool::ToolOutput) -> DriverError {
    let complaint = said.complaint();
    let kind = if complaint.contains("No space left") { ErrorKind::Full } else { ErrorKind::Permanent };
    DriverError::before(kind, format!("converting {what} failed ({}): {complaint}", said.status))
}
