//! Tables of text: columns as wide as what stands in them.

use unicode_width::UnicodeWidthStr;

use crate::plan::{Paint, escape};

/// Rows under a heading. Text from outside is made safe; the last column is not padded.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]], paint: Paint) -> String {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| escape(cell).into_owned())).collect();
    let mut widths = heading.map(UnicodeWidthStr::width);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for (index, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
            line.push_str(cell);
            if index + 1 < N {
                line.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
            }
        }
        line.truncate(line.trim_end().len());
        line
    };
    let mut out = paint.bold(&line(heading));
    out.push('\n');
    for row in &rows {
        out.push_str(&line(row.each_ref().map(String::as_str)));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_text_from_outside_is_safe() {
        let rows = [["volume/db".to_owned(), "a\u{1b}[2Jb".to_owned()], ["é".to_owned(), String::new()]];
        let shown = table(["NAME", "WHY"], &rows, Paint::PLAIN);
        assert_eq!(shown, "NAME       WHY\nvolume/db  a\\u{1b}[2Jb\né\n");
    }
}
