//! Spans of the log: every line that a pass writes is inside `pass`, and below it inside `backend` or `step` where it concerns one. So
//! one number finds a run in the log, from what it observed to what it did.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::display;
use tracing::{Span, info_span};

use crate::model::{Name, Step};

/// Numbers the passes of this process.
static PASSES: AtomicU64 = AtomicU64::new(1);

/// Returns the span for the next pass: enter it around [`reconcile_once`](super::reconcile_once) and what belongs to the same pass.
/// `trigger` says why it is made.
pub fn pass_span(trigger: &str) -> Span {
    info_span!("pass", id = PASSES.fetch_add(1, Ordering::Relaxed), trigger)
}

/// Returns the span for what is done with one backend.
pub(super) fn backend_span(name: &Name) -> Span {
    info_span!("backend", backend = %name)
}

/// Returns the span for one step of a plan, with its index.
pub(super) fn step_span(index: usize, step: &Step) -> Span {
    let backend = step.backend().map(display);
    let target = step.endpoint.target().map(display);
    info_span!("step", index, object = %step.identity.id(), backend, target, action = %step.action)
}
