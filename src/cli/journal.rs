//! Log lines for the systemd journal: each begins with its priority (see sd-daemon(3)).

use std::io::{self, Stderr, Write};
use std::os::unix::fs::MetadataExt;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Whether stderr is connected to the journal, as JOURNAL_STREAM says (see systemd.exec(5)).
#[expect(clippy::disallowed_methods, reason = "it is not for people, so it is no option of the command line")]
pub(super) fn is_read() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}

/// Stderr, with priorities.
pub(super) struct Journal;

/// One event, written in one call.
pub(super) struct PrefixedWriter {
    priority: &'static str,
    stderr: Stderr,
}

impl<'w> MakeWriter<'w> for Journal {
    type Writer = PrefixedWriter;

    fn make_writer(&'w self) -> PrefixedWriter {
        PrefixedWriter { priority: "<6>", stderr: io::stderr() }
    }

    fn make_writer_for(&'w self, event: &Metadata<'_>) -> PrefixedWriter {
        let priority = match *event.level() {
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            Level::DEBUG | Level::TRACE => "<7>",
        };
        PrefixedWriter { priority, stderr: io::stderr() }
    }
}

impl Write for PrefixedWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // One write per event, so that no other output splits it.
        self.stderr.write_all(&[self.priority.as_bytes(), text].concat())?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stderr.flush()
    }
}
