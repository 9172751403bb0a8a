//! Each oracle says no to what is wrong: worlds, reports and histories that were made so.

use std::collections::BTreeMap;

use kiln::engine::{Event, Report};
use kiln::model::{
    Action, Identity, JournalEntry, JournalOutcome, Kind, Object, Outcome, Place, Provisioning, Reading, Reason, Size,
    Step, Tags,
};
use kiln::plan::{HeldReason, Plan};

use crate::rig::{join, run, volume};

use super::gate::Done;
use super::host::{Host, Manner, Passed, prod};
use super::oracles::{self, Canary, Lines};
use super::pool::{Bench, Outside, Thing};
use super::reports;
use super::sim::Simulator;

fn identity(kind: Kind, name: &str, uid: &str) -> Identity {
    Identity { owner: prod(), kind, name: name.parse().unwrap(), uid: uid.parse().unwrap() }
}

fn db() -> Identity {
    identity(Kind::Volume, "db", "aaaaaaaa")
}

fn thing(identity: Identity, place: Place, stamps: &[(u64, u64)]) -> (String, Thing) {
    let object = Object::of(identity, place, Size(1 << 20));
    ("pool".to_owned(), Thing { object, content: stamps.iter().copied().collect() })
}

fn step(action: Action) -> Step {
    Step::new("pool".parse::<kiln::model::Name>().unwrap(), db(), action, Reason::NotThere)
}

fn create() -> Action {
    let (size, tags) = (Size(1 << 20), Tags::default());
    let (provisioning, settings) = (Provisioning::Thin, kiln::model::VolumeSettings::default());
    Action::Create { size, provisioning, origin: None, tags, settings, n: 0 }
}

fn done(action: Action) -> Done {
    Done { pool: "pool".to_owned(), step: step(action), result: Ok(Outcome::Changed), half: false }
}

fn declared() -> Reading {
    join(&[volume("db", "size: 1Mi")])
}

#[test]
fn o1_another_end_is_seen() {
    let lines = |value: &str| Lines::from([("pool Live db".to_owned(), value.to_owned())]);
    assert_eq!(oracles::o1_ends_as_undisturbed(&lines("1Mi"), &lines("1Mi"), false), Ok(()));
    assert!(oracles::o1_ends_as_undisturbed(&lines("1Mi"), &lines("2Mi"), false).is_err());
    assert_eq!(oracles::o1_ends_as_undisturbed(&lines("1Mi"), &lines("2Mi"), true), Ok(()));
    assert!(oracles::o1_ends_as_undisturbed(&Lines::new(), &lines("1Mi"), true).is_err());
    assert!(oracles::o1_ends_as_undisturbed(&lines("1Mi"), &Lines::new(), true).is_err());
}

#[test]
fn o2_a_second_creation_and_a_second_destruction_are_seen() {
    for action in [create(), Action::Destroy] {
        let once = [done(action.clone()), done(Action::Grow { to: Size(2 << 20) })];
        assert_eq!(oracles::o2_made_and_destroyed_once(&once), Ok(()));
        assert!(oracles::o2_made_and_destroyed_once(&[done(action.clone()), done(action)]).is_err());
    }
    let unchanged = Done { result: Ok(Outcome::Unchanged), ..done(create()) };
    assert_eq!(oracles::o2_made_and_destroyed_once(&[done(create()), unchanged]), Ok(()));
}

#[test]
fn o2_a_step_beside_another_writer_is_seen() {
    let held = vec![("volume/db".to_owned(), HeldReason::OtherWriter)];
    assert_eq!(oracles::o2_nothing_beside_another_writer(&[], &held), Ok(()));
    assert!(oracles::o2_nothing_beside_another_writer(&[done(create())], &held).is_err());
}

#[test]
fn o3_orphans_and_missing_objects_are_seen() {
    let live = || thing(db(), Place::Live, &[]);
    let judged = |things: &[(String, Thing)], held: &[(String, HeldReason)]| {
        oracles::o3_objects_and_documents_agree(things, &declared(), held)
    };
    assert_eq!(judged(&[live()], &[]), Ok(()));
    assert!(judged(&[], &[]).is_err(), "it is missing");
    assert_eq!(judged(&[], &[("volume/db".to_owned(), HeldReason::Lost)]), Ok(()));
    let other = || thing(identity(Kind::Volume, "other", "bbbbbbbb"), Place::Live, &[]);
    assert!(judged(&[live(), other()], &[]).is_err(), "nothing declares it");
    let mut released = other();
    released.1.object.tags = Tags { retained: true, ..Tags::default() }.into();
    assert_eq!(judged(&[live(), released], &[]), Ok(()));
    assert!(judged(&[live(), thing(db(), Place::Temporary, &[])], &[]).is_err(), "it is left unfinished");
    assert!(judged(&[live(), thing(identity(Kind::Volume, "db", "cccccccc"), Place::Live, &[])], &[]).is_err());
    let mut small = live();
    small.1.object.size = Size(4096);
    assert!(judged(&[small], &[]).is_err(), "it is too small");
}

#[test]
fn o4_changed_content_is_seen() {
    let before = [thing(db(), Place::Live, &[(1, 7)])];
    let judged = |done: &[Done], stamps: &[(u64, u64)]| {
        oracles::o4_content_is_as_declared(Canary::before(&before), done, &[thing(db(), Place::Live, stamps)])
    };
    assert_eq!(judged(&[], &[(1, 7)]), Ok(()));
    assert!(judged(&[], &[]).is_err(), "its content is gone");
    assert!(judged(&[done(Action::Grow { to: Size(2 << 20) })], &[(1, 7), (2, 8)]).is_err(), "no client wrote that");
    assert_eq!(judged(&[done(create())], &[]), Ok(()), "made anew, it is empty");
    let appeared = [thing(identity(Kind::Volume, "other", "bbbbbbbb"), Place::Live, &[])];
    assert!(oracles::o4_content_is_as_declared(Canary::before(&before), &[], &appeared).is_err());
}

/// A host on which a volume was made.
async fn settled() -> Host {
    let host = Host::new(BTreeMap::from([("pool".to_owned(), Simulator.pool("all", 7))]));
    host.settle(&declared(), &Manner::default(), 3).await.unwrap();
    host
}

#[test]
fn o4_an_unreported_loss_is_seen() {
    run(async {
        let (host, manner) = (settled().await, Manner::default());
        assert_eq!(oracles::o4_losses_are_seen(&host, &declared(), &manner, &Vec::new()).await, Ok(()));
        // Without the ledger and the store nothing knows of it, and it is made anew.
        let gone = Host::new(BTreeMap::from([("pool".to_owned(), Simulator.pool("all", 7))]));
        assert!(gone.pools["pool"].outside(&Outside::Make {
            native: "kiln.prod.db.aaaaaaaa",
            size: Size(1 << 20),
            stamp: 0
        }));
        assert!(oracles::o4_losses_are_seen(&gone, &declared(), &manner, &Vec::new()).await.is_err());
    });
}

#[test]
fn o5_o6_o12_what_is_left_to_do_is_seen() {
    run(async {
        let (host, manner) = (settled().await, Manner::default());
        assert_eq!(oracles::o5_stays_settled(&host, &declared(), &manner).await, Ok(()));
        assert_eq!(oracles::o12_settled_for_a_stranger(&host, &declared(), &manner).await, Ok(()));
        let larger = join(&[volume("db", "size: 2Mi")]);
        assert!(oracles::o12_settled_for_a_stranger(&host, &larger, &manner).await.is_err());
        assert!(host.settle(&larger, &manner, 1).await.is_err(), "O6: the only pass has steps");
        assert!(oracles::o5_stays_settled(&host, &join(&[volume("db", "size: 3Mi")]), &manner).await.is_err());
    });
}

#[test]
fn o7_what_does_not_come_back_is_seen() {
    let earlier = [thing(db(), Place::Live, &[])];
    let judged = |now: (String, Thing)| oracles::o7_went_back(&declared(), &earlier, &[now]);
    assert_eq!(judged(thing(db(), Place::Live, &[])), Ok(()));
    assert!(judged(thing(db(), Place::Trash, &[])).is_err());
    assert!(judged(thing(identity(Kind::Volume, "db", "bbbbbbbb"), Place::Live, &[])).is_err(), "it is another one");
    let mut protected = thing(db(), Place::Live, &[]);
    protected.1.object.tags = Tags { protected: true, ..Tags::default() }.into();
    assert!(judged(protected).is_err());
}

#[test]
fn o8_rejected_documents_cause_no_call() {
    let rejected = [
        "size: 0",
        "size: many",
        "size: 1Mi, colour: red",
        "size: [1]",
        "size: 2Mi, protected: perhaps",
        "size: 2Mi, onRemove: Burn",
        "size: 2Mi, source: {}",
        "size: 2Mi, qos: {iops: -1}",
        "size: 2Mi, backend: nowhere",
        "size: 2Mi, size: 3Mi",
        "size: 2Mi, object: ../up",
    ];
    run(async {
        let host = settled().await;
        let calls = host.gate.done().len();
        for spec in rejected {
            let text = format!("{}{}{}", crate::rig::HEAD, volume("db", spec), volume("new", "size: 1Mi"));
            let source = kiln::manifest::Source::Text(text);
            let loaded = kiln::manifest::load(&source, &kiln::manifest::Limits::default());
            assert!(!loaded.problems.is_empty(), "{spec} is accepted");
            let reading = Reading { coverage: kiln::model::Coverage::default(), ..loaded.reading };
            assert!(reading.broken, "{spec}");
            let other = host.fork(true);
            other.pass(&reading, &Manner::default()).await.map(|_| ()).unwrap();
            assert_eq!(oracles::o8_no_call_for(&other.gate.done(), Kind::Volume, "db"), Ok(()), "{spec}");
        }
        assert_eq!(host.gate.done().len(), calls);
        assert!(oracles::o8_no_call_for(&host.gate.done(), Kind::Volume, "db").is_err(), "the creation is seen");
    });
}

#[test]
fn o10_a_panic_and_a_hang_are_seen() {
    let panicked = super::sweep::caught(|| -> Result<(), String> { panic!("as it should") });
    assert!(panicked.unwrap_err().starts_with("O10"));
    let hangs = || run(async { tokio::time::timeout(super::host::FOR_EVER, std::future::pending::<()>()).await });
    assert!(hangs().is_err(), "the time of a pass is limited");
}

#[test]
fn o11_a_changed_stranger_is_seen() {
    let pool = Simulator.pool("all", 7);
    assert!(pool.outside(&Outside::Make { native: "foreign", size: Size(1 << 20), stamp: 9 }));
    let things = || pool.things().into_iter().map(|thing| ("pool".to_owned(), thing)).collect::<Vec<_>>();
    let before = things();
    assert_eq!(oracles::o11_foreign_objects_untouched(&before, &things(), &[]), Ok(()));
    assert!(pool.outside(&Outside::Write { object: "foreign", block: 1, stamp: 1 }));
    assert!(oracles::o11_foreign_objects_untouched(&before, &things(), &[]).is_err());
    assert!(oracles::o11_foreign_objects_untouched(&before, &[], &[]).is_err());
}

#[test]
fn o13_a_report_that_is_not_true_is_seen() {
    let steps = [
        (create(), Place::Trash),
        (Action::Grow { to: Size(2 << 20) }, Place::Live),
        (Action::Destroy, Place::Live),
        (Action::Trash { ttl: kiln::model::Seconds(60), with: Vec::new() }, Place::Live),
        (Action::Undelete { tags: Tags::default(), with: Vec::new() }, Place::Trash),
        (Action::Reserve, Place::Live),
        (Action::SetTags { tags: Tags { protected: true, ..Tags::default() } }, Place::Live),
    ];
    for (action, place) in steps {
        let step = step(action);
        let finished = Event::Finished {
            step: 0,
            object: (&step).into(),
            outcome: JournalOutcome::Changed,
            error: None,
            effect: None,
            message: None,
        };
        let run = Plan::of(prod(), String::new(), vec![step.clone()]);
        let passed = Passed { report: Report { changed: 1, ..Report::default() }, run, heard: vec![finished] };
        let things = [thing(db(), place, &[])];
        assert!(
            reports::o13_reports_are_true(&passed, &things, &BTreeMap::new()).is_err(),
            "{} at {place:?}",
            step.action
        );
        let uncounted = Passed { report: Report::default(), ..passed };
        assert!(reports::o13_reports_are_true(&uncounted, &[], &BTreeMap::new()).is_err());
    }
}

#[test]
fn o13_what_the_journal_does_not_tell_is_seen() {
    let made = done(create());
    let (backend, detail) = (made.step.endpoint.clone(), made.step.action.to_string());
    let entry = JournalEntry::new(1, "", backend, &db(), made.step.action.verb().into(), detail);
    let told = |outcome| [JournalEntry { outcome, ..entry.clone() }];
    let judged =
        |journal: &[JournalEntry]| reports::o13_journal_tells_every_effect(journal, std::slice::from_ref(&made));
    assert_eq!(judged(&told(JournalOutcome::Changed)), Ok(()));
    assert!(judged(&told(JournalOutcome::Failed)).is_err());
    assert!(judged(&[]).is_err());
    let entry = JournalEntry { destroys: Some(false), ..entry.clone() };
    assert_eq!(
        reports::o13_journal_tells_only_effects(std::slice::from_ref(&entry), std::slice::from_ref(&made)),
        Ok(())
    );
    assert!(reports::o13_journal_tells_only_effects(std::slice::from_ref(&entry), &[]).is_err(), "it was not made");
}

#[test]
fn what_was_not_reached_is_told() {
    use super::coverage::{Reached, conditions};
    let gaps = Reached::default().gaps(&conditions(&["all"]), &[], &[(HeldReason::OpenExport, "not yet")]);
    assert!(gaps.contains(&"purge was not reached: all".to_owned()));
    assert!(gaps.contains(&"nothing was held as Lost".to_owned()));
    assert!(!gaps.iter().any(|gap| gap.contains("OpenExport") || gap.contains("grow was not reached: half")));
    let mut reached = Reached::default();
    reached.add_clean("all", &[done(create())]);
    let gaps = reached.gaps(&conditions(&["all"]), &[("create", "all", "it cannot")], &[]);
    assert!(gaps.contains(&"create was reached: all; it is listed as: it cannot".to_owned()));
}
