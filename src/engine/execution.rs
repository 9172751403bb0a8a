//! What the scheduler, its tasks and the verification of one execution share.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{DriverError, Endpoint, Name};
use crate::store::Store;

use super::backend_session::BackendSession;
use super::event::Reporter;
use super::setup::Setup;
use super::suspensions::StepSuspensions;

/// One execution of a plan's steps.
#[derive(Clone)]
pub(super) struct Execution<'r> {
    pub setup: &'r Setup,
    pub store: Arc<dyn Store>,
    /// The backends that are prepared for writing.
    pub backends: &'r BTreeMap<Name, BackendSession>,
    /// Why other endpoints are not.
    pub unready: &'r BTreeMap<Endpoint, DriverError>,
    /// The suspensions that each step obeys, including those that are recorded after the plan was made.
    pub suspensions: &'r StepSuspensions,
    pub reporter: Arc<dyn Reporter>,
}

impl Execution<'_> {
    /// Seconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.setup.clock.now()
    }

    /// The revision of the manifests that the steps follow from.
    pub(super) fn revision(&self) -> &str {
        &self.setup.reading.revision
    }
}
