//! Reads YAML manifests into [`Specs`]. Reports all problems at once, each with its place.
//!
//! In order of use: `files` finds and reads the files. `text` splits each into documents. `scan` checks the parser events of a document
//! for unsafe or ambiguous YAML before any value is built, and `value` adds the values of scalars. `read` reads maps by the tables of
//! their fields, with the cursor of `fields`; `kinds` turns them into documents. `link` checks the documents together and builds the
//! specs.
//!
//! Problems name the typing error. If a document is not valid YAML, `typo` finds it in the lines, with `slips` (one line) and `bracket`
//! (values in quotes and brackets); `known` says what a name can be. `strays` explains unknown and missing fields together; `repair` and `advice` guess what a wrong value
//! was meant to be.
//!
//! `load` does this once; `reader` repeatedly, with `last_good` substituting the last valid content of files with a problem.
//! `path_policy` decides which paths manifests may name, after `resolve` resolved their links. `git` determines the commit, and
//! `coverage` what the reading covers. `problem` formats problems, and `schema` describes the tables to editors.
//!
//! [`Specs`]: crate::model::Specs

mod advice;
mod beside;
mod bracket;
mod coverage;
mod fields;
mod files;
#[cfg(test)]
pub(crate) mod fixtures;
mod git;
mod homes;
mod kinds;
mod known;
mod known_file;
mod last_good;
mod limits;
mod lines;
mod link;
mod load;
mod omitted;
mod pasted;
mod path_policy;
mod problem;
mod read;
mod reader;
mod repair;
mod resolve;
mod scan;
mod schema;
mod slips;
mod source;
mod span;
mod strays;
mod text;
mod typo;
mod value;

pub use git::{checkout_in_progress, commit_of, path_in_work_tree};
pub use limits::Limits;
pub use load::{Loaded, load};
pub use path_policy::{AllowWritten, Allowed, NamedPath, check_saved_paths};
pub use problem::{Problem, problem_views};
pub use reader::{ManifestState, Reader};
pub use schema::schema;
pub use source::Source;
