//! Stories of what other programs do to Kiln's objects.

use kiln::engine::Operation;
use kiln::model::{Blocker, BlockerReason, Kind, ObjectId, Reading, Size};
use kiln::plan::HeldReason::{Ambiguous, Blocked, Conflict, GrowRefused, InUse, Lost, Renamed};

use crate::harness::pool::Outside;
use crate::harness::story::{Chapter, Story};
use crate::rig::{join, snapshot, volume};

use super::changes::{clients_write, foreign};

fn mirrored() -> Blocker {
    Blocker { reason: BlockerReason::Mirrored, message: "it is mirrored to cluster b".to_owned() }
}

fn four(size: &str) -> Reading {
    let spec = format!("size: {size}");
    join(&[
        volume("a", &spec),
        volume("b", &format!("{spec}, protected: true, qos: {{iops: 5}}")),
        volume("c", &spec),
        volume("d", &spec),
        snapshot("s", "a", ""),
    ])
}

/// Objects are deleted, renamed, spoiled and changed.
fn meddling() -> Vec<Chapter> {
    vec![
        Chapter::new("declare", four("1Mi")),
        Chapter::new("tags and limits", four("1Mi")).after(clients_write(1)).after(vec![
            Outside::Unlimit("b"),
            Outside::Unprotect("b"),
            Outside::Label("a"),
            Outside::LeaveUnfinished("half"),
        ]),
        Chapter::new("gone", four("2Mi"))
            .after(vec![
                Outside::Delete("a"),
                Outside::Rename("b", "moved"),
                Outside::SpoilTags("c"),
                Outside::Block("d", mirrored()),
            ])
            .holds(&[
                ("volume/a", Lost),
                ("volume/b", Renamed),
                ("volume/c", Conflict),
                ("volume/d", Blocked),
                ("volume/moved", Renamed),
            ]),
    ]
}

/// A volume was cut, and a person accepts what is left of it.
fn cut() -> Vec<Chapter> {
    let db = |size: &str| join(&[volume("db", &format!("size: {size}"))]);
    vec![
        Chapter::new("declare", db("4Mi")),
        Chapter::new("cut", db("4Mi"))
            .after(clients_write(1))
            .after(vec![Outside::Resize("db", Size(1 << 20))])
            .holds(&[("volume/db", Lost)]),
        Chapter::new("accept", db("4Mi"))
            .decides(|seen| {
                let is_lost = seen.plan.held.iter().any(|held| held.reason == Lost);
                is_lost.then(|| Operation::ForgetObject(ObjectId::new(Kind::Volume, &"db".parse().unwrap()), None))
            })
            .holds(&[("volume/db", GrowRefused)]),
        Chapter::new("grow", db("5Mi")),
    ]
}

/// Clients have everything open.
fn busy() -> Vec<Chapter> {
    vec![
        Chapter::new("declare", join(&[volume("db", "size: 1Mi"), volume("web", "size: 1Mi")])),
        Chapter::new("withdraw", join(&[volume("web", "size: 2Mi, qos: {iops: 5}")]))
            .after(clients_write(1))
            .after(vec![Outside::OpenAll])
            .holds(&[("volume/db", InUse)])
            .reversible(),
        Chapter::new("let go", join(&[volume("web", "size: 2Mi")]))
            .after(vec![Outside::Close("db"), Outside::Close("web")]),
    ]
}

/// Two objects of one name in the trash.
fn two_in_the_trash() -> Vec<Chapter> {
    let none = || join(&[volume("other", "size: 1Mi")]);
    vec![
        Chapter::new(
            "declare",
            join(&[volume("db", "size: 1Mi"), volume("web", "size: 1Mi"), volume("other", "size: 1Mi")]),
        ),
        Chapter::new("withdraw", none()).after(clients_write(1)).reversible(),
        Chapter::new("declare one of two", join(&[volume("db", "size: 1Mi"), volume("other", "size: 1Mi")]))
            .after(vec![Outside::RenameTrashed("web", "db")])
            .holds(&[("volume/db", Ambiguous)]),
        Chapter::new("one is gone", join(&[volume("db", "size: 1Mi"), volume("other", "size: 1Mi")]))
            .after(vec![Outside::EmptyTrash]),
    ]
}

pub fn all() -> Vec<Story> {
    vec![
        Story::new("meddling", &["all", "by-name"], meddling()).begins(foreign()),
        Story::new("cut", &["all", "by-name"], cut()),
        Story::new("busy", &["all"], busy()),
        Story::new("two-in-the-trash", &["all"], two_in_the_trash()),
    ]
}
