//! Stdout for data and stderr for messages. Nothing else in Kiln writes to either.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;

use super::args::ColorChoice;
use super::failure::Failure;
use crate::cli::exit::Exit;
use crate::model::Reading;
use crate::report::Commands;
use crate::text::{Paint, escape};

/// The interval at which running lines are redrawn.
pub(crate) const TICK: Duration = Duration::from_millis(120);

/// Where a command writes. Clones are cheap and share their state.
#[derive(Clone)]
pub(crate) struct Terminal {
    /// The colours of stdout.
    pub(crate) paint: Paint,
    err_paint: Paint,
    /// The error that closed stdout: after it, nothing more is written there.
    gone: Arc<Mutex<Option<io::Error>>>,
    /// The line that shows what is waited for.
    busy: Arc<Mutex<Option<ProgressBar>>>,
    /// Completes the commands that are printed.
    commands: Arc<Mutex<Commands>>,
}

/// Shows on a terminal what is waited for, until it is dropped.
pub(crate) struct Busy(Option<Terminal>);

impl Drop for Busy {
    fn drop(&mut self) {
        let bar = self.0.take().and_then(|terminal| terminal.busy_line().take());
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

impl Terminal {
    /// Returns a terminal with colour where the streams are terminals, unless `color` says otherwise.
    pub(crate) fn new(color: ColorChoice, commands: Commands) -> Self {
        // https://no-color.org: set and not empty means no colour. The command line takes precedence.
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let paint = |is_terminal: bool| Paint {
            colour: match color {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => is_terminal && !unwanted,
            },
        };
        Self {
            paint: paint(io::stdout().is_terminal()),
            err_paint: paint(io::stderr().is_terminal()),
            gone: Arc::default(),
            busy: Arc::default(),
            commands: Arc::new(Mutex::new(commands)),
        }
    }

    /// Returns the completion of printed commands: see [`Commands`].
    pub(crate) fn commands(&self) -> Commands {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that SPECS names a saved plan. It does not say which manifests it was made from: commands other than `apply` print SPECS as a
    /// placeholder.
    pub(crate) fn is_about_saved(&self, reading: &Reading) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.plan = commands.specs.replace("SPECS".to_owned());
        commands.prune = reading.coverage.is_pruned();
    }

    /// Whether stderr may be coloured.
    pub(crate) fn err_colour(&self) -> bool {
        self.err_paint.colour
    }

    /// Writes data to stdout. A closed pipe (`kiln log | head`) neither stops the command nor is an error; [`Terminal::finish`] reports any
    /// other.
    pub(crate) fn out(&self, text: &str) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if gone.is_none() {
            let write = || {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
            };
            let written = match &*self.busy_line() {
                Some(bar) => bar.suspend(write),
                None => write(),
            };
            *gone = written.err();
        }
    }

    /// Writes a line of data to stdout.
    pub(crate) fn line(&self, text: &str) {
        self.out(&format!("{text}\n"));
    }

    /// Writes a finished text to stderr. Write errors are ignored.
    pub(crate) fn talk(&self, text: &str) {
        let write = || drop(io::stderr().lock().write_all(text.as_bytes()));
        match &*self.busy_line() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Shows what may take a while, on a terminal.
    pub(crate) fn busy(&self, what: &str) -> Busy {
        if !io::stderr().is_terminal() {
            return Busy(None);
        }
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        *self.busy_line() = Some(bar);
        Busy(Some(self.clone()))
    }

    fn busy_line(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints a note to stderr, with text from outside escaped.
    pub(crate) fn note(&self, text: &str) {
        self.talk(&format!("{} {}\n", self.err_paint.bold("note:"), escape(&self.commands().complete(text))));
    }

    /// Prints an error and its hint to stderr.
    pub(crate) fn error(&self, message: &str, hint: Option<&str>) {
        let complete = |text| self.commands().complete(text);
        self.talk(&format!("{} {}\n", self.err_paint.with("1;31", "error:"), escape(&complete(message))));
        if let Some(hint) = hint {
            self.talk(&format!("{} {}\n", self.err_paint.with("1;36", "hint:"), escape(&complete(hint))));
        }
    }

    /// Whether a person can be asked: stdin and stderr are terminals.
    pub(crate) fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Reads a line from stdin; returns whether it is `yes`. Blocks.
    pub(crate) fn read_yes() -> bool {
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
    }

    /// Returns the error of stdout, if any (a full disk, for example; not a closed pipe).
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        match self.gone.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(()),
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Some(error) => Err(Failure::new(Exit::Failed, format!("stdout cannot be written: {error}"))
                .hint("the command ran; only its output was lost")),
        }
    }
}
