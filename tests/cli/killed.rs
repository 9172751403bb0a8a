//! SIGKILL of the real binary, on real files and the real store, at moments all over a run: the next run ends where an undisturbed
//! one does, and what clients wrote is still there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;

use crate::sandbox::{STACK, Sandbox};
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
