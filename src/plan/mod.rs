//! The planner: pure. Specs × World × Records → [`Plan`].
//!
//! No clock, no input or output, no environment and no randomness: the same inputs give the same plan on any machine. The plan
//! leaves no choice to those who run it: names and uids are chosen here, the order is one table with ties broken by name, and each
//! step carries what it expects to find. What is not done is said, with its reason and the way out.

mod alike;
mod approve;
mod commands;
mod create;
mod digest;
mod drift;
mod elsewhere;
mod freed;
mod ground;
mod lint;
mod locate;
mod looks;
mod markdown;
mod order;
#[expect(clippy::module_inception, reason = "the headline function lives in a file that bears its name")]
mod plan;
mod removal;
mod render;
mod restore;
mod room;
mod saved;
mod select;
mod snapshot;
mod suspended;
mod tags;
mod take;
mod types;
mod view;
mod volume;

pub use approve::{approval_item, digest_of};
pub use commands::{Commands, Takes, quoted, takes};
pub use ground::{believed, missing_stack, usable};
pub use lint::lint;
pub use looks::{images, looks};
pub use markdown::markdown;
pub use plan::{plan, read_by, unobserved};
pub use render::{Paint, counted, escape, render, render_held, render_step, summary_line};
pub use saved::{NotSaved, SAVED_FORMAT, Saved, declare_the_same, differences};
pub use select::{Selected, select, without};
pub use suspended::{resume, suspended_because, suspension_of};
pub use types::{ApprovalSet, Drift, Held, HeldReason, Inputs, Irreversible, Plan, Unobserved, View, Warning, World};
pub use view::{ChangeView, HeldView, PLAN_FORMAT, PlanView, ProblemView, StepView, Summary};
