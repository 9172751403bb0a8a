use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::model::fixtures::name;
use crate::model::{Action, NativeName, Owner, Provisioning, Reason, Seconds, Size, Stack, VolumeSettings};
use crate::plan::{HeldReason, Unobserved};
use crate::report::fixtures::{NOW, overview, reading};

fn owner() -> Owner {
    Owner::unnamed()
}

fn identity(object: &str, n: u32) -> Identity {
    let uid = Uid::derive("", &owner(), Kind::Volume, &name("fast"), &name(object), n);
    Identity { owner: owner(), kind: Kind::Volume, name: name(object), uid }
}

fn object(text: &str, n: u32, place: Place) -> Object {
    let identity = identity(text, n);
    Object::of(identity, place, Size(4096))
}

fn step(text: &str, action: Action) -> Step {
    let identity = identity(text, 0);
    Step::new(name("fast"), identity, action, Reason::NotThere)
}

fn held(text: &str, reason: HeldReason) -> Held {
    Held {
        kind: Kind::Volume,
        name: name(text),
        action: Verb::Create,
        endpoint: Some(name("fast").into()),
        uid: None,
        reason,
        message: "why".to_owned(),
        fix: "do this".to_owned(),
        in_trash: false,
    }
}

fn only<'a>(overview: &'a Overview, specs: &'a Reading) -> ObjectStatus<'a> {
    let mut all = status(overview, specs);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn each_condition_has_its_cause() {
    let create = Action::Create {
        size: Size(4096),
        provisioning: Provisioning::Thin,
        origin: None,
        tags: Tags::default(),
        settings: VolumeSettings::default(),
        n: 0,
    };
    let declared = reading(Stack::unnamed(), &["db"]);
    let there = || overview(vec![object("db", 0, Place::Live)]);
    assert_eq!(only(&there(), &declared).status.condition, Condition::Settled);

    let mut missing = overview(Vec::new());
    missing.plan.steps.push(step("db", create));
    assert_eq!(only(&missing, &declared).status.condition, Condition::Progressing);

    let mut growing = there();
    growing.plan.steps.push(step("db", Action::Grow { to: Size(8192) }));
    assert_eq!(only(&growing, &declared).status.condition, Condition::Progressing);

    let failure: JournalEntry = serde_json::from_value(json!({
        "at": NOW, "revision": "r", "owner": "default", "backend": "fast", "kind": "Volume", "name": "db",
        "uid": identity("db", 0).uid, "action": "update", "detail": "", "outcome": "failed", "message": "no room", "millis": 1,
    }))
    .unwrap();
    growing.journal.push(failure.clone());
    let failed = only(&growing, &declared);
    assert_eq!(failed.status.condition, Condition::Failed);
    assert!(failed.status.message.contains("no room"));
    growing.journal.push(JournalEntry { outcome: JournalOutcome::Changed, ..failure });
    assert_eq!(only(&growing, &declared).status.condition, Condition::Progressing, "a later success counts");

    let mut drifted = there();
    drifted.plan.drift.push(Drift {
        kind: Kind::Volume,
        name: name("db"),
        endpoint: Some(name("fast").into()),
        path: "size".to_owned(),
        recorded: json!(1),
        observed: json!(4096),
    });
    assert_eq!(only(&drifted, &declared).status.condition, Condition::Drifted);

    let mut blocked = there();
    blocked.plan.held.push(held("db", HeldReason::ShrinkRefused));
    let blocked = only(&blocked, &declared).status;
    assert_eq!((blocked.condition, blocked.reason.as_str()), (Condition::Held, "ShrinkRefused"));
    assert_eq!(blocked.fix.as_deref(), Some("do this"));

    let mut leaving = there();
    leaving.plan.steps.push(step("db", Action::Trash { ttl: Seconds(60), with: Vec::new() }));
    let nothing = reading(Stack::unnamed(), &[]);
    let leaving = only(&leaving, &nothing);
    assert_eq!((leaving.status.condition, leaving.spec), (Condition::Removing, None));

    let trashed = overview(vec![object("db", 0, Place::Trash)]);
    assert_eq!(only(&trashed, &nothing).status.condition, Condition::Trashed);
}

#[test]
fn a_backend_that_is_away_gives_the_last_observation_with_its_time() {
    let mut overview = overview(Vec::new());
    overview.world.insert(name("fast"), Observation::Failed { why: "gone".to_owned(), fix: None });
    overview.plan.unobserved.push(Unobserved { backend: name("fast"), message: "gone".to_owned() });
    let seen = object("db", 0, Place::Live);
    let identity = identity("db", 0);
    let last = (NativeName::new("n"), seen.size, Tags::default(), VolumeSettings::default());
    let record = ObjectRecord::new(identity.clone(), name("fast"), last, Some(&seen), NOW - 3600);
    overview.plan.held.push(held("db", HeldReason::Unobserved));
    Arc::make_mut(&mut overview.records).objects.insert(identity.uid, record);
    let declared = reading(Stack::unnamed(), &["db", "other"]);
    let all = status(&overview, &declared);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].status.condition, Condition::Unknown);
    assert_eq!(all[0].status.size, Some(4096));
    assert_eq!(all[0].status.observed_at, Some(Moment(NOW - 3600)));
    assert!(all[0].spec.is_some());
    assert_eq!((all[1].status.condition, &all[1].status.observed_at), (Condition::Unknown, &None));
}

#[test]
fn of_two_objects_of_one_name_the_spec_is_that_of_the_live_one() {
    let overview = overview(vec![object("db", 0, Place::Trash), object("db", 1, Place::Live)]);
    let declared = reading(Stack::unnamed(), &["db"]);
    let all = status(&overview, &declared);
    let shown: Vec<_> = all.iter().map(|o| (o.status.condition, o.spec.is_some())).collect();
    assert_eq!(shown.len(), 2);
    assert!(shown.contains(&(Condition::Trashed, false)), "{shown:?}");
    assert!(shown.contains(&(Condition::Settled, true)), "{shown:?}");
}

#[test]
fn get_hides_foreign_and_incomplete_objects() {
    let mut foreign = object("x", 0, Place::Live);
    foreign.identity = None;
    let mut theirs = object("y", 0, Place::Live);
    theirs.identity.as_mut().unwrap().owner = "other".parse().unwrap();
    let half = object("z", 0, Place::Temporary);
    assert_eq!(status(&overview(vec![foreign, theirs, half]), &reading(Stack::unnamed(), &[])), []);
}

#[test]
fn a_lost_undeclared_object_is_shown_while_its_removal_waits() {
    let mut overview = overview(Vec::new());
    overview.plan.held.push(held("gone", HeldReason::Lost));
    let declared = reading(Stack::unnamed(), &[]);
    let lost = only(&overview, &declared);
    assert_eq!((lost.metadata.name.as_str(), lost.status.condition), ("gone", Condition::Held));
}

#[test]
fn the_json_is_that_of_the_contract() {
    let (overview, declared) = (overview(vec![object("db", 0, Place::Live)]), reading(Stack::unnamed(), &["db"]));
    let shown = only(&overview, &declared);
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!(json["apiVersion"], "kiln/v1");
    assert_eq!(json["kind"], "Volume");
    assert_eq!(json["metadata"], json!({"name": "db", "labels": {"a": "b"}}));
    assert_eq!(json["spec"], json!({"backend": "fast", "size": 4096}));
    for key in ["condition", "reason", "message", "uid", "owner", "backend", "object", "size", "observedAt"] {
        assert!(json["status"].get(key).is_some(), "{key}");
    }
    assert_eq!(json["status"]["observedAt"], "2026-11-22T00:00:00Z");
    assert_eq!(json["status"]["size"], 4096);
}
