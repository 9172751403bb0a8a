//! Words that people know from kubectl, terraform, git and other tools, and what they are in Kiln.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};

const REMOVE: &str = "delete the document of an object, then run `kiln apply`: the object goes to the trash; `kiln trash purge KIND/NAME` destroys it";
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
const VARIABLES: &str =
    "manifests have no variables: write the value, or generate the manifests and pipe them to `kiln apply -`";

/// Commands of other tools.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["diff", "preview", "dry-run"], PLAN),
    (&["validate", "lint", "verify"], "`kiln check` validates the manifests"),
    (&["delete", "destroy", "remove", "rm"], REMOVE),
    (&["create", "new", "add", "edit", "set", "patch", "resize", "scale", "rename"], CHANGE),
    (&["list", "ls"], LIST),
    (&["show", "inspect", "info", "cat"], "`kiln describe KIND/NAME` shows an object in full"),
    (&["import"], "`kiln adopt BACKEND` lists existing objects, and writes manifests that adopt them"),
    (&["export"], "`kiln image export KIND/NAME FILE` exports an object; `kiln get -o yaml` prints its fields"),
    (&["sync", "deploy", "up", "run", "reconcile"], "`kiln apply` makes the backends match the manifests"),
    (&["daemon", "serve", "server", "start"], "`kiln watch` runs the daemon"),
    (&["refresh", "top"], "every command observes the backends anew; `kiln status` shows a summary"),
    (&["history", "logs", "events", "journal"], LOG),
    (&["restore", "undelete", "undo", "rollback", "revert"], RESTORE),
    (&["purge"], "`kiln trash purge` destroys expired objects"),
    (
        &["snapshot", "clone", "volume"],
        "declare it: `kiln explain snapshot` and `kiln explain volume.spec.source` say how",
    ),
    (&["pause", "stop"], "`kiln suspend --reason TEXT` stops all changes"),
    (&["unpause", "continue"], "`kiln resume` ends a suspension"),
    (&["api-resources"], "`kiln explain` lists the kinds"),
    (&["help"], "`kiln --help` lists the commands, `kiln COMMAND --help` explains one"),
    (&["version"], "`kiln --version` prints the version"),
];

/// Options of other tools. Those of terraform have one dash.
const OPTIONS: &[(&[&str], &str)] = &[
    (&["--dry-run", "-dry-run", "--diff", "--check"], PLAN),
    (&["-target", "--target", "--only"], OBJECTS),
    (&["-auto-approve", "--auto-approve", "--assume-yes", "--no-confirm", "-input"], YES),
    (&["-f", "--filename", "--file", "-chdir", "-k", "--kustomize"], SPECS),
    (
        &["-n", "--namespace"],
        "Kiln has no namespaces: objects belong to the Stack of the manifests; --specs names other manifests",
    ),
    (&["-A", "--all-namespaces", "--all", "-a"], LIST),
    (&["-destroy", "--destroy"], REMOVE),
    (&["-out"], "write two dashes: `kiln plan --out FILE`"),
    (&["-detailed-exitcode"], "write two dashes: `kiln plan --detailed-exitcode`"),
    (&["-json", "--json"], JSON),
    (&["-no-color", "--no-color"], "write `--color never`"),
    (&["-var", "-var-file", "--var", "--set", "--values"], VARIABLES),
    (
        &["-replace", "--replace", "--force"],
        "Kiln replaces no volume; what it holds is listed with a fix by `kiln plan`",
    ),
    (&["-w", "--watch"], "`kiln watch` reconciles all the time; `watch kiln get` repeats a listing"),
    (&["-v", "--verbose", "--debug"], "`--log debug` shows more"),
    (&["-q", "--quiet"], "`--log off` shows fewer messages; `-o name` prints names only"),
    (&["--show-labels"], "`kiln get -o wide` shows the labels"),
];

/// Returns an error message and a tip if a command line that clap refused has a word of another tool. `arguments`: without the command's
/// name.
pub(crate) fn tip(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> Option<(String, &'static str)> {
    let refused = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    if let Some(word) = refused(ContextKind::InvalidSubcommand) {
        return Some((format!("kiln has no command '{word}'"), find(COMMANDS, word)?));
    }
    // clap reads `-target` as `-t`, and `-out` as `-o ut`: what was typed comes before what it refused.
    let one_dash = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.chars().count() > 2;
    let typed: Vec<String> = arguments.filter_map(|word| word.into_string().ok()).collect();
    let typed = typed.iter().map(|word| word.split('=').next().unwrap_or_default()).filter(|word| one_dash(word));
    let refused = refused(ContextKind::InvalidArg).map(|word| word.split(['=', ' ']).next().unwrap_or_default());
    let is_refused = error.use_stderr();
    let mut words = typed.chain(refused).filter(|_| is_refused);
    words.find_map(|word| Some((format!("unexpected argument '{word}'"), find(OPTIONS, word)?)))
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
        ] {
            let found = tip_for(line).unwrap_or_else(|| panic!("no tip for {line}"));
            assert_eq!(found.1, tip, "{line}");
        }
        assert_eq!(tip_for("apply -target=volume/db").unwrap().0, "unexpected argument '-target'");
        assert_eq!(tip_for("diff").unwrap().0, "kiln has no command 'diff'");
        assert!(tip_for("plan -out=x").unwrap().1.contains("--out FILE"));
    }

    #[test]
    fn other_errors_are_those_of_clap() {
        for line in ["", "--help", "get --help", "--version", "frobnicate", "get --frobnicate", "log -n x", "apply -y"]
        {
            assert_eq!(tip_for(line), None, "{line}");
        }
    }

    #[test]
    fn no_word_of_another_tool_is_a_word_of_kiln() {
        let kiln = Cli::command();
        for word in COMMANDS.iter().flat_map(|(words, _)| *words) {
            assert!(kiln.find_subcommand(word).is_none(), "{word}");
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
        for (_, tip) in COMMANDS.iter().chain(OPTIONS) {
            for command in tip.split('`').skip(1).step_by(2).filter_map(|text| text.strip_prefix("kiln ")) {
                let name = command.split_whitespace().next().unwrap();
                assert!(name.starts_with('-') || name == "COMMAND" || kiln.find_subcommand(name).is_some(), "{tip}");
            }
        }
    }
}
