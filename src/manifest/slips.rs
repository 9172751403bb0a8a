//! Recognises typing errors in one line of a document, outside of quotes and brackets. Each function finds one kind.

use super::known::{is_section, takes_any_text, takes_list, takes_name};
use super::lines::{Line, SourceLines, TOP, Typo, is_word, write};
use super::repair;
use crate::model::Name;
use crate::text::closest;

/// A tab before the text of a line. `usual`: the usual indentation here. `is_level`: whether a number of spaces is an indentation here.
pub(super) fn tab(
    lines: &SourceLines<'_>,
    line: &Line<'_>,
    usual: usize,
    is_level: impl Fn(usize) -> bool,
) -> Option<Typo> {
    let whole = lines.lines[line.index];
    let tab = whole[..line.indent].find('\t')?;
    let tabs = whole[tab..line.indent].chars().filter(|c| *c == '\t').count();
    let spaces = line.indent - tabs;
    let fix = match tabs {
        _ if is_level(spaces + 2 * tabs) => "replace each tab with 2 spaces".to_owned(),
        1 if is_level(spaces) => "remove the tab".to_owned(),
        _ if is_level(spaces) => "remove the tabs".to_owned(),
        _ if usual == 0 => "remove the blanks before the text".to_owned(),
        _ => format!("put {usual} spaces before the text, in place of the blanks there"),
    };
    Some(Typo {
        span: lines.span(line.index, tab, tabs),
        what: "a tab indents this line, which YAML does not allow",
        of: String::new(),
        fix,
    })
}

/// A tab between a field and its value, which some parsers refuse.
pub(super) fn tab_after_colon(lines: &SourceLines<'_>, line: &Line<'_>, start: usize) -> Option<Typo> {
    let whole = lines.lines[line.index];
    let blanks = start - whole[..start].trim_end().len();
    let tab = whole[start - blanks..start].find('\t')? + start - blanks;
    Some(Typo {
        span: lines.span(line.index, tab, 1),
        what: "there is a tab after the colon",
        of: String::new(),
        fix: lines.edited(line.index, start - blanks, start, " "),
    })
}

/// An asterisk before a field or an item.
pub(super) fn asterisk(lines: &SourceLines<'_>, line: &Line<'_>, is_list: bool) -> Option<Typo> {
    let rest = line.text.strip_prefix("* ")?.trim_start();
    let is_field = !is_list && Line::of(0, rest).is_some_and(|line| line.is_field());
    Some(Typo {
        span: lines.span(line.index, line.indent, 1),
        what: if is_field { "there is an asterisk before this field" } else { ANOTHER_DASH },
        of: String::new(),
        fix: if is_field { write(rest) } else { write(&format!("- {rest}")) },
    })
}

const ANOTHER_DASH: &str = "this is another character than the dash of a list";

/// A second `{` before a map.
pub(super) fn second_brace(lines: &SourceLines<'_>, line: &Line<'_>, start: usize) -> Typo {
    Typo {
        span: lines.span(line.index, start, 2),
        what: "there is a second `{`",
        of: String::new(),
        fix: lines.edited(line.index, start, start + 1, ""),
    }
}

/// A document in braces after another one.
pub(super) fn second_document(lines: &SourceLines<'_>, line: &Line<'_>) -> Typo {
    Typo {
        span: lines.span(line.index, line.indent, 1),
        what: "a second document begins here without a separator",
        of: String::new(),
        fix: "write `---` on a line before it".to_owned(),
    }
}

/// A backslash in place of a value, which is meant to continue the line.
pub(super) fn continued(lines: &SourceLines<'_>, line: &Line<'_>, start: usize) -> Typo {
    Typo {
        span: lines.span(line.index, start, 1),
        what: "a backslash does not continue a line",
        of: String::new(),
        fix: lines.edited(line.index, start, start + 1, ""),
    }
}

/// A field without a colon, or without a space after the colon.
pub(super) fn no_colon(lines: &SourceLines<'_>, line: Line<'_>) -> Option<Typo> {
    let (text, at) = (line.text, line.indent);
    if let Some((word, value)) = text.split_once('：')
        && is_word(word.trim_end())
    {
        return Some(Typo {
            span: lines.span(line.index, at + word.len(), 1),
            what: "this is another character than the colon",
            of: String::new(),
            fix: write(&format!("{}: {}", word.trim_end(), value.trim_start())),
        });
    }
    // Also `size := 10Gi` and `size => 10Gi`.
    if let Some((word, value)) = text.split_once('=')
        && let (word, value) = (word.trim_end_matches([' ', ':']), value.trim_start_matches(['=', '>', ' ']))
        && is_word(word)
    {
        return Some(Typo {
            span: lines.span(line.index, at + text.find('=').unwrap_or_default(), 1),
            what: "there is an equals sign in place of a colon",
            of: format!(" after `{word}`"),
            fix: write(&format!("{word}: {value}")),
        });
    }
    if let Some((word, value)) = text.split_once([';', ','])
        && is_word(word.trim_end())
        && !value.trim().is_empty()
    {
        return Some(Typo {
            span: lines.span(line.index, at + word.len(), 1),
            what: match text.as_bytes().get(word.len()) {
                Some(b';') => "there is a semicolon in place of a colon",
                _ => "there is a comma in place of a colon",
            },
            of: format!(" after `{}`", word.trim_end()),
            fix: write(&format!("{}: {}", word.trim_end(), value.trim_start())),
        });
    }
    if let Some((word, value)) = text.split_once(':')
        && is_word(word.trim_end())
        && value.starts_with(':')
    {
        return Some(second_colon(lines, line.index, at + word.len() + 1, word.trim_end(), value));
    }
    if let Some((word, value)) = text.split_once(':')
        && is_word(word)
        && !value.is_empty()
    {
        if value.chars().all(|c| matches!(c, ',' | ';' | '}' | ']')) {
            return Some(Typo {
                span: lines.span(line.index, at + word.len() + 1, value.len()),
                what: "there is a stray character after the colon",
                of: format!(" of `{word}`"),
                fix: write(&format!("{word}:")),
            });
        }
        return Some(Typo {
            span: lines.span(line.index, at + word.len() + 1, 1),
            what: "a space is missing after the colon",
            of: format!(" of `{word}`"),
            fix: write(&format!("{word}: {value}")),
        });
    }
    if let Some(item) = text.strip_prefix(['–', '—', '•']) {
        return Some(Typo {
            span: lines.span(line.index, at, 1),
            what: ANOTHER_DASH,
            of: String::new(),
            fix: write(&format!("- {}", item.trim_start())),
        });
    }
    if let Some(item) = text.strip_prefix('-').filter(|item| !item.starts_with('-')) {
        return Some(Typo {
            span: lines.span(line.index, at + 1, 1),
            what: "a space is missing after the dash",
            of: String::new(),
            fix: write(&format!("- {item}")),
        });
    }
    let (word, value) = text.split_once(' ')?;
    is_word(word).then(|| Typo {
        span: lines.span(line.index, at + word.len(), 1),
        what: "a colon is missing",
        of: format!(" after `{word}`"),
        fix: write(&format!("{word}: {}", value.trim_start())),
    })
}

/// Colons after that of a field: `rest` begins with them, at the byte `start` of the line.
fn second_colon(lines: &SourceLines<'_>, line: usize, start: usize, word: &str, rest: &str) -> Typo {
    let value = rest.trim_start_matches([':', ' ', '\t']);
    Typo {
        span: lines.span(line, start, rest.len() - rest.trim_start_matches(':').len()),
        what: "there is a second colon",
        of: format!(" after `{word}`"),
        fix: write(&format!("{word}: {value}")),
    }
}

/// A word alone, with or without lines that belong to it.
pub(super) fn no_field(lines: &SourceLines<'_>, line: Line<'_>, opens: bool) -> Typo {
    let span = lines.span(line.index, line.indent, line.text.chars().count());
    // At the top level only the fields of every document have lines below them.
    if opens && is_word(line.text) && (line.indent > 0 || closest(line.text, TOP).is_some()) {
        let of = format!(" after `{}`", line.text);
        return Typo { span, what: "a colon is missing", of, fix: write(&format!("{}:", line.text)) };
    }
    let top = TOP.into_iter().find(|top| line.indent == 0 && line.text.len() > 1 && top.starts_with(line.text));
    let fix = match is_word(line.text) {
        true if top.is_some() => format!("did you mean `{}:`?", top.unwrap_or_default()),
        true => format!("write `{}: VALUE`, or remove the line", line.text),
        false => "remove the line".to_owned(),
    };
    Typo { span, what: "this line is not a field", of: ", because it has no colon".to_owned(), fix }
}

/// A dash before a field of a map.
pub(super) fn dash(lines: &SourceLines<'_>, line: &Line<'_>) -> Option<Typo> {
    let field = line.text.strip_prefix("- ")?.trim_start();
    Some(Typo {
        span: lines.span(line.index, line.indent, 1),
        what: "there is a dash before this field, but not before the one above",
        of: String::new(),
        fix: write(field),
    })
}

/// A dash between a key and its value, where no list can begin: `name: - db`.
pub(super) fn dash_value(lines: &SourceLines<'_>, line: &Line<'_>, start: usize, value: &str) -> Option<Typo> {
    let first = value.strip_prefix("- ")?.trim();
    let before = lines.lines[line.index][..start].trim_end();
    let key = before.strip_suffix(':')?.trim_start_matches([' ', '-']);
    // What belongs to it: further items, and fields of the first one.
    let (mut all, mut last) = (vec![first], line.index);
    while let Some(next) = lines.next(last).filter(|next| next.indent > line.indent) {
        all.push(next.text.strip_prefix("- ").unwrap_or(next.text).trim());
        last = next.index;
    }
    let is_one_line = all.len() == 1;
    let (what, map) = if takes_list(key) {
        ("a list begins on the line below its key, or is in brackets", format!("[{}]", all.join(", ")))
    } else if is_section(key) {
        ("there is a dash before this field, where no list can begin", format!("{{{}}}", all.join(", ")))
    } else {
        ("there is a dash before this value, where no list can begin", first.to_owned())
    };
    let is_simple = all.iter().all(|item| !item.contains([',', '{', '}', '[', ']', '#', '|']) && !item.ends_with(':'));
    let fix = match is_simple {
        true if is_one_line => write(&format!("{key}: {map}")),
        true if takes_list(key) || is_section(key) => {
            format!("{} in place of these lines", write(&format!("{key}: {map}")))
        }
        _ if takes_list(key) => "write each item on a line of its own below the key".to_owned(),
        _ if is_section(key) => "write each field on a line of its own below the key, without a dash".to_owned(),
        _ => "write one value, without a dash".to_owned(),
    };
    Some(Typo { span: lines.span(line.index, start, 1), what, of: String::new(), fix })
}

/// Dashes before the fields above this one, which has none: `first` is the first of them.
pub(super) fn dashes_above(lines: &SourceLines<'_>, first: &Line<'_>, is_single: bool) -> Typo {
    let field = first.text[1..].trim_start();
    let fix = write(field);
    Typo {
        span: lines.span(first.index, first.indent, 1),
        what: "there is a dash before this field, but not before all of those below",
        of: String::new(),
        fix: if is_single { fix } else { "remove the dash before each of these fields".to_owned() },
    }
}

/// A plain value with a second colon: a text that needs quotes, or two fields on one line.
pub(super) fn two_colons(lines: &SourceLines<'_>, line: &Line<'_>, start: usize, value: &str) -> Option<Typo> {
    let colon = value.find(": ").or_else(|| value.ends_with(':').then_some(value.len() - 1))?;
    let key = line.field().map_or("", |(key, _)| key);
    if value[..colon] == *key {
        return Some(Typo {
            span: lines.span(line.index, start, colon + 1),
            what: "the key is written twice",
            of: String::new(),
            fix: write(value),
        });
    }
    let plain: String = value.chars().map(repair::base_character).collect();
    if plain != value && plain.starts_with(['{', '[', '(']) {
        return Some(Typo {
            span: lines.span(line.index, start, 1),
            what: "this is another character than the bracket",
            of: String::new(),
            fix: lines.edited(line.index, start, start + value.len(), &plain),
        });
    }
    if value.ends_with('}') && !value.contains('{') {
        return Some(Typo {
            span: lines.span(line.index, start, 1),
            what: match value.starts_with('(') {
                true => "there is a parenthesis in place of the opening bracket",
                false => "a `{` is missing before this value",
            },
            of: String::new(),
            fix: lines.edited(line.index, start, start + usize::from(value.starts_with('(')), "{"),
        });
    }
    if let Some(inner) = value.strip_prefix('(').and_then(|value| value.strip_suffix(')'))
        && is_section(key)
    {
        return Some(Typo {
            span: lines.span(line.index, start, value.chars().count()),
            what: "a map of fields is in braces, not in parentheses",
            of: String::new(),
            fix: lines.edited(line.index, start, start + value.len(), &format!("{{{inner}}}")),
        });
    }
    if value.starts_with(':') && is_word(key) {
        return Some(second_colon(lines, line.index, start, key, value));
    }
    if is_section(key) && is_word(&value[..colon]) {
        let below = lines.next(line.index).filter(|next| next.indent > line.indent);
        return Some(Typo {
            span: lines.span(line.index, start, colon),
            what: "this field is on the line of its section",
            of: format!(" `{key}`"),
            fix: match below {
                Some(below) => format!("write `{value}` below it, with {} spaces before it", below.indent),
                None => write(&in_braces(key, value)),
            },
        });
    }
    match value[..colon].rsplit_once(' ') {
        Some((_, word)) if is_word(word) && !value.contains(['"', '\'']) => {
            let field = colon - word.len();
            Some(Typo {
                span: lines.span(line.index, start + field, word.len()),
                what: "there are two fields on one line",
                of: String::new(),
                fix: match write(&value[field..]) {
                    fix if fix.is_empty() => "write the second field on a line of its own".to_owned(),
                    fix => format!("{fix} on a line of its own"),
                },
            })
        }
        _ if !takes_any_text(key) => Some(Typo {
            span: lines.span(line.index, start, value.chars().count()),
            what: "there is a second colon",
            of: format!(" in the value of `{key}`"),
            fix: without_colon(key, value),
        }),
        _ => Some(Typo {
            span: lines.span(line.index, start, value.chars().count()),
            what: "a value with a colon and a space in it needs quotes",
            of: String::new(),
            fix: lines.edited(line.index, start, start + value.len(), &format!("\"{value}\"")),
        }),
    }
}

/// Returns the fix for a value with a colon, of a field that takes none.
pub(super) fn without_colon(key: &str, value: &str) -> String {
    let name = Some(value).filter(|_| takes_name(key)).and_then(repair::name::<Name>);
    name.map_or_else(|| "write one value without a colon".to_owned(), |name| write(&format!("{key}: {name}")))
}

/// Returns a section with the field that is on its line: `spec: {size: 10Gi}` for `spec: size: 10Gi`.
fn in_braces(section: &str, field: &str) -> String {
    match field.split_once(": ") {
        Some((inner, rest)) if is_section(inner) => format!("{section}: {{{}}}", in_braces(inner, rest)),
        _ => format!("{section}: {{{field}}}"),
    }
}

/// Text after a value in quotes or brackets, which ends before `end`.
pub(super) fn after(lines: &SourceLines<'_>, line: usize, end: usize) -> Option<Typo> {
    let whole = lines.lines[line];
    let rest = &whole[end..];
    let text = rest.trim_start();
    let at = whole.len() - text.len();
    if text.is_empty() || (text.starts_with('#') && text.len() < rest.len()) {
        return None;
    }
    // `{team: shop}, tier: "1"}`
    let closing =
        whole[..end].chars().next_back().filter(|closing| text.starts_with(',') && matches!(closing, '}' | ']'));
    if let Some(closing) = closing
        && text.ends_with(closing)
    {
        return Some(Typo {
            span: lines.span(line, end - 1, 1),
            what: match closing {
                '}' => "this `}` closes the value before its end",
                _ => "this `]` closes the value before its end",
            },
            of: String::new(),
            fix: lines.edited(line, end - 1, end, ""),
        });
    }
    let what = match text.chars().next() {
        Some(',') => "there is a comma after the value, which is not allowed outside of brackets",
        Some(';') => "there is a semicolon after the value",
        Some('}') => "this `}` closes nothing",
        Some(']') => "this `]` closes nothing",
        _ => "there is text after the end of the value",
    };
    match text.starts_with([',', '}', ']']) || text == ";" {
        true => Some(Typo {
            span: lines.span(line, at, 1),
            what,
            of: String::new(),
            fix: lines.edited(line, at, at + 1, ""),
        }),
        false => Some(Typo {
            span: lines.span(line, at, text.trim_end().chars().count()),
            what,
            of: String::new(),
            fix: "put the whole value in one pair of quotes, or remove the rest".to_owned(),
        }),
    }
}
