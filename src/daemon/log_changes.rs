//! Log lines about conditions that last over many passes: each is logged when it begins, changes and ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Report;
use crate::manifest::ManifestState;
use crate::model::{Name, Verb};
use crate::plan::{Observation, Plan};
use crate::report::{
    Commands, Fact, Folded, HeldView, MemberLine, TellsFact, ToldWarning, WarningView, fold, listed, same_problems,
};

/// Logs the problems of the manifests, whenever they change.
pub(super) fn log_problems(before: Option<&ManifestState>, now: &ManifestState, commands: &Commands) {
    let same = |before: &ManifestState| before.problems == now.problems;
    if before.is_some_and(same) {
        return;
    }
    let each = now.problems.iter().map(|problem| (problem.place.known(), &*problem.message, None));
    for same in same_problems(each) {
        let others = same.others(&commands.command("kiln check -o json"));
        let others: String = others.into_iter().map(|others| format!("; {others}")).collect();
        tracing::warn!("{}{others}", now.problems[same.first].place.beside(same.message));
    }
    match (before, now.problems.len()) {
        (_, 0) if before.is_some_and(|before| !before.problems.is_empty()) => {
            tracing::info!("the manifests have no problems any more")
        }
        (_, 0) => {}
        (_, _) => tracing::warn!(
            "while a manifest has problems, nothing is removed and its last valid content stays in force"
        ),
    }
}

/// The number of objects that one line names when their holds end.
const LOGGED: usize = 10;

/// Logs each hold once, and its end. Holds that begin together and share their texts are one line.
///
/// A hold that only waits for the confirmation read (a removal, or a new volume that may be the removed one renamed) is not logged: the
/// step is logged when it is made.
pub(super) fn log_held(logged: &mut BTreeSet<String>, plan: &Plan, unconfirmed: bool, commands: &Commands) {
    let mut now = BTreeSet::new();
    let mut new = Vec::new();
    for held in &plan.held {
        let word = match held.may_need_no_step(&plan.unobserved) {
            true => String::new(),
            false => format!(" ({})", held.word()),
        };
        let what = format!("{}/{}{word}: {}", held.kind.as_lower(), held.name, held.reason);
        let is_logged = logged.contains(&what);
        if unconfirmed && !is_logged && matches!(held.action, Verb::Create | Verb::Remove | Verb::Destroy) {
            continue;
        }
        if !is_logged && !now.contains(&what) {
            new.push(held);
        }
        now.insert(what);
    }
    for hold in fold(&HeldView::of(new, plan, commands)) {
        let (objects, why) = match (hold.causes.as_slice(), hold.verb()) {
            ([cause], Some(verb)) => (format!("{} ({verb})", hold.names(cause)), cause.message.to_string()),
            ([cause], None) => (members(&hold, MemberForm::VerbBehind), cause.message.to_string()),
            (_, Some(verb)) => (format!("{} ({verb})", hold.subject()), members(&hold, MemberForm::Bare)),
            (_, None) => (hold.subject(), members(&hold, MemberForm::VerbBefore)),
        };
        tracing::warn!("held: {objects}: {}: {why}{}{}", hold.reason, fix(&hold), where_all_is(&hold, commands));
    }
    let mut gone: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for what in logged.difference(&now) {
        let (object, why) = what.split_at(what.find([' ', ':']).unwrap_or(what.len()));
        gone.entry(why).or_default().push(object.to_owned());
    }
    for (why, objects) in gone {
        let all = commands.command("kiln get");
        let all = if objects.len() > LOGGED { format!("; `{all}` shows the condition of each") } else { String::new() };
        tracing::info!("no longer held: {}{why}{all}", listed(objects.into_iter(), LOGGED));
    }
    *logged = now;
}

/// How a line names the members of an entry.
#[derive(Clone, Copy)]
enum MemberForm {
    /// `volume/a`
    Bare,
    /// `remove volume/a: its message`
    VerbBefore,
    /// `volume/a (remove)`
    VerbBehind,
}

/// Returns the fix that the members of an entry share.
fn fix<T: TellsFact>(entry: &Folded<'_, T>) -> String {
    if entry.fix.is_empty() { String::new() } else { format!("; fix: {}", entry.fix) }
}

/// Returns the members of an entry, with what each does not share.
fn members<T: TellsFact>(entry: &Folded<'_, T>, form: MemberForm) -> String {
    let (lines, rest) = entry.lines(!matches!(form, MemberForm::Bare));
    let line = |MemberLine { verb, text }| match (form, verb) {
        (MemberForm::VerbBefore, Some(verb)) => format!("{verb} {text}"),
        (MemberForm::VerbBehind, Some(verb)) => format!("{text} ({verb})"),
        (MemberForm::Bare, _) | (_, None) => text,
    };
    let rest = (rest > 0).then(|| format!("and {rest} more"));
    Vec::from_iter(lines.into_iter().map(line).chain(rest)).join("; ")
}

/// Returns how to list the members that a line leaves out.
fn where_all_is<T: TellsFact>(entry: &Folded<'_, T>, commands: &Commands) -> String {
    let all = commands.command("kiln plan -o json");
    if entry.leaves_out() { format!("; `{all}` lists all") } else { String::new() }
}

/// Logs each warning of the plan once, until the plan no longer has it.
pub(super) fn log_warnings(logged: &mut BTreeSet<String>, plan: &Plan, commands: &Commands) {
    let mut now = BTreeSet::new();
    let mut new = Vec::new();
    for warning in &plan.warnings {
        let text = format!("{}: {}", warning.code, warning.message);
        if !logged.contains(&text) && !now.contains(&text) {
            new.push(WarningView::new(warning, commands));
        }
        now.insert(text);
    }
    for warning in fold(&Vec::from_iter(new.iter().map(ToldWarning::of))) {
        let message = match warning.causes.as_slice() {
            [cause] => format!(": {}", cause.message),
            _ => String::new(),
        };
        let members = match warning.is_single() {
            true => String::new(),
            false => format!("; {}", members(&warning, MemberForm::Bare)),
        };
        let all = where_all_is(&warning, commands);
        tracing::warn!("{}{message}{}{members}{all}", warning.reason, fix(&warning));
    }
    *logged = now;
}

/// What is logged about a backend.
struct BackendNote<'a> {
    backend: &'a Name,
    message: String,
}

impl TellsFact for BackendNote<'_> {
    fn fact(&self) -> Fact<'_> {
        Fact { kind: Some("backend"), name: self.backend.as_str(), ..Fact::new("", "", &self.message, "") }
    }
}

/// Logs backends of which the same is true, in one line.
pub(super) fn log_backends<'a>(what: &str, notes: impl Iterator<Item = (&'a Name, String)>) {
    let notes: Vec<BackendNote<'a>> = notes.map(|(backend, message)| BackendNote { backend, message }).collect();
    for entry in fold(&notes) {
        for cause in &entry.causes {
            tracing::warn!("{what}: {}: {}", entry.all_names(cause), cause.message);
        }
    }
}

/// Logs the gaps in the observations of the backends, whenever they change.
pub(super) fn log_gaps(logged: &mut BTreeMap<Name, Vec<String>>, report: &Report) {
    let world = &report.world;
    let gaps = |view: &Observation| view.observed().map(|observed| observed.gaps.clone());
    // What a busy backend lacks is known when it has answered.
    let busy = logged.iter().filter(|(name, _)| report.busy.contains(*name));
    let busy = busy.map(|(name, gaps)| (name.clone(), gaps.clone()));
    let now: BTreeMap<Name, Vec<String>> = world
        .iter()
        .filter(|(name, _)| !report.busy.contains(*name))
        .filter_map(|(name, view)| Some((name.clone(), gaps(view).filter(|gaps| !gaps.is_empty())?)))
        .chain(busy)
        .collect();
    let new = now.iter().filter(|(name, gaps)| logged.get(*name) != Some(*gaps));
    log_backends("observed only in part", new.map(|(name, gaps)| (name, gaps.join("; "))));
    for name in logged
        .keys()
        .filter(|name| matches!(world.get(*name), Some(Observation::Seen { .. })) && !now.contains_key(*name))
    {
        tracing::info!(backend = %name, "observed completely again");
    }
    *logged = now;
}
