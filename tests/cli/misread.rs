//! What a person and a parser read differently is refused, before anything is opened.

use crate::sandbox::{STACK, Sandbox};

#[test]
fn text_that_a_reviewer_does_not_see_is_refused_and_nothing_is_done() {
    let volume = "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db}\n";
    for (text, says) in [
        // Shown as one line, that of the comment, by a terminal and by `git diff`.
        (
            format!("{volume}spec:\n  backend: fast\n  size: 1Mi # small\r  onRemove: Delete\n"),
            "a carriage return without a line feed",
        ),
        (format!("{volume}spec: {{backend: fast, size: 1Mi}} # \u{202e}etirw\n"), "U+202E"),
        (format!("{volume}spec: {{backend: fast, size: 010Gi}}\n"), "octal"),
        (volume.replace("db", "010") + "spec: {backend: fast, size: 1Mi}\n", "is ambiguous"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("specs/stack.yaml", &format!("{STACK}{text}"));
        for command in ["check", "plan", "apply --yes"] {
            sandbox.kiln(command).ends(5).warns(says);
        }
        assert!(!sandbox.has("pool") && !sandbox.has("state"));
    }
}

#[test]
fn numbers_that_parsers_read_differently_are_refused() {
    let volume = "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db, labels: {at: AT}}\nspec: {backend: fast, size: 1Mi}\n";
    for (number, at, is_good) in [
        ("16", "\"12:30\"", true),
        ("0x10", "x", false),
        ("0o20", "x", false),
        ("+16", "x", false),
        ("16", "12:30", false),
        ("16", "1_000", false),
    ] {
        let sandbox = Sandbox::new();
        let stack = STACK.replace("5c1d2e8a90", &format!("5c1d2e8a90, safety: {{maxRemovals: {number}}}"));
        sandbox.write("specs/stack.yaml", &format!("{stack}{}", volume.replace("AT", at)));
        match is_good {
            true => drop(sandbox.kiln("check").ends(0)),
            false => drop(sandbox.kiln("check").ends(5).warns("is ambiguous")),
        }
    }
}
