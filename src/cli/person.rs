//! The user who runs a command.

/// Returns the user who runs the command, for the journal: with `sudo`, the user who called it.
#[expect(clippy::disallowed_methods, reason = "no option of Kiln's: who it is, is known from the session alone")]
pub(crate) fn person() -> Option<String> {
    let fit = |name: &String| (1..=64).contains(&name.len()) && !name.contains(char::is_control);
    let named = |variable| std::env::var(variable).ok().filter(fit);
    named("SUDO_USER").or_else(|| named("USER")).or_else(|| named("LOGNAME"))
}
