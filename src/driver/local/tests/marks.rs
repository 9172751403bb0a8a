//! A mark beside an adopted file counts for that file only.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::model::LedgerEntry;

const FILE: &str = "disk.raw";

fn at(action: Action) -> Step {
    let place = Some(if matches!(action, Action::Undelete { .. }) { Place::Trash } else { Place::Live });
    step_on(volume("db"), NativeName::new(FILE), action, Expect { place, ..Expect::default() })
}

fn adopt() -> Step {
    at(Action::Adopt { tags: labelled("a"), n: 0 })
}

/// A pool with an adopted file.
async fn with_adopted() -> (Bench, PathBuf) {
    let bench = Bench::new().await;
    let file = bench.path.join(FILE);
    fs::write(&file, vec![7; 8192]).unwrap();
    bench.twice(&adopt()).await;
    (bench, file)
}

fn mark_of(bench: &Bench) -> PathBuf {
    bench.path.join(format!(".kiln-pool/adopted/{FILE}.json"))
}

/// Makes the mark one of an earlier version: it names no file.
fn age_mark(bench: &Bench) {
    let path = mark_of(bench);
    let mut mark: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    mark.as_object_mut().unwrap().remove("file").unwrap();
    fs::write(&path, mark.to_string()).unwrap();
}

async fn ledger_of(bench: &Bench) -> Ledger {
    let mut ledger = Ledger::new(bench.look().await.pool.unwrap(), owner(), "stack".to_owned());
    let entry = volume("db").ledger_entry(0, Address::flat(&NativeName::new(FILE)), Size(8192));
    ledger.complete.insert(volume("db").uid, entry);
    ledger.serial = 1;
    bench.driver.write_ledger(&ledger).await.unwrap();
    ledger
}

#[tokio::test]
async fn another_file_under_the_name_of_an_adopted_one_is_foreign() {
    let (bench, file) = with_adopted().await;
    let steps =
        [Action::Destroy, Action::Trash { ttl: Seconds(9), with: Vec::new() }, Action::SetTags { tags: labelled("b") }];
    let away = bench._home.path().join("away");
    // Put there anew (a file system may give it the same inode at once), moved there, copied with all that a copy keeps.
    for way in ["anew", "moved", "copied"] {
        fs::rename(&file, &away).unwrap();
        match way {
            "anew" => fs::write(&file, b"stranger").unwrap(),
            "moved" => {
                fs::write(bench.path.join("other"), b"stranger").unwrap();
                fs::rename(bench.path.join("other"), &file).unwrap();
            }
            _ => {
                fs::copy(&away, &file).unwrap();
                let modified = away.metadata().unwrap().modified().unwrap();
                fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
            }
        }
        assert_eq!((bench.only().await.identity, bench.only().await.conflict), (None, None), "{way}");
        for action in &steps {
            bench.refused(&at(action.clone()), ErrorKind::Conflict).await;
        }
        // The adopted one put back is ours, with its tags.
        fs::rename(&away, &file).unwrap();
        let back = bench.only().await;
        assert_eq!((back.identity, &back.tags.labels), (Some(volume("db")), &labelled("a").labels), "{way}");
    }
}

#[tokio::test]
async fn a_deleted_file_is_not_taken_for_the_next_one_that_gets_its_inode() {
    let (bench, file) = with_adopted().await;
    for _ in 0..20 {
        fs::remove_file(&file).unwrap();
        fs::write(&file, b"stranger").unwrap();
        assert_eq!(bench.only().await.identity, None);
    }
}

#[tokio::test]
async fn an_adopted_file_that_grows_or_is_written_to_stays_ours() {
    let (bench, file) = with_adopted().await;
    write_at(&file, 0, b"written");
    bench.twice(&at(Action::Grow { to: Size(MIB) })).await;
    fs::File::options().write(true).open(&file).unwrap().set_len(2 * MIB).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let seen = bench.only().await;
    assert_eq!((seen.identity, seen.size), (Some(volume("db")), Size(2 * MIB)));
}

#[tokio::test]
async fn a_mark_of_an_earlier_version_counts_for_the_file_that_it_was_written_for() {
    let (bench, file) = with_adopted().await;
    ledger_of(&bench).await;
    age_mark(&bench);
    assert_eq!(bench.only().await.identity, Some(volume("db")));
    // A file that is younger than the mark is not the one.
    let away = bench._home.path().join("away");
    fs::rename(&file, &away).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    fs::write(&file, b"stranger").unwrap();
    assert_eq!(bench.only().await.identity, None);
    drop(bench.driver.lock(&owner()).await.unwrap());
    assert!(!fs::read_to_string(mark_of(&bench)).unwrap().contains("inode"), "it is of no file that is there");
    fs::rename(&away, &file).unwrap();
    // Under the writer lock it comes to name its file; then no other counts, however old.
    fs::write(bench.path.join("old"), b"stranger").unwrap();
    age_mark_again(&bench);
    drop(bench.driver.lock(&owner()).await.unwrap());
    assert!(fs::read_to_string(mark_of(&bench)).unwrap().contains("inode"));
    assert_eq!(bench.objects().await.iter().filter(|o| o.identity.is_some()).count(), 1);
    fs::rename(bench.path.join("old"), &file).unwrap();
    assert_eq!(bench.only().await.identity, None);
}

/// Writes the mark anew as it is, later than everything that is there.
fn age_mark_again(bench: &Bench) {
    let text = fs::read(mark_of(bench)).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    fs::write(mark_of(bench), text).unwrap();
}

#[tokio::test]
async fn a_tombstone_outweighs_a_mark_that_an_earlier_version_left() {
    let (bench, file) = with_adopted().await;
    age_mark(&bench);
    let mut ledger = ledger_of(&bench).await;
    let text = fs::read(mark_of(&bench)).unwrap();
    ledger.add_tombstone(volume("db").uid, NOW);
    ledger.serial = 2;
    bench.driver.write_ledger(&ledger).await.unwrap();
    fs::write(mark_of(&bench), &text).unwrap();
    let seen = bench.only().await;
    assert_eq!((seen.identity, seen.tags), (None, Tags::default().into()));
    let close = bench.driver.observe(&Scope::Objects(vec![Address::flat(&NativeName::new(FILE))])).await.unwrap();
    assert_eq!(close.objects[0].identity, None);
    drop(bench.driver.lock(&owner()).await.unwrap());
    assert!(!mark_of(&bench).exists() && file.exists());
    // Long afterwards, when the tombstone is gone as well, such a mark does not come to name the file that is there.
    ledger.tombstones.clear();
    ledger.serial = 3;
    bench.driver.write_ledger(&ledger).await.unwrap();
    fs::write(mark_of(&bench), text).unwrap();
    drop(bench.driver.lock(&owner()).await.unwrap());
    assert!(!fs::read_to_string(mark_of(&bench)).unwrap().contains("inode"));
}

#[tokio::test]
async fn an_object_that_leaves_the_ledger_loses_its_flags() {
    let (bench, file) = with_adopted().await;
    let mut ledger = ledger_of(&bench).await;
    // An object under a name of its own, whose data file another program has removed: its directory and its tags are left.
    let own = volume("own");
    let native = NativeName::new("vm1");
    let made = step_on(own.clone(), native.clone(), create(4096), Expect::default());
    assert_eq!(bench.run(&made).await, Ok(Outcome::Changed));
    let entry = LedgerEntry { name: own.name.clone(), native, ..ledger.complete[&volume("db").uid].clone() };
    ledger.complete.insert(own.uid, entry);
    ledger.serial = 2;
    bench.driver.write_ledger(&ledger).await.unwrap();
    fs::remove_file(bench.path.join("vm1/vm1.img")).unwrap();
    fs::remove_file(&file).unwrap();
    assert!(mark_of(&bench).exists() && bench.path.join("vm1").exists());

    for uid in [own.uid, volume("db").uid] {
        ledger.add_tombstone(uid, NOW);
    }
    ledger.serial = 3;
    bench.driver.write_ledger(&ledger).await.unwrap();
    assert!(!mark_of(&bench).exists() && !bench.path.join("vm1").exists());
    // However long afterwards: what strangers put there is theirs.
    ledger.tombstones.clear();
    ledger.serial = 4;
    bench.driver.write_ledger(&ledger).await.unwrap();
    fs::write(&file, b"stranger").unwrap();
    fs::create_dir(bench.path.join("vm1")).unwrap();
    fs::write(bench.path.join("vm1/vm1.img"), b"stranger").unwrap();
    assert!(bench.objects().await.iter().all(|object| object.identity.is_none()));
}

#[tokio::test]
async fn a_mark_of_another_owner_is_not_dropped() {
    let (bench, _) = with_adopted().await;
    let mut ledger = ledger_of(&bench).await;
    let given = Identity { owner: "next".parse().unwrap(), ..volume("db") };
    let tags = Tags { identity: Some(Box::new(given.clone())), ..labelled("a") };
    let rename = Action::Rename { from: NativeName::new(FILE), tags };
    let file = NativeName::new(FILE);
    // As `adopt --from-owner` does it: the same uid under another owner.
    let mut ours = ledger.clone();
    ours.owner = given.owner.clone();
    bench.driver.write_ledger(&ours).await.unwrap();
    assert_eq!(bench.run(&step_on(given.clone(), file, rename, Expect::default())).await, Ok(Outcome::Changed));
    ledger.add_tombstone(given.uid, NOW);
    ledger.serial = 2;
    bench.driver.write_ledger(&ledger).await.unwrap();
    assert_eq!(bench.only().await.identity, Some(given));
}

#[tokio::test]
async fn a_mark_of_an_earlier_version_that_outlived_the_move_to_the_trash_counts_for_no_file() {
    let bench = Bench::new().await;
    let (file, older) = (bench.path.join(FILE), bench._home.path().join("older"));
    fs::write(&older, b"stranger").unwrap();
    fs::write(&file, vec![7; 8192]).unwrap();
    bench.twice(&adopt()).await;
    age_mark(&bench);
    let mark = fs::read(mark_of(&bench)).unwrap();
    bench.twice(&at(Action::Trash { ttl: Seconds(60), with: Vec::new() })).await;
    fs::write(mark_of(&bench), mark).unwrap();
    fs::rename(&older, &file).unwrap();
    let objects = bench.objects().await;
    let live: Vec<_> = objects.iter().filter(|object| object.place == Place::Live).collect();
    assert_eq!(live.iter().map(|object| &object.identity).collect::<Vec<_>>(), [&None]);
}
