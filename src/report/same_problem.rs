//! Problems of manifests that say the same, apart from values, are told once, with the places of all. Pure.

use super::folded::{Fact, TellsFact, fold, listed};
use crate::model::SourcePlace;

/// Problems with texts of one form. The first one is told as it is.
#[derive(Debug, PartialEq, Eq)]
pub struct SameProblem<'a> {
    /// The index of the first one.
    pub first: usize,
    /// What is wrong with the first one, in one sentence.
    pub message: &'a str,
    /// What to do about the first one.
    pub hint: Option<&'a str>,
    /// The place of the first one. None if it is one of all manifests.
    pub place: Option<&'a SourcePlace>,
    /// The places of the others with the same texts.
    also: Vec<String>,
    /// The places of the others whose texts have other values, with these: `` specs/b.yaml:2:1 (`size: 3Gi`) ``.
    alike: Vec<String>,
}

/// The number of further places that are named.
const NAMED: usize = 10;

impl SameProblem<'_> {
    /// Names the other places: `also at a.yaml:2:1, b.yaml:3:1`, `with other values at …`. `listing`: the command that lists those that
    /// are not named. Not escaped.
    pub fn others(&self, listing: &str) -> Vec<String> {
        let all = [("also at", &self.also), ("with other values at", &self.alike)];
        let named = all.into_iter().filter(|(_, places)| !places.is_empty()).map(|(head, places)| {
            let all = if places.len() > NAMED { format!(" (`{listing}` lists all)") } else { String::new() };
            format!("{head} {}{all}", listed(places.iter().cloned(), NAMED))
        });
        named.collect()
    }
}

/// A problem as a fact about its place.
struct ToldProblem<'a> {
    index: usize,
    place: Option<&'a SourcePlace>,
    shown_place: String,
    message: &'a str,
    hint: Option<&'a str>,
}

impl TellsFact for ToldProblem<'_> {
    fn fact(&self) -> Fact<'_> {
        Fact { kind: None, name: &self.shown_place, ..Fact::new("", "", self.message, self.hint.unwrap_or_default()) }
    }
}

/// Groups problems by the form of message and hint, in the order in which these first occur.
pub fn same_problems<'a>(
    problems: impl Iterator<Item = (Option<&'a SourcePlace>, &'a str, Option<&'a str>)>,
) -> Vec<SameProblem<'a>> {
    let told: Vec<ToldProblem<'a>> = problems
        .enumerate()
        .map(|(index, (place, message, hint))| {
            let shown_place = place.map(ToString::to_string).unwrap_or_default();
            ToldProblem { index, place, shown_place, message, hint }
        })
        .collect();
    let mut same = Vec::new();
    for entry in fold(&told) {
        for cause in &entry.causes {
            let Some((first, others)) = cause.members.split_first() else { continue };
            let ToldProblem { index, place, shown_place: _, message, hint } = first.told;
            let (also, alike): (Vec<_>, Vec<_>) =
                others.iter().partition(|other| (other.told.message, other.told.hint) == (*message, *hint));
            same.push(SameProblem {
                first: *index,
                message,
                hint: *hint,
                place: *place,
                also: also.into_iter().map(|other| other.told.shown_place.clone()).collect(),
                alike: alike.into_iter().map(|other| other.with_values()).collect(),
            });
        }
    }
    same.sort_by_key(|problem| problem.first);
    same
}
