//! SIGKILL of the real binary, on real files and the real store, at moments all over a run and in chosen system calls: the next run
//! ends where an undisturbed one does, what clients wrote is still there, and nothing is reported as done that was not done.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::sandbox::{Ran, STACK, Sandbox};
use crate::signals::{send, start};

/// The specs of a step of the story. Every step makes, changes and removes.
fn declare(sandbox: &Sandbox, step: u64) {
    let mut text = String::new();
    for n in 0..40_u64 {
        if (n + step).is_multiple_of(5) {
            continue;
        }
        let size = 1 + step;
        text.push_str(&format!(
            "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: v{n}, labels: {{step: \"{step}\"}}}}\nspec: {{backend: fast, size: {size}Mi}}\n"
        ));
        if n % 4 == 0 {
            text.push_str(&format!(
                "---\napiVersion: kiln/v1\nkind: Snapshot\nmetadata: {{name: s{n}}}\nspec: {{volume: v{n}}}\n\
                 ---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: c{n}}}\nspec: {{backend: fast, size: {size}Mi, source: {{snapshot: s{n}}}}}\n"
            ));
        }
    }
    let stack = STACK.replace("{id:", "{safety: {maxRemovals: 1000, maxRemovedPercent: 100}, id:");
    assert_ne!(stack, STACK);
    sandbox.write("specs/stack.yaml", &stack);
    sandbox.write("specs/many.yaml", &text);
}

/// Data files below the pool, with the first bytes of each.
fn images(pool: &Path) -> BTreeMap<String, (u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for directory in [pool.to_owned(), pool.join(".trash")] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let image = entry.path().join(format!("{name}.img"));
            if let Ok(file) = fs::File::open(&image) {
                let mut first = vec![0; 8];
                file.read_exact_at(&mut first, 0).unwrap();
                found.insert(name, (file.metadata().unwrap().len(), first));
            }
        }
    }
    found
}

#[test]
fn a_run_killed_at_any_moment_is_simply_run_again() {
    let sandbox = Sandbox::with_stack();
    let pool = sandbox.path("pool");
    let mut kills = 0;
    for step in 0..4 {
        declare(&sandbox, step);
        // How long an undisturbed run takes, on a copy: kills are spread over that time.
        let copy = Sandbox::with_stack();
        declare(&copy, step);
        let began = Instant::now();
        assert_eq!(copy.kiln("apply --yes").code, 0);
        let whole = began.elapsed();
        for kill in 0..12_u32 {
            let mut child = start(&sandbox, &["apply", "--yes"]);
            // Not for luck: wherever it hits, the outcome must be the same.
            std::thread::sleep(whole * kill / 12);
            send(&child, Signal::KILL);
            child.wait().unwrap();
            kills += 1;
            if kill % 4 == 3 {
                sandbox.remove("state");
            }
        }
        let ran = sandbox.kiln("apply --yes");
        assert_eq!(ran.code, 0, "step {step}: {}{}", ran.out, ran.err);
        assert_eq!(sandbox.kiln("plan --detailed-exitcode").code, 0, "step {step}");
        let there = images(&pool);
        let temporary: Vec<&String> = there.keys().filter(|name| name.starts_with("kiln-tmp")).collect();
        assert_eq!(temporary, Vec::<&String>::new(), "step {step}");
        // Every volume once: the uid in its name tells incarnations apart.
        let mut names: Vec<&str> = there.keys().map(|name| name.rsplit_once('.').unwrap().0).collect();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "step {step}: something was made twice");
        // Clients write: every volume its own number. What was written before must be there at the end of the next step.
        let marked = |name: &str| name.starts_with("kiln.") && name.split('.').nth(2).unwrap().starts_with('v');
        for (name, (_, first)) in there.iter().filter(|(name, _)| marked(name)) {
            let image = pool.join(name).join(format!("{name}.img"));
            if let Ok(file) = fs::OpenOptions::new().write(true).open(image) {
                let number = name.split('.').nth(2).unwrap().trim_start_matches('v');
                let mark = format!("{number:>8}").into_bytes();
                assert!(*first == [0; 8] || *first == mark, "step {step}: {name} holds {first:?}");
                file.write_all_at(&mark, 0).unwrap();
            }
        }
        if step > 0 {
            let lost: Vec<&String> = there
                .iter()
                .filter(|(name, (_, first))| seen_before(name, step) && *first == [0; 8])
                .map(|(name, _)| name)
                .collect();
            assert_eq!(lost, Vec::<&String>::new(), "step {step}: what clients wrote is gone");
        }
    }
    println!("{kills} kills");
}

/// Whether a volume was declared in the step before, so that clients have written to it.
fn seen_before(name: &str, step: u64) -> bool {
    let object = name.split('.').nth(2).unwrap();
    match object.strip_prefix('v').and_then(|number| number.parse::<u64>().ok()) {
        Some(number) => name.starts_with("kiln.") && !(number + step - 1).is_multiple_of(5),
        None => false,
    }
}

/// How long `strace` delays a call: far longer than this test needs to see it, on a slow machine too.
const DELAY: Duration = Duration::from_secs(5);

/// A run of `kiln` whose calls on one path are delayed.
struct Delayed<'s> {
    sandbox: &'s Sandbox,
    child: Child,
}

impl<'s> Delayed<'s> {
    /// `call`: the system call, and where it waits: `ftruncate:delay_enter`.
    fn start(sandbox: &'s Sandbox, path: &str, call: &str, arguments: &[&str]) -> Self {
        let (name, _) = call.split_once(':').unwrap();
        let inject: Vec<String> = call.split(':').skip(1).map(|at| format!(":{at}={}", DELAY.as_micros())).collect();
        #[expect(clippy::disallowed_methods, reason = "the tool that delays system calls; the package is strace")]
        let mut command = Command::new("strace");
        // -D: the child is the program itself, and can be killed.
        command.args(["-D", "-f", "-o"]).arg(sandbox.path("trace"));
        command.arg("-P").arg(fs::canonicalize(sandbox.path(path)).unwrap());
        command.args(["-e", &format!("trace={name}"), "-e", &format!("inject={name}{}", inject.concat())]);
        command.arg(env!("CARGO_BIN_EXE_kiln")).args(arguments).current_dir(sandbox.path("")).env_remove("KILN_STATE");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { sandbox, child: command.spawn().unwrap() }
    }

    /// Waits until something is so.
    #[track_caller]
    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + 10 * DELAY;
        while !is_so() {
            assert!(Instant::now() < end, "never: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a call with this text has begun that many times.
    #[track_caller]
    fn wait_for_call(&self, text: &str, times: usize) {
        let trace = || fs::read_to_string(self.sandbox.path("trace")).unwrap_or_default();
        self.wait_until(text, || trace().matches(text).count() == times);
    }

    fn kill(mut self) {
        send(&self.child, Signal::KILL);
        assert_eq!(self.child.wait().unwrap().code(), None, "it ended before it was killed");
    }
}

#[test]
fn a_detach_killed_in_its_call_is_reported_as_done_only_if_it_happened() {
    // The second write to the pool; the first is that of the ledger.
    for (call, text, is_done) in
        [("ftruncate:delay_enter", "ftruncate(", false), ("fdatasync:delay_enter", "fdatasync(", true)]
    {
        let sandbox = Sandbox::new();
        let backend = "spec: {driver: sim, sim: {path: ../sim.pool}}\n";
        sandbox.write("specs/stack.yaml", &format!("{}{backend}", STACK.split_once("spec: {driver").unwrap().0));
        sandbox.volume("db", "size: 1Mi");
        sandbox.snapshot("s", "volume: db, onRemove: Detach");
        sandbox.volume("clone", "size: 1Mi, source: {snapshot: s}");
        sandbox.kiln("apply").ends(0);
        sandbox.remove("specs/s.yaml");
        sandbox.volume("clone", "size: 1Mi");
        let run = Delayed::start(&sandbox, "sim.pool", call, &["apply", "--yes"]);
        run.wait_for_call(text, 2);
        run.kill();
        let plan = sandbox.kiln("plan").out;
        assert_eq!(plan.contains("make its clones on fast independent"), !is_done, "{call}: {plan}");
        let what = if is_done { "was done" } else { "was not done" };
        let note = format!("(make its clones independent): the backend shows that it {what}");
        sandbox.kiln("apply --yes").ends(0).warns(&note);
        let log = sandbox.kiln("log snapshot/s").ends(0).out;
        let told: Vec<&str> = log.lines().filter(|line| line.contains("make its clones independent")).collect();
        match is_done {
            true => assert!(told.len() == 1 && told[0].contains("changed"), "{log}"),
            false => assert!(told.len() == 2 && told[0].contains("failed") && told[1].contains("changed"), "{log}"),
        }
        sandbox.kiln("plan --detailed-exitcode").ends(0);
    }
}

#[test]
fn a_directory_that_took_an_objects_place_outlives_a_removal_that_is_killed() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("db", "size: 1Mi, onRemove: Delete");
    sandbox.volume("other", "size: 2Mi");
    sandbox.kiln("apply").ends(0);
    let image = sandbox.data_file("volume/db");
    let directory = image.parent().unwrap();
    sandbox.remove("specs/db.yaml");
    let run = Delayed::start(&sandbox, "pool", "renameat2:delay_enter:delay_exit", &["apply", "--yes"]);
    run.wait_for_call("\"kiln-tmp.prod.db.", 1);
    fs::rename(directory, sandbox.path("aside")).unwrap();
    fs::create_dir(directory).unwrap();
    fs::write(&image, b"a stranger's").unwrap();
    run.wait_until("the directory is moved", || !directory.exists());
    run.kill();
    // Whatever is run next, and if a volume of that name is created again.
    let kept = || -> Vec<_> {
        let files = sandbox.tree("pool").into_iter().filter(|(_, content)| content == b"a stranger's");
        files.map(|(path, _)| path).collect()
    };
    let left = kept();
    assert!(left.len() == 1 && left[0].to_str().unwrap().contains("kiln-tmp.prod.db."), "{left:?}");
    let say = |ran: Ran| ran.ends(1).warns("it is not the directory that Kiln left here").warns("; fix: mv ");
    say(sandbox.kiln("apply"));
    say(sandbox.kiln("apply --yes"));
    sandbox.volume("db", "size: 1Mi");
    say(sandbox.kiln("apply")).says("created volume/db");
    assert_eq!(kept(), left);
    assert!(sandbox.has("aside"));
}
