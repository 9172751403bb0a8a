//! How fast it is: run by hand, `cargo test --release --lib store::tests::measure -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "measures; run by hand in a release build"]
fn commits_and_opening() {
    for writers in [1, 16] {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path(), NOW).unwrap();
        let began = Instant::now();
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let store = &opened.store;
                scope.spawn(move || {
                    for n in (writer..10_000).step_by(writers as usize) {
                        store.commit(put(n)).unwrap();
                    }
                });
            }
        });
        let took = began.elapsed();
        println!("{writers} writers: 10,000 commits in {took:?}, {:.0} a second", 10_000.0 / took.as_secs_f64());
        assert_eq!(opened.store.records().unwrap().objects.len(), 10_000);
    }
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), NOW).unwrap();
    let began = Instant::now();
    for thousand in 0..100 {
        let objects = (thousand * 1_000..(thousand + 1) * 1_000).map(|n| (identity(n).uid, Some(object(n)))).collect();
        opened.store.commit(Batch { objects, ..Batch::default() }).unwrap();
    }
    println!("100,000 records in batches of 1,000: {:?}", began.elapsed());
    let began = Instant::now();
    drop(opened);
    println!("closed: {:?}", began.elapsed());
    let bytes: u64 = listing(dir.path()).values().map(|(len, _)| len).sum();
    println!("on disk: {} MB", bytes / 1_000_000);
    let began = Instant::now();
    let looked = look(dir.path()).unwrap().unwrap();
    println!("looked: {:?}", began.elapsed());
    assert_eq!(looked.store.records().unwrap().objects.len(), 100_000);
    drop(looked);
    let began = Instant::now();
    let opened = open(dir.path(), NOW).unwrap();
    let records = opened.store.records().unwrap();
    println!("opened, with its records: {:?}", began.elapsed());
    assert_eq!(records.objects.len(), 100_000);
    let began = Instant::now();
    opened.store.commit(put(1)).unwrap();
    println!("one commit: {:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(opened.store.records().unwrap(), records);
    println!("records again: {:?}", began.elapsed());
}
