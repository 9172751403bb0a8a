//! What is refused for the owner `default`, which stands in where no Stack is declared.

use crate::model::{BackendRecord, LedgerView, Name, Observed, Specs};
use crate::plan;

use super::error::OperationError;

/// Refuses to accept a pool, or to adopt objects, if no Stack is declared and another owner uses the pool: most likely the Stack's document is
/// missing, and the owner `default` would create empty duplicates of its objects. If `default` has objects on the pool, the manifests never
/// had a Stack, and `default` is the owner.
///
/// `observed` is none of a Backend that is not declared. `record` is what the store knows of it.
///
/// # Errors
/// [`OperationError::Held`], with the document that is missing.
pub(super) fn refuse_without_stack(
    specs: &Specs,
    backend: &Name,
    observed: Option<&Observed>,
    record: Option<&BackendRecord>,
) -> Result<(), OperationError> {
    let own = &specs.stack.owner;
    if specs.stack.declared {
        return Ok(());
    }
    let knows_objects = |view: &LedgerView| view.ledger().is_none_or(|ledger| !ledger.complete.is_empty());
    let ours = observed.and_then(|observed| observed.ledger.as_ref());
    let mut objects = observed.into_iter().flat_map(|observed| &observed.objects).filter_map(|o| o.identity.as_ref());
    if ours.is_some_and(knows_objects) || objects.any(|identity| identity.owner == *own) {
        return Ok(());
    }
    let mut others = observed.into_iter().flat_map(|observed| &observed.others);
    let on_pool = others.find(|(_, view)| knows_objects(view)).map(|(owner, _)| owner);
    let Some(other) = on_pool.or_else(|| record.map(|record| &record.owner).filter(|owner| *owner != own)) else {
        return Ok(());
    };
    let fix = match observed {
        Some(observed) => plan::missing_stack(other, observed),
        None => format!("no Stack is declared: bring back the document of {other}"),
    };
    Err(OperationError::Held(format!(
        "{backend} belongs to {other}, and nothing is done with it for the owner {own}; {fix}, or declare a Stack that is to have it"
    )))
}
