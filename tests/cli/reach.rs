//! What manifests may reach: hostile ones get nowhere, and the administrator's file says what is allowed besides.

use std::os::unix::fs::symlink;

use super::sandbox::Sandbox;

/// `work/specs` in a sandbox, so that there is something outside; the Backend `fast` points to `pool`.
fn world(pool: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    point(&sandbox, pool);
    sandbox.write(
        "work/specs/a.yaml",
        "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: a}\nspec: {backend: fast, size: 1Mi}\n",
    );
    sandbox
}

fn point(sandbox: &Sandbox, pool: &str) {
    sandbox.write(
        "work/specs/stack.yaml",
        &format!(
            "apiVersion: kiln/v1\nkind: Stack\nmetadata: {{name: prod}}\nspec: {{id: 5c1d2e8a90}}\n---\n\
             apiVersion: kiln/v1\nkind: Backend\nmetadata: {{name: fast}}\n\
             spec: {{driver: local, local: {{path: {pool}, create: true}}, maxFill: 100%}}\n"
        ),
    );
}

#[test]
fn disallowed_paths_are_held_and_never_opened() {
    let sandbox = world("../pool");
    let outside = sandbox.path("outside").display().to_string();
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, sandbox.path("work/link")).unwrap();
    symlink(sandbox.path("nowhere"), sandbox.path("work/dangling")).unwrap();
    for pool in [
        "../../outside",
        "..",
        "../..",
        "../link",
        "../link/new",
        "../dangling",
        &outside,
        "/proc/self/cwd/outside",
        "/proc/self/root",
    ] {
        point(&sandbox, pool);
        for command in ["plan", "apply --yes"] {
            let ran = sandbox.kiln(&format!("{command} work/specs")).ends(4);
            assert!(
                ran.out.contains("NotAllowed") && ran.out.contains("kiln.toml") || pool == "../dangling",
                "{pool}: {}",
                ran.out
            );
        }
        let plan = sandbox.kiln("plan work/specs -o json").ends(4).json();
        assert_eq!(plan["steps"].as_array().map(Vec::len), Some(0), "{pool}: {plan}");
        for held in plan["held"].as_array().unwrap() {
            assert_eq!(held["reason"], "NotAllowed", "{pool}: {plan}");
        }
        for command in ["trash list", "get", "get backends"] {
            sandbox.kiln(&format!("{command} --specs work/specs")).ends(0);
        }
        let backend = sandbox.kiln("get backend/fast -o json --specs work/specs").ends(0).json();
        assert_eq!(backend[0]["status"]["condition"], "Held", "{backend}");
        assert_eq!(backend[0]["status"]["reason"], "NotAllowed", "{backend}");
        sandbox.kiln("forget backend/fast --specs work/specs").ends(4).warns("fast");
        assert!(sandbox.tree("outside").is_empty() && !sandbox.has("nowhere"), "{pool}");
    }
    // The last one that is good was not spoilt by those before it.
    point(&sandbox, "../pool");
    sandbox.kiln("apply work/specs").ends(0);
    assert!(sandbox.has("work/pool"));
}

#[test]
fn a_link_that_is_changed_later_is_judged_as_it_then_is() {
    let sandbox = world("../link");
    for dir in ["work/inside", "outside"] {
        std::fs::create_dir_all(sandbox.path(dir)).unwrap();
    }
    let link = sandbox.path("work/link");
    symlink(sandbox.path("work/inside"), &link).unwrap();
    sandbox.kiln("apply work/specs").ends(0);
    assert!(!sandbox.tree("work/inside").is_empty());
    std::fs::remove_file(&link).unwrap();
    symlink(sandbox.path("outside"), &link).unwrap();
    sandbox.remove("work/specs/a.yaml");
    sandbox.kiln("apply work/specs --yes").ends(4).says("NotAllowed");
    assert!(sandbox.tree("outside").is_empty());
}

#[test]
fn the_administrator_allows_more_in_a_file() {
    let sandbox = world("../../outside/pool");
    let outside = sandbox.path("outside").display().to_string();
    sandbox.write("kiln.toml", &format!("[allow]\npaths = [{outside:?}]\n"));
    std::fs::create_dir(&outside).unwrap();
    sandbox.kiln("plan work/specs").ends(4);
    sandbox.kiln("plan work/specs --config kiln.toml").ends(0);
    let mut command = sandbox.command();
    command.args(["apply", "work/specs"]).env("KILN_CONFIG", "kiln.toml");
    command.assert().success();
    assert!(sandbox.has("outside/pool"));
    // What is no longer allowed is no longer touched, whatever is there.
    let before = sandbox.tree("outside");
    sandbox.remove("work/specs/a.yaml");
    sandbox.kiln("apply work/specs --yes").ends(4).says("NotAllowed");
    for command in ["forget volume/a", "forget backend/fast", "adopt fast"] {
        sandbox.kiln(&format!("{command} --specs work/specs")).ends(4).warns("is not below");
    }
    sandbox.kiln("trash purge --yes --specs work/specs").ends(0);
    assert_eq!(sandbox.tree("outside"), before);
}

#[test]
fn what_the_fix_says_to_write_allows_the_path_when_it_is_pasted() {
    for (written, says) in [
        (None, "write `allow.paths = ["),
        (Some("# Only comments.\n"), "write `allow.paths = ["),
        (Some("[allow]\nvia = []\n"), "write `paths = ["),
        (Some("[allow]\npaths = []\n"), "add `\""),
        (Some("[allow]\npaths = [\"/srv\"]\n"), "add `\""),
        (Some("allow.paths = [\"/srv\"]\n"), "add `\""),
    ] {
        let sandbox = world("../../outside/pool");
        std::fs::create_dir(sandbox.path("outside")).unwrap();
        let run = |code| {
            let mut command = sandbox.command();
            command.args(["plan", "work/specs"]).env("KILN_CONFIG", "kiln.toml");
            String::from_utf8(command.assert().code(code).get_output().stdout.clone()).unwrap()
        };
        let said = match written {
            Some(text) => {
                sandbox.write("kiln.toml", text);
                run(4)
            }
            None => sandbox.kiln("plan work/specs").ends(4).out,
        };
        let line = said.split_once(says).unwrap_or_else(|| panic!("no {says:?} in {said}")).1;
        let line = says.split_once('`').unwrap().1.to_owned() + line.split_once('`').unwrap().0;
        let text = written.unwrap_or_default();
        let pasted = match says.starts_with("add") {
            true => text.replace("paths = [", &format!("paths = [{line}, ")),
            false => format!("{text}{line}\n"),
        };
        sandbox.write("kiln.toml", &pasted);
        run(0);
    }
}

/// A plan file is worth no more than a manifest.
#[test]
fn a_saved_plan_is_judged_when_it_is_applied() {
    let sandbox = world("../../outside/pool");
    let outside = sandbox.path("outside").display().to_string();
    sandbox.write("kiln.toml", &format!("[allow]\npaths = [{outside:?}]\n"));
    std::fs::create_dir(&outside).unwrap();
    let run = |arguments: &str, code: i32| {
        let mut command = sandbox.command();
        command.current_dir(sandbox.path("work")).args(arguments.split_whitespace());
        let out = command.assert().code(code).get_output().stdout.clone();
        String::from_utf8(out).unwrap()
    };
    run("plan specs --config ../kiln.toml --out allowed.plan", 0);
    let said = run("apply allowed.plan", 4);
    assert!(!sandbox.has("outside/pool"), "{said}");
    // Forged: of a plan that was allowed, the paths.
    point(&sandbox, "../pool");
    run("plan specs --out good.plan", 0);
    let good = std::fs::read_to_string(sandbox.path("work/good.plan")).unwrap();
    let pool = sandbox.path("work/pool").display().to_string();
    let forged = good.replace(&pool, &format!("{outside}/pool"));
    assert_ne!(forged, good);
    sandbox.write("work/forged.plan", &forged);
    run("apply forged.plan", 4);
    assert!(!sandbox.has("outside/pool"));
    run("apply good.plan", 0);
    assert!(sandbox.has("work/pool"));
    for place in ["work", "outside"] {
        sandbox.write(&format!("{place}/disk.raw"), &"x".repeat(4096));
    }
    let volume = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: copy}\n\
                  spec: {backend: fast, size: 1Mi, source: {image: {path: ../disk.raw, format: raw}}}\n";
    sandbox.write("work/specs/copy.yaml", volume);
    run("plan specs --out image.plan", 0);
    let good = std::fs::read_to_string(sandbox.path("work/image.plan")).unwrap();
    let image = sandbox.path("work/disk.raw").display().to_string();
    let forged = good.replace(&image, &format!("{outside}/disk.raw"));
    assert_ne!(forged, good);
    sandbox.write("work/forged.plan", &forged);
    let said = run("apply forged.plan", 4);
    assert!(said.contains("NotAllowed"), "{said}");
    run("apply image.plan", 0);
}

#[test]
fn a_file_that_cannot_be_understood_allows_nothing() {
    let sandbox = world("../pool");
    sandbox.kiln("plan work/specs --config missing.toml").ends(2).warns("missing.toml").warns("hint:");
    for text in
        ["[alow]\npaths = []\n", "[allow]\npath = []\n", "paths = []\n", "[allow", "[allow]\npaths = [\"pool\"]\n"]
    {
        sandbox.write("kiln.toml", text);
        for command in ["check", "plan", "apply"] {
            sandbox.kiln(&format!("{command} work/specs --config kiln.toml")).ends(2).warns("kiln.toml").warns("hint:");
        }
    }
    assert!(!sandbox.has("work/pool"));
}

#[test]
fn standard_input_counts_as_a_file_in_the_working_directory() {
    let sandbox = world("../pool");
    let text = |pool: &str| {
        format!(
            "apiVersion: kiln/v1\nkind: Backend\nmetadata: {{name: fast}}\n\
             spec: {{driver: local, local: {{path: {pool}, create: true}}, maxFill: 100%}}\n"
        )
    };
    sandbox.run("plan -", &text("pool")).ends(0);
    sandbox.run("plan -", &text("../../pool")).ends(4).says("NotAllowed");
    sandbox.run("plan -", &text("/etc")).ends(4).says("NotAllowed");
    // A file counts as its directory.
    sandbox.kiln("plan work/specs/stack.yaml").ends(0);
    point(&sandbox, "../../pool");
    sandbox.kiln("plan work/specs/stack.yaml").ends(4).says("NotAllowed");
}

#[test]
fn images_and_secrets_are_judged_like_pools() {
    let sandbox = world("../pool");
    sandbox.write(
        "work/specs/more.yaml",
        "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: image}\n\
         spec: {backend: fast, size: 1Mi, source: {image: {path: /etc/shadow, format: raw}}}\n---\n\
         apiVersion: kiln/v1\nkind: Target\nmetadata: {name: san}\n\
         spec: {driver: tgt, tgt: {iqnPrefix: iqn.2026-01.org.example, socket: /run/other}}\n---\n\
         apiVersion: kiln/v1\nkind: Export\nmetadata: {name: a}\n\
         spec: {volume: a, target: san, protocol: iscsi, initiators: [iqn.2026-01.org.example:host1], \
         auth: {chap: {username: u, passwordFrom: {file: /etc/shadow}}}}\n",
    );
    let plan = sandbox.kiln("plan work/specs -o json").ends(4).json();
    let mut held: Vec<(String, String)> = plan["held"]
        .as_array()
        .unwrap()
        .iter()
        .map(|held| {
            (
                format!("{}/{}", held["kind"].as_str().unwrap(), held["name"].as_str().unwrap()),
                held["reason"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    held.sort();
    let want = ["Export/a", "Target/san", "Volume/image"].map(|what| (what.to_owned(), "NotAllowed".to_owned()));
    assert_eq!(held, want, "{plan}");
}
