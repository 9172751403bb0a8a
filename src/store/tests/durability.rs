//! What was acknowledged is there: after many writers, and after being killed.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use super::*;

const DIR: &str = "KILN_TEST_STORE_CHILD";
const WRITERS: u64 = 4;

#[test]
fn commits_from_sixteen_threads_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), NOW).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..16_u64 {
            let store = &opened.store;
            scope.spawn(move || {
                for n in 0..250 {
                    let id = store.next_intent();
                    let n = writer * 1_000 + n;
                    store.commit(Batch { open: vec![intent(id.0)], ..put(n) }).unwrap();
                    store.commit(Batch { close: vec![id], journal: vec![line(n)], ..Batch::default() }).unwrap();
                }
            });
        }
    });
    drop(opened);
    let mark = mark::read(dir.path()).unwrap();
    assert!(matches!(mark, mark::StoreMark::Current { seq } if seq < 8_000), "batches share their writes: {mark:?}");
    let again = open(dir.path(), NOW).unwrap();
    assert_eq!(again.notes, Vec::<String>::new());
    let content = Content::of(&*again.store);
    let expected: BTreeMap<_, _> = (0..16)
        .flat_map(|writer| (0..250).map(move |n| writer * 1_000 + n))
        .map(|n| (identity(n).uid, object(n)))
        .collect();
    assert_eq!(content.records.objects, expected);
    assert_eq!(content.intents, []);
    assert_eq!(content.journal.len(), 4_000);
}

/// The process that is killed: commits, and says on standard output what was acknowledged.
#[test]
#[ignore = "run by no_acknowledged_write_is_lost_when_the_process_is_killed, as a process of its own"]
fn child() {
    let dir = std::env::var_os(DIR).expect("run by another test");
    let opened = open(Path::new(&dir), NOW).unwrap();
    let first = 1 + opened.store.records().unwrap().objects.values().map(|r| r.size.0 >> 20).max().unwrap_or(0);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &opened.store;
            scope.spawn(move || {
                for n in (first + writer..).step_by(WRITERS as usize) {
                    store.commit(Batch { journal: vec![line(n)], ..put(n) }).unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "acknowledged {n}").unwrap();
                    out.flush().unwrap();
                }
            });
        }
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the process that is killed must be another one than this")]
fn no_acknowledged_write_is_lost_when_the_process_is_killed() {
    let seed = 0x5eed_0002;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<u64> = Vec::new();
    let kills = 25;
    for kill in 0..kills {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::durability::child", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 1 + random.below(120);
        let mut seen = 0;
        while let Some(Ok(line)) = lines.next() {
            // The test runner writes its own lines, without an end, before the first of ours.
            let Some(n) = line.split("acknowledged ").nth(1).and_then(|n| n.parse().ok()) else { continue };
            acknowledged.push(n);
            seen += 1;
            left -= 1;
            if left == 0 {
                // It lives, and its name is on the lock; when it is dead, what it wrote there blocks nothing.
                match open(dir.path(), NOW + 1).map(drop) {
                    Err(StoreError::Locked { pid, .. }) => assert_eq!(pid, child.id()),
                    other => panic!("{other:?}"),
                }
                child.kill().unwrap();
                break;
            }
        }
        // What was in the pipe was acknowledged too. The last line may be cut.
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("acknowledged ").and_then(|n| n.parse().ok()) {
                acknowledged.push(n);
            }
        }
        child.wait().unwrap();
        assert!(seen > 0, "the child of round {kill} wrote nothing");
    }
    let opened = open(dir.path(), NOW).unwrap();
    assert_eq!(opened.notes, Vec::<String>::new());
    let content = Content::of(&*opened.store);
    let journal: std::collections::BTreeSet<u64> = content.journal.iter().map(|line| line.millis).collect();
    for n in &acknowledged {
        assert_eq!(content.records.objects.get(&identity(*n).uid), Some(&object(*n)), "volume-{n}");
        assert!(journal.contains(n), "journal line {n}");
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    println!("{kills} kills, {} acknowledged writes, none lost", acknowledged.len());
}
