//! Every rule of the planner, as a directory of `tests/plans` whose name is the claim: `specs.yaml` or `specs/` is what is
//! declared, `world.yaml` what is there (see `planning::described`), `expected` the plan. `KILN_BLESS=1` rewrites what is
//! expected; look at the difference before you commit it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod planning;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use kiln::manifest::{Limits, Source, load};
use kiln::model::{ApprovalSet, Step, Verb};
use kiln::plan::{HeldReason, Plan, lint, plan};
use planning::{Described, Scene, applied};

/// Nobody reviews more in one look.
const LINES: usize = 80;

/// Reasons that nothing in this Kiln can lead to yet: they are for exports and mirroring.
const LATER: &[HeldReason] = &[HeldReason::OpenExport];

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn scene(case: &Path) -> Scene {
    let specs = ["specs", "specs.yaml"].map(|name| case.join(name)).into_iter().find(|path| path.exists());
    let loaded = load(&Source::Path(specs.expect("a case has specs")), &Limits::default());
    let claims = case.file_name().unwrap().to_string_lossy().contains("invalid-manifest");
    assert_eq!(
        loaded.reading.broken, claims,
        "only a case named `…invalid-manifest…` has a problem: {:?}",
        loaded.problems
    );
    let text = fs::read_to_string(case.join("world.yaml")).unwrap();
    let described: Described = serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
    described.scene(loaded.reading)
}

/// A plan as text. Uids are shown as the n that they were derived with.
fn shown(plan: &Plan, scene: &Scene) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").unwrap();
    for (index, step) in plan.steps.iter().enumerate() {
        let waits: Vec<String> = step.after.iter().map(usize::to_string).collect();
        let waits = if waits.is_empty() { String::new() } else { format!(", after {}", waits.join(" ")) };
        let (glyph, id) = (step.action.verb().glyph(), &step.identity);
        let risk = format!("{:?}", step.risk).to_lowercase();
        let made = matches!(step.action.verb(), Verb::Create | Verb::Move);
        let inside = step.parent_volume.as_ref().map(|volume| format!(" in {volume}")).unwrap_or_default();
        let called = if made { format!(" as {}", step.native) } else { String::new() };
        line(format!(
            "{index} {glyph} {} {} on {}{inside}: {}{called} [{:?}, risk {risk}{waits}]",
            id.kind, id.name, step.endpoint, step.action, step.reason
        ));
        for change in &step.changes {
            line(format!("      {}: {} -> {}", change.path, change.before, change.after));
        }
    }
    for held in &plan.held {
        let at = held.endpoint.as_ref().map(|endpoint| format!(" on {endpoint}")).unwrap_or_default();
        let which = if held.uid.is_some() { "" } else { " (no uid)" };
        line(format!("HELD {} {} {} {}{at}{which}", held.reason, held.action, held.kind, held.name));
        line(format!("      {}", held.message));
        line(format!("      fix: {}", held.fix));
    }
    for drift in &plan.drift {
        line(format!("DRIFT {} {} {}: {} -> {}", drift.kind, drift.name, drift.path, drift.recorded, drift.observed));
    }
    for warning in &plan.warnings {
        line(format!("WARNING {}: {}", warning.code, warning.message));
    }
    for unobserved in &plan.unobserved {
        line(format!("UNOBSERVED {}: {}", unobserved.backend, unobserved.message));
    }
    let mut approval = |word: &str, approval: &ApprovalSet| {
        line(format!("{word} {}", approval.digest));
        let items = approval.set.iter().map(|item| {
            let text = item.to_string();
            let (uid, rest) = text.split_once(' ').unwrap();
            let known = uid.parse().ok().and_then(|uid| scene.uids.get(&uid));
            known.map_or_else(|| text.clone(), |(kind, name, _)| format!("{}/{name} {rest}", kind.as_lower()))
        });
        items.collect::<BTreeSet<_>>().into_iter().for_each(|item| line(format!("      {item}")));
    };
    plan.awaiting.iter().for_each(|set| approval("APPROVAL", set));
    plan.used.iter().for_each(|set| approval("USED", set));
    if text.is_empty() {
        text.push_str("(nothing)\n");
    }
    for (uid, (_, _, n)) in &scene.uids {
        text = text.replace(uid.as_str(), &format!("#{n}"));
    }
    text
}

#[test]
fn every_case_plans_what_is_expected() {
    #[expect(clippy::disallowed_methods, reason = "the switch that rewrites the expectations")]
    let bless = std::env::var("KILN_BLESS").is_ok();
    let cases = cases();
    let (mut wrong, mut reasons) = (Vec::new(), BTreeSet::new());
    for case in &cases {
        check_files(case, bless);
        let scene = scene(case);
        let plan = plan(&scene.inputs());
        reasons.extend(plan.held.iter().map(|held| held.reason));
        // Where the repository lies says nothing.
        let got = shown(&plan, &scene).replace(&format!("{}/", case.display()), "");
        let expected = case.join("expected");
        if bless {
            fs::write(&expected, &got).unwrap();
        }
        match fs::read_to_string(&expected) {
            Ok(want) if want == got => {}
            Ok(want) => wrong.push(format!("{}\n--- expected\n{want}--- got\n{got}", case.display())),
            Err(error) => wrong.push(format!("{}: {error}; run with KILN_BLESS=1", expected.display())),
        }
        wrong.extend(promises(&scene, &plan).into_iter().map(|breach| format!("{}: {breach}", case.display())));
    }
    assert!(wrong.is_empty(), "{} of {} cases are wrong:\n\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    let without: Vec<_> = HeldReason::ALL.iter().filter(|r| !reasons.contains(r) && !LATER.contains(r)).collect();
    assert!(without.is_empty(), "no case shows {without:?}");
    assert!(cases.len() >= 80, "only {} cases", cases.len());
}

/// What holds of every plan: it passes its lint, is the same when made again, and leaves nothing to plan.
fn promises(scene: &Scene, first: &Plan) -> Vec<String> {
    let mut broken = lint(first, &scene.inputs());
    if plan(&scene.inputs()) != *first {
        broken.push("the same inputs gave another plan".to_owned());
    }
    let mut later = applied(scene, first);
    let mut second = plan(&later.inputs());
    // What waits for a restore to be completed is planned once it is.
    let waits = |held: &&kiln::plan::Held| matches!(held.reason, HeldReason::HalfRestored | HeldReason::DependencyHeld);
    let is_waiting = |step: &Step| first.held.iter().filter(waits).any(|held| held.name == step.identity.name);
    let restored = first.held.iter().any(|held| held.reason == HeldReason::HalfRestored) && !first.steps.is_empty();
    // (Of a volume that came back from the trash, the completion waits too.)
    for _ in 0..2 {
        if restored && second.steps.iter().all(is_waiting) {
            later = applied(&later, &second);
            second = plan(&later.inputs());
        }
    }
    if !second.steps.is_empty() {
        broken.push(format!("once applied, this was left to plan:\n{}", shown(&second, &later)));
    }
    broken
}

fn check_files(case: &Path, bless: bool) {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(case).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let known = ["specs", "specs.yaml", "world.yaml", "expected"].contains(&name.as_str());
        assert!(known, "{}/{name} is an orphan: no test reads it", case.display());
        if entry.file_type().unwrap().is_file() {
            let lines = fs::read_to_string(entry.path()).unwrap().lines().count();
            assert!(lines < LINES, "{}/{name} has {lines} lines", case.display());
        }
        names.insert(name);
    }
    let complete = names.contains("world.yaml") && (bless || names.contains("expected"));
    assert!(complete, "{} is not a whole case", case.display());
}
