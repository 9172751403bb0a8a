//! The command line: one file per command. Only this module prints, exits or reads the environment.
//!
//! Data is written to stdout, messages to stderr. Every command ends in an [`exit::Exit`] or in a
//! [`failure::Failure`], which says what failed and what to do next.

mod adopt;
mod annotations;
mod apply;
mod approve;
mod args;
mod check;
mod client;
mod completions;
mod config;
mod context;
mod describe;
mod doctor;
mod examples;
mod exit;
mod explain;
mod failure;
mod files;
mod forget;
mod get;
mod gitignore;
mod habits;
mod image;
mod in_full;
mod init;
mod journal;
mod late_store;
mod lines;
mod live;
mod log;
mod man;
mod near_stacks;
mod no_specs;
mod objects;
mod person;
mod plan;
mod progress;
mod remote;
mod runtime;
mod saved;
mod schema;
mod signals;
mod status;
mod style;
mod suspend;
mod terminal;
mod trash;
mod watch;
mod working_dir;

use std::process::ExitCode;

use self::args::{Cli, ColorChoice, Command, Global, LogFormat};
use self::context::Context;
use self::exit::Exit;
use self::failure::Failure;
use self::terminal::{LogWriter, Terminal};
use crate::report::Commands;
use crate::text::Paint;

/// Begins the last paragraph of clap's errors.
const SEE_HELP: &str = "For more information";

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let usage = Terminal::new(ColorChoice::written(std::env::args_os()), Commands::default());
    let cli = match Cli::read(std::env::args_os(), usage.paint.width) {
        Ok(cli) => cli,
        Err(error) => return show_usage(&usage, &error),
    };
    let terminal = Terminal::new(cli.global.color, cli.commands());
    let default = if matches!(cli.command, Command::Watch(_)) { "kiln=info,warn" } else { "warn" };
    let ended = start_log(&cli.global, default, &terminal)
        .and_then(|()| run(cli.command, &Context::new(terminal.clone(), cli.global.state, cli.global.config)));
    let exits = [ended, terminal.finish().map(|()| Exit::Done)].map(|ended| {
        ended.unwrap_or_else(|failure| {
            let help = habits::help_hint(std::env::args_os().skip(1));
            let help = help.filter(|_| matches!(failure.exit, Exit::Usage | Exit::Invalid));
            terminal.error(&failure.message, help.as_deref().or(failure.hint.as_deref()));
            failure.exit
        })
    });
    ExitCode::from(Exit::combine(exits).code())
}

/// Prints help, the version, or a usage error. clap treats all as errors, and knows their stream and exit code.
fn show_usage(terminal: &Terminal, error: &clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
    if let Some((message, tip)) = habits::tip(error, std::env::args_os().skip(1)) {
        terminal.error(&message, Some(tip));
        return code;
    }
    let paint = if error.use_stderr() { terminal.err_paint } else { terminal.paint };
    let text = error.render();
    let mut text = if paint.colour { text.ansi().to_string() } else { text.to_string() };
    if error.kind() == clap::error::ErrorKind::ValueValidation {
        // The message says what is wrong with the value; --help does not say more.
        text.truncate(text.find(SEE_HELP).unwrap_or(text.len()));
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let text = paint.fit(&paint.message(&text));
    if error.use_stderr() {
        terminal.talk(&text)
    } else {
        terminal.out(&text)
    }
    code
}

fn run(command: Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Init(args) => init::init(context, &args),
        Command::Check(args) => check::check(context, &args),
        Command::Plan(args) => plan::plan(context, &args),
        Command::Apply(args) => apply::apply(context, args),
        Command::Watch(args) => watch::watch(context, &args),
        Command::Status(args) => status::status(context, &args),
        Command::Get(args) => get::get(context, &args),
        Command::Describe(args) => describe::describe(context, &args),
        Command::Log(args) => log::log(context, &args),
        Command::Trash(args) => trash::trash(context, args),
        Command::Approve(args) => approve::approve(context, args),
        Command::Suspend(args) => suspend::suspend(context, args),
        Command::Resume(args) => suspend::resume(context, args),
        Command::Forget(args) => forget::forget(context, &args),
        Command::Adopt(args) => adopt::adopt(context, &args),
        Command::Image(args) => image::image(context, args),
        Command::Doctor(args) => doctor::doctor(context, &args),
        Command::Schema(args) => schema::schema(context, &args),
        Command::Explain(args) => explain::explain(context, &args),
        Command::Man(args) => man::man(context, &args),
        Command::Completions(args) => completions::completions(context, &args),
    }
}

fn start_log(global: &Global, default: &str, terminal: &Terminal) -> Result<(), Failure> {
    let wanted = global.log.as_deref().unwrap_or(default);
    let filter = tracing_subscriber::EnvFilter::builder().parse(wanted).map_err(|error| {
        Failure::new(Exit::Usage, format!("--log {wanted:?} is not a filter: {error}"))
            .hint("write a level (off, error, warn, info, debug, trace) or `kiln::engine=debug,warn`")
    })?;
    let paint = match global.log_format {
        LogFormat::Text => terminal.err_paint,
        // A program reads it, also from a terminal.
        LogFormat::Json => Paint::PLAIN,
    };
    let writer = LogWriter { terminal: terminal.clone(), paint };
    // A line that cannot be written (a full disk, a closed pipe) is dropped; the default would report that with a panic.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || writer.clone())
        .log_internal_errors(false);
    match global.log_format {
        // The journal adds the time itself.
        LogFormat::Text if journal::is_read() => {
            builder.with_writer(journal::Journal).without_time().with_level(false).with_ansi(false).init();
        }
        LogFormat::Text => builder.with_ansi(paint.colour).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
