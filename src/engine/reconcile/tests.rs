use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::driver::sim::SimWorld;
use crate::engine::Event;
use crate::engine::effort::{Fixed, One, Yes};
use crate::manifest::fixtures::reading_of;
use crate::model::Action;
use crate::store::MemoryStore;

/// Expects that no step begins.
struct NoStep;

#[async_trait]
impl Reporter for NoStep {
    fn event(&self, event: Event) {
        assert!(!matches!(event, Event::Started { .. }), "a step was begun");
    }
    async fn confirm(&self, _plan: &Plan) -> Confirmation {
        Confirmation::Given
    }
}

/// The planner makes no such plan, so that it is made here: a volume that is declared is destroyed.
#[tokio::test]
async fn a_plan_that_breaks_a_rule_is_reported_and_not_carried_out() {
    let text = "apiVersion: kiln/v1\nkind: Backend\nmetadata: {name: fast}\nspec: {driver: sim}\n---\n\
        apiVersion: kiln/v1\nkind: Volume\nmetadata: {name: db}\nspec: {backend: fast, size: 1Mi}\n";
    let world: Arc<Mutex<SimWorld>> = Arc::default();
    let setup = Setup {
        reading: Arc::new(reading_of(text)),
        store: Some(Arc::new(MemoryStore::new())),
        connect: Arc::new(One(Arc::clone(&world))),
        clock: Arc::new(Fixed(1_800_000_000)),
        jobs: Arc::default(),
    };
    let made = reconcile_once(&setup, &Options::default(), Arc::new(Yes)).await.unwrap();
    assert_eq!((made.changed, made.breaches.len()), (1, 0));
    let events = world.lock().unwrap().events().len();

    let mut session = Session::begin_writing(&setup, None).await.unwrap();
    session.recover(&NoStep).await.unwrap();
    let mut whole = session.plan_closely(&[], Irreversible::List).await;
    assert!(whole.steps.is_empty(), "{whole:?}");
    let made = made.plan.unwrap().steps[0].clone();
    let expect = crate::model::Expect { place: Some(crate::model::Place::Live), ..made.expect.clone() };
    whole.steps.push(Step { action: Action::Destroy, expect, ..made });
    let (report, _) =
        carry_out(session, whole, None, &Options::default(), false, Arc::new(NoStep), Report::default()).await.unwrap();
    assert_eq!(report.breaches.len(), 1, "{:?}", report.breaches);
    assert!(report.breaches[0].ends_with("its object is declared"), "{:?}", report.breaches);
    assert_eq!((report.changed, report.unchanged, report.failed.len()), (0, 0, 0));
    assert_eq!(world.lock().unwrap().events().len(), events, "something was done");
    assert!(setup.store.unwrap().intents().unwrap().is_empty(), "no intent was written down");
}
