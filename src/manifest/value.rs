//! The values of a document, by `serde_yaml`. Its tree and that of the events must be the same: a document that two parsers
//! read differently is refused, whichever of them is right.

use serde_yaml::Value;

use super::scan::{Content, Node, Scalar};
use super::text::{Chunk, File, Span};

/// Fills in what each scalar of `node` means. The document has passed [`super::scan::scan`], so that its values are bounded.
/// `None`: not possible, and the problem says why.
pub(super) fn settle(file: &File, chunk: Chunk<'_>, node: &mut Node<'_>) -> Option<()> {
    let value: Value = match serde_yaml::from_str(chunk.text) {
        Ok(value) => value,
        Err(error) => {
            let at = error.location().map_or(node.span, |at| Span {
                line: chunk.first_line + (at.line() as u32).saturating_sub(1),
                column: (at.column() as u32).max(1),
                len: 1,
            });
            let text = error.to_string();
            // Its words for a number beyond 64 bits repeat the number, which may be a secret written without quotes.
            if text.contains("128") {
                file.report(at, "this number is too large", "put it in quotes if it is text");
                return None;
            }
            let hint = "look at the indentation, colons and quotes here and on the line before";
            // The lines that it names are counted from the beginning of the document.
            let text = text.split(" at line ").next().unwrap_or_default();
            file.report(at, format!("the document is not valid YAML: {text}"), hint);
            return None;
        }
    };
    match agree(node, &value) {
        Ok(()) => Some(()),
        Err(at) => {
            file.report(
                at,
                "this can be read in two ways",
                "put the value in quotes, without line breaks or unusual blanks",
            );
            None
        }
    }
}

/// Where the two differ, if they do. Recursion is as deep as the scan allowed.
fn agree(node: &mut Node<'_>, value: &Value) -> Result<(), Span> {
    let span = node.span;
    match (&mut node.content, value) {
        (Content::List(items), Value::Sequence(values)) if items.len() == values.len() => {
            items.iter_mut().zip(values).try_for_each(|(item, value)| agree(item, value))
        }
        (Content::Map(entries), Value::Mapping(values)) if entries.len() == values.len() => {
            entries.iter_mut().zip(values).try_for_each(|((key, item), (name, value))| {
                let same = match name {
                    Value::String(name) => *name == key.text,
                    Value::Null | Value::Bool(_) | Value::Number(_) => key.plain,
                    _ => false,
                };
                if same { agree(item, value) } else { Err(key.span) }
            })
        }
        (Content::Scalar { text, plain, means }, value) => {
            *means = match value {
                // Whether a block that the file's end cuts off ends in a line end is the one harmless difference.
                Value::String(string) if string.trim_end_matches('\n') == text.trim_end_matches('\n') => Scalar::Text,
                Value::Null if *plain => Scalar::Null,
                Value::Bool(bool) if *plain => Scalar::Bool(*bool),
                Value::Number(number) if *plain => match (number.as_u64(), number.as_f64()) {
                    (Some(whole), _) => Scalar::Whole(whole),
                    (None, _) if number.is_i64() => Scalar::Negative,
                    (None, float) => Scalar::Float(float.unwrap_or(f64::NAN)),
                },
                _ => return Err(span),
            };
            Ok(())
        }
        _ => Err(span),
    }
}
