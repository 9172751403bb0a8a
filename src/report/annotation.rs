//! Annotations of a pull request: GitHub's workflow commands. Pure.
//!
//! The form is that of <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>; the escapes are those
//! that the runner decodes (`actions/toolkit`, `command.ts`).

use super::commands::Commands;
use super::folded::{Folded, MemberLine};
use super::plan_view::{HeldView, Outage, outages, with_commands};
use super::same_problem::same_problems;
use crate::model::{Kind, Reading, SourcePlace};
use crate::plan::{Plan, Unobserved};
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

/// The most annotations of one command: GitHub shows ten of each level for a step and drops the others silently.
const MOST: usize = 10;

impl Annotation<'_> {
    /// Returns the workflow command. `file`: the path of its file from the root of the repository.
    pub fn workflow_command(&self, file: Option<&str>) -> String {
        let place = self.place.map(|place| {
            let file = file.unwrap_or(&place.file);
            let file = file.strip_prefix("./").unwrap_or(file);
            format!(" file={},line={},col={}", property(file), place.line, place.column)
        });
        format!("::{}{}::{}\n", self.level, place.unwrap_or_default(), data(&self.message))
    }

    /// Names the files of places in the message, like `./specs/db.yaml:3:1`, as the annotation itself does. `from_root`: returns the path
    /// of a file from the root of the repository; `None` if there is no such file in one.
    pub fn name_files(&mut self, from_root: impl Fn(&str) -> Option<String>) {
        let mut out = String::new();
        let mut rest = self.message.as_str();
        while !rest.is_empty() {
            // A name may contain blanks, so each one before the numbers may begin it.
            if let Some(file) = file_of_place(rest) {
                let plain = || file.strip_prefix("./").filter(|file| !file.contains(' ')).map(str::to_owned);
                if let Some(named) = from_root(file).or_else(plain) {
                    out.push_str(&named);
                    rest = &rest[file.len()..];
                }
            }
            let (word, after) = rest.split_at(rest.find([' ', '\n', '(']).map_or(rest.len(), |at| at + 1));
            out.push_str(word);
            rest = after;
        }
        self.message = out;
    }
}

/// Returns the annotations of problems of the manifests, each once, at the first place that has it.
pub fn problem_annotations<'a>(
    problems: impl Iterator<Item = (Option<&'a SourcePlace>, &'a str, Option<&'a str>)>,
    commands: &Commands,
) -> Vec<Annotation<'a>> {
    let annotations = same_problems(problems).into_iter().map(|same| {
        let hint = same.hint.map(|hint| format!("\n{}", escape(&commands.complete(hint)))).unwrap_or_default();
        let also = same.also_at().map(|also| format!("\n{}", escape(&also))).unwrap_or_default();
        let message = format!("{}{hint}{also}", escape(same.message));
        Annotation { level: "error", place: same.places.first().copied(), message }
    });
    first_ten(annotations.collect())
}

/// Returns the annotations of a plan: unobserved backends as errors, then holds and warnings as warnings.
pub fn annotations<'a>(plan: &Plan, reading: &'a Reading, commands: &Commands) -> Vec<Annotation<'a>> {
    let held = HeldView::all(plan, commands);
    let unobserved: Vec<Unobserved> = plan.unobserved.iter().map(|one| with_commands(one, commands)).collect();
    let (outages, holds) = outages(&held, &unobserved);
    let place = |kind: Kind, name: &str| reading.place(kind, &name.parse().ok()?);
    let mut annotations: Vec<Annotation<'a>> = Vec::new();
    for Outage { backend, message, held } in outages {
        let held: String = held.iter().map(|hold| format!("{}{}", fix(&hold.fix), members(hold))).collect();
        let message = format!("backend/{backend} was not observed: {}{held}", escape(message));
        annotations.push(Annotation { level: "error", place: place(Kind::Backend, backend), message });
    }
    for hold in holds {
        let subject = hold.subject();
        let (is, objects) = match hold.is_single() {
            true => ("is", String::new()),
            false => ("are", members(&hold)),
        };
        let message = match hold.causes.as_slice() {
            [cause] => format!(": {}", escape(&cause.message)),
            _ => String::new(),
        };
        let message = format!("{subject} {is} held ({}){message}{}{objects}", escape(hold.reason), fix(&hold.fix));
        let place = hold.members().find_map(|member| place(member.kind, &member.name));
        annotations.push(Annotation { level: "warning", place, message });
    }
    annotations.extend(plan.warnings.iter().map(|warning| {
        let message = format!("{}: {}", escape(&warning.code), escape(&commands.complete(&warning.message)));
        Annotation { level: "warning", place: None, message }
    }));
    first_ten(annotations)
}

fn fix(fix: &str) -> String {
    if fix.is_empty() { String::new() } else { format!("\nfix: {}", escape(fix)) }
}

/// Returns the objects of a hold, on lines of their own.
fn members(hold: &Folded<'_, HeldView>) -> String {
    let (lines, rest) = hold.lines(false);
    let line = |MemberLine { verb: _, text }| format!("\nheld: {}", escape(&text));
    let mut out: String = lines.into_iter().map(line).collect();
    if rest > 0 {
        out.push_str(&format!("\nheld: {rest} more"));
    }
    out
}

/// Leaves out what GitHub would not show, and says so. Errors come first.
fn first_ten(mut annotations: Vec<Annotation<'_>>) -> Vec<Annotation<'_>> {
    if annotations.len() > MOST {
        let rest = annotations.split_off(MOST - 1);
        let message = format!("and {} more: see the output of this step", rest.len());
        annotations.extend(rest.first().map(|first| Annotation { level: first.level, place: None, message }));
    }
    annotations
}

/// Returns the text before the first `:LINE:COLUMN` in the line.
fn file_of_place(text: &str) -> Option<&str> {
    let line = text.lines().next()?;
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let is_place = |colon: &usize| {
        let after = &line[colon + 1..];
        let (number, rest) = after.split_at(digits(after));
        !number.is_empty() && rest.strip_prefix(':').is_some_and(|column| digits(column) > 0)
    };
    let colon = line.match_indices(':').map(|(at, _)| at).find(is_place)?;
    Some(&line[..colon])
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

    #[test]
    fn places_in_the_message_have_the_path_from_the_root() {
        let names = |message: &str| {
            let mut annotation = Annotation { level: "error", place: None, message: message.to_owned() };
            let known = ["./specs/all.yaml", "specs/b c.yaml"];
            annotation.name_files(|file| {
                known.contains(&file).then(|| format!("infra/{}", file.strip_prefix("./").unwrap_or(file)))
            });
            annotation.message
        };
        for (message, named) in [
            (
                "fix: remove `size` (./specs/all.yaml:26:8), or less",
                "fix: remove `size` (infra/specs/all.yaml:26:8), or less",
            ),
            (
                "no\nalso at specs/b c.yaml:1:2, ./specs/all.yaml:3:4",
                "no\nalso at infra/specs/b c.yaml:1:2, infra/specs/all.yaml:3:4",
            ),
            ("in `kiln plan ./specs/all.yaml` (./new.yaml:1:1)", "in `kiln plan ./specs/all.yaml` (new.yaml:1:1)"),
            ("at 12:30:10 é: (", "at 12:30:10 é: ("),
        ] {
            assert_eq!(names(message), named);
        }
    }

    #[test]
    fn a_problem_of_many_documents_is_one_annotation_and_ten_are_written_at_most() {
        let place = |line| SourcePlace { file: "a.yaml".into(), line, column: 1 };
        let places: Vec<SourcePlace> = (1..=40).map(place).collect();
        let same = places.iter().take(3).map(|place| (Some(place), "unknown field", Some("remove it")));
        let told = problem_annotations(same, &Commands::default());
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].message, "unknown field\nremove it\nalso at a.yaml:2:1, a.yaml:3:1");
        let texts: Vec<String> = (0..40).map(|n| format!("problem {n}")).collect();
        let none = problem_annotations([(None, "no manifests", None)].into_iter(), &Commands::default());
        assert_eq!(
            (none.len(), none[0].place, none[0].workflow_command(None).as_str()),
            (1, None, "::error::no manifests\n")
        );
        let many = places.iter().zip(&texts).map(|(place, text)| (Some(place), text.as_str(), None));
        let told = problem_annotations(many, &Commands::default());
        assert_eq!((told.len(), told[8].message.as_str()), (10, "problem 8"));
        assert_eq!((told[9].level, told[9].message.as_str()), ("error", "and 31 more: see the output of this step"));
    }

    #[test]
    fn many_problems_are_grouped_without_comparing_each_with_each() {
        // If each problem were compared with each other one, this would take minutes.
        let place = SourcePlace { file: "a.yaml".into(), line: 1, column: 1 };
        let texts: Vec<String> = (0..200_000).map(|n| format!("problem {n}")).collect();
        let many = texts.iter().map(|text| (Some(&place), text.as_str(), None));
        let told = problem_annotations(many, &Commands::default());
        assert_eq!(told[9].message, "and 199991 more: see the output of this step");
    }
}
