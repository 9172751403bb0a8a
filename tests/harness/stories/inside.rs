//! Stories of snapshots inside of their volumes.

use kiln::model::Size;

use crate::harness::pool::Outside;
use crate::harness::story::{Chapter, Story};
use crate::rig::{join, snapshot, volume};

use super::changes::clients_write;
use super::renames::renamed;

/// Volumes of another program, each with a snapshot of one name inside.
fn foreign() -> Vec<Outside> {
    let volume = |native| {
        let size = Size(1 << 20);
        [Outside::Make { native, size, stamp: 0 }, Outside::MakeInside { volume: native, native: "s", size }]
    };
    [volume("theirs"), volume("other")].into_iter().flatten().collect()
}

/// Clones of a snapshot inside of a volume are made independent, and it goes.
fn detached() -> Vec<Chapter> {
    let (db, copy) = (volume("db", "size: 1Mi"), volume("copy", "size: 1Mi, source: {snapshot: monday}"));
    let monday = snapshot("monday", "db", ", onRemove: Detach");
    vec![
        Chapter::new("declare", join(&[db.clone(), volume("other", "size: 1Mi"), monday, copy.clone()])),
        Chapter::new("withdraw", join(&[volume("other", "size: 1Mi"), copy])).after(clients_write(1)),
    ]
}

/// Snapshots inside of volumes are taken, adopted, copied, renamed with and under their volumes, removed and brought back.
fn chapters(gone: &str) -> Vec<Chapter> {
    let web = |more: &str| volume("web", &format!("size: 2Mi{gone}{more}"));
    let tuesday = |of: &str, more: &str| snapshot("tuesday", of, &format!("{gone}{more}"));
    let (copy, frozen) = (volume("copy", "size: 1Mi"), snapshot("frozen", "taken", ", adopt: {name: s}"));
    let taken = volume("taken", "size: 1Mi, adopt: {name: theirs}");
    let montag = |more: &str| snapshot("montag", "database", &format!(", protected: true{more}"));
    let declare = join(&[
        volume("db", "size: 1Mi"),
        web(""),
        snapshot("monday", "db", ""),
        tuesday("web", ""),
        snapshot("wednesday", "web", ", onRemove: Delete"),
        volume("copy", "size: 1Mi, source: {snapshot: monday}"),
        volume("limited", "size: 1Mi, qos: {iops: 5}"),
        taken.clone(),
        frozen.clone(),
    ]);
    let rename = join(&[
        renamed("database", "db", "size: 2Mi"),
        web(", restore: {snapshot: tuesday, request: once}"),
        montag("").replace("name: montag", "name: montag, renamedFrom: monday"),
        tuesday("web", ""),
        snapshot("wednesday", "web", ", onRemove: Delete"),
        snapshot("thursday", "database", ", onRemove: Delete"),
        volume("limited", "size: 1Mi, qos: {iops: 9}, provisioning: thick"),
        copy.clone(),
        taken.clone(),
        frozen.clone(),
    ]);
    let limited = volume("limited", "size: 1Mi");
    let remove = join(&[
        volume("database", "size: 2Mi"),
        montag(""),
        limited.clone(),
        copy.clone(),
        taken.clone(),
        frozen.clone(),
    ]);
    let bring_back = join(&[
        volume("database", "size: 2Mi"),
        montag(""),
        copy,
        limited,
        taken,
        frozen,
        renamed("www", "web", &format!("size: 3Mi{gone}")),
        tuesday("www", ", protected: true"),
    ]);
    vec![
        Chapter::new("declare", declare).after(clients_write(0)),
        Chapter::new("rename", rename).after(clients_write(1)).after(vec![Outside::LeaveUnfinished("half")]),
        Chapter::new("remove", remove).after(clients_write(2)),
        Chapter::new("bring back", bring_back).after(clients_write(3)),
    ]
}

pub fn all() -> Vec<Story> {
    vec![
        Story::new("inside", &["nested", "nested-volumes", "by-name-nested"], chapters("")).begins(foreign()),
        Story::new("detached", &["nested", "nested-volumes", "by-name-nested"], detached()),
        Story::new("inside-without-trash", &["nested-no-trash"], chapters(", onRemove: Delete")).begins(foreign()),
    ]
}
