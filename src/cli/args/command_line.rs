//! The command line as a whole: the commands, and how SPECS and the global options reach what they print.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::authoring::{CompletionsArgs, ExplainArgs, InitArgs, ManArgs, SchemaArgs};
use super::decisions::{AdoptArgs, ApproveArgs, ForgetArgs, ResumeArgs, SuspendArgs, TrashCommand};
use super::image::ImageCommand;
use super::listings::{DescribeArgs, DoctorArgs, GetArgs, LogArgs, StatusArgs};
use super::options::{Global, SPECS, STATE, is_there};
use super::runs::{ApplyArgs, CheckArgs, PlanArgs, WatchArgs};
use crate::cli::{examples, exit, habits};
use crate::report::Commands;

/// Make block storage match the YAML manifests in a directory
#[derive(Debug, Parser)]
#[command(name = "kiln", version, arg_required_else_help = true, subcommand_required = true)]
#[command(disable_help_subcommand = true, after_help = format!("{}\n\n{}", examples::KILN, exit::TABLE), max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line. `width`: the columns of the terminal, for the text of `--help`; clap does not know those of a terminal
    /// without rows.
    ///
    /// # Errors
    /// A usage error, or the text of `--help` or `--version`.
    pub(crate) fn read(arguments: impl Iterator<Item = OsString>, width: Option<usize>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        if let Some(width) = width {
            command = command.term_width(width.min(HELP));
        }
        let matches = command.try_get_matches_from_mut(habits::with_help(arguments))?;
        let cli = Self::from_arg_matches(&matches)?;
        let Some((name, given)) = matches.subcommand() else { return Ok(cli) };
        // KILN_SPECS is a default: the first argument takes precedence over it.
        let is_given = given.try_contains_id("specs").is_ok_and(|has| has)
            && given.value_source("specs") == Some(ValueSource::CommandLine);
        let option = given.try_get_one::<PathBuf>("specs").ok().flatten().filter(|_| is_given);
        match (cli.command.first_argument(), option) {
            (Some(argument), Some(option)) if !is_same(argument, option) => {
                let (argument, option) = (argument.display(), option.display());
                let message = format!(
                    "SPECS is given twice: `{argument}` and `--specs {option}`; write one of them, and objects as KIND/NAME\n"
                );
                Err(command.find_subcommand_mut(name).map_or_else(
                    || clap::Error::raw(ErrorKind::ArgumentConflict, &message),
                    |command| command.error(ErrorKind::ArgumentConflict, &message),
                ))
            }
            _ => Ok(cli),
        }
    }

    /// Returns the options that printed commands must carry to mean what this one does. Options from the environment are written out:
    /// they may not be set where the command is pasted.
    pub(crate) fn commands(&self) -> Commands {
        let (prune, only) = match &self.command {
            Command::Apply(ApplyArgs { selection, prune, .. }) | Command::Plan(PlanArgs { selection, prune, .. }) => {
                // Arguments that cannot be split are refused before anything is printed.
                (*prune, selection.split().map_or_else(|_| Vec::new(), |(_, only)| only.into_iter().collect()))
            }
            _ => (false, Vec::new()),
        };
        let text = |path: &PathBuf| path.display().to_string();
        let other_than = |path: &PathBuf, default: &str| (!is_same(path, Path::new(default))).then(|| text(path));
        Commands {
            specs: self.command.existing_specs().and_then(|specs| other_than(specs, SPECS)),
            state: other_than(&self.global.state, STATE),
            plan: None,
            config: self.global.config.as_ref().map(text),
            prune,
            only,
            digest_changes: false,
        }
    }
}

impl Command {
    /// Returns SPECS, for a command that takes it.
    fn specs(&self) -> Option<&PathBuf> {
        match self {
            Command::Check(args) => Some(args.specs.path()),
            Command::Plan(args) => Some(args.selection.path()),
            Command::Apply(args) => Some(args.selection.path()),
            Command::Watch(args) => Some(args.specs.path()),
            Command::Get(args) => Some(&args.specs.specs),
            Command::Describe(args) => Some(&args.specs.specs),
            Command::Status(args) => Some(&args.specs.specs),
            Command::Trash(TrashCommand::List(args)) => Some(&args.specs.specs),
            Command::Trash(TrashCommand::Restore(args)) => Some(&args.specs.specs),
            Command::Trash(TrashCommand::Purge(args)) => Some(&args.specs.specs),
            Command::Approve(args) => Some(&args.specs.specs),
            Command::Suspend(args) => Some(&args.specs.specs),
            Command::Resume(args) => Some(&args.specs.specs),
            Command::Forget(args) => Some(&args.specs.specs),
            Command::Adopt(args) => Some(&args.specs.specs),
            Command::Image(ImageCommand::Export(args)) => Some(&args.specs.specs),
            Command::Doctor(args) => Some(&args.specs.specs),
            Command::Log(args) => args.specs.as_ref(),
            Command::Init(_) | Command::Schema(_) | Command::Explain(_) | Command::Man(_) | Command::Completions(_) => {
                None
            }
        }
    }

    /// Returns SPECS for printed commands: a first argument that does not exist may be an object, which no command repeats.
    fn existing_specs(&self) -> Option<&PathBuf> {
        let given = self.specs();
        match self {
            Command::Plan(PlanArgs { selection, .. }) | Command::Apply(ApplyArgs { selection, .. }) => {
                given.filter(|given| is_there(given)).or_else(|| Some(selection.option()))
            }
            Command::Check(CheckArgs { specs, .. }) | Command::Watch(WatchArgs { specs, .. })
                if specs.object().is_some() =>
            {
                Some(specs.option())
            }
            _ => given,
        }
    }

    /// Returns SPECS, if it is the first argument.
    fn first_argument(&self) -> Option<&PathBuf> {
        match self {
            Command::Check(CheckArgs { specs, .. }) | Command::Watch(WatchArgs { specs, .. }) => {
                specs.argument.as_ref().filter(|_| specs.object().is_none())
            }
            Command::Plan(PlanArgs { selection, .. }) | Command::Apply(ApplyArgs { selection, .. }) => {
                selection.first_argument()
            }
            _ => None,
        }
    }
}

/// Whether two paths are equal apart from `./`.
fn is_same(one: &Path, other: &Path) -> bool {
    let plain = |path: &Path| path.strip_prefix(".").unwrap_or(path).to_owned();
    plain(one) == plain(other)
}

/// The most columns of a line of `--help`.
const HELP: usize = 100;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a Stack with a new id, an example, the schema for editors, and a .gitignore
    #[command(after_help = examples::INIT)]
    Init(InitArgs),
    /// Validate the manifests; contacts no backend
    #[command(after_help = examples::CHECK)]
    Check(CheckArgs),
    /// Show the steps that apply would execute; changes nothing
    #[command(after_help = examples::PLAN)]
    Plan(PlanArgs),
    /// Execute the plan; asks for confirmation only if a step cannot be undone
    #[command(after_help = examples::APPLY)]
    Apply(ApplyArgs),
    /// Run the daemon: reconcile on every change, at every interval, and on request
    #[command(after_help = examples::WATCH)]
    Watch(WatchArgs),
    /// List objects with their condition
    #[command(after_help = examples::GET)]
    Get(GetArgs),
    /// Show objects in full: spec, observed state, condition, snapshots, clones, and recent history
    #[command(after_help = examples::DESCRIBE)]
    Describe(DescribeArgs),
    /// Show a summary: the daemon, the backends, held objects with their fixes, orphans
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// Show executed steps: when, for which revision, with which outcome
    #[command(after_help = examples::LOG)]
    Log(LogArgs),
    /// List, restore or purge removed objects
    #[command(subcommand, after_help = examples::TRASH)]
    Trash(TrashCommand),
    /// Approve exactly the set that waits under a digest; the next run executes it
    #[command(after_help = examples::APPROVE)]
    Approve(ApproveArgs),
    /// Hold every step on an object, or on everything, until it is resumed
    #[command(after_help = examples::SUSPEND)]
    Suspend(SuspendArgs),
    /// End a suspension
    #[command(after_help = examples::RESUME)]
    Resume(ResumeArgs),
    /// Give up a lost object, or accept a backend as it is now
    #[command(after_help = examples::FORGET)]
    Forget(ForgetArgs),
    /// List objects without an owner and write manifests that adopt them, or adopt the objects of another owner
    #[command(after_help = examples::ADOPT)]
    Adopt(AdoptArgs),
    /// Export volumes and snapshots to image files
    #[command(subcommand, after_help = examples::IMAGE)]
    Image(ImageCommand),
    /// List problems, each with its fix; changes nothing
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// Print the JSON Schema of manifests, for editors
    #[command(after_help = examples::SCHEMA)]
    Schema(SchemaArgs),
    /// Explain a field of the manifests
    #[command(after_help = examples::EXPLAIN)]
    Explain(ExplainArgs),
    /// Print the manual page, or write the pages of all commands
    #[command(after_help = examples::MAN)]
    Man(ManArgs),
    /// Print completions for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use crate::report::Takes;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn printed_commands_take_what_the_command_line_takes() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let inner = command.get_subcommands().next().unwrap_or(command);
            let has_option = inner.get_arguments().any(|arg| arg.get_long() == Some("specs") && !arg.is_hide_set());
            let mut positional = inner.get_positionals().filter_map(|arg| arg.get_value_names()?.first());
            let takes = match positional.next().is_some_and(|name| name.starts_with("SPECS")) {
                true => Some(Takes::Argument),
                false => has_option.then_some(Takes::Option),
            };
            assert_eq!(crate::report::takes(name), takes, "kiln {name}");
        }
    }

    /// The words of a command as a shell splits them.
    fn words(command: &str) -> Vec<&str> {
        let mut quoted = command.split('\'');
        let mut words: Vec<&str> = quoted.next().into_iter().flat_map(str::split_whitespace).collect();
        while let Some(whole) = quoted.next() {
            words.push(whole);
            words.extend(quoted.next().into_iter().flat_map(str::split_whitespace));
        }
        words
    }

    #[test]
    fn every_command_has_two_examples_that_can_be_typed() {
        fn check(name: &str, command: &clap::Command) {
            for inner in command.get_subcommands() {
                let name = format!("{name} {}", inner.get_name());
                check(&name, inner);
                let help = inner.get_after_help().map(ToString::to_string).unwrap_or_default();
                let lines: Vec<&str> = help.strip_prefix(examples::HEADING).unwrap_or_default().lines().collect();
                let commands: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("  kiln ")).collect();
                assert_eq!(commands.len(), 2, "the examples of {name}: {help}");
                assert_eq!(lines.len(), 5, "each example of {name} says what it does: {help}");
                for example in commands {
                    assert!(format!("kiln {example} ").starts_with(&format!("{name} ")), "{example} is no {name}");
                    let parsed = Cli::try_parse_from(["kiln"].into_iter().chain(words(example)));
                    assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
                }
            }
        }
        check("kiln", &Cli::command());
    }

    #[test]
    fn plan_and_apply_tell_specs_from_objects() {
        let split = |arguments: &str| {
            let [plan, apply] = ["plan", "apply"].map(|command| {
                let cli =
                    Cli::try_parse_from(["kiln", command].into_iter().chain(arguments.split_whitespace())).unwrap();
                let (Command::Plan(PlanArgs { selection, .. }) | Command::Apply(ApplyArgs { selection, .. })) =
                    cli.command
                else {
                    panic!("{command} {arguments}")
                };
                selection.split().map(|(specs, objects)| {
                    let objects: Vec<String> = objects.iter().map(ToString::to_string).collect();
                    (specs.display().to_string(), objects.join(" "))
                })
            });
            assert_eq!(plan, apply);
            apply
        };
        let both = |specs: &str, objects: &str| Ok((specs.to_owned(), objects.to_owned()));
        assert_eq!(split("dir"), both("dir", ""));
        assert_eq!(split("dir volume/a snapshots/b"), both("dir", "volume/a snapshot/b"));
        assert_eq!(split("--specs x volume/a"), both("x", "volume/a"));
        assert_eq!(split("dir volume a b"), both("dir", "volume/a volume/b"));
        assert_eq!(split("volumes a b"), both("./specs", "volume/a volume/b"));
        assert_eq!(split("volume"), both("volume", ""), "one word is a path");
        assert!(split("volume/a*").unwrap_err().contains("in full") && split("volume a*").is_err());
        // What is no kind can only be a path.
        assert_eq!(split("prod/eu volume/a"), both("prod/eu", "volume/a"));
        assert!(split("dir other").is_err() && split("dir volume").is_err() && split("volume/a dir").is_err());
        assert!(split("dir backend/fast").unwrap_err().contains("volumes, snapshots or exports"));
    }
}
