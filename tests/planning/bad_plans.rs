//! The lint of plans: each of its rules refuses a bad plan of its own, and nothing else is wrong with the plan that it was made from.

use std::collections::BTreeSet;
use std::sync::Arc;

use kiln::manifest::{Limits, Source, load};
use kiln::model::{
    Action, Blocker, BlockerReason, ClientVisibility, Endpoint, Identity, InnerSnapshot, Kind, LedgerView, Listed,
    NativeName, Object, Place, Reading, Reservation, Restoring, Risk, SettingsAbility, Size, SnapshotAbility,
    Suspension, Uid, VolumeSettings, Written,
};
use kiln::plan::{Irreversible, Observation, Plan, differences, lint, plan};

use crate::planning::{Described, Scene};

const HEAD: &str = "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\n\
    spec: {id: 5c1d2e8a90, defaults: {backend: fast}, safety: {maxRemovals: 100, maxRemovedPercent: 100}}\n---\n\
    apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n";

/// Documents, `KIND NAME SPEC` each, after those of the Stack and its Backend.
fn specs(documents: &[&str]) -> Reading {
    let document = |text: &&str| {
        let (kind, rest) = text.split_once(' ').unwrap();
        let field = match kind {
            "Volume" => "size",
            "Target" => "driver",
            _ => "volume",
        };
        let (name, spec) = rest.split_once(&format!(" {field}: ")).unwrap();
        let (name, more) =
            name.split_once(',').map_or((name, String::new()), |(name, more)| (name, format!(", {more}")));
        format!("---\napiVersion: kiln/v1\nkind: {kind}\nmetadata: {{name: {name}{more}}}\nspec: {{{field}: {spec}}}\n")
    };
    let text = documents.iter().map(document).fold(HEAD.to_owned(), |text, document| text + &document);
    let loaded = load(&Source::Text(text), &Limits::default());
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.reading
}

pub(crate) fn scene(documents: &[&str], objects: &str) -> Scene {
    let world = format!("backends: {{fast: {{objects: [{objects}]}}}}");
    serde_yaml::from_str::<Described>(&world).unwrap().scene(specs(documents))
}

/// What was seen of the one Backend.
fn objects(scene: &mut Scene) -> &mut Vec<Object> {
    match scene.world.values_mut().next().unwrap() {
        Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } => &mut observed.objects,
        _ => panic!("the Backend was seen"),
    }
}

/// Somebody's object of this name.
fn in_the_way(scene: &mut Scene, native: &NativeName, place: Place) {
    let mut object = objects(scene)[0].clone();
    (object.native, object.identity, object.place) = (native.clone(), None, place);
    objects(scene).push(object);
}

/// The lists were cut short.
fn cut(scene: &mut Scene) {
    match scene.world.values_mut().next() {
        Some(Observation::Seen { observed, .. }) => observed.listed = Listed::NONE,
        _ => panic!("the Backend was seen"),
    }
}

/// The Backend shows no clients, and its copies of open volumes are inconsistent.
fn blind(scene: &mut Scene) {
    match scene.world.values_mut().next() {
        Some(Observation::Seen { capabilities, .. }) => {
            capabilities.client_visibility = ClientVisibility::None;
            capabilities.snapshots = Some(SnapshotAbility { nested: false, while_open: false, adopt: true });
        }
        _ => panic!("the Backend was seen"),
    }
}

/// Another incarnation stands where the object was.
fn another(scene: &mut Scene) {
    for object in objects(scene) {
        if let Some(identity) = &mut object.identity {
            identity.uid =
                Uid::derive("another", &identity.owner, identity.kind, &"fast".parse().unwrap(), &identity.name, 9);
        }
    }
}

/// What spoils a plan, or what it was made for.
type Spoil = fn(&mut Plan, &mut Scene);

struct Bad {
    /// What the lint says.
    rule: &'static str,
    documents: &'static [&'static str],
    objects: &'static str,
    /// Which step the plan is about.
    step: fn(&Action) -> bool,
    spoil: Spoil,
}

const OLD: &str = "{volume: db}, {volume: old}";
const DESTROYED: &str = "{volume: db}, {volume: old, onRemove: Delete, declaredIn: gone/web.yaml}";
const DB: &[&str] = &["Volume db size: 1Gi"];
const THICK: &[&str] = &["Volume db size: 1Gi, provisioning: thick"];
const GROWN: &[&str] = &["Volume db size: 2Gi"];
/// An unused volume gives way to the one that it was renamed from.
const RENAMED_LATER: &[&str] = &["Volume database, renamedFrom: db size: 1Gi"];
const GIVES_WAY: &str = "{volume: db, trash: true}, {volume: database, written: false}";
const NEW: &[&str] = &["Volume db size: 1Gi", "Volume new size: 1Gi"];

const EXPORTED: &[&str] = &[
    "Volume db size: 1Gi",
    "Volume new size: 1Gi",
    "Target san driver: tgt, tgt: {iqnPrefix: iqn.2026-01.org.example}",
    "Export e volume: db, target: san, protocol: iscsi, initiators: ['iqn.2026-01.org.example:a']",
];

const LIMITED: &[&str] = &["Volume db size: 1Gi, qos: {iops: 5}, encryption: {passphraseFrom: {env: P}}"];

/// The settings that the one step gives to its volume.
fn settings(plan: &mut Plan) -> &mut VolumeSettings {
    match &mut plan.steps[0].action {
        Action::Create { settings, .. } | Action::Configure { settings } => settings,
        other => panic!("{other}"),
    }
}

/// The settings that volumes of the one Backend can have.
fn ability(scene: &mut Scene) -> &mut SettingsAbility {
    match scene.world.values_mut().next().unwrap() {
        Observation::Seen { capabilities, .. } => &mut capabilities.settings,
        _ => panic!("the Backend was seen"),
    }
}

/// A volume goes to the trash with the snapshot inside of it.
const INSIDE: &str =
    "{volume: db}, {volume: old}, {snapshot: m, of: old}], can: {snapshots: {nested: true}, trash: Volumes}, spent: [";

/// The snapshots that the one step takes along.
fn along(plan: &mut Plan) -> &mut Vec<InnerSnapshot> {
    match &mut plan.steps[0].action {
        Action::Trash { with, .. } => with,
        other => panic!("{other}"),
    }
}

const RESTORED: &[&str] = &["Volume db size: 1Gi, restore: {snapshot: m, request: r}", "Snapshot m volume: db"];
const SNAPSHOT: &str = "{volume: db}, {snapshot: m, of: db}";

/// A restore of the first volume from its first snapshot was interrupted.
fn half_restored(scene: &mut Scene, request: &str) {
    let of_kind = |scene: &mut Scene, kind| objects(scene).iter().position(|object| object.kind() == kind);
    let snapshot = of_kind(scene, Kind::Snapshot).map(|index| objects(scene)[index].uid().unwrap());
    let volume = of_kind(scene, Kind::Volume).unwrap();
    let begun = Restoring { request: request.to_owned(), snapshot, size: None };
    objects(scene)[volume].tags.restoring = Some(Box::new(begun));
}

fn any(_: &Action) -> bool {
    true
}

fn bad_plans() -> Vec<Bad> {
    let bad = |rule, documents, objects, step, spoil| Bad { rule, documents, objects, step, spoil };
    let removal: fn(&Action) -> bool = |action| matches!(action, Action::Trash { .. } | Action::Destroy);
    let tagged: fn(&Action) -> bool = |action| matches!(action, Action::SetTags { .. });
    let limits: fn(&Action) -> bool = |action| matches!(action, Action::Configure { .. });
    let made: fn(&Action) -> bool = |action| matches!(action, Action::Create { .. });
    vec![
        bad("its backend is not usable", GROWN, "{volume: db}", any, |plan, _| {
            plan.steps[0].endpoint = Endpoint::Backend("slow".parse().unwrap());
        }),
        bad("its target is not usable", GROWN, "{volume: db}", any, |plan, _| {
            // Of the name of a backend that is usable.
            plan.steps[0].endpoint = Endpoint::Target("fast".parse().unwrap());
        }),
        bad("it waits for a later step", GROWN, "{volume: db}", any, |plan, _| plan.steps[0].after = vec![0]),
        bad("another process is writing to its backend", GROWN, "{volume: db}", any, |_, scene| {
            for view in scene.world.values_mut() {
                if let Observation::Seen { capabilities, observed } = view.clone() {
                    *view = Observation::LockedBy { by: "process 17".to_owned(), capabilities, observed };
                }
            }
        }),
        bad("its backend cannot reserve space", THICK, "{volume: db, shown: thin}", any, |_, scene| {
            for view in scene.world.values_mut() {
                if let Observation::Seen { capabilities, .. } = view {
                    capabilities.reservation = Reservation::Fixed;
                }
            }
        }),
        bad("its object is blocked", GROWN, "{volume: db}", any, |_, scene| {
            let blocker = Blocker { reason: BlockerReason::Locked, message: "it is locked".to_owned() };
            objects(scene)[0].blocker = Some(Box::new(blocker));
        }),
        bad("its object is blocked", GROWN, "{volume: db, half: true}", made, |_, scene| {
            let blocker = Blocker { reason: BlockerReason::Locked, message: "it is locked".to_owned() };
            objects(scene)[0].blocker = Some(Box::new(blocker));
        }),
        bad("its object belongs to another owner", GROWN, "{volume: db}", any, |plan, _| {
            plan.steps[0].identity.owner = "other".parse().unwrap();
        }),
        bad("its object is created twice", NEW, "{volume: db}", made, |plan, _| plan.steps.push(plan.steps[0].clone())),
        bad("its object is removed twice", DB, OLD, removal, |plan, _| plan.steps.push(plan.steps[0].clone())),
        bad("the restore of its object is not complete", GROWN, "{volume: db}", any, |_, scene| {
            half_restored(scene, "r");
        }),
        bad("a restore from its object is not complete", DB, SNAPSHOT, removal, |_, scene| half_restored(scene, "r")),
        bad("it begins a restore as if it completed one", RESTORED, SNAPSHOT, any, |plan, _| {
            plan.steps[0].risk = Risk::None
        }),
        bad("it replaces a restore that can be completed", RESTORED, SNAPSHOT, any, |_, scene| {
            half_restored(scene, "q")
        }),
        bad(
            "it copies a volume whose restore is not complete",
            &["Volume db size: 1Gi", "Snapshot m volume: db"],
            "{volume: db}",
            any,
            |_, scene| half_restored(scene, "r"),
        ),
        bad("its object is suspended", GROWN, "{volume: db}", any, |_, scene| {
            let owner = scene.reading.specs.stack.owner.clone();
            let object = Some((Kind::Volume, "db".parse().unwrap()).into());
            let reason = "fsck".to_owned();
            scene.suspended.push(Suspension { id: None, owner, object, reason, since: 0, until: None, resumed: None });
        }),
        bad("an object is created and removed in one plan", NEW, "{volume: db}", made, |plan, _| {
            plan.steps.push(kiln::model::Step { action: Action::Destroy, ..plan.steps[0].clone() });
        }),
        bad("its native name is taken", NEW, "{volume: db}", made, |plan, scene| {
            in_the_way(scene, &plan.steps[0].native, Place::Live);
        }),
        bad("its native name is taken", NEW, "{volume: db}", made, |plan, scene| {
            in_the_way(scene, &plan.steps[0].native, Place::Trash);
        }),
        bad(
            "its native name is taken",
            &["Volume db size: 1Gi", "Snapshot now volume: db"],
            "{volume: db}",
            |action| matches!(action, Action::Snapshot { .. }),
            |plan, scene| in_the_way(scene, &plan.steps[0].native, Place::Live),
        ),
        bad(
            "it is smaller than its source, or the size of its source is unknown",
            &["Volume db size: 1Gi", "Volume new size: 1Gi, source: {volume: db}"],
            "{volume: db}",
            made,
            |plan, _| match &mut plan.steps[0].action {
                Action::Create { size, .. } => *size = Size(4096),
                other => panic!("{other}"),
            },
        ),
        bad("its absence is not proven", NEW, "{volume: db}", made, |_, scene| cut(scene)),
        bad(
            "its absence is not proven",
            &["Volume db size: 1Gi", "Snapshot monday volume: db"],
            "{volume: db}",
            |action| matches!(action, Action::Snapshot { .. }),
            |_, scene| cut(scene),
        ),
        bad(
            "objects that depend on its object may not be listed",
            DB,
            "{volume: db}, {volume: old}",
            removal,
            |_, scene| cut(scene),
        ),
        bad(
            "it adopts an object that does not exist or has an owner",
            &["Volume x size: 1Gi, adopt: {name: x.img}"],
            "{foreign: x.img}",
            any,
            |_, scene| {
                objects(scene).clear();
            },
        ),
        bad(
            "it adopts an object that does not exist or has an owner",
            &["Volume x size: 1Gi, adopt: {name: x.img}"],
            "{foreign: x.img}",
            any,
            |plan, scene| {
                objects(scene)[0].identity =
                    Some(Identity { owner: "other".parse().unwrap(), ..plan.steps[0].identity.clone() });
            },
        ),
        bad("it is never part of a plan", DB, OLD, removal, |plan, _| plan.steps[0].action = Action::Purge),
        bad("it is never part of a plan", DB, OLD, removal, |plan, _| plan.steps[0].action = Action::Sweep),
        bad("it does not grow its object", GROWN, "{volume: db}", any, |plan, _| {
            plan.steps[0].action = Action::Grow { to: plan.steps[0].expect.size.unwrap() };
        }),
        bad("it does not grow its object", GROWN, "{volume: db}", any, |plan, _| plan.steps[0].expect.size = None),
        bad("its object is protected", DB, OLD, removal, |_, scene| {
            objects(scene).iter_mut().for_each(|object| object.tags.protected = true);
        }),
        bad("its object is not the one observed", DB, OLD, removal, |_, scene| another(scene)),
        bad("it removes an object that may still be declared", DB, OLD, removal, |_, scene| {
            scene.reading.broken = true
        }),
        bad("it removes an object that may still be declared", DB, OLD, removal, |_, scene| {
            scene.reading.unconfirmed = true;
        }),
        bad("its object is declared", DB, OLD, removal, |_, scene| {
            scene.reading = specs(&["Volume db size: 1Gi", "Volume old size: 1Gi"]);
        }),
        bad("its object is declared", DB, "{volume: db}, {snapshot: old, of: db}", removal, |_, scene| {
            scene.reading = specs(&["Volume db size: 1Gi", "Snapshot old volume: db"]);
        }),
        bad("its object is a copy of one on another pool", GROWN, "{volume: db}", any, |_, scene| {
            objects(scene).iter_mut().for_each(|object| object.copy_of = object.identity.take().map(Box::new));
        }),
        bad("it expects another object than the one observed", DB, OLD, removal, |plan, scene| {
            plan.steps[0].expect.id = Some("1".into());
            objects(scene).iter_mut().for_each(|object| object.id = Some("2".into()));
        }),
        bad("its object was not observed", DB, OLD, removal, |plan, scene| {
            let native = plan.steps[0].native.clone();
            objects(scene).retain(|object| object.native != native);
        }),
        bad(
            "its object is protected",
            &["Volume db size: 1Gi, restore: {snapshot: m, request: r}", "Snapshot m volume: db"],
            "{volume: db}, {snapshot: m, of: db}",
            |action| matches!(action, Action::Restore { .. }),
            |plan, _| plan.steps[0].expect.tags.as_mut().unwrap().protected = true,
        ),
        bad(
            "it releases a declared object",
            DB,
            "{volume: db}, {volume: old, onRemove: Retain}",
            tagged,
            |_, scene| {
                scene.reading = specs(&["Volume db size: 1Gi", "Volume old size: 1Gi"]);
            },
        ),
        bad(
            "it releases an object that may still be declared",
            DB,
            "{volume: db}, {volume: old, onRemove: Retain}",
            tagged,
            |_, scene| scene.reading.broken = true,
        ),
        bad(
            "its object is not the one observed",
            &["Volume db,labels: {a: b} size: 1Gi"],
            "{volume: db}",
            tagged,
            |_, scene| {
                another(scene);
            },
        ),
        bad(
            "its object is not the one observed",
            &["Volume db,renamedFrom: was size: 1Gi"],
            "{volume: was}",
            |action| matches!(action, Action::Rename { .. }),
            |_, scene| another(scene),
        ),
        bad(
            "its object is not the one observed",
            DB,
            "{volume: db, trash: true}",
            |action| matches!(action, Action::Undelete { .. }),
            |_, scene| another(scene),
        ),
        bad(
            "it lifts protection while a manifest is invalid, or by other manifests",
            &["Volume db size: 1Gi, protected: false"],
            "{volume: db, protected: true}",
            tagged,
            |_, scene| scene.reading.broken = true,
        ),
        bad(
            "its object is not the one observed",
            &["Volume db size: 1Gi", "Volume copy size: 1Gi"],
            "{volume: db}, {snapshot: m, of: db, onRemove: Detach}, {volume: copy, cloneOf: m}",
            |action| matches!(action, Action::Detach),
            |plan, scene| {
                plan.steps.truncate(1);
                another(scene);
            },
        ),
        bad(
            "its new name is not proven free",
            &["Volume db,renamedFrom: was size: 1Gi"],
            "{volume: was}",
            |action| matches!(action, Action::Rename { .. }),
            |_, scene| cut(scene),
        ),
        bad(
            "its new name is not proven free",
            DB,
            "{volume: db, trash: true}",
            |action| matches!(action, Action::Undelete { .. }),
            |_, scene| cut(scene),
        ),
        bad("it destroys an object whose directory may come back", DB, DESTROYED, removal, |_, scene| {
            scene.reading.coverage = serde_yaml::from_str("{root: specs, files: [kiln.yaml], young: true}").unwrap();
        }),
        bad("its object was written to", RENAMED_LATER, GIVES_WAY, removal, |_, scene| {
            for object in objects(scene) {
                object.written = Written::Yes;
            }
        }),
        bad("it removes an object by manifests that are in doubt", RENAMED_LATER, GIVES_WAY, removal, |_, scene| {
            scene.reading.unconfirmed = true;
        }),
        bad(
            "it grows an object whose smaller size was accepted",
            GROWN,
            "{volume: db}",
            |action| matches!(action, Action::Grow { .. }),
            |_, scene| {
                let Observation::Seen { observed, .. } = scene.world.values_mut().next().unwrap() else {
                    panic!("it was seen")
                };
                if let Some(ledger) = &mut observed.ledger {
                    let LedgerView::Good(ledger) = ledger else { panic!("it is whole") };
                    Arc::make_mut(ledger).complete.values_mut().for_each(|entry| entry.accepted = Some(Size(2 << 30)));
                }
            },
        ),
        bad("its address is not one of its backend", GROWN, "{volume: db}", any, |plan, _| {
            plan.steps[0].parent_volume = Some(NativeName::new("web"));
        }),
        bad(
            "it reads another object than the one observed",
            &["Volume db size: 1Gi", "Volume copy size: 1Gi, source: {snapshot: m}", "Snapshot m volume: db"],
            "{volume: db}, {snapshot: m, of: db}",
            made,
            |_, scene| another(scene),
        ),
        bad("another object needs its object", DB, OLD, removal, |_, scene| {
            objects(scene).iter_mut().for_each(|object| object.needed_by.push("pool2/clone".to_owned()));
        }),
        bad(
            "another object needs its object",
            &["Volume db size: 1Gi", "Volume copy size: 1Gi"],
            "{volume: db}, {snapshot: m, of: db, onRemove: Detach}, {volume: copy, cloneOf: m}",
            |action| matches!(action, Action::Detach),
            |plan, scene| {
                plan.steps.truncate(1);
                objects(scene).iter_mut().for_each(|object| object.needed_by.push("pool2/clone".to_owned()));
            },
        ),
        bad("it removes a snapshot inside of its volume that it does not name", DB, INSIDE, removal, |plan, _| {
            along(plan).clear();
        }),
        bad("a snapshot that it names is not inside of its volume", DB, INSIDE, removal, |plan, _| {
            let identity = &mut along(plan)[0].identity;
            identity.uid = Uid::derive("another", &identity.owner, identity.kind, &identity.name, &identity.name, 0);
        }),
        bad("it moves a snapshot of another owner", DB, INSIDE, removal, |plan, _| {
            along(plan)[0].identity.owner = "other".parse().unwrap();
        }),
        bad("it moves a suspended snapshot", DB, INSIDE, removal, |plan, scene| {
            let (owner, reason) = (plan.owner.clone(), "fsck".to_owned());
            let object = Some(along(plan)[0].identity.id());
            scene.suspended.push(Suspension { id: None, owner, object, reason, since: 0, until: None, resumed: None });
        }),
        bad("it removes a snapshot that is protected or needed", DB, INSIDE, removal, |_, scene| {
            let snapshot = objects(scene).iter_mut().find(|object| object.kind() == Kind::Snapshot).unwrap();
            snapshot.tags.protected = true;
        }),
        bad("it removes a snapshot that may still be declared", DB, INSIDE, removal, |_, scene| {
            scene.reading.broken = true;
        }),
        bad(
            "it copies a volume whose clients cannot be seen",
            &["Volume db size: 1Gi", "Snapshot s volume: db"],
            "{volume: db, size: 1Gi}",
            |action| matches!(action, Action::Snapshot { .. }),
            |_, scene| blind(scene),
        ),
        bad(
            "it destroys an object whose clients cannot be seen, without an approval",
            DB,
            DESTROYED,
            removal,
            |_, scene| {
                scene.irreversible = Irreversible::HoldRestores;
                blind(scene);
            },
        ),
        bad("it creates a volume with other settings than its document declares", LIMITED, "", made, |plan, _| {
            *settings(plan) = VolumeSettings { encrypted: false, ..settings(plan).clone() };
        }),
        bad("it creates a volume with other settings than its document declares", LIMITED, "", made, |plan, _| {
            settings(plan).qos = None;
        }),
        bad("its backend does not support its settings", LIMITED, "", made, |_, scene| {
            ability(scene).qos = false;
        }),
        bad("its backend does not support its settings", LIMITED, "", made, |_, scene| {
            ability(scene).encryption = false;
        }),
        bad(
            "its backend does not support its settings",
            LIMITED,
            "{volume: db, encrypted: true}",
            limits,
            |_, scene| {
                ability(scene).qos = false;
            },
        ),
        bad("it changes the encryption", LIMITED, "{volume: db, encrypted: true}", limits, |plan, _| {
            settings(plan).encrypted = false;
        }),
        bad("its object is not the one observed", LIMITED, "{volume: db, encrypted: true}", limits, |_, scene| {
            another(scene);
        }),
        bad("Export e does not exist, is not planned and is not held", EXPORTED, "{volume: db}", made, |plan, _| {
            plan.held.clear();
        }),
        bad("Volume new does not exist, is not planned and is not held", NEW, "{volume: db}", made, |plan, _| {
            plan.steps.clear()
        }),
    ]
}

#[test]
fn each_rule_of_the_lint_refuses_a_bad_plan() {
    let mut seen = BTreeSet::new();
    for (number, Bad { rule, documents, objects, step, spoil }) in bad_plans().into_iter().enumerate() {
        let mut scene = scene(documents, objects);
        let mut plan = plan(&scene.inputs());
        assert_eq!(lint(&plan, &scene.inputs()), [""; 0], "{number}, {rule}: the plan is good before it is spoilt");
        assert!(plan.steps.first().is_some_and(|first| step(&first.action)), "{number}, {rule}: {:?}", plan);
        spoil(&mut plan, &mut scene);
        let said = lint(&plan, &scene.inputs());
        assert!(said.iter().any(|breach| breach.ends_with(rule)), "{number}, {rule}: {said:?}");
        seen.insert(rule);
    }
    // A rule that is added needs a bad plan here.
    let source = include_str!("../../src/plan/lint.rs");
    let rules = source.split("breach(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    let rules: BTreeSet<&str> = rules.map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(rules.len() > 15, "{rules:?}");
    let missing: Vec<_> = rules.difference(&seen).collect();
    assert!(missing.is_empty(), "no bad plan for {missing:?}");
}

#[test]
fn a_saved_plan_whose_restore_was_interrupted_may_go_on_with_it_and_with_no_other() {
    let mut scene = scene(RESTORED, SNAPSHOT);
    let saved = plan(&scene.inputs());
    for (request, may) in [("r", true), ("q", false)] {
        half_restored(&mut scene, request);
        let now = plan(&scene.inputs());
        assert!(now.steps.iter().any(|step| matches!(step.action, Action::Restore { .. })), "{now:#?}");
        let differences = differences(&saved, &now, |_| false);
        assert_eq!(differences.is_empty(), may, "{request}: {differences:?}");
    }
}

#[test]
fn a_copy_of_what_is_adopted_is_of_the_object_that_was_observed() {
    for (documents, objects, native) in [
        (
            &[
                "Volume db size: 1Gi",
                "Snapshot m volume: db, adopt: {name: theirs}",
                "Volume copy size: 1Gi, source: {snapshot: m}",
            ][..],
            "{volume: db}, {foreign: theirs, of: db}",
            "id-theirs",
        ),
        (&["Volume db size: 1Gi, adopt: {name: theirs}", "Snapshot m volume: db"], "{foreign: theirs}", "id-theirs"),
    ] {
        let plan = plan(&scene(documents, objects).inputs());
        let read: Vec<_> = plan.steps.iter().filter_map(|step| step.action.reads()).map(|(_, read)| &read.id).collect();
        assert_eq!(read, [&Some(native.into())], "{plan:#?}");
    }
}
