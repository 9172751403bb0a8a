//! Where manifests are read from.

use std::path::PathBuf;

/// Where manifests are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory or a single file.
    Path(PathBuf),
    /// The complete text of standard input. Relative paths in it start at the working directory.
    Text(String),
}
