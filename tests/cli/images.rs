//! Volumes from images and back, by the commands that a person types.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::sandbox::Sandbox;

const MIB: usize = 1 << 20;

/// The real tool; without it these tests fail.
fn qemu_img(arguments: &[&str], dir: &Path) {
    #[expect(clippy::disallowed_methods, reason = "the world outside of kiln")]
    let output = Command::new("qemu-img").args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `images/disk.raw` and `images/disk.qcow2`, of 4 MiB, and what is in them.
fn with_images() -> (Sandbox, Vec<u8>) {
    let sandbox = Sandbox::with_stack();
    let mut disk = vec![0; 4 * MIB];
    for at in [0, MIB + 7, 4 * MIB - 9] {
        disk[at..at + 9].copy_from_slice(b"canary-5e");
    }
    fs::create_dir(sandbox.path("images")).unwrap();
    fs::write(sandbox.path("images/disk.raw"), &disk).unwrap();
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"], &sandbox.path("images"));
    (sandbox, disk)
}

fn volume(sandbox: &Sandbox, name: &str, size: &str, image: &str) {
    sandbox.volume(name, &format!("size: {size}, source: {{image: {{{image}}}}}"));
}

#[test]
fn volumes_are_made_from_images_and_written_into_them() {
    let (sandbox, disk) = with_images();
    volume(&sandbox, "flat", "4Mi", "path: ../images/disk.raw, format: raw");
    volume(&sandbox, "packed", "8Mi", "path: ../images/disk.qcow2, format: qcow2");
    sandbox.kiln("plan").ends(0).says("4Mi on fast, from the raw image ").says("disk.qcow2");
    assert!(!sandbox.has("pool"));
    sandbox.kiln("apply").ends(0).says("Applied: 2 steps done.");
    assert!(fs::read(sandbox.data_file("volume/flat")).unwrap() == disk);
    let packed = fs::read(sandbox.data_file("volume/packed")).unwrap();
    assert!(packed.len() == 8 * MIB && packed[..4 * MIB] == disk && packed[4 * MIB..].iter().all(|byte| *byte == 0));
    // How it began is not looked at once it is there.
    sandbox.remove("images/disk.raw");
    sandbox.kiln("apply").ends(0).says("Nothing to do.");

    let before = sandbox.tree("pool");
    sandbox
        .kiln("image export volume/flat out.raw --format raw")
        .ends(0)
        .says("exported volume/flat of 4Mi to out.raw");
    assert!(fs::read(sandbox.path("out.raw")).unwrap() == disk);
    sandbox.kiln("image export volume/flat out.qcow2 --format qcow2").ends(0);
    qemu_img(&["convert", "-f", "qcow2", "-O", "raw", "out.qcow2", "again.raw"], &sandbox.path("."));
    assert!(fs::read(sandbox.path("again.raw")).unwrap() == disk);
    sandbox.kiln("image export volume/flat out.raw --format qcow2").ends(1).warns("--force");
    assert!(fs::read(sandbox.path("out.raw")).unwrap() == disk);
    sandbox.kiln("image export volume/flat out.raw --format qcow2 --force").ends(0);
    assert!(fs::read(sandbox.path("out.raw")).unwrap().starts_with(b"QFI\xfb"));
    sandbox.kiln("image export volume/gone x.raw --format raw").ends(2).warns("volume/gone is not there");
    sandbox.kiln("image export volume/flat x.raw").ends(2).warns("--format");
    assert_eq!(sandbox.tree("pool"), before, "an export changes nothing");
}

#[test]
fn an_open_volume_goes_out_by_its_snapshot() {
    let (sandbox, disk) = with_images();
    volume(&sandbox, "db", "4Mi", "path: ../images/disk.raw, format: raw");
    sandbox.kiln("apply").ends(0);
    sandbox.snapshot("monday", "volume: db");
    sandbox.kiln("apply").ends(0);
    let writer = fs::OpenOptions::new().write(true).open(sandbox.data_file("volume/db")).unwrap();
    writer.write_all_at(b"changed", 0).unwrap();
    let refused = sandbox.kiln("image export volume/db out.raw --format raw").ends(4);
    refused.warns("open for writing").warns("snapshot/NAME");
    assert!(!sandbox.has("out.raw"));
    sandbox.kiln("image export snapshot/monday out.raw --format raw").ends(0);
    assert!(fs::read(sandbox.path("out.raw")).unwrap() == disk);
}

#[test]
fn unsupported_volumes_are_held_while_planning() {
    let (sandbox, _) = with_images();
    let images = sandbox.path("images");
    qemu_img(&["create", "-f", "qcow2", "-b", "disk.raw", "-F", "raw", "backed.qcow2"], &images);
    volume(&sandbox, "backed", "4Mi", "path: ../images/backed.qcow2, format: qcow2");
    volume(&sandbox, "small", "1Mi", "path: ../images/disk.qcow2, format: qcow2");
    volume(&sandbox, "gone", "4Mi", "path: ../images/gone.raw, format: raw");
    volume(&sandbox, "other", "4Mi", "path: ../images/disk.qcow2, format: raw");
    let plan = sandbox.kiln("plan").ends(4).says("backing file").says("SizeBelowSource").says("SourceMissing");
    plan.says("an image of the format qcow2 by its content").says("write `format: qcow2`").says("size: 4Mi");
    sandbox.kiln("apply").ends(4);
    assert!(sandbox.tree("pool").iter().all(|(path, _)| path.extension().is_none_or(|e| e != "img")));
}

#[test]
fn an_image_of_another_format_is_neither_adopted_nor_exported_as_raw() {
    let (sandbox, disk) = with_images();
    let images = sandbox.path("images");
    qemu_img(&["convert", "-f", "raw", "-O", "vmdk", "disk.raw", "disk.vmdk"], &images);
    for file in ["disk.qcow2", "disk.vmdk", "disk.raw"] {
        sandbox.write(&format!("pool/{file}"), "");
        fs::copy(images.join(file), sandbox.path(&format!("pool/{file}"))).unwrap();
    }
    let listed = sandbox.kiln("adopt fast").ends(0).says("1 object can be adopted");
    listed.says("an image of the format qcow2").says("an image of the format vmdk");
    sandbox.write("pool/disk.vmdk.raw", "of somebody else");
    for format in ["qcow2", "vmdk", "raw"] {
        sandbox.volume(format, &format!("size: 8Mi, adopt: {{name: disk.{format}}}"));
    }
    let pool = sandbox.path("pool");
    let before = sandbox.tree("pool");
    let held = sandbox.kiln("plan").ends(4).says("disk.qcow2 holds an image of the format qcow2, not a raw disk");
    // A file of the new name is not overwritten.
    held.says("/pool/disk.vmdk.2.raw`").says("disk.raw");
    assert_eq!(sandbox.tree("pool"), before);
    sandbox.kiln("apply").ends(4);
    assert!(fs::read(pool.join("disk.raw")).unwrap()[..disk.len()] == disk);
    for file in ["disk.qcow2", "disk.vmdk"] {
        assert!(fs::read(pool.join(file)).unwrap() == fs::read(images.join(file)).unwrap(), "{file}");
    }
    // The fixes that it prints are carried out.
    let plan = sandbox.kiln("plan -o json").json();
    let held = plan["held"].as_array().unwrap().iter();
    let fix = held.map(|held| held["fix"].as_str().unwrap()).find(|fix| fix.contains("source:")).unwrap();
    let source = fix.split('`').nth(1).unwrap();
    sandbox.volume("qcow2", &format!("size: 8Mi, {source}"));
    let held = plan["held"].as_array().unwrap().iter();
    let fix = held.map(|held| held["fix"].as_str().unwrap()).find(|fix| fix.contains("qemu-img")).unwrap();
    let printed: Vec<&str> = fix.split('`').skip(1).step_by(2).collect();
    let mut shell = assert_cmd::Command::new("sh");
    shell.args(["-c", printed[0]]).current_dir(sandbox.path(".")).assert().success();
    sandbox.volume("vmdk", &format!("size: 8Mi, {}", printed[1]));
    sandbox.kiln("apply").ends(0);
    assert!(fs::read(sandbox.data_file("volume/qcow2")).unwrap()[..disk.len()] == disk);
    assert!(fs::read(pool.join("disk.vmdk.2.raw")).unwrap()[..disk.len()] == disk);

    // A client wrote an image into its volume: as a raw file it would be read as that.
    let inner = fs::read(images.join("disk.qcow2")).unwrap();
    fs::File::options().write(true).open(pool.join("disk.vmdk.2.raw")).unwrap().write_all_at(&inner, 0).unwrap();
    sandbox.kiln("image export volume/vmdk out.raw --format raw").ends(1).warns("format qcow2").warns("--format qcow2");
    assert!(!sandbox.has("out.raw"));
    sandbox.kiln("image export volume/vmdk out.qcow2 --format qcow2").ends(0);
    qemu_img(&["convert", "-f", "qcow2", "-O", "raw", "out.qcow2", "back.raw"], &sandbox.path("."));
    assert!(fs::read(sandbox.path("back.raw")).unwrap() == fs::read(pool.join("disk.vmdk.2.raw")).unwrap());
}

#[test]
fn another_checksum_leaves_nothing() {
    let (sandbox, disk) = with_images();
    let wrong = "0".repeat(64);
    for format in ["raw", "qcow2"] {
        volume(&sandbox, "db", "4Mi", &format!("path: ../images/disk.{format}, format: {format}, sha256: \"{wrong}\""));
        sandbox.kiln("apply").ends(1).warns("nothing was made of it").warns(&wrong);
        let left = sandbox.tree("pool");
        assert!(left.iter().all(|(path, _)| !path.to_string_lossy().contains("kiln.prod")), "{left:?}");
        assert!(
            fs::read_dir(sandbox.path("pool")).unwrap().all(|e| !e
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains("tmp"))
        );
    }
    #[expect(clippy::disallowed_methods, reason = "the world outside of kiln")]
    let sum = Command::new("sha256sum").arg(sandbox.path("images/disk.raw")).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    volume(&sandbox, "db", "4Mi", &format!("path: ../images/disk.raw, format: raw, sha256: \"{}\"", &sum[..64]));
    sandbox.kiln("apply").ends(0);
    assert!(fs::read(sandbox.data_file("volume/db")).unwrap() == disk);
}

/// Processes that were started to read or write files which this one had open.
fn tools_of(kiln: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&format!("/proc/{kiln}/fd/")) {
            found.push(command);
        }
    }
    found
}

#[test]
fn killed_while_an_image_is_converted_nothing_is_seen_and_the_next_run_makes_it() {
    let sandbox = Sandbox::with_stack();
    // Large enough that the kill comes in the middle: some tenths of a second.
    let size = 256 * MIB;
    let disk: Vec<u8> =
        (0..size / 8).flat_map(|n: usize| (n as u64 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    fs::create_dir(sandbox.path("images")).unwrap();
    fs::write(sandbox.path("images/disk.raw"), &disk).unwrap();
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"], &sandbox.path("images"));
    sandbox.remove("images/disk.raw");
    volume(&sandbox, "db", "256Mi", "path: ../images/disk.qcow2, format: qcow2");
    let mut caught = 0;
    for _ in 0..5 {
        #[expect(clippy::disallowed_methods, reason = "the world outside of kiln")]
        let mut kiln = Command::new(env!("CARGO_BIN_EXE_kiln"))
            .arg("apply")
            .current_dir(sandbox.path("."))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let id = kiln.id();
        while kiln.try_wait().unwrap().is_none() {
            if tools_of(id).iter().any(|command| command.contains("qemu-img convert")) {
                kiln.kill().unwrap();
                kiln.wait().unwrap();
                caught += 1;
                break;
            }
        }
        let since = std::time::Instant::now();
        while !tools_of(id).is_empty() {
            assert!(since.elapsed().as_secs() < 20, "qemu-img lives on: {:?}", tools_of(id));
        }
        let names = fs::read_dir(sandbox.path("pool")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let volumes: Vec<String> = names.filter(|name| name.starts_with("kiln.prod.")).collect();
        if !volumes.is_empty() {
            break;
        }
    }
    assert!(caught > 0, "no run was caught in the middle");
    sandbox.kiln("apply").ends(0);
    assert!(fs::read(sandbox.data_file("volume/db")).unwrap() == disk);
    let left = fs::read_dir(sandbox.path("pool"))
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("kiln-tmp"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_volume_whose_clients_cannot_be_seen_is_exported_only_if_a_person_says_that_it_is_quiesced() {
    let sandbox = Sandbox::with_stack();
    let head =
        |kind: &str, name: &str| format!("---\napiVersion: kiln/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:");
    let backend = "{driver: sim, sim: {path: pretend.sim, mode: {blindToClients: true}}}";
    let documents = [
        (head("Backend", "mem"), backend),
        (head("Volume", "db"), "{backend: mem, size: 1Mi}"),
        (head("Snapshot", "monday"), "{volume: db, quiesced: true}"),
    ];
    let text: String = documents.iter().map(|(head, spec)| format!("{head} {spec}\n")).collect();
    sandbox.write("specs/mem.yaml", text.trim_start_matches("---\n"));
    sandbox.kiln("apply").ends(0);
    let held = sandbox.kiln("image export volume/db out.raw --format raw").ends(4);
    held.warns("backend mem cannot see all clients").warns("--quiesced");
    // (A simulated volume has no file to read.)
    sandbox.kiln("image export volume/db out.raw --format raw --quiesced").ends(1).warns("gives no file");
    sandbox.kiln("image export snapshot/monday out.raw --format raw").ends(1).warns("gives no file");
}
