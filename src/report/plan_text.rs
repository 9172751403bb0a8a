//! A [`PlanView`] as text for a terminal.
//!
//! Every step begins with the glyph of its verb; colour only repeats the glyph. Text from manifests or backends is escaped: it cannot
//! move the cursor or reverse the line.

use std::fmt::Write;

use serde_json::Value;

use super::folded::{Folded, fold, where_all_are};
use super::folded_text::{render_holds, render_outages, render_warnings};
use super::plan_view::{DriftView, HeldView, Outage, PlanView, StepView, outages, where_all_of_outages};
use super::warnings::ToldWarning;
use crate::model::{DeclaredSize, FieldChange, Risk, Size, Verb};
use crate::text::{Paint, as_declared, counted, escape};

/// Returns the whole plan, with a summary as its last line.
pub fn render(view: &PlanView, paint: Paint) -> String {
    let mut out = String::new();
    let steps = view.steps.as_deref().unwrap_or_default();
    let held = view.held.as_deref().unwrap_or_default();
    let (outages, holds) = outages(held, &view.unobserved);
    let holds = fold(holds);
    let subjects = steps.iter().map(StepView::object_name).chain(holds.iter().map(Folded::subject));
    let width = paint.column(subjects.map(|subject| subject.len()).max().unwrap_or_default());
    if !steps.is_empty() {
        section(&mut out, paint, "Steps");
        for step in steps {
            render_step(&mut out, step, width, paint);
        }
    }
    if !holds.is_empty() {
        section(&mut out, paint, "Held");
        render_holds(&mut out, &holds, width, paint);
    }
    let drift = view.drift.as_deref().unwrap_or_default();
    if !drift.is_empty() {
        section(&mut out, paint, "Drift (changed outside of Kiln)");
        render_drift(&mut out, drift, paint);
    }
    let warnings: Vec<ToldWarning<'_>> = view.warnings.iter().flatten().map(ToldWarning::of).collect();
    let warnings = fold(&warnings);
    if !warnings.is_empty() {
        section(&mut out, paint, "Warnings");
        render_warnings(&mut out, &warnings, paint);
    }
    let outages = fold(&outages);
    if !outages.is_empty() {
        section(&mut out, paint, "Not observed (no steps are planned there)");
        render_outages(&mut out, &outages, paint);
    }
    if let Some(all) = where_all(view, &holds, &warnings, &outages) {
        let _ = writeln!(out, "\n{}", escape(&all));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    let _ = writeln!(out, "{}", summary_line(view));
    if let Some(waiting) = &view.waiting {
        let _ = writeln!(out, "{}", escape(waiting));
    }
    paint.fit(&out)
}

/// Returns what tells how to see the names that a shown plan leaves out.
pub(super) fn where_all<'a>(
    view: &PlanView,
    holds: &[Folded<'a, HeldView>],
    warnings: &[Folded<'a, ToldWarning<'a>>],
    outages: &[Folded<'a, Outage<'a>>],
) -> Option<String> {
    let command = &view.listing;
    where_all_are(holds, command)
        .or_else(|| where_all_are(warnings, command))
        .or_else(|| where_all_of_outages(outages, command))
}

/// Returns the last line: `Plan: 3 to create, 1 to update; 1 held.`, or `Nothing to do.`
pub fn summary_line(view: &PlanView) -> String {
    let Some(summary) = &view.summary else { return "No plan: the manifests are invalid.".to_owned() };
    let mut counts: Vec<String> = Vec::new();
    for verb in Verb::ALL {
        let restored = if verb == Verb::Adopt { summary.restored } else { 0 };
        let words = [(summary.of(verb) - restored, verb.as_str()), (restored, "restore")];
        counts.extend(words.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} to {word}")));
    }
    let mut rest = Vec::new();
    if summary.held > 0 {
        rest.push(format!("{} held", summary.held));
    }
    if !view.unobserved.is_empty() {
        rest.push(format!("{} not observed", counted(view.unobserved.len(), "backend")));
    }
    if summary.bytes_at_risk > 0 {
        rest.push(format!("{} at risk", Size(summary.bytes_at_risk).rounded()));
    }
    match (counts.is_empty(), rest.is_empty()) {
        (true, true) => "Nothing to do.".to_owned(),
        (true, false) => format!("No changes can be applied: {}.", rest.join(", ")),
        (false, true) => format!("Plan: {}.", counts.join(", ")),
        (false, false) => format!("Plan: {}; {}.", counts.join(", "), rest.join(", ")),
    }
}

fn section(out: &mut String, paint: Paint, title: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    let _ = writeln!(out, "{}", paint.bold(&format!("{title}:")));
}

/// Writes the line of a step, and a line for each field below it.
fn render_step(out: &mut String, step: &StepView, width: usize, paint: Paint) {
    let risk = match (step.risk, step.approved) {
        (Risk::None | Risk::Recoverable, false) => "",
        (Risk::None | Risk::Recoverable, true) => "  (approved)",
        (Risk::Disruptive, false) => "  (disrupts clients)",
        (Risk::Disruptive, true) => "  (disrupts clients; approved)",
        (Risk::Irreversible, false) => "  (irreversible)",
        (Risk::Irreversible, true) => "  (irreversible; approved)",
    };
    let (name, word, detail) = (step.object_name(), step.word, escape(&step.detail));
    let lead = format!("  {} {name}", paint.glyph(step.action));
    let pad = width.saturating_sub(name.len());
    out.push_str(&paint.row(&lead, pad, &format!("{word:7} "), &format!("{detail}{risk}"), 6));
    if let Some(rounding) = &step.rounding {
        let _ = writeln!(out, "      size: {rounding}");
    }
    for change in &step.changes {
        // The size of a new object is in its own line.
        if !(step.action == Verb::Create && change.path == "size") {
            render_change(out, step, change, paint);
        }
    }
}

/// Writes a line for each changed field, with the old and new values below each other.
fn render_drift(out: &mut String, drift: &[DriftView], paint: Paint) {
    let names = || drift.iter().map(|drift| format!("{}/{}", drift.kind.as_lower(), drift.name));
    let names_width = paint.column(names().map(|name| name.len()).max().unwrap_or_default());
    let paths_width = drift.iter().map(|drift| drift.path.len()).max().unwrap_or_default() + 1;
    for (drift, name) in drift.iter().zip(names()) {
        let shown = |of: &Value| value(&drift.path, of, drift.declared.get(&*drift.path).copied());
        let change = format!("{} {} {}", shown(&drift.recorded), paint.arrow(), shown(&drift.observed));
        let path = format!("{}:", escape(&drift.path));
        let pad = names_width.saturating_sub(name.len());
        out.push_str(&paint.row(&format!("  {name}"), pad, &format!("{path:paths_width$}"), &change, 6));
    }
}

fn render_change(out: &mut String, step: &StepView, change: &FieldChange, paint: Paint) {
    let shown = |of: &Value| value(&change.path, of, step.declared.get(&*change.path).copied());
    let (before, after) = (shown(&change.before), shown(&change.after));
    let path = escape(&change.path);
    let _ = match &change.before {
        Value::Null => writeln!(out, "      {path}: {after}"),
        // Of what goes, the values are shown: nothing is resized.
        _ if change.after.is_null() && matches!(step.action, Verb::Remove | Verb::Destroy) => {
            writeln!(out, "      {path}: {before}")
        }
        _ => writeln!(out, "      {path}: {before} {} {after}", paint.arrow()),
    };
}

/// Whether a field has bytes, or bytes per second.
fn is_bytes(path: &str) -> bool {
    path == "size" || path.strip_prefix("qos.").is_some_and(|limit| limit.to_lowercase().contains("bps"))
}

/// Returns a field's value for people. `declared`: its declared size.
pub(super) fn value(path: &str, value: &Value, declared: Option<DeclaredSize>) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Number(number) if is_bytes(path) => {
            number.as_u64().map_or_else(|| number.to_string(), |bytes| as_declared(declared, Size(bytes)))
        }
        Value::String(text) => escape(text).into_owned(),
        other => escape(&other.to_string()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::model::fixtures::{identity, name, volume};
    use crate::model::{
        Action, ApprovalSet, Identity, Kind, NativeName, ObjectId, ObjectRef, Origin, ProblemView, Provisioning,
        Reason, Seconds, Specs, Stack, Step, Tags, VolumeSettings,
    };
    use crate::plan::{Drift, Held, HeldReason, Plan, Unobserved, Warning, select};
    use crate::report::Commands;

    fn step(object: &str, action: Action, risk: Risk, reason: Reason, changes: &[(&str, Value, Value)]) -> Step {
        let change = |(path, before, after): &(&str, Value, Value)| FieldChange {
            path: (*path).to_owned(),
            before: before.clone(),
            after: after.clone(),
        };
        Step {
            risk,
            changes: changes.iter().map(change).collect(),
            bytes: Size(if risk >= Risk::Recoverable { 5 << 30 } else { 0 }),
            ..Step::new(name("fast"), volume(object), action, reason)
        }
    }

    fn object(identity: &Identity) -> ObjectRef {
        ObjectRef::new(identity.native(), identity.uid, Size(1 << 30))
    }

    fn specs() -> Specs {
        let mut specs = Specs::of(Stack::unnamed());
        let odd: crate::model::VolumeSpec = serde_json::from_value(json!({
            "meta": {"name": "odd", "labels": {}, "renamed_from": null},
            "backend": "fast", "size": 1_000_000, "provisioning": null, "source": null, "protected": null,
            "on_remove": null, "object": null, "adopt": null, "restore": null, "qos": null, "encrypted": false,
        }))
        .unwrap();
        specs.volumes.insert(name("odd"), odd);
        specs
    }

    /// A plan with one of everything that can be shown.
    fn everything() -> Plan {
        let create = |size, provisioning, origin| Action::Create {
            size,
            provisioning,
            origin,
            tags: Tags::default(),
            settings: VolumeSettings::default(),
            n: 0,
        };
        let monday = identity(Kind::Snapshot, "db-monday");
        let from = Origin::Snapshot(object(&monday));
        let of_db = Action::Snapshot { volume: object(&volume("db")), tags: Tags::default(), n: 0 };
        let restore = Action::Restore { snapshot: object(&monday), request: "a".into() };
        let rename = Action::Rename { from: volume("old").native(), tags: Tags::default() };
        let release = Action::SetTags { tags: Tags { retained: true, ..Tags::default() } };
        let new = |size: u64| ("size", Value::Null, json!(size));
        let protected = ("protected", Value::Null, json!(true));
        let grown = ("size", json!(1_073_741_824), json!(2_147_483_648_u64));
        let retagged = ("metadata.labels.app", json!("a\u{1b}[2J\u{202e}b"), Value::Null);
        let requested = ("restore.request", Value::Null, json!("a"));
        let renamed = ("metadata.name", json!("old"), json!("new"));
        let steps = vec![
            step(
                "db",
                create(Size(10 << 30), Provisioning::Thin, None),
                Risk::None,
                Reason::NotThere,
                &[new(10 << 30), protected],
            ),
            step(
                "odd",
                create(Size(1_003_520), Provisioning::Thick, Some(from)),
                Risk::None,
                Reason::NotThere,
                &[new(1_003_520)],
            ),
            Step::new(name("fast"), monday, of_db, Reason::NotThere),
            step("web", Action::Grow { to: Size(2 << 30) }, Risk::None, Reason::Grown, &[grown]),
            step("tagged", Action::SetTags { tags: Tags::default() }, Risk::None, Reason::TagsDiffer, &[retagged]),
            step("back", restore, Risk::Irreversible, Reason::RestoreRequested, &[requested]),
            step("new", rename, Risk::None, Reason::RenamedFrom, &[renamed]),
            step("taken", Action::Adopt { tags: Tags::default(), n: 0 }, Risk::None, Reason::AdoptRequested, &[]),
            step(
                "undeleted",
                Action::Undelete { tags: Tags::default(), with: Vec::new() },
                Risk::None,
                Reason::InTrash,
                &[],
            ),
            step(
                "out",
                Action::Trash { ttl: Seconds(604_800), with: Vec::new() },
                Risk::Recoverable,
                Reason::NotDeclared,
                &[],
            ),
            step("free", release, Risk::None, Reason::NotDeclared, &[]),
            step("gone", Action::Destroy, Risk::Irreversible, Reason::NotDeclared, &[]),
        ];
        let irreversible = steps.iter().filter(|step| step.risk == Risk::Irreversible);
        let set = irreversible.map(Step::approval_item).collect();
        let awaiting = Some(ApprovalSet { digest: "abc123".to_owned(), set });
        Plan {
            owner: "prod".parse().unwrap(),
            revision: "r1".to_owned(),
            steps,
            held: vec![Held {
                kind: Kind::Volume,
                name: name("kept"),
                action: Verb::Remove,
                endpoint: Some(name("fast").into()),
                uid: Some(volume("kept").uid),
                reason: HeldReason::Protected,
                message: "it is protected".to_owned(),
                fix: "declare it with `protected: false` first".to_owned(),
                in_trash: false,
            }],
            drift: vec![Drift {
                kind: Kind::Volume,
                name: name("web"),
                endpoint: Some(name("fast").into()),
                path: "size".to_owned(),
                recorded: json!(1 << 30),
                observed: json!((1 << 30) + 1),
            }],
            warnings: vec![Warning {
                code: "LooksLikeRename".to_owned(),
                message: "out may have become new".to_owned(),
                objects: BTreeSet::new(),
            }],
            unobserved: vec![Unobserved { backend: name("slow"), message: "/mnt/slow is not there".to_owned() }],
            awaiting,
            used: Vec::new(),
            too_much: BTreeSet::new(),
            doubted: BTreeSet::new(),
            unsettled: false,
            to_inspect: BTreeSet::new(),
        }
    }

    fn nothing() -> Plan {
        Plan {
            steps: Vec::new(),
            held: Vec::new(),
            drift: Vec::new(),
            warnings: Vec::new(),
            unobserved: Vec::new(),
            awaiting: None,
            ..everything()
        }
    }

    /// Compares with a file under tests/render; with KILN_BLESS set, writes it.
    fn golden(file: &str, shown: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/render").join(file);
        if std::env::var_os("KILN_BLESS").is_some() {
            std::fs::write(&path, shown).unwrap();
        }
        assert_eq!(shown, std::fs::read_to_string(&path).unwrap(), "{file}; KILN_BLESS=1 writes it anew");
    }

    #[test]
    fn everything_that_can_be_shown_is_shown() {
        let view = PlanView::new(&everything(), &specs(), &Commands::default());
        golden("everything.txt", &render(&view, Paint::PLAIN));
    }

    fn drift(volume: &str, path: &str) -> Drift {
        let (recorded, observed) =
            if path == "size" { (json!(1_u64 << 30), json!(2_u64 << 30)) } else { (json!(true), json!(false)) };
        Drift {
            kind: Kind::Volume,
            name: name(volume),
            endpoint: Some(name("fast").into()),
            path: path.to_owned(),
            recorded,
            observed,
        }
    }

    /// A plan in which 30 volumes wait for a backend, others share a fix, and others wait for an approval.
    fn alike() -> Plan {
        let held = |object: &str, action, reason, message: &str, fix: &str| Held {
            kind: Kind::Volume,
            name: name(object),
            action,
            endpoint: Some(name(if reason == HeldReason::Unobserved { "slow" } else { "fast" }).into()),
            uid: Some(volume(object).uid),
            reason,
            message: message.to_owned(),
            fix: fix.to_owned(),
            in_trash: false,
        };
        let away = "backend slow could not be observed: no route to host";
        let repair = "repair the backend, then run `kiln apply`";
        let approve = "`kiln approve abc123` approves all 12 steps that wait";
        let mut all: Vec<Held> = (1..=29)
            .map(|n| held(&format!("web-{n:02}"), Verb::Update, HeldReason::Unobserved, away, repair))
            .collect();
        all.push(held("web-new", Verb::Create, HeldReason::Unobserved, away, repair));
        for volume in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"] {
            all.push(held(volume, Verb::Remove, HeldReason::RemovalLimit, "12 objects would be removed", approve));
        }
        for lost in ["lost-1", "lost-2", "lost-3"] {
            let native = volume(lost).native();
            let message = format!("{native} is missing from fast");
            let fix = format!("bring it back, or accept the loss: `kiln forget volume/{lost}`");
            all.push(held(lost, Verb::Create, HeldReason::Lost, &message, &fix));
        }
        for (volume, row) in [("large-1", 14), ("large-2", 21)] {
            let fix =
                format!("write `size: 2Gi` (specs/large.yaml:{row}:8), or create a smaller volume and copy the data");
            let message = "its size is 2Gi and the document says 1Gi; volumes only grow";
            all.push(held(volume, Verb::Update, HeldReason::ShrinkRefused, message, &fix));
        }
        for (volume, action, pid) in [("open-1", Verb::Remove, 12), ("open-2", Verb::Update, 14)] {
            let message = format!("it is open by qemu (pid {pid})");
            all.push(held(volume, action, HeldReason::InUse, &message, "close it there, then run `kiln apply`"));
        }
        let set = all.iter().filter(|held| held.reason == HeldReason::RemovalLimit);
        let item = |held: &Held| {
            Step::new(name("fast"), volume(held.name.as_str()), Action::Destroy, Reason::NotDeclared).approval_item()
        };
        Plan {
            awaiting: Some(ApprovalSet { digest: "abc123".to_owned(), set: set.map(item).collect() }),
            held: all,
            drift: ["a", "large-1"]
                .into_iter()
                .flat_map(|volume| ["size", "protected"].map(|path| drift(volume, path)))
                .collect(),
            unobserved: vec![Unobserved { backend: name("slow"), message: away.to_owned() }],
            ..nothing()
        }
    }

    #[test]
    fn holds_that_share_a_reason_and_a_fix_are_one_entry() {
        let view = PlanView::new(&alike(), &specs(), &Commands::default());
        golden("alike.txt", &render(&view, Paint::PLAIN));
        golden("alike.md", &crate::report::markdown(&view));
        let json: Value = serde_json::from_str(&view.to_json()).unwrap();
        assert_eq!(json["held"].as_array().map(Vec::len), Some(49), "JSON has one entry for each object");
    }

    #[test]
    fn a_part_of_a_set_is_not_shown_beside_the_command_that_approves_all_of_it() {
        let whole = alike();
        let one = BTreeSet::from([ObjectId::new(Kind::Volume, &name("a"))]);
        let commands = Commands { only: one.iter().cloned().collect(), ..Commands::default() };
        let view = PlanView::new(&select(&whole, &one, &specs()).plan, &specs(), &commands);
        let line = "Waiting for approval: 12 steps, of which 1 is shown: `kiln plan` shows all.\n";
        for shown in [render(&view, Paint::PLAIN), crate::report::markdown(&view)] {
            assert!(shown.ends_with(line) && !shown.contains("kiln approve"), "{shown}");
        }
        assert_eq!(view.approval.as_deref(), Some("abc123"), "programs get the digest");
    }

    #[test]
    fn a_confirmed_step_does_not_wait() {
        let whole = everything();
        let view = |plan: &Plan| PlanView::of_run(plan, &specs(), &Commands::default());
        assert_eq!(view(&whole).waiting, None, "the only hold is of another object");
        // Twelve removals are held, and one more step of the set runs.
        let mut mixed = Plan { steps: whole.steps, ..alike() };
        let all = "Waiting for approval: 12 steps. `kiln approve abc123` approves exactly these steps.";
        assert_eq!(view(&mixed).waiting.as_deref(), Some(all));
        assert!(render(&view(&mixed), Paint::PLAIN).contains("`kiln approve abc123` approves all 12 steps that wait"));
        let run = mixed.steps.iter().find(|step| step.risk == Risk::Irreversible).map(Step::approval_item).unwrap();
        mixed.awaiting.as_mut().unwrap().set.insert(run);
        let rest = "Waiting for approval after this run: 12 steps. `kiln plan` shows the approval.";
        assert_eq!(view(&mixed).waiting.as_deref(), Some(rest));
        let shown = render(&view(&mixed), Paint::PLAIN);
        assert!(!shown.contains("abc123"), "the run changes the digest: {shown}");
        assert!(shown.contains("fix: `kiln plan` shows what approves it after this run"), "{shown}");
    }

    #[test]
    fn markdown_shows_everything_too() {
        golden(
            "everything.md",
            &crate::report::markdown(&PlanView::new(&everything(), &specs(), &Commands::default())),
        );
    }

    #[test]
    fn the_json_has_the_keys_of_the_contract_in_their_order() {
        let view = PlanView::new(&everything(), &specs(), &Commands::default());
        golden("everything.json", &view.to_json());
        golden("nothing.json", &PlanView::new(&nothing(), &specs(), &Commands::default()).to_json());
    }

    #[test]
    fn nothing_to_do_is_one_line() {
        assert_eq!(
            render(&PlanView::new(&nothing(), &specs(), &Commands::default()), Paint::PLAIN),
            "Nothing to do.\n"
        );
    }

    #[test]
    fn without_a_plan_no_list_is_there_to_be_taken_for_an_empty_one() {
        let problem = ProblemView { file: Some("a.yaml".into()), line: 1, column: 2, message: "no".into(), hint: None };
        let json: Value = serde_json::from_str(&PlanView::invalid(vec![problem]).to_json()).unwrap();
        assert_eq!(json["steps"], Value::Null);
        assert_eq!(json["problems"][0]["line"], 1);
        assert!(json.get("unobserved").is_none());
    }

    #[test]
    fn colour_only_repeats() {
        let view = PlanView::new(&everything(), &specs(), &Commands::default());
        let painted = render(&view, Paint { colour: true, ..Paint::PLAIN });
        let mut plain = String::new();
        let mut rest = painted.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_ne!(painted, plain);
        assert_eq!(plain, render(&view, Paint::PLAIN));
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        let mut plan = everything();
        plan.steps[0].native = NativeName::new("x\u{7}");
        plan.held[0].message = "\u{1b}]0;title\u{7}".to_owned();
        let shown = render(&PlanView::new(&plan, &specs(), &Commands::default()), Paint::PLAIN);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown}");
    }
}
