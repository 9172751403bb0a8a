//! Every decision by hand, as data: it is carried out here, or by the daemon that has the store.

use serde::{Deserialize, Serialize};

use super::Setup;
use super::acts::{ActError, Purge, Trashed, adopt_owner, trash_purge, trash_purge_list, trash_restore};
use super::approve::approve;
use super::forget::{forget_backend, forget_object};
use super::suspend::{Written, resume, suspend};
use crate::model::{Kind, Name, Owner, Seconds};

/// What a person decided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Act {
    /// See [`trash_restore`].
    Restore(Kind, Name),
    /// See [`trash_purge_list`]: decides nothing yet.
    ListPurge(Purge),
    /// See [`trash_purge`].
    Purge {
        /// The purge that listed the objects: its rules hold until each of them is destroyed.
        what: Purge,
        /// What is destroyed.
        objects: Vec<Trashed>,
    },
    /// See [`forget_object`]; and who says so.
    ForgetObject(Kind, Name, Option<String>),
    /// See [`forget_backend`]; and who says so.
    ForgetBackend(Name, Option<String>),
    /// See [`adopt_owner`].
    AdoptOwner {
        /// The declared Backend.
        backend: Name,
        /// Whose the objects are.
        from: Owner,
    },
    /// See [`approve`].
    Approve(String),
    /// See [`suspend`].
    Suspend {
        /// Everything, if none.
        object: Option<(Kind, Name)>,
        /// Why.
        reason: String,
        /// For how long; until it is resumed, if not said.
        length: Option<Seconds>,
    },
    /// See [`resume`].
    Resume(Option<(Kind, Name)>),
}

impl Act {
    /// Whether it needs no more of the manifests than whose they are: then what is wrong with the rest of them is no obstacle.
    pub fn needs_the_owner_alone(&self) -> bool {
        match self {
            Act::Suspend { .. } | Act::Resume(_) => true,
            Act::Restore(..)
            | Act::ListPurge(_)
            | Act::Purge { .. }
            | Act::ForgetObject(..)
            | Act::ForgetBackend(..)
            | Act::AdoptOwner { .. }
            | Act::Approve(_) => false,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// A sentence for each thing that was done.
    Sentences(Vec<String>),
    /// See [`trash_purge_list`].
    ToPurge(Vec<Trashed>, usize),
    /// See [`suspend`] and [`resume`].
    Recorded(Written),
}

/// Carries a decision out.
///
/// # Errors
/// See [`ActError`].
pub async fn act(setup: &Setup, act: Act) -> Result<Said, ActError> {
    let one = |sentence: String| Said::Sentences(vec![sentence]);
    Ok(match act {
        Act::Restore(kind, name) => Said::Sentences(trash_restore(setup, kind, &name).await?),
        Act::ListPurge(what) => {
            let (found, suspended) = trash_purge_list(setup, &what).await?;
            Said::ToPurge(found, suspended)
        }
        Act::Purge { what, objects } => Said::Sentences(trash_purge(setup, &what, &objects).await?),
        Act::ForgetObject(kind, name, by) => one(forget_object(setup, kind, &name, by.as_deref()).await?),
        Act::ForgetBackend(name, by) => one(forget_backend(setup, &name, by.as_deref()).await?),
        Act::AdoptOwner { backend, from } => Said::Sentences(adopt_owner(setup, &backend, &from).await?),
        Act::Approve(digest) => Said::Sentences(approve(setup, &digest).await?),
        Act::Suspend { object, reason, length } => Said::Recorded(suspend(setup, object, &reason, length).await?),
        Act::Resume(object) => Said::Recorded(resume(setup, object).await?),
    })
}
