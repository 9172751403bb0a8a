//! Observing one backend: opening it, taking its writer lock, listing its objects.

use std::sync::Arc;

use crate::model::{BackendSpec, DriverError, ErrorKind, LedgerView, Owner, PoolId, Scope, Suspension};
use crate::plan::Observation;

use super::backend_session::{BackendSession, open};
use super::connect::Connect;

/// What is observed, and whether observing also takes the writer locks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessMode {
    /// To learn which pools are there, and what is suspended on them. No object is listed.
    Pools,
    /// To plan, without changing anything.
    Read,
    /// To write afterwards: under the lock only foreign processes change what was observed.
    Write,
}

/// What is asked of a backend.
pub(super) struct Asked {
    pub owner: Owner,
    /// The pool that it was before.
    pub known: Option<PoolId>,
    pub mode: AccessMode,
    /// Whether the ledgers of other owners are read, too.
    pub ask_others: bool,
}

/// Opens a backend, unless there is a session, observes it and reads this owner's suspensions there.
pub(super) async fn observe_one(
    connect: Arc<dyn Connect>,
    spec: BackendSpec,
    session: Option<BackendSession>,
    asked: Asked,
) -> (Option<BackendSession>, Observation, Vec<Suspension>) {
    let opened = match session {
        Some(session) => Ok(session),
        None => open(connect, spec).await,
    };
    let owner = &asked.owner;
    let (backend, mut view) = observe_open(opened, &asked).await;
    if let (true, Some(backend)) = (asked.ask_others, &backend) {
        read_others(backend, owner, &mut view).await;
    }
    let suspensions = match (&backend, &view) {
        (Some(backend), Observation::Seen { .. } | Observation::LockedBy { .. }) => backend.suspensions(owner).await,
        _ => Ok(Vec::new()),
    };
    let (view, suspensions) = match suspensions {
        Ok(suspensions) => (view, suspensions),
        // Unreadable records may suspend every object there.
        Err(error) => (Observation::Failed { why: error.message, fix: error.fix }, Vec::new()),
    };
    log_observation(&view);
    (backend, view, suspensions)
}

fn log_observation(view: &Observation) {
    match view {
        Observation::Seen { observed, .. } => tracing::debug!(objects = observed.objects.len(), "observed"),
        Observation::LockedBy { by, observed, .. } => {
            tracing::debug!(objects = observed.objects.len(), by, "observed; another process holds the writer lock");
        }
        Observation::Failed { why, fix: _ } => tracing::debug!(why, "the observation failed"),
        Observation::Unsupported => tracing::debug!("its driver is not implemented yet"),
    }
}

async fn observe_open(
    opened: Result<BackendSession, DriverError>,
    Asked { owner, known, mode, ask_others: _ }: &Asked,
) -> (Option<BackendSession>, Observation) {
    let unseen = |error: &DriverError| Observation::Failed { why: error.message.clone(), fix: error.fix.clone() };
    let mut backend = match opened {
        Ok(backend) => backend,
        Err(error) if error.kind == ErrorKind::Unsupported => return (None, Observation::Unsupported),
        Err(error) => return (None, unseen(&error)),
    };
    let mut taken = None;
    if *mode == AccessMode::Write && backend.lock.is_none() {
        // First without any object: a pool that was replaced is not even locked.
        let glance = match backend.observe(&Scope::Objects(Vec::new())).await {
            Ok(glance) => glance,
            Err(error) => return (Some(backend), unseen(&error)),
        };
        if glance.pool.is_some() && (known.is_none() || *known == glance.pool) {
            match backend.lock(owner).await {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::OtherWriter => taken = Some(error.message),
                Err(error) => return (Some(backend), unseen(&error)),
            }
        }
    }
    let scope = match mode {
        AccessMode::Pools => Scope::Objects(Vec::new()),
        AccessMode::Read | AccessMode::Write => Scope::All { owner: owner.clone() },
    };
    let view = match backend.observe(&scope).await {
        Ok(observed) => {
            if known.is_some() && observed.pool != *known {
                // What this session locked was another pool.
                backend.lock = None;
            }
            let capabilities = backend.driver.capabilities().clone();
            match taken {
                None => Observation::Seen { capabilities, observed },
                Some(by) => Observation::LockedBy { by, capabilities, observed },
            }
        }
        Err(error) => unseen(&error),
    };
    (Some(backend), view)
}

/// Reads the ledgers of other owners. Where no Stack is declared, the document that is missing is most likely that of one of them.
async fn read_others(backend: &BackendSession, owner: &Owner, view: &mut Observation) {
    let (Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. }) = view else { return };
    for other in observed.owners.iter().filter(|other| *other != owner) {
        let ledger = match backend.ledger(other).await {
            Ok(ledger) => ledger,
            Err(error) => Some(LedgerView::Unreadable(error.message)),
        };
        observed.others.extend(ledger.map(|ledger| (other.clone(), ledger)));
    }
}
