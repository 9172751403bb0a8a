//! Options that several commands share: the global ones, SPECS, and the output format.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::model::Kind;

/// The default of SPECS.
pub(super) const SPECS: &str = "./specs";
/// The default of `--state`.
pub(super) const STATE: &str = "./state";

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

/// SPECS as the first argument or as an option.
#[derive(Debug, Args)]
pub(crate) struct SpecsArgument {
    /// Directory or file with manifests; `-` for stdin
    #[arg(value_name = "SPECS")]
    pub(super) argument: Option<PathBuf>,
    /// SPECS, if it is not the first argument
    #[arg(long = "specs", value_name = "SPECS", env = "KILN_SPECS", default_value = SPECS)]
    specs: PathBuf,
}

impl SpecsArgument {
    pub(crate) fn path(&self) -> &PathBuf {
        self.argument.as_ref().unwrap_or(&self.specs)
    }

    /// Returns SPECS if they are not the first argument.
    pub(super) fn option(&self) -> &PathBuf {
        &self.specs
    }

    /// Returns the first argument, if it is an object (`volume/db`) and no file or directory has that name.
    pub(crate) fn object(&self) -> Option<&str> {
        let argument = self.argument.as_ref()?.to_str()?;
        let (kind, _) = argument.split_once('/')?;
        Kind::parse_loosely(kind).and(Some(argument)).filter(|argument| !Path::new(argument).exists())
    }
}

/// Whether a first argument is SPECS that exist. Stdin always exists.
pub(super) fn is_there(argument: &Path) -> bool {
    argument.as_os_str() == "-" || argument.exists()
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
