//! `kiln apply KIND/NAME …`: only these objects, and what they need.

use crate::sandbox::Sandbox;

/// Three volumes of which one is copied from a snapshot of another.
fn with_a_chain() -> Sandbox {
    let sandbox = Sandbox::with_volumes(&["db", "web"]);
    sandbox.snapshot("monday", "volume: db");
    sandbox.volume("copy", "size: 1Mi, source: {snapshot: monday}");
    sandbox
}

#[test]
fn apply_of_named_objects_executes_only_them_and_their_dependencies() {
    let sandbox = with_a_chain();
    let ran = sandbox.kiln("apply volume/copy").ends(0).says("created volume/copy").says("created snapshot/monday");
    assert!(ran.out.contains("created volume/db") && !ran.out.contains("volume/web"), "{}", ran.out);
    assert!(ran.err.contains("1 other step was not selected"), "{}", ran.err);
    let ran = sandbox.kiln("apply specs volume/copy").ends(0).says("Nothing to do.");
    assert_eq!(ran.err, "note: 1 other step was not selected: `kiln plan` shows all\n");
    let ran = sandbox.kiln("apply volumes/web").ends(0).says("created volume/web");
    assert_eq!(ran.err, "");
    sandbox.kiln("apply").ends(0).says("Nothing to do.");
}

#[test]
fn plan_of_named_objects_shows_what_apply_of_them_executes() {
    let sandbox = with_a_chain();
    let ran =
        sandbox.kiln("plan volume/copy").ends(0).says("Plan: 3 to create.").warns("1 other step was not selected");
    assert!(ran.out.contains("volume/db") && !ran.out.contains("volume/web"), "{}", ran.out);
    let json = sandbox.kiln("plan specs volumes/web -o json").ends(0).json();
    assert_eq!((&json["summary"]["create"], &json["steps"][0]["name"]), (&1.into(), &"web".into()), "{json}");
    sandbox.kiln("plan volume/bd").ends(2).warns("there is no volume/bd; did you mean volume/db?").warns("hint: ");
    sandbox.kiln("plan specs db").ends(2).warns("write `kiln plan volume/db`");
    sandbox.kiln("plan specs nothing").ends(2).warns("write `kiln plan [SPECS|PLAN-FILE] [KIND/NAME …]`");
    sandbox.kiln("plan volume/web --out p").ends(2).warns("`kiln apply FILE KIND/NAME`");
    assert!(!sandbox.has("p"));
    sandbox.kiln("plan --out p").ends(0);
    sandbox.kiln("plan p volume/web").ends(0).says("Plan: 1 to create.").warns("3 other steps were not selected");
    sandbox.kiln("apply").ends(0);
    sandbox.volume("safe", "size: 1Mi, protected: true");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/safe.yaml");
    sandbox.kiln("plan").ends(4);
    sandbox.kiln("plan volume/web").ends(0).says("Nothing to do.").warns("1 other object is held");
    sandbox.kiln("plan volume/safe").ends(4).says("Protected");
}

#[test]
fn every_command_that_reads_manifests_takes_specs_as_an_option() {
    let sandbox = with_a_chain();
    std::fs::rename(sandbox.path("specs"), sandbox.path("own")).unwrap();
    sandbox.kiln("check --specs own").ends(0);
    sandbox.kiln("plan --specs own volume/web").ends(0).says("Plan: 1 to create.");
    sandbox.kiln("apply --specs own").ends(0);
    for command in ["get", "status", "describe volume/db", "doctor", "trash list", "adopt fast"] {
        sandbox.kiln(&format!("{command} --specs own")).ends(0);
    }
    sandbox.kiln("watch --specs -").ends(2).warns("stdin cannot be watched");
    for command in ["check", "plan", "apply", "watch"] {
        let ran = sandbox.kiln(&format!("{command} own --specs other")).ends(2);
        ran.warns("SPECS is given twice: `own` and `--specs other`");
    }
    // Twice the same, and a default from the environment, contradict nothing.
    sandbox.kiln("plan own --specs ./own").ends(0);
    sandbox.command().env("KILN_SPECS", "other").args(["plan", "own"]).assert().success();
    sandbox.command().env("KILN_SPECS", "other").args(["plan", "--specs", "own"]).assert().success();
}

#[test]
fn holds_of_other_objects_do_not_matter() {
    let sandbox = with_a_chain();
    sandbox.volume("safe", "size: 1Mi, protected: true");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/safe.yaml");
    sandbox.volume("web", "size: 2Mi");
    sandbox.kiln("plan").ends(4);
    let ran = sandbox.kiln("apply volume/web").ends(0).says("grew volume/web").warns("held");
    assert!(!ran.out.contains("Protected"), "{}", ran.out);
    sandbox.kiln("apply volume/safe").ends(4).says("Protected");
}

#[test]
fn an_unknown_name_is_a_usage_error_and_changes_nothing() {
    let sandbox = with_a_chain();
    sandbox
        .kiln("apply volume/db volume/bd")
        .ends(2)
        .warns("there is no volume/bd; did you mean volume/db?")
        .warns("hint: ");
    for arguments in ["apply specs db", "apply specs backend/fast", "apply backend/fast", "apply volume/db specs"] {
        sandbox.kiln(arguments).ends(2).warns("hint: ");
    }
    assert!(!sandbox.has("pool"));
}

#[test]
fn a_removal_is_asked_for_by_the_name_it_had_and_limits_hold_for_the_whole() {
    let sandbox = Sandbox::with_volumes(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/a.yaml");
    sandbox.kiln("apply volume/a").ends(0).says("removed volume/a");
    for name in ["b", "c", "d", "e", "f", "g"] {
        sandbox.remove(&format!("specs/{name}.yaml"));
    }
    // One by one each would be within the limits; together they are not, and together they are what is wanted.
    sandbox.kiln("apply volume/b").ends(4).says("RemovalLimit").says("--approve");
    let approval = sandbox.kiln("plan -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    let ran = sandbox.kiln(&format!("apply volume/b --approve {approval}")).ends(0).says("removed volume/b");
    assert!(!ran.out.contains("volume/c"), "{}", ran.out);
    // What was approved and not asked for still waits for its own word.
    sandbox.kiln("apply volume/c").ends(4).says("RemovalLimit");
}

/// What takes the place of something needs that gone; that this goes must be asked for too.
#[test]
fn nothing_goes_that_was_not_asked_for() {
    let sandbox = with_a_chain();
    sandbox.volume("old", "size: 1Mi, object: x.img, onRemove: Delete");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/old.yaml");
    sandbox.volume("new", "size: 2Mi, object: x.img");
    sandbox
        .kiln("apply --yes volume/new")
        .ends(4)
        .says("volume/old must be removed first")
        .says("`kiln apply volume/new volume/old`");
    assert_eq!(sandbox.object("volume/old")["status"]["object"], "x.img");
    let both = sandbox.kiln("apply --yes volume/new volume/old").ends(0);
    both.says("destroyed volume/old").says("created volume/new");
}

#[test]
fn objects_go_with_saved_plans_and_with_specs_from_the_environment_too() {
    let sandbox = with_a_chain();
    sandbox.kiln("plan --out p").ends(0);
    sandbox.kiln("apply p volume/web").ends(0).says("created volume/web").warns("3 other steps");
    sandbox.kiln("apply p").ends(0).says("created volume/copy");
    std::fs::rename(sandbox.path("specs"), sandbox.path("elsewhere")).unwrap();
    sandbox.kiln("apply volume/web").ends(5);
    sandbox.command().env("KILN_SPECS", "elsewhere").args(["apply", "volume/web"]).assert().success();
    // A path of the form of an object is a path.
    std::fs::create_dir_all(sandbox.path("volume/web")).unwrap();
    sandbox.kiln("apply volume/web volume/db").ends(5).warns("volume/web");
}

/// What is shown of one object names no command that approves others.
#[test]
fn the_fix_that_is_shown_of_one_object_approves_only_this_object() {
    for show in ["plan volume/db", "apply volume/db", "describe volume/db"] {
        let sandbox = Sandbox::with_stack();
        for name in ["db", "web", "other"] {
            sandbox.volume(name, "size: 1Mi");
        }
        sandbox.kiln("apply").ends(0);
        // Emptied files: the removals are in doubt, and one digest approves both.
        sandbox.write("specs/db.yaml", "\n");
        sandbox.write("specs/web.yaml", "\n");
        let shown = sandbox.kiln(show).says("approves only these objects").out;
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        let commands: Vec<&str> = shown.split('`').filter_map(|part| part.strip_prefix("kiln ")).collect();
        let approve: Vec<&&str> = commands.iter().filter(|command| command.contains("approve")).collect();
        let [approve] = approve[..] else { panic!("{show}: {commands:?}") };
        let ran = sandbox.kiln(approve).ends(0).says("removed volume/db");
        assert!(!ran.out.contains("removed volume/web"), "{show}: {}", ran.out);
        sandbox.live_file("web");
        sandbox.kiln("plan").ends(4).says("volume/web");
    }
}

#[test]
fn the_fix_of_a_volume_says_that_its_snapshots_go_before_it() {
    let sandbox = with_a_chain();
    let stack = crate::sandbox::STACK.replace("90}", "90, safety: {maxRemovals: 1}}");
    sandbox.write("specs/stack.yaml", &stack);
    sandbox.remove("specs/copy.yaml");
    sandbox.kiln("apply").ends(0);
    for name in ["db", "monday", "web"] {
        sandbox.remove(&format!("specs/{name}.yaml"));
    }
    let shown = sandbox.kiln("plan volume/db").ends(4).says("and what must go before them").out;
    let fix = shown.split('`').find_map(|part| part.strip_prefix("kiln apply volume/db --approve ")).expect(&shown);
    let ran = sandbox.kiln(&format!("apply volume/db --approve {fix}")).ends(0).says("removed volume/db");
    assert!(ran.out.contains("removed snapshot/monday") && !ran.out.contains("removed volume/web"), "{}", ran.out);
    sandbox.live_file("web");
}

/// A part of a set that is removed lets the rest fit the limit, and approves nothing of it.
#[test]
fn what_an_approval_of_some_objects_leaves_waits_on() {
    for (on_remove, verb) in [("Trash", "removed"), ("Delete", "destroyed")] {
        let sandbox = Sandbox::with_stack();
        let stack = crate::sandbox::STACK.replace("90}", "90, safety: {maxRemovals: 3, maxRemovedPercent: 100%}}");
        sandbox.write("specs/stack.yaml", &stack);
        let names = ["a", "b", "c", "d"];
        names.iter().for_each(|name| sandbox.volume(name, &format!("size: 1Mi, onRemove: {on_remove}")));
        sandbox.volume("stays", "size: 1Mi");
        sandbox.kiln("apply").ends(0);
        names.iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
        let shown = sandbox.kiln("plan volume/a").ends(4).says("4 objects would be removed; maxRemovals is 3").out;
        let fix = shown.split('`').find_map(|part| part.strip_prefix("kiln apply volume/a --approve ")).expect(&shown);
        sandbox.kiln(&format!("apply volume/a --approve {fix}")).ends(0).says(&format!("{verb} volume/a"));
        for command in ["plan", "apply", "apply --yes"] {
            let rest = sandbox.kiln(command).ends(4).says("has not been approved since").out;
            assert!(!rest.contains(fix), "a new digest: {rest}");
        }
        let others =
            ["b", "c", "d", "stays"].map(|name| sandbox.object(&format!("volume/{name}"))["status"]["place"] == "live");
        assert_eq!(others, [true; 4]);
    }
}

#[test]
fn a_run_limited_to_a_new_volume_does_not_warn_that_another_is_destroyed() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("old", "size: 1Mi, onRemove: Delete");
    sandbox.volume("other", "size: 9Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/old.yaml");
    ["new-1", "new-2"].into_iter().for_each(|name| sandbox.volume(name, "size: 1Mi"));
    for command in ["plan volume/new-1", "apply volume/new-1 --yes"] {
        let told = sandbox.kiln(command).ends(0).out;
        assert!(told.contains("LooksLikeRename: volume old is no longer declared, and the new volumes "), "{told}");
        assert!(!told.contains("destroy"), "{told}");
    }
    assert!(sandbox.object("volume/old")["status"]["place"] == "live");
}
