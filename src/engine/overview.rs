//! Observing everything and planning, without changing anything.

use std::future::ready;
use std::sync::Arc;

use crate::plan::{Irreversible, Overview};
use crate::store::Store;

use super::observe_one::AccessMode;
use super::session::Session;
use super::setup::Setup;

/// How many of the journal's last lines an overview has.
pub const JOURNAL_SHOWN: usize = 1000;

/// Observes every declared backend and plans; changes nothing. Never fails: backends that cannot be observed are in the plan's
/// `unobserved` and `held`.
pub async fn overview(setup: &Setup, approve: &[String]) -> Overview {
    overview_while(setup, ready(setup.store.clone()), approve).await
}

/// Like [`overview`], while the store is still being opened: the backends are observed at the same time.
pub async fn overview_while(
    setup: &Setup,
    opening: impl Future<Output = Option<Arc<dyn Store>>>,
    approve: &[String],
) -> Overview {
    let (mut session, store) = tokio::join!(Session::begin(setup, Arc::default(), AccessMode::Read, None), opening);
    match store.as_ref().map(|store| store.records()) {
        None => {}
        Some(Ok(records)) => session.records = records,
        Some(Err(error)) => tracing::warn!(%error, "the store cannot be read; continuing without its records"),
    }
    let intents = store.as_ref().and_then(|store| store.intents().ok()).unwrap_or_default();
    session.ask_for_names(&intents).await;
    session.judge();
    session.settle();
    let plan = session.plan_closely(approve, Irreversible::List).await;
    let journal = store.and_then(|store| store.journal(JOURNAL_SHOWN).ok()).unwrap_or_default();
    let suspended = session.suspensions().in_force(session.now);
    let paths = session.paths().await;
    let Session { now, observations, records, judged, .. } = session;
    let (world, retries, running) = (observations.world, Vec::new(), setup.jobs.running());
    Overview { now, world, judged, paths, records, suspended, journal, plan, retries, running }
}
