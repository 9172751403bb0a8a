//! A [`PlanView`] as Markdown for a pull request: what a reviewer must know first comes first.
//!
//! Text from manifests or backends cannot format, link, mention anyone, or end a table cell.

use std::fmt::Write;

use serde_json::Value;

use super::folded::{Folded, MemberLine, TellsFact, fold};
use super::plan_text::{summary_line, where_all};
use super::plan_view::{HeldView, Outage, PlanView, StepView, held_by_outages, outages};
use super::same_problem::same_problems;
use super::warnings::ToldWarning;
use crate::model::{DeclaredSize, FieldChange, ProblemView, Risk, Size, SourcePlace, Verb};
use crate::text::{counted, escape, exact};

/// Returns the whole plan. The first line gives the bytes at risk and the steps that disrupt clients.
pub fn markdown(view: &PlanView) -> String {
    let mut out = String::new();
    let steps = view.steps.as_deref().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "**{}**\n\n{}", at_stake(view), safe(&summary_line(view)));
    let step_rows: Vec<Vec<String>> = steps.iter().map(step_row).collect();
    table(&mut out, "Steps", &["", "object", "action", "what", "fields", "risk"], &step_rows);
    let (outages, holds) = outages(view.held.as_deref().unwrap_or_default(), &view.unobserved);
    let holds = fold(holds);
    list(&mut out, "Held", holds.iter().map(hold));
    let drift = view.drift.iter().flatten().map(|drift| {
        let change = |of: &Value| value(&drift.path, of, drift.declared.get(&*drift.path).copied());
        vec![
            safe(&format!("{}/{}", drift.kind.as_lower(), drift.name)),
            safe(&drift.path),
            change(&drift.recorded),
            change(&drift.observed),
        ]
    });
    table(&mut out, "Drift", &["object", "field", "was", "is"], &drift.collect::<Vec<_>>());
    let warnings: Vec<ToldWarning<'_>> = view.warnings.iter().flatten().map(ToldWarning::of).collect();
    let (warnings, outages) = (fold(&warnings), fold(&outages));
    list(&mut out, "Warnings", warnings.iter().map(warning));
    list(&mut out, "Not observed", outages.iter().map(outages_item));
    if let Some(all) = where_all(view, &holds, &warnings, &outages) {
        let _ = writeln!(out, "\n{}", prose(&all));
    }
    let place = |problem: &ProblemView| {
        let file = problem.file.as_deref()?.into();
        Some(SourcePlace { file, line: problem.line, column: problem.column })
    };
    let places: Vec<Option<SourcePlace>> = view.problems.iter().map(place).collect();
    let problems = view.problems.iter().zip(&places);
    let problems = problems.map(|(problem, place)| (place.as_ref(), &*problem.message, problem.hint.as_deref()));
    let problems = same_problems(problems).into_iter().map(|same| {
        let place = same.place.map(ToString::to_string).unwrap_or_default();
        let others = same.others("kiln check -o json");
        let others: String = others.iter().map(|others| format!("<br>{}", prose(others))).collect();
        vec![format!("{}{others}", safe(&place)), prose(same.message), prose(same.hint.unwrap_or_default())]
    });
    table(&mut out, "Problems", &["where", "what", "hint"], &problems.collect::<Vec<_>>());
    if let Some(waiting) = &view.waiting {
        let _ = writeln!(out, "\n{}", prose(waiting));
    }
    out
}

/// Returns the item of a hold: the reason, the message and the fix, and the objects below them.
fn hold(hold: &Folded<'_, HeldView>) -> String {
    format!("{}{}", entry(hold.reason, hold), members(hold, true))
}

/// Returns the item of a warning.
fn warning(warning: &Folded<'_, ToldWarning<'_>>) -> String {
    let names = if warning.is_single() { String::new() } else { members(warning, false) };
    format!("{}{names}", entry(warning.reason, warning))
}

/// Returns the item of backends that were not observed, with what is held because of them.
fn outages_item<'a>(outages: &Folded<'a, Outage<'a>>) -> String {
    let backends = if outages.is_single() { String::new() } else { members(outages, false) };
    let held: String = held_by_outages(outages).iter().map(|hold| members(hold, true)).collect();
    let reason = if outages.reason.is_empty() { String::new() } else { format!(" {}", outages.reason) };
    format!("{}{backends}{held}", entry(&format!("{}{reason}", outages.subject()), outages))
}

/// Returns what an item begins with: the message, if all facts share it, and the fix.
fn entry<T: TellsFact>(head: &str, entry: &Folded<'_, T>) -> String {
    let message = match entry.causes.as_slice() {
        [cause] => format!(": {}", prose(&cause.message)),
        _ => String::new(),
    };
    format!("**{}**{message}{}", safe(head), fix(&entry.fix))
}

/// Returns the fix on a line of its own in an item.
fn fix(fix: &str) -> String {
    if fix.is_empty() { String::new() } else { format!("<br>**Fix:** {}", prose(fix)) }
}

/// Returns the members of an entry as items, each with its own message if they have several. `by_verb`: also what is not done to them.
fn members<'a, T: TellsFact>(entry: &Folded<'a, T>, by_verb: bool) -> String {
    let (lines, rest) = entry.lines(by_verb);
    let item = |MemberLine { verb, text }| {
        let verb = verb.map(|verb| format!("{verb} ")).unwrap_or_default();
        format!("\n  - {verb}{}", prose(&text))
    };
    let mut out: String = lines.into_iter().map(item).collect();
    if rest > 0 {
        out.push_str(&format!("\n  - and {rest} more"));
    }
    out
}

/// Returns the first line: `0 bytes at risk; no step disrupts clients`.
fn at_stake(view: &PlanView) -> String {
    let Some(summary) = &view.summary else {
        return format!("No plan: the manifests have {}", counted(view.problems.len(), "problem"));
    };
    let bytes = match summary.bytes_at_risk {
        0 => "0 bytes at risk".to_owned(),
        bytes => format!("{} at risk", exact(Size(bytes))),
    };
    let hit = view.steps.iter().flatten().filter(|step| step.risk == Risk::Disruptive).count();
    let clients = match hit {
        0 => "no step disrupts clients".to_owned(),
        1 => "1 step disrupts clients".to_owned(),
        hit => format!("{hit} steps disrupt clients"),
    };
    format!("{bytes}; {clients}")
}

fn step_row(step: &StepView) -> Vec<String> {
    let risk = match step.risk {
        Risk::None => "none",
        Risk::Disruptive => "disrupts clients",
        Risk::Recoverable => "recoverable",
        Risk::Irreversible => "**irreversible**",
    };
    let approved = if step.approved { ", approved" } else { "" };
    let rounding = step.rounding.iter().map(|rounding| safe(&format!("size: {rounding}")));
    // What the size is rounded up to says it all.
    let changes = step.changes.iter().filter(|change| step.rounding.is_none() || change.path != "size");
    let fields: Vec<String> = rounding.chain(changes.map(|of| change(step, of))).collect();
    vec![
        format!("`{}`", step.action.glyph()),
        safe(&step.object_name()),
        step.word.to_owned(),
        safe(&step.detail),
        fields.join("<br>"),
        format!("{risk}{approved}"),
    ]
}

fn change(step: &StepView, change: &FieldChange) -> String {
    let shown = |of: &Value| value(&change.path, of, step.declared.get(&*change.path).copied());
    let (path, after) = (safe(&change.path), shown(&change.after));
    match &change.before {
        Value::Null => format!("{path}: {after}"),
        // Of what goes, the values are shown: nothing is resized.
        before if change.after.is_null() && matches!(step.action, Verb::Remove | Verb::Destroy) => {
            format!("{path}: {}", shown(before))
        }
        before => format!("{path}: {} → {after}", shown(before)),
    }
}

fn value(path: &str, value: &Value, declared: Option<DeclaredSize>) -> String {
    safe(&super::plan_text::value(path, value, declared))
}

/// Writes a heading with a table, or nothing if there are no rows. Cells are Markdown.
fn table(out: &mut String, title: &str, columns: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n### {title}\n\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
}

/// Writes a heading with a list, or nothing if there are no items. Items are Markdown.
fn list(out: &mut String, title: &str, items: impl Iterator<Item = String>) {
    for (index, item) in items.enumerate() {
        if index == 0 {
            let _ = writeln!(out, "\n### {title}\n");
        }
        let _ = writeln!(out, "- {item}");
    }
}

/// Escapes a sentence; what stands between backticks is code.
fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let last = parts.len() - 1;
    let mut out = String::with_capacity(text.len() + 8);
    for (index, part) in parts.into_iter().enumerate() {
        match index % 2 == 1 {
            false => out.push_str(&safe(part)),
            // A backtick without a second one.
            true if index == last => out.push_str(&format!("\\`{}", safe(part))),
            // Between backticks nothing is escaped, and a bar would still end a cell.
            true if part.trim() != part || part.is_empty() || part.contains('|') => {
                out.push_str(&format!("<code>{}</code>", safe(part)));
            }
            true => out.push_str(&format!("`{}`", escape(part))),
        }
    }
    out
}

/// Escapes text for GitHub's Markdown (<https://github.github.com/gfm/>). A backslash escapes every character with a meaning inside
/// a line. Mentions, references and bare addresses are recognized after backslashes are resolved: an empty comment, or a backslash
/// within an address's own characters, breaks them.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    for c in escape(text).chars() {
        match c {
            '@' | '#' => {
                out.push(c);
                out.push_str("<!-- -->");
            }
            // `www.` and `://` begin an address.
            '.' if ends_with_www(&out) => out.push_str("\\."),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            '/' if before == ':' => out.push_str("<!-- -->/"),
            c => out.push(c),
        }
        before = c;
    }
    out
}

fn ends_with_www(text: &str) -> bool {
    text.len().checked_sub(3).and_then(|at| text.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case("www"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text() {
        for (text, shown) in [
            ("plain-name", "plain-name"),
            ("a|b", "a\\|b"),
            ("[x](https://evil.example)", "\\[x\\](https:<!-- -->//evil.example)"),
            ("<img src=x>", "\\<img src=x\\>"),
            ("&lt;", "\\&lt;"),
            ("`a` **b** _c_", "\\`a\\` \\*\\*b\\*\\* \\_c\\_"),
            ("@team fixes #12", "@<!-- -->team fixes #<!-- -->12"),
            ("www.evil.example", "www\\.evil.example"),
            ("(wWW.evil.example", "(wWW\\.evil.example"),
            ("../slow.yaml:3:1 and w.x", "../slow.yaml:3:1 and w.x"),
            ("a\nb\u{202e}", "a\\\\u\\{a\\}b\\\\u\\{202e\\}"),
            ("a\\", "a\\\\"),
        ] {
            assert_eq!(safe(text), shown, "{text:?}");
        }
    }

    #[test]
    fn text_between_backticks_is_code_and_nothing_else() {
        for (text, shown) in [
            ("run `kiln apply`, *now*", "run `kiln apply`, \\*now\\*"),
            ("`@team` and `a|b`", "`@team` and <code>a\\|b</code>"),
            ("a ` alone *b*", "a \\` alone \\*b\\*"),
            ("`` and ` x `", "<code></code> and <code> x </code>"),
            ("`a\nb\u{202e}`", "`a\\u{a}b\\u{202e}`"),
        ] {
            assert_eq!(prose(text), shown, "{text:?}");
        }
    }

    #[test]
    fn nothing_to_do_is_two_lines() {
        let view = PlanView { summary: Some(Default::default()), ..PlanView::invalid(Vec::new()) };
        assert_eq!(markdown(&view), "**0 bytes at risk; no step disrupts clients**\n\nNothing to do.\n");
    }

    #[test]
    fn without_a_plan_the_problems_are_shown() {
        let problem = crate::model::ProblemView {
            file: Some("specs/a.yaml".to_owned()),
            line: 4,
            column: 7,
            message: "`x` is no field".to_owned(),
            hint: None,
        };
        let shown = markdown(&PlanView::invalid(vec![problem.clone()]));
        assert!(shown.starts_with("**No plan: the manifests have 1 problem**\n"), "{shown}");
        assert!(shown.contains("| specs/a.yaml:4:7 | `x` is no field |  |"), "{shown}");
        let other = ProblemView { line: 9, ..problem.clone() };
        let shown = markdown(&PlanView::invalid(vec![problem.clone(), other]));
        assert!(shown.contains("| specs/a.yaml:4:7<br>also at specs/a.yaml:9:7 | `x` is no field |  |"), "{shown}");
        let of_all = crate::model::ProblemView { file: None, message: "there are none".to_owned(), ..problem };
        let shown = markdown(&PlanView::invalid(vec![of_all]));
        assert!(shown.contains("|  | there are none |  |"), "{shown}");
    }
}
