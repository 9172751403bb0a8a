//! Sizes as people write and read them.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::sandbox::Sandbox;
use crate::signals::{send, start};

#[test]
fn a_declared_size_is_shown_as_its_document_writes_it() {
    let sandbox = Sandbox::with_stack();
    let sizes = [("half", "1.5Mi", 3 << 19), ("ki", "2048Ki", 2 << 20), ("plain", "4096k", 4_096_000)];
    for (name, size, _) in sizes {
        sandbox.volume(name, &format!("size: {size}"));
    }
    let planned = sandbox.kiln("plan").ends(0).out;
    for (name, size, bytes) in sizes {
        assert!(planned.contains(&format!("{size} on fast")), "{name}: {planned}");
        sandbox.kiln(&format!("plan volume/{name} -o json")).ends(0).says(&format!("\"after\": {bytes}"));
    }
    sandbox.kiln("apply").ends(0);
    let listed = sandbox.kiln("get volumes").ends(0).out;
    for (name, size, bytes) in sizes {
        let row = listed.lines().find(|row| row.starts_with(&format!("volume/{name} "))).unwrap();
        assert!(row.contains(&format!(" {size} ")), "{row}");
        let in_full = sandbox.kiln(&format!("describe volume/{name}")).ends(0).out;
        let both = in_full.matches(&format!("  size         {size} ({bytes} bytes)\n")).count();
        assert_eq!(both, 2, "observed and declared: {in_full}");
        let object = sandbox.object(&format!("volume/{name}"));
        assert_eq!((&object["status"]["size"], &object["spec"]["size"]), (&bytes.into(), &bytes.into()));
    }
    assert_eq!(sandbox.object("volume/ki")["status"]["writtenSize"], "2048Ki");
    assert_eq!(sandbox.object("volume/half")["status"].get("writtenSize"), None, "its size alone is shown so");
    // Grown, and held.
    sandbox.volume("ki", "size: 3072Ki");
    sandbox.volume("half", "size: 1280Ki");
    sandbox
        .kiln("plan")
        .ends(4)
        .says("grow to 3072Ki on fast\n      size: 2Mi → 3072Ki")
        .says("its size is 1.5Mi and the document says 1280Ki")
        .says("write `size: 1.5Mi`");
    sandbox.kiln("plan -o markdown").ends(4).says("size: 2Mi → 3072Ki");
    sandbox.kiln("apply").ends(4).says("grew volume/ki on fast to 3072Ki");
    // How a size is written declares nothing.
    sandbox.volume("half", "size: 1536Ki");
    sandbox.volume("ki", "size: 3Mi");
    sandbox.kiln("plan").ends(0).says("Nothing to do");
    assert!(sandbox.kiln("get volume/half").ends(0).out.contains(" 1536Ki "));
}

#[test]
fn a_daemon_answers_with_sizes_as_they_are_written() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("ki", "size: 2048Ki");
    let mut daemon = start(&sandbox, &["watch"]);
    let patience = Instant::now() + Duration::from_secs(60);
    while !sandbox.kiln("status -o json").out.contains("\"uptimeSeconds\"") || !sandbox.has("pool") {
        assert!(Instant::now() < patience, "the daemon does not answer");
    }
    while sandbox.object("volume/ki")["status"]["size"].is_null() {
        assert!(Instant::now() < patience, "the daemon makes no volume");
    }
    sandbox.kiln("get volume/ki").ends(0).says(" 2048Ki ");
    send(&daemon, Signal::TERM);
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

/// A Stack with a simulator, which has rate limits, in a file.
const SIM: &str = "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: prod}\nspec: {id: 5c1d2e8a90}\n---\n\
                   apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim, sim: {path: ../sim.json}}\n";

#[test]
fn declared_sizes_and_limits_are_shown_as_written_wherever_their_document_is() {
    let sandbox = Sandbox::new();
    sandbox.write("specs/stack.yaml", SIM);
    sandbox.volume("db", "size: 2048Mi, qos: {bps: 1024Ki, iops: 100, writeBps: 3Mi}");
    sandbox.volume("copy", "size: 2048Mi, source: {volume: db}");
    let limits = "qos.bps: 1024Ki\n      qos.iops: 100\n      qos.writeBps: 3Mi\n";
    sandbox.kiln("plan --out saved.plan").ends(0).says("2048Mi on fast").says(limits);
    // A saved plan has the bytes of its manifests, and how they write them.
    sandbox
        .kiln("plan saved.plan")
        .ends(0)
        .says("2048Mi on fast\n")
        .says("2048Mi on fast, from volume db")
        .says(limits);
    sandbox.kiln("plan saved.plan -o markdown").ends(0).says("qos.bps: 1024Ki<br>qos.iops: 100");
    sandbox.kiln("apply saved.plan").ends(0).says("2048Mi on fast").says(limits);
    let described = sandbox.kiln("describe volume/db").ends(0).out;
    assert_eq!(described.matches("  qos          bps: 1024Ki, iops: 100, writeBps: 3Mi\n").count(), 2, "{described}");
    let clone = described.lines().find(|line| line.starts_with("volume/copy ")).unwrap();
    assert!(clone.contains(" 2048Mi "), "{described}");
    // The journal has bytes: a document may have said anything then.
    sandbox.kiln("log volume/db").ends(0).says("create 2Gi");
    let db = sandbox.object("volume/db");
    assert_eq!(db["status"]["qos"]["bps"], 1 << 20);
    assert_eq!(db["status"]["writtenLimits"], serde_json::json!({"bps": "1024Ki"}));
    // In the trash, and declared again.
    let document = std::fs::read_to_string(sandbox.path("specs/copy.yaml")).unwrap();
    sandbox.remove("specs/copy.yaml");
    sandbox.kiln("apply").ends(0);
    sandbox.kiln("trash list").ends(0).says(" 2Gi ");
    sandbox.write("specs/copy.yaml", &document);
    sandbox.kiln("trash list").ends(0).says(" 2048Mi ");
}

#[test]
fn a_size_that_the_backend_rounds_up_is_shown_beside_the_declared_one() {
    let sandbox = Sandbox::new();
    sandbox.write("specs/stack.yaml", SIM);
    sandbox.volume("odd", "size: 1500M");
    sandbox.volume("even", "size: 1M");
    let rounded = "create   1500M on fast\n      size: 1500M, rounded up by the backend to 1.40Gi (1500000256 bytes)\n";
    sandbox.kiln("apply").ends(0).says(rounded);
    let both = "  size         1.40Gi (1500000256 bytes); the document says 1500M, which the backend rounds up\n";
    sandbox.kiln("describe volume/odd").ends(0).says(both).says("  size         1500M (1500000000 bytes)\n");
    // A pipe gets what the backend has.
    sandbox.kiln("get volume/odd").ends(0).says(" 1464844Ki ");
    assert_eq!(sandbox.object("volume/odd")["status"]["roundedUp"], "1500M");
    assert_eq!(sandbox.object("volume/even")["status"]["roundedUp"], "1M");
    // A pending change is none that the backend made.
    sandbox.volume("even", "size: 3M");
    assert_eq!(sandbox.object("volume/even")["status"].get("roundedUp"), None);
}

#[test]
fn drift_is_shown_with_the_declared_size_as_written() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("db", "size: 2048Ki");
    sandbox.kiln("apply").ends(0);
    std::fs::File::options().write(true).open(sandbox.live_file("db")).unwrap().set_len(4 << 20).unwrap();
    sandbox.kiln("plan").says("  volume/db  size: 2048Ki → 4Mi\n");
    sandbox.kiln("plan -o markdown").says("| volume/db | size | 2048Ki | 4Mi |");
}
