//! The path policy: decides which paths manifests may name.
//!
//! The authors of manifests need not be root on the host, but Kiln may run as root. With links resolved, every path must therefore be
//! below the parent directory of SPECS, below a directory that the administrator of the host allows, or a default of a driver. A document
//! that names another path is held as NotAllowed, and the path is not opened.
//!
//! The policy is applied whenever manifests are read, to the links as they are at that time.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::absolute;
use super::kinds::Document;
use super::resolve::{Answers, LIMIT, Resolver, host};
use super::source::Source;
use crate::driver::settings as drivers;
use crate::model::table::Settings;
use crate::model::{Kind, Name, NotAllowed, Reading};

/// A path that a document names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPath {
    /// The kind of the document.
    pub kind: Kind,
    /// The name of the document.
    pub name: Name,
    /// The path, made absolute from the directory of the file, with links not resolved.
    pub path: PathBuf,
}

impl NamedPath {
    /// Returns the paths of a document.
    pub(super) fn of(document: &Document) -> impl Iterator<Item = NamedPath> {
        let (kind, name) = (document.kind, &document.name);
        document.paths.iter().map(move |path| NamedPath { kind, name: name.clone(), path: path.clone() })
    }

    /// Whether the path is a default of a driver.
    fn is_default(&self) -> bool {
        drivers::default_paths(self.kind).any(|default| Path::new(default) == self.path)
    }

    /// Returns the lane and the path to resolve, unless it is a default. A pool is a lane of its own, because the one beside it may be
    /// another mount. Files such as images may number thousands, and share the lane of their directory.
    fn lane(&self) -> Option<(&Path, &Path)> {
        let lane = match self.kind {
            Kind::Backend => &self.path,
            Kind::Stack | Kind::Volume | Kind::Snapshot | Kind::Target | Kind::Export | Kind::Approval => {
                self.path.parent().unwrap_or(&self.path)
            }
        };
        (!self.is_default()).then_some((lane, self.path.as_path()))
    }
}

/// The paths that the administrator of the host allows in addition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Absolute directories, with everything below them, and files.
    pub paths: Vec<PathBuf>,
    /// The file of the host configuration, which fixes name.
    pub file: PathBuf,
    /// What is written in that file, on which it depends what else may be written there.
    pub written: AllowWritten,
}

/// What the host configuration has of the table `[allow]`. TOML permits a table and a key once only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AllowWritten {
    /// Nothing, or there is no file.
    #[default]
    Nothing,
    /// The table without `paths`.
    Table,
    /// The table with `paths`.
    Paths,
}

impl Allowed {
    /// Returns what the administrator writes to allow a path, in a form that can be pasted.
    fn to_write(&self, path: &Path) -> String {
        // A string of JSON is one of TOML.
        let path = serde_json::Value::from(path.display().to_string());
        let file = self.file.display();
        match self.written {
            AllowWritten::Nothing => format!("write `allow.paths = [{path}]` to {file}"),
            AllowWritten::Table => format!("write `paths = [{path}]` below `[allow]` in {file}"),
            AllowWritten::Paths => format!("add `{path}` to the list `paths` of `[allow]` in {file}"),
        }
    }
}

/// Returns the documents that name a path which the policy refuses, sorted by kind and name, each once.
pub(super) fn refused_paths(
    paths: &[NamedPath],
    source: &Source,
    allowed: &Allowed,
    resolver: &Resolver,
) -> Vec<NotAllowed> {
    if paths.is_empty() {
        return Vec::new();
    }
    refusals(paths, root_of(source), allowed, resolver)
}

fn refusals(paths: &[NamedPath], root: PathBuf, allowed: &Allowed, resolver: &Resolver) -> Vec<NotAllowed> {
    let policy = PathPolicy::new(root, allowed, paths, resolver);
    let mut barred: Vec<NotAllowed> = paths.iter().filter_map(|named| policy.refusal(named)).collect();
    // The sort is stable: the first refused path of a document remains first.
    barred.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    // One refused path suffices to hold a document; the first is reported.
    barred.dedup_by(|a, b| (a.kind, &a.name) == (b.kind, &b.name));
    barred
}

/// Applies the path policy to the reading of a saved plan, which is trusted no more than a manifest. Its paths must be below `root`, or
/// allowed by the administrator. What was held when the plan was made stays held.
pub fn check_saved_paths(reading: &mut Reading, root: &Path, allowed: &Allowed) {
    let specs = reading.specs_mut();
    for backend in specs.backends.values_mut() {
        // The place of the pool is derived from the settings; the value in the plan file is not trusted.
        let settings = std::mem::take(&mut backend.config.settings);
        backend.config = drivers::config(backend.config.driver(), settings);
    }
    let mut paths = Vec::new();
    for (name, backend) in &specs.backends {
        add_paths(Kind::Backend, name, &backend.config.settings, &mut paths);
    }
    for (name, volume) in &specs.volumes {
        add_paths(Kind::Volume, name, &volume.values(), &mut paths);
    }
    let barred = refusals(&paths, absolute(root), allowed, host());
    reading.not_allowed.extend(barred);
    reading.not_allowed.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    reading.not_allowed.dedup_by(|a, b| (a.kind, &a.name) == (b.kind, &b.name));
}

fn add_paths(kind: Kind, name: &Name, settings: &Settings, out: &mut Vec<NamedPath>) {
    let mut found = Vec::new();
    settings.paths(&mut found);
    out.extend(found.into_iter().map(|path| NamedPath { kind, name: name.clone(), path: path.to_owned() }));
}

/// Returns the parent directory of SPECS by name, as relative paths in the files are resolved: if SPECS is a link, the parent of the link.
fn root_of(source: &Source) -> PathBuf {
    let specs = match source {
        Source::Path(path) => absolute(path),
        Source::Text(_) => absolute(Path::new(".")),
    };
    let directory = match specs.is_dir() {
        true => specs.as_path(),
        false => specs.parent().unwrap_or(&specs),
    };
    directory.parent().unwrap_or(directory).to_owned()
}

struct PathPolicy<'a> {
    /// Allowed: everything strictly below it. `None` if it cannot be resolved.
    root: Option<PathBuf>,
    /// The root as messages show it.
    root_shown: PathBuf,
    /// Resolved paths that the administrator allows, with everything below them.
    others: Vec<PathBuf>,
    /// The resolved paths of documents.
    resolved: Answers,
    allowed: &'a Allowed,
}

impl<'a> PathPolicy<'a> {
    /// Resolves the paths of documents and the allowed ones. The root responds, because the manifests were read from it.
    fn new(root_shown: PathBuf, allowed: &'a Allowed, paths: &[NamedPath], resolver: &Resolver) -> Self {
        let others: Vec<PathBuf> = allowed.paths.iter().map(|path| absolute(path)).collect();
        let alone = others.iter().map(|path| (path.as_path(), path.as_path()));
        let resolved = resolver.resolve(paths.iter().filter_map(NamedPath::lane).chain(alone));
        // An allowed path that does not exist yet allows what is created there later; one that does not respond allows nothing now.
        let others = others.iter().filter_map(|path| resolved.get(path)?.clone().ok()).collect();
        Self { root: fs::canonicalize(&root_shown).ok(), root_shown, others, resolved, allowed }
    }

    /// Returns why a path is refused; `None` if it is allowed.
    fn refusal(&self, named: &NamedPath) -> Option<NotAllowed> {
        let path = &named.path;
        if named.is_default() {
            return None;
        }
        let root = self.root_shown.display();
        let (message, fix) = match self.resolved.get(path) {
            // Its target is unknown: the document is held, and the path resolved again at the next reading.
            None => (
                format!("{} did not respond within {} s", path.display(), LIMIT.as_secs()),
                "check the mount at this path and its server".to_owned(),
            ),
            Some(Err(why)) => (format!("{} cannot be resolved: {why}", path.display()), "correct the path".to_owned()),
            Some(Ok(real)) => {
                let below_root = self.root.as_ref().is_some_and(|root| real != root && real.starts_with(root));
                if below_root || self.others.iter().any(|other| real.starts_with(other)) {
                    return None;
                }
                let target = if real == path { String::new() } else { format!(", that is {},", real.display()) };
                let fix = format!(
                    "move it below {root}, or ask the administrator of this host to {}",
                    self.allowed.to_write(real)
                );
                (format!("{}{target} is not below {root}", path.display()), fix)
            }
        };
        let unresponsive = !self.resolved.contains_key(path);
        Some(NotAllowed { kind: named.kind, name: named.name.clone(), message, fix, unresponsive })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with `repo/specs` in it.
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

        fn refusal_of(&self, source: &Source, kind: Kind, path: &str) -> Option<NotAllowed> {
            let allowed = Allowed { paths: self.allowed.clone(), file: "kiln.toml".into(), ..Allowed::default() };
            // Resolved as in a file in `specs`.
            let path = absolute(&self.at("repo/specs").join(path));
            let named = NamedPath { kind, name: "x".parse().unwrap(), path };
            refused_paths(&[named], source, &allowed, host()).pop()
        }

        fn allows(&self, path: &str) -> bool {
            self.refusal_of(&Source::Path(self.at("repo/specs")), Kind::Backend, path).is_none()
        }
    }

    #[test]
    fn only_paths_below_the_parent_of_specs_are_allowed() {
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
    fn a_file_allows_what_its_directory_allows_and_standard_input_what_the_working_directory_allows() {
        let host = Host::new();
        fs::write(host.at("repo/specs/a.yaml"), "").unwrap();
        let file = Source::Path(host.at("repo/specs/a.yaml"));
        assert!(host.refusal_of(&file, Kind::Backend, "../pool").is_none());
        assert!(host.refusal_of(&file, Kind::Backend, "../../pool").is_some());
        let text = Source::Text(String::new());
        // The tests never run below /dev.
        assert!(
            host.refusal_of(&text, Kind::Backend, "/dev/kiln/pool").is_some(),
            "it is outside the working directory"
        );
        let here = absolute(Path::new("pool")).display().to_string();
        assert!(host.refusal_of(&text, Kind::Backend, &here).is_none());
    }

    #[test]
    fn links_are_resolved_at_every_reading() {
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
        let why = host.refusal_of(&Source::Path(host.at("repo/specs")), Kind::Backend, "../link").unwrap();
        assert!(why.message.contains(&host.at("outside").display().to_string()), "{why:?}");
        assert!(why.fix.contains("write `allow.paths = [") && why.fix.contains("kiln.toml"), "{why:?}");
        // A dangling link: the file would be created at its target.
        fs::remove_file(&link).unwrap();
        symlink(host.at("outside/not-yet"), &link).unwrap();
        assert!(!host.allows("../link") && !host.allows("../link/new"));
        fs::remove_file(&link).unwrap();
        symlink(&link, &link).unwrap();
        assert!(!host.allows("../link"), "a loop");
    }

    #[test]
    fn links_of_proc_are_compared_with_their_target() {
        let host = Host::new();
        let inside = host.at("repo/inside").display().to_string();
        fs::create_dir_all(&inside).unwrap();
        // By its text this link is below the root; for another process it may be another directory.
        assert!(host.allows(&format!("/proc/self/root{inside}")), "this process has the root of the host");
        assert!(!host.allows("/proc/self/fd/0/x") && !host.allows("/proc/self/environ"));
    }

    #[test]
    fn allowed_paths_and_defaults_of_drivers_pass() {
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
        assert!(host.refusal_of(&specs, Kind::Target, "/run/tgtd").is_none());
        assert!(host.refusal_of(&specs, Kind::Backend, "/run/tgtd").is_some());
        assert!(host.refusal_of(&specs, Kind::Backend, "/etc/ceph/ceph.conf").is_none());
    }
}
