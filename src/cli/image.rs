//! `kiln image`: exports objects to image files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::args::{ImageCommand, ImageExportArgs};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::objects;
use super::runtime::block_on;
use super::signals;
use crate::engine::{self, ImageExport, OperationError};

pub(crate) fn image(context: &Context, command: ImageCommand) -> Result<Exit, Failure> {
    match command {
        ImageCommand::Export(args) => export(context, args),
    }
}

fn export(context: &Context, args: ImageExportArgs) -> Result<Exit, Failure> {
    let what = objects::one(&[args.what])?;
    let setup = context.read_only(context.valid_specs(&args.specs.specs)?)?;
    let live = context.terminal.live.clone();
    let line = live.waiting("exporting");
    let (shown, copied) = (line.clone(), live.clone());
    let (stop, abandoned) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    if let Err(error) = signals::listen(context.terminal.live.clone(), stop.clone(), || ()) {
        context.terminal.note(&format!("Ctrl-C stops at once: {error}"));
    }
    let asked = Arc::clone(&abandoned);
    let export = ImageExport {
        kind: what.kind,
        name: what.name,
        file: args.file,
        format: args.format.into(),
        force: args.force,
        progress: Arc::new(move |done, all| {
            asked.fetch_or(stop.is_cancelled(), Ordering::Relaxed);
            copied.copied(&shown, done, all);
        }),
        abandoned,
    };
    let sentence = block_on(engine::image_export(&setup, export));
    live.end(&line);
    let sentence = sentence?.map_err(|error| {
        let hint = match &error {
            OperationError::Held(_) => Some("close it there, or declare a Snapshot of it and export snapshot/NAME"),
            OperationError::Failed(_) => Some("no image was written; an existing file is unchanged"),
            _ => None,
        };
        let failure = Failure::from(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    context.print_sentences(&[sentence]);
    Ok(Exit::Done)
}
