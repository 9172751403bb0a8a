//! Manifests that are broken, half written or gone: nothing is taken for given up, and the rest goes on.

use std::fs;
use std::time::Instant;

use kiln::manifest::{Limits, Source, load};
use serde_json::{Value, json};

use crate::daemon::{CONFIRMATION_READ, Daemon, arrives, document, grows, live, patient, stack, trash, wait};
use crate::sandbox::Sandbox;

#[test]
fn broken_and_missing_manifests() {
    at_once!(
        a_broken_file_holds_its_objects_and_the_others_are_reconciled,
        a_document_that_moves_into_a_broken_file_is_not_removed,
        a_removal_needs_a_confirmation_read,
        an_emptied_directory_removes_nothing,
        a_truncated_file_removes_nothing_unless_the_rest_is_valid,
        a_daemon_without_records_starts_with_a_broken_file,
        an_unreadable_stack_stops_every_step,
        a_missing_stack_changes_nothing,
    );
}

const MIB: u64 = 1 << 20;

fn following(volumes: &[&str]) -> (Sandbox, Daemon) {
    let sandbox = patient();
    volumes.iter().for_each(|name| sandbox.volume(name, "size: 1Mi"));
    let daemon = Daemon::start(&sandbox);
    assert_eq!(live(&sandbox), volumes);
    (sandbox, daemon)
}

/// Condition and reason of every object, as `kiln get -o json` says, and its exit code.
fn stand(sandbox: &Sandbox) -> (i32, Value) {
    let ran = sandbox.kiln("get -o json");
    let json = ran.json();
    let objects = json.as_array().unwrap().iter().filter(|object| object["kind"] == "Volume");
    let stands = objects.map(|object| {
        let status = &object["status"];
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        (name, json!([status["condition"], status["reason"]]))
    });
    (ran.code, stands.collect::<serde_json::Map<_, _>>().into())
}

fn a_broken_file_holds_its_objects_and_the_others_are_reconciled() {
    let (sandbox, daemon) = following(&["a", "b", "gone"]);
    sandbox.volume("a", "size: 2Mi, colour: red");
    sandbox.volume("b", "size: 2Mi");
    sandbox.volume("new", "size: 1Mi");
    sandbox.remove("specs/gone.yaml");
    grows(&sandbox, "b", 2 * MIB);
    arrives(&sandbox, "new");
    daemon.confirmation_read();
    assert_eq!((live(&sandbox), trash(&sandbox)), (["a", "b", "gone", "new"].map(str::to_owned).to_vec(), vec![]));
    assert_eq!(sandbox.data_file("volume/a").metadata().unwrap().len(), MIB);
    let held = json!(["Held", "SourceBroken"]);
    let settled = json!(["Settled", "AsDeclared"]);
    assert_eq!(stand(&sandbox), (5, json!({"a": held, "b": settled, "gone": held, "new": settled})));
    sandbox.kiln("get").ends(5).warns("specs/a.yaml:4:").warns("colour");
    let status = sandbox.kiln("status -o json").ends(5).json();
    assert!(status["daemon"]["problems"][0]["message"].as_str().unwrap().contains("colour"), "{status}");
    assert_eq!(daemon.metric("kiln_manifest_problems"), 1.0);
    assert_eq!(daemon.metric("kiln_held"), 2.0);
    sandbox.kiln("apply").ends(5);
    // Mended, what waited is done.
    sandbox.volume("a", "size: 2Mi");
    grows(&sandbox, "a", 2 * MIB);
    wait("the removal", || trash(&sandbox) == ["gone"]);
    daemon.pass();
    assert_eq!(daemon.metric("kiln_manifest_problems"), 0.0);
    assert_eq!(
        stand(&sandbox),
        (0, json!({"a": settled, "b": settled, "gone": ["Trashed", "NotDeclared"], "new": settled}))
    );
}

fn a_document_that_moves_into_a_broken_file_is_not_removed() {
    let (sandbox, daemon) = following(&["a", "b", "c"]);
    // Out of a good file, into one that cannot be read; and another document from the broken one into a good one.
    sandbox.write("specs/a.yaml", &format!("{}---\nkind: [\n", document("b", "1Mi")));
    sandbox.remove("specs/b.yaml");
    sandbox.write("specs/c.yaml", &(document("c", "1Mi") + &document("a", "2Mi")));
    grows(&sandbox, "a", 2 * MIB);
    daemon.confirmation_read();
    assert_eq!((live(&sandbox), trash(&sandbox)), (owned(&["a", "b", "c"]), vec![]));
    sandbox.write("specs/a.yaml", &document("b", "2Mi"));
    grows(&sandbox, "b", 2 * MIB);
    daemon.confirmation_read();
    assert_eq!((live(&sandbox), trash(&sandbox)), (owned(&["a", "b", "c"]), vec![]));
}

fn a_removal_needs_a_confirmation_read() {
    let (sandbox, daemon) = following(&["a", "back", "gone"]);
    // Missing from one read, and back.
    let text = fs::read_to_string(sandbox.path("specs/back.yaml")).unwrap();
    sandbox.remove("specs/back.yaml");
    wait("that it is missed", || daemon.ask("GET /metrics").contains("kiln_declared{kind=\"Volume\"} 2"));
    sandbox.write("specs/back.yaml", &text);
    daemon.confirmation_read();
    assert_eq!(trash(&sandbox), Vec::<String>::new());
    assert!(!sandbox.kiln("log -o json").out.contains("emove"), "nothing was even begun");

    let began = Instant::now();
    sandbox.remove("specs/gone.yaml");
    wait("the removal", || trash(&sandbox) == ["gone"]);
    assert!(began.elapsed() >= CONFIRMATION_READ, "{:?}", began.elapsed());
    assert_eq!(live(&sandbox), ["a", "back"]);
}

fn an_emptied_directory_removes_nothing() {
    let (sandbox, daemon) = following(&["a", "b"]);
    let files = ["stack", "a", "b"].map(|name| format!("specs/{name}.yaml"));
    let texts = files.each_ref().map(|file| fs::read_to_string(sandbox.path(file)).unwrap());
    files.iter().for_each(|file| sandbox.remove(file));
    daemon.confirmation_read();
    assert_eq!((live(&sandbox), trash(&sandbox)), (vec!["a".to_owned(), "b".to_owned()], vec![]));
    sandbox.kiln("get").ends(5);
    // A document of comments is none.
    sandbox.write("specs/a.yaml", "# nothing\n");
    daemon.confirmation_read();
    assert_eq!((live(&sandbox), trash(&sandbox)), (vec!["a".to_owned(), "b".to_owned()], vec![]));
    // The Stack alone says that all volumes are given up: that many wait for a person.
    sandbox.remove("specs/a.yaml");
    sandbox.write(&files[0], &texts[0]);
    daemon.confirmation_read();
    assert_eq!((live(&sandbox), trash(&sandbox)), (vec!["a".to_owned(), "b".to_owned()], vec![]));
    assert_eq!(stand(&sandbox).1, json!({"a": ["Held", "RemovalLimit"], "b": ["Held", "RemovalLimit"]}));
    sandbox.write(&files[1], &texts[1]);
    sandbox.write(&files[2], &texts[2].replace("1Mi", "2Mi"));
    grows(&sandbox, "b", 2 * MIB);
}

fn a_truncated_file_removes_nothing_unless_the_rest_is_valid() {
    let text = document("first", "1Mi") + &document("second", "1Mi");
    let middle = text.rfind("---").unwrap();
    let cuts =
        [0, 1, 2, 4, 20, middle / 2, middle - 2, middle, middle + 2, middle + 4, text.len() - 12, text.len() - 1];
    let valid = std::thread::scope(|scope| {
        let one = |cut: usize| {
            let sandbox = patient();
            sandbox.volume("canary", "size: 1Mi");
            sandbox.write("specs/two.yaml", &text);
            let daemon = Daemon::start(&sandbox);
            sandbox.write("specs/two.yaml", &text[..cut]);
            daemon.confirmation_read();
            let loaded = load(&Source::Path(sandbox.path("specs")), &Limits::default());
            // Outside of Git, a file that is emptied gives up nothing.
            let is_no_edit = !loaded.problems.is_empty() || text[..cut].trim().is_empty();
            let stays = |name: &str| is_no_edit || loaded.reading.specs.volumes.keys().any(|n| n.as_str() == name);
            let (kept, gone): (Vec<&str>, _) = ["canary", "first", "second"].iter().partition(|name| stays(name));
            let said = format!("cut at {cut}: {:?}", &text[..cut]);
            assert_eq!((live(&sandbox), trash(&sandbox)), (owned(&kept), owned(&gone)), "{said}");
            usize::from(loaded.problems.is_empty())
        };
        let threads: Vec<_> = cuts.map(|cut| scope.spawn(move || one(cut))).into();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert!((1..cuts.len()).contains(&valid), "{valid} of {} were whole", cuts.len());
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn a_daemon_without_records_starts_with_a_broken_file() {
    let sandbox = patient();
    ["a", "b", "c"].iter().for_each(|name| sandbox.volume(name, "size: 1Mi"));
    sandbox.kiln("apply").ends(0);
    sandbox.remove("state");
    sandbox.remove("specs/b.yaml");
    sandbox.volume("c", "size: [");
    sandbox.volume("new", "size: 1Mi");
    let daemon = Daemon::start(&sandbox);
    arrives(&sandbox, "new");
    daemon.confirmation_read();
    assert_eq!((live(&sandbox), trash(&sandbox)), (owned(&["a", "b", "c", "new"]), vec![]));
    assert_eq!(stand(&sandbox).0, 5);
}

fn an_unreadable_stack_stops_every_step() {
    let sandbox = patient();
    sandbox.volume("a", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    let before = sandbox.tree("pool");
    sandbox.write("specs/stack.yaml", &stack("interval: 1h, intervall: 2h"));
    sandbox.volume("new", "size: 1Mi");
    sandbox.remove("specs/a.yaml");
    let daemon = Daemon::start(&sandbox);
    daemon.confirmation_read();
    assert_eq!(sandbox.tree("pool"), before);
    assert_eq!(daemon.view()["lastPass"]["ending"], "invalid");
    assert!(daemon.log().contains("the Stack cannot be read, so the owner"), "{}", daemon.log());
    assert_eq!(daemon.metric("kiln_driver_call_seconds_count"), 0.0, "nothing was even looked at");
    sandbox.write("specs/stack.yaml", &stack("interval: 1h"));
    arrives(&sandbox, "new");
    // Once it was read, what it last said holds: other volumes are made while it is broken.
    sandbox.write("specs/stack.yaml", &stack("interval: 1h, intervall: 2h"));
    sandbox.volume("later", "size: 1Mi");
    arrives(&sandbox, "later");
}

fn a_missing_stack_changes_nothing() {
    let sandbox = Sandbox::new();
    let text = stack("interval: 1s");
    let (owner, backend) = text.split_once("---\n").unwrap();
    sandbox.write("specs/stack.yaml", owner);
    sandbox.write("specs/backend.yaml", backend);
    ["a", "b"].iter().for_each(|name| sandbox.volume(name, "size: 1Mi"));
    let daemon = Daemon::start(&sandbox);
    // What is declared without it belongs to somebody else.
    sandbox.remove("specs/stack.yaml");
    sandbox.remove("specs/b.yaml");
    sandbox.volume("a", "size: 2Mi");
    sandbox.volume("new", "size: 1Mi");
    daemon.confirmation_read();
    assert_eq!((live(&sandbox), trash(&sandbox)), (owned(&["a", "b"]), vec![]));
    let log = daemon.log();
    assert!(log.contains("the Stack is missing, or is another one than before"), "{log}");
    assert!(!log.contains("the Stack cannot be read"), "{log}");
    assert_eq!(sandbox.tree("pool").iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "img")).count(), 2);
    sandbox.write("specs/stack.yaml", owner);
    arrives(&sandbox, "new");
    grows(&sandbox, "a", 2 * MIB);
    wait("the removal", || trash(&sandbox) == ["b"]);
}
