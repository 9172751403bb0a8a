//! `kiln doctor`: lists problems, each with its fix. Changes nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::DoctorArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::runtime::block_on;
use crate::daemon::protocol::Answer;
use crate::engine;
use crate::report::{self, DoctorAnswer, Finding, FindingArea, doctor_answer};
use crate::store::{self, Store, StoreCondition};
use crate::text::quoted;

#[derive(Serialize)]
struct Diagnosis<'a> {
    findings: &'a [Finding],
}

pub(crate) fn doctor(context: &Context, args: &DoctorArgs) -> Result<Exit, Failure> {
    let loaded = context.read_specs(&args.specs.specs)?;
    let mut findings: Vec<Finding> = Vec::new();
    for problem in &loaded.problems {
        let fix = problem
            .hint
            .clone()
            .unwrap_or_else(|| "correct the manifest in that line, then run `kiln check`".to_owned());
        findings.push(Finding::problem(
            FindingArea::Manifests,
            problem.place.to_string(),
            "Problem",
            problem.message.clone(),
            fix,
        ));
    }
    // The daemon that follows these manifests writes the store itself, and reports what prevents that.
    let store = match context.daemon_of(&args.specs.specs)? {
        Some(_) => None,
        None => read_store(context, &mut findings),
    };
    add_set_aside(context.state(), &mut findings);
    // While manifests are invalid it is unknown what should exist: they come first. (A daemon has their last valid content.)
    let overview;
    let answer = match context.ask_quietly::<DoctorAnswer<'static>>(&args.specs.specs, "/v1/doctor")? {
        Some(Answer { answer, .. }) => Some(answer),
        None if loaded.problems.is_empty() => {
            let setup = context.setup(std::sync::Arc::new(loaded.reading), store);
            overview = (block_on(engine::overview(&setup, &[]))?, setup.reading);
            Some(doctor_answer(&overview.0, &overview.1))
        }
        None => None,
    };
    if let Some(answer) = &answer {
        findings.extend(report::findings(answer));
        add_missing_tools(answer, &mut findings);
    }
    let commands = context.terminal.commands();
    for Finding { message, fix, .. } in &mut findings {
        (*message, *fix) = (commands.complete(message), commands.complete(fix));
    }
    findings.sort_by_key(|finding| !finding.wrong);
    if args.output.is_json() {
        context.json(&Diagnosis { findings: &findings });
    } else {
        context.terminal.out(&report::findings_text(&findings, context.terminal.paint, &commands));
    }
    Ok(Exit::combine(findings.iter().map(exit_of)))
}

/// Returns the exit code for a finding.
fn exit_of(finding: &Finding) -> Exit {
    match finding.area {
        FindingArea::Nothing => Exit::Done,
        FindingArea::Manifests => Exit::Invalid,
        FindingArea::Store => Exit::Store,
        FindingArea::Backend => Exit::Unobserved,
        FindingArea::Failure => Exit::Failed,
        FindingArea::Hold => Exit::Held,
    }
}

fn read_store(context: &Context, findings: &mut Vec<Finding>) -> Option<std::sync::Arc<dyn Store>> {
    let unusable = |error: Failure| {
        let area = if error.exit == Exit::Store { FindingArea::Store } else { FindingArea::Failure };
        let fix = error.hint.unwrap_or_else(|| "use another store: --state DIR".to_owned());
        Finding::problem(area, "store", "Unusable", error.message, fix)
    };
    // A daemon writes the store itself, and reports what keeps it from that.
    let has_daemon = matches!(context.daemon(), Ok(Some(_)));
    let opened = match context.open_store_quietly() {
        Ok(opened) => opened,
        Err(error) => {
            findings.push(unusable(error));
            return None;
        }
    };
    let found = opened.as_ref().map_or(StoreCondition::Whole, |opened| opened.found);
    if !has_daemon && let Err(error) = store::try_writing(context.state()) {
        findings.push(unusable(error.into()));
    } else {
        // The store is writable: a command that writes sets a damaged one aside, and what it reads is undamaged.
        let notes = opened.iter().flat_map(|opened| &opened.notes);
        let (reason, fix) = match found {
            StoreCondition::Whole | StoreCondition::Damaged => {
                ("Damaged", "only the journal is lost: the next `kiln apply` rebuilds the rest from the pools")
            }
            StoreCondition::Unreadable => ("Unusable", "fix the cause, or use another store: --state DIR"),
        };
        findings.extend(notes.map(|note| Finding::problem(FindingArea::Store, "store", reason, note, fix)));
    }
    let opened = opened?;
    // The steps of a running daemon are not interrupted ones, and it resolved interrupted ones when it started.
    let interrupted = if has_daemon { Vec::new() } else { opened.store.intents().unwrap_or_default() };
    for intent in interrupted {
        let identity = &intent.step.identity;
        let message = format!("a run was interrupted during this step, or just before it: {}", intent.step.action);
        let what = format!("{}/{}", identity.kind.as_lower(), identity.name);
        findings.push(Finding::warning(what, "Interrupted", message, "`kiln apply`"));
    }
    Some(opened.store)
}

/// Adds damaged stores that were set aside earlier and are kept for analysis.
fn add_set_aside(state: &Path, findings: &mut Vec<Finding>) {
    let entries = std::fs::read_dir(state).into_iter().flatten().flatten();
    let mut aside: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("damaged-"))
        .map(|entry| entry.path())
        .collect();
    aside.sort();
    for path in aside {
        let message = "a damaged store was set aside and rebuilt";
        let fix =
            format!("find out what damaged it (the disk?), then run `rm -r {}`", quoted(&path.display().to_string()));
        findings.push(Finding::warning("store", "SetAside", message, fix));
    }
}

/// Adds programs that the declared objects need.
fn add_missing_tools(answer: &DoctorAnswer<'_>, findings: &mut Vec<Finding>) {
    if let Some(volume) = &answer.image_volume
        && !is_on_path("qemu-img")
    {
        let message = format!("qemu-img, which volume {volume} needs for its source image, is not on the PATH");
        let fix = "install it, on Debian with `apt install qemu-utils`";
        findings.push(Finding::warning("host", "ToolMissing", message, fix));
    }
}

fn is_on_path(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
}
