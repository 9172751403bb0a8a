//! Log lines about conditions that last over many passes: each is logged when it begins, changes and ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::ManifestState;
use crate::model::{Name, Verb};
use crate::plan::{Observation, Plan, World};
use crate::report::{
    Commands, Folded, HeldView, MemberLine, TellsFact, ToldWarning, completed, fold, listed, same_problems,
};

/// Logs the problems of the manifests, whenever they change.
pub(super) fn log_problems(before: Option<&ManifestState>, now: &ManifestState) {
    let same = |before: &ManifestState| before.problems == now.problems;
    if before.is_some_and(same) {
        return;
    }
    let each = now.problems.iter().map(|problem| (problem.place.known(), &*problem.message, None));
    for same in same_problems(each) {
        let also = same.also_at().map(|also| format!("; {also}")).unwrap_or_default();
        tracing::warn!("{}{also}", now.problems[same.first].place.beside(same.message));
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
        let what = format!("{}/{} ({}): {}", held.kind.as_lower(), held.name, held.word(), held.reason);
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
        tracing::warn!("held: {objects}: {}: {why}{}", hold.reason, fix(&hold));
    }
    let mut gone: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for what in logged.difference(&now) {
        let (object, why) = what.split_at(what.find(' ').unwrap_or(what.len()));
        gone.entry(why).or_default().push(object.to_owned());
    }
    for (why, objects) in gone {
        tracing::info!("no longer held: {}{why}", listed(objects.into_iter(), LOGGED));
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

/// Logs each warning of the plan once, until the plan no longer has it.
pub(super) fn log_warnings(logged: &mut BTreeSet<String>, plan: &Plan, commands: &Commands) {
    let mut now = BTreeSet::new();
    let mut new = Vec::new();
    for warning in &plan.warnings {
        let text = format!("{}: {}", warning.code, warning.message);
        if !logged.contains(&text) && !now.contains(&text) {
            new.push(completed(warning, commands));
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
        tracing::warn!("{}{message}{}{members}", warning.reason, fix(&warning));
    }
    *logged = now;
}

/// Logs the gaps in the observations of the backends, whenever they change.
pub(super) fn log_gaps(logged: &mut BTreeMap<Name, Vec<String>>, world: &World) {
    let mut now = BTreeMap::new();
    for (name, view) in world {
        let Some(observed) = view.observed().filter(|observed| !observed.gaps.is_empty()) else { continue };
        if logged.get(name) != Some(&observed.gaps) {
            tracing::warn!(backend = %name, "observed only in part: {}", observed.gaps.join("; "));
        }
        now.insert(name.clone(), observed.gaps.clone());
    }
    for name in logged
        .keys()
        .filter(|name| matches!(world.get(*name), Some(Observation::Seen { .. })) && !now.contains_key(*name))
    {
        tracing::info!(backend = %name, "observed completely again");
    }
    *logged = now;
}
