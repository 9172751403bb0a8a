//! Text from outside, made safe to show.

use std::borrow::Cow;

/// Makes text from outside safe to show: replaces control characters (every escape sequence begins with one), invisible characters, and
/// characters that change the direction of text by `\u{…}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    fn is_unsafe(c: char) -> bool {
        c.is_control()
            || matches!(c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    }
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::with_capacity(text.len() + 16), |mut out, c| {
        if is_unsafe(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
        out
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_other_text_is_not_copied() {
        assert_eq!(escape("a\u{1b}[31m\n\u{202e}\u{9b}"), "a\\u{1b}[31m\\u{a}\\u{202e}\\u{9b}");
        assert!(matches!(escape("plain → text, äöü 日本"), Cow::Borrowed(_)));
    }
}
