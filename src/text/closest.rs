//! Finds the word that was probably meant.

/// Returns the candidate that is closest to `text`, if any is close enough.
pub fn closest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let (lower, len) = (text.to_lowercase(), text.chars().count());
    candidates
        .into_iter()
        .filter_map(|candidate| {
            // At most a third of the letters may differ; beyond that, most guesses are wrong. The comparison takes time in the
            // product of both lengths, so lengths that differ by more are not compared.
            let most = candidate.chars().count().max(3) / 3;
            let near = len.abs_diff(candidate.chars().count()) <= most;
            let distance = near.then(|| strsim::osa_distance(&lower, &candidate.to_lowercase()))?;
            (distance <= most).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}
