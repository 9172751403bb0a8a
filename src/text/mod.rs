//! Formats text for people: escapes, colours and aligns it, and formats times, counts, sizes and shell words. Pure.

mod closest;
mod escape;
mod paint;
mod places;
mod shell;
mod size;
mod table;
mod time;
mod wrap;

pub use closest::{closest, did_you_mean, differ_in_number, distance};
pub use escape::{escape, is_unsafe};
pub use paint::Paint;
pub use places::{split_places, without_places};
pub use shell::quoted;
pub use size::{as_declared, counted, exact, sized};
pub use table::{Cell, table};
pub use time::{Moment, age, rfc3339};
