//! Finds and reads the manifest files. Never blocks on a pipe, opens a device, or follows a link out of the directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::limits::Limits;

/// Nesting depth of directories. Deeper trees are a mistake (a link to a parent directory, a whole disk).
pub(super) const MAX_DEPTH: usize = 16;

/// Reads SPECS: one file, or a directory recursively, in path order. Returns a refused file for each path that cannot be read.
pub(super) fn read(specs: &Path, limits: &Limits) -> (Vec<Raw>, Layout) {
    let shown = specs.display().to_string();
    let lost = |message: String, hint: &'static str| {
        (vec![Raw::refused(PathBuf::new(), String::new(), message, hint)], Layout::default())
    };
    let unreadable = |error| format!("the manifests in {shown} cannot be read: {}", reason(&error));
    let real = match fs::canonicalize(specs) {
        Ok(real) => real,
        Err(error) => {
            let message = match error.kind() {
                std::io::ErrorKind::NotFound => format!("there are no manifests: {shown} does not exist"),
                _ => unreadable(error),
            };
            return lost(message, "name the directory of the manifests, or create one with `kiln init`");
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
                    format!("there are no manifests: the directory {shown} contains no `*.yaml` files"),
                    "put `*.yaml` files there, or create one with `kiln init`",
                );
            }
            (found, Layout { directories, file: None })
        }
        Ok(_) => {
            let name = real.file_name().map(PathBuf::from).unwrap_or_default();
            let bytes = match (real.parent(), open_beneath(real.parent().unwrap_or(&real), &name)) {
                (Some(_), Ok(fd)) => slurp(fd, limits.file_bytes),
                (_, Err(refusal)) => Err(refusal),
                (None, Ok(_)) => Err(NOT_A_FILE),
            };
            let raw = Raw::new(specs, name, shown, bytes);
            (vec![raw], Layout { file: Some(real), ..Layout::default() })
        }
        Err(error) => lost(unreadable(error), "grant this user read permission"),
    }
}

/// The directory tree of SPECS.
#[derive(Default)]
pub(super) struct Layout {
    /// The directories below SPECS, and whether each is on another file system than SPECS.
    pub(super) directories: BTreeMap<PathBuf, bool>,
    /// The canonical path of SPECS, if it is a single file.
    pub(super) file: Option<PathBuf>,
}

/// A manifest file as it is on disk.
pub(super) struct Raw {
    /// Its path below SPECS.
    pub(super) relative: PathBuf,
    /// Its name in messages.
    pub(super) shown: String,
    /// The absolute directory from which relative paths in it start.
    pub(super) directory: PathBuf,
    /// Its bytes, or why it is not read.
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

/// Why a file or directory is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: std::borrow::Cow<'static, str>,
    pub(super) hint: &'static str,
    /// Whether it may contain documents.
    pub(super) hides: bool,
}

const NOT_A_FILE: Refusal = Refusal {
    message: std::borrow::Cow::Borrowed("this is not a regular file"),
    hint: "move it out of the directory, or pass the manifests on standard input with `-`",
    hides: false,
};
const LEAVES: Refusal = Refusal {
    message: std::borrow::Cow::Borrowed("this symbolic link leads out of the directory of the manifests"),
    hint: "copy the file here: manifests must not depend on files outside their directory",
    hides: true,
};

struct Walk<'a> {
    root: &'a Path,
    /// The canonical path of `root`.
    real: PathBuf,
    /// The device number of the file system of SPECS.
    device: u64,
    limits: &'a Limits,
    found: Vec<Raw>,
    directories: BTreeMap<PathBuf, bool>,
    bytes: u64,
    full: bool,
}

impl Walk<'_> {
    /// Reads a directory. `above`: the canonical paths of the directories above it, to detect links that form a loop.
    fn directory(&mut self, relative: &Path, above: &mut Vec<PathBuf>) {
        let path = self.root.join(relative);
        let Ok(real) = fs::canonicalize(&path) else {
            return self.refuse(relative, "this directory was removed while it was read", "run the command again");
        };
        if !real.starts_with(&self.real) {
            return self.refuse(relative, &LEAVES.message, LEAVES.hint);
        }
        if above.contains(&real) {
            return self.refuse(relative, "this symbolic link leads to a directory above it", "remove the link");
        }
        if above.len() >= MAX_DEPTH {
            let message = format!("directories are nested more than {MAX_DEPTH} deep");
            return self.refuse(relative, &message, "move the manifests closer to the top");
        }
        let entries: Result<Vec<_>, _> = fs::read_dir(&path).and_then(Iterator::collect);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                let message = format!("this directory cannot be read: {}", reason(&error));
                return self.refuse(relative, &message, "grant this user read permission, or move it away");
            }
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        above.push(real);
        for entry in entries {
            if self.full {
                break;
            }
            let name = entry.file_name();
            if is_ignored(&name.to_string_lossy()) {
                continue;
            }
            let below = relative.join(&name);
            let is_yaml = is_manifest(&below);
            // Follows links: a linked directory is read like any other, and checked to be inside SPECS.
            let is_directory = match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_dir() => {
                    self.directories.insert(below.clone(), meta.dev() != self.device);
                    true
                }
                Ok(_) => false,
                // It may be a directory with manifests. (A dangling link is not.)
                Err(error) if !is_yaml && error.kind() != std::io::ErrorKind::NotFound => {
                    let message = format!("this cannot be read: {}", reason(&error));
                    self.refuse(&below, &message, "grant this user read permission, or move it away");
                    continue;
                }
                Err(_) => false,
            };
            match (is_yaml, is_directory) {
                (true, true) => {
                    let message = "this directory is named like a manifest file";
                    self.refuse(&below, message, "rename it to a name without `.yaml`");
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
            let message = format!("the directory has more than {files} files or {mib} MiB of manifests");
            return self.refuse(Path::new(""), &message, "split them into several Stacks, each in its own directory");
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

/// Whether a file name is ignored: dotfiles, and backup files of editors, which would otherwise declare everything twice.
pub(super) fn is_ignored(name: &str) -> bool {
    let is_backup = [".bak", ".orig", ".rej", ".swp", ".swo", ".tmp"].iter().any(|end| name.ends_with(end));
    name.starts_with('.') || name.starts_with('#') || name.ends_with('~') || is_backup
}

/// Whether a path is named like a manifest file.
pub(super) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml")
}

/// Whether bytes are white space only.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).iter().all(u8::is_ascii_whitespace)
}

/// Opens a regular file below `root` for reading. Checks its type before opening it, because opening a device has side effects, and
/// again afterwards, because it may have been replaced in between.
fn open_beneath(root: &Path, relative: &Path) -> Result<OwnedFd, Refusal> {
    let directory =
        rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(refusal)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open =
        |path: &Path, flags| rustix::fs::openat2(&directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    let mut path = relative.to_owned();
    let seen = match open(&path, OFlags::PATH) {
        // The kernel refuses every absolute link; one that leads into the directory is accepted here.
        Err(Errno::XDEV) => {
            let real = fs::canonicalize(root.join(relative)).map_err(refusal)?;
            path = real.strip_prefix(root).map_err(|_| LEAVES)?.to_owned();
            open(&path, OFlags::PATH)
        }
        // Kernels before 5.6, and sandboxes without the call: check by path name, without protection against links that are
        // swapped at the same moment.
        Err(Errno::NOSYS | Errno::PERM) => {
            let real = fs::canonicalize(root.join(relative)).map_err(refusal)?;
            if !real.starts_with(root) {
                return Err(LEAVES);
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let seen = rustix::fs::openat(CWD, &real, flags, Mode::empty()).map_err(refusal)?;
            regular(&seen)?;
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
            let opened = rustix::fs::openat(CWD, &real, flags, Mode::empty()).map_err(refusal)?;
            return regular(&opened).map(|()| opened);
        }
        other => other,
    };
    regular(&seen.map_err(refusal)?)?;
    let opened = open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map_err(refusal)?;
    regular(&opened).map(|()| opened)
}

fn regular(fd: &OwnedFd) -> Result<(), Refusal> {
    let stat = rustix::fs::fstat(fd).map_err(refusal)?;
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

/// Reads a file of at most `limit` bytes. Reads one byte more to detect a larger file, whatever size its metadata states.
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

fn refusal(error: impl Into<std::io::Error>) -> Refusal {
    let error = error.into();
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "the file, or the target of the link, does not exist: remove the link or restore the file"
        }
        std::io::ErrorKind::PermissionDenied => "grant this user read permission, or move it away",
        _ => "check the file and its file system",
    };
    // A dangling link hides no documents.
    let hides = error.kind() != std::io::ErrorKind::NotFound;
    Refusal { message: format!("this file cannot be read: {}", reason(&error)).into(), hint, hides }
}

/// Returns the message of an error in lower case, without `(os error 2)`.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

/// Makes a path absolute and resolves `.` and `..` by name only, without file system access.
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
