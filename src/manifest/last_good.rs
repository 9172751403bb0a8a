//! Substitutes last good documents for those of files with a problem.
//!
//! Documents of valid files apply as written. A file with a problem is replaced by the documents of its last valid content; if it
//! never had any, its own valid documents apply. Documents are admitted in this order of trust, and one that contradicts an admitted
//! document is left out: each object has one document, each owner one Stack, each pool one Backend.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet};

use super::kinds::{Document, PoolPlace};
use super::known_file::{KnownFile, LastGood};
use super::link::{Linked, ResolvedPools, Unread, link, pool};
use super::text::File;
use crate::model::{Kind, Name, Reading, Unreadable};

/// Rounds of substitution. A substituted document can cause a problem in a valid file, which is then substituted in the next round.
/// Each round links all documents. What still has a problem after the last round is left out, and its objects are kept.
const ROUNDS: usize = 4;

/// The files and directories with a problem, and the first problem of each with its place.
pub(super) type Broken = BTreeMap<PathBuf, String>;

/// The result of [`substitute_last_good`].
pub(super) struct Substituted {
    pub(super) reading: Reading,
    /// Whether the owner is known.
    pub(super) owned: bool,
    /// All documents that were linked, in order, valid or not.
    pub(super) documents: Vec<Arc<Document>>,
    /// The documents that may be substituted in later readings.
    pub(super) last_good: Vec<LastGood>,
    pub(super) broken: Broken,
}

/// Where a document comes from.
enum Provenance<'a> {
    /// A file without problems.
    Valid,
    /// The last valid content of a file that now has this problem.
    LastGood { last: LastGood, reason: &'a str },
    /// A file with this problem that was never valid.
    NeverValid { reason: &'a str },
}

struct Candidate<'a> {
    document: Arc<Document>,
    /// The file as it is now; `None` for earlier content.
    file: Option<&'a File>,
    provenance: Provenance<'a>,
}

/// Links the valid documents and the substituted ones. `before`: the documents in force after the last reading; `first`: the first
/// problem of all.
pub(super) fn substitute_last_good(
    files: &mut BTreeMap<PathBuf, KnownFile>,
    before: &[LastGood],
    mut broken: Broken,
    first: &str,
    pass: u64,
    pools: &ResolvedPools,
) -> Substituted {
    for round in 1.. {
        let invalid = files.iter_mut().filter(|(path, _)| broken.contains_key(*path));
        invalid.for_each(|(_, file)| file.invalidate());
        let all = &*files;
        let (candidates, lost) = candidates(all, before, &broken, first, pools);
        let linked = link_candidates(all, &candidates, pools);
        let more = also_broken(all, &broken, &linked);
        all.values().for_each(KnownFile::remove_link_problems);
        if !more.is_empty() && round < ROUNDS {
            broken.extend(more);
            continue;
        }
        let Linked { mut reading, owned, bad, .. } = linked;
        reading.broken = true;
        reading.unreadable = unreadable(all, &candidates, &bad, &lost, &broken);
        let good = candidates.iter().enumerate().filter(|(index, _)| !bad.contains_key(index));
        let last_good = good.filter_map(|(_, candidate)| match &candidate.provenance {
            Provenance::Valid => {
                let file = candidate.file?.name.clone();
                Some(LastGood { document: candidate.document.clone(), file, pass })
            }
            Provenance::LastGood { last, .. } => Some(last.clone()),
            Provenance::NeverValid { .. } => None,
        });
        let last_good = last_good.collect();
        let valid = |candidate: &&Candidate<'_>| matches!(candidate.provenance, Provenance::Valid);
        let claimed = Claims::of(candidates.iter().filter(valid).map(|candidate| &*candidate.document), pools);
        let documents = candidates.iter().map(|candidate| candidate.document.clone()).collect();
        // An object that a valid file declares now is never substituted from another file again.
        for documents in files.values_mut().filter_map(|file| file.last_good.as_mut()) {
            documents.retain(|last| !claimed.names.contains(&(last.document.kind, last.document.name.clone())));
        }
        return Substituted { reading, owned, documents, last_good, broken };
    }
    unreachable!("the last round returns")
}

/// Returns the documents to link, the most trusted first; and the objects whose last good documents are left out, with the problem
/// of their file.
fn candidates<'a>(
    files: &'a BTreeMap<PathBuf, KnownFile>,
    before: &[LastGood],
    broken: &'a Broken,
    first: &'a str,
    pools: &ResolvedPools,
) -> (Vec<Candidate<'a>>, Vec<(Kind, Name, &'a str)>) {
    let is_valid = |path: &Path, file: &KnownFile| file.found && !broken.contains_key(path);
    let mut out = Vec::new();
    for (_, known) in files.iter().filter(|(path, known)| is_valid(path, known)) {
        let valid = known.documents.iter().map(|document| Candidate {
            document: document.clone(),
            file: Some(&known.file),
            provenance: Provenance::Valid,
        });
        out.extend(valid);
    }
    let mut claims = Claims::of(out.iter().map(|candidate| &*candidate.document), pools);
    // A hidden file has the problem of the directory above it.
    let reason = |path: &Path| path.ancestors().find_map(|path| broken.get(path)).map_or(first, String::as_str);
    let with_problem = || files.iter().filter(|(path, known)| !is_valid(path, known));
    let mut last_good = Vec::new();
    let mut in_invalid_files = HashMap::new();
    for (path, known) in with_problem() {
        last_good.extend(known.last_good.iter().flatten().map(|last| (last.clone(), reason(path))));
        for document in known.documents.iter().filter(|_| known.found) {
            in_invalid_files.entry((document.kind, &document.name)).or_insert(reason(path));
        }
    }
    // A document may have been moved into a file with a problem. The Stack names the owner of everything: no problem may change it.
    last_good.extend(before.iter().filter_map(|last| {
        let Document { kind, name, .. } = &*last.document;
        let reason = match kind {
            Kind::Stack => (!claims.stack).then_some(first),
            Kind::Backend | Kind::Volume | Kind::Snapshot | Kind::Target | Kind::Export | Kind::Approval => {
                in_invalid_files.get(&(*kind, name)).copied()
            }
        };
        Some((last.clone(), reason?))
    }));
    last_good.sort_by_key(|(last, _)| std::cmp::Reverse(last.pass));
    let mut lost = Vec::new();
    for (last, reason) in last_good {
        let document = last.document.clone();
        if claims.admit(&document) {
            claims.add(&document);
            out.push(Candidate { document, file: None, provenance: Provenance::LastGood { last, reason } });
        } else if !claims.names.contains(&(document.kind, document.name.clone())) {
            lost.push((document.kind, document.name.clone(), reason));
        }
    }
    for (path, known) in with_problem().filter(|(_, known)| known.last_good.is_none()) {
        // Linking refuses both of two documents that contradict each other.
        let admitted = known.documents.iter().filter(|document| claims.admit(document));
        out.extend(admitted.map(|document| Candidate {
            document: document.clone(),
            file: Some(&known.file),
            provenance: Provenance::NeverValid { reason: reason(path) },
        }));
    }
    (out, lost)
}

fn link_candidates(
    files: &BTreeMap<PathBuf, KnownFile>,
    candidates: &[Candidate<'_>],
    pools: &ResolvedPools,
) -> Linked {
    let mut earlier: BTreeMap<&str, File> = BTreeMap::new();
    for candidate in candidates {
        if let Provenance::LastGood { last, .. } = &candidate.provenance {
            earlier.entry(&last.file).or_insert_with(|| File::named(last.file.clone()));
        }
    }
    let mut texts: Vec<&File> = Vec::new();
    let mut numbers: HashMap<*const File, usize> = HashMap::new();
    let mut documents = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let file = match (&candidate.provenance, candidate.file) {
            (Provenance::LastGood { last, .. }, _) => earlier.get(&*last.file),
            (_, file) => file,
        };
        let Some(file) = file else { continue };
        let number = *numbers.entry(std::ptr::from_ref(file)).or_insert_with(|| {
            texts.push(file);
            texts.len() - 1
        });
        documents.push(Document { file: number, ..(*candidate.document).clone() });
    }
    // A file with last good content hides nothing.
    let mut unread = Unread::default();
    for (path, known) in files.iter().filter(|(_, known)| known.last_good.is_none() && known.valid_in.is_none()) {
        let below = || files.iter().any(|(other, known)| !known.found && other.starts_with(path));
        if !(known.found && known.is_refused() && below()) {
            unread.add(&known.unread);
        }
    }
    link(&texts, documents, &unread, pools)
}

/// Returns the valid files in which substituted documents cause a problem.
fn also_broken(files: &BTreeMap<PathBuf, KnownFile>, broken: &Broken, linked: &Linked) -> Broken {
    let valid = files.iter().filter(|(path, known)| known.found && !broken.contains_key(*path));
    valid.filter_map(|(path, known)| Some((path.clone(), known.first_problem(&linked.shared)?))).collect()
}

/// Returns the objects whose documents cannot apply as written, and says what applies instead.
fn unreadable(
    files: &BTreeMap<PathBuf, KnownFile>,
    candidates: &[Candidate<'_>],
    bad: &BTreeMap<usize, Option<String>>,
    lost: &[(Kind, Name, &str)],
    broken: &Broken,
) -> Vec<Unreadable> {
    const APPLIES: &str = "its last valid content applies";
    const NOTHING: &str = "no earlier valid content is known";
    let mut all: BTreeMap<(Kind, Name), String> = BTreeMap::new();
    let mut taken: HashSet<(Kind, &Name)> = HashSet::default();
    for (index, Candidate { document, file, provenance }) in candidates.iter().enumerate() {
        taken.insert((document.kind, &document.name));
        let why = bad.get(&index).map(|why| why.as_deref().unwrap_or("a document that it depends on has a problem"));
        let message = match (provenance, why) {
            (Provenance::LastGood { reason, .. }, None) => format!("{reason}; {APPLIES}"),
            (Provenance::LastGood { reason, .. }, Some(why)) => {
                format!("{reason}; its last valid content cannot apply: {why}")
            }
            (Provenance::NeverValid { reason }, Some(_)) => format!("{reason}; {NOTHING}"),
            (Provenance::Valid, Some(why)) => {
                let place = file.map(|file| file.place(document.name_span)).unwrap_or_default();
                format!("{place}: {why}; {NOTHING}")
            }
            (Provenance::Valid | Provenance::NeverValid { .. }, None) => continue,
        };
        all.entry((document.kind, document.name.clone())).or_insert(message);
    }
    for (kind, name, reason) in lost {
        let message = format!("{reason}; its last valid content contradicts what is declared now");
        all.entry((*kind, name.clone())).or_insert(message);
    }
    for (path, reason) in broken {
        for document in files.get(path).into_iter().flat_map(|known| &known.documents) {
            if !taken.contains(&(document.kind, &document.name)) {
                let message = format!("{reason}; {NOTHING}");
                all.entry((document.kind, document.name.clone())).or_insert(message);
            }
        }
    }
    let fix = "correct the manifest: `kiln check` lists the problems";
    let objects = all.into_iter();
    objects.map(|((kind, name), message)| Unreadable { kind, name, message, fix: fix.to_owned() }).collect()
}

/// What the admitted documents claim: no other document may claim the same.
struct Claims<'a> {
    known: &'a ResolvedPools,
    /// Names, including those in `renamedFrom`.
    names: HashSet<(Kind, Name)>,
    pools: BTreeSet<PoolPlace>,
    stack: bool,
}

impl<'a> Claims<'a> {
    fn of<'d>(documents: impl Iterator<Item = &'d Document>, known: &'a ResolvedPools) -> Self {
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
