//! Annotations of a pull request: GitHub's workflow commands. Pure.
//!
//! The form is that of <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>; the escapes are those
//! that the runner decodes (`actions/toolkit`, `command.ts`).

use super::commands::Commands;
use crate::model::{Kind, Reading, SourcePlace};
use crate::plan::Plan;
use crate::text::escape;

/// An annotation of a line, or of the whole pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// `error` or `warning`.
    pub level: &'static str,
    /// The annotated line; none annotates the pull request.
    pub place: Option<&'a SourcePlace>,
    /// The text, escaped for a terminal.
    pub message: String,
}

impl<'a> Annotation<'a> {
    /// Returns the annotation of a problem of the manifests.
    pub fn problem(place: &'a SourcePlace, message: &str, hint: Option<&str>, commands: &Commands) -> Self {
        let hint = hint.map(|hint| format!("\n{}", escape(&commands.complete(hint)))).unwrap_or_default();
        Self { level: "error", place: Some(place), message: format!("{}{hint}", escape(message)) }
    }

    /// Returns the workflow command. `file`: the path of its file from the root of the repository.
    pub fn workflow_command(&self, file: Option<&str>) -> String {
        let place = self.place.map(|place| {
            let file = file.unwrap_or(&place.file);
            let file = file.strip_prefix("./").unwrap_or(file);
            format!(" file={},line={},col={}", property(file), place.line, place.column)
        });
        format!("::{}{}::{}\n", self.level, place.unwrap_or_default(), data(&self.message))
    }
}

/// Returns the annotations of a plan: holds and warnings as warnings, unobserved backends as errors.
pub fn annotations<'a>(plan: &Plan, reading: &'a Reading, commands: &Commands) -> Vec<Annotation<'a>> {
    let text = |text: &str| escape(&commands.complete(text)).into_owned();
    let held = plan.held.iter().map(|held| {
        let object = format!("{}/{}", held.kind.as_lower(), held.name);
        let message = format!("{object} is held ({}): {}\n{}", held.reason, text(&held.message), text(&held.fix));
        Annotation { level: "warning", place: reading.place(held.kind, &held.name), message }
    });
    let warnings = plan.warnings.iter().map(|warning| {
        let message = format!("{}: {}", escape(&warning.code), text(&warning.message));
        Annotation { level: "warning", place: None, message }
    });
    let unobserved = plan.unobserved.iter().map(|unobserved| {
        let message = format!("backend/{} was not observed: {}", unobserved.backend, escape(&unobserved.message));
        Annotation { level: "error", place: reading.place(Kind::Backend, &unobserved.backend), message }
    });
    held.chain(warnings).chain(unobserved).collect()
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

    fn command(level: &'static str, place: Option<&SourcePlace>, message: &str) -> String {
        Annotation { level, place, message: message.to_owned() }.workflow_command(None)
    }

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
