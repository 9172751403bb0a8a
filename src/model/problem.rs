//! A problem of the manifests, as data.

use serde::{Deserialize, Serialize};

/// A problem of the manifests, as shown to programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemView {
    /// The file; null where no file is meant.
    pub file: Option<String>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// One sentence.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}
