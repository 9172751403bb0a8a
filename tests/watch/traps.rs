//! What watching files gets wrong when it is done simply: each change arrives all the same, and nothing is removed by it. The interval
//! is an hour, so that nothing arrives by a look that was due anyway.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::daemon::{Daemon, PATIENCE, all_stay, arrives, document, following, grows, stack, trash};
use crate::sandbox::Sandbox;

#[test]
fn every_kind_of_file_change_is_noticed() {
    at_once!(
        files_in_new_directories,
        files_replaced_by_renames,
        a_replaced_single_file,
        a_kubernetes_config_map,
        an_overflow_of_the_event_queue,
        constant_changes_delay_no_other_change,
    );
}

const MIB: u64 = 1 << 20;

fn files_in_new_directories() {
    let (sandbox, daemon) = following();
    fs::create_dir_all(sandbox.path("specs/team/a")).unwrap();
    // Once this has arrived, the directory before it was noticed as well.
    sandbox.volume("fence", "size: 1Mi");
    arrives(&sandbox, "fence");
    sandbox.write("specs/team/a/later.yaml", &document("later", "1Mi"));
    arrives(&sandbox, "later");
    // A directory and what is in it, at once and deep.
    for n in 0..10 {
        sandbox.write(&format!("specs/deep/{n}/b/c/d/e/deep.yaml"), &document(&format!("deep{n}"), "1Mi"));
    }
    (0..10).for_each(|n| arrives(&sandbox, &format!("deep{n}")));
    sandbox.write("specs/deep/9/b/c/d/e/deep.yaml", &document("deep9", "2Mi"));
    grows(&sandbox, "deep9", 2 * MIB);
    // A directory that is moved in with its files, and changed there.
    sandbox.write("elsewhere/x/moved.yaml", &document("moved", "1Mi"));
    fs::rename(sandbox.path("elsewhere"), sandbox.path("specs/moved")).unwrap();
    arrives(&sandbox, "moved");
    sandbox.write("specs/moved/x/moved.yaml", &document("moved", "2Mi"));
    grows(&sandbox, "moved", 2 * MIB);
    assert_eq!(trash(&sandbox), Vec::<String>::new());
    drop(daemon);
}

fn files_replaced_by_renames() {
    let (sandbox, daemon) = following();
    for mib in 2..5 {
        sandbox.write("specs/.canary.yaml.swp", &document("canary", &format!("{mib}Mi")));
        fs::rename(sandbox.path("specs/.canary.yaml.swp"), sandbox.path("specs/canary.yaml")).unwrap();
        grows(&sandbox, "canary", mib * MIB);
    }
    // As an editor with backups does it: the old one is moved away, and a new one written.
    for mib in 5..7 {
        fs::rename(sandbox.path("specs/canary.yaml"), sandbox.path("specs/canary.yaml~")).unwrap();
        sandbox.write("specs/canary.yaml", &document("canary", &format!("{mib}Mi")));
        grows(&sandbox, "canary", mib * MIB);
    }
    // In place, with the same length and an old time.
    sandbox.write("specs/canary.yaml", &document("canary", "7Mi"));
    let old = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::options().write(true).open(sandbox.path("specs/canary.yaml")).unwrap().set_times(old).unwrap();
    grows(&sandbox, "canary", 7 * MIB);
    all_stay(&sandbox, &daemon, &["canary"]);
}

fn a_replaced_single_file() {
    let sandbox = Sandbox::new();
    let text = |size: &str| format!("{}{}", stack("interval: 1h"), document("canary", size));
    sandbox.write("specs/one", &text("1Mi"));
    let daemon = Daemon::spawn(&sandbox, "state", &["watch", "specs/one"], &[]);
    daemon.is_up();
    for mib in 2..5 {
        sandbox.write("specs/one.new", &text(&format!("{mib}Mi")));
        fs::rename(sandbox.path("specs/one.new"), sandbox.path("specs/one")).unwrap();
        grows(&sandbox, "canary", mib * MIB);
    }
    fs::remove_file(sandbox.path("specs/one")).unwrap();
    daemon.confirmation_read();
    assert_eq!(daemon.view()["problems"].as_array().map(Vec::len), Some(1), "{}", daemon.view());
    sandbox.write("specs/one", &text("5Mi"));
    grows(&sandbox, "canary", 5 * MIB);
    sandbox.write("specs/one", &text("6Mi"));
    grows(&sandbox, "canary", 6 * MIB);
    all_stay(&sandbox, &daemon, &["canary"]);
}

fn a_kubernetes_config_map() {
    let sandbox = Sandbox::new();
    // As the kubelet writes it: links to `..data/…`, which is a link to a directory that is never changed.
    let publish = |version: &str, files: &[(&str, String)]| {
        for (name, text) in files {
            sandbox.write(&format!("specs/..{version}/{name}"), text);
        }
        symlink(format!("..{version}"), sandbox.path("specs/..data_tmp")).unwrap();
        fs::rename(sandbox.path("specs/..data_tmp"), sandbox.path("specs/..data")).unwrap();
        for (name, _) in files {
            let link = sandbox.path(&format!("specs/{name}"));
            if fs::symlink_metadata(&link).is_err() {
                symlink(format!("..data/{name}"), &link).unwrap();
            }
        }
    };
    let first = stack("interval: 1h");
    publish("v1", &[("stack.yaml", first.clone()), ("canary.yaml", document("canary", "1Mi"))]);
    let daemon = Daemon::start(&sandbox);
    for version in 2..5_u64 {
        let canary = document("canary", &format!("{version}Mi"));
        let other = document(&format!("other{version}"), "1Mi");
        let all = (2..version).map(|n| document(&format!("other{n}"), "1Mi")).collect::<String>() + &other;
        let name = format!("v{version}");
        publish(&name, &[("stack.yaml", first.clone()), ("canary.yaml", canary), ("others.yaml", all)]);
        sandbox.remove(&format!("specs/..v{}", version - 1));
        grows(&sandbox, "canary", version * MIB);
        arrives(&sandbox, &format!("other{version}"));
    }
    all_stay(&sandbox, &daemon, &["canary", "other2", "other3", "other4"]);
    assert_eq!(daemon.view()["problems"], serde_json::json!([]));
}

fn an_overflow_of_the_event_queue() {
    let (sandbox, daemon) = following();
    let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    // While it does not read, its queue fills: of what comes last it is told nothing.
    daemon.send(Signal::STOP);
    // Alternating, as equal events in a row are one to the kernel.
    for n in 0..=most / 2 {
        fs::write(sandbox.path(&format!("specs/{}.txt", n % 2)), "").unwrap();
    }
    sandbox.volume("last", "size: 1Mi");
    daemon.send(Signal::CONT);
    arrives(&sandbox, "last");
    sandbox.volume("after", "size: 1Mi");
    arrives(&sandbox, "after");
    all_stay(&sandbox, &daemon, &["after", "canary", "last"]);
}

fn constant_changes_delay_no_other_change() {
    let (sandbox, daemon) = following();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                sandbox.volume("restless", &format!("size: {}Ki", 4 * (n + 1)));
                std::thread::sleep(Duration::from_millis(100));
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for n in 0..4 {
            let (name, began) = (format!("quiet{n}"), Instant::now());
            sandbox.volume(&name, "size: 1Mi");
            arrives(&sandbox, &name);
            assert!(began.elapsed() < PATIENCE / 3, "{:?}", began.elapsed());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let last = fs::read_to_string(sandbox.path("specs/restless.yaml")).unwrap();
    let size = last.rsplit_once("size: ").unwrap().1.split_once("Ki").unwrap().0.parse::<u64>().unwrap();
    grows(&sandbox, "restless", size * 1024);
    all_stay(&sandbox, &daemon, &["canary", "quiet0", "quiet1", "quiet2", "quiet3", "restless"]);
}
