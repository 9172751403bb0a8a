//! Problems of manifests, and how they are shown. Output is printable whatever the manifest contains.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};
use unicode_width::UnicodeWidthStr;

use crate::model::{ProblemView, SourcePlace};
use crate::text::{Paint, escape};

/// Columns of an excerpt: with the line number it fits a terminal of 80 columns.
const WINDOW: usize = 72;

/// A problem of a manifest, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the problem is; a file without a name if it is about all of SPECS.
    pub place: SourcePlace,
    /// One sentence, without the place.
    pub message: String,
    /// What to do, or what was probably meant.
    pub hint: Option<String>,
    /// The line of the file, and the number of characters to mark from `place.column` on.
    pub excerpt: Option<(String, u32)>,
}

/// Escapes unsafe characters; a tab becomes four spaces.
pub(super) fn printable(text: &str) -> String {
    escape(&text.replace('\t', "    ")).into_owned()
}

/// Truncates a text to `max` characters, with an ellipsis.
pub(super) fn clip(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Converts problems to the form of JSON answers.
pub fn problem_views(problems: &[Problem]) -> Vec<ProblemView> {
    let view = |problem: &Problem| ProblemView {
        file: problem.place.known().map(|place| place.file.to_string()),
        line: problem.place.line,
        column: problem.place.column,
        message: problem.message.clone(),
        hint: problem.hint.clone(),
    };
    problems.iter().map(view).collect()
}

impl Problem {
    /// Returns `FILE:LINE:COLUMN: message` (the message alone without a file), the line of the file with carets below the marked part, and the hint; each in lines that fit
    /// the terminal. No trailing line feed.
    pub fn shown(&self, paint: Paint) -> String {
        let message = paint.message(&printable(&self.message));
        let mut out = match self.place.known() {
            Some(place) => {
                let place = paint.bold(&format!("{}:", printable(&place.to_string())));
                paint.fit(&format!("{place} {message}"))
            }
            None => paint.fit(&message),
        };
        if let Some((line, len)) = &self.excerpt {
            let number = self.place.line.to_string();
            let beside = number.len() + " | ".len() + 2 * paint.ellipsis().width();
            let window = paint.width.map_or(WINDOW, |width| WINDOW.min(width.saturating_sub(beside)));
            let (shown, carets) = carets(line, self.place.column as usize, *len as usize, window, paint.ellipsis());
            let blank = " ".repeat(number.len());
            out.push_str(&format!("\n{number} | {shown}\n{blank} | {}", paint.error(&carets)));
        }
        if let Some(hint) = &self.hint {
            out.push('\n');
            out.push_str(&paint.fit(&format!("{} {}", paint.fix("hint:"), paint.message(&printable(hint)))));
        }
        out
    }
}

impl fmt::Display for Problem {
    /// As [`Problem::shown`] on a pipe.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown(Paint::PLAIN))
    }
}

/// Returns the part of a line around `column` (from 1, in characters), of at most `window` characters, and the line of carets below it.
fn carets(line: &str, column: usize, len: usize, window: usize, ellipsis: &str) -> (String, String) {
    let chars: Vec<char> = line.trim_end().chars().collect();
    let begin = (column - 1).min(chars.len());
    let from = if chars.len() <= window { 0 } else { begin.saturating_sub(window / 2) };
    let to = (from + window).min(chars.len());
    let end = (begin + len).clamp(begin, to.max(begin));
    let text = |range: std::ops::Range<usize>| printable(&chars[range].iter().collect::<String>());
    let before = format!("{}{}", if from > 0 { ellipsis } else { "" }, text(from..begin));
    let meant = text(begin..end);
    let after = format!("{}{}", text(end..to.max(end)), if to < chars.len() { ellipsis } else { "" });
    let carets = format!("{}{}", " ".repeat(before.width()), "^".repeat(meant.width().max(1)));
    (format!("{before}{meant}{after}"), carets)
}

impl Serialize for Problem {
    /// `{file, line, column, message, hint}`; a missing value is null.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Problem", 5)?;
        out.serialize_field("file", &self.place.known().map(|place| &place.file))?;
        out.serialize_field("line", &self.place.line)?;
        out.serialize_field("column", &self.place.column)?;
        out.serialize_field("message", &printable(&self.message))?;
        out.serialize_field("hint", &self.hint.as_deref().map(printable))?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: &str, column: u32, len: u32) -> Problem {
        Problem {
            place: SourcePlace { file: "specs/a\u{1b}[2J.yaml".into(), line: 7, column },
            message: "bad \u{202e}value\u{7}".into(),
            hint: Some("fix\nit".into()),
            excerpt: Some((line.into(), len)),
        }
    }

    #[test]
    fn no_control_sequence_is_shown() {
        let text = problem("  a: \u{9b}31m\u{200b}", 6, 3).to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
        let obeyed = |c: &char| (c.is_control() && *c != '\n') || matches!(*c, '\u{202e}' | '\u{200b}');
        assert_eq!(text.chars().find(obeyed), None, "{text:?}");
        let json = serde_json::to_string(&problem("", 1, 1)).unwrap();
        assert!(json.contains(r"\u{202e}") && json.contains(r#""line":7"#), "{json}");
    }

    #[test]
    fn carets_mark_wide_characters() {
        let (line, below) = carets("名前: 値x", 5, 1, WINDOW, "…");
        assert_eq!((line.as_str(), below.as_str()), ("名前: 値x", "      ^^"));
        let (line, below) = carets(&format!("{}bad{}", "x".repeat(200), "y".repeat(200)), 201, 3, WINDOW, "…");
        let at = below.find('^').unwrap();
        assert_eq!(line.chars().skip(at).take(3).collect::<String>(), "bad");
        assert!(line.width() <= WINDOW + 2 && line.starts_with('…') && line.ends_with('…'));
    }
}
