//! Damaged files: either exactly the right rows, or set aside with a note. Never a panic, never rows that are missing.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;

/// A store of some hundred rows that were written, overwritten and removed, and what it holds. `killed`: as a process leaves
/// it that had no time to close it.
fn specimen(dir: &Path, killed: bool) -> (PathBuf, Content) {
    let live = dir.join("live");
    let opened = open(&live, NOW).unwrap();
    for round in 0..4 {
        for n in 0..60 {
            let id = opened.store.next_intent();
            opened.store.commit(Batch { open: vec![intent(id.0)], ..put(n) }).unwrap();
            let journal = vec![line(n)];
            let close = if n % 30 == round { vec![] } else { vec![id] };
            opened.store.commit(Batch { close, journal, ..Batch::default() }).unwrap();
        }
        let backends = vec![(name("fast"), Some(backend(500 * (round + 1))))];
        let objects = vec![(identity(round).uid, None)];
        let suspensions = vec![(suspension(round).key(), Some(suspension(round)))];
        opened.store.commit(Batch { backends, objects, suspensions, ..Batch::default() }).unwrap();
    }
    let content = Content::of(&*opened.store);
    let copy = dir.join("specimen");
    if killed {
        copy_dir(&live, &copy);
        drop(opened);
    } else {
        drop(opened);
        copy_dir(&live, &copy);
    }
    (copy, content)
}

fn damage(dir: &Path, random: &mut Random) -> String {
    let mut files: Vec<PathBuf> = listing(&dir.join("db"))
        .into_iter()
        .filter(|(_, (len, _))| *len > 0)
        .map(|(name, _)| dir.join("db").join(name))
        .collect();
    // Most of it is in one file; the others get their share.
    files.extend(std::iter::repeat_n(dir.join("db/db"), 4 * files.len()));
    files.push(dir.join("mark"));
    let path = &files[random.below(files.len() as u64) as usize];
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let at = random.below(len);
    let how = match random.below(6) {
        0 => {
            file.set_len(at).unwrap();
            "truncated"
        }
        1 => {
            let page = at / 4096 * 4096;
            file.write_all_at(&vec![0; 4096.min(len - page) as usize], page).unwrap();
            "page zeroed"
        }
        2 => {
            let noise: Vec<u8> = (0..64.min(len - at)).map(|_| random.next() as u8).collect();
            file.write_all_at(&noise, at).unwrap();
            "noise"
        }
        _ => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            byte[0] ^= 1 << random.below(8);
            file.write_all_at(&byte, at).unwrap();
            "bit flipped"
        }
    };
    format!("{} {how} at {at} of {len}", path.strip_prefix(dir).unwrap().display())
}

fn sweep(killed: bool, seed: u64, trials: u64) {
    println!("seed {seed:#x}");
    let base = tempfile::tempdir().unwrap();
    let (specimen, content) = specimen(base.path(), killed);
    let (mut whole, mut aside) = (0, 0);
    for trial in 0..trials {
        let mut random = Random(seed ^ (trial << 32));
        let dir = base.path().join(format!("trial-{trial}"));
        copy_dir(&specimen, &dir);
        let what = format!("trial {trial}: {}", damage(&dir, &mut random));
        let before = listing(&dir);
        let began = std::time::Instant::now();
        let looked = look(&dir).unwrap().expect("there is a store");
        let seen = Content::of(&*looked.store);
        assert!(seen == content || (seen.is_empty() && looked.notes.len() == 1), "{what}: {:?}", looked.notes);
        assert_eq!(listing(&dir), before, "{what}");

        let opened = open(&dir, NOW).unwrap();
        let found = Content::of(&*opened.store);
        if found == content {
            assert!(opened.notes.iter().all(|note| note.contains("mark")), "{what}: {:?}", opened.notes);
            whole += 1;
        } else {
            assert!(found.is_empty(), "{what}: rows are missing");
            assert!(opened.notes.len() == 1 && opened.notes[0].contains("set aside as"), "{what}: {:?}", opened.notes);
            assert!(dir.join("damaged-20260203T040506Z-1/db").exists(), "{what}");
            aside += 1;
        }
        assert_eq!(seen == content, found == content, "{what}: looking and opening disagree");
        // It can be used, and opened again.
        opened.store.commit(put(1)).unwrap();
        drop(opened);
        let took = began.elapsed();
        // A call into sled that never ends is given up after a minute: that it never came to that is part of the claim.
        assert!(took.as_secs() < 50, "{what}: took {took:?}");
        fs::remove_dir_all(&dir).unwrap();
    }
    println!("{trials} damaged stores: {whole} had all rows, {aside} were set aside");
    assert!(whole > 0 && aside > 0, "{whole} {aside}");
}

#[test]
fn damage_to_a_closed_store_is_harmless_or_found() {
    sweep(false, 0x5eed_0003, 160);
}

#[test]
fn damage_to_a_killed_store_is_harmless_or_found() {
    sweep(true, 0x5eed_0004, 160);
}

#[test]
fn three_damaged_stores_are_kept_and_nothing_else_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("damaged-by-me")).unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    for round in 0..5 {
        let opened = open(dir.path(), NOW + round / 2).unwrap();
        opened.store.commit(put(round)).unwrap();
        drop(opened);
        fs::write(dir.path().join("db/db"), "not a database").unwrap();
    }
    let opened = open(dir.path(), NOW + 9).unwrap();
    assert!(opened.notes[0].contains("damaged-20260203T040515Z-1"), "{:?}", opened.notes);
    let kept: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("damaged-2"))
        .collect();
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(kept.contains(&"damaged-20260203T040515Z-1".to_owned()), "{kept:?}");
    assert!(dir.path().join("damaged-by-me").exists());
    assert_eq!(fs::read_to_string(dir.path().join("notes.txt")).unwrap(), "mine");
}

#[test]
fn a_store_that_went_back_in_time_is_found() {
    let base = tempfile::tempdir().unwrap();
    let (dir, old) = (base.path().join("s"), base.path().join("old"));
    let opened = open(&dir, NOW).unwrap();
    opened.store.commit(put(1)).unwrap();
    drop(opened);
    copy_dir(&dir.join("db"), &old);
    let opened = open(&dir, NOW).unwrap();
    opened.store.commit(put(2)).unwrap();
    drop(opened);
    fs::remove_dir_all(dir.join("db")).unwrap();
    fs::rename(&old, dir.join("db")).unwrap();
    let opened = open(&dir, NOW).unwrap();
    assert!(opened.notes[0].contains("set aside"), "{:?}", opened.notes);
    assert!(Content::of(&*opened.store).is_empty());
}

fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn missing_and_foreign_files_are_survived() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil); 11] = [
        ("no database", |db| fs::remove_dir_all(db).unwrap()),
        ("no file in it", |db| fs::remove_file(db.join("db")).unwrap()),
        ("an empty directory", |db| {
            fs::remove_dir_all(db).unwrap();
            fs::create_dir(db).unwrap();
        }),
        ("a file in its place", |db| {
            fs::remove_dir_all(db).unwrap();
            fs::write(db, "hello").unwrap();
        }),
        ("a link that leads nowhere", |db| {
            fs::remove_dir_all(db).unwrap();
            std::os::unix::fs::symlink("nowhere", db).unwrap();
        }),
        ("a directory in place of the file", |db| {
            fs::remove_file(db.join("db")).unwrap();
            fs::create_dir(db.join("db")).unwrap();
        }),
        ("no settings", |db| fs::remove_file(db.join("conf")).unwrap()),
        ("foreign files", |db| {
            fs::write(db.join("snap.ffffffffffffffff"), "hello").unwrap();
            fs::write(db.join("README"), "hello").unwrap();
        }),
        ("half made", |db| {
            fs::create_dir(db.with_extension("new")).unwrap();
            fs::write(db.with_extension("new").join("db"), "hello").unwrap();
        }),
        ("a FIFO for a mark", |db| {
            fs::remove_file(db.join("db")).unwrap();
            fs::remove_file(db.with_file_name("mark")).unwrap();
            fifo(&db.with_file_name("mark"));
        }),
        ("a FIFO in the database", |db| fifo(&db.join("extra"))),
    ];
    for (what, spoil) in cases {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path(), NOW).unwrap();
        opened.store.commit(put(1)).unwrap();
        let content = Content::of(&*opened.store);
        drop(opened);
        spoil(&dir.path().join("db"));
        let before = listing(dir.path());
        let looked = look(dir.path()).unwrap();
        assert_eq!(listing(dir.path()), before, "{what}");
        if let Some(looked) = &looked {
            let seen = Content::of(&*looked.store);
            assert!(seen == content || (seen.is_empty() && looked.notes.len() == 1), "{what}: {looked:?}");
        }
        let opened = open(dir.path(), NOW).unwrap();
        let found = Content::of(&*opened.store);
        assert!(found == content || (found.is_empty() && opened.notes.len() == 1), "{what}: {:?}", opened.notes);
        println!("{what}: {:?}", opened.notes);
        opened.store.commit(put(2)).unwrap();
        drop(opened);
        let again = open(dir.path(), NOW).unwrap();
        assert_eq!(again.notes, Vec::<String>::new(), "{what}");
        assert!(again.store.records().unwrap().objects.contains_key(&identity(2).uid), "{what}");
    }
}
