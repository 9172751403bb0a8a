//! `world.yaml`: pools with their objects, from which ledgers and records follow unless the description says otherwise. It has no
//! uids: each is derived from names, as the planner does it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use kiln::model::{
    Absence, Action, Address, ApprovalItem, ApprovalSet, BackendRecord, Blocker, Capabilities, Capacity, Clients,
    Coverage, Identity, ImageFormat, ImageObservation, ImageRef, Images, IntentId, Kind, LastReading, Ledger,
    LedgerEntry, LedgerView, Listed, Name, NativeName, Object, ObjectRecord, Observed, OnRemove, OpenIntent, Owner,
    Place, PoolId, Provisioning, Qos, Reading, Reason, Records, Removal, Resource, Restoring, Scope, Size, Step,
    Suspension, Tags, Tombstone, Uid, VolumeSettings, Written,
};
use kiln::plan::{
    Inputs, Irreversible, Judged, Observation, RunningStep, World, answer_by_ledger, disown_copies, names_to_ask, plan,
};
use serde::Deserialize;
use smol_str::SmolStr;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Described {
    /// `--approve`.
    pub(crate) approve: Vec<String>,
    /// Whether steps that cannot be undone are held.
    pub(crate) hold: bool,
    /// Whether it is for an unattended run.
    unattended: bool,
    /// Whether the manifests were read once only.
    unconfirmed: bool,
    /// What the reading of the manifests covers; by default everything, with no facts that make a removal doubtful.
    reading: Coverage,
    /// What left within 24 hours and is not listed as an object.
    pub(crate) recent: Vec<Left>,
    /// What a person suspended.
    suspended: Vec<Suspended>,
    /// The objects whose planned steps were begun by an earlier pass and still run.
    running: Vec<String>,
    /// Whether the store is there.
    pub(crate) store: Option<bool>,
    /// What a look at images showed.
    images: Vec<Picture>,
    /// By Backend. One that is declared and not here is seen for the first time; one that is here and not declared is only
    /// remembered.
    pub(crate) backends: BTreeMap<Name, Pool>,
}

/// `volume: db`, `snapshot: s`, or neither: everything.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suspended {
    volume: Option<Name>,
    snapshot: Option<Name>,
    because: String,
    until: Option<u64>,
}

impl Suspended {
    fn in_force(&self, owner: &Owner) -> Suspension {
        let Self { volume, snapshot, because: reason, until } = self.clone();
        let object =
            volume.map(|name| (Kind::Volume, name)).or_else(|| Some((Kind::Snapshot, snapshot?))).map(Into::into);
        Suspension { id: None, owner: owner.clone(), object, reason, since: 0, until, resumed: None }
    }
}

/// An image: with a size it is good, with `why` refused, with neither not there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Picture {
    path: PathBuf,
    format: ImageFormat,
    sha256: Option<String>,
    size: Option<String>,
    /// What a copy takes; by default nothing.
    used: Option<String>,
    why: Option<String>,
}

impl Picture {
    fn seen(&self) -> (ImageRef, ImageObservation) {
        let Self { path, format, sha256, size, used, why } = self.clone();
        let used = used.map_or(0, |used| used.parse::<Size>().unwrap().bytes());
        let look = match (size, why) {
            (Some(size), _) => ImageObservation::Good { size: size.parse().unwrap(), used, device: None },
            (None, Some(why)) => ImageObservation::Refused { why },
            (None, None) => ImageObservation::Missing,
        };
        (ImageRef { path, format, sha256 }, look)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Left {
    volume: Name,
    on: Name,
    size: String,
    #[serde(default)]
    approved: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Pool {
    /// The pool's identity; by default the Backend's name.
    pool: Option<String>,
    /// Its mark is gone.
    unmarked: bool,
    pub(crate) objects: Vec<Thing>,
    /// `good` (default), `none`, `damaged`, `unreadable`; `older`: an empty one, before the one that the store knows; `rolled-back`:
    /// the pool has one from before the one that the store knows.
    ledger: Option<String>,
    /// The pool and the Stack that the ledger was written for, where they are not this one.
    ledger_pool: Option<String>,
    stack: Option<String>,
    next: BTreeMap<String, u32>,
    approvals: Vec<Approval>,
    spent: BTreeSet<String>,
    /// The last whole reading that the ledger knows.
    last_reading: Option<LastReading>,
    /// Lists that were cut short: volumes, snapshots, trash.
    cut: Vec<String>,
    /// It answers for no name.
    silent: bool,
    capacity: Option<Room>,
    /// What it can run out of beside.
    capacities: Vec<Capacity>,
    /// Capabilities other than the simulator's.
    can: BTreeMap<String, serde_json::Value>,
    /// Why it does not answer.
    away: Option<String>,
    /// Who else is writing.
    taken: Option<String>,
    /// What the store remembers of the Backend, where it is not what is there.
    remembered: Option<Remembered>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    digest: String,
    /// `volume/NAME VERB`.
    set: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Room {
    total: String,
    used: String,
    /// How many more objects can be made.
    objects: Option<u64>,
}

impl Room {
    fn capacities(&self) -> impl Iterator<Item = Capacity> {
        let bytes = |size: &str| size.parse::<Size>().unwrap().bytes();
        let inodes = self.objects.map(|total| Capacity { resource: Resource::Inodes, total, used: 0, per_object: 1 });
        [Some(Capacity::data(bytes(&self.total), bytes(&self.used))), inodes].into_iter().flatten()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Remembered {
    pool: Option<String>,
    owner: Option<Owner>,
    no_ledger: bool,
    nothing: bool,
}

/// An object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Thing {
    volume: Option<Name>,
    snapshot: Option<Name>,
    /// Of a snapshot: its volume.
    of: Option<Name>,
    /// Without owner, under this native name. With `of`, it is a snapshot of that volume, which may have none either.
    foreign: Option<String>,
    size: Option<String>,
    /// What it takes up on the pool.
    used: Option<String>,
    trash: bool,
    half: bool,
    labels: BTreeMap<String, String>,
    protected: bool,
    on_remove: Option<OnRemove>,
    provisioning: Option<Provisioning>,
    /// What the backend shows of its provisioning.
    shown: Option<Provisioning>,
    qos: Option<Qos>,
    encrypted: bool,
    retained: bool,
    adopted: bool,
    restored: Option<String>,
    /// Its restore was interrupted.
    restoring: Option<Begun>,
    native: Option<String>,
    n: u32,
    owner: Option<Owner>,
    /// The name and the Backend that its uid was derived from.
    born: Option<Name>,
    born_on: Option<Name>,
    conflict: Option<String>,
    blocker: Option<Blocker>,
    /// Its rename was interrupted.
    unfinished: bool,
    clients: Option<Vec<String>>,
    /// The format of the image that it holds.
    image: Option<String>,
    /// Whether it holds data; left out, only a listing was made.
    written: Option<bool>,
    /// The snapshot that this clone goes on needing.
    clone_of: Option<Name>,
    /// What needs it elsewhere.
    needed_by: Vec<String>,
    /// No list shows it. A backend that proves absence by name answers for it; where the ledger proves absence, the driver has no record of it.
    unlisted: bool,
    /// The ledger knows only that a run was about to make it; that a run was about to destroy it.
    creating: bool,
    destroying: bool,
    /// The store has an open intent of its creation.
    begun: bool,
    /// What knows of it: the pool, the ledger, the store.
    gone: bool,
    no_ledger: bool,
    no_store: bool,
    /// It went to the trash, and neither the ledger nor the store knows of that.
    unannounced: bool,
    /// The ledger knows that it is leaving; that it is gone for good.
    leaving: bool,
    buried: bool,
    /// It was accepted as smaller than it was when this size was declared.
    accepted: Option<String>,
    /// The ledger says that it is a copy of an object on another pool, and does not list it.
    copy: bool,
    /// It left within 24 hours.
    recent: bool,
    approved: bool,
    /// The ledger and the store know it as it was then.
    was: Was,
    /// The file that declared it, by the ledger.
    declared_in: Option<SmolStr>,
    /// Only the store does: the ledger was written by another machine since.
    newer: bool,
}

/// A restore that was begun.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    request: String,
    snapshot: Option<Name>,
    size: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Was {
    name: Option<Name>,
    size: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    protected: Option<bool>,
    settings: Option<VolumeSettings>,
}

/// Everything that the planner looks at.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) reading: Reading,
    pub(crate) world: World,
    pub(crate) records: Records,
    pub(crate) recent: Vec<Removal>,
    pub(crate) suspended: Vec<Suspension>,
    pub(crate) running: Vec<RunningStep>,
    pub(crate) approved: Vec<String>,
    pub(crate) images: Images,
    pub(crate) irreversible: Irreversible,
    /// The open intents of the store.
    pub(crate) begun: Vec<OpenIntent>,
    /// The objects of backends that answer for names.
    pub(crate) by_name: BTreeMap<Name, Vec<Object>>,
    /// What every uid that can occur stands for.
    pub(crate) uids: BTreeMap<Uid, (Kind, Name, u32)>,
}

impl Scene {
    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            recent: &self.recent,
            suspended: &self.suspended,
            running: &self.running,
            approved: &self.approved,
            images: &self.images,
            irreversible: self.irreversible,
            ..Inputs::new(&self.reading, &self.world, &self.records)
        }
    }
}

fn size(text: &Option<String>) -> Size {
    text.as_deref().unwrap_or("1Gi").parse().unwrap()
}

impl Described {
    /// The scene of this reading in this world.
    pub(crate) fn scene(&self, reading: Reading) -> Scene {
        let mut scene = Scene {
            world: World::new(),
            records: Records::default(),
            recent: Vec::new(),
            suspended: self.suspended.iter().map(|one| one.in_force(&reading.specs.stack.owner)).collect(),
            running: Vec::new(),
            approved: self.approve.clone(),
            images: self.images.iter().map(Picture::seen).collect(),
            irreversible: match (self.hold, self.unattended) {
                (true, _) => Irreversible::Hold,
                (false, true) => Irreversible::HoldRestores,
                (false, false) => Irreversible::List,
            },
            begun: Vec::new(),
            by_name: BTreeMap::new(),
            uids: BTreeMap::new(),
            reading,
        };
        scene.reading.unconfirmed = self.unconfirmed;
        scene.reading.coverage = self.reading.clone();
        for left in &self.recent {
            let stack = &scene.reading.specs.stack;
            let uid = Uid::derive(&stack.id, &stack.owner, Kind::Volume, &left.on, &left.volume, 0);
            let size = left.size.parse().unwrap();
            scene.recent.push(Removal { uid, kind: Kind::Volume, size, at: 0, approved: left.approved });
        }
        for (name, spec) in &scene.reading.specs.backends {
            let view = match (spec.config.is_implemented(), spec.via.is_empty()) {
                (false, _) | (_, false) => Observation::Unsupported,
                _ => Observation::Seen { capabilities: Capabilities::everything(), observed: empty() },
            };
            scene.world.insert(name.clone(), view);
        }
        for (name, pool) in &self.backends {
            pool.add_to(&mut scene, name);
        }
        if self.store == Some(false) {
            scene.records = Records::default();
        }
        scene.ask_for_names();
        scene.name_uids(self.backends.keys());
        let judged = Judged::of(&scene.reading, &scene.world, &scene.records);
        disown_copies(&judged, &scene.reading, &mut scene.world, &scene.records);
        let planned = plan(&scene.inputs()).steps.into_iter();
        let begun = planned.filter(|step| self.running.contains(&step.identity.id().to_string()));
        scene.running = begun.map(|step| RunningStep { step, since: 0, done: 0, total: 0 }).collect();
        assert_eq!(scene.running.len(), self.running.len(), "not every running object has one step");
        scene
    }
}

fn empty() -> Observed {
    Observed {
        pool: None,
        listed: Listed::COMPLETE,
        queried: BTreeSet::new(),
        gaps: Vec::new(),
        objects: Vec::new(),
        ledger: None,
        owners: BTreeSet::new(),
        others: BTreeMap::new(),
        capacities: Vec::new(),
        locked: Vec::new(),
        writers: BTreeMap::new(),
    }
}

impl Scene {
    /// Answers for the names that matter, as far as a backend does.
    pub(crate) fn ask_for_names(&mut self) {
        loop {
            answer_by_ledger(&self.reading, &mut self.world, &self.records, &self.begun);
            let mut wanted = names_to_ask(&self.reading, &self.world, &self.records, &[]);
            wanted.retain(|name, _| self.by_name.contains_key(name));
            if wanted.is_empty() {
                return;
            }
            for (name, asked) in wanted {
                let objects = self.by_name[&name].iter().filter(|object| asked.contains(&object.address())).cloned();
                let answers = Observed { objects: objects.collect(), ..Observed::nothing_in(&Scope::Objects(asked)) };
                match self.world.get_mut(&name) {
                    Some(Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) => {
                        observed.add(answers);
                    }
                    other => panic!("it has names to ask for: {other:?}"),
                }
            }
        }
    }

    fn name_uids<'n>(&mut self, more: impl Iterator<Item = &'n Name>) {
        let specs = &self.reading.specs;
        let mut names: BTreeSet<Name> = specs.volumes.keys().chain(specs.snapshots.keys()).cloned().collect();
        let backends: BTreeSet<Name> = specs.backends.keys().cloned().chain(more.cloned()).collect();
        for view in self.world.values() {
            if let Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } = view {
                names.extend(observed.objects.iter().filter_map(|o| Some(o.identity.as_ref()?.name.clone())));
            }
        }
        for ((backend, name), n) in backends
            .iter()
            .flat_map(|b| names.iter().map(move |name| (b, name)))
            .flat_map(|pair| (0..4).map(move |n| (pair, n)))
        {
            for kind in [Kind::Volume, Kind::Snapshot] {
                let uid = Uid::derive(&specs.stack.id, &specs.stack.owner, kind, backend, name, n);
                self.uids.insert(uid, (kind, name.clone(), n));
            }
        }
    }
}

impl Pool {
    fn add_to(&self, scene: &mut Scene, backend: &Name) {
        let stack = scene.reading.specs.stack.clone();
        let pool = PoolId(self.pool.clone().unwrap_or_else(|| backend.to_string()));
        let mut ledger = Ledger::new(
            PoolId(self.ledger_pool.clone().unwrap_or_else(|| pool.0.clone())),
            stack.owner.clone(),
            self.stack.clone().unwrap_or_else(|| stack.id.clone()),
        );
        ledger.next = self.next.clone();
        ledger.spent = self.spent.clone();
        let mut objects = Vec::new();
        for thing in &self.objects {
            let object = self.object(thing, &stack.id, &stack.owner, backend);
            if let Some(identity) = object.identity.clone().filter(|id| id.owner == stack.owner && !thing.half) {
                thing.enter(&object, &identity, &mut ledger);
                if thing.begun {
                    let (size, settings) = (object.size, VolumeSettings::default());
                    let (provisioning, tags) = (Provisioning::Thin, Tags::default());
                    let action = Action::Create { size, provisioning, origin: None, tags, settings, n: thing.n };
                    let step = Step::new(backend.clone(), identity.clone(), action, Reason::NotThere);
                    let step = Step { native: object.native.clone(), ..step };
                    scene.begun.push(OpenIntent { id: IntentId(scene.begun.len() as u64), step, at: 0 });
                }
                if !(thing.no_store || thing.copy || thing.creating || thing.begun) {
                    scene.records.objects.insert(identity.uid, thing.record(&object, identity, backend));
                }
            }
            if !thing.gone {
                objects.push(object);
            }
        }
        ledger.reading = self.last_reading.clone();
        for approval in &self.approvals {
            let set = approval.set.iter().map(|item| self.item(item, &objects)).collect();
            ledger.approvals.push(ApprovalSet { digest: approval.digest.clone(), set });
        }
        scene.recent.extend(ledger.removals.clone());
        objects.sort_by_key(|object| (object.address(), object.place));
        let absence = self.capabilities().absence;
        if absence != Absence::ByList {
            let unlisted = |object: &Object| {
                self.objects.iter().any(|thing| {
                    thing.unlisted && self.object(thing, &stack.id, &stack.owner, backend).is_at(&object.address())
                })
            };
            let listed = objects.iter().filter(|object| !unlisted(object)).cloned().collect();
            let all = std::mem::replace(&mut objects, listed);
            if absence == Absence::ByName && !self.silent {
                scene.by_name.insert(backend.clone(), all);
            }
        }
        let word = self.ledger.as_deref().unwrap_or("good");
        let view = match word {
            "good" => Some(LedgerView::Good(Arc::new(ledger.clone()))),
            "damaged" => Some(LedgerView::Damaged("neither checksum is right".to_owned())),
            "unreadable" => Some(LedgerView::Unreadable("prod.ledger cannot be read: Permission denied".to_owned())),
            "older" => {
                let empty = Ledger::new(ledger.pool.clone(), ledger.owner.clone(), ledger.stack.clone());
                ledger.serial = 2;
                Some(LedgerView::Older(Arc::new(Ledger { serial: 1, ..empty }), "prod.ledger is damaged".to_owned()))
            }
            "rolled-back" => {
                let view = LedgerView::Good(Arc::new(ledger.clone()));
                ledger.serial = 9;
                Some(view)
            }
            "none" => None,
            other => panic!("ledger: {other}"),
        };
        let observed = Observed {
            pool: (!self.unmarked).then(|| pool.clone()),
            listed: if absence != Absence::ByList {
                Listed::NONE
            } else {
                Listed {
                    volumes: !self.cut.contains(&"volumes".to_owned()),
                    snapshots: !self.cut.contains(&"snapshots".to_owned()),
                    trash: !self.cut.contains(&"trash".to_owned()),
                }
            },
            queried: BTreeSet::new(),
            gaps: self.cut.iter().map(|what| format!("the list of {what} was cut short")).collect(),
            objects,
            owners: view.iter().map(|_| stack.owner.clone()).collect(),
            ledger: view,
            others: BTreeMap::new(),
            capacities: self
                .capacity
                .iter()
                .flat_map(Room::capacities)
                .chain(self.capacities.iter().copied())
                .collect(),
            locked: Vec::new(),
            writers: BTreeMap::new(),
        };
        self.remember(scene, backend, pool, ledger);
        let Some(spec) = scene.reading.specs.backends.get(backend) else { return };
        if !spec.config.is_implemented() || !spec.via.is_empty() {
            return;
        }
        let capabilities = self.capabilities();
        let view = match (&self.away, &self.taken) {
            (Some(why), _) => Observation::Failed { why: why.clone(), fix: None },
            (None, Some(by)) => Observation::LockedBy { by: by.clone(), capabilities, observed },
            (None, None) => Observation::Seen { capabilities, observed },
        };
        scene.world.insert(backend.clone(), view);
    }

    fn remember(&self, scene: &mut Scene, backend: &Name, pool: PoolId, ledger: Ledger) {
        let remembered = self.remembered.clone().unwrap_or_default();
        if remembered.nothing {
            return;
        }
        let place =
            scene.reading.specs.backends.get(backend).map_or_else(|| "memory".to_owned(), |spec| spec.config.place());
        let record = BackendRecord {
            place,
            pool: remembered.pool.map_or(pool, PoolId),
            owner: remembered.owner.unwrap_or_else(|| scene.reading.specs.stack.owner.clone()),
            observed_at: 0,
            ledger: (!remembered.no_ledger).then_some(ledger),
        };
        scene.records.backends.insert(backend.clone(), record);
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = serde_json::to_value(Capabilities::everything()).unwrap();
        for (name, can) in &self.can {
            replace(&mut all, name, can);
        }
        serde_json::from_value(all).unwrap()
    }

    /// `volume/NAME VERB` with the uid of the object.
    fn item(&self, item: &str, objects: &[Object]) -> ApprovalItem {
        let (object, rest) = item.split_once(' ').unwrap();
        let (_, name) = object.split_once('/').unwrap();
        let uid = objects.iter().find_map(|o| (o.identity.as_ref()?.name.as_str() == name).then(|| o.uid())?);
        let text = format!("{} {rest}", uid.unwrap_or_else(|| panic!("{object} is not listed")));
        serde_json::from_value(text.into()).unwrap()
    }

    fn object(&self, thing: &Thing, stack: &str, ours: &Owner, backend: &Name) -> Object {
        let owner = thing.owner.clone().unwrap_or_else(|| ours.clone());
        let uid_of = |thing: &Thing| {
            let (kind, name) = thing.key()?;
            let stack = if owner == *ours { stack } else { "another-stack" };
            let (born, on) = (thing.born.as_ref().unwrap_or(name), thing.born_on.as_ref().unwrap_or(backend));
            Some(Uid::derive(stack, &owner, kind, on, born, thing.n))
        };
        let named = |kind: Kind, name: &Name| {
            let there = self.objects.iter().find(|other| other.key() == Some((kind, name))).and_then(uid_of);
            there.unwrap_or_else(|| Uid::derive(stack, &owner, kind, backend, name, 0))
        };
        let identity = thing.key().map(|(kind, name)| Identity {
            owner: owner.clone(),
            kind,
            name: name.clone(),
            uid: uid_of(thing).unwrap(),
        });
        let own_name = thing.native.is_some();
        let native = match (&thing.foreign, &thing.native, &identity) {
            // It gets its own name when it is whole.
            (None, _, Some(id)) if thing.half => id.temporary(),
            (Some(native), ..) | (None, Some(native), _) => NativeName::new(native),
            (None, None, Some(id)) => id.native(),
            _ => panic!("an object is a volume, a snapshot or foreign"),
        };
        let place = if thing.half {
            Place::Temporary
        } else if thing.trash {
            Place::Trash
        } else {
            Place::Live
        };
        let nested = self.capabilities().nests_snapshots();
        let of = thing.of.as_ref().filter(|_| thing.volume.is_none() && !thing.half);
        let volume = of.map(|volume| {
            let is_it = |other: &&Thing| {
                other.volume.as_ref() == Some(volume) || other.foreign.as_deref() == Some(volume.as_str())
            };
            let other = self.objects.iter().find(is_it);
            let own = other.and_then(|other| other.foreign.clone().or_else(|| other.native.clone()));
            let id = || Identity {
                owner: owner.clone(),
                kind: Kind::Volume,
                name: volume.clone(),
                uid: named(Kind::Volume, volume),
            };
            own.map_or_else(|| id().native(), NativeName::new)
        });
        Object {
            unowned_kind: if thing.foreign.is_some() && of.is_some() { Kind::Snapshot } else { Kind::Volume },
            parent_volume: volume.clone().filter(|_| nested),
            of_volume: volume.filter(|_| !nested && thing.foreign.is_some()).map(Box::new),
            id: Some(format!("id-{native}").into()),
            needed_by: thing.needed_by.clone(),
            settings: VolumeSettings { qos: thing.qos.clone().map(Box::new), encrypted: thing.encrypted },
            provisioning: thing.shown,
            used: thing.used.as_ref().map(|used| used.parse::<Size>().unwrap().bytes()),
            tags: Tags {
                labels: thing.labels.clone(),
                protected: thing.protected,
                on_remove: thing.on_remove,
                provisioning: thing.provisioning,
                retained: thing.retained,
                expires: thing.trash.then_some(604_800),
                identity: identity.clone().filter(|_| own_name).map(Box::new),
                adopted: thing.adopted,
                volume: of.filter(|_| thing.foreign.is_none()).map(|volume| named(Kind::Volume, volume)),
                restored: thing.restored.clone(),
                restoring: thing.restoring.as_ref().map(|begun| {
                    let snapshot = begun.snapshot.as_ref().map(|snapshot| named(Kind::Snapshot, snapshot));
                    Box::new(Restoring {
                        request: begun.request.clone(),
                        snapshot,
                        size: begun.size.as_ref().map(|size| size.parse().unwrap()),
                    })
                }),
            }
            .into(),
            identity,
            conflict: thing.conflict.clone(),
            blocker: thing.blocker.clone().map(Box::new),
            unfinished: thing.unfinished,
            parent: thing.clone_of.as_ref().map(|snapshot| named(Kind::Snapshot, snapshot)),
            clients: match &thing.clients {
                None => Clients::Unknown,
                Some(none) if none.is_empty() => Clients::None,
                Some(some) => Clients::Some(some.clone()),
            },
            image: thing.image.clone(),
            written: match thing.written {
                None => Written::Unknown,
                Some(false) => Written::Never,
                Some(true) => Written::Yes,
            },
            ..Object::new(native, place, size(&thing.size))
        }
    }
}

impl Thing {
    fn key(&self) -> Option<(Kind, &Name)> {
        let volume = self.volume.as_ref().map(|name| (Kind::Volume, name));
        volume.or_else(|| self.snapshot.as_ref().map(|name| (Kind::Snapshot, name)))
    }

    fn enter(&self, object: &Object, identity: &Identity, ledger: &mut Ledger) {
        let was = self.was.name.clone().filter(|_| !self.newer);
        let name = was.clone().unwrap_or_else(|| identity.name.clone());
        let uid = identity.uid;
        if self.recent {
            let (kind, size, approved) = (identity.kind, object.size, self.approved);
            ledger.removals.push(Removal { uid, kind, size, at: 0, approved });
        }
        if self.copy {
            ledger.copies.insert(uid);
        } else if self.buried {
            let next = ledger.next.entry(Ledger::next_key(identity.kind, &name)).or_default();
            *next = (*next).max(self.n + 1);
            ledger.tombstones.insert(uid, Tombstone { kind: identity.kind, name, at: 0 });
        } else if self.creating {
            ledger.creating.insert(uid, identity.ledger_entry(self.n, object.address(), object.size));
        } else if !self.no_ledger {
            let known = Identity { name: name.clone(), ..identity.clone() };
            let native = if was.is_some() { known.native() } else { object.native.clone() };
            let declared_in = self.declared_in.clone();
            let accepted = self.accepted.as_ref().map(|text| text.parse().unwrap());
            let entry = known.ledger_entry(self.n, Address { native, ..object.address() }, object.size);
            ledger.complete.insert(uid, LedgerEntry { declared_in, accepted, ..entry });
            if self.destroying {
                ledger.destroying.insert(uid);
            }
            if self.leaving || (self.trash && !self.unannounced) {
                ledger.leaving.insert(uid);
            }
        }
    }

    fn record(&self, object: &Object, identity: Identity, backend: &Name) -> ObjectRecord {
        let identity = Identity { name: self.was.name.clone().unwrap_or(identity.name), ..identity };
        let native = if self.was.name.is_some() { identity.native() } else { object.native.clone() };
        let tags = Tags {
            labels: self.was.labels.clone().unwrap_or_else(|| object.tags.labels.clone()),
            protected: self.was.protected.unwrap_or(object.tags.protected),
            ..object.tags.lasting()
        };
        let size = self.was.size.as_ref().map_or(object.size, |text| text.parse().unwrap());
        let place = if self.unannounced { Place::Live } else { object.place };
        let seen = (!self.buried).then(|| Object { place, ..object.clone() });
        let settings = self.was.settings.clone().unwrap_or_else(|| object.settings.clone());
        ObjectRecord::new(identity, backend.clone(), (native, size, tags, settings), seen.as_ref(), 0)
    }
}

/// Replaces a capability; of one with parts, the parts that are given.
fn replace(all: &mut serde_json::Value, name: &str, with: &serde_json::Value) {
    let slot = all.get_mut(name).unwrap_or_else(|| panic!("no capability is called {name}"));
    match with.as_object().filter(|_| slot.is_object()) {
        Some(parts) => parts.iter().for_each(|(name, with)| replace(slot, name, with)),
        None => *slot = with.clone(),
    }
}
