//! What commands ask a daemon, and what it answers.

use std::fs;
use std::os::unix::net::UnixStream;

use std::io::{Read, Write};

use serde_json::Value;

use crate::daemon::{Daemon, PATIENCE, arrives, document, patient, trash, wait};
use crate::sandbox::Sandbox;

/// The status line of an answer, and its body.
fn get(sandbox: &Sandbox, path: &str) -> (String, String) {
    let mut stream = UnixStream::connect(sandbox.path("state/kiln.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: kiln\r\nkiln-version: {version}\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Takes out what two commands cannot agree on: the time of each observation, how full a disk is, and the daemon itself.
fn without_times(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                ["observedAt", "used", "daemon"].iter().for_each(|field| drop(fields.remove(*field)));
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

const COMMANDS: [&str; 20] = [
    "get -o json",
    "get -o name",
    "get volumes -o json",
    "get backends -o json",
    "get volume/labelled -o json",
    "get volume/changed -o wide",
    "get -l tier=gold -o json",
    "get -o yaml -l tier=gold",
    "describe volume/labelled -o json",
    "describe volume/removed -o json",
    "describe backend/fast -o json",
    "describe changed -o json",
    "describe volume cha* labelled -o json",
    "get changed -l !tier -o name",
    "get volume/chnaged fast",
    "status -o json",
    "plan --format json",
    "trash list -o json",
    "adopt fast -o json",
    "doctor -o json",
];

#[test]
fn answers_of_a_daemon_equal_those_without_one() {
    let sandbox = patient();
    sandbox.write(
        "specs/labelled.yaml",
        "apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: labelled, labels: {tier: gold}}\n\
         spec: {backend: fast, size: 1000001}\n",
    );
    sandbox.volume("changed", "size: 1Mi");
    sandbox.volume("removed", "size: 1Mi");
    sandbox.volume("protected", "size: 1Mi, protected: true");
    sandbox.snapshot("copy", "volume: changed");
    let daemon = Daemon::start(&sandbox);
    ["labelled", "changed", "removed", "protected"].iter().for_each(|name| arrives(&sandbox, name));
    let file = sandbox.data_file("volume/changed");
    ["removed", "protected"].iter().for_each(|name| sandbox.remove(&format!("specs/{name}.yaml")));
    wait("the removal", || trash(&sandbox) == ["removed"]);
    // A step that is held, a suspension, a change by another program, and a file without an owner.
    sandbox.volume("large", "size: 1000Pi");
    sandbox.kiln("suspend volume/labelled --reason upgrade").ends(0);
    fs::File::options().write(true).open(&file).unwrap().set_len(3 << 20).unwrap();
    sandbox.write("pool/foreign.img", &"x".repeat(1 << 20));
    daemon.confirmation_read();

    let ask = |command: &str| {
        let ran = sandbox.kiln(command);
        let out = match serde_json::from_str(&ran.out) {
            Ok(json) => without_times(json).to_string(),
            Err(_) => ran.out.lines().filter(|line| !line.contains("observedAt")).collect::<Vec<_>>().join("\n"),
        };
        (command.to_owned(), ran.code, out, ran.err)
    };
    let logs = ["log -o json", "log -n 2 -o json", "log volume/changed -n 1 -o json", "log volume/none -o json"];
    let all = || COMMANDS.into_iter().chain(logs).map(ask).collect::<Vec<_>>();
    let saved = |name: &str| {
        sandbox.kiln(&format!("plan --allow-held --out {name}")).ends(0);
        let saved: Value = serde_json::from_str(&fs::read_to_string(sandbox.path(name)).unwrap()).unwrap();
        (saved["plan"].clone(), saved["reading"]["specs"].clone())
    };
    let (with, saved_with) = (all(), saved("with.plan"));
    assert_eq!(daemon.end(), Some(0));
    let (without, saved_without) = (all(), saved("without.plan"));
    for (with, without) in with.iter().zip(&without) {
        assert_eq!(with, without);
    }
    assert_eq!(saved_with, saved_without);
    assert!(with.iter().any(|(command, _, out, _)| command.starts_with("adopt") && out.contains("foreign.img")));
    let all = &with[0].2;
    for condition in ["Trashed", "ShrinkRefused", "Protected", "Suspended"] {
        assert!(all.contains(condition), "{condition}: {all}");
    }
}

#[test]
fn invalid_parameters_are_refused_with_400() {
    let sandbox = patient();
    sandbox.volume("a", "size: 1Mi");
    let _daemon = Daemon::start(&sandbox);
    for path in [
        "/v1/objects?what=disk/a",
        "/v1/objects?what=stack",
        "/v1/objects?what=/",
        "/v1/objects?what=volume/Not-a-name",
        "/v1/objects?what=volume/a&details=-1",
        "/v1/objects?what=volume/a&details=many",
        "/v1/objects?labels=a,,b",
        "/v1/objects?colour=red",
        "/v1/plan?reading=perhaps",
        "/v1/plan?all=true",
        "/v1/journal",
        "/v1/journal?limit=-1",
        "/v1/journal?limit=1&kind=volume",
        "/v1/journal?limit=1&name=a",
        "/v1/journal?limit=1&kind=disk&name=a",
        "/v1/journal?limit=1&kind=volume&name=..%2F..",
        "/v1/unowned",
        "/v1/unowned?backend=Fast",
        "/v1/store",
        "/v1/store?journal=1&all=true",
    ] {
        let (status, body) = get(&sandbox, path);
        assert!(status.starts_with("HTTP/1.1 400 "), "{path}: {status}");
        assert!(!body.is_empty(), "{path} says why");
    }
    for (path, count) in [
        ("/v1/objects", 1),
        ("/v1/objects?what=volume", 1),
        ("/v1/objects?what=Volumes%20a&details=3", 1),
        ("/v1/objects?what=backend", 1),
        ("/v1/objects?what=export", 0),
        ("/v1/objects?what=volume/b", 0),
        ("/v1/objects?labels=%21team", 1),
        ("/v1/objects?labels=team%3Dblue", 0),
    ] {
        let (status, body) = get(&sandbox, path);
        assert!(status.starts_with("HTTP/1.1 200 "), "{path}: {status} {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["answer"]["objects"].as_array().unwrap().len(), count, "{path}");
    }
}

#[test]
fn a_question_about_one_object_of_a_thousand_gets_a_small_answer() {
    let sandbox = patient();
    sandbox.write(
        "specs/slow.yaml",
        "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: sim}\nspec: {driver: sim, sim: {path: ../sim.pool}}\n",
    );
    let documents = (0..1000).map(|n| document(&format!("v{n}"), "1Mi").replace("backend: fast", "backend: sim"));
    sandbox.write("specs/many.yaml", &documents.collect::<String>());
    let daemon = Daemon::start(&sandbox);
    let size = |path: &str| {
        let (status, body) = get(&sandbox, path);
        assert!(status.starts_with("HTTP/1.1 200 "), "{path}: {status} {body}");
        body.len()
    };
    let all = size("/v1/objects");
    assert!(all > 200_000, "{all} bytes for a thousand volumes");
    for path in [
        "/v1/objects?what=volume/v7&details=10",
        "/v1/objects?what=backend",
        "/v1/journal?limit=3",
        "/v1/journal?limit=10&kind=volume&name=v7",
        "/v1/status",
        "/v1/plan",
        "/v1/doctor",
        "/v1/trash",
        "/v1/unowned?backend=fast",
    ] {
        let bytes = size(path);
        assert!(bytes < 4096, "{path}: {bytes} bytes");
    }
    sandbox.kiln("get volume/v7").ends(0).says("volume/v7");
    sandbox.kiln("describe volume/v7").ends(0).says("create");
    assert_eq!(sandbox.kiln("log volume/v7 -o json").json().as_array().unwrap().len(), 1);
    sandbox.kiln("plan --detailed-exitcode").ends(0);
    assert_eq!(daemon.end(), Some(0));
}
