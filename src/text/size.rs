//! Counts and sizes in sentences.

use crate::model::Size;

/// Formats a count with its noun: `1 document`, `2 documents`.
pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Formats a size for a comparison: with its bytes where the short form is rounded, so that different sizes never read alike.
pub fn exact(size: Size) -> String {
    let short = size.rounded();
    if short.parse() == Ok(size) { short } else { format!("{short} ({} bytes)", size.bytes()) }
}
