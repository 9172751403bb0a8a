//! Stories of renames.

use crate::harness::pool::Outside;
use crate::harness::story::{Chapter, Story};
use crate::rig::{join, snapshot, volume};

use super::changes::{clients_write, foreign};

pub fn renamed(name: &str, from: &str, spec: &str) -> String {
    volume(name, spec).replace(&format!("name: {name}"), &format!("name: {name}, renamedFrom: {from}"))
}

fn renamed_snapshot(name: &str, from: &str, of: &str, more: &str) -> String {
    snapshot(name, of, more).replace(&format!("name: {name}"), &format!("name: {name}, renamedFrom: {from}"))
}

/// Renames of what is plain, adopted, or bears a name of its own, and has snapshots; and of what is open while it is renamed.
fn renames() -> Vec<Chapter> {
    let declared = [
        volume("db", "size: 1Mi, protected: true"),
        volume("named", "size: 1Mi, object: by-name"),
        volume("taken", "size: 1Mi, adopt: {name: theirs}"),
        snapshot("monday", "db", ""),
        snapshot("frozen", "taken", ", protected: true"),
    ];
    let said = [
        renamed("database", "db", "size: 2Mi"),
        renamed("called", "named", "size: 1Mi"),
        renamed("adopted", "taken", "size: 1Mi"),
        renamed_snapshot("montag", "monday", "database", ""),
        snapshot("frozen", "adopted", ""),
    ];
    let mut open = clients_write(1);
    open.push(Outside::OpenAll);
    vec![
        Chapter::new("declare", join(&declared)).after(clients_write(0)),
        Chapter::new("rename", join(&said)).after(open),
    ]
}

/// Two volumes exchange their names by way of a third, and others pass theirs on in a chain, with their snapshots.
fn exchange() -> Vec<Chapter> {
    let plain = |name: &str| volume(name, "size: 1Mi");
    let move_to = |name: &str, from: &str| renamed(name, from, "size: 1Mi");
    let other = |name: &str, from: &str, of: &str| renamed_snapshot(name, from, of, "");
    let declare = join(&[["a", "b", "c", "d"].map(plain).concat(), snapshot("s", "a", ""), snapshot("t", "b", "")]);
    let make_room = join(&[
        move_to("x", "a"),
        plain("b"),
        plain("c"),
        move_to("e", "d"),
        other("y", "s", "x"),
        snapshot("t", "b", ""),
    ]);
    let pass_on = join(&[
        plain("x"),
        move_to("a", "b"),
        move_to("d", "c"),
        plain("e"),
        other("s", "t", "a"),
        snapshot("y", "x", ""),
    ]);
    let exchanged = join(&[
        move_to("b", "x"),
        plain("a"),
        plain("d"),
        plain("e"),
        plain("c"),
        snapshot("s", "a", ""),
        other("t", "y", "b"),
    ]);
    vec![
        Chapter::new("declare", declare).after(clients_write(0)),
        Chapter::new("make room", make_room).after(clients_write(1)),
        Chapter::new("pass on", pass_on).after(clients_write(2)),
        Chapter::new("exchanged", exchanged).after(clients_write(3)),
    ]
}

/// The same where nothing can be renamed: every rename is held, and nothing is changed.
fn exchange_without_renames() -> Vec<Chapter> {
    use kiln::plan::HeldReason::Unsupported;
    let mut chapters = exchange();
    chapters.truncate(2);
    let held = [("snapshot/y", Unsupported), ("volume/e", Unsupported), ("volume/x", Unsupported)];
    let last = chapters.pop().unwrap();
    chapters.push(Chapter { can_go_back: true, ..last.holds(&held) });
    chapters
}

/// A volume renamed without `renamedFrom`, which is written later: from the trash, and where the volume still is.
fn renamed_later() -> Vec<Chapter> {
    let kept = volume("kept", "size: 3Mi, onRemove: Retain");
    let declare = join(&[volume("db", "size: 1Mi"), kept, snapshot("monday", "db", "")]);
    let without = join(&[volume("database", "size: 1Mi"), volume("held", "size: 4Mi, provisioning: thick")]);
    let with = join(&[
        renamed("database", "db", "size: 2Mi"),
        renamed("held", "kept", "size: 4Mi"),
        snapshot("monday", "database", ""),
    ]);
    vec![
        Chapter::new("declare", declare),
        Chapter::new("without renamedFrom", without).after(clients_write(7)),
        Chapter::new("with it", with),
    ]
}

pub fn all() -> Vec<Story> {
    vec![
        Story::new("renames", &["all", "by-name"], renames()).begins(foreign()),
        Story::new("exchange", &["all", "by-name"], exchange()),
        Story::new("exchange-held", &["no-rename"], exchange_without_renames()),
        Story::new("renamed-later", &["all"], renamed_later()),
    ]
}
