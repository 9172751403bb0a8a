//! Exit codes. No other file knows their numbers.
//!
//! | code | means |
//! |---|---|
//! | 0 | done, no change pending or held; also `plan` with changes pending, and `watch` ended by a signal |
//! | 1 | a step failed, or was interrupted by Ctrl-C |
//! | 2 | usage: an unknown command, option, kind or name |
//! | 3 | changes are pending (only `plan --detailed-exitcode`) |
//! | 4 | something is held (`--allow-held` makes it 0), or needs a confirmation that was not given; or a saved plan no longer holds |
//! | 5 | a manifest is invalid, or no manifest exists |
//! | 6 | a backend could not be observed |
//! | 7 | a command that must write cannot use the store: locked by a running process, read-only, full, of a newer format |
//!
//! When several apply, the first in the order 5, 7, 6, 1, 4, 3 wins.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Success.
    Done = 0,
    /// A step failed, or was interrupted by Ctrl-C.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Changes are pending.
    Changes = 3,
    /// Something is held.
    Held = 4,
    /// A manifest is invalid.
    Invalid = 5,
    /// A backend could not be observed.
    Unobserved = 6,
    /// The store cannot be used.
    Store = 7,
}

/// Begins [`TABLE`].
pub(crate) const HEADING: &str = "Exit codes:";

/// The table shown below the help of `kiln`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  done, nothing left to do; also plan with changes pending, and watch ended by a signal
  1  a step failed, or was left by Ctrl-C
  2  usage
  3  changes are pending (only plan --detailed-exitcode)
  4  something is held (--allow-held makes it 0), a saved plan no longer holds, or
     the question of apply was not answered with yes
  5  a manifest is invalid, or there is none
  6  a backend could not be observed
  7  a command that must write cannot use the store

When several apply, the first in the order 5, 7, 6, 1, 4, 3 wins.";

impl Exit {
    /// The order in which codes win. Usage errors end a command before anything else can happen.
    const ORDER: [Exit; 8] = [
        Exit::Usage,
        Exit::Invalid,
        Exit::Store,
        Exit::Unobserved,
        Exit::Failed,
        Exit::Held,
        Exit::Changes,
        Exit::Done,
    ];

    /// Returns the one code for everything that applies.
    pub(crate) fn combine(all: impl IntoIterator<Item = Exit>) -> Exit {
        let rank = |exit: &Exit| Exit::ORDER.iter().position(|other| other == exit);
        all.into_iter().min_by_key(rank).unwrap_or(Exit::Done)
    }

    /// Returns `self` if `applies`, else `Done`.
    pub(crate) fn when(self, applies: bool) -> Exit {
        if applies { self } else { Exit::Done }
    }

    /// Returns the number.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Exit; 8] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Changes,
        Exit::Held,
        Exit::Invalid,
        Exit::Unobserved,
        Exit::Store,
    ];

    #[test]
    fn of_several_the_first_in_the_order_of_the_contract_wins() {
        let order = [5, 7, 6, 1, 4, 3, 0];
        let at = |exit: Exit| order.iter().position(|code| *code == exit.code());
        for a in ALL {
            for b in ALL {
                let (Some(rank_a), Some(rank_b)) = (at(a), at(b)) else { continue };
                let want = if rank_a <= rank_b { a } else { b };
                assert_eq!(Exit::combine([a, b]), want, "{a:?} and {b:?}");
                assert_eq!(Exit::combine([b, a]), want, "{b:?} and {a:?}");
            }
        }
        assert_eq!(Exit::combine([]), Exit::Done);
    }

    #[test]
    fn the_numbers_are_those_of_the_table() {
        assert_eq!(ALL.map(Exit::code), [0, 1, 2, 3, 4, 5, 6, 7]);
        for code in 0..8 {
            assert!(TABLE.starts_with(HEADING) && TABLE.contains(&format!("\n  {code}  ")), "{code} is in the help");
        }
    }
}
