//! One case: a chapter, a fault at one of its calls, and perhaps a crash in the recovery.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use kiln::engine::operate;
use kiln::model::{Absence, Capabilities};
use kiln::plan::{HeldReason, Plan, Saved};
use kiln::store::Store;

use super::coverage::Reached;
use super::gate::{CallKind, Fault, Gate, Point};
use super::host::{Host, Manner};
use super::oracles::{self, Canary, Lines};
use super::pool::Thing;
use super::reports;
use super::story::{Chapter, Work};

/// Passes within which a world without faults must settle: one to recover, one to act, one for what only then could be begun
/// (a clone of an undeleted snapshot, …), and as many again for detours.
pub const BOUND: usize = 6;

/// A chapter in a mode, as it begins, and how it ends undisturbed.
pub struct Scene<'a> {
    pub story: &'static str,
    pub mode: &'static str,
    pub chapter: &'a Chapter,
    /// The earlier chapter's manifests, and what there was when they had been applied.
    pub earlier: Option<(&'a Chapter, Vec<(String, Thing)>)>,
    pub capabilities: Capabilities,
    pub start: Host,
    pub saved: Option<Saved>,
    pub reference: Lines,
    /// All calls of the undisturbed run.
    pub trace: Vec<(Point, CallKind)>,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strike {
    pub point: Point,
    pub fault: Fault,
    pub keeps_store: bool,
    /// The number of the call of the next run at which it dies too, and whether the store is kept then.
    pub second: Option<(usize, bool)>,
    /// Whether the documents are again those of the chapter before, when the process starts again.
    pub turns_back: bool,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = |kept: bool| if kept { "kept" } else { "gone" };
        write!(f, "{} {} {}", self.point, self.fault.name(), store(self.keeps_store))?;
        self.second.map_or(Ok(()), |(call, kept)| write!(f, " {call} {}", store(kept)))?;
        if self.turns_back { write!(f, " back") } else { Ok(()) }
    }
}

impl FromStr for Strike {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let store = |word: &str| match word {
            "kept" => Ok(true),
            "gone" => Ok(false),
            _ => Err(format!("`{word}`: the store is `kept` or `gone`")),
        };
        let fault = |word: &str| {
            let found = Fault::ALL.into_iter().find(|fault| fault.name() == word);
            found.ok_or_else(|| format!("there is no fault `{word}`"))
        };
        let once = |point: &str, name: &str, kept: &str, turns_back| {
            let (point, fault, keeps_store) = (point.parse()?, fault(name)?, store(kept)?);
            Ok(Self { point, fault, keeps_store, second: None, turns_back })
        };
        match words[..] {
            [point, name, kept] => once(point, name, kept, false),
            [point, name, kept, "back"] => once(point, name, kept, true),
            [point, name, kept, call, kept_again] => {
                let call = call.parse().map_err(|error| format!("{call}: {error}"))?;
                let second = Some((call, store(kept_again)?));
                Ok(Self { second, ..once(point, name, kept, false)? })
            }
            _ => Err(format!("`{text}` is no strike")),
        }
    }
}

impl Scene<'_> {
    pub fn name(&self) -> String {
        format!("{}/{}@{}", self.story, self.chapter.name.replace(' ', "_"), self.mode)
    }

    fn manner(&self) -> Manner {
        self.chapter.manner.clone()
    }
}

/// What a run does, without what comes after it: until it ends, is settled, or its fault has struck.
pub async fn work(scene: &Scene<'_>, host: &Host, reached: &mut Reached) -> Result<(), String> {
    let reading = &scene.chapter.reading;
    match &scene.chapter.work {
        Work::Passes => {
            for _ in 0..BOUND {
                let passed = host.pass(reading, &scene.manner()).await.map_err(|error| error.to_string())?;
                let plan = passed.report.plan.as_ref().unwrap();
                reached.add_held(plan);
                reports::o13_reports_are_true(&passed, &host.things(), &host.ledgers())?;
                if host.gate.has_struck() || (plan.steps.is_empty() && passed.report.failed.is_empty()) {
                    return Ok(());
                }
            }
            Ok(())
        }
        Work::Saved => {
            let saved = scene.saved.as_ref().unwrap();
            let manner = Manner { saved: Some(Arc::new(saved.plan.clone())), ..scene.manner() };
            let passed = host.pass(&saved.reading, &manner).await.map_err(|error| error.to_string())?;
            reached.add_held(passed.report.plan.as_ref().unwrap());
            match passed.report.refused.is_empty() {
                true => Ok(()),
                false => Err(format!("the saved plan was refused: {:?}", passed.report.refused)),
            }
        }
        Work::Decide(decide) => {
            let seen = host.overview(reading).await;
            reached.add_held(&seen.plan);
            match decide(&seen) {
                Some(operation) => {
                    operate(&host.setup(reading), operation).await.map(|_| ()).map_err(|e| e.to_string())
                }
                None => Ok(()),
            }
        }
    }
}

/// Runs the work until it ends or the process dies. Returns whether it died.
async fn until_death(scene: &Scene<'_>, host: &Host, reached: &mut Reached) -> Result<bool, String> {
    let gate = Arc::clone(&host.gate);
    let ended = tokio::select! {
        biased;
        () = gate.died.notified() => return Ok(true),
        ended = work(scene, host, reached) => ended,
    };
    // A commit of a dead process fails.
    if gate.is_dead() { Ok(true) } else { ended.map(|()| false) }
}

/// Runs a case. What it reached, and why it does not hold.
pub async fn run(scene: &Scene<'_>, strike: &Strike, reached: &mut Reached) -> Result<(), String> {
    let mut host = scene.start.fork(true);
    let before = host.things();
    let canary = Canary::before(&before);
    let past = host.past.len();
    host.gate = Gate::with_fault(strike.point.clone(), strike.fault);
    let died = match until_death(scene, &host, reached).await {
        Ok(died) => died,
        // What a person asked for failed, or a saved plan did not fit what a wrong listing showed: it is asked for again below.
        Err(error) if !strike.fault.is_crash() && !matches!(scene.chapter.work, Work::Passes) => {
            assert!(!error.starts_with("O13"), "{error}");
            false
        }
        Err(error) => return Err(error),
    };
    if !host.gate.has_struck() {
        return Err("the call was not made: a run is not like the undisturbed one".to_owned());
    }
    if died != strike.fault.is_crash() {
        return Err(format!("the process died: {died}"));
    }
    reached.cases += 1;
    reached.crashes += usize::from(died);
    reached.add_met(&host.gate);
    if !strike.keeps_store {
        reached.add_condition(&host.gate, "store-gone");
    }
    host.restarted(strike.keeps_store).await;
    if let Some((call, keeps_store)) = strike.second {
        host.gate = Gate::with_fault_at(call, Fault::CrashAfter);
        if until_death(scene, &host, reached).await? {
            reached.second_crashes += 1;
            reached.add_condition(&host.gate, "in-recovery");
        }
        host.restarted(keeps_store).await;
    }
    let begun = Begun { canary, before, past };
    match &scene.earlier {
        Some((earlier, _)) if strike.turns_back => judge_turned_back(scene, &host, earlier, begun).await,
        _ => judge(scene, &host, strike, begun, reached).await,
    }
}

/// What a case began with.
struct Begun {
    canary: Canary,
    before: Vec<(String, Thing)>,
    /// How many steps had been made.
    past: usize,
}

/// What must hold when the earlier documents are back after a crash: nothing that was removed counts as lost.
async fn judge_turned_back(scene: &Scene<'_>, host: &Host, earlier: &Chapter, begun: Begun) -> Result<(), String> {
    let (reading, manner) = (&earlier.reading, &earlier.manner);
    let mut last = host.settle(reading, manner, BOUND).await?;
    if scene.capabilities.absence == Absence::ByLedger {
        host.forget_what_may_exist(reading).await?;
        last = host.settle(reading, manner, BOUND).await?;
    }
    let (held, things, done) = (oracles::holds(&last), host.things(), host.done());
    let expected = || scene.chapter.holds.iter().chain(&earlier.holds);
    let lost = |(name, why): &&(String, HeldReason)| {
        *why == HeldReason::Lost && !expected().any(|(other, why)| other == name && *why == HeldReason::Lost)
    };
    if let Some((name, _)) = held.iter().find(lost) {
        return Err(format!("O1: {name} counts as lost, and was removed"));
    }
    oracles::o2_made_and_destroyed_once(&done)?;
    oracles::o3_objects_and_documents_agree(&things, reading, &held)?;
    oracles::o4_content_is_as_declared(begun.canary, &done[begun.past..], &things)?;
    oracles::o11_foreign_objects_untouched(&begun.before, &things, &done)?;
    oracles::o5_stays_settled(host, reading, manner).await?;
    oracles::o4_losses_are_seen(host, reading, manner, &held).await
}

/// What must hold of a host on which a disturbed run was followed by others.
async fn judge(
    scene: &Scene<'_>,
    host: &Host,
    strike: &Strike,
    begun: Begun,
    reached: &mut Reached,
) -> Result<(), String> {
    let Begun { canary, before, past } = begun;
    let fault = strike.fault;
    let (reading, manner) = (&scene.chapter.reading, scene.manner());
    match (&scene.chapter.work, work(scene, host, reached).await) {
        // The plan saw to what came after a step that was not made: it is another one now.
        (Work::Saved, Err(error)) if fault == Fault::Lie && error.starts_with("the saved plan was refused") => {}
        (_, ended) => ended?,
    }
    let held = oracles::holds(&settle(scene, host, reached).await?);
    let things = host.things();
    let done = host.done();
    let end = oracles::lines(&things, host, &held, &scene.capabilities);
    oracles::o1_ends_as_undisturbed(&end, &scene.reference, matches!(fault, Fault::Lie | Fault::Cut))?;
    oracles::o2_made_and_destroyed_once(&done)?;
    oracles::o2_nothing_beside_another_writer(&done[past..], &held)?;
    oracles::o3_objects_and_documents_agree(&things, reading, &held)?;
    oracles::o4_content_is_as_declared(canary, &done[past..], &things)?;
    oracles::o11_foreign_objects_untouched(&before, &things, &done)?;
    let keeps_store = strike.keeps_store && strike.second.is_none_or(|(_, kept)| kept);
    if keeps_store && scene.capabilities.absence != Absence::ByLedger {
        let journal = host.store.journal(10_000).map_err(|error| error.to_string())?;
        reports::o13_journal_tells_every_effect(&journal, &done[past..])?;
        if fault != Fault::Lie {
            reports::o13_journal_tells_only_effects(&journal, &done)?;
        }
    }
    oracles::o5_stays_settled(host, reading, &manner).await?;
    oracles::o4_losses_are_seen(host, reading, &manner, &held).await?;
    if !scene.chapter.needs_store {
        oracles::o12_settled_for_a_stranger(host, reading, &manner).await?;
    }
    match &scene.earlier {
        Some((earlier, then)) if scene.chapter.can_go_back => {
            host.settle(&earlier.reading, &Manner::default(), BOUND).await.map_err(|error| format!("O7: {error}"))?;
            oracles::o7_went_back(&earlier.reading, then, &host.things())
        }
        _ => Ok(()),
    }
}

/// Settles, and as a person does where the ledger proves absence, removes what may exist. Returns the last plan.
pub async fn settle(scene: &Scene<'_>, host: &Host, reached: &mut Reached) -> Result<Plan, String> {
    let (reading, manner) = (&scene.chapter.reading, scene.manner());
    let mut last = host.settle(reading, &manner, BOUND).await?;
    reached.add_held(&last);
    if scene.capabilities.absence == Absence::ByLedger {
        host.forget_what_may_exist(reading).await?;
        last = host.settle(reading, &manner, BOUND).await?;
        reached.add_held(&last);
    }
    Ok(last)
}
