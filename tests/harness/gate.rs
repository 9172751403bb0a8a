//! The gate between the engine and everything that it calls: each call has a name, and faults strike at names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::pending;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kiln::model::{Action, DriverError, ErrorKind, Observed, Outcome, Step};
use tokio::sync::Notify;

use crate::rig::Dice;

/// Every action. A new one does not compile in [`deed`] until it is here.
pub const DEEDS: [&str; 15] = [
    "create",
    "snapshot",
    "grow",
    "restore",
    "tag",
    "reserve",
    "configure",
    "rename",
    "adopt",
    "trash",
    "undelete",
    "destroy",
    "purge",
    "sweep",
    "detach",
];

/// The name of an action in points and in the coverage table.
pub fn deed(action: &Action) -> &'static str {
    match action {
        Action::Create { .. } => "create",
        Action::Snapshot { .. } => "snapshot",
        Action::Grow { .. } => "grow",
        Action::Restore { .. } => "restore",
        Action::SetTags { .. } => "tag",
        Action::Reserve => "reserve",
        Action::Configure { .. } => "configure",
        Action::Rename { .. } => "rename",
        Action::Adopt { .. } => "adopt",
        Action::Trash { .. } => "trash",
        Action::Undelete { .. } => "undelete",
        Action::Destroy => "destroy",
        Action::Purge => "purge",
        Action::Sweep => "sweep",
        Action::Detach => "detach",
    }
}

/// What kind of call it is: which faults it can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// A listing.
    List,
    /// Another call that only reads.
    Read,
    /// Taking the writer lock, which leaves the pool as it was.
    Lock,
    /// A write of the pool's metadata.
    Metadata,
    /// A step, with its deed, and whether a crash can leave half of it.
    Step(&'static str, bool),
    /// A write of the store.
    Commit,
}

/// One call of a run: the n-th of its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub name: String,
    pub nth: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name.replace(' ', "_"), self.nth)
    }
}

impl FromStr for Point {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, nth) = text.rsplit_once('#').ok_or_else(|| format!("`{text}` is no point"))?;
        Ok(Self { name: name.replace('_', " "), nth: nth.parse().map_err(|error| format!("{text}: {error}"))? })
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies before it.
    CrashBefore,
    /// The process dies after it.
    CrashAfter,
    /// The process dies in the middle of it.
    CrashHalf,
    /// It is done, and its reply is lost.
    LostReply,
    /// It is done in part, and its reply is lost.
    Half,
    /// It fails without effect, and may succeed when it is repeated.
    Error,
    /// It reports success, and does nothing.
    Lie,
    /// It takes ten seconds longer.
    Slow,
    /// It never ends, without effect.
    Hang,
    /// It never ends, after its effect.
    HangAfter,
    /// A listing is the one before the last step.
    Stale,
    /// A listing ends early, and says so.
    Cut,
}

impl Fault {
    pub const ALL: [Self; 12] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::CrashHalf,
        Self::LostReply,
        Self::Half,
        Self::Error,
        Self::Lie,
        Self::Slow,
        Self::Hang,
        Self::HangAfter,
        Self::Stale,
        Self::Cut,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::CrashBefore => "crash-before",
            Self::CrashAfter => "crash-after",
            Self::CrashHalf => "crash-half",
            Self::LostReply => "lost-reply",
            Self::Half => "half",
            Self::Error => "error",
            Self::Lie => "lie",
            Self::Slow => "slow",
            Self::Hang => "hang",
            Self::HangAfter => "hang-after",
            Self::Stale => "stale",
            Self::Cut => "cut",
        }
    }

    pub fn is_crash(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter | Self::CrashHalf)
    }

    /// Whether it can strike this kind of call, and would be another fault than those before it in [`Fault::ALL`].
    pub fn fits(self, call: CallKind) -> bool {
        let is_step = matches!(call, CallKind::Step(..));
        match self {
            Self::CrashBefore => true,
            Self::CrashAfter => is_step || matches!(call, CallKind::Lock | CallKind::Metadata | CallKind::Commit),
            Self::CrashHalf | Self::Half => matches!(call, CallKind::Step(_, true)),
            Self::LostReply | Self::HangAfter => is_step || matches!(call, CallKind::Lock | CallKind::Metadata),
            Self::Lie => is_step,
            Self::Error | Self::Slow | Self::Hang => call != CallKind::Commit,
            Self::Stale | Self::Cut => call == CallKind::List,
        }
    }
}

/// How often each fault strikes, in percent of the calls that it fits.
pub type Rates = BTreeMap<Fault, u64>;

/// A step that reached the backend.
#[derive(Debug, Clone)]
pub struct Done {
    pub pool: String,
    pub step: Step,
    pub result: Result<Outcome, DriverError>,
    /// Whether it was cut short in the middle.
    pub half: bool,
}

impl Done {
    pub fn changed(&self) -> bool {
        self.result == Ok(Outcome::Changed)
    }
}

/// Where a planned fault strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    Point(Point),
    /// The n-th of all calls.
    Call(usize),
}

#[derive(Default)]
struct GateState {
    counts: BTreeMap<String, usize>,
    trace: Vec<(Point, CallKind)>,
    planned: Option<(At, Fault)>,
    rates: Option<(Dice, Rates)>,
    done: Vec<Done>,
    met: BTreeSet<(&'static str, Fault)>,
    /// The listings before the last step, by pool.
    lagging: BTreeMap<String, Observed>,
    dead: bool,
}

/// Between one process and everything that it calls.
#[derive(Default)]
pub struct Gate {
    state: Mutex<GateState>,
    pub died: Notify,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap()
    }

    /// A gate at which a fault strikes once.
    pub fn with_fault(point: Point, fault: Fault) -> Arc<Self> {
        let gate = Self::default();
        gate.state().planned = Some((At::Point(point), fault));
        Arc::new(gate)
    }

    /// A gate at which a fault strikes the n-th of all calls.
    pub fn with_fault_at(call: usize, fault: Fault) -> Arc<Self> {
        let gate = Self::default();
        gate.state().planned = Some((At::Call(call), fault));
        Arc::new(gate)
    }

    /// A gate at which faults strike at random, and perhaps one at the n-th of all calls.
    pub fn at_random(seed: u64, rates: Rates, crash: Option<(usize, Fault)>) -> Arc<Self> {
        let gate = Self::default();
        gate.state().rates = Some((Dice(seed), rates));
        gate.state().planned = crash.map(|(call, fault)| (At::Call(call), fault));
        Arc::new(gate)
    }

    /// All calls so far, in order.
    pub fn trace(&self) -> Vec<(Point, CallKind)> {
        self.state().trace.clone()
    }

    /// The steps that reached a backend.
    pub fn done(&self) -> Vec<Done> {
        self.state().done.clone()
    }

    /// The faults that struck steps, with their deeds.
    pub fn met(&self) -> BTreeSet<(&'static str, Fault)> {
        self.state().met.clone()
    }

    /// Whether the planned fault struck.
    pub fn has_struck(&self) -> bool {
        self.state().planned.is_none()
    }

    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Whether a fault may need the listing before a step.
    pub fn lags(&self) -> bool {
        let state = self.state();
        let planned = state.planned.as_ref().is_some_and(|(_, fault)| *fault == Fault::Stale);
        planned || state.rates.as_ref().is_some_and(|(_, rates)| rates.contains_key(&Fault::Stale))
    }

    pub fn note_lagging(&self, pool: &str, seen: Observed) {
        self.state().lagging.insert(pool.to_owned(), seen);
    }

    pub fn lagging(&self, pool: &str) -> Option<Observed> {
        self.state().lagging.get(pool).cloned()
    }

    pub fn note(&self, done: Done) {
        self.state().done.push(done);
    }

    /// Names the next call, and returns the fault that strikes it. `None`: the process is dead, and the call never begins.
    pub fn next(&self, name: String, kind: CallKind) -> Option<Option<Fault>> {
        let mut state = self.state();
        if state.dead {
            return None;
        }
        let count = state.counts.entry(name.clone()).or_default();
        let point = Point { name: name.clone(), nth: *count };
        *count += 1;
        let call = state.trace.len();
        let is_here = |(at, _): &(At, Fault)| match at {
            At::Point(at) => *at == point,
            At::Call(at) => *at == call,
        };
        let planned = if state.planned.as_ref().is_some_and(is_here) { state.planned.take() } else { None };
        // Before and after a call that only reads is the same.
        let or_before = |fault: Fault| if fault.is_crash() && !fault.fits(kind) { Fault::CrashBefore } else { fault };
        let planned = planned.map(|(_, fault)| or_before(fault));
        let rolled = state.rates.as_mut().and_then(|(dice, rates)| {
            // Rolled also if it does not fit, so that another rate does not move the others.
            let struck =
                rates.iter().filter(|(_, rate)| dice.roll(100) < **rate).map(|(fault, _)| *fault).collect::<Vec<_>>();
            struck.into_iter().find(|fault| fault.fits(kind))
        });
        let fault = planned.or(rolled);
        if let (Some(fault), CallKind::Step(deed, _)) = (fault, kind) {
            state.met.insert((deed, fault));
        }
        state.trace.push((point, kind));
        Some(fault)
    }

    pub fn die(&self) {
        self.state().dead = true;
        self.died.notify_one();
    }

    /// The process ends here.
    pub async fn end(&self) -> ! {
        self.die();
        pending().await
    }

    /// What a fault does before a call.
    pub async fn strike_before(&self, fault: Option<Fault>) -> Result<(), DriverError> {
        match fault {
            Some(Fault::CrashBefore) => self.end().await,
            Some(Fault::Error) => Err(DriverError::before(ErrorKind::Transient, "the call failed")),
            Some(Fault::Hang) => pending().await,
            Some(Fault::Slow) => {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What a fault makes of the answer of a call.
    pub async fn strike_after<T>(
        &self,
        fault: Option<Fault>,
        answer: Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        match fault {
            Some(Fault::CrashAfter | Fault::CrashHalf) => self.end().await,
            Some(Fault::HangAfter) => pending().await,
            Some(Fault::LostReply) => Err(DriverError::unknown(ErrorKind::Transient, "the reply was lost")),
            _ => answer,
        }
    }

    /// Makes a call, or what becomes of it.
    pub async fn around<T>(
        &self,
        name: String,
        kind: CallKind,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        let Some(fault) = self.next(name, kind) else { return pending().await };
        self.strike_before(fault).await?;
        self.strike_after(fault, call.await).await
    }
}
