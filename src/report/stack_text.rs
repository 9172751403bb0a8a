//! The state of a Stack, as people and programs read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Serialize;

use super::answers::StackStatus;
use super::approval_text::approval_line;
use super::commands::Commands;
use super::condition::Condition;
use super::folded::{Fact, Folded, TellsFact, fold, where_all_are};
use super::folded_text::{is_held_by, render_facts, render_holds, render_outages, render_suspended};
use super::objects_text::condition_of;
use super::orphans::Orphan;
use super::plan_view::{HeldView, outages, where_all_of_outages, with_commands};
use super::status::ObjectStatus;
use crate::model::{Size, Suspension};
use crate::plan::{Held, Unobserved, resume, suspended_because};
use crate::text::{Paint, counted, escape, rfc3339, table};

/// The state of a Stack, as shown.
#[derive(Debug)]
pub struct StackView<'a> {
    /// The declared backends.
    pub backends: Vec<ObjectStatus<'a>>,
    /// Processes with other stores that write to the pools, one sentence each.
    pub writers: Vec<String>,
    /// The number of objects per condition.
    pub conditions: BTreeMap<Condition, usize>,
    /// The holds.
    pub held: Vec<HeldView>,
    /// The digest that approves the waiting steps; none if none wait.
    pub approval: Option<String>,
    /// The waiting steps: `destroy volume/db`.
    pub awaiting_approval: Vec<String>,
    /// The suspensions.
    pub suspended: Vec<SuspendedView>,
    /// The orphans.
    pub orphans: Vec<OrphanView>,
    /// The backends that were not observed.
    pub unobserved: Vec<Unobserved>,
}

impl<'a> StackView<'a> {
    /// Makes the shown form of a Stack's state. `commands` completes the commands in its texts.
    pub fn new(status: StackStatus<'a>, commands: &Commands) -> Self {
        let StackStatus {
            backends,
            writers,
            conditions,
            held,
            approval,
            awaiting_approval,
            suspended,
            orphans,
            unobserved,
        } = status;
        let waiting: BTreeSet<&str> = awaiting_approval.iter().map(String::as_str).collect();
        let view = |held: &Held| {
            let step = format!("{} {}/{}", held.action, held.kind.as_lower(), held.name);
            HeldView::new(held, waiting.contains(step.as_str()), &unobserved, commands)
        };
        let held = held.iter().map(view).collect();
        Self {
            backends,
            writers,
            conditions,
            held,
            approval: approval.map(|digest| digest.into_owned()),
            awaiting_approval,
            suspended: suspended.iter().map(|one| SuspendedView::new(one, commands)).collect(),
            orphans: orphans.into_iter().map(|orphan| OrphanView::new(orphan, commands)).collect(),
            unobserved: unobserved.iter().map(|one| with_commands(one, commands)).collect(),
        }
    }
}

/// A suspension, as shown.
#[derive(Debug)]
pub struct SuspendedView {
    /// The object as `volume/db`; none if everything is suspended.
    object: Option<String>,
    /// What is suspended, until when and why, in one sentence.
    message: String,
    /// The command that ends it.
    fix: String,
}

impl SuspendedView {
    fn new(suspension: &Suspension, commands: &Commands) -> Self {
        let object = suspension.object.as_ref().map(ToString::to_string);
        Self { object, message: suspended_because(suspension), fix: commands.complete(&resume(suspension)) }
    }

    /// Returns it in one sentence.
    pub fn sentence(&self) -> String {
        let what = self.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
        format!("{what}{}; fix: {}", self.message, self.fix)
    }
}

impl TellsFact for SuspendedView {
    fn fact(&self) -> Fact<'_> {
        Fact::new(self.object.as_deref().unwrap_or_default(), "", &self.message, &self.fix)
    }
}

/// An orphan, as shown.
#[derive(Debug, Serialize)]
pub struct OrphanView {
    /// The object as `volume/db`, or its backend.
    pub what: String,
    /// Why it is an orphan.
    pub reason: &'static str,
    /// The bytes that it takes up, if known.
    pub bytes: Option<u64>,
    /// When it became an orphan, in RFC 3339, if known.
    pub since: Option<String>,
    /// What was found, in one sentence.
    pub message: String,
    /// The command that resolves it.
    pub fix: String,
    /// The backend, which the message may name.
    #[serde(skip)]
    backend: String,
}

impl OrphanView {
    fn new(orphan: Orphan, commands: &Commands) -> Self {
        let what = orphan.what();
        let Orphan { reason, bytes, since, message, fix, backend, .. } = orphan;
        let (fix, backend) = (commands.complete(&fix), backend.to_string());
        Self { what, reason: reason.as_str(), bytes, since: since.map(rfc3339), message, fix, backend }
    }
}

impl TellsFact for OrphanView {
    fn fact(&self) -> Fact<'_> {
        Fact { backend: Some(&self.backend), ..Fact::new(&self.what, self.reason, &self.message, &self.fix) }
    }
}

/// Returns the state of a Stack as text. It begins with an empty line.
pub fn stack_text(view: &StackView<'_>, paint: Paint, commands: &Commands) -> String {
    let mut out = String::new();
    if !view.backends.is_empty() {
        out.push('\n');
        out.push_str(&backends_table(view, paint));
    }
    let all: usize = view.conditions.values().sum();
    let parts: Vec<String> =
        view.conditions.iter().map(|(condition, count)| format!("{count} {}", condition.as_str())).collect();
    let counts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    let _ = writeln!(out, "\n{}{counts}", counted(all, "object"));
    let suspended = fold(&view.suspended);
    let (outages, holds) = outages(&view.held, &view.unobserved);
    let is_told = |hold: &&HeldView| view.suspended.iter().any(|suspension| is_held_by(hold, suspension));
    let (of_suspensions, holds): (Vec<&HeldView>, Vec<&HeldView>) = holds.into_iter().partition(is_told);
    if !suspended.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Suspended:"));
        render_suspended(&mut out, &suspended, &of_suspensions, paint);
    }
    let holds = fold(holds);
    if !holds.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Held:"));
        let widest = holds.iter().map(Folded::subject).map(|subject| subject.len()).max();
        let width = paint.column(widest.unwrap_or_default());
        render_holds(&mut out, &holds, width, paint);
    }
    let outages = fold(&outages);
    if !outages.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Not observed:"));
        render_outages(&mut out, &outages, paint);
    }
    let orphans = fold(&view.orphans);
    if !orphans.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Orphans:"));
        render_facts(&mut out, &orphans, paint, |orphans| {
            let bytes: Option<u64> = orphans.members().filter_map(|orphan| orphan.bytes).reduce(u64::saturating_add);
            let bytes = bytes.map(|bytes| format!(", {}", Size(bytes).rounded())).unwrap_or_default();
            // RFC 3339 sorts by time.
            let since = orphans.members().filter_map(|orphan| orphan.since.as_deref()).min();
            let since = since.map(|since| format!(", since {since}")).unwrap_or_default();
            format!("{bytes}{since}")
        });
    }
    let command = commands.command("kiln status -o json");
    let all = where_all_are(&suspended, &command)
        .or_else(|| where_all_are(&holds, &command))
        .or_else(|| where_all_of_outages(&outages, &command))
        .or_else(|| where_all_are(&orphans, &command));
    if let Some(all) = all {
        let _ = writeln!(out, "\n{}", escape(&all));
    }
    if let Some(digest) = &view.approval {
        let held: BTreeSet<String> = view.held.iter().map(step_of).collect();
        // What is held was named above.
        let (held, others): (Vec<&String>, Vec<&String>) =
            view.awaiting_approval.iter().partition(|step| held.contains(*step));
        let held = (!held.is_empty()).then(|| counted(held.len(), "held step"));
        let steps: Vec<String> = held.into_iter().chain(others.into_iter().cloned()).collect();
        let text = approval_line(&steps.join(", "), &commands.approve(digest));
        let _ = writeln!(out, "\n{}", escape(&text));
    }
    out
}

/// Returns what a hold holds, as a step that waits is named.
fn step_of(held: &HeldView) -> String {
    format!("{} {}/{}", held.action, held.kind.as_lower(), held.name)
}

fn backends_table(view: &StackView<'_>, paint: Paint) -> String {
    let rows = view.backends.iter().map(|backend| {
        let status = &backend.status;
        let size = |size: Option<u64>| size.map_or_else(|| "-".to_owned(), |size| Size(size).rounded());
        let share = match (status.used, status.size) {
            (Some(used), Some(size)) if size > 0 => format!(" ({} %)", u128::from(used) * 100 / u128::from(size)),
            _ => String::new(),
        };
        [
            backend.metadata.name.to_string().into(),
            format!("{}{share}", size(status.used)).into(),
            size(status.size).into(),
            condition_of(status.condition),
            match view.unobserved.iter().any(|one| one.backend == *backend.metadata.name) {
                true => "see below".into(),
                false => status.message.to_string().into(),
            },
        ]
    });
    table(["BACKEND", "USED", "CAPACITY", "CONDITION", "MESSAGE"], rows, paint)
}
