//! Annotations of a pull request: GitHub's workflow commands. Pure.
//!
//! The form is that of <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>; the escapes are those
//! that the runner decodes (`actions/toolkit`, `command.ts`).

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::commands::Commands;
use super::folded::{Folded, MemberLine, NAMED, TellsFact, fold, listed};
use super::plan_view::{HeldView, Outage, held_by_outages, outages, with_commands};
use super::same_problem::same_problems;
use super::warnings::{ToldWarning, WarningView};
use crate::model::{Kind, PlacedField, Reading, SourcePlace};
use crate::plan::{HeldReason, Plan, Unobserved};
use crate::text::{escape, split_places};

/// An annotation of a line, or of the whole pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// `error` or `warning`.
    pub level: &'static str,
    /// The annotated line; none annotates the pull request.
    pub place: Option<SourcePlace>,
    /// The text, escaped for a terminal.
    pub message: String,
}

/// The most annotations of one command: GitHub shows ten of each level for a step and drops the others silently.
const MOST: usize = 10;

impl Annotation {
    /// Returns the workflow command. `file`: the path of its file from the root of the repository.
    pub fn workflow_command(&self, file: Option<&str>) -> String {
        let place = self.place.as_ref().map(|place| {
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
) -> Vec<Annotation> {
    let listing = commands.command("kiln check -o json");
    let annotations = same_problems(problems).into_iter().map(|same| {
        let hint = same.hint.map(|hint| format!("\n{}", escape(&commands.complete(hint)))).unwrap_or_default();
        let others: String = same.others(&listing).iter().map(|others| format!("\n{}", escape(others))).collect();
        let message = format!("{}{hint}{others}", escape(same.message));
        let name = same.place.map_or_else(|| same.message.to_owned(), ToString::to_string);
        (vec![name], Annotation { level: "error", place: same.place.cloned(), message })
    });
    first_ten(annotations.collect(), &listing)
}

/// Returns the annotations of a plan: unobserved backends as errors, then holds and warnings as warnings. An entry has one in each file
/// that its fix changes, at the first line to change there. The first one of each entry comes before the second one of any.
pub fn annotations(plan: &Plan, reading: &Reading, commands: &Commands) -> Vec<Annotation> {
    let held = HeldView::all(plan, commands);
    let unobserved: Vec<Unobserved> = plan.unobserved.iter().map(|one| with_commands(one, commands)).collect();
    let warnings: Vec<WarningView> = plan.warnings.iter().map(|warning| WarningView::new(warning, commands)).collect();
    let warnings: Vec<ToldWarning<'_>> = warnings.iter().map(ToldWarning::of).collect();
    let (outages, holds) = outages(&held, &unobserved);
    let document = |kind: Kind, name: &str| reading.place(kind, &name.parse().ok()?).cloned();
    // What a pool is observed by.
    let of_backend = |outage: &Outage<'_>| {
        let path = reading.place_of_field(Kind::Backend, &outage.backend.parse().ok()?, PlacedField::Path);
        split_places(&path).1.first().and_then(|place| SourcePlace::parse(place))
    };
    let listing = commands.command("kiln plan -o json");
    let mut annotations = annotated("error", &fold(&outages), &listing, of_backend, |entry| {
        let was = if entry.is_single() { "was" } else { "were" };
        let backends = if entry.is_single() { String::new() } else { members(entry, "", &listing) };
        let held: String = held_by_outages(entry).iter().map(|hold| members(hold, "held: ", &listing)).collect();
        let is_said = ["", HeldReason::Unobserved.as_str()].contains(&entry.reason);
        let reason = if is_said { String::new() } else { format!(" ({})", escape(entry.reason)) };
        format!("{} {was} not observed{reason}{}{backends}{held}", entry.subject(), told(entry))
    });
    annotations.extend(annotated(
        "warning",
        &fold(holds),
        &listing,
        |held| document(held.kind, &held.name),
        |entry| {
            let is = if entry.is_single() { "is" } else { "are" };
            let held = if entry.is_single() { String::new() } else { members(entry, "held: ", &listing) };
            format!("{} {is} held ({}){}{held}", entry.subject(), escape(entry.reason), told(entry))
        },
    ));
    annotations.extend(annotated(
        "warning",
        &fold(&warnings),
        &listing,
        |_| None,
        |entry| {
            let names = if entry.is_single() { String::new() } else { members(entry, "", &listing) };
            format!("{}{}{names}", escape(entry.reason), told(entry))
        },
    ));
    annotations.sort_by_key(|(nth, (_, annotation))| (annotation.level != "error", *nth));
    first_ten(annotations.into_iter().map(|(_, annotation)| annotation).collect(), &listing)
}

/// An annotation, with the names of what it is about.
type Named = (Vec<String>, Annotation);

/// Returns the annotations of entries, each with its number among those of its entry. `document`: where the document of a fact is, which
/// is annotated if the fix names no place. `text`: the message of an entry. `listing`: the command that lists all.
fn annotated<'a, T: TellsFact>(
    level: &'static str,
    entries: &[Folded<'a, T>],
    listing: &str,
    document: impl Fn(&T) -> Option<SourcePlace>,
    text: impl Fn(&Folded<'a, T>) -> String,
) -> Vec<(usize, Named)> {
    let place = |told: &T| {
        let fact = told.fact();
        split_places(fact.fix).1.first().and_then(|place| SourcePlace::parse(place)).or_else(|| document(told))
    };
    let mut annotations = Vec::new();
    for entry in entries {
        let mut files: HashMap<Option<Arc<str>>, usize> = HashMap::new();
        let mut by_file: Vec<Vec<&'a T>> = Vec::new();
        for told in entry.members() {
            let file = *files.entry(place(told).map(|place| place.file)).or_insert(by_file.len());
            match by_file.get_mut(file) {
                Some(of_file) => of_file.push(told),
                None => by_file.push(vec![told]),
            }
        }
        for (nth, of_file) in by_file.iter().enumerate() {
            let others = by_file.iter().enumerate().filter(|(other, _)| *other != nth).flat_map(|(_, facts)| facts);
            let mut others: Vec<String> = others.map(|told| told.fact().subject()).collect();
            for entry in fold(of_file.iter().copied()) {
                let place = entry.members().find_map(&place);
                // The others are named once, in the first annotation.
                let others = if nth == 0 { std::mem::take(&mut others) } else { Vec::new() };
                let message = format!("{}{}", text(&entry), in_other_files(&others, entry.leaves_out(), listing));
                let names = entry.members().map(|told| told.fact()).map(|fact| match fact.subject() {
                    subject if subject.is_empty() => fact.reason.to_owned(),
                    subject => subject,
                });
                annotations.push((nth, (names.collect(), Annotation { level, place, message })));
            }
        }
    }
    annotations
}

/// Names the other objects of an entry, which have annotations of their own, on a line of its own. `is_listed`: whether the message says
/// already how to list all.
fn in_other_files(others: &[String], is_listed: bool, listing: &str) -> String {
    if others.is_empty() {
        return String::new();
    }
    let all = (others.len() > NAMED && !is_listed).then(|| format!("\n`{}` lists all", escape(listing)));
    let names = listed(others.iter().cloned(), NAMED);
    format!("\nin other files: {}{}", escape(&names), all.unwrap_or_default())
}

/// Returns the message of an entry, if its facts share it, and the fix on a line of its own.
fn told<T: TellsFact>(entry: &Folded<'_, T>) -> String {
    let message = match entry.causes.as_slice() {
        [cause] => format!(": {}", escape(&cause.message)),
        _ => String::new(),
    };
    let fix = if entry.fix.is_empty() { String::new() } else { format!("\nfix: {}", escape(&entry.fix)) };
    format!("{message}{fix}")
}

/// Returns the members of an entry, on lines of their own that begin with `head`. `listing`: the command that lists those that are not
/// named.
fn members<T: TellsFact>(entry: &Folded<'_, T>, head: &str, listing: &str) -> String {
    let (lines, rest) = entry.lines(false);
    let line = |MemberLine { verb: _, text }| format!("\n{head}{}", escape(&text));
    let mut out: String = lines.into_iter().map(line).collect();
    if rest > 0 {
        out.push_str(&format!("\n{head}{rest} more"));
    }
    if entry.leaves_out() {
        out.push_str(&format!("\n`{}` lists all", escape(listing)));
    }
    out
}

/// Leaves out what GitHub would not show, and names what these annotations are about. Errors come first. `listing`: the command that
/// lists all.
fn first_ten(mut annotations: Vec<Named>, listing: &str) -> Vec<Annotation> {
    let rest = if annotations.len() > MOST { annotations.split_off(MOST - 1) } else { Vec::new() };
    let mut shown: Vec<Annotation> = annotations.into_iter().map(|(_, annotation)| annotation).collect();
    let level = rest.first().map(|(_, annotation)| annotation.level);
    let mut seen = HashSet::new();
    let names: Vec<String> =
        rest.into_iter().flat_map(|(names, _)| names).filter(|name| seen.insert(name.clone())).collect();
    if let Some(level) = level {
        let all = if names.len() > NAMED { format!("\n`{}` lists all", escape(listing)) } else { String::new() };
        let message = format!("and {} more: {}{all}", names.len(), escape(&listed(names.into_iter(), NAMED)));
        shown.push(Annotation { level, place: None, message });
    }
    shown
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
        Annotation { level, place: place.cloned(), message: message.to_owned() }.workflow_command(None)
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
        // Other values are told beside the other places, of which ten are named.
        let hints: Vec<String> = (1..=12).map(|n| format!("did you mean `size: {n}Gi`?")).collect();
        let alike = places.iter().zip(&hints).map(|(place, hint)| (Some(place), "it has no unit", Some(&**hint)));
        let told = problem_annotations(
            alike.chain([(Some(&places[20]), "it has no unit", Some(&*hints[0]))]),
            &Commands::default(),
        );
        assert_eq!(told.len(), 1);
        let text = "it has no unit\ndid you mean `size: 1Gi`?\nalso at a.yaml:21:1\nwith other values at a.yaml:2:1 (`size: 2Gi`), ";
        assert!(told[0].message.starts_with(text), "{}", told[0].message);
        let end = "a.yaml:11:1 (`size: 11Gi`) and 1 more (`kiln check -o json` lists all)";
        assert!(told[0].message.ends_with(end), "{}", told[0].message);
        let texts: Vec<String> = (0..40).map(|n| format!("problem p{n}")).collect();
        let none = problem_annotations([(None, "no manifests", None)].into_iter(), &Commands::default());
        assert_eq!(
            (none.len(), none[0].place.as_ref(), none[0].workflow_command(None).as_str()),
            (1, None, "::error::no manifests\n")
        );
        let many = places.iter().zip(&texts).map(|(place, text)| (Some(place), text.as_str(), None));
        let told = problem_annotations(many, &Commands::default());
        assert_eq!((told.len(), told[8].message.as_str()), (10, "problem p8"));
        assert_eq!(
            (told[9].level, told[9].message.as_str()),
            (
                "error",
                "and 31 more: a.yaml:10:1, a.yaml:11:1, a.yaml:12:1, \
             a.yaml:13:1, a.yaml:14:1, a.yaml:15:1, a.yaml:16:1, a.yaml:17:1, a.yaml:18:1, a.yaml:19:1 and 21 more\n\
             `kiln check -o json` lists all"
            )
        );
    }

    #[test]
    fn many_problems_are_grouped_without_comparing_each_with_each() {
        // If each problem were compared with each other one, this would take minutes.
        let places: Vec<SourcePlace> =
            (1..=200_000).map(|line| SourcePlace { file: "a.yaml".into(), line, column: 1 }).collect();
        let texts: Vec<String> = (0..200_000).map(|n| format!("problem p{n}")).collect();
        let many = places.iter().zip(&texts).map(|(place, text)| (Some(place), text.as_str(), None));
        let told = problem_annotations(many, &Commands::default());
        assert!(told[9].message.starts_with("and 199991 more: a.yaml:10:1, "), "{}", told[9].message);
    }
}
