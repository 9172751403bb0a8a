//! What a pass is given.

use std::sync::Arc;

use crate::model::Reading;
use crate::store::Store;

use super::clock::Clock;
use super::connect::Connect;
use super::jobs::Jobs;

/// What every pass and operation is given.
#[derive(Clone)]
pub struct Setup {
    /// What is declared, and how far it can be relied on.
    pub reading: Arc<Reading>,
    /// The store; none for an overview while the store cannot be opened.
    pub store: Option<Arc<dyn Store>>,
    /// Opens drivers.
    pub connect: Arc<dyn Connect>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The steps of earlier passes of this process that still run.
    pub jobs: Arc<Jobs>,
}
