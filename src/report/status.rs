//! The state of each object compared with its spec: what `kiln get` and `kiln describe` show. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use foldhash::{HashMap, HashMapExt, HashSet};
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use super::condition::Condition;
use super::declared::{Declared, DeclaredView};
use super::plan_text::value;
use super::related::RelatedObjects;
use crate::model::{
    Absence, BackendSpec, Capacity, Clients, Identity, JournalEntry, JournalOutcome, Kind, Name, NativeName, Object,
    ObjectRecord, OnRemove, Owner, Place, PoolId, Provisioning, Reading, Resource, SeenObject, Size, Specs, Step, Tags,
    Uid, Verb,
};
use crate::plan::{Drift, Held, Observation, Overview, Retry, RunningStep, resume, suspended_because, suspension_of};
use crate::text::{Moment, rfc3339};

/// One object, as in `kiln get -o json`. It borrows what is known and copies little, because there may be 100,000 objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus<'a> {
    /// The API version, always `kiln/v1`.
    pub api_version: Cow<'static, str>,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name and labels.
    pub metadata: Metadata<'a>,
    /// The declared fields in the form of the manifest, with sizes in bytes; null if it is not declared.
    pub spec: Option<DeclaredView<'a>>,
    /// The observed state.
    pub status: Status<'a>,
}

impl ObjectStatus<'_> {
    /// Returns the object as `volume/db`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.kind.as_lower(), self.metadata.name)
    }
}

/// `metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// The name, unique per kind except in the trash.
    pub name: Cow<'a, Name>,
    /// The labels, as declared, else as tagged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Cow<'a, BTreeMap<String, String>>,
    /// The old name, as declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<Cow<'a, Name>>,
}

/// `status`. Fields that do not apply or are unknown are null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status<'a> {
    /// The condition of the object.
    pub condition: Condition,
    /// The cause, in one word.
    pub reason: SmolStr,
    /// The cause, in one sentence.
    pub message: Cow<'a, str>,
    /// What to write or run to fix it.
    pub fix: Option<Cow<'a, str>>,
    /// The uid.
    pub uid: Option<Uid>,
    /// The owner.
    pub owner: Cow<'a, Owner>,
    /// The backend that it is on, or would be on.
    pub backend: Option<Cow<'a, Name>>,
    /// The native name.
    pub object: Option<Cow<'a, NativeName>>,
    /// The path under which clients on this host open it.
    #[serde(default)]
    pub path: Option<Cow<'a, Path>>,
    /// The size for clients, in bytes; for a Backend, its capacity.
    pub size: Option<u64>,
    /// The declared size as its document writes it, if it is not the shortest form of that size: `2048Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_size: Option<SmolStr>,
    /// The declared size as its document writes it, if the backend rounded it up to this size: `1500M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounded_up: Option<SmolStr>,
    /// The declared limits of bytes as their document writes them, as `written_size`, by the names of their fields in `spec.qos`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub written_limits: BTreeMap<SmolStr, SmolStr>,
    /// The allocated bytes, if cheap to know.
    pub used: Option<u64>,
    /// When a snapshot was created, if its backend reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Moment>,
    /// `live` or `trash`.
    pub place: Option<Cow<'static, str>>,
    /// Whether it is protected, as tagged.
    pub protected: Option<bool>,
    /// What happens when its document is removed, as tagged.
    pub on_remove: Option<OnRemove>,
    /// `thick` if all of its space is reserved, as far as the backend shows it, else as tagged. A volume that is thin and was always so has
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning: Option<Provisioning>,
    /// The rate limits in force, by the names of their fields in `spec.qos`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub qos: serde_json::Map<String, serde_json::Value>,
    /// Whether it is encrypted on the backend.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encrypted: bool,
    /// When it expires in the trash.
    pub expires: Option<Moment>,
    /// The clients that have it open, if observed.
    pub clients: Option<Cow<'a, [String]>>,
    /// When it was observed; null if never.
    pub observed_at: Option<Moment>,
    /// When the daemon retries a failed step, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Cow<'a, str>>,
    /// For a Backend: its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// For a Backend: all that it can run out of, the capacity above included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacities: Vec<Capacity>,
    /// For a Backend: its pool id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Cow<'a, PoolId>>,
    /// For a described volume or snapshot: its snapshots and clones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<Box<RelatedObjects>>,
}

/// Whether objects of this kind have a status.
pub fn has_status(kind: Kind) -> bool {
    match kind {
        Kind::Volume | Kind::Snapshot | Kind::Target | Kind::Export | Kind::Backend => true,
        Kind::Stack | Kind::Approval => false,
    }
}

/// Returns every volume, snapshot, target and export that is declared, exists under this owner (trash included), or existed when its backend was
/// last observed; sorted by kind, name and uid.
pub fn status<'a>(overview: &'a Overview, reading: &'a Reading) -> Vec<ObjectStatus<'a>> {
    let index = StatusIndex::new(overview, reading);
    let remembered = index.remembered();
    let last_seen: HashSet<(Kind, &Name)> = remembered.iter().map(|r| (r.identity.kind, &r.identity.name)).collect();
    let is_met = |kind, name| index.about(kind, name).current.is_some() || last_seen.contains(&(kind, name));
    let mut all: Vec<ObjectStatus<'a>> = owned(overview, &reading.specs).map(|found| index.present(&found)).collect();
    all.extend(remembered.iter().map(|record| index.last_seen(record)));
    // The remaining declared objects do not exist yet, or are not known to.
    let declared = index.declared().filter(|(kind, name, _)| !is_met(*kind, name));
    all.extend(declared.map(|(kind, name, backend)| index.absent(kind, name, backend)));
    // A held object that is neither declared nor observed (a lost one, for example) waits for a person, and is shown too.
    let is_shown = |kind, name| Declared::find(&reading.specs, kind, name).is_some() || is_met(kind, name);
    let others = overview.plan.held.iter().filter(|held| !is_shown(held.kind, &held.name));
    all.extend(others.map(|held| index.absent(held.kind, &held.name, held.backend())));
    all.sort_by(|a, b| (a.kind, &a.metadata.name, a.status.uid).cmp(&(b.kind, &b.metadata.name, b.status.uid)));
    all
}

/// Returns every declared backend, by name.
pub fn backend_status<'a>(overview: &'a Overview, reading: &'a Reading) -> Vec<ObjectStatus<'a>> {
    let index = StatusIndex::new(overview, reading);
    reading.specs.backends.values().map(|spec| index.backend(spec)).collect()
}

/// An object of ours with the backend that showed it.
#[derive(Clone, Copy)]
struct Found<'a> {
    identity: &'a Identity,
    backend: &'a Name,
    object: &'a Object,
}

/// Returns this owner's objects on all observed backends. Incomplete objects are left out.
fn owned<'a>(overview: &'a Overview, specs: &'a Specs) -> impl Iterator<Item = Found<'a>> {
    overview
        .world
        .iter()
        .filter_map(|(backend, observation)| Some((backend, observation.observed()?)))
        .flat_map(|(backend, observed)| observed.objects.iter().map(move |object| (backend, object)))
        .filter(|(_, object)| object.place != Place::Temporary)
        .filter_map(|(backend, object)| Some(Found { identity: object.identity.as_ref()?, backend, object }))
        .filter(|found| found.identity.owner == specs.stack.owner)
}

/// Everything known about a name besides the observed object.
#[derive(Default)]
struct About<'a> {
    held: Vec<&'a Held>,
    steps: Vec<&'a Step>,
    drift: Option<&'a Drift>,
    /// The last journal entry.
    last: Option<&'a JournalEntry>,
    /// The retry of a failed step.
    retry: Option<&'a Retry>,
    /// The step on it that still runs.
    running: Option<&'a RunningStep>,
    /// The object that the spec is about, if several have the name.
    current: Option<(&'a Name, &'a Object)>,
}

impl<'a> About<'a> {
    fn held(&self, uid: Option<Uid>) -> Option<&'a Held> {
        self.held.iter().find(|h| uid.is_none() || h.uid.is_none() || h.uid == uid).copied()
    }

    fn step(&self, uid: Option<Uid>) -> Option<&'a Step> {
        self.steps.iter().find(|step| uid.is_none_or(|uid| step.identity.uid == uid)).copied()
    }

    /// Returns the last journal entry, if it is a failure.
    fn last_failure(&self) -> Option<&'a JournalEntry> {
        self.last.filter(|entry| entry.outcome == JournalOutcome::Failed)
    }
}

struct StatusIndex<'a> {
    overview: &'a Overview,
    reading: &'a Reading,
    specs: &'a Specs,
    about: HashMap<(Kind, &'a Name), About<'a>>,
    /// A name of which nothing is known.
    nothing: About<'a>,
}

impl<'a> StatusIndex<'a> {
    fn new(overview: &'a Overview, reading: &'a Reading) -> Self {
        let specs = &*reading.specs;
        let objects =
            overview.world.values().filter_map(Observation::observed).map(|observed| observed.objects.len()).sum();
        let mut about: HashMap<(Kind, &'a Name), About<'a>> = HashMap::with_capacity(objects);
        for held in &overview.plan.held {
            about.entry((held.kind, &held.name)).or_default().held.push(held);
        }
        for step in &overview.plan.steps {
            about.entry((step.identity.kind, &step.identity.name)).or_default().steps.push(step);
        }
        for drift in &overview.plan.drift {
            about.entry((drift.kind, &drift.name)).or_default().drift.get_or_insert(drift);
        }
        let of_steps = |entry: &&JournalEntry| entry.owner == specs.stack.owner && entry.action.is_step();
        for entry in overview.journal.iter().filter(of_steps) {
            about.entry((entry.kind, &entry.name)).or_default().last = Some(entry);
        }
        for running in &overview.running {
            let identity = &running.step.identity;
            about.entry((identity.kind, &identity.name)).or_default().running = Some(running);
        }
        for retry in &overview.retries {
            about.entry((retry.kind, &retry.name)).or_default().retry = Some(retry);
        }
        // The spec is about the live object where it is declared, else about a live one elsewhere, else about one in the trash.
        let rank = |name: &Name, kind: Kind, (backend, object): (&Name, &Object)| {
            let declared = specs.volumes.get(name).filter(|_| kind == Kind::Volume).map(|volume| &volume.backend);
            (object.place != Place::Live, declared.is_some_and(|declared| declared != backend))
        };
        for Found { identity: Identity { kind, name, .. }, backend, object } in owned(overview, specs) {
            let current = &mut about.entry((*kind, name)).or_default().current;
            let this = (backend, object);
            if current.is_none_or(|other| rank(name, *kind, this) < rank(name, *kind, other)) {
                *current = Some(this);
            }
        }
        Self { overview, reading, specs, about, nothing: About::default() }
    }

    fn about<'s>(&'s self, kind: Kind, name: &'s Name) -> &'s About<'a> {
        self.about.get(&(kind, name)).unwrap_or(&self.nothing)
    }

    /// Returns records of objects on backends that are not observed, or not completely.
    fn remembered(&self) -> Vec<&'a ObjectRecord> {
        let mut found: Vec<&'a ObjectRecord> = self
            .overview
            .records
            .objects
            .values()
            .filter(|record| record.identity.owner == self.specs.stack.owner && record.seen().is_some())
            .filter(|record| self.in_doubt(record))
            .collect();
        if !found.is_empty() {
            let shown: HashSet<Uid> = owned(self.overview, self.specs).map(|found| found.identity.uid).collect();
            found.retain(|record| !shown.contains(&record.identity.uid));
        }
        found
    }

    /// Whether an object that its backend does not show may exist.
    fn in_doubt(&self, record: &ObjectRecord) -> bool {
        self.is_unobserved(&record.backend)
            || match self.overview.world.get(&record.backend).and_then(Observation::observed) {
                Some(observed) => !observed.proves_gone(record.identity.kind, &[record.address()]),
                None => true,
            }
    }

    /// Returns everything that is declared, with its declared backend.
    fn declared(&self) -> impl Iterator<Item = (Kind, &'a Name, Option<&'a Name>)> {
        let Specs { volumes, snapshots, targets, exports, .. } = self.specs;
        let volumes_there = volumes.iter().map(|(name, v)| (Kind::Volume, name, Some(&v.backend)));
        let snapshots_there = snapshots
            .iter()
            .map(|(name, s)| (Kind::Snapshot, name, volumes.get(&s.volume).map(|volume| &volume.backend)));
        let targets_there = targets.keys().map(|name| (Kind::Target, name, None));
        let exports_there = exports.keys().map(|name| (Kind::Export, name, None));
        volumes_there.chain(snapshots_there).chain(targets_there).chain(exports_there)
    }

    /// The status of an object that exists. Of two with one name, the spec belongs to the live one where it is declared.
    fn present(&self, found: &Found<'a>) -> ObjectStatus<'a> {
        let Found { identity, backend, object } = *found;
        let (kind, name) = (identity.kind, &identity.name);
        let about = self.about(kind, name);
        let is_meant = about.current.is_some_and(|(at, current)| at == backend && std::ptr::eq(current, object));
        let declared = Declared::find(self.specs, kind, name).filter(|_| is_meant);
        let verdict = Self::verdict(about, object.uid(), Some(found), declared);
        let verdict = self.with_suspension(kind, name, verdict);
        let shown = Some((SeenObject::from(object), Some(&object.clients)));
        self.build(kind, name, declared, verdict, shown, Some(backend), Some(self.overview.now))
    }

    /// The status of an object that existed when its backend was last observed.
    fn last_seen(&self, record: &'a ObjectRecord) -> ObjectStatus<'a> {
        let (kind, name) = (record.identity.kind, &record.identity.name);
        let declared = Declared::find(self.specs, kind, name);
        let verdict = self.unknown(self.about(kind, name), Some(record.identity.uid), &record.backend);
        let shown = record.seen().map(|seen| (seen, None));
        self.build(kind, name, declared, verdict, shown, Some(&record.backend), Some(record.seen_at))
    }

    /// The status of an object that is declared or held and does not exist.
    fn absent(&self, kind: Kind, name: &'a Name, backend: Option<&'a Name>) -> ObjectStatus<'a> {
        let declared = Declared::find(self.specs, kind, name);
        let about = self.about(kind, name);
        let verdict = match backend {
            Some(backend) if self.is_unobserved(backend) => self.unknown(about, None, backend),
            _ => Self::verdict(about, None, None, declared),
        };
        let observed_at =
            backend.and_then(|b| self.overview.world.get(b)).and_then(Observation::observed).map(|_| self.overview.now);
        let mut built = self.build(kind, name, declared, verdict, None, backend, observed_at);
        let planned = about.step(None).map(|step| step.identity.uid);
        built.status.uid = planned.or_else(|| about.held(None)?.uid);
        built
    }

    /// Whether a backend is not usable now: it did not answer, or its pool changed.
    fn is_unobserved(&self, backend: &Name) -> bool {
        matches!(self.overview.world.get(backend), Some(Observation::Failed { .. }))
            || self.overview.plan.unobserved.iter().any(|unobserved| unobserved.backend == *backend)
    }

    /// The verdict on an object whose backend does not show it; if it is held, with the reason and fix of the hold.
    fn unknown(&self, about: &About<'a>, uid: Option<Uid>, backend: &Name) -> Verdict<'a> {
        match about.held(uid) {
            Some(held) => Verdict { condition: Condition::Unknown, ..Verdict::held(held) },
            None => self.unobserved(backend),
        }
    }

    fn unobserved(&self, backend: &Name) -> Verdict<'a> {
        let why = self.overview.plan.unobserved.iter().find(|u| u.backend == *backend).map(|u| u.message.as_str());
        let message = match self.overview.world.get(backend) {
            Some(Observation::Failed { why, fix: _ }) => {
                format!("backend {backend} could not be observed: {why}").into()
            }
            Some(Observation::Unsupported) => match self.reading.not_allowed(Kind::Backend, backend) {
                Some(barred) => Cow::Borrowed(barred.message.as_str()),
                None => format!("the driver of backend {backend} is not implemented yet").into(),
            },
            Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) => {
                match (why, observed.gaps.first()) {
                    (Some(why), _) => Cow::Borrowed(why),
                    (None, Some(gap)) => format!("the observation of backend {backend} is incomplete: {gap}").into(),
                    (None, None) => format!("the observation of backend {backend} is incomplete").into(),
                }
            }
            None => format!("backend {backend} is no longer declared, so Kiln does not observe it").into(),
        };
        Verdict::new(Condition::Unknown, "Unobserved", message)
    }

    /// Returns the condition with its reason, from holds, steps, drift and failures.
    fn verdict(
        about: &About<'a>,
        uid: Option<Uid>,
        found: Option<&Found<'_>>,
        declared: Option<Declared<'_>>,
    ) -> Verdict<'a> {
        if let Some(running) = about.running {
            let message = format!("{}, since {}", running.progress(), rfc3339(running.since));
            return Verdict::new(Condition::Progressing, "Running", message);
        }
        if let Some(held) = about.held(uid) {
            return Verdict::held(held);
        }
        let step = about.step(uid);
        if let (Some(step), Some(failed)) = (step, about.last_failure()) {
            let why = failed.message.as_deref().unwrap_or("no error was recorded");
            let mut message = format!("{} failed at {}: {why}", step.action.word(), rfc3339(failed.at));
            if let Some(Retry { failures, next_attempt_at, .. }) = about.retry {
                message.push_str(&format!("; consecutive failures: {failures}; next attempt at {next_attempt_at}"));
            }
            return Verdict::new(Condition::Failed, "StepFailed", message);
        }
        if let Some(found) = found.filter(|found| found.object.place == Place::Trash) {
            let until = match found.object.tags.expires {
                Some(expires) => format!("in the trash until {}", rfc3339(expires)),
                None => "in the trash".to_owned(),
            };
            return match step {
                Some(_) => Verdict::new(Condition::Trashed, "InTrash", format!("{until}; apply restores it")),
                None => Verdict::new(Condition::Trashed, "NotDeclared", until),
            };
        }
        if let Some(drift) = about.drift.filter(|_| found.is_some()) {
            let declared = declared.and_then(|declared| declared.size_of(&drift.path));
            let [then, now] = [&drift.recorded, &drift.observed].map(|of| value(&drift.path, of, declared));
            let message = format!("{} was {then} and is {now}", drift.path);
            return Verdict::new(Condition::Drifted, "ChangedByOthers", message);
        }
        match step {
            Some(step) => {
                let condition = match step.action.verb() {
                    Verb::Remove | Verb::Destroy => Condition::Removing,
                    Verb::Create | Verb::Update | Verb::Move | Verb::Adopt => Condition::Progressing,
                };
                let message = match step.action.verb() {
                    Verb::Create => "does not exist yet; apply creates it".into(),
                    other => Cow::Owned(format!("apply will {other} it")),
                };
                let reason = format_smolstr!("{:?}", step.reason);
                Verdict { reason, ..Verdict::new(condition, "", message) }
            }
            None if found.is_none() => {
                Verdict::new(Condition::Unknown, "Unobserved", "it was not observed, and nothing is planned for it")
            }
            None if declared.is_some() => Verdict::new(Condition::Settled, "AsDeclared", "as declared"),
            None if found.is_some_and(|f| f.object.tags.retained) => {
                Verdict::new(Condition::Settled, "Retained", "released: Kiln no longer manages it")
            }
            None => Verdict::new(Condition::Settled, "NotDeclared", "not declared, and nothing is planned for it"),
        }
    }

    /// Adds a suspension to a verdict, also if nothing is planned for the object.
    fn with_suspension(&self, kind: Kind, name: &Name, verdict: Verdict<'a>) -> Verdict<'a> {
        match suspension_of(&self.overview.suspended, kind, name) {
            Some(suspension) if verdict.condition == Condition::Settled => Verdict {
                reason: "Suspended".into(),
                message: format!("{}; {}", verdict.message, suspended_because(suspension)).into(),
                fix: Some(resume(suspension).into()),
                ..verdict
            },
            _ => verdict,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where the parts of a status come together")]
    fn build(
        &self,
        kind: Kind,
        name: &'a Name,
        declared: Option<Declared<'a>>,
        verdict: Verdict<'a>,
        shown: Option<(SeenObject<'a>, Option<&'a Clients>)>,
        backend: Option<&'a Name>,
        observed_at: Option<u64>,
    ) -> ObjectStatus<'a> {
        static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
        let meta = declared.map(Declared::meta);
        let object = shown.map(|(object, _)| object);
        let tags = object.map(|object| object.tags);
        let labels = meta.map(|m| &m.labels).or_else(|| tags.map(|t| &t.labels));
        let Verdict { condition, reason, message, fix } = verdict;
        ObjectStatus {
            api_version: Cow::Borrowed("kiln/v1"),
            kind,
            metadata: Metadata {
                name: Cow::Borrowed(name),
                labels: Cow::Borrowed(labels.unwrap_or(&NO_LABELS)),
                renamed_from: meta.and_then(|m| m.renamed_from.as_ref()).map(Cow::Borrowed),
            },
            spec: declared.map(DeclaredView::Specs),
            status: Status {
                condition,
                reason,
                message,
                fix,
                uid: object.and_then(|object| object.uid),
                owner: Cow::Borrowed(&self.specs.stack.owner),
                backend: backend.map(Cow::Borrowed),
                object: object.map(|object| match object.parent_volume {
                    None => Cow::Borrowed(object.native),
                    Some(_) => Cow::Owned(NativeName::new(object.address().to_string())),
                }),
                path: object.filter(|object| object.place == Place::Live).and_then(|object| {
                    Some(Cow::Borrowed(self.overview.paths.get(backend?)?.get(&object.address())?.as_path()))
                }),
                size: object.map(|object| object.size.bytes()),
                written_size: declared.and_then(Declared::written_size).map(SmolStr::from),
                rounded_up: object.and_then(|object| self.rounded_up(declared?, object.size, backend?)),
                written_limits: declared.map(Declared::written_limits).unwrap_or_default(),
                used: object.and_then(|object| object.used),
                created_at: object.and_then(|object| object.created).map(Moment),
                place: object.map(|object| match object.place {
                    Place::Trash => Cow::Borrowed("trash"),
                    Place::Live | Place::Temporary => Cow::Borrowed("live"),
                }),
                protected: tags.map(|tags| tags.protected),
                on_remove: tags.map(Tags::on_remove),
                provisioning: object.and_then(|object| {
                    let is_thin = |shown: Option<Provisioning>| shown.is_none_or(|shown| shown == Provisioning::Thin);
                    let (shown, tagged) = (object.provisioning, object.tags.provisioning);
                    shown.or(tagged).filter(|_| !(is_thin(shown) && is_thin(tagged)))
                }),
                qos: object.map(|object| object.settings.limits()).unwrap_or_default(),
                encrypted: object.is_some_and(|object| object.settings.encrypted),
                expires: object
                    .filter(|object| object.place == Place::Trash)
                    .and_then(|object| object.expires)
                    .map(Moment),
                clients: shown.and_then(|(_, clients)| match clients? {
                    Clients::Unknown => None,
                    Clients::None => Some(Cow::Borrowed(&[][..])),
                    Clients::Some(who) => Some(Cow::Borrowed(who.as_slice())),
                }),
                observed_at: observed_at.map(Moment),
                next_attempt_at: self.about(kind, name).retry.map(|retry| retry.next_attempt_at.as_str().into()),
                location: None,
                capacities: Vec::new(),
                pool: None,
                related: None,
            },
        }
    }

    /// Returns the declared size, if a size is what its backend rounds it up to.
    fn rounded_up(&self, declared: Declared<'_>, size: Size, backend: &Name) -> Option<SmolStr> {
        let (Declared::Volume(spec), Some(capabilities)) =
            (declared, self.overview.world.get(backend).and_then(Observation::capabilities))
        else {
            return None;
        };
        let is_rounded = *spec.size != size && spec.size.round_up(capabilities.granularity) == size;
        is_rounded.then(|| format_smolstr!("{}", spec.size))
    }

    fn backend(&self, spec: &'a BackendSpec) -> ObjectStatus<'a> {
        let name = &spec.meta.name;
        let observation = self.overview.world.get(name);
        let observed = observation.and_then(Observation::observed);
        let record = self.overview.records.backends.get(name);
        let unobserved = self.overview.plan.unobserved.iter().find(|u| u.backend == *name);
        let verdict = match (observation, unobserved) {
            (Some(Observation::Seen { .. } | Observation::LockedBy { .. }), Some(unobserved)) => {
                Verdict::new(Condition::Unknown, "PoolChanged", unobserved.message.as_str())
            }
            (Some(Observation::Seen { observed, .. }), None) if !observed.gaps.is_empty() => {
                Verdict::new(Condition::Unknown, "Unobserved", observed.gaps.join("; "))
            }
            (Some(Observation::Seen { observed, .. }), None) if observed.pool.is_none() => {
                Verdict::new(Condition::Progressing, "NotThere", "not used yet")
            }
            (Some(Observation::Seen { capabilities, .. }), None) => match capabilities.absence {
                Absence::ByList | Absence::ByName => Verdict::new(Condition::Settled, "Observed", "observed"),
                Absence::ByLedger => {
                    let message = "absence of objects is taken from the ledger: the backend can neither list its objects nor tell whether one exists";
                    Verdict::new(Condition::Settled, "ByLedger", message)
                }
            },
            (Some(Observation::LockedBy { by, .. }), None) => Verdict::new(Condition::Held, "OtherWriter", by.as_str()),
            (Some(Observation::Unsupported), _) if let Some(held) = self.about(Kind::Backend, name).held(None) => {
                Verdict::held(held)
            }
            (Some(Observation::Unsupported), _) => {
                let driver = spec.config.driver();
                Verdict::new(Condition::Held, "Unsupported", format!("the driver {driver} is not implemented yet"))
            }
            (Some(Observation::Failed { .. }) | None, _) => self.unobserved(name),
        };
        let mut built = self.build(Kind::Backend, name, None, verdict, None, Some(name), None);
        built.metadata.labels = Cow::Borrowed(&spec.meta.labels);
        built.spec = Some(DeclaredView::Specs(Declared::Backend(spec)));
        let capacity: Option<Capacity> = observed.and_then(|o| o.capacity(Resource::Data));
        let status = &mut built.status;
        status.size = capacity.map(|capacity| capacity.total);
        status.used = capacity.map(|capacity| capacity.used);
        status.capacities = observed.map(|observed| observed.capacities.clone()).unwrap_or_default();
        status.observed_at = match observed {
            Some(_) => Some(Moment(self.overview.now)),
            None => record.map(|record| Moment(record.observed_at)),
        };
        status.location = Some(spec.config.place());
        status.pool = observed
            .and_then(|o| o.pool.as_ref())
            .or_else(|| record.filter(|_| observed.is_none()).map(|record| &record.pool))
            .map(Cow::Borrowed);
        built
    }
}

struct Verdict<'a> {
    condition: Condition,
    reason: SmolStr,
    message: Cow<'a, str>,
    fix: Option<Cow<'a, str>>,
}

impl<'a> Verdict<'a> {
    fn new(condition: Condition, reason: &'static str, message: impl Into<Cow<'a, str>>) -> Self {
        Self { condition, reason: SmolStr::new_static(reason), message: message.into(), fix: None }
    }

    fn held(held: &'a Held) -> Self {
        Self {
            condition: Condition::Held,
            reason: format_smolstr!("{}", held.reason),
            message: held.message.as_str().into(),
            fix: Some(held.fix.as_str().into()).filter(|text: &Cow<'a, str>| !text.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests;
