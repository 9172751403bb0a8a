//! A run is followed from the daemon's log alone: its spans and events say what was observed, planned, called and verified.

use serde_json::Value;

use crate::daemon::{Daemon, live, patient, wait};

/// A line of the log in JSON.
struct LogLine(Value);

impl LogLine {
    /// The fields of the span with this name that the line is in.
    fn span(&self, name: &str) -> Option<&Value> {
        self.0["spans"].as_array()?.iter().find(|span| span["name"] == name)
    }

    /// The innermost span and the message.
    fn told(&self) -> (String, String) {
        let span = self.0["span"]["name"].as_str().unwrap_or_default();
        (span.to_owned(), self.0["fields"]["message"].as_str().unwrap_or_default().to_owned())
    }
}

/// The lines of the pass that reports this message about an object.
#[track_caller]
fn pass_of(daemon: &Daemon, object: &str, message: &str) -> Vec<LogLine> {
    let lines = || -> Vec<LogLine> {
        let log = daemon.log();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).map(LogLine).collect()
    };
    let id = |lines: &[LogLine]| {
        let told =
            lines.iter().find(|line| line.0["fields"]["object"] == object && line.0["fields"]["message"] == message)?;
        told.span("pass").map(|pass| pass["id"].clone())
    };
    let of_pass = || -> Vec<LogLine> {
        let lines = lines();
        let Some(id) = id(&lines) else { return Vec::new() };
        lines.into_iter().filter(|line| line.span("pass").is_some_and(|pass| pass["id"] == id)).collect()
    };
    wait("the end of the pass", || of_pass().last().is_some_and(|line| line.told().1 == "pass ended"));
    of_pass()
}

/// Asserts that the log tells the story of one step that created a volume.
#[track_caller]
fn tells_the_story(lines: &[LogLine], trigger: &str, object: &str) {
    let mut told = lines.iter().map(LogLine::told);
    for (span, message) in [
        ("backend", "observed"),
        ("pass", "planned"),
        ("step", "its intent is on disk; calling the driver"),
        ("step", "the call ended"),
        ("pass", "done: create 1Mi"),
        ("backend", "ledger written"),
        ("backend", "steps verified"),
        ("pass", "pass ended"),
    ] {
        let all: Vec<_> = lines.iter().map(LogLine::told).collect();
        assert!(told.any(|(s, m)| s == span && m == message), "{span}: {message}, in its order, is not in {all:#?}");
    }
    assert!(lines.iter().all(|line| line.span("pass").unwrap()["trigger"] == trigger));
    let step = lines.iter().find_map(|line| line.span("step")).unwrap();
    assert_eq!(
        (&step["object"], &step["backend"], &step["action"]),
        (&object.into(), &"fast".into(), &"create 1Mi".into())
    );
    let observed = lines.iter().find(|line| line.told().1 == "observed").unwrap();
    assert_eq!(observed.span("backend").unwrap()["backend"], "fast");
    let end = &lines.last().unwrap().0["fields"];
    assert_eq!((&end["ending"], &end["changed"], &end["failed"]), (&"done".into(), &1.into(), &0.into()), "{end}");
}

#[test]
fn a_run_is_followed_from_its_log_alone() {
    let sandbox = patient();
    let log = ["--log", "kiln=debug", "--log-format", "json", "watch"];
    let daemon = Daemon::spawn(&sandbox, "state", &log, &[]);
    daemon.is_up();
    // Then no other pass is due.
    daemon.confirmation_read();
    sandbox.volume("db", "size: 1Mi");
    tells_the_story(&pass_of(&daemon, "volume/db", "done: create 1Mi"), "change", "volume/db");
    // The run of a client is in the log of the daemon that makes it. No pass of the loop's own comes first while Git changes the manifests.
    for (path, text) in
        [("HEAD", "ref: refs/heads/main\n"), ("config", "[core]\n"), ("objects/info/x", ""), ("refs/heads/x/y", "")]
    {
        sandbox.write(&format!("specs/.git/{path}"), text);
    }
    sandbox.write("specs/.git/index.lock", "");
    wait("the end of what runs", || daemon.view()["running"].is_null());
    sandbox.volume("web", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    assert_eq!(live(&sandbox).len(), 2);
    tells_the_story(&pass_of(&daemon, "volume/web", "done: create 1Mi"), "client", "volume/web");
}
