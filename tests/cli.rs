//! The command line, by running the real binary in directories of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails; what helps the tests is not marked as one")]

#[path = "cli/adopt.rs"]
mod adopt;
#[path = "cli/asked.rs"]
mod asked;
#[path = "cli/basics.rs"]
mod basics;
#[path = "cli/clock.rs"]
mod clock;
#[path = "cli/copied.rs"]
mod copied;
#[path = "cli/decide.rs"]
mod decide;
#[path = "cli/doctored.rs"]
mod doctored;
#[path = "cli/fixes.rs"]
mod fixes;
#[path = "cli/images.rs"]
mod images;
#[path = "cli/interrupted.rs"]
mod interrupted;
#[path = "cli/killed.rs"]
mod killed;
#[path = "cli/listen.rs"]
mod listen;
#[path = "cli/marks.rs"]
mod marks;
#[path = "cli/misread.rs"]
mod misread;
#[path = "mounted/mod.rs"]
mod mounted;
#[path = "cli/named.rs"]
mod named;
#[path = "cli/near.rs"]
mod near;
#[path = "cli/once.rs"]
mod once;
#[path = "cli/pasted.rs"]
mod pasted;
#[path = "cli/reach.rs"]
mod path_policy;
#[path = "cli/prune.rs"]
mod prune;
#[path = "cli/renamed.rs"]
mod renamed;
#[path = "cli/room.rs"]
mod room;
#[path = "cli/sandbox.rs"]
mod sandbox;
#[path = "cli/saved.rs"]
mod saved;
#[path = "cli/screen.rs"]
mod screen;
#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/situations.rs"]
mod situations;
#[path = "cli/sizes.rs"]
mod sizes;
#[path = "cli/subset.rs"]
mod subset;
#[path = "cli/synced.rs"]
mod synced;
#[path = "cli/trust.rs"]
mod trust;
#[path = "cli/walk.rs"]
mod walk;
#[path = "cli/ways.rs"]
mod ways;
#[path = "cli/whole.rs"]
mod whole;
#[path = "cli/words.rs"]
mod words;

use self::sandbox::Sandbox;

#[test]
fn a_broken_manifest_touches_nothing() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("a", "size: 1Gi, colour: red");
    for command in ["plan", "apply", "apply --yes", "get", "trash list"] {
        sandbox.kiln(command).ends(5).warns("specs/a.yaml:4:").warns("colour");
    }
    for (command, format) in [("plan -o json", "kiln.plan/v1"), ("apply -o json", "kiln.apply/v1")] {
        let json = sandbox.kiln(command).ends(5).json();
        assert_eq!(json["format"], format);
        assert!(json["problems"][0]["message"].as_str().unwrap().contains("colour"), "{json}");
        assert!(json["steps"].is_null(), "no plan is not an empty plan");
    }
    assert!(!sandbox.has("state") && !sandbox.has("pool"));
}

#[test]
fn no_secret_is_read_or_shown() {
    const CANARY: &str = "canary-7f3a9c";
    let sandbox = Sandbox::with_stack();
    sandbox.write("secrets/chap", CANARY);
    // Whoever opens this one to read waits for ever.
    let fifo = sandbox.path("secrets/luks");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    sandbox.volume("plain", "size: 1Mi");
    sandbox.volume("dark", "size: 32Mi, encryption: {passphraseFrom: {file: ../secrets/luks}}");
    sandbox.write(
        "specs/export.yaml",
        "apiVersion: kiln/v1\nkind: Target\nmetadata: {name: san}\nspec: {driver: tgt, tgt: {iqnPrefix: iqn.2026-01.org.example}}\n---\n\
         apiVersion: kiln/v1\nkind: Export\nmetadata: {name: plain}\n\
         spec: {volume: plain, target: san, protocol: iscsi, initiators: [iqn.2026-01.org.example:host1], \
         auth: {chap: {username: u, passwordFrom: {file: ../secrets/chap}}}}\n",
    );
    // This version does not know what the fields of this driver are.
    sandbox.write(
        "specs/array.yaml",
        &format!(
            "apiVersion: kiln/v1\nkind: Backend\nmetadata: {{name: array}}\n\
             spec: {{driver: cinder, cinder: {{options: {{san_ip: 10.0.0.9, san_password: {CANARY}}}, keys: [{{token: {CANARY}}}], \
             api: \"https://admin:{CANARY}@array.example/v2\", peers: \"http://a,https://b:x/{CANARY}@c\", auth: {{chap: {CANARY}}}}}}}\n\
             ---\napiVersion: kiln/v1\nkind: Target\nmetadata: {{name: door}}\n\
             spec: {{driver: lio, lio: {{chap: {{password: {CANARY}}}}}}}\n"
        ),
    );
    for (command, code) in [
        ("check", 0),
        ("plan --out saved.plan", 4),
        ("describe backend/array target/door -o yaml", 0),
        ("plan -o json --log trace", 4),
        ("apply --log trace", 4),
        ("get -o json", 0),
        ("describe volume/dark", 0),
        ("describe export/plain", 0),
        ("log", 0),
    ] {
        let ran = sandbox.kiln(command).ends(code);
        assert!(!ran.out.contains(CANARY) && !ran.err.contains(CANARY), "{command}");
    }
    assert!(sandbox.has("pool"), "what has no secret was made");
    let array = &sandbox.object("backend/array")["spec"];
    assert_eq!((&array["driver"], &array["cinder"]["options"]["san_ip"]), (&"cinder".into(), &"10.0.0.9".into()));
    assert_eq!(sandbox.object("target/san")["spec"]["tgt"]["iqnPrefix"], "iqn.2026-01.org.example");
    let saved = ("saved.plan".into(), std::fs::read(sandbox.path("saved.plan")).unwrap());
    assert!(String::from_utf8_lossy(&saved.1).contains("san_ip"), "settings are saved with the plan");
    for (path, content) in ["state", "pool"].iter().flat_map(|dir| sandbox.tree(dir)).chain([saved]) {
        assert!(!content.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()), "{}", path.display());
    }
}
