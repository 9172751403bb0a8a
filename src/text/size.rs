//! Counts and sizes in sentences.

use super::Paint;
use crate::model::{DeclaredSize, Size};

/// Formats a count with its noun: `1 document`, `2 documents`.
pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Formats a size for a column of a table: exact on a pipe; on a terminal, a long number is rounded.
pub fn sized(size: Size, paint: Paint) -> String {
    if paint.width.is_some() { size.rounded() } else { size.to_string() }
}

/// Formats the size of an object of a declared size for a comparison.
pub fn as_declared(declared: Option<DeclaredSize>, size: Size) -> String {
    declared.map_or_else(|| size.exact(), |declared| declared.exact(size))
}

/// Formats a size for a comparison: see [`Size::exact`].
pub fn exact(size: Size) -> String {
    size.exact()
}
