//! Hand-written stories. Together they reach every action and every reason to hold something.

mod changes;
mod inside;
mod people;
mod pools;
mod refusals;
mod renames;
mod restores;
mod strangers;

use super::story::Story;

/// All stories.
pub fn all() -> Vec<Story> {
    [
        changes::all(),
        renames::all(),
        inside::all(),
        restores::all(),
        refusals::all(),
        strangers::all(),
        people::all(),
        pools::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
