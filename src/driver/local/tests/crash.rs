//! Every step, cut short before every call that it makes, one after the other; then the same step again.
//!
//! The crash is a panic: it unwinds past the code that tidies up after errors, as a killed process never runs it.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::*;
use crate::model::{ImageFormat, ImageRef};

thread_local! {
    static CALLS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    static MEANWHILE: RefCell<Option<Meanwhile>> = const { RefCell::new(None) };
}

/// What another program does just before each call, which is given by its number.
struct Meanwhile {
    calls: u32,
    act: Box<dyn FnMut(u32)>,
}

struct Crashed;

/// Called before every call.
pub(in crate::driver::local) fn point() {
    if let Some(mut meanwhile) = MEANWHILE.take() {
        (meanwhile.act)(meanwhile.calls);
        MEANWHILE.set(Some(Meanwhile { calls: meanwhile.calls + 1, ..meanwhile }));
    }
    CALLS_LEFT.with(|left| match left.get() {
        Some(0) => {
            left.set(None);
            resume_unwind(Box::new(Crashed));
        }
        Some(n) => left.set(Some(n - 1)),
        None => {}
    });
}

/// Runs until just before the `n`-th call. `None`: crashed.
pub(super) fn until_crash<T>(n: u32, work: impl FnOnce() -> T) -> Option<T> {
    CALLS_LEFT.set(Some(n));
    let result = catch_unwind(AssertUnwindSafe(work));
    CALLS_LEFT.set(None);
    match result {
        Ok(value) => Some(value),
        Err(panic) if panic.is::<Crashed>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

/// Runs something while another program acts just before each call. Returns the number of calls.
pub(super) fn meanwhile<T>(act: impl FnMut(u32) + 'static, work: impl FnOnce() -> T) -> (T, u32) {
    MEANWHILE.set(Some(Meanwhile { calls: 0, act: Box::new(act) }));
    let result = work();
    (result, MEANWHILE.take().map_or(0, |meanwhile| meanwhile.calls))
}

/// Executes a step while another program acts just before each call.
pub(super) fn while_each(
    act: impl FnMut(u32) + 'static,
    bench: &Bench,
    step: &Step,
) -> (Result<Outcome, DriverError>, u32) {
    meanwhile(act, || now(bench, step))
}

/// Executes a step while another program acts just before the `n`-th call. `None`: the step makes fewer calls.
pub(super) fn while_at(
    n: u32,
    act: impl FnOnce() + 'static,
    bench: &Bench,
    step: &Step,
) -> Option<Result<Outcome, DriverError>> {
    let mut act = Some(act);
    let once = move |call| {
        if call == n
            && let Some(act) = act.take()
        {
            act();
        }
    };
    let (result, calls) = while_each(once, bench, step);
    (n < calls).then_some(result)
}

pub(super) fn now(bench: &Bench, step: &Step) -> Result<Outcome, DriverError> {
    let work = content::CopyWork { now: NOW, progress: Arc::new(|_, _| ()), abandoned: Arc::default() };
    bench.driver.0.execute(step, &work)
}

/// The pool as paths below it: what is compared between two of them. The directories that are made when first needed, and stay,
/// do not count.
pub(super) fn shape(bench: &Bench) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let kept = ["", ".kiln-pool/id", ".kiln-pool/adopted", ".trash"];
    let relative = |path: PathBuf| path.strip_prefix(&bench.path).unwrap().to_owned();
    let tree = bench.tree().into_iter().map(|(path, mode, content)| match path.extension() {
        Some(end) if end == "json" && path.starts_with(bench.path.join(".kiln-pool/adopted")) => {
            // Which file it is of differs between two pools.
            let mut mark: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert!(mark.as_object_mut().unwrap().remove("file").is_some(), "{mark}");
            (relative(path), mode, mark.to_string().into_bytes())
        }
        _ => (relative(path), mode, content),
    });
    tree.filter(|(path, ..)| !kept.iter().any(|k| path == Path::new(k))).collect()
}

/// In memory where there is such a directory: there are thousands of fsyncs in here, of which no power cut makes use.
pub(super) fn home() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A directory with the images `disk.raw` and `disk.qcow2`, of 64 KiB each.
fn images() -> &'static Path {
    static IMAGES: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let made = IMAGES.get_or_init(|| {
        let home = tempfile::tempdir().unwrap();
        let [raw, qcow2] = ["raw", "qcow2"].map(|format| home.path().join(format!("disk.{format}")));
        fs::write(&raw, vec![9; 64 * 1024]).unwrap();
        let export = crate::driver::image::Export {
            from: &raw,
            what: "the disk",
            file: &qcow2,
            format: ImageFormat::Qcow2,
            force: false,
            abandoned: Arc::default(),
        };
        crate::driver::image::export(&export, Arc::new(|_, _| ())).unwrap();
        home
    });
    made.path()
}

pub(super) struct Case {
    pub(super) what: &'static str,
    before: Vec<Step>,
    pub(super) step: Step,
}

pub(super) fn cases() -> Vec<Case> {
    let db = volume("db");
    let snap = identity(Kind::Snapshot, "s");
    let renamed = Identity { name: "db2".parse().unwrap(), ..db.clone() };
    let make = || step(db.clone(), create_with(64 * 1024, None, labelled("a")));
    let plain = || step(db.clone(), create(64 * 1024));
    let snapshot = || step(snap.clone(), snapshot_of("db", 64 * 1024));
    let trash = || step(db.clone(), Action::Trash { ttl: Seconds(60), with: Vec::new() });
    let at = |native: &str, action, place| {
        step_on(db.clone(), NativeName::new(native), action, Expect { place, ..Expect::default() })
    };
    let live = Some(Place::Live);
    let adopt = || at("file", Action::Adopt { tags: labelled("a"), n: 0 }, live);
    let restore = || Action::Restore { snapshot: reference(&snap, 64 * 1024), request: "r".into() };
    let of_file = ObjectRef::new(NativeName::new("file"), db.uid, Size(8192));
    let file_snapshot = || {
        step(
            snap.clone(),
            Action::Snapshot { volume: of_file.clone(), tags: Tags { volume: Some(db.uid), ..Tags::default() }, n: 0 },
        )
    };
    let rename = |from: NativeName| Action::Rename { from, tags: labelled("n") };
    let clone = || create_with(128 * 1024, Some(Origin::Volume(reference(&db, 64 * 1024))), labelled("c"));
    let image = |format, size| {
        let path = images().join(format!("disk.{format}"));
        let image = ImageRef { path, format, sha256: None };
        create_with(size, Some(Origin::Image { image, size: Some(Size(64 * 1024)) }), labelled("i"))
    };
    let case = |what, before, step| Case { what, before, step };
    vec![
        case("create", vec![], make()),
        case("create plain", vec![], plain()),
        case("create under a name of its own", vec![], at("disk", create(4096), None)),
        case("clone", vec![plain()], step(volume("copy"), clone())),
        case("from a raw image", vec![], step(volume("disk"), image(ImageFormat::Raw, 64 * 1024))),
        case("from a qcow2 image", vec![], step(volume("disk"), image(ImageFormat::Qcow2, 128 * 1024))),
        case("snapshot", vec![make()], snapshot()),
        case("grow", vec![make()], step(db.clone(), Action::Grow { to: Size(1 << 20) })),
        case("restore", vec![make(), snapshot()], step(db.clone(), restore())),
        case("restore a file", vec![adopt(), file_snapshot()], at("file", restore(), live)),
        case("tags", vec![plain()], step(db.clone(), Action::SetTags { tags: labelled("b") })),
        case("no tags", vec![make()], step(db.clone(), Action::SetTags { tags: Tags::default() })),
        case("tags of a file", vec![adopt()], at("file", Action::SetTags { tags: labelled("b") }, live)),
        case("rename", vec![make()], step(renamed, rename(db.native()))),
        case("rename to a name of its own", vec![make()], at("disk", rename(db.native()), live)),
        case("rename from a name of its own", vec![at("disk", create(4096), None)], {
            step(db.clone(), rename(NativeName::new("disk")))
        }),
        case("adopt", vec![], adopt()),
        case("trash", vec![make()], trash()),
        case("trash a file", vec![adopt()], at("file", Action::Trash { ttl: Seconds(60), with: Vec::new() }, live)),
        case(
            "undelete",
            vec![make(), trash()],
            step(db.clone(), Action::Undelete { tags: labelled("u"), with: Vec::new() }),
        ),
        case(
            "undelete a file",
            vec![adopt(), at("file", Action::Trash { ttl: Seconds(60), with: Vec::new() }, live)],
            at("file", Action::Undelete { tags: labelled("u"), with: Vec::new() }, Some(Place::Trash)),
        ),
        case("destroy", vec![make()], step(db.clone(), Action::Destroy)),
        case("destroy a file", vec![adopt()], at("file", Action::Destroy, live)),
        case("purge", vec![make(), trash()], step(db.clone(), Action::Purge)),
        case(
            "purge a file",
            vec![adopt(), at("file", Action::Trash { ttl: Seconds(60), with: Vec::new() }, live)],
            at("file", Action::Purge, Some(Place::Trash)),
        ),
    ]
}

pub(super) async fn prepared(case: &Case) -> Bench {
    let bench = Bench::at(home()).await;
    fs::write(bench.path.join("file"), vec![3; 8192]).unwrap();
    for step in &case.before {
        assert_eq!(now(&bench, step), Ok(Outcome::Changed), "{}: before", case.what);
    }
    // What is there is changed after the snapshot, so that a restore has something to bring back.
    if let Action::Restore { .. } = case.step.action {
        write_at(&data_of(&bench, &case.step), 0, b"changed");
    }
    bench
}

pub(super) fn data_of(bench: &Bench, step: &Step) -> PathBuf {
    let Access::File(path) = bench.driver.access(&step.address()) else { panic!() };
    path
}

#[tokio::test]
async fn a_step_that_is_cut_short_at_any_call_is_finished_by_doing_it_again() {
    let (mut points, mut seen_half, mut came_back, mut unfinished) = (0, 0, 0, 0);
    for case in cases() {
        let undisturbed = prepared(&case).await;
        let (was, foreign) = (shape(&undisturbed), undisturbed.objects().await.len());
        assert_eq!(now(&undisturbed, &case.step), Ok(Outcome::Changed), "{}", case.what);
        let wanted = shape(&undisturbed);
        for n in 0.. {
            let bench = prepared(&case).await;
            if let Some(outcome) = until_crash(n, || now(&bench, &case.step)) {
                assert_eq!(outcome, Ok(Outcome::Changed));
                assert!(n > 2, "{}: hardly any call was counted", case.what);
                break;
            }
            points += 1;
            let at = format!("{} crashed before call {n}", case.what);
            if ![&was, &wanted].contains(&&shape(&bench)) {
                seen_half += 1;
            }
            // What is seen in between: never two of one identity, never a conflict, never a stranger more.
            let objects = bench.objects().await;
            let whole = |o: &&Object| o.place != Place::Temporary && o.uid() == Some(case.step.identity.uid);
            assert!(objects.iter().filter(whole).count() <= 1, "{at}: {objects:#?}");
            assert!(objects.iter().all(|o| o.conflict.is_none()), "{at}: {objects:#?}");
            assert!(objects.len() <= foreign + 2, "{at}: {objects:#?}");

            // What is reported as complete can be opened where clients look for it.
            for object in objects.iter().filter(|o| o.place == Place::Live && o.identity.is_some()) {
                let file = bench.path.join(object.native.as_str());
                let data = file.join(object::image_name(object.native.as_str()));
                assert_eq!(object.unfinished, !file.is_file() && !data.is_file(), "{at}: {object:#?}");
                unfinished += u32::from(object.unfinished);
            }

            if let Action::Undelete { tags, .. } = &case.step.action
                && let Some(back) = objects.iter().filter(whole).find(|o| o.place == Place::Live)
            {
                assert_eq!(back.tags.labels, tags.labels, "{at}: it is back with the tags that it left with");
                came_back += 1;
            }

            if let Action::Restore { .. } = case.step.action {
                let back = read_at(&data_of(&bench, &case.step), 0, 7) != b"changed";
                let volume = objects.iter().find(|o| whole(o)).unwrap();
                assert_eq!(volume.tags.restored.is_some(), back, "{at}: its mark and its content differ");
            }

            let again = now(&bench, &case.step);
            assert!(again.is_ok(), "{at}: {again:?}");
            assert_eq!(shape(&bench), wanted, "{at}");
            assert_eq!(now(&bench, &case.step), Ok(Outcome::Unchanged), "{at}");
        }
    }
    eprintln!("{points} crash points, {seen_half} of them half-way");
    assert!(points > 300 && seen_half > 100 && came_back > 4, "{points} {seen_half} {came_back}");
    assert!(unfinished > 2, "{unfinished}");
}

/// Another program replaces an adopted file before any call of a step, and the process is killed before any of the next calls.
#[tokio::test]
async fn a_killed_step_leaves_no_file_to_be_destroyed_that_took_the_place_of_an_adopted_one() {
    let steps = ["restore a file", "trash a file", "destroy a file"];
    let (mut points, mut displaced) = (0, 0);
    for case in cases().into_iter().filter(|case| steps.contains(&case.what)) {
        for replaced_at in 0.. {
            let mut done = false;
            for killed_at in replaced_at + 1..=replaced_at + 4 {
                let bench = prepared(&case).await;
                let file = bench.path.join("file");
                let away = bench._home.path().join("away");
                let (from, to) = (file.clone(), away.clone());
                let replace = move |call| {
                    if call == replaced_at && fs::rename(&from, &to).is_ok() {
                        fs::write(&from, b"stranger").unwrap();
                    }
                };
                let (outcome, calls) = meanwhile(replace, || until_crash(killed_at, || now(&bench, &case.step)));
                done = calls <= replaced_at;
                if outcome.is_some() || !away.exists() {
                    break;
                }
                points += 1;
                displaced += u32::from(fs::read(&file).ok().as_deref() != Some(b"stranger"));
                let at = format!("{}: replaced before call {replaced_at}, killed before call {killed_at}", case.what);
                let seen = bench.objects().await;
                let ours = |place| move |o: &&Object| o.place == place && o.uid() == Some(case.step.identity.uid);
                assert!(!seen.iter().any(|o| ours(Place::Trash)(&o)), "{at}: {seen:#?}");
                if case.what != "restore a file" {
                    // The adopted file, once it is put back, is the object again: at once, and when the step has been refused.
                    for is_refused in [false, true] {
                        let aside = bench._home.path().join("aside");
                        let is_given_back = fs::rename(&file, &aside).is_ok();
                        fs::rename(&away, &file).unwrap();
                        let seen = bench.objects().await;
                        assert_eq!(seen.iter().filter(ours(Place::Live)).count(), 1, "{at}, {is_refused}: {seen:#?}");
                        fs::rename(&file, &away).unwrap();
                        if is_given_back {
                            fs::rename(&aside, &file).unwrap();
                        }
                        if !is_refused {
                            now(&bench, &case.step).expect_err(&at);
                        }
                    }
                }
                // Whatever is done next: the same step, a sweep, a purge.
                for _ in 0..2 {
                    let _ = now(&bench, &case.step);
                    for object in bench.objects().await.iter().filter(ours(Place::Temporary)) {
                        let _ = now(
                            &bench,
                            &step_on(volume("db"), object.native.clone(), Action::Sweep, Expect::default()),
                        );
                    }
                    let purge = Expect { place: Some(Place::Trash), ..Expect::default() };
                    let _ = now(&bench, &step_on(volume("db"), NativeName::new("file"), Action::Purge, purge));
                }
                let theirs = blake3::hash(b"stranger");
                let kept = bench.tree().into_iter().filter(|(.., content)| content.starts_with(theirs.as_bytes()));
                let kept: Vec<_> = kept.map(|(path, ..)| path).collect();
                // A restore had put its copy under the name.
                let is_given_back = kept == [file] || case.what == "restore a file" && kept.len() == 1;
                assert!(is_given_back, "{at}: {kept:?}\n{:#?}", bench.tree());
            }
            if done {
                break;
            }
        }
    }
    // Only who is killed right after the rename leaves it to the next.
    assert!(points > 60 && displaced == 3, "{points} {displaced}");
}

/// Another program replaces an object's directory, or puts its data file back, before any call of a step, and the process is killed
/// before any of the next calls.
#[tokio::test]
async fn a_killed_step_leaves_no_directory_to_be_destroyed_that_took_the_place_of_that_of_an_object() {
    let steps = ["destroy", "purge", "restore", "create"];
    let (mut points, mut displaced) = (0, [0; 4]);
    for (index, what) in steps.into_iter().enumerate() {
        let case = || cases().into_iter().find(|case| case.what == what).unwrap();
        let native = case().step.native;
        for acts_at in 0.. {
            let mut done = false;
            for killed_at in acts_at + 1..=acts_at + 4 {
                let mut case = case();
                if what == "create" {
                    case.before = vec![case.step.clone()];
                }
                let bench = prepared(&case).await;
                let dir =
                    if what == "purge" { bench.trashed(native.as_str()) } else { bench.path.join(native.as_str()) };
                let image = dir.join(format!("{native}.img"));
                if what == "create" {
                    fs::remove_file(&image).unwrap();
                }
                let away = bench._home.path().join("away");
                let act = move |call| {
                    if call != acts_at {
                    } else if what == "create" {
                        if let Ok(file) = fs::File::create_new(&image) {
                            file.write_all_at(b"stranger", 0).unwrap();
                        }
                    } else if fs::rename(&dir, &away).is_ok() {
                        fs::create_dir(&dir).unwrap();
                        fs::write(&image, b"stranger").unwrap();
                    }
                };
                let (outcome, calls) = meanwhile(act, || until_crash(killed_at, || now(&bench, &case.step)));
                done = calls <= acts_at;
                let theirs = blake3::hash(b"stranger");
                let kept = || {
                    let tree = bench.tree().into_iter();
                    tree.filter(|(.., content)| content.starts_with(theirs.as_bytes())).map(|(path, ..)| path).next()
                };
                let Some(at_kill) = kept().filter(|_| outcome.is_none()) else { break };
                points += 1;
                if !at_kill.to_str().unwrap().contains("kiln-tmp.") {
                    continue;
                }
                displaced[index] += 1;
                let at = format!("{what}, acts before call {acts_at}, killed before call {killed_at}");
                let seen = bench.objects().await;
                assert!(seen.iter().any(|o| o.place == Place::Temporary && o.conflict.is_some()), "{at}: {seen:#?}");
                // Whatever is done next: the same step, sweeps, another object of that name.
                for _ in 0..2 {
                    for name in bench.temporaries() {
                        let sweep = step_on(volume("db"), name.clone(), Action::Sweep, Expect::default());
                        let error = now(&bench, &sweep).expect_err(&at);
                        let aside = name.as_str().replace("kiln-tmp.", "not-removed.");
                        let fix = format!("; fix: mv {0}/{name} {0}/{aside}", bench.path.display());
                        assert!(error.message.ends_with(&fix) && error.effect == crate::model::Effect::No, "{error}");
                    }
                    let _ = now(&bench, &case.step);
                    let _ = now(&bench, &step(volume("db"), create(64 * 1024)));
                    assert_eq!(kept(), Some(at_kill.clone()), "{at}");
                }
            }
            if done {
                break;
            }
        }
    }
    // A process that is killed right after the rename leaves it to the next.
    assert!(points > 200 && !displaced.contains(&0), "{points} {displaced:?}");
}

#[tokio::test]
async fn a_ledger_being_written_is_the_old_one_or_the_new_one() {
    let mut points = 0;
    for n in 0.. {
        let bench = Bench::at(home()).await;
        let pool = LocalPool::open(&bench.path).ok().unwrap();
        let mut ledger = Ledger::new(bench.look().await.pool.unwrap(), owner(), "stack".to_owned());
        for serial in 1..=2 {
            ledger.serial = serial;
            ledger::write(&pool, &ledger).unwrap();
        }
        let new = Ledger { serial: 3, ..ledger.clone() };
        let done = until_crash(n, || ledger::write(&pool, &new));
        let seen = bench.look().await.ledger;
        let good = |l: &Ledger| Some(LedgerView::Good(Arc::new(l.clone())));
        if done.is_some() {
            assert_eq!(seen, good(&new));
            break;
        }
        points += 1;
        assert!(seen == good(&ledger) || seen == good(&new), "before call {n}: {seen:?}");
        ledger::write(&pool, &new).unwrap();
        assert_eq!(bench.look().await.ledger, good(&new));
    }
    assert!(points > 4, "{points}");
}
