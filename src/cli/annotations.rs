//! Writes annotations of a pull request to stderr.

use std::path::Path;

use super::terminal::Terminal;
use crate::manifest::{Problem, path_in_work_tree};
use crate::model::{Coverage, Reading};
use crate::plan::Plan;
use crate::report::{self, Annotation};
use crate::text::quoted;

/// Annotates problems of manifests.
pub(crate) fn problems(terminal: &Terminal, problems: &[Problem]) {
    let commands = terminal.commands();
    let problems =
        problems.iter().map(|Problem { place, message, hint, .. }| (place.known(), &**message, hint.as_deref()));
    for annotation in report::problem_annotations(problems, &commands) {
        write(terminal, annotation);
    }
}

/// Annotates what a plan holds, warns of and could not observe.
pub(crate) fn plan(terminal: &Terminal, plan: &Plan, reading: &Reading) {
    for mut annotation in report::annotations(plan, reading, &terminal.commands()) {
        annotation.message = from_root_of_work_tree(&annotation.message, &reading.coverage);
        write(terminal, annotation);
    }
}

/// Names what is below SPECS by its path from the root of the work tree, whatever the working directory.
fn from_root_of_work_tree(message: &str, coverage: &Coverage) -> String {
    let Some(place) = coverage.place.as_deref().filter(|_| coverage.file.is_none()) else { return message.to_owned() };
    let git = |directory: &str| format!("git -C {} ", quoted(directory));
    let message = message.replace(&git(&coverage.root), &git(if place.is_empty() { "." } else { place }));
    let below = coverage.shown("");
    let from_root = Path::new(place).join("").display().to_string();
    let mut out = String::new();
    for (index, part) in message.split(&below).enumerate() {
        let begins_word = out.chars().next_back().is_none_or(|before| " \n(`'".contains(before));
        out.push_str(if index == 0 {
            ""
        } else if begins_word {
            &from_root
        } else {
            &below
        });
        out.push_str(part);
    }
    out
}

fn write(terminal: &Terminal, mut annotation: Annotation) {
    // GitHub knows files by their path from the root of the repository, whatever the working directory.
    let from_root = |file: &str| path_in_work_tree(Path::new(file))?.to_str().map(str::to_owned);
    annotation.name_files(from_root);
    let file = annotation.place.as_ref().and_then(|place| from_root(&place.file));
    terminal.talk(&annotation.workflow_command(file.as_deref()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_commands_are_as_seen_from_the_root_of_the_work_tree() {
        let message =
            "specs/team declared it\nfix: `git -C specs checkout HEAD -- team`; see other-specs/team (specs/a b)";
        for (root, place, named) in [
            ("specs", "specs", message),
            ("specs", "", "team declared it\nfix: `git -C . checkout HEAD -- team`; see other-specs/team (a b)"),
            (
                "specs",
                "infra/specs",
                "infra/specs/team declared it\nfix: `git -C infra/specs checkout HEAD -- team`; see other-specs/team \
                 (infra/specs/a b)",
            ),
            ("elsewhere", "specs", message),
        ] {
            let coverage = Coverage { root: root.to_owned(), place: Some(place.to_owned()), ..Coverage::default() };
            assert_eq!(from_root_of_work_tree(message, &coverage), named, "{root} {place}");
        }
        assert_eq!(from_root_of_work_tree(message, &Coverage::default()), message, "outside of Git");
    }
}
