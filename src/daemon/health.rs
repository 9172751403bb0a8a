//! The daemon's own condition: `/healthz`, `/readyz`, and what `kiln status` shows of it.

use std::time::Duration;

use tokio::time::Instant;

use super::api::protocol::{BreakerView, DaemonView, JobView, RunningView, SlowView, VERSION};
use super::reconciler::Reconciler;
use crate::manifest::problem_views;
use crate::model::Name;
use crate::plan::{Retry, RunningStep};
use crate::text::rfc3339;

/// Reading the manifests takes less than a second. After this long their file system hangs.
const READ_HANGS: Duration = Duration::from_secs(30);
/// The loop runs at least once a second. After this long it is stuck.
const LOOP_STUCK: Duration = Duration::from_secs(10);

impl Reconciler {
    /// Records that the loop runs.
    pub(super) fn record_heartbeat(&self) {
        self.known().heartbeat = Some(Instant::now());
    }

    /// Returns what keeps the daemon from working (`/healthz`).
    pub(super) fn fault(&self) -> Option<String> {
        let late = self.known().heartbeat.unwrap_or(self.started).elapsed();
        if late > LOOP_STUCK {
            return Some(format!("the loop has not run for {} s", late.as_secs()));
        }
        let oldest = self.known().reads.values().min().map(Instant::elapsed).filter(|since| *since > READ_HANGS);
        oldest.map(|since| format!("reading the manifests has taken {} s", since.as_secs()))
    }

    /// Returns what the daemon still has to observe before it is ready (`/readyz`).
    pub(super) fn unready(&self) -> Option<String> {
        match &self.known().unobserved {
            None => Some("no pass has finished yet".to_owned()),
            Some(unobserved) if unobserved.is_empty() => None,
            Some(unobserved) => {
                let names: Vec<&str> = unobserved.iter().map(Name::as_str).collect();
                Some(format!("not yet observed: backend {}", names.join(", ")))
            }
        }
    }

    /// Returns the objects whose last step failed.
    pub(super) fn retries(&self) -> Vec<Retry> {
        let known = self.known();
        let all = known.failures.all().map(|(object, failing)| Retry {
            kind: object.kind,
            name: object.name.clone(),
            failures: failing.failures,
            error: failing.error.clone(),
            next_attempt_at: rfc3339(self.calls.wall(failing.next)),
        });
        all.collect()
    }

    /// Returns the state of the daemon for `kiln status`.
    pub(super) fn view(&self) -> DaemonView {
        let retries = self.retries();
        let breakers = self.calls.breakers();
        let open_breakers = breakers.all().map(|(backend, failing)| BreakerView {
            backend: backend.clone(),
            failures: failing.failures,
            error: failing.error.clone(),
            next_attempt_at: rfc3339(self.calls.wall(failing.next)),
        });
        let open_breakers = open_breakers.collect();
        drop(breakers);
        let now = self.config.clock.now();
        let slow = |(backend, waited): (_, Duration)| SlowView {
            backend,
            since: rfc3339(now.saturating_sub(waited.as_secs())),
        };
        let slow_backends = self.background.waiting().into_iter().map(slow).collect();
        let job = |running: RunningStep| JobView {
            object: running.step.identity.id(),
            progress: running.progress(),
            done: running.done,
            total: running.total,
            since: rfc3339(running.since),
        };
        let jobs = self.jobs.running().into_iter().map(job).collect();
        let ready = self.unready().is_none();
        let known = self.known();
        DaemonView {
            version: VERSION.to_owned(),
            pid: std::process::id(),
            specs: self.specs.clone(),
            started_at: rfc3339(self.started_at),
            uptime_seconds: self.started.elapsed().as_secs(),
            revision_applied: known.applied.as_ref().map(|applied| applied.revision.clone()),
            revision_attempted: known.manifests.as_ref().map(|manifests| manifests.reading.revision.clone()),
            last_pass: known.last_pass.clone(),
            running: known
                .running
                .as_ref()
                .map(|running| RunningView { since: rfc3339(running.since), by_hand: running.by_client }),
            next_pass_at: known.next_pass.map(|next| rfc3339(self.calls.wall(next))),
            ready,
            listening: self.listening.get().cloned(),
            problems: known.manifests.as_ref().map(|manifests| problem_views(&manifests.problems)).unwrap_or_default(),
            retries,
            open_breakers,
            slow_backends,
            jobs,
        }
    }
}
