//! Recognises a line that is missing: the key of the section or list that the line below it belongs to.

use super::homes::Home;
use super::known::lists_beside;
use super::lines::{Line, SourceLines, Typo, is_word};
use crate::model::Kind;

/// A field that is indented further than the field above it, because the key of its section is missing between them. `path`: the keys of
/// the sections around the field above. `indent`: the indentation of that field.
pub(super) fn section_key(lines: &SourceLines<'_>, path: &[&str], indent: usize, line: &Line<'_>) -> Option<Typo> {
    let (key, _) = line.field().filter(|(key, _)| is_word(key))?;
    let homes = Home::all(kind(lines), top_value(lines, "driver").as_deref());
    let here = homes.iter().find(|home| home.path == path)?;
    let has = |field: &str| {
        let fields = lines.lines.iter().enumerate().filter_map(|(index, text)| Line::of(index, text));
        let mut fields = fields.filter(|other| other.indent == indent).filter_map(|other| other.field());
        fields.any(|(other, _)| other == field)
    };
    if here.fields.contains(&key) {
        return None;
    }
    let below = |home: &&Home| home.path.split_last().is_some_and(|(_, outer)| outer == path);
    let sections = homes.iter().filter(below).filter(|home| home.fields.contains(&key)).map(Home::section);
    let sections: Vec<&str> = sections.filter(|section| !has(section)).collect();
    let section = match sections[..] {
        [section] | [section, _] => section,
        [] if path == ["metadata"] && !has("labels") => "labels",
        _ => return None,
    };
    let other = sections.get(1).map(|other| format!(" or `{other}`")).unwrap_or_default();
    let blanks = match indent {
        0 => String::new(),
        1 => " with 1 space before it,".to_owned(),
        indent => format!(" with {indent} spaces before it,"),
    };
    Some(Typo {
        span: lines.span(line.index, line.indent, key.chars().count()),
        what: "the key of a section is missing before this line",
        of: format!(": `{key}` belongs in `{section}`{other}"),
        fix: format!("write `{section}:`{blanks} on the line before it"),
    })
}

/// An item without the key of its list. `above`: a field of the section that contains the list.
pub(super) fn list_key(lines: &SourceLines<'_>, above: &str, line: &Line<'_>) -> Option<Typo> {
    let item = line.text.strip_prefix('-')?.trim_start();
    if item.is_empty() || Line::of(0, item).is_some_and(|item| item.is_field()) {
        return None;
    }
    let lists = lists_beside(above);
    let example = lists.iter().find(|list| !lines.lines.iter().any(|text| text.trim_start().starts_with(**list)))?;
    Some(Typo {
        span: lines.span(line.index, line.indent, line.text.chars().count()),
        what: "the key of this list is missing",
        of: String::new(),
        fix: format!("write the key on the line before it, like `{example}:`"),
    })
}

/// Returns the kind of the document, if it is written.
fn kind(lines: &SourceLines<'_>) -> Option<Kind> {
    let kind = top_value(lines, "kind")?;
    Kind::ALL.into_iter().find(|known| known.as_str() == kind)
}

/// Returns the value of the first field of this name that has one.
fn top_value(lines: &SourceLines<'_>, name: &str) -> Option<String> {
    let fields = lines.lines.iter().enumerate().filter_map(|(index, text)| Line::of(index, text));
    let mut values = fields.filter_map(|line| Some((line.field()?, line)));
    let ((_, start), line) = values.find(|((key, _), _)| *key == name)?;
    Some(line.text.get(start - line.indent..)?.trim().to_owned())
}
