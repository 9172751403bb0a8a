//! Words that people know from kubectl, terraform, git and other tools, and what they are in Kiln.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::text::closest;

const REMOVE: &str = "delete the documents of the volumes and snapshots, and keep those of the Stack and the Backends; then run `kiln apply`: the objects go to the trash, after an approval if they are many or the last; `kiln trash purge KIND/NAME` destroys one";
const CHANGE: &str = "write or change the document of the object, then run `kiln apply`; `kiln init` writes an example";
const PLAN: &str = "`kiln plan` shows what apply would change, and changes nothing";
const LIST: &str = "`kiln get` lists all objects of the Stack, `kiln get volumes` those of a kind";
const OBJECTS: &str =
    "name the objects after the command: `kiln plan volume/db` shows, `kiln apply volume/db` executes";
const YES: &str = "`kiln apply --yes` skips the question";
const SPECS: &str = "check, plan, apply and watch take manifests as their first argument: `kiln apply DIR`; other commands with --specs";
const JSON: &str = "write `-o json`";
const LOG: &str = "`kiln log` shows what was done, `kiln describe KIND/NAME` the history of one object";
const RESTORE: &str = "`kiln trash restore KIND/NAME` restores a removed object; `kiln explain volume.spec.restore` says how a volume returns to a snapshot";
const ATTACH: &str =
    "Kiln attaches nothing: `kiln describe volume/NAME` shows the path that a client opens, such as `losetup` or QEMU";
const BACKUP: &str =
    "declare a Snapshot of the volume, run `kiln apply`, and export it with `kiln image export snapshot/NAME FILE`";
const SUSPEND: &str = "`kiln suspend --reason TEXT` stops all changes, `kiln suspend KIND/NAME --reason TEXT` those of one object; the clients of a volume are not stopped";
const TRASH_LIST: &str = "`kiln trash list` lists what can be restored, and until when";
const TRASH_PURGE: &str =
    "`kiln trash purge` destroys the objects that have expired, `kiln trash purge KIND/NAME` one object now";
const TRASH_RESTORE: &str = "`kiln trash restore KIND/NAME` restores a removed object";
const IMAGE_EXPORT: &str = "`kiln image export KIND/NAME FILE` exports an object";
const IMAGE_IMPORT: &str = "a volume is created from an image by its document: `kiln explain volume.spec.source.image`";
const VARIABLES: &str =
    "manifests have no variables: write the value, or generate the manifests and pipe them to `kiln apply -`";

const DRIFT: &str = "`kiln plan` lists drift, the changes made outside Kiln; `kiln apply` undoes it";
const FORMAT: &str = "Kiln does not format manifests: any YAML formatter can; `kiln check` validates them";
const STATE: &str = "`kiln get` lists all objects, `kiln describe KIND/NAME` shows one, `kiln forget KIND/NAME` gives a lost one up; the store itself needs no care";
const GRAPH: &str =
    "`kiln plan` lists the steps in their order; `kiln describe KIND/NAME` lists the snapshots and clones of an object";
const REPLACE: &str = "Kiln replaces no volume: declare a new one under another name, and copy the data; what Kiln holds is listed with a fix by `kiln plan`";
const REFRESH: &str =
    "every command observes the backends anew, so there is nothing to refresh; `kiln status` shows a summary";
const NAMESPACE: &str =
    "Kiln has no namespaces or workspaces: objects belong to the Stack of the manifests; --specs names other manifests";
const LOCK: &str = "a lock ends with the process that holds it: end that process; `kiln doctor` lists problems";
const RESUME: &str = "`kiln resume` ends a suspension";
const HELP: &str = "`kiln --help` lists the commands, `kiln COMMAND --help` explains one";
const FOLLOW: &str =
    "`watch kiln log` repeats the listing; `kiln watch` logs each step as it is made, under systemd to the journal";
const LAST: &str = "`kiln log -n N` shows the last N steps";
const LABELS: &str =
    "`kiln get -l SELECTOR` lists the objects with these labels; with `-o name`, their names for another command";
const ONE_SPECS: &str = "check and watch take one directory or file with manifests; `kiln plan KIND/NAME` and `kiln apply KIND/NAME` take objects";
const NO_OBJECTS: &str =
    "`kiln describe KIND/NAME` shows one object; other manifests than those in ./specs are named with --specs";

/// Commands of other tools.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["diff", "preview", "dry-run"], PLAN),
    (&["validate", "lint", "verify"], "`kiln check` validates the manifests"),
    (&["delete", "destroy", "remove", "rm", "down", "lvremove"], REMOVE),
    (&["create", "new", "add", "edit", "set", "patch", "resize", "scale", "rename", "label", "annotate"], CHANGE),
    (&["grow", "extend", "expand", "lvcreate", "lvextend", "lvresize", "lvrename"], CHANGE),
    (&["list", "ls", "lvs", "vgs", "pvs", "lvdisplay", "vgdisplay", "pvdisplay", "lsblk"], LIST),
    (&["attach", "detach", "map", "unmap", "mount", "umount", "unmount"], ATTACH),
    (&["backup", "save", "dump"], BACKUP),
    (&["state", "output"], STATE),
    (&["graph", "tree", "dependencies"], GRAPH),
    (&["taint", "untaint", "replace"], REPLACE),
    (&["workspace", "namespace", "context"], NAMESPACE),
    (&["unlock", "force-unlock"], LOCK),
    (&["drift"], DRIFT),
    (&["fmt", "format"], FORMAT),
    (&["show", "inspect", "info", "cat"], "`kiln describe KIND/NAME` shows an object in full"),
    (&["import"], "`kiln adopt BACKEND` lists existing objects, and writes manifests that adopt them"),
    (&["export"], "`kiln image export KIND/NAME FILE` exports an object; `kiln get -o yaml` prints its fields"),
    (&["sync", "deploy", "up", "run", "reconcile"], "`kiln apply` makes the backends match the manifests"),
    (&["daemon", "serve", "server", "start"], "`kiln watch` runs the daemon"),
    (&["refresh", "top"], REFRESH),
    (&["history", "logs", "events", "journal"], LOG),
    (&["restore", "undelete", "undo", "rollback", "revert"], RESTORE),
    (&["purge"], "`kiln trash purge` destroys expired objects"),
    (
        &["snapshot", "clone", "volume"],
        "declare it: `kiln explain snapshot` and `kiln explain volume.spec.source` say how",
    ),
    (&["pause", "stop", "freeze"], SUSPEND),
    (&["unpause", "continue", "unsuspend", "thaw", "unfreeze"], RESUME),
    (&["api-resources"], "`kiln explain` lists the kinds"),
    (&["help"], HELP),
    (&["version"], "`kiln --version` prints the version"),
];

/// Commands of other tools below a command of Kiln.
const BELOW: &[(&str, &[&str], &str)] = &[
    ("trash", &["ls", "show", "get"], TRASH_LIST),
    ("trash", &["rm", "remove", "delete", "destroy", "empty", "clear", "clean", "expire"], TRASH_PURGE),
    ("trash", &["undelete", "undo", "recover", "put-back"], TRASH_RESTORE),
    ("image", &["save", "dump", "write", "create", "convert", "backup"], IMAGE_EXPORT),
    ("image", &["import", "load", "add"], IMAGE_IMPORT),
];

/// Options of other tools. Those of terraform have one dash.
const OPTIONS: &[(&[&str], &str)] = &[
    (&["--dry-run", "-dry-run", "--diff", "--check"], PLAN),
    (&["-target", "--target", "--only"], OBJECTS),
    (&["-auto-approve", "--auto-approve", "--assume-yes", "--no-confirm", "-input"], YES),
    (&["-f", "--filename", "--file", "-chdir", "-k", "--kustomize"], SPECS),
    (&["-n", "--namespace", "-workspace", "--workspace", "--context"], NAMESPACE),
    (&["-refresh-only", "--refresh-only"], DRIFT),
    (&["-refresh", "--refresh"], REFRESH),
    (&["-lock", "-lock-timeout", "--lock-timeout"], LOCK),
    (&["-A", "--all-namespaces", "--all", "-a"], LIST),
    (&["-destroy", "--destroy"], REMOVE),
    (&["-out"], "write two dashes: `kiln plan --out FILE`"),
    (&["-detailed-exitcode"], "write two dashes: `kiln plan --detailed-exitcode`"),
    (&["-json", "--json"], JSON),
    (&["-no-color", "--no-color"], "write `--color never`"),
    (&["-var", "-var-file", "--var", "--set", "--values"], VARIABLES),
    (&["-replace", "--replace", "--force"], REPLACE),
    (&["-w", "--watch"], "`kiln watch` reconciles all the time; `watch kiln get` repeats a listing"),
    (&["-v", "--verbose", "--debug"], "`--log debug` shows more"),
    (&["-q", "--quiet"], "`--log off` shows fewer messages; `-o name` prints names only"),
    (&["-l", "--selector", "--label", "-L"], LABELS),
    (&["--show-labels"], "`kiln get -o wide` shows the labels"),
];

/// Arguments that mean something else with one command.
const OF_COMMAND: &[(&str, &[&str], &str)] =
    &[("log", &["-f", "--follow", "-w", "--watch"], FOLLOW), ("log", &["--tail", "--since", "--limit"], LAST)];

/// Commands that take no word, or one, with what is said about a further one.
const FEW_WORDS: &[(&str, &str)] =
    &[("check", ONE_SPECS), ("watch", ONE_SPECS), ("status", NO_OBJECTS), ("doctor", NO_OBJECTS)];

/// Returns the arguments with `help COMMAND` written as `COMMAND --help`.
pub(crate) fn with_help(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    if arguments.get(1).is_some_and(|first| first == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    arguments
}

/// Returns the hint for `kiln get help`, which takes `help` for an object or for SPECS. `arguments`: without the command's name.
pub(crate) fn help_hint(arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let arguments: Vec<String> = arguments.filter_map(|word| word.into_string().ok()).collect();
    match arguments.as_slice() {
        [command, word] if word == "help" => Some(format!("`kiln {command} --help` explains the command")),
        _ => None,
    }
}

/// Returns an error message and a tip if a command line that clap refused has a word of another tool. `arguments`: without the command's
/// name.
pub(crate) fn tip(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> Option<(String, &'static str)> {
    let refused = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let arguments: Vec<String> = arguments.filter_map(|word| word.into_string().ok()).collect();
    if let Some(word) = refused(ContextKind::InvalidSubcommand) {
        let before = arguments.iter().take_while(|argument| *argument != word);
        // The command stands directly before the word: neither takes an option between them.
        return Some(match before.last().and_then(|above| Some((above, below(above, word)?))) {
            Some((above, tip)) => (format!("kiln has no command '{above} {word}'"), tip),
            None => (format!("kiln has no command '{word}'"), find(COMMANDS, word)?),
        });
    }
    // An option of Kiln with a wrong value is refused too.
    let refused = refused(ContextKind::InvalidArg).filter(|_| error.kind() == ErrorKind::UnknownArgument);
    let refused = refused.map(|word| word.split(['=', ' ']).next().unwrap_or_default());
    if let Some((word, tip)) = refused.and_then(|word| Some((word, of_command(&arguments, word)?))) {
        return Some((format!("unexpected argument '{word}'"), tip));
    }
    // clap reads `-target` as `-t`, and `-out` as `-o ut`: what was typed comes before what it refused.
    let one_dash = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.chars().count() > 2;
    let typed = arguments.iter().map(|word| word.split('=').next().unwrap_or_default()).filter(|word| one_dash(word));
    let is_refused = error.use_stderr();
    let mut words = typed.chain(refused).filter(|_| is_refused);
    words.find_map(|word| Some((format!("unexpected argument '{word}'"), find(OPTIONS, word).or_else(|| near(word))?)))
}

/// Returns the tip for a word below a command of Kiln.
fn below(command: &str, word: &str) -> Option<&'static str> {
    BELOW.iter().find(|(above, words, _)| *above == command && words.contains(&word)).map(|(.., tip)| *tip)
}

/// Returns the tip for an option of another tool with a typing error: clap would name the one of Kiln that resembles it most, and
/// `--approve` is not what `--auto-aprove` means.
fn near(word: &str) -> Option<&'static str> {
    if !word.starts_with('-') {
        return None;
    }
    let long = OPTIONS.iter().flat_map(|(words, _)| *words).copied().filter(|word| word.len() > 6);
    closest(word, long).and_then(|meant| find(OPTIONS, meant))
}

/// Returns the tip for an argument that was refused, if it depends on the command.
fn of_command(arguments: &[String], refused: &str) -> Option<&'static str> {
    let is_given = |command: &str| arguments.iter().any(|word| word == command);
    if !refused.starts_with('-') {
        return FEW_WORDS.iter().find(|(command, _)| is_given(command)).map(|(_, tip)| *tip);
    }
    let of = OF_COMMAND.iter().find(|(command, words, _)| is_given(command) && words.contains(&refused));
    of.map(|(_, _, tip)| *tip)
}

fn find(table: &[(&[&str], &'static str)], word: &str) -> Option<&'static str> {
    table.iter().find(|(words, _)| words.contains(&word)).map(|(_, tip)| *tip)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::args::Cli;
    use super::*;

    fn tip_for(line: &str) -> Option<(String, &'static str)> {
        let words = || line.split_whitespace().map(OsString::from);
        let error = Cli::try_parse_from([OsString::from("kiln")].into_iter().chain(words())).err()?;
        assert_eq!(error.exit_code(), if error.use_stderr() { 2 } else { 0 }, "{line}");
        tip(&error, words())
    }

    #[test]
    fn words_of_other_tools_get_a_tip() {
        for (line, tip) in [
            ("diff", PLAN),
            ("diff specs", PLAN),
            ("--state x delete volume/db", REMOVE),
            ("destroy -auto-approve", REMOVE),
            ("ls", LIST),
            ("apply --dry-run", PLAN),
            ("apply --dry-run=client", PLAN),
            ("apply -target volume/db", OBJECTS),
            ("apply -target=volume/db", OBJECTS),
            ("apply --target volume/db", OBJECTS),
            ("apply -auto-approve", YES),
            ("apply --auto-approve", YES),
            ("apply -f specs", SPECS),
            ("get -f specs", SPECS),
            ("get --all", LIST),
            ("plan -json", JSON),
            ("plan -var-file=x", VARIABLES),
            ("unsuspend volume/db", RESUME),
            ("log -f", FOLLOW),
            ("log volume/db --follow", FOLLOW),
            ("log --tail=5", LAST),
            ("state list", STATE),
            ("down", REMOVE),
            ("fmt", FORMAT),
            ("drift", DRIFT),
            ("graph", GRAPH),
            ("taint volume/db", REPLACE),
            ("force-unlock 12", LOCK),
            ("workspace list", NAMESPACE),
            ("plan -refresh-only", DRIFT),
            ("apply -refresh=false", REFRESH),
            ("--state x help", HELP),
            ("trash help", HELP),
            ("describe -l team=blue", LABELS),
            ("suspend --selector=team=blue --reason x", LABELS),
            ("check volume db", ONE_SPECS),
            ("watch specs volume/db", ONE_SPECS),
            ("status volume/db", NO_OBJECTS),
            ("doctor specs", NO_OBJECTS),
            ("trash ls", TRASH_LIST),
            ("--state x trash rm volume/db", TRASH_PURGE),
            ("trash empty", TRASH_PURGE),
            ("image import x", IMAGE_IMPORT),
            ("lvs", LIST),
            ("attach volume/db", ATTACH),
            ("backup", BACKUP),
            ("freeze", SUSPEND),
            ("thaw", RESUME),
            ("apply --auto-aprove", YES),
            ("apply -auto-aprove", YES),
            ("get --all-namespace", LIST),
        ] {
            let found = tip_for(line).unwrap_or_else(|| panic!("no tip for {line}"));
            assert_eq!(found.1, tip, "{line}");
        }
        assert_eq!(tip_for("apply -target=volume/db").unwrap().0, "unexpected argument '-target'");
        assert_eq!(tip_for("diff").unwrap().0, "kiln has no command 'diff'");
        assert_eq!(tip_for("trash ls").unwrap().0, "kiln has no command 'trash ls'");
        // Beside an option of Kiln, clap is right.
        for line in ["apply --aprove x", "apply --spec x", "plan --allow-hold", "get --outptu json"] {
            assert_eq!(tip_for(line), None, "{line}");
        }
        assert!(tip_for("plan -out=x").unwrap().1.contains("--out FILE"));
    }

    #[test]
    fn help_is_a_command_and_explains_one() {
        let read = |line: &str| {
            let words = line.split_whitespace().map(OsString::from);
            with_help(words).iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        for (line, expected) in [
            ("kiln help", "kiln --help"),
            ("kiln help plan", "kiln plan --help"),
            ("kiln help trash list", "kiln trash list --help"),
            ("kiln get help", "kiln get help"),
            ("kiln", "kiln"),
        ] {
            assert_eq!(read(line), expected);
        }
        for line in ["kiln help", "kiln help plan", "kiln help trash list"] {
            let error = Cli::try_parse_from(with_help(line.split_whitespace().map(OsString::from))).unwrap_err();
            assert_eq!((error.exit_code(), error.use_stderr()), (0, false), "{line}");
        }
        let hint = |line: &str| help_hint(line.split_whitespace().map(OsString::from));
        assert_eq!(hint("get help").as_deref(), Some("`kiln get --help` explains the command"));
        assert_eq!(hint("get volume help"), None);
    }

    #[test]
    fn other_errors_are_those_of_clap() {
        for line in [
            "",
            "--help",
            "get --help",
            "--version",
            "frobnicate",
            "get --frobnicate",
            "log -n x",
            "get -l =",
            "apply -y",
        ] {
            assert_eq!(tip_for(line), None, "{line}");
        }
    }

    #[test]
    fn no_word_of_another_tool_is_a_word_of_kiln() {
        let kiln = Cli::command();
        for word in COMMANDS.iter().flat_map(|(words, _)| *words) {
            assert!(kiln.find_subcommand(word).is_none(), "{word}");
        }
        for (above, words, _) in BELOW {
            let above = kiln.find_subcommand(above).unwrap();
            assert!(words.iter().all(|word| above.find_subcommand(word).is_none()), "{words:?}");
        }
        for table in [COMMANDS, OPTIONS] {
            let mut words: Vec<&str> = table.iter().flat_map(|(words, _)| *words).copied().collect();
            let count = words.len();
            words.sort_unstable();
            words.dedup();
            assert_eq!(words.len(), count, "a word has one tip");
        }
    }

    #[test]
    fn tips_name_commands_that_exist() {
        let kiln = Cli::command();
        let tips = COMMANDS.iter().chain(OPTIONS).map(|(_, tip)| tip);
        let tips = tips.chain(BELOW.iter().chain(OF_COMMAND).map(|(_, _, tip)| tip));
        for tip in tips.chain(FEW_WORDS.iter().map(|(_, tip)| tip)) {
            for command in tip.split('`').skip(1).step_by(2).filter_map(|text| text.strip_prefix("kiln ")) {
                let name = command.split_whitespace().next().unwrap();
                assert!(name.starts_with('-') || name == "COMMAND" || kiln.find_subcommand(name).is_some(), "{tip}");
            }
        }
    }
}
