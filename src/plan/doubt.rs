//! Why the removal of an undeclared object is in doubt: its document may be missing only by mistake.

use crate::model::{Coverage, Doubt};
use crate::text::{quoted, rfc3339};

use super::types::HeldReason;

/// Returns the reason, the message and the fix for an object whose removal is in doubt. `coverage`: of the reading. Paths are shown, and
/// commands are valid, as seen from the working directory.
pub(super) fn because(doubt: &Doubt, coverage: &Coverage) -> (HeldReason, String, String) {
    let shown = |below: &str| coverage.shown(below);
    let (reason, message, fix) = match doubt {
        Doubt::Problem => (
            HeldReason::SourceBroken,
            "a manifest is invalid: it may be the one that declares the object".to_owned(),
            "correct the manifests: `kiln check` lists the problems".to_owned(),
        ),
        Doubt::ReadOnce => (
            HeldReason::SourceBroken,
            "its document is missing since the last read; the removal waits for a confirmation read".to_owned(),
            "wait: the daemon reads again within seconds".to_owned(),
        ),
        Doubt::Vanished(directory, Some(time)) => (
            HeldReason::SourceBroken,
            format!(
                "the directory {}, which declared it, is missing; the removal waits until {}, when it has been missing for 60 s",
                shown(directory),
                rfc3339(*time)
            ),
            format!("restore {}, or wait if it was removed on purpose", shown(directory)),
        ),
        Doubt::Vanished(directory, None) => (
            HeldReason::SourceBroken,
            format!(
                "the directory {}, which declared it, is missing, and a single read cannot tell for how long; `--yes` alone does \
                 not destroy it",
                shown(directory)
            ),
            format!("restore {} unless it was removed on purpose", shown(directory)),
        ),
        Doubt::NotCheckedOut(directory) => (
            HeldReason::SourceBroken,
            format!(
                "{} declared it and has manifests in the checked-out commit, but none in the work tree",
                shown(directory)
            ),
            not_checked_out(coverage, directory),
        ),
        Doubt::GitUnreadable(directory) => (
            HeldReason::SourceBroken,
            format!(
                "{} declared it and is missing, and the Git repository of the manifests cannot be read",
                shown(directory)
            ),
            "make the repository readable by this user, and complete (no partial clone)".to_owned(),
        ),
        Doubt::Unmounted(directory) => (
            HeldReason::SourceBroken,
            format!("{} declared it, was on another file system when last read, and is missing", shown(directory)),
            format!("mount {} again", shown(directory)),
        ),
        Doubt::Bare(directory) => (
            HeldReason::SourceBroken,
            format!("{} declared it and no longer has any manifests", shown(directory)),
            format!("restore the manifests in {}, or remove the directory too", shown(directory)),
        ),
        Doubt::Emptied(file) => (
            HeldReason::SourceBroken,
            format!("{} declared it and now holds only white space", shown(file)),
            format!("restore {}, or remove the file", shown(file)),
        ),
        Doubt::OtherFiles => (
            HeldReason::SourceChanged,
            "these manifests share no file with those that this Stack was last applied from".to_owned(),
            "apply the directory that this Stack was applied from; declare another Stack for these manifests"
                .to_owned(),
        ),
        Doubt::OtherPlace(before) => (
            HeldReason::SourceChanged,
            format!(
                "this Stack was last applied from {} of the work tree",
                if before.is_empty() { "the top" } else { before }
            ),
            "apply that directory; declare another Stack for these manifests".to_owned(),
        ),
    };
    (reason, message, fix)
}

/// Returns what to do about a directory that the commit contains and the work tree does not.
fn not_checked_out(coverage: &Coverage, directory: &str) -> String {
    let (git, directory) = (format!("git -C {}", quoted(&coverage.root)), quoted(directory));
    format!(
        "check it out again: `{git} checkout HEAD -- {directory}` (a submodule: `{git} submodule update --init {directory}`); or \
         remove it from Git (`{git} rm -r {directory}`) and commit"
    )
}
