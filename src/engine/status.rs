//! What is declared and what is there, object by object: what `kiln get` and `kiln describe` show. Pure.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use serde::Serialize;
use serde_json::Value;

use super::Survey;
use super::approve::APPROVE;
use super::declared::{backend_json, export_json, snapshot_json, volume_json};
use super::suspend::suspensions;
use crate::model::{
    Action, BackendSpec, Capacity, Clients, Identity, JournalEntry, Kind, Meta, Name, Object, ObjectRecord, Observed,
    OnRemove, Place, Specs, Step, Suspension, Tags, Uid, Verb,
};
use crate::plan::{Drift, Held, View, resume, suspended_because, suspension_of};

/// One object, as in `kiln get -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// Always `kiln/v1`.
    pub api_version: &'static str,
    /// Of the object.
    pub kind: Kind,
    /// Its name, and what else `metadata` holds.
    pub metadata: Metadata,
    /// As declared, in the form of the manifest with sizes in bytes; null if it is not declared.
    pub spec: Option<Value>,
    /// What is there.
    pub status: Status,
}

/// `metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Unique per kind, but for what is in the trash.
    pub name: String,
    /// As declared, else as tagged.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// As declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
}

/// `status`. What does not apply or is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// How the object stands to its spec.
    pub condition: Condition,
    /// Why, in one word.
    pub reason: String,
    /// Why, in one sentence.
    pub message: String,
    /// What to do about it.
    pub unblock: Option<String>,
    /// Which incarnation.
    pub uid: Option<String>,
    /// Whose.
    pub owner: String,
    /// Where it is; where it would be, if it is not there.
    pub backend: Option<String>,
    /// The native name.
    pub object: Option<String>,
    /// In bytes, as a client sees it. Of a Backend: its capacity.
    pub size: Option<u64>,
    /// In bytes, what it takes up, where that is cheap to know.
    pub used: Option<u64>,
    /// `live` or `trash`.
    pub place: Option<&'static str>,
    /// Whether it is protected, as tagged.
    pub protected: Option<bool>,
    /// What happens when its manifest goes, as tagged.
    pub on_remove: Option<OnRemove>,
    /// When it may be purged from the trash, in RFC 3339.
    pub expires: Option<String>,
    /// Who has it open, where that was looked at.
    pub clients: Option<Vec<String>>,
    /// When what is said here was seen, in RFC 3339; null if it never was.
    pub observed_at: Option<String>,
    /// Of a Backend: where it points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Of a Backend: the identity of its pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// How an object stands to its spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Condition {
    /// As declared, or released and as it was left.
    Settled,
    /// Something is to be done for it, and nothing stands in the way.
    Progressing,
    /// Somebody else changed it.
    Drifted,
    /// Something is to be done for it, and is held.
    Held,
    /// The last step for it failed, and is still to be done.
    Failed,
    /// It is to leave.
    Removing,
    /// In the trash.
    Trashed,
    /// Its backend did not show it; what is said is the last that was seen.
    Unknown,
}

impl Condition {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Settled => "Settled",
            Condition::Progressing => "Progressing",
            Condition::Drifted => "Drifted",
            Condition::Held => "Held",
            Condition::Failed => "Failed",
            Condition::Removing => "Removing",
            Condition::Trashed => "Trashed",
            Condition::Unknown => "Unknown",
        }
    }
}

/// Seconds since 1970 in RFC 3339, in UTC. What no calendar has (past the year 9999) is shown as the number.
pub fn rfc3339(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| seconds.to_string(), |time| time.to_string())
}

/// Every volume, snapshot and export that is declared, that is there under this owner (the trash included), or that was there
/// when its backend was last seen; sorted by kind, name and uid.
pub fn status(survey: &Survey, specs: &Specs) -> Vec<ObjectStatus> {
    let look = Look::new(survey, specs);
    let mut all = Vec::new();
    let mut shown: HashSet<Uid> = HashSet::new();
    for found in owned(survey, specs) {
        shown.insert(found.identity.uid);
        all.push(look.present(&found));
    }
    for record in look.remembered(&shown) {
        shown.insert(record.identity.uid);
        all.push(look.last_seen(record));
    }
    // What is declared and was not met above is not there yet, or is not known to be.
    let met: HashSet<(Kind, &str)> =
        all.iter().filter(|o| o.spec.is_some()).map(|o| (o.kind, o.metadata.name.as_str())).collect();
    let declared = look.declared().into_iter().filter(|(kind, meta, _)| !met.contains(&(*kind, meta.name.as_str())));
    let absent: Vec<_> = declared.map(|(kind, meta, backend)| look.absent(kind, &meta.name, backend)).collect();
    all.extend(absent);
    // What is held and is none of these (lost, and no longer declared) is shown too: it waits for a person.
    let met: HashSet<(Kind, &str)> = all.iter().map(|o| (o.kind, o.metadata.name.as_str())).collect();
    let others = survey.plan.held.iter().filter(|held| !met.contains(&(held.kind, held.name.as_str())));
    let absent: Vec<_> = others.map(|held| look.absent(held.kind, &held.name, held.backend.as_ref())).collect();
    all.extend(absent);
    all.sort_by(|a, b| (a.kind, &a.metadata.name, &a.status.uid).cmp(&(b.kind, &b.metadata.name, &b.status.uid)));
    all
}

/// Every declared backend, by name.
pub fn backend_status(survey: &Survey, specs: &Specs) -> Vec<ObjectStatus> {
    let look = Look::new(survey, specs);
    specs.backends.values().map(|spec| look.backend(spec)).collect()
}

/// An object of ours, and the backend that showed it.
#[derive(Clone, Copy)]
struct Found<'a> {
    identity: &'a Identity,
    backend: &'a Name,
    object: &'a Object,
}

/// What every backend that could be seen shows of this owner's. What is half made is not an object yet.
fn owned<'a>(survey: &'a Survey, specs: &'a Specs) -> impl Iterator<Item = Found<'a>> {
    survey
        .world
        .iter()
        .filter_map(|(backend, view)| Some((backend, seen(view)?)))
        .flat_map(|(backend, observed)| observed.objects.iter().map(move |object| (backend, object)))
        .filter(|(_, object)| object.place != Place::Temporary)
        .filter_map(|(backend, object)| Some(Found { identity: object.identity.as_ref()?, backend, object }))
        .filter(|found| found.identity.owner == specs.stack.owner)
}

/// All that is known of a name besides what is there.
#[derive(Default)]
struct About<'a> {
    held: Vec<&'a Held>,
    steps: Vec<&'a Step>,
    drift: Option<&'a Drift>,
    /// The last line of the journal.
    last: Option<&'a JournalEntry>,
    /// Of several objects of the name the one that the spec is about.
    meant: Option<(&'a Name, &'a Object)>,
}

struct Look<'a> {
    survey: &'a Survey,
    specs: &'a Specs,
    about: HashMap<(Kind, &'a Name), About<'a>>,
    suspended: Vec<Suspension>,
}

impl<'a> Look<'a> {
    fn new(survey: &'a Survey, specs: &'a Specs) -> Self {
        let mut about: HashMap<(Kind, &'a Name), About<'a>> = HashMap::new();
        for held in &survey.plan.held {
            about.entry((held.kind, &held.name)).or_default().held.push(held);
        }
        for step in &survey.plan.steps {
            about.entry((step.identity.kind, &step.identity.name)).or_default().steps.push(step);
        }
        for drift in &survey.plan.drift {
            about.entry((drift.kind, &drift.name)).or_default().drift.get_or_insert(drift);
        }
        let of_steps = |entry: &&JournalEntry| entry.owner == specs.stack.owner && entry.action != APPROVE;
        for entry in survey.journal.iter().filter(of_steps) {
            about.entry((entry.kind, &entry.name)).or_default().last = Some(entry);
        }
        // The spec is about what lives where it is declared, else about what lives elsewhere, else about what is in the trash.
        let rank = |name: &Name, kind: Kind, backend: &Name, object: &Object| {
            let declared = specs.volumes.get(name).filter(|_| kind == Kind::Volume).map(|volume| &volume.backend);
            (object.place != Place::Live, declared.is_some_and(|declared| declared != backend))
        };
        for Found { identity: Identity { kind, name, .. }, backend, object } in owned(survey, specs) {
            let meant = &mut about.entry((*kind, name)).or_default().meant;
            let new = rank(name, *kind, backend, object);
            if meant.is_none_or(|(other_backend, other)| new < rank(name, *kind, other_backend, other)) {
                *meant = Some((backend, object));
            }
        }
        let suspended = suspensions(&survey.records, &specs.stack.owner, survey.now);
        Self { survey, specs, about, suspended }
    }

    /// Records of objects that were there, on backends that cannot be seen now (or cannot be seen whole).
    fn remembered(&self, shown: &HashSet<Uid>) -> Vec<&'a ObjectRecord> {
        self.survey
            .records
            .objects
            .values()
            .filter(|record| record.identity.owner == self.specs.stack.owner)
            .filter(|record| record.seen.is_some() && !shown.contains(&record.identity.uid))
            .filter(|record| self.in_doubt(&record.backend, record.identity.kind))
            .collect()
    }

    /// Whether what a backend does not show may be there all the same.
    fn in_doubt(&self, backend: &Name, kind: Kind) -> bool {
        self.is_unobserved(backend)
            || match self.survey.world.get(backend).and_then(seen) {
                Some(observed) => !observed.listed.proves_absence_of(kind),
                None => true,
            }
    }

    /// Everything that is declared, with the backend where it is declared.
    fn declared(&self) -> Vec<(Kind, &'a Meta, Option<&'a Name>)> {
        let Specs { volumes, snapshots, exports, .. } = self.specs;
        let volumes_there = volumes.values().map(|v| (Kind::Volume, &v.meta, Some(&v.backend)));
        let snapshots_there =
            snapshots.values().map(|s| (Kind::Snapshot, &s.meta, volumes.get(&s.volume).map(|volume| &volume.backend)));
        let exports_there = exports.values().map(|e| (Kind::Export, &e.meta, None));
        volumes_there.chain(snapshots_there).chain(exports_there).collect()
    }

    fn meta(&self, kind: Kind, name: &Name) -> Option<&'a Meta> {
        match kind {
            Kind::Volume => self.specs.volumes.get(name).map(|spec| &spec.meta),
            Kind::Snapshot => self.specs.snapshots.get(name).map(|spec| &spec.meta),
            Kind::Export => self.specs.exports.get(name).map(|spec| &spec.meta),
            Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => None,
        }
    }

    fn spec(&self, kind: Kind, name: &Name) -> Option<Value> {
        match kind {
            Kind::Volume => self.specs.volumes.get(name).map(volume_json),
            Kind::Snapshot => self.specs.snapshots.get(name).map(snapshot_json),
            Kind::Export => self.specs.exports.get(name).map(export_json),
            Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => None,
        }
    }

    /// An object that is there. Of two under one name, the spec belongs to the one that lives where it is declared.
    fn present(&self, found: &Found<'_>) -> ObjectStatus {
        let Found { identity, backend, object } = found;
        let (kind, name) = (identity.kind, &identity.name);
        let is_declared = self.meta(kind, name).is_some()
            && self
                .about
                .get(&(kind, name))
                .and_then(|about| about.meant)
                .is_some_and(|(at, meant)| at == *backend && std::ptr::eq(meant, *object));
        let verdict = self.judge(kind, name, object.uid(), Some(found), is_declared);
        let verdict = self.with_suspension(kind, name, verdict);
        self.build(kind, name, is_declared, verdict, Some(object), Some(backend), Some(self.survey.now))
    }

    /// An object that was there when its backend was last seen.
    fn last_seen(&self, record: &ObjectRecord) -> ObjectStatus {
        let (kind, name) = (record.identity.kind, &record.identity.name);
        let is_declared = self.meta(kind, name).is_some();
        let verdict = self.unknown(kind, name, Some(record.identity.uid), &record.backend);
        let object = record.seen.as_ref();
        self.build(kind, name, is_declared, verdict, object, Some(&record.backend), Some(record.seen_at))
    }

    /// What is declared, or held, and not there.
    fn absent(&self, kind: Kind, name: &Name, backend: Option<&Name>) -> ObjectStatus {
        let is_declared = self.meta(kind, name).is_some();
        let verdict = match backend {
            Some(backend) if self.is_unobserved(backend) => self.unknown(kind, name, None, backend),
            _ => self.judge(kind, name, None, None, is_declared),
        };
        let observed_at = backend.and_then(|b| self.survey.world.get(b)).and_then(seen).map(|_| self.survey.now);
        let mut built = self.build(kind, name, is_declared, verdict, None, backend, observed_at);
        let uid = self.step(kind, name, None).map(|step| step.identity.uid);
        built.status.uid = uid.or_else(|| self.held(kind, name, None)?.uid).map(|uid| uid.to_string());
        built
    }

    /// Whether nothing is known of a backend now: it did not answer, or is not the one it was.
    fn is_unobserved(&self, backend: &Name) -> bool {
        matches!(self.survey.world.get(backend), Some(View::Unseen { .. }))
            || self.survey.plan.unobserved.iter().any(|unobserved| unobserved.backend == *backend)
    }

    /// Of an object on a backend that does not show it: with the reason and the way out for which it is held, if it is.
    fn unknown(&self, kind: Kind, name: &Name, uid: Option<Uid>, backend: &Name) -> Verdict {
        match self.held(kind, name, uid) {
            Some(held) => Verdict { condition: Condition::Unknown, ..Verdict::held(held) },
            None => self.unobserved(backend),
        }
    }

    fn unobserved(&self, backend: &Name) -> Verdict {
        let why = self.survey.plan.unobserved.iter().find(|u| u.backend == *backend).map(|u| u.message.clone());
        let message = match self.survey.world.get(backend) {
            Some(View::Unseen { why }) => format!("the backend {backend} could not be observed: {why}"),
            Some(View::Unbuilt) => match self.specs.not_allowed(Kind::Backend, backend) {
                Some(barred) => barred.message.clone(),
                None => format!("the driver of the backend {backend} is not built"),
            },
            Some(View::Seen { observed, .. } | View::Taken { observed, .. }) => match (why, observed.gaps.first()) {
                (Some(why), _) => why,
                (None, Some(gap)) => format!("the backend {backend} did not show everything: {gap}"),
                (None, None) => format!("the backend {backend} did not show everything"),
            },
            None => format!("the backend {backend} is no longer declared, so nobody looks at it"),
        };
        Verdict { condition: Condition::Unknown, reason: "Unobserved".to_owned(), message, unblock: None }
    }

    fn held(&self, kind: Kind, name: &Name, uid: Option<Uid>) -> Option<&'a Held> {
        let held = &self.about.get(&(kind, name))?.held;
        held.iter().find(|h| uid.is_none() || h.uid.is_none() || h.uid == uid).copied()
    }

    fn step(&self, kind: Kind, name: &Name, uid: Option<Uid>) -> Option<&'a Step> {
        let steps = &self.about.get(&(kind, name))?.steps;
        steps.iter().find(|step| uid.is_none_or(|uid| step.identity.uid == uid)).copied()
    }

    /// The condition, from what is held, planned, drifted and failed.
    fn judge(&self, kind: Kind, name: &Name, uid: Option<Uid>, found: Option<&Found<'_>>, declared: bool) -> Verdict {
        if let Some(held) = self.held(kind, name, uid) {
            return Verdict::held(held);
        }
        let step = self.step(kind, name, uid);
        if let (Some(step), Some(failed)) = (step, self.last_failure(kind, name)) {
            let why = failed.message.as_deref().unwrap_or("no reason was given");
            let message = format!("{} failed at {}: {why}", step.action.verb(), rfc3339(failed.at));
            return Verdict::new(Condition::Failed, "StepFailed", message);
        }
        if let Some(found) = found.filter(|found| found.object.place == Place::Trash) {
            let until = match found.object.tags.expires {
                Some(expires) => format!("in the trash until {}", rfc3339(expires)),
                None => "in the trash".to_owned(),
            };
            return match step {
                Some(_) => Verdict::new(Condition::Trashed, "InTrash", format!("{until}; apply brings it back")),
                None => Verdict::new(Condition::Trashed, "NotDeclared", until),
            };
        }
        let drift = self.about.get(&(kind, name)).and_then(|about| about.drift);
        if let Some(drift) = drift.filter(|_| found.is_some()) {
            let message = format!("{} was {} and is {}", drift.path, drift.recorded, drift.observed);
            return Verdict::new(Condition::Drifted, "ChangedByOthers", message);
        }
        match step {
            Some(step) => {
                let condition = match step.action.verb() {
                    Verb::Remove | Verb::Destroy => Condition::Removing,
                    Verb::Create | Verb::Update | Verb::Move | Verb::Adopt => Condition::Progressing,
                };
                let message = match &step.action {
                    Action::Create { .. } | Action::Snapshot { .. } => "not there yet; apply makes it".to_owned(),
                    other => format!("apply will {} it", other.verb()),
                };
                Verdict::new(condition, &format!("{:?}", step.reason), message)
            }
            None if found.is_none() => Verdict::new(
                Condition::Unknown,
                "Unobserved",
                "it was not seen, and nothing is planned for it".to_owned(),
            ),
            None if declared => Verdict::new(Condition::Settled, "AsDeclared", "as declared".to_owned()),
            None if found.is_some_and(|f| f.object.tags.retained) => Verdict::new(
                Condition::Settled,
                "Retained",
                "released: it stays, and nothing is planned for it".to_owned(),
            ),
            None => Verdict::new(
                Condition::Settled,
                "NotDeclared",
                "not declared, and nothing is planned for it".to_owned(),
            ),
        }
    }

    /// That nothing would be done for an object is said of one that needs nothing, too.
    fn with_suspension(&self, kind: Kind, name: &Name, verdict: Verdict) -> Verdict {
        match suspension_of(&self.suspended, kind, name) {
            Some(suspension) if verdict.condition == Condition::Settled => Verdict {
                reason: "Suspended".to_owned(),
                message: format!("{}; {}", verdict.message, suspended_because(suspension)),
                unblock: Some(resume(suspension)),
                ..verdict
            },
            _ => verdict,
        }
    }

    /// The last line of the journal about an object, if that is a failure.
    fn last_failure(&self, kind: Kind, name: &Name) -> Option<&'a JournalEntry> {
        self.about.get(&(kind, name))?.last.filter(|entry| entry.outcome == "failed")
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where the parts of a status come together")]
    fn build(
        &self,
        kind: Kind,
        name: &Name,
        is_declared: bool,
        verdict: Verdict,
        object: Option<&Object>,
        backend: Option<&Name>,
        observed_at: Option<u64>,
    ) -> ObjectStatus {
        let meta = self.meta(kind, name).filter(|_| is_declared);
        let tags = object.map(|object| &object.tags);
        let Verdict { condition, reason, message, unblock } = verdict;
        ObjectStatus {
            api_version: "kiln/v1",
            kind,
            metadata: Metadata {
                name: name.to_string(),
                labels: meta.map(|m| m.labels.clone()).or_else(|| tags.map(|t| t.labels.clone())).unwrap_or_default(),
                renamed_from: meta.and_then(|m| m.renamed_from.as_ref()).map(ToString::to_string),
            },
            spec: if is_declared { self.spec(kind, name) } else { None },
            status: Status {
                condition,
                reason,
                message,
                unblock,
                uid: object.and_then(Object::uid).map(|uid| uid.to_string()),
                owner: self.specs.stack.owner.to_string(),
                backend: backend.map(ToString::to_string),
                object: object.map(|object| object.native.to_string()),
                size: object.map(|object| object.size.bytes()),
                used: object.and_then(|object| object.used),
                place: object.map(|object| match object.place {
                    Place::Trash => "trash",
                    Place::Live | Place::Temporary => "live",
                }),
                protected: tags.map(|tags| tags.protected),
                on_remove: tags.map(Tags::on_remove),
                expires: object
                    .filter(|object| object.place == Place::Trash)
                    .and_then(|object| object.tags.expires)
                    .map(rfc3339),
                clients: object.and_then(|object| match &object.clients {
                    Clients::Unknown => None,
                    Clients::None => Some(Vec::new()),
                    Clients::Some(who) => Some(who.clone()),
                }),
                observed_at: observed_at.map(rfc3339),
                location: None,
                pool: None,
            },
        }
    }

    fn backend(&self, spec: &BackendSpec) -> ObjectStatus {
        let name = &spec.meta.name;
        let view = self.survey.world.get(name);
        let observed = view.and_then(seen);
        let record = self.survey.records.backends.get(name);
        let unobserved = self.survey.plan.unobserved.iter().find(|u| u.backend == *name);
        let verdict = match (view, unobserved) {
            (Some(View::Seen { .. } | View::Taken { .. }), Some(unobserved)) => {
                Verdict::new(Condition::Unknown, "NotAsItWas", unobserved.message.clone())
            }
            (Some(View::Seen { observed, .. }), None) if !observed.gaps.is_empty() => {
                Verdict::new(Condition::Unknown, "Unobserved", observed.gaps.join("; "))
            }
            (Some(View::Seen { observed, .. }), None) if observed.pool.is_none() => {
                Verdict::new(Condition::Progressing, "NotThere", "not used yet".to_owned())
            }
            (Some(View::Seen { .. }), None) => Verdict::new(Condition::Settled, "Observed", "observed".to_owned()),
            (Some(View::Taken { by, .. }), None) => Verdict::new(Condition::Held, "OtherWriter", by.clone()),
            (Some(View::Unbuilt), _) if let Some(held) = self.held(Kind::Backend, name, None) => Verdict::held(held),
            (Some(View::Unbuilt), _) => {
                let driver = spec.config.driver();
                Verdict::new(Condition::Held, "Unsupported", format!("the driver {driver} is not built"))
            }
            (Some(View::Unseen { .. }) | None, _) => self.unobserved(name),
        };
        let mut built = self.build(Kind::Backend, name, false, verdict, None, Some(name), None);
        built.metadata.labels = spec.meta.labels.clone();
        built.spec = Some(backend_json(spec));
        let Capacity { total, used } = observed.and_then(|o| o.capacity).unwrap_or(Capacity { total: 0, used: 0 });
        let known = observed.is_some_and(|o| o.capacity.is_some());
        let status = &mut built.status;
        status.size = known.then_some(total);
        status.used = known.then_some(used);
        status.observed_at = match observed {
            Some(_) => Some(rfc3339(self.survey.now)),
            None => record.map(|record| rfc3339(record.observed_at)),
        };
        status.location = Some(spec.config.place());
        status.pool = observed
            .and_then(|o| o.pool.as_ref())
            .or_else(|| record.filter(|_| observed.is_none()).map(|record| &record.pool))
            .map(ToString::to_string);
        built
    }
}

struct Verdict {
    condition: Condition,
    reason: String,
    message: String,
    unblock: Option<String>,
}

impl Verdict {
    fn new(condition: Condition, reason: &str, message: String) -> Self {
        Self { condition, reason: reason.to_owned(), message, unblock: None }
    }

    fn held(held: &Held) -> Self {
        Self {
            condition: Condition::Held,
            reason: held.reason.to_string(),
            message: held.message.clone(),
            unblock: Some(held.unblock.clone()).filter(|text| !text.is_empty()),
        }
    }
}

fn seen(view: &View) -> Option<&Observed> {
    match view {
        View::Seen { observed, .. } | View::Taken { observed, .. } => Some(observed),
        View::Unseen { .. } | View::Unbuilt => None,
    }
}

#[cfg(test)]
mod tests;
