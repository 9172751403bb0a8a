//! The smallest driver that keeps the contract: empty volumes in memory. CONTRIBUTING.md points to it.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use kiln::driver::{Driver, PoolMetadata, StepContext};
use kiln::model::{
    Access, Action, Address, Capabilities, Clients, DriverError, ErrorKind, Expect, Identity, NameRules, NativeName,
    Object, Observed, Outcome, Owner, Place, Reservation, Restores, Scope, SettingsAbility, Size, Step, Tags,
    TrashAbility, Written,
};

use crate::memory::MemoryMetadata;
use crate::suite::Bench;
use crate::suite::bench::BLOCK;

type Result<T> = std::result::Result<T, DriverError>;

fn refuse<T>(kind: ErrorKind, message: &str) -> Result<T> {
    Err(DriverError::before(kind, message))
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
        can.check(step)?;
        let native = &step.native;
        let fits =
            |expect: &Expect, volume: &ToyVolume| expect.check(&volume.object(native, true), can.client_visibility);
        let Some(volume) = self.volumes.get_mut(native) else {
            return match &step.action {
                Action::Create { size, tags, .. } if step.expect.place.is_none() => {
                    self.volumes.remove(&step.identity.temporary());
                    self.make(native, ToyVolume { size: size.bytes(), tags: tags.clone(), ..ToyVolume::default() });
                    Ok(Outcome::Changed)
                }
                Action::Destroy | Action::Sweep => Ok(Outcome::Unchanged),
                _ => refuse(ErrorKind::NotFound, "it does not exist"),
            };
        };
        match &step.action {
            Action::Create { size, .. } if volume.size != size.bytes() => {
                return refuse(ErrorKind::Conflict, "it exists with another size");
            }
            // No volume has settings.
            Action::Create { .. } | Action::Configure { .. } => return Ok(Outcome::Unchanged),
            Action::Grow { to } if volume.size == to.bytes() => return Ok(Outcome::Unchanged),
            Action::Grow { to } => {
                fits(&step.expect, volume)?;
                if volume.size > to.bytes() {
                    return refuse(ErrorKind::Conflict, "a volume only grows");
                }
                volume.size = to.bytes();
            }
            Action::SetTags { tags } if volume.tags == *tags => return Ok(Outcome::Unchanged),
            Action::SetTags { tags } => {
                fits(&step.expect, volume)?;
                volume.tags = tags.clone();
            }
            Action::Destroy | Action::Sweep => {
                fits(&Expect { idle: true, ..step.expect.clone() }, volume)?;
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
            | Action::Detach => return refuse(ErrorKind::Unsupported, "`Capabilities::check` refuses it"),
        }
        Ok(Outcome::Changed)
    }

    fn make(&mut self, native: &NativeName, volume: ToyVolume) {
        self.made += 1;
        self.volumes.insert(native.clone(), ToyVolume { serial: self.made, ..volume });
    }
}

impl ToyVolume {
    fn object(&self, native: &NativeName, is_named: bool) -> Object {
        let place = if native.is_temporary() { Place::Temporary } else { Place::Live };
        let mut object = Object::new(native.clone(), place, Size(self.size));
        object.identity = Identity::of(native);
        object.id = Some(self.serial.to_string().into());
        object.tags = self.tags.clone().into();
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
