//! What others do to the storage beside the daemon: shown, mended where it can be, and never papered over.

use std::fs;

use serde_json::{Value, json};

use crate::daemon::{Daemon, arrives, grows, live, trash, wait, with_stack};
use crate::sandbox::Sandbox;

#[test]
fn changes_by_other_programs() {
    at_once!(
        a_deleted_volume_is_lost_and_is_not_recreated,
        a_truncated_volume_is_not_extended,
        a_volume_grown_by_another_program_is_held_with_both_sizes,
        removed_tags_are_restored,
        foreign_files_in_the_pool_do_not_change,
    );
}

const MIB: u64 = 1 << 20;

fn following(spec: &str) -> (Sandbox, Daemon) {
    let sandbox = with_stack("interval: 1s");
    sandbox.volume("db", spec);
    sandbox.volume("other", "size: 1Mi");
    let daemon = Daemon::start(&sandbox);
    arrives(&sandbox, "db");
    daemon.pass();
    (sandbox, daemon)
}

fn status(sandbox: &Sandbox) -> Value {
    sandbox.object("volume/db")["status"].clone()
}

#[track_caller]
fn comes_to(sandbox: &Sandbox, condition: &str, reason: &str) -> Value {
    wait(&format!("{condition} for {reason}"), || {
        let status = status(sandbox);
        status["condition"] == condition && status["reason"] == reason
    });
    status(sandbox)
}

fn resize(sandbox: &Sandbox, bytes: u64) {
    let image = sandbox.data_file("volume/db");
    fs::File::options().write(true).open(image).unwrap().set_len(bytes).unwrap();
}

fn a_deleted_volume_is_lost_and_is_not_recreated() {
    let (sandbox, daemon) = following("size: 1Mi");
    let before = status(&sandbox);
    let native = before["object"].as_str().unwrap();
    sandbox.remove(&format!("pool/{native}"));
    daemon.confirmation_read();
    daemon.pass();
    assert_eq!(live(&sandbox), ["other"]);
    comes_to(&sandbox, "Held", "Lost");
    assert!(daemon.ask("GET /metrics").contains("kiln_held{reason=\"Lost\"} 1"));
    sandbox.kiln("apply").ends(4);
    assert_eq!(live(&sandbox), ["other"]);
    // Nor is it after a restart, with a store or without.
    assert_eq!(daemon.end(), Some(0));
    sandbox.remove("state");
    let daemon = Daemon::start(&sandbox);
    daemon.confirmation_read();
    assert_eq!(live(&sandbox), ["other"]);
    sandbox.kiln("forget volume/db").ends(0);
    arrives(&sandbox, "db");
    assert_ne!(comes_to(&sandbox, "Settled", "AsDeclared")["uid"], before["uid"], "it is another one");
}

fn a_truncated_volume_is_not_extended() {
    let (sandbox, daemon) = following("size: 2Mi");
    resize(&sandbox, MIB);
    comes_to(&sandbox, "Held", "Lost");
    daemon.confirmation_read();
    grows(&sandbox, "db", MIB);
    resize(&sandbox, 2 * MIB);
    comes_to(&sandbox, "Settled", "AsDeclared");
}

fn a_volume_grown_by_another_program_is_held_with_both_sizes() {
    let (sandbox, daemon) = following("size: 1Mi");
    resize(&sandbox, 3 * MIB);
    daemon.confirmation_read();
    let shown = comes_to(&sandbox, "Held", "ShrinkRefused");
    assert_eq!(shown["size"], 3 * MIB);
    let drift = sandbox.kiln("plan -o json").ends(4).json()["drift"].clone();
    let both = json!({"kind": "Volume", "name": "db", "path": "size", "recorded": MIB, "observed": 3 * MIB,
        "backend": "fast", "target": null});
    assert_eq!(drift, json!([both]));
    assert_eq!(daemon.metric("kiln_drifted"), 1.0);
    grows(&sandbox, "db", 3 * MIB);
    // Declared as it is, all is well; a larger one is made so.
    sandbox.volume("db", "size: 3Mi");
    comes_to(&sandbox, "Settled", "AsDeclared");
    sandbox.volume("db", "size: 4Mi");
    grows(&sandbox, "db", 4 * MIB);
    assert_eq!(trash(&sandbox), Vec::<String>::new());
}

fn removed_tags_are_restored() {
    let (sandbox, daemon) = following("size: 1Mi, protected: true");
    assert_eq!(status(&sandbox)["protected"], true);
    let image = sandbox.data_file("volume/db");
    let tags = image.parent().unwrap().join("tags.json");
    let text = fs::read_to_string(&tags).unwrap();
    fs::remove_file(&tags).unwrap();
    wait("that they are put back", || fs::read_to_string(&tags).is_ok_and(|now| now.contains("protected")));
    daemon.pass();
    comes_to(&sandbox, "Settled", "AsDeclared");
    // What cannot be read is not guessed at: nothing is done to it.
    fs::write(&tags, &text[..text.len() / 2]).unwrap();
    comes_to(&sandbox, "Held", "Conflict");
    sandbox.remove("specs/db.yaml");
    daemon.confirmation_read();
    assert_eq!((live(&sandbox), trash(&sandbox)), (vec!["db".to_owned(), "other".to_owned()], vec![]));
    fs::write(&tags, &text).unwrap();
    comes_to(&sandbox, "Held", "Protected");
    daemon.confirmation_read();
    assert_eq!((live(&sandbox), trash(&sandbox)), (vec!["db".to_owned(), "other".to_owned()], vec![]));
}

fn foreign_files_in_the_pool_do_not_change() {
    let (sandbox, daemon) = following("size: 1Mi");
    sandbox.write("pool/stranger/stranger.img", "theirs");
    sandbox.write("pool/note.txt", "theirs");
    sandbox.write("pool/kiln.other.x.abcdefgh/kiln.other.x.abcdefgh.img", "theirs");
    let theirs = ["stranger/stranger.img", "note.txt", "kiln.other.x.abcdefgh/kiln.other.x.abcdefgh.img"];
    sandbox.remove("specs/other.yaml");
    wait("the removal", || trash(&sandbox) == ["other"]);
    daemon.confirmation_read();
    for path in theirs {
        assert_eq!(fs::read_to_string(sandbox.path("pool").join(path)).unwrap(), "theirs", "{path}");
    }
    assert_eq!(json!(live(&sandbox)), json!(["db"]));
}
