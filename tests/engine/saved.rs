//! Saved plans on a world that moved: each is refused, and says what changed. `tests/sweep.rs` applies them again after crashes.

use std::sync::{Arc, Mutex};

use crate::rig::{HEAD, Person, Rig, run, same_objects, specs, volume};
use kiln::engine::{Options, reconcile_once};
use kiln::plan::Saved;

/// Applies a saved plan; what it says when it is refused.
async fn apply_saved(rig: &Rig, saved: &Saved) -> Vec<String> {
    let options = Options { saved: Some(Arc::new(saved.plan.clone())), ..Options::default() };
    let person = Arc::new(Person { yes: true, heard: Mutex::default() });
    reconcile_once(&rig.setup(&saved.reading), &options, person).await.expect("a store in memory").refused
}

#[test]
fn a_saved_plan_is_refused_when_the_world_moved_and_nothing_is_done() {
    run(async {
        let rig = Rig::new();
        let before = specs(&format!("{HEAD}{}{}", volume("db", "size: 1Mi"), volume("old", "size: 1Mi")));
        rig.settle(&before, 2, "before").await;
        let wanted = specs(&format!("{HEAD}{}{}", volume("db", "size: 4Mi"), volume("web", "size: 1Mi")));
        let saved = Saved::new(wanted.clone(), rig.overview(&wanted).await.plan);
        assert_eq!(saved.plan.steps.len(), 3);

        // Somebody else grows db, and by another plan a volume comes.
        let moved = rig.fork(true);
        let db = moved.world().live_objects().find(|(native, _)| native.as_str().contains("db")).unwrap().0.clone();
        let other = specs(&format!("{HEAD}{}{}", volume("db", "size: 2Mi"), volume("old", "size: 1Mi")));
        moved.settle(&other, 2, "another").await;
        let untouched = moved.world().clone();
        let refused = apply_saved(&moved, &saved).await;
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].starts_with("volume/db: grow to 4Mi has changed: "), "{refused:?}");
        assert!(refused[0].contains("size was 1048576 bytes and is 2097152 bytes"), "{refused:?}");
        assert!(same_objects(&untouched, &moved.world()));

        // Somebody else deletes db: it is held now, and so is the last removal; nothing else is done either.
        let deleted = rig.fork(true);
        assert!(deleted.world().delete_by_hand(&db));
        let refused = apply_saved(&deleted, &saved).await;
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert!(refused[0].contains("volume/db: grow to 4Mi is no longer planned: it is held (Lost: "), "{refused:?}");
        assert!(refused[1].contains("volume/old: move to the trash for 7d"), "{refused:?}");
        assert!(refused[1].contains("(RemovalLimit: "), "{refused:?}");

        // A volume that the plan did not have.
        let more = rig.fork(true);
        let third = format!(
            "{HEAD}{}{}{}",
            volume("db", "size: 1Mi"),
            volume("old", "size: 1Mi"),
            volume("third", "size: 1Mi")
        );
        more.settle(&specs(&third), 2, "third").await;
        let refused = apply_saved(&more, &saved).await;
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].ends_with("is not in the saved plan"), "{refused:?}");

        // What was done already is no reason, and the saved plan applied once more does nothing.
        assert_eq!(apply_saved(&rig, &saved).await, Vec::<String>::new());
        let done = rig.world().clone();
        assert_eq!(apply_saved(&rig, &saved).await, Vec::<String>::new());
        assert!(same_objects(&done, &rig.world()));
    });
}
