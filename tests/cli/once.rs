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
        // Whether they need a step is not known.
        let names = "\n      volume/web-01, volume/web-02, volume/web-03,";
        sandbox.kiln(command).says(names).says("volume/web-10 and 20 more");
        let listing = if command == "status" { "kiln status -o json" } else { "kiln plan -o json" };
        sandbox.kiln(command).says(&format!("\nNot all names are shown: `{listing}` lists them.\n"));
    }
    let json = sandbox.kiln("plan -o json").json();
    assert_eq!(json["held"].as_array().map(Vec::len), Some(31), "programs get one entry for each object");
}

/// The annotations that a command writes.
fn annotations_of(sandbox: &Sandbox, command: &str) -> Vec<String> {
    let err = sandbox.kiln(&format!("{command} --annotations github")).err;
    err.lines().filter(|line| line.starts_with("::")).map(str::to_owned).collect()
}

#[test]
fn an_annotation_stands_where_the_fix_is_written_in_each_file() {
    let sandbox = with_volumes_that_shrink();
    let shrinks = "4 volumes are held (ShrinkRefused): its size is 2Mi and the document says 1Mi; volumes only grow%0A\
                   fix: write `size: 2Mi`, or create a smaller volume and copy the data";
    let of = |file: &str| {
        let held: String =
            (1..=4).map(|n| format!("%0Aheld: volume/{file}-{n} (specs/{file}.yaml:{}:3)", 7 * n)).collect();
        let others = ["a", "b", "c"].into_iter().filter(|other| *other != file);
        let others = others.flat_map(|other| (1..=4).map(move |n| format!("volume/{other}-{n}")));
        let others = format!("%0Ain other files: {}", others.collect::<Vec<_>>().join(", "));
        let others = if file == "a" { others } else { String::new() };
        format!("::warning file=specs/{file}.yaml,line=7,col=3::{shrinks}{held}{others}")
    };
    assert_eq!(annotations_of(&sandbox, "plan"), [of("a"), of("b"), of("c")]);
    // What is told first of another entry comes before what is told again.
    sandbox.volume("z", "size: 1Mi, source: {snapshot: none}");
    let told = annotations_of(&sandbox, "plan");
    let files: Vec<&str> = told.iter().filter_map(|line| line.split(['=', ',']).nth(1)).collect();
    assert_eq!(files, ["specs/a.yaml", "specs/z.yaml", "specs/b.yaml", "specs/c.yaml"]);
    assert!(told[1].starts_with("::warning file=specs/z.yaml,line=4,col="), "{told:#?}");
    // Warnings, too.
    sandbox.remove("specs/a.yaml");
    sandbox.volume("new-a", "size: 2Mi");
    let told = annotations_of(&sandbox, "plan");
    let warning = told.iter().find(|line| line.contains("::LooksLikeRename: ")).unwrap_or_else(|| panic!("{told:#?}"));
    assert!(warning.starts_with("::warning::") || warning.contains("file=specs/new-a.yaml,line=3,"), "{warning}");
}

#[test]
fn annotations_are_ten_at_most_and_errors_come_first() {
    let sandbox = with_a_pool_away();
    let annotations = |command: &str| annotations_of(&sandbox, command);
    let told = annotations("plan");
    let [away, safe] = told.as_slice() else { panic!("{told:?}") };
    assert!(away.starts_with("::error file=specs/slow.yaml,line=4,col=31::backend/slow was not observed: "), "{away}");
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
        told[9].starts_with("::warning::and 17 more: volume/")
            && told[9].ends_with(" and 7 more%0A`kiln plan -o json` lists all"),
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
    assert!(told.contains("held: volume/web-01, ") && told.contains(" and 20 more: Unobserved: "), "{told}");
    assert!(told.contains("; fix: mount its file system"), "{told}");
}

#[test]
fn a_problem_of_many_documents_is_told_once() {
    let sandbox = Sandbox::with_stack();
    for n in 10..22 {
        sandbox.volume(&format!("v{n}"), "size: 1Mi, colour: red");
    }
    sandbox.volume("w", "size: 1Mi, taste: sweet");
    for command in ["check", "apply"] {
        let told = sandbox.kiln(command).ends(5).err;
        assert_eq!(told.matches("unknown field \"colour\"").count(), 1, "{command}:\n{told}");
        assert!(
            told.contains("specs/v10.yaml:4:") && told.contains("values at ./specs/w.yaml:4:34 (\"taste\")"),
            "{command}:\n{told}"
        );
        let also = told.lines().find(|line| line.starts_with("also at ./specs/v11.yaml:4:")).unwrap_or_default();
        assert!(
            also.contains("specs/v20.yaml:4:") && also.ends_with(" and 1 more (`kiln check -o json` lists all)"),
            "{command}:\n{told}"
        );
        assert!(told.contains("the manifests have 13 problems"), "{command}:\n{told}");
    }
    let json = sandbox.kiln("check -o json").ends(5).json();
    assert_eq!(json["problems"].as_array().map(Vec::len), Some(13), "programs get each problem");
}

/// 12 volumes in 3 files that are declared smaller than they are.
fn with_volumes_that_shrink() -> Sandbox {
    let sandbox = Sandbox::with_stack();
    let write = |size: &str| {
        for file in ["a", "b", "c"] {
            let volume = |n| {
                format!(
                    "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {file}-{n}}}\nspec:\n  backend: fast\n  size: {size}\n"
                )
            };
            sandbox.write(&format!("specs/{file}.yaml"), &(1..=4).map(volume).collect::<String>());
        }
    };
    write("2Mi");
    sandbox.kiln("apply").ends(0);
    write("1Mi");
    sandbox
}

#[test]
fn every_name_of_a_shared_fix_has_the_place_where_the_fix_is_written() {
    let sandbox = with_volumes_that_shrink();
    let hold = "\
  ~ 12 volumes  update   ShrinkRefused: its size is 2Mi and the document says 1Mi; volumes only grow
      fix: write `size: 2Mi`, or create a smaller volume and copy the data
      volume/a-1 (./specs/a.yaml:7:3)
      volume/a-2 (./specs/a.yaml:14:3)
      volume/a-3 (./specs/a.yaml:21:3)
      volume/a-4 (./specs/a.yaml:28:3)
      volume/b-1 (./specs/b.yaml:7:3)
      volume/b-2 (./specs/b.yaml:14:3)
      volume/b-3 (./specs/b.yaml:21:3)
      volume/b-4 (./specs/b.yaml:28:3)
      volume/c-1 (./specs/c.yaml:7:3)
      volume/c-2 (./specs/c.yaml:14:3)
      and 2 more
";
    for command in ["plan", "apply", "status"] {
        sandbox.kiln(command).says(hold);
    }
    let markdown = sandbox.kiln("plan -o markdown").out;
    assert!(markdown.contains("\n  - update volume/b-2 (./specs/b.yaml:14:3)\n"), "{markdown}");
    let [told] = <[String; 1]>::try_from(logged(&sandbox, "ShrinkRefused")).unwrap();
    assert!(told.contains("volume/a-1 (") && told.contains("specs/a.yaml:7:3), volume/a-2 ("), "{told}");
    assert!(told.contains("specs/c.yaml:14:3) and 2 more (update): ShrinkRefused: "), "{told}");
}

/// Runs the daemon for one pass. Returns the lines of its log with a text.
fn logged(sandbox: &Sandbox, text: &str) -> Vec<String> {
    let mut daemon = start(sandbox, &["watch"]);
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines();
    let mut lines: Vec<String> =
        log.by_ref().map(Result::unwrap).find(|line| line.contains(text)).into_iter().collect();
    send(&daemon, Signal::TERM);
    lines.extend(log.map(Result::unwrap).filter(|line| line.contains(text)));
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    lines
}

#[test]
fn holds_whose_texts_differ_by_sizes_are_one_and_each_name_has_its_own() {
    let sandbox = Sandbox::with_stack();
    let write = |size: &dyn Fn(u64) -> u64| {
        let volume = |n| {
            let size = size(n);
            format!(
                "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: v-{n:02}}}\nspec:\n  backend: fast\n  size: {size}Mi\n"
            )
        };
        sandbox.write("specs/v.yaml", &(1..=14).map(volume).collect::<String>());
    };
    write(&|n| 60 + n % 2);
    sandbox.kiln("apply").ends(0);
    write(&|n| n);
    let hold = "\
  ~ 14 volumes  update   ShrinkRefused: its size is <size> and the document says <size2>; volumes only grow
      fix: write `size: <size>`, or create a smaller volume and copy the data
      volume/v-01 (`size: 61Mi` ./specs/v.yaml:7:3, <size2> 1Mi)
      volume/v-02 (`size: 60Mi` ./specs/v.yaml:14:3, <size2> 2Mi)
";
    for command in ["plan", "apply", "status"] {
        sandbox.kiln(command).says(hold).says("\n      and 4 more\n");
    }
    let markdown = sandbox.kiln("plan -o markdown").out;
    assert!(
        markdown.contains("\n  - update volume/v-02 (`size: 60Mi` ./specs/v.yaml:14:3, \\<size2\\> 2Mi)\n"),
        "{markdown}"
    );
    let [told] = <[String; 1]>::try_from(logged(&sandbox, "ShrinkRefused")).unwrap();
    assert!(
        told.contains("held: volume/v-01 (`size: 61Mi` ") && told.contains(", <size2> 10Mi) and 4 more (update): "),
        "{told}"
    );
    let end = "; fix: write `size: <size>`, or create a smaller volume and copy the data; `kiln plan ";
    assert!(told.contains(end) && told.ends_with("` lists all"), "{told}");
}

#[test]
fn the_log_tells_holds_whose_messages_differ_by_numbers_in_one_line() {
    let sandbox = Sandbox::with_stack();
    for (name, length) in [("a", 250), ("b", 249)] {
        sandbox.volume(name, &format!("size: 1Mi, object: {}", "x".repeat(length)));
    }
    let told = logged(&sandbox, "NameTooLong");
    assert_eq!(told.len(), 1, "{told:#?}");
    let rows = ["held: volume/a (<number of bytes> 250 bytes, ", "), volume/b (<number of bytes> 249 bytes, "];
    assert!(rows.iter().all(|row| told[0].contains(row)), "{told:#?}");
    assert!(told[0].contains(" (create): NameTooLong: ") && told[0].contains(" <number of bytes>"), "{told:#?}");
    assert!(told[0].ends_with("; fix: write a shorter `object`"), "{told:#?}");
}

#[test]
fn missing_sources_with_different_names_are_one_entry() {
    let sandbox = Sandbox::with_stack();
    for n in 10..24 {
        sandbox.volume(&format!("c-{n}"), &format!("size: 1Mi, source: {{snapshot: nosuch{n}}}"));
    }
    let hold = "\
  + 14 volumes  create   SourceMissing: its source snapshot <snapshot> is not declared and does not exist
      fix: declare snapshot <snapshot>, or remove `source` to create an empty volume
      volume/c-10 (<snapshot> nosuch10, ./specs/c-10.yaml:4:34)
";
    sandbox.kiln("plan").says(hold).says("\n      and 4 more\n");
    let markdown = sandbox.kiln("plan -o markdown").out;
    assert_eq!(markdown.matches("**SourceMissing**").count(), 1, "{markdown}");
    assert_eq!(logged(&sandbox, "SourceMissing").len(), 1);
}

#[test]
fn likely_renames_are_one_entry() {
    let sandbox = Sandbox::with_stack();
    for n in 1..=2 {
        sandbox.volume(&format!("old-{n}"), &format!("size: {n}Mi, onRemove: Delete"));
    }
    sandbox.volume("stays", "size: 9Mi");
    sandbox.kiln("apply").ends(0);
    for n in 1..=2 {
        sandbox.remove(&format!("specs/old-{n}.yaml"));
        sandbox.volume(&format!("new-{n}"), &format!("size: {n}Mi"));
    }
    let told = sandbox.kiln("plan").ends(4).out;
    assert_eq!(told.matches("LooksLikeRename").count(), 1, "{told}");
    let fix = "\n      fix: if <old> was renamed, write `renamedFrom: <old>` under `metadata` of volume <new>; to destroy <old>, `kiln a";
    assert!(told.contains(fix), "{told}");
    for n in 1..=2 {
        let pair = format!(
            "\n      create volume/new-{n}, destroy volume/old-{n} (`renamedFrom: old-{n}`, ./specs/new-{n}.yaml:3:1)\n"
        );
        assert!(told.contains(&pair), "{told}");
        assert_eq!(told.matches(&format!("volume/old-{n}")).count(), 1, "each pair once: {told}");
    }
}

/// 12 removals above the limit, which one approval covers.
fn with_removals_that_wait() -> (Sandbox, Vec<String>) {
    let sandbox = Sandbox::with_stack();
    let names: Vec<String> = (1..=12).map(|n| format!("old-{n:02}")).collect();
    names.iter().for_each(|name| sandbox.volume(name, "size: 1Mi"));
    for name in ["a", "b"] {
        sandbox.volume(name, "size: 1Mi");
    }
    sandbox.kiln("apply").ends(0);
    names.iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
    (sandbox, names)
}

#[test]
fn status_and_doctor_name_everything_that_the_approval_would_cover() {
    let (sandbox, names) = with_removals_that_wait();
    let shown = sandbox.kiln("status").ends(0).out;
    let (held, waiting) = shown.split_once("Waiting for approval: ").unwrap_or_else(|| panic!("{shown}"));
    assert!(held.contains("RemovalLimit") && !shown.contains("more"), "{shown}");
    let doctor = sandbox.kiln("doctor").out;
    for name in names {
        assert!(held.contains(&format!("volume/{name}")), "{name}: {shown}");
        assert!(doctor.contains(&format!("volume/{name}")), "{name}: {doctor}");
    }
    assert!(waiting.starts_with("12 held steps. `kiln approve ") && !waiting.contains("volume/"), "{shown}");
}

#[test]
fn the_log_names_everything_that_the_approval_would_cover() {
    let (sandbox, names) = with_removals_that_wait();
    let [told] = <[String; 1]>::try_from(logged(&sandbox, "RemovalLimit")).unwrap();
    assert!(told.contains("all 12 steps that wait") && !told.contains(" more"), "{told}");
    for name in names {
        assert!(told.contains(&format!("volume/{name}")), "{name}: {told}");
    }
}

#[test]
fn the_log_says_which_objects_would_be_destroyed_and_which_removed() {
    let (sandbox, _) = with_removals_that_wait();
    sandbox.volume("a", "size: 1Mi, onRemove: Delete");
    sandbox.kiln("apply").ends(4);
    sandbox.remove("specs/a.yaml");
    let [told] = <[String; 1]>::try_from(logged(&sandbox, "RemovalLimit")).unwrap();
    let (objects, _) = told.split_once("held: ").unwrap().1.split_once(": RemovalLimit: ").unwrap();
    let (removed, destroyed) = objects.split_once("; ").unwrap_or_else(|| panic!("{told}"));
    assert!(removed.starts_with("volume/old-01, ") && removed.ends_with("volume/old-12 (remove)"), "{told}");
    assert_eq!(destroyed, "volume/a (destroy)", "{told}");
}

#[test]
fn a_part_of_a_set_is_shown_without_its_digest() {
    let (sandbox, _) = with_removals_that_wait();
    let digest = sandbox.kiln("plan -o json").json()["approval"].as_str().unwrap().to_owned();
    let whole = format!("`kiln approve {digest}` approves exactly these steps");
    for format in ["", " -o markdown"] {
        sandbox.kiln(&format!("plan{format}")).ends(4).says(&whole);
        let part = sandbox.kiln(&format!("plan volume/old-01{format}")).ends(4);
        assert!(part.out.contains("12 steps, of which 1 is shown: `kiln plan` shows all."), "{}", part.out);
        assert!(!part.out.contains("exactly these steps"), "{}", part.out);
    }
    assert_eq!(sandbox.kiln("plan volume/old-01 -o json").json()["approval"], *digest);
}

#[test]
fn a_step_that_is_executed_is_not_said_to_wait() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("gone", "size: 1Mi, onRemove: Delete");
    sandbox.volume("safe", "size: 1Mi, protected: true");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/gone.yaml");
    sandbox.remove("specs/safe.yaml");
    let ran = sandbox.kiln("apply --yes").ends(4).says("Protected").says("destroyed volume/gone");
    assert!(!ran.out.contains("Waiting for approval"), "{}", ran.out);
}

#[test]
fn an_open_circuit_breaker_keeps_the_fix_of_its_cause() {
    let sandbox = with_a_pool_away();
    let mut daemon = start(&sandbox, &["watch"]);
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines();
    let told = log.by_ref().map(Result::unwrap).find(|line| line.contains("Unobserved: ")).expect("it ended");
    for command in ["status", "plan", "doctor"] {
        let shown = sandbox.kiln(command).out;
        assert!(shown.contains("circuit breaker open: "), "{command}:\n{shown}");
        assert!(shown.contains("fix: mount its file system (an empty pool in its place"), "{command}:\n{shown}");
        assert!(!shown.contains("repair the backend"), "{command}:\n{shown}");
    }
    send(&daemon, Signal::TERM);
    log.for_each(drop);
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    assert!(told.contains("; fix: mount its file system (an empty pool in its place would be refused); "), "{told}");
}

#[test]
fn a_pool_that_was_used_is_to_be_mounted_and_not_made_anew() {
    let sandbox = Sandbox::with_stack();
    let backend = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: NAME}\n\
                   spec: {driver: local, local: {path: ../mnt/disk/pool, create: true}, maxFill: 100%}\n---\n\
                   apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db}\nspec: {backend: NAME, size: 1Mi}\n";
    let write = |name: &str| sandbox.write("specs/disk.yaml", &backend.replace("NAME", name));
    write("disk");
    let first = "fix: mount its file system; or, for a new pool, `mkdir -p ";
    sandbox.kiln("plan").ends(6).says(first);
    std::fs::create_dir_all(sandbox.path("mnt/disk")).unwrap();
    sandbox.kiln("apply").ends(0).says("created volume/db");
    std::fs::rename(sandbox.path("mnt"), sandbox.path("away")).unwrap();
    let known = "fix: mount its file system (an empty pool in its place would be refused); then `kiln apply`\n";
    // A renamed Backend has the same pool.
    for (name, command) in [("disk", "plan"), ("disk", "status"), ("disk", "doctor"), ("renamed", "plan")] {
        write(name);
        let shown = sandbox.kiln(command).says(known).out;
        assert!(!shown.contains("mkdir"), "{command}: {shown}");
    }
    // It is true.
    std::fs::create_dir_all(sandbox.path("mnt/disk")).unwrap();
    write("disk");
    sandbox.kiln("apply").ends(6).says("BackendChanged");
    assert!(!sandbox.has("mnt/disk/pool"));
    std::fs::remove_dir_all(sandbox.path("mnt")).unwrap();
    std::fs::rename(sandbox.path("away"), sandbox.path("mnt")).unwrap();
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
    // Without the store nothing tells a new pool from one that is not mounted.
    std::fs::rename(sandbox.path("mnt"), sandbox.path("away")).unwrap();
    sandbox.remove("state");
    sandbox.kiln("plan").ends(6).says(first);
}

#[test]
fn backends_whose_circuit_breakers_are_open_are_one_entry_and_one_line_of_the_log() {
    let sandbox = Sandbox::with_stack();
    for name in ["one", "two", "three"] {
        let spec = format!("{{driver: local, local: {{path: ../pools/{name}}}}}");
        let backend = format!("apiVersion: kiln/v1\nkind: Backend\nmetadata: {{name: {name}}}\nspec: {spec}\n");
        sandbox.write(&format!("specs/{name}.yaml"), &backend);
    }
    let mut daemon = start(&sandbox, &["watch"]);
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines();
    let told = log.by_ref().map(Result::unwrap).find(|line| line.contains("breaker opened: ")).expect("it ended");
    let shown = sandbox.kiln("doctor").out;
    send(&daemon, Signal::TERM);
    let rest: Vec<String> = log.map(Result::unwrap).filter(|line| line.contains("breaker opened: ")).collect();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    assert!(told.contains("breaker opened: backend/one, backend/three, backend/two: ") && rest.is_empty(), "{told}");
    assert!(shown.contains("  3 backends  Unobserved: "), "{shown}");
    assert_eq!(shown.matches("circuit breaker open: failures: ").count(), 1, "{shown}");
}

#[test]
fn suspended_objects_are_one_entry_with_one_command() {
    let sandbox = Sandbox::with_volumes(&["a", "b"]);
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("suspend volume/a volume/b --reason disk").ends(0);
    let entry = "\nSuspended:\n  2 volumes: it is suspended: disk\n      fix: `kiln resume volume/a volume/b`\n      volume/a, volume/b\n";
    sandbox.kiln("status").ends(0).says(entry);
    let json = sandbox.kiln("status -o json").json();
    assert_eq!(json["suspended"][1], "volume/b: it is suspended: disk; fix: `kiln resume volume/b`", "{json}");
    sandbox.kiln("resume volume/a volume/b").ends(0);
}

#[test]
fn a_missing_directory_of_two_pools_is_one_entry_with_one_fix() {
    let sandbox = Sandbox::with_stack();
    for name in ["one", "two"] {
        let backend = format!(
            "apiVersion: kiln/v1\nkind: Backend\nmetadata: {{name: {name}}}\n\
             spec: {{driver: local, local: {{path: ../pools/{name}, create: true}}}}\n---\n\
             apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: on-{name}}}\nspec: {{backend: {name}, size: 1Mi}}\n"
        );
        sandbox.write(&format!("specs/{name}.yaml"), &backend);
    }
    for command in ["plan", "status", "plan -o markdown"] {
        let told = sandbox.kiln(command).ends(6).out;
        assert_eq!(told.matches("`mkdir -p ").count(), 1, "{command}:\n{told}");
        let plain = told.replace('\\', "");
        assert_eq!(plain.matches("/pools/<name> cannot be created because ").count(), 1, "{command}:\n{told}");
        assert!(told.contains("create   volume/on-one, volume/on-two\n") || command.ends_with("markdown"), "{told}");
        assert!(told.contains("backend/one, backend/two\n"), "{command}:\n{told}");
    }
}

#[test]
fn doctor_folds_texts_with_native_names() {
    let sandbox = Sandbox::with_volumes(&["db", "web", "keep"]);
    sandbox.kiln("apply").ends(0);
    for name in ["db", "web"] {
        let file = sandbox.live_file(name);
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
    let told = sandbox.kiln("doctor").out;
    let lost = "  2 volumes  Lost: kiln.prod.<name>.<uid> is missing from backend fast; Kiln does not recreate a lost object as an empty one\n";
    assert!(told.contains(lost), "{told}");
    for name in ["db", "web"] {
        assert!(told.contains(&format!("volume/{name}")), "{told}");
    }
    assert!(told.contains("`kiln forget volume/db volume/web`"), "{told}");
    sandbox
        .kiln("forget volume/db volume/none volume/web")
        .ends(2)
        .says("volume web is forgotten")
        .warns("no volume none is lost");
    sandbox.kiln("apply").ends(0);
}

#[test]
fn one_snapshot_and_several_are_one_hold_and_native_names_are_whole() {
    let sandbox = Sandbox::with_volumes(&["a", "x1", "x2"]);
    for (name, volume) in [("x1-mon", "x1"), ("x2-mon", "x2"), ("x2-tue", "x2")] {
        sandbox.snapshot(name, &format!("volume: {volume}, protected: true"));
    }
    sandbox.kiln("apply").ends(0);
    let natives = ["x1-mon", "x2-mon", "x2-tue"].map(|name| {
        let native = sandbox.object(&format!("snapshot/{name}"))["status"]["object"].as_str().unwrap().to_owned();
        sandbox.remove(&format!("specs/{name}.yaml"));
        native
    });
    sandbox.remove("specs/x1.yaml");
    sandbox.remove("specs/x2.yaml");
    let [one, two, three] = natives;
    let rows = format!("      volume/x1 (<object> {one})\n      volume/x2 (<object> {two}, {three})\n");
    let told = sandbox.kiln("plan").ends(4).says("HasDependents: snapshots of it remain: <object>\n").says(&rows);
    assert!(!told.out.contains("<uid>") && told.out.matches("snapshots of it remain").count() == 1, "{}", told.out);
}

#[test]
fn likely_renames_that_are_warned_of_together_name_their_objects() {
    let sandbox = Sandbox::with_stack();
    for (name, size) in [("keep", 3), ("old-1", 1), ("old-2", 2)] {
        sandbox.volume(name, &format!("size: {size}Mi"));
    }
    sandbox.kiln("apply").ends(0);
    for number in [1, 2] {
        sandbox.remove(&format!("specs/old-{number}.yaml"));
        sandbox.volume(&format!("new-{number}"), &format!("size: {number}Mi"));
    }
    let told = sandbox.kiln("plan").out;
    let rows =
        ["volume/new-1, volume/old-1 (`renamedFrom: old-1`, ", "volume/new-2, volume/old-2 (`renamedFrom: old-2`, "];
    assert!(rows.iter().all(|row| told.contains(row)), "{told}");
    assert_eq!(told.matches("LooksLikeRename").count(), 1, "{told}");
}

#[test]
fn backends_that_were_not_observed_are_all_named_in_annotations_of_several_files() {
    let sandbox = Sandbox::with_volumes(&["a"]);
    for name in ["slow", "tape"] {
        let spec = format!("{{driver: local, local: {{path: ../{name}}}}}");
        sandbox.write(
            &format!("specs/{name}.yaml"),
            &format!("apiVersion: kiln/v1\nkind: Backend\nmetadata: {{name: {name}}}\nspec: {spec}\n"),
        );
    }
    let told = annotations_of(&sandbox, "plan");
    assert_eq!(told.len(), 2, "{told:#?}");
    for (told, file, other) in [(&told[0], "slow", "tape"), (&told[1], "tape", "slow")] {
        assert!(told.starts_with(&format!("::error file=specs/{file}.yaml,")), "{told}");
        // The first names the other.
        assert_eq!(told.ends_with(&format!("%0Ain other files: backend/{other}")), file == "slow", "{told}");
    }
}
