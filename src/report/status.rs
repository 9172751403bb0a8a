//! What is declared and what is there, object by object: what `kiln get` and `kiln describe` show. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt, HashSet};
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use super::declared::{Declared, DeclaredView};
use crate::model::{
    BackendSpec, Capacity, Clients, Identity, JournalEntry, JournalOutcome, Kind, Name, NativeName, Object,
    ObjectRecord, Observed, OnRemove, Owner, Place, PoolId, Reading, Specs, Step, Tags, Uid, Verb,
};
use crate::plan::{Drift, Held, Observation, Overview, Retry, resume, suspended_because, suspension_of};
use crate::text::{Moment, rfc3339};

/// One object, as in `kiln get -o json`. What is known of it already is referred to and not copied: there may be a hundred thousand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus<'a> {
    /// Always `kiln/v1`.
    pub api_version: Cow<'static, str>,
    /// Of the object.
    pub kind: Kind,
    /// Its name, and what else `metadata` holds.
    pub metadata: Metadata<'a>,
    /// As declared, in the form of the manifest with sizes in bytes; null if it is not declared.
    pub spec: Option<DeclaredView<'a>>,
    /// What is there.
    pub status: Status<'a>,
}

/// `metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// Unique per kind, but for what is in the trash.
    pub name: Cow<'a, Name>,
    /// As declared, else as tagged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Cow<'a, BTreeMap<String, String>>,
    /// As declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<Cow<'a, Name>>,
}

/// `status`. What does not apply or is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status<'a> {
    /// How the object stands to its spec.
    pub condition: Condition,
    /// Why, in one word.
    pub reason: SmolStr,
    /// Why, in one sentence.
    pub message: Cow<'a, str>,
    /// What to do about it.
    pub fix: Option<Cow<'a, str>>,
    /// Which incarnation.
    pub uid: Option<Uid>,
    /// Whose.
    pub owner: Cow<'a, Owner>,
    /// Where it is; where it would be, if it is not there.
    pub backend: Option<Cow<'a, Name>>,
    /// The native name.
    pub object: Option<Cow<'a, NativeName>>,
    /// In bytes, as a client sees it. Of a Backend: its capacity.
    pub size: Option<u64>,
    /// In bytes, what it takes up, where that is cheap to know.
    pub used: Option<u64>,
    /// `live` or `trash`.
    pub place: Option<Cow<'static, str>>,
    /// Whether it is protected, as tagged.
    pub protected: Option<bool>,
    /// What happens when its manifest goes, as tagged.
    pub on_remove: Option<OnRemove>,
    /// When it may be purged from the trash.
    pub expires: Option<Moment>,
    /// Who has it open, where that was looked at.
    pub clients: Option<Cow<'a, [String]>>,
    /// When what is said here was seen; null if it never was.
    pub observed_at: Option<Moment>,
    /// When the daemon tries again what failed, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Cow<'a, str>>,
    /// Of a Backend: where it points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Of a Backend: the identity of its pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Cow<'a, PoolId>>,
}

/// Whether objects of this kind have a status.
pub fn has_status(kind: Kind) -> bool {
    match kind {
        Kind::Volume | Kind::Snapshot | Kind::Export | Kind::Backend => true,
        Kind::Stack | Kind::Target | Kind::Approval => false,
    }
}

/// How an object stands to its spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// Every volume, snapshot and export that is declared, that is there under this owner (the trash included), or that was there
/// when its backend was last seen; sorted by kind, name and uid.
pub fn status<'a>(overview: &'a Overview, reading: &'a Reading) -> Vec<ObjectStatus<'a>> {
    let look = Look::new(overview, reading);
    let remembered = look.remembered();
    let last_seen: HashSet<(Kind, &Name)> = remembered.iter().map(|r| (r.identity.kind, &r.identity.name)).collect();
    let is_met = |kind, name| look.about(kind, name).meant.is_some() || last_seen.contains(&(kind, name));
    let mut all: Vec<ObjectStatus<'a>> = owned(overview, &reading.specs).map(|found| look.present(&found)).collect();
    all.extend(remembered.iter().map(|record| look.last_seen(record)));
    // What is declared and was not met above is not there yet, or is not known to be.
    let declared = look.declared().filter(|(kind, name, _)| !is_met(*kind, name));
    all.extend(declared.map(|(kind, name, backend)| look.absent(kind, name, backend)));
    // What is held and is none of these (lost, and no longer declared) is shown too: it waits for a person.
    let is_shown = |kind, name| Declared::find(&reading.specs, kind, name).is_some() || is_met(kind, name);
    let others = overview.plan.held.iter().filter(|held| !is_shown(held.kind, &held.name));
    all.extend(others.map(|held| look.absent(held.kind, &held.name, held.backend.as_ref())));
    all.sort_by(|a, b| (a.kind, &a.metadata.name, a.status.uid).cmp(&(b.kind, &b.metadata.name, b.status.uid)));
    all
}

/// Every declared backend, by name.
pub fn backend_status<'a>(overview: &'a Overview, reading: &'a Reading) -> Vec<ObjectStatus<'a>> {
    let look = Look::new(overview, reading);
    reading.specs.backends.values().map(|spec| look.backend(spec)).collect()
}

/// An object of ours, and the backend that showed it.
#[derive(Clone, Copy)]
struct Found<'a> {
    identity: &'a Identity,
    backend: &'a Name,
    object: &'a Object,
}

/// What every backend that could be seen shows of this owner's. What is half made is not an object yet.
fn owned<'a>(overview: &'a Overview, specs: &'a Specs) -> impl Iterator<Item = Found<'a>> {
    overview
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
    /// When what failed is tried again.
    retry: Option<&'a Retry>,
    /// Of several objects of the name the one that the spec is about.
    meant: Option<(&'a Name, &'a Object)>,
}

impl<'a> About<'a> {
    fn held(&self, uid: Option<Uid>) -> Option<&'a Held> {
        self.held.iter().find(|h| uid.is_none() || h.uid.is_none() || h.uid == uid).copied()
    }

    fn step(&self, uid: Option<Uid>) -> Option<&'a Step> {
        self.steps.iter().find(|step| uid.is_none_or(|uid| step.identity.uid == uid)).copied()
    }

    /// The last line of the journal, if that is a failure.
    fn last_failure(&self) -> Option<&'a JournalEntry> {
        self.last.filter(|entry| entry.outcome == JournalOutcome::Failed)
    }
}

struct Look<'a> {
    overview: &'a Overview,
    reading: &'a Reading,
    specs: &'a Specs,
    about: HashMap<(Kind, &'a Name), About<'a>>,
    /// About a name of which nothing is known.
    nothing: About<'a>,
}

impl<'a> Look<'a> {
    fn new(overview: &'a Overview, reading: &'a Reading) -> Self {
        let specs = &*reading.specs;
        let objects = overview.world.values().filter_map(seen).map(|observed| observed.objects.len()).sum();
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
        for retry in &overview.retries {
            about.entry((retry.kind, &retry.name)).or_default().retry = Some(retry);
        }
        // The spec is about what lives where it is declared, else about what lives elsewhere, else about what is in the trash.
        let rank = |name: &Name, kind: Kind, (backend, object): (&Name, &Object)| {
            let declared = specs.volumes.get(name).filter(|_| kind == Kind::Volume).map(|volume| &volume.backend);
            (object.place != Place::Live, declared.is_some_and(|declared| declared != backend))
        };
        for Found { identity: Identity { kind, name, .. }, backend, object } in owned(overview, specs) {
            let meant = &mut about.entry((*kind, name)).or_default().meant;
            let this = (backend, object);
            if meant.is_none_or(|other| rank(name, *kind, this) < rank(name, *kind, other)) {
                *meant = Some(this);
            }
        }
        Self { overview, reading, specs, about, nothing: About::default() }
    }

    fn about<'s>(&'s self, kind: Kind, name: &'s Name) -> &'s About<'a> {
        self.about.get(&(kind, name)).unwrap_or(&self.nothing)
    }

    /// Records of objects that were there, on backends that cannot be seen now (or cannot be seen whole), which do not show them.
    fn remembered(&self) -> Vec<&'a ObjectRecord> {
        let mut found: Vec<&'a ObjectRecord> = self
            .overview
            .records
            .objects
            .values()
            .filter(|record| record.identity.owner == self.specs.stack.owner && record.seen.is_some())
            .filter(|record| self.in_doubt(&record.backend, record.identity.kind))
            .collect();
        if !found.is_empty() {
            let shown: HashSet<Uid> = owned(self.overview, self.specs).map(|found| found.identity.uid).collect();
            found.retain(|record| !shown.contains(&record.identity.uid));
        }
        found
    }

    /// Whether what a backend does not show may be there all the same.
    fn in_doubt(&self, backend: &Name, kind: Kind) -> bool {
        self.is_unobserved(backend)
            || match self.overview.world.get(backend).and_then(seen) {
                Some(observed) => !observed.listed.proves_absence_of(kind),
                None => true,
            }
    }

    /// Everything that is declared, with the backend where it is declared.
    fn declared(&self) -> impl Iterator<Item = (Kind, &'a Name, Option<&'a Name>)> {
        let Specs { volumes, snapshots, exports, .. } = self.specs;
        let volumes_there = volumes.iter().map(|(name, v)| (Kind::Volume, name, Some(&v.backend)));
        let snapshots_there = snapshots
            .iter()
            .map(|(name, s)| (Kind::Snapshot, name, volumes.get(&s.volume).map(|volume| &volume.backend)));
        let exports_there = exports.keys().map(|name| (Kind::Export, name, None));
        volumes_there.chain(snapshots_there).chain(exports_there)
    }

    /// An object that is there. Of two under one name, the spec belongs to the one that lives where it is declared.
    fn present(&self, found: &Found<'a>) -> ObjectStatus<'a> {
        let Found { identity, backend, object } = *found;
        let (kind, name) = (identity.kind, &identity.name);
        let about = self.about(kind, name);
        let is_meant = about.meant.is_some_and(|(at, meant)| at == backend && std::ptr::eq(meant, object));
        let declared = Declared::find(self.specs, kind, name).filter(|_| is_meant);
        let verdict = Self::judge(about, object.uid(), Some(found), declared.is_some());
        let verdict = self.with_suspension(kind, name, verdict);
        self.build(kind, name, declared, verdict, Some(object), Some(backend), Some(self.overview.now))
    }

    /// An object that was there when its backend was last seen.
    fn last_seen(&self, record: &'a ObjectRecord) -> ObjectStatus<'a> {
        let (kind, name) = (record.identity.kind, &record.identity.name);
        let declared = Declared::find(self.specs, kind, name);
        let verdict = self.unknown(self.about(kind, name), Some(record.identity.uid), &record.backend);
        let object = record.seen.as_ref();
        self.build(kind, name, declared, verdict, object, Some(&record.backend), Some(record.seen_at))
    }

    /// What is declared, or held, and not there.
    fn absent(&self, kind: Kind, name: &'a Name, backend: Option<&'a Name>) -> ObjectStatus<'a> {
        let declared = Declared::find(self.specs, kind, name);
        let about = self.about(kind, name);
        let verdict = match backend {
            Some(backend) if self.is_unobserved(backend) => self.unknown(about, None, backend),
            _ => Self::judge(about, None, None, declared.is_some()),
        };
        let observed_at = backend.and_then(|b| self.overview.world.get(b)).and_then(seen).map(|_| self.overview.now);
        let mut built = self.build(kind, name, declared, verdict, None, backend, observed_at);
        let planned = about.step(None).map(|step| step.identity.uid);
        built.status.uid = planned.or_else(|| about.held(None)?.uid);
        built
    }

    /// Whether nothing is known of a backend now: it did not answer, or is not the one it was.
    fn is_unobserved(&self, backend: &Name) -> bool {
        matches!(self.overview.world.get(backend), Some(Observation::Failed { .. }))
            || self.overview.plan.unobserved.iter().any(|unobserved| unobserved.backend == *backend)
    }

    /// Of an object on a backend that does not show it: with the reason and the way out for which it is held, if it is.
    fn unknown(&self, about: &About<'a>, uid: Option<Uid>, backend: &Name) -> Verdict<'a> {
        match about.held(uid) {
            Some(held) => Verdict { condition: Condition::Unknown, ..Verdict::held(held) },
            None => self.unobserved(backend),
        }
    }

    fn unobserved(&self, backend: &Name) -> Verdict<'a> {
        let why = self.overview.plan.unobserved.iter().find(|u| u.backend == *backend).map(|u| u.message.as_str());
        let message = match self.overview.world.get(backend) {
            Some(Observation::Failed { why }) => format!("the backend {backend} could not be observed: {why}").into(),
            Some(Observation::Unsupported) => match self.reading.not_allowed(Kind::Backend, backend) {
                Some(barred) => Cow::Borrowed(barred.message.as_str()),
                None => format!("the driver of the backend {backend} is not built").into(),
            },
            Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) => {
                match (why, observed.gaps.first()) {
                    (Some(why), _) => Cow::Borrowed(why),
                    (None, Some(gap)) => format!("the backend {backend} did not show everything: {gap}").into(),
                    (None, None) => format!("the backend {backend} did not show everything").into(),
                }
            }
            None => format!("the backend {backend} is no longer declared, so Kiln does not observe it").into(),
        };
        Verdict::new(Condition::Unknown, "Unobserved", message)
    }

    /// The condition, from what is held, planned, drifted and failed.
    fn judge(about: &About<'a>, uid: Option<Uid>, found: Option<&Found<'_>>, declared: bool) -> Verdict<'a> {
        if let Some(held) = about.held(uid) {
            return Verdict::held(held);
        }
        let step = about.step(uid);
        if let (Some(step), Some(failed)) = (step, about.last_failure()) {
            let why = failed.message.as_deref().unwrap_or("no reason was given");
            let mut message = format!("{} failed at {}: {why}", step.action.verb(), rfc3339(failed.at));
            if let Some(Retry { failures, next_attempt_at, .. }) = about.retry {
                message.push_str(&format!("; failures in a row: {failures}; tried again at {next_attempt_at}"));
            }
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
        if let Some(drift) = about.drift.filter(|_| found.is_some()) {
            let message = format!("{} was {} and is {}", drift.path, drift.recorded, drift.observed);
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
                Verdict::new(Condition::Unknown, "Unobserved", "it was not seen, and nothing is planned for it")
            }
            None if declared => Verdict::new(Condition::Settled, "AsDeclared", "as declared"),
            None if found.is_some_and(|f| f.object.tags.retained) => {
                Verdict::new(Condition::Settled, "Retained", "released: it stays, and nothing is planned for it")
            }
            None => Verdict::new(Condition::Settled, "NotDeclared", "not declared, and nothing is planned for it"),
        }
    }

    /// That nothing would be done for an object is said of one that needs nothing, too.
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
        object: Option<&'a Object>,
        backend: Option<&'a Name>,
        observed_at: Option<u64>,
    ) -> ObjectStatus<'a> {
        static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
        let meta = declared.map(Declared::meta);
        let tags = object.map(|object| &object.tags);
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
                uid: object.and_then(Object::uid),
                owner: Cow::Borrowed(&self.specs.stack.owner),
                backend: backend.map(Cow::Borrowed),
                object: object.map(|object| Cow::Borrowed(&object.native)),
                size: object.map(|object| object.size.bytes()),
                used: object.and_then(|object| object.used),
                place: object.map(|object| match object.place {
                    Place::Trash => Cow::Borrowed("trash"),
                    Place::Live | Place::Temporary => Cow::Borrowed("live"),
                }),
                protected: tags.map(|tags| tags.protected),
                on_remove: tags.map(Tags::on_remove),
                expires: object
                    .filter(|object| object.place == Place::Trash)
                    .and_then(|object| object.tags.expires)
                    .map(Moment),
                clients: object.and_then(|object| match &object.clients {
                    Clients::Unknown => None,
                    Clients::None => Some(Cow::Borrowed(&[][..])),
                    Clients::Some(who) => Some(Cow::Borrowed(who.as_slice())),
                }),
                observed_at: observed_at.map(Moment),
                next_attempt_at: self.about(kind, name).retry.map(|retry| retry.next_attempt_at.as_str().into()),
                location: None,
                pool: None,
            },
        }
    }

    fn backend(&self, spec: &'a BackendSpec) -> ObjectStatus<'a> {
        let name = &spec.meta.name;
        let view = self.overview.world.get(name);
        let observed = view.and_then(seen);
        let record = self.overview.records.backends.get(name);
        let unobserved = self.overview.plan.unobserved.iter().find(|u| u.backend == *name);
        let verdict = match (view, unobserved) {
            (Some(Observation::Seen { .. } | Observation::LockedBy { .. }), Some(unobserved)) => {
                Verdict::new(Condition::Unknown, "PoolChanged", unobserved.message.as_str())
            }
            (Some(Observation::Seen { observed, .. }), None) if !observed.gaps.is_empty() => {
                Verdict::new(Condition::Unknown, "Unobserved", observed.gaps.join("; "))
            }
            (Some(Observation::Seen { observed, .. }), None) if observed.pool.is_none() => {
                Verdict::new(Condition::Progressing, "NotThere", "not used yet")
            }
            (Some(Observation::Seen { .. }), None) => Verdict::new(Condition::Settled, "Observed", "observed"),
            (Some(Observation::LockedBy { by, .. }), None) => Verdict::new(Condition::Held, "OtherWriter", by.as_str()),
            (Some(Observation::Unsupported), _) if let Some(held) = self.about(Kind::Backend, name).held(None) => {
                Verdict::held(held)
            }
            (Some(Observation::Unsupported), _) => {
                let driver = spec.config.driver();
                Verdict::new(Condition::Held, "Unsupported", format!("the driver {driver} is not built"))
            }
            (Some(Observation::Failed { .. }) | None, _) => self.unobserved(name),
        };
        let mut built = self.build(Kind::Backend, name, None, verdict, None, Some(name), None);
        built.metadata.labels = Cow::Borrowed(&spec.meta.labels);
        built.spec = Some(DeclaredView::Specs(Declared::Backend(spec)));
        let capacity: Option<Capacity> = observed.and_then(|o| o.capacity);
        let status = &mut built.status;
        status.size = capacity.map(|capacity| capacity.total);
        status.used = capacity.map(|capacity| capacity.used);
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

fn seen(view: &Observation) -> Option<&Observed> {
    match view {
        Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } => Some(observed),
        Observation::Failed { .. } | Observation::Unsupported => None,
    }
}

#[cfg(test)]
mod tests;
