//! A plan kept in a file, and whether it still holds.
//!
//! It carries its specs, so that it can be planned anew when it is applied: what runs is the new plan, and only if it is the saved
//! one, or what a crash left of it. Secrets are in neither: specs name where they are.

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;

use serde::{Deserialize, Serialize};

use super::{Held, Plan};
use crate::model::{Expect, Kind, Name, Reading, Size, Step, Tags, Uid};

/// The `format` of a saved plan.
pub const SAVED_FORMAT: &str = "kiln.saved/v2";

/// A plan with what it was made for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// [`SAVED_FORMAT`].
    format: String,
    /// What was declared, with the settings of the backends, and how far it could be relied on.
    pub reading: Reading,
    /// What was shown.
    pub plan: Plan,
}

/// What a text is that is no saved plan of this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSaved {
    /// Something else: manifests, perhaps.
    #[error("it is no saved plan")]
    Other,
    /// A saved plan of another version of Kiln.
    #[error("it is a saved plan of the format {0:?}, and this kiln reads {SAVED_FORMAT:?}")]
    Version(String),
    /// It has the format's name, and does not read as it.
    #[error("it is a saved plan, but damaged: {0}")]
    Damaged(String),
}

/// The one field that tells a saved plan from everything else.
#[derive(Deserialize)]
struct Head {
    format: String,
}

impl Saved {
    /// A plan made for these specs.
    pub fn new(reading: Reading, plan: Plan) -> Self {
        Self { format: SAVED_FORMAT.to_owned(), reading, plan }
    }

    /// As it stands in its file, with a newline at the end.
    ///
    /// # Errors
    /// A path of the specs that is no UTF-8 text: it could not be read again.
    pub fn to_json(&self) -> Result<String, String> {
        let mut text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        text.push('\n');
        Ok(text)
    }

    /// Reads what [`Saved::to_json`] wrote.
    ///
    /// # Errors
    /// See [`NotSaved`].
    pub fn parse(text: &str) -> Result<Self, NotSaved> {
        let Ok(Head { format }) = serde_json::from_str(text) else { return Err(NotSaved::Other) };
        match format.as_str() {
            SAVED_FORMAT => serde_json::from_str(text).map_err(|error| NotSaved::Damaged(error.to_string())),
            other if other.starts_with("kiln.saved/") => Err(NotSaved::Version(format)),
            _ => Err(NotSaved::Other),
        }
    }
}

/// What forbids to run `now` as the plan that was saved: one sentence each, none if it may run.
///
/// It may if each of its steps is a saved one, expecting the same, and if each saved step that it does not have shows its effect
/// already (`is_done`): then it is the saved plan, or what a crash left of it. Steps that the saved plan held for an approval may
/// join when that very approval is given.
pub fn differences(saved: &Plan, now: &Plan, mut is_done: impl FnMut(&Step) -> bool) -> Vec<String> {
    let mut out = Vec::new();
    let mut known: HashMap<Uid, Vec<&Step>> = HashMap::new();
    for step in &saved.steps {
        known.entry(step.identity.uid).or_default().push(step);
    }
    let waited = |step: &Step| saved.approval.as_ref().is_some_and(|set| set.covers(&step.approval_item()));
    let mut met: HashSet<*const Step> = HashSet::new();
    for step in &now.steps {
        let of_object = known.get(&step.identity.uid).map(Vec::as_slice).unwrap_or_default();
        let alike = |other: &&&Step| discriminant(&other.action) == discriminant(&step.action);
        match of_object.iter().find(|other| changed(other, step).is_empty()).or_else(|| of_object.iter().find(alike)) {
            Some(other) => {
                met.insert(std::ptr::from_ref(*other));
                let changes = changed(other, step);
                if !changes.is_empty() {
                    out.push(format!("{} is another step now: {}", named(step), changes.join("; ")));
                }
            }
            None if waited(step) => {}
            None => out.push(format!("{} is new: the saved plan does not have it", named(step))),
        }
    }
    // The effect of the last step that an object lacks has those before it in it.
    let mut judged: HashSet<Uid> = HashSet::new();
    let missing = saved.steps.iter().rev().filter(|step| !met.contains(&std::ptr::from_ref(*step)));
    let mut gone: Vec<String> = missing
        .filter(|step| judged.insert(step.identity.uid))
        // Done, but not as it was to be: what is held now says in what.
        .filter(|step| !is_done(step) || held(now, step).is_some_and(|held| !saved.held.contains(held)))
        .map(|step| format!("{} is not planned any more: {}", named(step), why_not(now, step)))
        .collect();
    gone.reverse();
    out.extend(gone);
    out
}

/// `volume/db: grow to 2Gi`.
fn named(step: &Step) -> String {
    format!("{}: {}", object(step.identity.kind, &step.identity.name), step.action)
}

fn object(kind: Kind, name: &Name) -> String {
    format!("{}/{name}", kind.as_lower())
}

/// What holds the object of a step.
fn held<'p>(plan: &'p Plan, step: &Step) -> Option<&'p Held> {
    let identity = &step.identity;
    let is_it =
        |held: &&Held| held.uid == Some(identity.uid) || (held.kind == identity.kind && held.name == identity.name);
    plan.held.iter().find(is_it)
}

/// Why a saved step is not among those of now.
fn why_not(now: &Plan, step: &Step) -> String {
    match held(now, step) {
        Some(held) => format!("it is held ({}: {})", held.reason, held.message),
        None => "the observed state neither needs it nor shows that it was done".to_owned(),
    }
}

/// In what two steps of one object differ, as far as it matters to what is done: not in their order, nor in why they are made.
fn changed(saved: &Step, now: &Step) -> Vec<String> {
    let Step { backend, identity, native, action, expect, risk, reason: _, changes, bytes, after: _ } = saved;
    let Expect { place, size, tags, idle, unwritten } = expect;
    let mut out = Vec::new();
    let mut note = |field: &str, was: String, is: String| {
        if was != is {
            out.push(format!("{field} was {was} and is {is}"));
        }
    };
    let sized = |size: &Option<Size>| size.map_or_else(|| "none".to_owned(), |size| format!("{} bytes", size.bytes()));
    note("backend", backend.to_string(), now.backend.to_string());
    note("object", native.to_string(), now.native.to_string());
    note("name", identity.name.to_string(), now.identity.name.to_string());
    note("place", format!("{place:?}"), format!("{:?}", now.expect.place));
    note("size", sized(size), sized(&now.expect.size));
    note("tags", tagged(tags.as_ref()), tagged(now.expect.tags.as_ref()));
    note("idle", idle.to_string(), now.expect.idle.to_string());
    note("unwritten", unwritten.to_string(), now.expect.unwritten.to_string());
    note("what is done", action.to_string(), now.action.to_string());
    note("risk", format!("{risk:?}"), format!("{:?}", now.risk));
    note("bytes that leave", bytes.bytes().to_string(), now.bytes.bytes().to_string());
    if out.is_empty() && (identity != &now.identity || action != &now.action || changes != &now.changes) {
        out.push("what is written or changed with it differs".to_owned());
    }
    out
}

fn tagged(tags: Option<&Tags>) -> String {
    // Tags have string keys and plain values only: nothing for the serializer to refuse.
    tags.map_or_else(|| "none".to_owned(), |tags| serde_json::to_string(tags).unwrap_or_default())
}
