//! How a step is named in an approval, and the digest of a set of them.

use std::collections::BTreeSet;

use crate::model::{Action, Step};

/// The digest that names a set of waiting steps: of its sorted items, nothing else.
pub fn digest_of(set: &BTreeSet<String>) -> String {
    let mut hash = blake3::Hasher::new();
    for item in set {
        hash.update(item.as_bytes());
        hash.update(b"\n");
    }
    hash.finalize().to_hex().as_str()[..16].to_owned()
}

/// `uid action [snapshot request | size]`: how a step is named in an approval. (Two restores of one request from two snapshots are two
/// things to say yes to; so are two sizes.)
pub fn approval_item(step: &Step) -> String {
    match &step.action {
        Action::Restore { snapshot, request } => {
            format!("{} {} {} {request}", step.identity.uid, step.action.verb(), snapshot.uid)
        }
        Action::Grow { to } => format!("{} {} {}", step.identity.uid, step.action.verb(), to.bytes()),
        _ => format!("{} {}", step.identity.uid, step.action.verb()),
    }
}
