//! The shown form of a plan: the source of the text, the Markdown and the JSON `kiln.plan/v1`.
//!
//! Serialized, a [`PlanView`] is the JSON contract, field by field in its order; fields for people only are skipped.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Commands;
use super::approval_text::{digest_changes, waiting, waiting_after_run};
use super::folded::{Fact, Folded, TellsFact, ToldVerb, fold, where_all_are};
use super::warnings::WarningView;
use crate::model::{
    Action, ApprovalSet, DeclaredSize, Endpoint, FieldChange, InnerSnapshot, Kind, Name, NativeName, Origin,
    ProblemView, Provisioning, Risk, Size, Specs, Step, Verb, VolumeSpec,
};
use crate::plan::{Drift, Held, Plan, Unobserved};
use crate::text::{as_declared, exact};

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
    /// The digest to give to `--approve`; null if nothing waits for approval.
    pub approval: Option<String>,
    /// The steps, in order.
    pub steps: Option<Vec<StepView>>,
    /// The held objects, with reasons.
    pub held: Option<Vec<HeldView>>,
    /// Changes made outside of Kiln.
    pub drift: Option<Vec<DriftView>>,
    /// Findings that deserve attention.
    pub warnings: Option<Vec<WarningView>>,
    /// Counts by verb.
    pub summary: Option<Summary>,
    /// Backends that could not be observed (exit code 6).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unobserved: Vec<Unobserved>,
    /// Problems of the manifests (exit code 5).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemView>,
    /// The line about the steps that wait for an approval; none if nothing waits.
    #[serde(skip)]
    pub waiting: Option<String>,
    /// The command that lists everything that a text leaves out.
    #[serde(skip)]
    pub listing: String,
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
    /// The object's Backend; null for a step on a Target.
    pub backend: Option<String>,
    /// The Target; null for a step on a Backend.
    pub target: Option<String>,
    /// The object's uid.
    pub uid: String,
    /// The native name after the step; `VOLUME@NAME` for a snapshot inside of a volume.
    pub object: String,
    /// The risk of losing data.
    pub risk: Risk,
    /// The reason, from a closed list.
    pub reason: String,
    /// The changed fields.
    pub changes: Vec<FieldChange>,
    /// Whether it belongs to a set that was approved.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
    /// The verb for people: see [`Action::word`].
    #[serde(skip)]
    pub word: &'static str,
    /// Details for people: `10Gi, thin, on fast`.
    #[serde(skip)]
    pub detail: String,
    /// The declared size and what the backend makes of it, in one sentence, if it rounds the size up.
    #[serde(skip)]
    pub rounding: Option<String>,
    /// The declared sizes of a volume.
    #[serde(skip)]
    pub declared: DeclaredSizes,
}

/// The sizes that a document declares and does not write in the shortest form, by the path of the field.
pub type DeclaredSizes = BTreeMap<&'static str, DeclaredSize>;

/// Returns the declared sizes of an object that are not written in the shortest form.
pub(super) fn declared_sizes(kind: Kind, name: &Name, specs: &Specs) -> DeclaredSizes {
    let volume = specs.volumes.get(name).filter(|_| kind == Kind::Volume);
    volume.into_iter().flat_map(VolumeSpec::sizes).filter(|(_, size)| size.as_written().is_some()).collect()
}

/// A change made outside of Kiln, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DriftView {
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: String,
    /// The object's Backend; null if it is on a Target.
    pub backend: Option<String>,
    /// The object's Target, if it is on one.
    pub target: Option<String>,
    /// The field's path.
    pub path: String,
    /// The value that Kiln recorded.
    pub recorded: Value,
    /// The observed value; null if the object is absent.
    pub observed: Value,
    /// The declared sizes of a volume.
    #[serde(skip)]
    pub declared: DeclaredSizes,
}

impl DriftView {
    fn new(drift: &Drift, specs: &Specs) -> Self {
        let Drift { kind, name, endpoint, path, recorded, observed } = drift;
        let endpoint = endpoint.as_ref();
        Self {
            kind: *kind,
            name: name.to_string(),
            backend: endpoint.and_then(Endpoint::backend).map(Name::to_string),
            target: endpoint.and_then(Endpoint::target).map(Name::to_string),
            path: path.clone(),
            recorded: recorded.clone(),
            observed: observed.clone(),
            declared: declared_sizes(*kind, name, specs),
        }
    }
}

/// A held object, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct HeldView {
    /// The action that is not taken.
    pub action: Verb,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: String,
    /// The object's Backend, if known.
    pub backend: Option<String>,
    /// The object's Target, if it is on one.
    pub target: Option<String>,
    /// The object's uid, if it exists.
    pub uid: Option<String>,
    /// The reason, from the closed list of Held reasons.
    pub reason: String,
    /// The cause, in one sentence.
    pub message: String,
    /// What to write or run to end the hold.
    pub fix: String,
    /// Whether the approval that is asked for covers it.
    #[serde(skip)]
    pub awaits_approval: bool,
    /// The verb for people: see [`Held::word`]. Empty if it is not known whether the object needs a step: its backend was not observed.
    #[serde(skip)]
    pub word: &'static str,
}

/// A backend that was not observed, with the objects that are held for no other reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage<'a> {
    /// The Backend's name.
    pub backend: &'a str,
    /// The cause, in one sentence.
    pub message: &'a str,
    /// The reason of the holds; empty if there are none.
    pub reason: &'a str,
    /// What to write or run to end them.
    pub fix: &'a str,
    /// The holds, without the texts that they share with the backend.
    pub held: Vec<HeldView>,
}

impl TellsFact for Outage<'_> {
    fn fact(&self) -> Fact<'_> {
        Fact { kind: Some("backend"), name: self.backend, ..Fact::new("", self.reason, self.message, self.fix) }
    }
}

/// Separates the holds that an unobserved backend causes, which are told with it, from the others.
pub fn outages<'a>(held: &'a [HeldView], unobserved: &'a [Unobserved]) -> (Vec<Outage<'a>>, Vec<&'a HeldView>) {
    let mut others: Vec<&HeldView> = held.iter().collect();
    let outages = unobserved.iter().map(|by| {
        // The backend is named before the message.
        let named = format!("backend {} could not be observed: ", by.backend);
        let message = by.message.strip_prefix(&named).unwrap_or(&by.message);
        let is_caused =
            |held: &HeldView| held.backend.as_deref() == Some(by.backend.as_str()) && held.message == by.message;
        let first = others.iter().find(|held| is_caused(held)).copied();
        let is_alike = |held: &&HeldView| {
            is_caused(held) && first.is_some_and(|first| (&first.reason, &first.fix) == (&held.reason, &held.fix))
        };
        let (held, rest): (Vec<&HeldView>, _) = std::mem::take(&mut others).into_iter().partition(is_alike);
        others = rest;
        let bare = |held: &HeldView| HeldView { message: String::new(), fix: String::new(), ..held.clone() };
        let (reason, fix) = first.map_or(("", ""), |first| (&*first.reason, &*first.fix));
        let held = held.into_iter().map(bare).collect();
        Outage { backend: by.backend.as_str(), message, reason, fix, held }
    });
    let outages = outages.collect();
    (outages, others)
}

/// Folds the holds that outages cause. The names of each verb are one line.
pub(super) fn held_by_outages<'a>(outages: &Folded<'a, Outage<'a>>) -> Vec<Folded<'a, HeldView>> {
    fold(outages.members().flat_map(|outage| &outage.held))
}

/// Returns what tells how to see the names that outages and their holds leave out.
pub(super) fn where_all_of_outages<'a>(outages: &[Folded<'a, Outage<'a>>], command: &str) -> Option<String> {
    let of_holds = |outages| where_all_are(&held_by_outages(outages), command);
    where_all_are(outages, command).or_else(|| outages.iter().find_map(of_holds))
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
    /// Steps that adopt an object, or restore one from the trash.
    pub adopt: usize,
    /// Those of them that restore one.
    #[serde(skip)]
    pub restored: usize,
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
            held: _,
            drift,
            warnings,
            unobserved,
            awaiting,
            used,
            too_much: _,
            doubted: _,
            unsettled: _,
            to_inspect: _,
        } = plan;
        let held = HeldView::all(plan, commands);
        let summary = Summary::new(steps, held.len());
        Self {
            format: PLAN_FORMAT,
            owner: Some(owner.to_string()),
            revision: Some(revision.clone()),
            approval: awaiting.as_ref().map(|set| set.digest.clone()),
            steps: Some(steps.iter().map(|step| StepView::new(step, specs, used)).collect()),
            held: Some(held),
            drift: Some(drift.iter().map(|drift| DriftView::new(drift, specs)).collect()),
            warnings: Some(warnings.iter().map(|warning| WarningView::new(warning, commands)).collect()),
            summary: Some(summary),
            unobserved: unobserved.iter().map(|one| with_commands(one, commands)).collect(),
            problems: Vec::new(),
            waiting: waiting(plan, commands),
            listing: commands.command("kiln plan -o json"),
        }
    }

    /// Makes the shown form of a plan whose steps are executed, or are to be confirmed: what waits is what waits after them.
    pub fn of_run(plan: &Plan, specs: &Specs, commands: &Commands) -> Self {
        let held = Some(HeldView::all_of_run(plan, commands));
        Self { held, waiting: waiting_after_run(plan, commands), ..Self::new(plan, specs, commands) }
    }

    /// Makes the shown form of invalid manifests, which have no plan.
    pub fn invalid(problems: Vec<ProblemView>) -> Self {
        Self {
            format: PLAN_FORMAT,
            owner: None,
            revision: None,
            approval: None,
            steps: None,
            held: None,
            drift: None,
            warnings: None,
            summary: None,
            unobserved: Vec::new(),
            problems,
            waiting: None,
            listing: String::new(),
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

/// Completes the commands in a text about a backend.
pub(super) fn with_commands(Unobserved { backend, message }: &Unobserved, commands: &Commands) -> Unobserved {
    Unobserved { backend: backend.clone(), message: commands.complete(message) }
}

impl Summary {
    /// Counts steps by verb; `held` is the number of held objects.
    pub fn new(steps: &[Step], held: usize) -> Self {
        let mut summary = Summary { held, ..Summary::default() };
        for step in steps {
            *summary.of_mut(step.action.verb()) += 1;
            summary.restored += usize::from(matches!(step.action, Action::Undelete { .. }));
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
}

impl HeldView {
    /// Makes the shown form of each hold of a plan.
    pub fn all(plan: &Plan, commands: &Commands) -> Vec<Self> {
        Self::of(&plan.held, plan, commands)
    }

    /// Makes the shown form of each hold of a plan whose steps are executed, as [`PlanView::of_run`].
    pub fn all_of_run(plan: &Plan, commands: &Commands) -> Vec<Self> {
        Self::all(plan, &Commands { digest_changes: digest_changes(plan), ..commands.clone() })
    }

    /// Makes the shown form of some holds of a plan.
    pub fn of<'a>(held: impl IntoIterator<Item = &'a Held>, plan: &Plan, commands: &Commands) -> Vec<Self> {
        let waiting = plan.awaiting.as_ref().map(ApprovalSet::uids).unwrap_or_default();
        let is_waiting = |held: &Held| held.uid.is_some_and(|uid| waiting.contains(&uid));
        held.into_iter().map(|held| Self::new(held, is_waiting(held), &plan.unobserved, commands)).collect()
    }

    /// Makes the shown form of one hold. `awaits_approval`: whether the approval that is asked for covers it. `unobserved`: the backends
    /// that were not observed.
    pub(super) fn new(held: &Held, awaits_approval: bool, unobserved: &[Unobserved], commands: &Commands) -> Self {
        let Held { kind, name, action, endpoint, uid, reason, message, fix, in_trash: _ } = held;
        Self {
            action: *action,
            kind: *kind,
            name: name.to_string(),
            backend: held.backend().map(Name::to_string),
            target: endpoint.as_ref().and_then(Endpoint::target).map(Name::to_string),
            uid: uid.map(|uid| uid.to_string()),
            reason: reason.to_string(),
            message: commands.complete(message),
            fix: commands.complete(fix),
            awaits_approval,
            word: if held.may_need_no_step(unobserved) { "" } else { held.word() },
        }
    }
}

impl TellsFact for HeldView {
    fn fact(&self) -> Fact<'_> {
        let Self { action, kind, name, backend, target, uid, reason, message, fix, awaits_approval, word } = self;
        let verb = (!word.is_empty()).then_some(ToldVerb { verb: *action, word });
        let kind = Some(kind.as_lower());
        let backend = backend.as_deref().or(target.as_deref());
        Fact { kind, name, uid: uid.as_deref(), backend, verb, reason, message, fix, awaits_approval: *awaits_approval }
    }
}

impl StepView {
    /// Makes the shown form of a step. `used`: the approvals that the plan uses.
    pub fn new(step: &Step, specs: &Specs, used: &[ApprovalSet]) -> Self {
        let at = step.address();
        let Step {
            endpoint,
            identity,
            native: _,
            action,
            expect: _,
            risk,
            reason,
            changes,
            bytes: _,
            after: _,
            after_completion: _,
            parent_volume: _,
        } = step;
        let declared = declared_size(step, specs);
        let rounded = rounded_from(step, declared);
        Self {
            action: action.verb(),
            word: action.word(),
            kind: identity.kind,
            name: identity.name.to_string(),
            backend: endpoint.backend().map(Name::to_string),
            target: endpoint.target().map(Name::to_string),
            uid: identity.uid.to_string(),
            object: at.to_string(),
            risk: *risk,
            reason: format!("{reason:?}"),
            changes: changes.clone(),
            approved: !used.is_empty() && used.iter().any(|set| set.covers(&step.approval_item())),
            detail: detail(step, declared, rounded),
            rounding: rounded
                .map(|(declared, size)| format!("{declared}, rounded up by the backend to {}", exact(size))),
            declared: declared_sizes(identity.kind, &identity.name, specs),
        }
    }

    /// `volume/db`.
    pub fn object_name(&self) -> String {
        format!("{}/{}", self.kind.as_lower(), self.name)
    }
}

/// Returns the details of a step, shown after its verb. `rounded`: the declared size, if it is shown below with what it is rounded up to.
fn detail(step: &Step, declared: Option<DeclaredSize>, rounded: Option<(DeclaredSize, Size)>) -> String {
    let at = &step.endpoint;
    let shown = |size: Size| rounded.map_or_else(|| as_declared(declared, size), |(declared, _)| declared.to_string());
    match &step.action {
        Action::Create { size, provisioning, origin, tags: _, settings, n: _ } => {
            let encrypted = if settings.encrypted { ", encrypted" } else { "" };
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
            format!("{} on {at}{kind}{encrypted}{origin}", shown(*size))
        }
        Action::Snapshot { volume, tags: _, n: _ } => format!("of volume {} on {at}", short(&volume.native)),
        Action::Grow { to } => format!("grow to {} on {at}", shown(*to)),
        Action::Restore { snapshot, request: _ } => {
            format!("restore from snapshot {} on {at}: later writes are lost", short(&snapshot.native))
        }
        Action::SetTags { tags } if tags.retained => format!("release: stays on {at}, unmanaged"),
        Action::SetTags { .. } => format!("tags on {at}"),
        Action::Reserve => format!("reserve its space on {at}"),
        Action::Configure { .. } => format!("limits on {at}"),
        Action::Rename { from, .. } if *from == step.native && step.changes.is_empty() => {
            format!("complete its interrupted rename on {at}")
        }
        Action::Rename { from, .. } => format!("rename {} on {at}", short(from)),
        Action::Adopt { .. } => format!("adopt {} on {at}", step.address()),
        Action::Trash { ttl, with } => format!("move to the trash of {at} for {ttl}{}", along(with)),
        Action::Undelete { tags: _, with } => format!("from the trash of {at}{}", along(with)),
        Action::Destroy => format!("destroy on {at}: cannot be undone"),
        Action::Purge => format!("purge from the trash of {at}: cannot be undone"),
        Action::Sweep => format!("remove an incomplete object from {at}"),
        Action::Detach => format!("make its clones on {at} independent"),
    }
}

/// Returns the snapshots that move inside of a volume: `, with snapshot monday`.
fn along(with: &[InnerSnapshot]) -> String {
    let names: Vec<&str> = with.iter().map(|inner| inner.identity.name.as_str()).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!(", with snapshot {one}"),
        several => format!(", with snapshots {}", several.join(", ")),
    }
}

/// Returns the declared name of an object of ours, or the native name of any other.
fn short(native: &NativeName) -> String {
    native.parse().map_or_else(|| native.to_string(), |(_, _, name, _)| name.to_string())
}

/// Returns the declared size and that of the step, if it rounds the size up to the granularity of the backend.
fn rounded_from(step: &Step, declared: Option<DeclaredSize>) -> Option<(DeclaredSize, Size)> {
    let (Action::Create { size, .. } | Action::Grow { to: size }) = &step.action else { return None };
    declared.filter(|declared| **declared < *size).map(|declared| (declared, *size))
}

/// Returns the declared size of the volume of a step.
fn declared_size(step: &Step, specs: &Specs) -> Option<DeclaredSize> {
    specs.volumes.get(&step.identity.name).filter(|_| step.identity.kind == Kind::Volume).map(|spec| spec.size)
}
