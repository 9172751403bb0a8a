//! A problem of the manifests, as data.

use serde::{Deserialize, Serialize};

/// A problem of the manifests, as shown to programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemView {
    /// The file; null if the problem has none.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}
