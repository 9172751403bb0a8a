//! `kiln completions`: prints the completion script of a shell.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;

pub(crate) fn completions(context: &Context, args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kiln", &mut script);
    context.terminal.out(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}
