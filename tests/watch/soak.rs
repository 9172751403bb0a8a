//! A daemon that runs for long, while somebody edits the manifests, and strangers the pool, at random. `KILN_SOAK_SECONDS` says for how
//! long: a minute, unless told.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::clients::holds;
use crate::daemon::{Daemon, live, until, wait, with_stack};
use crate::editor::{Editor, Random, is_as_declared};
use crate::sandbox::Sandbox;

/// What must not grow.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    /// Bytes in memory.
    rss: usize,
    descriptors: usize,
    threads: usize,
    /// Bytes of the store.
    store: u64,
}

fn weight(sandbox: &Sandbox, daemon: &Daemon) -> Weight {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB");
    let (descriptors, threads) = holds(daemon);
    Weight {
        rss: rss.parse::<usize>().unwrap() << 10,
        descriptors,
        threads,
        store: bytes_below(&sandbox.path("state")),
    }
}

fn bytes_below(directory: &Path) -> u64 {
    // Files of the store come and go meanwhile.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(
            |entry| {
                if entry.path().is_dir() { bytes_below(&entry.path()) } else { entry.metadata().map_or(0, |m| m.len()) }
            },
        )
        .sum()
}

/// The largest of each.
fn most(all: &[Weight]) -> Weight {
    all.iter().fold(Weight::default(), |a, b| Weight {
        rss: a.rss.max(b.rss),
        descriptors: a.descriptors.max(b.descriptors),
        threads: a.threads.max(b.threads),
        store: a.store.max(b.store),
    })
}

/// Gives up what was lost, as a person who was told of it.
fn forget_what_is_lost(sandbox: &Sandbox) {
    let all = sandbox.kiln("get volume -o json").json();
    for lost in all.as_array().unwrap().iter().filter(|object| object["status"]["reason"] == "Lost") {
        let name = lost["metadata"]["name"].as_str().unwrap();
        // Somebody may have withdrawn its document in the meantime.
        let ran = sandbox.kiln(&format!("forget volume/{name}"));
        assert!([0, 2, 4, 5].contains(&ran.code), "{name}: {}", ran.err);
    }
}

#[test]
fn memory_stays_bounded_and_the_stack_settles() {
    #[expect(clippy::disallowed_methods, reason = "how long a run by hand takes")]
    let seconds = std::env::var("KILN_SOAK_SECONDS").map_or(60, |seconds| seconds.parse().unwrap());
    let policy = "interval: 1s, trash: {ttl: 4s}, safety: {maxRemovals: 1000000, maxRemovedPercent: 100%}";
    let sandbox = with_stack(policy);
    sandbox.volume("anchor", "size: 1Mi");
    let mut editor = Editor::new(Random::new("soak"));
    let daemon = Daemon::start(&sandbox);
    let (mut edits, mut lost) = (0_u64, 0);
    let mut weights = Vec::new();
    let (began, whole) = (Instant::now(), Duration::from_secs(seconds));
    while began.elapsed() < whole {
        editor.edit(&sandbox, true);
        edits += 1;
        match editor.random.below(40) {
            0 => {
                // Somebody deletes an object by hand.
                let name = format!("kiln.prod.{}.", editor.name());
                let entries = fs::read_dir(sandbox.path("pool")).unwrap().flatten();
                for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&name)) {
                    // It may just be on its way into the trash.
                    lost += usize::from(fs::remove_dir_all(entry.path()).is_ok());
                }
            }
            1 => forget_what_is_lost(&sandbox),
            2 => sandbox.write(&format!("pool/stranger{}/data", editor.random.below(5)), "theirs"),
            3 => drop(sandbox.kiln("status")),
            4 => drop(sandbox.kiln("get -o json")),
            5 => drop(daemon.metric("kiln_steps_total")),
            _ => {}
        }
        if edits % 10 == 0 {
            weights.push(weight(&sandbox, &daemon));
        }
        std::thread::sleep(Duration::from_millis(editor.random.below(300)));
    }
    let (early, late) = (most(&weights[..weights.len() / 2]), most(&weights[weights.len() / 2..]));
    println!(
        "{edits} edits, {lost} deleted by hand, {} passes; at most {early:?} in the first half, {late:?} in the second",
        daemon.passes()
    );
    assert!(late.rss <= early.rss + early.rss / 4 + (8 << 20), "{early:?} {late:?}");
    assert!(late.descriptors <= early.descriptors + 8 && late.threads <= early.threads + 8, "{early:?} {late:?}");
    assert!(late.store <= early.store * 2 + (8 << 20), "{early:?} {late:?}");

    editor.mend(&sandbox);
    let mut declared = editor.declared();
    declared.insert(0, "anchor".to_owned());
    daemon.confirmation_read();
    until("what is declared", || {
        forget_what_is_lost(&sandbox);
        (live(&sandbox) == declared).then_some(())
    });
    wait("the trash to be emptied", || {
        fs::read_dir(sandbox.path("pool/.trash")).is_ok_and(|mut all| all.next().is_none())
    });
    wait("everything to be done", || {
        daemon.view()["lastPass"]["held"] == 0 && sandbox.kiln("plan --detailed-exitcode").code == 0
    });
    is_as_declared(&sandbox, &declared);
    let steps = daemon.metric("kiln_steps_total");
    (0..3).for_each(|_| daemon.pass());
    assert_eq!(daemon.metric("kiln_steps_total"), steps, "three more passes have no effect");
    for n in 0..5 {
        let theirs = sandbox.path(&format!("pool/stranger{n}/data"));
        assert!(!theirs.exists() || fs::read_to_string(theirs).unwrap() == "theirs");
    }
    assert_eq!(daemon.end(), Some(0));
}
