//! Stories: what is declared, what others do, and what people decide, chapter by chapter.

use kiln::engine::Operation;
use kiln::model::Reading;
use kiln::plan::{HeldReason, Overview};

use super::host::Manner;
use super::pool::Outside;

/// A history of one owner.
pub struct Story {
    pub name: &'static str,
    /// The modes of a driver in which it can happen.
    pub modes: Vec<&'static str>,
    pub pools: Vec<&'static str>,
    pub begin: Vec<(&'static str, Outside)>,
    pub chapters: Vec<Chapter>,
}

/// One change, and the runs that it leads to.
pub struct Chapter {
    pub name: &'static str,
    /// What happens before it, by pool.
    pub outside: Vec<(&'static str, Outside)>,
    pub reading: Reading,
    pub work: Work,
    pub manner: Manner,
    /// What is held when it has settled.
    pub holds: Vec<(&'static str, HeldReason)>,
    /// Whether the earlier manifests bring the earlier state back (O7).
    pub can_go_back: bool,
    /// Whether only the store tells some of it, so that its loss changes the end.
    pub needs_store: bool,
}

/// What a run of a chapter does.
pub enum Work {
    /// Passes, until everything is settled.
    Passes,
    /// A plan is saved, applied, and applied again after a crash.
    Saved,
    /// A person decides. `None`: there is nothing to decide any more.
    Decide(fn(&Overview) -> Option<Operation>),
}

impl Story {
    pub fn new(name: &'static str, modes: &[&'static str], chapters: Vec<Chapter>) -> Self {
        Self { name, modes: modes.to_vec(), pools: vec!["pool"], begin: Vec::new(), chapters }
    }

    pub fn begins(self, begin: Vec<Outside>) -> Self {
        Self { begin: begin.into_iter().map(|event| ("pool", event)).collect(), ..self }
    }

    pub fn on(self, pools: &[&'static str]) -> Self {
        Self { pools: pools.to_vec(), ..self }
    }
}

impl Chapter {
    pub fn new(name: &'static str, reading: Reading) -> Self {
        Self {
            name,
            outside: Vec::new(),
            reading,
            work: Work::Passes,
            manner: Manner::default(),
            holds: Vec::new(),
            can_go_back: false,
            needs_store: false,
        }
    }

    pub fn after(mut self, events: Vec<Outside>) -> Self {
        self.outside.extend(events.into_iter().map(|event| ("pool", event)));
        self
    }

    pub fn holds(self, holds: &[(&'static str, HeldReason)]) -> Self {
        Self { holds: holds.to_vec(), ..self }
    }

    pub fn decides(self, decide: fn(&Overview) -> Option<Operation>) -> Self {
        Self { work: Work::Decide(decide), ..self }
    }

    pub fn saved(self) -> Self {
        Self { work: Work::Saved, ..self }
    }

    pub fn reversible(self) -> Self {
        Self { can_go_back: true, ..self }
    }

    pub fn with(self, manner: Manner) -> Self {
        Self { manner, ..self }
    }

    pub fn needs_store(self) -> Self {
        Self { needs_store: true, ..self }
    }
}
