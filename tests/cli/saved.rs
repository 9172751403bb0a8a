//! Saved plans: exactly that, or refused.

use std::os::unix::fs::PermissionsExt;

use crate::sandbox::Sandbox;

fn with_saved_plan() -> Sandbox {
    let sandbox = Sandbox::with_volumes(&["db"]);
    sandbox.kiln("plan --out db.plan").ends(0).says("+ volume/db").warns("kiln apply db.plan");
    sandbox
}

#[test]
fn a_saved_plan_is_applied_whatever_the_specs_say_by_then() {
    let sandbox = with_saved_plan();
    assert!(!sandbox.has("state") && !sandbox.has("pool"), "a plan writes nothing else");
    let mode = std::fs::metadata(sandbox.path("db.plan")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(sandbox.path("db.plan")).unwrap()).unwrap();
    assert_eq!(saved["format"], "kiln.saved/v2");
    sandbox.remove("specs");
    sandbox.kiln("plan db.plan").ends(0).says("+ volume/db").warns("as it was");
    sandbox.kiln("plan db.plan --out other").ends(2);
    let shown = sandbox.kiln("plan db.plan -o markdown").ends(0).says("| `+` | volume/db | create |").out;
    assert!(shown.starts_with("**0 bytes at risk; no step disrupts clients**\n"), "{shown}");
    sandbox.kiln("apply db.plan").ends(0).says("created volume/db on fast");
    sandbox.kiln("apply db.plan").ends(0).says("Nothing to do.");
    assert_eq!(std::fs::read_dir(sandbox.path(".")).unwrap().count(), 3, "no temporary file is left");
}

#[test]
fn an_outdated_saved_plan_is_refused_with_the_reason() {
    let sandbox = with_saved_plan();
    sandbox.volume("db", "size: 2Mi");
    sandbox.kiln("apply").ends(0);
    let before = sandbox.tree("pool");
    let ran = sandbox.kiln("apply db.plan").ends(4).warns("no longer holds").warns("hint: ");
    assert!(ran.err.contains("volume/db: create 1Mi is no longer planned: it is held (ShrinkRefused"), "{}", ran.err);
    sandbox.kiln("apply db.plan --allow-held").ends(4);
    let images = |tree: Vec<(std::path::PathBuf, Vec<u8>)>| -> Vec<_> {
        tree.into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "img")).collect()
    };
    assert_eq!(images(sandbox.tree("pool")), images(before));
}

#[test]
fn a_saved_plan_waits_for_a_yes_like_any_other() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("db", "size: 1Mi, onRemove: Delete");
    sandbox.volume("web", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    sandbox.volume("web", "size: 2Mi");
    let saved = sandbox.kiln("plan --out p").ends(0).says("! volume/db");
    let digest = sandbox.kiln("plan p -o json").ends(0).json()["approval"].as_str().unwrap().to_owned();
    let approve = format!("`kiln apply p --approve {digest}`");
    saved.warns("executes exactly this plan, or refuses; 1 step waits for an approval").warns(&approve);
    // Not without the step that waits: that would be another plan.
    for arguments in ["", " --allow-held", " volume/db", " -o json"] {
        let ran =
            sandbox.kiln(&format!("apply p{arguments}")).ends(4).warns("waits for an approval: destroy volume/db\n");
        let ran = ran.warns("the saved plan was not approved; nothing was changed").warns("approves and executes it");
        assert!(!ran.out.contains("volume/web"), "{}", ran.out);
        assert!(ran.err.contains(&format!("{digest}`")) && !ran.err.contains("no longer holds"), "{}", ran.err);
    }
    sandbox.kiln("apply p").ends(4).warns(&approve);
    let sizes = ["volume/db", "volume/web"].map(|name| sandbox.object(name)["status"]["size"].as_u64());
    assert_eq!(sizes, [Some(1 << 20); 2]);
    sandbox.kiln("apply p volume/web").ends(0).says("grew volume/web");
    sandbox.kiln(approve.trim_matches('`').trim_start_matches("kiln ")).ends(0).says("destroyed volume/db");
    sandbox.kiln("apply p").ends(0).says("Nothing to do.");
}

#[test]
fn a_saved_plan_is_confirmed_with_yes() {
    let sandbox = Sandbox::with_stack();
    sandbox.volume("db", "size: 1Mi, onRemove: Delete");
    sandbox.volume("web", "size: 1Mi");
    sandbox.kiln("apply").ends(0);
    sandbox.remove("specs/db.yaml");
    sandbox.kiln("plan --out p").ends(0);
    sandbox.kiln("apply p --yes").ends(0).says("destroyed volume/db");
}

#[test]
fn a_file_of_another_format_is_not_applied_as_a_saved_plan() {
    let sandbox = with_saved_plan();
    let good = std::fs::read_to_string(sandbox.path("db.plan")).unwrap();
    sandbox.write("newer", &good.replace("kiln.saved/v2", "kiln.saved/v3"));
    sandbox.kiln("apply newer").ends(5).warns("kiln.saved/v3").warns("kiln.saved/v2");
    sandbox.write("cut", &good[..good.len() / 2]);
    sandbox.kiln("apply cut").ends(5);
    sandbox.write("damaged", &good.replace("\"specs\":{", "\"specs\":{\"stack\":1,"));
    sandbox.kiln("apply damaged").ends(5).warns("damaged");
    // Steps that were written into the file by hand are none that the specs ask for.
    sandbox.write("mixed", &good.replacen("1048576", "2097152", 1));
    sandbox.kiln("apply mixed").ends(4).warns("no longer holds");
    assert!(!sandbox.has("pool"));
}

#[test]
fn a_plan_that_cannot_be_saved_is_an_error() {
    let sandbox = Sandbox::with_stack();
    sandbox.kiln("plan --out no/such/dir").ends(1).warns("cannot be saved").warns("hint: ");
    sandbox.write("taken/file", "");
    sandbox.kiln("plan --out taken").ends(1);
    sandbox.volume("db", "sise: 1Mi");
    sandbox.kiln("plan --out p").ends(5);
    assert!(!sandbox.has("p"));
}

#[test]
fn steps_held_in_a_saved_plan_run_once_approved() {
    let sandbox = Sandbox::with_volumes(&["a", "b", "c", "d", "e", "f"]);
    sandbox.kiln("apply").ends(0);
    for name in ["a", "b", "c", "e"] {
        sandbox.remove(&format!("specs/{name}.yaml"));
    }
    sandbox.volume("d", "size: 2Mi");
    let approval = sandbox.kiln("plan --out p -o json").ends(4).json()["approval"].as_str().unwrap().to_owned();
    // Another set has another digest: that one is not what was looked at.
    let ran =
        sandbox.kiln("apply p --approve 0000000000000000").ends(4).warns("0000000000000000 is not what waits now");
    assert!(ran.out.starts_with("Held:\n") && !ran.out.contains("grew"), "{}", ran.out);
    sandbox.kiln("apply p").ends(4).says("grew volume/d").says(&format!("kiln apply p --approve {approval}"));
    sandbox.kiln(&format!("apply p --approve {approval}")).ends(0).says("removed volume/a").says("removed volume/c");
    // Carried out, it approves nothing more.
    sandbox.kiln(&format!("apply p --approve {approval}")).ends(4).warns("nothing waits for an approval");
    sandbox.kiln("apply p").ends(0).says("Nothing to do.");
}

/// A saved plan does not keep how a size is written, so the texts of its holds are not those of the next plan.
#[test]
fn a_saved_plan_that_was_executed_in_part_goes_on_whatever_the_unit_of_a_size() {
    for size in ["2048Ki", "2Mi"] {
        let sandbox = Sandbox::with_stack();
        sandbox.volume("db", "size: 4Mi");
        sandbox.volume("other", "size: 1Mi");
        sandbox.kiln("apply").ends(0);
        sandbox.write(
            "specs/db.yaml",
            &format!("apiVersion: kiln/v1\nkind: Volume\nmetadata: {{name: db, labels: {{tier: gold}}}}\nspec: {{backend: fast, size: {size}}}\n"),
        );
        sandbox.volume("other", "size: 3Mi");
        sandbox.kiln("plan --out saved.json").ends(4).says(size);
        // As if the run had ended after its first step.
        sandbox.kiln("apply saved.json volume/db").ends(4);
        let rest = sandbox.kiln("apply saved.json").ends(4);
        assert!(
            rest.out.contains("grew volume/other") && !rest.err.contains("no longer holds"),
            "{}{}",
            rest.out,
            rest.err
        );
    }
}
