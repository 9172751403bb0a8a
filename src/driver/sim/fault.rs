//! Faults of calls, from a seed or from a script.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::settings::FaultRates;

/// A fault of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// An error before any effect.
    Error,
    /// The full effect, but no reply: `Effect::Unknown`.
    LostReply,
    /// The new object stays under its temporary name, or a restore in several steps stays incomplete, with no reply. Another call fails
    /// as with `Error`.
    Half,
    /// A listing shows the state before the last change, and claims to be complete. Lookups by name are never stale, as on all known
    /// backends.
    Stale,
    /// A listing is incomplete, or names are left without an answer. The observation says so.
    Cut,
    /// The call takes ten seconds longer.
    Slow,
    /// The call never ends, without effect.
    Hang,
    /// The call never ends, after its full effect.
    HangAfter,
    /// The call reports success, without effect.
    Lie,
}

/// The kinds of calls for the choice of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    Observe,
    Execute,
    /// Locks, ledgers, the identity of the pool.
    Upkeep,
}

impl Fault {
    /// Whether the fault can occur in this kind of call.
    fn fits(self, call: CallKind) -> bool {
        match self {
            Fault::Error | Fault::Slow | Fault::Hang => true,
            Fault::LostReply | Fault::HangAfter => call != CallKind::Observe,
            Fault::Half | Fault::Lie => call == CallKind::Execute,
            Fault::Stale | Fault::Cut => call == CallKind::Observe,
        }
    }
}

/// Numbers the calls of a pool from 0. Equal seeds give equal faults. All drivers of a process for one pool share it, so a call that failed
/// may succeed when it is repeated.
#[derive(Debug)]
pub(super) struct Dice {
    seed: u64,
    state: Mutex<FaultState>,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { seed, state: Mutex::default() })
    }
}

/// Chooses the faults of calls.
#[derive(Debug)]
pub(super) struct Faults {
    rates: FaultRates,
    dice: Arc<Dice>,
}

#[derive(Debug, Default)]
struct FaultState {
    calls: u64,
    script: BTreeMap<u64, Fault>,
}

impl Faults {
    pub(super) fn new(rates: FaultRates, dice: Arc<Dice>) -> Self {
        Self { rates, dice }
    }

    pub(super) fn fail_at(&self, call: u64, fault: Fault) {
        self.state().script.insert(call, fault);
    }

    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    fn state(&self) -> std::sync::MutexGuard<'_, FaultState> {
        self.dice.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the fault of the next call, and a random number for the details of the fault.
    pub(super) fn next(&self, call: CallKind) -> (Option<Fault>, u64) {
        let mut state = self.state();
        let number = state.calls;
        state.calls += 1;
        let mut random = SplitMix64(self.dice.seed ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03));
        let choice = random.next();
        if let Some(fault) = state.script.remove(&number) {
            return (Some(fault).filter(|fault| fault.fits(call)), choice);
        }
        let FaultRates { error, lost_reply, half, stale, cut, slow, hang, lie } = self.rates;
        let hanging = if choice & 1 == 0 || call == CallKind::Observe { Fault::Hang } else { Fault::HangAfter };
        let rates = [
            (error, Fault::Error),
            (lost_reply, Fault::LostReply),
            (half, Fault::Half),
            (stale, Fault::Stale),
            (cut, Fault::Cut),
            (slow, Fault::Slow),
            (hang, hanging),
            (lie, Fault::Lie),
        ];
        let met = rates.into_iter().find(|(rate, fault)| {
            // Drawn also if it does not fit, so that changing one rate does not shift the others.
            let drawn = random.next() % 100 < u64::from(rate.0);
            drawn && fault.fits(call)
        });
        (met.map(|(_, fault)| fault), choice)
    }
}

/// The SplitMix64 generator by Vigna.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Percent;

    #[test]
    fn equal_seeds_give_equal_faults_and_rates_are_kept() {
        let rates = FaultRates { error: Percent(10), lie: Percent(20), ..FaultRates::NONE };
        let draw = |seed| {
            let faults = Faults::new(rates, Dice::new(seed));
            (0..10_000).map(|_| faults.next(CallKind::Execute).0).collect::<Vec<_>>()
        };
        let drawn = draw(7);
        assert_eq!(drawn, draw(7));
        assert_ne!(drawn, draw(8));
        let count = |fault| drawn.iter().filter(|f| **f == Some(fault)).count();
        assert!((800..1200).contains(&count(Fault::Error)), "{}", count(Fault::Error));
        assert!((1600..2000).contains(&count(Fault::Lie)), "{}", count(Fault::Lie));
        assert_eq!(count(Fault::Hang) + count(Fault::Half), 0);
    }

    #[test]
    fn a_scripted_fault_occurs_in_its_call_only() {
        let faults = Faults::new(FaultRates::NONE, Dice::new(0));
        faults.fail_at(1, Fault::Hang);
        faults.fail_at(2, Fault::Lie);
        assert_eq!(faults.next(CallKind::Execute).0, None);
        assert_eq!(faults.next(CallKind::Execute).0, Some(Fault::Hang));
        assert_eq!(faults.next(CallKind::Observe).0, None, "a listing has no effect that could be missing");
        assert_eq!(faults.calls(), 3);
    }
}
