//! Stories of restores.

use crate::harness::pool::Outside;
use crate::harness::story::{Chapter, Story};
use crate::rig::{join, snapshot, volume};

use super::renames::renamed;

/// Clients write to both halves of what a snapshot has, and beyond it.
fn write_all_over(chapter: u64) -> Vec<Outside> {
    [1, 400, 600].map(|block| Outside::WriteAll { block, stamp: 1000 * chapter + block }).to_vec()
}

/// A volume that has grown since its snapshot is restored, while it is also to be changed and copied; then all but one copy goes.
fn restored() -> Vec<Chapter> {
    let monday = snapshot("monday", "db", ", onRemove: Detach");
    let restore = ", restore: {snapshot: monday, request: once}";
    let chapters = [
        ("declare", join(&[volume("db", "size: 2Mi")])),
        ("snapshot", join(&[volume("db", "size: 2Mi"), monday.clone()])),
        ("grow", join(&[volume("db", "size: 4Mi"), monday.clone()])),
        (
            "restore",
            join(&[
                volume("db", &format!("size: 4Mi, onRemove: Delete{restore}")),
                monday,
                snapshot("before", "db", ""),
                volume("copy", "size: 2Mi, source: {snapshot: monday}"),
            ]),
        ),
        (
            "after",
            join(&[
                renamed("database", "db", &format!("size: 5Mi{restore}")),
                snapshot("before", "database", ""),
                snapshot("after", "database", ""),
                volume("copy", "size: 2Mi"),
            ]),
        ),
        ("remove", join(&[volume("copy", "size: 2Mi")])),
    ];
    let numbered = chapters.into_iter().zip(0..);
    numbered.map(|((name, reading), nth)| Chapter::new(name, reading).after(write_all_over(nth))).collect()
}

/// A restore was begun by another program; the volume is renamed meanwhile. It is completed before anything else is done.
fn begun() -> Vec<Chapter> {
    let renamed = join(&[renamed("database", "db", "size: 2Mi"), snapshot("monday", "database", "")]);
    vec![
        Chapter::new("declare", join(&[volume("db", "size: 1Mi"), snapshot("monday", "db", "")]))
            .after(write_all_over(0)),
        Chapter::new("rename", renamed)
            .after(write_all_over(1))
            .after(vec![Outside::BeginRestore { volume: "db", snapshot: "monday" }]),
    ]
}

pub fn all() -> Vec<Story> {
    vec![Story::new("restored", &["in-steps", "all"], restored()), Story::new("begun-restore", &["in-steps"], begun())]
}
