//! Conditions of a pass and of its purge, each alone.

use super::*;
use crate::daemon::schedule::VANISHED;
use crate::store;

fn volume(name: &str, spec: &str) -> String {
    format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

/// With `c` and `d` of the directory `sub`.
async fn with_directory() -> Bench {
    let bench = Bench::new().await;
    fs::create_dir(bench.specs().join("sub")).unwrap();
    ["c", "d"].iter().for_each(|name| bench.write(&format!("sub/{name}.yaml"), &volume(name, "size: 1Mi")));
    bench.confirmed().await;
    assert_eq!((bench.live(), bench.trash()), (4, 0));
    bench
}

/// Begins a checkout: its lock is new by the test's clock.
pub(super) fn begin_checkout(dir: &std::path::Path, clock: &Wall) -> PathBuf {
    let git = dir.join(".git");
    for below in ["refs", "objects"] {
        fs::create_dir_all(git.join(below)).unwrap();
    }
    fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    let lock = git.join("index.lock");
    let at = std::time::UNIX_EPOCH + Duration::from_secs(clock.now());
    fs::File::create(&lock).unwrap().set_modified(at).unwrap();
    lock
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_cannot_read_its_stack_makes_no_pass() {
    let mut bench = Bench::new().await;
    bench.write("stack.yaml", "kind: [");
    let store = Arc::clone(&bench.reconciler.config.store);
    bench.restart(store);
    for _ in 0..3 {
        assert!(matches!(bench.pass().await, Err(PassRefused::Unusable)));
        bench.later(CONFIRM.as_secs()).await;
    }
    assert_eq!((bench.live(), bench.trash()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_pass_with_a_store_that_was_replaced_does_nothing() {
    let mut bench = Bench::new().await;
    let state = bench.dir.path().join("state");
    bench.restart(store::open(&state, bench.clock.now()).unwrap().store);
    bench.confirmed().await;
    bench.volume("c");
    // A copy of the store holds the same.
    fs::rename(&state, bench.dir.path().join("before")).unwrap();
    fs::create_dir(&state).unwrap();
    for entry in fs::read_dir(bench.dir.path().join("before")).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), state.join(entry.file_name())).unwrap();
        }
    }
    assert!(matches!(bench.pass().await, Err(PassRefused::Store(StoreError::Replaced { .. }))));
    assert_eq!(bench.live(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_is_refused_counts_as_nothing_applied() {
    let bench = Bench::new().await;
    bench.volume("c");
    let asked = ApplyRequest { approve: vec!["0123456789abcdef".to_owned()], ..ask(&bench) };
    let report = bench.triggered(Trigger::Client(asked)).await.unwrap();
    assert_eq!((report.refused.len(), bench.live()), (1, 2));
    let content = bench.reconciler.read().await.content;
    let applied = bench.reconciler.known().applied.as_ref().map(|applied| applied.content.clone());
    assert!(applied.is_some_and(|applied| applied != content));
}

#[tokio::test(start_paused = true)]
async fn an_apply_of_a_part_leaves_the_rest_to_the_next_pass() {
    let bench = Bench::new().await;
    bench.volume("c");
    bench.volume("d");
    let only = vec![(Kind::Volume, "c".parse().unwrap()).into()];
    bench.triggered(Trigger::Client(ApplyRequest { only, ..ask(&bench) })).await.unwrap();
    assert_eq!(bench.live(), 3);
    bench.triggered(change()).await.unwrap();
    assert_eq!(bench.live(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_apply_during_a_checkout_confirms_no_removal() {
    let bench = Bench::new().await;
    bench.write("b.yaml", &volume("b", "size: 1Mi, onRemove: Delete"));
    bench.confirmed().await;
    let lock = begin_checkout(bench.dir.path(), &bench.clock);
    bench.remove("b.yaml");
    // The reporter answers no, so nothing is destroyed.
    bench.triggered(Trigger::Client(ask(&bench))).await.unwrap();
    fs::remove_file(lock).unwrap();
    bench.pass().await.unwrap();
    assert_eq!(bench.live(), 2, "the manifests were read in the middle of a checkout, and once since");
    bench.later(CONFIRM.as_secs()).await;
    bench.pass().await.unwrap();
    assert_eq!(bench.live(), 1);
}

#[tokio::test(start_paused = true)]
async fn committing_the_applied_manifests_changes_the_applied_revision() {
    let bench = Bench::new().await;
    bench.reconciler.known().applied.as_mut().unwrap().revision = "before-dirty".to_owned();
    assert!(matches!(bench.triggered(change()).await, Err(PassRefused::Unchanged)));
    let revision = bench.reconciler.read().await.reading.revision.clone();
    assert_eq!(bench.reconciler.known().applied.as_ref().unwrap().revision, revision);
}

#[tokio::test(start_paused = true)]
async fn a_pass_is_due_when_the_wait_for_a_vanished_directory_ends() {
    let mut bench = with_directory().await;
    fs::remove_dir_all(bench.specs().join("sub")).unwrap();
    bench.confirmed().await;
    assert_eq!(bench.live(), 4);
    let mut due = None;
    while let Ok(after) = bench._ended.try_recv() {
        due = after.unwrap().due;
    }
    assert!(due.is_some_and(|due| due <= tokio::time::Instant::now() + VANISHED), "{due:?}");
    bench.later(VANISHED.as_secs()).await;
    bench.pass().await.unwrap();
    assert_eq!((bench.live(), bench.trash()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn objects_of_a_directory_that_vanishes_during_a_pass_are_not_purged() {
    let bench = with_directory().await;
    bench.remove("sub/c.yaml");
    bench.confirmed().await;
    assert_eq!((bench.live(), bench.trash()), (3, 1));
    bench.pass().await.unwrap();
    bench.later(HOUR - 1).await;
    bench.pass().await.unwrap();
    bench.later(CONFIRM.as_secs()).await;
    let gone = bench.specs().join("sub");
    bench.meanwhile(move || fs::remove_dir_all(gone).unwrap());
    bench.pass().await.unwrap();
    assert_eq!((bench.live(), bench.trash()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_purge_waits_for_confirmation_after_the_last_reference_is_removed() {
    let bench = Bench::with_trash().await;
    bench.later(CONFIRM.as_secs()).await;
    bench.write("d.yaml", &volume("d", "size: 1Mi, source: {volume: b}"));
    bench.pass().await.unwrap();
    assert_eq!(bench.trash(), 1, "a document refers to it");
    bench.remove("d.yaml");
    bench.pass().await.unwrap();
    assert_eq!(bench.trash(), 1, "read once");
    bench.purges().await;
}
