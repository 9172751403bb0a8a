//! Objects as people name them on the command line.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// Two volumes with snapshots, clones of both, and a snapshot whose name is that of a volume.
fn with_copies() -> Sandbox {
    let sandbox = Sandbox::with_volumes(&["db", "web"]);
    sandbox.snapshot("db-monday", "volume: db");
    sandbox.snapshot("db-tuesday", "volume: db");
    sandbox.write(
        "specs/of-web.yaml",
        "apiVersion: kiln/v1\nkind: Snapshot\nmetadata: {name: web}\nspec: {volume: web}\n",
    );
    sandbox.volume("db-copy", "size: 2Mi, source: {snapshot: db-monday}");
    sandbox.volume("db-twin", "size: 1Mi, source: {volume: db}");
    sandbox.kiln("apply").ends(0);
    sandbox
}

#[test]
fn get_takes_objects_in_every_form() {
    let sandbox = with_copies();
    for (arguments, expected) in [
        ("volume db", "volume/db"),
        ("volumes db db-copy", "volume/db volume/db-copy"),
        ("db", "volume/db"),
        ("web", "volume/web snapshot/web"),
        ("volumes,snapshots web", "volume/web snapshot/web"),
        ("volume/db snapshot/web", "volume/db snapshot/web"),
        ("snapshot/db-*", "snapshot/db-monday snapshot/db-tuesday"),
        ("fast", "backend/fast"),
        ("backends,snapshots", "backend/fast snapshot/db-monday snapshot/db-tuesday snapshot/web"),
    ] {
        let names = sandbox.kiln(&format!("get {arguments} -o name")).ends(0).out;
        assert_eq!(names.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{arguments}");
    }
    sandbox.kiln("get volume/x*").ends(0).says("No such objects.");
    let refused = sandbox.kiln("get volume/db volume/bd web -o name").ends(2);
    assert_eq!(refused.out, "volume/db\nvolume/web\nsnapshot/web\n", "the others are listed");
    refused.warns("there is no volume/bd; did you mean volume/db?").warns("hint: ");
}

#[test]
fn describe_takes_a_name_that_is_unambiguous() {
    let sandbox = with_copies();
    let names = |arguments: &str| -> Vec<String> {
        let described = sandbox.kiln(&format!("describe {arguments} -o json")).ends(0).json();
        let objects = described["objects"].as_array().unwrap().iter();
        objects.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("db"), ["db"]);
    assert_eq!(names("volume web db"), ["db", "web"]);
    assert_eq!(names("volume db-*"), ["db-copy", "db-twin"]);
    let ambiguous = sandbox.kiln("describe web").ends(2);
    assert_eq!(ambiguous.out, "");
    ambiguous.warns("web is the name of several objects: volume/web, snapshot/web").warns("KIND/NAME");
    sandbox.kiln("describe wbe").ends(2).warns("did you mean volume/web?");
    sandbox.kiln("describe export").ends(2).warns("nothing matches export");
    // Each object has its own history.
    let two = sandbox.kiln("describe volume/db volume/web").ends(0);
    let after = |heading: &str| two.out.split_once(heading).unwrap().1.to_owned();
    let first = after("volume/db\n");
    let first = first.split_once("\nvolume/web\n").unwrap().0;
    assert!(first.contains("History:") && first.contains("create 1Mi") && !first.contains("volume/web"), "{first}");
    assert!(after("\nvolume/web\n").contains("create 1Mi"), "{}", two.out);
}

#[test]
fn a_misspelt_object_or_backend_is_answered_with_the_one_that_is_meant() {
    let sandbox = with_copies();
    for (command, told) in [
        ("forget volume/db-twn", "no volume db-twn is lost; did you mean db-twin?\n"),
        ("forget snapshot/db-tusday", "no snapshot db-tusday is lost; did you mean db-tuesday?\n"),
        ("forget volume/postgres", "no volume postgres is lost\n"),
        ("forget backend/fsat", "no Backend fsat is declared or remembered; did you mean fast?\n"),
        ("adopt fsat", "no Backend fsat is declared; did you mean fast?\n"),
        ("adopt fsat --from-owner other", "no Backend fsat is declared; did you mean fast?\n"),
    ] {
        sandbox.kiln(command).ends(2).warns(told);
    }
    // A lost one too.
    sandbox.remove(sandbox.data_file("volume/db-twin").parent().unwrap().to_str().unwrap());
    sandbox.kiln("forget volume/db-twn").ends(2).warns("no volume db-twn is lost; did you mean db-twin?");
}

#[test]
fn describe_lists_snapshots_and_clones() {
    let sandbox = with_copies();
    let related = |name: &str| {
        let described = sandbox.kiln(&format!("describe {name} -o json")).ends(0).json();
        let related = described["objects"][0]["status"]["related"].clone();
        let list = |field: &str| -> Vec<Value> {
            let all = related[field].as_array().unwrap().iter();
            all.map(|one| json!([one["name"], one["source"], one["size"], one["condition"]])).collect()
        };
        (list("snapshots"), list("clones"))
    };
    let snapshot = |name: &str| json!([name, "volume/db", 1 << 20, "Settled"]);
    let copy = json!(["db-copy", "snapshot/db-monday", 2 << 20, "Settled"]);
    let twin = json!(["db-twin", "volume/db", 1 << 20, "Settled"]);
    assert_eq!(related("volume/db"), (vec![snapshot("db-monday"), snapshot("db-tuesday")], vec![copy.clone(), twin]));
    assert_eq!(related("snapshot/db-monday"), (vec![], vec![copy]));
    assert_eq!(related("snapshot/db-tuesday"), (vec![], vec![]));
    let text = sandbox.kiln("describe volume/db").ends(0).says("Snapshots:").says("Clones:");
    for line in ["snapshot/db-tuesday", "volume/db-copy"] {
        assert!(text.out.lines().any(|shown| shown.starts_with(&format!("{line} "))), "{line}: {}", text.out);
    }
    assert!(!sandbox.kiln("describe volume/web").ends(0).out.contains("Clones:"));
    sandbox.kiln("describe volume/db-copy").ends(0).says("  source       snapshot/db-monday\n");
    sandbox.kiln("describe volume/db-twin").ends(0).says("  source       volume/db\n");
    assert!(sandbox.object("volume/db")["status"].get("related").is_none(), "get lists none");
    // A snapshot that is no longer declared is still one of its volume; one of an earlier volume of this name is not.
    sandbox.remove("specs/db-tuesday.yaml");
    sandbox.kiln("apply").ends(0);
    assert_eq!(related("volume/db").0[1], json!(["db-tuesday", "volume/db", 1 << 20, "Trashed"]));
}

#[test]
fn snapshots_have_an_age_where_the_file_system_stores_it() {
    let sandbox = with_copies();
    let created = sandbox.object("snapshot/web")["status"]["createdAt"].clone();
    let listed = sandbox.kiln("get snapshots").ends(0);
    assert!(listed.out.lines().next().unwrap().contains("  AGE "), "{}", listed.out);
    let columns =
        |out: &str| out.lines().next().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let of_volumes = sandbox.kiln("get volumes").ends(0).out;
    assert_eq!(columns(&of_volumes), columns(&listed.out), "the columns of a pipe depend on no object");
    assert_eq!(sandbox.object("volume/web")["status"].get("createdAt"), None);
    let directory = std::fs::metadata(sandbox.data_file("snapshot/web").parent().unwrap()).unwrap();
    let Ok(born) = directory.created() else {
        assert_eq!(created, Value::Null);
        assert!(listed.out.contains("  -    Settled"), "{}", listed.out);
        return;
    };
    let created: jiff::Timestamp = created.as_str().unwrap().parse().unwrap();
    let born = born.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(u64::try_from(created.as_second()).unwrap(), born.as_secs());
    sandbox.kiln("describe snapshot/web").ends(0).says("  created      ").says("s ago)");
    sandbox.remove("specs/of-web.yaml");
    sandbox.kiln("apply").ends(0);
    assert_eq!(sandbox.object("snapshot/web")["status"]["createdAt"], json!(created.to_string()), "also in the trash");
}

#[test]
fn suspensions_take_several_declared_objects() {
    let sandbox = with_copies();
    let suspended = || -> Vec<String> {
        let all = sandbox.kiln("get -o json").ends(0).json();
        let held = all.as_array().unwrap().iter().filter(|object| object["status"]["reason"] == "Suspended");
        held.map(|object| format!("{}/{}", object["kind"], object["metadata"]["name"]).replace('"', "")).collect()
    };
    sandbox.kiln("suspend snapshot/db-* --reason x").ends(0);
    assert_eq!(suspended(), ["Snapshot/db-monday", "Snapshot/db-tuesday"]);
    sandbox.kiln("resume db-monday").ends(0);
    assert_eq!(suspended(), ["Snapshot/db-tuesday"]);
    for (arguments, message) in [
        ("suspend web --reason x", "web is the name of several objects"),
        ("suspend dbb --reason x", "did you mean volume/db?"),
        ("suspend nothing --reason x", "the manifests do not declare it"),
        ("suspend volume/x* --reason x", "nothing matches volume/x*"),
        ("suspend volume/x* --reason x", "hint: names without a kind, kinds and patterns mean declared objects only"),
        ("resume dbb", "hint: names without a kind, kinds and patterns mean declared objects only"),
        ("resume volume/*", "does not name each object in full"),
        ("resume volumes", "does not name each object in full"),
        ("resume nothing", "the manifests do not declare it"),
    ] {
        sandbox.kiln(arguments).ends(2).warns(message);
        assert_eq!(
            suspended(),
            ["Snapshot/db-tuesday"],
            "{arguments}: a name that means nothing never means everything"
        );
    }
    // One that is not suspended does not keep the others so.
    sandbox.kiln("resume volume/db db-tuesday").ends(2).warns("volume/db is not suspended").says("snapshot/db-tuesday");
    assert_eq!(suspended(), [""; 0]);
}

#[test]
fn commands_that_destroy_take_one_object_named_in_full() {
    let sandbox = with_copies();
    sandbox.remove("specs/db-twin.yaml");
    sandbox.kiln("apply").ends(0);
    let before = sandbox.tree("pool");
    for (arguments, message) in [
        ("trash purge db-twin --yes", "does not name an object in full"),
        ("trash purge volume/* --yes", "does not name an object in full"),
        ("trash purge volumes --yes", "does not name an object in full"),
        ("trash purge volume db-twin db --yes", "takes one object, not volume/db-twin, volume/db"),
        ("forget db-twin", "does not name an object in full"),
        ("forget volume/*", "does not name an object in full"),
        ("trash restore *", "does not name an object in full"),
        ("trash restore db", "there is no object db: it is not in the trash"),
        ("image export db x.img --format raw", "does not name an object in full"),
    ] {
        sandbox.kiln(arguments).ends(2).warns(message);
    }
    assert_eq!(sandbox.tree("pool"), before);
    sandbox.kiln("trash restore db-twin").ends(0).says("brought volume db-twin back");
    sandbox.kiln("log volume db-twin -n 1").ends(0).says("volume/db-twin");
}

#[test]
fn a_broken_manifest_never_makes_a_suspension_smaller() {
    let sandbox = with_copies();
    let valid = std::fs::read_to_string(sandbox.path("specs/db.yaml")).unwrap();
    sandbox.write("specs/db.yaml", "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db}\nspec: {sise: 1Mi}\n");
    for what in ["volume/*", "volumes", "web-*", "db-copy", "snapshot/web volume/*"] {
        let refused = sandbox.kiln(&format!("suspend {what} --reason x")).ends(5);
        assert_eq!(refused.out, "", "{what}: nothing is suspended");
        refused.warns("it is not certain which objects").warns("name each object in full").warns("`kiln check");
    }
    sandbox.kiln("suspend volume/db snapshot/web --reason x").ends(0).says("volume/db").says("snapshot/web");
    sandbox.kiln("resume db").ends(5).warns("it is not certain which objects");
    sandbox.kiln("resume volume/db snapshot/web").ends(0);
    sandbox.write("specs/db.yaml", &valid);
    sandbox.kiln("plan").ends(0);
}

#[test]
fn patterns_of_suspend_say_which_objects_they_match() {
    let sandbox = with_copies();
    sandbox.remove("specs/db-twin.yaml");
    let suspended = sandbox.kiln("suspend volume/* --reason x").ends(0);
    let lines: Vec<&str> =
        suspended.out.lines().filter_map(|line| line.split_once(" is suspended")).map(|(name, _)| name).collect();
    assert_eq!(lines, ["volume/db", "volume/db-copy", "volume/web"]);
    suspended.warns("only declared objects match").warns("wait for removal");
    // A pattern that only matches objects which wait for removal says why it matches nothing.
    for what in ["volume/db-tw*", "db-twin"] {
        let refused = sandbox.kiln(&format!("suspend {what} --reason x")).ends(2);
        refused.warns("mean declared objects only: write KIND/NAME for others, such as those that wait for removal");
    }
    let in_full = sandbox.kiln("suspend volume/db-twin --reason x").ends(0).says("volume/db-twin is suspended");
    assert!(!in_full.err.contains("only declared objects"), "{}", in_full.err);
}

#[test]
fn suspend_reads_stdin_once_for_all_objects() {
    let sandbox = with_copies();
    let documents = sandbox.tree("specs").into_iter().map(|(_, bytes)| String::from_utf8(bytes).unwrap());
    let manifests = documents.collect::<Vec<_>>().join("\n---\n").replace("../pool", "pool");
    let ran = sandbox.run("suspend volume/db volume/web --reason x --specs -", &manifests);
    ran.ends(0).says("volume/db is suspended").says("volume/web is suspended");
}

#[test]
fn trash_restore_needs_a_kind_while_a_backend_is_not_observed() {
    let sandbox = with_copies();
    sandbox.write(
        "specs/slow.yaml",
        "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: slow}\nspec: {driver: local, local: {path: ../slow, create: true}, maxFill: 100%}\n",
    );
    let other = "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: other}\nspec: {backend: slow, size: 1Mi}\n";
    sandbox.write("specs/other.yaml", other);
    sandbox.remove("specs/db-twin.yaml");
    sandbox.kiln("apply").ends(0);
    std::fs::rename(sandbox.path("slow"), sandbox.path("away")).unwrap();
    let before = sandbox.tree("pool");
    sandbox.kiln("trash restore db-twin").ends(6).warns("backend/slow was not observed").warns("in full");
    assert_eq!(sandbox.tree("pool"), before);
    sandbox.kiln("trash restore volume/db-twin").ends(0).says("brought volume db-twin back");
}

#[test]
fn snapshots_on_the_simulator_have_an_age() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "specs/all.yaml",
        "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: sim}\nspec: {driver: sim, sim: {path: ../pool}}\n---\n\
         apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db}\nspec: {backend: sim, size: 1Mi}\n---\n\
         apiVersion: kiln/v1\nkind: Snapshot\nmetadata: {name: monday}\nspec: {volume: db}\n",
    );
    let begun = jiff::Timestamp::now().as_second();
    sandbox.kiln("apply").ends(0);
    let created = sandbox.object("snapshot/monday")["status"]["createdAt"].clone();
    let created: jiff::Timestamp = created.as_str().unwrap().parse().unwrap();
    assert!((begun..=jiff::Timestamp::now().as_second()).contains(&created.as_second()), "{created}");
    assert_eq!(sandbox.object("volume/db")["status"].get("createdAt"), None);
    assert_eq!(sandbox.object("volume/db")["status"]["path"], Value::Null, "it has no path, and says so");
}
