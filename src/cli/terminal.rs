//! Stdout for data and stderr for messages. Nothing else in Kiln writes to either.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressBar;

use super::args::ColorChoice;
use super::failure::Failure;
use super::live::LiveLines;
use super::{signals, style};
use crate::cli::exit::Exit;
use crate::model::Reading;
use crate::report::Commands;
use crate::text::{Paint, escape};

/// The columns of a blank and `yes`, and of the cursor behind it.
const ANSWER: usize = 5;

/// Where a command writes. Clones are cheap and share their state.
#[derive(Clone)]
pub(crate) struct Terminal {
    /// The form of text on stdout.
    pub(crate) paint: Paint,
    /// The form of text on stderr.
    pub(crate) err_paint: Paint,
    /// The error that closed stdout: after it, nothing more is written there.
    gone: Arc<Mutex<Option<io::Error>>>,
    /// The lines that change while Kiln works.
    pub(super) live: LiveLines,
    is_live: bool,
    /// Completes the commands that are printed.
    commands: Arc<Mutex<Commands>>,
}

/// Shows on a terminal what is waited for, until it is dropped.
pub(crate) struct Busy(LiveLines, ProgressBar);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end(&self.1);
    }
}

impl Terminal {
    /// Returns a terminal whose colours, width and characters are those of its streams, unless `color` says otherwise.
    pub(crate) fn new(color: ColorChoice, commands: Commands) -> Self {
        let is_live = style::is_live(&io::stderr());
        let err_paint = style::paint(color, &io::stderr());
        Self {
            paint: style::paint(color, &io::stdout()),
            err_paint,
            gone: Arc::default(),
            live: LiveLines::new(is_live, err_paint),
            is_live,
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
            *gone = self.live.above(write).err();
        }
    }

    /// Writes a line for people to stdout.
    pub(crate) fn line(&self, text: &str) {
        self.out(&self.paint.fit(&format!("{text}\n")));
    }

    /// Writes a finished text to stderr. Write errors are ignored.
    pub(crate) fn talk(&self, text: &str) {
        self.live.above(|| drop(io::stderr().lock().write_all(text.as_bytes())));
    }

    /// Shows what may take a while, on a terminal.
    pub(crate) fn busy(&self, what: &str) -> Busy {
        if self.is_live {
            let live = self.live.clone();
            signals::clear_first(move || live.close());
        }
        Busy(self.live.clone(), self.live.waiting(what))
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

    /// Writes a question to stderr. The cursor is behind a blank after it, with room for the answer.
    pub(crate) fn ask(&self, question: &str) {
        let width = self.err_paint.width.map(|width| width.saturating_sub(ANSWER));
        let question = Paint { width, ..self.err_paint }.fit(question.trim_end());
        self.talk(&format!("{question} "));
    }

    /// Reads a line from stdin; returns whether it is `yes`. Blocks. What is printed next begins a line, also after Ctrl-D.
    pub(crate) fn read_yes(&self) -> bool {
        let mut answer = String::new();
        let is_read = io::stdin().read_line(&mut answer).is_ok();
        if !answer.ends_with('\n') {
            self.talk("\n");
        }
        is_read && answer.trim() == "yes"
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

/// Writes the log to stderr, above the lines that change.
#[derive(Clone)]
pub(super) struct LogWriter {
    pub(super) terminal: Terminal,
    /// The form of the lines.
    pub(super) paint: Paint,
}

impl Write for LogWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // One call per event.
        let fitted = self.paint.fit(&String::from_utf8_lossy(text));
        self.terminal.live.above(|| io::stderr().lock().write_all(fitted.as_bytes()))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
