//! The shown form of a plan: the source of the text, the Markdown and the JSON `kiln.plan/v1`.
//!
//! Serialized, a [`PlanView`] is the JSON contract, field by field in its order; fields for people only are skipped.

use serde::Serialize;
use serde_json::Value;

use super::Commands;
use crate::model::{Action, Kind, NativeName, Origin, ProblemView, Provisioning, Risk, Size, Specs, Step, Verb};
use crate::plan::{Drift, Held, Plan, Unobserved, Warning};

/// The `format` of the JSON form.
pub const PLAN_FORMAT: &str = "kiln.plan/v1";

/// A plan as shown. Absent values are null: invalid specs have no plan, and all fields but `problems` are null.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// [`PLAN_FORMAT`].
    pub format: &'static str,
    /// The owner.
    pub owner: Option<String>,
    /// The revision of the specs.
    pub revision: Option<String>,
    /// The digest of the plan.
    pub digest: Option<String>,
    /// The digest to give to `--approve`; null if nothing waits for approval.
    pub approval: Option<String>,
    /// The steps, in order.
    pub steps: Option<Vec<StepView>>,
    /// The held objects, with reasons.
    pub held: Option<Vec<HeldView>>,
    /// Changes made outside of Kiln.
    pub drift: Option<Vec<Drift>>,
    /// Findings that deserve attention.
    pub warnings: Option<Vec<Warning>>,
    /// Counts by verb.
    pub summary: Option<Summary>,
    /// Backends that could not be observed (exit code 6).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unobserved: Vec<Unobserved>,
    /// Problems of the manifests (exit code 5).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemView>,
    /// The command that approves exactly the waiting set; none if nothing waits.
    #[serde(skip)]
    pub approve: Option<String>,
}

/// A step as shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepView {
    /// The verb.
    pub action: Verb,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: String,
    /// The object's backend.
    pub backend: String,
    /// The object's uid.
    pub uid: String,
    /// The native name after the step.
    pub object: String,
    /// The risk of losing data.
    pub risk: Risk,
    /// The reason, from a closed list.
    pub reason: String,
    /// The changed fields.
    pub changes: Vec<ChangeView>,
    /// Details for people: `10Gi, thin, on fast`.
    #[serde(skip)]
    pub detail: String,
    /// The declared size, if the created size is rounded up from it.
    #[serde(skip)]
    pub rounded_from: Option<Size>,
}

/// A field before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangeView {
    /// The field's path in the manifest.
    pub path: String,
    /// The value before; null if there was none.
    pub before: Value,
    /// The value after; null if there is none.
    pub after: Value,
}

/// A held object, as shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldView {
    /// The action that is not taken.
    pub action: Verb,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: String,
    /// The object's backend, if known.
    pub backend: Option<String>,
    /// The object's uid, if it exists.
    pub uid: Option<String>,
    /// The reason, from the closed list of Held reasons.
    pub reason: String,
    /// The cause, in one sentence.
    pub message: String,
    /// What to write or run to end the hold.
    pub fix: String,
}

/// Counts of steps by verb and of holds, and the bytes at risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Steps that create an object.
    pub create: usize,
    /// Steps that update an object.
    pub update: usize,
    /// Steps that move or rename an object.
    #[serde(rename = "move")]
    pub moved: usize,
    /// Steps that adopt an object.
    pub adopt: usize,
    /// Steps that remove an object.
    pub remove: usize,
    /// Steps that destroy an object.
    pub destroy: usize,
    /// Held objects.
    pub held: usize,
    /// Bytes of recoverable and irreversible steps.
    pub bytes_at_risk: u64,
}

impl PlanView {
    /// Makes the shown form of a plan. `specs`: the specs that it was made for, which tell which sizes were rounded up.
    /// `commands` completes the commands in its texts.
    pub fn new(plan: &Plan, specs: &Specs, commands: &Commands) -> Self {
        let Plan {
            owner,
            revision,
            steps,
            held,
            drift,
            warnings,
            unobserved,
            approval,
            // Used approvals are internal to the engine: the steps that they allow are in `steps`.
            used: _,
            digest,
            too_much: _,
            doubted: _,
            unsettled: _,
            to_inspect: _,
        } = plan;
        let held: Vec<HeldView> = held.iter().map(|held| HeldView::new(held, commands)).collect();
        let summary = Summary::new(steps, held.len());
        Self {
            format: PLAN_FORMAT,
            owner: Some(owner.to_string()),
            revision: Some(revision.clone()),
            digest: Some(digest.clone()),
            approval: approval.as_ref().map(|set| set.digest.clone()),
            steps: Some(steps.iter().map(|step| StepView::new(step, specs)).collect()),
            held: Some(held),
            drift: Some(drift.clone()),
            warnings: Some(warnings.iter().map(|warning| completed(warning, commands)).collect()),
            summary: Some(summary),
            unobserved: unobserved.clone(),
            problems: Vec::new(),
            approve: approval.as_ref().map(|set| commands.command(&format!("kiln apply --approve {}", set.digest))),
        }
    }

    /// Makes the shown form of invalid manifests, which have no plan.
    pub fn invalid(problems: Vec<ProblemView>) -> Self {
        Self {
            format: PLAN_FORMAT,
            owner: None,
            revision: None,
            digest: None,
            approval: None,
            steps: None,
            held: None,
            drift: None,
            warnings: None,
            summary: None,
            unobserved: Vec::new(),
            problems,
            approve: None,
        }
    }

    /// Returns the JSON form, with a newline at its end. Equal plans give equal bytes.
    pub fn to_json(&self) -> String {
        // Serialization cannot fail: every key is a string and every value a plain one.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

fn completed(Warning { code, message }: &Warning, commands: &Commands) -> Warning {
    Warning { code: code.clone(), message: commands.complete(message) }
}

impl Summary {
    /// Counts steps by verb; `held` is the number of held objects.
    pub fn new(steps: &[Step], held: usize) -> Self {
        let mut summary = Summary { held, ..Summary::default() };
        for step in steps {
            *summary.of_mut(step.action.verb()) += 1;
            if matches!(step.risk, Risk::Recoverable | Risk::Irreversible) {
                summary.bytes_at_risk = summary.bytes_at_risk.saturating_add(step.bytes.bytes());
            }
        }
        summary
    }

    /// Returns the count of a verb.
    pub fn of(&self, verb: Verb) -> usize {
        match verb {
            Verb::Create => self.create,
            Verb::Update => self.update,
            Verb::Move => self.moved,
            Verb::Adopt => self.adopt,
            Verb::Remove => self.remove,
            Verb::Destroy => self.destroy,
        }
    }

    fn of_mut(&mut self, verb: Verb) -> &mut usize {
        match verb {
            Verb::Create => &mut self.create,
            Verb::Update => &mut self.update,
            Verb::Move => &mut self.moved,
            Verb::Adopt => &mut self.adopt,
            Verb::Remove => &mut self.remove,
            Verb::Destroy => &mut self.destroy,
        }
    }

    /// The six verbs, in display order.
    pub const VERBS: [Verb; 6] = [Verb::Create, Verb::Update, Verb::Move, Verb::Adopt, Verb::Remove, Verb::Destroy];
}

impl HeldView {
    /// Makes the shown form of a hold.
    pub fn new(held: &Held, commands: &Commands) -> Self {
        let Held { kind, name, action, backend, uid, reason, message, fix } = held;
        Self {
            action: *action,
            kind: *kind,
            name: name.to_string(),
            backend: backend.as_ref().map(ToString::to_string),
            uid: uid.map(|uid| uid.to_string()),
            reason: reason.to_string(),
            message: commands.complete(message),
            fix: commands.complete(fix),
        }
    }

    /// `volume/db`.
    pub fn object_name(&self) -> String {
        format!("{}/{}", self.kind.as_lower(), self.name)
    }
}

impl StepView {
    /// Makes the shown form of a step.
    pub fn new(step: &Step, specs: &Specs) -> Self {
        let Step { backend, identity, native, action, expect: _, risk, reason, changes, bytes: _, after: _ } = step;
        Self {
            action: action.verb(),
            kind: identity.kind,
            name: identity.name.to_string(),
            backend: backend.to_string(),
            uid: identity.uid.to_string(),
            object: native.to_string(),
            risk: *risk,
            reason: format!("{reason:?}"),
            changes: changes
                .iter()
                .map(|change| ChangeView {
                    path: change.path.clone(),
                    before: change.before.clone(),
                    after: change.after.clone(),
                })
                .collect(),
            detail: detail(step),
            rounded_from: rounded_from(step, specs),
        }
    }

    /// `volume/db`.
    pub fn object_name(&self) -> String {
        format!("{}/{}", self.kind.as_lower(), self.name)
    }
}

/// Returns the details of a step, shown after its verb.
fn detail(step: &Step) -> String {
    let backend = &step.backend;
    match &step.action {
        Action::Create { size, provisioning, origin, tags: _, n: _ } => {
            let kind = match provisioning {
                Provisioning::Thin => "",
                Provisioning::Thick => ", thick",
            };
            let origin = match origin {
                None => String::new(),
                Some(Origin::Snapshot(object)) => format!(", from snapshot {}", short(&object.native)),
                Some(Origin::Volume(object)) => format!(", from volume {}", short(&object.native)),
                Some(origin @ Origin::Image { .. }) => format!(", from {origin}"),
            };
            format!("{size} on {backend}{kind}{origin}")
        }
        Action::Snapshot { volume, tags: _, n: _ } => format!("of volume {} on {backend}", short(&volume.native)),
        Action::Grow { to } => format!("grow to {to} on {backend}"),
        Action::Restore { snapshot, request: _ } => {
            format!("restore from snapshot {} on {backend}: later writes are lost", short(&snapshot.native))
        }
        Action::SetTags { tags } if tags.retained => format!("release: stays on {backend}, unmanaged"),
        Action::SetTags { .. } => format!("tags on {backend}"),
        Action::Rename { from, .. } if *from == step.native && step.changes.is_empty() => {
            format!("complete its interrupted rename on {backend}")
        }
        Action::Rename { from, .. } => format!("rename {} on {backend}", short(from)),
        Action::Adopt { .. } => format!("adopt {} on {backend}", step.native),
        Action::Trash { ttl } => format!("move to the trash of {backend} for {ttl}"),
        Action::Undelete { .. } => format!("restore from the trash of {backend}"),
        Action::Destroy => format!("destroy on {backend}: cannot be undone"),
        Action::Purge => format!("purge from the trash of {backend}: cannot be undone"),
        Action::Sweep => format!("remove an incomplete object from {backend}"),
        Action::Detach => format!("make its clones on {backend} independent"),
    }
}

/// Returns the declared name of an object of ours, or the native name of any other.
fn short(native: &NativeName) -> String {
    native.parse().map_or_else(|| native.to_string(), |(_, _, name, _)| name.to_string())
}

/// Returns the declared size, if the step rounds it up to the granularity of the backend.
fn rounded_from(step: &Step, specs: &Specs) -> Option<Size> {
    let (Action::Create { size, .. } | Action::Grow { to: size }) = &step.action else { return None };
    let declared = specs.volumes.get(&step.identity.name).filter(|_| step.identity.kind == Kind::Volume)?.size;
    (declared < *size).then_some(declared)
}
