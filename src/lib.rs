//! Kiln: a declarative reconciler for block storage.
//!
//! ARCHITECTURE.md describes the modules and their imports. `model` is the hub: `manifest`, `plan`, `driver` and `store` import it, `engine`
//! imports these, and `cli` is the only module that prints, exits or reads the environment.
//!
//! # Quick start
//!
//! Reads manifests, shows the plan, and applies it to a simulated pool:
//!
//! ```
//! use std::sync::Arc;
//!
//! use kiln::driver::{self, Driver};
//! use kiln::engine::{Confirmation, Connect, Event, Options, Reporter, Setup, SystemClock, reconcile_once};
//! use kiln::manifest::{Allowed, Limits, Source, load};
//! use kiln::model::{BackendSpec, DriverError};
//! use kiln::plan::Plan;
//! use kiln::store::{MemoryStore, StoreError};
//!
//! /// Opens the drivers that Kiln includes.
//! struct Drivers;
//!
//! impl Connect for Drivers {
//!     fn connect(&self, backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
//!         driver::connect(backend)
//!     }
//! }
//!
//! /// Prints the plan, and confirms no irreversible step.
//! struct Printer;
//!
//! #[async_trait::async_trait]
//! impl Reporter for Printer {
//!     fn planned(&self, plan: &Plan) {
//!         for step in &plan.steps {
//!             println!("{} {}", step.identity.kind, step.identity.name);
//!         }
//!     }
//!
//!     fn event(&self, event: Event) {
//!         if let Event::Note { message } = event {
//!             println!("{message}");
//!         }
//!     }
//!
//!     async fn confirm(&self, _: &Plan) -> Confirmation {
//!         Confirmation::NotAsked
//!     }
//! }
//!
//! let source = Source::Text(
//!     "
//! apiVersion: kiln/v1
//! kind: Backend
//! metadata: {name: trial}
//! spec: {driver: sim}
//! ---
//! apiVersion: kiln/v1
//! kind: Volume
//! metadata: {name: db}
//! spec: {backend: trial, size: 10Gi}
//! "
//!     .to_owned(),
//! );
//! let mut loaded = load(&source, &Limits::default());
//! assert!(loaded.problems.is_empty());
//! loaded.apply_path_policy(&source, &Allowed::default());
//!
//! let setup = Setup {
//!     reading: Arc::new(loaded.reading),
//!     store: Some(Arc::new(MemoryStore::new())),
//!     connect: Arc::new(Drivers),
//!     clock: Arc::new(SystemClock),
//!     jobs: Arc::default(),
//! };
//! # let runtime = tokio::runtime::Runtime::new().unwrap();
//! # let report = runtime.block_on(async {
//! let report = reconcile_once(&setup, &Options::default(), Arc::new(Printer)).await?;
//! # Ok::<_, StoreError>(report)
//! # });
//! # let report = report.unwrap();
//! assert_eq!(report.changed, 1);
//! assert!(report.failed.is_empty());
//! ```
//!
//! [`engine::overview`] returns the plan without applying it.

pub mod cli;
pub mod daemon;
pub mod driver;
pub mod engine;
pub mod manifest;
pub mod model;
pub mod plan;
pub mod report;
pub mod store;
pub mod text;
