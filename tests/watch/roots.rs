//! SPECS is not for ever the directory that it was: replaced, removed, swapped, mounted over, checked out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::daemon::{Daemon, all_stay, arrives, document, following, grows, live, patient, stack, trash, wait};
use crate::sandbox::Sandbox;

#[test]
fn the_specs_directory_is_replaced() {
    at_once!(
        replaced_by_another_directory,
        removed_and_made_again,
        a_swapped_symbolic_link,
        mounted_over_and_unmounted,
        checked_out_by_git,
        a_commit_of_what_is_applied_becomes_the_applied_revision,
    );
}

const MIB: u64 = 1 << 20;

/// A directory that declares the canary and more.
fn specs(sandbox: &Sandbox, directory: &str, canary: &str, others: &[&str]) {
    sandbox.write(&format!("{directory}/stack.yaml"), &stack("interval: 1h"));
    sandbox.write(&format!("{directory}/canary.yaml"), &document("canary", canary));
    for other in others {
        sandbox.write(&format!("{directory}/{other}.yaml"), &document(other, "1Mi"));
    }
}

fn replaced_by_another_directory() {
    let (sandbox, daemon) = following();
    specs(&sandbox, "next", "2Mi", &["new"]);
    fs::rename(sandbox.path("specs"), sandbox.path("old")).unwrap();
    fs::rename(sandbox.path("next"), sandbox.path("specs")).unwrap();
    arrives(&sandbox, "new");
    grows(&sandbox, "canary", 2 * MIB);
    // It is followed from now on, and the old one no more.
    sandbox.write("old/stray.yaml", &document("stray", "1Mi"));
    sandbox.write("specs/sub/later.yaml", &document("later", "1Mi"));
    arrives(&sandbox, "later");
    all_stay(&sandbox, &daemon, &["canary", "later", "new"]);
}

fn removed_and_made_again() {
    let (sandbox, daemon) = following();
    for round in [2, 4] {
        sandbox.remove("specs");
        wait("that it is missed", || daemon.view()["problems"].as_array().is_some_and(|all| !all.is_empty()));
        all_stay(&sandbox, &daemon, &["canary"]);
        specs(&sandbox, "specs", &format!("{round}Mi"), &[]);
        grows(&sandbox, "canary", round * MIB);
        // And it does not go deaf by it.
        sandbox.write("specs/sub/note.yaml", "# nothing\n");
        sandbox.write("specs/canary.yaml", &document("canary", &format!("{}Mi", round + 1)));
        grows(&sandbox, "canary", (round + 1) * MIB);
    }
    assert_eq!(trash(&sandbox), Vec::<String>::new());
}

fn a_swapped_symbolic_link() {
    let sandbox = Sandbox::new();
    let pool = sandbox.path("pool");
    let pool = pool.to_str().unwrap();
    sandbox.write("kiln.toml", &format!("[allow]\npaths = [\"{pool}\"]\n"));
    let publish = |n: u64| {
        let directory = format!("checkouts/{n}/specs");
        specs(&sandbox, &directory, &format!("{n}Mi"), &[]);
        sandbox.write(&format!("{directory}/stack.yaml"), &stack("interval: 1h").replace("../pool", pool));
        symlink(&directory, sandbox.path("specs.new")).unwrap();
        fs::rename(sandbox.path("specs.new"), sandbox.path("specs")).unwrap();
    };
    publish(1);
    let daemon = Daemon::spawn(&sandbox, "state", &["--config", "kiln.toml", "watch"], &[]);
    daemon.is_up();
    assert_eq!(live(&sandbox), ["canary"]);
    for n in 2..4_u64 {
        publish(n);
        grows(&sandbox, "canary", n * MIB);
        // What it follows is what a person means by the same name.
        sandbox.kiln("--config kiln.toml apply").ends(0).says("Nothing to do.");
        sandbox.kiln("--config kiln.toml apply checkouts/1/specs").ends(7).warns("/specs and not ");
    }
    sandbox.write("checkouts/3/specs/later.yaml", &document("later", "1Mi"));
    arrives(&sandbox, "later");
    all_stay(&sandbox, &daemon, &["canary", "later"]);
}

/// Runs a program that changes the world around the daemon.
fn run(program: &str, arguments: &[&str], directory: &Path) {
    #[expect(clippy::disallowed_methods, reason = "what people and hosts do beside a daemon")]
    let mut command = std::process::Command::new(program);
    let output = command.args(arguments).current_dir(directory).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said} (mounting takes root)");
}

fn mounted_over_and_unmounted() {
    let (sandbox, daemon) = following();
    let at = sandbox.path("specs");
    let text = at.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "none", text], Path::new("/"));
    wait("that nothing is seen", || daemon.view()["problems"].as_array().is_some_and(|all| !all.is_empty()));
    daemon.confirmation_read();
    let seen = (live(&sandbox), trash(&sandbox));
    // What is mounted is followed, too.
    specs(&sandbox, "specs", "2Mi", &[]);
    grows(&sandbox, "canary", 2 * MIB);
    run("umount", &["--lazy", text], Path::new("/"));
    assert_eq!(seen, (vec!["canary".to_owned()], vec![]));
    wait("what was hidden", || daemon.view()["problems"] == serde_json::json!([]));
    sandbox.write("specs/canary.yaml", &document("canary", "3Mi"));
    grows(&sandbox, "canary", 3 * MIB);
    all_stay(&sandbox, &daemon, &["canary"]);
}

fn checked_out_by_git() {
    const MANY: usize = 1_000;
    let sandbox = patient();
    let git = |arguments: &str| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"];
        let arguments: Vec<&str> = identity.into_iter().chain(arguments.split(' ')).collect();
        run("git", &arguments, &sandbox.path("specs"));
    };
    let write = |half: usize| {
        for n in (0..MANY).filter(|n| n % 2 == half || n % 4 == 0) {
            let text = format!("# {half}\n{}", document(&format!("v{n}"), "4Ki"));
            sandbox.write(&format!("specs/{}/v{n}.yaml", n % 50), &text);
        }
    };
    let declared = |half: usize| (0..MANY).filter(|n| n % 2 == half || n % 4 == 0).count();
    let policy = "interval: 1h, safety: {maxRemovals: 100000, maxRemovedPercent: 100%}";
    sandbox.write("specs/stack.yaml", &stack(policy));
    git("init -q");
    git("add -A");
    git("commit -qm stack");
    git("checkout -qb odd");
    write(1);
    git("add -A");
    git("commit -qm odd");
    git("checkout -q main");
    git("checkout -qb even");
    write(0);
    git("add -A");
    git("commit -qm even");
    let daemon = Daemon::start(&sandbox);
    assert_eq!(live(&sandbox).len(), declared(0));
    git("checkout -q odd");
    // On the way there are as many live ones for an instant: the new ones come before the others leave.
    let missing = declared(0) - (0..MANY).filter(|n| n % 4 == 0).count();
    wait("what the other branch declares", || live(&sandbox).len() == declared(1) && trash(&sandbox).len() == missing);
    assert!(daemon.view()["revisionAttempted"].as_str().is_some_and(|revision| revision.len() == 40));

    // While Git is at work nothing is done, however little changes.
    let lock = sandbox.path("specs/.git/index.lock");
    fs::write(&lock, "").unwrap();
    wait("the end of what runs", || daemon.view()["running"].is_null());
    let before = daemon.passes();
    sandbox.volume("waits", "size: 4Ki");
    daemon.ask("POST /v1/reconcile");
    // The daemon looks at the lock every 200 ms: this is many times.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((live(&sandbox).len(), daemon.passes()), (declared(1), before));
    fs::remove_file(&lock).unwrap();
    arrives(&sandbox, "waits");

    // A lock that a killed `git` left is no obstacle.
    fs::write(&lock, "").unwrap();
    let old = fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    fs::File::options().write(true).open(&lock).unwrap().set_times(old).unwrap();
    sandbox.volume("does-not", "size: 4Ki");
    arrives(&sandbox, "does-not");
}

/// The repository is above SPECS, so that nothing below it changes with a commit.
fn a_commit_of_what_is_applied_becomes_the_applied_revision() {
    let sandbox = patient();
    let git = |arguments: &str| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"];
        let arguments: Vec<&str> = identity.into_iter().chain(arguments.split(' ')).collect();
        run("git", &arguments, &sandbox.path(""));
    };
    let head = || fs::read_to_string(sandbox.path(".git/refs/heads/main")).unwrap().trim().to_owned();
    git("init -q");
    git("add specs");
    git("commit -qm stack");
    let daemon = Daemon::start(&sandbox);
    let applied = || daemon.view()["revisionApplied"].as_str().unwrap_or_default().to_owned();
    assert_eq!(applied(), head());
    sandbox.volume("db", "size: 1Mi");
    arrives(&sandbox, "db");
    let dirty = format!("{}-dirty", head());
    wait("the revision of what is not committed", || applied() == dirty);
    git("add specs");
    git("commit -qm db");
    // The next pass is an hour away.
    wait("the commit", || applied() == head());
    daemon.confirmation_read();
    let passes = daemon.passes();
    git("commit -q --allow-empty -m nothing");
    wait("the next commit", || applied() == head());
    let status = sandbox.kiln("status").ends(0).says(&head());
    assert!(!status.out.contains("attempted"), "{}", status.out);
    assert_eq!(daemon.passes(), passes, "a name alone is no reason for a pass");
}
