//! The planner: pure. Specs × World × Records → [`Plan`].
//!
//! No clock, no input or output, no environment and no randomness: the same inputs give the same plan on any machine. The plan
//! leaves no choice to those who run it: names and uids are chosen here, the order is one table with ties broken by name, and each
//! step carries what it expects to find. What is not done is said, with its reason and the way out.

mod render;
mod types;
mod view;

pub use render::{Paint, counted, escape, render, render_held, render_step, summary_line};
pub use types::{ApprovalSet, Drift, Held, HeldReason, Inputs, Irreversible, Plan, Unobserved, View, Warning, World};
pub use view::{ChangeView, HeldView, PLAN_FORMAT, PlanView, ProblemView, StepView, Summary};
