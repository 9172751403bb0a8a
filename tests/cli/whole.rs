//! Files that Kiln writes for a person: whole or not at all, and nothing beside them.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::mounted::Mounted;
use crate::room::fill_up;
use crate::sandbox::Sandbox;
use crate::signals::{send, start};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_write_without_space_leaves_no_obstacle() {
    let disk = Mounted::new("ext4", "e2fsprogs", 8 << 20, &["-m", "0"]);
    let sandbox = Sandbox::with_volumes(&["db"]);
    fs::create_dir(sandbox.path("pool")).unwrap();
    for name in ["one", "two"] {
        fs::write(sandbox.path(&format!("pool/{name}")), vec![1; 4096]).unwrap();
    }
    let at = |name: &str| disk.at.join(name).display().to_string();
    for dir in ["init", "adopt", "man"] {
        fs::create_dir(disk.at.join(dir)).unwrap();
    }
    fs::write(disk.at.join("plan"), "an older one").unwrap();
    let commands = [
        format!("init {}", at("init")),
        format!("adopt fast --write {}", at("adopt")),
        format!("man --all {}", at("man")),
        format!("plan --out {}", at("plan")),
    ];
    fill_up(&disk.at);
    for command in &commands {
        sandbox.kiln(command).ends(1).warns("No space left");
        for dir in ["init", "adopt", "man"] {
            assert_eq!(names(&disk.at.join(dir)), Vec::<String>::new(), "{command}");
        }
        assert_eq!(fs::read_to_string(disk.at.join("plan")).unwrap(), "an older one", "{command}");
    }
    fs::remove_file(disk.at.join("filler")).unwrap();
    for command in &commands {
        sandbox.kiln(command).ends(0);
    }
    assert_eq!(names(&disk.at.join("init")), ["kiln.schema.json", "kiln.yaml"]);
    assert_eq!(names(&disk.at.join("adopt")), ["kiln.schema.json", "one.yaml", "two.yaml"]);
    assert!(names(&disk.at).iter().all(|name| !name.contains("tmp")));
}

#[test]
fn an_interrupted_export_is_reported_and_leaves_no_file() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("db", "size: 512Mi");
    sandbox.kiln("apply").ends(0);
    let file = fs::OpenOptions::new().write(true).open(sandbox.data_file("volume/db")).unwrap();
    // Room without content is copied all the same, and takes no time to make.
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 512 << 20).unwrap();
    std::io::Write::write_all(&mut &file, &vec![7; 128 << 20]).unwrap();
    drop(file);
    let temporary = sandbox.path(".out.raw.kiln-tmp");
    let mut caught = false;
    for _ in 0..10 {
        let mut child = start(&sandbox, &["image", "export", "volume/db", "out.raw", "--format", "raw"]);
        while !temporary.exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        send(&child, Signal::INT);
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            fs::remove_file(sandbox.path("out.raw")).unwrap();
            continue;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("stopped before it was complete") && said.contains("no image was written"), "{said}");
        assert!(!temporary.exists() && !sandbox.has("out.raw"), "{:?}", names(&sandbox.path(".")));
        caught = true;
        break;
    }
    assert!(caught, "no export was caught in the middle");
}
