//! Lines on a terminal that change while Kiln works: what it waits for, a line for each running step, and one for the whole run.
//!
//! Nothing is drawn unless stderr is a terminal that can move its cursor. Every line is cleared at its end.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{
    HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike,
};
use unicode_width::UnicodeWidthChar;

use crate::model::Size;
use crate::text::{Paint, counted};

/// The interval at which lines are redrawn.
const TICK: Duration = Duration::from_millis(120);

/// How often a second lines are drawn at most.
const HERTZ: u8 = 20;

/// Columns that lines leave free, for the `^C` that a terminal echoes: in the same line, it is cleared with it.
const MARGIN: u16 = 4;

/// The columns of bytes, rate and time.
const AMOUNTS: usize = 58;

/// The columns of the spinner and the time.
const BESIDE: usize = 10;

const WAITING: &str = "{spinner} {msg}";
const RUNNING: &str = "{spinner} {msg}  {elapsed}";
const COPYING: &str = "{spinner} {msg}  {amounts}";
const COPYING_BELOW: &str = "{spinner} {msg}\n    {amounts}";
const RUN: &str = "{spinner} {msg}";

/// The changing lines of stderr. Clones share them.
#[derive(Clone)]
pub(super) struct LiveLines {
    bars: MultiProgress,
    paint: Paint,
}

impl LiveLines {
    /// `is_live`: whether the terminal can move its cursor.
    pub(super) fn new(is_live: bool, paint: Paint) -> Self {
        let target = match is_live {
            true => ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), HERTZ),
            false => ProgressDrawTarget::hidden(),
        };
        Self { bars: MultiProgress::with_draw_target(target), paint }
    }

    /// Adds a line for something that is waited for.
    pub(super) fn waiting(&self, what: &str) -> ProgressBar {
        self.begin(self.bars.add(ProgressBar::new_spinner()), WAITING, what.to_owned())
    }

    /// Adds a line for something that runs, above that of the whole run.
    pub(super) fn running(&self, what: String, run: &TotalLine) -> ProgressBar {
        let width = self.paint.width.map(|width| width.saturating_sub(usize::from(MARGIN) + BESIDE));
        let what = Paint { width, ..self.paint }.fit(&what);
        self.begin(self.bars.insert_before(&run.bar, ProgressBar::new_spinner()), RUNNING, what)
    }

    /// Adds the line of a run. `None` if nothing is drawn: the lines of thousands of steps take time, seen or not.
    pub(super) fn run(&self, steps: usize) -> Option<TotalLine> {
        if self.bars.is_hidden() {
            return None;
        }
        let bar = self.bars.add(ProgressBar::new_spinner());
        let line = TotalLine { bar, steps, ended: 0, failed: 0, copies: RunCopies::default() };
        self.begin(line.bar.clone(), RUN, line.text());
        Some(line)
    }

    fn begin(&self, bar: ProgressBar, form: &str, text: String) -> ProgressBar {
        bar.set_style(self.style(form));
        bar.set_message(text);
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        bar
    }

    fn style(&self, form: &str) -> ProgressStyle {
        let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let style = style.with_key("amounts", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let (total, left) = (state.len().unwrap_or_default(), state.eta());
            let _ = out.write_str(&amounts(state.pos(), total, state.per_sec(), left, state.elapsed()));
        });
        if self.paint.ascii { style.tick_chars("-\\|/ ") } else { style }
    }

    /// Shows how far a copy is, in bytes of data. There are none if the copy shares the blocks of its source.
    pub(super) fn copied(&self, bar: &ProgressBar, done: u64, total: u64) {
        if total == 0 {
            return;
        }
        if bar.length() != Some(total) {
            bar.set_length(total);
            let is_short = self.paint.width.is_none_or(|width| bar.message().len() + AMOUNTS <= width);
            bar.set_style(self.style(if is_short { COPYING } else { COPYING_BELOW }));
        }
        bar.set_position(done);
    }

    /// Ends a line.
    pub(super) fn end(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.bars.remove(bar);
    }

    /// Writes above the lines.
    pub(super) fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bars.suspend(write)
    }

    /// Clears all lines. None is shown afterwards.
    pub(super) fn close(&self) {
        // An error means that nothing can be drawn.
        let _ = self.bars.clear();
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// A rate measured over less says nothing.
const MEASURED: Duration = Duration::from_secs(1);

/// Returns how far a copy is, with its rate and the time that is left once both are known.
fn amounts(done: u64, total: u64, per_second: f64, left: Duration, elapsed: Duration) -> String {
    let amount = format!("{} of {}", Size(done).rounded(), Size(total).rounded());
    match done > 0 && elapsed >= MEASURED {
        true => format!("{amount}, {}/s, {:#} left", Size(per_second as u64).rounded(), HumanDuration(left)),
        false => amount,
    }
}

/// What the steps of a run have copied, and how long at least one of them copied: what waits, and steps that copy nothing, do not count.
#[derive(Debug, Default)]
struct RunCopies {
    bytes: u64,
    /// The bytes of `bytes` that were copied in the measured time.
    measured: u64,
    running: usize,
    /// Since when at least one copy runs.
    since: Option<Instant>,
    /// The time in which copies ran before that.
    before: Duration,
}

/// The copy of a step, as far as it is counted.
#[derive(Debug, Default)]
pub(super) struct StepCopy {
    done: u64,
    is_running: bool,
}

impl RunCopies {
    fn progress(&mut self, copy: &mut StepCopy, done: u64, total: u64, now: Instant) {
        // A step that is tried again begins again.
        let more = done.saturating_sub(copy.done);
        copy.done = done;
        self.bytes += more;
        if copy.is_running {
            self.measured += more;
        } else if done < total {
            copy.is_running = true;
            self.running += 1;
            self.since.get_or_insert(now);
        }
        if done >= total {
            self.end(copy, now);
        }
    }

    fn end(&mut self, copy: &mut StepCopy, now: Instant) {
        if std::mem::take(&mut copy.is_running) {
            self.running -= 1;
            if self.running == 0 {
                self.before += self.since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            }
        }
    }

    /// Returns how much was copied, once a copy began, with the rate while a copy runs, once it is known.
    fn text(&self, now: Instant) -> String {
        let running = self.since.map(|since| self.before + now.saturating_duration_since(since));
        match (self.bytes, running.filter(|time| *time >= MEASURED)) {
            (0, _) => String::new(),
            (bytes, Some(time)) => {
                let per_second = self.measured as f64 / time.as_secs_f64();
                format!(", {} copied, {}/s", Size(bytes).rounded(), Size(per_second as u64).rounded())
            }
            (bytes, None) => format!(", {} copied", Size(bytes).rounded()),
        }
    }
}

/// The line of a whole run: `3 of 17 steps, 2 failed, 6Gi copied, 1.20Gi/s`.
pub(super) struct TotalLine {
    pub(super) bar: ProgressBar,
    steps: usize,
    ended: usize,
    failed: usize,
    copies: RunCopies,
}

impl TotalLine {
    /// Counts what a step has copied.
    pub(super) fn copied(&mut self, copy: &mut StepCopy, done: u64, total: u64) {
        self.copies.progress(copy, done, total, Instant::now());
        self.bar.set_message(self.text());
    }

    /// Ends the copy of a step.
    pub(super) fn end_copy(&mut self, copy: &mut StepCopy) {
        self.copies.end(copy, Instant::now());
    }

    /// Counts a step that ended, or that failed after it was reported as done.
    pub(super) fn count(&mut self, ended: bool, failed: bool) {
        self.ended += usize::from(ended);
        self.failed += usize::from(failed);
        self.bar.set_message(self.text());
    }

    fn text(&self) -> String {
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        let copied = self.copies.text(Instant::now());
        format!("{} of {}{failed}{copied}", self.ended, counted(self.steps, "step"))
    }
}

/// Stderr, as `indicatif` draws on it: it fills each line with blanks, so that the cursor is at the right margin. The last line must not be
/// full, because an echoed `^C` would begin another line, which nothing clears.
#[derive(Debug, Default)]
struct Screen(Mutex<Frame>);

#[derive(Debug, Default)]
struct Frame {
    /// What is written with the next flush.
    text: String,
    /// Whether the next text begins a line.
    is_full: bool,
}

impl Screen {
    fn push(&self, text: &str, is_full: bool) -> io::Result<()> {
        let mut frame = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame.text.push_str(text);
        frame.is_full = is_full;
        Ok(())
    }

    fn size() -> (u16, u16) {
        rustix::termios::tcgetwinsize(io::stderr()).map_or((80, 24), |size| match (size.ws_col, size.ws_row) {
            (0, _) | (_, 0) => (80, 24),
            known => known,
        })
    }

    fn moved(&self, count: usize, direction: char) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        self.push(&format!("\u{1b}[{count}{direction}"), false)
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        Self::size().0.saturating_sub(MARGIN).max(MARGIN)
    }

    fn height(&self) -> u16 {
        Self::size().1
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(&format!("{text}\n"), false)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        if text.bytes().all(|byte| byte == b' ') {
            return self.push("\u{1b}[K", true);
        }
        let is_full = self.0.lock().unwrap_or_else(PoisonError::into_inner).is_full;
        let mut lines = String::from(if is_full { "\n" } else { "" });
        let mut column = 0;
        for c in text.chars() {
            let wide = c.width().unwrap_or_default();
            if column + wide > usize::from(self.width()) {
                lines.push('\n');
                column = 0;
            }
            lines.push(c);
            column += wide;
        }
        self.push(&lines, false)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push("\r\u{1b}[2K", false)
    }

    fn flush(&self) -> io::Result<()> {
        let text = std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).text);
        let mut stderr = io::stderr().lock();
        stderr.write_all(text.as_bytes())?;
        stderr.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shown_only_after_it_was_measured_for_a_second() {
        let shown = |millis| {
            let elapsed = Duration::from_millis(millis);
            amounts(3 << 30, 4 << 30, f64::from(1 << 30), Duration::from_secs(1), elapsed)
        };
        assert_eq!(shown(999), "3Gi of 4Gi");
        assert_eq!(shown(1000), "3Gi of 4Gi, 1Gi/s, 1s left");
    }

    #[test]
    fn the_rate_of_a_run_counts_the_time_in_which_it_copies() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let (mut run, mut a, mut b) = (RunCopies::default(), StepCopy::default(), StepCopy::default());
        assert_eq!(run.text(at(5)), "", "a run that copies nothing");
        // Ten seconds in which nothing is copied do not count.
        run.progress(&mut a, 0, 4 << 30, at(10));
        run.progress(&mut a, 2 << 30, 4 << 30, at(10));
        assert_eq!(run.text(at(10)), ", 2Gi copied", "it was not measured for a second");
        assert_eq!(run.text(at(12)), ", 2Gi copied, 1Gi/s");
        run.progress(&mut a, 4 << 30, 4 << 30, at(12));
        assert_eq!(run.text(at(60)), ", 4Gi copied", "nothing copies");
        // Another copy, much later, for two seconds, beside the first one of a step that is tried again.
        run.progress(&mut b, 0, 8 << 30, at(100));
        run.progress(&mut a, 0, 4 << 30, at(101));
        run.end(&mut a, at(101));
        run.progress(&mut b, 4 << 30, 8 << 30, at(102));
        assert_eq!(run.text(at(102)), ", 8Gi copied, 2Gi/s", "8Gi in four seconds");
        run.end(&mut b, at(102));
        run.end(&mut b, at(103));
        assert_eq!(run.text(at(104)), ", 8Gi copied");
    }
}
