//! What a reader that is asked again and again makes of manifests that change, and of such as have problems.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln::manifest::{Allowed, Limits, Reader, Reading, Source, load};
use kiln::model::{Kind, Size, Specs};

const STACK: &str =
    "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\nspec: {id: 5c1d2e8a90, defaults: {backend: fast}}\n";
const BACKEND: &str = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n";
const BAD: &str = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: bad}\nspec: {size: 1Gb?}\n";

fn volume(name: &str, gib: u64) -> String {
    format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{size: {gib}Gi}}\n")
}

fn snapshot(name: &str, of: &str) -> String {
    format!("apiVersion: kiln/v1\nkind: Snapshot\nmetadata: {{name: {name}}}\nspec: {{volume: {of}}}\n")
}

fn documents(documents: &[&str]) -> String {
    documents.join("---\n")
}

/// A directory of manifests with its reader.
struct Desk {
    dir: tempfile::TempDir,
    reader: Reader,
}

impl Desk {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("specs")).unwrap();
        let reader = Reader::new(Source::Path(dir.path().join("specs")), Limits::default());
        let desk = Self { dir, reader };
        for (name, text) in files {
            desk.write(name, text);
        }
        desk
    }

    /// A Stack and a Backend in files of their own, beside these.
    fn usual(files: &[(&str, &str)]) -> Self {
        let desk = Self::new(files);
        desk.write("stack.yaml", STACK);
        desk.write("backend.yaml", BACKEND);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("specs").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Reads, and compares what must be the same with a reading that remembers nothing.
    fn read(&mut self) -> Reading {
        let reading = self.reader.read(&Allowed::default());
        let fresh = load(&Source::Path(self.dir.path().join("specs")), &Limits::default());
        assert_eq!(reading.problems.to_vec(), fresh.problems);
        assert_eq!(reading.specs.broken, !fresh.problems.is_empty());
        if fresh.problems.is_empty() {
            let mut specs = (*reading.specs).clone();
            specs.not_allowed.clear();
            assert_eq!(specs, fresh.specs);
            assert!(reading.usable && reading.specs.unreadable.is_empty());
        }
        reading
    }

    /// Reads what must be good.
    fn good(&mut self) -> Reading {
        let reading = self.read();
        assert_eq!(reading.problems.to_vec(), []);
        reading
    }

    /// Reads what must have a problem.
    fn broken(&mut self) -> Reading {
        let reading = self.read();
        assert!(reading.specs.broken && !reading.problems.is_empty());
        reading
    }
}

/// The volumes with their sizes in GiB.
fn volumes(specs: &Specs) -> Vec<(String, u64)> {
    specs.volumes.values().map(|volume| (volume.meta.name.to_string(), volume.size.0 >> 30)).collect()
}

fn sizes(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
}

/// What is said of the documents without a valid meaning: kind, name, and how the sentence ends.
fn unreadable(reading: &Reading) -> Vec<(Kind, String, bool)> {
    let all = reading.specs.unreadable.iter();
    let all: Vec<_> = all
        .map(|one| {
            let known = one.message.ends_with("; what it last said holds");
            assert!(known || one.message.ends_with("; nothing is known of what it said before"), "{one:?}");
            assert!(one.message.contains(".yaml:") && one.unblock.contains("kiln check"), "{one:?}");
            (one.kind, one.name.to_string(), known)
        })
        .collect();
    assert!(all.is_sorted(), "{all:?}");
    all
}

#[test]
fn nothing_that_is_known_is_parsed_or_linked_again() {
    let texts: Vec<String> = (0..20).map(|n| volume(&format!("v{n}"), 1)).collect();
    let mut desk = Desk::usual(&[]);
    for (n, text) in texts.iter().enumerate() {
        desk.write(&format!("deep/{n}.yaml"), text);
    }
    let first = desk.good();
    assert_eq!((first.parsed, first.specs.volumes.len()), (22, 20));
    let second = desk.good();
    assert_eq!(second.parsed, 0);
    assert!(Arc::ptr_eq(&first.specs, &second.specs) && Arc::ptr_eq(&first.problems, &second.problems));
    assert_eq!(first.content, second.content);
    desk.write("deep/7.yaml", &volume("v7", 2));
    let third = desk.good();
    assert_eq!((third.parsed, third.specs.volumes["v7"].size), (1, Size(2 << 30)));
    assert_ne!(third.content, second.content);
    // Gone, and there again: it was not kept.
    desk.remove("deep/7.yaml");
    let fourth = desk.good();
    assert_eq!((fourth.parsed, fourth.specs.volumes.len()), (0, 19));
    desk.write("deep/7.yaml", &volume("v7", 2));
    let fifth = desk.good();
    assert_eq!((fifth.parsed, &fifth.content), (1, &third.content));
    assert_eq!(fifth.specs, third.specs);
    // The same content under another name is another file.
    fs::rename(desk.path("deep/7.yaml"), desk.path("deep/8b.yaml")).unwrap();
    assert_eq!(desk.good().parsed, 1);
    // Only a byte order mark more: the content is another, the meaning is not.
    desk.write("deep/8b.yaml", &format!("\u{feff}{}", volume("v7", 2)));
    let marked = desk.good();
    assert_eq!((marked.parsed, desk.good().parsed), (1, 0));
    assert_eq!(
        marked.specs.volumes,
        fifth
            .specs
            .volumes
            .clone()
            .into_iter()
            .map(|(name, mut volume)| {
                if name == "v7".parse().unwrap() {
                    volume.meta.place.file = volume.meta.place.file.replace("/7.yaml", "/8b.yaml");
                }
                (name, volume)
            })
            .collect()
    );
}
