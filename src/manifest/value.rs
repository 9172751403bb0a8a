//! Reads the values of a document with `serde_yaml`, and compares its tree with the one from parser events. A document that the two
//! parsers read differently is refused.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::scan::{Node, NodeContent, Scalar, syntax};
use super::span::{Chunk, Span};
use super::text::File;

/// Sets the value of each scalar in `node`. The document has passed [`super::scan::scan`], so its size is bounded. Returns `None`, with a
/// problem reported, if the values cannot be read.
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
            // The message about a number beyond 64 bits repeats the number, which may be a secret without quotes.
            if text.contains("128") {
                file.report(at, "this number is too large", "put it in quotes if it is text");
                return None;
            }
            // The line numbers in the message count from the start of the document.
            let text = text.split(" at line ").next().unwrap_or_default();
            syntax(file, chunk, at, text);
            return None;
        }
    };
    let mut odd = Vec::new();
    let agreed = agree(node, &value, &mut odd);
    for (at, scalar) in odd {
        let hint = match scalar {
            Scalar::Bool(true) => "write `true`, or put text in quotes",
            Scalar::Bool(false) => "write `false`, or put text in quotes",
            _ => "write numbers as plain digits; put text in quotes",
        };
        file.report_ambiguous(at, hint);
    }
    agreed
        .map_err(|at| file.report_ambiguous(at, "put the value in quotes, without line breaks or unusual blanks"))
        .ok()
}

/// Compares the two trees. Fails with the first place where they differ; `odd` collects the scalars that other parsers read
/// differently. The recursion is as deep as the scan allowed.
fn agree(node: &mut Node<'_>, value: &Value, odd: &mut Vec<(Span, Scalar)>) -> Result<(), Span> {
    let span = node.span;
    match (&mut node.content, value) {
        (NodeContent::List(items), Value::List(values)) if items.len() == values.len() => {
            items.iter_mut().zip(values).try_for_each(|(item, value)| agree(item, value, odd))
        }
        (NodeContent::Map(entries), Value::Map(values)) if entries.len() == values.len() => {
            entries.iter_mut().zip(values).try_for_each(|((key, item), (name, value))| {
                let same = match name {
                    Value::Scalar(Scalar::Text, name) => *name == key.text,
                    Value::Scalar(..) => key.plain,
                    _ => false,
                };
                if same { agree(item, value, odd) } else { Err(key.span) }
            })
        }
        (NodeContent::Scalar { text, plain, means }, Value::Scalar(scalar, string)) => {
            // The trees may differ in a trailing line feed of a block at the end of the file, which is harmless.
            let same = match scalar {
                Scalar::Text => string.trim_end_matches('\n') == text.trim_end_matches('\n'),
                _ => *plain,
            };
            // Parsers disagree on signs, leading zeroes, bases, exponents and `True`.
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let plain_number = |text: &str| text == "0" || (!text.starts_with('0') && digits(text));
            let is_odd = match scalar {
                Scalar::Whole(_) => !plain_number(text),
                Scalar::Float(_) => {
                    !text.split_once('.').is_some_and(|(whole, part)| plain_number(whole) && digits(part))
                }
                Scalar::Bool(_) => !matches!(text.as_ref(), "true" | "false"),
                _ => false,
            };
            if same && is_odd {
                odd.push((span, *scalar));
            }
            *means = *scalar;
            if same { Ok(()) } else { Err(span) }
        }
        _ => Err(span),
    }
}

/// A value as `serde_yaml` reads it. Unlike its own `Value` it allows duplicate keys, which are reported already.
enum Value {
    /// A scalar, with its text if it is text.
    Scalar(Scalar, String),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Scalar(Scalar::Null, String::new()))
    }

    fn visit_bool<E: Error>(self, bool: bool) -> Result<Value, E> {
        Ok(Value::Scalar(Scalar::Bool(bool), String::new()))
    }

    fn visit_u64<E: Error>(self, whole: u64) -> Result<Value, E> {
        Ok(Value::Scalar(Scalar::Whole(whole), String::new()))
    }

    fn visit_i64<E: Error>(self, whole: i64) -> Result<Value, E> {
        Ok(Value::Scalar(u64::try_from(whole).map_or(Scalar::Negative, Scalar::Whole), String::new()))
    }

    fn visit_f64<E: Error>(self, float: f64) -> Result<Value, E> {
        Ok(Value::Scalar(Scalar::Float(float), String::new()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Scalar(Scalar::Text, text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Scalar(Scalar::Text, text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}
