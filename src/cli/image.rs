//! `kiln image`: exports objects to image files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use super::args::{ImageCommand, ImageExportArgs};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::in_full;
use super::runtime::block_on;
use super::signals;
use crate::engine::{self, ImageExport, OperationError};
use crate::model::Kind;
use crate::report::ObjectStatus;
use crate::text::quoted;

pub(crate) fn image(context: &Context, command: ImageCommand) -> Result<Exit, Failure> {
    match command {
        ImageCommand::Export(args) => export(context, args),
    }
}

fn export(context: &Context, args: ImageExportArgs) -> Result<Exit, Failure> {
    let specs = &args.specs.specs;
    let can_be_exported = |object: &ObjectStatus<'_>| matches!(object.kind, Kind::Volume | Kind::Snapshot);
    let what = in_full::one(context, specs, std::slice::from_ref(&args.what), can_be_exported, |name| {
        let format = args.format.to_possible_value().map(|format| format!(" --format {}", format.get_name()));
        let file = quoted(&args.file.display().to_string());
        let force = if args.force { " --force" } else { "" };
        let quiesced = if args.quiesced { " --quiesced" } else { "" };
        format!("kiln image export {name} {file}{}{force}{quiesced}", format.unwrap_or_default())
    })?;
    let setup = context.read_only(context.valid_specs(specs)?)?;
    let live = context.terminal.live.clone();
    let line = live.waiting("exporting");
    let (shown, copied) = (line.clone(), live.clone());
    let (stop, abandoned) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    if let Err(error) = signals::listen(context.terminal.live.clone(), stop.clone(), || (), || ()) {
        context.terminal.note(&format!("Ctrl-C stops at once: {error}"));
    }
    let asked = Arc::clone(&abandoned);
    let export = ImageExport {
        kind: what.kind,
        name: what.name,
        file: args.file,
        format: args.format.into(),
        force: args.force,
        quiesced: args.quiesced,
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
            OperationError::Held(why) if why.contains("; fix: ") => None,
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
