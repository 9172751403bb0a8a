//! Facts that share a reason and a fix, as text for a terminal: the fact once, the objects below it.

use std::fmt::Write;

use super::folded::{Folded, MemberLine, TellsFact, fold};
use super::plan_view::{HeldView, Outage, held_by_outages};
use super::warnings::ToldWarning;
use crate::plan::HeldReason;
use crate::text::{Paint, escape};

/// The columns before the lines below the first one of an entry.
const INDENT: usize = 6;

/// Writes holds: the objects with the reason, the message and the fix that they share.
pub fn render_holds(out: &mut String, holds: &[Folded<'_, HeldView>], width: usize, paint: Paint) {
    for hold in holds {
        let verb = hold.verb();
        let glyph = verb.map_or_else(|| " ".to_owned(), |told| paint.glyph(told.verb));
        // Of several verbs each is beside its members.
        let verb_text = verb.map(|verb| format!("{verb:7}  ")).unwrap_or_default();
        let (subject, reason) = (hold.subject(), paint.warning(&escape(hold.reason)));
        let lead = format!("  {glyph} {subject}");
        let pad = width.saturating_sub(subject.len());
        match hold.causes.as_slice() {
            [cause] => {
                let rest = format!("{verb_text}{reason}:");
                out.push_str(&paint.row(&lead, pad, &rest, &escape(&cause.message), INDENT));
            }
            _ => out.push_str(&format!("{lead}{:pad$}  {verb_text}{reason}\n", "")),
        }
        render_fix(out, &hold.fix, paint);
        if !hold.is_single() {
            render_members(out, hold, verb.is_none(), paint);
        }
    }
}

/// Writes the backends that were not observed, with the holds that this causes.
pub(super) fn render_outages<'a>(out: &mut String, outages: &[Folded<'a, Outage<'a>>], paint: Paint) {
    for outages in outages {
        let reason = if outages.reason.is_empty() { String::new() } else { format!("  {}", escape(outages.reason)) };
        render_cause(out, &format!("  {}{reason}", escape(&outages.subject())), outages, paint);
        render_fix(out, &outages.fix, paint);
        if !outages.is_single() {
            render_members(out, outages, false, paint);
        }
        for hold in held_by_outages(outages) {
            render_members(out, &hold, true, paint);
        }
    }
}

/// Writes suspensions, each with the holds that it causes: these have its message and its fix.
pub(super) fn render_suspended<'a, T: TellsFact>(
    out: &mut String,
    suspended: &[Folded<'a, T>],
    holds: &[&HeldView],
    paint: Paint,
) {
    for suspensions in suspended {
        render_facts(out, std::slice::from_ref(suspensions), paint, |_| String::new());
        let is_cause = |hold: &&&HeldView| suspensions.members().any(|one| is_held_by(hold, one));
        for hold in fold(holds.iter().filter(is_cause).copied()) {
            render_members(out, &hold, true, paint);
        }
    }
}

/// Whether a suspension causes a hold, and tells it completely.
pub(super) fn is_held_by(hold: &HeldView, suspension: &impl TellsFact) -> bool {
    let (hold, suspension) = (hold.fact(), suspension.fact());
    hold.reason == HeldReason::Suspended.as_str() && (hold.message, hold.fix) == (suspension.message, suspension.fix)
}

/// Writes warnings.
pub(super) fn render_warnings(out: &mut String, warnings: &[Folded<'_, ToldWarning<'_>>], paint: Paint) {
    for warning in warnings {
        render_cause(out, &format!("  {}", escape(warning.reason)), warning, paint);
        render_fix(out, &warning.fix, paint);
        if !warning.is_single() {
            render_members(out, warning, false, paint);
        }
    }
}

/// Writes the first line of an entry, with the message if all its facts share it.
fn render_cause<T: TellsFact>(out: &mut String, head: &str, fact: &Folded<'_, T>, paint: Paint) {
    match fact.causes.as_slice() {
        [cause] if head.trim().is_empty() => out.push_str(&format!("  {}\n", escape(&cause.message))),
        [cause] => out.push_str(&paint.entry(&format!("{head}:"), &escape(&cause.message), INDENT)),
        _ => out.push_str(&format!("{head}\n")),
    }
}

/// Writes a fix, if there is one.
fn render_fix(out: &mut String, fix: &str, paint: Paint) {
    if !fix.is_empty() {
        let _ = writeln!(out, "      {} {}", paint.fix("fix:"), escape(fix));
    }
}

/// Names the members of an entry, each with its own message if they have several. `by_verb`: also what is not done to them.
fn render_members<T: TellsFact>(out: &mut String, entry: &Folded<'_, T>, by_verb: bool, paint: Paint) {
    let (lines, rest) = entry.lines(by_verb);
    for MemberLine { verb, text } in lines {
        let verb = verb.map(|told| format!("{} {told:7}  ", paint.glyph(told.verb))).unwrap_or_default();
        let _ = writeln!(out, "      {verb}{}", escape(&text));
    }
    if rest > 0 {
        let _ = writeln!(out, "      and {rest} more");
    }
}

/// Writes facts without verbs. `extra`: what follows the reason of an entry, with its own comma.
pub(super) fn render_facts<'a, T: TellsFact>(
    out: &mut String,
    facts: &[Folded<'a, T>],
    paint: Paint,
    extra: impl Fn(&Folded<'a, T>) -> String,
) {
    for fact in facts {
        let reason = format!("{}{}", paint.warning(&escape(fact.reason)), extra(fact));
        let blank = if fact.reason.is_empty() { "" } else { "  " };
        let head = format!("  {}{blank}{reason}", escape(&fact.subject()));
        render_cause(out, &head, fact, paint);
        render_fix(out, &fact.fix, paint);
        if !fact.is_single() {
            render_members(out, fact, false, paint);
        }
    }
}
