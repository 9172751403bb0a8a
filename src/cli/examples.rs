//! The examples in the help and on the manual page of each command.

/// Begins the examples in the text after the help.
pub(crate) const HEADING: &str = "Examples:";

/// Formats pairs of a command and what it does.
macro_rules! examples {
    ($($(#[$doc:meta])* $name:ident: $($command:literal $what:literal)+;)+) => {
        $($(#[$doc])* pub(crate) const $name: &str = concat!("Examples:", $("\n  ", $command, "\n      ", $what),+);)+
    };
}

examples! {
    KILN:
        "kiln init" "Write a Stack and an example to ./specs"
        "kiln plan" "Show what apply would do"
        "kiln apply" "Make the backends match ./specs"
        "kiln get volumes -o wide" "List the volumes with their paths";
    INIT:
        "kiln init" "Write a Stack and an example to ./specs"
        "kiln init prod/specs" "Write them to another directory, which is created";
    CHECK:
        "kiln check" "Validate the manifests in ./specs"
        "kiln check specs --annotations github" "Validate them in a pull request on GitHub";
    PLAN:
        "kiln plan" "Show what apply would do"
        "kiln plan specs --out today.plan" "Save the plan, to apply exactly that later";
    APPLY:
        "kiln apply" "Make the backends match ./specs"
        "kiln apply specs volume/db" "Apply one volume, and what it depends on";
    WATCH:
        "kiln watch" "Reconcile ./specs until Ctrl-C"
        "kiln watch specs --listen 127.0.0.1:9641" "Serve metrics too";
    GET:
        "kiln get volumes -l team=blue,tier!=test -o wide" "List the volumes of a team that are not for tests"
        "kiln get volume/db 'snapshot/db-*'" "List a volume, and the snapshots whose names begin with db-";
    DESCRIBE:
        "kiln describe db" "Show the object named db, with its snapshots, clones and history"
        "kiln describe volume db web -o json" "Show two volumes, for programs";
    STATUS:
        "kiln status" "Show the daemon, the backends, and what is held"
        "kiln status -o json" "The same, for programs";
    LOG:
        "kiln log" "Show the last 50 steps"
        "kiln log volume/db -n 5" "Show the last 5 steps on a volume";
    TRASH:
        "kiln trash list" "List what can be restored, and until when"
        "kiln trash restore volume/db" "Restore a volume";
    TRASH_LIST:
        "kiln trash list" "List what can be restored, and until when"
        "kiln trash list -o json" "The same, for programs";
    TRASH_RESTORE:
        "kiln trash restore volume/db" "Restore a volume, with the snapshots that were removed with it"
        "kiln trash restore db" "Restore the one object of this name";
    TRASH_PURGE:
        "kiln trash purge" "Destroy the objects that have expired"
        "kiln trash purge volume/db" "Destroy one object now, after a question";
    APPROVE:
        "kiln approve 8a8c0c3b0e783991" "Approve what kiln plan shows under this digest"
        "kiln approve 8a8c0c3b0e783991 --specs prod" "The same, for the manifests in another directory";
    SUSPEND:
        "kiln suspend volume/db --reason 'moving the host' --for 2h" "Change nothing on a volume for two hours"
        "kiln suspend --reason incident" "Change nothing at all";
    RESUME:
        "kiln resume volume/db" "End the suspension of a volume"
        "kiln resume" "End the suspension of everything";
    FORGET:
        "kiln forget volume/db" "Give up a lost volume: the next apply creates an empty one"
        "kiln forget backend/fast" "Accept the pool as it is now";
    ADOPT:
        "kiln adopt fast" "List the objects on a backend that have no owner"
        "kiln adopt fast --write specs/adopted" "Write the manifests that adopt them";
    IMAGE:
        "kiln image export volume/db db.img --format raw" "Export a volume that no client writes to"
        "kiln image export snapshot/db-monday db.qcow2 --format qcow2" "Export a snapshot";
    IMAGE_EXPORT:
        "kiln image export volume/db db.img --format raw" "Export a volume that no client writes to"
        "kiln image export snapshot/db-monday db.qcow2 --format qcow2" "Export a snapshot";
    DOCTOR:
        "kiln doctor" "List problems, each with its fix"
        "kiln doctor --specs prod -o json" "For the manifests in another directory, for programs";
    SCHEMA:
        "kiln schema" "Print the JSON Schema of all kinds"
        "kiln schema volume" "Print that of one kind";
    EXPLAIN:
        "kiln explain volume" "List the fields of a Volume"
        "kiln explain volume.spec.size" "Explain one field";
    MAN:
        "kiln man" "Print the manual page of kiln"
        "kiln man --all /usr/local/share/man/man1" "Install the pages of all commands";
    COMPLETIONS:
        "kiln completions bash" "Print completions for bash"
        "kiln completions zsh" "Print completions for zsh";
}
