//! What manifests mean while some of them have a problem: what stands in for what, and what is said of it.
//!
//! Documents of good files are as written. For a file with a problem stands what it declared when it last had none; where it never
//! was without, its documents act as written, if they can. What is known best goes first, and what contradicts it is left out: one
//! object has one document, one owner one Stack, one pool one Backend.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet};

use super::kinds::{Document, PoolPlace};
use super::link::{Linked, Pools, Unread, link, pool};
use super::reader::Entry;
use super::text::File;
use crate::model::{Kind, Name, Reading, Unreadable};

/// How often files are stood in for that have a problem only because of what stands in for others. Each time is a linking; what
/// still has a problem then is left out, and nothing is removed for it.
const ROUNDS: usize = 4;

/// A document that was declared by a file without any problem.
#[derive(Clone)]
pub(super) struct LastGood {
    pub(super) document: Arc<Document>,
    /// The name of the file.
    pub(super) file: Arc<str>,
    /// In which pass it was so last.
    pub(super) pass: u64,
}

/// The files and directories that have a problem, with the first of each: where it is, and what.
pub(super) type Broken = BTreeMap<PathBuf, String>;

/// What manifests with problems came to.
pub(super) struct Meaning {
    pub(super) reading: Reading,
    pub(super) owned: bool,
    /// All documents that were linked, in their order, good or not.
    pub(super) documents: Vec<Arc<Document>>,
    /// Those that are known well enough to stand in later.
    pub(super) meant: Vec<LastGood>,
    pub(super) broken: Broken,
}

/// On whose word a document is taken.
enum Provenance<'a> {
    /// A file without problems.
    Written,
    /// What the file with this problem declared before it.
    Last { meant: LastGood, reason: &'a str },
    /// A file with this problem that never was without one.
    Alone { reason: &'a str },
}

struct Candidate<'a> {
    document: Arc<Document>,
    /// The file as it is now; `None` for what it was before.
    file: Option<&'a File>,
    word: Provenance<'a>,
}

/// Links what manifests mean, as often as it takes. `before`: what they meant in the last reading; `first`: the first problem of all.
pub(super) fn meaning(
    entries: &mut BTreeMap<PathBuf, Entry>,
    before: &[LastGood],
    mut broken: Broken,
    first: &str,
    pass: u64,
    pools: &Pools,
) -> Meaning {
    for round in 1.. {
        let lapsing = entries.iter_mut().filter(|(path, _)| broken.contains_key(*path));
        lapsing.for_each(|(_, entry)| entry.lapse());
        let all = &*entries;
        let (candidates, lost) = candidates(all, before, &broken, first, pools);
        let linked = link_candidates(all, &candidates, pools);
        let more = also_broken(all, &broken, &linked);
        all.values().for_each(Entry::cut_back);
        if !more.is_empty() && round < ROUNDS {
            broken.extend(more);
            continue;
        }
        let Linked { mut reading, owned, bad, .. } = linked;
        reading.broken = true;
        reading.unreadable = unreadable(all, &candidates, &bad, &lost, &broken);
        let good = candidates.iter().enumerate().filter(|(index, _)| !bad.contains_key(index));
        let meant = good.filter_map(|(_, candidate)| match &candidate.word {
            Provenance::Written => {
                let file = candidate.file?.name.clone();
                Some(LastGood { document: candidate.document.clone(), file, pass })
            }
            Provenance::Last { meant, .. } => Some(meant.clone()),
            Provenance::Alone { .. } => None,
        });
        let meant = meant.collect();
        let written = |candidate: &&Candidate<'_>| matches!(candidate.word, Provenance::Written);
        let claimed = Claims::of(candidates.iter().filter(written).map(|candidate| &*candidate.document), pools);
        let documents = candidates.iter().map(|candidate| candidate.document.clone()).collect();
        // What a good file has taken over is never again what another one said of it.
        for last in entries.values_mut().filter_map(|entry| entry.last.as_mut()) {
            last.retain(|meant| !claimed.names.contains(&(meant.document.kind, meant.document.name.clone())));
        }
        return Meaning { reading, owned, documents, meant, broken };
    }
    unreachable!("the rounds end")
}

/// What is linked, what is known best before all else; and what is known of and left out, with the problem that made it so.
fn candidates<'a>(
    entries: &'a BTreeMap<PathBuf, Entry>,
    before: &[LastGood],
    broken: &'a Broken,
    first: &'a str,
    pools: &Pools,
) -> (Vec<Candidate<'a>>, Vec<(Kind, Name, &'a str)>) {
    let is_good = |path: &Path, entry: &Entry| entry.seen && !broken.contains_key(path);
    let mut out = Vec::new();
    for (_, entry) in entries.iter().filter(|(path, entry)| is_good(path, entry)) {
        let written = entry.documents.iter().map(|document| Candidate {
            document: document.clone(),
            file: Some(&entry.file),
            word: Provenance::Written,
        });
        out.extend(written);
    }
    let mut claims = Claims::of(out.iter().map(|candidate| &*candidate.document), pools);
    // Out of sight, a file has the problem of the directory above it.
    let reason = |path: &Path| path.ancestors().find_map(|path| broken.get(path)).map_or(first, String::as_str);
    let with_problem = || entries.iter().filter(|(path, entry)| !is_good(path, entry));
    let mut last = Vec::new();
    let mut told = HashMap::new();
    for (path, entry) in with_problem() {
        last.extend(entry.last.iter().flatten().map(|meant| (meant.clone(), reason(path))));
        for document in entry.documents.iter().filter(|_| entry.seen) {
            told.entry((document.kind, &document.name)).or_insert(reason(path));
        }
    }
    // A document that was moved into a file with a problem; and whose all of it is, which no problem elsewhere may change.
    last.extend(before.iter().filter_map(|meant| match meant.document.kind {
        Kind::Stack => (!claims.stack).then(|| (meant.clone(), first)),
        kind => Some((meant.clone(), *told.get(&(kind, &meant.document.name))?)),
    }));
    last.sort_by_key(|(meant, _)| std::cmp::Reverse(meant.pass));
    let mut lost = Vec::new();
    for (meant, reason) in last {
        let document = meant.document.clone();
        if claims.admit(&document) {
            claims.add(&document);
            out.push(Candidate { document, file: None, word: Provenance::Last { meant, reason } });
        } else if !claims.names.contains(&(document.kind, document.name.clone())) {
            lost.push((document.kind, document.name.clone(), reason));
        }
    }
    for (path, entry) in with_problem().filter(|(_, entry)| entry.last.is_none()) {
        // Where they contradict one another nobody can know which is right: linking refuses both.
        let admitted = entry.documents.iter().filter(|document| claims.admit(document));
        out.extend(admitted.map(|document| Candidate {
            document: document.clone(),
            file: Some(&entry.file),
            word: Provenance::Alone { reason: reason(path) },
        }));
    }
    (out, lost)
}

fn link_candidates(entries: &BTreeMap<PathBuf, Entry>, candidates: &[Candidate<'_>], pools: &Pools) -> Linked {
    let mut stood: BTreeMap<&str, File> = BTreeMap::new();
    for candidate in candidates {
        if let Provenance::Last { meant, .. } = &candidate.word {
            stood.entry(&meant.file).or_insert_with(|| File::named(meant.file.clone()));
        }
    }
    let mut files: Vec<&File> = Vec::new();
    let mut numbers: HashMap<*const File, usize> = HashMap::new();
    let mut documents = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let file = match (&candidate.word, candidate.file) {
            (Provenance::Last { meant, .. }, _) => stood.get(&*meant.file),
            (_, file) => file,
        };
        let Some(file) = file else { continue };
        let number = *numbers.entry(std::ptr::from_ref(file)).or_insert_with(|| {
            files.push(file);
            files.len() - 1
        });
        documents.push(Document { file: number, ..(*candidate.document).clone() });
    }
    // Of what is stood in for, nothing is unknown.
    let mut unread = Unread::default();
    for (path, entry) in entries.iter().filter(|(_, entry)| entry.last.is_none() && entry.good.is_none()) {
        let below = || entries.iter().any(|(other, entry)| !entry.seen && other.starts_with(path));
        if !(entry.seen && entry.is_refused() && below()) {
            unread.add(&entry.unread);
        }
    }
    link(&files, documents, &unread, pools)
}

/// Files that have a problem only with what stands in for others.
fn also_broken(entries: &BTreeMap<PathBuf, Entry>, broken: &Broken, linked: &Linked) -> Broken {
    let good = entries.iter().filter(|(path, entry)| entry.seen && !broken.contains_key(*path));
    good.filter_map(|(path, entry)| Some((path.clone(), entry.first_problem(&linked.shared)?))).collect()
}

/// What has no valid meaning as written, and what holds instead.
fn unreadable(
    entries: &BTreeMap<PathBuf, Entry>,
    candidates: &[Candidate<'_>],
    bad: &BTreeMap<usize, Option<String>>,
    lost: &[(Kind, Name, &str)],
    broken: &Broken,
) -> Vec<Unreadable> {
    const HOLDS: &str = "what it last said holds";
    const NOTHING: &str = "nothing is known of what it said before";
    let mut all: BTreeMap<(Kind, Name), String> = BTreeMap::new();
    let mut taken: HashSet<(Kind, &Name)> = HashSet::default();
    for (index, Candidate { document, file, word }) in candidates.iter().enumerate() {
        taken.insert((document.kind, &document.name));
        let why = bad.get(&index).map(|why| why.as_deref().unwrap_or("what it depends on has a problem"));
        let message = match (word, why) {
            (Provenance::Last { reason, .. }, None) => format!("{reason}; {HOLDS}"),
            (Provenance::Last { reason, .. }, Some(why)) => format!("{reason}; what it last said cannot hold: {why}"),
            (Provenance::Alone { reason }, Some(_)) => format!("{reason}; {NOTHING}"),
            (Provenance::Written, Some(why)) => {
                let place = file.map(|file| file.place(document.name_span)).unwrap_or_default();
                format!("{place}: {why}; {NOTHING}")
            }
            (Provenance::Written | Provenance::Alone { .. }, None) => continue,
        };
        all.entry((document.kind, document.name.clone())).or_insert(message);
    }
    for (kind, name, reason) in lost {
        let message = format!("{reason}; what it last said cannot hold beside what is declared now");
        all.entry((*kind, name.clone())).or_insert(message);
    }
    for (path, reason) in broken {
        for document in entries.get(path).into_iter().flat_map(|entry| &entry.documents) {
            if !taken.contains(&(document.kind, &document.name)) {
                let message = format!("{reason}; {NOTHING}");
                all.entry((document.kind, document.name.clone())).or_insert(message);
            }
        }
    }
    let fix = "correct the manifest: `kiln check` lists the problems";
    let made = all.into_iter().map(|((kind, name), message)| Unreadable { kind, name, message, fix: fix.to_owned() });
    made.collect()
}

/// What documents lay claim to, which no other may then have.
struct Claims<'a> {
    known: &'a Pools,
    /// Names, also those that objects had before.
    names: HashSet<(Kind, Name)>,
    pools: BTreeSet<PoolPlace>,
    stack: bool,
}

impl<'a> Claims<'a> {
    fn of<'d>(documents: impl Iterator<Item = &'d Document>, known: &'a Pools) -> Self {
        let mut claims = Self { known, names: HashSet::default(), pools: BTreeSet::new(), stack: false };
        documents.for_each(|document| claims.add(document));
        claims
    }

    fn add(&mut self, document: &Document) {
        let kind = document.kind;
        self.names.insert((kind, document.name.clone()));
        self.names.extend(document.renamed_from.iter().map(|(old, _)| (kind, old.clone())));
        self.pools.extend(pool(document).map(|place| self.known.real(place)));
        self.stack |= kind == Kind::Stack;
    }

    fn admit(&self, document: &Document) -> bool {
        let kind = document.kind;
        let name_taken = |name: &Name| self.names.contains(&(kind, name.clone()));
        !(name_taken(&document.name)
            || document.renamed_from.as_ref().is_some_and(|(old, _)| name_taken(old))
            || (self.stack && kind == Kind::Stack)
            || pool(document).is_some_and(|place| self.pools.contains(&self.known.real(place))))
    }
}
