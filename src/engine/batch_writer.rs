//! Writing down what steps are about to do and what came of them, for many steps at once.
//!
//! A commit costs the same for one step as for ten, and a step has two of them. So they are handed to one task: while a commit is on
//! its way the next ones gather, and an outcome waits a little for others, or for intents.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::record::commit;
use crate::store::{Batch, Store, StoreError};

/// For how long an outcome waits for others while calls run.
const SOON: Duration = Duration::from_millis(5);
/// So many outcomes wait for no more.
const MANY: usize = 64;

/// What is to be written down, and who waits for it.
struct Note {
    batch: Batch,
    done: oneshot::Sender<Result<(), StoreError>>,
    is_urgent: bool,
}

/// Where steps hand in what is to be written down. Cheap to clone.
#[derive(Clone)]
pub(super) struct BatchWriter {
    store: Arc<dyn Store>,
    notes: mpsc::UnboundedSender<Note>,
    /// How many run.
    calls: Arc<AtomicUsize>,
}

/// A call that runs. To be dropped before its outcome is handed in.
pub(super) struct Calling(Arc<AtomicUsize>);

impl Drop for Calling {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl BatchWriter {
    /// A batch_writer, and its work: to be run beside the steps, it ends when no batch_writer is left.
    pub(super) fn new(store: Arc<dyn Store>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (notes, waiting) = mpsc::unbounded_channel();
        let calls = Arc::new(AtomicUsize::new(0));
        let work = write(Arc::clone(&store), Arc::clone(&calls), waiting);
        (Self { store, notes, calls }, work)
    }

    /// To be called when a call begins: as long as one runs, outcomes wait for its.
    pub(super) fn calling(&self) -> Calling {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Calling(Arc::clone(&self.calls))
    }

    /// Returns when it is on disk.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.hand_in(batch, true).await
    }

    /// Likewise, but within [`SOON`]: for what no call waits for, or only by a few links.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn commit_soon(&self, batch: Batch) -> Result<(), StoreError> {
        self.hand_in(batch, false).await
    }

    async fn hand_in(&self, batch: Batch, is_urgent: bool) -> Result<(), StoreError> {
        if !self.store.waits_for_disk() {
            return self.store.commit(batch);
        }
        let gone = || StoreError::Io { path: String::new(), message: "its writer has ended".to_owned() };
        let (done, answer) = oneshot::channel();
        self.notes.send(Note { batch, done, is_urgent }).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn write(store: Arc<dyn Store>, calls: Arc<AtomicUsize>, mut notes: mpsc::UnboundedReceiver<Note>) {
    while let Some(Note { mut batch, done, mut is_urgent }) = notes.recv().await {
        let latest = Instant::now() + SOON;
        let mut waiting = vec![done];
        // What can go on without waiting does, and what it has to say is taken along.
        tokio::task::yield_now().await;
        loop {
            let more = match notes.try_recv() {
                Ok(more) => more,
                Err(_) if is_urgent || waiting.len() >= MANY || calls.load(Ordering::SeqCst) == 0 => break,
                Err(_) => match timeout_at(latest, notes.recv()).await {
                    Ok(Some(more)) => more,
                    Ok(None) | Err(_) => break,
                },
            };
            batch.append(more.batch);
            waiting.push(more.done);
            is_urgent |= more.is_urgent;
        }
        let written = commit(&store, batch).await;
        for done in waiting {
            // Who does not wait any more need not be told.
            let _ = done.send(written.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::model::{IntentId, JournalEntry, OpenIntent, Records};
    use crate::store::MemoryStore;

    /// A store whose commits have to be waited for.
    struct OnDisk(MemoryStore);

    impl Store for OnDisk {
        fn records(&self) -> Result<Arc<Records>, StoreError> {
            self.0.records()
        }
        fn intents(&self) -> Result<Vec<OpenIntent>, StoreError> {
            self.0.intents()
        }
        fn next_intent(&self) -> IntentId {
            self.0.next_intent()
        }
        fn commit(&self, batch: Batch) -> Result<(), StoreError> {
            self.0.commit(batch)
        }
        fn journal(&self, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
            self.0.journal(limit)
        }
    }

    /// What eight at once are told, and how many commits that took.
    fn eight_at_once(store: &Arc<OnDisk>) -> (Vec<Result<(), String>>, u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let told = runtime.block_on(async {
            let (batch_writer, writing) = BatchWriter::new(store.clone());
            let writer = tokio::spawn(writing);
            let mut tasks = JoinSet::new();
            for number in 0..8 {
                let batch_writer = batch_writer.clone();
                tasks.spawn(async move {
                    batch_writer.commit(Batch { close: vec![IntentId(number)], ..Batch::default() }).await
                });
            }
            drop(batch_writer);
            let told = tasks.join_all().await;
            writer.await.unwrap();
            told
        });
        (told.into_iter().map(|told| told.map_err(|error| error.to_string())).collect(), store.0.commits())
    }

    #[test]
    fn batches_submitted_together_are_one_commit_and_fail_together() {
        let store = Arc::new(OnDisk(MemoryStore::new()));
        let (told, commits) = eight_at_once(&store);
        assert!(told.iter().all(Result::is_ok), "{told:?}");
        assert_eq!(commits, 1);
        store.0.fail_at(2);
        let (told, commits) = eight_at_once(&store);
        assert!(told.iter().all(Result::is_err), "{told:?}");
        assert_eq!(commits, 2);
    }
}
