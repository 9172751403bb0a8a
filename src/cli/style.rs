//! The form of output for people: from the command line, the environment and the terminal.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use super::args::ColorChoice;
use crate::text::Paint;

/// Lines are not made shorter than this, however narrow the terminal is.
const NARROWEST: usize = 40;

/// Returns the form of what is written to a stream.
pub(super) fn paint(color: ColorChoice, stream: &(impl IsTerminal + AsFd)) -> Paint {
    let terminal = stream.is_terminal().then(|| rustix::termios::tcgetwinsize(stream).map_or(0, |size| size.ws_col));
    decide(color, terminal, |name| std::env::var_os(name))
}

/// Whether lines that were written to a stream can be changed.
pub(super) fn is_live(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// `terminal`: the columns of the terminal, 0 if it does not know them; none for a pipe or a file.
///
/// A pipe gets UTF-8 whatever the locale is: programs read it, and its bytes must not depend on who runs Kiln.
fn decide(color: ColorChoice, terminal: Option<u16>, variable: impl Fn(&str) -> Option<OsString>) -> Paint {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let colour = match color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        // https://no-color.org, https://bixense.com/clicolors
        ColorChoice::Auto if set("NO_COLOR").is_some() => false,
        ColorChoice::Auto if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        ColorChoice::Auto => terminal.is_some() && set("TERM").is_none_or(|value| value != "dumb"),
    };
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    Paint {
        colour,
        width: terminal.filter(|columns| *columns > 0).map(|columns| usize::from(columns).max(NARROWEST)),
        ascii: terminal.is_some() && !(locale.contains("utf-8") || locale.contains("utf8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(color: ColorChoice, terminal: Option<u16>, variables: &[(&str, &str)]) -> Paint {
        let value = |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).into());
        decide(color, terminal, value)
    }

    #[test]
    fn the_flag_wins_over_no_color_over_clicolor_force_over_the_terminal() {
        use ColorChoice::{Always, Auto, Never};
        let (no, force) = (("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1"));
        for (color, terminal, variables, colour) in [
            (Auto, Some(80), &[][..], true),
            (Auto, None, &[][..], false),
            (Auto, Some(80), &[("TERM", "dumb")][..], false),
            (Auto, None, &[force][..], true),
            (Auto, None, &[("CLICOLOR_FORCE", "0")][..], false),
            (Auto, Some(80), &[no, force][..], false),
            (Auto, Some(80), &[("NO_COLOR", "")][..], true),
            (Always, None, &[no][..], true),
            (Never, Some(80), &[force][..], false),
        ] {
            assert_eq!(decided(color, terminal, variables).colour, colour, "{color:?} {terminal:?} {variables:?}");
        }
    }

    #[test]
    fn only_a_terminal_has_a_width_and_a_character_set() {
        let auto = |terminal, variables: &[(&str, &str)]| decided(ColorChoice::Auto, terminal, variables);
        assert_eq!(auto(None, &[]), Paint::PLAIN);
        assert_eq!(
            [Some(120), Some(10), Some(0)].map(|terminal| auto(terminal, &[]).width),
            [Some(120), Some(40), None]
        );
        for (variables, ascii) in [
            (&[][..], true),
            (&[("LANG", "de_DE.UTF-8")][..], false),
            (&[("LANG", "C.utf8")][..], false),
            (&[("LC_ALL", "C"), ("LANG", "C.UTF-8")][..], true),
            (&[("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8"), ("LANG", "C")][..], false),
        ] {
            assert_eq!(auto(Some(80), variables).ascii, ascii, "{variables:?}");
            assert!(!auto(None, variables).ascii, "{variables:?}");
        }
    }
}
