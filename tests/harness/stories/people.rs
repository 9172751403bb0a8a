//! Stories of what people decide: suspensions, the trash, another owner.

use kiln::engine::{Operation, Purge, trash_in};
use kiln::model::{Kind, ObjectId};
use kiln::plan::HeldReason::{Lost, OwnerChanged, Suspended};

use crate::harness::host::prod;
use crate::harness::pool::Outside;
use crate::harness::story::{Chapter, Story};
use crate::rig::{HEAD, join, snapshot, specs, volume};

use super::changes::clients_write;

fn db() -> ObjectId {
    ObjectId::new(Kind::Volume, &"db".parse().unwrap())
}

fn other() -> ObjectId {
    ObjectId::new(Kind::Volume, &"other".parse().unwrap())
}

fn s() -> ObjectId {
    ObjectId::new(Kind::Snapshot, &"s".parse().unwrap())
}

/// An object is suspended, and its document changes; then it is resumed.
fn suspended() -> Vec<Chapter> {
    let db_of = |size: &str| join(&[volume("db", &format!("size: {size}")), volume("web", &format!("size: {size}"))]);
    vec![
        Chapter::new("declare", db_of("1Mi")),
        Chapter::new("suspend", db_of("1Mi")).decides(|seen| {
            let reason = "audit".to_owned();
            seen.suspended.is_empty().then(|| Operation::Suspend { object: Some(db()), reason, length: None })
        }),
        Chapter::new("grow", db_of("2Mi")).holds(&[("volume/db", Suspended)]),
        Chapter::new("resume", db_of("2Mi"))
            .decides(|seen| (!seen.suspended.is_empty()).then(|| Operation::Resume(Some(db())))),
    ]
}

/// Volumes and a snapshot go to the trash; one is brought back and one destroyed by name, one is lost and given up.
fn trash(quiesced: &str) -> Vec<Chapter> {
    let all = ["db", "web", "other"].map(|name| volume(name, "size: 1Mi"));
    let both = || join(&[&all[..], &[snapshot("s", "db", quiesced)]].concat());
    let web = || join(&[volume("web", "size: 1Mi")]);
    vec![
        Chapter::new("declare", both()),
        Chapter::new("withdraw", web()).after(clients_write(1)).reversible(),
        Chapter::new("bring back", web()).decides(|seen| {
            // The volume brings its snapshot along; what a crash left behind is asked for by its own name.
            let trash = trash_in(&seen.world, &prod());
            let found =
                [db(), s()].into_iter().find(|id| trash.iter().any(|one| one.object.is(&prod(), id.kind, &id.name)));
            found.map(Operation::Restore)
        }),
        Chapter::new("purge", web()).decides(|seen| {
            let objects = trash_in(&seen.world, &prod());
            let objects: Vec<_> =
                objects.into_iter().filter(|one| one.object.is(&prod(), Kind::Volume, &other().name)).collect();
            (!objects.is_empty()).then(|| Operation::Purge { what: Purge::Named(other()), objects })
        }),
        Chapter::new("lose", web()).after(vec![Outside::Delete("web")]).holds(&[("volume/web", Lost)]),
        Chapter::new("forget", web()).decides(|seen| {
            let is_lost = seen.plan.held.iter().any(|held| held.reason == Lost);
            let web = ObjectId::new(Kind::Volume, &"web".parse().unwrap());
            is_lost.then_some(Operation::ForgetObject(web, None))
        }),
    ]
}

/// Another Stack takes over the objects of the pool.
fn taken_over() -> Vec<Chapter> {
    let parts = [volume("db", "size: 1Mi"), volume("named", "size: 1Mi, object: by-name"), snapshot("s", "db", "")];
    let other = specs(&format!("{}{}", HEAD.replace("5c1d2e8a90", "a123456789"), parts.concat()));
    vec![
        Chapter::new("declare", join(&[&parts[..], &[volume("gone", "size: 1Mi")]].concat())),
        Chapter::new("withdraw one", join(&parts)).after(clients_write(1)).reversible(),
        Chapter::new("another Stack", other.clone()).holds(&[
            ("snapshot/s", OwnerChanged),
            ("volume/db", OwnerChanged),
            ("volume/named", OwnerChanged),
        ]),
        Chapter::new("take over", other).decides(|seen| {
            let is_held = seen.plan.held.iter().any(|held| held.reason == OwnerChanged);
            is_held.then(|| Operation::AdoptOwner { backend: "pool".parse().unwrap(), from: prod() })
        }),
    ]
}

pub fn all() -> Vec<Story> {
    let flat = ["all", "unrepeatable", "by-name", "in-steps", "short-names", "no-rename", "hidden-reservation"];
    let nested = ["nested", "nested-volumes", "by-name-nested"];
    let trashing = [&flat[..], &nested[..]].concat();
    vec![
        Story::new("suspended", &["all", "by-name", "by-ledger"], suspended()),
        Story::new("trash-by-name", &trashing, trash("")),
        Story::new("trash-by-name-unseen", &["blind"], trash(", quiesced: true")),
        Story::new("taken-over", &["all"], taken_over()),
    ]
}
