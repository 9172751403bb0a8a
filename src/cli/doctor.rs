//! `kiln doctor`: lists problems, each with its fix. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::DoctorArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::get::full_name;
use super::runtime::block_on;
use crate::daemon::protocol::Answer;
use crate::engine;
use crate::model::{Capacity, Size};
use crate::plan::Held;
use crate::report::{DoctorAnswer, Orphan, doctor_answer};
use crate::store::{self, Store, StoreCondition};
use crate::text::{Paint, counted, escape, quoted, rfc3339};

/// A problem or a warning.
#[derive(Debug, Serialize)]
struct Finding {
    /// Whether it keeps Kiln from what is declared. Otherwise it takes up room, or may become a problem.
    wrong: bool,
    /// The subject: `volume/db`, `backend/fast`, a file with its place, `store`, `host`.
    what: String,
    /// A held reason, a condition, or a word of this command.
    reason: String,
    message: String,
    /// What to write or run to fix it.
    fix: String,
    /// For an orphan: the bytes that it takes up.
    bytes: Option<u64>,
    /// Since when it exists, in RFC 3339, if known.
    since: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

impl Finding {
    /// Returns a problem: it keeps Kiln from what is declared.
    fn problem(
        exit: Exit,
        what: impl Into<String>,
        reason: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let reason = reason.to_owned();
        let (what, message, fix) = (what.into(), message.into(), fix.into());
        Self { wrong: true, what, reason, message, fix, bytes: None, since: None, exit }
    }

    /// Returns its text, without its subject.
    fn words(&self) -> [&str; 3] {
        [&self.reason, &self.message, &self.fix]
    }

    /// Returns a warning.
    fn warning(what: impl Into<String>, reason: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { wrong: false, ..Self::problem(Exit::Done, what, reason, message, fix) }
    }
}

#[derive(Serialize)]
struct Diagnosis<'a> {
    findings: &'a [Finding],
}

pub(crate) fn doctor(context: &Context, args: &DoctorArgs) -> Result<Exit, Failure> {
    let loaded = context.read_specs(&args.specs.specs)?;
    let mut findings: Vec<Finding> = Vec::new();
    for problem in &loaded.problems {
        let fix =
            problem.hint.clone().unwrap_or_else(|| "correct the manifest: `kiln check` shows the line".to_owned());
        findings.push(Finding::problem(
            Exit::Invalid,
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
        add_plan(answer, &mut findings);
        add_full_pools(answer, &mut findings);
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
        context.terminal.out(&shown(&findings, context.terminal.paint));
    }
    Ok(Exit::combine(findings.iter().map(|finding| finding.exit)))
}

fn read_store(context: &Context, findings: &mut Vec<Finding>) -> Option<std::sync::Arc<dyn Store>> {
    let unusable = |error: Failure| {
        Finding::problem(error.exit, "store", "Unusable", error.message, error.hint.unwrap_or_default())
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
        findings.extend(notes.map(|note| Finding::problem(Exit::Store, "store", reason, note, fix)));
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

fn add_plan(answer: &DoctorAnswer<'_>, findings: &mut Vec<Finding>) {
    let DoctorAnswer { held, unobserved, failed, orphans, .. } = answer;
    // Objects that are held only because of their backend are counted with the backend.
    let mut added = BTreeSet::new();
    for unobserved in &**unobserved {
        let waits =
            |held: &&Held| held.backend.as_ref() == Some(&unobserved.backend) && held.message == unobserved.message;
        let waiting: Vec<&Held> = held.iter().filter(waits).collect();
        let what = format!("backend/{}", unobserved.backend);
        let fix = waiting.first().map_or("repair the backend, then run again", |held| held.fix.as_str());
        let message = match waiting.len() {
            0 => unobserved.message.clone(),
            count => format!("{}; {} on it held", unobserved.message, counted(count, "object")),
        };
        findings.push(Finding::problem(Exit::Unobserved, what, "Unobserved", message, fix));
        added.extend(waiting);
    }
    for held in held.iter().filter(|held| !added.contains(held)) {
        let what = format!("{}/{}", held.kind.as_lower(), held.name);
        let (message, fix) = (held.message.clone(), held.fix.clone());
        findings.push(Finding::problem(Exit::Held, what, held.reason.as_str(), message, fix));
    }
    for object in failed {
        let fix = object.status.fix.as_deref().unwrap_or("fix the cause, then run `kiln apply`");
        findings.push(Finding::problem(
            Exit::Failed,
            full_name(object),
            "Failed",
            object.status.message.to_string(),
            fix,
        ));
    }
    for orphan in orphans {
        let Orphan { reason, bytes, since, message, fix, .. } = orphan;
        let (bytes, since) = (*bytes, since.map(rfc3339));
        findings.push(Finding { bytes, since, ..Finding::warning(orphan.what(), reason.as_str(), message, fix) });
    }
}

/// Adds pools that are full, whether or not something is to be created.
fn add_full_pools(answer: &DoctorAnswer<'_>, findings: &mut Vec<Finding>) {
    for (name, Capacity { total, used, objects }, max_fill) in &answer.capacities {
        let what = format!("backend/{name}");
        if *used > max_fill.of(*total) {
            let (used, total) = (Size(*used), Size(*total));
            let message = format!("{used} of {total} are used; `maxFill` is {max_fill}: no object can be created");
            let fix = "purge the trash (`kiln trash list`), or remove other files from that file system";
            findings.push(Finding::warning(&what, "PoolFull", message, fix));
        }
        if *objects == Some(0) {
            let message = "the file system has no free inodes: no object can be created";
            let fix = "purge the trash (`kiln trash list`), or remove other files from that file system (`df -i`)";
            findings.push(Finding::warning(&what, "PoolFull", message, fix));
        }
    }
}

/// Adds programs that the declared objects need.
fn add_missing_tools(answer: &DoctorAnswer<'_>, findings: &mut Vec<Finding>) {
    if let Some(volume) = &answer.image_volume
        && !is_on_path("qemu-img")
    {
        let message = format!("qemu-img, which volume {volume} needs for its source image, is not on the PATH");
        let fix = "install it (Debian: apt install qemu-utils)";
        findings.push(Finding::warning("host", "ToolMissing", message, fix));
    }
}

fn is_on_path(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
}

fn shown(findings: &[Finding], paint: Paint) -> String {
    if findings.is_empty() {
        return "No problems found.\n".to_owned();
    }
    let mut out = String::new();
    for (heading, wrong) in [("Problems:", true), ("Warnings:", false)] {
        let of_kind: Vec<&Finding> = findings.iter().filter(|finding| finding.wrong == wrong).collect();
        if of_kind.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}", paint.bold(heading));
        // Findings with equal text are printed once, with a count.
        let mut alike: BTreeMap<[&str; 3], usize> = BTreeMap::new();
        for finding in &of_kind {
            *alike.entry(finding.words()).or_default() += 1;
        }
        for finding in of_kind {
            let Some(count) = alike.remove(&finding.words()) else { continue };
            let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            let Finding { what, reason, message, fix, .. } = finding;
            let _ = writeln!(out, "  {}{more}  {reason}: {}", escape(what), escape(message));
            let _ = writeln!(out, "      fix: {}", escape(fix));
        }
    }
    let wrong = findings.iter().filter(|finding| finding.wrong).count();
    let summary = match (wrong, findings.len() - wrong) {
        (0, warnings) => format!("No problems; {}.", counted(warnings, "warning")),
        (wrong, 0) => format!("{}.", counted(wrong, "problem")),
        (wrong, warnings) => format!("{}, {}.", counted(wrong, "problem"), counted(warnings, "warning")),
    };
    let _ = writeln!(out, "{summary}");
    out
}
