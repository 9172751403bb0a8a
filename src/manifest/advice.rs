//! What to write in place of a value that has the wrong form.

use std::borrow::Cow;
use std::fmt::Display;

use super::fields::At;
use super::homes::DOCUMENT;
use super::known::{takes_any_text, takes_hash};
use super::lines::{TOP, Typo, is_word, write};
use super::repair;
use super::scan::{Key, Node, NodeContent, Scalar};
use super::span::Span;
use super::strays::{Unknown, UnknownKey};

/// The hint for a document without fields.
pub(super) const BEGIN: &str = "begin it with `apiVersion: kiln/v1`, or remove it";

impl<'a> At<'a> {
    /// Reports that the value is not a map of fields. `meant`: see [`At::fields`].
    pub(super) fn no_fields(&self, meant: impl FnOnce(Option<&str>) -> Vec<String>) {
        let message = |rest: &str| {
            if self.field == DOCUMENT { format!("the document {rest}") } else { format!("`{}` {rest}", self.field) }
        };
        match self.scalar() {
            Some((Scalar::Null, _)) if self.field != DOCUMENT => {
                let hint = "write its fields below it, with 2 more spaces".to_owned();
                self.gap(&[], self.span(), message("has no fields"), hint);
            }
            Some((Scalar::Null, _)) => self.wrong("has no fields", BEGIN),
            Some((Scalar::Text, text)) if self.is_line(text) && self.file.report_no_colon(self.span()) => {}
            Some((Scalar::Text, text))
                if text.starts_with('{') && text.ends_with('}') && !self.node.is_plain() && !self.secret =>
            {
                self.wrong("is in quotes, which make a text of the map", write(&format!("{}: {text}", self.field)));
            }
            scalar => {
                let one_line = scalar
                    .map(|(_, text)| text)
                    .filter(|text| !self.secret && self.field != DOCUMENT && !text.contains('\n'));
                let hint = match self.items_without_dashes() {
                    Some(hint) => hint,
                    None if self.field == DOCUMENT => BEGIN.to_owned(),
                    None => {
                        let meant = meant(one_line).into_iter().map(|fields| format!("{{{fields}}}"));
                        self.write(meant, "write `field: value` lines below it")
                    }
                };
                self.expected("a map of fields", hint);
            }
        }
    }

    /// Returns the hint to write the value that is in a comment after the field: `name: #db`.
    pub(super) fn value_in_comment(&self) -> Option<String> {
        let span = self.span();
        if self.secret || self.file.may_be_secret(span.line) {
            return None;
        }
        let (_, rest) = self.file.line(span.line).split_once(&format!("{}:", self.field))?;
        let comment = rest.trim();
        let bare = comment.strip_prefix('#')?.trim_start_matches(['#', ' ']).trim_end();
        if bare.is_empty() || bare.contains(char::is_whitespace) {
            return None;
        }
        Some(match takes_hash(self.field) {
            true if comment.contains(char::is_whitespace) => return None,
            true if comment.contains(['"', '\\', '`']) => "put the value in quotes".to_owned(),
            true => format!("write `{}: \"{comment}\"`", self.field),
            false => format!("write `{}: {bare}`", self.field),
        })
    }

    /// A key in braces without a colon after it: `{team shop}`, `{team: shop, tier}`.
    pub(super) fn without_colon(&self) -> Option<Typo> {
        let line = self.file.line(self.key.line);
        if line.len() > 1000 {
            return None;
        }
        let rest: String = line.chars().skip(self.key.column as usize - 1).collect();
        let after = rest.strip_prefix(self.field)?.trim_start();
        if after.starts_with(':') || line.trim_start().starts_with("? ") {
            return None;
        }
        let typo = |span, what, of, fix| Some(Typo { span, what, of, fix });
        if let Some((word, value)) = self.field.split_once(' ') {
            let column = self.key.column + word.chars().count() as u32;
            let fix = write(&format!("{word}: {}", value.trim_start()));
            return typo(Span { column, len: 1, ..self.key }, "a colon is missing", format!(" after `{word}`"), fix);
        }
        let fix = match takes_any_text(self.field) {
            true => format!("write `{}: VALUE`, or remove it", self.field),
            false => format!("put a colon and the value after `{}`", self.field),
        };
        typo(self.key, "this key has no colon and no value", String::new(), fix)
    }

    /// Returns the place of the sign after the field, `|` or `>`, that makes the lines below it a text.
    pub(super) fn block_sign(&self) -> Option<Span> {
        let NodeContent::Scalar { plain: false, .. } = self.node.content else { return None };
        let line = self.file.line(self.key.line);
        let text = line.split(" #").next().unwrap_or(line).trim_end();
        let (before, sign) = text.rsplit_once(' ')?;
        let is_sign =
            sign.starts_with(['|', '>']) && sign[1..].chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '+'));
        let column = before.chars().count() as u32 + 2;
        (is_sign && before.trim_end().ends_with(':')).then_some(Span {
            line: self.key.line,
            column,
            len: sign.len() as u32,
        })
    }

    /// Returns the hint to write the items of a list of maps without dashes.
    fn items_without_dashes(&self) -> Option<String> {
        let NodeContent::List(items) = &self.node.content else { return None };
        let NodeContent::Map(fields) = &items.first()?.content else { return None };
        if self.field == DOCUMENT {
            return Some("write each item as a document of its own, without the list; `---` separates two".to_owned());
        }
        let line = self.file.line(self.node.span.line);
        if line.chars().nth(self.node.span.column as usize - 1) == Some('[') {
            return Some("write braces `{…}` in place of the brackets".to_owned());
        }
        let (key, node) = fields.first()?;
        if (items.len(), fields.len(), self.secret) == (1, 1, false) {
            return Some(format!("remove the `- ` before `{}`", key.text));
        }
        let (_, text) = At { node, ..*self }.scalar().filter(|_| !self.secret)?;
        Some(match items.len() {
            1 => format!("put a space in place of the dash before `{}`", key.text),
            _ => format!("write the fields without dashes, like `{}: {text}`", key.text),
        })
    }

    /// Whether the text may be a field without a colon. At the top of a document only the fields of every document are.
    pub(super) fn is_line(&self, text: &str) -> bool {
        let is_top = TOP.iter().any(|top| text.starts_with(top));
        self.node.is_plain() && !self.secret && (is_top || self.field != DOCUMENT)
    }

    /// Returns the only thing that is in a list or map, if it could be the value: `[db]`, `{name: db}`.
    pub(super) fn inner(&self) -> Option<Cow<'a, str>> {
        let text = |node: &'a Node<'a>| Some(At { node, ..*self }.scalar()?.1).filter(|text| !text.contains('\n'));
        let inner = match &self.node.content {
            NodeContent::List(items) if items.len() == 1 => Cow::Borrowed(text(&items[0])?),
            NodeContent::Map(entries) if entries.len() == 1 => match (&entries[0].0, text(&entries[0].1)) {
                // `- iqn.2026-01.org.example: host1`, where the blank makes a map of a text.
                (key, Some(value)) if self.is_item() && !value.is_empty() && !is_word(&key.text) => {
                    Cow::Owned(format!("{}:{value}", key.text.trim_end_matches(':')))
                }
                (_, Some(value)) if !value.is_empty() => Cow::Borrowed(value),
                (key, _) => Cow::Borrowed(&*key.text),
            },
            _ => return None,
        };
        Some(inner).filter(|_| !self.secret)
    }

    /// Returns the text if it is a variable of a shell or of a template.
    pub(super) fn variable(&self) -> Option<&'a str> {
        let (_, text) = self.scalar().filter(|_| !self.secret && self.field != DOCUMENT)?;
        let is_name = |name: &str| {
            name.trim_start_matches(['{', ' ', '.', '-']).starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        };
        let inside = ["${", "{{", "$(", "<%="].iter().find_map(|mark| text.split_once(mark)).map(|(_, name)| name);
        inside.or_else(|| text.strip_prefix('$')).filter(|name| is_name(name)).map(|_| text)
    }

    /// Returns pairs like `team=shop`, in a text or a list, as the entries of a map.
    pub(super) fn pairs(&self) -> Option<String> {
        let texts = match &self.node.content {
            NodeContent::List(items) => items.iter().map(|node| At { node, ..*self }.pair()).collect(),
            NodeContent::Scalar { text, .. } => Some(vec![text.to_string()]),
            NodeContent::Map(_) => None,
        };
        let texts: Vec<String> = texts.filter(|_| !self.secret)?;
        repair::as_pairs(&texts.join(","))
    }

    /// Returns a text, or a map of one text as a pair.
    fn pair(&self) -> Option<String> {
        match &self.node.content {
            NodeContent::Map(entries) => match entries.as_slice() {
                [(key, node)] => Some(format!("{}={}", key.text, At { node, ..*self }.scalar()?.1)),
                _ => None,
            },
            NodeContent::List(_) | NodeContent::Scalar { .. } => Some(self.scalar()?.1.to_owned()),
        }
    }

    /// Returns the next line if it is part of this plain text.
    pub(super) fn continuation(&self) -> Option<&'a str> {
        let (_, text) = self.scalar().filter(|_| self.node.is_plain() && self.field != DOCUMENT && !self.secret)?;
        let below = self.node.span.line + 1;
        let next = self.file.line(below).trim();
        let first = self.file.line(self.node.span.line).trim_end();
        let rest = text.strip_suffix(next).filter(|_| !next.is_empty())?.trim_end();
        (first.ends_with(rest) && !self.file.may_be_secret(below)).then_some(next)
    }

    /// Returns the hint to write one of some values, or `hint` if there are none.
    pub(super) fn write(&self, guesses: impl IntoIterator<Item = impl Display>, hint: &str) -> String {
        let lines: Vec<String> = guesses.into_iter().map(|guess| self.line_of(guess)).collect();
        if lines.is_empty() { hint.to_owned() } else { format!("write {}", lines.join(" or ")) }
    }

    /// Records entries of this map that belong elsewhere.
    pub(super) fn add_unknown(&self, entries: Vec<(&Key<'_>, At<'_>)>) {
        if entries.is_empty() {
            return;
        }
        let unknown = |(key, _): (&Key<'_>, At<'_>)| UnknownKey {
            text: key.text.to_string(),
            span: key.span,
            value: None,
            scalar: None,
            inner: None,
            below: None,
        };
        let keys = entries.into_iter().map(unknown).collect();
        let (section, known, written) = (self.field.to_owned(), Vec::new(), Vec::new());
        self.strays.borrow_mut().add_unknown(Unknown { section, known, written, keys, is_secret: self.secret });
    }

    /// Whether it is an item of a list.
    fn is_item(&self) -> bool {
        self.key == self.node.span
    }

    /// Returns the line that gives a value to the field; for an item of a list, the item.
    pub(super) fn line_of(&self, value: impl Display) -> String {
        if self.is_item() { format!("`{value}`") } else { format!("`{}: {value}`", self.field) }
    }
}
