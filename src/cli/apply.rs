//! `kiln apply`: executes the plan.

use std::path::Path;
use std::sync::Arc;

use tracing::Instrument;

use super::args::ApplyArgs;
use super::client::Daemon;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::lines::{Lines, RunSummary, VolumePath};
use super::no_specs;
use super::person::person;
use super::plan::{left_out, split, standing, unknown};
use super::progress::{Progress, ProgressOptions};
use super::remote::{self, Applied};
use super::runtime::block_on;
use super::{lines, saved, signals};
use crate::daemon::protocol::ApplyRequest;
use crate::engine::{self, Options, Report, Reporter, Setup};
use crate::model::Reading;
use crate::plan::Saved;
use crate::report::{Commands, Folded, HeldView, fold, render_holds, where_all_are};
use crate::text::{Cell, counted, table};

/// Where an apply runs.
#[expect(clippy::large_enum_variant, reason = "there is one of them for each run")]
enum RunPlace<'c> {
    Here(Setup),
    /// In the daemon that has the store.
    Daemon(&'c Daemon, ApplyRequest),
}

pub(crate) fn apply(context: &Context, args: ApplyArgs) -> Result<Exit, Failure> {
    let json = args.output.is_json();
    let (source, only) = split(context, &args.selection, "apply")?;
    if args.ask && (!context.terminal.can_ask() || source.as_os_str() == "-") {
        let message = "--ask needs a terminal: stdin and stderr must be one";
        let fix =
            "save the plan and review it: `kiln plan --out FILE`; then `kiln apply FILE` executes exactly this plan";
        return Err(Failure::new(Exit::Usage, message).hint(fix));
    }
    let (reading, saved) = match saved::read(&source)? {
        Some(_) if args.prune => {
            let message = format!("{} is a saved plan, which was made with --prune or without it", source.display());
            return Err(
                Failure::new(Exit::Usage, message).hint("save a new plan: `kiln plan SPECS --prune --out FILE`")
            );
        }
        Some(Saved { mut reading, plan, .. }) => {
            context.terminal.is_about_saved(&reading);
            context.check_saved_paths(&mut reading)?;
            (Arc::new(reading), Some(Arc::new(plan)))
        }
        None => (declared(context, &args, &source)?, None),
    };
    let options = Options { approve: args.approve, by: person(), ask: args.ask, saved, only, ..Options::default() };
    let place = match context.daemon()? {
        Some(daemon) => RunPlace::Daemon(daemon, ApplyRequest::new(&source, &options, &reading)),
        None if !args.yes && context.terminal.can_ask() => {
            RunPlace::Here(context.writing_after_question(reading.clone())?)
        }
        None => RunPlace::Here(context.writing(reading.clone())?),
    };
    let in_daemon = matches!(place, RunPlace::Daemon(..));
    let shown = ProgressOptions { data_only: json, yes: args.yes, in_daemon };
    let progress =
        Arc::new(Progress::new(context.terminal.clone(), reading.specs.clone(), shown, options.stop.clone()));
    let (first, second) = (progress.clone(), progress.clone());
    let (announce, end) = (move || first.announce_stop(), move || second.announce_end());
    if let Err(error) = signals::listen(context.terminal.live.clone(), options.stop.clone(), announce, end) {
        context.terminal.note(&format!("Ctrl-C stops at once: {error}"));
    }
    progress.begin();
    let lines = json.then(|| Arc::new(Lines::begin(context.terminal.clone(), &reading, progress.clone())));
    let reporter: Arc<dyn Reporter> = match &lines {
        Some(lines) => lines.clone(),
        None => progress.clone(),
    };
    let applied = block_on(async {
        match &place {
            RunPlace::Here(setup) => {
                let pass = engine::reconcile_once(setup, &options, reporter).instrument(engine::pass_span("apply"));
                Ok(Applied::Ran(pass.await?))
            }
            RunPlace::Daemon(daemon, ask) => remote::apply(daemon, ask, &options.stop, reporter).await,
        }
    });
    progress.end();
    let report = match applied?? {
        Applied::Ran(report) => report,
        Applied::Invalid(problems) => return Err(Failure::invalid(problems.len())),
    };
    for breach in &report.breaches {
        context.terminal.error(
            &format!("the plan breaks a guarantee and was not run: {breach}"),
            Some("this is a bug in Kiln: report it with the output of `kiln plan -o json`"),
        );
    }
    if let [object, ..] = report.unknown.as_slice() {
        return Err(unknown(object, &reading.specs));
    }
    for what in &report.refused {
        context.terminal.note(what);
    }
    if !report.refused.is_empty() {
        let waiting = report.plan.as_ref().and_then(|plan| plan.awaiting.as_ref()).filter(|_| report.unconfirmed);
        let (message, fix) = match (waiting, &options.saved) {
            (Some(set), _) => (
                "the saved plan was not approved; nothing was changed",
                format!("`{}` approves and executes it", context.terminal.commands().approve(&set.digest)),
            ),
            (None, Some(_)) => (
                "the saved plan no longer holds; nothing was changed",
                "save a new plan: `kiln plan --out FILE`".to_owned(),
            ),
            (None, None) => (
                "that approval is not what waits now; nothing was changed",
                "`kiln plan` shows the approval that waits, with its command".to_owned(),
            ),
        };
        context.terminal.error(message, Some(&fix));
    }
    if report.declined {
        context.terminal.note("the plan was not confirmed; nothing was changed");
    } else if lines.is_none() {
        progress.print(&summary(&report, &progress, &context.terminal.commands()));
    }
    if let Some(text) = left_out(report.left_out) {
        context.terminal.note(&text);
    }
    let held = report.plan.as_ref().map_or(Exit::Done, |plan| standing(plan, args.allow_held));
    let is_left = report.stopped && !report.declined;
    let failed = Exit::Failed.when(!report.failed.is_empty() || !report.breaches.is_empty() || is_left);
    let exit = Exit::combine([held, failed, Exit::Held.when(report.declined || !report.refused.is_empty())]);
    if let Some(lines) = lines {
        lines.end(&summary_line(&report, exit, &context.terminal.commands()));
    }
    Ok(exit)
}

/// Reads manifests that must be valid.
fn declared(context: &Context, args: &ApplyArgs, source: &Path) -> Result<Arc<Reading>, Failure> {
    let mut loaded = context.read_specs(source)?;
    no_specs::explain(context, &args.selection, "apply", &mut loaded);
    if args.prune {
        loaded.reading.coverage.prune();
    }
    if loaded.problems.is_empty() {
        return Ok(Arc::new(loaded.reading));
    }
    if args.output.is_json() {
        lines::invalid(&context.terminal, crate::manifest::problem_views(&loaded.problems));
    }
    Err(context.refused(&loaded.problems))
}

fn summary_line(report: &Report, exit: Exit, commands: &Commands) -> RunSummary {
    RunSummary {
        changed: report.changed,
        unchanged: report.unchanged,
        failed: report.failed.len(),
        skipped: report.skipped,
        not_asked_for: report.left_out.0,
        stopped: report.stopped,
        paths: report
            .paths
            .iter()
            .map(|(object, path)| VolumePath { object: object.to_string(), path: path.clone() })
            .collect(),
        held: match (&report.plan, report.declined || !report.refused.is_empty()) {
            (Some(plan), false) => HeldView::all_of_run(plan, commands),
            _ => held_views(report, commands),
        },
        declined: report.declined,
        refused: report.refused.clone(),
        breaches: report.breaches.clone(),
        exit_code: exit.code(),
    }
}

/// Returns every hold of the plan as run.
fn held_views(report: &Report, commands: &Commands) -> Vec<HeldView> {
    report.plan.as_ref().map(|plan| HeldView::all(plan, commands)).unwrap_or_default()
}

/// Returns the holds that were not shown with a plan, and a last line with the counts; nothing if the plan said it all.
fn summary(report: &Report, progress: &Progress, commands: &Commands) -> String {
    let mut out = String::new();
    let held = held_views(report, commands);
    let found = fold(held.iter().filter(|held| !progress.was_shown(held)));
    if !found.is_empty() {
        let widest = found.iter().map(Folded::subject).map(|subject| subject.len()).max();
        let width = progress.paint().column(widest.unwrap_or_default());
        out.push_str(if report.refused.is_empty() { "Held while running:\n" } else { "Held:\n" });
        render_holds(&mut out, &found, width, progress.paint());
        let all = where_all_are(&found, &commands.command("kiln status -o json"));
        out.extend(all.map(|all| format!("{all}\n")));
    }
    let Report { changed, unchanged, failed, skipped, stopped, paths, .. } = report;
    if *changed + *unchanged + failed.len() + *skipped == 0 && !stopped {
        return progress.paint().fit(&out);
    }
    let mut counts = vec![format!("{} done", counted(*changed, "step"))];
    for (count, what) in
        [(*unchanged, "unchanged"), (failed.len(), "failed"), (*skipped, "not started"), (held.len(), "held")]
    {
        if count > 0 {
            counts.push(format!("{count} {what}"));
        }
    }
    let how = if *stopped { "Stopped" } else { "Applied" };
    out.push_str(&format!("{how}: {}.\n", counts.join(", ")));
    out = progress.paint().fit(&out);
    if !paths.is_empty() {
        let rows =
            paths.iter().map(|(object, path)| [object.to_string().into(), Cell::whole(path.display().to_string())]);
        out.push_str(&table(["VOLUME", "PATH"], rows, progress.paint()));
        if paths.len() == Report::PATHS {
            out.push_str("`kiln get -o wide` lists every path.\n");
        }
    }
    out
}
