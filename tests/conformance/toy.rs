//! The smallest driver that keeps the contract: empty volumes in memory. CONTRIBUTING.md points to it.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use kiln::driver::{Driver, PoolMetadata, StepContext, WriterLock};
use kiln::model::{
    Access, Action, Address, Capabilities, Clients, DriverError, ErrorKind, Expect, Identity, Kind, Ledger,
    LedgerCommit, LedgerView, NameRules, NativeForm, NativeName, Object, Observed, Outcome, Owner, Place, PoolId,
    Provisioning, Reservation, Restores, Scope, SettingsAbility, Size, Step, Suspension, SuspensionId, Tags,
    TrashAbility, Written,
};

use crate::suite::Bench;
use crate::suite::bench::BLOCK;

type Result<T> = std::result::Result<T, DriverError>;

fn refuse<T>(kind: ErrorKind, message: impl Into<String>) -> Result<T> {
    Err(DriverError::before(kind, message))
}

fn conflict<T>(message: &str) -> Result<T> {
    refuse(ErrorKind::Conflict, message)
}

/// A volume, by its native name: what Kiln calls its own, what a crash left of one, or what somebody else made.
#[derive(Debug, Default)]
struct ToyVolume {
    /// Tells it apart from one that is made again under its name.
    serial: usize,
    size: u64,
    tags: Tags,
    /// Stamps by block. A block without one is zeroes.
    content: BTreeMap<u64, u64>,
    clients: usize,
}

/// Two copies of a ledger. `None`: there is none, or it is damaged.
#[derive(Debug, Default)]
struct ToyLedger {
    newest: Option<Arc<Ledger>>,
    before: Option<Arc<Ledger>>,
}

#[derive(Debug, Default)]
struct ToyPool {
    id: Option<PoolId>,
    volumes: BTreeMap<NativeName, ToyVolume>,
    /// How many volumes were made.
    made: usize,
    locked: Vec<Owner>,
    ledgers: BTreeMap<Owner, ToyLedger>,
    /// `None`: the record is damaged.
    suspensions: BTreeMap<(Owner, SuspensionId), Option<Suspension>>,
}

/// One connection to a pool.
struct Toy {
    pool: Arc<Mutex<ToyPool>>,
    capabilities: Capabilities,
}

impl Toy {
    fn pool(&self) -> MutexGuard<'_, ToyPool> {
        self.pool.lock().unwrap()
    }
}

struct ToyLock(Arc<Mutex<ToyPool>>, Owner);

impl WriterLock for ToyLock {}

impl Drop for ToyLock {
    fn drop(&mut self) {
        self.0.lock().unwrap().locked.retain(|owner| *owner != self.1);
    }
}

impl ToyPool {
    fn view(&self, owner: &Owner) -> Option<LedgerView> {
        let ToyLedger { newest, before } = self.ledgers.get(owner)?;
        Some(match (newest, before) {
            (Some(newest), _) => LedgerView::Good(Arc::clone(newest)),
            (None, Some(before)) => LedgerView::Older(Arc::clone(before), "the newest copy is damaged".to_owned()),
            (None, None) => LedgerView::Damaged("both copies are damaged".to_owned()),
        })
    }

    /// Keeps the newest copy as the second one, if it is intact.
    fn put(&mut self, ledger: Ledger) {
        let ToyLedger { newest, before } = self.ledgers.entry(ledger.owner.clone()).or_default();
        if let Some(earlier) = newest.replace(Arc::new(ledger)) {
            *before = Some(earlier);
        }
    }

    fn execute(&mut self, step: &Step, can: &Capabilities) -> Result<Outcome> {
        let native = &step.native;
        match &step.action {
            Action::Create { size, provisioning, origin, tags, settings, n: _ } => {
                let is_plain = origin.is_none() && settings.is_plain() && *provisioning == Provisioning::Thin;
                if !is_plain || !native.is_reserved() {
                    return refuse(ErrorKind::Unsupported, "only empty, thin volumes under Kiln's names can be made");
                }
                is_named(step, &step.identity.native())?;
                if size.bytes() == 0 || !size.bytes().is_multiple_of(can.granularity) || *size > Size(can.max_size) {
                    return refuse(ErrorKind::Permanent, format!("{size} is no size of a volume"));
                }
                match self.volumes.get(native) {
                    Some(volume) if volume.size == size.bytes() => return Ok(Outcome::Unchanged),
                    Some(_) => return conflict("it exists with another size"),
                    None if step.expect.place.is_some() => return conflict("it does not exist"),
                    None => {}
                }
                self.volumes.remove(&temporary(&step.identity));
                self.make(native, ToyVolume { size: size.bytes(), tags: tags.clone(), ..ToyVolume::default() });
            }
            Action::Grow { to } => {
                let volume = self.ours(step)?;
                if volume.size == to.bytes() {
                    return Ok(Outcome::Unchanged);
                }
                volume.expected(&step.expect, Place::Live)?;
                if volume.size > to.bytes() || !to.bytes().is_multiple_of(can.granularity) {
                    return conflict("a volume only grows, to a multiple of 4096 bytes");
                }
                volume.size = to.bytes();
            }
            Action::SetTags { tags } => {
                let volume = self.ours(step)?;
                if volume.tags == *tags {
                    return Ok(Outcome::Unchanged);
                }
                volume.expected(&step.expect, Place::Live)?;
                volume.tags = tags.clone();
            }
            Action::Configure { settings } => {
                self.ours(step)?;
                if !settings.is_plain() {
                    return refuse(ErrorKind::Unsupported, "volumes have no settings");
                }
                return Ok(Outcome::Unchanged);
            }
            Action::Destroy | Action::Sweep => {
                let of_crash = step.action == Action::Sweep;
                let name = if of_crash { temporary(&step.identity) } else { step.identity.native() };
                let place = if of_crash { Place::Temporary } else { Place::Live };
                is_named(step, &name)?;
                let Some(volume) = self.volumes.get(native) else { return Ok(Outcome::Unchanged) };
                volume.expected(&Expect { idle: true, ..step.expect.clone() }, place)?;
                self.volumes.remove(native);
            }
            Action::Snapshot { .. }
            | Action::Restore { .. }
            | Action::Reserve
            | Action::Rename { .. }
            | Action::Adopt { .. }
            | Action::Trash { .. }
            | Action::Undelete { .. }
            | Action::Purge
            | Action::Detach => return refuse(ErrorKind::Unsupported, format!("it cannot {}", step.action)),
        }
        Ok(Outcome::Changed)
    }

    fn make(&mut self, native: &NativeName, volume: ToyVolume) {
        self.made += 1;
        self.volumes.insert(native.clone(), ToyVolume { serial: self.made, ..volume });
    }

    /// The live volume that the step is about.
    fn ours(&mut self, step: &Step) -> Result<&mut ToyVolume> {
        is_named(step, &step.identity.native())?;
        let missing = || DriverError::before(ErrorKind::NotFound, format!("{} does not exist", step.native));
        self.volumes.get_mut(&step.native).ok_or_else(missing)
    }
}

fn temporary(identity: &Identity) -> NativeName {
    NativeName::temporary(&identity.owner, &identity.name, identity.uid)
}

/// The name is the identity: under another name it is another object.
fn is_named(step: &Step, name: &NativeName) -> Result<()> {
    if step.native == *name && step.parent_volume.is_none() { Ok(()) } else { conflict("it is another object") }
}

impl ToyVolume {
    fn expected(&self, expect: &Expect, place: Place) -> Result<()> {
        let Expect { place: wanted, id, size, tags, settings, idle, unwritten } = expect;
        let lasting = |tags: &Tags| Tags { expires: None, ..tags.clone() };
        if wanted.is_some_and(|wanted| wanted != place)
            || id.as_ref().is_some_and(|id| *id != self.serial.to_string())
            || size.is_some_and(|size| size.bytes() != self.size)
            || tags.as_ref().is_some_and(|tags| lasting(tags) != lasting(&self.tags))
            || settings.as_ref().is_some_and(|settings| !settings.is_plain())
            || (*unwritten && !self.content.is_empty())
        {
            return conflict("it is not as it was observed");
        }
        if *idle && self.clients > 0 {
            return refuse(ErrorKind::Busy, format!("{} clients have it open", self.clients));
        }
        Ok(())
    }

    fn object(&self, native: &NativeName, is_named: bool) -> Object {
        let (place, identity) = match native.parse() {
            Some((form, owner, name, uid)) => {
                let place = if form == NativeForm::Temporary { Place::Temporary } else { Place::Live };
                let kind = if form == NativeForm::Snapshot { Kind::Snapshot } else { Kind::Volume };
                (place, Some(Identity { owner, kind, name, uid }))
            }
            None => (Place::Live, None),
        };
        let mut object = Object { identity, ..Object::new(native.clone(), place, Size(self.size)) };
        object.id = Some(self.serial.to_string().into());
        object.tags = self.tags.clone();
        if is_named {
            object.clients = match self.clients {
                0 => Clients::None,
                _ => Clients::Some(vec!["the bench".to_owned()]),
            };
            object.written = if self.content.is_empty() { Written::Never } else { Written::Yes };
        }
        object
    }
}

#[async_trait]
impl Driver for Toy {
    fn metadata(&self) -> &dyn PoolMetadata {
        self
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn observe(&self, scope: &Scope) -> Result<Observed> {
        let pool = self.pool();
        let seen = Observed { pool: pool.id.clone(), locked: pool.locked.clone(), ..Observed::nothing_in(scope) };
        let objects = |is_named| pool.volumes.iter().map(move |(native, volume)| volume.object(native, is_named));
        Ok(match scope {
            Scope::All { owner } => Observed {
                objects: objects(false).collect(),
                ledger: pool.view(owner),
                owners: pool.ledgers.keys().cloned().collect(),
                ..seen
            },
            Scope::Objects(asked) => {
                Observed { objects: objects(true).filter(|object| asked.contains(&object.address())).collect(), ..seen }
            }
        })
    }

    fn access(&self, _: &Address) -> Access {
        Access::None
    }

    async fn execute(&self, step: &Step, _: &StepContext) -> Result<Outcome> {
        self.pool().execute(step, &self.capabilities)
    }
}

#[async_trait]
impl PoolMetadata for Toy {
    async fn init_pool(&self) -> Result<PoolId> {
        static POOLS: AtomicU64 = AtomicU64::new(0);
        let new = || PoolId(format!("{:032x}", POOLS.fetch_add(1, Ordering::Relaxed)));
        Ok(self.pool().id.get_or_insert_with(new).clone())
    }

    async fn lock(&self, owner: &Owner) -> Result<Box<dyn WriterLock>> {
        let mut pool = self.pool();
        if pool.locked.contains(owner) {
            return refuse(ErrorKind::OtherWriter, format!("process {} writes as {owner}", std::process::id()));
        }
        pool.locked.push(owner.clone());
        Ok(Box::new(ToyLock(Arc::clone(&self.pool), owner.clone())))
    }

    async fn ledger(&self, owner: &Owner) -> Result<Option<LedgerView>> {
        Ok(self.pool().view(owner))
    }

    async fn change_ledger(&self, commit: &LedgerCommit) -> Result<()> {
        let mut pool = self.pool();
        let Some(LedgerView::Good(now)) = pool.view(&commit.owner).filter(|_| pool.id.as_ref() == Some(&commit.pool))
        else {
            return conflict("there is no intact ledger to change");
        };
        let mut changed = Ledger::clone(&now);
        if let Err(key) = changed.apply(commit) {
            return refuse(ErrorKind::Permanent, format!("the key {key} is not known"));
        }
        if now.serial == commit.to && changed == *now {
            return Ok(());
        }
        if now.serial != commit.from || commit.to <= commit.from {
            return conflict("the ledger has another serial");
        }
        pool.put(changed);
        Ok(())
    }

    async fn write_ledger(&self, ledger: &Ledger) -> Result<()> {
        let mut pool = self.pool();
        if pool.view(&ledger.owner).is_some_and(|view| view.ledger().is_some_and(|now| now.serial > ledger.serial)) {
            return conflict("there is a newer ledger");
        }
        pool.put(ledger.clone());
        Ok(())
    }

    async fn remove_ledger(&self, owner: &Owner) -> Result<()> {
        self.pool().ledgers.remove(owner);
        Ok(())
    }

    async fn suspensions(&self, owner: &Owner) -> Result<Vec<Suspension>> {
        let pool = self.pool();
        let records = pool.suspensions.iter().filter(|((of, _), _)| of == owner).map(|(_, record)| record.clone());
        let damaged = || DriverError::before(ErrorKind::Unreachable, "the record of a suspension is damaged");
        records.collect::<Option<Vec<_>>>().ok_or_else(damaged)
    }

    async fn write_suspension(&self, suspension: &Suspension) -> Result<()> {
        let records = &mut self.pool().suspensions;
        let key = (suspension.owner.clone(), suspension.id());
        let has_ended = |record: &Suspension| record.resumed.is_some();
        if !has_ended(suspension) {
            if records.get(&key).is_some_and(|record| record.as_ref().is_some_and(has_ended)) {
                return Ok(());
            }
            let others = records.iter().filter(|(other, _)| other.0 == key.0 && **other != key);
            if others.filter(|(_, record)| !record.as_ref().is_some_and(has_ended)).count() >= Suspension::MOST {
                return refuse(ErrorKind::Permanent, format!("{} suspensions are in force", Suspension::MOST));
            }
        }
        records.insert(key, Some(suspension.clone()));
        Ok(())
    }
}

/// A pool for the toy driver.
#[derive(Default)]
pub(crate) struct ToyBench(Arc<Mutex<ToyPool>>);

impl ToyBench {
    fn pool(&self) -> MutexGuard<'_, ToyPool> {
        self.0.lock().unwrap()
    }
}

impl Bench for ToyBench {
    fn driver(&self) -> Arc<dyn Driver> {
        let capabilities = Capabilities {
            granularity: BLOCK,
            names: NameRules { own: false, ..NameRules::up_to(128) },
            thick: false,
            reservation: Reservation::Hidden,
            snapshots: None,
            clones: None,
            restore: Restores::No,
            rename: false,
            adopt: false,
            trash: TrashAbility::None,
            settings: SettingsAbility { qos: false, qos_live: false, encryption: false },
            shares_blocks: None,
            ..Capabilities::everything()
        };
        Arc::new(Toy { pool: Arc::clone(&self.0), capabilities })
    }
    fn make_foreign(&self, native: &NativeName, size: u64, stamp: u64) {
        let volume = ToyVolume { size, content: [(0, stamp)].into(), ..ToyVolume::default() };
        let mut pool = self.pool();
        assert!(!pool.volumes.contains_key(native));
        pool.make(native, volume);
    }
    fn make_left_over(&self, temporary: &NativeName, size: u64) {
        self.make_foreign(temporary, size, 0xDEAD);
    }
    fn fingerprint(&self) -> String {
        let ToyPool { id, volumes, made: _, locked: _, ledgers, suspensions } = &*self.pool();
        format!("{id:?} {volumes:?} {ledgers:?} {suspensions:?}")
    }
    fn damage_ledger(&self, owner: &Owner, all: bool) {
        let pool = &mut *self.pool();
        let ToyLedger { newest, before } = pool.ledgers.get_mut(owner).unwrap();
        assert!(newest.take().is_some());
        if all {
            *before = None;
        }
    }
    fn damage_suspensions(&self, owner: &Owner) {
        self.pool().suspensions.iter_mut().filter(|((of, _), _)| of == owner).for_each(|(_, record)| *record = None);
    }
    fn write(&self, native: &NativeName, block: u64, stamp: u64) {
        self.pool().volumes.get_mut(native).unwrap().content.insert(block, stamp);
    }
    fn read(&self, native: &NativeName, block: u64) -> Option<u64> {
        let pool = self.pool();
        let volume = &pool.volumes[native];
        (block < volume.size / BLOCK).then(|| volume.content.get(&block).copied().unwrap_or(0))
    }
    fn hold_open(&self, native: &NativeName) -> Box<dyn Any> {
        struct Open(Arc<Mutex<ToyPool>>, NativeName);
        impl Drop for Open {
            fn drop(&mut self) {
                if let Some(volume) = self.0.lock().unwrap().volumes.get_mut(&self.1) {
                    volume.clients -= 1;
                }
            }
        }
        self.pool().volumes.get_mut(native).unwrap().clients += 1;
        Box::new(Open(Arc::clone(&self.0), native.clone()))
    }
}
