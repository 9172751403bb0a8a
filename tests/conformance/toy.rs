//! The smallest driver that keeps the contract: empty volumes in memory. CONTRIBUTING.md points to it.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use kiln::driver::{Driver, PoolMetadata, StepContext};
use kiln::model::{
    Access, Action, Address, Capabilities, Clients, DriverError, ErrorKind, Expect, Identity, NameRules, NativeName,
    Object, Observed, Outcome, Owner, Place, Provisioning, Reservation, Restores, Scope, SettingsAbility, Size, Step,
    Tags, TrashAbility, Written,
};

use crate::memory::MemoryMetadata;
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

#[derive(Debug, Default)]
struct ToyPool {
    volumes: BTreeMap<NativeName, ToyVolume>,
    /// How many volumes were made.
    made: usize,
}

/// One connection to a pool.
struct Toy {
    pool: Arc<Mutex<ToyPool>>,
    metadata: MemoryMetadata,
    capabilities: Capabilities,
}

impl Toy {
    fn pool(&self) -> MutexGuard<'_, ToyPool> {
        self.pool.lock().unwrap()
    }
}

impl ToyPool {
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
                step.expect.check(&volume.object(native, true), can.client_visibility)?;
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
                step.expect.check(&volume.object(native, true), can.client_visibility)?;
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
                is_named(step, &name)?;
                let Some(volume) = self.volumes.get(native) else { return Ok(Outcome::Unchanged) };
                Expect { idle: true, ..step.expect.clone() }
                    .check(&volume.object(native, true), can.client_visibility)?;
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
    fn object(&self, native: &NativeName, is_named: bool) -> Object {
        let place = if native.is_temporary() { Place::Temporary } else { Place::Live };
        let mut object = Object::new(native.clone(), place, Size(self.size));
        object.identity = Identity::of(native);
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
        &self.metadata
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn observe(&self, scope: &Scope) -> Result<Observed> {
        let pool = self.pool();
        let objects = |is_named| pool.volumes.iter().map(move |(native, volume)| volume.object(native, is_named));
        let objects = match scope {
            Scope::All { .. } => objects(false).collect(),
            Scope::Objects(asked) => objects(true).filter(|object| asked.contains(&object.address())).collect(),
        };
        Ok(Observed { objects, ..self.metadata.observed(scope) })
    }

    fn access(&self, _: &Address) -> Access {
        Access::None
    }

    async fn execute(&self, step: &Step, _: &StepContext) -> Result<Outcome> {
        self.pool().execute(step, &self.capabilities)
    }
}

/// A pool for the toy driver.
#[derive(Default)]
pub(crate) struct ToyBench {
    pool: Arc<Mutex<ToyPool>>,
    metadata: MemoryMetadata,
}

impl ToyBench {
    fn pool(&self) -> MutexGuard<'_, ToyPool> {
        self.pool.lock().unwrap()
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
        Arc::new(Toy { pool: Arc::clone(&self.pool), metadata: self.metadata.clone(), capabilities })
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
        format!("{:?} {}", self.pool().volumes, self.metadata.fingerprint())
    }
    fn damage_ledger(&self, owner: &Owner, all: bool) {
        self.metadata.damage_ledger(owner, all);
    }
    fn damage_suspensions(&self, owner: &Owner) {
        self.metadata.damage_suspensions(owner);
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
        Box::new(Open(Arc::clone(&self.pool), native.clone()))
    }
}
