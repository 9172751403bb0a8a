//! Reports the events of the loop's passes to the log.

use async_trait::async_trait;

use crate::engine::{Event, Reporter};
use crate::model::{Outcome, Step};
use crate::plan::Plan;

/// Logs the events of a pass.
pub(super) struct LogReporter;

fn object(step: &Step) -> String {
    format!("{}/{}", step.identity.kind.as_lower(), step.identity.name)
}

#[async_trait]
impl Reporter for LogReporter {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Note(note) => tracing::info!("{note}"),
            Event::Planned(_) | Event::Progress(..) => {}
            Event::Started(_, step) => {
                tracing::debug!(object = object(step), backend = %step.backend, "{}", step.action)
            }
            Event::Retrying(_, step, error, millis) => {
                tracing::debug!(object = object(step), backend = %step.backend, %error, "trying again in {millis} ms");
            }
            Event::Finished(_, step, Ok(Outcome::Changed)) => {
                tracing::info!(object = object(step), backend = %step.backend, "done: {}", step.action);
            }
            Event::Finished(_, step, Ok(Outcome::Unchanged)) => {
                tracing::info!(object = object(step), backend = %step.backend, "so already: {}", step.action);
            }
            Event::Finished(_, step, Err(error)) => {
                tracing::warn!(object = object(step), backend = %step.backend, %error, "failed: {}", step.action);
            }
            Event::Skipped(_, step, why) => {
                tracing::info!(object = object(step), backend = %step.backend, "not begun: {}: {why}", step.action);
            }
        }
    }

    async fn confirm(&self, _plan: &Plan) -> bool {
        // No person is present to confirm.
        false
    }
}
