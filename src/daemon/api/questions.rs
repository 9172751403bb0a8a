//! The questions of commands (the `GET` requests of `protocol`): answered from the store, or from an observation that is made for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::super::reconciler::Reconciler;
use super::super::state::Certainty;
use super::protocol::{Answer, DaemonView, PlanAnswer, StoreAnswer, TrashAnswer, UnownedAnswer};
use crate::engine::{self, Setup, with_content, writers};
use crate::manifest::problem_views;
use crate::model::{Name, ObjectId, Reading};
use crate::plan::Overview;
use crate::report::{
    LabelSelector, ObjectSelection, ObjectsQuestion, doctor_answer, has_status, history_of, kind_named, objects,
    stack_status,
};
use crate::store::{Store, StoreError};

/// The state that the answers are made from.
#[derive(Clone)]
struct Questions {
    reconciler: Arc<Reconciler>,
    /// The last observation, and when it began: it answers requests that came before that.
    observed: Arc<Mutex<Option<Latest>>>,
    /// Requests that wait for an observation. While there is more than one, the last observation is kept for them.
    waiting: Arc<AtomicUsize>,
    /// Answers that are made at once: many clients must not take all processors, nor a thread each.
    making: Arc<Semaphore>,
}

/// How many answers are made at once.
const AT_ONCE: usize = 2;

/// The specs, and the observations with the plan.
struct ReadingAndOverview {
    reading: Arc<Reading>,
    overview: Overview,
}

/// Manifests and backends as read and observed for a question.
type ObservedNow = Answer<ReadingAndOverview>;

/// An observation, and when it began.
type Latest = (Instant, Arc<ObservedNow>);

const PANICKED: &str = "the observation panicked (a bug in Kiln)";

pub(super) fn routes(reconciler: Arc<Reconciler>) -> Router {
    let questions = Questions {
        reconciler,
        observed: Arc::default(),
        waiting: Arc::default(),
        making: Arc::new(Semaphore::new(AT_ONCE)),
    };
    Router::new()
        .route("/v1/daemon", get(daemon))
        .route("/v1/objects", get(list_objects))
        .route("/v1/status", get(status))
        .route("/v1/plan", get(plan))
        .route("/v1/doctor", get(doctor))
        .route("/v1/trash", get(trash))
        .route("/v1/unowned", get(list_unowned))
        .route("/v1/journal", get(journal))
        .route("/v1/store", get(store))
        .with_state(questions)
}

async fn daemon(State(questions): State<Questions>) -> axum::Json<DaemonView> {
    axum::Json(questions.reconciler.view())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectsQuery {
    #[serde(default)]
    what: String,
    #[serde(default)]
    labels: String,
    details: Option<usize>,
}

impl ObjectsQuery {
    fn question(self) -> Result<ObjectsQuestion, String> {
        let selection = ObjectSelection::parse(self.what.split_whitespace())?;
        if let Some(kind) = selection.kinds().find(|kind| !has_status(*kind)) {
            return Err(format!("documents of kind {kind} have no status"));
        }
        Ok(ObjectsQuestion { selection, labels: LabelSelector::parse(&self.labels)?, details: self.details })
    }
}

async fn list_objects(State(questions): State<Questions>, Query(query): Query<ObjectsQuery>) -> Response {
    match query.question() {
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
        Ok(question) => {
            let select = move |now: &ObservedNow| {
                let ReadingAndOverview { reading, overview } = &now.answer;
                now.with(objects(overview, reading, &question))
            };
            questions.answer(select).await
        }
    }
}

async fn status(State(questions): State<Questions>) -> Response {
    let summarise = |now: &ObservedNow| {
        let ReadingAndOverview { reading, overview } = &now.answer;
        let writers = writers(&overview.world, &reading.specs.stack.owner, Some(std::process::id()));
        now.with(stack_status(overview, reading, true, writers))
    };
    questions.answer(summarise).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanQuery {
    #[serde(default)]
    reading: bool,
}

async fn plan(State(questions): State<Questions>, Query(query): Query<PlanQuery>) -> Response {
    let select = move |now: &ObservedNow| {
        let ReadingAndOverview { reading, overview } = &now.answer;
        now.with(PlanAnswer {
            plan: std::borrow::Cow::Borrowed(&overview.plan),
            reading: query.reading.then(|| Arc::clone(reading)),
        })
    };
    questions.answer(select).await
}

async fn doctor(State(questions): State<Questions>) -> Response {
    questions.answer(|now| now.with(doctor_answer(&now.answer.overview, &now.answer.reading))).await
}

async fn trash(State(questions): State<Questions>) -> Response {
    questions.answer(|now| now.with(TrashAnswer::new(&now.answer.overview, &now.answer.reading))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnownedQuery {
    backend: Name,
}

async fn list_unowned(State(questions): State<Questions>, Query(query): Query<UnownedQuery>) -> Response {
    let now = match questions.observed_now().await {
        Ok(now) => now,
        Err(why) => return failed(why),
    };
    // A task of its own, which a client that disconnects does not interrupt.
    let reconciler = Arc::clone(&questions.reconciler);
    let observing = tokio::spawn(async move {
        let ReadingAndOverview { reading, overview } = &now.answer;
        // All foreign objects share one time limit here: that it passes says nothing about the backend, so no breaker may open.
        let connect = Arc::clone(&reconciler.config.connect);
        let setup = Setup { connect, ..reconciler.setup(Arc::clone(reading)) };
        let overview = with_content(&setup, overview.clone(), &query.backend).await;
        now.with(UnownedAnswer::new(&overview, reading, &query.backend))
    });
    let json = observing.await.map_err(|_| PANICKED.to_owned());
    questions.in_background(move || json?.map_err(|error| error.to_string())).await
}

impl ObservedNow {
    /// Returns an answer from this observation as JSON.
    fn with<T: Serialize>(&self, answer: T) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Answer { problems: self.problems.clone(), answer })
    }
}

impl Questions {
    /// Answers from an observation that begins after the request came.
    async fn answer(
        &self,
        to_json: impl FnOnce(&ObservedNow) -> serde_json::Result<Vec<u8>> + Send + 'static,
    ) -> Response {
        match self.observed_now().await {
            Ok(now) => self.in_background(move || to_json(&now).map_err(|error| error.to_string())).await,
            Err(why) => failed(why),
        }
    }

    async fn observed_now(&self) -> Result<Arc<ObservedNow>, String> {
        let asked = Instant::now();
        let _waiting = Counted::new(&self.waiting);
        let mut observed = self.observed.lock().await;
        if let Some((_, now)) = observed.as_ref().filter(|(began, _)| *began >= asked) {
            return Ok(Arc::clone(now));
        }
        let began = Instant::now();
        // A task of its own, which a client that disconnects does not interrupt: abandoned driver calls would count as failed ones.
        let observing = tokio::spawn(observe(Arc::clone(&self.reconciler)));
        let now = Arc::new(observing.await.map_err(|_| PANICKED.to_owned())?);
        *observed = (self.waiting.load(Ordering::Relaxed) > 1).then(|| (began, Arc::clone(&now)));
        Ok(now)
    }
}

/// Reads the manifests, observes all backends and plans.
async fn observe(reconciler: Arc<Reconciler>) -> ObservedNow {
    let manifests = reconciler.read().await;
    // A command by a person needs no confirmation read, so the answer shows removals at once. A vanished directory waits here too.
    let settles_at = reconciler.known().confirmed.settles_at(&manifests.content, Instant::now());
    let reading = reconciler.with_certainty(&manifests, &Certainty { settles_at, ..Certainty::default() });
    let overview = engine::overview(&reconciler.setup(Arc::clone(&reading)), &[]).await;
    let overview = Overview { retries: reconciler.retries(), ..overview };
    Answer { problems: problem_views(&manifests.problems), answer: ReadingAndOverview { reading, overview } }
}

/// Counts one request until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalQuery {
    limit: usize,
    kind: Option<String>,
    name: Option<Name>,
}

async fn journal(State(questions): State<Questions>, Query(query): Query<JournalQuery>) -> Response {
    let JournalQuery { limit, kind, name } = query;
    let object = match (kind.as_deref().map(kind_named).transpose(), name) {
        (Err(why), _) => return (StatusCode::BAD_REQUEST, why).into_response(),
        (Ok(None), None) => None,
        (Ok(Some(kind)), Some(name)) => Some(ObjectId { kind, name }),
        (Ok(_), _) => return (StatusCode::BAD_REQUEST, "`kind` and `name` need each other").into_response(),
    };
    questions
        .answer_from_store(move |store| {
            // The entries about one object may lie anywhere in the journal.
            let read = if object.is_some() { usize::MAX } else { limit };
            Ok(serde_json::to_vec(&history_of(&store.journal(read)?, None, object.as_ref(), limit)))
        })
        .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreQuery {
    journal: usize,
}

async fn store(State(questions): State<Questions>, Query(query): Query<StoreQuery>) -> Response {
    questions
        .answer_from_store(move |store| {
            let (records, intents, journal) = (store.records()?, store.intents()?, store.journal(query.journal)?);
            Ok(serde_json::to_vec(&StoreAnswer { records, intents, journal }))
        })
        .await
}

impl Questions {
    /// Answers from the store.
    async fn answer_from_store(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<serde_json::Result<Vec<u8>>, StoreError> + Send + 'static,
    ) -> Response {
        let store = Arc::clone(&self.reconciler.config.store);
        let read = move || read(&*store).map_err(|error| error.to_string())?.map_err(|error| error.to_string());
        self.in_background(read).await
    }

    /// Makes an answer of JSON on a thread that may block.
    async fn in_background(&self, make: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static) -> Response {
        // The semaphore is never closed. The work keeps its turn even if the client leaves.
        let turn = Arc::clone(&self.making).acquire_owned().await;
        let making = move || {
            let _turn = turn;
            make()
        };
        match tokio::task::spawn_blocking(making).await {
            Ok(Ok(bytes)) => ([(header::CONTENT_TYPE, "application/json")], Bytes::from(bytes)).into_response(),
            Ok(Err(why)) => failed(why),
            Err(_) => failed("making the answer panicked (a bug in Kiln)".to_owned()),
        }
    }
}

fn failed(why: String) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
}
