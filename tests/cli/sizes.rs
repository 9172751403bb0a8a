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
