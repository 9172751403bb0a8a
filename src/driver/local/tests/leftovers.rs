//! What a crash leaves, made by hand: every state in between, also those that other versions or a power cut could leave.

use super::*;
use crate::model::Suspension;

#[tokio::test]
async fn the_rest_of_an_interrupted_create_is_removed_by_the_next_one_and_by_a_sweep() {
    let bench = Bench::new().await;
    let db = volume("db");
    let tmp = bench.temporary(&db);
    fs::create_dir(&tmp).unwrap();
    // A power cut leaves files of any content.
    for (name, content) in
        [(&*object::image_name(db.native().as_str()), "half"), ("tags.json", "{"), ("tags.json.new", "{")]
    {
        fs::write(tmp.join(name), content).unwrap();
    }
    let seen = bench.only().await;
    assert_eq!((seen.place, seen.conflict.clone(), seen.uid()), (Place::Temporary, None, Some(db.uid)));
    bench.twice(&step(db.clone(), create(MIB))).await;
    // Published, and the same done again by a second make that got as far as its temporary name.
    fs::create_dir(&tmp).unwrap();
    assert_eq!(bench.run(&step(db.clone(), create(MIB))).await, Ok(Outcome::Unchanged));
    assert_eq!(bench.only().await.place, Place::Live);
    fs::create_dir(&tmp).unwrap();
    let native = db.temporary();
    bench.twice(&step_on(db.clone(), native, Action::Sweep, Expect::default())).await;
}

/// Versions before identities in temporary names left whole objects under the plain name.
#[tokio::test]
async fn a_removal_that_an_earlier_version_left_is_finished_by_a_destroy_and_by_a_purge() {
    for action in [Action::Destroy, Action::Purge] {
        let bench = Bench::new().await;
        let db = bench.volume("db", MIB).await;
        fs::rename(bench.dir(&db), bench.temporary(&db)).unwrap();
        assert_eq!(bench.only().await.place, Place::Temporary);
        assert!(bench.run(&step(db, action.clone())).await.is_ok(), "{action:?}");
        assert_eq!((bench.objects().await.len(), bench.temporaries().len()), (0, 0), "{action:?}");
    }
}

#[tokio::test]
async fn a_rename_cut_short_is_seen_under_the_new_name_and_finished() {
    let bench = Bench::new().await;
    let db = bench.volume("db", MIB).await;
    let renamed = Identity { name: "db2".parse().unwrap(), ..db.clone() };
    fs::rename(bench.dir(&db), bench.dir(&renamed)).unwrap();
    let seen = bench.only().await;
    assert_eq!((seen.identity, seen.size, seen.conflict), (Some(renamed.clone()), Size(MIB), None));
    assert!(seen.unfinished);
    let rename = step(renamed.clone(), Action::Rename { from: db.native(), tags: labelled("t") });
    bench.twice(&rename).await;
    assert!(bench.image(&renamed).exists());
    let seen = bench.only().await;
    assert_eq!((seen.tags, seen.unfinished), (labelled("t").into(), false));
    // Any other step finishes it as well.
    let again = Identity { name: "db3".parse().unwrap(), ..db.clone() };
    fs::rename(bench.dir(&renamed), bench.dir(&again)).unwrap();
    bench.twice(&step(again.clone(), Action::SetTags { tags: labelled("t") })).await;
    assert!(bench.image(&again).exists());
    // So does a rename in place, which is what the planner plans for it.
    let last = Identity { name: "db4".parse().unwrap(), ..db };
    fs::rename(bench.dir(&again), bench.dir(&last)).unwrap();
    bench.twice(&step(last.clone(), Action::Rename { from: last.native(), tags: labelled("t") })).await;
    assert!(bench.image(&last).exists());
}

#[tokio::test]
async fn the_expiry_that_a_cut_removal_left_on_a_live_object_has_no_meaning() {
    let bench = Bench::new().await;
    let db = bench.volume("db", MIB).await;
    fs::write(bench.dir(&db).join("tags.json"), r#"{"format":1,"tags":{"expires":5}}"#).unwrap();
    let mut trash = step(db, Action::Trash { ttl: Seconds(60), with: Vec::new() });
    trash.expect.tags = Some(Tags::default());
    bench.twice(&trash).await;
    assert_eq!(bench.only().await.tags.expires, Some(NOW + 60));
}

/// A crash left its mark, and another program used its name.
#[tokio::test]
async fn a_file_under_the_name_of_an_adopted_one_that_is_in_the_trash_has_no_owner() {
    let bench = Bench::new().await;
    let file = bench.path.join("f");
    let at = |action, place| {
        let expect = Expect { place: Some(place), ..Expect::default() };
        step_on(volume("db"), NativeName::new("f"), action, expect)
    };
    fs::write(&file, b"data").unwrap();
    bench.twice(&at(Action::Adopt { tags: Tags::default(), n: 0 }, Place::Live)).await;
    let mark = bench.path.join(".kiln-pool/adopted/f.json");
    let live = fs::read(&mark).unwrap();
    let trash = at(Action::Trash { ttl: Seconds(60), with: Vec::new() }, Place::Live);
    bench.twice(&trash).await;
    fs::write(&mark, &live).unwrap();
    assert_eq!(bench.only().await.place, Place::Trash);
    fs::write(&file, b"stranger").unwrap();
    let seen = bench.objects().await;
    assert_eq!(seen.iter().filter(|o| o.identity.is_some()).count(), 1, "{seen:#?}");
    assert_eq!(bench.run(&trash).await, Ok(Outcome::Unchanged));
    bench
        .refused(&at(Action::Undelete { tags: Tags::default(), with: Vec::new() }, Place::Trash), ErrorKind::Conflict)
        .await;
}

#[tokio::test]
async fn an_undelete_that_was_done_before_leaves_another_objects_data_in_the_trash() {
    let bench = Bench::new().await;
    let file = bench.path.join("f");
    let at = |of: &str, action, place| {
        step_on(volume(of), NativeName::new("f"), action, Expect { place: Some(place), ..Expect::default() })
    };
    // The native name was used before, by what is in the trash now.
    for name in ["old", "db"] {
        fs::write(&file, name).unwrap();
        bench.twice(&at(name, Action::Adopt { tags: Tags::default(), n: 0 }, Place::Live)).await;
        if name == "old" {
            bench.twice(&at(name, Action::Trash { ttl: Seconds(60), with: Vec::new() }, Place::Live)).await;
        }
    }
    let undelete = at("db", Action::Undelete { tags: labelled("u"), with: Vec::new() }, Place::Trash);
    bench.twice(&undelete).await;
    assert_eq!(fs::read(bench.trashed("f").join("f.img")).unwrap(), b"old");
    assert_eq!(bench.objects().await.len(), 2);
}

pub(super) fn suspension(reason: &str) -> Suspension {
    let (reason, since) = (reason.to_owned(), NOW);
    Suspension { id: None, owner: owner(), object: None, reason, since, until: None, resumed: None }
}

fn beside(pool: &Path) -> usize {
    let names =
        fs::read_dir(pool.join(".kiln-pool/suspended")).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(".new")).count()
}

#[tokio::test]
async fn the_file_of_a_killed_suspend_is_removed_by_the_next_writer() {
    let (mut points, mut left) = (0, 0);
    for n in 0.. {
        let bench = Bench::at(crash::home()).await;
        let pool = LocalPool::open(&bench.path).ok().unwrap();
        let done = crash::until_crash(n, || suspended::write(&pool, &suspension("killed")));
        left += beside(&bench.path);
        let before = bench.driver.suspensions(&owner()).await.unwrap().len();
        drop(bench.driver.lock(&owner()).await.unwrap());
        assert_eq!(beside(&bench.path), 0, "killed before call {n}");
        assert_eq!(bench.driver.suspensions(&owner()).await.unwrap().len(), before, "killed before call {n}");
        if done.is_some() {
            break;
        }
        points += 1;
    }
    assert!(points > 4 && left > 2, "{points} {left}");
}

#[tokio::test]
async fn an_unfinished_suspension_record_is_not_swept() {
    let taken = Arc::new(Mutex::new(0));
    for n in 0.. {
        let bench = Bench::at(crash::home()).await;
        let pool = LocalPool::open(&bench.path).ok().unwrap();
        let (path, counted) = (bench.path.clone(), taken.clone());
        let clean = move |call| {
            if call == n {
                let before = beside(&path);
                suspended::clean(&LocalPool::open(&path).ok().unwrap());
                *counted.lock().unwrap() += before - beside(&path);
            }
        };
        let (done, calls) = crash::meanwhile(clean, || suspended::write(&pool, &suspension("busy")));
        assert_eq!(done, Ok(()), "before call {n}");
        assert_eq!(
            (bench.driver.suspensions(&owner()).await.unwrap().len(), beside(&bench.path)),
            (1, 0),
            "before call {n}"
        );
        if calls <= n {
            break;
        }
    }
    assert_eq!(*taken.lock().unwrap(), 1, "it is taken for that until it is locked, and is then written anew");
}

/// Only the `.img` was deleted, by hand.
#[tokio::test]
async fn an_object_without_its_data_file_is_absent_and_back_once_the_file_is() {
    let bench = Bench::new().await;
    let at = |native: &str, action, place| {
        step_on(volume("db"), NativeName::new(native), action, Expect { place, ..Expect::default() })
    };
    for native in [volume("db").native().as_str(), "disk"] {
        let dir = bench.path.join(native);
        let image = dir.join(format!("{native}.img"));
        let live = Some(Place::Live);
        bench.twice(&at(native, create_with(MIB, None, labelled("a")), None)).await;
        let aside = bench._home.path().join("aside");
        fs::rename(&image, &aside).unwrap();
        assert_eq!(bench.objects().await, Vec::new());
        let some = bench.driver.observe(&Scope::Objects(vec![Address::flat(&NativeName::new(native))])).await.unwrap();
        assert_eq!((some.objects, some.gaps), (Vec::new(), Vec::new()));
        bench.refused(&at(native, Action::SetTags { tags: Tags::default() }, live), ErrorKind::Conflict).await;
        fs::rename(&aside, &image).unwrap();
        let seen = bench.only().await;
        assert_eq!((&seen.tags.labels, seen.conflict), (&labelled("a").labels, None));

        // In the trash it counts as absent, and blocks nothing.
        let trash = at(native, Action::Trash { ttl: Seconds(60), with: Vec::new() }, live);
        let undelete = at(native, Action::Undelete { tags: labelled("u"), with: Vec::new() }, Some(Place::Trash));
        let shell = |path: &Path| {
            fs::create_dir(path).unwrap();
            fs::copy(dir.join("tags.json"), path.join("tags.json")).unwrap();
        };
        shell(&bench.trashed(native));
        bench.twice(&trash).await;
        assert_eq!(bench.only().await.place, Place::Trash);
        fs::create_dir(&dir).unwrap();
        fs::copy(bench.trashed(native).join("tags.json"), dir.join("tags.json")).unwrap();
        bench.twice(&undelete).await;
        let seen = bench.only().await;
        assert_eq!((seen.place, &seen.tags.labels), (Place::Live, &labelled("u").labels));

        // Created again, unless there is something that Kiln cannot identify.
        fs::remove_file(&image).unwrap();
        fs::write(dir.join("notes.txt"), b"mine").unwrap();
        bench.refused(&at(native, create(MIB), None), ErrorKind::Conflict).await;
        fs::remove_file(dir.join("notes.txt")).unwrap();
        bench.twice(&at(native, create(2 * MIB), None)).await;
        let seen = bench.only().await;
        assert_eq!((seen.size, &seen.tags.labels), (Size(2 * MIB), &Tags::default().labels));
        bench.twice(&at(native, Action::Destroy, live)).await;
    }
}
