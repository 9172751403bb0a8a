//! One fact once: what holds many objects is told once, with their names below it.

use std::io::{BufRead, BufReader};

use rustix::process::Signal;

use crate::sandbox::{STACK, Sandbox};
use crate::signals::{send, start};

/// 30 volumes on a pool that went away, and one more with another reason.
fn with_a_pool_away() -> Sandbox {
    let sandbox = Sandbox::with_stack();
    let slow = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: slow}\n\
                spec: {driver: local, local: {path: ../slow}, maxFill: 100%}\n";
    sandbox.write("specs/slow.yaml", slow);
    let volume = |n: usize| {
        format!(
            "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: web-{n:02}}}\nspec: {{backend: slow, size: 1Mi}}\n"
        )
    };
    sandbox.write("specs/web.yaml", &(1..=30).map(volume).collect::<String>());
    std::fs::create_dir(sandbox.path("slow")).unwrap();
    sandbox.volume("safe", "size: 1Mi, protected: true");
    sandbox.kiln("apply").ends(0);
    std::fs::rename(sandbox.path("slow"), sandbox.path("away")).unwrap();
    sandbox.remove("specs/safe.yaml");
    sandbox
}

/// What the message of the pool that is away says.
const AWAY: &str = "/slow does not exist";

#[test]
fn a_backend_that_is_away_is_told_once_by_every_command() {
    let sandbox = with_a_pool_away();
    for (command, code) in [("plan", 6), ("apply", 6), ("status", 6), ("doctor", 6), ("plan -o markdown", 6)] {
        let ran = sandbox.kiln(command).ends(code);
        assert_eq!(ran.out.matches(AWAY).count(), 1, "{command}:\n{}", ran.out);
        assert_eq!(ran.out.matches("mount its file system").count(), 1, "{command}:\n{}", ran.out);
        assert!(ran.out.contains("Protected"), "{command}:\n{}", ran.out);
        assert!(ran.out.lines().count() < 40, "{command}:\n{}", ran.out);
    }
    for command in ["plan", "apply", "status"] {
        let names = "~ update   volume/web-01, volume/web-02, volume/web-03,";
        sandbox.kiln(command).says(names).says("volume/web-10 and 20 more");
    }
    let json = sandbox.kiln("plan -o json").json();
    assert_eq!(json["held"].as_array().map(Vec::len), Some(31), "programs get one entry for each object");
}

#[test]
fn annotations_are_ten_at_most_and_errors_come_first() {
    let sandbox = with_a_pool_away();
    let annotations = |command: &str| {
        let err = sandbox.kiln(&format!("{command} --annotations github")).err;
        err.lines().filter(|line| line.starts_with("::")).map(str::to_owned).collect::<Vec<_>>()
    };
    let told = annotations("plan");
    let [away, safe] = told.as_slice() else { panic!("{told:?}") };
    assert!(away.starts_with("::error file=specs/slow.yaml,line=1,col=1::backend/slow was not observed: "), "{away}");
    assert!(away.contains("%0Afix: mount its file system") && away.contains("volume/web-10 and 20 more"), "{away}");
    assert!(safe.starts_with("::warning::volume/safe is held (Protected): "), "{safe}");
    // Each hold has a reason of its own.
    for n in 0..12 {
        sandbox.volume(&format!("copy-{n}"), &format!("size: 1Mi, source: {{volume: missing-{n}}}"));
        sandbox.volume(
            &format!("missing-{n}"),
            &format!("size: 1Mi, source: {{image: {{path: ../no-{n}, format: raw}}}}"),
        );
    }
    let told = annotations("plan");
    assert_eq!(told.len(), 10, "{told:#?}");
    assert!(told[0].starts_with("::error file=specs/slow.yaml"), "{told:#?}");
    assert!(
        told[9].starts_with("::warning::and ") && told[9].ends_with(" more: see the output of this step"),
        "{told:#?}"
    );
    // One problem of many documents.
    for n in 0..12 {
        sandbox.volume(&format!("copy-{n}"), "size: 1Mi, colour: red");
    }
    let told = annotations("check");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("::error file=specs/copy-0.yaml,line=4,") && told[0].contains("also at "), "{told:#?}");
}

#[test]
fn the_log_of_the_daemon_tells_holds_that_begin_together_once() {
    let sandbox = with_a_pool_away();
    sandbox.write("specs/stack.yaml", STACK);
    let mut daemon = start(&sandbox, &["watch"]);
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines();
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.contains("Unobserved")) {
        lines.push(log.next().expect("it ended").unwrap());
    }
    send(&daemon, Signal::TERM);
    lines.extend(log.map(Result::unwrap));
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    let held: Vec<&String> = lines.iter().filter(|line| line.contains("held: ")).collect();
    assert_eq!(held.iter().filter(|line| line.contains("Unobserved")).count(), 1, "{lines:#?}");
    let told = held.iter().find(|line| line.contains("Unobserved")).unwrap();
    assert!(told.contains("held: volume/web-01, ") && told.contains(" and 20 more (update): Unobserved: "), "{told}");
    assert!(told.contains("; fix: mount its file system"), "{told}");
}
