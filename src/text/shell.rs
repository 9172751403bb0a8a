//! Words of a POSIX shell.

/// Quotes a value for a POSIX shell, where it needs quotes. A value that begins like an option is made a path.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    let is_option = text.starts_with('-') && text != "-";
    let text = if is_option { format!("./{text}") } else { text.to_owned() };
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_shell() {
        for (value, shown) in [
            ("st", "st"),
            ("/srv/my specs", "'/srv/my specs'"),
            ("a'b", r"'a'\''b'"),
            ("$(reboot)", "'$(reboot)'"),
            ("~x", "'~x'"),
            ("-", "-"),
            ("-x", "./-x"),
            ("", "''"),
        ] {
            assert_eq!(quoted(value), shown);
        }
    }
}
