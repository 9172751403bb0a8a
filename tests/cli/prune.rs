//! Which readings of the manifests remove what they do not name: whole and partial ones, `--prune`, directories that are not there, and
//! the edits that go on removing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::sandbox::{Ran, STACK, Sandbox};

fn document(name: &str) -> String {
    format!("---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{backend: fast, size: 64Ki}}\n")
}

/// A Stack with the volume `anchor` in `specs/stack.yaml`: the last volume of a backend is never removed unasked.
fn anchored() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("specs/stack.yaml", &format!("{STACK}{}", document("anchor")));
    sandbox
}

/// Likewise, with the volume `db` in `specs/db.yaml`; both exist.
fn with_db() -> Sandbox {
    let sandbox = anchored();
    sandbox.write("specs/db.yaml", &document("db"));
    sandbox.kiln("apply").ends(0);
    sandbox
}

#[track_caller]
fn volumes(sandbox: &Sandbox) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(sandbox.path("pool"))
        .unwrap()
        .filter_map(|entry| {
            let native = entry.unwrap().file_name().into_string().unwrap();
            Some(native.strip_prefix("kiln.prod.")?.split_once('.').unwrap().0.to_owned())
        })
        .collect();
    found.sort();
    found
}

fn run(program: &str, arguments: &str, directory: &Path) {
    #[expect(clippy::disallowed_methods, reason = "what people do beside Kiln")]
    let mut command = std::process::Command::new(program);
    let output = command
        .args(arguments.split(' '))
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments}: {said} (mounting takes root)");
}

fn git(sandbox: &Sandbox, arguments: &str) {
    let identity =
        "-c user.name=a -c user.email=a@example.org -c init.defaultBranch=main -c protocol.file.allow=always";
    run("git", &format!("{identity} {arguments}"), &sandbox.path(""));
}

fn commit(sandbox: &Sandbox) {
    git(sandbox, "add -A specs");
    git(sandbox, "commit -qm x");
}

#[test]
fn a_file_or_a_pipe_leaves_what_it_does_not_name() {
    let sandbox = with_db();
    let told = "1 object of prod is not declared in specs/stack.yaml and is left as it is";
    sandbox.kiln("plan specs/stack.yaml --detailed-exitcode").ends(0).says(told);
    sandbox.kiln("apply specs/stack.yaml").ends(0).says(told);
    // The generator was killed after its first document.
    // Paths on standard input are relative to the working directory.
    let stack = STACK.replace("../pool", "pool");
    sandbox.run("apply -", &stack).ends(0).says("2 objects of prod are not declared in standard input");
    assert_eq!(volumes(&sandbox), ["anchor", "db"]);
    // What it names is brought to its spec.
    let grown = format!("{stack}{}", document("anchor").replace("64Ki", "128Ki"));
    sandbox.run("apply -", &grown).ends(0).says("grew volume/anchor");
    let doctor = sandbox.kiln("doctor --specs specs/stack.yaml");
    assert!(!doctor.out.contains("volume/db"), "{}", doctor.out);
}

#[test]
fn a_lost_object_that_a_file_does_not_name_stays_lost() {
    let sandbox = with_db();
    let native = sandbox.object("volume/db")["status"]["object"].as_str().unwrap().to_owned();
    sandbox.remove(&format!("pool/{native}"));
    sandbox.kiln("apply specs/stack.yaml").ends(0);
    sandbox.kiln("apply").ends(4).says("Lost");
}

#[test]
fn an_approval_survives_a_part_of_the_manifests() {
    let sandbox = with_db();
    sandbox.write("specs/db.yaml", "");
    let digest = sandbox.kiln("plan -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    sandbox.kiln(&format!("approve {digest}")).ends(0);
    sandbox.kiln("apply specs/stack.yaml").ends(0);
    sandbox.kiln("apply").ends(0).says("removed volume/db");
    assert_eq!(volumes(&sandbox), ["anchor"]);
}

#[test]
fn prune_makes_a_file_all_of_the_manifests_and_lifts_no_other_guard() {
    let sandbox = anchored();
    sandbox.write("specs/db.yaml", &document("db"));
    sandbox.write("specs/kept.yaml", &document("kept").replace("size:", "protected: true, size:"));
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("plan specs/stack.yaml --prune").ends(4).says("- volume/db").says("Protected");
    sandbox.kiln("apply specs/stack.yaml --prune").ends(4).says("removed volume/db");
    assert_eq!(volumes(&sandbox), ["anchor", "kept"]);
    // A whole directory is as it was.
    sandbox.kiln("apply --prune").ends(0);
    assert_eq!(volumes(&sandbox), ["anchor", "db", "kept"]);
}

#[test]
fn pruned_standard_input_waits_for_a_yes() {
    let sandbox = with_db();
    let text = fs::read_to_string(sandbox.path("specs/stack.yaml")).unwrap().replace("../pool", "pool");
    let ran = sandbox.run("apply - --prune", &text).ends(4).says("NeedsConfirmation");
    assert!(ran.out.contains("stdin may have been cut short"), "{}", ran.out);
    assert_eq!(volumes(&sandbox), ["anchor", "db"]);
    let digest = sandbox.run("plan - --prune -o json", &text).ends(0).json()["approval"].as_str().unwrap().to_owned();
    sandbox.run(&format!("apply - --prune --approve {digest}"), &text).ends(0).says("removed volume/db");
    sandbox.kiln("apply").ends(0).says("volume/db");
    sandbox.run("apply - --prune --yes", &text).ends(0).says("removed volume/db");
}

#[test]
fn a_saved_plan_keeps_whether_it_prunes() {
    let sandbox = with_db();
    sandbox.kiln("plan specs/stack.yaml --out part").ends(0);
    sandbox.kiln("plan specs/stack.yaml --prune --out whole").ends(0).says("- volume/db");
    sandbox.kiln("apply part").ends(0).says("left as it is");
    sandbox.kiln("apply whole --prune").ends(2).warns("saved plan");
    assert_eq!(volumes(&sandbox), ["anchor", "db"]);
    sandbox.kiln("apply whole").ends(0).says("removed volume/db");
}

#[test]
fn another_directory_with_the_same_stack_removes_nothing_unless_it_is_approved() {
    let sandbox = with_db();
    fs::create_dir(sandbox.path("other")).unwrap();
    fs::copy(sandbox.path("specs/stack.yaml"), sandbox.path("other/stack.yaml")).unwrap();
    sandbox.write("other/cache.yaml", &document("cache"));
    for _ in 0..2 {
        sandbox.kiln("apply other").ends(4).says("SourceChanged");
    }
    assert_eq!(volumes(&sandbox), ["anchor", "cache", "db"]);
    let digest = sandbox.kiln("plan other -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    sandbox.kiln(&format!("approve {digest} --specs other")).ends(0);
    sandbox.kiln("apply other").ends(0).says("removed volume/db");
    // From now on it is the directory of this Stack.
    sandbox.kiln("apply other").ends(0).says("Nothing to do.");
    sandbox.remove("other/cache.yaml");
    sandbox.kiln("apply other").ends(0).says("removed volume/cache");
}

#[test]
fn a_directory_that_the_commit_holds_is_missed_until_its_removal_is_committed() {
    let sandbox = anchored();
    sandbox.write("specs/team/db.yaml", &document("db"));
    sandbox.write("specs/gone.yaml", &document("gone"));
    git(&sandbox, "init -q");
    commit(&sandbox);
    sandbox.kiln("apply").ends(0);
    fs::rename(sandbox.path("specs/team"), sandbox.path("away")).unwrap();
    sandbox.remove("specs/gone.yaml");
    // Losing the store loses no protection.
    sandbox.remove("state");
    let ran = sandbox.kiln("apply").ends(4).says("SourceBroken").says("removed volume/gone");
    let why = "specs/team declared it and has manifests in the checked-out commit";
    assert!(ran.out.contains(&format!("SourceBroken: ./{why}")), "{}", ran.out);
    // The commands are pasted from where the person stands; a reviewer stands at the root of the repository.
    fs::create_dir_all(sandbox.path("else/where")).unwrap();
    let mut command = sandbox.command();
    command.current_dir(sandbox.path("else/where")).args("plan ../../specs --annotations github".split(' '));
    let ran = Ran::of(command.output().unwrap());
    let [checkout, submodule, removal] = ["checkout HEAD -- team", "submodule update --init team", "rm -r team"]
        .map(|command| format!("git -C ../../specs {command}"));
    let fix =
        format!("check it out again: `{checkout}` (a submodule: `{submodule}`); or remove it from Git (`{removal}`)");
    assert!(ran.out.contains(&format!("../../{why}")) && ran.out.contains(&fix), "{}", ran.out);
    assert!(ran.err.contains(&format!(" held (SourceBroken): {why}")), "{}", ran.err);
    assert!(ran.err.contains(&fix.replace("../../specs", "specs")), "{}", ran.err);
    let pasted = |command: &str| run("git", command.strip_prefix("git ").unwrap(), &sandbox.path("else/where"));
    pasted(&checkout);
    assert!(sandbox.has("specs/team/db.yaml"));
    pasted(&removal);
    assert!(!sandbox.has("specs/team/db.yaml"));
    git(&sandbox, "reset -q");
    fs::create_dir(sandbox.path("specs/team")).unwrap();
    sandbox.kiln("apply").ends(4).says("SourceBroken");
    fs::remove_dir(sandbox.path("specs/team")).unwrap();
    fs::rename(sandbox.path("away"), sandbox.path("specs/team")).unwrap();
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
    git(&sandbox, "rm -qr specs/team");
    sandbox.kiln("apply").ends(4).says("SourceBroken");
    commit(&sandbox);
    sandbox.kiln("apply").ends(0).says("removed volume/db");
}

#[test]
fn in_git_a_directory_that_the_commit_never_held_is_missed_like_outside_of_git() {
    let sandbox = anchored();
    git(&sandbox, "init -q");
    commit(&sandbox);
    sandbox.write("specs/team/db.yaml", &document("db"));
    sandbox.kiln("apply").ends(0);
    let away = sandbox.path("db.yaml.away");
    fs::rename(sandbox.path("specs/team/db.yaml"), &away).unwrap();
    sandbox.remove("state");
    sandbox.kiln("apply").ends(4).says("SourceBroken");
    sandbox.kiln("apply").ends(4).says("SourceBroken");
    assert_eq!(volumes(&sandbox), ["anchor", "db"]);
    fs::rename(&away, sandbox.path("specs/team/db.yaml")).unwrap();
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
}

#[test]
fn another_directory_of_the_work_tree_is_another_source_though_no_commit_holds_it() {
    let sandbox = anchored();
    sandbox.write("specs/db.yaml", &document("db"));
    git(&sandbox, "init -q");
    commit(&sandbox);
    sandbox.kiln("apply").ends(0);
    run("cp", "-r specs copy", &sandbox.path("."));
    sandbox.remove("copy/db.yaml");
    sandbox.kiln("apply copy").ends(4).says("SourceChanged");
    assert_eq!(volumes(&sandbox), ["anchor", "db"]);
}

#[test]
fn a_submodule_that_is_not_checked_out_removes_nothing() {
    let sandbox = anchored();
    sandbox.write("sub/db.yaml", &document("db"));
    run("git", "init -q", &sandbox.path("sub"));
    run("git", "add -A", &sandbox.path("sub"));
    run("git", "-c user.name=a -c user.email=a@example.org commit -qm x", &sandbox.path("sub"));
    git(&sandbox, "init -q");
    git(&sandbox, "submodule --quiet add ./sub specs/team");
    commit(&sandbox);
    sandbox.kiln("apply").ends(0);
    assert_eq!(volumes(&sandbox), ["anchor", "db"]);
    git(&sandbox, "submodule --quiet deinit --force specs/team");
    sandbox.kiln("apply").ends(4).says("SourceBroken");
    assert_eq!(volumes(&sandbox), ["anchor", "db"]);
    git(&sandbox, "submodule --quiet update --init specs/team");
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
}

#[test]
fn a_mount_that_went_away_removes_nothing_even_without_its_directory() {
    let sandbox = anchored();
    fs::create_dir(sandbox.path("specs/mounted")).unwrap();
    let at = sandbox.path("specs/mounted");
    run("mount", &format!("-t tmpfs none {}", at.display()), Path::new("/"));
    sandbox.write("specs/mounted/db.yaml", &document("db"));
    let first = sandbox.kiln("apply");
    run("umount", &at.display().to_string(), Path::new("/"));
    first.ends(0);
    sandbox.kiln("apply").ends(4).says("SourceBroken").says("another file system");
    sandbox.remove("state");
    fs::remove_dir(&at).unwrap();
    for _ in 0..2 {
        sandbox.kiln("apply").ends(4).says("SourceBroken").says("mount ./specs/mounted again");
    }
    assert_eq!(volumes(&sandbox), ["anchor", "db"]);
}

#[test]
fn an_emptied_file_removes_nothing_until_it_is_removed() {
    let sandbox = anchored();
    sandbox.write("specs/db.yaml", &document("db").replace("size:", "onRemove: Delete, size:"));
    sandbox.write("specs/gone.yaml", &document("gone"));
    sandbox.kiln("apply").ends(0);
    sandbox.write("specs/db.yaml", " \n");
    sandbox.remove("specs/gone.yaml");
    sandbox.kiln("apply --yes").ends(4).says("SourceBroken").says("removed volume/gone");
    assert_eq!(volumes(&sandbox), ["anchor", "db"]);
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply --yes").ends(0).says("destroyed volume/db");
}

#[test]
fn in_git_a_file_that_is_committed_empty_is_an_edit() {
    let sandbox = anchored();
    sandbox.write("specs/db.yaml", &document("db"));
    git(&sandbox, "init -q");
    commit(&sandbox);
    sandbox.kiln("apply").ends(0);
    sandbox.write("specs/db.yaml", "");
    sandbox.kiln("apply").ends(4).says("SourceBroken");
    commit(&sandbox);
    sandbox.kiln("apply").ends(0).says("removed volume/db");
}

#[test]
fn edits_that_take_documents_away_remove() {
    let sandbox = anchored();
    let names = ["a", "b", "c", "d"];
    let all: String = names.map(document).concat();
    sandbox.write("specs/many.yaml", &format!("# volumes\n{all}"));
    sandbox.write("specs/one.yaml", &document("one"));
    sandbox.kiln("apply").ends(0);
    // Documents that move between files stay.
    sandbox.write("specs/many.yaml", &format!("# volumes\n{}", ["a", "b", "c"].map(document).concat()));
    sandbox.write("specs/sub/other.yaml", &document("d"));
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
    sandbox.remove("specs/one.yaml");
    sandbox.kiln("apply").ends(0).says("removed volume/one");
    sandbox.write("specs/many.yaml", "# volumes\n");
    sandbox.kiln("plan").says("- 3 volumes  remove ").says("volume/a, volume/b, volume/c");
    sandbox.remove("specs/sub");
    sandbox.kiln("plan").says("volume/c, volume/d");
}

#[test]
fn yes_alone_does_not_destroy_what_a_vanished_directory_declared() {
    let sandbox = anchored();
    let destroyed = |name: &str| document(name).replace("size:", "onRemove: Delete, size:");
    sandbox.write("specs/team/db.yaml", &format!("{}{}", destroyed("db"), document("kept")));
    sandbox.write("specs/other.yaml", &destroyed("other"));
    sandbox.kiln("apply").ends(0);
    let before = volumes(&sandbox);
    fs::rename(sandbox.path("specs/team"), sandbox.path("team.away")).unwrap();
    sandbox.remove("specs/other.yaml");
    // What can be taken back goes, and so does what a single file declared.
    for done in ["removed volume/kept", "SourceBroken"] {
        sandbox
            .kiln("apply --yes")
            .ends(4)
            .says(done)
            .says("the directory ./specs/team, which declared it, is missing");
    }
    assert_eq!(
        (before, volumes(&sandbox)),
        (["anchor", "db", "kept", "other"].map(String::from).into(), ["anchor", "db"].map(String::from).into())
    );
    let plan: serde_json::Value = serde_json::from_str(&sandbox.kiln("plan -o json").ends(4).out).unwrap();
    let digest = plan["approval"].as_str().unwrap();
    sandbox.kiln(&format!("apply --approve {digest}")).ends(0).says("destroyed volume/db");
}

#[test]
fn a_release_that_is_swapped_and_a_config_map_that_is_updated_remove() {
    let sandbox = Sandbox::new();
    let stack = format!("{STACK}{}", document("anchor")).replace("../pool", sandbox.path("pool").to_str().unwrap());
    sandbox.write("kiln.toml", &format!("[allow]\npaths = [\"{}\"]\n", sandbox.path("pool").display()));
    for (release, names) in [("1", vec!["x", "y"]), ("2", vec!["x"])] {
        sandbox.write(&format!("releases/{release}/specs/stack.yaml"), &stack);
        for name in names {
            sandbox.write(&format!("releases/{release}/specs/{name}.yaml"), &document(name));
        }
    }
    symlink("releases/1", sandbox.path("current")).unwrap();
    sandbox.kiln("--config kiln.toml apply current/specs").ends(0);
    fs::remove_file(sandbox.path("current")).unwrap();
    symlink("releases/2", sandbox.path("current")).unwrap();
    sandbox.kiln("--config kiln.toml apply current/specs").ends(0).says("removed volume/y");
    // As the kubelet lays it out: files are links through `..data`.
    for (data, names) in [("..one", vec!["stack", "x", "z"]), ("..two", vec!["stack", "x"])] {
        for name in names {
            let text = if name == "stack" { stack.clone() } else { document(name) };
            sandbox.write(&format!("map/{data}/{name}.yaml"), &text);
        }
    }
    let point = |data: &str| {
        symlink(data, sandbox.path("map/..new")).unwrap();
        fs::rename(sandbox.path("map/..new"), sandbox.path("map/..data")).unwrap();
    };
    point("..one");
    for name in ["stack", "x", "z"] {
        symlink(format!("..data/{name}.yaml"), sandbox.path(&format!("map/{name}.yaml"))).unwrap();
    }
    sandbox.kiln("--config kiln.toml apply map").ends(0).says("created volume/z");
    point("..two");
    fs::remove_file(sandbox.path("map/z.yaml")).unwrap();
    sandbox.kiln("--config kiln.toml apply map").ends(0).says("removed volume/z");
}

#[test]
fn a_clone_of_the_repository_elsewhere_is_the_same_and_another_directory_of_it_is_not() {
    let sandbox = anchored();
    let pool = sandbox.path("pool");
    sandbox.write("kiln.toml", &format!("[allow]\npaths = [\"{}\"]\n", pool.display()));
    let stack = fs::read_to_string(sandbox.path("specs/stack.yaml")).unwrap();
    sandbox.write("specs/stack.yaml", &stack.replace("../pool", pool.to_str().unwrap()));
    for name in ["db", "web"] {
        sandbox.write(&format!("specs/{name}.yaml"), &document(name));
    }
    git(&sandbox, "init -q");
    commit(&sandbox);
    sandbox.kiln("--config kiln.toml apply").ends(0);
    git(&sandbox, "clone -q . elsewhere/clone");
    sandbox.remove("elsewhere/clone/specs/web.yaml");
    sandbox.kiln("--config kiln.toml apply elsewhere/clone/specs").ends(0).says("removed volume/web");
    fs::rename(sandbox.path("elsewhere/clone/specs"), sandbox.path("elsewhere/clone/staging")).unwrap();
    sandbox.remove("elsewhere/clone/staging/db.yaml");
    run("git", "add -A", &sandbox.path("elsewhere/clone"));
    run("git", "-c user.name=a -c user.email=a@example.org commit -qm x", &sandbox.path("elsewhere/clone"));
    sandbox.kiln("--config kiln.toml apply elsewhere/clone/staging").ends(4).says("SourceChanged");
    assert_eq!(volumes(&sandbox), ["anchor", "db"]);
}

#[test]
fn a_part_of_the_manifests_purges_nothing_that_it_does_not_name() {
    let sandbox = anchored();
    let stack = fs::read_to_string(sandbox.path("specs/stack.yaml")).unwrap();
    sandbox.write("specs/stack.yaml", &stack.replace("{id: 5c1d2e8a90}", "{id: 5c1d2e8a90, trash: {ttl: 1s}}"));
    sandbox.write("specs/db.yaml", &document("db"));
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply").ends(0).says("removed volume/db");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    sandbox.kiln("trash purge --yes --specs specs/stack.yaml").ends(0);
    sandbox.kiln("trash list").says("db");
    sandbox.kiln("trash purge --yes").ends(0).says("purged volume db");
}

#[test]
fn another_directory_lifts_no_protection_however_often_it_is_applied() {
    let sandbox = anchored();
    let with = |protected: &str| document("db").replace("size: 64Ki", &format!("size: 64Ki, protected: {protected}"));
    sandbox.write("specs/db.yaml", &with("true"));
    sandbox.kiln("apply").ends(0);
    fs::create_dir(sandbox.path("other")).unwrap();
    fs::copy(sandbox.path("specs/stack.yaml"), sandbox.path("other/stack.yaml")).unwrap();
    sandbox.write("other/volumes.yaml", &with("false"));
    for _ in 0..2 {
        sandbox.kiln("apply other").ends(4).says("SourceChanged");
    }
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
}

#[test]
fn an_approved_directory_is_that_of_the_stack_from_then_on() {
    let sandbox = with_db();
    fs::create_dir(sandbox.path("other")).unwrap();
    fs::copy(sandbox.path("specs/stack.yaml"), sandbox.path("other/stack.yaml")).unwrap();
    sandbox.write("other/cache.yaml", &document("cache"));
    sandbox.write("other/more.yaml", &document("more"));
    sandbox.kiln("apply other").ends(4).says("SourceChanged");
    let digest = sandbox.kiln("plan other -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    sandbox.kiln(&format!("apply other --approve {digest}")).ends(0).says("removed volume/db");
    sandbox.remove("other/cache.yaml");
    sandbox.kiln("apply other").ends(0).says("removed volume/cache");
}
