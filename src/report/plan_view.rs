//! What a plan shows to people and programs: the one source of the terminal text and of the JSON `kiln.plan/v1`.
//!
//! Serialized, a [`PlanView`] is the JSON contract, field by field in its order; what only people need is skipped there.

use serde::Serialize;
use serde_json::Value;

use super::Commands;
use crate::model::{Action, Kind, NativeName, Origin, ProblemView, Provisioning, Risk, Size, Specs, Step, Verb};
use crate::plan::{Drift, Held, Plan, Unobserved, Warning};

/// The `format` of the JSON form.
pub const PLAN_FORMAT: &str = "kiln.plan/v1";

/// A plan as shown. What is not there is null: of specs that have problems there is no plan, and all but `problems` is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// [`PLAN_FORMAT`].
    pub format: &'static str,
    /// Whose plan it is.
    pub owner: Option<String>,
    /// Of the specs.
    pub revision: Option<String>,
    /// Of the plan.
    pub digest: Option<String>,
    /// What is given to `--approve`; null if nothing waits for a person.
    pub approval: Option<String>,
    /// What would be done, in order.
    pub steps: Option<Vec<StepView>>,
    /// What would not, and why.
    pub held: Option<Vec<HeldView>>,
    /// What somebody else changed.
    pub drift: Option<Vec<Drift>>,
    /// What deserves a second look.
    pub warnings: Option<Vec<Warning>>,
    /// Counts.
    pub summary: Option<Summary>,
    /// Backends that could not be observed: exit code 6.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unobserved: Vec<Unobserved>,
    /// What is wrong with the manifests: exit code 5.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemView>,
    /// The command that approves exactly what waits; none if nothing does.
    #[serde(skip)]
    pub approve: Option<String>,
}

/// A step as shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepView {
    /// One of the six verbs.
    pub action: Verb,
    /// Of the object.
    pub kind: Kind,
    /// Of the object.
    pub name: String,
    /// Where.
    pub backend: String,
    /// Which incarnation.
    pub uid: String,
    /// The native name when the step is done.
    pub object: String,
    /// What could be lost.
    pub risk: Risk,
    /// Why: a word of a closed list.
    pub reason: String,
    /// Field by field.
    pub changes: Vec<ChangeView>,
    /// What the step does in particular, for people: `10Gi, thin, on fast`.
    #[serde(skip)]
    pub detail: String,
    /// The declared size, where the size made is that rounded up.
    #[serde(skip)]
    pub rounded_from: Option<Size>,
}

/// One field before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangeView {
    /// The field of the manifest.
    pub path: String,
    /// Null where there is nothing.
    pub before: Value,
    /// Null where there is nothing.
    pub after: Value,
}

/// Something that is not done, as shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldView {
    /// What would be done.
    pub action: Verb,
    /// Of the object.
    pub kind: Kind,
    /// Of the object.
    pub name: String,
    /// Where, if anywhere.
    pub backend: Option<String>,
    /// Which incarnation, where there is one.
    pub uid: Option<String>,
    /// A word of the closed list of Held reasons.
    pub reason: String,
    /// Why, in one sentence.
    pub message: String,
    /// The way out.
    pub fix: String,
}

/// Counts of steps by verb, of what is held, and the bytes that steps take out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Steps.
    pub create: usize,
    /// Steps.
    pub update: usize,
    /// Steps.
    #[serde(rename = "move")]
    pub moved: usize,
    /// Steps.
    pub adopt: usize,
    /// Steps.
    pub remove: usize,
    /// Steps.
    pub destroy: usize,
    /// What is held.
    pub held: usize,
    /// Of recoverable and irreversible steps.
    pub bytes_at_risk: u64,
}

impl PlanView {
    /// The view of a plan. `specs` are those it was made for: from them it is known which sizes were rounded. `commands` completes the
    /// commands that its texts name.
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
            // Which approvals are being used up is the engine's business: the steps they let through are in `steps`.
            used: _,
            digest,
            too_much: _,
            doubted: _,
            unsettled: _,
            look_inside: _,
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

    /// The view where there is no plan, because the manifests have problems.
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

    /// The JSON form, with a newline at its end. Equal plans give equal bytes.
    pub fn to_json(&self) -> String {
        // Every key is a string and every value a plain one, so there is nothing for the serializer to refuse.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

fn completed(Warning { code, message }: &Warning, commands: &Commands) -> Warning {
    Warning { code: code.clone(), message: commands.complete(message) }
}

impl Summary {
    /// Counts steps; `held` is the number of what is held.
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

    /// The count of a verb.
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

    /// The six verbs, in the order in which they are counted.
    pub const VERBS: [Verb; 6] = [Verb::Create, Verb::Update, Verb::Move, Verb::Adopt, Verb::Remove, Verb::Destroy];
}

impl HeldView {
    /// The view of what is held.
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
    /// The view of a step.
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

/// What a step does in particular, in a few words after its verb.
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
            format!("bring back to snapshot {} on {backend}: what was written since is lost", short(&snapshot.native))
        }
        Action::SetTags { tags } if tags.retained => format!("release: it stays on {backend}, unmanaged"),
        Action::SetTags { .. } => format!("tags on {backend}"),
        Action::Rename { from, .. } if *from == step.native && step.changes.is_empty() => {
            format!("complete its interrupted rename on {backend}")
        }
        Action::Rename { from, .. } => format!("rename {} on {backend}", short(from)),
        Action::Adopt { .. } => format!("take over {} on {backend}", step.native),
        Action::Trash { ttl } => format!("into the trash of {backend}, for {ttl}"),
        Action::Undelete { .. } => format!("bring back from the trash of {backend}"),
        Action::Destroy => format!("destroy on {backend}: cannot be undone"),
        Action::Purge => format!("purge from the trash of {backend}: cannot be undone"),
        Action::Sweep => format!("clear what was left half made on {backend}"),
        Action::Detach => format!("make its clones on {backend} independent"),
    }
}

/// The declared name of an object of ours, the native name of any other.
fn short(native: &NativeName) -> String {
    native.parse().map_or_else(|| native.to_string(), |(_, _, name, _)| name.to_string())
}

/// The declared size, where the step makes it larger only because the backend has no finer sizes.
fn rounded_from(step: &Step, specs: &Specs) -> Option<Size> {
    let (Action::Create { size, .. } | Action::Grow { to: size }) = &step.action else { return None };
    let declared = specs.volumes.get(&step.identity.name).filter(|_| step.identity.kind == Kind::Volume)?.size;
    (declared < *size).then_some(declared)
}
