//! What a pass is given.

use std::sync::Arc;

use crate::driver::Driver;
use crate::model::{BackendSpec, DriverError, Reading};
use crate::store::Store;

use super::clock::Clock;

/// Opens drivers: [`crate::driver::connect`], or a test's own.
pub trait Connect: Send + Sync {
    /// Opens the driver of a Backend.
    ///
    /// # Errors
    /// See [`crate::driver::connect`].
    fn connect(&self, backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError>;
}

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
}
