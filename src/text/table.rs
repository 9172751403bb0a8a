//! Tables of text, each column as wide as its widest cell. On a terminal, rows that do not fit continue on lines of their own.

use std::borrow::Cow;

use super::wrap::{fold, is_plain, visible_width};
use super::{Paint, escape};

/// A cell of a table: a text from anywhere, and its colour.
#[derive(Debug)]
pub struct Cell<'a> {
    text: Cow<'a, str>,
    code: &'static str,
}

impl<'a> Cell<'a> {
    /// Returns a cell in a colour: a code of [`Paint::with`].
    pub fn coloured(text: impl Into<Cow<'a, str>>, code: &'static str) -> Self {
        Self { text: text.into(), code }
    }
}

impl<'a, T: Into<Cow<'a, str>>> From<T> for Cell<'a> {
    fn from(text: T) -> Self {
        Self::coloured(text, "")
    }
}

/// The columns by which the continuation of a row is indented.
const INDENT: usize = 4;

/// The blanks between two columns.
const GAP: usize = 2;

/// Formats rows below a heading. Cells are escaped; the last column is not padded.
///
/// On a terminal that is too narrow, a last cell that does not fit has lines of its own. If that is not enough, one column shrinks, and
/// the cells that are longer end their line; and if most of them are, the columns that do not fit continue on further lines.
pub fn table<'a, C: Into<Cell<'a>>, const N: usize>(
    heading: [&str; N],
    rows: impl IntoIterator<Item = [C; N]>,
    paint: Paint,
) -> String {
    let mut widths = heading.map(visible_width);
    let rows: Vec<[Cell<'a>; N]> = rows
        .into_iter()
        .map(|row| {
            let row = row.map(|cell| safe(cell.into()));
            for (most, cell) in widths.iter_mut().zip(&row) {
                *most = visible_width(&cell.text).max(*most);
            }
            row
        })
        .collect();
    let columns = Columns::new(heading.map(visible_width), widths, &rows, paint.width);
    let mut out = String::new();
    columns.write(&mut out, heading.map(|text| (text, "1")), paint);
    for row in &rows {
        columns.write(&mut out, row.each_ref().map(|cell| (cell.text.as_ref(), cell.code)), paint);
    }
    out
}

/// Where the columns of a table are.
struct Columns<const N: usize> {
    /// The column in which each begins.
    begins: [usize; N],
    /// The line of a row on which each is.
    lines: [usize; N],
    /// The columns of the terminal.
    limit: usize,
}

impl<const N: usize> Columns<N> {
    fn new(headings: [usize; N], mut widths: [usize; N], rows: &[[Cell<'_>; N]], limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or(usize::MAX);
        let excess = |widths: &[usize]| {
            let gaps = GAP * widths.len().saturating_sub(1);
            (widths.iter().sum::<usize>() + gaps).saturating_sub(limit)
        };
        let mut is_last_below = false;
        if excess(&widths) > 0 {
            // The last column needs room for its heading only; else it is below the others.
            widths[N - 1] = headings[N - 1];
            is_last_below = excess(&widths) > 0;
            let others = excess(&widths[..N - 1]);
            if others > 0 {
                match shrinkable(headings, widths, rows, others) {
                    Some(column) => widths[column] -= others,
                    None => is_last_below = false,
                }
            }
        }
        let (mut begins, mut lines) = ([0; N], [0; N]);
        let (mut at, mut line) = (0, 0);
        for (index, width) in widths.into_iter().enumerate() {
            if index > 0 && (at + width > limit || is_last_below && index + 1 == N) {
                (at, line) = (INDENT, line + 1);
            }
            (begins[index], lines[index]) = (at, line);
            at += width + GAP;
        }
        Self { begins, lines, limit }
    }

    /// Writes the cells of a row, each with its colour.
    fn write(&self, out: &mut String, cells: [(&str, &str); N], paint: Paint) {
        // The end of what is written in the current line, and which line of the row that is.
        let (mut at, mut line) = (0, 0);
        let places = self.begins.into_iter().zip(self.lines);
        for ((text, code), (mut begin, its_line)) in cells.into_iter().zip(places) {
            // Blanks are written only before a text.
            if text.is_empty() {
                continue;
            }
            let wide = visible_width(text);
            let is_too_long = begin + wide > self.limit;
            if is_too_long {
                begin = begin.min(INDENT);
            }
            if at > 0 && (its_line > line || begin < at + GAP) {
                end_line(out);
                at = 0;
            }
            line = its_line;
            out.extend(std::iter::repeat_n(' ', begin - at));
            at = begin + wide;
            if is_too_long {
                let mut folded = String::new();
                fold(&mut folded, text, begin, begin, self.limit);
                out.push_str(&paint.with(code, &folded));
            } else {
                out.push_str(&paint.with(code, text));
            }
        }
        end_line(out);
    }
}

/// Ends a line without blanks at its end.
fn end_line(out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

/// Returns the column that can be narrower by `excess` with the fewest longer cells, unless most of its cells are longer.
fn shrinkable<const N: usize>(
    headings: [usize; N],
    widths: [usize; N],
    rows: &[[Cell<'_>; N]],
    excess: usize,
) -> Option<usize> {
    let longer = |column: usize, room: usize| {
        rows.iter().filter(|row| row.get(column).is_some_and(|cell| visible_width(&cell.text) > room)).count()
    };
    (0..N.saturating_sub(1))
        .filter_map(|column| {
            let room = widths.get(column)?.checked_sub(excess)?;
            (room >= *headings.get(column)?).then(|| (longer(column, room), column))
        })
        .min()
        .filter(|(longer, _)| longer * 2 <= rows.len())
        .map(|(_, column)| column)
}

fn safe(cell: Cell<'_>) -> Cell<'_> {
    if is_plain(&cell.text) {
        return cell;
    }
    match escape(&cell.text) {
        Cow::Borrowed(_) => cell,
        Cow::Owned(safe) => Cell { text: Cow::Owned(safe), code: cell.code },
    }
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
            "NAME                     SIZE  CONDITION\n    MESSAGE\n\
             volume/a-name-of-many-characters\n                         1Gi   Held\n    why\n\
             volume/db                1Gi   Settled\n\
             volume/web               1Gi   Settled\n"
        );
    }

    #[test]
    fn columns_that_do_not_fit_continue_on_further_lines() {
        let shown = narrow(40, &[["volume/a-name-of-many-characters", "1500Mi", "Held", "why"]]);
        assert_eq!(
            shown,
            "NAME                              SIZE\n    CONDITION  MESSAGE\n\
             volume/a-name-of-many-characters  1500Mi\n    Held       why\n"
        );
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
