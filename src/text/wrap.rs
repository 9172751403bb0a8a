//! Widths of text on a terminal, and line breaks between words.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Returns the columns that a text takes on a terminal. Colours take none.
pub(super) fn visible_width(text: &str) -> usize {
    if is_plain(text) {
        return text.len();
    }
    if !text.contains('\u{1b}') {
        return text.width();
    }
    let mut width = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            // Escape sequences of `Paint` end with an `m`; others are escaped before they get here.
            '\u{1b}' => {
                let _ = chars.find(|c| *c == 'm');
            }
            c => width += c.width().unwrap_or_default(),
        }
    }
    width
}

/// Whether text is printable ASCII: it needs no escaping, and its width is its length. Nearly every text is.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Appends a text from column `at` on, and breaks it between words so that lines end before `width`; later lines begin at `indent`. A
/// glyph or bullet that begins a line stays with the next word.
pub(super) fn fold(out: &mut String, text: &str, at: usize, indent: usize, width: usize) {
    let (mut begin, mut column) = (at, at);
    for (gap, word) in words(text) {
        let wide = visible_width(word);
        if column > begin + 1 && column + gap.len() + wide > width {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            (begin, column) = (indent, indent);
        } else {
            out.push_str(gap);
            column += gap.len();
        }
        out.push_str(word);
        column += wide;
    }
}

/// Splits a text into words, each after the blanks before it. A command between backticks is part of one word.
fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let blanks = rest.len() - rest.trim_start_matches(' ').len();
        let (gap, from) = rest.split_at(blanks);
        if from.is_empty() {
            return None;
        }
        let mut end = 0;
        let mut is_quoted = false;
        for part in from.split_inclusive(' ') {
            is_quoted ^= part.matches('`').count() % 2 == 1;
            end += part.len();
            if !is_quoted {
                break;
            }
        }
        // A backtick without a second one is an ordinary character.
        if is_quoted {
            end = from.find(' ').unwrap_or(from.len());
        }
        let word = from[..end].trim_end_matches(' ');
        rest = &from[word.len()..];
        Some((gap, word))
    })
}
