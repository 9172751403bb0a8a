//! Problems of manifests that say the same are told once, with the places of all. Pure.

use foldhash::{HashMap, HashMapExt};

use super::folded::listed;
use crate::model::SourcePlace;

/// Problems with the same message and hint.
#[derive(Debug, PartialEq, Eq)]
pub struct SameProblem<'a> {
    /// The index of the first one.
    pub first: usize,
    /// What is wrong, in one sentence.
    pub message: &'a str,
    /// What to do.
    pub hint: Option<&'a str>,
    /// The places, in the order of the problems. None if the problem is one of all manifests.
    pub places: Vec<&'a SourcePlace>,
}

/// The number of further places that are named.
const NAMED: usize = 10;

impl SameProblem<'_> {
    /// Names the places after the first one: `also at a.yaml:2:1, b.yaml:3:1 and 5 more`. Not escaped.
    pub fn also_at(&self) -> Option<String> {
        let rest = self.places.get(1..).filter(|rest| !rest.is_empty())?;
        Some(format!("also at {}", listed(rest.iter().map(|place| place.to_string()), NAMED)))
    }
}

/// Groups problems by message and hint, in the order in which these first occur.
pub fn same_problems<'a>(
    problems: impl Iterator<Item = (Option<&'a SourcePlace>, &'a str, Option<&'a str>)>,
) -> Vec<SameProblem<'a>> {
    let mut groups: HashMap<(&str, Option<&str>), usize> = HashMap::new();
    let mut same: Vec<SameProblem<'a>> = Vec::new();
    for (index, (place, message, hint)) in problems.enumerate() {
        let group = *groups.entry((message, hint)).or_insert(same.len());
        match same.get_mut(group) {
            Some(group) => group.places.extend(place),
            None => same.push(SameProblem { first: index, message, hint, places: place.into_iter().collect() }),
        }
    }
    same
}
