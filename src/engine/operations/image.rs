//! Writing a volume or snapshot into an image file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::model::{Access, ErrorKind, ImageFormat, Kind, Name, Object, Place};
use crate::plan::Observation;

use super::error::OperationError;
use crate::driver::image::{Export, export};
use crate::engine::session::Session;
use crate::engine::setup::Setup;

/// Which object to export, and to which file.
pub struct ImageExport {
    /// Volume or Snapshot.
    pub kind: Kind,
    /// Declared or not.
    pub name: Name,
    /// The file to make.
    pub file: PathBuf,
    /// The format of that file.
    pub format: ImageFormat,
    /// Whether an existing file is replaced.
    pub force: bool,
    /// Whether a person says that no program writes to the volume. Needed where its backend does not show all clients.
    pub quiesced: bool,
    /// Called with bytes done, and bytes in total.
    pub progress: Arc<dyn Fn(u64, u64) + Send + Sync>,
    /// Set when the export is no longer wanted.
    pub abandoned: Arc<AtomicBool>,
}

/// Writes a volume or snapshot of this owner into an image file, whole or not at all. Changes nothing on the backend. Returns a
/// sentence.
///
/// # Errors
/// See [`OperationError`]; `Held` if a process has the volume open for writing, or may have, or if its restore is not complete.
pub async fn image_export(setup: &Setup, wanted: ImageExport) -> Result<String, OperationError> {
    let ImageExport { kind, name, file, format, force, quiesced, progress, abandoned } = wanted;
    let what = format!("{}/{name}", kind.as_lower());
    let records = setup.store.as_ref().and_then(|store| store.records().ok()).unwrap_or_default();
    let session = Session::begin_reading(setup, records).await;
    let owner = &setup.reading.specs.stack.owner;
    let mut found: Vec<(&Name, &Object)> = Vec::new();
    let mut unseen = Vec::new();
    for (backend, view) in &session.observations.world {
        match view {
            Observation::Seen { observed, .. } | Observation::LockedBy { observed, .. } => {
                let ours = |object: &&Object| object.place == Place::Live && object.is(owner, kind, &name);
                found.extend(observed.objects.iter().filter(ours).map(|object| (backend, object)));
                // An incomplete listing proves the objects it shows, and not the absence of others.
                if !observed.proves_gone(kind, &[]) {
                    unseen.push(format!("{backend} did not show everything"));
                }
            }
            Observation::Failed { why, fix: _ } => unseen.push(format!("{backend}: {why}")),
            Observation::Unsupported => {}
        }
    }
    if found.is_empty() && unseen.is_empty() {
        unseen.extend(session.unobserved().into_iter().map(|unobserved| unobserved.message));
    }
    let (backend, object) = match found[..] {
        [one] => one,
        [] if !unseen.is_empty() => {
            return Err(OperationError::Unobserved(format!("{what} was not found, and {}", unseen.join(", "))));
        }
        [] => return Err(OperationError::Usage(format!("{what} is not there"))),
        _ => return Err(OperationError::Held(format!("there are several objects that are {what}"))),
    };
    if let Some(why) = &object.conflict {
        return Err(OperationError::Held(format!("{what} is inconsistent: {why}")));
    }
    if let Some(begun) = &object.tags.restoring {
        let why = format!("the restore of {what} ({begun}) is not complete; fix: run `kiln apply`");
        return Err(OperationError::Held(why));
    }
    let shown = session.observations.world.get(backend).and_then(Observation::capabilities);
    let is_unseen = shown.is_some_and(|can| object.may_have_unseen_clients(can.client_visibility));
    if kind == Kind::Volume && is_unseen && !quiesced {
        return Err(OperationError::Held(format!(
            "{what} may be open: backend {backend} cannot see all clients; an image of it could be inconsistent; fix: stop everything \
             that writes to it, and add `--quiesced`"
        )));
    }
    let driver = session.observations.backends.get(backend).map(|backend| Arc::clone(&backend.driver));
    let from = match driver.map(|driver| driver.access(&object.address())) {
        Some(Access::File(path)) => path,
        _ => return Err(OperationError::Failed(format!("the driver of {backend} gives no file to read {what} from"))),
    };
    let said = format!("exported {what} of {} to {} ({format})", object.size, file.display());
    let written = tokio::task::spawn_blocking(move || {
        export(&Export { from: &from, what: &what, file: &file, format, force, abandoned }, progress)
    });
    match written.await {
        Ok(Ok(())) => Ok(said),
        Ok(Err(error)) if error.kind == ErrorKind::Busy => Err(OperationError::Held(error.message)),
        Ok(Err(error)) => Err(OperationError::Failed(error.message)),
        Err(_) => Err(OperationError::Failed("the export ended in a panic".to_owned())),
    }
}
