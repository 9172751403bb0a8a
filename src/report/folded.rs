//! One fact once: what shares a reason and the form of a fix is one entry, with the objects that it applies to below it. Pure.
//!
//! Where the texts of an entry have different names, sizes or numbers, `<volume>` or `<size>` stands for them, and `<name>` and `<uid>`
//! for those of the member: a shell, a manifest and Kiln refuse each. Beside a member stands its own value, or, for what is written between
//! backticks, all that is to be pasted: ``volume/a (`size: 2Gi` specs/a.yaml:3:9)``. A command that takes several operands is one for all.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt, HashSet};

use super::form::{Code, KnownWords, TextForm, codes, one_command, with_own_words};
use crate::model::{Kind, Verb};
use crate::text::{split_places, without_places};

/// What is told about an object: a hold, an orphan, or a finding of `doctor`.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'a> {
    /// The kind of the object: `volume` of `volume/db`; none for a subject without one, as `store` or the place of a problem.
    pub kind: Option<&'a str>,
    /// The name of the object, as its texts may contain it; `volume/a, volume/b` for what is about several; empty for what is about none.
    pub name: &'a str,
    /// The uid of the object, if it has one.
    pub uid: Option<&'a str>,
    /// The backend of the object, if it is known.
    pub backend: Option<&'a str>,
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
        Self { kind, name, uid: None, backend: None, verb: None, reason, message, fix, awaits_approval: false }
    }

    /// Returns the names of the object, or of the objects if the subject is several.
    fn names(&self) -> impl Iterator<Item = &'a str> {
        let of_object = |object: &'a str| object.split_once('/').map_or(object, |(_, name)| name);
        self.name.split(", ").map(of_object)
    }

    /// Returns the subject: `volume/db`, `store`.
    pub fn subject(&self) -> String {
        match self.kind {
            Some(kind) => format!("{kind}/{}", self.name),
            None => self.name.to_owned(),
        }
    }
}

impl<'a, T: TellsFact> Member<'a, T> {
    fn fact(&self) -> Fact<'a> {
        Fact { fix: self.fix, ..self.told.fact() }
    }

    /// Returns the subject with its values: ``volume/a (`size: 2Gi`, 1Gi)``. For where the text of another member stands beside it.
    pub(super) fn with_values(&self) -> String {
        let is_pasted = |value: &&str| !self.pasted.iter().any(|code| code.contains(value));
        let values = self.values.iter().map(|(_, value)| &**value).filter(is_pasted);
        let values: Vec<&str> = self.pasted.iter().map(String::as_str).chain(values).collect();
        let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
        format!("{}{values}", self.told.fact().subject())
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
    /// The fix of the fact, or of the one that it is decided with.
    fix: &'a str,
    /// What is to be pasted for it, where the shared texts have a placeholder: `` `size: 2Gi` specs/a.yaml:3:9 ``.
    pasted: Vec<String>,
    /// Its values, each after the placeholder in the shared texts.
    values: Vec<(Rc<str>, Rc<str>)>,
}

/// The number of objects that are named in one entry, unless an approval covers them.
pub(super) const NAMED: usize = 10;

/// Members of an entry that have a line of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberLine {
    /// What is not done to them, if the lines are asked for by verb and all members have the same.
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
        verb_of(self.members())
    }

    /// Returns the members in lines, and the number of members that no line names. A line has the members of one cause, and `by_verb` of
    /// one verb. Members with values or places have a line for each of their texts, unless their messages differ.
    pub fn lines(&self, by_verb: bool) -> (Vec<MemberLine>, usize) {
        let (told, left_out) = self.causes.split_at(shown(self.members(), self.causes.len()));
        let mut rest = left_out.iter().map(|cause| cause.members.len()).sum();
        let mut lines = Vec::new();
        for cause in told {
            let groups = self.groups(cause, &cause.members.iter().collect::<Vec<_>>());
            let mut of_cause = Vec::new();
            if self.causes.len() == 1 && groups.iter().any(|group| !group.details.is_empty()) {
                let mut count = shown(self.members(), cause.members.len());
                for group in &groups {
                    let verb = verb_of(group.members.iter().map(|member| member.told)).filter(|_| by_verb);
                    match count {
                        0 => rest += group.members.len(),
                        _ => of_cause.push(MemberLine { verb, text: group.text(count, by_verb && verb.is_none()) }),
                    }
                    count -= count.min(group.members.len());
                }
            } else {
                let verbs: BTreeSet<Option<ToldVerb>> =
                    cause.members.iter().map(|member| member.fact().verb.filter(|_| by_verb)).collect();
                let of_verbs = verbs.into_iter().map(|verb| {
                    let is_of = |member: &&Member<'a, T>| !by_verb || member.fact().verb == verb;
                    let members: Vec<&Member<'a, T>> = cause.members.iter().filter(is_of).collect();
                    MemberLine { verb, text: self.listed(cause, &members) }
                });
                of_cause.extend(of_verbs);
            }
            of_cause.sort_by_key(|line| line.verb);
            if self.causes.len() > 1 {
                // The message once, whatever the verbs.
                let verb = same(of_cause.iter().map(|line| line.verb)).flatten();
                let names = |line: &MemberLine| match line.verb.filter(|_| verb.is_none()) {
                    Some(verb) => format!("{verb} {}", line.text),
                    None => line.text.clone(),
                };
                let names = of_cause.iter().map(names).collect::<Vec<_>>().join("; ");
                of_cause = vec![MemberLine { verb, text: format!("{names}: {}", cause.message) }];
            }
            lines.append(&mut of_cause);
        }
        (lines, rest)
    }

    /// Whether some members are counted only, and not named.
    pub fn leaves_out(&self) -> bool {
        let most = self.causes.iter().map(|cause| cause.members.len()).chain([self.causes.len()]).max();
        most.is_some_and(|most| shown(self.members(), most) < most)
    }

    /// Names the objects of a cause: `volume/a (specs/a.yaml:3:8), volume/b and 11 more`. Objects that an approval covers are all named.
    pub fn names(&self, cause: &Cause<'a, T>) -> String {
        self.listed(cause, &cause.members.iter().collect::<Vec<_>>())
    }

    /// As [`Folded::names`], with all of them: for where nothing else lists them.
    pub fn all_names(&self, cause: &Cause<'a, T>) -> String {
        self.first(cause, &cause.members.iter().collect::<Vec<_>>(), cause.members.len())
    }

    fn listed(&self, cause: &Cause<'a, T>, members: &[&Member<'a, T>]) -> String {
        self.first(cause, members, shown(members.iter().map(|member| member.told), members.len()))
    }

    fn first(&self, cause: &Cause<'a, T>, members: &[&Member<'a, T>], all: usize) -> String {
        let mut count = all;
        let mut names = Vec::new();
        for group in self.groups(cause, members) {
            let named = count.min(group.members.len());
            if named > 0 {
                names.push(group.name(named, false));
            }
            count -= named;
        }
        and_more(names, members.len() - all)
    }

    /// Groups members by their own texts.
    fn groups<'m>(&self, cause: &Cause<'a, T>, members: &[&'m Member<'a, T>]) -> Vec<Group<'m, 'a, T>> {
        let mut found: HashMap<(&str, &str), usize> = HashMap::new();
        let mut groups: Vec<Group<'m, 'a, T>> = Vec::new();
        for member in members {
            let fact = member.fact();
            let group = *found.entry((fact.fix, fact.message)).or_insert(groups.len());
            match groups.get_mut(group) {
                Some(group) => group.members.push(member),
                None => groups.push(Group { members: vec![member], details: Vec::new() }),
            }
        }
        groups.iter_mut().for_each(|group| group.details = self.details(cause, &group.members));
        groups
    }

    /// Returns what the texts of members contain and the shared texts leave out, each once.
    fn details(&self, cause: &Cause<'a, T>, members: &[&Member<'a, T>]) -> Vec<String> {
        let Some(first) = members.first() else { return Vec::new() };
        let fact = first.fact();
        let mut details = first.pasted.clone();
        let shared = [&*self.fix, &*cause.message];
        // What is to be pasted contains its values, and the names of several members are beside each other.
        let is_pasted = |word: &str| shared.iter().flat_map(|text| codes(text)).any(|code| code.text.contains(word));
        let is_named = |value: &str| {
            let is_in = |of: &&Member<'a, T>| of.told.fact().names().any(|name| name == value);
            (members.len() > 1 || fact.names().nth(1).is_some()) && members.iter().any(is_in)
        };
        let values = first.values.iter().filter(|(word, value)| {
            shared.iter().any(|text| text.contains(&**word)) && !is_pasted(word) && !is_named(value)
        });
        details.extend(values.map(|(word, value)| format!("{word} {value}")));
        for (own, shared) in [(fact.fix, &self.fix), (fact.message, &cause.message)] {
            for place in split_places(own).1 {
                if own != shared && !details.iter().any(|detail| detail.ends_with(place)) {
                    details.push(place.to_owned());
                }
            }
        }
        details
    }
}

/// Members of a cause that have the same texts.
struct Group<'m, 'a, T> {
    members: Vec<&'m Member<'a, T>>,
    /// What the shared texts leave out.
    details: Vec<String>,
}

impl<T: TellsFact> Group<'_, '_, T> {
    /// Names the first `count` objects: `volume/a, volume/b (specs/a.yaml:3:8)`. `with_verbs`: each after what is not done to it.
    fn name(&self, count: usize, with_verbs: bool) -> String {
        let name = |member: &&Member<'_, T>| {
            let fact = member.fact();
            let verb = fact.verb.filter(|_| with_verbs).map(|verb| format!("{verb} ")).unwrap_or_default();
            format!("{verb}{}", fact.subject())
        };
        let names = self.members.iter().take(count).map(name).collect::<Vec<_>>().join(", ");
        match self.details.as_slice() {
            [] => names,
            details if names.is_empty() => details.join(", "),
            details => format!("{names} ({})", details.join(", ")),
        }
    }

    /// As [`Group::name`], with the number of objects that it leaves out.
    fn text(&self, count: usize, with_verbs: bool) -> String {
        and_more(vec![self.name(count, with_verbs)], self.members.len().saturating_sub(count))
    }
}

fn verb_of<'a, T: TellsFact + 'a>(members: impl Iterator<Item = &'a T>) -> Option<ToldVerb> {
    same(members.map(|member| member.fact().verb)).flatten()
}

/// Returns the item that all are; None if they differ.
fn same<I: PartialEq>(mut items: impl Iterator<Item = I>) -> Option<I> {
    let first = items.next()?;
    items.all(|item| item == first).then_some(first)
}

/// Returns how many of `count` items are shown: at most ten, but all if an approval covers one of the members.
fn shown<'a, T: TellsFact + 'a>(mut members: impl Iterator<Item = &'a T>, count: usize) -> usize {
    if members.any(|member| member.fact().awaits_approval) { count } else { count.min(NAMED) }
}

/// Lists the first `count` items: `a, b and 11 more`.
pub fn listed(items: impl ExactSizeIterator<Item = String>, count: usize) -> String {
    let rest = items.len().saturating_sub(count);
    and_more(items.take(count).collect(), rest)
}

fn and_more(items: Vec<String>, rest: usize) -> String {
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", items.join(", "))
}

/// Folds facts. Entries, causes and members keep the order in which they first occur.
pub fn fold<'a, T: TellsFact>(facts: impl IntoIterator<Item = &'a T>) -> Vec<Folded<'a, T>> {
    let facts: Vec<&'a T> = facts.into_iter().collect();
    let known = known_words(facts.iter().map(|told| told.fact()));
    let fixes = fixes_of_pairs(facts.iter().map(|told| told.fact()));
    let member = |(told, fix)| Member { told, fix, pasted: Vec::new(), values: Vec::new() };
    let members = facts.into_iter().zip(fixes).map(member).collect();
    let entries = alike(members, |fact| fact.fix, &known).into_iter();
    let entries = entries.map(|entry| {
        let (fix, members) = entry.shared(|fact| fact.fix);
        let reason = members.first().map_or("", |first| first.fact().reason);
        let causes = alike(members, |fact| fact.message, &known).into_iter().map(|cause| {
            let (message, members) = cause.shared(|fact| fact.message);
            Cause { message, members }
        });
        Folded { reason, fix, causes: causes.collect() }
    });
    entries.collect()
}

/// Returns the fix of each fact. A fact whose fix is to decide about another one (`kiln plan volume/old`) has the fix of that one, if both
/// have the same message: reports tell such a pair once.
fn fixes_of_pairs<'a>(facts: impl Iterator<Item = Fact<'a>>) -> Vec<&'a str> {
    let facts: Vec<Fact<'a>> = facts.collect();
    let decides = |fact: &Fact<'a>| {
        let plan = codes(fact.fix).into_iter().find(|code| code.text.starts_with("kiln plan "))?;
        plan.text.split(' ').find(|word| word.contains('/') && Fact::new(word, "", "", "").kind.is_some())
    };
    let of_message: HashMap<(&str, &str, String), &str> =
        facts.iter().map(|fact| ((fact.reason, fact.message, fact.subject()), fact.fix)).collect();
    let fix = |fact: &Fact<'a>| {
        let by = decides(fact).and_then(|by| of_message.get(&(fact.reason, fact.message, by.to_owned())));
        by.copied().unwrap_or(fact.fix)
    };
    facts.iter().map(fix).collect()
}

/// Returns the names, uids and backends of the facts, and the names that any of their texts contains as such. Each is searched in every
/// text, so that what is found in one text is found in the others of its form, whatever other meaning the word has.
fn known_words<'a>(facts: impl Iterator<Item = Fact<'a>>) -> KnownWords {
    let mut known = KnownWords::default();
    let mut seen: HashSet<&str> = HashSet::default();
    for fact in facts {
        known.add_names([Some(fact.name), fact.uid].into_iter().flatten());
        fact.backend.into_iter().for_each(|backend| known.add_backend(backend));
        for text in [fact.fix, fact.message] {
            if seen.insert(text) {
                known.add_text(&without_places(text));
            }
        }
    }
    known
}

/// Returns what tells how to see the names that entries leave out, none if they leave out none. `command`: the one that lists all.
pub fn where_all_are<'a, T: TellsFact + 'a>(entries: &[Folded<'a, T>], command: &str) -> Option<String> {
    entries.iter().any(Folded::leaves_out).then(|| format!("Not all names are shown: `{command}` lists them."))
}

/// Facts of one reason with texts of one form.
struct Alike<'a, T>(Vec<(Member<'a, T>, Rc<TextForm<'a>>)>);

/// Groups facts by reason and the form of a text. Groups are in the order of their first members.
fn alike<'a, T: TellsFact>(
    members: Vec<Member<'a, T>>,
    text: impl Fn(&Fact<'a>) -> &'a str,
    known: &KnownWords,
) -> Vec<Alike<'a, T>> {
    let mut texts: HashMap<(&str, &str), (usize, Rc<TextForm<'a>>)> = HashMap::new();
    let mut forms: HashMap<(&str, String), usize> = HashMap::new();
    let mut groups: Vec<Alike<'a, T>> = Vec::new();
    for member in members {
        let fact = member.fact();
        let (group, form) = texts.entry((fact.reason, text(&fact))).or_insert_with(|| {
            let form = TextForm::of(without_places(text(&fact)), known);
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
    /// Returns the text of all members: as it is if it is the same for all of them, else with placeholders for the values that differ,
    /// and each member with its own.
    fn shared(self, text: impl Fn(&Fact<'a>) -> &'a str) -> (Cow<'a, str>, Vec<Member<'a, T>>) {
        let (mut members, forms): (Vec<Member<'a, T>>, Vec<Rc<TextForm<'a>>>) = self.0.into_iter().unzip();
        let own = |member: &Member<'a, T>| text(&member.fact());
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
        let own: Vec<Vec<Code<'a>>> = members.iter().map(|member| codes(own(member))).collect();
        let commands: Vec<Option<String>> =
            (0..codes(first).len()).map(|index| shared_code(&mut members, &own, index)).collect();
        let shared = form.filled(|index| &*words[index], |index| commands.get(index)?.as_deref());
        (Cow::Owned(shared), members)
    }
}

/// Returns the one command that stands for what the members have between backticks. If there is none and it differs, each member gets its
/// own.
fn shared_code<T>(members: &mut [Member<'_, T>], own: &[Vec<Code<'_>>], index: usize) -> Option<String> {
    let column: Vec<Code<'_>> = own.iter().map(|codes| codes.get(index).copied()).collect::<Option<_>>()?;
    let texts: Vec<&str> = column.iter().map(|code| code.text).collect();
    if texts.iter().all(|text| text == &texts[0]) {
        return None;
    }
    let command = one_command(&texts);
    if command.is_none() {
        for (member, Code { text, place }) in members.iter_mut().zip(&column) {
            let place = place.map(|place| format!(" {place}")).unwrap_or_default();
            let pasted = format!("`{text}`{place}");
            if !member.pasted.contains(&pasted) {
                member.pasted.push(pasted);
            }
        }
    }
    command
}

/// Returns what stands in a shared text where the members have these values: the value if it is the same for all of them, apart from their
/// names and uids, or else a placeholder, which is entered beside each member.
fn stand_in<T: TellsFact>(members: &mut [Member<'_, T>], values: &[&str], label: &str) -> Rc<str> {
    let Some(first) = values.first().filter(|first| values.iter().any(|value| value != *first)) else {
        return values.first().copied().unwrap_or_default().into();
    };
    let named = |member: &Member<'_, T>, value: &str| {
        let fact = member.fact();
        with_own_words(value, fact.name, fact.uid)
    };
    let first = members.first().map(|member| named(member, first)).unwrap_or_default();
    if members.iter().zip(values).all(|(member, value)| named(member, value) == first) {
        return first.into();
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
    // `<path>/pool`
    let below = |index: usize| {
        let mut all = members.iter().zip(values).map(|(member, value)| {
            let (word, own) = member.values.get(index).filter(|(_, own)| own.contains('/'))?;
            Some(value.replacen(&**own, word, 1))
        });
        let first = all.next()??;
        all.all(|shown| shown.as_ref() == Some(&first)).then_some(first)
    };
    if let Some(below) = (0..words.len()).find_map(below) {
        return below.into();
    }
    let mut word: Rc<str> = format!("<{label}>").into();
    let mut count = 1;
    while words.contains(&word) {
        count += 1;
        word = format!("<{label}{count}>").into();
    }
    members.iter_mut().zip(values).for_each(|(member, value)| member.values.push((word.clone(), (*value).into())));
    word
}

#[cfg(test)]
mod tests;
