//! Tables of text, each column as wide as its widest cell.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

use super::{Paint, escape};

/// Formats rows below a heading. Cells are escaped; the last column is not padded.
pub fn table<'a, C: Into<Cow<'a, str>>, const N: usize>(
    heading: [&str; N],
    rows: impl IntoIterator<Item = [C; N]>,
    paint: Paint,
) -> String {
    let mut widths = heading.map(width);
    let rows: Vec<[Cow<'a, str>; N]> = rows
        .into_iter()
        .map(|row| {
            let row = row.map(|cell| safe(cell.into()));
            for (most, cell) in widths.iter_mut().zip(&row) {
                *most = width(cell).max(*most);
            }
            row
        })
        .collect();
    let line = |out: &mut String, cells: [&str; N]| {
        let begin = out.len();
        for (index, (cell, most)) in cells.into_iter().zip(widths).enumerate() {
            out.push_str(cell);
            if index + 1 < N {
                out.extend(std::iter::repeat_n(' ', most - width(cell) + 2));
            }
        }
        out.truncate(begin + out[begin..].trim_end().len());
    };
    let mut head = String::new();
    line(&mut head, heading);
    let mut out = paint.bold(&head);
    out.push('\n');
    for row in &rows {
        line(&mut out, row.each_ref().map(AsRef::as_ref));
        out.push('\n');
    }
    out
}

/// Whether text is printable ASCII: it needs no escaping, and its width is its length. Nearly every cell is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn width(text: &str) -> usize {
    if is_plain(text) { text.len() } else { text.width() }
}

fn safe(text: Cow<'_, str>) -> Cow<'_, str> {
    if is_plain(&text) {
        return text;
    }
    match escape(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(safe) => Cow::Owned(safe),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_cells_are_escaped() {
        let rows = [["volume/db", "a\u{1b}[2Jb"], ["é", ""]];
        let shown = table(["NAME", "WHY"], rows, Paint::PLAIN);
        assert_eq!(shown, "NAME       WHY\nvolume/db  a\\u{1b}[2Jb\né\n");
    }
}
