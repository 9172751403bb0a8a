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
use crate::model::Seconds;
use crate::report::{
    Commands, Condition, HeldView, ObjectStatus, OrphanView, StackStatus, StackView, SuspendedView, stack_status,
    stack_text,
};
use crate::text::{Paint, escape};

/// The `format` of the JSON form.
const FORMAT: &str = "kiln.status/v1";

/// The summary, as in `kiln status -o json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusView<'a> {
    /// [`FORMAT`].
    format: &'static str,
    /// The daemon; null if none runs or answers.
    daemon: Option<&'a DaemonView>,
    /// Whether a daemon runs that does not answer.
    mute: bool,
    /// Processes with other stores that write to the pools, one sentence each.
    writers: &'a [String],
    backends: &'a [ObjectStatus<'a>],
    /// The number of objects per condition.
    conditions: &'a BTreeMap<Condition, usize>,
    held: &'a [HeldView],
    /// The digest that approves the waiting steps; null if none wait.
    approval: Option<&'a str>,
    /// The waiting steps: `destroy volume/db`.
    awaiting_approval: &'a [String],
    /// The suspensions, one sentence each.
    suspended: Vec<String>,
    /// The orphans.
    orphans: &'a [OrphanView],
}

impl<'a> StatusView<'a> {
    fn new(daemon: Option<&'a DaemonView>, mute: bool, stack: &'a StackView<'a>) -> Self {
        let StackView { backends, writers, conditions, held, approval, awaiting_approval, suspended, orphans, .. } =
            stack;
        let approval = approval.as_deref();
        Self {
            format: FORMAT,
            daemon,
            mute,
            writers,
            backends,
            conditions,
            held,
            approval,
            awaiting_approval,
            suspended: suspended.iter().map(SuspendedView::sentence).collect(),
            orphans,
        }
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
    let is_unobserved = !status.unobserved.is_empty();
    let commands = context.terminal.commands();
    let stack = StackView::new(status, &commands);
    let (is_mute, is_barred) = match context.holder()? {
        Holder::Mute(_) => (true, false),
        Holder::Barred => (false, true),
        Holder::None | Holder::Daemon(_) => (false, false),
    };
    if args.output.is_json() {
        context.json(&StatusView::new(daemon, is_mute, &stack));
    } else {
        let paint = context.terminal.paint;
        let mut out = String::new();
        match daemon {
            Some(daemon) => show_daemon(&mut out, daemon, paint, &commands),
            None if is_mute => out.push_str("The daemon that has the store does not answer.\n"),
            None if is_barred => out.push_str("Cannot tell whether a daemon runs.\n"),
            None if !stack.writers.is_empty() => out.push_str("No daemon runs with this store.\n"),
            None => out.push_str(&commands.complete("No daemon runs: `kiln watch` starts one.\n")),
        }
        for writer in &stack.writers {
            let _ = writeln!(out, "{}", escape(writer));
        }
        out.push_str(&stack_text(&stack, paint, &commands));
        context.terminal.out(&paint.fit(&out));
    }
    Ok(Exit::combine([standing, Exit::Unobserved.when(is_unobserved)]))
}

fn show_daemon(out: &mut String, daemon: &DaemonView, paint: Paint, commands: &Commands) {
    let mut field = |name: &str, value: String| {
        out.push_str(&paint.beside(&format!("{} ", paint.bold(&format!("{name:<10}"))), &escape(&value)));
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
    for slow in &daemon.slow_backends {
        field("slow", format!("backend/{}, since {}", slow.backend, slow.since));
    }
    for job in &daemon.jobs {
        field("copying", format!("{}: {}, since {}", job.object, job.progress, job.since));
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
