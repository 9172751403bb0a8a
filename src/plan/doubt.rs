//! Why an object is held that may be declared although no document of this reading names it.

use crate::model::Doubt;

use crate::text::rfc3339;

use super::types::HeldReason;

/// Why an object is held that may be declared all the same: the reason, the message, and what ends the doubt.
pub(super) fn because(doubt: &Doubt) -> (HeldReason, String, String) {
    let (reason, message, fix) = match doubt {
        Doubt::Problem => (
            HeldReason::SourceBroken,
            "a manifest has a problem, so that its document may only be unreadable".to_owned(),
            "correct the manifests: `kiln check` lists the problems".to_owned(),
        ),
        Doubt::ReadOnce => (
            HeldReason::SourceBroken,
            "its document is missing from the manifests since the last look only; a removal waits for a second look"
                .to_owned(),
            "nothing to do: the daemon looks again within seconds".to_owned(),
        ),
        Doubt::Vanished(directory, Some(time)) => (
            HeldReason::SourceBroken,
            format!(
                "the directory {directory} that declared it disappeared; its removal waits until {}, when the directory has been gone \
                 for 60 s",
                rfc3339(*time)
            ),
            format!("wait if {directory} was removed on purpose, or else bring it back"),
        ),
        Doubt::Vanished(directory, None) => (
            HeldReason::SourceBroken,
            format!(
                "the directory {directory} that declared it disappeared, and one reading cannot tell for how long; `--yes` alone does not \
                 destroy it"
            ),
            format!("bring {directory} back if it was not removed on purpose"),
        ),
        Doubt::NotCheckedOut(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it, has manifests in the commit that is checked out, and has none here"),
            format!("check {directory} out again, or remove it from Git (`git rm -r`) and commit"),
        ),
        Doubt::GitUnreadable(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it and is gone, and the Git repository of the manifests cannot be read"),
            "make the repository readable to this user, complete (no partial clone)".to_owned(),
        ),
        Doubt::Unmounted(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it, was on another file system when last read, and is not there"),
            format!("mount {directory} again"),
        ),
        Doubt::Bare(directory) => (
            HeldReason::SourceBroken,
            format!("{directory} declared it, and exists without manifests"),
            format!("bring the manifests of {directory} back, or remove the directory as well"),
        ),
        Doubt::Emptied(file) => (
            HeldReason::SourceBroken,
            format!("{file} declared it, and holds only white space"),
            format!("write {file} again, or remove the file"),
        ),
        Doubt::OtherFiles => (
            HeldReason::SourceChanged,
            "these manifests share no file with those that this Stack was last applied from".to_owned(),
            "apply the directory that this Stack was applied from; another one needs a Stack of its own".to_owned(),
        ),
        Doubt::OtherPlace(before) => (
            HeldReason::SourceChanged,
            format!(
                "this Stack was last applied from {} of the work tree",
                if before.is_empty() { "the top" } else { before }
            ),
            "apply that directory; another one needs a Stack of its own".to_owned(),
        ),
    };
    (reason, message, fix)
}
