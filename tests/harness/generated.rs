//! Generated stories: manifests change at random, faults strike at random, strangers meddle, processes die and the store is lost. When the
//! faults stop, everything settles; and what is held then is held for a cause that [`causes`](super::causes) knows.
//!
//! Every story is told by its seed.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use kiln::model::{Absence, Capabilities, Kind, OnRemove, Place, Reading, Size, Uid};
use kiln::store::Store;

use crate::rig::{Dice, HEAD, snapshot, specs, volume};

use super::case::BOUND;
use super::causes;
use super::coverage::Reached;
use super::gate::{Done, Fault, Gate, Rates};
use super::host::{Host, Manner, prod};
use super::oracles::{self, Canary};
use super::pool::{Bench, Outside, Thing};
use super::reports;

const VOLUMES: u64 = 5;
const SNAPSHOTS: u64 = 4;

/// A random set of manifests. Volumes come and go; sizes only grow within a story, most of the time.
fn declare(dice: &mut Dice, generation: u64) -> Reading {
    let mut text = HEAD.to_owned();
    let present: Vec<u64> = (0..VOLUMES).filter(|_| !dice.one_in(3)).collect();
    let mut renamed_away = Vec::new();
    for v in &present {
        let size = 1 + generation + dice.roll(3);
        let mut spec = format!("size: {size}Mi");
        match dice.roll(8) {
            0 => spec.push_str(&format!(", source: {{snapshot: s{}}}", dice.roll(SNAPSHOTS))),
            1 => spec.push_str(&format!(", source: {{volume: v{}}}", dice.roll(VOLUMES))),
            _ => {}
        }
        match dice.roll(6) {
            0 => spec.push_str(", protected: true"),
            1 => spec.push_str(", protected: false"),
            _ => {}
        }
        match dice.roll(6) {
            0 => spec.push_str(", onRemove: Retain"),
            1 => spec.push_str(", onRemove: Delete"),
            2 => spec.push_str(", onRemove: Trash"),
            _ => {}
        }
        if dice.one_in(5) {
            spec.push_str(&format!(", restore: {{snapshot: s{}, request: r{}}}", dice.roll(SNAPSHOTS), dice.roll(3)));
        }
        if dice.one_in(8) {
            spec.push_str(", provisioning: thick");
        }
        if dice.one_in(3) {
            spec.push_str(&format!(", qos: {{iops: {}}}", 1 + dice.roll(2)));
        }
        if *v == 3 {
            spec.push_str(", encryption: {passphraseFrom: {env: PASS}}");
        }
        if *v == 4 {
            spec.push_str(", object: by-name");
        }
        // Some are renamed, with and without saying so.
        let renamed = *v < 2 && dice.one_in(4);
        let name = format!("{}{v}", if renamed { "w" } else { "v" });
        let document = volume(&name, &spec);
        text.push_str(&match renamed && !dice.one_in(3) {
            true => document.replace(&format!("name: {name}"), &format!("name: {name}, renamedFrom: v{v}")),
            false => document,
        });
        if renamed {
            renamed_away.push(*v);
        }
    }
    for s in 0..SNAPSHOTS {
        // Each snapshot is of one volume for ever; without it, it cannot be declared.
        let of = s % VOLUMES;
        if present.contains(&of) && !renamed_away.contains(&of) && !dice.one_in(3) {
            let more = match dice.roll(5) {
                0 => ", onRemove: Detach",
                1 => ", onRemove: Delete",
                2 => ", protected: true",
                3 => ", protected: false",
                _ => "",
            };
            text.push_str(&snapshot(&format!("s{s}"), &format!("v{of}"), more));
        }
    }
    specs(&text)
}

fn rates(dice: &mut Dice, can: &Capabilities) -> Rates {
    let most = [
        (Fault::Error, 20),
        (Fault::LostReply, 20),
        (Fault::Half, 20),
        (Fault::Stale, 10),
        (Fault::Cut, 15),
        (Fault::Slow, 10),
        (Fault::Hang, 3),
        (Fault::HangAfter, 3),
        (Fault::Lie, 10),
    ];
    let mut rates = Rates::new();
    for (fault, most) in most {
        let rate = if dice.one_in(2) { 0 } else { dice.roll(most) };
        if rate > 0 && super::sweep::can_have(can, fault) {
            rates.insert(fault, rate);
        }
    }
    rates
}

/// What the oracles remember of a story.
#[derive(Default)]
pub struct Memory {
    /// What strangers did to objects that are ours: only these may be Lost, Renamed, …
    pub meddled: bool,
    /// Whether calls may have lied.
    pub lied: bool,
    /// What runs destroyed, and of which the ledger does not tell yet that it is gone.
    destroyed: BTreeSet<Uid>,
    /// Of this, what no journal tells of, because the store was lost with the run.
    pub forgotten: BTreeSet<Uid>,
    /// Whether the store was never lost.
    knows_all: bool,
}

impl Memory {
    fn note(&mut self, host: &Host, done: &[Done]) {
        let is_destroyed = |one: &&Done| one.changed() && matches!(one.step.action, kiln::model::Action::Destroy);
        self.destroyed.extend(done.iter().filter(is_destroyed).map(|one| one.step.identity.uid));
        let ledger = host.pools["pool"].ledger(&prod());
        self.destroyed.retain(|uid| ledger.as_ref().is_some_and(|ledger| ledger.destroying.contains(uid)));
    }
}

/// A stranger does something to one of our objects.
fn meddle(dice: &mut Dice, host: &Host, memory: &mut Memory) {
    // What was made seconds before a crash and is not in the ledger yet cannot be told from what never was, once the store is lost
    // too: ARCHITECTURE says so. Strangers in these stories leave it alone.
    let Some(ledger) = host.pools["pool"].ledger(&prod()) else { return };
    let live: Vec<Thing> = host.things().into_iter().map(|(_, thing)| thing).collect();
    let is_live = |native| live.iter().find(|thing| thing.object.native == native && thing.object.place == Place::Live);
    let ours: Vec<&Thing> = ledger.complete.values().filter_map(|entry| is_live(entry.native.clone())).collect();
    if ours.is_empty() {
        return;
    }
    let victim = ours[usize::try_from(dice.roll(ours.len() as u64)).unwrap()];
    memory.meddled = true;
    // A name lives as long as the test.
    let native: &'static str = Box::leak(victim.object.native.to_string().into_boxed_str());
    let size = victim.object.size.bytes();
    let event = match dice.roll(6) {
        5 => Outside::Unlimit(native),
        4 => Outside::Resize(native, Size(size / 2 / 4096 * 4096)),
        0 => Outside::Delete(native),
        1 => Outside::Resize(native, Size(size + (1 << 20))),
        2 => Outside::Label(native),
        _ => Outside::EmptyTrash,
    };
    host.outside("pool", &event);
}

/// Tells a story. Returns how many passes it took.
pub async fn tell(bench: &dyn Bench, mode: &str, seed: u64, reached: &mut Reached) -> Result<usize, String> {
    let (_, can) = bench.modes().into_iter().find(|(name, _)| *name == mode).expect("a mode of the driver");
    let mut dice = Dice(seed);
    let mut host = Host::new([("pool".to_owned(), bench.pool(mode, 7))].into());
    host.outside("pool", &Outside::Make { native: "foreign", size: Size(1 << 20), stamp: 99 });
    let mut memory = Memory { knows_all: true, ..Memory::default() };
    let strangers = dice.one_in(3);
    let mut last = declare(&mut dice, 0);
    let mut passes = 0;
    for generation in 0..(2 + dice.roll(4)) {
        last = declare(&mut dice, generation);
        let rates = rates(&mut dice, &can);
        memory.lied |= rates.contains_key(&Fault::Lie);
        let manner = Manner { yes: !dice.one_in(4), ..Manner::default() };
        for _ in 0..=dice.roll(3) {
            let crash = if dice.one_in(2) { Fault::CrashBefore } else { Fault::CrashAfter };
            let crash = dice.one_in(5).then_some((usize::try_from(dice.roll(60)).unwrap(), crash));
            host.gate = Gate::at_random(seed.wrapping_add(passes as u64 * 1_000_003), rates.clone(), crash);
            let (before, past) = (host.things(), host.past.len());
            let canary = Canary::before(&before);
            let gate = host.gate.clone();
            let died = tokio::select! {
                biased;
                () = gate.died.notified() => true,
                passed = host.pass(&last, &manner) => match passed {
                    Ok(passed) => {
                        reached.add_held(passed.report.plan.as_ref().unwrap());
                        reports::o13_reports_are_true(&passed, &host.things(), &host.ledgers())?;
                        false
                    }
                    Err(error) if !gate.is_dead() => return Err(error.to_string()),
                    Err(_) => true,
                },
            };
            let keeps_store = !died || !dice.one_in(3);
            memory.knows_all &= keeps_store;
            reached.crashes += usize::from(died);
            reached.add_met(&host.gate);
            host.restarted(keeps_store).await;
            passes += 1;
            let (things, done) = (host.things(), host.done());
            memory.note(&host, &done[past..]);
            if !keeps_store {
                memory.forgotten.append(&mut memory.destroyed);
            }
            oracles::o4_content_is_as_declared(canary, &done[past..], &things)?;
            oracles::o11_foreign_objects_untouched(&before, &things, &done)?;
            clients_write(&mut dice, &host);
            if strangers && dice.one_in(3) {
                meddle(&mut dice, &host, &mut memory);
            }
            host.clock.0.fetch_add(dice.roll(100), Ordering::SeqCst);
        }
    }
    // The faults stop, and somebody is there to say yes.
    settles(&host, &last, &can, &memory, reached).await?;
    Ok(passes)
}

/// Clients write to some of our volumes.
fn clients_write(dice: &mut Dice, host: &Host) {
    let ours = |thing: &Thing| {
        let identity = thing.object.identity.as_ref();
        thing.object.place == Place::Live && identity.is_some_and(|id| id.kind == Kind::Volume && id.owner == prod())
    };
    for (_, thing) in host.things().iter().filter(|(_, thing)| ours(thing)) {
        if dice.one_in(2) {
            let native: &'static str = Box::leak(thing.object.native.to_string().into_boxed_str());
            let (block, stamp) = (dice.roll(64), 1 + dice.roll(1000));
            host.outside("pool", &Outside::Write { object: native, block, stamp });
        }
    }
}

async fn settles(
    host: &Host,
    reading: &Reading,
    can: &Capabilities,
    memory: &Memory,
    reached: &mut Reached,
) -> Result<(), String> {
    let manner = Manner::default();
    let (before, past) = (host.things(), host.done().len());
    let canary = Canary::before(&before);
    let mut plan = host.settle(reading, &manner, BOUND).await?;
    if can.absence == Absence::ByLedger {
        // The person removes what may exist, too.
        host.forget_what_may_exist(reading).await?;
        plan = host.settle(reading, &manner, BOUND).await?;
    }
    reached.add_held(&plan);
    let (things, done) = (host.things(), host.done());
    oracles::o2_made_and_destroyed_once(&done)?;
    oracles::o3_objects_and_documents_agree(&things, reading, &oracles::holds(&plan))?;
    oracles::o4_content_is_as_declared(canary, &done[past..], &things)?;
    oracles::o11_foreign_objects_untouched(&before, &things, &done)?;
    // What a stranger changed back no observation shows.
    if memory.knows_all && !memory.meddled && can.absence != Absence::ByLedger {
        let journal = host.store.journal(10_000).map_err(|error| error.to_string())?;
        reports::o13_journal_tells_every_effect(&journal, &done)?;
    }
    causes::each_hold_has_its_cause(host, reading, can, memory, &plan)?;
    oracles::o5_stays_settled(host, reading, &manner).await?;
    oracles::o12_settled_for_a_stranger(host, reading, &manner).await
}

/// Whether an object is destroyed when its document is withdrawn.
pub fn is_destroyed_on_removal(thing: &Thing) -> bool {
    thing.object.tags.on_remove() == OnRemove::Delete
}
