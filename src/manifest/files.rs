//! Which files there are, and their bytes: read so that no pipe blocks, no device is opened, and no link leads out of the
//! directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Limits;
use super::coverage::Place;

/// Directories below one another. Deeper is a mistake (a link that leads back up, a whole disk).
pub(super) const MAX_DEPTH: usize = 16;

/// Reads SPECS: a directory with all that is below it, in path order, or one file. What cannot be read is a file with a problem.
pub(super) fn read(specs: &Path, limits: &Limits) -> (Vec<Raw>, Place) {
    let shown = specs.display().to_string();
    let lost = |message: String, hint: &'static str| {
        (vec![Raw::refused(PathBuf::new(), shown.clone(), message, hint)], Place::default())
    };
    let real = match fs::canonicalize(specs) {
        Ok(real) => real,
        Err(error) => {
            let hint = "name the directory of the manifests, or make a first one with `kiln init`";
            return lost(format!("there are no manifests here: {}", reason(&error)), hint);
        }
    };
    match fs::metadata(&real) {
        Ok(meta) if meta.is_dir() => {
            let device = meta.dev();
            let mut walk = Walk {
                root: specs,
                real,
                device,
                limits,
                found: Vec::new(),
                directories: BTreeMap::new(),
                bytes: 0,
                full: false,
            };
            walk.directory(Path::new(""), &mut Vec::new());
            let (mut found, directories) = (walk.found, walk.directories);
            found.sort_by(|a, b| a.relative.cmp(&b.relative));
            if found.is_empty() {
                return lost(
                    "there are no manifests here".to_owned(),
                    "put `*.yaml` files here, or make a first one with `kiln init`",
                );
            }
            (found, Place { directories, file: None })
        }
        Ok(_) => {
            let name = real.file_name().map(PathBuf::from).unwrap_or_default();
            let bytes = match (real.parent(), open_beneath(real.parent().unwrap_or(&real), &name)) {
                (Some(_), Ok(fd)) => slurp(fd, limits.file_bytes),
                (_, Err(refusal)) => Err(refusal),
                (None, Ok(_)) => Err(NOT_A_FILE),
            };
            let raw = Raw::new(specs, name, shown, bytes);
            (vec![raw], Place { file: Some(real), ..Place::default() })
        }
        Err(error) => lost(format!("this cannot be read: {}", reason(&error)), "let this user read it"),
    }
}

/// One file that was found, as it is on the disk.
pub(super) struct Raw {
    /// Its path below SPECS.
    pub(super) relative: PathBuf,
    /// As messages call it.
    pub(super) shown: String,
    /// What relative paths in it are relative to; absolute.
    pub(super) directory: PathBuf,
    /// Its bytes, or why there are none.
    pub(super) bytes: Result<Vec<u8>, Refusal>,
}

impl Raw {
    fn new(path: &Path, relative: PathBuf, shown: String, bytes: Result<Vec<u8>, Refusal>) -> Self {
        Self { relative, shown, directory: path.parent().map(absolute).unwrap_or_default(), bytes }
    }

    fn refused(relative: PathBuf, shown: String, message: String, hint: &'static str) -> Self {
        let refusal = Refusal { message: message.into(), hint, hides: true };
        Self { relative, shown, directory: PathBuf::new(), bytes: Err(refusal) }
    }
}

/// Why something is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: std::borrow::Cow<'static, str>,
    pub(super) hint: &'static str,
    /// Whether there may be documents in it: what holds none hides none.
    pub(super) hides: bool,
}

const NOT_A_FILE: Refusal = Refusal {
    message: std::borrow::Cow::Borrowed("this is not a regular file"),
    hint: "move it out of the directory, or pipe the manifests in with `-`",
    hides: false,
};
const LEAVES: Refusal = Refusal {
    message: std::borrow::Cow::Borrowed("this symbolic link leaves the directory of the manifests"),
    hint: "copy the file here: what is declared must not depend on what lies elsewhere",
    hides: true,
};

struct Walk<'a> {
    root: &'a Path,
    /// The same with no links in it.
    real: PathBuf,
    /// The file system that SPECS is on.
    device: u64,
    limits: &'a Limits,
    found: Vec<Raw>,
    directories: BTreeMap<PathBuf, bool>,
    bytes: u64,
    full: bool,
}

impl Walk<'_> {
    /// `above`: the real paths of the directories that are being read, against links that lead back up.
    fn directory(&mut self, relative: &Path, above: &mut Vec<PathBuf>) {
        let path = self.root.join(relative);
        let Ok(real) = fs::canonicalize(&path) else {
            return self.refuse(relative, "this directory went away while it was read", "run it again");
        };
        if !real.starts_with(&self.real) {
            return self.refuse(relative, &LEAVES.message, LEAVES.hint);
        }
        if above.contains(&real) {
            return self.refuse(relative, "this symbolic link leads back to a directory above it", "remove the link");
        }
        if above.len() >= MAX_DEPTH {
            let message = format!("directories are nested more than {MAX_DEPTH} deep");
            return self.refuse(relative, &message, "keep the manifests closer to the top");
        }
        let entries: Result<Vec<_>, _> = fs::read_dir(&path).and_then(Iterator::collect);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                let message = format!("this directory cannot be read: {}", reason(&error));
                return self.refuse(relative, &message, "let this user read it, or move it away");
            }
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        above.push(real);
        for entry in entries {
            if self.full {
                break;
            }
            let name = entry.file_name();
            if passed_over(&name.to_string_lossy()) {
                continue;
            }
            let below = relative.join(&name);
            let is_yaml = is_manifest(&below);
            // Follows links: a link to a directory is a directory, and is checked to stay inside.
            let is_directory = match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_dir() => {
                    self.directories.insert(below.clone(), meta.dev() != self.device);
                    true
                }
                Ok(_) => false,
                // Perhaps a directory: what is in it is not known then. (A link that leads nowhere holds nothing.)
                Err(error) if !is_yaml && error.kind() != std::io::ErrorKind::NotFound => {
                    let message = format!("this cannot be looked at: {}", reason(&error));
                    self.refuse(&below, &message, "let this user read it, or move it away");
                    continue;
                }
                Err(_) => false,
            };
            match (is_yaml, is_directory) {
                (true, true) => {
                    let message = "this is a directory with the name of a file";
                    self.refuse(&below, message, "give it a name without `.yaml`");
                    if let Some(Raw { bytes: Err(refusal), .. }) = self.found.last_mut() {
                        refusal.hides = false;
                    }
                }
                (false, true) => self.directory(&below, above),
                (true, false) => self.file(below),
                (false, false) => {}
            }
        }
        above.pop();
    }

    fn file(&mut self, relative: PathBuf) {
        if self.found.len() >= self.limits.files || self.bytes >= self.limits.total_bytes {
            self.full = true;
            let (files, mib) = (self.limits.files, self.limits.total_bytes >> 20);
            let message = format!("there are more than {files} files or {mib} MiB of manifests here");
            return self.refuse(
                Path::new(""),
                &message,
                "split them into several Stacks, each in a directory of its own",
            );
        }
        let path = self.root.join(&relative);
        let bytes = open_beneath(&self.real, &relative).and_then(|fd| slurp(fd, self.limits.file_bytes));
        self.bytes += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.found.push(Raw::new(&path, relative, path.display().to_string(), bytes));
    }

    fn refuse(&mut self, relative: &Path, message: &str, hint: &'static str) {
        let shown = if relative.as_os_str().is_empty() { self.root.to_owned() } else { self.root.join(relative) };
        let (relative, shown) = (relative.to_owned(), shown.display().to_string());
        self.found.push(Raw::refused(relative, shown, message.to_owned(), hint));
    }
}

/// Dotfiles, and what editors leave behind: those that end in `.yaml` would otherwise declare everything twice.
pub(super) fn passed_over(name: &str) -> bool {
    let leftover = [".bak", ".orig", ".rej", ".swp", ".swo", ".tmp"].iter().any(|end| name.ends_with(end));
    name.starts_with('.') || name.starts_with('#') || name.ends_with('~') || leftover
}

/// Whether the name is that of a file of manifests.
pub(super) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml")
}

/// Opens a regular file below `root` for reading. It is looked at before it is opened, since opening a device can do things,
/// and again afterwards, since it may have been replaced between.
fn open_beneath(root: &Path, relative: &Path) -> Result<OwnedFd, Refusal> {
    let directory = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| refusal(error.into()))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open =
        |path: &Path, flags| rustix::fs::openat2(&directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    let mut path = relative.to_owned();
    let seen = match open(&path, OFlags::PATH) {
        // An absolute link that leads back inside is refused by the kernel, but is fine.
        Err(Errno::XDEV) => {
            let real = fs::canonicalize(root.join(relative)).map_err(refusal)?;
            path = real.strip_prefix(root).map_err(|_| LEAVES)?.to_owned();
            open(&path, OFlags::PATH)
        }
        // Kernels before 5.6, and sandboxes that do not know the call: the same by names, without the protection against
        // someone who swaps links at that very moment.
        Err(Errno::NOSYS | Errno::PERM) => {
            let real = fs::canonicalize(root.join(relative)).map_err(refusal)?;
            if !real.starts_with(root) {
                return Err(LEAVES);
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let seen = rustix::fs::openat(CWD, &real, flags, Mode::empty()).map_err(|error| refusal(error.into()))?;
            regular(&seen)?;
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
            let opened = rustix::fs::openat(CWD, &real, flags, Mode::empty()).map_err(|error| refusal(error.into()))?;
            return regular(&opened).map(|()| opened);
        }
        other => other,
    };
    regular(&seen.map_err(|error| refusal(error.into()))?)?;
    let opened =
        open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map_err(|error| refusal(error.into()))?;
    regular(&opened).map(|()| opened)
}

fn regular(fd: &OwnedFd) -> Result<(), Refusal> {
    let stat = rustix::fs::fstat(fd).map_err(|error| refusal(error.into()))?;
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => return Err(NOT_A_FILE),
    };
    Err(Refusal { message: format!("this is {what}, not a regular file").into(), ..NOT_A_FILE })
}

/// At most `limit` bytes; reads one more to know that there is no more, whatever the size that the file claims.
fn slurp(fd: OwnedFd, limit: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    fs::File::from(fd).take(limit + 1).read_to_end(&mut bytes).map_err(refusal)?;
    if bytes.len() as u64 > limit {
        let size = crate::model::Size(limit);
        let message = format!("the file has more than {size} bytes");
        return Err(Refusal { message: message.into(), hint: "split it into several files", hides: true });
    }
    Ok(bytes)
}

fn refusal(error: std::io::Error) -> Refusal {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "the file or what the link points to is gone: remove the link, or bring it back"
        }
        std::io::ErrorKind::PermissionDenied => "let this user read it, or move it away",
        _ => "see what is wrong with the file",
    };
    // Of a link that leads nowhere there is nothing to be read.
    let hides = error.kind() != std::io::ErrorKind::NotFound;
    Refusal { message: format!("this file cannot be read: {}", reason(&error)).into(), hint, hides }
}

/// The system's words, without `(os error 2)`.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

/// Absolute, with `.` and `..` resolved by name only: nothing on the way is looked at.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}
