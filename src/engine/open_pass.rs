//! A pass that has ended, with its backends still open and their writer locks held: what follows from it needs no second session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::Instrument;

use super::session::Session;
use super::setup::Setup;
use super::span::backend_span;
use crate::model::{Address, Images, Kind, LedgerEntry, Name, NativeName, Scope};
use crate::plan::{Observation, World};
use crate::store::StoreError;

/// A pass that has ended. When it is dropped, its writer locks are free.
pub struct OpenPass<'s>(Session<'s>);

impl<'s> OpenPass<'s> {
    pub(super) fn new(session: Session<'s>) -> Self {
        Self(session)
    }

    /// Whether calls may go on without it.
    pub(super) fn goes_on(&self) -> bool {
        self.0.wait.is_some()
    }

    /// Continues the session for these objects, with a later reading of the manifests: observes them by name, and reads the records and
    /// suspensions of every pool again. Only their backends stay usable, and of those only the ones whose pool is still the same.
    /// Returns `None` if the manifests declare other backends than before, the path policy does not allow one any more, or suspensions
    /// cannot be read: then the session is closed, and a new one finds out what is usable.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) async fn continued(
        self,
        setup: &'s Setup,
        objects: impl Iterator<Item = (&Name, Address)>,
    ) -> Result<Option<Session<'s>>, StoreError> {
        let Self(mut session) = self;
        let (before, now) = (session.specs(), &setup.reading.specs);
        let is_same = before.backends == now.backends && before.stack == now.stack;
        let is_barred = now.backends.keys().any(|name| setup.reading.not_allowed(Kind::Backend, name).is_some());
        let (Some(store), true, false) = (&setup.store, is_same, is_barred) else { return Ok(None) };
        session.records = store.records()?;
        session.setup = setup;
        session.now = setup.clock.now();
        session.images = Images::new();
        // Nothing is planned in it: the judgement was of the earlier reading.
        session.judged = Arc::default();
        let mut wanted: BTreeMap<&Name, BTreeSet<Address>> = BTreeMap::new();
        for (backend, at) in objects {
            wanted.entry(backend).or_default().insert(at);
        }
        // Nothing is destroyed with a snapshot inside of it, listed or not.
        for (name, addresses) in &mut wanted {
            let is_inside = |volume: &NativeName| addresses.contains(&Address::flat(volume));
            let ledgers = session.ledgers.get(*name).into_iter();
            let entries = ledgers.flat_map(|ledger| ledger.complete.values().chain(ledger.creating.values()));
            let inner = entries.filter(|entry| entry.parent_volume.as_deref().is_some_and(is_inside));
            let inner: Vec<Address> = inner.map(LedgerEntry::address).collect();
            // A snapshot stays while something blocks its volume.
            let volumes: Vec<Address> =
                addresses.iter().filter_map(|at| at.parent_volume.as_ref().map(Address::flat)).collect();
            addresses.extend(inner.into_iter().chain(volumes));
        }
        let owner = &setup.reading.specs.stack.owner;
        let mut tasks = JoinSet::new();
        for (name, addresses) in wanted {
            let usable = session.observations.backends.get(name).filter(|open| open.lock.is_some());
            let Some(backend) = usable.filter(|_| session.usable.contains(name)).cloned() else { continue };
            let (name, scope) = (name.clone(), Scope::Objects(addresses.into_iter().collect()));
            let span = backend_span(&name);
            let observing = async move {
                let observed = backend.observe(&scope).await;
                (name, backend.driver.capabilities().clone(), observed)
            };
            tasks.spawn(observing.instrument(span));
        }
        // What one pool says is suspended, is suspended on all.
        let mut reading = JoinSet::new();
        for (name, backend) in session.observations.backends.clone() {
            let (owner, span) = (owner.clone(), backend_span(&name));
            reading.spawn(async move { (name, backend.suspensions(&owner).await) }.instrument(span));
        }
        session.observations.suspensions.clear();
        for (name, suspensions) in reading.join_all().await {
            match suspensions {
                Ok(suspensions) => drop(session.observations.suspensions.insert(name, suspensions)),
                Err(error) => {
                    tracing::warn!(backend = %name, %error, "its suspensions could not be read again");
                    return Ok(None);
                }
            }
        }
        session.observations.world = World::new();
        let mut usable = BTreeSet::new();
        while let Some(joined) = tasks.join_next().await {
            let (name, capabilities, observed) = match joined {
                Ok((name, capabilities, Ok(observed))) => (name, capabilities, observed),
                Ok((name, _, Err(error))) => {
                    tracing::warn!(backend = %name, %error, "its trash could not be observed again");
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "an observation ended in a panic");
                    continue;
                }
            };
            if session.ledgers.get(&name).is_some_and(|ledger| observed.pool.as_ref() == Some(&ledger.pool)) {
                session.observations.world.insert(name.clone(), Observation::Seen { capabilities, observed });
                usable.insert(name);
            }
        }
        session.ledgers.retain(|name, _| usable.contains(name));
        session.observations.backends.retain(|name, _| usable.contains(name));
        session.usable = usable;
        Ok(Some(session))
    }
}
