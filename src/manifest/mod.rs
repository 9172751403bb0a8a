//! YAML → [`Specs`]: walk the directory, parse with places, check everything, report all problems at once.

use std::path::PathBuf;

use crate::model::{SourcePlace, Specs};

/// Where manifests come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory or a single file.
    Path(PathBuf),
    /// The whole of standard input, already read. Paths in it are relative to the working directory.
    Text(String),
}

/// What was read, and everything that was wrong with it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is good of it; `specs.broken` if there is any problem.
    pub specs: Specs,
    /// In order of file, line and column. Not empty: a one-shot command ends with exit code 5.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: SourcePlace,
    /// One sentence, without the place.
    pub message: String,
    /// What to do next, or what was probably meant.
    pub hint: Option<String>,
    /// The line of the file, and how many characters from `place.column` on are meant.
    pub excerpt: Option<(String, u32)>,
}
