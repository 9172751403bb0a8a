//! The form of text for people: colours, the width of the terminal, and the characters that it can show.

use super::wrap::{fold, visible_width};
use crate::model::Verb;

/// The form of text: decided once, by `cli`, for stdout and for stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paint {
    /// Whether escape sequences may be written.
    pub colour: bool,
    /// The columns of the terminal. None on a pipe: lines are then as long as their text.
    pub width: Option<usize>,
    /// Whether the terminal shows ASCII only. Texts of users and backends are never changed for it.
    pub ascii: bool,
}

/// The fewest columns beside a label in which a text is readable.
const BESIDE: usize = 30;

impl Paint {
    /// The form of a pipe: no colour, lines of any length, UTF-8.
    pub const PLAIN: Paint = Paint { colour: false, width: None, ascii: false };

    /// Surrounds `text` with a Select Graphic Rendition code (ECMA-48) and a reset. An empty code changes nothing.
    pub fn with(self, code: &str, text: &str) -> String {
        match self.colour && !code.is_empty() {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// Headings and names.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Secondary text.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// The reason of a hold, and other causes for attention.
    pub fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Problems and failures.
    pub fn error(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// The labels `fix:` and `hint:`.
    pub fn fix(self, text: &str) -> String {
        self.with("1;36", text)
    }

    /// Returns the glyph of a verb in its colour.
    pub fn glyph(self, verb: Verb) -> String {
        let code = match verb {
            Verb::Create => "32",
            Verb::Update => "33",
            Verb::Move | Verb::Adopt => "36",
            Verb::Remove => "31",
            Verb::Destroy => "1;31",
        };
        self.with(code, &verb.glyph().to_string())
    }

    /// Returns the arrow between an old and a new value.
    pub fn arrow(self) -> &'static str {
        if self.ascii { "->" } else { "→" }
    }

    /// Returns what separates short items of a line.
    pub fn between(self) -> &'static str {
        if self.ascii { ", " } else { " · " }
    }

    /// Returns what stands for omitted text.
    pub fn ellipsis(self) -> &'static str {
        if self.ascii { "..." } else { "…" }
    }

    /// Returns a message of Kiln with ellipses that the terminal can show.
    pub fn message(self, text: &str) -> String {
        if self.ascii { text.replace('…', self.ellipsis()) } else { text.to_owned() }
    }

    /// Breaks lines that are longer than the terminal, between words. The rest of a line is indented two columns more than its begin.
    ///
    /// Neither words nor commands between backticks are broken, because they are copied: a longer one has a line of its own.
    pub fn fit(self, text: &str) -> String {
        let Some(width) = self.width else { return text.to_owned() };
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
            match visible_width(body) <= width {
                true => out.push_str(body),
                false => {
                    let indent = body.len() - body.trim_start_matches(' ').len();
                    out.push_str(&body[..indent]);
                    fold(&mut out, &body[indent..], indent, indent + 2, width);
                }
            }
            out.push_str(end);
        }
        out
    }

    /// Returns the width of a column whose widest text has `widest` columns: at most two fifths of a terminal, so that the others have room.
    pub fn column(self, widest: usize) -> usize {
        self.width.map_or(widest, |width| widest.min(width * 2 / 5))
    }

    /// Returns a line `head  tail`. If it is too long, the tail has lines of its own, indented by `indent`.
    pub fn entry(self, head: &str, tail: &str, indent: usize) -> String {
        match self.width {
            Some(width) if !tail.is_empty() && visible_width(head) + 1 + visible_width(tail) > width => {
                let mut out = format!("{}\n{:indent$}", self.fit(head.trim_end()), "");
                fold(&mut out, tail, indent, indent, width);
                out.push('\n');
                out
            }
            _ => format!("{head} {tail}\n"),
        }
    }

    /// Returns a line `lead  rest tail`, in which the lead has `pad` blanks after it. If lead and rest are too long for one line, the rest
    /// begins the next one, indented by `indent`; a tail that is too long has lines of its own.
    pub fn row(self, lead: &str, pad: usize, rest: &str, tail: &str, indent: usize) -> String {
        let head = format!("{lead}{:pad$}  {rest}", "");
        match self.width.is_some_and(|width| visible_width(head.trim_end()) > width) {
            true => format!("{lead}\n{}", self.entry(&format!("{:indent$}{rest}", ""), tail, indent)),
            false => self.entry(&head, tail, indent),
        }
    }

    /// Returns a line `label text`, with the rest of a long text below its begin. The label has its padding.
    pub fn beside(self, label: &str, text: &str) -> String {
        let begin = visible_width(label) + 1;
        match self.width {
            Some(width) if width.saturating_sub(begin) >= BESIDE => {
                let mut out = format!("{label} ");
                fold(&mut out, text, begin, begin, width);
                out.truncate(out.trim_end().len());
                out.push('\n');
                out
            }
            _ => self.entry(label, text, 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: Paint = Paint { width: Some(40), ..Paint::PLAIN };

    #[test]
    fn a_pipe_gets_lines_of_any_length() {
        let long = format!("{}end", "word ".repeat(100));
        assert_eq!(Paint::PLAIN.fit(&long), long);
        assert_eq!(Paint::PLAIN.entry("  head", &long, 4), format!("  head {long}\n"));
        assert_eq!(Paint::PLAIN.beside("  label   ", "text"), "  label    text\n");
    }

    #[test]
    fn lines_are_broken_between_words_only() {
        let text = "  it is protected; the manifests no longer declare it\nshort\n";
        assert_eq!(NARROW.fit(text), "  it is protected; the manifests no\n    longer declare it\nshort\n");
        let path = "x".repeat(60);
        assert_eq!(NARROW.fit(&format!("found {path} there")), format!("found\n  {path}\n  there"));
    }

    #[test]
    fn commands_are_not_broken() {
        let text = "fix: free some space, then run `kiln apply --yes` again";
        assert_eq!(NARROW.fit(text), "fix: free some space, then run\n  `kiln apply --yes` again");
        let long = format!("fix: `kiln apply {}`", "--approve abc ".repeat(5).trim_end());
        assert_eq!(NARROW.fit(&long), long.replacen("fix: ", "fix:\n  ", 1));
        // A backtick without a second one begins no command.
        assert_eq!(NARROW.fit(&format!("a ` {}", "b ".repeat(40))).lines().count(), 3);
    }

    #[test]
    fn colours_take_no_room() {
        let red = Paint { colour: true, ..NARROW };
        let text = format!("{} {}", red.error("error:"), "x".repeat(33));
        assert_eq!(red.fit(&text), text);
    }

    #[test]
    fn a_long_message_has_lines_of_its_own() {
        let shown = NARROW.entry("  - volume/db  remove   Protected:", "it is protected", 6);
        assert_eq!(shown, "  - volume/db  remove   Protected:\n      it is protected\n");
        let shown = NARROW.entry("  - volume/db  remove", "it is protected", 6);
        assert_eq!(shown, "  - volume/db  remove it is protected\n");
    }

    #[test]
    fn what_follows_a_long_name_begins_the_next_line() {
        let name = "n".repeat(36);
        let shown = NARROW.row(&format!("  + {name}"), 0, "create ", "1Gi on fast", 6);
        assert_eq!(shown, format!("  + {name}\n      create  1Gi on fast\n"));
        assert_eq!(NARROW.row("  + db", 3, "create ", "1Gi on fast", 6), "  + db     create  1Gi on fast\n");
        assert_eq!(Paint::PLAIN.row(&name, 0, "create ", "1Gi", 6), format!("{name}  create  1Gi\n"));
        // A name that fits no line stays beside its glyph.
        let long = format!("  + {}", "n".repeat(60));
        assert_eq!(NARROW.fit(&long), long);
    }

    #[test]
    fn a_text_beside_a_label_continues_below_its_begin() {
        let shown = NARROW.beside("  why   ", "it is protected and not declared any more");
        assert_eq!(shown, "  why    it is protected and not\n         declared any more\n");
    }

    #[test]
    fn a_terminal_without_utf8_gets_ascii() {
        let ascii = Paint { ascii: true, ..Paint::PLAIN };
        let shown = [ascii.arrow(), ascii.between(), ascii.ellipsis(), &ascii.message("write `{name: …}`")].concat();
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(Paint::PLAIN.message("write `{name: …}`"), "write `{name: …}`");
    }
}
