//! Problems and warnings with their fixes, as `kiln doctor` shows them. Pure.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;

use super::answers::DoctorAnswer;
use super::commands::Commands;
use super::folded::{Fact, TellsFact, fold, where_all_are};
use super::folded_text::render_facts;
use super::orphans::Orphan;
use crate::model::{Capacity, Resource, Size};
use crate::plan::Held;
use crate::text::{Paint, counted, escape, rfc3339};

/// A problem or a warning.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Whether it keeps Kiln from what is declared. Otherwise it takes up room, or may become a problem.
    pub wrong: bool,
    /// The subject: `volume/db`, `backend/fast`, a file with its place, `store`, `host`.
    pub what: String,
    /// A held reason, a condition, or a word of this command.
    pub reason: String,
    /// What was found, in one sentence.
    pub message: String,
    /// What to write or run to fix it.
    pub fix: String,
    /// For an orphan: the bytes that it takes up.
    pub bytes: Option<u64>,
    /// Since when it exists, in RFC 3339, if known.
    pub since: Option<String>,
    /// What it is about, which decides the exit code.
    #[serde(skip)]
    pub area: FindingArea,
    /// Whether the approval that is asked for covers it.
    #[serde(skip)]
    pub awaits_approval: bool,
    /// The uid of the object, which its texts may contain.
    #[serde(skip)]
    pub uid: Option<String>,
    /// The backend of the object, which its texts may name.
    #[serde(skip)]
    pub backend: Option<String>,
}

/// What a problem is about; a warning is about nothing that must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingArea {
    /// A warning.
    Nothing,
    /// The manifests.
    Manifests,
    /// The store.
    Store,
    /// A backend that could not be observed.
    Backend,
    /// A failed step, or an error of the host.
    Failure,
    /// A held object.
    Hold,
}

impl Finding {
    /// Returns a problem: it keeps Kiln from what is declared.
    pub fn problem(
        area: FindingArea,
        what: impl Into<String>,
        reason: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let reason = reason.to_owned();
        let (what, message, fix) = (what.into(), message.into(), fix.into());
        Self {
            wrong: true,
            what,
            reason,
            message,
            fix,
            bytes: None,
            since: None,
            area,
            awaits_approval: false,
            uid: None,
            backend: None,
        }
    }

    /// Returns a warning.
    pub fn warning(what: impl Into<String>, reason: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { wrong: false, ..Self::problem(FindingArea::Nothing, what, reason, message, fix) }
    }
}

impl TellsFact for Finding {
    fn fact(&self) -> Fact<'_> {
        let fact = Fact::new(&self.what, &self.reason, &self.message, &self.fix);
        Fact {
            awaits_approval: self.awaits_approval,
            uid: self.uid.as_deref(),
            backend: self.backend.as_deref(),
            ..fact
        }
    }
}

/// Returns the findings about a Stack: unobserved backends, holds, failed steps, orphans and full pools.
pub fn findings(answer: &DoctorAnswer<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    add_plan(answer, &mut findings);
    add_full_pools(answer, &mut findings);
    findings
}

/// Adds unobserved backends, holds, failed steps and orphans.
fn add_plan(answer: &DoctorAnswer<'_>, findings: &mut Vec<Finding>) {
    let DoctorAnswer { held, awaiting_approval, unobserved, fixes, failed, orphans, .. } = answer;
    // Objects that are held only because of their backend are counted with the backend.
    let mut added = BTreeSet::new();
    for unobserved in &**unobserved {
        let waits = |held: &&Held| held.backend() == Some(&unobserved.backend) && held.message == unobserved.message;
        let waiting: Vec<&Held> = held.iter().filter(waits).collect();
        let what = format!("backend/{}", unobserved.backend);
        let by_driver = fixes.iter().find(|(backend, _)| **backend == unobserved.backend).map(|(_, fix)| &**fix);
        let fix = waiting.first().map(|held| held.fix.as_str()).or(by_driver);
        let fix = fix.unwrap_or("repair the backend, then run `kiln apply`");
        let message = match waiting.len() {
            0 => unobserved.message.clone(),
            // Other numbers give a message of the same form, which is told once.
            count => format!("{}; objects held on it: {count}", unobserved.message),
        };
        findings.push(Finding::problem(FindingArea::Backend, what, "Unobserved", message, fix));
        added.extend(waiting);
    }
    for held in held.iter().filter(|held| !added.contains(held)) {
        let what = format!("{}/{}", held.kind.as_lower(), held.name);
        let (message, fix) = (held.message.clone(), held.fix.clone());
        let awaits_approval = held.uid.is_some_and(|uid| awaiting_approval.contains(&uid));
        let problem = Finding::problem(FindingArea::Hold, what, held.reason.as_str(), message, fix);
        let (uid, backend) = (held.uid.map(|uid| uid.to_string()), held.backend().map(ToString::to_string));
        findings.push(Finding { awaits_approval, uid, backend, ..problem });
    }
    for object in failed {
        let see =
            format!("fix the cause (`kiln describe {}` shows its history), then run `kiln apply`", object.full_name());
        let fix = object.status.fix.as_deref().unwrap_or(&see);
        findings.push(Finding::problem(
            FindingArea::Failure,
            object.full_name(),
            "Failed",
            object.status.message.to_string(),
            fix,
        ));
    }
    for orphan in orphans {
        let Orphan { reason, bytes, since, message, fix, .. } = orphan;
        let (bytes, since, backend) = (*bytes, since.map(rfc3339), Some(orphan.backend.to_string()));
        findings.push(Finding {
            bytes,
            since,
            backend,
            ..Finding::warning(orphan.what(), reason.as_str(), message, fix)
        });
    }
}

/// Adds pools that are full, whether or not something is to be created.
fn add_full_pools(answer: &DoctorAnswer<'_>, findings: &mut Vec<Finding>) {
    for (name, capacity, max_fill) in &answer.capacities {
        let Capacity { resource, total, used, per_object: _ } = *capacity;
        let (of, all) = (Size(used).rounded(), Size(total).rounded());
        let (message, advice) = match resource {
            Resource::Data if used > max_fill.of(total) => (
                format!("{of} of {all} are used; `maxFill` is {max_fill}: no object can be created"),
                format!("or remove other files from that file system, or raise `maxFill` of backend {name}"),
            ),
            Resource::Metadata if used > max_fill.of(total) => (
                format!("{of} of its {all} of metadata are used; `maxFill` is {max_fill}: no object can be created"),
                format!("or give it more metadata, or raise `maxFill` of backend {name}"),
            ),
            Resource::Objects if capacity.more_objects() == Some(0) => (
                format!("it has {used} objects, and can have no more: no object can be created"),
                "or remove objects from that backend".to_owned(),
            ),
            Resource::Inodes if capacity.more_objects() == Some(0) => (
                "the file system has no free inodes: no object can be created".to_owned(),
                "or remove other files from that file system (`df -i`)".to_owned(),
            ),
            Resource::Data | Resource::Metadata | Resource::Objects | Resource::Inodes => continue,
        };
        let fix = format!("`kiln trash list` shows what can be purged; {advice}");
        findings.push(Finding::warning(format!("backend/{name}"), "PoolFull", message, fix));
    }
}

/// Returns findings as text, with a summary as the last line.
pub fn findings_text(findings: &[Finding], paint: Paint, commands: &Commands) -> String {
    if findings.is_empty() {
        return "No problems found.\n".to_owned();
    }
    let mut out = String::new();
    let mut all = None;
    for (heading, wrong) in [("Problems:", true), ("Warnings:", false)] {
        let of_kind = fold(findings.iter().filter(|finding| finding.wrong == wrong));
        if of_kind.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}", paint.bold(heading));
        render_facts(&mut out, &of_kind, paint, |_| String::new());
        all = all.or_else(|| where_all_are(&of_kind, &commands.command("kiln doctor -o json")));
    }
    if let Some(all) = all {
        let _ = writeln!(out, "{}", escape(&all));
    }
    let wrong = findings.iter().filter(|finding| finding.wrong).count();
    let summary = match (wrong, findings.len() - wrong) {
        (0, warnings) => format!("No problems; {}.", counted(warnings, "warning")),
        (wrong, 0) => format!("{}.", counted(wrong, "problem")),
        (wrong, warnings) => format!("{}, {}.", counted(wrong, "problem"), counted(warnings, "warning")),
    };
    let _ = writeln!(out, "{summary}");
    paint.fit(&out)
}
