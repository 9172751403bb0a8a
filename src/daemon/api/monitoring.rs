//! The routes of monitoring: `/metrics`, `/healthz` and `/readyz`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get};

use super::super::reconciler::Reconciler;

/// The router of monitoring.
pub(in crate::daemon) fn routes(reconciler: Arc<Reconciler>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async |State(reconciler): State<Arc<Reconciler>>| health(reconciler.fault())))
        .route("/readyz", get(async |State(reconciler): State<Arc<Reconciler>>| health(reconciler.unready())))
        .with_state(reconciler)
}

async fn metrics(State(reconciler): State<Arc<Reconciler>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], reconciler.metrics.text()).into_response()
}

fn health(fault: Option<String>) -> (StatusCode, String) {
    match fault {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(fault) => (StatusCode::SERVICE_UNAVAILABLE, format!("{fault}\n")),
    }
}
