//! The trash beside a daemon: the way back, and the end of what is past its time.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::daemon::{Daemon, arrives, live, trash, wait, with_stack};
use crate::sandbox::{Sandbox, pin};

#[test]
fn the_trash_with_a_daemon() {
    at_once!(
        a_trashed_volume_declared_again_keeps_its_data,
        the_daemon_purges_expired_objects,
        purged_objects_are_counted_if_another_purge_fails,
        manual_purging_is_left_to_commands,
        nothing_is_purged_while_manifests_are_in_doubt,
        an_object_with_inconsistent_tags_is_not_purged,
    );
}

fn following(spec: &str) -> (Sandbox, Daemon) {
    let sandbox = with_stack(spec);
    ["a", "b"].iter().for_each(|name| sandbox.volume(name, "size: 1Mi"));
    let daemon = Daemon::start(&sandbox);
    assert_eq!(live(&sandbox), ["a", "b"]);
    (sandbox, daemon)
}

fn in_trash(sandbox: &Sandbox, name: &str) {
    sandbox.remove(&format!("specs/{name}.yaml"));
    wait("the removal", || trash(sandbox) == [name]);
}

fn a_trashed_volume_declared_again_keeps_its_data() {
    let (sandbox, daemon) = following("interval: 1h");
    let uid = sandbox.object("volume/b")["status"]["uid"].clone();
    let file = fs::File::options().write(true).open(sandbox.data_file("volume/b")).unwrap();
    file.write_all_at(b"canary", 4096).unwrap();
    drop(file);
    for _ in 0..2 {
        in_trash(&sandbox, "b");
        sandbox.volume("b", "size: 1Mi");
        arrives(&sandbox, "b");
        assert_eq!(sandbox.object("volume/b")["status"]["uid"], uid);
        let mut read = [0; 6];
        fs::File::open(sandbox.data_file("volume/b")).unwrap().read_exact_at(&mut read, 4096).unwrap();
        assert_eq!(&read, b"canary");
    }
    assert_eq!(trash(&sandbox), Vec::<String>::new());
    drop(daemon);
}

fn the_daemon_purges_expired_objects() {
    // The interval is an hour: it knows by itself when the time has come.
    let (sandbox, daemon) = following("interval: 1h, trash: {ttl: 3s}");
    in_trash(&sandbox, "b");
    let began = Instant::now();
    wait("the purge", || trash(&sandbox).is_empty());
    // Times are written in whole seconds.
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    wait("that it is counted", || daemon.metric("kiln_trash_purged_total") == 1.0);
    assert_eq!(live(&sandbox), ["a"]);
    // Declared again it is another one.
    sandbox.volume("b", "size: 1Mi");
    arrives(&sandbox, "b");
}

fn purged_objects_are_counted_if_another_purge_fails() {
    let (sandbox, daemon) = following("interval: 1h, safety: {maxRemovedPercent: 100%}, trash: {ttl: 3s}");
    sandbox.volume("keep", "size: 1Mi");
    arrives(&sandbox, "keep");
    let file = sandbox.data_file("volume/b");
    ["a", "b"].iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
    wait("the removals", || trash(&sandbox) == ["a", "b"]);
    let directory = file.parent().unwrap();
    let trashed = sandbox.path("pool/.trash").join(directory.file_name().unwrap()).join(file.file_name().unwrap());
    pin(&trashed, true);
    wait("the purge of the other", || daemon.metric("kiln_trash_purged_total") >= 1.0);
    let (log, purged) = (daemon.log(), daemon.metric("kiln_trash_purged_total"));
    pin(&trashed, false);
    assert!(log.contains("purged volume a from fast: it had expired"), "{log}");
    assert!(log.contains("was not purged: volume b: "), "{log}");
    assert!(purged == 1.0 && !log.contains("purged volume b "), "{log}");
}

fn manual_purging_is_left_to_commands() {
    let (sandbox, daemon) = following("interval: 1s, trash: {ttl: 1s, purge: manual}");
    in_trash(&sandbox, "b");
    let purges = || sandbox.kiln("trash purge").ends(0).out;
    daemon.confirmation_read();
    daemon.confirmation_read();
    assert_eq!(trash(&sandbox), ["b"]);
    assert!(purges().contains("purged volume b "));
    assert_eq!(trash(&sandbox), Vec::<String>::new());
}

fn nothing_is_purged_while_manifests_are_in_doubt() {
    let (sandbox, daemon) = following("interval: 1s, trash: {ttl: 4s}");
    in_trash(&sandbox, "b");
    daemon.pass();
    // A manifest that cannot be read may declare it.
    sandbox.write("specs/broken.yaml", "kind: [\n");
    wait("that it is seen", || daemon.metric("kiln_manifest_problems") == 1.0);
    let past = Instant::now();
    wait("its time", || past.elapsed() > Duration::from_secs(5));
    daemon.pass();
    assert_eq!(trash(&sandbox), ["b"]);
    sandbox.remove("specs/broken.yaml");
    wait("the purge", || trash(&sandbox).is_empty());
    assert_eq!(live(&sandbox), ["a"]);
}

fn an_object_with_inconsistent_tags_is_not_purged() {
    let (sandbox, daemon) = following("interval: 1s, trash: {ttl: 2s}");
    // Nothing is seen of it until its marks are damaged.
    in_trash(&sandbox, "b");
    daemon.send(Signal::STOP);
    let native = fs::read_dir(sandbox.path("pool/.trash")).unwrap().next().unwrap().unwrap().path();
    fs::write(native.join("tags.json"), "{").unwrap();
    daemon.send(Signal::CONT);
    let past = Instant::now();
    wait("its time", || past.elapsed() > Duration::from_secs(4));
    daemon.confirmation_read();
    assert_eq!(trash(&sandbox), ["b"]);
}
