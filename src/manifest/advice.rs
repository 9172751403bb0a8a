//! What to write in place of a value that has the wrong form.

use std::fmt::Display;

use super::fields::At;
use super::lines::TOP;
use super::scan::{Node, NodeContent, Scalar};
use super::strays::DOCUMENT;

impl<'a> At<'a> {
    /// Reports that the value is not a map of fields. `example`: a field that it may have.
    pub(super) fn no_fields(&self, example: &str) {
        let message = |rest: &str| {
            if self.field == DOCUMENT { format!("the document {rest}") } else { format!("`{}` {rest}", self.field) }
        };
        match self.scalar() {
            Some((Scalar::Null, _)) => {
                let hint = "write its fields below it, with 2 more spaces".to_owned();
                self.gap(&[], self.span(), message("has no fields"), hint);
            }
            Some((Scalar::Text, text)) if self.is_line(text) && self.file.report_no_colon(self.span()) => {}
            Some((_, text)) if !self.secret && self.field != DOCUMENT && !text.contains('\n') => {
                self.expected("a map of fields", format!("write `{}: {{{example}: {text}}}`", self.field));
            }
            _ => {
                let hint = match self.first_item() {
                    Some(field) => format!("write `{field}`, without a dash"),
                    None if self.field == DOCUMENT => "begin it with `apiVersion: kiln/v1`".to_owned(),
                    None => "write `field: value` lines below it".to_owned(),
                };
                self.expected("a map of fields", hint);
            }
        }
    }

    /// Returns the first field of a list of fields.
    fn first_item(&self) -> Option<String> {
        let NodeContent::List(items) = &self.node.content else { return None };
        let NodeContent::Map(fields) = &items.first()?.content else { return None };
        let (key, node) = fields.first()?;
        let (_, text) = At { node, ..*self }.scalar().filter(|_| !self.secret)?;
        Some(format!("{}: {text}", key.text))
    }

    /// Whether the text may be a field without a colon. At the top of a document only the fields of every document are.
    pub(super) fn is_line(&self, text: &str) -> bool {
        let is_top = TOP.iter().any(|top| text.starts_with(top));
        self.node.is_plain() && !self.secret && (is_top || self.field != DOCUMENT)
    }

    /// Returns the only thing that is in a list or map, if it could be the value: `[db]`, `{name: db}`.
    pub(super) fn inner(&self) -> Option<&'a str> {
        let node = match &self.node.content {
            NodeContent::List(items) if items.len() == 1 => &items[0],
            NodeContent::Map(entries) if entries.len() == 1 => match &entries[0] {
                (_, node @ Node { content: NodeContent::Scalar { .. }, .. }) => node,
                (key, _) => return Some(&key.text).filter(|_| !self.secret).map(|key| &**key),
            },
            _ => return None,
        };
        At { node, ..*self }.scalar().map(|(_, text)| text).filter(|text| !self.secret && !text.contains('\n'))
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

    /// Returns the line that gives a value to the field; for an item of a list, the item.
    pub(super) fn line_of(&self, value: impl Display) -> String {
        let is_item = self.key == self.node.span;
        if is_item { format!("`{value}`") } else { format!("`{}: {value}`", self.field) }
    }
}
