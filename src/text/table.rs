//! Tables of text, each column as wide as its widest cell. On a terminal, columns without any text are left out, and those that do not fit
//! are below their row.

use std::borrow::Cow;
use std::cmp::Reverse;

use super::wrap::{fold, is_plain, visible_width};
use super::{Paint, escape};

/// A cell of a table: a text from anywhere, and its colour.
#[derive(Debug)]
pub struct Cell<'a> {
    text: Cow<'a, str>,
    code: &'static str,
    is_whole: bool,
}

impl<'a> Cell<'a> {
    /// Returns a cell in a colour: a code of [`Paint::with`].
    pub fn coloured(text: impl Into<Cow<'a, str>>, code: &'static str) -> Self {
        Self { text: text.into(), code, is_whole: false }
    }

    /// Returns a cell with what is copied, such as a path: it is not broken, at its blanks neither.
    pub fn whole(text: impl Into<Cow<'a, str>>) -> Self {
        Self { is_whole: true, ..Self::coloured(text, "") }
    }
}

impl<'a, T: Into<Cow<'a, str>>> From<T> for Cell<'a> {
    fn from(text: T) -> Self {
        Self::coloured(text, "")
    }
}

/// A cell that is safe to show, with the columns that its text takes on a terminal.
struct SafeCell<'a> {
    text: Cow<'a, str>,
    code: &'static str,
    is_whole: bool,
    width: usize,
}

impl<'a> From<Cell<'a>> for SafeCell<'a> {
    fn from(Cell { text, code, is_whole }: Cell<'a>) -> Self {
        if is_plain(&text) {
            return Self { width: text.len(), text, code, is_whole };
        }
        let text = match escape(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(safe) => Cow::Owned(safe),
        };
        Self { width: visible_width(&text), text, code, is_whole }
    }
}

/// The columns by which the continuation of a row is indented.
const INDENT: usize = 4;

/// The blanks between two columns.
const GAP: usize = 2;

/// Formats rows below a heading. Cells are escaped; the last column is not padded.
///
/// A pipe gets every column, one line for each row. A terminal gets no column that has no text in any row. Where it is too narrow, one
/// column shrinks, and the cells that are longer have lines of their own; if most are longer, the columns on the right that do not fit are
/// below their row, each text after its heading.
pub fn table<'a, C: Into<Cell<'a>>, const N: usize>(
    heading: [&str; N],
    rows: impl IntoIterator<Item = [C; N]>,
    paint: Paint,
) -> String {
    let rows: Vec<[SafeCell<'a>; N]> = rows.into_iter().map(|row| row.map(|cell| cell.into().into())).collect();
    let columns = Columns::new(heading, &rows, paint);
    let mut out = String::new();
    columns.write(&mut out, &heading.map(|text| Cell::coloured(text, "1").into()));
    for row in &rows {
        columns.write(&mut out, row);
        columns.write_below(&mut out, heading, row);
    }
    out
}

/// Whether a cell has no text.
fn is_nothing(text: &str) -> bool {
    matches!(text, "" | "-")
}

/// Where a column is.
#[derive(Clone, Copy, PartialEq)]
enum ColumnPlace {
    /// In the line of its row, from this column of the terminal on.
    Line(usize),
    /// Below its row.
    Below,
    /// Nowhere: it has no text.
    Nowhere,
}

/// Where the columns of a table are.
struct Columns<const N: usize> {
    places: [ColumnPlace; N],
    /// The columns of the terminal.
    limit: usize,
    paint: Paint,
}

impl<const N: usize> Columns<N> {
    fn new(heading: [&str; N], rows: &[[SafeCell<'_>; N]], paint: Paint) -> Self {
        let headings = heading.map(visible_width);
        let mut widths = headings;
        let mut has_text = [paint.width.is_none() || rows.is_empty(); N];
        for row in rows {
            for ((width, has_text), cell) in widths.iter_mut().zip(&mut has_text).zip(row) {
                *width = cell.width.max(*width);
                *has_text |= !is_nothing(&cell.text);
            }
        }
        let limit = paint.width.unwrap_or(usize::MAX);
        let shown: Vec<usize> = (0..N).filter(|column| *column == 0 || has_text[*column]).collect();
        let count = fit(headings, &mut widths, rows, &shown, limit);
        let mut places = [ColumnPlace::Nowhere; N];
        let mut at = 0;
        for (index, column) in shown.into_iter().enumerate() {
            places[column] = if index < count { ColumnPlace::Line(at) } else { ColumnPlace::Below };
            at += widths[column] + GAP;
        }
        Self { places, limit, paint }
    }

    /// Writes the line of a row: its cells, each with its colour.
    fn write(&self, out: &mut String, cells: &[SafeCell<'_>; N]) {
        // The end of what is written in the current line.
        let mut at = 0;
        for (cell, place) in cells.iter().zip(self.places) {
            // Blanks are written only before a text.
            let ColumnPlace::Line(mut begin) = place else { continue };
            if cell.text.is_empty() {
                continue;
            }
            let is_too_long = begin + cell.width > self.limit;
            if is_too_long {
                begin = begin.min(INDENT);
            }
            if at > 0 && begin < at + GAP {
                end_line(out);
                at = 0;
            }
            out.extend(std::iter::repeat_n(' ', begin - at));
            at = begin + cell.width;
            self.write_text(out, cell, begin, begin);
        }
        end_line(out);
    }

    /// Writes the cells of a row that are below it.
    fn write_below(&self, out: &mut String, heading: [&str; N], cells: &[SafeCell<'_>; N]) {
        let mut at = 0;
        for ((cell, name), place) in cells.iter().zip(heading).zip(self.places) {
            if place != ColumnPlace::Below || is_nothing(&cell.text) {
                continue;
            }
            let begin = visible_width(name) + 1;
            let wide = begin + cell.width;
            if at > 0 && at + GAP + wide > self.limit {
                end_line(out);
                at = 0;
            }
            let indent = if at == 0 { INDENT } else { GAP };
            out.extend(std::iter::repeat_n(' ', indent));
            at += indent;
            out.push_str(&self.paint.dim(name));
            out.push(' ');
            self.write_text(out, cell, at + begin, INDENT + GAP);
            at += wide;
        }
        if at > 0 {
            end_line(out);
        }
    }

    /// Writes the text of a cell from column `at` on. What does not fit continues on lines that begin at `indent`.
    fn write_text(&self, out: &mut String, cell: &SafeCell<'_>, at: usize, indent: usize) {
        let SafeCell { text, code, is_whole, width } = cell;
        match at + width > self.limit && !is_whole {
            true => {
                let mut folded = String::new();
                fold(&mut folded, text, at, indent, self.limit);
                out.push_str(&self.paint.with(code, &folded));
            }
            false => out.push_str(&self.paint.with(code, text)),
        }
    }
}

/// Returns how many of the `shown` columns are in the line of their row. `widths` are then those of the columns in a line.
fn fit<const N: usize>(
    headings: [usize; N],
    widths: &mut [usize; N],
    rows: &[[SafeCell<'_>; N]],
    shown: &[usize],
    limit: usize,
) -> usize {
    for count in (1..=shown.len()).rev() {
        let line = &shown[..count];
        let all = line.iter().map(|column| widths[*column]).sum::<usize>() + GAP * (count - 1);
        let excess = all.saturating_sub(limit);
        if excess == 0 {
            return count;
        }
        if let Some(column) = shrinkable(headings, *widths, rows, line, excess) {
            widths[column] -= excess;
            return count;
        }
    }
    1
}

/// Ends a line without blanks at its end.
fn end_line(out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

/// Returns the column of a line that can be narrower by `excess` with the fewest longer cells, unless most of its cells are longer.
fn shrinkable<const N: usize>(
    headings: [usize; N],
    widths: [usize; N],
    rows: &[[SafeCell<'_>; N]],
    line: &[usize],
    excess: usize,
) -> Option<usize> {
    let longer = |column: usize, room: usize| rows.iter().filter(|row| row[column].width > room).count();
    line.iter()
        .filter_map(|column| {
            let room = widths[*column].checked_sub(excess)?;
            (room >= headings[*column]).then(|| (longer(*column, room), Reverse(*column)))
        })
        .min()
        .filter(|(longer, _)| longer * 2 <= rows.len())
        .map(|(_, Reverse(column))| column)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: [&str; 4] = ["NAME", "SIZE", "CONDITION", "MESSAGE"];

    fn narrow(width: usize, rows: &[[&'static str; 4]]) -> String {
        table(HEADING, rows.iter().copied(), Paint { width: Some(width), ..Paint::PLAIN })
    }

    #[test]
    fn columns_line_up_and_cells_are_escaped() {
        let rows = [["volume/db", "a\u{1b}[2Jb"], ["é", ""]];
        let shown = table(["NAME", "WHY"], rows, Paint::PLAIN);
        assert_eq!(shown, "NAME       WHY\nvolume/db  a\\u{1b}[2Jb\né\n");
    }

    #[test]
    fn a_message_that_does_not_fit_has_lines_of_its_own() {
        let shown = narrow(
            40,
            &[
                ["volume/db", "1Gi", "Held", "it is protected, and no longer declared"],
                ["volume/web", "1500Mi", "Settled", ""],
            ],
        );
        assert_eq!(
            shown,
            "NAME        SIZE    CONDITION  MESSAGE\n\
             volume/db   1Gi     Held\n    it is protected, and no longer\n    declared\n\
             volume/web  1500Mi  Settled\n"
        );
    }

    #[test]
    fn one_column_shrinks_and_longer_cells_end_their_line() {
        let shown = narrow(
            40,
            &[
                ["volume/a-name-of-many-characters", "1Gi", "Held", "why"],
                ["volume/db", "1Gi", "Settled", ""],
                ["volume/web", "1Gi", "Settled", ""],
            ],
        );
        assert_eq!(
            shown,
            "NAME            SIZE  CONDITION  MESSAGE\n\
             volume/a-name-of-many-characters\n                1Gi   Held       why\n\
             volume/db       1Gi   Settled\n\
             volume/web      1Gi   Settled\n"
        );
    }

    #[test]
    fn columns_that_do_not_fit_are_below_their_row_with_their_headings() {
        let shown = narrow(40, &[["volume/a-name-of-many-characters", "1500Mi", "Held", "why"]]);
        assert_eq!(
            shown,
            "NAME                              SIZE\n\
             volume/a-name-of-many-characters  1500Mi\n    CONDITION Held  MESSAGE why\n"
        );
        let long = "it is protected, and no longer declared";
        let shown = narrow(40, &[["volume/a-name-of-many-characters-and-more", "1500Mi", "-", long]]);
        assert_eq!(
            shown,
            "NAME\nvolume/a-name-of-many-characters-and-more\n    SIZE 1500Mi\n    MESSAGE it is protected, and no\n      \
             longer declared\n"
        );
    }

    #[test]
    fn what_is_copied_is_not_broken_at_its_blanks() {
        let path = "/var/lib/po ol/kiln.prod.db.01234567/kiln.prod.db.01234567.img";
        for (heading, rows) in [
            (["NAME", "PATH"], vec![["volume/db".into(), Cell::whole(path)]]),
            (["PATH", ""], vec![[Cell::whole(path), "x".into()]]),
        ] {
            let shown = table(heading, rows, Paint { width: Some(40), ..Paint::PLAIN });
            assert!(shown.lines().any(|line| line.contains(path)), "{shown}");
        }
    }

    #[test]
    fn a_terminal_gets_no_column_without_text() {
        let rows = [["volume/db", "-", "Held", ""], ["volume/web", "-", "Settled", ""]];
        let shown = narrow(80, &rows);
        assert_eq!(shown, "NAME        CONDITION\nvolume/db   Held\nvolume/web  Settled\n");
        // The columns of a pipe depend on no object.
        let piped = table(HEADING, rows, Paint::PLAIN);
        assert!(piped.starts_with("NAME        SIZE  CONDITION  MESSAGE\nvolume/db   -     Held\n"), "{piped}");
        assert_eq!(narrow(80, &[]), "NAME  SIZE  CONDITION  MESSAGE\n");
    }

    #[test]
    fn cells_are_coloured_and_still_line_up() {
        let rows = [["Held", "x"], ["Settled", "y"]].map(|[a, b]| [Cell::coloured(a, "33"), b.into()]);
        let shown = table(["CONDITION", "NAME"], rows, Paint { colour: true, ..Paint::PLAIN });
        let plain = shown.replace("\u{1b}[1m", "").replace("\u{1b}[33m", "").replace("\u{1b}[0m", "");
        assert_eq!(plain, "CONDITION  NAME\nHeld       x\nSettled    y\n");
        assert_eq!(shown.matches("\u{1b}[33m").count(), 2, "{shown:?}");
    }
}
