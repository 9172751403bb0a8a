//! One fact once: what shares a reason and a fix is one entry, with the objects that it applies to below it. Pure.
//!
//! Texts that differ only by the object's own name or uid are shared too: `NAME` and `UID` stand for them. Replacing these words by the
//! name and the uid of a member gives its own text back, but for the place of its document, which is left out.

use std::borrow::Cow;

use foldhash::{HashMap, HashMapExt};

use crate::text::without_places;

/// Something that is told about an object: a hold, or a finding of `doctor`.
pub trait Fact {
    /// The object as `volume/db`.
    fn object(&self) -> String;
    /// The name of the object, as its texts may contain it.
    fn name(&self) -> &str;
    /// The uid of the object, if it has one.
    fn uid(&self) -> Option<&str>;
    /// The reason, in one word.
    fn reason(&self) -> &str;
    /// The cause, in one sentence.
    fn message(&self) -> &str;
    /// What to write or run to fix it; empty if nothing can be done.
    fn fix(&self) -> &str;
    /// Whether an approval that is asked for covers the object: such objects are all named.
    fn awaits_approval(&self) -> bool;
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

impl<'a, T: Fact> Folded<'a, T> {
    /// Returns every fact, in the order of the causes.
    pub fn members(&self) -> impl Iterator<Item = &'a T> {
        self.causes.iter().flat_map(|cause| cause.members.iter().copied())
    }

    /// Returns the object of the only fact, or the number of objects: `volume/db`, `12 volumes`, `3 objects`.
    pub fn subject(&self) -> String {
        subject(&self.members().collect::<Vec<_>>())
    }

    /// Returns the causes to show, and how many objects are left out with the others.
    pub fn shown(&self) -> (&[Cause<'a, T>], usize) {
        let all = self.members().any(Fact::awaits_approval);
        let count = if all { self.causes.len() } else { self.causes.len().min(NAMED) };
        let (shown, rest) = self.causes.split_at(count);
        (shown, rest.iter().map(|cause| cause.members.len()).sum())
    }
}

/// Returns the object of the only fact, or the number of objects.
pub fn subject<T: Fact>(members: &[&T]) -> String {
    let object = members.first().map(|first| first.object()).unwrap_or_default();
    if members.len() == 1 {
        return object;
    }
    let kind = |object: &str| object.split_once('/').map(|(kind, _)| kind.to_owned());
    let first =
        kind(&object).filter(|first| members.iter().all(|member| kind(&member.object()).as_ref() == Some(first)));
    format!("{} {}s", members.len(), first.as_deref().unwrap_or("object"))
}

/// Names the objects of facts: `volume/a, volume/b and 11 more`. Objects that an approval covers are all named.
pub fn names<T: Fact>(members: &[&T]) -> String {
    let all = members.iter().any(|member| member.awaits_approval());
    let count = if all { members.len() } else { members.len().min(NAMED) };
    listed(members.iter().map(|member| member.object()), count)
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
pub fn fold<'a, T: Fact>(facts: impl IntoIterator<Item = &'a T>) -> Vec<Folded<'a, T>> {
    let facts: Vec<&'a T> = facts.into_iter().collect();
    alike(facts, |fact| (fact.reason(), fact.fix()))
        .into_iter()
        .map(|members| {
            let fix = shared(&members, Fact::fix);
            let reason = members.first().map_or("", |first| first.reason());
            let causes = alike(members, |fact| (fact.reason(), fact.message())).into_iter();
            let causes = causes.map(|members| Cause { message: shared(&members, Fact::message), members }).collect();
            Folded { reason, fix, causes }
        })
        .collect()
}

/// Groups facts of one reason whose texts are the same, or else differ only by their own name and uid. Groups are in the order of their
/// first members.
fn alike<'a, T: Fact>(facts: Vec<&'a T>, texts: impl Fn(&'a T) -> (&'a str, &'a str)) -> Vec<Vec<&'a T>> {
    let mut same: HashMap<(&str, &str), usize> = HashMap::new();
    for fact in &facts {
        *same.entry(texts(fact)).or_default() += 1;
    }
    let mut places: HashMap<(&str, Cow<'_, str>), usize> = HashMap::new();
    let mut groups: Vec<Vec<&'a T>> = Vec::new();
    for fact in facts {
        let (reason, text) = texts(fact);
        // What is the same for several objects may name one of them.
        let key = match same.get(&(reason, text)) {
            Some(2..) => Cow::Borrowed(text),
            _ => general(fact, text),
        };
        let place = *places.entry((reason, key)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(fact),
            None => groups.push(vec![fact]),
        }
    }
    groups
}

/// Returns the text of all members: as it is if it is the same for all of them, else without their names.
fn shared<'a, T: Fact>(members: &[&'a T], text: impl Fn(&'a T) -> &'a str) -> Cow<'a, str> {
    let Some(first) = members.first() else { return Cow::Borrowed("") };
    match members.iter().all(|member| text(member) == text(first)) {
        true => Cow::Borrowed(text(first)),
        false => general(*first, text(first)),
    }
}

/// Returns a text without places, in which `NAME` and `UID` stand for the name and the uid of its object.
fn general<'a, T: Fact>(fact: &T, text: &'a str) -> Cow<'a, str> {
    let text = without_places(text);
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    for part in text.split_inclusive(|c| !is_word(c)) {
        let word = part.trim_end_matches(|c| !is_word(c));
        let stand_in = match word {
            word if word == fact.name() => Some("NAME"),
            word if Some(word) == fact.uid() => Some("UID"),
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

    impl Fact for Told {
        fn object(&self) -> String {
            self.object.to_owned()
        }
        fn name(&self) -> &str {
            self.object.split_once('/').unwrap().1
        }
        fn uid(&self) -> Option<&str> {
            Some("7np53nfs").filter(|_| self.object.ends_with("db"))
        }
        fn reason(&self) -> &str {
            "Lost"
        }
        fn message(&self) -> &str {
            &self.message
        }
        fn fix(&self) -> &str {
            &self.fix
        }
        fn awaits_approval(&self) -> bool {
            self.awaits
        }
    }

    fn told(object: &'static str, message: &str, fix: &str) -> Told {
        Told { object, message: message.to_owned(), fix: fix.to_owned(), awaits: false }
    }

    fn shown(facts: &[Told]) -> Vec<String> {
        let lines = fold(facts).into_iter().flat_map(|group| {
            let causes = group.causes.iter().map(|cause| format!("  {}: {}", cause.message, names(&cause.members)));
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
        assert_eq!(shown(&facts), ["2 volumes, write `size: 1Gi`, or copy it", "  it shrinks: volume/a, volume/b"]);
        let of = |object| general(&told(object, "", ""), "kiln.prod.db.7np53nfs is missing").into_owned();
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
        let of = |facts: &[Told]| names(&facts.iter().collect::<Vec<_>>());
        assert!(of(&facts).ends_with("volume/i, volume/j and 2 more"), "{}", of(&facts));
        facts[3].awaits = true;
        assert!(of(&facts).ends_with("volume/k, volume/l"), "{}", of(&facts));
    }
}
