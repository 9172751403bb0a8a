//! The sweep: every story in every mode, every fault at every call that it fits.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln::model::{Absence, Capabilities};
use kiln::plan::Saved;

use crate::rig::{Dice, run as run_paused};

use super::case::{Scene, Strike, run, settle, work};
use super::coverage::Reached;
use super::gate::{CallKind, Fault};
use super::host::Host;
use super::oracles::{self, Canary};
use super::pool::Bench;
use super::story::{Story, Work};

/// How much is swept.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// So many cases, chosen by the seed: of each fault at each action at least one.
    Sample(usize),
    /// Everything.
    Full,
    /// Only the known cases.
    Known,
}

/// What a sweep did.
pub struct Swept {
    pub reached: Reached,
    pub stories: usize,
    pub scenes: usize,
    /// All cases that there are.
    pub points: usize,
    pub failures: Vec<String>,
    pub took: Duration,
}

/// Tells all stories in all modes, with each of the faults at each call, or a sample of it. `known`: the cases that failed once.
pub fn sweep(bench: &dyn Bench, stories: &[Story], faults: &[Fault], budget: Budget, seed: u64, known: &str) -> Swept {
    let began = Instant::now();
    let told: Vec<(&Story, &'static str)> =
        stories.iter().flat_map(|story| story.modes.iter().map(move |mode| (story, *mode))).collect();
    let scenes = Mutex::new(BTreeMap::new());
    let total = Mutex::new((Reached::default(), Vec::new()));
    in_parallel(told.len(), |index| {
        let (story, mode) = told[index];
        let mut reached = Reached::default();
        match caught(|| run_paused(tell(bench, story, mode, &mut reached))) {
            Ok(found) => {
                scenes.lock().unwrap().insert(index, found);
            }
            Err(error) => total.lock().unwrap().1.push(format!("{}@{mode}, undisturbed: {error}", story.name)),
        }
        total.lock().unwrap().0.add(reached);
    });
    let scenes: Vec<Scene<'_>> = scenes.into_inner().unwrap().into_values().flatten().collect();
    let cases: Vec<(usize, Strike)> = scenes
        .iter()
        .enumerate()
        .flat_map(|(at, scene)| cases_of(scene, faults).into_iter().map(move |s| (at, s)))
        .collect();
    let points = cases.len();
    let (mut chosen, unknown) = known_cases(&scenes, known);
    total.lock().unwrap().1.extend(unknown);
    chosen.extend(match budget {
        Budget::Full => with_seconds(&scenes, cases, seed),
        Budget::Known => Vec::new(),
        Budget::Sample(most) => sample(&scenes, cases, most, seed),
    });
    in_parallel(chosen.len(), |index| {
        let (at, strike) = &chosen[index];
        let mut reached = Reached::default();
        let ended = caught(|| run_paused(run(&scenes[*at], strike, &mut reached)));
        let mut total = total.lock().unwrap();
        total.0.add(reached);
        total.1.extend(ended.err().map(|error| format!("{} {strike}: {error}", scenes[*at].name())));
    });
    let (reached, failures) = total.into_inner().unwrap();
    Swept { reached, stories: told.len(), scenes: scenes.len(), points, failures, took: began.elapsed() }
}

/// Calls a function for each index, on as many threads as there are processors.
pub fn in_parallel(count: usize, act: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    if index >= count {
                        break;
                    }
                    act(index);
                }
            });
        }
    });
}

/// A panic is a failure of its case (O10).
pub fn caught<T>(case: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(case)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("O10: panicked: {}", text.unwrap_or_default()))
    })
}

/// Tells a story undisturbed. Returns each chapter as it begins, with its end and its calls.
async fn tell<'a>(
    bench: &dyn Bench,
    story: &'a Story,
    mode: &'static str,
    reached: &mut Reached,
) -> Result<Vec<Scene<'a>>, String> {
    let (_, capabilities) = bench.modes().into_iter().find(|(name, _)| *name == mode).expect("a mode of the driver");
    let pools = story.pools.iter().zip(7..).map(|(name, seed)| ((*name).to_owned(), bench.pool(mode, seed)));
    let mut host = Host::new(pools.collect());
    for (pool, event) in &story.begin {
        host.outside(pool, event);
    }
    let mut scenes: Vec<Scene<'a>> = Vec::new();
    for (nth, chapter) in story.chapters.iter().enumerate() {
        let then = host.things();
        for (pool, event) in &chapter.outside {
            host.outside(pool, event);
        }
        let saved = match chapter.work {
            Work::Saved => {
                let plan = host.overview(&chapter.reading).await.plan;
                // It is read again from its file.
                let text = Saved::new(chapter.reading.clone(), plan).to_json().map_err(|error| error.to_string())?;
                Some(Saved::parse(&text).map_err(|error| format!("{error:?}"))?)
            }
            Work::Passes | Work::Decide(_) => None,
        };
        let earlier = nth.checked_sub(1).map(|nth| (&story.chapters[nth], then));
        let reference = oracles::Lines::new();
        let start = host.fork(true);
        let trace = Vec::new();
        let mut scene = Scene {
            story: story.name,
            mode,
            chapter,
            earlier,
            capabilities: capabilities.clone(),
            start,
            saved,
            reference,
            trace,
        };
        host = scene.start.fork(true);
        undisturbed(&mut scene, &host, reached).await.map_err(|error| format!("{}: {error}", chapter.name))?;
        host.restarted(true).await;
        scenes.push(scene);
    }
    Ok(scenes)
}

/// The undisturbed run of a chapter, which every other one must end like.
async fn undisturbed(scene: &mut Scene<'_>, host: &Host, reached: &mut Reached) -> Result<(), String> {
    let before = host.things();
    let (canary, past) = (Canary::before(&before), host.past.len());
    work(scene, host, reached).await?;
    scene.trace = host.gate.trace();
    let last = settle(scene, host, reached).await?;
    let reading = &scene.chapter.reading;
    let held = oracles::holds(&last);
    let mut expected: Vec<_> = scene.chapter.holds.iter().map(|(name, why)| ((*name).to_owned(), *why)).collect();
    expected.sort();
    if held != expected {
        let said: Vec<String> =
            last.held.iter().map(|held| format!("{} {}: {}", held.reason, held.name, held.message)).collect();
        return Err(format!("held are {held:?}, and should be {expected:?}\n{}", said.join("\n")));
    }
    let (things, done) = (host.things(), host.done());
    reached.add_clean(scene.mode, &done[past..]);
    scene.reference = oracles::lines(&things, host, &held, &scene.capabilities);
    oracles::o2_made_and_destroyed_once(&done)?;
    oracles::o2_nothing_beside_another_writer(&done[past..], &held)?;
    oracles::o3_objects_and_documents_agree(&things, reading, &held)?;
    oracles::o4_content_is_as_declared(canary, &done[past..], &things)?;
    oracles::o11_foreign_objects_untouched(&before, &things, &done)?;
    oracles::o5_stays_settled(host, reading, &scene.chapter.manner).await
}

/// Every fault at every call of a chapter.
fn cases_of(scene: &Scene<'_>, faults: &[Fault]) -> Vec<Strike> {
    let mut cases = Vec::new();
    for (point, kind) in &scene.trace {
        for fault in faults.iter().copied().filter(|fault| fault.fits(*kind) && can_have(&scene.capabilities, *fault)) {
            for keeps_store in if fault.is_crash() { &[true, false][..] } else { &[true][..] } {
                // Without the store, what only it tells is not known any more.
                if *keeps_store || !scene.chapter.needs_store {
                    let strike = Strike {
                        point: point.clone(),
                        fault,
                        keeps_store: *keeps_store,
                        second: None,
                        turns_back: false,
                    };
                    // Without the store, nothing tells what was destroyed from what vanished.
                    if fault.is_crash() && *keeps_store && can_turn_back(scene) {
                        cases.push(Strike { turns_back: true, ..strike.clone() });
                    }
                    cases.push(strike);
                }
            }
        }
    }
    cases
}

/// Whether the documents of the chapter before can come back while this one is under way.
fn can_turn_back(scene: &Scene<'_>) -> bool {
    matches!(scene.chapter.work, Work::Passes) && scene.earlier.is_some() && scene.story != "taken-over"
}

/// Whether a driver that can do this can have such a fault.
pub fn can_have(can: &Capabilities, fault: Fault) -> bool {
    match fault {
        // By a complete listing that does not show what was made, everything is made once more. Records show each effect at once.
        Fault::Stale => can.repeatable && can.absence != Absence::ByLedger,
        _ => true,
    }
}

/// All cases, and to every seventh crash a second one at every call of the run after it.
fn with_seconds(scenes: &[Scene<'_>], cases: Vec<(usize, Strike)>, seed: u64) -> Vec<(usize, Strike)> {
    let crashes = cases
        .iter()
        .filter(|(_, strike)| strike.fault == Fault::CrashAfter && strike.keeps_store && !strike.turns_back);
    let mut second = Vec::new();
    for (at, strike) in crashes.skip(usize::try_from(seed % 7).unwrap()).step_by(7) {
        for call in 0..scenes[*at].trace.len() + 8 {
            second.push((*at, Strike { second: Some((call, call % 2 == 0)), ..strike.clone() }));
        }
    }
    cases.into_iter().chain(second).collect()
}

/// Cases chosen by a seed: first one of each fault at each action, with the store and without it, and with a second crash; then any.
fn sample(scenes: &[Scene<'_>], mut cases: Vec<(usize, Strike)>, most: usize, seed: u64) -> Vec<(usize, Strike)> {
    let mut dice = Dice(seed);
    for last in (1..cases.len()).rev() {
        cases.swap(last, usize::try_from(dice.roll(last as u64 + 1)).unwrap());
    }
    let mut seen = BTreeSet::new();
    let (first, mut rest): (Vec<_>, Vec<_>) = cases.into_iter().partition(|(at, strike)| {
        let kind = scenes[*at].trace.iter().find(|(point, _)| *point == strike.point).map(|(_, kind)| *kind);
        seen.insert((kind, strike.fault, strike.keeps_store, strike.turns_back))
    });
    rest.truncate(most.saturating_sub(first.len()));
    let mut chosen = first;
    chosen.extend(in_recoveries(scenes, &mut dice));
    // The last call of a run that died is the step itself: the run after it reaches it again.
    let second = |(at, strike): &(usize, Strike), dice: &mut Dice| {
        let calls = scenes[*at].trace.len() as u64;
        let call = usize::try_from(dice.roll(calls)).unwrap();
        (*at, Strike { second: Some((call, dice.one_in(2))), ..strike.clone() })
    };
    for (nth, case) in rest.into_iter().enumerate() {
        let twice =
            case.1.fault.is_crash() && !case.1.turns_back && !scenes[case.0].chapter.needs_store && nth % 3 == 0;
        chosen.push(if twice { second(&case, &mut dice) } else { case });
    }
    chosen
}

/// For each action a run that dies at its first call, and the one after it at the action.
fn in_recoveries(scenes: &[Scene<'_>], dice: &mut Dice) -> Vec<(usize, Strike)> {
    let mut of: BTreeMap<&'static str, Vec<(usize, usize)>> = BTreeMap::new();
    for (at, scene) in scenes.iter().enumerate().filter(|(_, scene)| !scene.chapter.needs_store) {
        for (call, (_, kind)) in scene.trace.iter().enumerate() {
            if let CallKind::Step(deed, _) = kind {
                of.entry(deed).or_default().push((at, call));
            }
        }
    }
    let one = |places: Vec<(usize, usize)>| {
        let (at, call) = places[usize::try_from(dice.roll(places.len() as u64)).unwrap()];
        let point = scenes[at].trace[0].0.clone();
        (
            at,
            Strike {
                point,
                fault: Fault::CrashBefore,
                keeps_store: true,
                second: Some((call, dice.one_in(2))),
                turns_back: false,
            },
        )
    };
    of.into_values().map(one).collect()
}

/// The cases that failed once: a scene and a strike on each line.
fn known_cases(scenes: &[Scene<'_>], known: &str) -> (Vec<(usize, Strike)>, Vec<String>) {
    let (mut cases, mut unknown) = (Vec::new(), Vec::new());
    for line in known.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let found = line.split_once(' ').and_then(|(name, strike)| {
            let at = scenes.iter().position(|scene| scene.name() == name)?;
            let strike: Strike = strike.parse().ok()?;
            scenes[at].trace.iter().any(|(point, _)| *point == strike.point).then_some((at, strike))
        });
        match found {
            Some(case) => cases.push(case),
            None => unknown.push(format!("`{line}`: there is no such case any more")),
        }
    }
    (cases, unknown)
}
