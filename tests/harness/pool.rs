//! What a driver brings to be swept: pools that can be opened, copied, looked into and changed behind Kiln's back.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln::driver::Driver;
use kiln::model::{Address, Blocker, Capabilities, DriverError, Ledger, Object, Owner, PoolId, Size};

/// A driver under test.
pub trait Bench: Send + Sync {
    /// The modes that it has, by name. The first one can do the most.
    fn modes(&self) -> Vec<(&'static str, Capabilities)>;
    /// A pool that was never used. Pools of different seeds are different ones.
    fn pool(&self, mode: &str, seed: u64) -> Box<dyn Pool>;
}

/// A connection to a pool.
pub struct Opened {
    pub driver: Arc<dyn Driver>,
    /// Cuts the next step short in its middle, as a crash does, if the driver makes steps that can be half done.
    pub cut_short: Option<Box<dyn Fn() + Send + Sync>>,
}

/// A pool of a driver under test.
pub trait Pool: Send + Sync {
    /// Opens it, as each pass does.
    fn open(&self) -> Result<Opened, DriverError>;
    /// A copy of it at this moment.
    fn fork(&self) -> Box<dyn Pool>;
    /// What is on it, in truth.
    fn things(&self) -> Vec<Thing>;
    /// The newest intact ledger of an owner.
    fn ledger(&self, owner: &Owner) -> Option<Ledger>;
    /// Another program changes something. `false`: it cannot be done on such a pool.
    fn outside(&self, event: &Outside) -> bool;
}

/// An object, as one sees it who looks into the pool.
#[derive(Debug, Clone)]
pub struct Thing {
    pub object: Object,
    /// The stamps that were written, by block.
    pub content: BTreeMap<u64, u64>,
}

/// What others do to a pool. Objects are named by their part of the native name: `db`, or a native name of their own.
#[derive(Debug, Clone)]
pub enum Outside {
    /// Clients write a stamp to a block of every live volume.
    WriteAll {
        block: u64,
        stamp: u64,
    },
    Write {
        object: &'static str,
        block: u64,
        stamp: u64,
    },
    Delete(&'static str),
    DeleteAt(Address),
    Resize(&'static str, Size),
    /// Renames the object to another name of the owner.
    Rename(&'static str, &'static str),
    Make {
        native: &'static str,
        size: Size,
        stamp: u64,
    },
    MakeInside {
        volume: &'static str,
        native: &'static str,
        size: Size,
    },
    /// What an interrupted creation of an object of this name leaves.
    LeaveUnfinished(&'static str),
    Close(&'static str),
    OpenAll,
    Unlimit(&'static str),
    Unprotect(&'static str),
    Label(&'static str),
    SpoilTags(&'static str),
    /// A restore of the volume from the snapshot is begun, and not completed.
    BeginRestore {
        volume: &'static str,
        snapshot: &'static str,
    },
    Block(&'static str, Blocker),
    EmptyTrash,
    RenameTrashed(&'static str, &'static str),
    Capacity(Option<Size>),
    SwapPool(Option<PoolId>),
    TakeLock(Owner),
    ReleaseLock,
    GoAway,
    ComeBack,
}

impl Thing {
    pub fn at(&self) -> Address {
        self.object.address()
    }
}
