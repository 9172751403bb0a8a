//! Which revision manifests have: the commit, where they lie in a Git work tree, and a hash of their content elsewhere.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln::manifest::{Allowed, Limits, Reader, Source, checkout_in_progress, load};

fn volume(name: &str, size: u64) -> String {
    format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{backend: fast, size: {size}Mi}}\n")
}

const BACKEND: &str = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n";

/// A directory in which `git` is run, with nothing of the host's configuration.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    /// `repo` with `specs` in it, not yet in Git.
    fn new() -> Self {
        let desk = Self { dir: tempfile::tempdir().unwrap() };
        desk.write("repo/specs/backend.yaml", BACKEND);
        desk.write("repo/specs/deep/a.yaml", &volume("a", 1));
        desk.write("repo/README", "not read\n");
        desk
    }

    /// The same, committed.
    fn committed(hash: &str) -> Self {
        let desk = Self::new();
        desk.git("repo", &format!("init -q --object-format={hash} -b main"));
        desk.commit();
        desk
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    fn git(&self, dir: &str, arguments: &str) -> String {
        let mut git = assert_cmd::Command::new("git");
        git.current_dir(self.path(dir))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.dir.path());
        git.env("GIT_CONFIG_NOSYSTEM", "1").args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
        let output = git.args(["-c", "protocol.file.allow=always"]).args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "git {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self) {
        self.git("repo", "add -A");
        self.git("repo", "commit -qm x");
    }

    fn revision(&self, specs: &str) -> String {
        revision(&self.path(specs))
    }

    /// What it should be when all is as committed.
    fn head(&self) -> String {
        self.git("repo", "rev-parse HEAD")
    }

    fn is_dirty(&self, why: &str) {
        assert_eq!(self.revision("repo/specs"), format!("{}-dirty", self.head()), "{why}");
    }

    fn is_clean(&self, why: &str) {
        assert_eq!(self.revision("repo/specs"), self.head(), "{why}");
    }
}

fn revision(specs: &Path) -> String {
    load(&Source::Path(specs.to_owned()), &Limits::default()).reading.revision
}

#[test]
fn outside_of_git_and_before_the_first_commit_it_is_the_content() {
    let desk = Desk::new();
    let content = desk.revision("repo/specs");
    assert_eq!(content.len(), 32);
    desk.git("repo", "init -q");
    assert_eq!(desk.revision("repo/specs"), content, "unborn");
    desk.commit();
    desk.is_clean("born");
    // What cannot be understood is as good as not there.
    let head = fs::read(desk.path("repo/.git/HEAD")).unwrap();
    for text in [
        "ref: refs/heads/.invalid\n",
        "ref: refs/heads/none\n",
        "nonsense",
        "",
        "0000000000000000000000000000000000000001\n",
    ] {
        desk.write("repo/.git/HEAD", text);
        assert_eq!(desk.revision("repo/specs"), content, "{text}");
    }
    fs::write(desk.path("repo/.git/HEAD"), head).unwrap();
    fs::rename(desk.path("repo/.git/objects"), desk.path("repo/.git/elsewhere")).unwrap();
    assert_eq!(desk.revision("repo/specs"), content, "no objects");
    let text = Source::Text(BACKEND.to_owned());
    assert_eq!(load(&text, &Limits::default()).reading.revision.len(), 32, "standard input lies nowhere");
}

#[test]
fn in_git_it_is_the_commit_and_dirty_where_anything_that_is_read_differs() {
    for hash in ["sha1", "sha256"] {
        let desk = Desk::committed(hash);
        assert_eq!(desk.head().len(), if hash == "sha1" { 40 } else { 64 });
        desk.is_clean(hash);
        desk.write("repo/README", "changed, and no manifest\n");
        desk.write("repo/specs/notes.txt", "likewise\n");
        desk.write("repo/specs/.hidden.yaml", "likewise\n");
        desk.is_clean("what is not read does not matter");
        desk.write("repo/specs/deep/a.yaml", &volume("a", 2));
        desk.is_dirty("changed");
        desk.git("repo", "add specs");
        desk.is_dirty("changed, and in the index");
        desk.git("repo", "reset -q --hard");
        desk.is_clean("back");
        desk.write("repo/specs/new.yaml", &volume("new", 1));
        desk.is_dirty("not committed");
        fs::remove_file(desk.path("repo/specs/new.yaml")).unwrap();
        desk.is_clean("back");
        fs::remove_file(desk.path("repo/specs/deep/a.yaml")).unwrap();
        desk.is_dirty("gone");
        fs::remove_dir(desk.path("repo/specs/deep")).unwrap();
        desk.is_dirty("gone with its directory");
        desk.git("repo", "reset -q --hard");
        fs::rename(desk.path("repo/specs/deep/a.yaml"), desk.path("repo/specs/deep/b.yaml")).unwrap();
        desk.is_dirty("renamed");
        desk.commit();
        desk.is_clean("committed");
        desk.git("repo", "checkout -q --detach HEAD~1");
        desk.is_clean("detached");
        desk.write("repo/specs/deep/a.yaml", "\u{feff}");
        desk.is_dirty("only a byte order mark");
    }
}

#[test]
fn a_single_file_is_compared_alone() {
    let desk = Desk::committed("sha1");
    desk.write("repo/specs/deep/a.yaml", "");
    assert_eq!(desk.revision("repo/specs/backend.yaml"), desk.head());
    desk.write("repo/specs/backend.yaml", &format!("{BACKEND}# more\n"));
    assert_eq!(desk.revision("repo/specs/backend.yaml"), format!("{}-dirty", desk.head()));
    // The root of the work tree may be the directory of the manifests.
    desk.git("repo", "reset -q --hard");
    assert_eq!(desk.revision("repo"), desk.head());
}

#[test]
fn packed_objects_and_names_and_shallow_clones_are_read() {
    let desk = Desk::committed("sha1");
    // Large trees that differ little: packed as deltas.
    for n in 0..200 {
        desk.write(&format!("repo/specs/many/v{n}.yaml"), &volume(&format!("v{n}"), 1));
    }
    desk.commit();
    for size in 2..12 {
        desk.write("repo/specs/many/v7.yaml", &volume("v7", size));
        desk.commit();
    }
    desk.git("repo", "gc -q --aggressive --prune=now");
    desk.git("repo", "pack-refs --all");
    let packed = desk.git("repo", "count-objects -v");
    assert!(packed.contains("count: 0\n") && !packed.contains("in-pack: 0\n"), "{packed}");
    assert!(!desk.path("repo/.git/refs/heads/main").exists());
    let packs = fs::read_dir(desk.path("repo/.git/objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    let index = packs.into_iter().find(|path| path.extension().is_some_and(|end| end == "idx")).unwrap();
    let listing = desk.git("repo", &format!("verify-pack -v {}", index.display()));
    // Of a delta the listing says how deep it is and from what it is made.
    let is_delta = |line: &&str| line.contains(" tree ") && line.split_whitespace().count() == 7;
    assert!(listing.lines().filter(is_delta).count() > 5, "{listing}");
    for back in 0..5 {
        desk.git("repo", &format!("checkout -q --detach main~{back}"));
        desk.is_clean("packed");
    }
    desk.git("repo", "checkout -q main");
    desk.is_clean("packed, by name");
    desk.write("repo/specs/many/v7.yaml", &volume("v7", 2));
    desk.is_dirty("packed");
    desk.git("repo", "reset -q --hard");
    let url = format!("file://{}", desk.path("repo").display());
    desk.git(".", &format!("clone -q --depth 1 {url} shallow"));
    assert_eq!(desk.revision("shallow/specs"), desk.head());
    // One that borrows its objects.
    desk.git(".", "clone -q --shared repo borrowed");
    assert_eq!(desk.revision("borrowed/specs"), desk.head());
}

#[test]
fn a_linked_work_tree_has_its_own_head() {
    let desk = Desk::committed("sha1");
    let first = desk.head();
    desk.write("repo/specs/deep/a.yaml", &volume("a", 2));
    desk.commit();
    desk.git("repo", &format!("worktree add -q ../other {first}"));
    assert!(desk.path("other/.git").is_file());
    assert_eq!(desk.revision("other/specs"), first);
    desk.is_clean("the first one");
    desk.write("other/specs/deep/a.yaml", &volume("a", 3));
    assert_eq!(desk.revision("other/specs"), format!("{first}-dirty"));
    // Its branch is a name that all work trees share.
    desk.git("other", "reset -q --hard");
    desk.git("other", "checkout -q -b side");
    desk.git("repo", "pack-refs --all");
    assert_eq!(desk.revision("other/specs"), first);
}

#[test]
fn links_are_what_they_are_in_the_commit() {
    let desk = Desk::committed("sha1");
    desk.write("repo/specs/..data/b.yaml", &volume("b", 1));
    std::os::unix::fs::symlink("..data/b.yaml", desk.path("repo/specs/b.yaml")).unwrap();
    std::os::unix::fs::symlink("specs", desk.path("repo/current")).unwrap();
    desk.commit();
    desk.is_clean("a link to a file");
    assert_eq!(desk.revision("repo/current"), desk.head(), "and one to the manifests");
    desk.write("repo/specs/..data/b.yaml", &volume("b", 2));
    desk.is_dirty("where the link leads");
    desk.git("repo", "reset -q --hard");
    fs::remove_file(desk.path("repo/specs/b.yaml")).unwrap();
    desk.is_dirty("the link is gone");
}

#[test]
fn a_repository_of_another_owner_is_read() {
    let desk = Desk::committed("sha1");
    let head = desk.head();
    // Only root can give something away; for others every repository is their own here.
    if rustix::process::geteuid().is_root() {
        let chown = |path: &Path| std::os::unix::fs::lchown(path, Some(12345), Some(12345)).unwrap();
        let mut todo = vec![desk.path("repo")];
        while let Some(path) = todo.pop() {
            chown(&path);
            if path.is_dir() {
                todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }
    assert_eq!(desk.revision("repo/specs"), head);
}

#[test]
fn a_pipe_instead_of_a_repository_file_does_not_block() {
    for file in ["HEAD", "commondir", "config", "packed-refs", "objects/info/alternates", "refs/heads/main"] {
        let desk = Desk::committed("sha1");
        let path = desk.path("repo/.git").join(file);
        // A loose name is read when HEAD leads to it.
        if path.exists() {
            fs::remove_file(&path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        if file.starts_with("refs") {
            fs::write(desk.path("repo/.git/HEAD"), format!("ref: {file}\n")).unwrap();
        }
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(revision(&desk.path("repo/specs")).len(), 32, "{file}: it is the content");
    }
}

#[test]
fn a_reader_names_the_commit_and_notices_when_it_changes() {
    let desk = Desk::committed("sha1");
    let mut reader = Reader::new(Source::Path(desk.path("repo/specs")), Limits::default());
    let mut read = || reader.read(&Allowed::default());
    let first = read();
    assert_eq!(first.reading.revision, desk.head());
    assert_ne!(first.reading.revision, first.content);
    assert!(Arc::ptr_eq(&first.reading.specs, &read().reading.specs));
    desk.write("repo/specs/deep/a.yaml", &volume("a", 2));
    let second = read();
    assert_eq!(second.reading.revision, format!("{}-dirty", desk.head()));
    desk.commit();
    let third = read();
    assert_eq!((third.parsed, &third.content), (0, &second.content));
    assert_eq!(third.reading.revision, desk.head());
    assert_eq!(third.reading.specs.volumes, second.reading.specs.volumes);
    assert!(Arc::ptr_eq(&third.reading.specs, &read().reading.specs));
}

#[test]
fn a_checkout_in_progress_is_seen_and_a_forgotten_lock_is_not_waited_for() {
    let desk = Desk::committed("sha1");
    desk.git("repo", "worktree add -q ../other");
    let now = fs::metadata(desk.path("other")).unwrap().modified().unwrap();
    for (specs, lock) in
        [("repo/specs", "repo/.git/index.lock"), ("other/specs", "repo/.git/worktrees/other/index.lock")]
    {
        let source = Source::Path(desk.path(specs));
        assert_eq!(checkout_in_progress(&source, now), None);
        desk.write(lock, "");
        let file = fs::File::options().write(true).open(desk.path(lock)).unwrap();
        for (old, seen) in [(0, true), (59, true), (61, false), (86_400, false)] {
            file.set_modified(now - Duration::from_secs(old)).unwrap();
            let expect = seen.then_some(Duration::from_secs(old));
            assert_eq!(checkout_in_progress(&source, now), expect, "{specs} {old}");
        }
        // By a clock that is ahead.
        file.set_modified(now + Duration::from_secs(5)).unwrap();
        assert_eq!(checkout_in_progress(&source, now), Some(Duration::ZERO));
        fs::remove_file(desk.path(lock)).unwrap();
    }
    // Merges and rebases leave the work tree as it is until somebody goes on.
    desk.write("repo/.git/MERGE_HEAD", &desk.head());
    fs::create_dir(desk.path("repo/.git/rebase-merge")).unwrap();
    assert_eq!(checkout_in_progress(&Source::Path(desk.path("repo/specs")), now), None);
    assert_eq!(checkout_in_progress(&Source::Text(String::new()), now), None);
    assert_eq!(checkout_in_progress(&Source::Path(desk.path("none")), now), None);
}
