//! Rows as earlier programs wrote them are read for ever.
//!
//! `tests/fixtures/store/vN/rows.txt` holds one row a line, key and row in hexadecimal, as format N had them. A new format gets
//! a new directory; the old ones are never written again.

use super::*;

fn expected_of_v1() -> Content {
    Content {
        records: Records {
            backends: BTreeMap::from([(name("fast"), backend(60))]),
            objects: [1, 2].into_iter().map(|n| (identity(n).uid, object(n))).collect(),
            suspensions: BTreeMap::new(),
        },
        intents: vec![intent(5)],
        journal: vec![line(1), line(2)],
    }
}

/// Format 2 came with suspensions.
fn expected_of_v2() -> Content {
    let mut content = expected_of_v1();
    content.records.suspensions = [0, 1].map(|n| (suspension(n).key(), suspension(n))).into();
    content
}

/// Format 3 came with the ids of suspensions.
fn expected_of_v3() -> Content {
    let mut content = expected_of_v2();
    content.records.suspensions.extend([0, 1].map(|n| (recorded(n).key(), recorded(n))));
    content
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn fixture(format: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store").join(format).join("rows.txt")
}

#[test]
fn rows_of_every_format_are_read() {
    for (format, expected) in [("v1", expected_of_v1()), ("v2", expected_of_v2()), ("v3", expected_of_v3())] {
        rows_are_read(format, &expected);
    }
}

fn rows_are_read(format: &str, expected: &Content) {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), NOW).unwrap());
    let db = db::Db::open(&dir.path().join("db")).unwrap();
    let text = fs::read_to_string(fixture(format)).unwrap();
    let rows = text.lines().map(|line| line.split_once(' ').unwrap()).map(|(key, row)| (unhex(key), Some(unhex(row))));
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() > 6, "a value of several rows is among them");
    db.write(rows).unwrap();
    db.close().unwrap();
    let opened = open(dir.path(), NOW).unwrap();
    assert_eq!(opened.notes, Vec::<String>::new());
    assert_eq!(Content::of(&*opened.store), *expected);
}

/// Writes the fixture of today's format; run by hand when there is a new one.
#[test]
#[ignore = "writes tests/fixtures/store; run once for each new format"]
fn write_the_fixture() {
    let target = fixture(&format!("v{}", codec::FORMAT));
    assert!(!target.exists(), "fixtures are never written again");
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), NOW).unwrap();
    let Content { records, intents, journal } = expected_of_v3();
    let batch = Batch {
        backends: records.backends.into_iter().map(|(name, record)| (name, Some(record))).collect(),
        objects: records.objects.into_iter().map(|(uid, record)| (uid, Some(record))).collect(),
        suspensions: records.suspensions.into_iter().map(|(key, suspension)| (key, Some(suspension))).collect(),
        open: intents,
        close: Vec::new(),
        journal,
        can_wait: false,
    };
    opened.store.commit(batch).unwrap();
    drop(opened);
    let db = db::Db::open(&dir.path().join("db")).unwrap();
    let mut text = String::new();
    db.scan(b"", |key, row| {
        text.push_str(&format!("{} {}\n", hex(key), hex(row)));
        Ok(())
    })
    .unwrap();
    db.close().unwrap();
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(target, text).unwrap();
}
