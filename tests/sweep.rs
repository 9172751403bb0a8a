//! Stories on every driver, disturbed at every call: see `tests/harness`.
//!
//! A run tries a sample that the commit chooses, and every case that failed once (`tests/harness/failed`). `KILN_FULL=1` tries everything.
//! `KILN_SEED` chooses another sample; `KILN_CASES` says how many cases it has, `KILN_SEEDS` how many stories are generated.
//! `KILN_CASE='everything/change@all pool.grow_db#0 lie kept'` tries one case, `KILN_CASE='generated@all 17'` tells one story.

mod harness;
mod rig;

use std::sync::Mutex;

use harness::coverage::{Reached, Unreachable};
use harness::gate::Fault;
use harness::seed::{is_full, number, seed, text};
use harness::sim::Simulator;
use harness::{Bench, Budget, coverage, generated, stories, sweep};
use kiln::plan::HeldReason;

/// The cases that failed once.
const FAILED: &str = include_str!("harness/failed");

/// Cases that a run tries unless it tries everything.
const CASES: u64 = 2200;

/// Generated stories that a run tells unless it tries everything.
const SEEDS: u64 = 480;

/// What no story on the simulator reaches, and why. An entry that is reached fails the run.
const UNREACHABLE: Unreachable = &[
    ("reserve", "blind", "space is reserved later only where clients are seen"),
    ("reserve", "hidden-reservation", "space is reserved later only where it is shown"),
    ("rename", "no-rename", "nothing can be renamed"),
    ("trash", "no-trash", NO_TRASH),
    ("trash", "nested-no-trash", NO_TRASH),
    ("trash", "by-ledger", NO_TRASH),
    ("trash", "by-ledger-unrepeatable", NO_TRASH),
    ("trash", "by-ledger-nested", NO_TRASH),
    ("undelete", "no-trash", NO_TRASH),
    ("undelete", "nested-no-trash", NO_TRASH),
    ("undelete", "by-ledger", NO_TRASH),
    ("undelete", "by-ledger-unrepeatable", NO_TRASH),
    ("undelete", "by-ledger-nested", NO_TRASH),
    ("purge", "no-trash", NO_TRASH),
    ("purge", "nested-no-trash", NO_TRASH),
    ("purge", "by-ledger", NO_TRASH),
    ("purge", "by-ledger-unrepeatable", NO_TRASH),
    ("purge", "by-ledger-nested", NO_TRASH),
    ("detach", "no-trash", NO_TRASH),
    ("detach", "nested-no-trash", NO_TRASH),
    ("detach", "by-ledger", NO_TRASH),
    ("detach", "by-ledger-unrepeatable", NO_TRASH),
    ("detach", "by-ledger-nested", NO_TRASH),
    ("adopt", "by-ledger", UNSEEN),
    ("adopt", "by-ledger-unrepeatable", UNSEEN),
    ("adopt", "by-ledger-nested", UNSEEN),
    ("sweep", "by-ledger", UNSEEN),
    ("sweep", "by-ledger-unrepeatable", UNSEEN),
    ("sweep", "by-ledger-nested", UNSEEN),
];
const NO_TRASH: &str = "there is no trash; what is withdrawn with `onRemove: Detach` goes to the trash";
const UNSEEN: &str = "only what was made there is seen";

/// What nothing is held for, and why.
const NEVER_HELD: &[(HeldReason, &str)] = &[
    (HeldReason::OpenExport, "no export is planned yet"),
    (HeldReason::Progressing, "only passes of the daemon leave steps that still run"),
];

/// The cases to try beside the sample, or instead of it.
fn known(is_generated: bool) -> (bool, String) {
    let one = text("KILN_CASE");
    let known = if one.is_empty() { FAILED } else { &one };
    let lines = known.lines().filter(|line| line.starts_with("generated@") == is_generated && !line.starts_with('#'));
    (!one.is_empty(), lines.map(|line| format!("{line}\n")).collect())
}

#[test]
fn every_story_converges_from_every_point() {
    let bench = Simulator;
    let (is_one, known) = known(false);
    let cases = usize::try_from(number("KILN_CASES").unwrap_or(CASES)).unwrap();
    let budget = match (is_one, is_full()) {
        (true, _) => Budget::Known,
        (false, true) => Budget::Full,
        (false, false) => Budget::Sample(cases),
    };
    let seed = seed();
    println!("KILN_SEED={seed}");
    let swept = sweep(&bench, &stories::all(), &Fault::ALL, budget, seed, &known);
    let modes: Vec<&str> = bench.modes().iter().map(|(name, _)| *name).collect();
    let conditions = coverage::conditions(&modes);
    println!("{}", swept.reached.table(&conditions));
    let Reached { cases, crashes, second_crashes, .. } = &swept.reached;
    let (stories, chapters, points) = (swept.stories, swept.scenes, swept.points);
    println!(
        "{stories} stories with {chapters} chapters and {points} points: {cases} cases with {crashes} crashes, and {second_crashes}"
    );
    println!("crashes in a recovery, in {:.0?}", swept.took);
    let failures = &swept.failures;
    assert!(failures.is_empty(), "KILN_SEED={seed}: {} failures:\n{}", failures.len(), failures.join("\n\n"));
    if !is_one {
        let gaps = swept.reached.gaps(&conditions, UNREACHABLE, NEVER_HELD);
        assert!(gaps.is_empty(), "KILN_SEED={seed}: what the stories should reach:\n{}", gaps.join("\n"));
    }
}

#[test]
fn generated_stories_settle_when_their_faults_stop() {
    let bench = Simulator;
    let (is_one, known) = known(true);
    let seed = seed();
    println!("KILN_SEED={seed}");
    let modes: Vec<&str> = bench.modes().iter().map(|(name, _)| *name).collect();
    let known = known.lines().map(|line| {
        let (mode, seed) = line.strip_prefix("generated@").and_then(|line| line.split_once(' ')).unwrap();
        let mode = modes.iter().find(|known| **known == mode).unwrap_or_else(|| panic!("there is no mode {mode}"));
        (*mode, seed.trim().parse::<u64>().unwrap())
    });
    let many = number("KILN_SEEDS").unwrap_or(if is_full() { 20 * SEEDS } else { SEEDS });
    let fresh = (0..if is_one { 0 } else { many }).map(|nth| {
        let mode = modes[usize::try_from(nth % modes.len() as u64).unwrap()];
        (mode, seed.wrapping_add(nth))
    });
    let told: Vec<(&str, u64)> = known.chain(fresh).collect();
    let total = Mutex::new((0, 0, Vec::new()));
    harness::sweep::in_parallel(told.len(), |index| {
        let (mode, seed) = told[index];
        let mut reached = Reached::default();
        let ended = harness::sweep::caught(|| rig::run(generated::tell(&bench, mode, seed, &mut reached)));
        let mut total = total.lock().unwrap();
        total.1 += reached.crashes;
        match ended {
            Ok(passes) => total.0 += passes,
            Err(error) => total.2.push(format!("generated@{mode} {seed}: {error}")),
        }
    });
    let (passes, crashes, failures) = total.into_inner().unwrap();
    println!("{} stories: {passes} passes with {crashes} crashes", told.len());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}
