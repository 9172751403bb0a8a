//! The command line, as typed: commands, options, and their help.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::exit;
use crate::model::{ImageFormat, Kind, Name, ObjectId, Owner, Seconds};
use crate::report::Commands;

/// Keeps block storage in the shape that a directory of YAML files declares.
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
    /// What commands that are printed must carry to mean what this one does. What comes from the environment is written out as well: it
    /// may not be set where they are pasted.
    pub(crate) fn commands(&self) -> Commands {
        let (specs, prune, only) = match &self.command {
            Command::Apply(args) => {
                // What cannot be split is refused before anything is printed.
                let (specs, only) = args.split().unwrap_or_else(|_| (args.specs.clone(), BTreeSet::new()));
                (Some(specs), args.prune, only.into_iter().collect())
            }
            Command::Plan(args) => (Some(args.specs.specs.clone()), args.prune, Vec::new()),
            other => (other.specs().cloned(), false, Vec::new()),
        };
        let text = |path: &PathBuf| path.display().to_string();
        let plain = |path: &Path| path.strip_prefix(".").unwrap_or(path).to_owned();
        let other_than = |path: &PathBuf, default: &str| (plain(path) != plain(Path::new(default))).then(|| text(path));
        Commands {
            specs: specs.and_then(|specs| other_than(&specs, SPECS)),
            state: other_than(&self.global.state, STATE),
            plan: None,
            config: self.global.config.as_ref().map(text),
            prune,
            only,
        }
    }
}

impl Command {
    /// SPECS, of a command that takes it.
    fn specs(&self) -> Option<&PathBuf> {
        match self {
            Command::Check(args) => Some(&args.specs.specs),
            Command::Plan(args) => Some(&args.specs.specs),
            Command::Apply(args) => Some(&args.specs),
            Command::Watch(args) => Some(&args.specs),
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
}

/// SPECS, where none is given.
const SPECS: &str = "./specs";
/// The store, where none is given.
const STATE: &str = "./state";

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The store: what Kiln remembers between runs
    #[arg(long, global = true, value_name = "DIR", env = "KILN_STATE", default_value = STATE)]
    pub(crate) state: PathBuf,
    /// What manifests may reach on this host; without it /etc/kiln/kiln.toml, if that is there
    #[arg(long, global = true, value_name = "FILE", env = "KILN_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// What to log on standard error: off, error, warn, info, debug, trace, or `target=level,…`; without it, warn, and of `watch`
    /// what it does as well
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// The form of the log
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// When to use colour; NO_COLOR is respected
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

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a Stack with a fresh id and a commented example
    Init(InitArgs),
    /// Read and validate the manifests; touches no backend
    Check(CheckArgs),
    /// Show what apply would do; changes nothing
    Plan(PlanArgs),
    /// Do it; asks first only if a step cannot be undone
    Apply(ApplyArgs),
    /// Keep doing it: reconcile on every change, every interval, and on request
    Watch(WatchArgs),
    /// Show what is declared and what is there
    Get(GetArgs),
    /// Show one object: spec, what is there, condition and why, recent history
    Describe(DescribeArgs),
    /// Show the whole at a glance: the daemon, the backends, what is held and how to let it go
    Status(StatusArgs),
    /// Show what was done, when, for which revision, with what outcome
    Log(LogArgs),
    /// List, bring back or destroy what was removed
    #[command(subcommand)]
    Trash(TrashCommand),
    /// Say yes to what waits under a digest, exactly that; the next run carries it out
    Approve(ApproveArgs),
    /// Leave an object, or everything, as it is: whatever is to be done is held
    Suspend(SuspendArgs),
    /// End a suspension
    Resume(ResumeArgs),
    /// Give up an object that is lost, or accept a backend as it is now
    Forget(ForgetArgs),
    /// List what nobody owns on a backend, write manifests that take it over; or take over the objects of another owner
    Adopt(AdoptArgs),
    /// Write volumes and snapshots into image files
    #[command(subcommand)]
    Image(ImageCommand),
    /// Say what is wrong, each with what mends it; changes nothing
    Doctor(DoctorArgs),
    /// Print the JSON Schema of manifests, for editors
    Schema(SchemaArgs),
    /// Explain a field of the manifests
    Explain(ExplainArgs),
    /// Print the manual page, or write those of all commands
    Man(ManArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// Where manifests are, as the first argument.
#[derive(Debug, Args)]
pub(crate) struct SpecsArgument {
    /// Directory or file with manifests; `-` for standard input
    #[arg(value_name = "SPECS", env = "KILN_SPECS", default_value = SPECS)]
    pub(crate) specs: PathBuf,
}

/// Where manifests are, as an option.
#[derive(Debug, Args)]
pub(crate) struct SpecsOption {
    /// Directory or file with manifests; `-` for standard input
    #[arg(long = "specs", value_name = "SPECS", env = "KILN_SPECS", default_value = SPECS)]
    pub(crate) specs: PathBuf,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// How data is printed
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub(crate) format: Format,
}

impl Output {
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// Whose form of annotations is written to standard error besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Annotations {
    /// Workflow commands of GitHub Actions
    Github,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where to write `kiln.yaml`; made if it is not there. A directory that holds manifests is refused
    #[arg(value_name = "DIR", default_value = "./specs")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) specs: SpecsArgument,
    /// Write what a CI shows beside the lines of a pull request to standard error
    #[arg(long, value_enum, value_name = "CI")]
    pub(crate) annotations: Option<Annotations>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// How `plan` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// For pull requests: bytes at risk and clients hit in the first line
    Markdown,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) specs: SpecsArgument,
    /// Save the plan here: `kiln apply FILE` then does exactly that, or refuses
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Remove also what a file or standard input does not name, as of a directory
    #[arg(long)]
    pub(crate) prune: bool,
    /// End with 3 if changes are pending
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// Do not end with 4 because something is held
    #[arg(long)]
    pub(crate) allow_held: bool,
    /// Write what a CI shows beside the lines of a pull request to standard error
    #[arg(long, value_enum, value_name = "CI")]
    pub(crate) annotations: Option<Annotations>,
    /// How the plan is printed
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = PlanFormat::Text)]
    pub(crate) format: PlanFormat,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Manifests (a directory, a file, or `-`) or a saved plan, and objects as KIND/NAME: only these then, and what they need
    #[arg(value_name = "SPECS|PLAN-FILE|KIND/NAME")]
    pub(crate) what: Vec<PathBuf>,
    /// What SPECS is where it is not the first argument. Not shown: for this command it is the first argument
    #[arg(long = "specs", value_name = "SPECS", env = "KILN_SPECS", default_value = SPECS, hide = true)]
    pub(crate) specs: PathBuf,
    /// Do not ask about steps that cannot be undone
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Remove also what a file or standard input does not name, as of a directory
    #[arg(long)]
    pub(crate) prune: bool,
    /// Let the removals go that wait under this digest, exactly as `kiln plan` showed them
    #[arg(long, value_name = "DIGEST")]
    pub(crate) approve: Vec<String>,
    /// Do not end with 4 because something is held
    #[arg(long)]
    pub(crate) allow_held: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl ApplyArgs {
    /// Where the specs are, and which objects are asked for. The first argument is an object only if it has the form of one, with
    /// a kind that there is, and no file or directory of that name is there.
    ///
    /// # Errors
    /// One sentence about an argument that is neither.
    pub(crate) fn split(&self) -> Result<(PathBuf, BTreeSet<ObjectId>), String> {
        let mut rest = self.what.as_slice();
        let specs = match rest.split_first() {
            Some((first, others)) if as_object(first).is_err() || first.exists() => {
                rest = others;
                first.clone()
            }
            _ => self.specs.clone(),
        };
        let objects = rest.iter().map(|text| {
            let object = as_object(text)?;
            match object.kind {
                Kind::Volume | Kind::Snapshot | Kind::Export => Ok(object),
                Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => {
                    Err(format!("a {} has no steps: name volumes, snapshots or exports", object.kind.as_lower()))
                }
            }
        });
        Ok((specs, objects.collect::<Result<_, String>>()?))
    }
}

fn as_object(text: &std::path::Path) -> Result<ObjectId, String> {
    parse_object(text.to_str().ok_or_else(|| format!("{text:?} is no KIND/NAME"))?)
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Directory or file with manifests
    #[arg(value_name = "SPECS", env = "KILN_SPECS", default_value = SPECS)]
    pub(crate) specs: PathBuf,
    /// Answer /metrics, /healthz and /readyz at this address over TCP: 127.0.0.1:9641; port 0 takes a free one. What others can reach
    /// takes TLS and a token
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_address)]
    pub(crate) listen: Option<SocketAddr>,
    /// The certificate for --listen, and what vouches for it, as PEM
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of the certificate, as PEM; its mode must keep others out
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Answer only who knows the token in this file (Authorization: Bearer …); its mode must keep others out
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

/// How `get` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GetFormat {
    /// A table
    Table,
    /// An array of objects
    Json,
    /// `kind/name`, one a line
    Name,
    /// A table with more columns
    Wide,
    /// As json, in YAML
    Yaml,
}

/// How `describe` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DescribeFormat {
    /// For people
    Text,
    /// The object, with its history
    Json,
    /// As json, in YAML
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// volume, snapshot, export or backend, and of these perhaps only one; without it all but backends
    #[arg(value_name = "KIND[/NAME]")]
    pub(crate) what: Option<Selector>,
    /// Only what has this label; repeated: all of these
    #[arg(short = 'l', long = "label", value_name = "LABEL=VALUE", value_parser = parse_label)]
    pub(crate) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
    /// How data is printed
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = GetFormat::Table)]
    pub(crate) format: GetFormat,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Which object
    #[arg(value_name = "KIND/NAME", value_parser = parse_object)]
    pub(crate) what: ObjectId,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
    /// How data is printed
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
    /// A kind, or a field by its path: volume, volume.spec.size; without it the kinds
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Writes the page of every command into this directory, as kiln.1, kiln-plan.1, …
    #[arg(long, value_name = "DIR")]
    pub(crate) all: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Only of this object
    #[arg(value_name = "KIND/NAME", value_parser = parse_object)]
    pub(crate) what: Option<ObjectId>,
    /// At most so many lines, the newest
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 50)]
    pub(crate) lines: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrashCommand {
    /// Show what is in the trash, and until when
    List(TrashListArgs),
    /// Bring an object back; a volume brings the snapshots that went with it
    Restore(TrashRestoreArgs),
    /// Destroy what is past its time, or one object by its name; asks first
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
    /// Which object
    #[arg(value_name = "KIND/NAME", value_parser = parse_object)]
    pub(crate) what: ObjectId,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct TrashPurgeArgs {
    /// Which object, past its time or not
    #[arg(value_name = "KIND/NAME", value_parser = parse_object)]
    pub(crate) what: Option<ObjectId>,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// A lost volume or snapshot (its name is then free for an empty one), or backend/NAME (accepts the pool as it is seen)
    #[arg(value_name = "KIND/NAME", value_parser = parse_object)]
    pub(crate) what: ObjectId,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// As `kiln plan` shows it
    #[arg(value_name = "DIGEST")]
    pub(crate) digest: String,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct SuspendArgs {
    /// A volume, snapshot or export; without it everything of this Stack
    #[arg(value_name = "KIND/NAME", value_parser = parse_object)]
    pub(crate) what: Option<ObjectId>,
    /// Why: shown to everyone who looks
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// For how long: 30s, 15m, 12h, 7d; without it until it is resumed
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) length: Option<Seconds>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Which object; without it, what was suspended without one
    #[arg(value_name = "KIND/NAME", value_parser = parse_object)]
    pub(crate) what: Option<ObjectId>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

/// How `adopt` prints what nobody owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AdoptFormat {
    /// A table
    Text,
    /// An array of objects
    Json,
    /// Manifests that take them over
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    /// The declared Backend
    #[arg(value_name = "BACKEND")]
    pub(crate) backend: Name,
    /// Takes over the objects of this owner, under their names and uids
    #[arg(long, value_name = "OLD")]
    pub(crate) from_owner: Option<Owner>,
    /// Writes a manifest for each object that nobody owns into this directory; overwrites nothing
    #[arg(long, value_name = "DIR", conflicts_with = "from_owner")]
    pub(crate) write: Option<PathBuf>,
    /// How what nobody owns is printed
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = AdoptFormat::Text)]
    #[arg(conflicts_with = "from_owner")]
    pub(crate) format: AdoptFormat,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Write a volume or snapshot into an image file, whole or not at all; a volume that is open for writing is refused
    Export(ImageExportArgs),
}

/// The format of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormatChoice {
    /// The bytes of the disk, with holes where it has them
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
    #[arg(value_name = "KIND/NAME", value_parser = parse_object)]
    pub(crate) what: ObjectId,
    /// The file to make
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Its format; never guessed
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: ImageFormatChoice,
    /// Replace a file of that name
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Only of this kind
    #[arg(value_name = "KIND", value_parser = parse_kind)]
    pub(crate) kind: Option<Kind>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: Shell,
}

/// `volumes`, or `volume/db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) kind: Kind,
    pub(crate) name: Option<Name>,
}

pub(crate) fn parse_kind(text: &str) -> Result<Kind, String> {
    Kind::parse_loosely(text).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::as_lower);
        let near = known.into_iter().find(|kind| strsim::damerau_levenshtein(kind, &text.to_ascii_lowercase()) <= 2);
        match near {
            Some(kind) => format!("there is no kind {text:?}; did you mean {kind:?}?"),
            None => format!("there is no kind {text:?}; known are {}", known.join(", ")),
        }
    })
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an IP address and a port are meant: 127.0.0.1:9641, [::1]:9641".to_owned())
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form label=value")),
    }
}

fn parse_name(text: &str) -> Result<Name, String> {
    text.parse().map_err(|error| format!("the name {text:?} {error}"))
}

impl FromStr for Selector {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.split_once('/') {
            None => Self { kind: parse_kind(text)?, name: None },
            Some((kind, name)) => Self { kind: parse_kind(kind)?, name: Some(parse_name(name)?) },
        })
    }
}

fn parse_object(text: &str) -> Result<ObjectId, String> {
    let Selector { kind, name } = text.parse()?;
    match name {
        Some(name) => Ok(ObjectId { kind, name }),
        None => Err(format!("a kind alone is not enough: write {}/NAME", kind.as_lower())),
    }
}

#[cfg(test)]
mod tests {
    use crate::report::Takes;
    use clap::CommandFactory;

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

    #[test]
    fn apply_tells_specs_from_objects() {
        let split = |arguments: &str| {
            let cli = Cli::try_parse_from(["kiln", "apply"].into_iter().chain(arguments.split_whitespace())).unwrap();
            let Command::Apply(args) = cli.command else { panic!("{arguments} is no apply") };
            args.split().map(|(specs, objects)| {
                let objects: Vec<String> = objects.iter().map(ToString::to_string).collect();
                (specs.display().to_string(), objects.join(" "))
            })
        };
        let both = |specs: &str, objects: &str| Ok((specs.to_owned(), objects.to_owned()));
        assert_eq!(split("dir"), both("dir", ""));
        assert_eq!(split("dir volume/a snapshots/b"), both("dir", "volume/a snapshot/b"));
        assert_eq!(split("--specs x volume/a"), both("x", "volume/a"));
        // What is no kind can only be a path.
        assert_eq!(split("prod/eu volume/a"), both("prod/eu", "volume/a"));
        assert!(split("dir other").is_err() && split("dir volume").is_err() && split("volume/a dir").is_err());
        assert!(split("dir backend/fast").unwrap_err().contains("volumes, snapshots or exports"));
    }

    #[test]
    fn objects_are_named_by_kind_and_name() {
        let db = ObjectId::new(Kind::Volume, &"db".parse().unwrap());
        assert_eq!(parse_object("volume/db"), Ok(db.clone()));
        assert_eq!(parse_object("Volumes/db"), Ok(db));
        assert_eq!("snapshots".parse(), Ok(Selector { kind: Kind::Snapshot, name: None }));
        for bad in ["", "db", "volume/", "volume/Db", "volume/a/b", "volume/../x", "/db"] {
            assert!(parse_object(bad).is_err(), "{bad}");
        }
        assert!(parse_object("volume").unwrap_err().contains("volume/NAME"));
        assert!(parse_object("volumne/x").unwrap_err().contains("did you mean \"volume\""));
    }
}
