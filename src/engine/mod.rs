//! Making backends match the manifests: observe, plan, execute, verify, report.
//!
//! [`reconcile_once`] is the whole story of a pass. [`overview`] is the same up to the plan, and changes nothing.
//!
//! ```text
//! session ── observes the backends and, to write, takes their writer locks; plans
//!   ├─ recover ── resolves the open intents of an interrupted run, sweeps unfinished objects
//!   ├─ session_ledgers ── settles the ledgers from what was observed
//!   ├─ execute ── endpoint_run, for each endpoint ── announces removals in its ledger
//!   │               └─ scheduler ── step_task ── intent, driver call with retries, outcome
//!   │                    ├─ verify ── observes what was touched, enters it in ledger and store
//!   │                    └─ jobs ── copies that go on when the pass leaves
//!   └─ record ── what was observed, for the next pass
//! ```
//!
//! `operations` are what a person decides about one object or backend (`trash`, `forget`, `adopt`, `approve`, `suspend`); each runs its
//! steps in the same way.

mod backend_session;
mod blockers;
mod clock;
mod connect;
mod effect;
#[cfg(test)]
mod effort;
mod endpoint_run;
mod event;
mod execute;
mod execution;
mod foreign;
mod job_tasks;
mod jobs;
mod ledger;
mod lost;
mod observe;
mod observe_one;
mod open_pass;
mod operations;
mod options;
mod overview;
mod queue;
mod reconcile;
mod record;
mod recover;
mod report;
mod scheduler;
mod session;
mod session_ledgers;
mod setup;
mod span;
mod step_task;
mod suspensions;
mod verify;
mod writers;

pub use blockers::Blockers;
pub use clock::{Clock, SystemClock};
pub use connect::Connect;
pub use event::{Confirmation, Event, Reporter, StepObject};
pub use foreign::with_content;
pub use jobs::Jobs;
pub use observe::{Background, Wait};
pub use open_pass::OpenPass;
pub use operations::{
    Executed, ImageExport, Operation, OperationError, OperationResult, Purge, SuspensionResult, Trashed, adopt_owner,
    approve, forget_backend, forget_object, image_export, is_kept_by_reading, operate, resume, sources_of_restores,
    suspend, trash_in, trash_purge, trash_purge_after, trash_purge_list, trash_restore,
};
pub use options::Options;
pub use overview::{JOURNAL_SHOWN, overview, overview_while};
pub use reconcile::{reconcile, reconcile_once};
pub use report::Report;
pub use setup::Setup;
pub use span::pass_span;
pub use writers::writers;
