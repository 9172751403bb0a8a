//! Why the removal of an undeclared object is in doubt: its document may be missing only by mistake.

use crate::model::Doubt;

use crate::text::rfc3339;

use super::types::HeldReason;

/// Returns the reason, the message and the fix for an object whose removal is in doubt.
pub(super) fn because(doubt: &Doubt) -> (HeldReason, String, String) {
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
                "the directory {directory}, which declared it, is missing; the removal waits until {}, when it has been missing \
                 for 60 s",
                rfc3339(*time)
            ),
            format!("restore {directory}, or wait if it was removed on purpose"),
        ),
        Doubt::Vanished(directory, None) => (
            HeldReason::SourceBroken,
            format!(
                "the directory {directory}, which declared it, is missing, and a single read cannot tell for how long; `--yes` \
                 alone does not destroy it"
            ),
            format!("restore {directory} unless it was removed on purpose"),
        ),
        Doubt::NotCheckedOut(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it and has manifests in the checked-out commit, but none in the work tree"),
            format!("check {directory} out again, or remove it from Git (`git rm -r`) and commit"),
        ),
        Doubt::GitUnreadable(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it and is missing, and the Git repository of the manifests cannot be read"),
            "make the repository readable by this user, and complete (no partial clone)".to_owned(),
        ),
        Doubt::Unmounted(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it, was on another file system when last read, and is missing"),
            format!("mount {directory} again"),
        ),
        Doubt::Bare(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it and no longer has any manifests"),
            format!("restore the manifests in {directory}, or remove the directory too"),
        ),
        Doubt::Emptied(file) => (
            HeldReason::SourceBroken,
            format!("{file} declared it and now holds only white space"),
            format!("restore {file}, or remove the file"),
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
