//! Recognises typing errors after a value in quotes or brackets: a missing comma, and quotes inside of quotes.

use super::lines::{SourceLines, Typo, write};

/// The place of a byte: the index of its line, and the byte there.
pub(super) type BytePlace = (usize, usize);

/// A quote in a text in the same quotes, which ends the text: `'it's'`. The text begins at `start` with its quote, and `end` is the
/// place after the quote that ends it. `ends`: whether a value may end before this text.
pub(super) fn inner_quote(
    lines: &SourceLines<'_>,
    start: BytePlace,
    end: BytePlace,
    ends: impl Fn(&str) -> bool,
) -> Option<Typo> {
    let text = lines.lines[end.0];
    if start.0 != end.0 {
        return None;
    }
    let quote = text[start.1..].chars().next()?;
    let rest = &text[end.1..];
    let closing = rest.match_indices(quote).map(|(at, _)| at).find(|at| ends(&rest[at + 1..]))?;
    // Of two texts in quotes each has two.
    let is_odd = rest[..=closing].matches(quote).count() % 2 == 1;
    if !(is_odd || rest.starts_with(char::is_alphanumeric)) {
        return None;
    }
    let inner = &text[start.1 + 1..end.1 + closing];
    let (what, quoted) = match quote {
        '"' if inner.contains('\'') => (DOUBLE, format!("\"{}\"", inner.replace('"', "\\\""))),
        '"' => (DOUBLE, format!("'{inner}'")),
        _ if inner.contains(['"', '\\']) => (SINGLE, format!("'{}'", inner.replace('\'', "''"))),
        _ => (SINGLE, format!("\"{inner}\"")),
    };
    Some(Typo {
        span: lines.span(end.0, end.1 - 1, 1),
        what,
        of: String::new(),
        fix: lines.edited(end.0, start.1, end.1 + closing + 1, &quoted),
    })
}

const DOUBLE: &str = "this double quote ends the text, which goes on after it";
const SINGLE: &str = "this single quote ends the text, which goes on after it";

/// Whether a value in brackets may end before a text.
pub(super) fn ends_in_brackets(text: &str) -> bool {
    let rest = text.trim_start();
    rest.is_empty() || rest.starts_with([',', '}', ']']) || (rest.starts_with('#') && rest.len() < text.len())
}

/// Whether a value outside of brackets may end before a text.
pub(super) fn ends_line(text: &str) -> bool {
    let rest = text.trim_start();
    rest.is_empty() || (rest.starts_with('#') && rest.len() < text.len())
}

/// Something beside a value in a list or map in brackets, without a comma between them. The value ends before `end`; `start` is its first
/// place if it is in quotes. `is_map`: whether the brackets are braces. `has_key`: whether the value has a key.
pub(super) fn second_value(
    lines: &SourceLines<'_>,
    start: Option<BytePlace>,
    end: BytePlace,
    (is_map, has_key): (bool, bool),
) -> Option<Typo> {
    if let Some(typo) = start.and_then(|start| inner_quote(lines, start, end, ends_in_brackets)) {
        return Some(typo);
    }
    let (line, byte) = end;
    let text = lines.lines[line];
    let (at_line, at) = match ends_line(&text[byte..]) {
        true => lines.next(line).map(|next| (next.index, next.indent))?,
        false => (line, text.len() - text[byte..].trim_start().len()),
    };
    let next = &lines.lines[at_line][at..];
    if next.starts_with([',', '}', ']', ':', '#']) {
        return None;
    }
    let typo = |what, fix| Some(Typo { span: lines.span(line, byte - 1, 1), what, of: String::new(), fix });
    if !is_map {
        return typo("a comma is missing after this value", lines.edited(line, byte, byte, ","));
    }
    let value = whole_value(next);
    let is_key = next[value.len()..].trim_start().starts_with(':') || value.contains(": ") || value.ends_with(':');
    if is_key {
        return None;
    }
    if !has_key && start.is_some() {
        return typo("a colon is missing after this key", lines.edited(line, byte, byte, ":"));
    }
    let last = text[..byte].chars().next_back()?;
    let first = next.chars().next()?;
    let fix = match (last, first) {
        _ if at_line != line => String::new(),
        ('"', '"') | ('\'', '\'') => lines.edited(line, byte - 1, at + 1, " "),
        ('}', '{') | (']', '[') => lines.edited(line, byte - 1, at + 1, ", "),
        ('"' | '\'', c) if c.is_alphanumeric() && !value.contains(last) => {
            lines.edited(line, byte - 1, at + value.len(), &format!(" {value}{last}"))
        }
        _ => String::new(),
    };
    let fix = if fix.is_empty() { "write one value, or a comma and a key before the second".to_owned() } else { fix };
    typo("there is a second value after this one", fix)
}

/// Returns the value that begins a text: up to its quote, or up to the comma or bracket after it.
fn whole_value(text: &str) -> &str {
    let end = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => text[1..].find(quote).map(|at| at + 2),
        _ => text.find([',', '}', ']']),
    };
    text[..end.unwrap_or(text.len())].trim_end()
}

/// A dash before a value in brackets: `[- a, - b]`, `{name: - db}`. `dash` is its byte.
pub(super) fn dash_in_brackets(lines: &SourceLines<'_>, line: usize, dash: usize, is_map: bool) -> Typo {
    let (before, rest) = lines.lines[line].split_at(dash);
    let bare = rest[1..].trim_start();
    let bare = match is_map {
        true => bare.to_owned(),
        false => bare.replace(", - ", ", "),
    };
    Typo {
        span: lines.span(line, dash, 1),
        what: "a dash begins an item only on a line of its own, not in brackets",
        of: String::new(),
        fix: write(&format!("{before}{bare}")),
    }
}
