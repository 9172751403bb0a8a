//! Saved plans, and the check that a saved plan still holds.
//!
//! A saved plan carries its specs. `apply` plans again from them and runs the new plan, only if it equals the saved
//! one, or what an interrupted run left of it. It holds no secrets: specs name where they are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::discriminant;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Held, Plan};
use crate::model::{Action, Expect, Kind, Name, Reading, Size, Step, Uid, WrittenSizes};

/// The `format` of a saved plan.
pub const SAVED_FORMAT: &str = "kiln.saved/v2";

/// A plan with the specs that it was made for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// [`SAVED_FORMAT`].
    format: String,
    /// The specs with the settings of the backends, and the problems and doubts of their read.
    pub reading: Reading,
    /// The plan that was shown.
    pub plan: Plan,
    /// How the manifests write sizes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    written_sizes: WrittenSizes,
}

/// Why a text is not a saved plan of this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSaved {
    /// It is something else, for example manifests.
    #[error("it is not a saved plan")]
    Other,
    /// It is a saved plan of another version of the format.
    #[error("it is a saved plan of format {0:?}; this version of Kiln reads {SAVED_FORMAT:?}")]
    Version(String),
    /// It names this format and cannot be parsed.
    #[error("it is a damaged saved plan: {0}")]
    Damaged(String),
}

/// The field that identifies a saved plan.
#[derive(Deserialize)]
struct Head {
    format: String,
}

impl Saved {
    /// A saved plan of these specs.
    pub fn new(reading: Reading, plan: Plan) -> Self {
        let written_sizes = reading.specs.written_sizes();
        Self { format: SAVED_FORMAT.to_owned(), reading, plan, written_sizes }
    }

    /// Returns the content of its file: one line of JSON.
    ///
    /// # Errors
    /// A path of the specs is not UTF-8, so that it could not be read again.
    pub fn to_json(&self) -> Result<String, String> {
        let mut text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        text.push('\n');
        Ok(text)
    }

    /// Parses the text that [`Saved::to_json`] wrote.
    ///
    /// # Errors
    /// See [`NotSaved`].
    pub fn parse(text: &str) -> Result<Self, NotSaved> {
        let Ok(Head { format }) = serde_json::from_str(text) else { return Err(NotSaved::Other) };
        match format.as_str() {
            SAVED_FORMAT => {
                let mut saved: Self =
                    serde_json::from_str(text).map_err(|error| NotSaved::Damaged(error.to_string()))?;
                saved.reading.specs_mut().write_sizes(&saved.written_sizes);
                Ok(saved)
            }
            other if other.starts_with("kiln.saved/") => Err(NotSaved::Version(format)),
            _ => Err(NotSaved::Other),
        }
    }
}

/// Returns why `now` must not run in place of the saved plan, one sentence each; none if it may run.
///
/// It may if each of its steps is a saved one with the same expectations, and if each saved step that it lacks shows its effect
/// already (`is_done`): then it is the saved plan, or what an interrupted run left of it. Steps that the saved plan held for an
/// approval may join when that approval is given.
pub fn differences(saved: &Plan, now: &Plan, mut is_done: impl FnMut(&Step) -> bool) -> Vec<String> {
    let mut out = Vec::new();
    let mut known: HashMap<Uid, Vec<&Step>> = HashMap::new();
    for step in &saved.steps {
        known.entry(step.identity.uid).or_default().push(step);
    }
    let waited = |step: &Step| saved.awaiting.as_ref().is_some_and(|set| set.covers(&step.approval_item()));
    let mut met: HashSet<*const Step> = HashSet::new();
    for step in &now.steps {
        let of_object = known.get(&step.identity.uid).map(Vec::as_slice).unwrap_or_default();
        let is_begun = |other: &&&Step| is_interrupted(other, step);
        if let Some(other) = of_object.iter().find(is_begun) {
            met.insert(std::ptr::from_ref(*other));
            continue;
        }
        let alike = |other: &&&Step| discriminant(&other.action) == discriminant(&step.action);
        match of_object.iter().find(|other| changed(other, step).is_empty()).or_else(|| of_object.iter().find(alike)) {
            Some(other) => {
                met.insert(std::ptr::from_ref(*other));
                let changes = changed(other, step);
                if !changes.is_empty() {
                    out.push(format!("{} has changed: {}", named(step), changes.join("; ")));
                }
            }
            None if waited(step) => {}
            None => out.push(format!("{} is not in the saved plan", named(step))),
        }
    }
    // The effect of an object's last missing step includes the effects of those before it.
    let mut judged: HashSet<Uid> = HashSet::new();
    let missing = saved.steps.iter().rev().filter(|step| !met.contains(&std::ptr::from_ref(*step)));
    let mut gone: Vec<String> = missing
        .filter(|step| judged.insert(step.identity.uid))
        // Done, but with another result: the hold says which.
        .filter(|step| {
            !is_done(step) || held(now, step).is_some_and(|held| !saved.held.iter().any(|was| is_same(was, held)))
        })
        .map(|step| format!("{} is no longer planned: {}", named(step), why_not(now, step)))
        .collect();
    gone.reverse();
    out.extend(gone);
    out
}

/// Whether two holds are of one change for one reason. Their texts may show a size in two ways.
fn is_same(one: &Held, other: &Held) -> bool {
    let key = |held: &Held| (held.reason, held.action, held.kind, held.name.clone(), held.uid);
    key(one) == key(other)
}

/// Whether a step completes the restore that an interrupted run of the saved plan began with this saved step. It may run: the saved step
/// was confirmed, and what it overwrites is of no use any more.
fn is_interrupted(saved: &Step, now: &Step) -> bool {
    let begun = now.expect.tags.as_ref().and_then(|tags| tags.restoring.as_deref());
    begun.is_some_and(|begun| saved.action.completes(begun) && now.action.completes(begun))
        && (&saved.endpoint, saved.address()) == (&now.endpoint, now.address())
}

/// `volume/db: grow to 2Gi`.
fn named(step: &Step) -> String {
    format!("{}: {}", object(step.identity.kind, &step.identity.name), step.action)
}

fn object(kind: Kind, name: &Name) -> String {
    format!("{}/{name}", kind.as_lower())
}

/// Returns the hold of a step's object, if it is held.
fn held<'p>(plan: &'p Plan, step: &Step) -> Option<&'p Held> {
    let identity = &step.identity;
    let is_it =
        |held: &&Held| held.uid == Some(identity.uid) || (held.kind == identity.kind && held.name == identity.name);
    plan.held.iter().find(is_it)
}

/// Returns why a saved step is not in the plan of now.
fn why_not(now: &Plan, step: &Step) -> String {
    match held(now, step) {
        Some(held) => format!("it is held ({}: {})", held.reason, held.message),
        None => "the observed state neither needs it nor shows its effect".to_owned(),
    }
}

/// Returns the differences between two steps of one object, except in their order and reason.
fn changed(saved: &Step, now: &Step) -> Vec<String> {
    let Step {
        endpoint,
        identity,
        native,
        parent_volume,
        action,
        expect,
        risk,
        reason: _,
        changes,
        bytes,
        after: _,
        after_completion: _,
    } = saved;
    let Expect { place, id, size, tags, settings, idle, unwritten } = expect;
    let mut out = Vec::new();
    let mut note = |field: &str, was: String, is: String| {
        if was != is {
            out.push(format!("{field} was {was} and is {is}"));
        }
    };
    let sized = |size: &Option<Size>| size.map_or_else(|| "none".to_owned(), |size| format!("{} bytes", size.bytes()));
    note("backend", endpoint.to_string(), now.endpoint.to_string());
    note("object", native.to_string(), now.native.to_string());
    note("volume", shown(parent_volume.as_ref()), shown(now.parent_volume.as_ref()));
    note("name", identity.name.to_string(), now.identity.name.to_string());
    note("place", format!("{place:?}"), format!("{:?}", now.expect.place));
    // What an earlier run of the plan made had none when it was planned.
    let differ = |saved: Option<&SmolStr>, now: Option<&SmolStr>| matches!((saved, now), (Some(saved), Some(now)) if saved != now);
    if differ(id.as_ref(), now.expect.id.as_ref()) {
        note("identity on the backend", shown(id.as_ref()), shown(now.expect.id.as_ref()));
    }
    let read = |action: &Action| action.reads().and_then(|(_, object)| object.id.clone());
    if differ(read(action).as_ref(), read(&now.action).as_ref()) {
        note("identity of the source", shown(read(action).as_ref()), shown(read(&now.action).as_ref()));
    }
    let without_id = |action: &Action| {
        let mut action = action.clone();
        if let Some(object) = action.read_mut() {
            object.id = None;
        }
        action
    };
    note("size", sized(size), sized(&now.expect.size));
    note("tags", as_json(tags.as_ref()), as_json(now.expect.tags.as_ref()));
    note("settings", as_json(settings.as_ref()), as_json(now.expect.settings.as_ref()));
    note("idle", idle.to_string(), now.expect.idle.to_string());
    note("unwritten", unwritten.to_string(), now.expect.unwritten.to_string());
    note("action", action.to_string(), now.action.to_string());
    note("risk", format!("{risk:?}"), format!("{:?}", now.risk));
    note("bytes removed", bytes.bytes().to_string(), now.bytes.bytes().to_string());
    if out.is_empty()
        && (identity != &now.identity || without_id(action) != without_id(&now.action) || changes != &now.changes)
    {
        out.push("the tags or fields that it writes differ".to_owned());
    }
    out
}

fn shown(value: Option<&impl std::fmt::Display>) -> String {
    value.map_or_else(|| "none".to_owned(), ToString::to_string)
}

fn as_json(value: Option<&impl Serialize>) -> String {
    // Serialization cannot fail: tags and settings have string keys and plain values.
    value.map_or_else(|| "none".to_owned(), |value| serde_json::to_string(value).unwrap_or_default())
}
