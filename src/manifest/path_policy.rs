//! What manifests may reach: the one place that decides it.
//!
//! Manifests are written by people who do not hold the host's root, and Kiln may run as root. So every path in them must lie below
//! the directory that contains the spec directory, or below one that the operator of the host allows, where links really lead; or be
//! a driver's own default. Whatever names another path is held as NotAllowed, and nothing is opened for it.
//!
//! This is asked anew whenever manifests are read, and answered by looking at the host: a link that is changed is judged as it then is.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::absolute;
use super::kinds::Document;
use super::resolve::{Answers, LIMIT, Resolver, host};
use super::{Loaded, Source};
use crate::driver::settings as drivers;
use crate::model::{Kind, Name, NotAllowed, Reading};

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

    /// Whether it is what a driver takes anyhow.
    fn is_default(&self) -> bool {
        drivers::default_paths(self.kind).any(|default| Path::new(default) == self.path)
    }

    /// The lane to follow it in, if it has to be followed: a pool by itself, since the one beside it may be another mount. Of files,
    /// such as images, there may be thousands: those of a directory together.
    fn lane(&self) -> Option<(&Path, &Path)> {
        let lane = match self.kind {
            Kind::Backend => &self.path,
            _ => self.path.parent().unwrap_or(&self.path),
        };
        (!self.is_default()).then_some((lane, self.path.as_path()))
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
    /// Notes in the reading which documents name a path out of reach; from then on these are held as NotAllowed.
    pub fn apply_path_policy(&mut self, source: &Source, allowed: &Allowed) {
        self.reading.not_allowed = refused_paths(&self.paths, source, allowed, host());
    }
}

/// The documents that name a path out of reach, as the host is now. One of each, sorted by kind and name.
pub(super) fn refused_paths(
    paths: &[Named],
    source: &Source,
    allowed: &Allowed,
    resolver: &Resolver,
) -> Vec<NotAllowed> {
    if paths.is_empty() {
        return Vec::new();
    }
    judged(paths, root_of(source), allowed, resolver)
}

fn judged(paths: &[Named], root: PathBuf, allowed: &Allowed, resolver: &Resolver) -> Vec<NotAllowed> {
    let reach = Reach::below(root, allowed, paths, resolver);
    let mut barred: Vec<NotAllowed> = paths.iter().filter_map(|named| reach.judge(named)).collect();
    // Stable: of several paths of a document the one that stands first.
    barred.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    // One path out of reach is enough to hold a document; it is told of the first.
    barred.dedup_by(|a, b| (a.kind, &a.name) == (b.kind, &b.name));
    barred
}

/// Judges the reading of a saved plan anew: a plan file is worth no more than a manifest. Its paths must lie below `root`, or where
/// the operator allows it; what was held when the plan was made stays held.
pub fn judge_saved_paths(reading: &mut Reading, root: &Path, allowed: &Allowed) {
    let specs = reading.specs_mut();
    for backend in specs.backends.values_mut() {
        // Where the pool is follows from the settings, and is not believed beside them.
        let settings = std::mem::take(&mut backend.config.settings);
        backend.config = drivers::config(backend.config.driver(), settings);
    }
    let mut paths = Vec::new();
    for (name, backend) in &specs.backends {
        name_all(Kind::Backend, name, |out| backend.config.settings.paths(out), &mut paths);
    }
    for (name, volume) in &specs.volumes {
        name_all(Kind::Volume, name, |out| volume.paths(out), &mut paths);
    }
    let barred = judged(&paths, absolute(root), allowed, host());
    reading.not_allowed.extend(barred);
    reading.not_allowed.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    reading.not_allowed.dedup_by(|a, b| (a.kind, &a.name) == (b.kind, &b.name));
}

fn name_all<'s>(kind: Kind, name: &Name, paths: impl FnOnce(&mut Vec<&'s Path>), out: &mut Vec<Named>) {
    let mut found = Vec::new();
    paths(&mut found);
    out.extend(found.into_iter().map(|path| Named { kind, name: name.clone(), path: path.to_owned() }));
}

/// By name, as paths in the files are resolved: of a link to the specs, the directory that holds the link counts.
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

struct Reach<'a> {
    /// Everything strictly below it; none if it cannot be resolved.
    root: Option<PathBuf>,
    /// As it is told to people.
    root_shown: PathBuf,
    /// Resolved: they and what is below them.
    others: Vec<PathBuf>,
    /// Where the paths lead that are judged.
    led: Answers,
    file: &'a Path,
}

impl<'a> Reach<'a> {
    /// What is reached by these paths. The root was gone through when the manifests were read, so that it answers.
    fn below(root_shown: PathBuf, allowed: &'a Allowed, paths: &[Named], resolver: &Resolver) -> Self {
        let others: Vec<PathBuf> = allowed.paths.iter().map(|path| absolute(path)).collect();
        let alone = others.iter().map(|path| (path.as_path(), path.as_path()));
        let led = resolver.resolve(paths.iter().filter_map(Named::lane).chain(alone));
        // An allowed path that is not there yet allows what is later made there; one that does not answer allows nothing for now.
        let others = others.iter().filter_map(|path| led.get(path)?.clone().ok()).collect();
        Self { root: fs::canonicalize(&root_shown).ok(), root_shown, others, led, file: &allowed.file }
    }

    fn judge(&self, named: &Named) -> Option<NotAllowed> {
        let path = &named.path;
        if named.is_default() {
            return None;
        }
        let root = self.root_shown.display();
        let (message, fix) = match self.led.get(path) {
            // What it leads to may be anything: it is held, and asked again whenever manifests are read.
            None => (
                format!("{} did not answer within {} s", path.display(), LIMIT.as_secs()),
                "see what is mounted there, and whether its server is up".to_owned(),
            ),
            Some(Err(why)) => (
                format!("{} cannot be followed to where it leads: {why}", path.display()),
                "correct the path".to_owned(),
            ),
            Some(Ok(real)) => {
                let below_root = self.root.as_ref().is_some_and(|root| real != root && real.starts_with(root));
                if below_root || self.others.iter().any(|other| real.starts_with(other)) {
                    return None;
                }
                let led = if real == path { String::new() } else { format!(", that is {},", real.display()) };
                let fix = format!(
                    "put it below {root}, or let the operator of this host write `[allow] paths = [{:?}]` in {}",
                    real.display().to_string(),
                    self.file.display()
                );
                (format!("{}{led} is not below {root}", path.display()), fix)
            }
        };
        let silent = !self.led.contains_key(path);
        Some(NotAllowed { kind: named.kind, name: named.name.clone(), message, fix, silent })
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
            refused_paths(&[named], source, &allowed, host()).pop()
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
        assert!(why.fix.contains("[allow] paths = [") && why.fix.contains("kiln.toml"), "{why:?}");
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
