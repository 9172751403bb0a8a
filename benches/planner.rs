//! The planner alone, with nothing to do: `cargo bench --bench planner`. Prints a line for each number of volumes.
//!
//! For every volume, in every pass, the planner holds what is declared against the object that is there, its entry in the ledger and
//! its record in the store.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::allow_attributes, reason = "it prints, and it may panic")]

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use kiln::manifest::{Limits, Source, load};
use kiln::model::{
    Action, BackendRecord, Capabilities, Ledger, LedgerView, Name, Object, ObjectRecord, Observed, Place, PoolId,
    Reading, Records, Step, Tags, VolumeSettings,
};
use kiln::plan::{Inputs, Observation, World, plan};

/// An odd number, for a median.
const ROUNDS: usize = 5;

fn main() {
    for volumes in [1_000, 10_000, 100_000] {
        let reading = reading(volumes);
        let (world, records) = made(&reading);
        let inputs = Inputs::new(&reading, &world, &records);
        let mut seconds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let began = Instant::now();
                let plan = black_box(plan(black_box(&inputs)));
                let seconds = began.elapsed().as_secs_f64();
                assert!(
                    plan.steps.is_empty() && plan.held.is_empty() && plan.drift.is_empty(),
                    "there is something to do"
                );
                seconds
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds[ROUNDS / 2];
        let rate = volumes as f64 / median;
        println!("planner, {volumes:>6} volumes: {rate:>9.0} a second, {:>9.0} comparisons of objects", 3.0 * rate);
    }
}

fn reading(volumes: usize) -> Reading {
    let mut text = "apiVersion: kiln/v1\nkind: Stack\nmetadata: {name: bench}\n\
                    spec: {id: n5b8h1c4ks, defaults: {backend: pool}}\n---\n\
                    apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: pool}\nspec: {driver: sim}\n"
        .to_owned();
    for number in 0..volumes {
        let labels = "labels: {team: storage}";
        write!(text, "---\napiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: volume-{number:06}, {labels}}}\n")
            .unwrap();
        text.push_str("spec: {size: 1Gi}\n");
    }
    let limits = Limits { file_bytes: 1 << 30, documents: usize::MAX, ..Limits::default() };
    let loaded = load(&Source::Text(text), &limits);
    assert!(loaded.problems.is_empty());
    Reading { coverage: Default::default(), ..loaded.reading }
}

/// The world and the store once everything is made.
fn made(reading: &Reading) -> (World, Records) {
    let backend: Name = "pool".parse().unwrap();
    let seen = |observed| {
        World::from([(backend.clone(), Observation::Seen { capabilities: Capabilities::everything(), observed })])
    };
    let (world, records) = (seen(Observed::nothing()), Records::default());
    let first = plan(&Inputs::new(reading, &world, &records));
    let pool = PoolId("bench".to_owned());
    let mut ledger = Ledger::new(pool.clone(), reading.specs.stack.owner.clone(), reading.specs.stack.id.clone());
    let (mut observed, mut records) = (Observed { pool: Some(pool.clone()), ..Observed::nothing() }, records);
    for Step { identity, native, action, .. } in first.steps {
        let Action::Create { size, tags, n, .. } = action else { panic!("an empty pool is filled by making things") };
        let uid = identity.uid;
        let entry = identity.ledger_entry(n, kiln::model::Address::flat(&native), size);
        ledger.complete.insert(uid, entry);
        let object = Object {
            tags: tags.clone().into(),
            identity: Some(identity.clone()),
            ..Object::new(native.clone(), Place::Live, size)
        };
        observed.objects.push(object.clone());
        let tags = Tags { expires: None, ..tags };
        let record = ObjectRecord::new(
            identity,
            backend.clone(),
            (native, size, tags, VolumeSettings::default()),
            Some(&object),
            1,
        );
        records.objects.insert(uid, record);
    }
    observed.objects.sort_by(|a, b| a.native.cmp(&b.native));
    let place = reading.specs.backends[&backend].config.place();
    let owner = reading.specs.stack.owner.clone();
    let record = BackendRecord { place, pool, owner: owner.clone(), observed_at: 1, ledger: Some(ledger.clone()) };
    records.backends.insert(backend.clone(), record);
    observed.owners.insert(owner);
    observed.ledger = Some(LedgerView::Good(Arc::new(ledger)));
    (seen(observed), records)
}
