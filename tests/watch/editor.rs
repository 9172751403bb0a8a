//! Somebody who edits manifests at random, and writes into the volumes that are there. All that is random follows from a seed, which
//! is printed; `KILN_SEED` runs the same edits again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::daemon::{document, live, trash};
use crate::sandbox::Sandbox;

/// Names are used again and again: what is removed comes back.
const NAMES: u64 = 30;
const FILES: u64 = 8;

pub(crate) struct Editor {
    pub(crate) random: Random,
    /// Sizes in MiB, by name. Only grown: shrinking is held.
    sizes: BTreeMap<String, u64>,
    declared: BTreeSet<String>,
    /// Files that are broken now.
    broken: BTreeSet<u64>,
}

/// Numbers from a seed (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// A seed of its own for each run, unless one is given.
    pub(crate) fn new(test: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "how a test is told to repeat a run")]
        let given = std::env::var("KILN_SEED").ok();
        let seed = given.map_or_else(|| u64::from(std::process::id()) << 20, |seed| seed.parse().unwrap());
        #[expect(clippy::print_stdout, reason = "shown with a test that fails")]
        {
            println!("{test}: KILN_SEED={seed}");
        }
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

impl Editor {
    pub(crate) fn new(random: Random) -> Self {
        Self { random, sizes: BTreeMap::new(), declared: BTreeSet::new(), broken: BTreeSet::new() }
    }

    /// What is declared, in order.
    pub(crate) fn declared(&self) -> Vec<String> {
        self.declared.iter().cloned().collect()
    }

    /// A name, whether declared or not.
    pub(crate) fn name(&mut self) -> String {
        format!("v{}", self.random.below(NAMES))
    }

    /// One edit: a volume more, or less, or larger; a file broken, or mended.
    pub(crate) fn edit(&mut self, sandbox: &Sandbox, breaks: bool) {
        let name = self.name();
        let file = file_of(&name);
        match self.random.below(10) {
            0..=3 => drop(self.declared.insert(name.clone())),
            4..=6 => drop(self.declared.remove(&name)),
            7 | 8 => {
                let size = self.sizes.entry(name.clone()).or_insert(1);
                *size = (*size + 1).min(64);
            }
            _ if breaks => drop(self.broken.insert(file)),
            _ => {}
        }
        self.save(sandbox, file);
        if self.random.below(3) == 0 {
            self.mend(sandbox);
        }
    }

    /// Makes every file good.
    pub(crate) fn mend(&mut self, sandbox: &Sandbox) {
        for file in std::mem::take(&mut self.broken) {
            self.save(sandbox, file);
        }
    }

    /// Writes a file in one of the ways in which people and programs write files.
    fn save(&mut self, sandbox: &Sandbox, file: u64) {
        let path = sandbox.path(&format!("specs/team{}/{file}.yaml", file % 3));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let names = self.declared.iter().filter(|name| file_of(name) == file);
        let mut text: String =
            names.map(|name| document(name, &format!("{}Mi", self.sizes.get(name).unwrap_or(&1)))).collect();
        if self.broken.contains(&file) {
            text.push_str("---\nkind: [\n");
        }
        match self.random.below(4) {
            // No file is an empty one.
            _ if text.is_empty() => match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
                _ => {}
            },
            // In two halves, as a slow writer does.
            0 => {
                fs::write(&path, &text[..text.len() / 2]).unwrap();
                fs::write(&path, &text).unwrap();
            }
            1 => fs::write(&path, &text).unwrap(),
            _ => {
                let beside = path.with_extension("tmp");
                fs::write(&beside, &text).unwrap();
                fs::rename(&beside, &path).unwrap();
            }
        }
    }
}

fn file_of(name: &str) -> u64 {
    name.trim_start_matches('v').parse::<u64>().unwrap() % FILES
}

/// What clients wrote: in which incarnations of which volumes there has to be the mark.
#[derive(Default)]
pub(crate) struct Marks(BTreeSet<String>);

impl Marks {
    /// Looks that every mark is still there, and marks every live volume. Nothing must change the pool meanwhile.
    pub(crate) fn check_and_write(&mut self, sandbox: &Sandbox) {
        let images = images(&sandbox.path("pool"));
        for native in &self.0 {
            let image = images.get(native).unwrap_or_else(|| panic!("{native} is gone"));
            assert_eq!(first_bytes(image), mark(native), "{native}");
        }
        for (native, image) in images.iter().filter(|(native, _)| native.starts_with("kiln.prod.")) {
            let first = first_bytes(image);
            assert!(first == [0; 32] || first == mark(native), "{native} holds {first:?}");
            fs::File::options().write(true).open(image).unwrap().write_all_at(&mark(native), 0).unwrap();
            self.0.insert(native.clone());
        }
    }
}

fn mark(native: &str) -> [u8; 32] {
    *blake3::hash(native.as_bytes()).as_bytes()
}

fn first_bytes(image: &Path) -> [u8; 32] {
    let mut first = [0; 32];
    fs::File::open(image).unwrap().read_exact_at(&mut first, 0).unwrap();
    first
}

/// Images in the pool and its trash, by native name.
fn images(pool: &Path) -> BTreeMap<String, PathBuf> {
    let directories = [pool.to_owned(), pool.join(".trash")];
    let entries = directories.iter().flat_map(|directory| fs::read_dir(directory).into_iter().flatten().flatten());
    let found = entries.filter_map(|entry| {
        let native = entry.file_name().into_string().unwrap();
        let image = entry.path().join(format!("{native}.img"));
        image.exists().then_some((native, image))
    });
    found.collect()
}

/// The pool holds what is declared, each once, and nothing half made.
#[track_caller]
pub(crate) fn is_as_declared(sandbox: &Sandbox, declared: &[String]) {
    assert_eq!(live(sandbox), declared);
    let both: BTreeSet<String> = trash(sandbox).into_iter().filter(|name| declared.contains(name)).collect();
    assert_eq!(both, BTreeSet::new(), "these are in the trash as well");
    let half_made: Vec<String> =
        images(&sandbox.path("pool")).into_keys().filter(|name| name.starts_with("kiln-tmp")).collect();
    assert_eq!(half_made, Vec::<String>::new());
}
