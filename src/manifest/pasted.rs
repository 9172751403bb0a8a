//! Recognises lines of other formats in a document: separators, Markdown, diffs, quotations, merge conflicts, templates, comments.

use super::lines::{Line, SourceLines, TOP, Typo, write};
use super::text::{CONFLICT, is_of_merge_conflict};

/// The fence of a code block in Markdown.
pub(super) fn fence(lines: &SourceLines<'_>, line: &Line<'_>) -> Option<Typo> {
    line.text.starts_with("```").then(|| Typo {
        span: lines.span(line.index, line.indent, line.text.chars().count()),
        what: "this line is Markdown, not YAML",
        of: String::new(),
        fix: "remove the lines that begin with ```".to_owned(),
    })
}

/// Dashes that are meant as `---`, and text after `---`.
pub(super) fn separator(lines: &SourceLines<'_>, line: &Line<'_>) -> Option<Typo> {
    const DASHES: [char; 3] = ['-', '–', '—'];
    let rest = line.text.trim_start_matches(DASHES).trim();
    let dashes = &line.text[..line.text.len() - line.text.trim_start_matches(DASHES).len()];
    let typo = |what, at: usize, len, fix: String| {
        Some(Typo { span: lines.span(line.index, at, len), what, of: String::new(), fix })
    };
    match dashes {
        "---" if line.indent == 0 && (rest.is_empty() || rest.starts_with(['{', '[', '"', '\''])) => None,
        "---" if line.indent == 0 && line.text.starts_with("--- ") => {
            let at = line.text.len() - rest.len();
            typo("there is text after `---`", at, rest.chars().count(), write(&format!("--- # {rest}")))
        }
        _ if line.indent == 0 && is_rule(&line.text.replace(' ', "")) && is_inside_document(lines, line.index) => {
            typo("this line is not a field", 0, line.text.chars().count(), "remove the line".to_owned())
        }
        _ if line.indent == 0 && is_rule(&line.text.replace(' ', "")) && begins_document(lines, line.index) => {
            let what = "this line does not separate two documents";
            typo(what, 0, line.text.chars().count(), "write `---` at the beginning of the line".to_owned())
        }
        _ if dashes.chars().count() > 1 && rest.chars().all(|c| c.is_ascii_punctuation()) => {
            let what = "this line does not separate two documents";
            typo(what, line.indent, line.text.chars().count(), "write `---` at the beginning of the line".to_owned())
        }
        _ => None,
    }
}

/// Whether a line is a rule of another format: `===`, `***`, `—`.
fn is_rule(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '=' | '*' | '_' | '~' | '+' | '-' | '–' | '—'))
}

/// Whether the field below a line is one of the document above it, which has none of that name.
fn is_inside_document(lines: &SourceLines<'_>, index: usize) -> bool {
    let tops = |text: &str| {
        Line::of(0, text)
            .filter(|line| line.indent == 0)
            .and_then(|line| TOP.into_iter().find(|top| line.field().is_some_and(|(key, _)| key == *top)))
    };
    let above: Vec<&str> = lines.lines[..index].iter().filter_map(|text| tops(text)).collect();
    let below = lines.next(index).and_then(|next| tops(lines.lines[next.index]));
    !above.is_empty() && below.is_some_and(|below| !above.contains(&below))
}

/// Whether a document begins below a line.
fn begins_document(lines: &SourceLines<'_>, index: usize) -> bool {
    let key = lines.next(index).filter(|next| next.indent == 0).and_then(|next| next.field());
    key.is_some_and(|(key, _)| TOP.contains(&key))
}

/// What precedes a line in a diff or in an editor: `+`, `-` or the number of the line.
pub(super) fn pasted(lines: &SourceLines<'_>, line: &Line<'_>) -> Option<Typo> {
    let rest = line.text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = line.text.len() - rest.len();
    let is_field = |text: &str| text.starts_with(' ') && Line::of(0, text).is_some_and(|line| line.is_field());
    let is_added = |line: &Line<'_>| line.indent == 0 && line.text.strip_prefix('+').is_some_and(is_field);
    let is_removed = || line.text.strip_prefix('-').is_some_and(is_field);
    // A quotation, and a column of a table.
    for mark in ['>', '|'] {
        let is_quoted = |line: &Line<'_>| line.indent == 0 && line.text.strip_prefix(mark).is_some_and(is_field);
        if is_quoted(line) {
            let rest = &line.text[1..];
            let blanks = rest.len() - rest.trim_start().len();
            let what = match mark {
                '>' => "this line begins with the `>` of a quotation",
                _ => "this line begins with a `|` that is not part of the manifest",
            };
            let sign = if blanks % 2 == 1 { format!("{mark} ") } else { mark.to_string() };
            let fix = match lines.next(line.index).is_some_and(|next| is_quoted(&next)) {
                true => format!("remove `{sign}` at the beginning of each line"),
                false => format!("remove the `{sign}`"),
            };
            return Some(Typo { span: lines.span(line.index, 0, 1), what, of: String::new(), fix });
        }
    }
    let (len, what, fix) = match line.indent {
        0 if number > 0 && is_field(rest) => {
            (number, "this line begins with a line number", "remove the number and the space after it")
        }
        0 if is_added(line) => (1, "this line begins with the `+` of a diff", "remove the `+`"),
        0 if is_removed() && lines.next(line.index).is_some_and(|next| is_added(&next)) => {
            (1, "this line begins with the `-` of a diff", "remove this line, and the `+` before the next one")
        }
        _ => return None,
    };
    Some(Typo { span: lines.span(line.index, 0, len), what, of: String::new(), fix: fix.to_owned() })
}

/// A comment of another language.
pub(super) fn foreign_comment(lines: &SourceLines<'_>, line: &Line<'_>) -> Option<Typo> {
    let mark = ["//", "/*", ";", "-- "].into_iter().find(|mark| line.text.starts_with(mark))?;
    let comment = line.text[mark.len()..].trim_end_matches("*/").trim();
    Some(Typo {
        span: lines.span(line.index, line.indent, mark.trim_end().len()),
        what: "comments of YAML begin with `#`",
        of: String::new(),
        fix: write(&format!("# {comment}")),
    })
}

/// A line of a merge conflict that is indented.
pub(super) fn conflict(lines: &SourceLines<'_>, line: &Line<'_>) -> Option<Typo> {
    let (what, fix) = CONFLICT;
    is_of_merge_conflict(line.text).then(|| Typo {
        span: lines.span(line.index, line.indent, line.text.chars().count()),
        what,
        of: String::new(),
        fix: fix.to_owned(),
    })
}

/// A template from a byte of a line on: `{{ name }}`, `{% if name %}`.
pub(super) fn template(lines: &SourceLines<'_>, line: usize, start: usize) -> Option<Typo> {
    let text = &lines.lines[line][start..];
    let is_template = text.starts_with("{%") || (text.starts_with("{{") && doubled_map(text).is_none());
    (is_template && text.contains('}')).then(|| Typo {
        span: lines.span(line, start, 2),
        what: "Kiln does not fill in templates",
        of: String::new(),
        fix: "write the value, or render the file first".to_owned(),
    })
}

/// Returns the pairs of a map in double braces: `team: shop` of `{{team: shop}}`. A template has no key before a colon.
pub(super) fn doubled_map(text: &str) -> Option<&str> {
    let pairs = text.strip_prefix("{{")?.split_once("}}")?.0.trim();
    let (key, value) = pairs.split_once(": ")?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '"'));
    (is_key && !value.trim().is_empty() && !pairs.contains(['{', '}', '`'])).then_some(pairs)
}
