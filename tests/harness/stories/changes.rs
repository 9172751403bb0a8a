//! Stories of what documents alone do: creations, changes, removals and returns.

use kiln::model::Size;

use crate::harness::pool::Outside;
use crate::harness::story::{Chapter, Story};
use crate::rig::{join, snapshot, volume};

const ENCRYPTED: &str = ", encryption: {passphraseFrom: {env: PASS}}";

/// What clients write before a chapter.
pub fn clients_write(chapter: u64) -> Vec<Outside> {
    vec![Outside::WriteAll { block: chapter, stamp: 1000 + chapter }]
}

/// A volume of another program to adopt, and one to leave alone.
pub fn foreign() -> Vec<Outside> {
    vec![
        Outside::Make { native: "theirs", size: Size(1 << 20), stamp: 77 },
        Outside::Make { native: "foreign", size: Size(1 << 20), stamp: 99 },
    ]
}

fn db(more: &str) -> String {
    volume("db", &format!("size: 1Mi{more}"))
}

/// What of it all a backend can do.
#[derive(Clone, Copy)]
struct Able {
    renames: bool,
    /// Reserves the space of a volume that exists.
    reserves: bool,
    /// Snapshots and clones of volumes whose clients cannot be seen are consistent only if they are idle, which the document says.
    sees_clients: bool,
}

const ABLE: Able = Able { renames: true, reserves: true, sees_clients: true };

/// Everything that documents can ask for where a backend can do everything, or nearly.
fn everything(able: Able) -> Vec<Chapter> {
    let quiesced = if able.sees_clients { "" } else { ", quiesced: true" };
    let of_web = if able.sees_clients { "source: {volume: web}" } else { "source: {volume: web, quiesced: true}" };
    let thick = if able.reserves { ", provisioning: thick" } else { "" };
    let (clone, from) = if able.renames { ("clone", ", renamedFrom: copy") } else { ("copy", "") };
    let declare = join(&[
        db(", protected: true, qos: {iops: 5}"),
        volume("web", "size: 2Mi, provisioning: thick"),
        volume("named", "size: 1Mi, object: by-name"),
        volume("going", "size: 1Mi, onRemove: Delete"),
        volume("kept", "size: 1Mi, onRemove: Retain"),
        snapshot("monday", "web", quiesced),
        volume("copy", "size: 4Mi, source: {snapshot: monday}"),
        volume("twin", &format!("size: 2Mi, {of_web}{ENCRYPTED}")),
    ]);
    let change = join(&[
        volume("db", "size: 3Mi, protected: false, qos: {iops: 9, bps: 1Mi}"),
        volume("web", "size: 2Mi, restore: {snapshot: monday, request: once}"),
        volume("named", &format!("size: 2Mi, object: by-name{thick}")),
        volume("going", "size: 1Mi"),
        volume("kept", "size: 1Mi"),
        format!(
            "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: {clone}{from}, labels: {{a: b}}}}\nspec: {{size: 5Mi}}\n"
        ),
        volume("twin", &format!("size: 2Mi{ENCRYPTED}")),
        snapshot("monday", "web", ", onRemove: Detach"),
        snapshot("tuesday", "web", quiesced),
        volume("taken", "size: 1Mi, adopt: {name: theirs}"),
    ]);
    let twin = || volume("twin", &format!("size: 2Mi{ENCRYPTED}"));
    let remove = join(&[volume("db", "size: 3Mi"), volume("web", "size: 2Mi"), twin()]);
    let bring_back = join(&[
        volume("db", "size: 4Mi"),
        volume("web", "size: 2Mi"),
        twin(),
        volume("named", "size: 2Mi, object: by-name"),
        snapshot("tuesday", "web", quiesced),
        volume("kept", "size: 1Mi"),
        volume("going", "size: 1Mi"),
    ]);
    vec![
        Chapter::new("declare", declare).after(clients_write(0)),
        Chapter::new("change", change).after(clients_write(1)).after(vec![Outside::LeaveUnfinished("half")]),
        Chapter::new("remove", remove).after(clients_write(2)),
        Chapter::new("bring back", bring_back).after(clients_write(3)),
    ]
}

/// Creations, copies, changes, a rename, a restore and removals where there is no trash. `lists`: what others left is seen, and can be
/// adopted or swept.
fn without_trash(lists: bool) -> Vec<Chapter> {
    let gone = ", onRemove: Delete";
    let plain = |name: &str, more: &str| volume(name, &format!("size: 1Mi{gone}{more}"));
    let web = |more: &str| volume("web", &format!("size: 2Mi{gone}{more}"));
    let monday = snapshot("monday", "web", gone);
    let taken = if lists { plain("taken", ", adopt: {name: theirs}") } else { String::new() };
    let declare = join(&[
        plain("db", ", protected: true"),
        web(""),
        plain("named", ", object: by-name"),
        monday.clone(),
        volume("copy", &format!("size: 5Mi{gone}, source: {{snapshot: monday}}")),
        taken,
    ]);
    let change = join(&[
        volume("db", &format!("size: 3Mi{gone}, protected: false, qos: {{iops: 9}}, provisioning: thick")),
        web(""),
        plain("named", ", object: by-name"),
        super::renames::renamed("clone", "copy", &format!("size: 5Mi{gone}")),
        monday.clone(),
        snapshot("tuesday", "web", gone),
        volume("twin", &format!("size: 4Mi{gone}, source: {{volume: web}}")),
    ]);
    let remove =
        join(&[volume("db", &format!("size: 3Mi{gone}")), web(", restore: {snapshot: monday, request: once}"), monday]);
    let left = if lists { vec![Outside::LeaveUnfinished("half")] } else { Vec::new() };
    let bring_back = join(&[volume("db", "size: 3Mi"), web(""), plain("named", ", object: by-name")]);
    vec![
        Chapter::new("declare", declare).after(clients_write(0)),
        Chapter::new("change", change).after(clients_write(1)).after(left),
        Chapter::new("remove", remove).after(clients_write(2)),
        Chapter::new("bring back", bring_back).after(clients_write(3)),
    ]
}

/// To the trash and back: nothing is destroyed, so each step can be taken back.
fn to_the_trash_and_back() -> Vec<Chapter> {
    let all = || join(&[db(""), volume("web", "size: 1Mi"), snapshot("monday", "web", "")]);
    let fewer = join(&[db("")]);
    vec![
        Chapter::new("declare", all()),
        Chapter::new("withdraw", fewer).after(clients_write(1)).reversible(),
        Chapter::new("declare again", all()).after(clients_write(2)),
        Chapter::new(
            "change",
            join(&[
                volume("db", "size: 2Mi, qos: {iops: 5}, provisioning: thick"),
                volume("web", "size: 1Mi, onRemove: Retain"),
                snapshot("monday", "web", ", onRemove: Delete"),
                snapshot("tuesday", "web", ""),
            ]),
        )
        .reversible(),
        Chapter::new("release", join(&[volume("db", "size: 2Mi")])),
    ]
}

/// The same plan, saved and applied later.
fn saved() -> Vec<Chapter> {
    everything(ABLE).into_iter().map(Chapter::saved).collect()
}

pub fn all() -> Vec<Story> {
    let full = ["all", "unrepeatable", "by-name", "in-steps", "short-names"];
    let by_ledger = ["by-ledger", "by-ledger-unrepeatable", "by-ledger-nested"];
    let of = |name, mode, able| Story::new(name, &[mode], everything(able)).begins(foreign());
    vec![
        Story::new("everything", &full, everything(ABLE)).begins(foreign()),
        of("everything-but-renames", "no-rename", Able { renames: false, ..ABLE }),
        // Where clients or reservations are not shown, no space is reserved later.
        of("everything-but-reservations", "hidden-reservation", Able { reserves: false, ..ABLE }),
        of("everything-unseen", "blind", Able { reserves: false, sees_clients: false, ..ABLE }),
        Story::new("saved", &["all", "in-steps"], saved()).begins(foreign()),
        Story::new("without-trash", &["no-trash", "nested-no-trash"], without_trash(true)).begins(foreign()),
        Story::new("without-trash-or-adoption", &by_ledger, without_trash(false)),
        Story::new("trash", &["all", "by-name", "no-rename"], to_the_trash_and_back()),
    ]
}
