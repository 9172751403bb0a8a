//! Stories of documents that ask for what is not done.

use kiln::model::{Coverage, Reading};
use kiln::plan::HeldReason::{
    AdoptMissing, DependencyHeld, Foreign, HasDependents, Immutable, LooksLikeRename, NameTooLong, NeedsConfirmation,
    NotAllowed, Protected, RemovalLimit, ShrinkRefused, SizeBelowSource, SourceBroken, SourceChanged, SourceMissing,
    Unsupported,
};

use crate::harness::host::Manner;
use crate::harness::pool::Outside;
use crate::harness::story::{Chapter, Story};
use crate::rig::{HEAD, join, snapshot, specs, volume};

use super::changes::{clients_write, foreign};

/// Changes of existing objects that cannot be made.
fn changes() -> Vec<Chapter> {
    let copy = "size: 2Mi, source: {snapshot: monday}";
    vec![
        Chapter::new(
            "declare",
            join(&[
                volume("db", "size: 2Mi, protected: true"),
                volume("web", "size: 2Mi"),
                snapshot("monday", "web", ""),
                volume("copy", copy),
            ]),
        ),
        Chapter::new(
            "ask too much",
            join(&[
                volume("db", "size: 1Mi"),
                volume("web", "size: 2Mi, encryption: {passphraseFrom: {env: PASS}}"),
                snapshot("monday", "web", ""),
                volume("copy", copy),
            ]),
        )
        .after(clients_write(1))
        .holds(&[("volume/db", ShrinkRefused), ("volume/web", Immutable)])
        .reversible(),
        Chapter::new("withdraw", join(&[volume("web", "size: 2Mi"), volume("copy", copy)]))
            .holds(&[("snapshot/monday", HasDependents), ("volume/db", Protected)])
            .reversible(),
    ]
}

/// New objects that cannot be made.
fn creations() -> Vec<Chapter> {
    vec![
        Chapter::new("declare", join(&[volume("web", "size: 2Mi"), snapshot("monday", "web", "")])),
        Chapter::new(
            "ask too much",
            join(&[
                volume("web", "size: 2Mi"),
                snapshot("monday", "web", ""),
                volume("small", "size: 1Mi, source: {snapshot: monday}"),
                volume("absent", "size: 1Mi, adopt: {name: nothing}"),
                volume("of-nothing", "size: 2Mi, source: {snapshot: nothing}"),
                volume("in-the-way", "size: 1Mi, object: foreign"),
                snapshot("of-absent", "absent", ""),
                "---\napiVersion: kiln/v1\nkind: Backend\nmetadata: {name: far}\nspec: {driver: sim, via: [ssh, storage-1]}\n"
                    .to_owned(),
                volume("distant", "size: 1Mi, backend: far"),
                "---\napiVersion: kiln/v1\nkind: Target\nmetadata: {name: tgt1}\nspec: {driver: tgt, tgt: {iqnPrefix: iqn.2026-01.org.example}}\n".to_owned(),
            ]),
        )
        .holds(&[
            ("backend/far", NotAllowed),
            ("target/tgt1", Unsupported),
            ("volume/absent", AdoptMissing),
            ("volume/distant", NotAllowed),
            ("volume/in-the-way", Foreign),
            ("volume/of-nothing", SourceMissing),
            ("volume/small", SizeBelowSource),
            ("snapshot/of-absent", DependencyHeld),
        ])
        .reversible(),
    ]
}

/// More is withdrawn than the Stack allows in a day; a person approves it.
fn limited() -> Vec<Chapter> {
    let stack = HEAD.replace("maxRemovals: 1000", "maxRemovals: 1");
    let with = |names: &[&str]| {
        let volumes: String = names.iter().map(|name| volume(name, "size: 1Mi")).collect();
        specs(&format!("{stack}{volumes}"))
    };
    let fewer = || with(&["a"]);
    let held = [("volume/b", RemovalLimit), ("volume/c", RemovalLimit)];
    vec![
        Chapter::new("declare", with(&["a", "b", "c"])),
        Chapter::new("withdraw two", fewer()).after(clients_write(1)).holds(&held).reversible(),
        Chapter::new("approve", fewer()).decides(|seen| {
            let waiting = seen.plan.awaiting.as_ref()?;
            Some(kiln::engine::Operation::Approve(waiting.digest.clone(), None))
        }),
    ]
}

/// Manifests of which one cannot be read, and manifests of another directory.
fn readings() -> Vec<Chapter> {
    let of = |file: &str, reading: Reading| {
        let coverage = Coverage { files: [file.to_owned()].into(), ..Coverage::default() };
        Reading { coverage, ..reading }
    };
    let fewer = || of("a.yaml", join(&[volume("db", "size: 1Mi")]));
    vec![
        Chapter::new("declare", of("a.yaml", join(&[volume("db", "size: 1Mi"), volume("web", "size: 1Mi")]))),
        Chapter::new("a file is broken", Reading { broken: true, ..fewer() })
            .after(clients_write(1))
            .holds(&[("volume/web", SourceBroken)])
            .reversible(),
        Chapter::new("read once", Reading { unconfirmed: true, ..fewer() })
            .holds(&[("volume/web", SourceBroken)])
            .reversible(),
        Chapter::new("another directory", of("b.yaml", join(&[volume("db", "size: 1Mi")])))
            .holds(&[("volume/web", SourceChanged)])
            .reversible(),
        Chapter::new("withdraw", fewer()).reversible(),
    ]
}

/// Irreversible steps that no person confirms.
fn unconfirmed() -> Vec<Chapter> {
    let gone = "size: 1Mi, onRemove: Delete";
    let no = || Manner { yes: false, ..Manner::default() };
    vec![
        Chapter::new("declare", join(&[volume("db", "size: 1Mi"), volume("web", gone)])),
        Chapter::new("destroy", join(&[volume("db", "size: 1Mi")])).after(clients_write(1)).with(no()).reversible(),
        Chapter::new("replace", join(&[volume("db", "size: 1Mi"), volume("www", "size: 1Mi")])).with(no()).reversible(),
        Chapter::new("say yes", join(&[volume("db", "size: 1Mi")])),
    ]
    .into_iter()
    .zip([
        vec![],
        vec![("volume/web", NeedsConfirmation)],
        vec![("volume/web", LooksLikeRename), ("volume/www", LooksLikeRename)],
        vec![],
    ])
    .map(|(chapter, holds)| chapter.holds(&holds))
    .collect()
}

pub fn all() -> Vec<Story> {
    let own = |story: Story| story.begins(foreign());
    let limit = Outside::Capacity(Some(kiln::model::Size(8 << 20)));
    let full = vec![
        Chapter::new("declare", join(&[volume("db", "size: 4Mi, provisioning: thick")])),
        Chapter::new(
            "too much",
            join(&[volume("db", "size: 4Mi, provisioning: thick"), volume("web", "size: 6Mi, provisioning: thick")]),
        )
        .after(clients_write(1))
        .holds(&[("volume/web", kiln::plan::HeldReason::PoolFull)])
        .reversible(),
    ];
    let long = vec![
        Chapter::new("declare", join(&[volume("db", "size: 1Mi")])),
        Chapter::new(
            "too long",
            join(&[volume("db", "size: 1Mi"), volume("a-name-of-many-words-and-letters", "size: 1Mi")]),
        )
        .after(clients_write(1))
        .holds(&[("volume/a-name-of-many-words-and-letters", NameTooLong)])
        .reversible(),
    ];
    vec![
        Story::new("long-names", &["short-names"], long),
        own(Story::new("refused-changes", &["all", "by-name"], changes())),
        own(Story::new("refused-creations", &["all"], creations())),
        Story::new("limited", &["all", "by-name"], limited()),
        Story::new("readings", &["all"], readings()),
        Story::new("unconfirmed", &["all"], unconfirmed()),
        Story::new("full", &["all"], full).begins(vec![limit]),
    ]
}
