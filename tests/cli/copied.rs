//! Objects that were copied to another pool outside of Kiln.

use std::fs;

use super::sandbox::{STACK, Sandbox};

const SLOW: &str = "---\napiVersion: kiln/v1\nkind: Backend\nmetadata: {name: slow}\n\
    spec: {driver: local, local: {path: ../slow, create: true}, maxFill: 100%}\n";

/// Two pools with a volume each; the pool `slow` also has a copy of the volume `db`. Returns the directory of the copy.
fn with_copy(spec: &str) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.write("specs/stack.yaml", &format!("{STACK}{SLOW}"));
    sandbox.volume("db", spec);
    sandbox.volume("keep", "size: 2Mi");
    sandbox.write("specs/web.yaml", &volume_on_slow("web"));
    sandbox.kiln("apply").ends(0);
    sandbox.write_data("db");
    let file = sandbox.live_file("db");
    let native = file.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let copy = format!("slow/{native}");
    fs::create_dir(sandbox.path(&copy)).unwrap();
    for entry in fs::read_dir(file.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), sandbox.path(&copy).join(entry.file_name())).unwrap();
    }
    (sandbox, copy)
}

fn volume_on_slow(name: &str) -> String {
    format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{backend: slow, size: 1Mi}}\n")
}

#[test]
fn a_copy_on_another_pool_outlives_the_volume_and_what_is_known_of_it() {
    let (sandbox, copy) = with_copy("size: 1Mi, onRemove: Delete");
    let before = sandbox.tree(&copy);
    sandbox.kiln("apply").ends(0).says("Nothing to do").says("copies of objects of another pool");
    // A lock file names the process that had it.
    let kept = |path| sandbox.tree(path).into_iter().filter(|(file, _)| file.extension() != Some("lock".as_ref()));
    let pools = || ["pool", "slow"].map(|path| kept(path).collect::<Vec<_>>());
    let written = pools();
    sandbox.kiln("apply").ends(0).says("Nothing to do");
    assert!(pools() == written, "a pass with nothing to do writes");
    assert_eq!(sandbox.object("volume/db")["status"]["backend"], "fast");
    sandbox.kiln("adopt slow").ends(0).says("it is a copy of volume/db");
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("apply --yes").ends(0);
    sandbox.kiln("apply --yes").ends(0).says("Nothing to do");
    // Nothing else knows of the volume any more.
    sandbox.remove("state");
    sandbox.remove("specs/keep.yaml");
    sandbox.write("specs/stack.yaml", &format!("{}{SLOW}", STACK.split("---\n").next().unwrap()));
    sandbox.kiln("apply --yes").ends(0).says("Nothing to do");
    assert!(sandbox.tree(&copy) == before, "the copy changed");
}

#[test]
fn a_volume_moves_by_hand_in_either_order_of_the_edits() {
    for edit_first in [true, false] {
        let (sandbox, copy) = with_copy("size: 1Mi");
        let file = sandbox.live_file("db");
        let edit = || sandbox.write("specs/db.yaml", &volume_on_slow("db"));
        let remove = || fs::remove_dir_all(file.parent().unwrap()).unwrap();
        if edit_first {
            edit();
            sandbox.kiln("apply").ends(4).says("it is on backend fast");
            remove();
        } else {
            sandbox.kiln("apply").ends(0).says("Nothing to do");
            remove();
            sandbox.kiln("apply").ends(4).says("Lost");
            edit();
        }
        sandbox.kiln("apply").ends(0).says("Nothing to do");
        assert_eq!(sandbox.object("volume/db")["status"]["backend"], "slow");
        sandbox.remove("specs/db.yaml");
        sandbox.kiln("apply").ends(0);
        assert!(!sandbox.has(&copy), "it is no copy any more");
        sandbox.kiln("trash restore volume/db").ends(0);
        assert!(sandbox.has(&copy));
    }
}

/// `cp` that ended early looks like a volume that lost its end, in every pass.
#[test]
fn a_volume_that_was_moved_by_a_copy_cut_short_is_not_grown_with_zeroes() {
    for with_store in [true, false] {
        let (sandbox, copy) = with_copy("size: 1Mi");
        let original = sandbox.live_file("db");
        let of_copy = sandbox.path(&copy).join(original.file_name().unwrap());
        fs::File::options().write(true).open(&of_copy).unwrap().set_len(300 << 10).unwrap();
        sandbox.write("specs/db.yaml", &volume_on_slow("db"));
        fs::remove_dir_all(original.parent().unwrap()).unwrap();
        let size = || fs::metadata(&of_copy).unwrap().len();
        for _ in 0..3 {
            if !with_store {
                sandbox.remove("state");
            }
            sandbox.kiln("apply --yes").ends(4).says("was 1Mi").says("Lost");
            assert_eq!(size(), 300 << 10);
        }
        sandbox.kiln("forget volume/db").ends(0).says("accepted");
        for _ in 0..2 {
            sandbox.kiln("apply").ends(4).says("GrowRefused");
            assert_eq!(size(), 300 << 10);
        }
    }
}
