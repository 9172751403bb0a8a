//! Opening drivers.

use std::sync::Arc;

use crate::driver::Driver;
use crate::model::{BackendSpec, DriverError};

/// Opens drivers: [`crate::driver::connect`], or a test's own.
pub trait Connect: Send + Sync {
    /// Opens the driver of a Backend.
    ///
    /// # Errors
    /// See [`crate::driver::connect`].
    fn connect(&self, backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError>;
}
