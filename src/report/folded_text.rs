//! Facts that share a reason and a fix, as text for a terminal: the fact once, the objects below it.

use std::fmt::Write;

use super::folded::{Fact, Folded, names};
use super::plan_view::{HeldView, Outage, Summary};
use crate::model::Verb;
use crate::text::{Paint, escape};

/// The columns before the lines below the first one of an entry.
const INDENT: usize = 6;

/// Writes holds: the objects with the reason, the message and the fix that they share.
pub fn render_holds(out: &mut String, holds: &[Folded<'_, HeldView>], width: usize, paint: Paint) {
    for hold in holds {
        let members: Vec<&HeldView> = hold.members().collect();
        let verb = one_verb(&members);
        let glyph = verb.map_or_else(|| " ".to_owned(), |verb| paint.glyph(verb));
        let verb_text = verb.map(|verb| verb.to_string()).unwrap_or_default();
        let (subject, reason) = (hold.subject(), paint.warning(hold.reason));
        let lead = format!("  {glyph} {subject}");
        let pad = width.saturating_sub(subject.len());
        match hold.causes.as_slice() {
            [cause] => {
                let rest = format!("{verb_text:7}  {reason}:");
                out.push_str(&paint.row(&lead, pad, &rest, &escape(&cause.message), INDENT));
            }
            _ => line(out, format_args!("{lead}{:pad$}  {verb_text:7}  {reason}", "")),
        }
        render_fix(out, &hold.fix, paint);
        if members.len() > 1 {
            render_members(out, hold, verb.is_none(), paint);
        }
    }
}

/// Writes the backends that were not observed, with the holds that this causes.
pub(super) fn render_outages(out: &mut String, outages: &[Outage<'_>], paint: Paint) {
    for outage in outages {
        out.push_str(&paint.entry(&format!("  {}:", outage.subject()), &escape(outage.message), INDENT));
        for hold in &outage.held {
            render_fix(out, &hold.fix, paint);
            render_members(out, hold, true, paint);
        }
    }
}

/// Writes the first line of an entry, with the message if all its facts share it.
fn render_cause<T: Fact>(out: &mut String, head: &str, fact: &Folded<'_, T>, paint: Paint) {
    match fact.causes.as_slice() {
        [cause] => out.push_str(&paint.entry(&format!("{head}:"), &escape(&cause.message), INDENT)),
        _ => line(out, format_args!("{head}")),
    }
}

/// Writes a fix, if there is one.
pub(super) fn render_fix(out: &mut String, fix: &str, paint: Paint) {
    if !fix.is_empty() {
        line(out, format_args!("      {} {}", paint.fix("fix:"), escape(fix)));
    }
}

/// Names the objects of a hold, each with its own message if they have several. `with_verbs`: also what is not done to them.
fn render_members(out: &mut String, hold: &Folded<'_, HeldView>, with_verbs: bool, paint: Paint) {
    let (causes, rest) = hold.shown();
    for cause in causes {
        let message = match hold.causes.len() {
            1 => String::new(),
            _ => format!(": {}", escape(&cause.message)),
        };
        for (verb, members) in by_verb(&cause.members, with_verbs) {
            let verb = verb.map(|verb| format!("{} {verb:7}  ", paint.glyph(verb))).unwrap_or_default();
            line(out, format_args!("      {verb}{}{message}", names(&members)));
        }
    }
    if rest > 0 {
        line(out, format_args!("      and {rest} more"));
    }
}

/// Returns the verb of all members, if they have the same.
fn one_verb(members: &[&HeldView]) -> Option<Verb> {
    let first = members.first()?.action;
    members.iter().all(|member| member.action == first).then_some(first)
}

/// Groups members by their verbs, or leaves them together.
pub(super) fn by_verb<'a>(members: &[&'a HeldView], with_verbs: bool) -> Vec<(Option<Verb>, Vec<&'a HeldView>)> {
    if !with_verbs {
        return vec![(None, members.to_vec())];
    }
    let of = |verb: Verb| members.iter().copied().filter(|member| member.action == verb).collect::<Vec<_>>();
    let groups = Summary::VERBS.into_iter().map(|verb| (Some(verb), of(verb)));
    groups.filter(|(_, members)| !members.is_empty()).collect()
}

/// Writes facts without verbs. `extra`: what follows the reason of an entry, with its own comma.
pub(super) fn render_facts<'a, T: Fact>(
    out: &mut String,
    facts: &[Folded<'a, T>],
    paint: Paint,
    extra: impl Fn(&Folded<'a, T>) -> String,
) {
    for fact in facts {
        let head = format!("  {}  {}{}", escape(&fact.subject()), paint.warning(fact.reason), extra(fact));
        render_cause(out, &head, fact, paint);
        render_fix(out, &fact.fix, paint);
        if fact.members().nth(1).is_none() {
            continue;
        }
        let (causes, rest) = fact.shown();
        for cause in causes {
            let message = match fact.causes.len() {
                1 => String::new(),
                _ => format!(": {}", escape(&cause.message)),
            };
            line(out, format_args!("      {}{message}", escape(&names(&cause.members))));
        }
        if rest > 0 {
            line(out, format_args!("      and {rest} more"));
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}
