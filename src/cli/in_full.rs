//! Objects that a command takes in full only, because it destroys them or gives them up. A name without its kind is answered with the
//! complete command.

use std::path::Path;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::get::{all_exist, ask};
use super::objects;
use crate::manifest::Loaded;
use crate::model::ObjectId;
use crate::report::{LabelSelector, ObjectStatus, ObjectsQuestion};

/// Returns the object that arguments name in full. `is_meant`: whether the command can mean an object; `command`: the command with an
/// object as `volume/db`.
///
/// # Errors
/// Exit code 2 for anything else. If the manifests are valid, the backends are observed for the object of a name without its kind:
/// those of [`ask`].
pub(super) fn one(
    context: &Context,
    specs: &Path,
    words: &[String],
    is_meant: impl Fn(&ObjectStatus<'_>) -> bool,
    command: impl Fn(&str) -> String,
) -> Result<ObjectId, Failure> {
    let selection = objects::selection(words)?;
    let is_bare = selection.is_exact() && selection.ids().is_none();
    let is_valid = |loaded: Loaded| loaded.problems.is_empty();
    // Stdin is read once.
    if !is_bare || specs.as_os_str() == "-" || !context.read_specs(specs).is_ok_and(is_valid) {
        return objects::one(words);
    }
    let question = ObjectsQuestion { selection, labels: LabelSelector::default(), details: None };
    let mut kept = None;
    let (answer, _) = ask(context, specs, &question, &mut kept)?;
    all_exist(&answer)?;
    let mut names: Vec<String> =
        answer.objects.iter().filter(|one| is_meant(one)).map(ObjectStatus::full_name).collect();
    names.sort();
    names.dedup();
    let message = format!("{:?} does not name an object in full", words.join(" "));
    let commands: Vec<String> = names.iter().map(|name| format!("`{}`", command(name))).collect();
    Err(Failure::new(Exit::Usage, message).hint(match commands.is_empty() {
        true => "write KIND/NAME, such as volume/db; `kiln get` and `kiln trash list` list the objects".to_owned(),
        false => format!("write {}", commands.join(" or ")),
    }))
}
