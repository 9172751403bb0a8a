//! The metrics, in the OpenMetrics text format. Their names follow those of controllers and of storage systems.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::api::protocol::PassEnding;
use crate::model::{Capacity, Name, Place, Resource, Specs, Verb};
use crate::plan::{Plan, RunningStep, World};
use crate::report::Orphan;

type MetricLabels = Vec<(&'static str, String)>;
type Gauges = Family<MetricLabels, Gauge>;

/// All metrics.
pub(super) struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<MetricLabels, Counter>,
    errors: Counter,
    time: Histogram,
    calls: Family<MetricLabels, Histogram>,
    steps: Family<MetricLabels, Counter>,
    purged: Counter,
    last_success: Gauge<f64, AtomicU64>,
    problems: Gauge,
    declared: Gauges,
    objects: Gauges,
    desired_bytes: Gauges,
    actual_bytes: Gauges,
    trash_bytes: Gauges,
    held: Gauges,
    drifted: Gauge,
    pending_steps: Gauges,
    retrying: Gauge,
    jobs: Gauges,
    pending_intents: Gauge,
    orphans: Gauges,
    orphaned_bytes: Gauges,
    backend_up: Gauges,
    pool_capacity: Gauges,
    pool_resource_total: Gauges,
    pool_resource_used: Gauges,
    pool_used: Gauges,
}

/// Buckets from a pass over a few volumes without steps to one that copies for an hour.
fn pass_seconds() -> Histogram {
    Histogram::new([0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0])
}

/// Buckets from a lookup in memory to the longest reasonable time-out.
fn call_seconds() -> Histogram {
    Histogram::new([0.000_5, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0])
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("kiln");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        let r = &mut registry;
        Self {
            reconciles: add(r, "reconcile", "Passes, by result", Family::default()),
            errors: add(r, "reconcile_errors", "Passes that failed", Counter::default()),
            time: add_in(r, Unit::Seconds, "reconcile_time", "Duration of passes", pass_seconds()),
            calls: add_in(
                r,
                Unit::Seconds,
                "driver_call",
                "Duration of calls to backends",
                Family::new_with_constructor(call_seconds as fn() -> Histogram),
            ),
            steps: add(r, "steps", "Executed steps, by outcome", Family::default()),
            purged: add(r, "trash_purged", "Objects that the daemon purged from the trash", Counter::default()),
            last_success: add_in(
                r,
                Unit::Seconds,
                "last_success_timestamp",
                "Time of the last pass that applied the manifests completely",
                Gauge::default(),
            ),
            problems: add(r, "manifest_problems", "Problems of the manifests", Gauge::default()),
            declared: add(r, "declared", "Declared documents, by kind", Gauges::default()),
            objects: add(r, "objects", "Objects of this owner on the backends, by kind and place", Gauges::default()),
            desired_bytes: bytes(r, "desired", "Total size of the declared volumes, by backend"),
            actual_bytes: bytes(r, "actual", "Total size of this owner's live volumes, by backend"),
            trash_bytes: bytes(r, "trash", "Total size of this owner's volumes in the trash, by backend"),
            held: add(r, "held", "Held objects, by reason", Gauges::default()),
            drifted: add(r, "drifted", "Fields that something other than Kiln changed", Gauge::default()),
            pending_steps: add(r, "pending_steps", "Pending steps of the last plan, by action", Gauges::default()),
            retrying: add(r, "retrying", "Objects whose last step failed and is to be retried", Gauge::default()),
            jobs: add(r, "jobs", "Copies that go on without their pass, by backend", Gauges::default()),
            pending_intents: add(r, "pending_intents", "Steps whose result is not known", Gauge::default()),
            orphans: add(r, "orphans", "Orphans that take up space, by reason", Gauges::default()),
            orphaned_bytes: bytes(r, "orphaned", "Space that orphans take up, by reason"),
            backend_up: add(
                r,
                "backend_up",
                "Whether the last pass observed the backend completely",
                Gauges::default(),
            ),
            pool_capacity: bytes(r, "pool_capacity", "Capacity of the pool"),
            pool_used: bytes(r, "pool_used", "Used space of the pool"),
            pool_resource_total: add(
                r,
                "pool_resource_total",
                "What the pool can run out of: bytes of data and metadata, or a number",
                Gauges::default(),
            ),
            pool_resource_used: add(r, "pool_resource_used", "The used part of it", Gauges::default()),
            registry: Mutex::new(registry),
        }
    }

    /// Records the end of a pass.
    pub(super) fn pass(&self, ending: PassEnding, took: Duration) {
        self.reconciles.get_or_create(&vec![("result", ending.to_string())]).inc();
        self.time.observe(took.as_secs_f64());
        match ending {
            PassEnding::Failed | PassEnding::Invalid => drop(self.errors.inc()),
            PassEnding::Done | PassEnding::Stopped => {}
        }
    }

    /// Records that manifests without problems were applied completely at `now` (seconds since 1970).
    pub(super) fn success(&self, now: u64) {
        self.last_success.set(now as f64);
    }

    /// Records a call to a backend.
    pub(super) fn driver_call(&self, backend: &str, call: &str, outcome: &str, took: Duration) {
        let labels = vec![("backend", backend.to_owned()), ("call", call.to_owned()), ("outcome", outcome.to_owned())];
        self.calls.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts steps of a pass.
    pub(super) fn steps(&self, outcome: &str, count: usize) {
        self.steps.get_or_create(&vec![("outcome", outcome.to_owned())]).inc_by(count as u64);
    }

    /// Counts purged objects.
    pub(super) fn purged(&self, count: usize) {
        self.purged.inc_by(count as u64);
    }

    /// Sets the number of problems of the manifests.
    pub(super) fn problems(&self, count: usize) {
        self.problems.set(count as i64);
    }

    /// Sets the number of objects to retry and of open intents.
    pub(super) fn waiting(&self, retrying: usize, intents: usize) {
        self.retrying.set(retrying as i64);
        self.pending_intents.set(intents as i64);
    }

    /// Sets the number of copies that go on without their pass.
    pub(super) fn jobs(&self, specs: &Specs, running: &[RunningStep]) {
        let on = |name: &Name| running.iter().filter(|running| running.step.backend() == Some(name)).count();
        set(&self.jobs, "backend", specs.backends.keys().map(|name| (name.as_str(), on(name))));
    }

    /// Sets the gauges of what a pass observed and planned, and of the steps that are pending.
    pub(super) fn observed(&self, specs: &Specs, world: &World, plan: &Plan, pending: &[Verb], orphans: &[Orphan]) {
        set(
            &self.declared,
            "kind",
            [("Volume", specs.volumes.len()), ("Snapshot", specs.snapshots.len()), ("Export", specs.exports.len())],
        );
        let mut desired: BTreeMap<&str, u64> = BTreeMap::new();
        for volume in specs.volumes.values() {
            *desired.entry(volume.backend.as_str()).or_default() += volume.size.bytes();
        }
        set(&self.desired_bytes, "backend", desired);
        let (mut actual, mut trash) = (BTreeMap::new(), BTreeMap::new());
        let mut objects: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        let (mut up, mut capacity, mut used) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        self.pool_resource_total.clear();
        self.pool_resource_used.clear();
        for (backend, view) in world {
            let Some(observed) = view.observed() else {
                up.insert(backend.as_str(), 0_u64);
                continue;
            };
            up.insert(backend.as_str(), u64::from(observed.gaps.is_empty()));
            if let Some(room) = observed.capacity(Resource::Data) {
                capacity.insert(backend.as_str(), room.total);
                used.insert(backend.as_str(), room.used);
            }
            for Capacity { resource, total, used, per_object: _ } in &observed.capacities {
                let labels = vec![("backend", backend.to_string()), ("resource", resource.as_str().to_owned())];
                for (gauges, number) in [(&self.pool_resource_total, total), (&self.pool_resource_used, used)] {
                    gauges.get_or_create(&labels).set(i64::try_from(*number).unwrap_or(i64::MAX));
                }
            }
            for object in &observed.objects {
                let Some(identity) = object.identity.as_ref().filter(|id| id.owner == specs.stack.owner) else {
                    continue;
                };
                let (place, bytes) = match object.place {
                    Place::Live => ("live", &mut actual),
                    Place::Trash => ("trash", &mut trash),
                    Place::Temporary => continue,
                };
                *objects.entry((identity.kind.as_str(), place)).or_default() += 1;
                if identity.kind == crate::model::Kind::Volume {
                    *bytes.entry(backend.as_str()).or_insert(0_u64) += object.size.bytes();
                }
            }
        }
        set(&self.actual_bytes, "backend", actual);
        set(&self.trash_bytes, "backend", trash);
        set(&self.backend_up, "backend", up);
        set(&self.pool_capacity, "backend", capacity);
        set(&self.pool_used, "backend", used);
        self.objects.clear();
        for ((kind, place), count) in objects {
            self.objects.get_or_create(&vec![("kind", kind.to_owned()), ("place", place.to_owned())]).set(count);
        }
        set(&self.held, "reason", count(plan.held.iter().map(|held| held.reason.as_str())));
        set(&self.pending_steps, "action", count(pending.iter().map(|verb| verb.as_str())));
        self.drifted.set(plan.drift.len() as i64);
        set(&self.orphans, "what", count(orphans.iter().map(|orphan| orphan.reason.as_str())));
        let mut orphaned: BTreeMap<&str, u64> = BTreeMap::new();
        for orphan in orphans {
            *orphaned.entry(orphan.reason.as_str()).or_default() += orphan.bytes.unwrap_or_default();
        }
        set(&self.orphaned_bytes, "what", orphaned);
    }

    /// Returns all metrics as text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

/// Registers a metric.
fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a metric with a unit.
fn add_in<M: Metric + Clone>(registry: &mut Registry, unit: Unit, name: &str, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

fn bytes(registry: &mut Registry, name: &str, help: &str) -> Gauges {
    add_in(registry, Unit::Bytes, name, help, Gauges::default())
}

fn count<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u64> {
    let mut counts = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    counts
}

/// Replaces all values of a gauge, so that values of deleted objects disappear.
fn set<'a, N: TryInto<i64>>(gauges: &Gauges, label: &'static str, values: impl IntoIterator<Item = (&'a str, N)>) {
    gauges.clear();
    for (value, number) in values {
        // Larger numbers are shown as the largest.
        gauges.get_or_create(&vec![(label, value.to_owned())]).set(number.try_into().unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_documented_names() {
        let metrics = Metrics::new();
        metrics.pass(PassEnding::Done, Duration::from_millis(20));
        metrics.success(1_800_000_000);
        metrics.pass(PassEnding::Failed, Duration::from_millis(20));
        metrics.driver_call("fast", "observe", "ok", Duration::from_millis(3));
        let text = metrics.text();
        for line in [
            "kiln_reconcile_total{result=\"done\"} 1",
            "kiln_reconcile_errors_total 1",
            "kiln_reconcile_time_seconds_count 2",
            "kiln_last_success_timestamp_seconds 1800000000.0",
            "kiln_driver_call_seconds_count{backend=\"fast\",call=\"observe\",outcome=\"ok\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn values_of_deleted_objects_disappear() {
        let gauges = Gauges::default();
        set(&gauges, "backend", [("a", 1_u64), ("b", u64::MAX)]);
        assert_eq!(gauges.get_or_create(&vec![("backend", "b".to_owned())]).get(), i64::MAX);
        set(&gauges, "backend", [("a", 2_u64)]);
        let text = {
            let mut registry = Registry::default();
            registry.register("g", "g", gauges);
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        assert!(text.contains("g{backend=\"a\"} 2") && !text.contains("\"b\""), "{text}");
    }
}
