//! `kiln doctor`: what is wrong, at a glance, each with what mends it. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::DoctorArgs;
use super::context::{Context, Told, block_on};
use super::exit::Exit;
use super::failure::Failure;
use super::get::full_name;
use crate::engine;
use crate::model::{Capacity, Reading, Size, SourceSpec, Specs};
use crate::plan::{Held, Observation, Overview};
use crate::report::{Condition, Orphan, status};
use crate::store::{self, Store, StoreCondition};
use crate::text::{Paint, counted, escape, quoted, rfc3339};

/// Something that a person should see to.
#[derive(Debug, Serialize)]
struct Finding {
    /// Whether it keeps Kiln from what is declared; else it only takes up room, or will be in the way one day.
    wrong: bool,
    /// Of what: `volume/db`, `backend/fast`, a file with its place, `store`, `host`.
    what: String,
    /// A held reason, a condition, or a word of this command's own.
    reason: String,
    message: String,
    /// What mends it: a command where there is one.
    fix: String,
    /// Of what takes up room: how much, in bytes.
    bytes: Option<u64>,
    /// Since when it is so, in RFC 3339, where that is known.
    since: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

impl Finding {
    /// Something that keeps Kiln from what is declared.
    fn wrong(
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

    /// What is said of it, but for whom it is about.
    fn words(&self) -> [&str; 3] {
        [&self.reason, &self.message, &self.fix]
    }

    /// Something to tidy up, which is no error.
    fn untidy(what: impl Into<String>, reason: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { wrong: false, ..Self::wrong(Exit::Done, what, reason, message, fix) }
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
        findings.push(Finding::wrong(
            Exit::Invalid,
            problem.place.to_string(),
            "Problem",
            problem.message.clone(),
            fix,
        ));
    }
    let store = look_at_store(context, &mut findings);
    set_aside(context.state(), &mut findings);
    // With problems in the manifests nobody can say what should be there: that comes first. (A daemon knows what they last said.)
    let looked = match context.survey_of_daemon(&args.specs.specs, Told::Already)? {
        Some(looked) => Some((looked.reading, looked.overview)),
        None if loaded.problems.is_empty() => {
            let reading = std::sync::Arc::new(loaded.reading);
            let setup = context.setup(reading.clone(), store);
            Some((reading, block_on(async move { engine::overview(&setup, &[]).await })?))
        }
        None => None,
    };
    if let Some((reading, overview)) = looked {
        look_at_world(&overview, &reading, &mut findings);
        look_at_room(&overview, &reading.specs, &mut findings);
        tools(&reading.specs, &mut findings);
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

fn look_at_store(context: &Context, findings: &mut Vec<Finding>) -> Option<std::sync::Arc<dyn Store>> {
    let unusable =
        |error: Failure| Finding::wrong(error.exit, "store", "Unusable", error.message, error.hint.unwrap_or_default());
    // A daemon writes the store itself, and says what keeps it from that.
    let has_daemon = matches!(context.daemon(), Ok(Some(_)));
    let opened = match context.look_store_quietly() {
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
        // It can be written to, so that a command which writes sets a damaged one aside, and what it reads is whole.
        let notes = opened.iter().flat_map(|opened| &opened.notes);
        let (reason, fix) = match found {
            StoreCondition::Whole | StoreCondition::Damaged => {
                ("Damaged", "only the journal is lost: the next `kiln apply` rebuilds the rest from the pools")
            }
            StoreCondition::Unreadable => ("Unusable", "see to the cause, or give another store with --state DIR"),
        };
        findings.extend(notes.map(|note| Finding::wrong(Exit::Store, "store", reason, note, fix)));
    }
    let opened = opened?;
    // What a daemon is at now is not interrupted; what was, it has looked at when it began.
    let interrupted = if has_daemon { Vec::new() } else { opened.store.intents().unwrap_or_default() };
    for intent in interrupted {
        let identity = &intent.step.identity;
        let message = format!("a run was interrupted at this, or just before: {}", intent.step.action);
        let what = format!("{}/{}", identity.kind.as_lower(), identity.name);
        findings.push(Finding::untidy(what, "Interrupted", message, "`kiln apply`"));
    }
    Some(opened.store)
}

/// Damaged stores that were set aside earlier: only for whoever looks into the fault.
fn set_aside(state: &Path, findings: &mut Vec<Finding>) {
    let entries = std::fs::read_dir(state).into_iter().flatten().flatten();
    let mut aside: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("damaged-"))
        .map(|entry| entry.path())
        .collect();
    aside.sort();
    for path in aside {
        let message = "a damaged store was set aside here, and rebuilt";
        let fix =
            format!("find out what damaged it (the disk?), then: `rm -r {}`", quoted(&path.display().to_string()));
        findings.push(Finding::untidy("store", "SetAside", message, fix));
    }
}

fn look_at_world(overview: &Overview, reading: &Reading, findings: &mut Vec<Finding>) {
    let plan = &overview.plan;
    // What is held for nothing but its backend is told with the backend: of ten thousand volumes on one that is away, once.
    let mut told = BTreeSet::new();
    for unobserved in &plan.unobserved {
        let waits =
            |held: &&Held| held.backend.as_ref() == Some(&unobserved.backend) && held.message == unobserved.message;
        let waiting: Vec<&Held> = plan.held.iter().filter(waits).collect();
        let what = format!("backend/{}", unobserved.backend);
        let fix = waiting.first().map_or("repair the backend, then run again", |held| held.fix.as_str());
        let message = match waiting.len() {
            0 => unobserved.message.clone(),
            count => format!("{}; {} on it waiting", unobserved.message, counted(count, "object")),
        };
        findings.push(Finding::wrong(Exit::Unobserved, what, "Unobserved", message, fix));
        told.extend(waiting);
    }
    for held in plan.held.iter().filter(|held| !told.contains(held)) {
        let what = format!("{}/{}", held.kind.as_lower(), held.name);
        let (message, fix) = (held.message.clone(), held.fix.clone());
        findings.push(Finding::wrong(Exit::Held, what, held.reason.as_str(), message, fix));
    }
    for object in status(overview, reading).iter().filter(|object| object.status.condition == Condition::Failed) {
        let fix = object.status.fix.as_deref().unwrap_or("see to the cause, then `kiln apply`");
        findings.push(Finding::wrong(
            Exit::Failed,
            full_name(object),
            "Failed",
            object.status.message.to_string(),
            fix,
        ));
    }
    for orphan in crate::report::orphans(overview, reading) {
        let what = orphan.what();
        let Orphan { reason, bytes, since, message, fix, .. } = orphan;
        let since = since.map(rfc3339);
        findings.push(Finding { bytes, since, ..Finding::untidy(what, reason.as_str(), message, fix) });
    }
}

/// Pools in which nothing more can be made, whether or not something is to be.
fn look_at_room(overview: &Overview, specs: &Specs, findings: &mut Vec<Finding>) {
    for (name, view) in &overview.world {
        let (Some(spec), Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) =
            (specs.backends.get(name), view)
        else {
            continue;
        };
        let Some(Capacity { total, used, objects }) = observed.capacity else { continue };
        let what = format!("backend/{name}");
        if used > spec.max_fill.of(total) {
            let (used, total) = (Size(used), Size(total));
            let message =
                format!("{used} of {total} are used, and `maxFill` is {}: nothing more is made", spec.max_fill);
            let fix = "purge trash (`kiln trash list`), or remove other files from that file system";
            findings.push(Finding::untidy(&what, "PoolFull", message, fix));
        }
        if objects == Some(0) {
            let message = "the file system has no inodes for more objects: none is made until some are free";
            let fix = "purge trash (`kiln trash list`), or remove other files from that file system (`df -i`)";
            findings.push(Finding::untidy(&what, "PoolFull", message, fix));
        }
    }
}

/// Programs that what is declared cannot do without.
fn tools(specs: &Specs, findings: &mut Vec<Finding>) {
    let with_image = specs.volumes.values().find(|volume| matches!(volume.source, Some(SourceSpec::Image { .. })));
    if let Some(volume) = with_image
        && !is_on_path("qemu-img")
    {
        let message = format!("qemu-img is not on the PATH, and volume {} is made from an image", volume.meta.name);
        let fix = "install it (Debian: apt install qemu-utils)";
        findings.push(Finding::untidy("host", "ToolMissing", message, fix));
    }
}

fn is_on_path(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
}

fn shown(findings: &[Finding], paint: Paint) -> String {
    if findings.is_empty() {
        return "Nothing is wrong.\n".to_owned();
    }
    let mut out = String::new();
    for (heading, wrong) in [("Wrong:", true), ("To tidy up:", false)] {
        let of_kind: Vec<&Finding> = findings.iter().filter(|finding| finding.wrong == wrong).collect();
        if of_kind.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}", paint.bold(heading));
        // What is said of many in the same words is said once.
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
        (0, untidy) => format!("Nothing is wrong; {} to tidy up.", counted(untidy, "thing")),
        (wrong, 0) => format!("{} wrong.", counted(wrong, "thing")),
        (wrong, untidy) => format!("{} wrong, {untidy} to tidy up.", counted(wrong, "thing")),
    };
    let _ = writeln!(out, "{summary}");
    out
}
