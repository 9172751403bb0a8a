//! What manifests may reach: the one place that decides it.
//!
//! Manifests are written by people who do not hold the host's root, and Kiln may run as root. So every path in them must lie below
//! the directory that contains the spec directory, or below one that the operator of the host allows, where links really lead; or be
//! a driver's own default. Whatever names another path is held as NotAllowed, and nothing is opened for it.
//!
//! This is asked anew whenever manifests are read, and answered by looking at the host: a link that is changed is judged as it then is.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::absolute;
use super::kinds::Document;
use super::{Loaded, Source};
use crate::model::{DriverConfig, Kind, Name, NotAllowed, SourceSpec, Specs};

/// What drivers use where nothing is written: to write it out is not to reach further.
const DEFAULTS: [(Kind, &str); 2] = [(Kind::Backend, "/etc/ceph/ceph.conf"), (Kind::Target, "/run/tgtd")];

/// A path that a document names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Of the document.
    pub kind: Kind,
    /// Of the document.
    pub name: Name,
    /// Absolute, relative ones being resolved against the file; with links as they are.
    pub path: PathBuf,
}

impl Named {
    /// Those of a document.
    pub(super) fn of(document: &Document) -> impl Iterator<Item = Named> {
        let (kind, name) = (document.kind, &document.name);
        document.paths.iter().map(move |path| Named { kind, name: name.clone(), path: path.clone() })
    }
}

/// What the operator of this host allows besides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Absolute directories and files: they and all that is below them.
    pub paths: Vec<PathBuf>,
    /// The file that says so, for the way out.
    pub file: PathBuf,
}

impl Loaded {
    /// Notes in the specs which documents name a path out of reach; from then on these are held as NotAllowed.
    pub fn hold_to(&mut self, source: &Source, allowed: &Allowed) {
        self.specs.not_allowed = out_of_reach(&self.paths, source, allowed);
    }
}

/// The documents that name a path out of reach, as the host is now. One of each, sorted by kind and name.
pub(super) fn out_of_reach(paths: &[Named], source: &Source, allowed: &Allowed) -> Vec<NotAllowed> {
    if paths.is_empty() {
        return Vec::new();
    }
    let reach = Reach::new(source, allowed);
    let mut barred: Vec<NotAllowed> = paths.iter().filter_map(|named| reach.judge(named)).collect();
    // Stable: of several paths of a document the one that stands first.
    barred.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    // One path out of reach is enough to hold a document; it is told of the first.
    barred.dedup_by(|a, b| (a.kind, &a.name) == (b.kind, &b.name));
    barred
}

/// Judges specs that come from a saved plan anew: a plan file is worth no more than a manifest. Its paths must lie below `root`, or where
/// the operator allows it; what was held when the plan was made stays held.
pub fn hold_saved(specs: &mut Specs, root: &Path, allowed: &Allowed) {
    let reach = Reach::below(absolute(root), allowed);
    let pools = specs.backends.values().filter_map(|backend| {
        let path = match &backend.config {
            DriverConfig::Local { path, .. } => Some(path),
            DriverConfig::Sim { path, .. } => path.as_ref(),
            DriverConfig::Unbuilt { .. } => None,
        };
        Some(Named { kind: Kind::Backend, name: backend.meta.name.clone(), path: path?.clone() })
    });
    let images = specs.volumes.values().filter_map(|volume| match &volume.source {
        Some(SourceSpec::Image(image)) => {
            Some(Named { kind: Kind::Volume, name: volume.meta.name.clone(), path: image.path.clone() })
        }
        _ => None,
    });
    let barred: Vec<NotAllowed> = pools.chain(images).filter_map(|named| reach.judge(&named)).collect();
    specs.not_allowed.extend(barred);
    specs.not_allowed.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    specs.not_allowed.dedup_by(|a, b| (a.kind, &a.name) == (b.kind, &b.name));
}

struct Reach<'a> {
    /// Everything strictly below it; none if it cannot be resolved.
    root: Option<PathBuf>,
    /// As it is told to people.
    root_shown: PathBuf,
    /// Resolved: they and what is below them.
    others: Vec<PathBuf>,
    file: &'a Path,
}

impl<'a> Reach<'a> {
    fn new(source: &Source, allowed: &'a Allowed) -> Self {
        // By name, as paths in the files are resolved: of a link to the specs, the directory that holds the link counts.
        let specs = match source {
            Source::Path(path) => absolute(path),
            Source::Text(_) => absolute(Path::new(".")),
        };
        let directory = match specs.is_dir() {
            true => specs.as_path(),
            false => specs.parent().unwrap_or(&specs),
        };
        Self::below(directory.parent().unwrap_or(directory).to_owned(), allowed)
    }

    fn below(root_shown: PathBuf, allowed: &'a Allowed) -> Self {
        // An allowed path that is not there yet allows what is later made there.
        let others = allowed.paths.iter().filter_map(|path| resolve(&absolute(path)).ok()).collect();
        Self { root: fs::canonicalize(&root_shown).ok(), root_shown, others, file: &allowed.file }
    }

    fn judge(&self, Named { kind, name, path }: &Named) -> Option<NotAllowed> {
        if DEFAULTS.iter().any(|(of, default)| of == kind && Path::new(default) == path) {
            return None;
        }
        let (message, wanted) = match resolve(path) {
            Err(why) => (format!("{} cannot be followed to where it leads: {why}", path.display()), None),
            Ok(real) => {
                let below_root = self.root.as_ref().is_some_and(|root| real != *root && real.starts_with(root));
                if below_root || self.others.iter().any(|other| real.starts_with(other)) {
                    return None;
                }
                let led = if real == *path { String::new() } else { format!(", that is {},", real.display()) };
                let message = format!("{}{led} is not below {}", path.display(), self.root_shown.display());
                (message, Some(real))
            }
        };
        let unblock = match wanted {
            None => "mend the path".to_owned(),
            Some(real) => format!(
                "put it below {}, or let the operator of this host write `[allow] paths = [{:?}]` in {}",
                self.root_shown.display(),
                real.display().to_string(),
                self.file.display()
            ),
        };
        Some(NotAllowed { kind: *kind, name: name.clone(), message, unblock })
    }
}

/// Where a path leads, of which the end need not be there yet. No link is left in the answer.
///
/// # Errors
/// Why that cannot be said, in words: a link that leads nowhere, a directory that may not be looked into, a link of `/proc` to what
/// its text does not say.
fn resolve(path: &Path) -> Result<PathBuf, String> {
    let mut missing = Vec::new();
    let mut there = path;
    loop {
        match fs::canonicalize(there) {
            Ok(mut real) => {
                // Links in /proc lead elsewhere than their text says: into what another process sees as its root.
                let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
                match (fs::metadata(there), fs::metadata(&real)) {
                    (Ok(led), Ok(said)) if same(&led, &said) => {}
                    _ => return Err(format!("{} is not what it says", there.display())),
                }
                real.extend(missing.iter().rev());
                return Ok(real);
            }
            // What is not there is made there, and nowhere else; a link would be followed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match (there.parent(), there.file_name()) {
                (Some(parent), Some(name)) if fs::symlink_metadata(there).is_err() => {
                    missing.push(name);
                    there = parent;
                }
                _ => return Err(format!("{} is a link that leads nowhere", there.display())),
            },
            Err(error) => return Err(format!("{}: {error}", there.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with `repo/specs` in it, and the root of what is reached from there: `work`.
    struct Host {
        dir: tempfile::TempDir,
        allowed: Vec<PathBuf>,
    }

    impl Host {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("repo/specs")).unwrap();
            Self { dir, allowed: Vec::new() }
        }

        fn at(&self, path: &str) -> PathBuf {
            fs::canonicalize(self.dir.path()).unwrap().join(path)
        }

        fn judged(&self, source: &Source, kind: Kind, path: &str) -> Option<NotAllowed> {
            let allowed = Allowed { paths: self.allowed.clone(), file: "kiln.toml".into() };
            // As the reader of a file in `specs` resolves it.
            let path = absolute(&self.at("repo/specs").join(path));
            let named = Named { kind, name: "x".parse().unwrap(), path };
            Reach::new(source, &allowed).judge(&named)
        }

        fn allows(&self, path: &str) -> bool {
            self.judged(&Source::Path(self.at("repo/specs")), Kind::Backend, path).is_none()
        }
    }

    #[test]
    fn what_is_beside_the_specs_or_in_them_may_be_reached_and_nothing_else() {
        let host = Host::new();
        for good in ["../pool", "../a/b/c", "pool", "./x", "../specs/../pool", "../../repo/pool"] {
            assert!(host.allows(good), "{good}");
        }
        for bad in [
            "..",
            "../..",
            "../../pool",
            "../../repo",
            "../../repo2/pool",
            "/",
            "/etc/shadow",
            "/proc/self/root",
            "/dev/sda",
        ] {
            assert!(!host.allows(bad), "{bad}");
        }
    }

    #[test]
    fn a_single_file_counts_as_its_directory_and_standard_input_as_the_working_directory() {
        let host = Host::new();
        fs::write(host.at("repo/specs/a.yaml"), "").unwrap();
        let file = Source::Path(host.at("repo/specs/a.yaml"));
        assert!(host.judged(&file, Kind::Backend, "../pool").is_none());
        assert!(host.judged(&file, Kind::Backend, "../../pool").is_some());
        let text = Source::Text(String::new());
        // Wherever the tests run, devices are not beside it.
        assert!(host.judged(&text, Kind::Backend, "/dev/kiln/pool").is_some(), "it is not near the working directory");
        let here = absolute(Path::new("pool")).display().to_string();
        assert!(host.judged(&text, Kind::Backend, &here).is_none());
    }

    #[test]
    fn links_count_for_where_they_lead_now() {
        let host = Host::new();
        for dir in ["outside/deep", "repo/inside"] {
            fs::create_dir_all(host.at(dir)).unwrap();
        }
        let link = host.at("repo/link");
        symlink(host.at("repo/inside"), &link).unwrap();
        assert!(host.allows("../link") && host.allows("../link/new"));
        fs::remove_file(&link).unwrap();
        symlink(host.at("outside"), &link).unwrap();
        for bad in ["../link", "../link/deep", "../link/new/er"] {
            assert!(!host.allows(bad), "{bad}");
        }
        let why = host.judged(&Source::Path(host.at("repo/specs")), Kind::Backend, "../link").unwrap();
        assert!(why.message.contains(&host.at("outside").display().to_string()), "{why:?}");
        assert!(why.unblock.contains("[allow] paths = [") && why.unblock.contains("kiln.toml"), "{why:?}");
        // What is not there yet would be made where such a link leads.
        fs::remove_file(&link).unwrap();
        symlink(host.at("outside/not-yet"), &link).unwrap();
        assert!(!host.allows("../link") && !host.allows("../link/new"));
        fs::remove_file(&link).unwrap();
        symlink(&link, &link).unwrap();
        assert!(!host.allows("../link"), "a circle");
    }

    #[test]
    fn links_of_proc_do_not_lead_back_in() {
        let host = Host::new();
        let inside = host.at("repo/inside").display().to_string();
        fs::create_dir_all(&inside).unwrap();
        // By name this is below the root; it is the same directory here, and may be another one for another process.
        assert!(host.allows(&format!("/proc/self/root{inside}")), "our own root is the root");
        assert!(!host.allows("/proc/self/fd/0/x") && !host.allows("/proc/self/environ"));
    }

    #[test]
    fn the_operator_allows_more_and_defaults_are_allowed_anyhow() {
        let mut host = Host::new();
        fs::create_dir_all(host.at("srv/pools/a")).unwrap();
        symlink(host.at("srv/pools"), host.at("pools")).unwrap();
        assert!(!host.allows("../../srv/pools/a"));
        host.allowed = vec![host.at("pools"), host.at("later")];
        for good in ["../../srv/pools", "../../srv/pools/a", "../../pools/b", "../../later/pool"] {
            assert!(host.allows(good), "{good}");
        }
        for bad in ["../../srv", "../../srv/pools2", "../../srv/pools/../x"] {
            assert!(!host.allows(bad), "{bad}");
        }
        let specs = Source::Path(host.at("repo/specs"));
        assert!(host.judged(&specs, Kind::Target, "/run/tgtd").is_none());
        assert!(host.judged(&specs, Kind::Backend, "/run/tgtd").is_some());
        assert!(host.judged(&specs, Kind::Backend, "/etc/ceph/ceph.conf").is_none());
    }
}
