//! Each capability is read where a step is planned: without it, another plan is made.

use kiln::model::{
    Action, Capabilities, ClientVisibility, CloneAbility, Growth, NameAlphabet, NameRules, Provisioning, Reservation,
    Restores, SettingsAbility, SnapshotAbility, TrashAbility,
};
use kiln::plan::{HeldReason, Irreversible, Observation, Plan, plan};

use crate::bad_plans::scene;

/// A capability, and a scene whose plan shows whether it is read.
struct Read {
    what: &'static str,
    /// Changes only this capability.
    change: Box<dyn Fn(&mut Capabilities)>,
    documents: &'static [&'static str],
    objects: &'static str,
    /// What the plan shows with the change, and not without.
    sign: Box<dyn Fn(&Plan) -> bool>,
}

fn held(reason: HeldReason) -> Box<dyn Fn(&Plan) -> bool> {
    Box::new(move |plan| plan.held.iter().any(|held| held.reason == reason))
}

fn unsupported() -> Box<dyn Fn(&Plan) -> bool> {
    held(HeldReason::Unsupported)
}

fn made(sign: impl Fn(&Action) -> bool + 'static) -> Box<dyn Fn(&Plan) -> bool> {
    Box::new(move |plan| plan.steps.iter().any(|step| sign(&step.action)))
}

const DB: &[&str] = &["Volume db size: 1Gi"];
const SNAPSHOT: &[&str] = &["Volume db size: 1Gi", "Snapshot monday volume: db"];
const COPY: &[&str] = &["Volume db size: 1Gi", "Volume copy size: 1Gi, source: {volume: db}"];
const CLONED: &str = "{volume: db}, {volume: copy, cloneOf: monday}, {snapshot: monday, of: db, onRemove: Detach}";

/// All capabilities. A new one does not compile, or is an unused variable, until it has a line here.
fn all() -> Vec<Read> {
    let Capabilities {
        granularity,
        max_size,
        names,
        thin,
        thick,
        reservation,
        grow,
        snapshots,
        clones,
        client_visibility,
        // Read where lists are incomplete: see the cases `by-name-…`, and `differs_by_name`.
        absence: _,
        restore,
        rename,
        adopt,
        trash,
        // Read where a call is repeated, and not where it is planned: see `tests/sweep.rs`, which loses replies.
        repeatable: _,
        settings,
        images,
        shares_blocks,
        unusable,
    } = Capabilities::everything();
    let NameRules { own, max_bytes, prefix_bytes, dash_bytes, alphabet } = names;
    let SnapshotAbility { nested, while_open, adopt: adopt_snapshots } = snapshots.unwrap();
    let CloneAbility { of_volume, depend, detach } = clones.unwrap();
    let SettingsAbility { qos, qos_live, encryption } = settings;
    assert_eq!((grow, client_visibility), (Growth::Open, ClientVisibility::All));
    assert_eq!((trash, alphabet), (TrashAbility::All, NameAlphabet::Any));
    assert!(shares_blocks.is_some() && unusable.is_none());

    fn read(
        what: &'static str,
        (documents, objects): (&'static [&'static str], &'static str),
        change: impl Fn(&mut Capabilities) + 'static,
        sign: Box<dyn Fn(&Plan) -> bool>,
    ) -> Read {
        Read { what, change: Box::new(change), documents, objects, sign }
    }
    let of_snapshots = |change: fn(&mut SnapshotAbility, bool), to: bool| {
        move |can: &mut Capabilities| change(can.snapshots.as_mut().unwrap(), to)
    };
    let of_clones = |change: fn(&mut CloneAbility, bool), to: bool| {
        move |can: &mut Capabilities| change(can.clones.as_mut().unwrap(), to)
    };
    vec![
        read(
            "granularity",
            (&["Volume db size: 1"], ""),
            move |can| can.granularity = 2 * granularity,
            made(move |action| matches!(action, Action::Create { size, .. } if size.bytes() == 2 * granularity)),
        ),
        read("max_size", (&["Volume db size: 512Pi"], ""), move |can| can.max_size = max_size / 4, unsupported()),
        read("names.own", (&["Volume db size: 1Gi, object: x"], ""), move |can| can.names.own = !own, unsupported()),
        read(
            "names.max_bytes",
            (DB, ""),
            move |can| can.names.max_bytes = max_bytes / 8,
            held(HeldReason::NameTooLong),
        ),
        read(
            "names.prefix_bytes",
            (DB, ""),
            move |can| can.names.prefix_bytes = prefix_bytes + 120,
            held(HeldReason::NameTooLong),
        ),
        read(
            "names.dash_bytes",
            (&["Volume d-b size: 1Gi"], ""),
            move |can| can.names.dash_bytes = dash_bytes + 100,
            held(HeldReason::NameTooLong),
        ),
        read(
            "names.alphabet",
            (&["Volume db size: 1Gi, object: \"a b\""], ""),
            |can| can.names.alphabet = NameAlphabet::Portable,
            unsupported(),
        ),
        read(
            "thin",
            (DB, ""),
            move |can| can.thin = !thin,
            made(|action| matches!(action, Action::Create { provisioning: Provisioning::Thick, .. })),
        ),
        read(
            "thick",
            (&["Volume db size: 1Gi, provisioning: thick"], ""),
            move |can| can.thick = !thick,
            unsupported(),
        ),
        read(
            "reservation",
            (&["Volume db size: 1Gi, provisioning: thick"], "{volume: db, shown: thin}"),
            move |can| {
                assert_eq!(reservation, Reservation::Changeable);
                can.reservation = Reservation::Fixed;
            },
            held(HeldReason::Immutable),
        ),
        read("grow", (&["Volume db size: 2Gi"], "{volume: db}"), |can| can.grow = Growth::No, unsupported()),
        read(
            "grow, while open",
            (&["Volume db size: 2Gi"], "{volume: db, clients: [qemu]}"),
            |can| can.grow = Growth::Idle,
            held(HeldReason::InUse),
        ),
        read("snapshots", (SNAPSHOT, "{volume: db}"), |can| can.snapshots = None, unsupported()),
        read(
            "snapshots.nested",
            (SNAPSHOT, "{volume: db}"),
            of_snapshots(|can, to| can.nested = to, !nested),
            Box::new(|plan| plan.steps.iter().any(|step| step.parent_volume.is_some())),
        ),
        read(
            "snapshots.while_open",
            (SNAPSHOT, "{volume: db, clients: [qemu]}"),
            of_snapshots(|can, to| can.while_open = to, !while_open),
            held(HeldReason::InUse),
        ),
        read(
            "snapshots.adopt",
            (
                &["Volume db size: 1Gi", "Snapshot old volume: db, adopt: {name: theirs}"],
                "{volume: db}, {foreign: theirs, of: db}",
            ),
            of_snapshots(|can, to| can.adopt = to, !adopt_snapshots),
            unsupported(),
        ),
        read("clones", (COPY, "{volume: db}"), |can| can.clones = None, unsupported()),
        read(
            "clones.of_volume",
            (COPY, "{volume: db}"),
            of_clones(|can, to| can.of_volume = to, !of_volume),
            unsupported(),
        ),
        read(
            "clones.depend",
            (
                &["Volume db size: 1Gi", "Volume copy size: 1Gi, source: {snapshot: monday}"],
                "{volume: db}, {snapshot: monday, of: db}",
            ),
            of_clones(|can, to| can.depend = to, !depend),
            made(|action| matches!(action, Action::Trash { .. })),
        ),
        read(
            "clones.detach",
            (&["Volume db size: 1Gi", "Volume copy size: 1Gi"], CLONED),
            of_clones(|can, to| can.detach = to, !detach),
            held(HeldReason::HasDependents),
        ),
        read(
            "client_visibility",
            (
                &["Volume db size: 1Gi, restore: {snapshot: monday, request: a}", "Snapshot monday volume: db"],
                "{volume: db}, {snapshot: monday, of: db}",
            ),
            |can| can.client_visibility = ClientVisibility::None,
            Box::new(|plan| plan.held.iter().any(|held| held.message.contains("cannot see"))),
        ),
        read(
            "restore",
            (
                &["Volume db size: 1Gi, restore: {snapshot: monday, request: a}", "Snapshot monday volume: db"],
                "{volume: db}, {snapshot: monday, of: db}",
            ),
            move |can| {
                assert_ne!(restore, Restores::No);
                can.restore = Restores::No;
            },
            unsupported(),
        ),
        read(
            "rename",
            (&["Volume db,renamedFrom: old size: 1Gi"], "{volume: old}"),
            move |can| can.rename = !rename,
            unsupported(),
        ),
        read(
            "adopt",
            (&["Volume db size: 1Gi, adopt: {name: x}"], "{foreign: x}"),
            move |can| can.adopt = !adopt,
            unsupported(),
        ),
        read("trash", (DB, "{volume: db}, {volume: old}"), |can| can.trash = TrashAbility::None, unsupported()),
        read(
            "settings.qos",
            (&["Volume db size: 1Gi, qos: {iops: 5}"], "{volume: db}"),
            move |can| can.settings.qos = !qos,
            unsupported(),
        ),
        read(
            "settings.qos_live",
            (&["Volume db size: 1Gi, qos: {iops: 5}"], "{volume: db, clients: [qemu]}"),
            move |can| can.settings.qos_live = !qos_live,
            held(HeldReason::InUse),
        ),
        read(
            "settings.encryption",
            (&["Volume db size: 1Gi, encryption: {passphraseFrom: {env: P}}"], ""),
            move |can| can.settings.encryption = !encryption,
            unsupported(),
        ),
        read(
            "images",
            (&["Volume db size: 1Gi, source: {image: {path: a.raw, format: raw}}"], ""),
            move |can| can.images = !images,
            made(|action| matches!(action, Action::Create { .. })),
        ),
        read(
            "shares_blocks",
            (COPY, "{volume: db, used: 1Gi}], capacity: {total: 2Gi, used: 1700Mi}, spent: ["),
            |can| can.shares_blocks = None,
            held(HeldReason::PoolFull),
        ),
        read("unusable", (DB, "{volume: db}"), |can| can.unusable = Some("it has no leases".to_owned()), unsupported()),
    ]
}

#[test]
fn each_capability_is_read_where_a_step_is_planned() {
    for Read { what, change, documents, objects, sign } in all() {
        let mut scene = scene(documents, objects);
        scene.irreversible = Irreversible::Hold;
        let able = plan(&scene.inputs());
        assert!(!sign(&able), "{what}: already the plan of a backend that can do everything shows it: {able:#?}");
        match scene.world.values_mut().next() {
            Some(Observation::Seen { capabilities, .. }) => change(capabilities),
            _ => panic!("the Backend was seen"),
        }
        let unable = plan(&scene.inputs());
        assert!(sign(&unable), "{what} is not read: {unable:#?}");
    }
}
