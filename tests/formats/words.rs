//! The words and fields of everything that is stored. A variant that is renamed, or a field, fails here; a new one does not compile until it
//! is added. What is listed is never changed: stored files have it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use kiln::driver::LocalSettings;
use kiln::driver::settings::config;
use kiln::driver::sim::{FaultRates, SimSettings};
use kiln::model::table::{Setting, Settings};
use kiln::model::{
    Action, ApprovalItem, ApprovalSet, ApprovalSpec, BackendRecord, BackendSpec, Blocker, BlockerReason, Clients,
    Coverage, Defaults, DriverConfig, Endpoint, Expect, ExportSpec, ExportedThing, Extent, FieldChange, FieldPlace,
    Identity, ImageFormat, ImageRef, InnerSnapshot, IntentId, JournalAction, JournalEntry, JournalOutcome, Kind,
    LastReading, Ledger, LedgerEntry, Meta, Name, NativeName, NotAllowed, Object, ObjectId, ObjectRecord, ObjectRef,
    OnRemove, OpenIntent, Origin, Percent, Place, PlacedField, PoolId, Provisioning, PurgeMode, Qos, Reading, Reason,
    Removal, RestoreSpec, Restoring, Risk, Safety, Seconds, Size, SnapshotSpec, SourcePlace, SourceSpec, Specs, Stack,
    Step, Suspension, SuspensionId, Tags, TargetSpec, Tombstone, TrashPolicy, Uid, Unreadable, Verb, VolumeSettings,
    VolumeSpec, Written,
};
use kiln::plan::{Drift, Held, HeldReason, Plan, Saved, Unobserved, Warning};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The word that a value of an enum is stored under.
fn word<T: Serialize + DeserializeOwned>(value: &T) -> String {
    let json = serde_json::to_value(value).unwrap();
    let again = T::deserialize(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(serde_json::to_value(again).unwrap(), json);
    match json {
        Value::String(word) => word,
        Value::Object(map) if map.len() == 1 => map.into_iter().next().unwrap().0,
        other => panic!("{other}"),
    }
}

/// A test for each enum: its variants, with a value where they have fields, and the words that they are stored as.
macro_rules! words {
    (@value $type:ident $variant:ident) => { $type::$variant };
    (@value $type:ident $variant:ident $value:expr) => { $value };
    ($($test:ident: $type:ident { $($variant:ident $(= $value:expr)? => $word:literal,)+ })+) => {$(
        #[test]
        fn $test() {
            let expected = |value: &$type| match value { $($type::$variant { .. } => $word,)+ };
            let values = [$(words!(@value $type $variant $($value)?),)+];
            let words: Vec<String> = values.iter().map(word).collect();
            assert_eq!(words, values.iter().map(expected).collect::<Vec<_>>());
            assert_eq!(words, [$($word),+]);
        }
    )+};
}

words! {
    words_of_kinds: Kind {
        Stack => "Stack",
        Backend => "Backend",
        Volume => "Volume",
        Snapshot => "Snapshot",
        Target => "Target",
        Export => "Export",
        Approval => "Approval",
    }
    words_of_image_formats: ImageFormat {
        Raw => "raw",
        Qcow2 => "qcow2",
    }
    words_of_removals: OnRemove {
        Trash => "Trash",
        Retain => "Retain",
        Delete => "Delete",
        Detach => "Detach",
    }
    words_of_provisioning: Provisioning {
        Thin => "thin",
        Thick => "thick",
    }
    words_of_purge_modes: PurgeMode {
        Auto => "Auto",
        Manual => "Manual",
    }
    words_of_extents: Extent {
        Whole => "whole",
        Partial => "partial",
        OneFile => "oneFile",
    }
    words_of_places: Place {
        Live => "Live",
        Trash => "Trash",
        Temporary => "Temporary",
    }
    words_of_placed_fields: PlacedField {
        Metadata => "metadata",
        Name => "name",
        RenamedFrom => "renamedFrom",
        Adopt => "adopt",
        Backend => "backend",
        Driver => "driver",
        Encryption => "encryption",
        MaxFill => "maxFill",
        Object => "object",
        Overcommit => "overcommit",
        Path => "path",
        Protected => "protected",
        Provisioning => "provisioning",
        Qos => "qos",
        Restore => "restore",
        Size => "size",
        Source => "source",
        Via => "via",
        Volume => "volume",
    }
    words_of_clients: Clients {
        Unknown => "Unknown",
        None => "None",
        Some = Clients::Some(vec!["qemu".to_owned()]) => "Some",
    }
    words_of_written: Written {
        Unknown => "Unknown",
        Never => "Never",
        Yes => "Yes",
    }
    words_of_verbs: Verb {
        Create => "create",
        Update => "update",
        Move => "move",
        Adopt => "adopt",
        Remove => "remove",
        Destroy => "destroy",
    }
    words_of_journal_actions: JournalAction {
        Step = JournalAction::Step(Verb::Create) => "create",
        Approve => "approve",
        Forget => "forget",
        Other = JournalAction::Other("resize".into()) => "resize",
    }
    words_of_journal_outcomes: JournalOutcome {
        Changed => "changed",
        Unchanged => "unchanged",
        Failed => "failed",
        Other = JournalOutcome::Other("postponed".into()) => "postponed",
    }
    words_of_risks: Risk {
        None => "none",
        Disruptive => "disruptive",
        Recoverable => "recoverable",
        Irreversible => "irreversible",
    }
    words_of_reasons: Reason {
        NotThere => "NotThere",
        InTrash => "InTrash",
        WasRetained => "WasRetained",
        Grown => "Grown",
        TagsDiffer => "TagsDiffer",
        SettingsDiffer => "SettingsDiffer",
        NotReserved => "NotReserved",
        RestoreRequested => "RestoreRequested",
        RenamedFrom => "RenamedFrom",
        AdoptRequested => "AdoptRequested",
        OwnerGiven => "OwnerGiven",
        NotDeclared => "NotDeclared",
        Purged => "Purged",
        LeftOver => "LeftOver",
        HasClones => "HasClones",
        GivesWay => "GivesWay",
    }
    words_of_held_reasons: HeldReason {
        Unsupported => "Unsupported",
        ShrinkRefused => "ShrinkRefused",
        GrowRefused => "GrowRefused",
        Immutable => "Immutable",
        Protected => "Protected",
        HasDependents => "HasDependents",
        InUse => "InUse",
        RemovalLimit => "RemovalLimit",
        SourceBroken => "SourceBroken",
        SourceChanged => "SourceChanged",
        Unobserved => "Unobserved",
        Lost => "Lost",
        Renamed => "Renamed",
        Foreign => "Foreign",
        Conflict => "Conflict",
        Ambiguous => "Ambiguous",
        OtherWriter => "OtherWriter",
        OwnerChanged => "OwnerChanged",
        BackendChanged => "BackendChanged",
        BackendUndeclared => "BackendUndeclared",
        AdoptMissing => "AdoptMissing",
        SourceMissing => "SourceMissing",
        HalfRestored => "HalfRestored",
        SizeBelowSource => "SizeBelowSource",
        LooksLikeRename => "LooksLikeRename",
        NeedsConfirmation => "NeedsConfirmation",
        OpenExport => "OpenExport",
        PoolFull => "PoolFull",
        NameTooLong => "NameTooLong",
        NotAllowed => "NotAllowed",
        Suspended => "Suspended",
        Progressing => "Progressing",
        DependencyHeld => "DependencyHeld",
        Blocked => "Blocked",
    }
    words_of_sources: SourceSpec {
        Snapshot = SourceSpec::Snapshot(name("db-1")) => "Snapshot",
        Volume = SourceSpec::Volume(name("db")) => "Volume",
        Image = SourceSpec::Image(image()) => "Image",
        Quiesced = SourceSpec::Quiesced(name("db")) => "Quiesced",
    }
    words_of_origins: Origin {
        Snapshot = Origin::Snapshot(reference()) => "Snapshot",
        Volume = Origin::Volume(reference()) => "Volume",
        Image = Origin::Image { image: image(), size: Some(Size(4096)) } => "Image",
    }
    words_of_exports: ExportedThing {
        Volume = ExportedThing::Volume(name("db")) => "Volume",
        Snapshot = ExportedThing::Snapshot(name("db-1")) => "Snapshot",
    }
    words_of_actions: Action {
        Create = actions()[0].clone() => "Create",
        Snapshot = actions()[1].clone() => "Snapshot",
        Grow = actions()[2].clone() => "Grow",
        Restore = actions()[3].clone() => "Restore",
        SetTags = actions()[4].clone() => "SetTags",
        Rename = actions()[5].clone() => "Rename",
        Adopt = actions()[6].clone() => "Adopt",
        Trash = actions()[7].clone() => "Trash",
        Undelete = actions()[8].clone() => "Undelete",
        Destroy => "Destroy",
        Purge => "Purge",
        Sweep => "Sweep",
        Detach => "Detach",
        Configure = actions()[13].clone() => "Configure",
        Reserve => "Reserve",
    }
}

/// Words that are stored without serde: in uids, in keys, in digests and in the sets of approvals.
#[test]
fn words_within_stored_texts() {
    let kinds = Kind::ALL.map(|kind| (kind.as_str(), kind.as_lower(), Ledger::next_key(kind, &name("db"))));
    let expected = ["stack", "backend", "volume", "snapshot", "target", "export", "approval"];
    for (kind, (long, lower, key)) in Kind::ALL.iter().zip(&kinds) {
        assert_eq!((*long, key), (word(kind).as_str(), &format!("{lower}/db")));
    }
    assert_eq!(kinds.map(|(_, lower, _)| lower), expected);
    let uid = Uid::derive("5c1d2e8a90", &"prod".parse().unwrap(), Kind::Volume, &name("fast"), &name("db"), 0);
    assert_eq!(uid.as_str(), "7np53nfs");
    let items = actions().map(|action| step(action).approval_item().to_string());
    let item = |text: &str| format!("7np53nfs {text}");
    let expected = [
        item("create"),
        item("create"),
        item("update 8192"),
        item("update 7np53nfs monday"),
        item("remove"),
        item("move"),
        item("adopt"),
        item("remove"),
        item("adopt"),
        item("destroy"),
        item("destroy"),
        item("destroy"),
        item("update"),
        item("update"),
        item("update"),
    ];
    assert_eq!(items, expected);
}

#[test]
fn a_journal_line_with_unknown_words_is_kept_as_it_is() {
    let line = json!({
        "at": 1000, "revision": "", "owner": "prod", "backend": "fast", "kind": "Volume", "name": "db",
        "uid": "7np53nfs", "action": "resize", "detail": "destroy", "outcome": "postponed", "message": null, "millis": 7,
    });
    let entry: JournalEntry = serde_json::from_value(line.clone()).unwrap();
    assert_eq!(entry.action, JournalAction::Other("resize".into()));
    assert_eq!(entry.outcome, JournalOutcome::Other("postponed".into()));
    assert!(!entry.action.is_step(), "it proves no step");
    assert_eq!(serde_json::to_value(entry).unwrap(), line);
    for verb in [Verb::Create, Verb::Update, Verb::Move, Verb::Adopt, Verb::Remove, Verb::Destroy] {
        let json = json!(JournalAction::Step(verb));
        assert_eq!(json, json!(verb));
        assert_eq!(serde_json::from_value::<JournalAction>(json).unwrap(), JournalAction::Step(verb));
    }
}

#[test]
fn fields_of_drivers() {
    for config in [local(), sim(), DriverConfig::unimplemented("ceph".to_owned(), settings())] {
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["built", "driver", "place", "settings"]);
        assert_eq!(serde_json::from_value::<DriverConfig>(json).unwrap(), config);
    }
}

/// All fields of everything that is stored, as `fields.json` has them.
#[test]
fn fields_of_everything_that_is_stored() {
    let written = json!({
        "ledger": ledger(),
        "backend record": BackendRecord {
            place: "/srv/pool".to_owned(),
            pool: PoolId("cb12cf9fd46301f5a3daf7c58680a216".to_owned()),
            owner: "prod".parse().unwrap(),
            observed_at: 1000,
            ledger: Some(ledger()),
        },
        "object record": ObjectRecord::new(
            identity(),
            name("fast"),
            (native("kiln.prod.db.7np53nfs"), Size(4096), tags(), in_force()),
            Some(&object()),
            1000,
        ),
        "intents": actions().map(|action| OpenIntent { id: IntentId(7), step: step(action), at: 1000 }),
        "journal line": JournalEntry {
            at: 1000,
            revision: "0123abcd".to_owned(),
            owner: "prod".parse().unwrap(),
            endpoint: Endpoint::Backend(name("fast")),
            kind: Kind::Volume,
            name: name("db"),
            uid: identity().uid,
            action: JournalAction::Step(Verb::Update),
            detail: "grow to 2Mi".to_owned(),
            destroys: Some(false),
            outcome: JournalOutcome::Failed,
            message: Some("no room".to_owned()),
            millis: 7,
        },
        "suspension": Suspension {
            id: Some(SuspensionId::of("db")),
            owner: "prod".parse().unwrap(),
            object: Some((Kind::Volume, name("db")).into()),
            reason: "fsck".to_owned(),
            since: 1000,
            until: Some(2000),
            resumed: Some(1500),
        },
        "saved plan": Saved::new(reading(), plan()),
    });
    let path = super::directory().join("fields.json");
    let kept: Value = fs::read_to_string(&path).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
    if kept != written {
        let beside = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("fields.json");
        fs::write(&beside, serde_json::to_string_pretty(&written).unwrap() + "\n").unwrap();
        panic!("{} is not {}, which is what is written now", path.display(), beside.display());
    }
    let again: Saved = serde_json::from_value(kept["saved plan"].clone()).unwrap();
    assert_eq!(again, Saved::new(reading(), plan()));
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn native(text: &str) -> NativeName {
    NativeName::new(text)
}

fn items(text: &str) -> BTreeSet<ApprovalItem> {
    BTreeSet::from([serde_json::from_value(text.into()).unwrap()])
}

fn texts(text: &str) -> BTreeSet<String> {
    BTreeSet::from([text.to_owned()])
}

fn image() -> ImageRef {
    ImageRef { path: "/srv/base.raw".into(), format: ImageFormat::Raw, sha256: Some("00ff".to_owned()) }
}

fn local() -> DriverConfig {
    config("local", LocalSettings { path: "/srv/pool".into(), create: true }.values())
}

fn sim() -> DriverConfig {
    let faults = FaultRates {
        error: Percent(1),
        lost_reply: Percent(2),
        half: Percent(3),
        stale: Percent(4),
        cut: Percent(5),
        slow: Percent(6),
        hang: Percent(7),
        lie: Percent(8),
    };
    let settings = SimSettings {
        path: Some("/srv/sim".into()),
        seed: 1,
        capacity: Some(Size(4096)),
        faults: Some(faults),
        mode: None,
    };
    config("sim", settings.values())
}

fn reference() -> ObjectRef {
    let id = Some("1f2e-6b49d200-ff".into());
    ObjectRef { id, ..ObjectRef::new(native("kiln.prod.db.7np53nfs"), identity().uid, Size(4096)) }
}

fn identity() -> Identity {
    Identity { owner: "prod".parse().unwrap(), kind: Kind::Volume, name: name("db"), uid: "7np53nfs".parse().unwrap() }
}

fn tags() -> Tags {
    Tags {
        labels: BTreeMap::from([("tier".to_owned(), "gold".to_owned())]),
        protected: true,
        on_remove: Some(OnRemove::Retain),
        provisioning: Some(Provisioning::Thick),
        retained: true,
        expires: Some(1000),
        identity: Some(Box::new(identity())),
        adopted: true,
        volume: Some(identity().uid),
        restored: Some("monday".to_owned()),
        restoring: Some(Box::new(Restoring {
            request: "tuesday".to_owned(),
            snapshot: Some(identity().uid),
            size: Some(Size(4096)),
        })),
    }
}

fn object() -> Object {
    Object {
        native: native("kiln.prod.db.7np53nfs"),
        place: Place::Live,
        identity: Some(identity()),
        size: Size(4096),
        used: Some(0),
        created: Some(1_785_657_600),
        tags: tags().into(),
        settings: in_force(),
        provisioning: Some(Provisioning::Thick),
        conflict: Some("its tags cannot be read".to_owned()),
        blocker: Some(Box::new(Blocker { reason: BlockerReason::Mirrored, message: "it is mirrored".to_owned() })),
        unfinished: true,
        parent: Some(identity().uid),
        clients: Clients::Some(vec!["qemu".to_owned()]),
        image: Some("qcow2".to_owned()),
        written: Written::Never,
        unowned_kind: Kind::Snapshot,
        of_volume: Some(Box::new(native("kiln.prod.web.7np53nfs"))),
        id: Some("1f2e-6b49d200-ff".into()),
        copy_of: Some(Box::new(identity())),
        needed_by: vec!["other/clone".to_owned()],
        parent_volume: Some(native("kiln.prod.web.7np53nfs")),
    }
}

fn actions() -> [Action; 15] {
    [
        Action::Create {
            size: Size(4096),
            provisioning: Provisioning::Thin,
            origin: Some(Origin::Image { image: image(), size: Some(Size(4096)) }),
            tags: tags(),
            settings: in_force(),
            n: 1,
        },
        Action::Snapshot { volume: reference(), tags: tags(), n: 1 },
        Action::Grow { to: Size(8192) },
        Action::Restore { snapshot: reference(), request: "monday".to_owned() },
        Action::SetTags { tags: tags() },
        Action::Rename { from: native("disk.raw"), tags: tags() },
        Action::Adopt { tags: tags(), n: 1 },
        Action::Trash { ttl: Seconds(60), with: Vec::new() },
        Action::Undelete { tags: tags(), with: inner() },
        Action::Destroy,
        Action::Purge,
        Action::Sweep,
        Action::Detach,
        Action::Configure { settings: in_force() },
        Action::Reserve,
    ]
}

fn qos() -> Qos {
    Qos {
        iops: Some(1),
        read_iops: Some(2),
        write_iops: Some(3),
        bps: Some(Size(4).into()),
        read_bps: Some(Size(5).into()),
        write_bps: Some(Size(6).into()),
        iops_burst: Some(7),
        bps_burst: Some(Size(8).into()),
    }
}

fn in_force() -> VolumeSettings {
    VolumeSettings { qos: Some(Box::new(qos())), encrypted: true }
}

fn inner() -> Vec<InnerSnapshot> {
    vec![InnerSnapshot {
        identity: identity(),
        native: native("kiln-snap.prod.monday.abcdefgh"),
        size: Size(4096),
        released: true,
    }]
}

fn step(action: Action) -> Step {
    Step {
        endpoint: Endpoint::Backend(name("fast")),
        identity: identity(),
        native: native("kiln.prod.db.7np53nfs"),
        parent_volume: Some(native("kiln.prod.web.7np53nfs")),
        action,
        expect: Expect {
            place: Some(Place::Live),
            id: Some("1f2e-6b49d200-ff".into()),
            size: Some(Size(4096)),
            tags: Some(tags()),
            settings: Some(in_force()),
            idle: true,
            unwritten: true,
        },
        risk: Risk::Recoverable,
        reason: Reason::Grown,
        changes: vec![FieldChange { path: "size".to_owned(), before: json!("4Ki"), after: json!("8Ki") }],
        bytes: Size(4096),
        after: vec![0],
        after_completion: vec![0],
    }
}

fn ledger() -> Ledger {
    let uid = identity().uid;
    let entry = LedgerEntry {
        kind: Kind::Volume,
        name: name("db"),
        n: 1,
        native: native("kiln.prod.db.7np53nfs"),
        size: Size(4096),
        protected: true,
        restored: texts("monday"),
        declared_in: Some("db.yaml".into()),
        accepted: Some(Size(8192)),
        parent_volume: Some(Box::new(native("kiln.prod.web.7np53nfs"))),
    };
    Ledger {
        pool: PoolId("cb12cf9fd46301f5a3daf7c58680a216".to_owned()),
        owner: "prod".parse().unwrap(),
        stack: "5c1d2e8a90".to_owned(),
        serial: 7,
        complete: BTreeMap::from([(uid, entry.clone())]),
        leaving: BTreeSet::from([uid]),
        destroying: BTreeSet::from([uid]),
        tombstones: BTreeMap::from([(uid, Tombstone { kind: Kind::Volume, name: name("db"), at: 1000 })]),
        next: BTreeMap::from([(Ledger::next_key(Kind::Volume, &name("db")), 2)]),
        removals: vec![Removal { uid, kind: Kind::Volume, size: Size(4096), at: 1000, approved: true }],
        approvals: vec![ApprovalSet { digest: "f32495bcf20c2a40".to_owned(), set: items("7np53nfs remove") }],
        spent: texts("f32495bcf20c2a40"),
        renaming: BTreeMap::from([(uid, name("db2"))]),
        creating: BTreeMap::from([(uid, entry)]),
        waiting: BTreeSet::from([uid]),
        copies: BTreeSet::from([uid]),
        reading: Some(LastReading {
            below: Some("specs".to_owned()),
            files: texts("db.yaml"),
            mounts: texts("sub"),
            untracked: texts("new.yaml"),
        }),
    }
}

fn settings() -> Settings {
    Settings::default().with("iqnPrefix", Some(Setting::Text("iqn.2026-01.org.example".to_owned())))
}

fn meta(text: &str) -> Meta {
    Meta {
        name: name(text),
        labels: BTreeMap::from([("tier".to_owned(), "gold".to_owned())]),
        renamed_from: Some(name("old")),
    }
}

fn reading() -> Reading {
    let stack = Stack {
        owner: "prod".parse().unwrap(),
        id: "5c1d2e8a90".to_owned(),
        declared: true,
        defaults: Defaults { backend: Some(name("fast")), on_remove: Some(OnRemove::Trash), protected: Some(true) },
        interval: Seconds(60),
        trash: TrashPolicy { ttl: Seconds(600), purge: PurgeMode::Manual },
        safety: Safety { max_removals: 1, max_removed_percent: Percent(2), max_removed_bytes: Size(3) },
    };
    let backend = BackendSpec {
        meta: meta("fast"),
        config: local(),
        concurrency: 4.try_into().unwrap(),
        timeout: Seconds(30),
        max_fill: Percent(90),
        overcommit: Some(Percent(200)),
        via: vec!["host".to_owned()],
    };
    let volume = VolumeSpec {
        meta: meta("db"),
        backend: name("fast"),
        size: Size(4096).into(),
        provisioning: Some(Provisioning::Thin),
        source: Some(SourceSpec::Image(image()).into()),
        protected: Some(true),
        on_remove: Some(OnRemove::Delete),
        object: Some("vm7".to_owned()),
        adopt: Some("disk.raw".to_owned()),
        restore: Some(RestoreSpec { snapshot: name("db-1"), request: "monday".to_owned() }.into()),
        qos: Some(qos().into()),
        encrypted: true,
    };
    let snapshot = SnapshotSpec {
        meta: meta("db-1"),
        volume: name("db"),
        quiesced: true,
        protected: Some(true),
        on_remove: Some(OnRemove::Detach),
        adopt: Some("snap".to_owned()),
    };
    let export = ExportSpec {
        meta: meta("db"),
        what: ExportedThing::Volume(name("db")),
        target: name("san"),
        protocol: "iscsi".to_owned(),
    };
    let (message, fix) = ("out of reach".to_owned(), "allow it".to_owned());
    let place = SourcePlace { file: "specs/db.yaml".into(), line: 1, column: 2 };
    let size = [FieldPlace { field: PlacedField::Size, line: 5, column: 3 }];
    let specs = Specs {
        stack,
        backends: BTreeMap::from([(name("fast"), backend)]),
        volumes: BTreeMap::from([(name("db"), volume)]),
        snapshots: BTreeMap::from([(name("db-1"), snapshot)]),
        targets: BTreeMap::from([(
            name("san"),
            TargetSpec { meta: meta("san"), settings: settings(), driver: "tgt".to_owned() },
        )]),
        exports: BTreeMap::from([(name("db"), export)]),
        approvals: BTreeMap::from([(name("go"), ApprovalSpec { meta: meta("go"), digest: "00ff".to_owned() })]),
    };
    Reading {
        specs: Arc::new(specs),
        revision: "0123abcd".to_owned(),
        broken: true,
        unconfirmed: true,
        coverage: Coverage {
            extent: Extent::OneFile,
            root: "/srv/specs".to_owned(),
            file: Some("/srv/specs/db.yaml".to_owned()),
            stdin: true,
            files: texts("db.yaml"),
            stack: Some("stack.yaml".to_owned()),
            emptied: texts("old.yaml"),
            directories: BTreeMap::from([("sub".to_owned(), true)]),
            not_checked_out: texts("sub/a.yaml"),
            place: Some("specs".to_owned()),
            untracked: texts("new.yaml"),
            below: Some("specs".to_owned()),
            young: true,
            young_until: Some(1_764_357_600),
        },
        places: Arc::new(BTreeMap::from([(Kind::Volume, BTreeMap::from([(name("db"), place)]))])),
        field_places: Arc::new(BTreeMap::from([(Kind::Volume, BTreeMap::from([(name("db"), size.into())]))])),
        not_allowed: vec![NotAllowed {
            kind: Kind::Volume,
            name: name("db"),
            message: message.clone(),
            fix: fix.clone(),
            unresponsive: true,
        }],
        unreadable: vec![Unreadable { kind: Kind::Volume, name: name("db"), message, fix }],
    }
}

fn plan() -> Plan {
    let set = ApprovalSet { digest: "f32495bcf20c2a40".to_owned(), set: items("7np53nfs remove") };
    Plan {
        owner: "prod".parse().unwrap(),
        revision: "0123abcd".to_owned(),
        steps: vec![step(Action::Destroy)],
        held: vec![Held {
            kind: Kind::Volume,
            name: name("db"),
            action: Verb::Update,
            endpoint: Some(Endpoint::Backend(name("fast"))),
            uid: Some(identity().uid),
            reason: HeldReason::InUse,
            message: "it is open".to_owned(),
            fix: "close it".to_owned(),
            in_trash: false,
        }],
        drift: vec![Drift {
            kind: Kind::Volume,
            name: name("db"),
            endpoint: Some(Endpoint::Backend(name("fast"))),
            path: "size".to_owned(),
            recorded: json!("4Ki"),
            observed: json!("8Ki"),
        }],
        warnings: vec![Warning {
            code: "LooksLikeRename".to_owned(),
            message: "it looks like a rename".to_owned(),
            objects: BTreeSet::from([ObjectId::new(Kind::Volume, &name("db"))]),
        }],
        unobserved: vec![Unobserved { backend: name("fast"), message: "it is away".to_owned() }],
        awaiting: Some(set.clone()),
        used: vec![set],
        too_much: BTreeSet::from([identity().uid]),
        doubted: BTreeSet::from([identity().uid]),
        unsettled: true,
        // Not stored.
        to_inspect: BTreeSet::new(),
    }
}
