//! `kiln man`: prints or writes the manual pages, from the same description as the help.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use super::args::{Cli, ManArgs};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::files::create_dir;
use super::{examples, exit};
use crate::driver::NewFile;

/// Prints the page of `kiln`, or writes the pages of all commands to a directory.
pub(crate) fn man(context: &Context, args: &ManArgs) -> Result<Exit, Failure> {
    let mut command = Cli::command();
    command.build();
    let failed = |what: &Path, error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("{} cannot be written: {error}", what.display()))
    };
    let Some(dir) = &args.all else {
        context.terminal.out(&page(&command, "kiln").map_err(|error| failed(Path::new("the page"), &error))?);
        return Ok(Exit::Done);
    };
    create_dir(dir)?;
    let mut pages = vec![("kiln".to_owned(), &command)];
    let mut written = 0;
    while let Some((name, command)) = pages.pop() {
        let path = dir.join(format!("{name}.1"));
        let text = page(command, &name).map_err(|error| failed(&path, &error))?;
        NewFile::begin(&path, 0o666)
            .and_then(|file| {
                file.write(text.as_bytes())?;
                file.publish(true)
            })
            .map_err(|error| failed(&path, &error))?;
        written += 1;
        pages.extend(command.get_subcommands().map(|below| (format!("{name}-{}", below.get_name()), below)));
    }
    context.terminal.line(&format!("Wrote {written} pages to {}; read one with `man -l FILE`.", dir.display()));
    Ok(Exit::Done)
}

fn page(command: &clap::Command, name: &str) -> std::io::Result<String> {
    let mut roff = Vec::new();
    // Defaults come from the description, not from the environment in which the pages are made.
    Man::new(command.clone()).title(name.to_uppercase()).render(&mut roff)?;
    let text = String::from_utf8_lossy(&roff).into_owned();
    // The text after the help is the examples of a command, and then the exit codes of `kiln`.
    Ok(text
        .replace(&format!(".SH EXTRA\n{}\n", examples::HEADING), ".SH EXAMPLES\n")
        .replace(&format!("{}\n", exit::HEADING), ".SH EXIT STATUS\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_sections_of_examples_and_exit_codes() {
        fn check(command: &clap::Command) {
            let text = page(command, "page").unwrap();
            assert!(!text.contains(".SH EXTRA"), "{text}");
            assert!(text.contains(".SH EXAMPLES\n  kiln "), "{text}");
            assert_eq!(text.contains(".SH EXIT STATUS\n  0  "), command.get_name() == "kiln", "{text}");
            // A line that begins without blanks would continue the one before.
            assert!(!text.contains("store\nWhen several apply"), "{text}");
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
