//! Turns a plan, or an overview, into what people and programs read. Pure.

mod answers;
mod commands;
mod declared;
#[cfg(test)]
mod fixtures;
mod markdown;
mod orphans;
mod plan_text;
mod plan_view;
mod status;
mod unowned;

pub use answers::{
    DoctorAnswer, ObjectsAnswer, ObjectsQuestion, StackStatus, doctor_answer, history_of, objects, stack_status,
};
pub use commands::{Commands, Takes, takes};
pub use declared::{Declared, DeclaredView};
pub use markdown::markdown;
pub use orphans::{Orphan, OrphanReason, orphans};
pub use plan_text::{render, render_held, render_step, summary_line};
pub use plan_view::{ChangeView, HeldView, PLAN_FORMAT, PlanView, StepView, Summary};
pub use status::{Condition, Metadata, ObjectStatus, Status, backend_status, has_status, status};
pub use unowned::{NotListed, Unowned, unowned};
