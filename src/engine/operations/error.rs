//! Why an operation was not carried out.

use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// Why an operation was not carried out.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum OperationError {
    /// The name is not known, or the object is not in the place that the command is about. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A backend could not be observed. Exit code 6.
    #[error("{0}")]
    Unobserved(String),
    /// Something holds it (protection, another writer). Exit code 4.
    #[error("{0}")]
    Held(String),
    /// A step failed. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The store cannot be written. Exit code 7.
    #[error(transparent)]
    Store(#[from] StoreError),
}
