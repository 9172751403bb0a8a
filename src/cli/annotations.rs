//! Annotations of a pull request: GitHub's workflow commands, on stderr.
//!
//! The form is that of <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>; the escapes are those
//! that the runner decodes (`actions/toolkit`, `command.ts`).

use std::path::Path;

use super::terminal::Terminal;
use crate::manifest::{Problem, path_in_work_tree};
use crate::model::{Kind, Reading, SourcePlace};
use crate::plan::Plan;
use crate::text::escape;

/// Annotates problems of manifests as errors.
pub(crate) fn problems(terminal: &Terminal, problems: &[Problem]) {
    for problem in problems {
        let hint = problem
            .hint
            .as_ref()
            .map(|hint| format!("\n{}", escape(&terminal.commands().complete(hint))))
            .unwrap_or_default();
        say(terminal, "error", Some(&problem.place), &format!("{}{hint}", escape(&problem.message)));
    }
}

/// Annotates holds and warnings as warnings, and unobserved backends as errors.
pub(crate) fn plan(terminal: &Terminal, plan: &Plan, reading: &Reading) {
    let commands = terminal.commands();
    for held in &plan.held {
        let object = format!("{}/{}", held.kind.as_lower(), held.name);
        let text = format!(
            "{object} is held ({}): {}\n{}",
            held.reason,
            escape(&commands.complete(&held.message)),
            escape(&commands.complete(&held.fix))
        );
        say(terminal, "warning", reading.place(held.kind, &held.name), &text);
    }
    for warning in &plan.warnings {
        say(
            terminal,
            "warning",
            None,
            &format!("{}: {}", escape(&warning.code), escape(&commands.complete(&warning.message))),
        );
    }
    for unobserved in &plan.unobserved {
        let text = format!("backend/{} was not observed: {}", unobserved.backend, escape(&unobserved.message));
        say(terminal, "error", reading.place(Kind::Backend, &unobserved.backend), &text);
    }
}

fn say(terminal: &Terminal, level: &str, place: Option<&SourcePlace>, message: &str) {
    terminal.talk(&command(level, place, message));
}

fn command(level: &str, place: Option<&SourcePlace>, message: &str) -> String {
    let place = place.map(|place| {
        // GitHub knows files by their path from the root of the repository, whatever the working directory.
        let in_repository = path_in_work_tree(Path::new(&*place.file));
        let file = in_repository.as_deref().and_then(Path::to_str).unwrap_or(&place.file);
        let file = file.strip_prefix("./").unwrap_or(file);
        format!(" file={},line={},col={}", property(file), place.line, place.column)
    });
    format!("::{level}{}::{}\n", place.unwrap_or_default(), data(message))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_form_that_github_reads() {
        let place = SourcePlace { file: "./no-such-directory/a.yaml".into(), line: 4, column: 23 };
        assert_eq!(command("error", Some(&place), "no"), "::error file=no-such-directory/a.yaml,line=4,col=23::no\n");
        assert_eq!(command("warning", None, "no"), "::warning::no\n");
    }

    #[test]
    fn no_text_ends_a_command_or_begins_another() {
        let place = SourcePlace { file: "a,line=9::x\n::error::y%".into(), line: 1, column: 1 };
        let shown = command("error", Some(&place), "50%\r\n::error::not me");
        assert_eq!(
            shown,
            "::error file=a%2Cline=9%3A%3Ax%0A%3A%3Aerror%3A%3Ay%25,line=1,col=1::50%25%0D%0A::error::not me\n"
        );
        assert_eq!(shown.lines().count(), 1);
    }
}
