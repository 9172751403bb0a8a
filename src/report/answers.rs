//! The answers that `get`, `describe`, `log` and `status` show: made from an overview here or in the daemon, which sends them as JSON.
//! Pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::label_selector::LabelSelector;
use super::orphans::{Orphan, orphans};
use super::related::RelatedObjects;
use super::selection::ObjectSelection;
use super::sources::Sources;
use super::status::{ObjectStatus, backend_status, status};
use crate::model::{
    ApprovalSet, Capacity, JournalEntry, Kind, Name, ObjectId, Owner, Percent, Reading, SourceSpec, Step, Suspension,
    Uid,
};
use crate::plan::{Held, Observation, Overview, Plan, Unobserved};

/// The question for objects of a Stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectsQuestion {
    /// Only these objects. An empty selection lists all kinds except backends.
    pub selection: ObjectSelection,
    /// Only objects with these labels.
    pub labels: LabelSelector,
    /// The number of journal entries about each object, and with them its snapshots and clones; None: neither.
    pub details: Option<usize>,
}

/// The objects of a Stack, with the backends that were not observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectsAnswer<'a> {
    /// The objects, sorted by kind, name and uid. Several have one name only if others are in the trash, or a move is incomplete.
    pub objects: Vec<ObjectStatus<'a>>,
    /// The selected objects that do not exist, one sentence each.
    pub unmatched: Vec<String>,
    /// Why a name without a kind does not say which object is meant, in one sentence.
    pub ambiguous: Option<String>,
    /// The backends that were not observed.
    pub unobserved: Cow<'a, [Unobserved]>,
    /// The last entries of the journal about each object, oldest first.
    pub history: Vec<JournalEntry>,
}

/// Selects objects from an overview.
pub fn objects<'a>(overview: &'a Overview, reading: &'a Reading, question: &ObjectsQuestion) -> ObjectsAnswer<'a> {
    let ObjectsQuestion { selection, labels, details } = question;
    let mut objects = status(overview, reading);
    if !selection.is_empty() && selection.may_match(Kind::Backend) {
        // Held ones are among the objects.
        objects.retain(|object| object.kind != Kind::Backend);
        objects.splice(0..0, backend_status(overview, reading));
    }
    let known = objects.iter().map(|object| (object.kind, &*object.metadata.name));
    let unmatched = selection.unmatched(known.clone(), "it is neither declared nor observed");
    let ambiguous = selection.ambiguous(known);
    let is_selected = |object: &ObjectStatus<'_>| {
        (selection.is_empty() || selection.matches(object.kind, &object.metadata.name))
            && labels.matches(&object.metadata.labels)
    };
    let related: Vec<Option<RelatedObjects>> = match details {
        Some(_) => {
            let sources = Sources::new(&objects, overview);
            objects.iter().filter(|object| is_selected(object)).map(|object| sources.related_to(object)).collect()
        }
        None => Vec::new(),
    };
    objects.retain(is_selected);
    for (object, related) in objects.iter_mut().zip(related) {
        object.status.related = related.map(Box::new);
    }
    let history = match details {
        Some(limit) => history_of_each(&overview.journal, &reading.specs.stack.owner, &objects, *limit),
        None => Vec::new(),
    };
    ObjectsAnswer { objects, unmatched, ambiguous, unobserved: Cow::Borrowed(&overview.plan.unobserved), history }
}

/// Returns the last entries of a journal about each object, oldest first.
fn history_of_each(
    journal: &[JournalEntry],
    owner: &Owner,
    objects: &[ObjectStatus<'_>],
    limit: usize,
) -> Vec<JournalEntry> {
    let ids = objects.iter().map(|object| (object.kind, &*object.metadata.name));
    let mut room: BTreeMap<(Kind, &Name), usize> = ids.map(|id| (id, limit)).collect();
    let mut last = Vec::new();
    for entry in journal.iter().rev().filter(|entry| entry.owner == *owner) {
        if let Some(room @ 1..) = room.get_mut(&(entry.kind, &entry.name)) {
            *room -= 1;
            last.push(entry.clone());
        }
    }
    last.reverse();
    last
}

/// Returns the last entries of a journal, oldest first: of an owner and about an object, if given.
pub fn history_of(
    journal: &[JournalEntry],
    owner: Option<&Owner>,
    object: Option<&ObjectId>,
    limit: usize,
) -> Vec<JournalEntry> {
    let is_about = |entry: &&JournalEntry| {
        owner.is_none_or(|owner| entry.owner == *owner)
            && object.is_none_or(|object| entry.kind == object.kind && entry.name == object.name)
    };
    let mut last: Vec<JournalEntry> = journal.iter().rev().filter(is_about).take(limit).cloned().collect();
    last.reverse();
    last
}

/// The state of a Stack as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackStatus<'a> {
    /// Every declared backend, by name.
    pub backends: Vec<ObjectStatus<'a>>,
    /// Other processes that write to the pools with another store, one sentence each.
    pub writers: Vec<String>,
    /// The number of objects per condition.
    pub conditions: BTreeMap<Condition, usize>,
    /// The holds.
    pub held: Cow<'a, [Held]>,
    /// The digest that approves the waiting steps; `None` if none wait.
    pub approval: Option<Cow<'a, str>>,
    /// The steps that wait for an approval: `destroy volume/db`.
    pub awaiting_approval: Vec<String>,
    /// The suspensions of the owner.
    pub suspended: Cow<'a, [Suspension]>,
    /// See [`orphans`].
    pub orphans: Vec<Orphan>,
    /// The backends that were not observed.
    pub unobserved: Cow<'a, [Unobserved]>,
}

/// Summarises an overview. `by_daemon`: a daemon executes the steps; it needs no approval for declared removals.
pub fn stack_status<'a>(
    overview: &'a Overview,
    reading: &'a Reading,
    by_daemon: bool,
    writers: Vec<String>,
) -> StackStatus<'a> {
    let Overview { plan, suspended, .. } = overview;
    let mut conditions: BTreeMap<Condition, usize> = BTreeMap::new();
    for object in status(overview, reading) {
        *conditions.entry(object.status.condition).or_default() += 1;
    }
    let awaiting_approval = awaiting_approval(plan, by_daemon);
    let waiting = plan.awaiting.as_ref().filter(|_| !awaiting_approval.is_empty());
    StackStatus {
        backends: backend_status(overview, reading),
        writers,
        conditions,
        held: Cow::Borrowed(&plan.held),
        approval: waiting.map(|set| set.digest.as_str().into()),
        awaiting_approval,
        suspended: Cow::Borrowed(suspended),
        orphans: orphans(overview, reading),
        unobserved: Cow::Borrowed(&plan.unobserved),
    }
}

/// What `doctor` judges of a Stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DoctorAnswer<'a> {
    /// Everything that is held.
    pub held: Cow<'a, [Held]>,
    /// The objects that the approval of the waiting steps would cover.
    #[serde(default)]
    pub awaiting_approval: BTreeSet<Uid>,
    /// The backends that were not observed.
    pub unobserved: Cow<'a, [Unobserved]>,
    /// What to run or write so that a backend can be observed, where its driver knows.
    pub fixes: Vec<(Cow<'a, Name>, Cow<'a, str>)>,
    /// The objects whose last step failed.
    pub failed: Vec<ObjectStatus<'a>>,
    /// See [`orphans`].
    pub orphans: Vec<Orphan>,
    /// The capacities of each observed backend, and how far it may be filled.
    pub capacities: Vec<(Cow<'a, Name>, Capacity, Percent)>,
    /// A volume that is made from an image.
    pub image_volume: Option<Cow<'a, Name>>,
}

/// Selects from an overview what `doctor` judges.
pub fn doctor_answer<'a>(overview: &'a Overview, reading: &'a Reading) -> DoctorAnswer<'a> {
    let specs = &reading.specs;
    let mut failed = status(overview, reading);
    failed.retain(|object| object.status.condition == Condition::Failed);
    let capacities = overview.world.iter().filter_map(|(name, observation)| {
        let (observed, max_fill) = (observation.observed()?, specs.backends.get(name)?.max_fill);
        Some(observed.capacities.iter().map(move |capacity| (Cow::Borrowed(name), *capacity, max_fill)))
    });
    let image_volume =
        specs.volumes.values().find(|volume| matches!(volume.source.as_deref(), Some(SourceSpec::Image { .. })));
    let is_known = |name: &Name| {
        let place = specs.backends.get(name).map(|spec| spec.config.place());
        place.is_some_and(|place| overview.records.of_backend(name, &place, None).is_some())
    };
    let fixes = overview.world.iter().filter_map(|(name, observation)| match observation {
        Observation::Failed { fix: Some(fix), .. } => Some((Cow::Borrowed(name), fix.text(is_known(name)))),
        Observation::Failed { fix: None, .. }
        | Observation::Seen { .. }
        | Observation::LockedBy { .. }
        | Observation::Unsupported => None,
    });
    DoctorAnswer {
        held: Cow::Borrowed(&overview.plan.held),
        awaiting_approval: overview.plan.awaiting.as_ref().map(ApprovalSet::uids).unwrap_or_default(),
        unobserved: Cow::Borrowed(&overview.plan.unobserved),
        fixes: fixes.collect(),
        failed,
        orphans: orphans(overview, reading),
        capacities: capacities.flatten().collect(),
        image_volume: image_volume.map(|volume| Cow::Borrowed(&volume.meta.name)),
    }
}

/// Returns the steps and holds that the approval of a plan covers; none if a daemon executes each of them without it.
fn awaiting_approval(plan: &Plan, by_daemon: bool) -> Vec<String> {
    let Some(set) = &plan.awaiting else { return Vec::new() };
    let steps: Vec<&Step> = plan.steps.iter().filter(|step| set.covers(&step.approval_item())).collect();
    let is_covered = |held: &&Held| held.uid.is_some_and(|uid| set.names(uid));
    let held: Vec<&Held> = plan.held.iter().filter(is_covered).collect();
    // The daemon destroys objects that were declared with `onRemove: Delete` without an approval.
    if held.is_empty() && by_daemon && steps.iter().all(|step| step.is_removal()) {
        return Vec::new();
    }
    let held = held.into_iter().map(|held| format!("{} {}/{}", held.action, held.kind.as_lower(), held.name));
    let steps = steps
        .into_iter()
        .map(|step| format!("{} {}/{}", step.action.verb(), step.identity.kind.as_lower(), step.identity.name));
    held.chain(steps).collect()
}
