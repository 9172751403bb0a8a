use super::*;
use crate::manifest::fixtures::reading_of;
use crate::model::fixtures::{identity, name, owner};
use crate::model::{Address, LastReading, Listed, NativeName, ObjectRef, PoolId, Reason, VolumeSettings};

const NOW: u64 = 1_795_305_600;

fn object(kind: Kind, text: &str) -> Object {
    let identity = identity(kind, text);
    Object::of(identity, Place::Live, Size(1 << 20))
}

/// The ledger after it is settled.
fn settle(ledger: &mut Ledger, observed: &Observed, reading: &Reading, now: u64) {
    let mut settled = SharedLedger::from(ledger.clone());
    super::settle(&mut settled, observed, reading, |_| SettledState::default(), now);
    *ledger = Ledger::clone(&settled);
}

/// Specs that declare a volume `kept` and nothing else.
fn specs() -> Reading {
    let head = "apiVersion: kiln/v1\nkind:";
    let text = format!(
        "{head} Stack\nmetadata: {{name: prod}}\nspec: {{id: 5c1d2e8a90, defaults: {{backend: fast}}}}\n---\n\
         {head} Backend\nmetadata: {{name: fast}}\nspec: {{driver: sim}}\n---\n\
         {head} Volume\nmetadata: {{name: kept}}\nspec: {{size: 1Mi}}\n"
    );
    // As a directory that holds it.
    Reading { coverage: Default::default(), ..reading_of(&text) }
}

/// A ledger that knows these objects.
fn knows(objects: &[Object]) -> Ledger {
    let mut ledger = Ledger::new(PoolId("p".to_owned()), owner(), "5c1d2e8a90".to_owned());
    for object in objects {
        enter(&mut ledger, object.identity.as_ref().unwrap(), object, 0);
    }
    ledger
}

/// Which objects that are not declared, and not seen, are given up.
fn buried(observed: &Observed, specs: &Reading) -> BTreeSet<Name> {
    let gone = [object(Kind::Volume, "volume"), object(Kind::Snapshot, "snapshot")];
    let mut ledger = knows(&gone);
    settle(&mut ledger, observed, specs, NOW);
    assert!(gone.iter().all(|object| {
        let uid = object.uid().unwrap();
        ledger.complete.contains_key(&uid) != ledger.tombstones.contains_key(&uid)
    }));
    ledger.tombstones.into_values().map(|stone| stone.name).collect()
}

fn names(names: &[&str]) -> BTreeSet<Name> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn no_tombstone_is_made_on_an_incomplete_listing() {
    let listed =
        |volumes, snapshots, trash| Observed { listed: Listed { volumes, snapshots, trash }, ..Observed::nothing() };
    assert_eq!(buried(&listed(true, true, true), &specs()), names(&["volume", "snapshot"]));
    assert_eq!(buried(&listed(false, true, true), &specs()), names(&["snapshot"]));
    assert_eq!(buried(&listed(true, false, true), &specs()), names(&["volume"]));
    assert_eq!(buried(&listed(true, true, false), &specs()), names(&[]));
}

#[test]
fn no_tombstone_is_made_of_an_inconsistent_object() {
    let doubtful = Object { conflict: Some("two data files".to_owned()), ..object(Kind::Volume, "volume") };
    let nameless = Object { identity: None, ..doubtful.clone() };
    for doubtful in [doubtful, nameless] {
        let observed = Observed { objects: vec![doubtful], ..Observed::nothing() };
        assert_eq!(buried(&observed, &specs()), names(&["snapshot"]));
    }
}

#[test]
fn no_tombstone_is_made_while_a_manifest_is_broken() {
    let nothing = Observed::nothing();
    assert_eq!(buried(&nothing, &Reading { broken: true, ..specs() }), names(&[]));
    assert_eq!(buried(&nothing, &Reading { unconfirmed: true, ..specs() }), names(&[]));
}

#[test]
fn a_tombstone_goes_when_its_object_exists_again() {
    let back = object(Kind::Volume, "kept");
    let uid = back.uid().unwrap();
    let mut ledger = knows(std::slice::from_ref(&back));
    ledger.add_tombstone(uid, NOW);
    let observed = Observed { objects: vec![back], ..Observed::nothing() };
    settle(&mut ledger, &observed, &specs(), NOW);
    assert!(ledger.tombstones.is_empty() && ledger.complete.contains_key(&uid));
}

#[test]
fn only_what_is_shown_to_be_gone_gets_a_tombstone() {
    let db = object(Kind::Volume, "db");
    let (identity, uid) = (db.identity.clone().unwrap(), db.uid().unwrap());
    for action in [Action::Destroy, Action::Purge] {
        let step = Step::new(name("fast"), identity.clone(), action.clone(), Reason::NotDeclared);
        for is_shown in [false, true] {
            let mut ledger = knows(std::slice::from_ref(&db));
            note(&mut ledger, &step, None, is_shown, NOW);
            assert_eq!(ledger.has_tombstone(uid), is_shown, "{action}");
            assert_eq!(ledger.complete.contains_key(&uid), !is_shown, "{action}: its name is asked for");
        }
    }
}

#[test]
fn an_object_in_the_trash_is_counted_once() {
    let trashed = Object { place: Place::Trash, ..object(Kind::Volume, "volume") };
    let mut ledger = knows(std::slice::from_ref(&trashed));
    let observed = Observed { objects: vec![trashed], ..Observed::nothing() };
    for days in 0..5 {
        settle(&mut ledger, &observed, &specs(), NOW + days * 86_400);
        let at: Vec<u64> = ledger.removals.iter().map(|removal| removal.at).collect();
        assert_eq!(at, if days == 0 { vec![NOW] } else { vec![] }, "after {days} days");
    }
    // Brought back, and removed again, it counts again.
    let live = Observed { objects: vec![object(Kind::Volume, "volume")], ..Observed::nothing() };
    settle(&mut ledger, &live, &specs(), NOW + 5 * 86_400);
    settle(&mut ledger, &observed, &specs(), NOW + 5 * 86_400);
    assert_eq!(ledger.removals.len(), 1);
}

#[test]
fn an_emptied_trash_leaves_nothing_lost() {
    let kept = object(Kind::Volume, "kept");
    let uid = kept.uid().unwrap();
    let mut ledger = knows(std::slice::from_ref(&kept));
    let trashed = Observed { objects: vec![Object { place: Place::Trash, ..kept }], ..Observed::nothing() };
    settle(&mut ledger, &trashed, &specs(), NOW);
    settle(&mut ledger, &Observed::nothing(), &specs(), NOW);
    assert!(ledger.tombstones.contains_key(&uid), "it was in the trash, and its document came back since");
}

#[test]
fn an_accepted_size_stays_until_the_object_is_grown_or_declared_as_it_is() {
    let cut = Object { size: Size(4096), ..object(Kind::Volume, "kept") };
    let uid = cut.uid().unwrap();
    let mut ledger = knows(&[object(Kind::Volume, "kept")]);
    let was = accept_smaller(&mut ledger, uid, &cut, Some(Size(1 << 20)), None);
    assert_eq!(was, Some(Size(1 << 20)));
    let accepted = |ledger: &Ledger| ledger.complete[&uid].accepted;
    // Neither an observation nor another step of the object forgets it, nor a second acceptance.
    settle(&mut ledger, &Observed { objects: vec![cut.clone()], ..Observed::nothing() }, &specs(), NOW);
    enter(&mut ledger, cut.identity.as_ref().unwrap(), &cut, 0);
    assert_eq!(accept_smaller(&mut ledger, uid, &cut, None, None), None);
    assert_eq!(accepted(&ledger), Some(Size(1 << 20)));
    let json = serde_json::to_string(&ledger).unwrap();
    assert_eq!(serde_json::from_str::<Ledger>(&json).unwrap(), ledger);
    accept(&mut ledger, uid, &cut);
    assert_eq!(accepted(&ledger), None);
    // Without a document, what it was is what may be declared again.
    let mut undeclared = knows(&[object(Kind::Volume, "kept")]);
    accept_smaller(&mut undeclared, uid, &cut, None, Some(Size(1 << 30)));
    assert_eq!(accepted(&undeclared), Some(Size(1 << 30)));
}

#[test]
fn a_ledger_of_an_earlier_version_is_read_and_written_as_it_was() {
    let json = r#"{"pool":"0123","owner":"prod","stack":"5c1d2e8a90","serial":3,"whole":{},"leaving":[],"tombstones":{},"next":{},"removals":[],"approvals":[],"spent":[],"waiting":[]}"#;
    let ledger: Ledger = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&ledger).unwrap(), json);
}

#[test]
fn another_owners_ledger_hands_on_what_protects_its_objects() {
    let objects = ["leaving", "destroying", "renaming"].map(|text| object(Kind::Volume, text));
    let [leaving, destroying, renaming] = [0, 1, 2].map(|n: usize| objects[n].uid().unwrap());
    let mut theirs = Ledger { owner: "old".parse().unwrap(), ..knows(&objects) };
    theirs.leaving.insert(leaving);
    theirs.destroying.insert(destroying);
    theirs.renaming.insert(renaming, "new".parse().unwrap());
    theirs.waiting.insert(destroying);
    theirs.spent.insert("digest".to_owned());
    theirs.reading = Some(LastReading { files: ["a.yaml".to_owned()].into(), ..LastReading::default() });
    theirs.approvals.push(serde_json::from_value(serde_json::json!({"digest": "open", "set": ["item"]})).unwrap());
    let first = knows(&[]);
    let mut ours = first.clone();
    for _ in 0..2 {
        take_over(&mut ours, &theirs);
        let (pool, owner, stack) = (first.pool.clone(), first.owner.clone(), first.stack.clone());
        assert_eq!(ours, Ledger { pool, owner, stack, serial: 0, approvals: Vec::new(), ..theirs.clone() });
    }
    // What is known of our own reading stays.
    let mine = LastReading { files: ["b.yaml".to_owned()].into(), ..LastReading::default() };
    ours.reading = Some(mine.clone());
    take_over(&mut ours, &theirs);
    assert_eq!(ours.reading, Some(mine));
}

#[test]
fn what_was_to_be_made_is_asked_for_until_it_is_found_or_proven_absent() {
    let made = object(Kind::Volume, "volume");
    let identity = made.identity.clone().unwrap();
    let step = Step::new(
        name("fast"),
        identity.clone(),
        Action::Adopt { tags: Tags::default(), n: 0 },
        Reason::AdoptRequested,
    );
    let announced = |absence| {
        let mut ledger = knows(&[]);
        announce(&mut ledger, std::iter::once(&step), &[], absence);
        ledger
    };
    assert!(announced(Absence::ByList).creating.is_empty(), "a list shows it");
    let unfinished = identity.temporary();
    let both = BTreeSet::from([made.address(), Address::flat(&unfinished)]);
    let none = Observed { listed: Listed::NONE, ..Observed::nothing() };
    let left = Object::new(unfinished, Place::Temporary, Size(1));
    for (observed, is_kept, why) in [
        (none.clone(), true, "no name was answered for"),
        (Observed { queried: BTreeSet::from([made.address()]), ..none.clone() }, true, "it may be unfinished"),
        (Observed { queried: both.clone(), objects: vec![left], ..none.clone() }, true, "it is unfinished"),
        (Observed { queried: both.clone(), objects: vec![made], ..none.clone() }, false, "it is entered"),
        (Observed { queried: both, ..none }, false, "it was never made"),
    ] {
        let mut ledger = announced(Absence::ByName);
        settle(&mut ledger, &observed, &specs(), NOW);
        assert_eq!(!ledger.creating.is_empty(), is_kept, "{why}");
    }
}

#[test]
fn snapshots_inside_of_a_renamed_volume_are_entered_there() {
    let (volume, snapshot) = (object(Kind::Volume, "kept"), object(Kind::Snapshot, "snapshot"));
    let inside = Object { parent_volume: Some(volume.native.clone()), ..snapshot };
    let mut ledger = knows(&[volume.clone(), inside.clone()]);
    let renamed = Object { native: NativeName::new("renamed"), ..volume };
    enter(&mut ledger, renamed.identity.as_ref().unwrap(), &renamed, 0);
    assert_eq!(ledger.complete[&inside.uid().unwrap()].parent_volume, Some(Box::new(renamed.native)));
}

#[test]
fn a_settled_ledger_is_not_copied() {
    let (kept, mut gone) = (object(Kind::Volume, "kept"), object(Kind::Volume, "gone"));
    gone.place = Place::Trash;
    let mut ledger = knows(&[kept.clone(), gone.clone()]);
    let observed = Observed { objects: vec![gone, kept.clone()], ..Observed::nothing() };
    settle(&mut ledger, &observed, &specs(), NOW);
    // A removal is counted for a day, which is looked at in every pass.
    settle(&mut ledger, &observed, &specs(), NOW + 2 * 86_400);
    let before = Arc::new(ledger);
    let mut shared = SharedLedger::from(Arc::clone(&before));
    super::settle(&mut shared, &observed, &specs(), |_| SettledState::default(), NOW + 3 * 86_400);
    assert!(Arc::ptr_eq(&shared.0, &before));
    let protected = Object { tags: Tags { protected: true, ..Tags::clone(&kept.tags) }.into(), ..kept };
    super::settle(
        &mut shared,
        &Observed { objects: vec![protected], ..observed },
        &specs(),
        |_| SettledState::default(),
        NOW + 3 * 86_400,
    );
    assert!(shared.complete.values().any(|entry| entry.protected) && !Arc::ptr_eq(&shared.0, &before));
}

/// A volume that was `db`, and what it is after a person renamed it on the backend.
fn renamed_by_hand() -> (Object, Object) {
    let was = object(Kind::Volume, "db");
    let identity = Identity { name: name("web"), ..was.identity.clone().unwrap() };
    let now = Object { native: identity.native(), identity: Some(identity), ..was.clone() };
    (was, now)
}

#[test]
fn a_step_does_not_hide_a_rename_from_outside_of_kiln() {
    let (was, now) = renamed_by_hand();
    let (uid, identity) = (was.uid().unwrap(), now.identity.clone().unwrap());
    let snapshot = ObjectRef::new(NativeName::new("s"), uid, Size(1));
    let tags = Tags::default;
    for (action, is_known_as) in [
        (Action::Grow { to: Size(2 << 20) }, "db"),
        (Action::Restore { snapshot, request: "r".to_owned() }, "db"),
        (Action::SetTags { tags: tags() }, "db"),
        (Action::Reserve, "db"),
        (Action::Configure { settings: VolumeSettings::default() }, "db"),
        (Action::Rename { from: was.native.clone(), tags: tags() }, "web"),
        (Action::Undelete { tags: tags(), with: Vec::new() }, "web"),
    ] {
        let mut ledger = knows(std::slice::from_ref(&was));
        let step = Step::new(name("fast"), identity.clone(), action.clone(), Reason::LeftOver);
        note(&mut ledger, &step, Some(&now), true, NOW);
        let entry = &ledger.complete[&uid];
        assert_eq!(entry.name.as_str(), is_known_as, "{action}");
        let native = if is_known_as == "db" { &was.native } else { &now.native };
        assert_eq!(entry.native, *native, "{action}");
    }
}

#[test]
fn an_object_without_an_entry_keeps_the_name_that_is_known_elsewhere() {
    let (was, now) = renamed_by_hand();
    let uid = was.uid().unwrap();
    let observed = Observed { objects: vec![now.clone()], ..Observed::nothing() };
    let known = |objects: &[&Object]| SettledState {
        names: objects.iter().map(|o| (o.identity.clone().unwrap().name, o.native.clone())).collect(),
        ..SettledState::default()
    };
    let entered = |renaming: Option<&str>, objects: &[&Object]| {
        let mut ledger = knows(&[]);
        ledger.renaming.extend(renaming.map(|new| (uid, name(new))));
        let mut settled = SharedLedger::from(ledger);
        super::settle(&mut settled, &observed, &specs(), |_| known(objects), NOW);
        let entry = &settled.complete[&uid];
        (entry.name.to_string(), entry.native.clone())
    };
    let (db, web) = (("db".to_owned(), was.native.clone()), ("web".to_owned(), now.native.clone()));
    assert_eq!(entered(None, &[&was]), db);
    assert_eq!(entered(None, &[]), web, "nothing knows it");
    assert_eq!(entered(None, &[&was, &now]), web, "a ledger has seen it renamed");
    assert_eq!(entered(Some("web"), &[&was]), web, "Kiln renamed it");
}
