//! What commands share: reading manifests, opening the store, running what waits.

use std::cell::OnceCell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use serde::de::DeserializeOwned;

use super::client::{Daemon, Holder};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::terminal::Terminal;
use crate::daemon::protocol::{Answer, OperationAnswer, OperationRequest, OverviewAnswer, StoreAnswer, real};
use crate::driver::{self, Driver};
use crate::engine::{self, Clock, Connect, Executed, Operation, OperationResult, Setup, SuspensionResult, SystemClock};
use crate::manifest::{self, Allowed, Limits, Loaded, Problem, Source};
use crate::model::{BackendSpec, DriverError, JournalEntry, ObjectId, Reading};
use crate::plan::Overview;
use crate::report::history_of;
use crate::store::{self, OpenedStore, Store, StoreCondition, StoreError};
use crate::text::{counted, escape};

/// What every command is given.
pub(crate) struct Context {
    /// Where it writes.
    pub(crate) terminal: Terminal,
    state: PathBuf,
    /// The operator's file, where one is named.
    config: Option<PathBuf>,
    /// Who has the store, once that was asked.
    holder: OnceCell<Holder>,
}

/// Whether problems of the manifests have been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Already,
    NotYet,
}

/// What a look at everything came to.
pub(crate) struct Looked {
    /// What is declared.
    pub(crate) reading: Arc<Reading>,
    /// What is there, and what would be done.
    pub(crate) overview: Overview,
    /// Whether the manifests have problems, in spite of which the daemon goes on with what they last said.
    pub(crate) standing: Exit,
}

/// The store while it is opened for looking. It is waited for in any case: it leaves nothing behind only once it is done.
pub(crate) struct LookedStore {
    state: PathBuf,
    /// Asked instead, where it has the store.
    daemon: Option<Daemon>,
    /// None where the host gives no thread: then it is opened when it is asked for.
    looking: Option<JoinHandle<Result<Option<OpenedStore>, StoreError>>>,
}

impl LookedStore {
    fn begin(state: PathBuf, daemon: Option<Daemon>) -> Self {
        let (dir, asked) = (state.clone(), daemon.clone());
        let look = move || look_at_store(&dir, asked.as_ref(), engine::JOURNAL);
        let looking = std::thread::Builder::new().spawn(look).ok();
        Self { state, daemon, looking }
    }

    /// What it came to.
    fn opened(mut self) -> Result<Option<OpenedStore>, StoreError> {
        match self.looking.take() {
            Some(looking) => looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => look_at_store(&self.state, self.daemon.as_ref(), engine::JOURNAL),
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

/// What the store has, from whoever has it.
fn look_at_store(state: &Path, daemon: Option<&Daemon>, journal: usize) -> Result<Option<OpenedStore>, StoreError> {
    let Some(daemon) = daemon else { return store::open_read_only_with(state, journal) };
    let trouble = |failure: Failure| StoreError::Io { path: state.display().to_string(), message: failure.message };
    let path = format!("/v1/store?journal={journal}");
    let StoreAnswer { records, intents, journal } =
        block_on(daemon.get::<StoreAnswer>(&path)).and_then(|told| told).map_err(trouble)?;
    Ok(Some(store::from_daemon(state, records, intents, &journal)))
}

/// The drivers that are built in.
pub(crate) struct BuiltIn;

impl Connect for BuiltIn {
    fn connect(&self, backend: &BackendSpec) -> Result<Arc<dyn Driver>, DriverError> {
        driver::connect(backend)
    }
}

impl Context {
    pub(crate) fn new(terminal: Terminal, state: PathBuf, config: Option<PathBuf>) -> Self {
        Self { terminal, state, config, holder: OnceCell::new() }
    }

    /// Who has the store.
    ///
    /// # Errors
    /// Exit code 1 if the host gives no event loop.
    pub(crate) fn holder(&self) -> Result<&Holder, Failure> {
        if let Some(holder) = self.holder.get() {
            return Ok(holder);
        }
        let found = Holder::find(&self.state)?;
        if let Holder::Mute(why) = &found {
            let what = "the daemon that has the store does not answer as it should";
            self.terminal.note(&format!("{what}: {why} (SIGTERM ends one that hangs, a second SIGTERM at once)"));
        }
        if matches!(found, Holder::Barred) {
            let state = self.state.display();
            self.terminal.note(&format!("whether a daemon runs cannot be known: this user may not look into {state}"));
        }
        Ok(self.holder.get_or_init(|| found))
    }

    /// The daemon that has the store, if there is one.
    ///
    /// # Errors
    /// As [`Context::holder`].
    pub(crate) fn daemon(&self) -> Result<Option<&Daemon>, Failure> {
        match self.holder()? {
            Holder::Daemon(daemon) => Ok(Some(daemon)),
            Holder::None => Ok(None),
            Holder::Mute(_) | Holder::Barred => Ok(None),
        }
    }

    /// The daemon that has the store, if it follows these manifests.
    pub(crate) fn daemon_of(&self, specs: &Path) -> Result<Option<&Daemon>, Failure> {
        let same = |daemon: &&Daemon| specs.as_os_str() != "-" && real(&daemon.view.specs) == real(specs);
        Ok(self.daemon()?.filter(same))
    }

    /// What the operator allows manifests to reach.
    ///
    /// # Errors
    /// Exit code 2 if the operator's file cannot be read.
    pub(crate) fn allowed(&self) -> Result<Allowed, Failure> {
        config::read(self.config.as_deref())
    }

    /// Where the operator's file is, if one is named.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Reads manifests, with whatever problems they have, and judges what they reach. `-` is standard input.
    ///
    /// # Errors
    /// Exit code 5 if standard input is no text, 2 if the operator's file cannot be read.
    pub(crate) fn read_specs(&self, specs: &Path) -> Result<Loaded, Failure> {
        let allowed = self.allowed()?;
        let source =
            if specs.as_os_str() == "-" { Source::Text(read_stdin()?) } else { Source::Path(specs.to_owned()) };
        let _busy = self.terminal.busy("reading the manifests");
        let mut loaded = manifest::load(&source, &Limits::default());
        loaded.apply_path_policy(&source, &allowed);
        Ok(loaded)
    }

    /// Judges what the specs of a saved plan reach, as if they lay in a directory of the working directory.
    ///
    /// # Errors
    /// Exit code 2 if the operator's file cannot be read.
    pub(crate) fn judge_saved_paths(&self, reading: &mut Reading) -> Result<(), Failure> {
        manifest::judge_saved_paths(reading, Path::new("."), &self.allowed()?);
        Ok(())
    }

    /// Shows problems on standard error.
    pub(crate) fn show_problems(&self, problems: &[Problem]) -> Failure {
        for problem in problems {
            // A problem makes the text in it safe itself: it knows which of its line breaks are its own.
            self.terminal.talk(&format!("{}\n", self.terminal.commands().complete(&problem.to_string())));
        }
        let message = format!("the manifests have {}; nothing was done", counted(problems.len(), "problem"));
        Failure::new(Exit::Invalid, message).hint("each is shown above with its file, line and column")
    }

    /// Reads manifests while the store is opened for looking: where there is much, both take their time.
    ///
    /// # Errors
    /// See [`Context::read_specs`].
    pub(crate) fn read_specs_and_look(&self, specs: &Path) -> Result<(Loaded, LookedStore), Failure> {
        let looking = self.begin_look()?;
        Ok((self.read_specs(specs)?, looking))
    }

    /// Begins to open the store for looking.
    ///
    /// # Errors
    /// As [`Context::holder`].
    pub(crate) fn begin_look(&self) -> Result<LookedStore, Failure> {
        Ok(LookedStore::begin(self.state.clone(), self.daemon()?.cloned()))
    }

    /// Reads manifests that must be good.
    ///
    /// # Errors
    /// Exit code 5 if they have any problem; all are shown then.
    pub(crate) fn good_specs(&self, specs: &Path) -> Result<Arc<Reading>, Failure> {
        self.good(self.read_specs(specs)?)
    }

    fn good(&self, loaded: Loaded) -> Result<Arc<Reading>, Failure> {
        if loaded.problems.is_empty() {
            Ok(Arc::new(loaded.reading))
        } else {
            Err(self.show_problems(&loaded.problems))
        }
    }

    /// Opens the store for writing.
    ///
    /// # Errors
    /// Exit code 7.
    pub(crate) fn open_store(&self) -> Result<Arc<dyn Store>, Failure> {
        let opened = store::open(&self.state, SystemClock.now())?;
        Ok(self.with_notes(opened))
    }

    /// Returns the last entries of the journal, about one object or all. It is in the store alone: without it there is nothing to show,
    /// and that is not the same as an empty one.
    ///
    /// # Errors
    /// Exit code 7 if the store, or the daemon that has it, gives no answer.
    pub(crate) fn journal(&self, what: Option<&ObjectId>, limit: usize) -> Result<Vec<JournalEntry>, Failure> {
        if let Some(daemon) = self.daemon()? {
            let about = what.map(|ObjectId { kind, name }| format!("&kind={}&name={name}", kind.as_lower()));
            return block_on(daemon.get(&format!("/v1/journal?limit={limit}{}", about.unwrap_or_default())))?;
        }
        // The entries about one object may lie anywhere in it.
        let read = if what.is_none() { limit } else { usize::MAX };
        match self.look_store(read)? {
            None => Ok(Vec::new()),
            Some(store) => Ok(history_of(&store.journal(read)?, None, what, limit)),
        }
    }

    /// Opens the store for looking; none if there is none yet.
    fn look_store(&self, journal: usize) -> Result<Option<Arc<dyn Store>>, Failure> {
        let Some(opened) = look_at_store(&self.state, None, journal)? else { return Ok(None) };
        let fix = match opened.found {
            StoreCondition::Whole => return Ok(Some(self.with_notes(opened))),
            StoreCondition::Unreadable => {
                "run it as a user that may read the store, or give another store with --state DIR"
            }
            StoreCondition::Damaged => "`kiln apply` sets it aside and begins a new one: what was recorded is lost",
        };
        Err(Failure::new(Exit::Store, opened.notes.join("; ")).hint(fix))
    }

    /// Opens the store for looking, with its notes for the caller.
    ///
    /// # Errors
    /// Exit code 7.
    pub(crate) fn look_store_quietly(&self) -> Result<Option<OpenedStore>, Failure> {
        Ok(look_at_store(&self.state, self.daemon()?, engine::JOURNAL)?)
    }

    fn with_notes(&self, opened: OpenedStore) -> Arc<dyn Store> {
        for note in &opened.notes {
            self.terminal.note(note);
        }
        opened.store
    }

    /// A setup that writes.
    ///
    /// # Errors
    /// Exit code 7 if the store cannot be used.
    pub(crate) fn writing(&self, reading: Arc<Reading>) -> Result<Setup, Failure> {
        let store = Some(self.open_store()?);
        Ok(Setup { reading, store, connect: Arc::new(BuiltIn), clock: Arc::new(SystemClock) })
    }

    /// A setup that only looks: without the store where it is not there, or somebody else has it.
    ///
    /// # Errors
    /// As [`Context::holder`].
    pub(crate) fn looking(&self, reading: Arc<Reading>) -> Result<Setup, Failure> {
        let store = self.or_without(look_at_store(&self.state, self.daemon()?, 0));
        Ok(self.setup(reading, store))
    }

    fn or_without(&self, looked: Result<Option<OpenedStore>, StoreError>) -> Option<Arc<dyn Store>> {
        match looked {
            Ok(opened) => opened.map(|opened| self.with_notes(opened)),
            Err(error) => {
                self.terminal.note(&format!("{error}; looking without it"));
                None
            }
        }
    }

    /// A setup that only looks, with a store that was opened for looking.
    pub(crate) fn setup(&self, reading: Arc<Reading>, store: Option<Arc<dyn Store>>) -> Setup {
        Setup { reading, store, connect: Arc::new(BuiltIn), clock: Arc::new(SystemClock) }
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
            self.terminal.line(&escape(&self.terminal.commands().complete(sentence)));
        }
    }

    /// Reads manifests that must be good, and looks at everything.
    ///
    /// # Errors
    /// Those of [`Context::good_specs`]; exit code 1 if the host gives no event loop.
    pub(crate) fn overview(&self, specs: &Path) -> Result<Looked, Failure> {
        if let Some(looked) = self.survey_of_daemon(specs, Told::NotYet)? {
            return Ok(looked);
        }
        let (loaded, store) = self.read_specs_and_look(specs)?;
        let reading = self.good(loaded)?;
        let overview = self.survey_of(&reading, store)?;
        Ok(Looked { reading, overview, standing: Exit::Done })
    }

    /// What the daemon shows, if one follows these manifests. Problems with them are shown; it goes on with what they last said.
    ///
    /// # Errors
    /// Exit code 7 if the daemon goes away.
    pub(crate) fn survey_of_daemon(&self, specs: &Path, told: Told) -> Result<Option<Looked>, Failure> {
        let asked = self.ask(specs, "/v1/overview", told)?;
        Ok(asked.map(|(OverviewAnswer { reading, overview }, standing)| Looked { reading, overview, standing }))
    }

    /// Asks the daemon that follows these manifests; none if no daemon does. Problems of the manifests are shown, and are the exit code
    /// beside the answer.
    ///
    /// # Errors
    /// Exit code 7 if the daemon goes away.
    pub(crate) fn ask<T: DeserializeOwned>(
        &self,
        specs: &Path,
        question: &str,
        told: Told,
    ) -> Result<Option<(T, Exit)>, Failure> {
        let Some(daemon) = self.daemon_of(specs)? else { return Ok(None) };
        let Answer { problems, answer } = {
            let _busy = self.terminal.busy("looking at the backends");
            block_on(daemon.get::<Answer<T>>(question))??
        };
        if !problems.is_empty() && told == Told::NotYet {
            // As a command that reads them itself shows them.
            self.show_problems(&self.read_specs(specs)?.problems);
            let count = counted(problems.len(), "problem");
            self.terminal.note(&format!("the manifests have {count}; the daemon goes on with what they last said"));
        }
        Ok(Some((answer, Exit::Invalid.when(!problems.is_empty()))))
    }

    /// Carries out what a person decided: here, or in the daemon that has the store.
    ///
    /// # Errors
    /// Those of [`Context::good_specs`] and [`Context::writing`], and what keeps it from being carried out.
    pub(crate) fn act(&self, specs: &Path, act: Operation) -> Result<OperationResult, Failure> {
        let loaded = self.read_specs(specs)?;
        let is_enough = loaded.reading.specs.stack.declared && act.needs_the_owner_alone();
        let declared = if is_enough { Arc::new(loaded.reading) } else { self.good(loaded)? };
        // The pools take it without the store: who has that finds it there before the next step.
        let without_store = act.needs_the_owner_alone().then(|| (Arc::clone(&declared), act.clone()));
        match (self.act_with_store(specs, declared, act), without_store) {
            (Err(failure), Some((declared, act))) if failure.exit == Exit::Store => {
                self.terminal.note(&format!("{}; only the pools record it", failure.message));
                let setup = self.setup(declared, None);
                Ok(block_on(async { engine::operate(&setup, act).await })??)
            }
            (result, _) => result,
        }
    }

    /// Carries it out here, or in the daemon that has the store.
    fn act_with_store(&self, specs: &Path, declared: Arc<Reading>, act: Operation) -> Result<OperationResult, Failure> {
        let Some(daemon) = self.daemon()? else {
            let setup = self.writing(declared)?;
            return Ok(block_on(async { engine::operate(&setup, act).await })??);
        };
        let request = OperationRequest { specs: real(specs), operation: act };
        match block_on(daemon.post("/v1/operation", &request))?? {
            OperationAnswer::Done(said) => Ok(said),
            OperationAnswer::Failed(error) => Err(error.into()),
            OperationAnswer::Invalid(problems) => {
                let message = format!("the manifests have {}; nothing was done", counted(problems.len(), "problem"));
                Err(Failure::new(Exit::Invalid, message).hint("`kiln check` shows each"))
            }
            OperationAnswer::OtherSpecs { message, fix } => Err(Failure::new(Exit::Store, message).hint(fix)),
        }
    }

    /// Carries out what a person decided, and says what was done.
    ///
    /// # Errors
    /// As [`Context::act`].
    pub(crate) fn act_and_say(&self, specs: &Path, act: Operation) -> Result<Exit, Failure> {
        Ok(self.say_result(self.act(specs, act)?))
    }

    /// Says what an operation did, and what it left and why.
    pub(crate) fn say_result(&self, result: OperationResult) -> Exit {
        match result {
            OperationResult::Sentences(said) => self.say(&said),
            OperationResult::ToPurge(..) => {}
            OperationResult::Executed(Executed { done, left }) => {
                self.say(&done);
                let left: Vec<Failure> = left.into_iter().map(Failure::from).collect();
                for (index, Failure { message, hint, .. }) in left.iter().enumerate() {
                    let is_hinted_next = left.get(index + 1).is_some_and(|next| next.hint == *hint);
                    self.terminal.error(message, hint.as_deref().filter(|_| !is_hinted_next));
                }
                return Exit::combine(left.iter().map(|failure| failure.exit));
            }
            OperationResult::Recorded(SuspensionResult { said, missed }) => {
                self.say(&said);
                for missed in &missed {
                    self.terminal.note(missed);
                }
                return Exit::Unobserved.when(!missed.is_empty());
            }
        }
        Exit::Done
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// Exit code 1 if the host gives no event loop.
    pub(crate) fn survey_of(&self, reading: &Arc<Reading>, store: LookedStore) -> Result<Overview, Failure> {
        let setup = self.setup(reading.clone(), None);
        let opening = async {
            let opened = tokio::task::spawn_blocking(move || store.opened()).await;
            self.or_without(opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
        };
        let _busy = self.terminal.busy("looking at the backends");
        block_on(async { engine::overview_while(&setup, opening, &[]).await })
    }
}

/// Runs what waits, on this thread; what blocks runs beside it.
///
/// # Errors
/// Exit code 1 if the host gives no event loop (out of descriptors).
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    run_on(tokio::runtime::Builder::new_current_thread(), future)
}

/// Runs a daemon, whose clients are answered while it plans.
///
/// # Errors
/// As [`block_on`].
pub(crate) fn block_on_two<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2);
    run_on(builder, future)
}

fn run_on<T>(mut builder: tokio::runtime::Builder, future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no event loop can be made: {error}")))?;
    let output = runtime.block_on(future);
    // A thread that waits for an answer on standard input, or for a backend that hangs, is not waited for.
    runtime.shutdown_background();
    Ok(output)
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
