//! Other processes that write to the same pools.

use crate::model::{Name, Observed, Owner, Writer};
use crate::plan::World;

/// Describes the other processes that write to these backends for this owner, a sentence each. `daemon`: the pid of the daemon that is known
/// already. The others use another store, or do not answer, so that no command reaches them through this store.
pub fn writers(world: &World, owner: &Owner, daemon: Option<u32>) -> Vec<String> {
    let seen = world.iter().filter_map(|(name, view)| Some((name, view.observed()?)));
    seen.flat_map(|(name, observed)| writers_in(name, observed, owner, daemon)).collect()
}

pub(super) fn writers_in(backend: &Name, observed: &Observed, owner: &Owner, daemon: Option<u32>) -> Vec<String> {
    let others = observed.writers.get(owner).into_iter().flatten().filter(|writer| Some(writer.pid) != daemon);
    let sentence = |Writer { pid, command }: &Writer| {
        let command = if command.is_empty() { String::new() } else { format!(" ({command})") };
        format!(
            "process {pid}{command} on this host writes to {backend} for {owner}, and does not answer through this store: name its \
             store (`--state`, KILN_STATE), or end it"
        )
    };
    others.map(sentence).collect()
}
