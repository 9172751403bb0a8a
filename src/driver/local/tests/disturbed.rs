//! Steps during which another program acts, just before every call.

use super::crash::{data_of, home, now, while_at};
use super::*;

/// Opens a file for writing, and does not wait where a lease is in the way: the lease is broken all the same.
fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

fn changed(path: &Path) -> (i64, i64) {
    let meta = path.metadata().unwrap();
    (meta.ctime(), meta.ctime_nsec())
}

fn file_step(action: Action) -> Step {
    let expect = Expect { place: Some(Place::Live), ..Expect::default() };
    step_on(volume("db"), NativeName::new("file"), action, expect)
}

/// A volume with a snapshot that it differs from, and the step that restores it.
async fn to_restore(adopted: bool) -> (Bench, Step) {
    let bench = Bench::at(home()).await;
    let first = match adopted {
        true => {
            fs::write(bench.path.join("file"), vec![3; 64 << 10]).unwrap();
            file_step(Action::Adopt { tags: Tags::default(), n: 0 })
        }
        false => step(volume("db"), create(64 << 10)),
    };
    assert_eq!(now(&bench, &first), Ok(Outcome::Changed));
    let of = ObjectRef::new(first.native.clone(), volume("db").uid, Size(64 << 10));
    let snap = identity(Kind::Snapshot, "s");
    let tags = Tags { volume: Some(of.uid), ..Tags::default() };
    assert_eq!(now(&bench, &step(snap.clone(), Action::Snapshot { volume: of, tags, n: 0 })), Ok(Outcome::Changed));
    write_at(&data_of(&bench, &first), 0, b"changed");
    let action = Action::Restore { snapshot: reference(&snap, 64 << 10), request: "r".into() };
    let expect = Expect { idle: true, ..first.expect.clone() };
    (bench, Step { action, expect, ..first })
}

/// A client that opens the volume while it is restored either has what is restored, or keeps the restore from happening.
#[tokio::test]
async fn no_client_is_left_with_a_file_that_a_restore_put_away() {
    for adopted in [false, true] {
        let (mut held_up, mut exchanged_twice, mut went_on) = (0, 0, 0);
        for n in 0.. {
            let (bench, restore) = to_restore(adopted).await;
            let data = data_of(&bench, &restore);
            // What the exchange gives another name.
            let moved = if adopted { data.clone() } else { data.parent().unwrap().to_owned() };
            let (inode, before) = (data.metadata().unwrap().ino(), changed(&moved));
            let opened = Arc::new(Mutex::new(None));
            let (path, slot) = (data.clone(), Arc::clone(&opened));
            let act = move || *slot.lock().unwrap() = Some(open(&path));
            let Some(outcome) = while_at(n, act, &bench, &restore) else { break };
            let at = format!("adopted: {adopted}, before call {n}: {outcome:?}");
            let db = bench.objects().await.into_iter().find(|o| o.native == restore.native).unwrap();
            assert_eq!(db.tags.restored.is_some(), outcome.is_ok(), "{at}");
            assert_eq!(read_at(&data, 0, 7) == b"changed", outcome.is_err(), "{at}");
            assert_eq!(bench.temporaries(), [], "{at}");
            let client = opened.lock().unwrap().take().unwrap();
            match (&outcome, client) {
                (Ok(_), Ok(client)) => {
                    assert_eq!(rustix::fs::fstat(&client).unwrap().st_ino, data.metadata().unwrap().ino(), "{at}");
                    went_on += 1;
                }
                (Err(error), client) => {
                    assert_eq!((error.kind, error.effect), (ErrorKind::Busy, crate::model::Effect::No), "{at}");
                    assert_eq!(data.metadata().unwrap().ino(), inode, "{at}");
                    if client.is_err() {
                        held_up += 1;
                        exchanged_twice += u32::from(changed(&moved) != before);
                    }
                }
                (Ok(_), Err(errno)) => panic!("{at}: a client waits for what was put away: {errno}"),
            }
        }
        // Only who comes in the very last instant makes it exchange and exchange back.
        assert_eq!(exchanged_twice, 1, "adopted: {adopted}");
        assert!(held_up > 5 && went_on > 1, "adopted: {adopted}: {held_up} {went_on}");
    }
}

/// A file that takes an adopted one's place in the last instant is not removed for it.
#[tokio::test]
async fn a_file_that_is_put_in_place_of_an_adopted_one_meanwhile_is_not_removed() {
    let restore = |bench: &Bench| {
        let snap = identity(Kind::Snapshot, "s");
        let of = ObjectRef::new(NativeName::new("file"), volume("db").uid, Size(8));
        let tags = Tags { volume: Some(of.uid), ..Tags::default() };
        now(bench, &step(snap.clone(), Action::Snapshot { volume: of, tags, n: 0 })).unwrap();
        Action::Restore { snapshot: reference(&snap, 8), request: "r".into() }
    };
    for what in ["trash", "destroy", "restore", "grow"] {
        let (mut refused, mut done, mut moved) = (0, 0, 0);
        for n in 0.. {
            let bench = Bench::at(home()).await;
            let (file, away) = (bench.path.join("file"), bench.path.join("away"));
            fs::write(&file, b"adopted!").unwrap();
            assert_eq!(now(&bench, &file_step(Action::Adopt { tags: Tags::default(), n: 0 })), Ok(Outcome::Changed));
            let action = match what {
                "trash" => Action::Trash { ttl: Seconds(9), with: Vec::new() },
                "destroy" => Action::Destroy,
                "restore" => restore(&bench),
                _ => Action::Grow { to: Size(4096) },
            };
            let (from, to) = (file.clone(), away.clone());
            let written = Arc::new(Mutex::new(None));
            let told = written.clone();
            let exchange = move || {
                // A client's own way of replacing a file. Nothing once it is gone.
                if fs::rename(&from, &to).is_ok() {
                    fs::write(&from, b"stranger").unwrap();
                    *told.lock().unwrap() = Some(changed(&from));
                }
            };
            let Some(outcome) = while_at(n, exchange, &bench, &file_step(action)) else { break };
            let at = format!("{what}, before call {n}: {outcome:?}");
            let written = *written.lock().unwrap();
            if written.is_some() && away.exists() {
                assert_eq!(fs::read(&file).ok().as_deref(), Some(&b"stranger"[..]), "{at}");
                refused += u32::from(outcome.is_err());
                moved += u32::from(Some(changed(&file)) != written);
                assert!(bench.temporaries().is_empty() || what == "destroy", "{at}");
            } else {
                done += u32::from(outcome.is_ok());
            }
        }
        // Only a file that comes in the very last instant is moved, and moved back.
        let expected = match what {
            "grow" => refused > 0 && moved == 0,
            "restore" => refused > 3 && moved == 1,
            _ => refused > 3 && done > 1 && moved == 1,
        };
        assert!(expected, "{what}: {refused} {done} {moved}");
    }
}

#[tokio::test]
async fn an_adoption_checks_what_was_planned() {
    let bench = Bench::new().await;
    let file = bench.path.join("file");
    fs::write(&file, vec![1; 8192]).unwrap();
    let expecting = |expect: Expect| Step { expect, ..file_step(Action::Adopt { tags: Tags::default(), n: 0 }) };
    let live = Some(Place::Live);
    let said = bench
        .refused(&expecting(Expect { place: live, size: Some(Size(4096)), ..Expect::default() }), ErrorKind::Conflict)
        .await;
    assert!(said.contains("8192"), "{said}");
    let idle = expecting(Expect { place: live, size: Some(Size(8192)), idle: true, ..Expect::default() });
    let writer = open(&file).unwrap();
    bench.refused(&idle, ErrorKind::Busy).await;
    drop(writer);
    // An image of another format is no raw disk; it is seen before it is tried.
    write_at(&file, 0, b"QFI\xfb");
    let said = bench.refused(&idle, ErrorKind::Conflict).await;
    assert!(said.contains("qcow2"), "{said}");
    let close = bench.driver.observe(&Scope::Objects(vec![Address::flat(&NativeName::new("file"))])).await.unwrap();
    assert_eq!(close.objects[0].image.as_deref(), Some("qcow2"));
    write_at(&file, 0, &[1; 4]);
    bench.twice(&idle).await;
}

#[tokio::test]
async fn an_adopted_file_that_a_client_writes_to_is_not_removed() {
    let bench = Bench::new().await;
    let file = bench.path.join("file");
    fs::write(&file, vec![1; 8192]).unwrap();
    bench.twice(&file_step(Action::Adopt { tags: Tags::default(), n: 0 })).await;
    let writer = open(&file).unwrap();
    for action in [Action::Trash { ttl: Seconds(60), with: Vec::new() }, Action::Destroy] {
        bench.refused(&file_step(action), ErrorKind::Busy).await;
    }
    drop(writer);
    bench.twice(&file_step(Action::Destroy)).await;
}
