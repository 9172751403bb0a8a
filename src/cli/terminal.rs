//! Standard output and standard error: data goes to the one, talk to the other. Nothing else in Kiln writes to either.

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

/// How often a line about what is running is drawn anew: often enough to be seen alive.
pub(crate) const TICK: Duration = Duration::from_millis(120);

/// Where a command writes. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Terminal {
    /// For what goes to standard output.
    pub(crate) paint: Paint,
    err_paint: Paint,
    /// What became of standard output: once it is gone, nothing more is written to it.
    gone: Arc<Mutex<Option<io::Error>>>,
    /// The line that says what is waited for.
    busy: Arc<Mutex<Option<ProgressBar>>>,
    /// Completes the commands that are printed.
    commands: Arc<Mutex<Commands>>,
}

/// Says on a terminal, until it is dropped, what is waited for.
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
    /// Colour where the streams are terminals, unless told otherwise.
    pub(crate) fn new(color: ColorChoice, commands: Commands) -> Self {
        // https://no-color.org: present and not empty means no colour. A choice on the command line is stronger.
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

    /// Completes the commands that are printed: see [`Commands`].
    pub(crate) fn commands(&self) -> Commands {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that what stands in the place of SPECS is a saved plan. Which manifests it was made from it does not say: other commands than
    /// `apply` leave that to the reader.
    pub(crate) fn is_about_saved(&self, reading: &Reading) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.plan = commands.specs.replace("SPECS".to_owned());
        commands.prune = reading.coverage.is_pruned();
    }

    /// Whether standard error may be painted.
    pub(crate) fn err_colour(&self) -> bool {
        self.err_paint.colour
    }

    /// Writes data. A reader that went away (`kiln log | head`) is no reason to stop what is being done, and no error; any other
    /// trouble is reported by [`Terminal::finish`].
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

    /// Writes a line of data.
    pub(crate) fn line(&self, text: &str) {
        self.out(&format!("{text}\n"));
    }

    /// Writes text that is ready for standard error. That nobody can read it is no reason to stop.
    pub(crate) fn talk(&self, text: &str) {
        let write = || drop(io::stderr().lock().write_all(text.as_bytes()));
        match &*self.busy_line() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Says at once what may take a while, where a person sees it.
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

    /// Says something in passing, on standard error. Text from outside in it is made safe.
    pub(crate) fn note(&self, text: &str) {
        self.talk(&format!("{} {}\n", self.err_paint.bold("note:"), escape(&self.commands().complete(text))));
    }

    /// Says what went wrong, and what to do next.
    pub(crate) fn error(&self, message: &str, hint: Option<&str>) {
        let complete = |text| self.commands().complete(text);
        self.talk(&format!("{} {}\n", self.err_paint.with("1;31", "error:"), escape(&complete(message))));
        if let Some(hint) = hint {
            self.talk(&format!("{} {}\n", self.err_paint.with("1;36", "hint:"), escape(&complete(hint))));
        }
    }

    /// Whether a person can be asked: they see the question and can answer it.
    pub(crate) fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Reads a line from standard input; only a plain `yes` is one. Blocks.
    pub(crate) fn read_yes() -> bool {
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
    }

    /// What became of standard output. Data that could not be written (a full disk) is a failure; a reader that left is not.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        match self.gone.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(()),
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Some(error) => Err(Failure::new(Exit::Failed, format!("standard output cannot be written: {error}"))
                .hint("the command itself ran; only what it prints was lost")),
        }
    }
}
