//! Stories of pools that go away, are replaced, are written to by another process, or are no longer declared.

use kiln::engine::Operation;
use kiln::model::PoolId;
use kiln::plan::HeldReason::{BackendChanged, BackendUndeclared, OtherWriter, Unobserved};

use crate::harness::host::prod;
use crate::harness::pool::Outside;
use crate::harness::story::{Chapter, Story};
use crate::rig::{HEAD, join, specs, volume};

use super::changes::clients_write;

const ARCHIVE: &str = "---\napiVersion: kiln/v1\nkind: Backend\nmetadata: {name: archive}\nspec: {driver: sim}\n";

fn grown(size: &str) -> kiln::model::Reading {
    join(&[volume("db", &format!("size: {size}"))])
}

/// Another process writes; the pool is away; another one is in its place.
fn trouble() -> Vec<Chapter> {
    vec![
        Chapter::new("declare", grown("1Mi")),
        Chapter::new("another writer", grown("2Mi"))
            .after(clients_write(1))
            .after(vec![Outside::TakeLock(prod()), Outside::LeaveUnfinished("half")])
            .holds(&[("volume/db", OtherWriter)]),
        Chapter::new("away", grown("2Mi"))
            .after(vec![Outside::Delete("half"), Outside::ReleaseLock, Outside::GoAway])
            .holds(&[("volume/db", Unobserved)]),
        Chapter::new("back", grown("2Mi")).after(vec![Outside::ComeBack]),
        Chapter::new("another pool", grown("3Mi"))
            .after(vec![Outside::SwapPool(Some(PoolId("0".repeat(32))))])
            .holds(&[("volume/db", BackendChanged)]),
    ]
}

/// Two pools, of which one is no longer declared, and is given up.
fn undeclared() -> Vec<Chapter> {
    let text = |backend: &str, db: &str| specs(&format!("{HEAD}{backend}{}{db}", volume("web", "size: 1Mi")));
    let db = volume("db", "size: 1Mi, backend: archive");
    vec![
        Chapter::new("declare", text(ARCHIVE, &db)),
        Chapter::new("withdraw the Backend", text("", ""))
            .after(clients_write(1))
            .holds(&[("volume/db", BackendUndeclared)])
            .needs_store()
            .reversible(),
        Chapter::new("declare it again", text(ARCHIVE, &db)),
        Chapter::new("withdraw it again", text("", "")).holds(&[("volume/db", BackendUndeclared)]).needs_store(),
        Chapter::new("give it up", text("", "")).needs_store().decides(|seen| {
            let is_held = seen.plan.held.iter().any(|held| held.reason == BackendUndeclared);
            is_held.then(|| Operation::ForgetBackend("archive".parse().unwrap(), None))
        }),
    ]
}

pub fn all() -> Vec<Story> {
    vec![
        Story::new("trouble", &["all", "by-name"], trouble()),
        Story::new("undeclared", &["all"], undeclared()).on(&["pool", "archive"]),
    ]
}
