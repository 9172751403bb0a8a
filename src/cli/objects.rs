//! Arguments that name objects: one parser for all commands.

use std::path::Path;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::model::{Kind, Name, ObjectId, Specs};
use crate::report::ObjectSelection;
use crate::text::counted;

/// Parses arguments that name objects.
///
/// # Errors
/// Exit code 2 for a word that names no object.
pub(crate) fn selection(words: &[String]) -> Result<ObjectSelection, Failure> {
    let failed = |message| Failure::new(Exit::Usage, message).hint("write KIND/NAME, such as volume/db, or KIND NAME");
    ObjectSelection::parse(words.iter().map(String::as_str)).map_err(failed)
}

/// Parses arguments that name one object in full: `volume/db` or `volume db`. For commands that destroy something: what a name
/// without a kind or a glob means depends on the other objects.
///
/// # Errors
/// Exit code 2 for anything else.
pub(crate) fn one(words: &[String]) -> Result<ObjectId, Failure> {
    let ids = selection(words)?.ids().ok_or_else(|| {
        let message = format!("{:?} does not name an object in full", words.join(" "));
        Failure::new(Exit::Usage, message).hint("write KIND/NAME, such as volume/db: this command takes no patterns")
    })?;
    only(ids)
}

/// Returns the only object.
///
/// # Errors
/// Exit code 2 if there are several.
pub(crate) fn only(ids: Vec<ObjectId>) -> Result<ObjectId, Failure> {
    <[ObjectId; 1]>::try_from(ids).map(|[object]| object).map_err(|ids| {
        let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
        Failure::new(Exit::Usage, format!("this command takes one object, not {}", names.join(", ")))
            .hint("run it once for each object")
    })
}

/// Returns the objects of a selection. Names without a kind, and globs, mean declared objects.
///
/// # Errors
/// Exit code 2 for a name that is not declared, or not of one kind, and if nothing matches; exit code 5 if the manifests have a
/// problem and not every object is named in full; those of [`Context::read_specs`].
pub(crate) fn declared(context: &Context, specs: &Path, words: &[String]) -> Result<Vec<ObjectId>, Failure> {
    let selection = selection(words)?;
    if let Some(ids) = selection.ids() {
        return Ok(ids);
    }
    if specs.as_os_str() == "-" {
        let message = "stdin is read once: with `-`, objects are named in full";
        return Err(Failure::new(Exit::Usage, message).hint("write KIND/NAME, such as volume/db"));
    }
    let loaded = context.read_specs(specs)?;
    if !loaded.problems.is_empty() {
        // A document that cannot be read may declare an object that is meant too.
        context.show_problems(&loaded.problems);
        let problems = counted(loaded.problems.len(), "problem");
        let message = format!(
            "the manifests have {problems}, so it is not certain which objects {selection} means; nothing was changed"
        );
        return Err(Failure::new(Exit::Invalid, message).hint(
            "name each object in full, such as volume/db; or correct the manifests: `kiln check` lists the problems",
        ));
    }
    let all = declared_in(&loaded.reading.specs);
    let hint = "names without a kind, kinds and patterns mean declared objects only: write KIND/NAME for others, such as those that \
                wait for removal";
    chosen(&selection, all.iter().map(|(kind, name)| (*kind, *name)), "the manifests do not declare it", hint)
}

/// Returns the known objects that a selection names or matches. `unknown`: see [`ObjectSelection::unmatched`]; `hint`:
/// what to do if one is not known.
///
/// # Errors
/// Exit code 2 for a name that is not known, or not of one kind, and if nothing matches.
pub(crate) fn chosen<'n>(
    selection: &ObjectSelection,
    known: impl Iterator<Item = (Kind, &'n Name)> + Clone,
    unknown: &str,
    hint: &str,
) -> Result<Vec<ObjectId>, Failure> {
    let failed = |message: String| Failure::new(Exit::Usage, message).hint(hint);
    let unmatched = selection.unmatched(known.clone(), unknown);
    if !unmatched.is_empty() {
        return Err(failed(unmatched.join("; ")));
    }
    if let Some(ambiguous) = selection.ambiguous(known.clone()) {
        return Err(Failure::new(Exit::Usage, ambiguous).hint("name one of them as KIND/NAME"));
    }
    let mut found: Vec<ObjectId> = known
        .filter(|(kind, name)| selection.matches(*kind, name))
        .map(|(kind, name)| ObjectId::new(kind, name))
        .collect();
    found.sort();
    found.dedup();
    if found.is_empty() { Err(failed(format!("nothing matches {selection}"))) } else { Ok(found) }
}

/// Returns what an object that is not declared is answered with, in one sentence. `unknown`: see [`ObjectSelection::unmatched`].
pub(crate) fn unmatched(object: &ObjectId, specs: &Specs, unknown: &str) -> String {
    let declared = declared_in(specs);
    let known = declared.iter().map(|(kind, name)| (*kind, *name));
    ObjectSelection::from(object.clone()).unmatched(known, unknown).join("; ")
}

/// Returns everything declared that steps are planned for.
pub(crate) fn declared_in(specs: &Specs) -> Vec<(Kind, &Name)> {
    let volumes = specs.volumes.keys().map(|name| (Kind::Volume, name));
    let snapshots = specs.snapshots.keys().map(|name| (Kind::Snapshot, name));
    let exports = specs.exports.keys().map(|name| (Kind::Export, name));
    volumes.chain(snapshots).chain(exports).collect()
}
