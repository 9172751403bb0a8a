//! The store in memory gives the same answers as the one on disk.

use super::*;

fn random_batch(random: &mut Random) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..random.below(6) {
        let n = random.below(12);
        match random.below(10) {
            0 => batch.backends.push((name(&format!("b{n}")), Some(backend(random.below(3) * 400)))),
            1 => batch.backends.push((name(&format!("b{n}")), None)),
            2 | 3 => batch.objects.push((identity(n).uid, Some(object(n + random.below(2))))),
            4 => batch.objects.push((identity(n).uid, None)),
            5 => batch.open.push(intent(n)),
            6 => batch.close.push(IntentId(n)),
            7 => batch.suspensions.push((suspension(n).key(), Some(suspension(n)))),
            8 => batch.suspensions.push((suspension(n).key(), None)),
            _ => batch.journal.push(line(n)),
        }
    }
    batch
}

#[test]
fn memory_and_disk_agree_after_any_batches() {
    let seed = 0x5eed_0001;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let memory = MemoryStore::new();
    let mut opened = open(dir.path(), NOW).unwrap();
    for round in 0..300 {
        let batch = random_batch(&mut random);
        memory.commit(batch.clone()).unwrap();
        opened.store.commit(batch).unwrap();
        assert_eq!(Content::of(&*opened.store), Content::of(&memory), "round {round}");
        if round % 60 == 59 {
            drop(opened);
            let looked = look(dir.path()).unwrap().unwrap();
            assert_eq!(Content::of(&*looked.store), Content::of(&memory), "looked in round {round}");
            opened = open(dir.path(), NOW).unwrap();
            assert_eq!(opened.notes, Vec::<String>::new(), "round {round}");
        }
    }
    assert_eq!(memory.commits(), 300);
}

#[test]
fn a_crash_in_memory_shows_what_was_durable() {
    for (point, there) in [(CrashPoint::Before, false), (CrashPoint::After, true)] {
        let store = MemoryStore::new();
        store.crash_at(2, point);
        store.commit(put(1)).unwrap();
        assert!(!store.is_dead());
        assert!(store.commit(put(2)).is_err());
        assert!(store.is_dead());
        assert!(store.commit(put(3)).is_err(), "the dead write nothing");
        assert!(store.records().is_err());
        let next = store.reopen();
        let records = next.records().unwrap();
        assert!(records.objects.contains_key(&identity(1).uid));
        assert_eq!(records.objects.contains_key(&identity(2).uid), there);
        assert!(!records.objects.contains_key(&identity(3).uid));
        next.commit(put(3)).unwrap();
    }
    let store = MemoryStore::new();
    store.fail_at(1);
    assert!(matches!(store.commit(put(1)), Err(StoreError::Io { .. })));
    assert!(Content::of(&store.reopen()).is_empty());
}

#[test]
fn records_in_memory_equal_those_on_disk_after_every_commit() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), NOW).unwrap();
    let before = opened.store.records().unwrap();
    assert!(Arc::ptr_eq(&before, &opened.store.records().unwrap()), "nothing is read anew");
    std::thread::scope(|scope| {
        for writer in 0..8_u64 {
            let store = &opened.store;
            scope.spawn(move || {
                let mut random = Random(writer);
                for round in 0..40 {
                    // All of them write the same few objects: the order is what counts.
                    let n = random.below(3);
                    let record = at(writer * 1000 + round, object(n));
                    let record = (random.below(4) > 0).then_some(record);
                    let objects = vec![(identity(n).uid, None), (identity(n).uid, record.clone())];
                    store.commit(Batch { objects, ..Batch::default() }).unwrap();
                    let own = identity(100 + writer).uid;
                    let mine = at(round, object(100 + writer));
                    store.commit(Batch { objects: vec![(own, Some(mine.clone()))], ..Batch::default() }).unwrap();
                    assert_eq!(store.records().unwrap().objects.get(&own), Some(&mine), "one reads what one wrote");
                }
            });
        }
    });
    assert_eq!(*before, Records::default(), "who holds records keeps what they were");
    let known = opened.store.records().unwrap();
    drop(opened);
    assert_eq!(*known, *look(dir.path()).unwrap().unwrap().store.records().unwrap());
}

fn at(seen_at: u64, mut record: ObjectRecord) -> ObjectRecord {
    record.seen_at = seen_at;
    record
}
