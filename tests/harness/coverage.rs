//! What a sweep reached: every action under every fault and in every mode, every reason to hold.

use std::collections::{BTreeMap, BTreeSet};

use kiln::model::Verb;
use kiln::plan::{HeldReason, Plan};

use super::gate::{DEEDS, Done, Fault, Gate};

/// A condition under which an action was reached: `clean`, a fault, `in-recovery`, `store-gone`, or a mode.
pub type Condition = String;

/// What was reached.
#[derive(Debug, Clone, Default)]
pub struct Reached {
    cells: BTreeSet<(&'static str, Condition)>,
    reasons: BTreeSet<HeldReason>,
    verbs: BTreeSet<&'static str>,
    pub cases: usize,
    pub crashes: usize,
    pub second_crashes: usize,
}

/// What cannot be reached, and why.
pub type Unreachable = &'static [(&'static str, &'static str, &'static str)];

const VERBS: [Verb; 6] = [Verb::Create, Verb::Update, Verb::Move, Verb::Adopt, Verb::Remove, Verb::Destroy];

impl Reached {
    pub fn add(&mut self, other: Self) {
        let Self { cells, reasons, verbs, cases, crashes, second_crashes } = other;
        self.cells.extend(cells);
        self.reasons.extend(reasons);
        self.verbs.extend(verbs);
        self.cases += cases;
        self.crashes += crashes;
        self.second_crashes += second_crashes;
    }

    /// Steps of a run without faults.
    pub fn add_clean(&mut self, mode: &str, done: &[Done]) {
        for one in done.iter().filter(|one| one.changed()) {
            let deed = super::gate::deed(&one.step.action);
            self.cells.insert((deed, "clean".to_owned()));
            self.cells.insert((deed, mode.to_owned()));
        }
    }

    /// Faults that struck steps.
    pub fn add_met(&mut self, gate: &Gate) {
        self.cells.extend(gate.met().into_iter().map(|(deed, fault)| (deed, fault.name().to_owned())));
    }

    pub fn add_condition(&mut self, gate: &Gate, condition: &str) {
        self.cells.extend(gate.met().into_iter().map(|(deed, _)| (deed, condition.to_owned())));
    }

    pub fn add_held(&mut self, plan: &Plan) {
        self.reasons.extend(plan.held.iter().map(|held| held.reason));
        self.verbs.extend(plan.held.iter().map(|held| held.action.as_str()));
    }

    /// The table, for people.
    pub fn table(&self, conditions: &[Condition]) -> String {
        let mut text = String::new();
        for condition in conditions {
            let of = |deed: &&&str| self.cells.contains(&(**deed, condition.clone()));
            let not: Vec<&str> = DEEDS.iter().filter(|deed| !of(deed)).copied().collect();
            let count = DEEDS.len() - not.len();
            let missing = if not.is_empty() { String::new() } else { format!("; without {}", not.join(", ")) };
            text.push_str(&format!("{condition}: {count} of {} actions{missing}\n", DEEDS.len()));
        }
        text
    }

    /// What was not reached and should have been, and what was reached although it cannot be.
    pub fn gaps(
        &self,
        conditions: &[Condition],
        unreachable: Unreachable,
        never_held: &[(HeldReason, &str)],
    ) -> Vec<String> {
        let mut gaps = Vec::new();
        let excused: BTreeMap<(&str, &str), &str> =
            unreachable.iter().map(|(deed, condition, why)| ((*deed, *condition), *why)).collect();
        for (deed, condition) in excused.keys() {
            assert!(DEEDS.contains(deed) && conditions.iter().any(|c| c == condition), "no cell {deed}, {condition}");
        }
        // Only these can be half done.
        let is_half =
            |condition: &Condition| [Fault::Half, Fault::CrashHalf].iter().any(|half| half.name() == condition);
        let can_be_half = ["create", "snapshot", "restore"];
        for deed in DEEDS {
            for condition in conditions.iter().filter(|condition| !is_half(condition) || can_be_half.contains(&deed)) {
                let reached = self.cells.contains(&(deed, condition.clone()));
                match (reached, excused.get(&(deed, condition.as_str()))) {
                    (false, None) => gaps.push(format!("{deed} was not reached: {condition}")),
                    (true, Some(why)) => gaps.push(format!("{deed} was reached: {condition}; it is listed as: {why}")),
                    _ => {}
                }
            }
        }
        for reason in HeldReason::ALL {
            let excuse = never_held.iter().find(|(never, _)| never == reason);
            match (self.reasons.contains(reason), excuse) {
                (false, None) => gaps.push(format!("nothing was held as {reason}")),
                (true, Some((_, why))) => gaps.push(format!("something was held as {reason}; it is listed as: {why}")),
                _ => {}
            }
        }
        let verbs = VERBS.iter().map(|verb| verb.as_str());
        gaps.extend(verbs.filter(|verb| !self.verbs.contains(verb)).map(|verb| format!("nothing to {verb} was held")));
        gaps
    }
}

/// All conditions of a driver with these modes.
pub fn conditions(modes: &[&str]) -> Vec<Condition> {
    let faults =
        Fault::ALL.iter().filter(|fault| !matches!(fault, Fault::Stale | Fault::Cut)).map(|fault| fault.name());
    let all = ["clean"].into_iter().chain(faults).chain(["in-recovery", "store-gone"]).chain(modes.iter().copied());
    all.map(str::to_owned).collect()
}
