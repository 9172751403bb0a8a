//! Recognises typing errors in values in quotes and brackets: those that are not closed, or closed by another character.

use super::beside::{dash_in_brackets, second_value};
use super::known::{is_section, takes_any_text, takes_hash};
use super::lines::{Line, SourceLines, Typo, is_word, write};
use super::pasted::foreign_comment;
use super::slips::{continued, without_colon};
use super::span::Span;

/// What is wrong with an alias.
pub(super) const ALIAS: &str = "aliases are not allowed in manifests";

/// The end of a value in quotes or brackets: the index of its last line, and the byte after it there.
pub(super) struct Nested {
    pub(super) line: usize,
    pub(super) end: usize,
}

/// A bracket that is open, with its place.
struct Bracket {
    bracket: char,
    line: usize,
    byte: usize,
    /// Number of colons since the last comma.
    colons: usize,
}

impl Bracket {
    fn closing(&self) -> char {
        if self.bracket == '{' { '}' } else { ']' }
    }

    /// Whether it is a map, and whether the present entry of that has a key.
    fn holds(&self) -> (bool, bool) {
        (self.bracket == '{', self.colons > 0)
    }
}

/// Reads a value in quotes or brackets which begins at the byte `start` of a line.
///
/// # Errors
/// The first typing error in it.
pub(super) fn nested(lines: &SourceLines<'_>, first: Line<'_>, start: usize) -> Result<Nested, Typo> {
    let mut open: Vec<Bracket> = Vec::new();
    let (mut line, mut byte) = (first.index, start);
    loop {
        let text = lines.lines[line];
        let Some(c) = text[byte..].chars().next().filter(|c| *c != '#' || !text[..byte].ends_with([' ', '\t'])) else {
            if let (Some(bracket), true) = (open.last(), ends_after(lines, line, first.indent)) {
                return Err(not_closed(lines, line, bracket, &open));
            }
            let Some(next) = lines.next(line) else { return Ok(Nested { line, end: text.len() }) };
            (line, byte) = (next.index, next.indent);
            continue;
        };
        let next = byte + c.len_utf8();
        if text[byte..].starts_with("// ")
            && begins_entry(&text[..byte])
            && let Some(typo) = foreign_comment(lines, &Line { index: line, indent: byte, text: &text[byte..] })
        {
            return Err(typo);
        }
        match c {
            // A quote inside of a word is part of it.
            '"' | '\'' if open.is_empty() || opens_value(&text[..byte]) || text[..byte].trim().is_empty() => {
                let start = (line, byte);
                (line, byte) = quoted(lines, line, byte, c, &open)?;
                let Some(bracket) = open.last() else { return Ok(Nested { line, end: byte }) };
                if let Some(typo) = second_value(lines, Some(start), (line, byte), bracket.holds()) {
                    return Err(typo);
                }
                continue;
            }
            '{' if text[..byte].ends_with('$') => return Err(variable(lines, line, byte)),
            '{' | '[' => open.push(Bracket { bracket: c, line, byte, colons: 0 }),
            '}' | ']' => match open.pop() {
                Some(bracket) if bracket.closing() != c => return Err(closed_by_another(lines, line, byte, &bracket)),
                // The parser accepts a brace there.
                Some(_)
                    if c == ']' && line != first.index && byte <= first.indent && text[..byte].trim().is_empty() =>
                {
                    return Err(bracket_outdented(lines, line, byte, first.indent));
                }
                _ => match open.last() {
                    None => return Ok(Nested { line, end: next }),
                    Some(bracket) => {
                        if let Some(typo) = second_value(lines, None, (line, next), bracket.holds()) {
                            return Err(typo);
                        }
                    }
                },
            },
            '-' if text[next..].starts_with(' ') && opens_value(&text[..byte]) => {
                let is_map = open.last().is_some_and(|bracket| bracket.bracket == '{');
                return Err(dash_in_brackets(lines, line, byte, is_map));
            }
            '\\' if text[next..].trim().is_empty() => {
                return Err(continued(lines, &Line { index: line, indent: byte, text: &text[byte..] }, byte));
            }
            ',' if text[..byte].trim_end().ends_with(',') => return Err(second_comma(lines, line, byte)),
            ',' => open.iter_mut().last().into_iter().for_each(|bracket| bracket.colons = 0),
            ':' if text[next..].starts_with(',')
                && text[..byte].ends_with(|c: char| c.is_alphanumeric())
                && open.last().is_some_and(|bracket| bracket.bracket == '{' && bracket.colons == 0) =>
            {
                return Err(no_value(lines, line, byte));
            }
            ':' if text[next..].is_empty() || text[next..].starts_with([' ', '\t', ',', '}', ']']) => {
                if let Some(bracket) = open.last_mut().filter(|bracket| bracket.bracket == '{') {
                    bracket.colons += 1;
                    if bracket.colons > 1 {
                        return Err(no_comma(lines, line, byte));
                    }
                }
            }
            '@' | '`' | '%' | '*' | '>' | '|' | '?' if opens_value(&text[..byte]) => {
                let value = &text[byte..];
                let value = &value[..value.find([',', '}', ']']).unwrap_or(value.len())];
                if let Some(typo) = reserved(lines, line, byte, value.trim_end()) {
                    return Err(typo);
                }
            }
            _ => {}
        }
        byte = next;
    }
}

/// A `]` on a line of its own that is not indented further than the key of its list.
fn bracket_outdented(lines: &SourceLines<'_>, line: usize, byte: usize, key: usize) -> Typo {
    Typo {
        span: lines.span(line, byte, 1),
        what: "this `]` is not indented further than the key of its list",
        of: String::new(),
        fix: format!("add {} spaces before it", key + 2 - byte),
    }
}

/// Whether a value begins after this text.
fn opens_value(text: &str) -> bool {
    text.trim_end().ends_with(['{', '[', ',', ':'])
}

/// Whether an entry in brackets begins after this text.
fn begins_entry(text: &str) -> bool {
    text.trim_end().is_empty() || text.trim_end().ends_with(['{', '[', ','])
}

/// A comma after another one.
fn second_comma(lines: &SourceLines<'_>, line: usize, byte: usize) -> Typo {
    Typo {
        span: lines.span(line, byte, 1),
        what: "there is a comma too many",
        of: String::new(),
        fix: lines.edited(line, byte, byte + 1, ""),
    }
}

/// A key with a comma in place of a value.
fn no_value(lines: &SourceLines<'_>, line: usize, colon: usize) -> Typo {
    let key = key_of(&lines.lines[line][..=colon]).unwrap_or_default();
    let fix = match takes_any_text(key) {
        true => lines.edited(line, colon + 1, colon + 1, " \"\""),
        false => "write a value after the colon".to_owned(),
    };
    Typo {
        span: lines.span(line, colon - key.len(), key.chars().count()),
        what: "this key has no value",
        of: String::new(),
        fix,
    }
}

/// `${NAME}` without quotes.
fn variable(lines: &SourceLines<'_>, line: usize, byte: usize) -> Typo {
    Typo {
        span: lines.span(line, byte - 1, 2),
        what: "Kiln does not fill in variables",
        of: String::new(),
        fix: "write the value, or fill in the file first".to_owned(),
    }
}

/// Whether a value that should have ended on this line is followed by the next field, or by nothing.
fn ends_after(lines: &SourceLines<'_>, line: usize, indent: usize) -> bool {
    lines.next(line).is_none_or(|next| next.indent <= indent && next.is_field())
}

/// Returns the place after a text in quotes.
fn quoted(
    lines: &SourceLines<'_>,
    line: usize,
    byte: usize,
    quote: char,
    open: &[Bracket],
) -> Result<(usize, usize), Typo> {
    let indent = Line::of(line, lines.lines[line]).map_or(0, |line| line.indent);
    let (mut at_line, mut at) = (line, byte + 1);
    loop {
        let text = lines.lines[at_line];
        while let Some(c) = text[at..].chars().next() {
            let next = text[at + c.len_utf8()..].chars().next();
            match c {
                '\\' if quote == '"' => {
                    if next.is_some_and(|next| !"0abtnvfre \"/\\N_LPxuU\t".contains(next)) {
                        let opening = Some(byte).filter(|_| at_line == line);
                        return Err(escape(lines, at_line, opening, at));
                    }
                    at += next.map_or(0, char::len_utf8);
                }
                // Two single quotes are one in the text.
                '\'' if quote == '\'' && next == Some('\'') => at += 1,
                c if c == quote => return Ok((at_line, at + 1)),
                _ => {}
            }
            at += c.len_utf8();
        }
        match lines.next(at_line) {
            // The text goes on in deeper lines, whatever they look like.
            Some(next) if next.indent > indent || !next.is_field() => (at_line, at) = (next.index, 0),
            _ => return Err(no_quote(lines, line, byte, quote, open)),
        }
    }
}

/// A quote that is not closed on its line.
fn no_quote(lines: &SourceLines<'_>, line: usize, byte: usize, quote: char, open: &[Bracket]) -> Typo {
    let text = lines.lines[line];
    let comment = text[byte..].find(" #").map_or(text.len(), |comment| byte + comment);
    let text = text[..comment].trim_end();
    let end = if open.is_empty() { text.len() } else { text.trim_end_matches(['}', ']', ',', ' ']).len() };
    // `"size: 10Gi`, where only the key is meant.
    let key = text[byte + 1..].find(": ").map(|colon| byte + 1 + colon);
    let key = key.filter(|key| begins_entry(&text[..byte]) && is_word(&text[byte + 1..*key]));
    let end = key.unwrap_or(end);
    let marked = text[byte..].chars().count();
    let other = if quote == '"' { '\'' } else { '"' };
    let other = usize::from(key.is_none() && end > byte + 2 && text[..end].ends_with(other));
    // Below this line nothing closes the brackets that it opens.
    let tail = text.get(end..).unwrap_or_default().matches(['}', ']']).count();
    let is_own = open.iter().all(|bracket| bracket.line == line);
    let closing: String = open.iter().rev().filter(|_| is_own).map(Bracket::closing).skip(tail).collect();
    let what = if quote == '"' { "this double quote is not closed" } else { "this single quote is not closed" };
    let span = lines.span(line, byte, marked);
    Typo {
        span,
        what,
        of: String::new(),
        fix: lines.edited(line, end.max(byte + 1) - other, end.max(byte + 1), &format!("{quote}{closing}")),
    }
}

/// A backslash that begins no escape sequence of YAML. `opening` is the opening quote, if it is on the same line.
fn escape(lines: &SourceLines<'_>, line: usize, opening: Option<usize>, byte: usize) -> Typo {
    let text = lines.lines[line];
    let end = text.rfind('"').unwrap_or(text.len());
    let inner = opening.and_then(|quote| text.get(quote + 1..end));
    let inner = inner.filter(|inner| !inner.contains('\'') && inner.chars().count() <= 100);
    Typo {
        span: lines.span(line, byte, 2),
        what: "a backslash in double quotes begins an escape sequence, and this is none",
        of: String::new(),
        fix: inner
            .map_or_else(|| "write two backslashes".to_owned(), |inner| format!("write '{inner}', in single quotes")),
    }
}

/// A bracket that is not closed before the next field or the end of the document.
fn not_closed(lines: &SourceLines<'_>, last: usize, bracket: &Bracket, open: &[Bracket]) -> Typo {
    let what = match bracket.bracket {
        '{' => "this `{` is not closed",
        _ => "this `[` is not closed",
    };
    let marked = lines.lines[bracket.line][bracket.byte..].trim_end().chars().count();
    let closing: String = open.iter().rev().map(Bracket::closing).collect();
    let one_line = open.iter().all(|bracket| bracket.line == last);
    if let (true, Some(typo)) = (one_line, hash(lines, last)) {
        return typo;
    }
    let text = Line::of(last, lines.lines[last]).map_or("", |line| line.text).trim_end_matches(',');
    let before = &lines.lines[bracket.line][..bracket.byte];
    // `{name: web)`
    let paren = text.char_indices().next_back().filter(|(at, c)| *c == ')' && !text[..*at].contains('(') && one_line);
    if let Some((at, _)) = paren {
        let at = lines.lines[last].len() - lines.lines[last].trim_start().len() + at;
        return Typo {
            span: lines.span(last, at, 1),
            what: "there is a parenthesis in place of the closing bracket",
            of: String::new(),
            fix: lines.edited(last, at, at + 1, &closing),
        };
    }
    let fix = match one_line {
        // `spec: [size: 1Gi`
        true if bracket.bracket == '[' && open.len() == 1 && key_of(before).is_some_and(is_section) => {
            write(&format!("{before}{{{}}}", &lines.lines[last][bracket.byte + 1..]))
        }
        true => match write(&format!("{text}{closing}")) {
            fix if fix.is_empty() => format!("add `{closing}` at the end of the line"),
            fix => fix,
        },
        false => format!("add `{closing}` at the end of line {}", lines.first + last as u32),
    };
    Typo { span: lines.span(bracket.line, bracket.byte, marked), what, of: String::new(), fix }
}

/// A value that begins with `#`, and is a comment without quotes: `{team: #1, tier: web}`.
fn hash(lines: &SourceLines<'_>, line: usize) -> Option<Typo> {
    let text = lines.lines[line];
    let start = text.find(" #").map(|blank| blank + 1).filter(|start| text[..*start].trim_end().ends_with(':'))?;
    let end = start + text[start..].find([',', '}', ']'])?;
    let value = text[start..end].trim_end();
    let (what, value) = match key_of(&text[..start]).is_none_or(takes_hash) {
        true => ("a value that begins with `#` needs quotes", in_quotes(value)),
        false => ("`#` begins a comment here", value.trim_start_matches(['#', ' ']).to_owned()),
    };
    Some(Typo {
        span: lines.span(line, start, end - start),
        what,
        of: String::new(),
        fix: lines.edited(line, start, end, &value),
    })
}

/// `{` that is closed by `]`, or the reverse.
fn closed_by_another(lines: &SourceLines<'_>, line: usize, byte: usize, bracket: &Bracket) -> Typo {
    let Span { line: number, column, .. } = lines.span(bracket.line, bracket.byte, 1);
    let what = match bracket.bracket {
        '{' => "this `]` closes a `{`",
        _ => "this `}` closes a `[`",
    };
    let of = if bracket.line == line { format!(", at column {column}") } else { format!(", on line {number}") };
    Typo {
        span: lines.span(line, byte, 1),
        what,
        of,
        fix: lines.edited(line, byte, byte + 1, &bracket.closing().to_string()),
    }
}

/// A second colon in one entry of a map in braces: the comma before its key is missing, or is another character.
fn no_comma(lines: &SourceLines<'_>, line: usize, colon: usize) -> Typo {
    let text = lines.lines[line];
    let other = |c: char| matches!(c, ';' | '.' | '，' | '、' | '；');
    let key = text[..colon].char_indices().rfind(|(_, c)| *c == ' ' || (other(*c) && *c != '.'));
    let key = key.map_or(0, |(at, c)| at + c.len_utf8());
    let before = text[..key].trim_end();
    if before.ends_with(':') {
        return value_with_colon(lines, line, key, before);
    }
    let wrong = before.chars().next_back().filter(|c| other(*c));
    let len = wrong.map_or(0, char::len_utf8);
    let at = before.len() - len;
    let comma = if wrong.is_some() && before.len() == key { ", " } else { "," };
    // The comma belongs at the end of the line above if the key begins its line.
    let above = (0..line).rev().find_map(|index| Line::of(index, lines.lines[index])).filter(|_| before.is_empty());
    let (line, at) = above.map_or((line, at), |above| (above.index, above.indent + above.text.len()));
    Typo {
        span: lines.span(line, at, 1),
        what: match wrong {
            Some(';') => "there is a semicolon in place of a comma",
            Some('.') => "there is a period in place of a comma",
            Some(_) => "this is another character than the comma",
            None => "a comma is missing between two fields",
        },
        of: String::new(),
        fix: lines.edited(line, at, at + len, comma),
    }
}

/// A value with a colon in it: `{team: a: b}`. It begins at the byte `start`, after the text `before`.
fn value_with_colon(lines: &SourceLines<'_>, line: usize, start: usize, before: &str) -> Typo {
    let text = lines.lines[line];
    let value = &text[start..];
    let value = value[..value.find([',', '}', ']']).unwrap_or(value.len())].trim_end();
    let key = key_of(before).unwrap_or_default();
    let span = lines.span(line, start, value.chars().count());
    let (what, fix) = match takes_any_text(key) {
        true => (
            "a value with a colon and a space in it needs quotes",
            lines.edited(line, start, start + value.len(), &in_quotes(value)),
        ),
        false => ("there is a second colon in this value", without_colon(key, value)),
    };
    Typo { span, what, of: String::new(), fix }
}

/// A plain value that begins with a character which YAML reserves.
pub(super) fn reserved(lines: &SourceLines<'_>, line: usize, start: usize, value: &str) -> Option<Typo> {
    let is_question = value == "?" || value.starts_with("? ");
    let c = value.chars().next().filter(|c| matches!(c, '@' | '`' | '%' | '*' | '>' | '|') || is_question)?;
    let what = match c {
        '@' => "a value without quotes cannot begin with `@`",
        '`' => "a value without quotes cannot begin with a backquote",
        '%' => "a value without quotes cannot begin with `%`",
        '>' => "a value without quotes cannot begin with `>`",
        '|' => "a value without quotes cannot begin with `|`",
        '?' => "a value without quotes cannot begin with a question mark and a space",
        _ => ALIAS,
    };
    let edited = |text: &str| lines.edited(line, start, start + value.len(), text);
    let bare = value.trim_matches(c).trim();
    let key = key_of(&lines.lines[line][..start]);
    let fix = match c {
        '*' => "write the value out".to_owned(),
        '?' if bare.is_empty() && !key.is_some_and(takes_any_text) => "write the value in place of `?`".to_owned(),
        '%' if bare.parse::<u32>().is_ok() => edited(&format!("{bare}%")),
        _ if bare.is_empty() || key.is_some_and(takes_any_text) => edited(&in_quotes(value)),
        _ => edited(bare),
    };
    Some(Typo { span: lines.span(line, start, 1), what, of: String::new(), fix })
}

/// Returns the key of a value by the text before it, if it has one.
fn key_of(before: &str) -> Option<&str> {
    let key = before.trim_end().strip_suffix(':')?.trim_end_matches([' ', '"', '\'']);
    key.rsplit([' ', '\t', '{', '[', ',', '"', '\'']).next()
}

/// Returns a text in quotes.
fn in_quotes(text: &str) -> String {
    match text.contains(['"', '\\']) {
        true => format!("'{}'", text.replace('\'', "''")),
        false => format!("\"{text}\""),
    }
}
