//! The options of the commands around manifests and the command line itself: init, schema, explain, man, completions.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use super::options::Output;
use crate::model::Kind;
use crate::report::kind_named;

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Directory for `kiln.yaml`, created if missing; a directory with manifests is refused
    #[arg(value_name = "DIR", default_value = "./specs")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Only the schema of this kind
    #[arg(value_name = "KIND", value_parser = kind_named)]
    pub(crate) kind: Option<Kind>,
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
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}
