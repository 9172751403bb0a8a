//! Stdout for data and stderr for messages. Nothing else in Kiln writes to either.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;

use super::args::ColorChoice;
use super::failure::Failure;
use super::style;
use crate::cli::exit::Exit;
use crate::model::Reading;
use crate::report::Commands;
use crate::text::{Paint, escape};

/// The interval at which running lines are redrawn.
pub(crate) const TICK: Duration = Duration::from_millis(120);

/// Where a command writes. Clones are cheap and share their state.
#[derive(Clone)]
pub(crate) struct Terminal {
    /// The form of text on stdout.
    pub(crate) paint: Paint,
    /// The form of text on stderr.
    pub(crate) err_paint: Paint,
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
    /// Returns a terminal whose colours, width and characters are those of its streams, unless `color` says otherwise.
    pub(crate) fn new(color: ColorChoice, commands: Commands) -> Self {
        Self {
            paint: style::paint(color, &io::stdout()),
            err_paint: style::paint(color, &io::stderr()),
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

    /// Writes text to stdout as it is: data, or text that its renderer fitted to the terminal. A closed pipe (`kiln log | head`) neither stops the command nor is an error; [`Terminal::finish`] reports any
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

    /// Writes a line for people to stdout.
    pub(crate) fn line(&self, text: &str) {
        self.out(&self.paint.fit(&format!("{text}\n")));
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
        self.labelled(self.err_paint.bold("note:"), text);
    }

    /// Prints an error and its hint to stderr.
    pub(crate) fn error(&self, message: &str, hint: Option<&str>) {
        self.labelled(self.err_paint.error("error:"), message);
        if let Some(hint) = hint {
            self.labelled(self.err_paint.fix("hint:"), hint);
        }
    }

    fn labelled(&self, label: String, text: &str) {
        let text = self.err_paint.message(&self.commands().complete(text));
        self.talk(&self.err_paint.fit(&format!("{label} {}\n", escape(&text))));
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
