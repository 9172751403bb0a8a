//! `kiln status`: shows a summary.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::args::StatusArgs;
use super::client::{Daemon, Holder};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::daemon::protocol::{DaemonView, PassView};
use crate::engine::writers;
use crate::model::{Seconds, Size, Suspension};
use crate::plan::{resume, suspended_because};
use crate::report::{Commands, Condition, HeldView, ObjectStatus, Orphan, StackStatus, render_held, stack_status};
use crate::text::{Paint, counted, escape, rfc3339, table};

/// The summary, as in `kiln status -o json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusView<'a> {
    /// The daemon; null if none runs or answers.
    daemon: Option<&'a DaemonView>,
    /// Whether a daemon runs that does not answer.
    mute: bool,
    #[serde(skip)]
    barred: bool,
    /// Processes with other stores that write to the pools, one sentence each.
    writers: Vec<String>,
    backends: &'a [ObjectStatus<'a>],
    /// The number of objects per condition.
    conditions: BTreeMap<Condition, usize>,
    held: Vec<HeldView>,
    /// The digest that approves the waiting steps; null if none wait.
    approval: Option<&'a str>,
    /// The waiting steps: `destroy volume/db`.
    awaiting_approval: Vec<String>,
    /// The suspensions, one sentence each.
    suspended: Vec<String>,
    /// The orphans.
    orphans: Vec<OrphanView>,
}

/// The number of waiting steps that are named.
const NAMED: usize = 5;

fn sentence(suspension: &Suspension, commands: &Commands) -> String {
    let what = match &suspension.object {
        Some(object) => format!("{object}: "),
        None => String::new(),
    };
    format!("{what}{}; fix: {}", suspended_because(suspension), commands.complete(&resume(suspension)))
}

/// An orphan, as shown.
#[derive(Serialize)]
struct OrphanView {
    /// The object as `volume/db`, or its backend.
    what: String,
    reason: &'static str,
    /// The bytes that it takes up, if known.
    bytes: Option<u64>,
    /// When it became an orphan, in RFC 3339, if known.
    since: Option<String>,
    message: String,
    /// The command that resolves it.
    fix: String,
}

impl OrphanView {
    fn new(orphan: Orphan, commands: &Commands) -> Self {
        let what = orphan.what();
        let Orphan { reason, bytes, since, message, fix, .. } = orphan;
        let fix = commands.complete(&fix);
        Self { what, reason: reason.as_str(), bytes, since: since.map(rfc3339), message, fix }
    }
}

pub(crate) fn status(context: &Context, args: &StatusArgs) -> Result<Exit, Failure> {
    let daemon = context.daemon()?.map(|Daemon { view, .. }| view);
    let kept;
    let (status, standing) = match context.ask::<StackStatus<'static>>(&args.specs.specs, "/v1/status")? {
        Some(answered) => answered,
        None => {
            kept = context.overview(&args.specs.specs)?;
            let (reading, overview) = &kept;
            let writers = writers(&overview.world, &reading.specs.stack.owner, daemon.map(|daemon| daemon.pid));
            (stack_status(overview, reading, daemon.is_some(), writers), Exit::Done)
        }
    };
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
    let commands = context.terminal.commands();
    let view = StatusView {
        daemon,
        mute: matches!(context.holder()?, Holder::Mute(_)),
        barred: matches!(context.holder()?, Holder::Barred),
        writers,
        backends: &backends,
        conditions,
        held: held.iter().map(|held| HeldView::new(held, &commands)).collect(),
        approval: approval.as_deref(),
        awaiting_approval,
        suspended: suspended.iter().map(|one| sentence(one, &commands)).collect(),
        orphans: orphans.into_iter().map(|orphan| OrphanView::new(orphan, &commands)).collect(),
    };
    if args.output.is_json() {
        context.json(&view);
    } else {
        context.terminal.out(&shown(&view, context.terminal.paint, &commands));
    }
    Ok(Exit::combine([standing, Exit::Unobserved.when(!unobserved.is_empty())]))
}

fn shown(view: &StatusView<'_>, paint: Paint, commands: &Commands) -> String {
    let mut out = String::new();
    match view.daemon {
        Some(daemon) => show_daemon(&mut out, daemon, paint, commands),
        None if view.mute => out.push_str("The daemon that has the store does not answer.\n"),
        None if view.barred => out.push_str("Cannot tell whether a daemon runs.\n"),
        None if !view.writers.is_empty() => out.push_str("No daemon runs with this store.\n"),
        None => out.push_str(&commands.complete("No daemon runs: `kiln watch` starts one.\n")),
    }
    for writer in &view.writers {
        let _ = writeln!(out, "{}", escape(writer));
    }
    if !view.backends.is_empty() {
        out.push('\n');
        out.push_str(&backends(view.backends, paint));
    }
    let all: usize = view.conditions.values().sum();
    let parts: Vec<String> =
        view.conditions.iter().map(|(condition, count)| format!("{count} {}", condition.as_str())).collect();
    let counts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    let _ = writeln!(out, "\n{}{counts}", counted(all, "object"));
    if !view.suspended.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Suspended:"));
        for line in &view.suspended {
            let _ = writeln!(out, "  {}", escape(line));
        }
    }
    if !view.held.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Held:"));
        let width = view.held.iter().map(|held| held.object_name().len()).max().unwrap_or_default();
        for held in &view.held {
            render_held(&mut out, held, width, paint);
        }
    }
    if !view.orphans.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Orphans:"));
        for OrphanView { what, reason, bytes, since, message, fix } in &view.orphans {
            let bytes = bytes.map(|bytes| format!(", {}", Size(bytes))).unwrap_or_default();
            let since = since.as_ref().map(|since| format!(", since {since}")).unwrap_or_default();
            let _ = writeln!(out, "  {}  {reason}{bytes}{since}: {}", escape(what), escape(message));
            let _ = writeln!(out, "      fix: {}", escape(fix));
        }
    }
    if let Some(digest) = view.approval {
        let steps = &view.awaiting_approval;
        let mut named: Vec<String> = steps.iter().take(NAMED).map(|step| escape(step).into_owned()).collect();
        named.extend((steps.len() > NAMED).then(|| format!("{} more", steps.len() - NAMED)));
        let named = named.join(", ");
        let approve = commands.complete(&format!("`kiln approve {digest}`"));
        let _ = writeln!(out, "\nWaiting for approval: {named}. {} approves exactly these steps.", escape(&approve));
    }
    out
}

fn show_daemon(out: &mut String, daemon: &DaemonView, paint: Paint, commands: &Commands) {
    let mut field = |name: &str, value: String| {
        let _ = writeln!(out, "{}  {}", paint.bold(&format!("{name:<10}")), escape(&value));
    };
    let uptime = Seconds(daemon.uptime_seconds);
    field(
        "daemon",
        format!("kiln {}, process {}, up {uptime} since {}", daemon.version, daemon.pid, daemon.started_at),
    );
    field("follows", daemon.specs.display().to_string());
    let none = || "none yet".to_owned();
    field("applied", daemon.revision_applied.clone().unwrap_or_else(none));
    if daemon.revision_applied != daemon.revision_attempted {
        field("attempted", daemon.revision_attempted.clone().unwrap_or_else(none));
    }
    field("last pass", daemon.last_pass.as_ref().map_or_else(none, pass));
    if let Some(running) = &daemon.running {
        let by = if running.by_hand { ", on request" } else { "" };
        field("running", format!("a pass since {}{by}", running.since));
    }
    if let Some(next) = &daemon.next_pass_at {
        field("next pass", format!("{next}, or when something changes"));
    }
    if let Some(url) = &daemon.listening {
        field("listening", url.clone());
    }
    if let Some(first) = daemon.problems.first() {
        let place = first.file.as_ref().map(|file| format!("{file}:{}:{}: ", first.line, first.column));
        let others = match daemon.problems.len() {
            1 => String::new(),
            all => commands.complete(&format!(" (and {} more: `kiln check` shows all)", all - 1)),
        };
        field("problem", format!("{}{}{others}", place.unwrap_or_default(), first.message));
    }
    for breaker in &daemon.open_breakers {
        let times = breaker.failures;
        field(
            "breaker",
            format!(
                "backend/{}, consecutive failures: {times}; next probe at {}",
                breaker.backend, breaker.next_attempt_at
            ),
        );
    }
    for retry in &daemon.retries {
        let (kind, name) = (retry.kind.as_lower(), &retry.name);
        field(
            "retrying",
            format!(
                "{kind}/{name}, consecutive failures: {}, at {}: {}",
                retry.failures, retry.next_attempt_at, retry.error
            ),
        );
    }
}

fn pass(pass: &PassView) -> String {
    let mut counts = vec![format!("{} changed", pass.changed)];
    for (count, what) in [(pass.failed, "failed"), (pass.postponed, "postponed"), (pass.held, "held")] {
        if count > 0 {
            counts.push(format!("{count} {what}"));
        }
    }
    format!("{} at {}, in {} ms: {}", pass.ending, pass.began_at, pass.millis, counts.join(", "))
}

fn backends(backends: &[ObjectStatus<'_>], paint: Paint) -> String {
    let rows = backends.iter().map(|backend| {
        let status = &backend.status;
        let size = |size: Option<u64>| size.map_or_else(|| "-".to_owned(), |size| Size(size).to_string());
        let share = match (status.used, status.size) {
            (Some(used), Some(size)) if size > 0 => format!(" ({} %)", u128::from(used) * 100 / u128::from(size)),
            _ => String::new(),
        };
        [
            backend.metadata.name.to_string(),
            format!("{}{share}", size(status.used)),
            size(status.size),
            status.condition.as_str().to_owned(),
            status.message.to_string(),
        ]
    });
    table(["BACKEND", "USED", "CAPACITY", "CONDITION", "MESSAGE"], rows, paint)
}
