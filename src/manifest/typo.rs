//! Recognises typing errors in a document that is not valid YAML.
//!
//! The parser says where it could not continue, which is often a line below the mistake. The functions here go through the lines from the
//! top, like a person, and stop at the first line that one of them recognises as wrong. Each finds one kind of mistake and gives the
//! corrected line. They are called only if the parser refused the document, and find nothing in valid manifests (a test below).

use super::beside::{ends_line, inner_quote};
use super::bracket::{Nested, nested, reserved};
use super::lines::{Line, SourceLines, TOP, Typo, write};
use super::omitted::{list_key, section_key};
use super::pasted::{conflict, fence, foreign_comment, pasted, separator, template};
use super::problem::clip;
use super::slips::{
    after, asterisk, continued, dash, dash_value, dashes_above, no_colon, no_field, second_brace, second_document, tab,
    tab_after_colon, two_colons,
};
use super::span::Chunk;

/// Finds the first typing error in a document that is not valid YAML.
pub(super) fn recognise(chunk: Chunk<'_>) -> Option<Typo> {
    let lines = SourceLines::of(chunk);
    let mut reader = Blocks { lines: &lines, levels: Vec::new(), ended: None, before: Before::Nothing };
    let mut index = 0;
    while let Some(line) = lines.lines.get(index) {
        match Line::of(index, line) {
            // `---` begins the document, perhaps with its first value.
            Some(line) if index == 0 && line.indent == 0 && line.text.starts_with("---") => {
                if let Some(typo) = separator(&lines, &line) {
                    return Some(typo);
                }
            }
            Some(line) => match reader.read(line) {
                Ok(Some(last)) => index = last,
                Ok(None) => return None,
                Err(typo) => return Some(typo),
            },
            None => {}
        }
        index += 1;
    }
    None
}

/// What the line before this one contains.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A key without a value, whose value may follow below it.
    Key,
    /// A plain text, which may continue below.
    Plain,
    /// A complete value.
    Value,
}

/// Lines of one indentation.
struct Level<'a> {
    indent: usize,
    is_list: bool,
    /// Its first and its last line.
    first: Line<'a>,
    last: Line<'a>,
}

/// Goes through the lines outside of quotes and brackets.
struct Blocks<'a, 'l> {
    lines: &'l SourceLines<'a>,
    /// The levels of indentation that contain the present line, the outermost first.
    levels: Vec<Level<'a>>,
    /// The last line that ended levels, and their indentation.
    ended: Option<(Line<'a>, Vec<usize>)>,
    before: Before,
}

impl<'a> Blocks<'a, '_> {
    /// Reads a value that begins in this line. Returns the index of its last line, or `None` if the rest cannot be judged.
    fn read(&mut self, line: Line<'a>) -> Result<Option<usize>, Typo> {
        let lines = self.lines;
        let found = self
            .tab(&line)
            .or_else(|| fence(lines, &line))
            .or_else(|| conflict(lines, &line))
            .or_else(|| template(lines, line.index, line.indent))
            .or_else(|| pasted(lines, &line))
            .or_else(|| separator(lines, &line))
            .or_else(|| foreign_comment(lines, &line));
        if let Some(typo) = found {
            return Err(typo);
        }
        let is_list = self.levels.last().is_some_and(|level| level.is_list && level.indent == line.indent);
        if let Some(typo) = asterisk(lines, &line, is_list) {
            return Err(typo);
        }
        let is_item = line.is_item();
        let field = line.field();
        if !is_item && field.is_none() && !line.text.starts_with(['{', '[', '"', '\'']) {
            return self.bare(line).map_or(Ok(Some(line.index)), Err);
        }
        if (is_item || field.is_some())
            && let Some(typo) = self.indentation(line, is_item)
        {
            return Err(typo);
        }
        let start = match field {
            _ if is_item => self.item(line),
            Some((_, value)) => value,
            None => line.indent,
        };
        let value = &lines.lines[line.index][start..line.indent + line.text.len()];
        let is_second = self.before == Before::Value && self.levels.is_empty();
        self.before = Before::Value;
        if let Some(typo) = field.and_then(|_| tab_after_colon(lines, &line, start)) {
            return Err(typo);
        }
        match value.chars().next() {
            Some('{') if is_second => return Err(second_document(lines, &line)),
            Some('\\') if value.len() == 1 => return Err(continued(lines, &line, start)),
            None => self.before = Before::Key,
            Some('{') if value.starts_with("{{") && value.contains("}}") => {
                return template(lines, line.index, start).map_or(Ok(None), Err);
            }
            Some('{') if value.starts_with("{{") => return Err(second_brace(lines, &line, start)),
            Some('{' | '[' | '"' | '\'') => {
                let Nested { line: last, end } = nested(lines, line, start)?;
                let quote = value.starts_with(['"', '\'']);
                let inner = inner_quote(lines, (line.index, start), (last, end), ends_line).filter(|_| quote);
                return inner.or_else(|| after(lines, last, end)).map_or(Ok(Some(last)), Err);
            }
            Some('|' | '>') if value[1..].chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '+')) => {
                let deeper = |next: &Line<'_>| next.indent > line.indent;
                let mut last = line.index;
                while let Some(next) = lines.next(last).filter(deeper) {
                    last = next.index;
                }
                return Ok(Some(last));
            }
            Some(_) => {
                let found = dash_value(lines, &line, start, value)
                    .or_else(|| reserved(lines, line.index, start, value))
                    .or_else(|| two_colons(lines, &line, start, value));
                if let Some(typo) = found {
                    return Err(typo);
                }
                self.before = Before::Plain;
            }
        }
        Ok(Some(line.index))
    }

    /// A tab before the text of a line, with the indentation that it should have.
    fn tab(&self, line: &Line<'a>) -> Option<Typo> {
        let above = self.levels.last().map_or(0, |level| level.indent);
        let usual = if self.before == Before::Key { above + 2 } else { above };
        let is_level = |indent: usize| indent == usual || self.levels.iter().any(|level| level.indent == indent);
        tab(self.lines, line, usual, is_level)
    }

    /// Returns the byte at which the value of an item begins: the value of its first field, if it is a map.
    fn item(&mut self, line: Line<'a>) -> usize {
        let text = line.text[1..].trim_start();
        let first = Line { indent: line.indent + line.text.len() - text.len(), text, ..line };
        let Some((_, value)) = first.field() else { return first.indent };
        self.levels.push(Level { indent: first.indent, is_list: false, first, last: first });
        value
    }

    /// A line that is neither a field nor an item: the value of the key above, the rest of a text, or a mistake.
    fn bare(&mut self, line: Line<'a>) -> Option<Typo> {
        let level = self.levels.last().map_or(0, |level| level.indent);
        let is_deeper = !self.levels.is_empty() && line.indent > level;
        let next = self.lines.next(line.index);
        let is_value = match self.before {
            // Further fields below it show that it is no value.
            Before::Key => is_deeper && next.is_none_or(|next| next.indent < line.indent),
            Before::Plain => is_deeper,
            Before::Nothing | Before::Value => false,
        };
        if is_value {
            self.before = Before::Plain;
            return None;
        }
        let opens = next.is_some_and(|next| next.indent > line.indent);
        Some(match no_colon(self.lines, line) {
            Some(typo) => typo,
            None if self.before == Before::Key && !opens => self.value_below(line),
            None => no_field(self.lines, line, opens),
        })
    }

    /// The value of a key on a line of its own, not indented.
    fn value_below(&self, line: Line<'_>) -> Typo {
        let above = (0..line.index).rev().find_map(|index| Line::of(index, self.lines.lines[index]));
        let key = above.map_or("", |above| above.text);
        Typo {
            span: self.lines.span(line.index, line.indent, line.text.chars().count()),
            what: "this value is not on the line of its key",
            of: format!(" `{}`", key.trim_end_matches(':')),
            fix: write(&format!("{key} {}", line.text)),
        }
    }

    /// Checks the indentation of a field or an item, and makes its level the last one.
    fn indentation(&mut self, line: Line<'a>, is_item: bool) -> Option<Typo> {
        let left = self.levels.split_off(self.levels.partition_point(|level| level.indent <= line.indent));
        // The items of a list may have the indentation of its key.
        let list = self.levels.pop_if(|level| level.indent == line.indent && level.is_list && !is_item);
        // Without a level of its own before the list, the fields of one map begin with a dash, and this one does not.
        if let Some(list) = list.filter(|list| self.levels.last().is_none_or(|level| list.indent > level.indent)) {
            return Some(dashes_above(self.lines, &list.first, list.is_single()));
        }
        let opens = self.before == Before::Key;
        match self.levels.last_mut() {
            Some(level) if level.indent == line.indent && level.is_list == is_item => {
                level.last = line;
                if !left.is_empty() {
                    self.ended = Some((line, left.iter().map(|level| level.indent).collect()));
                }
                return None;
            }
            Some(level) if level.indent == line.indent && !opens => {
                return match left.iter().find(|level| level.is_list) {
                    Some(list) => Some(indented(self.lines, line, list.first, list.indent)),
                    None => list_key(self.lines, self.last_key(), &line).or_else(|| dash(self.lines, &line)),
                };
            }
            _ if !left.is_empty() => return Some(self.uneven(line, &left[0])),
            Some(_) if !opens => return Some(self.too_deep(line)),
            _ => {}
        }
        self.levels.push(Level { indent: line.indent, is_list: is_item, first: line, last: line });
        None
    }

    /// Returns the usual indentation below the last `skipped` levels: two spaces more than the level outside of them.
    fn usual(&self, skipped: usize) -> usize {
        self.levels.iter().rev().nth(skipped).map_or(0, |outer| outer.indent + 2)
    }

    /// Returns the key of the field above.
    fn last_key(&self) -> &'a str {
        self.levels.last().and_then(|level| level.last.field()).map_or("", |(key, _)| key)
    }

    /// A line that is deeper than the field above it, which has a value.
    fn too_deep(&self, line: Line<'_>) -> Typo {
        let Some(above) = self.levels.last() else { return indented(self.lines, line, line, 0) };
        let around = self.levels.iter().rev().skip(1).rev();
        let path: Option<Vec<&str>> = around.map(|level| level.last.field().map(|(key, _)| key)).collect();
        if let Some(typo) = path.and_then(|path| section_key(self.lines, &path, above.indent, &line)) {
            return typo;
        }
        let is_outdented = above.indent == 0 && !is_top(&above.last);
        match is_outdented || (above.is_single() && line.indent == self.usual(1)) {
            true => indented(self.lines, above.last, line, line.indent),
            false => indented(self.lines, line, above.first, above.indent),
        }
    }

    /// A line between two levels: less deep than `left`, and deeper than the last one of `self`.
    fn uneven(&self, line: Line<'_>, left: &Level<'_>) -> Typo {
        // If the indentation was right until a line above ended it, that line may be the mistake.
        let ended = self.ended.as_ref().filter(|(_, indents)| indents.contains(&line.indent)).map(|(line, _)| *line);
        if let Some(early) = ended.filter(|early| early.indent == 0 && !is_top(early)) {
            return indented(self.lines, early, line, line.indent);
        }
        // Two spaces are usual. If only the line above differs from that, that line is the mistake.
        if left.is_single() && line.indent == self.usual(0) {
            return indented(self.lines, left.first, line, line.indent);
        }
        if let Some(early) = ended.filter(|early| !is_top(early)) {
            return indented(self.lines, early, line, line.indent);
        }
        match self.levels.last() {
            Some(outer) if is_top(&line) || (left.is_list && !line.is_item()) => {
                indented(self.lines, line, outer.first, outer.indent)
            }
            // It may belong to either.
            Some(outer)
                if outer.indent > 0
                    && outer.is_list == line.is_item()
                    && line.indent - outer.indent == left.indent - line.indent =>
            {
                Typo {
                    fix: format!(
                        "indent it by {} spaces like {}, or by {} like {}",
                        outer.indent,
                        named(&outer.first),
                        left.indent,
                        named(&left.first)
                    ),
                    ..indented(self.lines, line, left.first, left.indent)
                }
            }
            _ => indented(self.lines, line, left.first, left.indent),
        }
    }
}

impl Level<'_> {
    /// Whether it has one line so far.
    fn is_single(&self) -> bool {
        self.first.index == self.last.index
    }
}

/// Whether the line is a field of every document, which belongs at the top level.
fn is_top(line: &Line<'_>) -> bool {
    line.field().is_some_and(|(key, _)| TOP.contains(&key))
}

/// Returns the name of a line for messages: its key.
fn named(line: &Line<'_>) -> String {
    let key = line.field().map_or(line.text, |(key, _)| key);
    format!("`{}`", clip(key, 40))
}

fn blanks(count: usize) -> String {
    format!("{count} space{}", if count == 1 { "" } else { "s" })
}

/// A line that should have as many blanks before it as another line has.
fn indented(lines: &SourceLines<'_>, wrong: Line<'_>, right: Line<'_>, spaces: usize) -> Typo {
    let number = lines.first + right.index as u32;
    let of =
        format!(": {} has {}, {} on line {number} has {spaces}", named(&wrong), blanks(wrong.indent), named(&right));
    match wrong.indent.checked_sub(spaces) {
        Some(more) => Typo {
            span: lines.span(wrong.index, spaces, more),
            what: "this line is indented too far",
            of,
            fix: format!("remove {} before {}", blanks(more), named(&wrong)),
        },
        None => Typo {
            span: lines.span(wrong.index, wrong.indent, 1),
            what: "this line is not indented far enough",
            of,
            fix: format!("add {} before {}", blanks(spaces - wrong.indent), named(&wrong)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Adds the documents of all manifests below a directory, and those of Markdown files.
    fn documents(root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let text = || fs::read_to_string(&path).unwrap();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => documents(&path, found),
                Some("yaml") => found.extend(text().split("\n---\n").map(str::to_owned)),
                Some("md") => found.extend(
                    text().split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned()),
                ),
                _ => {}
            }
        }
    }

    #[test]
    fn nothing_is_recognised_in_valid_yaml() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = vec![
            "request: a text\n  in two lines\nother: 'it''s'\nmore: \"a\n  b: c\"\nlast: |\n  any: text: {\n\n  - x\n"
                .to_owned(),
            "map: {a: [1, 2],\n  b: \"}\"}\nlist:\n- a\n- c\nend: a:b # c: d\n".to_owned(),
            "{\"apiVersion\": \"kiln/v1\", \"spec\": {\"size\":1}}\n".to_owned(),
        ];
        for directory in ["specs", "examples", "docs", "tests/plans"] {
            documents(&root.join(directory), &mut found);
        }
        assert!(found.len() > 300, "only {} documents", found.len());
        found.retain(|text| !text.contains("scrape_configs"));
        for text in found.iter().flat_map(|text| text.split("\n---\n")) {
            let mut events = saphyr_parser::Parser::new_from_str(text);
            if events.by_ref().all(|event| event.is_ok()) {
                assert_eq!(recognise(Chunk { first_line: 1, text }), None, "{text}");
            }
        }
    }
}
