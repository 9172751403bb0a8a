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

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;

/// What a claim does while it looks.
pub(crate) type Looking<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A claim by its name.
pub(crate) struct Claim {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a dyn Bench) -> Looking<'a>,
}

thread_local! {
    /// Why the claim that runs on this thread does not apply to its driver: see [`kit::Kit::does_not_apply`].
    static DOES_NOT_APPLY: Cell<Option<String>> = const { Cell::new(None) };
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

/// Runs all claims, each on a bench that `bench` makes, and names those that do not hold. Prints and returns those that do not apply to
/// the driver, because it lacks what they are about.
#[expect(clippy::print_stdout, reason = "cargo test shows it on request")]
pub(crate) fn hold_all<B: Bench>(on: &str, bench: impl Fn(&str) -> B) -> Vec<&'static str> {
    let (mut broken, mut inapplicable) = (Vec::new(), Vec::new());
    for claim in CLAIMS {
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hold(claim, &bench(claim.name))));
        let why = DOES_NOT_APPLY.take();
        if held.is_err() {
            broken.push(claim.name);
        } else if let Some(why) = why {
            println!("on {on}, {} does not apply: {why}", claim.name);
            inapplicable.push(claim.name);
        }
    }
    assert!(broken.is_empty(), "on {on}, {} of {} claims do not hold: {broken:?}", broken.len(), CLAIMS.len());
    inapplicable
}
