//! What claims are written with.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln::driver::{Driver, StepContext};
use kiln::model::{
    Absence, Action, Address, Capabilities, ClientVisibility, Clients, DriverError, Effect, ErrorKind, Identity, Kind,
    Listed, NativeName, Object, ObjectRef, Observed, Origin, Outcome, Owner, Place, PoolId, Provisioning, Reason,
    Scope, Seconds, Size, Step, Tags, Uid, VolumeSettings, Written,
};

use super::Bench;

pub(crate) type Answer = Result<Outcome, DriverError>;

/// The clock of every step.
pub(crate) const NOW: u64 = 1_800_000_000;
/// How long trashed objects stay.
pub(crate) const TTL: Seconds = Seconds(3600);

/// A bench whose pool was founded, with a driver on it.
pub(crate) struct Kit<'a> {
    pub(crate) bench: &'a dyn Bench,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) pool: PoolId,
    pub(crate) owner: Owner,
    /// The usual size: a multiple of the granularity, at least 1 MiB.
    pub(crate) size: Size,
    /// Where snapshots are inside of volumes: the native name of the volume of each, by uid and by native name.
    pub(crate) volumes: RefCell<(BTreeMap<Uid, NativeName>, BTreeMap<NativeName, NativeName>)>,
}

impl<'a> Kit<'a> {
    pub(crate) async fn new(bench: &'a dyn Bench) -> Self {
        let driver = bench.driver();
        let pool = driver.metadata().init_pool().await.unwrap();
        let size = Size(1 << 20).round_up(driver.capabilities().granularity);
        // A driver made now sees the pool as it will be used.
        Self { bench, driver: bench.driver(), pool, owner: "prod".parse().unwrap(), size, volumes: RefCell::default() }
    }

    pub(crate) fn can(&self) -> &Capabilities {
        self.driver.capabilities()
    }

    /// Says that a claim does not apply to this driver, and why. The claim ends then.
    pub(crate) fn does_not_apply(&self, why: &str) {
        super::DOES_NOT_APPLY.set(Some(why.to_owned()));
    }

    /// Whether the backend shows objects that it did not make through a driver.
    pub(crate) fn shows_foreign(&self) -> bool {
        self.can().absence != Absence::ByLedger
    }

    /// Whether the backend sees that the bench has an object open.
    pub(crate) fn sees_clients(&self) -> bool {
        self.can().client_visibility != ClientVisibility::None
    }

    /// Checks that a step is refused while the object is open, if the backend sees that it is.
    pub(crate) async fn busy_while_open(&self, bench: &dyn Bench, identity: &Identity, action: Action) {
        let open = bench.hold_open(&identity.native());
        if self.sees_clients() {
            self.refused(&self.step(identity, action), &[ErrorKind::Busy]).await;
        }
        drop(open);
    }

    pub(crate) fn double(&self) -> Size {
        Size(self.size.bytes() * 2)
    }

    pub(crate) fn identity(&self, kind: Kind, name: &str) -> Identity {
        self.incarnation(kind, name, 0)
    }

    pub(crate) fn incarnation(&self, kind: Kind, name: &str, n: u32) -> Identity {
        let name = name.parse().unwrap();
        let uid = Uid::derive("conformance", &self.owner, kind, &"bench".parse().unwrap(), &name, n);
        Identity { owner: self.owner.clone(), kind, name, uid }
    }

    /// A step that expects nothing.
    pub(crate) fn step(&self, identity: &Identity, action: Action) -> Step {
        let mut step =
            Step::new("bench".parse::<kiln::model::Name>().unwrap(), identity.clone(), action, Reason::NotThere);
        if self.can().nests_snapshots() && identity.kind == Kind::Snapshot {
            let (by_uid, by_native) = &mut *self.volumes.borrow_mut();
            if let Action::Snapshot { volume, .. } = &step.action {
                by_uid.insert(identity.uid, volume.native.clone());
            }
            // Of one that was never made any volume will do.
            let nowhere = NativeName::new("nowhere");
            step.parent_volume = Some(by_uid.get(&identity.uid).cloned().unwrap_or(nowhere));
            by_native.insert(step.native.clone(), step.parent_volume.clone().unwrap());
        }
        step
    }

    pub(crate) async fn run(&self, step: &Step) -> Answer {
        let answer = self.driver.execute(step, &StepContext::at(NOW)).await;
        if let (Action::Rename { from, .. }, Ok(Outcome::Changed)) = (&step.action, &answer) {
            let (by_uid, by_native) = &mut *self.volumes.borrow_mut();
            let volumes = by_uid.values_mut().chain(by_native.values_mut());
            volumes.filter(|volume| **volume == *from).for_each(|volume| *volume = step.native.clone());
        }
        answer
    }

    pub(crate) async fn act(&self, identity: &Identity, action: Action) -> Answer {
        self.run(&self.step(identity, action)).await
    }

    /// Makes something a second time, which changes nothing where calls can be repeated.
    pub(crate) async fn again(&self, step: &Step) {
        if self.can().repeatable {
            assert_eq!(self.run(step).await, Ok(Outcome::Unchanged));
        }
    }

    pub(crate) fn create_action(&self, size: Size, origin: Option<Origin>) -> Action {
        let provisioning = if self.can().thin { Provisioning::Thin } else { Provisioning::Thick };
        Action::Create { size, provisioning, origin, tags: Tags::default(), settings: VolumeSettings::default(), n: 0 }
    }

    pub(crate) fn snapshot_action(&self, volume: &ObjectRef) -> Action {
        let tags = Tags { volume: Some(volume.uid), ..Tags::default() };
        Action::Snapshot { volume: volume.clone(), tags, n: 0 }
    }

    /// Makes an empty volume of the usual size.
    pub(crate) async fn volume(&self, name: &str) -> (Identity, ObjectRef) {
        let identity = self.identity(Kind::Volume, name);
        assert_eq!(self.act(&identity, self.create_action(self.size, None)).await, Ok(Outcome::Changed), "{name}");
        let object = self.reference(&identity, self.size);
        (identity, object)
    }

    /// Makes a snapshot. Where there are none, sees that it is refused, and returns what it would have been.
    pub(crate) async fn snapshot(&self, name: &str, volume: &ObjectRef) -> (Identity, ObjectRef) {
        let identity = self.identity(Kind::Snapshot, name);
        self.done_if(self.can().snapshots.is_some(), &identity, self.snapshot_action(volume)).await;
        let object = self.reference(&identity, volume.size);
        (identity, object)
    }

    /// Makes a clone. Where there are none, sees that it is refused, and returns false.
    pub(crate) async fn clone_from(&self, origin: Origin, identity: &Identity, size: Size) -> bool {
        let can = self.can().clones.as_ref().is_some_and(|can| can.of_volume || matches!(origin, Origin::Snapshot(_)));
        self.done_if(can, identity, self.create_action(size, Some(origin))).await
    }

    /// Moves an object to the trash. Where the trash does not take it, sees that this is refused, and returns false.
    pub(crate) async fn trash(&self, identity: &Identity) -> bool {
        self.done_if(self.can().trash.takes(identity.kind), identity, Action::Trash { ttl: TTL, with: Vec::new() })
            .await
    }

    /// Moves an object to the trash, or destroys it where the trash does not take it. Returns where it is then.
    pub(crate) async fn remove(&self, identity: &Identity) -> Option<Place> {
        if self.trash(identity).await {
            return Some(Place::Trash);
        }
        assert_eq!(self.act(identity, Action::Destroy).await, Ok(Outcome::Changed));
        None
    }

    /// The action that removes an object here.
    pub(crate) fn removal(&self, kind: Kind) -> Action {
        if self.can().trash.takes(kind) { Action::Trash { ttl: TTL, with: Vec::new() } } else { Action::Destroy }
    }

    /// Executes what the driver can do; of what it cannot do, sees that it is refused. Returns which.
    async fn done_if(&self, can: bool, identity: &Identity, action: Action) -> bool {
        let step = self.step(identity, action);
        if can {
            assert_eq!(self.run(&step).await, Ok(Outcome::Changed), "{:?} on {}", step.action, step.native);
        } else {
            self.refused(&step, &[ErrorKind::Unsupported]).await;
        }
        can
    }

    /// [`Kit::with_history`], for a claim that does not apply without snapshots.
    pub(crate) async fn with_snapshot(&self) -> Option<(Identity, ObjectRef, Identity, ObjectRef)> {
        let history = self.with_history().await;
        if self.can().snapshots.is_none() {
            self.does_not_apply("it has no snapshots");
            return None;
        }
        Some(history)
    }

    /// A volume with two stamps, a snapshot of it, and then other stamps in the volume. Where there are no snapshots, it is seen that
    /// this one is refused, and it does not exist.
    pub(crate) async fn with_history(&self) -> (Identity, ObjectRef, Identity, ObjectRef) {
        let (volume, object) = self.volume("db").await;
        self.write(&volume, 0, 11);
        self.write(&volume, 7, 17);
        let (snapshot, frozen) = self.snapshot("monday", &object).await;
        self.write(&volume, 0, 21);
        self.write(&volume, 3, 23);
        (volume, object, snapshot, frozen)
    }

    pub(crate) fn reference(&self, identity: &Identity, size: Size) -> ObjectRef {
        let parent_volume = self.address(&identity.native()).parent_volume;
        ObjectRef { parent_volume, ..ObjectRef::new(identity.native(), identity.uid, size) }
    }

    /// Where an object of this name is.
    pub(crate) fn address(&self, native: &NativeName) -> Address {
        Address { native: native.clone(), parent_volume: self.volumes.borrow().1.get(native).cloned() }
    }

    pub(crate) fn write(&self, identity: &Identity, block: u64, stamp: u64) {
        self.bench.write(&identity.native(), block, stamp);
    }

    pub(crate) fn read(&self, identity: &Identity, block: u64) -> Option<u64> {
        self.bench.read(&identity.native(), block)
    }

    pub(crate) async fn all(&self) -> Observed {
        self.all_by(&*self.driver).await
    }

    /// Everything that a driver sees: by its lists or, if it answers only for names, by those of all objects.
    pub(crate) async fn all_by(&self, driver: &dyn Driver) -> Observed {
        let mut seen = driver.observe(&Scope::All { owner: self.owner.clone() }).await.unwrap();
        if self.can().absence == Absence::ByName {
            let asked = self.bench.addresses();
            seen.add(driver.observe(&Scope::Objects(asked.clone())).await.unwrap());
            assert_eq!(std::mem::take(&mut seen.queried), asked.into_iter().collect(), "{:?}", seen.gaps);
            // Every object there was asked for.
            seen.listed = Listed::COMPLETE;
            for object in &mut seen.objects {
                (object.clients, object.written) = (Clients::Unknown, Written::Unknown);
            }
        }
        if self.can().absence == Absence::ByLedger {
            // Lists say nothing there: what is shown has a record.
            assert_eq!(std::mem::replace(&mut seen.listed, Listed::COMPLETE), Listed::NONE, "{:?}", seen.gaps);
        }
        assert_eq!(seen.listed, Listed::COMPLETE, "{:?}", seen.gaps);
        seen
    }

    /// What a look at one name shows.
    pub(crate) async fn look(&self, native: &NativeName) -> Vec<Object> {
        let at = self.address(native);
        let seen = self.driver.observe(&Scope::Objects(vec![at.clone()])).await.unwrap();
        let answered = if self.can().absence == Absence::ByLedger { BTreeSet::new() } else { [at].into() };
        assert_eq!((seen.listed, &seen.queried), (Listed::NONE, &answered), "{:?}", seen.gaps);
        assert!(seen.objects.iter().all(|object| object.native == *native), "asked for {native}: {:?}", seen.objects);
        seen.objects
    }

    /// The one object under the name of this identity.
    pub(crate) async fn one(&self, identity: &Identity) -> Object {
        self.named(&identity.native()).await
    }

    pub(crate) async fn named(&self, native: &NativeName) -> Object {
        let mut objects = self.look(native).await;
        assert_eq!(objects.len(), 1, "{native}: {objects:?}");
        objects.remove(0)
    }

    pub(crate) async fn place(&self, identity: &Identity) -> Option<Place> {
        let objects = self.look(&identity.native()).await;
        assert!(objects.len() <= 1, "{objects:?}");
        objects.first().map(|object| object.place)
    }

    /// Makes a step that must be refused with no effect, and sees that there was none.
    pub(crate) async fn refused(&self, step: &Step, kinds: &[ErrorKind]) -> DriverError {
        self.refused_for("what it is", step, kinds).await
    }

    /// The same, saying what should have been minded.
    pub(crate) async fn refused_for(&self, why: &str, step: &Step, kinds: &[ErrorKind]) -> DriverError {
        let before = self.bench.fingerprint();
        let answer = self.run(step).await;
        let what = format!("{:?} on {}, to be refused for {why}", step.action, step.native);
        let error = match answer {
            Ok(outcome) => panic!("{what}: {outcome:?}"),
            Err(error) => error,
        };
        assert_eq!(error.effect, Effect::No, "{what}: {error:?}");
        assert!(kinds.contains(&error.kind), "{what}: {:?}, not of {kinds:?}: {error}", error.kind);
        assert!(!error.message.trim().is_empty(), "{what}: an error without a sentence");
        assert_eq!(self.bench.fingerprint(), before, "{what}: touched something");
        error
    }

    /// Makes a step that may be refused or may find nothing to do, and must touch nothing.
    pub(crate) async fn harmless(&self, step: &Step) {
        let before = self.bench.fingerprint();
        let answer = self.run(step).await;
        assert_eq!(self.bench.fingerprint(), before, "{:?} on {} touched something", step.action, step.native);
        assert_ne!(answer, Ok(Outcome::Changed), "{:?} on {}", step.action, step.native);
        if let Err(error) = answer {
            assert_eq!(error.effect, Effect::No, "{error:?}");
        }
    }
}
