//! Text for people: made safe, painted, aligned, and one form each for times, counts, sizes and shell words. Pure.

mod escape;
mod paint;
mod shell;
mod size;
mod table;
mod time;

pub use escape::escape;
pub use paint::Paint;
pub use shell::quoted;
pub use size::{counted, exact};
pub use table::table;
pub use time::{Moment, rfc3339};
