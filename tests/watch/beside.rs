//! Commands beside a daemon, and daemons beside each other: the same answers as without, and never two writers.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::Signal;

use crate::daemon::{Daemon, arrives, live, patient, stack, trash, wait, with_stack};
use crate::sandbox::Sandbox;

/// What is different in two places at two times although it is the same: where they are, times, the mark of the pool, and how full
/// the disk is.
pub(crate) fn without_place_and_time(sandbox: &Sandbox, text: &str) -> String {
    let text = text.replace(sandbox.path("").to_str().unwrap().trim_end_matches('/'), "HERE");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("20") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        // 2026-01-31T12:00:00Z
        let is_time = after.len() >= 20 && after.as_bytes()[10] == b'T' && after.as_bytes()[19] == b'Z';
        out.push_str(if is_time { "TIME" } else { "20" });
        rest = &after[if is_time { 20 } else { 2 }..];
    }
    out.push_str(rest);
    let is_of_the_host = |line: &&str| {
        let key = line.trim_start().trim_start_matches('"');
        ["millis\":", "millis:", "pool\":", "pool:", "pool ", "used\":", "used:", "used ", "inodes "]
            .iter()
            .any(|start| key.starts_with(start))
    };
    let took = |line: &str| match line.rsplit_once(" (") {
        Some((what, took)) if took.ends_with(" ms)") || took.ends_with(" s)") => what.to_owned(),
        _ => line.trim_end().to_owned(),
    };
    out.lines().filter(|line| !is_of_the_host(line)).map(|line| without_age(&took(line)) + "\n").collect()
}

/// A line without ages of less than 100 seconds, such as `2s` and `(12s ago)`. A column of ages is three characters wide.
fn without_age(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for index in (0..words.len()).rev() {
        let age = words[index].trim_start_matches('(').strip_suffix('s').unwrap_or_default();
        if !(1..=2).contains(&age.len()) || !age.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let is_padded = age.len() == 1 && words.get(index + 1).is_some_and(String::is_empty);
        words[index] = "AGE".to_owned();
        if is_padded {
            words.remove(index + 1);
        }
    }
    words.join(" ")
}

/// Two volumes and a snapshot as declared, one volume lost, one in the trash, one that a stranger made, one that is to be made, and a
/// store that knows of it.
fn scene() -> Sandbox {
    let policy = "interval: 1h, trash: {purge: manual}, safety: {maxRemovals: 100, maxRemovedPercent: 100%}";
    let sandbox = Sandbox::new();
    // One after the other, so that what was done was done in one order.
    sandbox.write("specs/stack.yaml", &stack(policy).replace("driver: local,", "driver: local, concurrency: 1,"));
    for name in ["a", "b", "gone", "gone2", "lost"] {
        sandbox.volume(name, "size: 1Mi");
    }
    sandbox.snapshot("snap", "volume: a");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/gone.yaml");
    sandbox.remove("specs/gone2.yaml");
    sandbox.kiln("apply").ends(0);
    let lost = sandbox.object("volume/lost")["status"]["object"].as_str().unwrap().to_owned();
    sandbox.remove(&format!("pool/{lost}"));
    sandbox.write("pool/stranger", "theirs");
    sandbox.kiln("apply").ends(4);
    sandbox
}

#[test]
fn commands_print_the_same_with_and_without_a_daemon() {
    let commands = [
        "get",
        "get -o wide",
        "get -o json",
        "get -o yaml",
        "get -o name",
        "get volume/a -o json",
        "get snapshot",
        "get volume/nothing",
        "describe volume/a",
        "describe volume/lost",
        "describe volume/a -o json",
        "describe backend/fast",
        "plan",
        "plan -o json",
        "plan -o markdown",
        "plan --detailed-exitcode",
        "plan --out saved.plan",
        "check",
        "trash list",
        "trash list -o json",
        "log",
        "log -o json",
        "log -n 3",
        "log volume/a",
        "doctor",
        "adopt fast",
        "adopt fast -o yaml",
        "image export snapshot/snap out.raw --format raw",
        "approve 00000000",
        "suspend volume/a --reason work",
        "get -o json",
        "suspend --reason all",
        "plan",
        "doctor",
        "resume",
        "resume volume/a",
        "resume volume/a",
        "trash restore volume/nothing",
        "trash restore volume/gone",
        "get volume/gone -o json",
        "trash purge",
        "trash purge volume/gone2",
        "trash purge volume/gone2 --yes",
        "trash list",
        "forget volume/a",
        "get -o json",
        "apply saved.plan",
        "apply volume/nothing",
        "apply",
        "apply -o json",
        "forget volume/lost",
    ];
    let (alone, beside) = (scene(), scene());
    let daemon = Daemon::start(&beside);
    daemon.confirmation_read();
    for command in commands {
        let (here, there) = (alone.kiln(command), beside.kiln(command));
        let told = |sandbox: &Sandbox, text: &str| without_place_and_time(sandbox, text);
        for (there, here) in [(&there.out, &here.out), (&there.err, &here.err)] {
            let (there, here) = (told(&beside, there), told(&alone, here));
            let other = there.lines().zip(here.lines()).find(|(there, here)| there != here);
            assert!(there == here, "{command}: {other:?}\n--- beside a daemon\n{there}--- without\n{here}");
        }
        assert_eq!(there.code, here.code, "{command}");
    }
    arrives(&beside, "lost");
    alone.kiln("apply").ends(0);
    assert_eq!((live(&alone), trash(&alone)), (live(&beside), trash(&beside)));
}

#[test]
fn a_second_daemon_on_one_store_names_the_first() {
    let sandbox = patient();
    sandbox.volume("a", "size: 1Mi");
    let first = Daemon::start(&sandbox);
    let pid = first.child.id().to_string();
    let ran = sandbox.kiln("watch").ends(7).warns("hint: ");
    assert!(ran.err.contains(&format!("daemon (process {pid})")), "{}", ran.err);
    fs::create_dir(sandbox.path("other")).unwrap();
    fs::write(sandbox.path("other/stack.yaml"), fs::read(sandbox.path("specs/stack.yaml")).unwrap()).unwrap();
    sandbox.kiln("watch other").ends(7).warns(&pid);
    sandbox.kiln("apply other").ends(7).warns(&pid).warns("specs");
    sandbox.kiln("forget volume/a --specs other").ends(7).warns(&pid);
    sandbox.volume("b", "size: 1Mi");
    arrives(&sandbox, "b");
}

#[test]
fn a_stale_socket_is_ignored() {
    let sandbox = patient();
    sandbox.volume("a", "size: 1Mi");
    let mut first = Daemon::start(&sandbox);
    first.send(Signal::KILL);
    assert_eq!(first.ended(), None);
    assert!(sandbox.has("state/kiln.sock"), "it was left behind");
    sandbox.kiln("get").ends(0);
    sandbox.kiln("status").ends(0).says("No daemon runs");
    sandbox.kiln("apply").ends(0);
    let _second = Daemon::start(&sandbox);
    sandbox.volume("b", "size: 1Mi");
    arrives(&sandbox, "b");
    sandbox.kiln("status").ends(0).says("daemon");
}

#[test]
fn two_daemons_with_their_own_stores_create_nothing_twice_in_one_pool() {
    let sandbox = with_stack("interval: 1s, safety: {maxRemovals: 1000, maxRemovedPercent: 100%}");
    let spawn = |state: &str| Daemon::spawn(&sandbox, state, &["watch"], &[]);
    let (one, two) = (spawn("one"), spawn("two"));
    one.is_up();
    two.is_up();
    for round in 0..4 {
        for n in 0..20 {
            let name = format!("v{n}");
            match (n + round) % 4 {
                0 if round > 0 && sandbox.has(&format!("specs/{name}.yaml")) => {
                    sandbox.remove(&format!("specs/{name}.yaml"))
                }
                _ => sandbox.volume(&name, &format!("size: {}Mi", round + 1)),
            }
        }
        let names = fs::read_dir(sandbox.path("specs"))
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap());
        let declared: BTreeSet<String> = names
            .filter_map(|name| name.strip_suffix(".yaml").filter(|name| *name != "stack").map(str::to_owned))
            .collect();
        wait("what is declared, each once", || live(&sandbox) == declared.iter().cloned().collect::<Vec<_>>());
        let ended = |daemon: &Daemon| daemon.view()["lastPass"]["ending"] == "done";
        wait("both to be content", || ended(&one) && ended(&two));
    }
    let all: Vec<String> = live(&sandbox).into_iter().chain(trash(&sandbox)).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "something was made twice: {all:?}");
    assert_eq!((one.end(), two.end()), (Some(0), Some(0)));
    sandbox.kiln("plan --detailed-exitcode").ends(0);
}
