//! `kiln schema`: prints the JSON Schema of manifests, for editors.

use super::args::SchemaArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::manifest;

pub(crate) fn schema(context: &Context, args: &SchemaArgs) -> Result<Exit, Failure> {
    context.json(&manifest::schema(args.kind));
    Ok(Exit::Done)
}
