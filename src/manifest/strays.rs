//! Unknown and missing fields, explained together.
//!
//! A misspelt field is unknown under its new name and missing under its old one, and a field in the wrong section is unknown there and
//! missing elsewhere. Both are one typing error and one problem. The reader therefore collects the unknown keys and the gaps of a
//! document; [`settle`] decides at its end which of them belong together.

use super::homes::{DOCUMENT, Home};
use super::known::is_section;
use super::lines::{TOP, write};
use super::problem::clip;
use super::repair::in_braces;
use super::scan::{Key, Node, NodeContent};
use super::span::Span;
use super::text::{File, quote};
use crate::model::Kind;
use crate::model::table::FieldRule;
use crate::text::closest;

/// Fields of Kubernetes and of other tools, with those of Kiln that mean the same.
const HABITS: [(&str, &str); 6] = [
    ("annotations", "labels"),
    ("capacity", "size"),
    ("reclaimPolicy", "onRemove"),
    ("resources", "size"),
    ("storage", "size"),
    ("storageClassName", "backend"),
];

/// Fields of other tools for remarks, which Kiln has in comments.
const REMARKS: [&str; 6] = ["comment", "desc", "description", "note", "notes", "remark"];

/// Unknown and missing fields of a document.
#[derive(Default)]
pub(super) struct Strays {
    gaps: Vec<Gap>,
    maps: Vec<Unknown>,
}

/// Reads a value for a field that it is not written for, at the place of its key. Returns why it is wrong: the message, and the hint.
pub(super) type ReadValue<'r> = &'r dyn Fn(&'static FieldRule, &Node<'_>, Span) -> Option<(String, String)>;

/// A field that is missing, or a section without a value.
pub(super) struct Gap {
    /// The section that lacks it.
    pub(super) section: String,
    /// The field; several if one of them is required; none if it is the section itself that has no value.
    pub(super) names: Vec<String>,
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) hint: String,
}

/// The unknown keys of a map.
pub(super) struct Unknown {
    pub(super) section: String,
    /// The fields that the map may have, in order.
    pub(super) known: Vec<String>,
    /// Those of them that it has.
    pub(super) written: Vec<String>,
    pub(super) keys: Vec<UnknownKey>,
    /// Whether a value in it may be a secret.
    pub(super) is_secret: bool,
}

/// An unknown key.
pub(super) struct UnknownKey {
    pub(super) text: String,
    pub(super) span: Span,
    /// Its value, if that is a scalar, as it could be written again.
    pub(super) value: Option<String>,
    /// Its value, if that is a scalar and no secret.
    pub(super) scalar: Option<Node<'static>>,
    /// The only scalar in it.
    pub(super) inner: Option<String>,
    /// The known field before it, if that has no value.
    pub(super) below: Option<String>,
}

impl Strays {
    pub(super) fn add_gap(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }

    pub(super) fn add_unknown(&mut self, unknown: Unknown) {
        self.maps.push(unknown);
    }

    /// Removes the gaps of a section that a key elsewhere explains. Returns whether there was one.
    fn fill(&mut self, section: &str, name: &str) -> bool {
        let before = self.gaps.len();
        self.gaps.retain(|gap| gap.section != section || !gap.names.iter().any(|gap| gap == name));
        self.gaps.len() < before
    }
}

/// What an unknown key is.
#[derive(PartialEq, Eq, Clone)]
enum StrayKind {
    /// A field of the section above it, which has no value.
    NotIndented(String),
    /// A field of another section.
    Elsewhere(Vec<&'static str>),
    /// A misspelt field of its section.
    Misspelt(String),
    Unknown,
}

/// Reports the unknown and missing fields of a document, each typing error once. Returns the fields of `spec` that unknown keys mean.
/// `wrong_value`: returns why a value is wrong for the field that its key means.
pub(super) fn settle(
    mut strays: Strays,
    file: &File,
    root: &Node<'_>,
    kind: Option<Kind>,
    wrong_value: ReadValue<'_>,
) -> Vec<String> {
    if strays.gaps.is_empty() && strays.maps.is_empty() {
        return Vec::new();
    }
    let homes = Home::all(kind, at(root, &["spec", "driver"]).and_then(scalar));
    let mut meant = Vec::new();
    for map in std::mem::take(&mut strays.maps) {
        let mut groups: Vec<(StrayKind, Vec<&UnknownKey>)> = Vec::new();
        for key in without_fields(&map.keys, &map, &mut strays, &homes, &mut meant) {
            let verdict = stray_kind(key, &map, &strays, &homes);
            let joins = |verdict: &StrayKind| matches!(verdict, StrayKind::NotIndented(_) | StrayKind::Elsewhere(_));
            match groups.iter_mut().find(|(other, _)| joins(other) && *other == verdict) {
                Some((_, keys)) => keys.push(key),
                None => groups.push((verdict, vec![key])),
            }
        }
        let groups = with_slips_joined(groups);
        for (verdict, keys) in groups {
            let wrong = match (&verdict, keys.first()) {
                (StrayKind::Misspelt(field), Some(key)) => {
                    let home = homes.iter().find(|home| home.section() == map.section);
                    let rule = home.and_then(|home| home.rules.iter().find(|rule| rule.name == *field));
                    rule.zip(key.scalar.as_ref()).and_then(|(rule, node)| wrong_value(rule, node, key.span))
                }
                _ => None,
            };
            explain(file, root, &map, &verdict, &keys, &mut strays, &mut meant, wrong);
        }
    }
    // A section that is written twice is reported as such; its fields may be in either.
    let elsewhere = |gap: &Gap| gap.names.iter().any(|name| has_in_twin(root, &gap.section, name));
    for Gap { span, message, hint, .. } in strays.gaps.into_iter().filter(|gap| !elsewhere(gap)) {
        file.report(span, message, hint);
    }
    meant
}

/// Returns what an unknown key is.
fn stray_kind(key: &UnknownKey, map: &Unknown, strays: &Strays, homes: &[Home]) -> StrayKind {
    let name = name_of(&key.text);
    let empty = |below: &&String| strays.gaps.iter().any(|gap| gap.names.is_empty() && gap.section == **below);
    let below = key.below.as_ref().filter(empty);
    if let Some(below) = below
        && homes.iter().any(|home| home.section() == below && home.fields.contains(&name))
    {
        return StrayKind::NotIndented(below.clone());
    }
    let home = homes.iter().find(|home| home.section() != map.section && home.fields.contains(&name));
    let lacks = |home: &&Home| {
        let is_missing = |gap: &Gap| gap.section == home.section() && gap.names.iter().any(|gap| gap == name);
        strays.gaps.iter().any(is_missing)
    };
    if let Some(home) = home.filter(lacks) {
        return StrayKind::Elsewhere(home.path.clone());
    }
    // Labels, and the section of a driver without a table, may have any key.
    if let Some(below) = below.filter(|below| homes.iter().all(|home| home.section() != **below)) {
        return StrayKind::NotIndented(below.clone());
    }
    if REMARKS.contains(&name) {
        return StrayKind::Unknown;
    }
    let is_written = |field: &&str| map.written.iter().any(|written| written == field);
    let known = || map.known.iter().map(String::as_str);
    let habit = || HABITS.iter().find(|(habit, _)| *habit == name).map(|(_, field)| *field);
    if let Some((section, _)) = dotted(&key.text)
        && known().any(|known| known == section)
    {
        return StrayKind::Misspelt(section.to_owned());
    }
    let own = closest(name, known().filter(|field| !is_written(field)));
    if let Some(field) = own.or_else(|| habit().filter(|field| known().any(|known| known == *field))) {
        return StrayKind::Misspelt(field.to_owned());
    }
    // `adopt: {object: db01}` lacks its only field.
    let is_alone = map.keys.len() == 1 && map.written.is_empty() && !is_main(&map.section);
    let lacks_one = || strays.gaps.iter().filter(|gap| gap.section == map.section && gap.names.len() == 1).count() == 1;
    if let Some(home) = home.filter(|_| !(is_alone && lacks_one())) {
        return StrayKind::Elsewhere(home.path.clone());
    }
    closest(name, known()).map_or(StrayKind::Unknown, |field| StrayKind::Misspelt(field.to_owned()))
}

/// Whether it is one of the sections that every document has.
fn is_main(section: &str) -> bool {
    section == DOCUMENT || TOP.contains(&section)
}

/// Returns the name at the beginning of a key that contains more by mistake: `size:10Gi`, `size = 10Gi`, `“size”`.
fn name_of(key: &str) -> &str {
    let key = key.trim_matches(|c: char| matches!(c, '“' | '”' | '‘' | '’' | '"' | '\'') || c.is_whitespace());
    let key = key.split_once(' ').filter(|(number, _)| is_number(number)).map_or(key, |(_, key)| key.trim_start());
    key.split([':', '=', ' ', ';', '：', '＝']).next().unwrap_or(key)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a key begins with the number of its line, as editors show it.
fn is_numbered(key: &UnknownKey) -> bool {
    key.text.split_once(' ').is_some_and(|(number, _)| is_number(number))
}

/// Reports the keys with one verdict, and removes the gaps that they explain. `wrong_value`: why the value of a misspelt field is wrong.
#[expect(clippy::too_many_arguments, reason = "one step of the loop of `settle`")]
fn explain(
    file: &File,
    root: &Node<'_>,
    map: &Unknown,
    verdict: &StrayKind,
    keys: &[&UnknownKey],
    strays: &mut Strays,
    meant: &mut Vec<String>,
    wrong_value: Option<(String, String)>,
) {
    let Some(first) = keys.first() else { return };
    let shows_values = !map.is_secret && keys.iter().all(|key| !file.may_be_secret(key.span.line));
    // A key may contain its value.
    let shown = |key: &UnknownKey| quote(if shows_values { &key.text } else { name_of(&key.text) });
    let names = listed(keys.iter().map(|key| format!("`{}`", clip(name_of(&key.text), 40))));
    let verb = if keys.len() == 1 { ("is", "belongs", "it") } else { ("are", "belong", "them") };
    let (message, hint) = match verdict {
        StrayKind::NotIndented(section) => {
            strays.gaps.retain(|gap| !gap.names.is_empty() || gap.section != *section);
            meant.extend(keys.iter().map(|key| name_of(&key.text).to_owned()));
            (format!("{names} {} not indented below `{section}`", verb.0), format!("put 2 more spaces before {names}"))
        }
        StrayKind::Elsewhere(path) => {
            let section = path.last().copied().unwrap_or(DOCUMENT);
            let parent = path.len().checked_sub(2).map_or(DOCUMENT, |parent| path[parent]);
            strays.fill(parent, section);
            let is_new = !at(root, path)
                .is_some_and(|node| matches!(&node.content, NodeContent::Map(entries) if !entries.is_empty()));
            strays.gaps.retain(|gap| !gap.names.is_empty() || gap.section != section);
            let mut twice = false;
            for key in keys {
                strays.fill(section, name_of(&key.text));
                twice |= at(root, path).is_some_and(|section| has(section, name_of(&key.text)));
                if section == "spec" {
                    meant.push(name_of(&key.text).to_owned());
                }
            }
            let values: Option<Vec<String>> =
                keys.iter().map(|key| Some(format!("{}: {}", name_of(&key.text), key.value.as_ref()?))).collect();
            let whole = values
                .filter(|_| shows_values && is_new && !path.is_empty())
                .map(|values| write(&format!("{section}: {{{}}}", values.join(", "))))
                .filter(|fix| !fix.is_empty());
            let headed =
                headed(file, root, &map.section, section, keys).filter(|_| path.len() == 1 && at(root, path).is_none());
            let hint = match whole {
                _ if twice => format!("remove {} here: `{section}` has {} already", verb.2, verb.2),
                _ if headed.is_some() => headed.unwrap_or_default(),
                Some(fix) => fix,
                None if path.is_empty() => match outdented(file, root, &map.section, keys) {
                    Some(hint) => hint,
                    None => format!("move {} to the top level, without spaces before {}", verb.2, verb.2),
                },
                None => format!("move {} to `{section}`", verb.2),
            };
            (format!("{names} {} {}, not {}", verb.1, place(section), place(&map.section)), hint)
        }
        StrayKind::Misspelt(field) => {
            strays.fill(&map.section, field);
            if map.section == "spec" {
                meant.push(field.clone());
            }
            // `size 10Gi` or `size = {…}`, with a colon after it somewhere.
            if !map.is_secret && name_of(&first.text) != first.text && file.report_no_colon(first.span) {
                return;
            }
            let is_written = map.written.contains(field);
            let is_habit = HABITS.iter().any(|(habit, _)| *habit == name_of(&first.text));
            let value = if is_habit { meant_value(first, field) } else { first.value.as_ref() };
            let inner = dotted(&first.text).filter(|(section, _)| section == field).map(|(_, inner)| inner);
            let hint = match (is_written, value.filter(|_| shows_values)) {
                _ if inner.is_some() => in_section(first, field, inner.unwrap_or_default(), is_written, shows_values),
                (true, _) => format!("remove it: `{field}` is written already"),
                (false, Some(value)) => format!("did you mean `{field}: {value}`?"),
                (false, None) => format!("did you mean `{field}`?"),
            };
            let one_line = Some(first).filter(|key| file.line(key.span.line).contains(key.text.as_str()));
            let is_field = shows_values && !is_written && inner.is_none() && !is_habit;
            let wrong = wrong_value.filter(|_| is_field);
            let whole = || match wrong {
                // One correction is to suffice for both.
                Some((why, fix)) => {
                    (first.span, format!("unknown field {}; {why}", shown(first)), meant_line(field, &fix))
                }
                None => (first.span, format!("unknown field {}", shown(first)), hint),
            };
            let slip = one_line.and_then(|key| misspelt(key, field, shows_values));
            // Each of the others has the same slip.
            let others = keys.iter().skip(1).map(|key| {
                let field = name_of(&key.text);
                strays.fill(&map.section, field);
                if map.section == "spec" {
                    meant.push(field.to_owned());
                }
                misspelt(key, field, shows_values).map_or(String::new(), |(.., fix)| fix)
            });
            let fixes: Vec<String> = others.collect();
            let (span, message, hint) = slip.unwrap_or_else(whole);
            let hint = match fixes.iter().all(|fix| !fix.is_empty()) {
                true => fixes.iter().fold(hint, |all, fix| {
                    format!("{}, {}", all.trim_end_matches('`'), fix.trim_start_matches("write `"))
                }),
                false => hint,
            };
            match map.is_secret {
                true => file.report_hidden(span, message, hint),
                false => file.report(span, message, hint),
            }
            return;
        }
        StrayKind::Unknown if REMARKS.contains(&name_of(&first.text)) => {
            let line = file.line(first.span.line).trim_start();
            let remark =
                first.value.as_ref().filter(|value| shows_values && line == format!("{}: {value}", first.text));
            let hint = match remark {
                Some(_) => write(&format!("# {line}")),
                None => "write it as a comment, after `#`".to_owned(),
            };
            (format!("unknown field {}", shown(first)), hint)
        }
        StrayKind::Unknown => {
            let mut own = strays.gaps.iter().filter(|gap| gap.section == map.section && !gap.names.is_empty());
            let hint = match (own.next(), own.next(), map.keys.len()) {
                // One field is missing and one is unknown.
                (Some(Gap { names, .. }), None, 1) if names.len() == 1 => {
                    // `metadata: {web}`
                    let alone = first.value.as_ref().is_some_and(String::is_empty).then_some(&first.text);
                    let alone = alone.filter(|_| !file.line(first.span.line).contains(&format!("{}:", first.text)));
                    let hint = match alone.or_else(|| meant_value(first, &names[0])).filter(|_| shows_values) {
                        Some(value) => format!("did you mean `{}: {value}`, which is missing?", names[0]),
                        None => format!("did you mean `{}`, which is missing?", names[0]),
                    };
                    strays.gaps.retain(|gap| gap.section != map.section || gap.names.is_empty());
                    hint
                }
                _ => format!("known fields: {}", map.known.join(", ")),
            };
            // It may be the secret.
            let what =
                if map.is_secret { "unknown field".to_owned() } else { format!("unknown field {}", shown(first)) };
            (what, hint)
        }
    };
    let (message, hint) = match is_numbered(first) {
        true => {
            ("this line begins with a line number".to_owned(), "remove the number and the space after it".to_owned())
        }
        false => (message, hint),
    };
    match map.is_secret {
        true => file.report_hidden(first.span, message, hint),
        false => file.report(first.span, message, hint),
    }
}

/// Returns the groups with those joined that have the same slip on one line: `{backend=fast, size=10Gi}`.
fn with_slips_joined(groups: Vec<(StrayKind, Vec<&UnknownKey>)>) -> Vec<(StrayKind, Vec<&UnknownKey>)> {
    let slip = |kind: &StrayKind, keys: &[&UnknownKey]| match (kind, keys.first()) {
        (StrayKind::Misspelt(field), Some(key)) => {
            let (_, message, _) = misspelt(key, field, false)?;
            Some((key.span.line, message.replace(field.as_str(), "")))
        }
        _ => None,
    };
    let mut joined: Vec<(StrayKind, Vec<&UnknownKey>)> = Vec::new();
    for (kind, keys) in groups {
        let own = slip(&kind, &keys);
        match joined.last_mut().filter(|(kind, before)| own.is_some() && slip(kind, before) == own) {
            Some((_, before)) => before.extend(keys),
            None => joined.push((kind, keys)),
        }
    }
    joined
}

/// Returns the hint to move the key of a section to the left, if that moves the section and nothing else to the top level.
fn outdented(file: &File, root: &Node<'_>, section: &str, keys: &[&UnknownKey]) -> Option<String> {
    let [key] = keys else { return None };
    let spaces = key.span.column as usize - 1;
    let is_block = file.line(key.span.line).bytes().take(spaces).all(|byte| byte == b' ');
    // What follows in the same map would be in that section, too.
    let is_last = entries_of(root, section)?.iter().all(|(other, _)| other.span <= key.span);
    let is_empty = key.value.as_ref().is_some_and(String::is_empty);
    (is_block && spaces > 0 && (is_last || is_empty)).then(|| format!("remove {spaces} spaces before `{}`", key.text))
}

/// Returns the hint to write the key of a section above some fields, if these are the last ones of another section, each on a line.
fn headed(file: &File, root: &Node<'_>, here: &str, section: &str, keys: &[&UnknownKey]) -> Option<String> {
    let first = keys.first()?;
    let is_on_line = |key: &&UnknownKey| file.line(key.span.line).trim_start().starts_with(&key.text);
    let last = entries_of(root, here)?.iter().rev().take(keys.len());
    let are_last = last.map(|(key, _)| key.span).eq(keys.iter().rev().map(|key| key.span));
    (here != DOCUMENT && first.span.column > 1 && are_last && keys.iter().all(is_on_line))
        .then(|| format!("write `{section}:` on the line before `{}`", first.text))
}

/// Returns the entries of the first map with this key, at any place in the document.
fn entries_of<'n, 't>(node: &'n Node<'t>, section: &str) -> Option<&'n [(Key<'t>, Node<'t>)]> {
    let NodeContent::Map(entries) = &node.content else { return None };
    entries.iter().find_map(|(key, value)| match &value.content {
        NodeContent::Map(own) if key.text == section => Some(&own[..]),
        _ => entries_of(value, section),
    })
}

/// Returns the keys without those that are fields of a section written before them in the same map: `spec:` is indented too far, and
/// its fields are not.
fn without_fields<'k>(
    keys: &'k [UnknownKey],
    map: &Unknown,
    strays: &mut Strays,
    homes: &[Home],
    meant: &mut Vec<String>,
) -> Vec<&'k UnknownKey> {
    let mut section = None;
    let mut left = Vec::new();
    for key in keys {
        let is_empty = key.value.as_ref().is_some_and(String::is_empty);
        let kind = stray_kind(key, map, strays, homes);
        match (&kind, section) {
            (StrayKind::Elsewhere(path), _) if path.is_empty() && is_empty => section = Some(&*key.text),
            (StrayKind::Elsewhere(path), Some(section)) if path.first() == Some(&section) && path.len() == 1 => {
                if section == "spec" {
                    meant.push(name_of(&key.text).to_owned());
                }
                continue;
            }
            _ => {}
        }
        left.push(key);
    }
    left
}

/// Returns the hint for a misspelt field with a wrong value. `fix`: that of the value.
fn meant_line(field: &str, fix: &str) -> String {
    match fix.strip_prefix("write `") {
        Some(line) if line.starts_with(field) => format!("did you mean `{line}?"),
        _ if fix.starts_with("did you mean") => fix.to_owned(),
        _ => format!("did you mean `{field}`? Then {fix}"),
    }
}

/// Splits a key that names a field of a section: `local.path`.
fn dotted(key: &str) -> Option<(&str, &str)> {
    key.split_once('.').filter(|(section, inner)| is_section(section) && !inner.contains(['.', ' ', ':', '=']))
}

/// Returns the hint to write the field that a dotted key means in its section.
fn in_section(key: &UnknownKey, section: &str, inner: &str, is_written: bool, shows_values: bool) -> String {
    let value = key.value.as_deref().filter(|_| shows_values);
    let value = value.map(|value| if value.starts_with('"') { value.to_owned() } else { in_braces(value) });
    match value {
        _ if is_written => format!("write `{inner}` below `{section}`"),
        Some(value) => write(&format!("{section}: {{{inner}: {value}}}")),
        None => format!("write `{section}:` with `{inner}` below it"),
    }
}

/// Returns the value of an unknown key under the name of the field that it means.
fn meant_value<'k>(key: &'k UnknownKey, field: &str) -> Option<&'k String> {
    key.value.as_ref().or(key.inner.as_ref().filter(|_| !is_section(field)))
}

/// Returns the place, the message and the hint for a key that contains its value too.
fn misspelt(key: &UnknownKey, field: &str, shows_values: bool) -> Option<(Span, String, String)> {
    let name = name_of(&key.text);
    // In braces `size:10Gi` and `size 10Gi` are keys without a value.
    let rest = key.text.strip_prefix(name).filter(|_| name == field)?;
    let (message, skipped) = match rest.trim_start().chars().next()? {
        ':' if rest.trim() == ":" => (format!("there is a second colon after `{field}`"), rest.find(':')?),
        ':' => (format!("a space is missing after the colon of `{field}`"), 1),
        '=' | '＝' => {
            (format!("there is an equals sign in place of a colon after `{field}`"), rest.find(['=', '＝'])?)
        }
        ';' => (format!("there is a semicolon in place of a colon after `{field}`"), rest.find(';')?),
        '：' => (format!("this is another character than the colon after `{field}`"), rest.find('：')?),
        _ => (format!("a colon is missing after `{field}`"), 0),
    };
    let value = match rest.trim_start_matches([':', '=', ' ', ';', '：', '＝']) {
        "" => key.value.as_deref().unwrap_or_default(),
        value => value,
    };
    let fix = write(&format!("{field}: {value}"));
    let column = key.span.column + (name.len() + skipped) as u32;
    Some((Span { column, len: 1, ..key.span }, message, if shows_values { fix } else { String::new() }))
}

fn place(section: &str) -> String {
    if section == DOCUMENT { "at the top level".to_owned() } else { format!("in `{section}`") }
}

/// Joins names: "`a`, `b` and `c`". Of many the first ones and the number of the others.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let others = names.len().saturating_sub(SHOWN);
    let mut names: Vec<String> = names.take(SHOWN).collect();
    if others > 0 {
        names.push(format!("{others} more"));
    }
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// Returns the value at a path.
fn at<'n, 't>(node: &'n Node<'t>, path: &[&str]) -> Option<&'n Node<'t>> {
    let Some((name, rest)) = path.split_first() else { return Some(node) };
    let NodeContent::Map(entries) = &node.content else { return None };
    at(&entries.iter().find(|(key, _)| key.text == *name)?.1, rest)
}

/// Whether a section with this name has the field, at any place in the document.
fn has_in_twin(node: &Node<'_>, section: &str, name: &str) -> bool {
    match &node.content {
        NodeContent::Map(entries) => entries
            .iter()
            .any(|(key, value)| (key.text == section && has(value, name)) || has_in_twin(value, section, name)),
        NodeContent::List(_) | NodeContent::Scalar { .. } => false,
    }
}

fn has(node: &Node<'_>, name: &str) -> bool {
    at(node, &[name]).is_some()
}

fn scalar<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    match &node.content {
        NodeContent::Scalar { text, .. } => Some(text),
        NodeContent::List(_) | NodeContent::Map(_) => None,
    }
}
