//! Makes text from outside safe to show.

use std::borrow::Cow;

/// Whether a character has no place in a line of text: it is a control character (every escape sequence of a terminal begins with one),
/// is invisible, hides or reorders its neighbours, or ends a line for some readers only.
///
/// These are Unicode's categories Cc, Cf, Zl and Zp, and the fillers that are letters by category, of Unicode 16. Variation selectors
/// are safe: they only choose between glyphs. Manifests may not contain these characters, and [`escape`] escapes them.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e00ff}')
}

/// Makes text from outside safe to show: replaces every character that [`is_unsafe`] by `\u{…}`.
pub fn escape(text: &str) -> Cow<'_, str> {
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
    fn unsafe_characters_are_escaped_and_safe_text_is_not_copied() {
        assert_eq!(escape("a\u{1b}[31m\n\u{202e}\u{9b}"), "a\\u{1b}[31m\\u{a}\\u{202e}\\u{9b}");
        assert!(matches!(escape("plain → text, äöü 日本 e\u{301}"), Cow::Borrowed(_)));
    }
}
