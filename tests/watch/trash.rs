//! The trash beside a daemon: the way back, and the end of what is past its time.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::daemon::{Daemon, arrives, live, trash, wait, with_stack};
use crate::sandbox::{Sandbox, pin};

#[test]
fn the_trash_beside_a_daemon() {
    at_once!(
        declared_again_it_is_the_same_volume_with_the_same_data,
        what_is_past_its_time_is_purged_by_the_daemon_alone,
        what_the_daemon_purged_is_counted_also_where_it_leaves_an_object,
        where_a_person_purges_the_daemon_does_not,
        nothing_is_purged_while_something_is_in_doubt,
        what_has_marks_that_cannot_be_believed_is_not_purged,
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

fn declared_again_it_is_the_same_volume_with_the_same_data() {
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

fn what_is_past_its_time_is_purged_by_the_daemon_alone() {
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

fn what_the_daemon_purged_is_counted_also_where_it_leaves_an_object() {
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

fn where_a_person_purges_the_daemon_does_not() {
    let (sandbox, daemon) = following("interval: 1s, trash: {ttl: 1s, purge: manual}");
    in_trash(&sandbox, "b");
    let purges = || sandbox.kiln("trash purge").ends(0).out;
    daemon.second_look();
    daemon.second_look();
    assert_eq!(trash(&sandbox), ["b"]);
    assert!(purges().contains("purged volume b "));
    assert_eq!(trash(&sandbox), Vec::<String>::new());
}

fn nothing_is_purged_while_something_is_in_doubt() {
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

fn what_has_marks_that_cannot_be_believed_is_not_purged() {
    let (sandbox, daemon) = following("interval: 1s, trash: {ttl: 2s}");
    // Nothing is seen of it until its marks are damaged.
    in_trash(&sandbox, "b");
    daemon.send(Signal::STOP);
    let native = fs::read_dir(sandbox.path("pool/.trash")).unwrap().next().unwrap().unwrap().path();
    fs::write(native.join("tags.json"), "{").unwrap();
    daemon.send(Signal::CONT);
    let past = Instant::now();
    wait("its time", || past.elapsed() > Duration::from_secs(4));
    daemon.second_look();
    assert_eq!(trash(&sandbox), ["b"]);
}
