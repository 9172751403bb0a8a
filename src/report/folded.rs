//! One fact once: what shares a reason and a fix is one entry, with the objects that it applies to below it. Pure.
//!
//! Texts that differ only by the object's own name or uid are shared too: `NAME` and `UID` stand for them. Replacing these words by the
//! name and the uid of a member gives its own text back, but for the places of documents, which stand beside the name of each member.

use std::borrow::Cow;

use foldhash::{HashMap, HashMapExt};

use crate::model::Verb;
use crate::text::{split_places, without_places};

/// What is told about an object: a hold, an orphan, or a finding of `doctor`.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'a> {
    /// The kind of the object: `volume` of `volume/db`; none for a subject without one, as `store`.
    pub kind: Option<&'a str>,
    /// The name of the object, as its texts may contain it.
    pub name: &'a str,
    /// The uid of the object, if it has one.
    pub uid: Option<&'a str>,
    /// What is not done to the object, if the fact is a hold.
    pub verb: Option<Verb>,
    /// The reason, in one word.
    pub reason: &'a str,
    /// The cause, in one sentence.
    pub message: &'a str,
    /// What to write or run to fix it; empty if nothing can be done.
    pub fix: &'a str,
    /// Whether an approval that is asked for covers the object: such objects are all named.
    pub awaits_approval: bool,
}

impl<'a> Fact<'a> {
    /// Returns what is told about a subject: `volume/db`, `store`.
    pub fn new(subject: &'a str, reason: &'a str, message: &'a str, fix: &'a str) -> Self {
        let (kind, name) = match subject.split_once('/') {
            Some((kind, name)) => (Some(kind), name),
            None => (None, subject),
        };
        Self { kind, name, uid: None, verb: None, reason, message, fix, awaits_approval: false }
    }

    /// Returns the subject: `volume/db`, `store`.
    pub fn subject(&self) -> String {
        match self.kind {
            Some(kind) => format!("{kind}/{}", self.name),
            None => self.name.to_owned(),
        }
    }
}

/// Something that tells a fact.
pub trait TellsFact {
    /// Returns the fact.
    fn fact(&self) -> Fact<'_>;
}

/// Facts that share their reason and their fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded<'a, T> {
    /// The reason, in one word.
    pub reason: &'a str,
    /// What to write or run to fix it; empty if nothing can be done.
    pub fix: Cow<'a, str>,
    /// The causes, each with the facts that share it. At least one.
    pub causes: Vec<Cause<'a, T>>,
}

/// Facts that also share their message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause<'a, T> {
    /// The cause, in one sentence.
    pub message: Cow<'a, str>,
    /// The facts, in their order. At least one.
    pub members: Vec<&'a T>,
}

/// The number of objects that are named in one entry, unless an approval covers them.
const NAMED: usize = 10;

/// Members of an entry that have a line of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberLine {
    /// What is not done to them, if the lines are asked for by verb.
    pub verb: Option<Verb>,
    /// Their names, and their message if the entry has several: `volume/a, volume/b (specs/b.yaml:3:8): it is open`. Not escaped.
    pub text: String,
}

impl<'a, T: TellsFact> Folded<'a, T> {
    /// Returns every fact, in the order of the causes.
    pub fn members(&self) -> impl Iterator<Item = &'a T> {
        self.causes.iter().flat_map(|cause| cause.members.iter().copied())
    }

    /// Whether it has one member only.
    pub fn is_single(&self) -> bool {
        self.members().nth(1).is_none()
    }

    /// Returns the object of the only fact, or the number of objects: `volume/db`, `12 volumes`, `3 objects`.
    pub fn subject(&self) -> String {
        let mut facts = self.members().map(TellsFact::fact);
        let Some(first) = facts.next() else { return String::new() };
        if self.is_single() {
            return first.subject();
        }
        let kind = first.kind.filter(|_| facts.all(|fact| fact.kind == first.kind));
        format!("{} {}s", self.members().count(), kind.unwrap_or("object"))
    }

    /// Returns what is not done to the members, if it is the same for all of them.
    pub fn verb(&self) -> Option<Verb> {
        let mut verbs = self.members().map(|member| member.fact().verb);
        let first = verbs.next()?;
        first.filter(|_| verbs.all(|verb| verb == first))
    }

    /// Returns the members in lines, and the number of members that are left out. A line has the members of one cause, and `by_verb` of
    /// one verb. Members with places have a line each, unless their messages differ.
    pub fn lines(&self, by_verb: bool) -> (Vec<MemberLine>, usize) {
        let (told, left_out) = self.causes.split_at(shown(self.members(), self.causes.len()));
        let mut rest = left_out.iter().map(|cause| cause.members.len()).sum();
        let verbs: &[Option<Verb>] = if by_verb { &Verb::ALL.map(Some) } else { &[None] };
        let mut lines = Vec::new();
        for (cause, verb) in told.iter().flat_map(|cause| verbs.iter().map(move |verb| (cause, *verb))) {
            let is_of = |member: &&T| verb.is_none() || member.fact().verb == verb;
            let members: Vec<&T> = cause.members.iter().copied().filter(is_of).collect();
            let mut push = |text| lines.push(MemberLine { verb, text });
            if members.is_empty() {
                continue;
            }
            if self.causes.len() > 1 {
                push(format!("{}: {}", self.listed(cause, &members), cause.message));
            } else if members.iter().all(|member| self.places(cause, member).is_empty()) {
                push(self.listed(cause, &members));
            } else {
                let count = shown(members.iter().copied(), members.len());
                members[..count].iter().for_each(|member| push(self.name(cause, member)));
                rest += members.len() - count;
            }
        }
        (lines, rest)
    }

    /// Names the objects of a cause: `volume/a (specs/a.yaml:3:8), volume/b and 11 more`. Objects that an approval covers are all named.
    pub fn names(&self, cause: &Cause<'_, T>) -> String {
        self.listed(cause, &cause.members)
    }

    fn listed(&self, cause: &Cause<'_, T>, members: &[&T]) -> String {
        let count = shown(members.iter().copied(), members.len());
        listed(members.iter().map(|member| self.name(cause, member)), count)
    }

    /// Names an object, with the places in its texts that the shared texts leave out.
    fn name(&self, cause: &Cause<'_, T>, member: &T) -> String {
        let subject = member.fact().subject();
        match self.places(cause, member).as_slice() {
            [] => subject,
            places => format!("{subject} ({})", places.join(", ")),
        }
    }

    /// Returns the places in the texts of a member that the shared texts leave out, each once.
    fn places<'t>(&self, cause: &Cause<'_, T>, member: &'t T) -> Vec<&'t str> {
        let fact = member.fact();
        let mut places: Vec<&str> = Vec::new();
        for (own, shared) in [(fact.fix, &self.fix), (fact.message, &cause.message)] {
            for place in split_places(own).1 {
                if own != shared && !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        places
    }
}

/// Returns how many of `count` items are shown: at most ten, but all if an approval covers one of the members.
fn shown<'a, T: TellsFact + 'a>(mut members: impl Iterator<Item = &'a T>, count: usize) -> usize {
    if members.any(|member| member.fact().awaits_approval) { count } else { count.min(NAMED) }
}

/// Lists the first `count` items: `a, b and 11 more`.
pub fn listed(items: impl ExactSizeIterator<Item = String>, count: usize) -> String {
    let rest = items.len().saturating_sub(count);
    let first: Vec<String> = items.take(count).collect();
    match rest {
        0 => first.join(", "),
        rest => format!("{} and {rest} more", first.join(", ")),
    }
}

/// Folds facts. Entries, causes and members keep the order in which they first occur.
pub fn fold<'a, T: TellsFact>(facts: impl IntoIterator<Item = &'a T>) -> Vec<Folded<'a, T>> {
    let entries = alike(facts.into_iter().collect(), |fact| fact.fix).into_iter();
    let entries = entries.map(|members| {
        let fix = shared(&members, |fact| fact.fix);
        let reason = members.first().map_or("", |first| first.fact().reason);
        let causes = alike(members, |fact| fact.message).into_iter();
        let causes = causes.map(|members| Cause { message: shared(&members, |fact| fact.message), members }).collect();
        Folded { reason, fix, causes }
    });
    entries.collect()
}

/// Groups facts of one reason whose texts are the same, or else differ only by their own name and uid. Groups are in the order of their
/// first members.
fn alike<'a, T: TellsFact>(members: Vec<&'a T>, text: impl Fn(&Fact<'a>) -> &'a str) -> Vec<Vec<&'a T>> {
    let mut same: HashMap<(&str, &str), usize> = HashMap::new();
    for fact in members.iter().map(|member| member.fact()) {
        *same.entry((fact.reason, text(&fact))).or_default() += 1;
    }
    let mut places: HashMap<(&str, Cow<'_, str>), usize> = HashMap::new();
    let mut groups: Vec<Vec<&'a T>> = Vec::new();
    for member in members {
        let fact = member.fact();
        let text = text(&fact);
        // What is the same for several objects may name one of them.
        let key = match same.get(&(fact.reason, text)) {
            Some(2..) => Cow::Borrowed(text),
            _ => general(&fact, text),
        };
        let place = *places.entry((fact.reason, key)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(member),
            None => groups.push(vec![member]),
        }
    }
    groups
}

/// Returns the text of all members: as it is if it is the same for all of them, else without their names.
fn shared<'a, T: TellsFact>(members: &[&'a T], text: impl Fn(&Fact<'a>) -> &'a str) -> Cow<'a, str> {
    let Some(first) = members.first().map(|first| first.fact()) else { return Cow::Borrowed("") };
    match members.iter().all(|member| text(&member.fact()) == text(&first)) {
        true => Cow::Borrowed(text(&first)),
        false => general(&first, text(&first)),
    }
}

/// Returns a text without places, in which `NAME` and `UID` stand for the name and the uid of its object.
fn general<'a>(fact: &Fact<'_>, text: &'a str) -> Cow<'a, str> {
    let text = without_places(text);
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    for part in text.split_inclusive(|c| !is_word(c)) {
        let word = part.trim_end_matches(|c| !is_word(c));
        let stand_in = match word {
            word if word == fact.name => Some("NAME"),
            word if Some(word) == fact.uid => Some("UID"),
            _ => None,
        };
        if let Some(stand_in) = stand_in {
            out.push_str(&text[copied..at]);
            out.push_str(stand_in);
            copied = at + word.len();
        }
        at += part.len();
    }
    match copied {
        0 => text,
        _ => Cow::Owned(out + &text[copied..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Told {
        object: &'static str,
        message: String,
        fix: String,
        awaits: bool,
    }

    impl TellsFact for Told {
        fn fact(&self) -> Fact<'_> {
            let uid = Some("7np53nfs").filter(|_| self.object.ends_with("db"));
            let fact = Fact::new(self.object, "Lost", &self.message, &self.fix);
            Fact { uid, awaits_approval: self.awaits, ..fact }
        }
    }

    fn told(object: &'static str, message: &str, fix: &str) -> Told {
        Told { object, message: message.to_owned(), fix: fix.to_owned(), awaits: false }
    }

    fn shown(facts: &[Told]) -> Vec<String> {
        let lines = fold(facts).into_iter().flat_map(|group| {
            let causes = group.causes.iter().map(|cause| format!("  {}: {}", cause.message, group.names(cause)));
            [format!("{}, {}", group.subject(), group.fix)].into_iter().chain(causes.collect::<Vec<_>>())
        });
        lines.collect()
    }

    #[test]
    fn what_shares_reason_and_fix_is_one_entry() {
        let facts = [
            told("volume/db", "the pool is away", "repair it"),
            told("volume/web", "the pool is full", "purge it"),
            told("snapshot/db", "the pool is away", "repair it"),
            told("volume/old", "the pool is locked", "repair it"),
        ];
        assert_eq!(
            shown(&facts),
            [
                "3 objects, repair it",
                "  the pool is away: volume/db, snapshot/db",
                "  the pool is locked: volume/old",
                "volume/web, purge it",
                "  the pool is full: volume/web",
            ]
        );
    }

    #[test]
    fn texts_that_differ_by_the_own_name_only_are_shared() {
        let facts = [
            told("volume/db", "kiln.prod.db.7np53nfs is missing", "`kiln forget volume/db`"),
            told("snapshot/db", "kiln.prod.db.7np53nfs is missing", "`kiln forget snapshot/db`"),
            told("volume/web-1", "prod.web-1 is missing", "`kiln forget volume/web-1`"),
            told("volume/web-2", "prod.web-2 is missing", "`kiln forget volume/web-2`"),
        ];
        assert_eq!(
            shown(&facts),
            [
                "3 volumes, `kiln forget volume/NAME`",
                "  kiln.prod.db.7np53nfs is missing: volume/db",
                "  prod.NAME is missing: volume/web-1, volume/web-2",
                "snapshot/db, `kiln forget snapshot/db`",
                "  kiln.prod.db.7np53nfs is missing: snapshot/db",
            ]
        );
        let facts = [
            told("volume/a", "it shrinks", "write `size: 1Gi` (specs/a.yaml:1:1), or copy it"),
            told("volume/b", "it shrinks", "write `size: 1Gi` (specs/b.yaml:9:1), or copy it"),
        ];
        assert_eq!(
            shown(&facts),
            [
                "2 volumes, write `size: 1Gi`, or copy it",
                "  it shrinks: volume/a (specs/a.yaml:1:1), volume/b (specs/b.yaml:9:1)"
            ]
        );
        let of = |object| general(&told(object, "", "").fact(), "kiln.prod.db.7np53nfs is missing").into_owned();
        assert_eq!(
            [of("volume/db"), of("volume/prod")],
            ["kiln.prod.NAME.UID is missing", "kiln.NAME.db.7np53nfs is missing"]
        );
        // A fix that names one of the objects that share it.
        let facts = [told("volume/old", "it goes", "rename old"), told("volume/new", "it comes", "rename old")];
        assert_eq!(shown(&facts), ["2 volumes, rename old", "  it goes: volume/old", "  it comes: volume/new"]);
        // A name inside another word is no name, and a text that is the same for all stays as it is.
        let facts = [
            told("volume/a", "a volume waits", "see volume/ab"),
            told("snapshot/a", "a volume waits", "see volume/ab"),
        ];
        assert_eq!(shown(&facts), ["2 objects, see volume/ab", "  a volume waits: volume/a, snapshot/a"]);
    }

    #[test]
    fn ten_objects_are_named_and_all_that_an_approval_covers() {
        let names_of = [
            "volume/a", "volume/b", "volume/c", "volume/d", "volume/e", "volume/f", "volume/g", "volume/h", "volume/i",
            "volume/j", "volume/k", "volume/l",
        ];
        let mut facts = names_of.map(|object| told(object, "m", "f"));
        let of = |facts: &[Told]| shown(facts)[1].clone();
        assert!(of(&facts).ends_with("volume/i, volume/j and 2 more"), "{}", of(&facts));
        facts[3].awaits = true;
        assert!(of(&facts).ends_with("volume/k, volume/l"), "{}", of(&facts));
    }

    #[test]
    fn each_object_has_the_places_that_the_shared_text_leaves_out() {
        let lines = |facts: &[Told]| {
            let [folded] = <[_; 1]>::try_from(fold(facts)).unwrap();
            let (lines, rest) = folded.lines(false);
            (lines.into_iter().map(|line| line.text).collect::<Vec<_>>(), rest)
        };
        let names_of = [
            "volume/a", "volume/b", "volume/c", "volume/d", "volume/e", "volume/f", "volume/g", "volume/h", "volume/i",
            "volume/j", "volume/k", "volume/l",
        ];
        let mut row = 0;
        let mut facts = names_of.map(|object| {
            row += 10;
            told(object, "it shrinks", &format!("write `size: 1Gi` (specs/a.yaml:{row}:8), or copy it"))
        });
        let (named, rest) = lines(&facts);
        assert_eq!((named.len(), rest), (10, 2));
        assert_eq!([&*named[0], &*named[9]], ["volume/a (specs/a.yaml:10:8)", "volume/j (specs/a.yaml:100:8)"]);
        facts[3].awaits = true;
        assert_eq!((lines(&facts).0.len(), lines(&facts).1), (12, 0));
        // Messages of their own, with one place in both texts, and a place that is shared.
        let facts = [
            told(
                "volume/a",
                "it is 2Gi (specs/a.yaml:1:8)",
                "write `size: 1Gi` (specs/a.yaml:1:8) in prod (s.yaml:1:1)",
            ),
            told("volume/b", "it is 3Gi", "write `size: 1Gi` (specs/a.yaml:5:8) in prod (s.yaml:1:1)"),
        ];
        let told_of = ["volume/a (specs/a.yaml:1:8, s.yaml:1:1)", "volume/b (specs/a.yaml:5:8, s.yaml:1:1)"];
        assert_eq!(
            lines(&facts).0,
            [format!("{}: it is 2Gi (specs/a.yaml:1:8)", told_of[0]), format!("{}: it is 3Gi", told_of[1]),]
        );
        // What all texts contain stays there.
        let same = "write `size: 1Gi` (specs/a.yaml:1:8)";
        assert_eq!(lines(&[told("volume/a", "m", same), told("volume/b", "m", same)]).0, ["volume/a, volume/b"]);
    }
}
