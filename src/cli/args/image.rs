//! The options of `kiln image`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::options::SpecsOption;
use crate::cli::examples;
use crate::model::ImageFormat;

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
    /// Say that no program writes to the volume; needed where its backend does not show all clients
    #[arg(long)]
    pub(crate) quiesced: bool,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
}
