//! One fact once: what shares a reason and the form of a fix is one entry, with the objects that it applies to below it. Pure.
//!
//! Where the texts of an entry have different names, sizes or numbers, `VOLUME` or `SIZE` stands for them, and beside each member its own
//! value: `volume/a (SIZE 2Gi)`. `NAME` and `UID` stand for those of the member. Replacing these words by the values of a member gives its
//! own text back, but for the places of documents, which stand beside it too.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt, HashSet};

use super::form::{TextForm, ValueSearch};
use crate::model::{Kind, Verb};
use crate::text::{split_places, without_places};

/// What is told about an object: a hold, an orphan, or a finding of `doctor`.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'a> {
    /// The kind of the object: `volume` of `volume/db`; none for a subject without one, as `store` or the place of a problem.
    pub kind: Option<&'a str>,
    /// The name of the object, as its texts may contain it; empty for what is about no object.
    pub name: &'a str,
    /// The uid of the object, if it has one.
    pub uid: Option<&'a str>,
    /// What is not done to the object, if the fact is a hold.
    pub verb: Option<ToldVerb>,
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
        let of_kind =
            subject.split_once('/').filter(|(kind, _)| Kind::ALL.iter().any(|known| known.as_lower() == *kind));
        let (kind, name) = of_kind.map_or((None, subject), |(kind, name)| (Some(kind), name));
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

/// A verb, and the word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToldVerb {
    /// The verb, which has the glyph.
    pub verb: Verb,
    /// The word for people: an object that returns from the trash is restored, and its verb is that of an adoption.
    pub word: &'static str,
}

impl std::fmt::Display for ToldVerb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word)
    }
}

/// Something that tells a fact.
pub trait TellsFact {
    /// Returns the fact.
    fn fact(&self) -> Fact<'_>;
}

/// Facts that share their reason and the form of their fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded<'a, T> {
    /// The reason, in one word.
    pub reason: &'a str,
    /// What to write or run to fix it; empty if nothing can be done.
    pub fix: Cow<'a, str>,
    /// The causes, each with the facts that share it. At least one.
    pub causes: Vec<Cause<'a, T>>,
}

/// Facts that also share the form of their message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause<'a, T> {
    /// The cause, in one sentence.
    pub message: Cow<'a, str>,
    /// The members, in their order. At least one.
    pub members: Vec<Member<'a, T>>,
}

/// A fact in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a, T> {
    /// The fact.
    pub told: &'a T,
    /// What stands for its values in the shared texts, and the values.
    values: Vec<(Rc<str>, Rc<str>)>,
}

/// The number of objects that are named in one entry, unless an approval covers them.
const NAMED: usize = 10;

/// Members of an entry that have a line of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberLine {
    /// What is not done to them, if the lines are asked for by verb.
    pub verb: Option<ToldVerb>,
    /// Their names, and their message if the entry has several: `volume/a, volume/b (specs/b.yaml:3:8): it is open`. Not escaped.
    pub text: String,
}

impl<'a, T: TellsFact> Folded<'a, T> {
    /// Returns every fact, in the order of the causes.
    pub fn members(&self) -> impl Iterator<Item = &'a T> {
        self.causes.iter().flat_map(|cause| cause.members.iter().map(|member| member.told))
    }

    /// Whether it has one member only.
    pub fn is_single(&self) -> bool {
        self.members().nth(1).is_none()
    }

    /// Returns the object, if the facts are about one, or the number of objects: `volume/db`, `12 volumes`, `3 objects`, `2 places`.
    pub fn subject(&self) -> String {
        let mut facts = self.members().map(TellsFact::fact);
        let Some(first) = self.members().next().map(TellsFact::fact) else { return String::new() };
        if self.members().map(TellsFact::fact).all(|fact| (fact.kind, fact.name) == (first.kind, first.name)) {
            return first.subject();
        }
        let what = match facts.all(|fact| fact.kind == first.kind) {
            true => first.kind.unwrap_or("place"),
            false => "object",
        };
        format!("{} {what}s", self.members().count())
    }

    /// Returns what is not done to the members, if it is the same for all of them.
    pub fn verb(&self) -> Option<ToldVerb> {
        let mut verbs = self.members().map(|member| member.fact().verb);
        let first = verbs.next()?;
        first.filter(|_| verbs.all(|verb| verb == first))
    }

    /// Returns the members in lines, and the number of members that are left out. A line has the members of one cause, and `by_verb` of
    /// one verb. Members with values or places have a line each, unless their messages differ.
    pub fn lines(&self, by_verb: bool) -> (Vec<MemberLine>, usize) {
        let (told, left_out) = self.causes.split_at(shown(self.members(), self.causes.len()));
        let mut rest = left_out.iter().map(|cause| cause.members.len()).sum();
        let verbs: BTreeSet<Option<ToldVerb>> = match by_verb {
            true => self.members().map(|member| member.fact().verb).collect(),
            false => BTreeSet::from([None]),
        };
        let mut lines = Vec::new();
        for (cause, verb) in told.iter().flat_map(|cause| verbs.iter().map(move |verb| (cause, *verb))) {
            let is_of = |member: &&Member<'a, T>| verb.is_none() || member.told.fact().verb == verb;
            let members: Vec<&Member<'a, T>> = cause.members.iter().filter(is_of).collect();
            let mut push = |text| lines.push(MemberLine { verb, text });
            if members.is_empty() {
                continue;
            }
            if self.causes.len() > 1 {
                push(format!("{}: {}", self.listed(cause, &members), cause.message));
            } else if members.iter().all(|member| self.details(cause, member).is_empty()) {
                push(self.listed(cause, &members));
            } else {
                let count = shown(members.iter().map(|member| member.told), members.len());
                members[..count].iter().for_each(|member| push(self.name(cause, member)));
                rest += members.len() - count;
            }
        }
        (lines, rest)
    }

    /// Names the objects of a cause: `volume/a (specs/a.yaml:3:8), volume/b and 11 more`. Objects that an approval covers are all named.
    pub fn names(&self, cause: &Cause<'a, T>) -> String {
        self.listed(cause, &cause.members.iter().collect::<Vec<_>>())
    }

    fn listed(&self, cause: &Cause<'a, T>, members: &[&Member<'a, T>]) -> String {
        let count = shown(members.iter().map(|member| member.told), members.len());
        listed(members.iter().map(|member| self.name(cause, member)), count)
    }

    /// Names an object, with what is in its texts that the shared texts leave out.
    fn name(&self, cause: &Cause<'a, T>, member: &Member<'a, T>) -> String {
        let subject = member.told.fact().subject();
        match self.details(cause, member).as_slice() {
            [] => subject,
            details if subject.is_empty() => details.join(", "),
            details => format!("{subject} ({})", details.join(", ")),
        }
    }

    /// Returns the values and the places in the texts of a member that the shared texts leave out, each once.
    fn details(&self, cause: &Cause<'a, T>, member: &Member<'a, T>) -> Vec<Cow<'a, str>> {
        let fact = member.told.fact();
        let mut details: Vec<Cow<'a, str>> = Vec::new();
        details.extend(member.values.iter().map(|(word, value)| format!("{word} {value}").into()));
        for (own, shared) in [(fact.fix, &self.fix), (fact.message, &cause.message)] {
            for place in split_places(own).1 {
                if own != shared && !details.iter().any(|detail| detail == place) {
                    details.push(place.into());
                }
            }
        }
        details
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
    let members: Vec<Member<'a, T>> = facts.into_iter().map(|told| Member { told, values: Vec::new() }).collect();
    let facts = members.iter().map(|member| member.told.fact());
    let known: HashSet<&str> = facts.flat_map(|fact| [Some(fact.name), fact.uid]).flatten().collect();
    let is_known = |word: &str| known.contains(word);
    let in_fixes = ValueSearch { is_known: &is_known, numbers: true };
    // A number in a message is told in the message of each member.
    let in_messages = ValueSearch { is_known: &is_known, numbers: false };
    let entries = alike(members, |fact| fact.fix, &in_fixes).into_iter();
    let entries = entries.map(|entry| {
        let (fix, members) = entry.shared(|fact| fact.fix);
        let reason = members.first().map_or("", |first| first.told.fact().reason);
        let causes = alike(members, |fact| fact.message, &in_messages).into_iter().map(|cause| {
            let (message, members) = cause.shared(|fact| fact.message);
            Cause { message, members }
        });
        Folded { reason, fix, causes: causes.collect() }
    });
    entries.collect()
}

/// Facts of one reason with texts of one form.
struct Alike<'a, T>(Vec<(Member<'a, T>, Rc<TextForm<'a>>)>);

/// Groups facts by reason and the form of a text. Groups are in the order of their first members.
fn alike<'a, T: TellsFact>(
    members: Vec<Member<'a, T>>,
    text: impl Fn(&Fact<'a>) -> &'a str,
    search: &ValueSearch<'_>,
) -> Vec<Alike<'a, T>> {
    let mut texts: HashMap<(&str, &str), (usize, Rc<TextForm<'a>>)> = HashMap::new();
    let mut forms: HashMap<(&str, String), usize> = HashMap::new();
    let mut groups: Vec<Alike<'a, T>> = Vec::new();
    for member in members {
        let fact = member.told.fact();
        let (group, form) = texts.entry((fact.reason, text(&fact))).or_insert_with(|| {
            let form = TextForm::of(without_places(text(&fact)), search);
            let group = *forms.entry((fact.reason, form.key())).or_insert(groups.len());
            (group, Rc::new(form))
        });
        match groups.get_mut(*group) {
            Some(group) => group.0.push((member, form.clone())),
            None => groups.push(Alike(vec![(member, form.clone())])),
        }
    }
    groups
}

impl<'a, T: TellsFact> Alike<'a, T> {
    /// Returns the text of all members: as it is if it is the same for all of them, else with words in place of the values that differ,
    /// and each member with its own.
    fn shared(self, text: impl Fn(&Fact<'a>) -> &'a str) -> (Cow<'a, str>, Vec<Member<'a, T>>) {
        let (mut members, forms): (Vec<Member<'a, T>>, Vec<Rc<TextForm<'a>>>) = self.0.into_iter().unzip();
        let own = |member: &Member<'a, T>| text(&member.told.fact());
        let (Some(first), Some(form)) = (members.first().map(own), forms.first()) else {
            return (Cow::Borrowed(""), members);
        };
        if members.iter().all(|member| own(member) == first) {
            return (Cow::Borrowed(first), members);
        }
        let columns = (0..form.len()).map(|index| forms.iter().map(|form| form.value(index)).collect::<Vec<_>>());
        let columns = columns.enumerate();
        let words: Vec<Rc<str>> =
            columns.map(|(index, column)| stand_in(&mut members, &column, form.label(index))).collect();
        (Cow::Owned(form.filled(|index| &*words[index])), members)
    }
}

/// Returns what stands in a shared text where the members have these values: the value if it is the same for all of them, or else a word,
/// which is entered beside each member.
fn stand_in<T: TellsFact>(members: &mut [Member<'_, T>], values: &[&str], label: &str) -> Rc<str> {
    let is_all = |of: &dyn Fn(&Member<'_, T>) -> Option<String>| {
        members.iter().zip(values).all(|(member, value)| of(member).as_deref() == Some(value))
    };
    if let Some(first) = values.first().filter(|first| values.iter().all(|value| value == *first)) {
        return (*first).into();
    }
    if is_all(&|member| Some(member.told.fact().name.to_owned())) {
        return "NAME".into();
    }
    if is_all(&|member| member.told.fact().uid.map(str::to_owned)) {
        return "UID".into();
    }
    let words: Vec<Rc<str>> =
        members.first().into_iter().flat_map(|first| &first.values).map(|(word, _)| word.clone()).collect();
    let known = (0..words.len()).find(|index| {
        members
            .iter()
            .zip(values)
            .all(|(member, value)| member.values.get(*index).is_some_and(|(_, own)| **own == **value))
    });
    if let Some(known) = known {
        return words[known].clone();
    }
    let mut word: Rc<str> = label.into();
    let mut count = 1;
    while words.contains(&word) {
        count += 1;
        word = format!("{label}{count}").into();
    }
    members.iter_mut().zip(values).for_each(|(member, value)| member.values.push((word.clone(), (*value).into())));
    word
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
    fn texts_that_differ_by_values_are_shared_and_each_member_has_its_own() {
        let missing = |object, of: &str| {
            let fix =
                format!("declare snapshot {of}, or remove `source` (specs/{of}.yaml:1:8) to create an empty volume");
            told(object, &format!("its source snapshot {of} does not exist"), &fix)
        };
        assert_eq!(
            shown(&[missing("volume/a", "gone"), missing("volume/b", "lost-2")]),
            [
                "2 volumes, declare snapshot SNAPSHOT, or remove `source` to create an empty volume",
                "  its source snapshot SNAPSHOT does not exist: volume/a (SNAPSHOT gone, specs/gone.yaml:1:8), \
                 volume/b (SNAPSHOT lost-2, specs/lost-2.yaml:1:8)",
            ]
        );
        let shrinks = |object, is: &str, says: &str| {
            told(object, &format!("its size is {is} and the document says {says}"), &format!("write `size: {is}`"))
        };
        assert_eq!(
            shown(&[
                shrinks("volume/a", "2Gi", "1Gi"),
                shrinks("volume/b", "3Gi", "1Gi"),
                shrinks("volume/c", "3Gi", "512Mi")
            ]),
            [
                "3 volumes, write `size: SIZE`",
                "  its size is SIZE and the document says SIZE2: volume/a (SIZE 2Gi, SIZE2 1Gi), volume/b (SIZE 3Gi, SIZE2 1Gi), \
                 volume/c (SIZE 3Gi, SIZE2 512Mi)",
            ]
        );
        // Both objects of a likely rename have one fix, which names both.
        let renamed = |object, message: &str, old: &str, new: &str| {
            let fix = format!("if {old} was renamed, write `renamedFrom: {old}` under `metadata` of volume {new}");
            told(object, message, &fix)
        };
        let facts = [
            renamed("volume/o1", "it goes", "o1", "n1"),
            renamed("volume/n1", "it comes", "o1", "n1"),
            renamed("volume/n2", "it comes", "o2", "n2"),
            renamed("volume/o2", "it goes", "o2", "n2"),
        ];
        assert_eq!(
            shown(&facts),
            [
                "4 volumes, if OLD was renamed, write `renamedFrom: OLD` under `metadata` of volume NEW",
                "  it goes: volume/o1 (OLD o1, NEW n1), volume/o2 (OLD o2, NEW n2)",
                "  it comes: volume/n1 (OLD o1, NEW n1), volume/n2 (OLD o2, NEW n2)",
            ]
        );
        // A number in a message stays in the message of its object.
        let facts =
            [told("volume/a", "it is open (pid 12)", "close it"), told("volume/b", "it is open (pid 7)", "close it")];
        assert_eq!(
            shown(&facts),
            ["2 volumes, close it", "  it is open (pid 12): volume/a", "  it is open (pid 7): volume/b"]
        );
        // What to write is not the same, although the words around it are.
        let facts = [told("volume/a", "m", "remove `via`"), told("volume/b", "m", "remove `qos`")];
        assert_eq!(shown(&facts).len(), 4);
    }

    #[test]
    fn one_object_with_two_facts_is_one() {
        let facts = [told("store", "a note", "open it"), told("store", "another note", "open it")];
        assert_eq!(shown(&facts), ["store, open it", "  a note: store", "  another note: store"]);
    }

    #[test]
    fn a_place_of_a_problem_is_no_object_of_a_kind() {
        let facts = [
            told("./specs/a.yaml:4:16", "no", "did you mean `volume: db`?"),
            told("./specs/b.yaml:4:16", "no", "did you mean `volume: web`?"),
        ];
        assert_eq!(
            shown(&facts),
            [
                "2 places, did you mean `volume: VOLUME`?",
                "  no: ./specs/a.yaml:4:16 (VOLUME db), ./specs/b.yaml:4:16 (VOLUME web)",
            ]
        );
    }

    #[test]
    fn many_facts_are_folded_without_comparing_each_with_each() {
        // If each fact were compared with each other one, this would take minutes.
        let facts: Vec<Told> =
            (0..50_000).map(|n| told("volume/a", "m", &format!("declare volume v{n}, or remove `source`"))).collect();
        let folded = fold(&facts);
        assert_eq!((folded.len(), folded[0].members().count()), (1, 50_000));
        let facts: Vec<Told> = (0..50_000).map(|n| told("volume/a", "m", &format!("call the {n}th"))).collect();
        assert_eq!(fold(&facts).len(), 50_000);
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
                "it is small (specs/a.yaml:1:8)",
                "write `size: 1Gi` (specs/a.yaml:1:8) in prod (s.yaml:1:1)",
            ),
            told("volume/b", "it is large", "write `size: 1Gi` (specs/a.yaml:5:8) in prod (s.yaml:1:1)"),
        ];
        let told_of = ["volume/a (specs/a.yaml:1:8, s.yaml:1:1)", "volume/b (specs/a.yaml:5:8, s.yaml:1:1)"];
        assert_eq!(
            lines(&facts).0,
            [format!("{}: it is small (specs/a.yaml:1:8)", told_of[0]), format!("{}: it is large", told_of[1]),]
        );
        // What all texts contain stays there.
        let same = "write `size: 1Gi` (specs/a.yaml:1:8)";
        assert_eq!(lines(&[told("volume/a", "m", same), told("volume/b", "m", same)]).0, ["volume/a, volume/b"]);
    }
}
