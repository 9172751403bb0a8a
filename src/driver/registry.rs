//! The registry of drivers, with one line for each. The settings of a driver are in its own table.

use std::sync::Arc;

use super::{Driver, local, rbd, sim, tgt};
use crate::model::{BackendSpec, DriverError, DriverTable, ErrorKind, Kind};

/// Opens a Backend. `None` if the settings are not those of the driver.
type OpenBackend = fn(&BackendSpec) -> Option<Arc<dyn Driver>>;

/// All drivers in alphabetical order. One without a function is not implemented yet: its settings are checked, and its objects are held.
pub(super) const DRIVERS: &[(DriverTable, Option<OpenBackend>)] =
    &[(local::TABLE, Some(local::open)), (rbd::TABLE, None), (sim::TABLE, Some(sim::open)), (tgt::TABLE, None)];

/// Returns the driver for Backends with this name.
pub(super) fn find(driver: &str) -> Option<(&'static DriverTable, Option<OpenBackend>)> {
    let found = DRIVERS.iter().find(|(table, _)| table.kind == Kind::Backend && table.name == driver);
    found.map(|(table, open)| (table, *open))
}

/// Opens the driver that a Backend declares. Determines the capabilities of the pool, by trial if necessary, and leaves no files behind.
///
/// # Errors
/// `Unsupported` for a driver that is not implemented, else as [`Driver::observe`].
pub fn connect(backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
    let name = backend.config.driver();
    let Some(open) = find(name).and_then(|(_, open)| open) else {
        return Err(DriverError::before(ErrorKind::Unsupported, format!("the driver {name:?} is not implemented yet")));
    };
    // A saved plan may contain any settings.
    let foreign = || format!("the settings of the Backend are not those of the driver {name:?}");
    open(backend).ok_or_else(|| DriverError::before(ErrorKind::Permanent, foreign()))
}
