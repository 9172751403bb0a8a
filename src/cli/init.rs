//! `kiln init`: writes a Stack with a new id, and an example.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::args::InitArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::files::{create_dir, missing_schema, modeline, write_new};
use super::gitignore::GitIgnore;
use super::near_stacks;
use crate::daemon::protocol::real;
use crate::text::quoted;

const EXAMPLE: &str = include_str!("init.yaml");
/// The placeholder of the id in the example: as long as an id, and not a valid one.
const ID_PLACE: &str = "@FRESH-ID@";

/// Fields of the example to edit, each with what it is.
const TO_EDIT: [(&str, &str); 2] = [("  local: {path:", "the path of the pool"), ("  size:", "the size of the volume")];

/// Writes `DIR/kiln.yaml`, the schema for editors, and a `.gitignore`: all or none. Overwrites nothing and adds no second Stack: a
/// directory that holds manifests, or is above or below a Stack, is refused (exit code 2).
pub(crate) fn init(context: &Context, args: &InitArgs) -> Result<Exit, Failure> {
    let dir = args.dir.strip_prefix(".").ok().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(&args.dir);
    if args.dir == Path::new("help") {
        let message = "nothing was written: a directory named help is created by `kiln init ./help`";
        return Err(Failure::new(Exit::Usage, message).hint("`kiln init --help` explains the command"));
    }
    let failed = |what: &str, error: &io::Error| Failure::new(Exit::Failed, format!("{what}: {error}"));
    let working = real(Path::new("."));
    let shown = |path: &Path| path.strip_prefix(&working).unwrap_or(path).display().to_string();
    if let Some(stack) = near_stacks::around(&real(dir)) {
        let stack = shown(&stack);
        let message = format!("{stack} has a Stack already; a second one in {} would be read with it", dir.display());
        let hint =
            "nothing was written: add documents beside that Stack, or choose a directory neither above nor below it";
        return Err(Failure::new(Exit::Usage, message).hint(hint));
    }
    create_dir(dir)?;
    if let Some(there) = a_manifest_in(dir)
        .map_err(|error| failed(&format!("the directory {} cannot be read", dir.display()), &error))?
    {
        let message = format!("{} already holds manifests: {there}", dir.display());
        return Err(Failure::new(Exit::Usage, message).hint("edit them, or choose another directory: `kiln init DIR`"));
    }
    let path = dir.join("kiln.yaml");
    let id = fresh_id().map_err(|error| failed("cannot read a random id from /dev/urandom", &error))?;
    let ignore = GitIgnore::new(&real(dir), &working, &real(context.state()));
    let is_new = ignore.as_ref().filter(|ignore| !ignore.exists).map(|ignore| (ignore.path.clone(), ignore.text()));
    let schema = missing_schema(dir);
    let wrote_schema = schema.as_ref().map(|(path, _)| path.clone());
    let example = format!("{}{}", modeline(), EXAMPLE.replace(ID_PLACE, &id));
    let name = line_of(&example, "metadata: {name: main}");
    let [pool, size] = TO_EDIT.map(|(field, what)| format!("{what} (line {})", line_of(&example, field)));
    // The manifest comes last: with it, the directory is not initialised again.
    write_new(schema.into_iter().chain(is_new).chain([(path.clone(), example)]).collect())?;
    let terminal = &context.terminal;
    terminal.line(&format!("Wrote {}: a Stack with id {id}, a backend, a volume, and an example.", path.display()));
    if let Some(schema) = wrote_schema {
        terminal.line(&format!("Wrote {}: editors check the manifests against it.", schema.display()));
    }
    if let Some(GitIgnore { path, lines, exists, is_open }) = &ignore {
        let shown = shown(path);
        match exists {
            false => terminal.line(&format!("Wrote {shown}: Git ignores {}", lines.join(" "))),
            true => {
                // An empty line ends the last one.
                let lines = is_open.then_some("").into_iter().chain(lines.iter().map(String::as_str));
                let lines: Vec<String> = lines.map(quoted).collect();
                terminal.note(&format!(
                    "{shown} exists and was not changed; to ignore the pool and the store: `printf '%s\\n' {} >> {}`",
                    lines.join(" "),
                    quoted(&shown)
                ));
            }
        }
    }
    terminal.line(&format!("Next: in {}, edit {pool} and {size}, or keep them.", path.display()));
    if let Some(other) = near_stacks::beside(&real(dir), &working) {
        terminal.note(&format!(
            "{} is another Stack: give this one another name (line {name}) and another pool, and each a store of its own: `--state DIR`, \
             with every command",
            shown(&other)
        ));
    }
    let dir = quoted(&dir.display().to_string());
    let then = format!("Then `kiln plan {dir}` shows what `kiln apply {dir}` does.");
    terminal.line(&terminal.commands().complete(&then));
    Ok(Exit::Done)
}

/// Returns the number of the first line that begins with a text, from 1 on.
fn line_of(text: &str, begin: &str) -> usize {
    text.lines().take_while(|line| !line.starts_with(begin)).count() + 1
}

/// Returns the name of a manifest directly in `dir`, if there is one.
fn a_manifest_in(dir: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml")) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Returns ten random characters of `[a-z0-9]`: 51 bits, enough to tell apart the stacks of one host or cluster.
fn fresh_id() -> io::Result<String> {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut bits = u64::from_le_bytes(bytes);
    // 36^10 is less than 2^52: with 64 bits, the modulo favours no id by more than one in 4,000.
    Ok((0..10)
        .map(|_| {
            let digit = char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[(bits % 36) as usize]);
            bits /= 36;
            digit
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ten_plain_characters_and_differ() {
        let (a, b) = (fresh_id().unwrap(), fresh_id().unwrap());
        assert_ne!(a, b);
        for id in [a, b] {
            assert_eq!(id.len(), ID_PLACE.len());
            assert!(id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{id}");
        }
    }

    #[test]
    fn the_example_has_one_place_for_the_id() {
        assert_eq!(EXAMPLE.matches(ID_PLACE).count(), 1);
    }

    #[test]
    fn the_fields_to_edit_are_in_the_example() {
        for (field, _) in TO_EDIT {
            let line = EXAMPLE.lines().nth(line_of(EXAMPLE, field) - 1);
            assert!(line.is_some_and(|line| line.starts_with(field)), "{field}");
        }
    }
}
