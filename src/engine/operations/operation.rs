//! Every operation as data: it is carried out here, or by the daemon that has the store.

use serde::{Deserialize, Serialize};
use tracing::Instrument;

use crate::model::{Name, ObjectId, Owner, Seconds};

use super::adopt::adopt_owner;
use super::approve::approve;
use super::error::OperationError;
use super::forget::{forget_backend, forget_object};
use super::purge::{Purge, trash_purge, trash_purge_list};
use super::run::Executed;
use super::suspend::{SuspensionResult, resume, suspend};
use super::trash::{Trashed, trash_restore};
use crate::engine::setup::Setup;
use crate::engine::span::pass_span;

/// A decision of a person.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Operation {
    /// See [`trash_restore`].
    Restore(ObjectId),
    /// See [`trash_purge_list`]. Changes nothing.
    ListPurge(Purge),
    /// See [`trash_purge`].
    Purge {
        /// The purge that listed the objects: its rules hold until each of them is destroyed.
        what: Purge,
        /// What is destroyed.
        objects: Vec<Trashed>,
    },
    /// See [`forget_object`]; with the person's name.
    ForgetObject(ObjectId, Option<String>),
    /// See [`forget_backend`]; with the person's name.
    ForgetBackend(Name, Option<String>),
    /// See [`adopt_owner`].
    AdoptOwner {
        /// The declared Backend.
        backend: Name,
        /// The present owner of the objects.
        from: Owner,
    },
    /// See [`approve`]; and who says so.
    Approve(String, Option<String>),
    /// See [`suspend`].
    Suspend {
        /// `None`: everything.
        object: Option<ObjectId>,
        /// Why.
        reason: String,
        /// For how long; `None`: until it is resumed.
        length: Option<Seconds>,
    },
    /// See [`resume`].
    Resume(Option<ObjectId>),
}

impl Operation {
    /// Whether the operation needs only the owner that the manifests name: then it is possible while other documents have problems.
    pub fn needs_the_owner_alone(&self) -> bool {
        match self {
            Operation::Suspend { .. } | Operation::Resume(_) => true,
            Operation::Restore(..)
            | Operation::ListPurge(_)
            | Operation::Purge { .. }
            | Operation::ForgetObject(..)
            | Operation::ForgetBackend(..)
            | Operation::AdoptOwner { .. }
            | Operation::Approve(..) => false,
        }
    }
}

/// What an operation did.
#[derive(Debug, Serialize, Deserialize)]
pub enum OperationResult {
    /// A sentence for each thing that was done.
    Sentences(Vec<String>),
    /// Steps were made: what was done, and what was not.
    Executed(Executed),
    /// See [`trash_purge_list`].
    ToPurge(Vec<Trashed>, usize),
    /// See [`suspend`] and [`resume`].
    Recorded(SuspensionResult),
}

/// Carries out an operation.
///
/// # Errors
/// See [`OperationError`].
pub async fn operate(setup: &Setup, operation: Operation) -> Result<OperationResult, OperationError> {
    carry_out(setup, operation).instrument(pass_span("operation")).await
}

async fn carry_out(setup: &Setup, operation: Operation) -> Result<OperationResult, OperationError> {
    let one = |sentence: String| OperationResult::Sentences(vec![sentence]);
    Ok(match operation {
        Operation::Restore(ObjectId { kind, name }) => {
            OperationResult::Executed(trash_restore(setup, kind, &name).await?)
        }
        Operation::ListPurge(what) => {
            let (found, suspended) = trash_purge_list(setup, &what).await?;
            OperationResult::ToPurge(found, suspended)
        }
        Operation::Purge { what, objects } => OperationResult::Executed(trash_purge(setup, &what, &objects).await?),
        Operation::ForgetObject(ObjectId { kind, name }, by) => {
            one(forget_object(setup, kind, &name, by.as_deref()).await?)
        }
        Operation::ForgetBackend(name, by) => one(forget_backend(setup, &name, by.as_deref()).await?),
        Operation::AdoptOwner { backend, from } => {
            OperationResult::Executed(adopt_owner(setup, &backend, &from).await?)
        }
        Operation::Approve(digest, by) => OperationResult::Sentences(approve(setup, &digest, by.as_deref()).await?),
        Operation::Suspend { object, reason, length } => {
            OperationResult::Recorded(suspend(setup, object, &reason, length).await?)
        }
        Operation::Resume(object) => OperationResult::Recorded(resume(setup, object).await?),
    })
}
