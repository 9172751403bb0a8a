//! The planner: pure. Specs × World × Records → [`Plan`].
//!
//! No clock, no I/O, no environment and no randomness: the same inputs give the same plan on any machine. The plan
//! leaves no choice to the engine: names and uids are chosen here, the order is one table with ties broken by name, and each
//! step carries what it expects to find. What is not done is Held, with a reason, a message and a fix.
//!
//! In order of use: `inputs` are judged once for each backend (`backend_state`, `owner_conflict`), which is `usable`, or `blocked` with
//! the hold of everything on it; the `inventory` finds the objects of usable backends by name and uid, and how they were last `settled`. `plan` then writes a `draft` of
//! steps and `hold`s, rule by rule: `kind` plans each object, and asks `locate` where it is and `lost` whether it should exist; `doubt` has
//! the texts for removals in doubt, and `room`, `tags` and `name_conflict` what several kinds share. `unreachable` holds what only the store
//! knows, and `gate` what concerns the plan as a whole, such as limits and approvals. Last come `order` and `drift`.
//!
//! `places` are the names that a backend is asked for which cannot list all its objects. `questions` are what must be observed more
//! closely before a plan is final. `lint` checks the finished plan by rules of its own.
//! `select` takes a part of it, and `saved` compares it with a saved one.

mod backend_state;
mod blocked;
mod by_ledger;
mod copies;
mod doubt;
mod draft;
mod drift;
mod gate;
mod hold;
mod inputs;
mod inventory;
mod kind;
mod lint;
mod locate;
mod lost;
mod name_conflict;
mod no_trash;
mod order;
mod overview;
mod owner_conflict;
mod places;
#[expect(clippy::module_inception, reason = "the file of the function `plan` has its name")]
mod plan;
mod questions;
mod referenced;
mod room;
mod saved;
mod select;
mod settings;
mod settled;
mod tags;
mod types;
mod unreachable;
mod usable;

pub use backend_state::{Judged, trusted_ledger};
pub use by_ledger::answer_by_ledger;
pub use copies::disown_copies;
pub use gate::{RUNNING_FIX, resume, suspended_because, suspension_of};
pub use hold::{IN_USE_FIX, OTHER_WRITER_FIX};
pub use inputs::{Inputs, Irreversible, RunningStep};
pub use lint::lint;
pub use overview::{Overview, Retry};
pub use owner_conflict::{missing_stack, of_another_stack};
pub use places::names_to_ask;
pub use plan::{plan, unobserved};
pub use questions::{images, objects_to_observe};
pub use referenced::Referenced;
pub use saved::{NotSaved, SAVED_FORMAT, Saved, differences};
pub use select::{Selected, begun_without, select, without};
pub use settled::SettledState;
pub use types::{Drift, Held, HeldReason, Observation, Plan, Unobserved, Warning, World};
