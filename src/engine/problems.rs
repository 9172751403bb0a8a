//! Problems of manifests in the form of plans, for programs.

use crate::manifest::Problem;
use crate::plan::ProblemView;

/// Problems as programs see them.
pub fn problem_views(problems: &[Problem]) -> Vec<ProblemView> {
    let view = |problem: &Problem| ProblemView {
        file: Some(problem.place.file.to_string()),
        line: problem.place.line,
        column: problem.place.column,
        message: problem.message.clone(),
        hint: problem.hint.clone(),
    };
    problems.iter().map(view).collect()
}
