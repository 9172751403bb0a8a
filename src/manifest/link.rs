//! Checks documents together (names, references, the Stack, pools) and builds the [`Specs`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::kinds::{BackendBody, Body, Document, Pool, PoolPlace, Reference};
use super::resolve::{Answers, Resolver};
use super::span::Span;
use super::text::File;
use crate::driver::settings as drivers;
use crate::model::{Kind, Name, Reading, SourcePlace, Specs, Stack};
use crate::text::{closest, distance};

/// Total number of names that are compared with misspelt ones. A few misspelt names among 10,000 get a hint; comparing thousands of
/// misspelt names with all others would take minutes. The longest names take 5 µs each: 100 ms in all.
const GUESSES: usize = 20_000;

/// Documents whose kind or name could not be read. A reference that seems to be missing may be declared by one of them.
#[derive(Default, Clone)]
pub(super) struct Unread {
    /// Whether there is one whose text is unknown too.
    pub(super) unseen: bool,
    /// The texts of the other ones.
    pub(super) seen: Vec<String>,
    /// The kinds of those that have no name: each may be any object of its kind.
    pub(super) unnamed: BTreeSet<Kind>,
    /// The kinds and names of those that have a name which is not valid.
    pub(super) misnamed: Vec<(Kind, String)>,
}

impl Unread {
    pub(super) fn any(&self) -> bool {
        self.unseen || !self.seen.is_empty()
    }

    pub(super) fn add(&mut self, other: &Unread) {
        self.unseen |= other.unseen;
        self.seen.extend(other.seen.iter().cloned());
        self.unnamed.extend(&other.unnamed);
        self.misnamed.extend(other.misnamed.iter().cloned());
    }

    /// Returns every word of the texts that may be a name, or may be meant as one: `Web`, `web_1`.
    fn words(&self) -> HashSet<String> {
        let in_no_name = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let texts = self.seen.iter().map(|text| text.to_ascii_lowercase());
        let texts = texts.flat_map(|text| [text.replace(['_', '.'], "-"), text]);
        texts.flat_map(|text| text.split(in_no_name).map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

/// The result of linking.
pub(super) struct Linked {
    /// What the valid documents declare. The caller sets the revision and the coverage.
    pub(super) reading: Reading,
    /// Whether the owner is known.
    pub(super) owned: bool,
    /// Indexes of the documents that must not be acted on, with the problem if linking reported one.
    pub(super) bad: BTreeMap<usize, Option<String>>,
    /// Names of files that share a problem reported in another file, with its place and message. A problem of two documents is reported
    /// in the second, although the first may be the mistake.
    pub(super) shared: HashMap<Arc<str>, (SourcePlace, String)>,
}

/// Checks all documents together, and builds the specs of the valid ones.
pub(super) fn link(files: &[&File], documents: Vec<Document>, unread: &Unread, pools: &ResolvedPools) -> Linked {
    let mut linker = Linker {
        files,
        documents,
        bad: BTreeMap::new(),
        named: BTreeMap::new(),
        unread,
        words: unread.words(),
        guesses: GUESSES,
        shared: HashMap::new(),
    };
    linker.names();
    linker.renames();
    let stack = linker.stack();
    linker.backends(stack.as_ref().is_some_and(|stack| !stack.declared), pools);
    linker.volumes(stack.as_ref());
    linker.references();
    linker.finish(stack)
}

struct Linker<'f> {
    files: &'f [&'f File],
    documents: Vec<Document>,
    /// As in [`Linked::bad`].
    bad: BTreeMap<usize, Option<String>>,
    named: BTreeMap<(Kind, Name), usize>,
    unread: &'f Unread,
    /// Words of the unread documents.
    words: HashSet<String>,
    /// Number of names that may still be compared for a "did you mean".
    guesses: usize,
    shared: HashMap<Arc<str>, (SourcePlace, String)>,
}

impl Linker<'_> {
    /// Reports a problem with a document, which must then not be acted on.
    fn wrong(&mut self, index: usize, span: Span, message: String, hint: impl Into<String>) {
        self.bad.insert(index, Some(message.clone()));
        self.files[self.documents[index].file].report(span, message, hint);
    }

    /// Reports a problem that may be that of an earlier document instead. Neither is acted on.
    fn wrong_with(&mut self, first: usize, index: usize, span: Span, message: String, hint: impl Into<String>) {
        let place = self.files[self.documents[index].file].place(span);
        let first_file = self.files[self.documents[first].file].name.clone();
        self.shared.entry(first_file).or_insert_with(|| (place, message.clone()));
        self.bad.insert(first, Some(message.clone()));
        self.wrong(index, span, message, hint);
    }

    /// Excludes a document that depends on an excluded one.
    fn drop(&mut self, index: usize) {
        self.bad.entry(index).or_default();
    }

    fn names(&mut self) {
        for index in 0..self.documents.len() {
            let Document { kind, name, name_span, body, .. } = &self.documents[index];
            let (kind, name, span) = (*kind, name.clone(), *name_span);
            if body.is_none() {
                self.drop(index);
            }
            let Some(first) = self.named.get(&(kind, name.clone())).copied() else {
                self.named.insert((kind, name), index);
                continue;
            };
            let one = &self.documents[first];
            let there = self.files[one.file].place(one.name_span);
            // Either may be the mistake: neither is acted on.
            let message = format!("{kind} {name} is declared twice; the other is at {there}");
            self.wrong_with(first, index, span, message, "rename or remove one of the two");
        }
    }

    fn renames(&mut self) {
        let mut from: BTreeMap<(Kind, Name), usize> = BTreeMap::new();
        for index in 0..self.documents.len() {
            let document = &self.documents[index];
            let Some((old, span)) = document.renamed_from.clone() else { continue };
            let kind = document.kind;
            let key = (kind, old.clone());
            if old == document.name {
                continue; // reported when the document was read
            }
            if self.named.contains_key(&key) {
                let message = format!("`renamedFrom` is {old}, but a {kind} of that name is still declared");
                let other = &self.documents[self.named[&key]];
                let swapped = other.renamed_from.as_ref().is_some_and(|(from, _)| *from == document.name);
                let hint = match swapped {
                    true => "to swap two names, rename one object to a third name and apply; then set both new names",
                    false => "remove the old document, or this field",
                };
                self.wrong(index, span, message, hint);
            }
            if let Some(first) = from.insert(key, index) {
                let other = self.documents[first].name.clone();
                let message = format!("`renamedFrom` is {old}, which {other} names too");
                self.wrong_with(
                    first,
                    index,
                    span,
                    message,
                    "keep it in the document of the object that had this name",
                );
            }
        }
    }

    /// Returns the Stack. `None` if there is or may be one that cannot be read: nothing is acted on then, because the owner is unknown.
    fn stack(&mut self) -> Option<Stack> {
        let stacks: Vec<usize> = (0..self.documents.len()).filter(|i| self.documents[*i].kind == Kind::Stack).collect();
        let Some((first, more)) = stacks.split_first() else {
            return (!self.unread.any()).then(Stack::unnamed);
        };
        for index in more {
            let one = &self.documents[*first];
            let there = self.files[one.file].place(one.name_span);
            let hint = "keep one Stack, and move the other with its documents into its own directory";
            let span = self.documents[*index].name_span;
            // Two Stacks of the same name have been reported already.
            if self.documents[*index].name != one.name {
                let message = format!("there is a second Stack; the first is at {there}");
                self.wrong_with(*first, *index, span, message, hint);
            }
        }
        self.dangling(*first);
        match &self.documents[*first].body {
            Some(Body::Stack(stack)) if more.is_empty() && !self.bad.contains_key(first) => Some(stack.clone()),
            _ => None,
        }
    }

    fn backends(&mut self, no_stack: bool, known: &ResolvedPools) {
        let mut pools: BTreeMap<PoolPlace, usize> = BTreeMap::new();
        for index in 0..self.documents.len() {
            let document = &self.documents[index];
            let Some(Body::Backend(BackendBody { spec, driver_span, pool })) = &document.body else { continue };
            if no_stack && drivers::needs_stack(spec.config.driver()) {
                let message = format!("the driver {} requires a Stack, but none is declared", spec.config.driver());
                let others = drivers::tables(Kind::Backend).filter(|table| !table.needs_stack).map(|table| table.name);
                let others = others.collect::<Vec<_>>().join(" and ");
                let hint = format!("create a Stack with `kiln init`; without one only {others} can be used");
                self.wrong(index, *driver_span, message, hint);
                continue;
            }
            let Some(Pool { span, place }) = pool else { continue };
            let (span, key) = (*span, known.real(place));
            if let Some(first) = pools.get(&key).copied() {
                let other = self.documents[first].name.clone();
                let message = format!("this is the pool of Backend {other}");
                self.wrong_with(
                    first,
                    index,
                    span,
                    message,
                    "declare one Backend per pool, and name it in the volumes",
                );
            } else {
                pools.insert(key, index);
            }
        }
    }

    fn volumes(&mut self, stack: Option<&Stack>) {
        let default = stack.and_then(|stack| stack.defaults.backend.clone());
        for index in 0..self.documents.len() {
            let document = &mut self.documents[index];
            if document.kind != Kind::Volume || document.backend_written {
                continue;
            }
            match (&default, &mut document.body) {
                (Some(name), Some(Body::Volume(spec))) => spec.backend = name.clone(),
                (Some(_), _) => {}
                // The Stack, which cannot be read, may have a default.
                (None, _) if stack.is_none() => self.drop(index),
                (None, _) => {
                    let (span, stack) = (document.spec_span, stack.is_some_and(|stack| stack.declared));
                    let why = if stack { "the Stack has no default" } else { "there is no Stack with a default" };
                    let hint = "write `backend: NAME`, or `defaults: {backend: NAME}` in the Stack";
                    self.wrong(index, span, format!("the volume names no backend, and {why}"), hint);
                }
            }
        }
    }

    /// Checks references in the order in which kinds refer to each other, so that dependents of excluded documents are excluded too.
    fn references(&mut self) {
        for kind in [Kind::Backend, Kind::Volume, Kind::Snapshot, Kind::Target, Kind::Export, Kind::Approval] {
            for index in 0..self.documents.len() {
                if self.documents[index].kind == kind {
                    self.dangling(index);
                }
            }
        }
    }

    fn dangling(&mut self, index: usize) {
        let mut missing = Vec::new();
        let document = &self.documents[index];
        let mut bad = false;
        let mut wanted: Vec<(Kind, Name)> = document.references.iter().map(|r| (r.kind, r.name.clone())).collect();
        if let Some(Body::Volume(volume)) = &document.body {
            wanted.push((Kind::Backend, volume.backend.clone()));
        }
        for reference in &document.references {
            // A document that could not be read may declare it, if it contains the name.
            let perhaps_unread = self.unread.unseen
                || self.unread.unnamed.contains(&reference.kind)
                || self.words.contains(reference.name.as_str());
            if !perhaps_unread
                && !self.named.contains_key(&(reference.kind, reference.name.clone()))
                && !is_meant(&self.unread.misnamed, &mut self.guesses, reference)
            {
                missing.push((reference.span, reference.field, reference.kind, reference.name.clone()));
            }
        }
        for key in wanted {
            // If the default Backend of the Stack has a problem, that holds the volumes there, not the Stack.
            let found = self.named.get(&key);
            bad |= found.is_none()
                || (document.kind != Kind::Stack && found.is_some_and(|found| self.bad.contains_key(found)));
        }
        if bad {
            self.drop(index);
        }
        for (span, field, kind, name) in missing {
            let same = self.named.keys().filter(|(other, _)| *other == kind).map(|(_, name)| name.as_str());
            let same: Vec<&str> = same.take(self.guesses).collect();
            self.guesses -= same.len();
            let hint = match closest(name.as_str(), same) {
                Some(meant) => format!("did you mean `{field}: {meant}`?"),
                None => format!("declare it with `kind: {kind}`, or name one that is declared"),
            };
            self.wrong(index, span, format!("`{field}` is {name}, but no {kind} of that name is declared"), hint);
        }
    }

    fn finish(self, stack: Option<Stack>) -> Linked {
        let owned = stack.is_some();
        let broken = self.unread.any() || !self.bad.is_empty() || self.files.iter().any(|file| file.count() > 0);
        let mut specs = Specs::of(stack.unwrap_or_else(Stack::unnamed));
        let (bad, files) = (self.bad, self.files);
        let good = self.documents.into_iter().enumerate().filter(|(index, _)| owned && !bad.contains_key(index));
        // There are many of these: building a map at once takes less memory and time than inserting one by one.
        let (mut volumes, mut snapshots) = (Vec::new(), Vec::new());
        let mut places: BTreeMap<Kind, Vec<(Name, SourcePlace)>> = BTreeMap::new();
        let mut field_places: BTreeMap<Kind, Vec<_>> = BTreeMap::new();
        for (_, Document { file, kind, name, span, fields, body, .. }) in good {
            places.entry(kind).or_default().push((name.clone(), files[file].place(span)));
            field_places.entry(kind).or_default().push((name.clone(), fields));
            match body {
                Some(Body::Backend(backend)) => drop(specs.backends.insert(name, backend.spec)),
                Some(Body::Volume(volume)) => volumes.push((name, volume)),
                Some(Body::Snapshot(spec)) => snapshots.push((name, spec)),
                Some(Body::Target(spec)) => drop(specs.targets.insert(name, spec)),
                Some(Body::Export(spec)) => drop(specs.exports.insert(name, spec)),
                Some(Body::Approval(spec)) => drop(specs.approvals.insert(name, spec)),
                Some(Body::Stack(_)) | None => {}
            }
        }
        specs.volumes = volumes.into_iter().collect();
        specs.snapshots = snapshots.into_iter().collect();
        let places = Arc::new(by_name(places));
        let field_places = Arc::new(by_name(field_places));
        let reading = Reading { broken, places, field_places, ..Reading::of(specs) };
        Linked { reading, owned, bad, shared: self.shared }
    }
}

/// Whether one of some invalid names is probably meant as that of a reference: `-web`, `web-` and `wéb` as `web`. `guesses`: the number
/// of names that may still be compared.
fn is_meant(misnamed: &[(Kind, String)], guesses: &mut usize, reference: &Reference) -> bool {
    let bare =
        |text: &str| text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    let wanted = bare(reference.name.as_str());
    let compared = misnamed.iter().take(*guesses);
    *guesses -= compared.len();
    compared
        .filter(|(kind, _)| *kind == reference.kind)
        .any(|(_, text)| bare(text) == wanted || distance(text, reference.name.as_str()).is_some())
}

fn by_name<T>(lists: BTreeMap<Kind, Vec<(Name, T)>>) -> BTreeMap<Kind, BTreeMap<Name, T>> {
    lists.into_iter().map(|(kind, list)| (kind, list.into_iter().collect())).collect()
}

/// The pools that documents name, with links resolved: two paths to one directory are one pool.
pub(super) struct ResolvedPools {
    resolved: Answers,
    /// Pools that did not respond in time. They are compared by their written paths, which may miss that two are the same; but nothing is
    /// done on a pool that does not respond.
    pub(super) unresponsive: Vec<PathBuf>,
}

impl ResolvedPools {
    pub(super) fn of<'d>(documents: impl Iterator<Item = &'d Document>, resolver: &Resolver) -> Self {
        let places = documents.filter_map(pool).filter_map(|place| match place {
            PoolPlace::Path(path) => Some(path.as_path()),
            PoolPlace::Other { .. } => None,
        });
        let places: BTreeSet<&Path> = places.collect();
        let resolved = resolver.resolve(places.iter().map(|path| (*path, *path)));
        let unresponsive =
            places.into_iter().filter(|path| !resolved.contains_key(*path)).map(Path::to_owned).collect();
        Self { resolved, unresponsive }
    }

    pub(super) fn real(&self, place: &PoolPlace) -> PoolPlace {
        match place {
            PoolPlace::Path(path) => match self.resolved.get(path) {
                Some(Ok(real)) => PoolPlace::Path(real.clone()),
                _ => place.clone(),
            },
            PoolPlace::Other { .. } => place.clone(),
        }
    }
}

/// Returns the pool of a Backend.
pub(super) fn pool(document: &Document) -> Option<&PoolPlace> {
    match &document.body {
        Some(Body::Backend(BackendBody { pool: Some(pool), .. })) => Some(&pool.place),
        _ => None,
    }
}
