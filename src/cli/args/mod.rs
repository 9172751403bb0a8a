//! The command line: commands, options, and their help. `command_line` lists the commands; their options are in a file for each group.

mod authoring;
mod command_line;
mod decisions;
mod image;
mod listings;
mod options;
mod runs;

pub(super) use authoring::{CompletionsArgs, ExplainArgs, InitArgs, ManArgs, SchemaArgs};
pub(super) use command_line::{Cli, Command};
pub(super) use decisions::{
    AdoptArgs, AdoptFormat, ApproveArgs, ForgetArgs, ResumeArgs, SuspendArgs, TrashCommand, TrashListArgs,
    TrashPurgeArgs, TrashRestoreArgs,
};
pub(super) use image::{ImageCommand, ImageExportArgs};
pub(super) use listings::{DescribeArgs, DescribeFormat, DoctorArgs, GetArgs, GetFormat, LogArgs, StatusArgs};
pub(super) use options::{Annotations, ColorChoice, Global, LogFormat, SpecsArgument};
pub(super) use runs::{ApplyArgs, CheckArgs, PlanArgs, PlanFormat, Selection, WatchArgs};
