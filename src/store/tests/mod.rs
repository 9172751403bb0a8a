//! Tests of the store on real directories.

mod damage;
mod durability;
mod fixtures;
pub(super) mod power;
mod same;
mod trouble;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::model::fixtures::{name, owner};
use crate::model::{
    Action, Address, BackendRecord, Clients, Identity, IntentId, JournalAction, JournalEntry, Kind, Ledger, Object,
    ObjectRecord, OpenIntent, Place, PoolId, Provisioning, Reason, Records, Size, Step, Suspension, Tags, Uid, Verb,
    VolumeSettings,
};

/// 2026-02-03T04:05:06Z.
const NOW: u64 = 1_770_091_506;

fn identity(n: u64) -> Identity {
    let name = name(&format!("volume-{n}"));
    let uid = Uid::derive("0123456789", &owner(), Kind::Volume, &self::name("fast"), &name, 0);
    Identity { owner: owner(), kind: Kind::Volume, name, uid }
}

fn tags(n: u64) -> Tags {
    Tags {
        labels: BTreeMap::from([("tier".to_owned(), format!("t{n}"))]),
        protected: n.is_multiple_of(2),
        ..Tags::default()
    }
}

fn object(n: u64) -> ObjectRecord {
    let identity = identity(n);
    let native = identity.native();
    let seen = Object {
        tags: tags(n).into(),
        clients: Clients::Some(vec!["host-1".to_owned()]),
        ..Object::of(identity.clone(), Place::Live, Size(n << 20))
    };
    ObjectRecord::new(
        identity,
        name("fast"),
        (native, Size(n << 20), tags(n), VolumeSettings::default()),
        Some(&seen),
        NOW + n,
    )
}

/// With a ledger of `objects` entries; about 100 bytes of JSON each.
fn backend(objects: u64) -> BackendRecord {
    let mut ledger =
        Ledger::new(PoolId("0123456789abcdef0123456789abcdef".to_owned()), owner(), "0123456789".to_owned());
    for n in 0..objects {
        let identity = identity(n);
        ledger.complete.insert(identity.uid, identity.ledger_entry(0, Address::flat(&identity.native()), Size(n)));
    }
    BackendRecord {
        place: "/srv/pool".to_owned(),
        pool: ledger.pool.clone(),
        owner: owner(),
        observed_at: NOW,
        ledger: Some(ledger),
    }
}

fn intent(id: u64) -> OpenIntent {
    let identity = identity(id);
    let step = Step::new(
        name("fast"),
        identity,
        Action::Create {
            size: Size(1 << 30),
            provisioning: Provisioning::Thin,
            origin: None,
            tags: tags(1),
            settings: VolumeSettings::default(),
            n: 0,
        },
        Reason::NotThere,
    );
    OpenIntent { id: IntentId(id), step, at: NOW }
}

fn line(n: u64) -> JournalEntry {
    let action = JournalAction::Step(Verb::Create);
    let entry = JournalEntry::new(NOW + n, "f00d", name("fast"), &identity(n), action, format!("create {n}"));
    JournalEntry { millis: n, ..entry }
}

fn suspension(n: u64) -> Suspension {
    let object = (n > 0).then(|| identity(n).id());
    let reason = format!("reason {n}");
    Suspension { id: None, owner: owner(), object, reason, since: NOW, until: Some(NOW + n), resumed: None }
}

/// As programs write it since suspensions have ids.
fn recorded(n: u64) -> Suspension {
    Suspension { id: Some(suspension(n).id()), ..suspension(n) }
}

fn look(dir: &Path) -> Result<Option<OpenedStore>, StoreError> {
    open_read_only(dir, usize::MAX)
}

fn put(n: u64) -> Batch {
    Batch { objects: vec![(identity(n).uid, Some(object(n)))], ..Batch::default() }
}

/// All that one can ask of a store.
#[derive(Debug, PartialEq)]
struct Content {
    records: Records,
    intents: Vec<OpenIntent>,
    journal: Vec<JournalEntry>,
}

impl Content {
    fn of(store: &dyn Store) -> Content {
        Content {
            records: Arc::unwrap_or_clone(store.records().unwrap()),
            intents: store.intents().unwrap(),
            journal: store.journal(usize::MAX).unwrap(),
        }
    }

    fn is_empty(&self) -> bool {
        self.records == Records::default() && self.intents.is_empty() && self.journal.is_empty()
    }
}

/// Every file below, with its size and content's hash: what "changes nothing" is measured by.
fn listing(dir: &Path) -> BTreeMap<String, (u64, String)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let key = path.strip_prefix(dir).unwrap().display().to_string();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                found.insert(key, (0, "directory".to_owned()));
                todo.push(path);
            } else if metadata.is_file() {
                let hash = blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string();
                found.insert(key, (metadata.len(), hash));
            } else {
                found.insert(key, (0, "other".to_owned()));
            }
        }
    }
    found
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// SplitMix64: random enough for places and choices, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

#[test]
fn commits_are_kept_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("not/yet/there");
    let opened = open(&path, NOW).unwrap();
    assert_eq!(opened.notes.len(), 1, "{:?}", opened.notes);
    assert!(opened.notes[0].contains("new store"), "{:?}", opened.notes);
    let batch = Batch {
        backends: vec![(name("fast"), Some(backend(3))), (name("slow"), Some(backend(0)))],
        objects: vec![(identity(1).uid, Some(object(1))), (identity(2).uid, Some(object(2)))],
        suspensions: [0, 1].map(|n| (suspension(n).key(), Some(suspension(n)))).into(),
        open: vec![intent(7), intent(8)],
        close: vec![IntentId(7)],
        journal: vec![line(1), line(2), line(3)],
        can_wait: false,
    };
    opened.store.commit(batch).unwrap();
    let forget = Batch {
        backends: vec![(name("slow"), None)],
        objects: vec![(identity(2).uid, None)],
        suspensions: vec![("prod".to_owned(), None)],
        ..Batch::default()
    };
    opened.store.commit(forget).unwrap();
    let expected = Content {
        records: Records {
            backends: BTreeMap::from([(name("fast"), backend(3))]),
            objects: BTreeMap::from([(identity(1).uid, object(1))]),
            suspensions: BTreeMap::from([("prod/volume/volume-1".to_owned(), suspension(1))]),
        },
        intents: vec![intent(8)],
        journal: vec![line(1), line(2), line(3)],
    };
    assert_eq!(Content::of(&*opened.store), expected);
    assert_eq!(opened.store.journal(2).unwrap(), [line(2), line(3)]);
    assert_eq!(opened.store.next_intent(), IntentId(9));
    drop(opened);

    let looked = look(&path).unwrap().unwrap();
    assert_eq!(looked.notes, Vec::<String>::new());
    assert_eq!(Content::of(&*looked.store), expected);
    assert_eq!(looked.store.journal(2).unwrap(), [line(2), line(3)]);
    let refused = looked.store.commit(put(5)).unwrap_err();
    assert!(matches!(refused, StoreError::Io { .. }), "{refused}");

    let again = open(&path, NOW).unwrap();
    assert_eq!(again.notes, Vec::<String>::new());
    assert_eq!(Content::of(&*again.store), expected);
    assert_eq!(again.store.next_intent(), IntentId(9));
    assert_eq!(again.store.next_intent(), IntentId(10));
}

#[test]
fn large_values_are_cut_into_rows_and_shrink_again() {
    let dir = tempfile::tempdir().unwrap();
    for objects in [20_000, 1, 3_000, 0] {
        let opened = open(dir.path(), NOW).unwrap();
        let record = backend(objects);
        let batch = Batch { backends: vec![(name("fast"), Some(record.clone()))], ..Batch::default() };
        opened.store.commit(batch).unwrap();
        assert_eq!(opened.store.records().unwrap().backends[&name("fast")], record);
        drop(opened);
        let again = open(dir.path(), NOW).unwrap();
        assert_eq!(again.notes, Vec::<String>::new());
        assert_eq!(again.store.records().unwrap().backends[&name("fast")], record);
    }
    // sled keeps large values in files of their own, which it never makes durable: there must be none.
    let blobs = listing(&dir.path().join("db")).into_keys().filter(|path| path.starts_with("blobs/"));
    assert_eq!(blobs.count(), 0);
}

#[test]
fn a_change_that_is_too_large_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), NOW).unwrap();
    let message = Some("x".repeat(super::codec::CHUNK * usize::from(u16::MAX)));
    let large = Batch { journal: vec![JournalEntry { message, ..line(1) }], can_wait: true, ..Batch::default() };
    // Of one group.
    let (large, other) = (opened.store.queue(large).unwrap(), opened.store.queue(put(2)).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (large, other) = runtime.block_on(async { (large.done().await, other.done().await) });
    assert!(large.unwrap_err().to_string().contains("too large for the store"));
    other.unwrap();
    drop(opened);
    let again = open(dir.path(), NOW).unwrap();
    assert_eq!(again.notes, Vec::<String>::new());
    assert_eq!(again.store.records().unwrap().objects.len(), 1);
    assert!(again.store.journal(10).unwrap().is_empty());
}

#[test]
fn the_journal_is_bounded_and_keeps_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), NOW).unwrap();
    let mut next = 0;
    while next < JOURNAL_LINES + 5_000 {
        let journal = (next..next + 5_000).map(line).collect();
        opened.store.commit(Batch { journal, ..Batch::default() }).unwrap();
        next += 5_000;
    }
    // Each commit cuts at most a thousand lines.
    for _ in 0..6 {
        opened.store.commit(Batch { journal: vec![line(next)], ..Batch::default() }).unwrap();
        next += 1;
    }
    drop(opened);
    let again = open(dir.path(), NOW).unwrap();
    assert_eq!(again.notes, Vec::<String>::new());
    let journal = again.store.journal(usize::MAX).unwrap();
    let kept = journal.len() as u64;
    assert!((JOURNAL_LINES..JOURNAL_LINES + 1_000).contains(&kept), "{kept}");
    assert_eq!(journal.last(), Some(&line(next - 1)));
    assert_eq!(journal.first(), Some(&line(next - kept)));
}
