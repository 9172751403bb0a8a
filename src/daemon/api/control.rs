//! The requests of the control socket that change something (see `protocol`). `questions` answers the others.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path as UrlPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, post};
use tokio::time::Instant;

use super::super::reconciler::Reconciler;
use super::super::state::Certainty;
use super::connections::{AnswerBody, Connection, RequestInProgress, STALLED};
use super::monitoring;
use super::protocol::{ApplyRequest, HEADER, OperationAnswer, OperationRequest, RunLine, VERSION, real};
use super::questions;
use super::runs::{Runs, apply};
use crate::engine::{self, Confirmation};
use crate::manifest::problem_views;
use crate::text::quoted;

/// The largest body of a request. A saved plan of 100,000 volumes has about 60 MB.
const BODY: usize = 256 << 20;

/// The state that the answers are made from.
#[derive(Clone)]
struct Api {
    reconciler: Arc<Reconciler>,
    runs: Arc<Runs>,
}

pub(super) fn routes(reconciler: Arc<Reconciler>) -> Router {
    let monitoring = monitoring::routes(Arc::clone(&reconciler));
    let questions = questions::routes(Arc::clone(&reconciler));
    let api = Api { reconciler, runs: Arc::default() };
    Router::new()
        .route("/v1/apply", post(begin_apply))
        .route("/v1/runs/{run}/answer", post(answer))
        .route("/v1/runs/{run}/stop", post(stop))
        .route("/v1/operation", post(operate))
        .route("/v1/reconcile", post(reconcile))
        .with_state(api)
        .merge(questions)
        .layer(middleware::from_fn(checked))
        .merge(monitoring)
}

/// Refuses clients of another version, and receives the body before the request takes part in anything.
async fn checked(request: Request, next: Next) -> Response {
    let theirs = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or("another version");
    if theirs != VERSION {
        let text = format!(
            "this daemon is kiln {VERSION}, and the client is {theirs}: restart the daemon, or use the same version"
        );
        return (StatusCode::UPGRADE_REQUIRED, text).into_response();
    }
    let (head, body) = request.into_parts();
    match tokio::time::timeout(STALLED, to_bytes(body, BODY)).await {
        Ok(Ok(bytes)) => {
            let request = head.extensions.get::<Connection>().cloned().map(RequestInProgress::new);
            let response = next.run(Request::from_parts(head, Body::from(bytes))).await;
            response.map(|body| Body::new(AnswerBody { body, _request: request }))
        }
        Ok(Err(error)) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the body of the request was not received in time").into_response(),
    }
}

/// Returns why a request for other manifests than those that the daemon follows is refused, and the path of those, as a shell word.
fn other_specs(reconciler: &Reconciler, theirs: &Path) -> Option<(String, String)> {
    let (pid, ours) = (std::process::id(), reconciler.specs.display().to_string());
    let message =
        || format!("the store is in use by the daemon {pid}, which follows {ours} and not {}", theirs.display());
    (real(&reconciler.specs) != real(theirs)).then(|| (message(), quoted(&ours)))
}

async fn begin_apply(State(api): State<Api>, Json(ask): Json<ApplyRequest>) -> Response {
    let mut lines = match other_specs(&api.reconciler, &ask.specs).filter(|_| ask.saved.is_none()) {
        Some((message, ours)) => {
            let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
            let fix =
                format!("`kiln apply {ours}` applies the manifests that it follows; `--state DIR` names another store");
            // Sending cannot fail: `lines` receives below.
            let _ = sender.send(RunLine::Refused { message, fix });
            lines
        }
        None => apply(&api.reconciler, &api.runs, ask),
    };
    let stream = futures_util::stream::poll_fn(move |context| {
        lines.poll_recv(context).map(|line| {
            line.map(|line| {
                // A line always serialises: paths arrived as text.
                let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
                bytes.push(b'\n');
                Ok::<_, Infallible>(Bytes::from(bytes))
            })
        })
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response()
}

async fn answer(State(api): State<Api>, UrlPath(run): UrlPath<u64>, Json(answer): Json<Confirmation>) -> StatusCode {
    ok_if(api.runs.answer(run, answer))
}

async fn stop(State(api): State<Api>, UrlPath(run): UrlPath<u64>) -> StatusCode {
    ok_if(api.runs.stop(run))
}

fn ok_if(is_found: bool) -> StatusCode {
    if is_found { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

async fn operate(
    State(api): State<Api>,
    Json(OperationRequest { specs, operation }): Json<OperationRequest>,
) -> Json<OperationAnswer> {
    if let Some((message, ours)) = other_specs(&api.reconciler, &specs) {
        let fix = format!("add `--specs {ours}` to the command; `--state DIR` names another store");
        return Json(OperationAnswer::OtherSpecs { message, fix });
    }
    // A task of its own, which a client that disconnects does not interrupt.
    let operated = tokio::spawn(async move {
        // A change of records only need not wait for a step that runs for an hour.
        let _turn = match operation.needs_the_owner_alone() {
            true => None,
            false => Some(api.reconciler.turn().await),
        };
        let manifests = api.reconciler.read().await;
        let is_enough = manifests.usable && operation.needs_the_owner_alone();
        if !manifests.problems.is_empty() && !is_enough {
            return OperationAnswer::Invalid(problem_views(&manifests.problems));
        }
        // Manifests that were read only once may be incomplete: an absence in them is not believed.
        let certainty = {
            let (mut known, now) = (api.reconciler.known(), Instant::now());
            let confirm_at = known.confirmed.read(&manifests.content, now);
            Certainty { confirm_at, settles_at: known.confirmed.settles_at(&manifests.content, now), prune: false }
        };
        let reading = api.reconciler.with_certainty(&manifests, &certainty);
        let end_if_store = |error: &engine::OperationError| {
            if let engine::OperationError::Store(error) = error {
                api.reconciler.end(error);
            }
        };
        let answer = match engine::operate(&api.reconciler.setup(reading), operation).await {
            Ok(said) => {
                match &said {
                    engine::OperationResult::Sentences(said) => {
                        said.iter().for_each(|said| tracing::info!("by a client: {said}"))
                    }
                    engine::OperationResult::Executed(engine::Executed { done, left }) => {
                        done.iter().for_each(|done| tracing::info!("by a client: {done}"));
                        left.iter().for_each(|why| tracing::warn!("by a client: {why}"));
                        left.iter().for_each(end_if_store);
                    }
                    engine::OperationResult::ToPurge(..) => {}
                    engine::OperationResult::Recorded(engine::SuspensionResult { said, missed }) => {
                        said.iter().for_each(|said| tracing::info!("by a client: {said}"));
                        missed.iter().for_each(|missed| tracing::warn!("{missed}"));
                    }
                }
                OperationAnswer::Done(said)
            }
            Err(error) => {
                end_if_store(&error);
                OperationAnswer::Failed(error)
            }
        };
        // The decision may allow or require steps.
        api.reconciler.wake.notify_one();
        answer
    });
    let panicked = |_| {
        OperationAnswer::Failed(engine::OperationError::Failed("the operation panicked (a bug in Kiln)".to_owned()))
    };
    Json(operated.await.unwrap_or_else(panicked))
}

async fn reconcile(State(api): State<Api>) -> StatusCode {
    api.reconciler.wake.notify_one();
    StatusCode::OK
}

#[cfg(test)]
mod tests {
    use crate::daemon::schedule::CONFIRM;
    use crate::daemon::tests::{Bench, HOUR};
    use std::path::PathBuf;

    use super::*;
    use crate::engine::{Operation, OperationError, OperationResult, Purge};

    fn api(bench: &Bench) -> State<Api> {
        let reconciler = Arc::clone(&bench.reconciler);
        State(Api { reconciler, runs: Arc::default() })
    }

    async fn asks(bench: &Bench, specs: PathBuf, operation: Operation) -> OperationAnswer {
        super::operate(api(bench), Json(OperationRequest { specs, operation })).await.0
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_of_a_client_does_not_act_on_an_absence_that_was_read_once() {
        let bench = Bench::new().await;
        bench.remove("b.yaml");
        bench.confirmed().await;
        bench.write(
            "stack.yaml",
            &std::fs::read_to_string(bench.specs().join("stack.yaml")).unwrap().replace("1h", "2h"),
        );
        bench.later(HOUR).await;
        // A pass records the time, which a purge has to agree with.
        bench.pass().await.unwrap();
        bench.write("more.yaml", "# being written\n");
        let list = || asks(&bench, bench.specs(), Operation::ListPurge(Purge::Expired));
        let answer = list().await;
        assert!(
            matches!(&answer, OperationAnswer::Done(OperationResult::ToPurge(found, 1)) if found.is_empty()),
            "{answer:?}"
        );
        bench.later(CONFIRM.as_secs()).await;
        let answer = list().await;
        assert!(
            matches!(&answer, OperationAnswer::Done(OperationResult::ToPurge(found, 0)) if found.len() == 1),
            "{answer:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn commands_for_other_specs_are_refused() {
        let bench = Bench::new().await;
        let other = tempfile::tempdir().unwrap();
        let ours = bench.reconciler.specs.display().to_string();
        let forget = || Operation::ForgetObject((crate::model::Kind::Volume, "a".parse().unwrap()).into(), None);
        let answer = asks(&bench, real(other.path()), forget()).await;
        assert!(matches!(&answer, OperationAnswer::OtherSpecs { fix, .. } if fix.contains(&ours)), "{answer:?}");
        let answer = asks(&bench, bench.specs(), forget()).await;
        assert!(matches!(answer, OperationAnswer::Failed(OperationError::Usage(_))), "the volume exists: {answer:?}");
        let ask = ApplyRequest { specs: real(other.path()), ..ApplyRequest::default() };
        let refused = begin_apply(api(&bench), Json(ask)).await;
        let lines = to_bytes(refused.into_body(), BODY).await.unwrap();
        let line: RunLine = serde_json::from_slice(&lines).unwrap();
        assert!(matches!(&line, RunLine::Refused { fix, .. } if fix.contains(&ours)), "{line:?}");
        assert_eq!(bench.live(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_on_broken_manifests_is_refused_unless_it_needs_the_owner_alone() {
        let mut bench = Bench::new().await;
        bench.remove("b.yaml");
        bench.confirmed().await;
        assert_eq!((bench.live(), bench.trash()), (1, 1));
        bench.write("broken.yaml", "kind: [");
        let object = || (crate::model::Kind::Volume, "b".parse().unwrap()).into();
        let answer = asks(&bench, bench.specs(), Operation::ListPurge(Purge::Named(object()))).await;
        assert!(matches!(&answer, OperationAnswer::Invalid(problems) if problems.len() == 1), "{answer:?}");
        let answer = asks(&bench, bench.specs(), Operation::Resume(Some(object()))).await;
        assert!(!matches!(answer, OperationAnswer::Invalid(_)), "{answer:?}");
        // Who the owner is only the Stack says.
        bench.write("stack.yaml", "kind: [");
        let store = Arc::clone(&bench.reconciler.config.store);
        bench.restart(store);
        let answer = asks(&bench, bench.specs(), Operation::Resume(Some(object()))).await;
        assert!(matches!(answer, OperationAnswer::Invalid(_)), "{answer:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_given_up_after_a_minute() {
        let bench = Bench::new().await;
        let service = hyper_util::service::TowerToHyperService::new(routes(Arc::clone(&bench.reconciler)));
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
        let request = Request::post("/v1/operation").header(HEADER, VERSION).body(body).unwrap();
        let answering = hyper::service::Service::call(&service, request);
        let answer = tokio::time::timeout(STALLED * 2, answering).await.expect("it waits for ever").unwrap();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
