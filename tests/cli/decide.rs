//! What only a person decides about steps to come: suspend, resume, approve.

use super::sandbox::{Ran, STACK, Sandbox};

/// Two pools, so that a set can be spread over them.
fn two_pools(stack: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let slow = "---\napiVersion: kiln/v1\nkind: Backend\nmetadata: {name: slow}\n\
                spec: {driver: local, local: {path: ../other, create: true}, maxFill: 100%}\n";
    let stack = STACK.replace("{id: 5c1d2e8a90}", &format!("{{id: 5c1d2e8a90, {stack}}}"));
    sandbox.write("specs/stack.yaml", &format!("{stack}{slow}"));
    sandbox
}

/// Runs `kiln` as a person of this name does with `sudo`.
pub(super) fn kiln_by(sandbox: &Sandbox, person: &str, arguments: &str) -> Ran {
    let mut command = sandbox.command();
    command.env("SUDO_USER", person).args(arguments.split_whitespace());
    Ran::of(command.output().unwrap())
}

fn volume_on(sandbox: &Sandbox, backend: &str, name: &str) {
    let head = "apiVersion: kiln/v1\nkind: Volume\nmetadata:";
    let text = format!("{head} {{name: {name}}}\nspec: {{backend: {backend}, size: 1Mi}}\n");
    sandbox.write(&format!("specs/{name}.yaml"), &text);
}

#[test]
fn a_suspended_object_does_not_change_until_it_is_resumed() {
    let sandbox = Sandbox::with_volumes(&["a", "b"]);
    sandbox.kiln("apply").ends(0);
    sandbox.volume("a", "size: 2Mi");
    sandbox.volume("b", "size: 2Mi");
    sandbox.kiln("suspend volume/a --reason fsck --for 2h").ends(0).says("volume/a is suspended until ").says(": fsck");
    sandbox.kiln("plan").ends(4).says("Suspended").says("kiln resume volume/a");
    let status = sandbox.kiln("status").ends(0).says("\n      ~ update   volume/a\n").out.clone();
    assert_eq!((status.matches(": fsck").count(), status.matches("kiln resume").count()), (1, 1), "{status}");
    sandbox.kiln("apply").ends(4);
    assert_eq!(sandbox.data_file("volume/a").metadata().unwrap().len(), 1 << 20);
    assert_eq!(sandbox.data_file("volume/b").metadata().unwrap().len(), 2 << 20, "the rest is done");
    let status = sandbox.object("volume/a")["status"].clone();
    assert_eq!((&status["condition"], &status["reason"]), (&"Held".into(), &"Suspended".into()), "{status}");
    sandbox.kiln("doctor").ends(4).says("volume/a  Suspended: ");
    // Again: another reason takes the place of the first.
    sandbox.kiln("suspend volume/a --reason backup").ends(0).says("volume/a is suspended: backup");
    sandbox.kiln("describe volume/a").ends(0).says("backup");
    sandbox.kiln("resume").ends(2).warns("volume/a: it is suspended: backup");
    sandbox.kiln("resume volume/a").ends(0).says("volume/a is resumed");
    sandbox.kiln("apply").ends(0);
    assert_eq!(sandbox.data_file("volume/a").metadata().unwrap().len(), 2 << 20);
    sandbox.kiln("resume volume/a").ends(2).warns("volume/a is not suspended");
    // One that needs nothing is as declared, and says so all the same.
    sandbox.kiln("suspend volume/a --reason backup").ends(0);
    sandbox.kiln("plan").ends(0);
    let status = sandbox.object("volume/a")["status"].clone();
    assert_eq!((&status["condition"], &status["reason"]), (&"Settled".into(), &"Suspended".into()), "{status}");
    // It is on the pool: who loses the store, or has another, finds it there.
    sandbox.volume("a", "size: 3Mi");
    sandbox.kiln("apply").ends(4);
    sandbox.remove("state");
    sandbox.kiln("apply").ends(4).says("Suspended");
    sandbox.kiln("apply --state elsewhere").ends(4).says("Suspended");
    sandbox.kiln("resume volume/a --state another").ends(0).says("recorded on fast");
    sandbox.kiln("apply").ends(0);
    assert_eq!(sandbox.data_file("volume/a").metadata().unwrap().len(), 3 << 20);
}

#[test]
fn a_suspension_needs_no_store_that_can_be_written() {
    let sandbox = Sandbox::with_volumes(&["a"]);
    sandbox.kiln("apply").ends(0);
    sandbox.volume("a", "size: 2Mi");
    sandbox.write("no-directory", "");
    sandbox
        .kiln("suspend volume/a --reason fsck --state no-directory")
        .ends(0)
        .says("recorded on fast")
        .warns("only the pools record it");
    sandbox.kiln("apply").ends(4).says("Suspended");
    std::fs::rename(sandbox.path("pool"), sandbox.path("away")).unwrap();
    sandbox.kiln("suspend --reason all --state no-directory").ends(1).warns("recorded nowhere");
}

#[test]
fn a_suspension_that_cannot_be_read_holds_everything_on_its_pool() {
    let sandbox = two_pools("safety: {maxRemovals: 100}");
    volume_on(&sandbox, "fast", "a");
    volume_on(&sandbox, "slow", "b");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("suspend volume/a --reason fsck").ends(0).says("recorded on fast, slow");
    let records = std::fs::read_dir(sandbox.path("pool/.kiln-pool/suspended")).unwrap();
    let record = records.flatten().next().unwrap().path();
    std::fs::write(&record, "kiln-suspension 1 0\n{}").unwrap();
    volume_on(&sandbox, "fast", "c");
    volume_on(&sandbox, "slow", "d");
    let ran = sandbox.kiln("apply").ends(6);
    ran.says("backend/fast  Unobserved: ")
        .says("+ create   volume/c")
        .says("may suspend anything and cannot be read: it is damaged");
    sandbox.kiln("get volume/d").ends(0).says("Settled");
    // Removed, the other pool still knows it.
    std::fs::remove_file(&record).unwrap();
    sandbox.kiln("apply").ends(0);
    assert!(record.exists(), "it was written back");
}

#[test]
fn a_suspension_names_its_object_and_reason() {
    let sandbox = Sandbox::with_volumes(&["a"]);
    sandbox.kiln("suspend volume/a").ends(2).warns("--reason");
    sandbox.kiln("suspend volume/a --reason x --for 2x").ends(2).warns("2x");
    sandbox.kiln("suspend backend/fast --reason x").ends(2).warns("only volumes, snapshots and exports");
    sandbox.kiln("suspend volume/aa --reason x").ends(2).warns("volume/aa is not declared");
    let mut command = sandbox.command();
    let blank = command.args(["suspend", "volume/a", "--reason", " "]).output().unwrap();
    assert_eq!(blank.status.code(), Some(2));
    sandbox.kiln("plan").ends(0);
    sandbox.kiln("suspend volume/a --reason soon").ends(0);
    sandbox.kiln("apply").ends(4).says("Suspended");
    sandbox.kiln("resume volume/a").ends(0);
    sandbox.kiln("apply").ends(0);
    // What nobody declares any more can be suspended, also while its pool is away.
    sandbox.remove("specs/a.yaml");
    std::fs::rename(sandbox.path("pool"), sandbox.path("away")).unwrap();
    sandbox.kiln("suspend volume/a --reason x").ends(6).warns("not recorded on fast: ");
    std::fs::rename(sandbox.path("away"), sandbox.path("pool")).unwrap();
    sandbox.kiln("plan").ends(4).says("volume/a  remove   Suspended: ");
}

#[test]
fn a_suspension_of_everything_allows_commands_that_name_an_object() {
    let sandbox = Sandbox::new();
    sandbox.write("specs/stack.yaml", &STACK.replace("{id: 5c1d2e8a90}", "{id: 5c1d2e8a90, trash: {ttl: 1s}}"));
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        sandbox.volume(name, "size: 1Mi");
    }
    sandbox.kiln("apply").ends(0);
    for name in ["a", "b", "e", "f"] {
        sandbox.remove(&format!("specs/{name}.yaml"));
    }
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("suspend volume/e --reason forensics").ends(0);
    sandbox.kiln("suspend --reason moving").ends(0).says("everything of prod is suspended: moving");
    sandbox.kiln("suspend volume/d --reason mine").ends(0);
    sandbox.remove("specs/c.yaml");
    sandbox.kiln("plan").ends(4).says("everything is suspended: moving").says("`kiln resume`");
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while sandbox.kiln("doctor -o json").out.matches("\"Expired\"").count() < 4 {
        assert!(std::time::Instant::now() < patience, "it never expires");
    }
    sandbox.kiln("doctor").says("`kiln resume`, then `kiln trash purge`");
    sandbox.kiln("trash purge").ends(0).says("suspended");
    sandbox.kiln("trash list").says("volume/a").says("volume/b");
    sandbox.kiln("trash purge volume/a --yes").ends(0).says("purged volume a");
    sandbox.kiln("trash restore volume/b").ends(0).says("brought volume b back");
    sandbox
        .kiln("resume")
        .ends(0)
        .says("everything of prod is resumed")
        .says("still suspended: volume/d: it is suspended: mine");
    let purged = sandbox.kiln("trash purge").ends(0);
    purged.says("purged volume f from ").says("Expired and kept (suspended, declared, or in doubt): 1.");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("trash list").says("volume/c").says("volume/e");
}

#[test]
fn an_approval_waits_on_the_pools_for_the_next_apply_and_covers_no_more() {
    let sandbox = two_pools("safety: {maxRemovals: 1}");
    for (backend, name) in [("fast", "a"), ("fast", "b"), ("fast", "c"), ("slow", "x"), ("slow", "y"), ("slow", "z")] {
        volume_on(&sandbox, backend, name);
    }
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("approve 0123456789abcdef").ends(4).warns("nothing waits for an approval");
    sandbox.remove("specs/b.yaml");
    sandbox.remove("specs/x.yaml");
    let digest = sandbox.kiln("plan -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    sandbox.kiln("approve 0123456789abcdef").ends(4).warns(&digest).warns("2 steps");
    let ran = kiln_by(&sandbox, "alice", &format!("approve {digest}")).ends(0);
    let ran = ran.says("remove volume/b on fast, 1Mi").says("remove volume/x on slow, 1Mi").says("2 steps, 2Mi");
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
    sandbox.kiln("log volume/b").says("approve").says(&format!("in {digest}, by alice"));
    assert!(sandbox.data_file("volume/b").exists(), "nothing is run");
    assert_eq!(sandbox.object("volume/x")["status"]["condition"], "Removing");
    sandbox.kiln(&format!("approve {digest}")).ends(0).says("approved already");
    let plan = sandbox.kiln("plan").ends(0).out;
    assert_eq!(plan.matches("  (approved)\n").count(), 2, "{plan}");
    let steps = sandbox.kiln("plan -o json").ends(0).json()["steps"].clone();
    assert!(steps.as_array().unwrap().iter().all(|step| step["approved"] == true), "{steps}");
    // Whatever becomes of the store; what joins the set waits.
    sandbox.remove("state");
    sandbox.remove("specs/y.yaml");
    sandbox.remove("specs/c.yaml");
    let ran = sandbox.kiln("apply").ends(4).says("RemovalLimit");
    assert!(!ran.out.contains(&digest), "{}", ran.out);
    let trash = sandbox.kiln("trash list").out;
    let left: Vec<&str> =
        ["b", "x", "c", "y"].into_iter().filter(|v| trash.contains(&format!("volume/{v} "))).collect();
    assert_eq!(left, ["b", "x"]);
    sandbox.kiln(&format!("approve {digest}")).ends(4).warns("is not what waits now");
    // Approved with a run, the journal says so as well, and only of what the set has.
    let digest = sandbox.kiln("plan -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    sandbox.volume("new", "size: 1Mi");
    kiln_by(&sandbox, "bob", &format!("apply --approve {digest}")).ends(0);
    for name in ["c", "y"] {
        sandbox.kiln(&format!("log volume/{name}")).says("approve").says(&format!("in {digest}, by bob"));
    }
    assert!(!sandbox.kiln("log volume/new").says("create").out.contains("bob"));
}

#[test]
fn the_journal_names_who_confirmed_a_step() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("db", "size: 1Mi, onRemove: Delete");
    sandbox.volume("other", "size: 1Mi");
    sandbox.volume("keep", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    sandbox.remove("specs/other.yaml");
    kiln_by(&sandbox, "carol", "apply").ends(4);
    assert!(!sandbox.kiln("log").ends(0).out.contains("carol"), "nothing was approved");
    kiln_by(&sandbox, "carol", "apply --yes").ends(0).says("destroyed volume/db");
    sandbox.kiln("log volume/db").says("approve").says("destroy, by carol");
    assert!(!sandbox.kiln("log volume/other").ends(0).out.contains("carol"), "its removal needed no approval");
    // A line about a person is none about a step.
    assert!(!sandbox.kiln("get -o json").ends(0).out.contains("carol"));
}

#[test]
fn suspend_without_a_stack_refuses_a_pool_of_another_owner() {
    let sandbox = Sandbox::with_stack();
    let (stack, backend) = STACK.split_once("---\n").unwrap();
    sandbox.write("specs/stack.yaml", stack);
    sandbox.write("specs/backend.yaml", backend);
    sandbox.volume("db", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    let before = sandbox.tree("pool");
    sandbox.write("specs/stack.yaml", "");
    for command in ["suspend --reason audit", "suspend volume/db --reason audit", "resume"] {
        let ran = sandbox.kiln(command).ends(4).warns("fast belongs to prod").warns("for the owner default");
        assert!(!ran.out.contains("suspended"), "{ran:?}");
        // The store knows it as well as the pool; and without the store the pool alone.
        sandbox.kiln(&format!("{command} --state elsewhere")).ends(4).warns("fast belongs to prod");
    }
    assert_eq!(sandbox.tree("pool"), before);
    // Manifests that never had a Stack have the owner default.
    let never = Sandbox::new();
    never.write("specs/backend.yaml", backend);
    never.volume("db", "size: 1Mi");
    never.kiln("suspend --reason early").ends(0);
    never.kiln("resume").ends(0);
    never.kiln("apply").ends(0);
    never.kiln("suspend --reason audit").ends(0).says("recorded on fast");
    never.kiln("resume").ends(0);
}

#[test]
fn an_approval_is_struck_off_with_what_it_was_for() {
    let sandbox = two_pools("safety: {maxRemovals: 1}");
    for name in ["a", "b", "c", "d"] {
        volume_on(&sandbox, "fast", name);
    }
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/b.yaml");
    sandbox.remove("specs/c.yaml");
    let digest = sandbox.kiln("plan -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    sandbox.kiln(&format!("approve {digest}")).ends(0);
    // Suspended, it stays approved; declared again, it does not.
    sandbox.kiln("suspend --reason wait").ends(0);
    sandbox.kiln("apply").ends(4).says("Suspended");
    sandbox.kiln("resume").ends(0);
    sandbox.kiln("plan").ends(0).says("volume/b  remove");
    volume_on(&sandbox, "fast", "b");
    volume_on(&sandbox, "fast", "c");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/b.yaml");
    sandbox.remove("specs/c.yaml");
    sandbox.kiln("apply").ends(4).says("RemovalLimit");
}

#[test]
fn a_restore_is_approved_as_the_plan_shows_it() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.volume("gone", "size: 1Mi, onRemove: Delete");
    sandbox.snapshot("monday", "volume: db");
    sandbox.kiln("apply").ends(0);
    sandbox.volume("db", "size: 1Mi, restore: {snapshot: monday, request: one}");
    sandbox.remove("specs/gone.yaml");
    sandbox.kiln("apply").ends(4).says("NeedsConfirmation");
    let digest = sandbox.kiln("plan -o json").ends(0).json()["approval"].as_str().unwrap().to_owned();
    let said = sandbox.kiln(&format!("approve {digest}")).ends(0);
    said.says("update volume/db").says("destroy volume/gone").says("2 steps");
    // Nobody is there to be asked, nor need be.
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("plan").ends(0).says("othing");
}

#[test]
fn a_document_that_would_approve_a_set_again_is_not_ignored_without_a_word() {
    let sandbox = Sandbox::new();
    sandbox.write("specs/stack.yaml", &STACK.replace("}\n---", ", safety: {maxRemovals: 1}}\n---"));
    let declare = || ["a", "b", "keep"].iter().for_each(|name| sandbox.volume(name, "size: 1Mi"));
    let withdraw = || ["a", "b"].iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
    declare();
    sandbox.kiln("apply").ends(0);
    withdraw();
    let digest = sandbox.kiln("plan -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    sandbox.kiln(&format!("approve {digest}")).ends(0);
    // It lapses: nothing of it is planned any more.
    declare();
    sandbox.kiln("apply").ends(0);
    withdraw();
    let document = "apiVersion: kiln/v1\nkind: Approval\nmetadata: {name: again}\nspec: {digest: DIGEST}\n";
    sandbox.write("specs/again.yaml", &document.replace("DIGEST", &format!("\"{digest}\"")));
    let fix = format!("`kiln approve {digest}` approves it again");
    for command in ["plan", "apply"] {
        sandbox.kiln(command).ends(4).says("RemovalLimit").says("ApprovalSpent: again no longer approves").says(&fix);
    }
    sandbox.kiln(&format!("approve {digest}")).ends(0);
    sandbox.kiln("apply").ends(0).says("removed volume/a").says("removed volume/b");
}

#[test]
fn the_journal_names_the_document_that_approved() {
    let sandbox = Sandbox::new();
    sandbox.write("specs/stack.yaml", &STACK.replace("}\n---", ", safety: {maxRemovals: 1}}\n---"));
    ["a", "b", "keep"].iter().for_each(|name| sandbox.volume(name, "size: 1Mi"));
    sandbox.kiln("apply").ends(0);
    ["a", "b"].iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
    let digest = sandbox.kiln("plan -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    let document = "apiVersion: kiln/v1\nkind: Approval\nmetadata: {name: spring-clean}\nspec: {digest: DIGEST}\n";
    sandbox.write("specs/clean.yaml", &document.replace("DIGEST", &format!("\"{digest}\"")));
    kiln_by(&sandbox, "carol", "apply").ends(0).says("removed volume/a").says("removed volume/b");
    for name in ["a", "b"] {
        let log = sandbox.kiln(&format!("log volume/{name}")).ends(0);
        let log = log.says("approve").says(&format!("in {digest}, by approval/spring-clean in ./specs/clean.yaml"));
        assert!(!log.out.contains("carol"), "{}", log.out);
    }
}

/// The Backend without its Stack.
fn backend_alone() -> &'static str {
    STACK.split_once("---\n").unwrap().1
}

#[test]
fn without_its_stack_a_pool_is_neither_accepted_nor_taken_over() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.kiln("apply").ends(0);
    sandbox.write("specs/stack.yaml", "");
    sandbox.write("specs/backend.yaml", backend_alone());
    for command in ["adopt fast --from-owner prod", "forget backend/fast"] {
        let ran = sandbox.kiln(command).ends(4).warns("no Stack is declared");
        assert!(ran.err.contains("`metadata: {name: prod}`") && ran.err.contains("5c1d2e8a90"), "{}", ran.err);
    }
    // Nor is what the store knows of a Backend dropped that went with the Stack.
    sandbox.write("specs/backend.yaml", &backend_alone().replace("fast", "other").replace("../pool", "../second"));
    sandbox.write("specs/db.yaml", "");
    sandbox.kiln("forget backend/fast").ends(4).warns("no Stack is declared");
    sandbox.write("specs/backend.yaml", backend_alone());
    sandbox.volume("db", "size: 1Mi");
    sandbox.kiln("apply").ends(4).says("OwnerChanged");
    let made = std::fs::read_dir(sandbox.path("pool")).unwrap().flatten();
    let made = made.filter(|entry| entry.file_name().to_string_lossy().starts_with("kiln.")).count();
    assert_eq!(made, 1, "an empty twin was made");
    sandbox.write("specs/stack.yaml", STACK);
    sandbox.remove("specs/backend.yaml");
    sandbox.kiln("apply").ends(0);
}

#[test]
fn manifests_that_never_had_a_stack_decide_for_the_owner_default() {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.kiln("apply").ends(0);
    sandbox.write("own/backend.yaml", backend_alone());
    let web = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: web}\nspec: {backend: fast, size: 1Mi}\n";
    sandbox.write("own/web.yaml", web);
    sandbox.kiln("apply own --state own-state").ends(0);
    // A pool that is used by nobody else is accepted; so is one on which `default` has objects.
    for ledger in ["default.ledger", "default.ledger.old"] {
        sandbox.remove(&format!("pool/.kiln-pool/{ledger}"));
    }
    sandbox.kiln("plan own --state own-state").ends(6).says("BackendChanged");
    sandbox.kiln("forget backend/fast --specs own --state own-state").ends(0);
    sandbox.kiln("apply own --state own-state").ends(0);
    sandbox.kiln("adopt fast --from-owner prod --specs own --state own-state").ends(0).says("db");
}
