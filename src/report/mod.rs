//! Everything that turns a plan, or an overview, into what people and programs read. Pure.

mod commands;
mod markdown;
mod plan_text;
mod plan_view;

pub use commands::{Commands, Takes, takes};
pub use markdown::markdown;
pub use plan_text::{render, render_held, render_step, summary_line};
pub use plan_view::{ChangeView, HeldView, PLAN_FORMAT, PlanView, StepView, Summary};
