//! Reports the events of the loop's passes to the log.

use async_trait::async_trait;

use crate::engine::{Confirmation, Event, Reporter};
use crate::model::JournalOutcome;
use crate::plan::Plan;

/// Logs the events of a pass.
pub(super) struct LogReporter;

#[async_trait]
impl Reporter for LogReporter {
    fn event(&self, event: Event) {
        log_event(&event);
    }

    async fn confirm(&self, _plan: &Plan) -> Confirmation {
        // No person is present to confirm.
        Confirmation::NotAsked
    }
}

/// Logs an event, inside the span of its pass.
pub(super) fn log_event(event: &Event) {
    match event {
        Event::Note { message } => tracing::info!("{message}"),
        Event::Progress { .. } => {}
        Event::Started { object, .. } => {
            tracing::debug!(%object, backend = %object.backend, "started: {}", object.detail);
        }
        Event::Retrying { object, message, millis, .. } => {
            tracing::debug!(%object, backend = %object.backend, error = %message, "trying again in {millis} ms");
        }
        Event::Finished { object, outcome: JournalOutcome::Changed, .. } => {
            tracing::info!(%object, backend = %object.backend, "done: {}", object.detail);
        }
        Event::Finished { object, outcome: JournalOutcome::Unchanged, .. } => {
            tracing::info!(%object, backend = %object.backend, "unchanged: {}", object.detail);
        }
        Event::Finished { object, outcome: JournalOutcome::Failed | JournalOutcome::Other(_), message, .. } => {
            let error = message.as_deref().map(tracing::field::display);
            tracing::warn!(%object, backend = %object.backend, error, "failed: {}", object.detail);
        }
        Event::Skipped { object, message, .. } => {
            tracing::info!(%object, backend = %object.backend, "not begun: {}: {message}", object.detail);
        }
    }
}
