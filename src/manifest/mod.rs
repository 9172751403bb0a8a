//! YAML → [`Specs`]: walk the directory, parse with places, check everything, report all problems at once.
//!
//! `files` finds and reads the files; `text` cuts each into documents; `scan` runs the parser's events over a document and refuses
//! what is dangerous or ambiguous before any value is built; `value` adds what the scalars mean; `read` reads maps by the tables of
//! their fields, with the cursor of `fields`, which reports everything that is wrong and not only the first thing; `kinds` makes documents of
//! them; `link` checks the documents together and makes the specs. `reach` judges the paths that are named, `resolve` follows them. `git` names the commit, and `coverage` says
//! what the reading covers. `load` goes this way once, `reader` again and
//! again, and `meaning` says what holds while some files have a problem. `render` shows a problem, `schema` describes the same tables to editors.

mod coverage;
mod fields;
mod files;
mod git;
mod kinds;
mod last_good;
mod link;
mod load;
mod path_policy;
mod read;
mod reader;
mod render;
mod resolve;
mod scan;
mod schema;
mod text;
mod value;

use std::path::PathBuf;

pub use git::{checkout_in_progress, commit_of, path_in_work_tree};
pub use load::load;
pub use path_policy::{Allowed, Named, judge_saved_paths};
pub use reader::{ManifestState, Reader};
pub use render::problem_views;
pub use schema::schema;

use crate::model::{Reading, SourcePlace};

/// What reading may cost. With the defaults no file makes it take more than 64 MiB or 200 ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes per file.
    pub file_bytes: u64,
    /// Bytes of all files together.
    pub total_bytes: u64,
    /// Files.
    pub files: usize,
    /// Documents per file.
    pub documents: usize,
    /// Bytes per document. The parser looks ahead without bound inside of brackets, in time that grows with the square of the
    /// distance: only what is short may be handed to it.
    pub document_bytes: usize,
    /// Values and keys per document.
    pub nodes: usize,
    /// Lists and maps within one another.
    pub depth: usize,
    /// Problems that are reported of each file.
    pub shown: usize,
}

impl Default for Limits {
    /// 1 MiB holds about 3,000 volumes. No document that a person writes has a thousand values or is ten deep; the limits are
    /// ten and three times that, and their cost was measured (`tests/manifest_limits.rs`).
    fn default() -> Self {
        Self {
            file_bytes: 1 << 20,
            total_bytes: 256 << 20,
            files: 10_000,
            documents: 20_000,
            document_bytes: 32 << 10,
            nodes: 10_000,
            depth: 32,
            shown: 100,
        }
    }
}

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
    /// What is good of it; `broken` if there is any problem.
    pub reading: Reading,
    /// In order of file, line and column. Not empty: a one-shot command ends with exit code 5.
    pub problems: Vec<Problem>,
    /// Every path that is named, with the document that names it: see [`Loaded::apply_path_policy`].
    pub paths: Vec<Named>,
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
