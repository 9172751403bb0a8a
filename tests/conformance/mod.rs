//! What every driver promises, as one claim after the other.
//!
//! A claim is an async function whose name says what holds. It gets a [`Bench`]: a pool of its own that was never used, and the
//! powers over it that a driver does not have. Where drivers may differ, claims read the capabilities, never the driver's name.
//! To hold a new driver to the contract, write its bench and run [`CLAIMS`] on it.

pub(crate) mod bench;
mod claims;
pub(crate) mod kit;

pub(crate) use bench::{Bench, LocalBench, SimBench};
pub(crate) use claims::CLAIMS;

use std::future::Future;
use std::pin::Pin;

/// What a claim does while it looks.
pub(crate) type Looking<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A claim by its name.
pub(crate) struct Claim {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a dyn Bench) -> Looking<'a>,
}

/// Runs one claim on a bench of its own, and looks that nothing half made is left by it.
pub(crate) fn hold(claim: &Claim, bench: &dyn Bench) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        (claim.run)(bench).await;
        let seen = bench.driver().observe(&kiln::model::Scope::All { owner: "prod".parse().unwrap() }).await.unwrap();
        let left: Vec<_> = seen.objects.iter().filter(|o| o.place == kiln::model::Place::Temporary).collect();
        assert!(left.is_empty(), "left half made: {left:?}");
    });
}

/// Runs all claims, each on a bench that `bench` makes, and names those that do not hold.
pub(crate) fn hold_all<B: Bench>(on: &str, bench: impl Fn(&str) -> B) {
    let mut broken = Vec::new();
    for claim in CLAIMS {
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hold(claim, &bench(claim.name))));
        if held.is_err() {
            broken.push(claim.name);
        }
    }
    assert!(broken.is_empty(), "on {on}, {} of {} claims do not hold: {broken:?}", broken.len(), CLAIMS.len());
}
