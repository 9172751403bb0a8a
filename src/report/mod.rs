//! Turns a plan, or an overview, into what people and programs read. Pure.
//!
//! A plan becomes a `plan_view` (its JSON), which `folded` groups by reason and fix (whose `form` may have other values), and `plan_text`, `markdown` and `annotation` show;
//! `approval_text` is its last line. An overview becomes `answers`: each object with its `status` (`declared`, `condition`, `related`) for
//! `objects_text`; the Stack for `stack_text`; `orphans` and `findings` for `doctor`. `selection` and `label_selector` choose the objects
//! that arguments name. `commands` completes every command in a text, so that it can be pasted.

mod annotation;
mod answers;
mod approval_text;
mod commands;
mod condition;
mod declared;
mod findings;
#[cfg(test)]
mod fixtures;
mod folded;
mod folded_text;
mod form;
mod journal_text;
mod label_selector;
mod markdown;
mod objects_text;
mod orphans;
mod plan_text;
mod plan_view;
mod related;
mod same_problem;
mod selection;
mod sources;
mod stack_text;
mod status;
mod unowned;
mod warnings;

pub use annotation::{Annotation, annotations, problem_annotations};
pub use answers::{
    DoctorAnswer, ObjectsAnswer, ObjectsQuestion, StackStatus, doctor_answer, history_of, objects, stack_status,
};
pub use commands::{Commands, Takes, takes};
pub use condition::Condition;
pub use declared::{Declared, DeclaredView};
pub use findings::{Finding, FindingArea, findings, findings_text};
pub use folded::{Cause, Fact, Folded, Member, MemberLine, TellsFact, ToldVerb, fold, listed, where_all_are};
pub use folded_text::render_holds;
pub use journal_text::{JournalLine, journal_table};
pub use label_selector::LabelSelector;
pub use markdown::markdown;
pub use objects_text::{described, objects_table, wide_objects_table};
pub use orphans::{Orphan, OrphanReason, orphans};
pub use plan_text::{render, summary_line};
pub use plan_view::{DeclaredSizes, HeldView, Outage, PLAN_FORMAT, PlanView, StepView, Summary, outages};
pub use related::{RelatedObject, RelatedObjects};
pub use same_problem::{SameProblem, same_problems};
pub use selection::{ObjectSelection, kind_meant, kind_named};
pub use stack_text::{OrphanView, StackView, SuspendedView, stack_text};
pub use status::{Metadata, ObjectStatus, Status, backend_status, has_status, status};
pub use unowned::{Adoption, NotListed, Unowned, unowned};
pub use warnings::{ToldWarning, WarningView};
