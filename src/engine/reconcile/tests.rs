use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::driver::Driver;
use crate::driver::sim::FaultRates;
use crate::driver::sim::{SimDriver, SimWorld};

use crate::engine::{Clock, Connect, Event};
use crate::manifest::{Limits, Source, load};
use crate::model::{Action, BackendSpec};
use crate::store::MemoryStore;

struct Pool(Arc<Mutex<SimWorld>>);

impl Connect for Pool {
    fn connect(&self, _backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(SimDriver::new(Arc::clone(&self.0), FaultRates::NONE, 0)))
    }
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> u64 {
        1_800_000_000
    }
}

struct Yes;

#[async_trait]
impl Reporter for Yes {
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
    let loaded = load(&Source::Text(text.to_owned()), &Limits::default());
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let world: Arc<Mutex<SimWorld>> = Arc::default();
    let setup = Setup {
        reading: Arc::new(loaded.reading),
        store: Some(Arc::new(MemoryStore::new())),
        connect: Arc::new(Pool(Arc::clone(&world))),
        clock: Arc::new(Noon),
    };
    struct Silent;
    #[async_trait]
    impl Reporter for Silent {
        fn event(&self, _event: Event) {}
        async fn confirm(&self, _plan: &Plan) -> Confirmation {
            Confirmation::Given
        }
    }
    let made = reconcile_once(&setup, &Options::default(), Arc::new(Silent)).await.unwrap();
    assert_eq!((made.changed, made.breaches.len()), (1, 0));
    let events = world.lock().unwrap().events().len();

    let mut session = Session::begin_writing(&setup).await.unwrap();
    session.recover(&Yes).await.unwrap();
    let mut whole = session.plan_closely(&[], Irreversible::List).await;
    assert!(whole.steps.is_empty(), "{whole:?}");
    let made = made.plan.unwrap().steps[0].clone();
    let expect = crate::model::Expect { place: Some(crate::model::Place::Live), ..made.expect.clone() };
    whole.steps.push(Step { action: Action::Destroy, expect, ..made });
    let (report, _) =
        carry_out(session, whole, None, &Options::default(), false, Arc::new(Yes), Report::default()).await.unwrap();
    assert_eq!(report.breaches.len(), 1, "{:?}", report.breaches);
    assert!(report.breaches[0].ends_with("its object is declared"), "{:?}", report.breaches);
    assert_eq!((report.changed, report.unchanged, report.failed.len()), (0, 0, 0));
    assert_eq!(world.lock().unwrap().events().len(), events, "something was done");
    assert!(setup.store.unwrap().intents().unwrap().is_empty(), "no intent was written down");
}
