//! `kind: Stack`.

use super::head::refer;
use super::{Reference, volume};
use crate::manifest::fields::{At, Fields};
use crate::manifest::text::quote;
use crate::model::{Defaults, Kind, Meta, Owner, PurgeMode, Safety, Seconds, Stack, TrashPolicy};

pub(super) fn read(
    mut fields: Fields<'_>,
    name: Option<At<'_>>,
    meta: Option<Meta>,
    references: &mut Vec<Reference>,
) -> Option<Stack> {
    // The owner is part of every native name, so that it is shorter than other names.
    let owner: Option<Owner> = name.filter(|_| meta.is_some()).and_then(|at| at.label());
    let id = fields.need("id", "make one with `kiln init`, once; it must never change").and_then(id);
    let defaults = fields.get("defaults").and_then(|at| defaults(at, references));
    let interval = fields.get("interval").and_then(|at| at.duration(1));
    let trash = fields.get("trash").and_then(trash);
    let safety = fields.get("safety").and_then(safety);
    fields.finish();
    Some(Stack {
        owner: owner?,
        id: id?,
        declared: true,
        defaults: defaults.unwrap_or_default(),
        interval: interval.unwrap_or(Seconds(60)),
        trash: trash.unwrap_or_default(),
        safety: safety.unwrap_or_default(),
    })
}

fn id(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    let fits = (8..=40).contains(&text.len()) && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
    if !fits {
        at.wrong(
            format_args!("is {}, and must be 8 to 40 of a-z, 0-9 and '-'", quote(text)),
            "make one with `kiln init`",
        );
    }
    fits.then(|| text.to_owned())
}

fn defaults(at: At<'_>, references: &mut Vec<Reference>) -> Option<Defaults> {
    let mut fields = at.fields()?;
    let backend = refer(fields.get("backend"), Kind::Backend, "backend", references);
    let on_remove = fields.get("onRemove").and_then(volume::on_remove);
    let protected = fields.get("protected").and_then(|at| at.flag());
    fields.finish();
    Some(Defaults { backend, on_remove, protected })
}

fn trash(at: At<'_>) -> Option<TrashPolicy> {
    let mut fields = at.fields()?;
    let ttl = fields.get("ttl").and_then(|at| at.duration(1));
    let purge =
        fields.get("purge").and_then(|at| at.choice(&[("auto", PurgeMode::Auto), ("manual", PurgeMode::Manual)]));
    fields.finish();
    let usual = TrashPolicy::default();
    Some(TrashPolicy { ttl: ttl.unwrap_or(usual.ttl), purge: purge.unwrap_or(usual.purge) })
}

fn safety(at: At<'_>) -> Option<Safety> {
    let mut fields = at.fields()?;
    let removals = fields.get("maxRemovals").and_then(|at| at.whole(0, 1_000_000));
    let percent = fields.get("maxRemovedPercent").and_then(|at| at.percent(0, 100));
    let bytes = fields.get("maxRemovedBytes").and_then(|at| at.size(0));
    fields.finish();
    let usual = Safety::default();
    Some(Safety {
        max_removals: removals.and_then(|n| n.try_into().ok()).unwrap_or(usual.max_removals),
        max_removed_percent: percent.unwrap_or(usual.max_removed_percent),
        max_removed_bytes: bytes.unwrap_or(usual.max_removed_bytes),
    })
}
