//! What a plan asks a backend about more closely: a listing does not show who has an object open.

use crate::rig::{Rig, join, run, snapshot, volume};
use kiln::model::{Capabilities, Reading, SnapshotAbility};
use kiln::plan::HeldReason;

async fn held(rig: &Rig, declared: &Reading) -> Vec<(String, HeldReason)> {
    let plan = rig.overview(declared).await.plan;
    plan.held.into_iter().map(|held| (held.name.to_string(), held.reason)).collect()
}

#[test]
fn a_plan_holds_the_restore_and_each_copy_of_an_open_volume() {
    run(async {
        let snapshots = Some(SnapshotAbility { nested: false, while_open: false, adopt: true });
        let capabilities = Capabilities { snapshots, ..Capabilities::everything() };
        let rig = Rig { capabilities, ..Rig::new() };
        let (db, other) = (volume("db", "size: 1Mi"), volume("other", "size: 1Mi"));
        let before = snapshot("before", "db", "");
        rig.settle(&join(&[db.clone(), other.clone(), before.clone()]), 3, "made").await;
        let native = rig.native("db");
        let copy = volume("copy", "size: 1Mi, source: {volume: db}");
        let restored = volume("db", "size: 1Mi, restore: {snapshot: before, request: r}");
        let cases = [
            ("db", join(&[restored, other.clone(), before.clone()])),
            ("s", join(&[db.clone(), other.clone(), before.clone(), snapshot("s", "db", "")])),
            ("copy", join(&[db, other, before, copy])),
        ];
        for (name, declared) in &cases {
            assert!(rig.world().open(&native, "vm"));
            assert_eq!(held(&rig, declared).await, [((*name).to_owned(), HeldReason::InUse)]);
            rig.world().close(&native, "vm");
            assert_eq!(held(&rig, declared).await, [], "{name}");
        }
    });
}
