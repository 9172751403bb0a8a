//! Writes annotations of a pull request to stderr.

use std::path::Path;

use super::terminal::Terminal;
use crate::manifest::{Problem, path_in_work_tree};
use crate::model::Reading;
use crate::plan::Plan;
use crate::report::{self, Annotation};

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
    for annotation in report::annotations(plan, reading, &terminal.commands()) {
        write(terminal, annotation);
    }
}

fn write(terminal: &Terminal, mut annotation: Annotation) {
    // GitHub knows files by their path from the root of the repository, whatever the working directory.
    let from_root = |file: &str| path_in_work_tree(Path::new(file))?.to_str().map(str::to_owned);
    annotation.name_files(from_root);
    let file = annotation.place.as_ref().and_then(|place| from_root(&place.file));
    terminal.talk(&annotation.workflow_command(file.as_deref()));
}
