//! Scans the parser events of a document before any value is built: places, duplicate keys, and limits on size. A document that passes
//! is safe for a parser of values.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use super::Limits;
use super::bracket::ALIAS;
use super::lines::{TOP, write};
use super::pasted::doubled_map;
use super::repair;
use super::span::{Chunk, Span};
use super::text::{File, quote};
use super::typo::recognise;

/// A value with its place.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) span: Span,
    pub(super) content: NodeContent<'a>,
}

impl Node<'_> {
    /// Whether it is a scalar without quotes.
    pub(super) fn is_plain(&self) -> bool {
        matches!(&self.content, NodeContent::Scalar { plain: true, .. })
    }

    /// Returns a copy of a scalar that borrows nothing.
    pub(super) fn owned_scalar(&self) -> Option<Node<'static>> {
        let NodeContent::Scalar { text, plain, means } = &self.content else { return None };
        let content = NodeContent::Scalar { text: Cow::Owned(text.to_string()), plain: *plain, means: *means };
        Some(Node { span: self.span, content })
    }

    /// Whether it is a scalar without a value.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, NodeContent::Scalar { means: Scalar::Null, .. })
    }
}

/// What a node holds.
#[derive(Debug)]
pub(super) enum NodeContent<'a> {
    /// A scalar: its text, whether it is without quotes, and its value once [`super::value::settle`] has set it.
    Scalar {
        text: Cow<'a, str>,
        plain: bool,
        means: Scalar,
    },
    List(Vec<Node<'a>>),
    Map(Vec<(Key<'a>, Node<'a>)>),
}

/// A key of a map.
#[derive(Debug)]
pub(super) struct Key<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) span: Span,
    /// Whether it is without quotes: `1:` may then be a number.
    pub(super) plain: bool,
}

/// The value of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Whole(u64),
    Negative,
    Float(f64),
    Text,
}

enum OpenNode<'a> {
    List(Vec<Node<'a>>),
    Map { entries: Vec<(Key<'a>, Node<'a>)>, key: Option<Key<'a>> },
}

/// The result of [`scan`].
pub(super) enum Scanned<'a> {
    /// Only comments and blank lines.
    Empty,
    /// The tree, with the values of scalars not set yet. Duplicate keys have been reported.
    Tree(Node<'a>),
    /// The document cannot be read; the problems say why.
    Broken,
}

/// Scans the events of one document, up to `limits.nodes` nodes and `limits.depth` deep.
pub(super) fn scan<'a>(file: &File, chunk: Chunk<'a>, limits: &Limits) -> Scanned<'a> {
    if chunk.text.len() > limits.document_bytes {
        let blank = |line: &str| line.trim().is_empty() || line.starts_with('#') || line.trim_end() == "---";
        if chunk.text.lines().all(blank) {
            return Scanned::Empty;
        }
        let size = crate::model::Size(limits.document_bytes as u64);
        let at = Span { line: chunk.first_line, column: 1, len: 1 };
        file.report(at, format!("the document has more than {size} bytes"), "separate documents with lines `---`");
        return Scanned::Broken;
    }
    let before = file.count();
    let mut scan = Scan { file, chunk, limits, open: Vec::new(), nodes: 0, doubles: 0 };
    match scan.run() {
        // A duplicate key makes its document invalid, and hides nothing else in it.
        _ if file.count() > before + scan.doubles => Scanned::Broken,
        Some(tree) => Scanned::Tree(tree),
        None => Scanned::Empty,
    }
}

struct Scan<'a, 'f> {
    file: &'f File,
    chunk: Chunk<'a>,
    limits: &'f Limits,
    open: Vec<(Span, OpenNode<'a>)>,
    nodes: usize,
    /// Number of duplicate keys.
    doubles: usize,
}

impl<'a> Scan<'a, '_> {
    fn run(&mut self) -> Option<Node<'a>> {
        let mut parser: Parser<'a, StrInput<'a>> = Parser::new_from_str(self.chunk.text);
        let mut root = None;
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok((event, span)) => (event, self.span(span)),
                Err(error) => {
                    let at = self.span(saphyr_parser::Span::empty(*error.marker()));
                    self.syntax(at, error.info());
                    return None;
                }
            };
            self.refuse(&event, span);
            let done = match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 && self.ends_early(span) {
                        return None;
                    }
                    if documents > 1 {
                        self.file.report(
                            span,
                            "a second document begins here without a separator",
                            "write `---` on a line before it",
                        );
                        return None;
                    }
                    None
                }
                Event::Scalar(text, style, ..) => self.scalar(text, style == ScalarStyle::Plain, span)?,
                // Refused, but counted as a value so that the rest is still read.
                Event::Alias(_) => self.scalar(Cow::Borrowed(""), true, span)?,
                Event::SequenceStart(..) => self.begin(span, OpenNode::List(Vec::new()))?,
                Event::MappingStart(..) => self.begin(span, OpenNode::Map { entries: Vec::new(), key: None })?,
                Event::SequenceEnd | Event::MappingEnd => self.end()?,
                _ => None,
            };
            root = done.or(root);
        }
        // `---` alone is an empty document too.
        root.filter(|node| !matches!(&node.content, NodeContent::Scalar { text, plain: true, .. } if text.is_empty()))
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        let one_line = span.start.line() == span.end.line();
        let len = if one_line { span.end.col().saturating_sub(span.start.col()) } else { usize::MAX };
        Span {
            line: self.chunk.first_line + (span.start.line() as u32).saturating_sub(1),
            column: span.start.col() as u32 + 1,
            len: u32::try_from(len).unwrap_or(u32::MAX),
        }
    }

    fn syntax(&self, at: Span, info: &str) {
        if self.chunk.text.lines().any(|line| line.starts_with('%')) {
            let hint = "remove the lines that begin with `%`";
            return self.file.report(at, format!("the document is not valid YAML: {info}"), hint);
        }
        syntax(self.file, self.chunk, at, info);
    }

    /// Reports the YAML features that manifests do not use, because not every parser agrees on them.
    fn refuse(&self, event: &Event<'_>, span: Span) {
        let (anchor, tag) = match event {
            Event::Alias(_) => {
                return self.file.report(span, ALIAS, "write the value out");
            }
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag),
            _ => return,
        };
        if anchor != 0
            && let Some(line) =
                without_html(self.file.line(span.line), span.column).filter(|_| !self.file.may_be_secret(span.line))
        {
            return self.file.report(span, "this is an escape sequence of HTML", write(&line));
        }
        if anchor != 0 {
            self.file.report(span, "anchors are not allowed in manifests", "remove the `&…` and write each value out");
        }
        if tag.is_some() {
            self.file.report(
                span,
                "tags are not allowed in manifests",
                "remove the `!…`; put a number in quotes to make it text",
            );
        }
    }

    /// Reports the `...` before a place, if there is one. Returns whether there is.
    fn ends_early(&self, span: Span) -> bool {
        let is_end = |number: &u32| self.file.line(*number).trim_end() == "...";
        let Some(line) = (self.chunk.first_line..span.line).rev().find(is_end) else { return false };
        let begins = TOP.iter().any(|top| self.file.line(span.line).starts_with(top));
        let hint = if begins { "write `---` in its place" } else { "remove the line" };
        self.file.report(Span { line, column: 1, len: 3 }, "`...` ends the document here", hint);
        true
    }

    fn count(&mut self, span: Span) -> Option<()> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            let message = format!("the document has more than {} values", self.limits.nodes);
            self.file.report(span, message, "split it into several documents");
            return None;
        }
        Some(())
    }

    /// The outer `None` ends the scan of the document.
    fn scalar(&mut self, text: Cow<'a, str>, plain: bool, span: Span) -> Option<Option<Node<'a>>> {
        self.count(span)?;
        let is_top = self.open.len() == 1;
        if let Some((_, OpenNode::Map { key: key @ None, .. })) = self.open.last_mut() {
            if plain && text == "<<" {
                self.file.report(span, "merge keys are not allowed in manifests", "write the fields out");
            }
            // `---kind: Volume` is a key to YAML.
            if plain && is_top && text.starts_with("---") {
                let hint = "put `---` on a line of its own";
                self.file.report(span, "there is text after `---`", hint);
                return None;
            }
            *key = Some(Key { text, span, plain });
            return Some(None);
        }
        // An empty value has no place of its own: use that of its key.
        let span = match self.open.last() {
            Some((_, OpenNode::Map { key: Some(key), .. })) if text.is_empty() && plain => key.span,
            _ => span,
        };
        let node = Node { span, content: NodeContent::Scalar { text, plain, means: Scalar::Text } };
        Some(self.attach(node))
    }

    fn begin(&mut self, span: Span, open: OpenNode<'a>) -> Option<Option<Node<'a>>> {
        self.count(span)?;
        if let Some((_, OpenNode::Map { key: None, .. })) = self.open.last() {
            let line = self.file.line(span.line);
            match line.find("{{").filter(|_| !self.file.may_be_secret(span.line)) {
                Some(at) => {
                    let place = Span { column: line[..at].chars().count() as u32 + 1, len: 2, ..span };
                    match doubled_map(&line[at..]) {
                        Some(pairs) => self.file.report(
                            place,
                            "these braces are doubled, so that a map is the key of another",
                            format!("write `{{{pairs}}}`"),
                        ),
                        None => self.file.report(
                            place,
                            "Kiln does not fill in templates",
                            "write the value, or render the file first",
                        ),
                    }
                }
                None if line.trim_start().starts_with("? ") => {
                    let column = (line.len() - line.trim_start().len()) as u32 + 1;
                    let what = "there is a question mark before this field, which makes a map of its key";
                    let hint = match self.file.may_be_secret(span.line) {
                        true => String::new(),
                        false => write(line.trim_start().trim_start_matches(['?', ' '])),
                    };
                    self.file.report(Span { column, len: 1, ..span }, what, hint);
                }
                None => {
                    self.file.report(span, "a key must be text, not a list or a map", "put text like `{…}` in quotes")
                }
            }
            return None;
        }
        if self.open.len() >= self.limits.depth {
            let message = format!("values are nested more than {} deep", self.limits.depth);
            self.file.report(span, message, "no manifest needs this: check for brackets that are not closed");
            return None;
        }
        self.open.push((span, open));
        Some(None)
    }

    fn end(&mut self) -> Option<Option<Node<'a>>> {
        let (span, open) = self.open.pop()?;
        let content = match open {
            OpenNode::List(items) => NodeContent::List(items),
            OpenNode::Map { entries, .. } => {
                if self.open.is_empty() && self.second_document(&entries)
                    || self.decimal_comma(&entries)
                    || self.comma_for_colon(&entries)
                {
                    return None;
                }
                self.duplicates(&entries);
                NodeContent::Map(entries)
            }
        };
        Some(self.attach(Node { span, content }))
    }

    /// Reports a second document in the same map: the separator is missing. Returns whether there is one.
    fn second_document(&self, entries: &[(Key<'a>, Node<'a>)]) -> bool {
        let head = entries.iter().filter(|(key, _)| matches!(&*key.text, "apiVersion" | "kind" | "metadata" | "spec"));
        let mut seen: Vec<&str> = Vec::new();
        let again: Vec<Span> = head
            .filter(|(key, _)| {
                let is_again = seen.contains(&&*key.text);
                seen.push(&key.text);
                is_again
            })
            .map(|(key, _)| key.span)
            .collect();
        match again.as_slice() {
            [first, _, ..] => {
                self.file.report(
                    *first,
                    "a second document begins here without a separator",
                    "write `---` on a line before it",
                );
                true
            }
            _ => false,
        }
    }

    /// Reports a number with a comma, which ends a value in braces: `{size: 1,5Gi}`. Returns whether there is one.
    fn decimal_comma(&self, entries: &[(Key<'a>, Node<'a>)]) -> bool {
        for pair in entries.windows(2) {
            let [(field, whole), (rest, nothing)] = pair else { continue };
            let (
                NodeContent::Scalar { text: digits, plain: true, .. },
                NodeContent::Scalar { text: none, plain: true, .. },
            ) = (&whole.content, &nothing.content)
            else {
                continue;
            };
            if !none.is_empty() {
                continue;
            }
            let comma = whole.span.column.saturating_add(whole.span.len);
            // Perhaps with a space after the comma.
            let is_beside =
                whole.span.line == rest.span.line && rest.span.column > comma && rest.span.column - comma <= 2;
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if !(is_beside && is_number && rest.plain && rest.text.starts_with(|c: char| c.is_ascii_digit())) {
                continue;
            }
            let at = Span { len: rest.span.column.saturating_add(rest.span.len) - whole.span.column, ..whole.span };
            let meant = repair::size(&format!("{digits},{}", rest.text)).into_iter().next();
            let hint = match meant.filter(|_| !self.file.may_be_secret(at.line)) {
                Some(meant) => format!("write `{}: {meant}`", field.text),
                None => "write a number without a comma".to_owned(),
            };
            self.file.report(
                at,
                format!("there is a comma in the value of `{}`, which ends it in braces", field.text),
                hint,
            );
            return true;
        }
        false
    }

    /// Reports two keys alone, where the second is the value of the first: `{name, web}`. Returns whether there are two.
    fn comma_for_colon(&self, entries: &[(Key<'a>, Node<'a>)]) -> bool {
        let is_null = |(key, value): &(Key<'a>, Node<'a>)| {
            let is_empty = matches!(&value.content, NodeContent::Scalar { text, plain: true, .. } if text.is_empty());
            is_empty && !key.text.contains([':', '=', ' '])
        };
        let mut nulls = (0..entries.len()).filter(|index| is_null(&entries[*index]));
        let (Some(first), Some(second), None) = (nulls.next(), nulls.next(), nulls.next()) else { return false };
        let ends_alone = |index: usize| {
            let Span { line, column, len } = entries[index].0.span;
            let mut after = self.file.line(line).chars().skip(column.saturating_add(len) as usize - 1);
            after.find(|c| *c != ' ').is_none_or(|c| matches!(c, ',' | '}'))
        };
        if !(ends_alone(first) && ends_alone(second)) {
            return false;
        }
        let (field, value) = (&entries[first].0, &entries[second].0);
        if second != first + 1 || field.span.line != value.span.line {
            return false;
        }
        let at = Span { column: field.span.column + field.span.len, len: 1, ..field.span };
        let (message, hint) = match self.file.may_be_secret(at.line) {
            true => ("there is a comma in place of a colon".to_owned(), String::new()),
            false => (
                format!("there is a comma in place of a colon after `{}`", field.text),
                write(&format!("{}: {}", field.text, value.text)),
            ),
        };
        self.file.report(at, message, hint);
        true
    }

    /// Whether the second line is the first one again, so that it can be removed.
    fn is_doubled(&self, first: u32, second: u32) -> bool {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let (one, other) = (self.file.line(first), self.file.line(second));
        let has_more = indent(self.file.line(second + 1)) > indent(other);
        first < second && one.trim_end() == other.trim_end() && (!has_more || first + 1 == second)
    }

    fn duplicates(&mut self, entries: &[(Key<'a>, Node<'a>)]) {
        let mut keys: Vec<&Key<'a>> = entries.iter().map(|(key, _)| key).collect();
        keys.sort_by(|a, b| a.text.cmp(&b.text).then(a.span.cmp(&b.span)));
        for pair in keys.windows(2).filter(|pair| pair[0].text == pair[1].text) {
            let message =
                format!("the key {} occurs twice; the first is on line {}", quote(&pair[1].text), pair[0].span.line);
            let hint = if self.is_doubled(pair[0].span.line, pair[1].span.line) {
                "remove the line"
            } else {
                "keep one of the two"
            };
            self.file.report(pair[1].span, message, hint);
            self.doubles += 1;
        }
    }

    /// Adds a finished node to the enclosing list or map. Returns the outermost node.
    fn attach(&mut self, node: Node<'a>) -> Option<Node<'a>> {
        match self.open.last_mut() {
            None => return Some(node),
            Some((_, OpenNode::List(items))) => items.push(node),
            Some((_, OpenNode::Map { entries, key })) => {
                if let Some(key) = key.take() {
                    entries.push((key, node));
                }
            }
        }
        None
    }
}

/// Reports that a document is not valid YAML: the typing error, if it is recognised, or else the parser's message.
pub(super) fn syntax(file: &File, chunk: Chunk<'_>, at: Span, info: &str) {
    let mut text = Cow::Borrowed(chunk.text);
    let mut is_known = false;
    while let Some(typo) = recognise(Chunk { text: &text, ..chunk }) {
        let byte = reserved_at(&text, chunk.first_line, typo.span);
        // The alias of a merge key, which is reported.
        let is_merged = typo.what == ALIAS && file.line(typo.span.line).trim_start().starts_with("<<:");
        if !is_merged {
            file.report_typo(typo);
        }
        is_known = true;
        // With a letter in place of a reserved character, further ones are found.
        let Some(byte) = byte else { break };
        text.to_mut().replace_range(byte..=byte, "x");
        if Parser::new_from_str(&text).all(|event| event.is_ok()) {
            break;
        }
    }
    if is_known {
        return;
    }
    // "while scanning a plain scalar, found a tab"
    let info = match info.split_once(", ") {
        Some((context, rest)) if context.starts_with("while ") => rest,
        _ => info,
    };
    let hint = "check the indentation, colons and quotes here and on the line before";
    file.report(chunk.within(at), format!("the document is not valid YAML: {info}"), hint);
}

/// Returns the byte of a place, if there is a character that YAML reserves.
fn reserved_at(text: &str, first_line: u32, span: Span) -> Option<usize> {
    if span.len != 1 {
        return None;
    }
    let line = text.split_inclusive('\n').nth((span.line - first_line) as usize)?;
    let (byte, _) =
        line.char_indices().nth(span.column as usize - 1).filter(|(_, c)| matches!(c, '@' | '`' | '%' | '*'))?;
    // An asterisk alone is no alias.
    if line[byte..].starts_with("* ") {
        return None;
    }
    Some(line.as_ptr() as usize - text.as_ptr() as usize + byte)
}

/// Returns a line without the escape sequences of HTML, if there is one at this column. Not of a long line.
fn without_html(line: &str, column: u32) -> Option<String> {
    const ESCAPES: [(&str, &str); 6] =
        [("&quot;", "\""), ("&#39;", "'"), ("&apos;", "'"), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")];
    let (at, _) = line.char_indices().nth(column as usize - 1).filter(|_| line.len() <= 1000)?;
    let is_escape = ESCAPES.iter().any(|(escape, _)| line[at..].starts_with(escape));
    is_escape.then(|| ESCAPES.iter().fold(line.to_owned(), |line, (escape, c)| line.replace(escape, c)))
}
