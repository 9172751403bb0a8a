//! Manifests of tests.

use super::{Limits, Source, load};
use crate::model::Reading;

/// Returns the reading of a valid text.
pub(crate) fn reading_of(text: &str) -> Reading {
    let loaded = load(&Source::Text(text.to_owned()), &Limits::default());
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.reading
}
