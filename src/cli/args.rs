//! The command line: commands, options, and their help.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::{examples, exit};
use crate::model::{ImageFormat, Kind, Name, ObjectId, Owner, Seconds};
use crate::report::{Commands, LabelSelector, ObjectSelection, kind_named};

/// Make block storage match the YAML manifests in a directory
#[derive(Debug, Parser)]
#[command(name = "kiln", version, arg_required_else_help = true, subcommand_required = true)]
#[command(disable_help_subcommand = true, after_help = exit::TABLE, max_term_width = 110)]
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
        let matches = command.try_get_matches_from_mut(arguments)?;
        let cli = Self::from_arg_matches(&matches)?;
        let Some((name, given)) = matches.subcommand() else { return Ok(cli) };
        // KILN_SPECS is a default: the first argument takes precedence over it.
        let is_given = given.try_contains_id("specs").is_ok_and(|has| has)
            && given.value_source("specs") == Some(ValueSource::CommandLine);
        let option = given.try_get_one::<PathBuf>("specs").ok().flatten().filter(|_| is_given);
        match (cli.command.first_argument(), option) {
            (Some(argument), Some(option)) if !is_same(argument, option) => {
                let (argument, option) = (argument.display(), option.display());
                let message = format!("SPECS is given twice: `{argument}` and `--specs {option}`; write one of them\n");
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
            specs: self.command.specs().and_then(|specs| other_than(specs, SPECS)),
            state: other_than(&self.global.state, STATE),
            plan: None,
            config: self.global.config.as_ref().map(text),
            prune,
            only,
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
            Command::Init(_)
            | Command::Log(_)
            | Command::Schema(_)
            | Command::Explain(_)
            | Command::Man(_)
            | Command::Completions(_) => None,
        }
    }

    /// Returns SPECS, if it is the first argument.
    fn first_argument(&self) -> Option<&PathBuf> {
        match self {
            Command::Check(CheckArgs { specs, .. }) | Command::Watch(WatchArgs { specs, .. }) => {
                specs.argument.as_ref()
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

/// The default of SPECS.
const SPECS: &str = "./specs";
/// The default of `--state`.
const STATE: &str = "./state";

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Directory of the store: records, journal and lock
    #[arg(long, global = true, value_name = "DIR", env = "KILN_STATE", default_value = STATE)]
    pub(crate) state: PathBuf,
    /// Host configuration: what manifests may use on this host; default /etc/kiln/kiln.toml, if it exists
    #[arg(long, global = true, value_name = "FILE", env = "KILN_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Log filter for stderr: off, error, warn, info, debug, trace, or `target=level,…`; default warn, and for `watch` kiln=info,warn
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Format of the log
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// When to use colour. `auto`: on a terminal; NO_COLOR=1 disables it, else CLICOLOR_FORCE=1 enables it everywhere
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub(crate) color: ColorChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    Auto,
    Always,
    Never,
}

impl ColorChoice {
    /// Returns the choice of a command line that cannot be parsed.
    pub(crate) fn written(arguments: impl Iterator<Item = OsString>) -> Self {
        let arguments: Vec<String> = arguments.map(|text| text.to_string_lossy().into_owned()).collect();
        let after = |index: usize| arguments.get(index + 1).map(String::as_str);
        let of = |(index, text): (usize, &String)| match text.split_once('=') {
            Some(("--color", choice)) => Self::from_str(choice, true).ok(),
            _ if text == "--color" => after(index).and_then(|choice| Self::from_str(choice, true).ok()),
            _ => None,
        };
        arguments.iter().enumerate().find_map(of).unwrap_or(Self::Auto)
    }
}

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
    #[command(subcommand)]
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
    #[command(subcommand)]
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

/// SPECS as the first argument or as an option.
#[derive(Debug, Args)]
pub(crate) struct SpecsArgument {
    /// Directory or file with manifests; `-` for stdin
    #[arg(value_name = "SPECS")]
    argument: Option<PathBuf>,
    /// SPECS, if it is not the first argument
    #[arg(long = "specs", value_name = "SPECS", env = "KILN_SPECS", default_value = SPECS)]
    specs: PathBuf,
}

impl SpecsArgument {
    pub(crate) fn path(&self) -> &PathBuf {
        self.argument.as_ref().unwrap_or(&self.specs)
    }
}

/// SPECS as an option.
#[derive(Debug, Args)]
pub(crate) struct SpecsOption {
    /// Directory or file with manifests; `-` for stdin
    #[arg(long = "specs", value_name = "SPECS", env = "KILN_SPECS", default_value = SPECS)]
    pub(crate) specs: PathBuf,
}

/// The output formats of most commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Output format
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub(crate) format: Format,
}

impl Output {
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// The forms of CI annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Annotations {
    /// Workflow commands of GitHub Actions
    Github,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Directory for `kiln.yaml`, created if missing; a directory with manifests is refused
    #[arg(value_name = "DIR", default_value = "./specs")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) specs: SpecsArgument,
    /// Write annotations for a pull request to stderr
    #[arg(long, value_enum, value_name = "CI")]
    pub(crate) annotations: Option<Annotations>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The output formats of `plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// For pull requests: the first line gives the bytes at risk and the steps that disrupt clients
    Markdown,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Save the plan: `kiln apply FILE` then executes exactly this plan, or refuses
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Also remove objects that a file or stdin does not declare, as for a directory
    #[arg(long)]
    pub(crate) prune: bool,
    /// Exit with 3 if changes are pending
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// Do not exit with 4 if objects are held
    #[arg(long)]
    pub(crate) allow_held: bool,
    /// Write annotations for a pull request to stderr
    #[arg(long, value_enum, value_name = "CI")]
    pub(crate) annotations: Option<Annotations>,
    /// Output format
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = PlanFormat::Text)]
    pub(crate) format: PlanFormat,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Do not ask for confirmation of irreversible steps
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Ask for confirmation before any step; needs a terminal
    #[arg(long, conflicts_with = "yes")]
    pub(crate) ask: bool,
    /// Also remove objects that a file or stdin does not declare, as for a directory
    #[arg(long)]
    pub(crate) prune: bool,
    /// Approve the set that waits under this digest, exactly as `kiln plan` showed it
    #[arg(long, value_name = "DIGEST")]
    pub(crate) approve: Vec<String>,
    /// Do not exit with 4 if objects are held
    #[arg(long)]
    pub(crate) allow_held: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// SPECS and objects, as `plan` and `apply` take them.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Manifests (a directory, a file, or `-`) or a saved plan, then objects as KIND/NAME … or KIND NAME …: only these and what they
    /// need
    #[arg(value_name = "SPECS|PLAN-FILE|KIND/NAME")]
    what: Vec<PathBuf>,
    /// SPECS, if it is not the first argument
    #[arg(long = "specs", value_name = "SPECS", env = "KILN_SPECS", default_value = SPECS)]
    specs: PathBuf,
}

impl Selection {
    /// Returns SPECS, if it is the first argument. The first argument is an object only if it begins with a kind, as in `volume/db` or
    /// `volume db`, and no file or directory has that name.
    fn first_argument(&self) -> Option<&PathBuf> {
        let is_object = |first: &PathBuf| {
            let kind = first.to_str().and_then(|first| match first.split_once('/') {
                Some((kind, _)) => Some(kind),
                None => Some(first).filter(|_| self.what.len() > 1),
            });
            kind.and_then(Kind::parse_loosely).is_some() && !first.exists()
        };
        self.what.first().filter(|first| !is_object(first))
    }

    /// Returns SPECS or the saved plan.
    pub(crate) fn path(&self) -> &PathBuf {
        self.first_argument().unwrap_or(&self.specs)
    }

    /// Splits the arguments into SPECS and the selected objects.
    ///
    /// # Errors
    /// One sentence about an argument that is neither.
    pub(crate) fn split(&self) -> Result<(PathBuf, BTreeSet<ObjectId>), String> {
        let words = self.what.iter().skip(usize::from(self.first_argument().is_some()));
        let words: Vec<&str> = words.map(|word| word.to_str().unwrap_or_default()).collect();
        let named = ObjectSelection::parse(words.iter().copied())?.ids();
        let objects = named.ok_or_else(|| format!("{:?} does not name an object in full", words.join(" ")))?;
        let without = objects.iter().find(|object| match object.kind {
            Kind::Volume | Kind::Snapshot | Kind::Export => false,
            Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => true,
        });
        match without {
            Some(object) => {
                Err(format!("a {} has no steps: name volumes, snapshots or exports", object.kind.as_lower()))
            }
            None => Ok((self.path().clone(), objects.into_iter().collect())),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) specs: SpecsArgument,
    /// Serve /metrics, /healthz and /readyz at this TCP address: 127.0.0.1:9641; port 0 takes a free port. A non-loopback address
    /// needs TLS and a token
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Certificate chain for --listen, as PEM
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of the certificate, as PEM; only its owner may read the file
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) tls_key: Option<PathBuf>,
    /// File with the token that clients must send (Authorization: Bearer …); only its owner may read the file
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The output formats of `get`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GetFormat {
    /// Table
    Table,
    /// JSON array of objects
    Json,
    /// `kind/name`, one per line
    Name,
    /// Table with more columns
    Wide,
    /// The JSON array in YAML
    Yaml,
}

/// The output formats of `describe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DescribeFormat {
    /// For people
    Text,
    /// The objects with their history
    Json,
    /// The same in YAML
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// KIND, KIND NAME …, KIND/NAME …, or NAME …, where NAME may contain `*` and `?`; kinds are volume, snapshot, export and backend, or
    /// several: volumes,snapshots; default: all objects except backends
    #[arg(value_name = "OBJECT")]
    pub(crate) what: Vec<String>,
    /// Only objects with these labels, as for kubectl: `a=b,c!=d`, `key`, `!key`, `key in (a,b)`, `key notin (a)`; all must match
    #[arg(short = 'l', long = "selector", alias = "label", value_name = "SELECTOR", value_parser = LabelSelector::parse)]
    pub(crate) labels: Vec<LabelSelector>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
    /// Output format
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = GetFormat::Table)]
    pub(crate) format: GetFormat,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// KIND/NAME …, KIND NAME …, or NAME … if it is unambiguous; NAME may contain `*` and `?`
    #[arg(value_name = "OBJECT", required = true)]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
    /// Output format
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = DescribeFormat::Text)]
    pub(crate) format: DescribeFormat,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A kind, or the path of a field: volume, volume.spec.size; default: list the kinds
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands to this directory, as kiln.1, kiln-plan.1, …
    #[arg(long, value_name = "DIR")]
    pub(crate) all: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Only entries about this object, as KIND/NAME
    #[arg(value_name = "KIND/NAME")]
    pub(crate) what: Vec<String>,
    /// The number of entries, newest last
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 50)]
    pub(crate) lines: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrashCommand {
    /// List the objects in the trash with their expiry
    #[command(after_help = examples::TRASH_LIST)]
    List(TrashListArgs),
    /// Restore an object; a volume restores the snapshots that were removed with it
    #[command(after_help = examples::TRASH_RESTORE)]
    Restore(TrashRestoreArgs),
    /// Destroy expired objects, or one object by its name; asks for confirmation of a named one
    #[command(after_help = examples::TRASH_PURGE)]
    Purge(TrashPurgeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TrashListArgs {
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct TrashRestoreArgs {
    /// The object, as KIND/NAME; or NAME, if one object in the trash has it
    #[arg(value_name = "KIND/NAME", required = true)]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct TrashPurgeArgs {
    /// The object, as KIND/NAME, expired or not; default: all expired objects
    #[arg(value_name = "KIND/NAME")]
    pub(crate) what: Vec<String>,
    /// Do not ask for confirmation
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// A lost volume or snapshot (frees its name for an empty one), or backend/NAME (accepts the pool as it is observed)
    #[arg(value_name = "KIND/NAME", required = true)]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The digest, as `kiln plan` shows it
    #[arg(value_name = "DIGEST")]
    pub(crate) digest: String,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct SuspendArgs {
    /// Volumes, snapshots or exports, as KIND/NAME …; NAME, KIND, `*` and `?` match only declared objects, not those that wait for
    /// removal; default: everything of this Stack
    #[arg(value_name = "OBJECT")]
    pub(crate) what: Vec<String>,
    /// The reason, shown with every object that the suspension holds
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// The duration: 30s, 15m, 12h, 7d; default: until it is resumed
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) length: Option<Seconds>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Objects, as KIND/NAME …, or NAME of a declared object; no kinds and no patterns; default: end the suspension of everything
    #[arg(value_name = "OBJECT")]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

/// The output formats of `adopt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AdoptFormat {
    /// Table
    Text,
    /// JSON array of objects
    Json,
    /// Manifests that adopt the objects
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    /// The declared Backend
    #[arg(value_name = "BACKEND")]
    pub(crate) backend: Name,
    /// Adopt the objects of this owner, with their names and uids
    #[arg(long, value_name = "OLD")]
    pub(crate) from_owner: Option<Owner>,
    /// Write a manifest for each object without an owner to this directory; overwrites nothing
    #[arg(long, value_name = "DIR", conflicts_with = "from_owner")]
    pub(crate) write: Option<PathBuf>,
    /// Output format
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = AdoptFormat::Text)]
    #[arg(conflicts_with = "from_owner")]
    pub(crate) format: AdoptFormat,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Export a volume or snapshot to an image file, complete or not at all; a volume that is open for writing is refused
    #[command(after_help = examples::IMAGE_EXPORT)]
    Export(ImageExportArgs),
}

/// The formats of image files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormatChoice {
    /// The bytes of the disk; unused blocks become holes
    Raw,
    /// QEMU's format; needs qemu-img
    Qcow2,
}

impl From<ImageFormatChoice> for ImageFormat {
    fn from(choice: ImageFormatChoice) -> Self {
        match choice {
            ImageFormatChoice::Raw => ImageFormat::Raw,
            ImageFormatChoice::Qcow2 => ImageFormat::Qcow2,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ImageExportArgs {
    /// volume/NAME or snapshot/NAME
    #[arg(value_name = "KIND/NAME")]
    pub(crate) what: String,
    /// The file to create
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Its format; required, never guessed
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: ImageFormatChoice,
    /// Replace an existing file
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Only the schema of this kind
    #[arg(value_name = "KIND", value_parser = kind_named)]
    pub(crate) kind: Option<Kind>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not an IP address with a port, such as 127.0.0.1:9641 or [::1]:9641".to_owned())
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
            // The log is the store's; the others read neither.
            let takes = takes.or((name == "log").then_some(Takes::Nothing));
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
                if inner.get_subcommands().next().is_some() {
                    continue;
                }
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
