//! What commands share: reading manifests, opening the store, running what waits.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::terminal::Terminal;
use crate::driver::{self, Driver};
use crate::engine::{self, Clock, Connect, Setup, Survey, SystemClock};
use crate::manifest::{self, Limits, Loaded, Problem, Source};
use crate::model::{BackendSpec, DriverError, Specs};
use crate::plan::{ProblemView, counted, escape};
use crate::store::{self, Opened, Store, StoreError};

/// What every command is given.
pub(crate) struct Context {
    /// Where it writes.
    pub(crate) terminal: Terminal,
    state: PathBuf,
    /// The operator's file, where one is named.
    config: Option<PathBuf>,
}

/// The store while it is opened for looking. It is waited for in any case: it leaves nothing behind only once it is done.
pub(crate) struct LookedStore {
    state: PathBuf,
    /// None where the host gives no thread: then it is opened when it is asked for.
    looking: Option<JoinHandle<Result<Option<Opened>, StoreError>>>,
}

impl LookedStore {
    fn begin(state: PathBuf) -> Self {
        let dir = state.clone();
        let looking = std::thread::Builder::new().spawn(move || store::look_briefly(&dir, engine::JOURNAL)).ok();
        Self { state, looking }
    }

    /// What it came to.
    fn opened(mut self) -> Result<Option<Opened>, StoreError> {
        match self.looking.take() {
            Some(looking) => looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => store::look_briefly(&self.state, engine::JOURNAL),
        }
    }
}

impl Drop for LookedStore {
    fn drop(&mut self) {
        if let Some(looking) = self.looking.take() {
            // Nobody asks any more what it came to.
            let _ = looking.join();
        }
    }
}

/// The drivers that are built in.
struct BuiltIn;

impl Connect for BuiltIn {
    fn connect(&self, backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        driver::connect(backend)
    }
}

impl Context {
    pub(crate) fn new(terminal: Terminal, state: PathBuf, config: Option<PathBuf>) -> Self {
        Self { terminal, state, config }
    }

    /// Reads manifests, with whatever problems they have, and judges what they reach. `-` is standard input.
    ///
    /// # Errors
    /// Exit code 5 if standard input is no text, 2 if the operator's file cannot be read.
    pub(crate) fn read_specs(&self, specs: &Path) -> Result<Loaded, Failure> {
        let allowed = config::read(self.config.as_deref())?;
        let source =
            if specs.as_os_str() == "-" { Source::Text(read_stdin()?) } else { Source::Path(specs.to_owned()) };
        let _busy = self.terminal.busy("reading the manifests");
        let mut loaded = manifest::load(&source, &Limits::default());
        loaded.hold_to(&source, &allowed);
        Ok(loaded)
    }

    /// Judges what the specs of a saved plan reach, as if they lay in a directory of the working directory.
    ///
    /// # Errors
    /// Exit code 2 if the operator's file cannot be read.
    pub(crate) fn hold_saved(&self, specs: &mut Specs) -> Result<(), Failure> {
        manifest::hold_saved(specs, Path::new("."), &config::read(self.config.as_deref())?);
        Ok(())
    }

    /// Shows problems on standard error.
    pub(crate) fn show_problems(&self, problems: &[Problem]) -> Failure {
        for problem in problems {
            // A problem makes the text in it safe itself: it knows which of its line breaks are its own.
            self.terminal.talk(&format!("{problem}\n"));
        }
        let message = format!("the manifests have {}; nothing was done", counted(problems.len(), "problem"));
        Failure::new(Exit::Invalid, message).hint("each is shown above with its file, line and column")
    }

    /// Reads manifests while the store is opened for looking: where there is much, both take their time.
    ///
    /// # Errors
    /// See [`Context::read_specs`].
    pub(crate) fn read_specs_and_look(&self, specs: &Path) -> Result<(Loaded, LookedStore), Failure> {
        let looking = LookedStore::begin(self.state.clone());
        Ok((self.read_specs(specs)?, looking))
    }

    /// Reads manifests that must be good.
    ///
    /// # Errors
    /// Exit code 5 if they have any problem; all are shown then.
    pub(crate) fn good_specs(&self, specs: &Path) -> Result<Arc<Specs>, Failure> {
        self.good(self.read_specs(specs)?)
    }

    fn good(&self, loaded: Loaded) -> Result<Arc<Specs>, Failure> {
        if loaded.problems.is_empty() { Ok(Arc::new(loaded.specs)) } else { Err(self.show_problems(&loaded.problems)) }
    }

    /// Opens the store for writing.
    ///
    /// # Errors
    /// Exit code 7.
    pub(crate) fn open_store(&self) -> Result<Arc<dyn Store>, Failure> {
        let opened = store::open(&self.state, SystemClock.now())?;
        Ok(self.with_notes(opened))
    }

    /// Opens the store for looking; none if there is none yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) fn look_store(&self) -> Result<Option<Arc<dyn Store>>, StoreError> {
        Ok(store::look(&self.state)?.map(|opened| self.with_notes(opened)))
    }

    fn with_notes(&self, opened: Opened) -> Arc<dyn Store> {
        for note in &opened.notes {
            self.terminal.note(note);
        }
        opened.store
    }

    /// A setup that writes.
    ///
    /// # Errors
    /// Exit code 7 if the store cannot be used.
    pub(crate) fn writing(&self, specs: Arc<Specs>) -> Result<Setup, Failure> {
        let store = Some(self.open_store()?);
        Ok(Setup { specs, store, connect: Arc::new(BuiltIn), clock: Arc::new(SystemClock) })
    }

    /// A setup that only looks: without the store where it is not there, or somebody else has it.
    pub(crate) fn looking(&self, specs: Arc<Specs>) -> Setup {
        let store = self.or_without(store::look(&self.state));
        self.setup(specs, store)
    }

    fn or_without(&self, looked: Result<Option<Opened>, StoreError>) -> Option<Arc<dyn Store>> {
        match looked {
            Ok(opened) => opened.map(|opened| self.with_notes(opened)),
            Err(error) => {
                self.terminal.note(&format!("{error}; looking without it"));
                None
            }
        }
    }

    /// A setup that only looks, with a store that was opened for looking.
    pub(crate) fn setup(&self, specs: Arc<Specs>, store: Option<Arc<dyn Store>>) -> Setup {
        Setup { specs, store, connect: Arc::new(BuiltIn), clock: Arc::new(SystemClock) }
    }

    /// Where the store is.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Prints data as JSON.
    pub(crate) fn json(&self, data: &impl serde::Serialize) {
        // What is printed has string keys and plain values only, so that there is nothing to refuse.
        self.terminal.line(&serde_json::to_string_pretty(data).unwrap_or_default());
    }

    /// Prints data as YAML.
    pub(crate) fn yaml(&self, data: &impl serde::Serialize) {
        self.terminal.out(&serde_yaml::to_string(data).unwrap_or_default());
    }

    /// Prints sentences about what was done. Text from outside in them is made safe.
    pub(crate) fn say(&self, sentences: &[String]) {
        for sentence in sentences {
            self.terminal.line(&escape(sentence));
        }
    }

    /// Reads manifests that must be good, and looks at everything.
    ///
    /// # Errors
    /// Those of [`Context::good_specs`]; exit code 1 if the host gives no event loop.
    pub(crate) fn survey(&self, specs: &Path) -> Result<(Arc<Specs>, Survey), Failure> {
        let (loaded, store) = self.read_specs_and_look(specs)?;
        let specs = self.good(loaded)?;
        let survey = self.survey_of(&specs, store)?;
        Ok((specs, survey))
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// Exit code 1 if the host gives no event loop.
    pub(crate) fn survey_of(&self, specs: &Arc<Specs>, store: LookedStore) -> Result<Survey, Failure> {
        let setup = self.setup(specs.clone(), None);
        let opening = async {
            let opened = tokio::task::spawn_blocking(move || store.opened()).await;
            self.or_without(opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
        };
        let _busy = self.terminal.busy("looking at the backends");
        block_on(async { engine::survey_while(&setup, opening, &[]).await })
    }
}

/// Runs what waits, on this thread; what blocks runs beside it.
///
/// # Errors
/// Exit code 1 if the host gives no event loop (out of descriptors).
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no event loop can be made: {error}")))?;
    let output = runtime.block_on(future);
    // A thread that waits for an answer on standard input, or for a backend that hangs, is not waited for.
    runtime.shutdown_background();
    Ok(output)
}

/// Problems as programs see them.
pub(crate) fn problem_views(problems: &[Problem]) -> Vec<ProblemView> {
    problems
        .iter()
        .map(|problem| ProblemView {
            file: Some(problem.place.file.clone()),
            line: problem.place.line,
            column: problem.place.column,
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        })
        .collect()
}

/// One past the largest file that manifests may be by default is enough for the reader to see that it is too large.
const STDIN_LIMIT: u64 = (1 << 20) + 1;

fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(STDIN_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Exit::Invalid, format!("standard input cannot be read: {error}")))?;
    // What was cut in the middle of a character is too large anyway: the reader is to say so, and not that it is no text.
    if bytes.len() as u64 == STDIN_LIMIT {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(Exit::Invalid, format!("standard input is not UTF-8 text from byte {at} on"))
            .hint("manifests are YAML in UTF-8")
    })
}
