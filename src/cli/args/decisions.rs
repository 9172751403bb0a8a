//! The options of the commands by which a person decides about objects: trash, approve, suspend, resume, forget, adopt.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::options::{Output, SpecsOption};
use crate::cli::examples;
use crate::model::{Kind, Name, Owner, Seconds};

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
    /// Lost volumes or snapshots (frees each name for an empty one), or backend/NAME (accepts the pool as it is observed)
    #[arg(value_name = "KIND/NAME", required = true)]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The digest, as `kiln plan` shows it; without it, nothing is approved, and what waits is shown
    #[arg(value_name = "DIGEST")]
    pub(crate) digest: Option<String>,
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
    #[arg(value_name = "BACKEND", value_parser = parse_backend)]
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

/// Parses `fast`, or `backend/fast` as other commands write it.
fn parse_backend(text: &str) -> Result<Name, String> {
    let name = text.split_once('/').filter(|(kind, _)| Kind::parse_loosely(kind) == Some(Kind::Backend));
    name.map_or(text, |(_, name)| name).parse::<Name>().map_err(|error| error.to_string())
}
