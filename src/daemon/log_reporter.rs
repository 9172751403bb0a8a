//! Reports the events of the loop's passes to the log.

use async_trait::async_trait;
use tracing::field::{DisplayValue, display};

use crate::engine::{Confirmation, Event, Reporter, StepObject};
use crate::model::{JournalOutcome, Name};
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

fn backend(object: &StepObject) -> Option<DisplayValue<&Name>> {
    object.backend.as_ref().map(display)
}

fn target(object: &StepObject) -> Option<DisplayValue<&Name>> {
    object.target.as_ref().map(display)
}

/// Logs an event, inside the span of its pass.
pub(super) fn log_event(event: &Event) {
    match event {
        Event::Note { message } => tracing::info!("{message}"),
        Event::Progress { .. } => {}
        Event::Started { object, .. } => {
            tracing::debug!(%object, backend = backend(object), target = target(object), "started: {}", object.detail);
        }
        Event::Retrying { object, message, millis, .. } => {
            tracing::debug!(%object, backend = backend(object), target = target(object), error = %message, "trying again in {millis} ms");
        }
        Event::Finished { object, outcome: JournalOutcome::Changed, .. } => {
            tracing::info!(%object, backend = backend(object), target = target(object), "done: {}", object.detail);
        }
        Event::Finished { object, outcome: JournalOutcome::Unchanged, .. } => {
            tracing::info!(%object, backend = backend(object), target = target(object), "unchanged: {}", object.detail);
        }
        Event::Finished { object, outcome: JournalOutcome::Failed | JournalOutcome::Other(_), message, .. } => {
            let error = message.as_deref().map(display);
            tracing::warn!(%object, backend = backend(object), target = target(object), error, "failed: {}", object.detail);
        }
        Event::Skipped { object, message, .. } => {
            tracing::info!(%object, backend = backend(object), target = target(object), "not begun: {}: {message}", object.detail);
        }
    }
}
