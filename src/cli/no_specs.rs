//! Arguments that are neither SPECS nor objects in full: what was probably meant.

use std::path::Path;

use super::args::{Selection, SpecsArgument};
use super::context::{Context, whole_source};
use super::exit::Exit;
use super::failure::Failure;
use super::objects::{chosen, declared_in};
use crate::manifest::Loaded;
use crate::model::{Kind, Name, ObjectId};
use crate::report::{ObjectSelection, kind_meant};

/// Checks that `check` and `watch` are given SPECS, and not objects.
///
/// # Errors
/// Exit code 2 for an object.
pub(super) fn refuse_objects(specs: &SpecsArgument, command: &str, instead: &str) -> Result<(), Failure> {
    let Some(object) = specs.object() else { return Ok(()) };
    let message = format!(
        "kiln {command} takes a directory or a file with manifests, and no objects; there is no file or directory {object}"
    );
    Err(Failure::new(Exit::Usage, message).hint(format!("{instead} {object}`")))
}

/// Corrects the problem of SPECS that do not exist, if `plan` or `apply` was given a word that probably means an object: the hint is the
/// command that names it.
pub(super) fn explain(context: &Context, selection: &Selection, command: &str, loaded: &mut Loaded) {
    let Some(word) = selection.missing().filter(|_| whole_source(&loaded.problems).is_some()) else { return };
    let Some(problem) = loaded.problems.first_mut() else { return };
    problem.message = format!("there is no file or directory {word}");
    if let Some(hint) = hint(context, selection.option(), word, command) {
        problem.hint = Some(hint);
    }
}

/// Returns the hint for a word that is neither a file nor a directory. `specs`: the manifests that are read without it.
fn hint(context: &Context, specs: &Path, word: &str, command: &str) -> Option<String> {
    let meant = match word.split_once('/') {
        Some((kind, name)) => vec![ObjectId { kind: kind_meant(kind)?, name: name.parse().ok()? }],
        None if Kind::parse_loosely(word).or_else(|| kind_meant(word)).is_some() => {
            return Some(format!("name each object: `kiln {command} KIND/NAME`, such as volume/db"));
        }
        None if word == "all" => return Some(format!("`kiln {command}` covers all objects")),
        None if specs.as_os_str() == "-" => return None,
        None => declared(context, specs, &word.parse::<Name>().ok()?),
    };
    let commands: Vec<String> = meant.iter().map(|object| format!("`kiln {command} {object}`")).collect();
    (!commands.is_empty()).then(|| format!("if you mean the object, write {}", commands.join(" or ")))
}

/// Returns the objects of `plan` or `apply` as `volume/db volume/web`, if each word is the name of one declared object.
pub(super) fn in_full(context: &Context, selection: &Selection) -> Option<String> {
    let objects = ObjectSelection::parse(selection.objects()).ok().filter(ObjectSelection::is_exact)?;
    let specs = Some(selection.path()).filter(|specs| specs.as_os_str() != "-")?;
    let Loaded { reading, .. } = context.read_specs(specs).ok()?;
    let known = declared_in(&reading.specs);
    let named = chosen(&objects, known.iter().map(|(kind, name)| (*kind, *name)), "", "").ok()?;
    Some(named.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

/// Returns the declared objects of a name, or else the one with the nearest name.
fn declared(context: &Context, specs: &Path, name: &Name) -> Vec<ObjectId> {
    let Ok(Loaded { reading, .. }) = context.read_specs(specs) else { return Vec::new() };
    let known = declared_in(&reading.specs);
    ObjectSelection::meant(name, known.iter().map(|(kind, name)| (*kind, *name)))
}
