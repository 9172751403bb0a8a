//! What commands share: reading manifests, opening the store, observing the backends.

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
use super::late_store::LateStore;
use super::runtime::block_on;
use super::terminal::Terminal;
use super::working_dir;
use crate::daemon::protocol::{Answer, OperationAnswer, OperationRequest, StoreAnswer, real};
use crate::driver::{self, Driver};
use crate::engine::{self, Clock, Connect, Executed, Operation, OperationResult, Setup, SuspensionResult, SystemClock};
use crate::manifest::{self, Allowed, Limits, Loaded, Problem, Source};
use crate::model::{BackendSpec, DriverError, JournalEntry, ObjectId, Owner, Reading};
use crate::plan::Overview;
use crate::report::{history_of, same_problems};
use crate::store::{self, MemoryStore, OpenedStore, Store, StoreCondition, StoreError};
use crate::text::{counted, escape};

/// The context of a command.
pub(crate) struct Context {
    /// Where the command writes.
    pub(crate) terminal: Terminal,
    state: PathBuf,
    /// The host configuration, if one is named.
    config: Option<PathBuf>,
    /// The holder of the store, once it was determined.
    holder: OnceCell<Holder>,
}

/// The store while a thread opens it read-only. Dropping it waits for the thread, so that no file of the store stays open.
pub(crate) struct OpeningStore {
    state: PathBuf,
    /// The daemon to ask instead, if one has the store.
    daemon: Option<Daemon>,
    /// The thread; none if the host provides none: then the store is opened on demand.
    opening: Option<JoinHandle<Result<Option<OpenedStore>, StoreError>>>,
}

impl OpeningStore {
    fn begin(state: PathBuf, daemon: Option<Daemon>) -> Self {
        let (dir, asked) = (state.clone(), daemon.clone());
        let open = move || read_store(&dir, asked.as_ref(), engine::JOURNAL_SHOWN);
        let opening = std::thread::Builder::new().spawn(open).ok();
        Self { state, daemon, opening }
    }

    /// Waits for the store and returns it.
    fn opened(mut self) -> Result<Option<OpenedStore>, StoreError> {
        match self.opening.take() {
            Some(opening) => opening.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => read_store(&self.state, self.daemon.as_ref(), engine::JOURNAL_SHOWN),
        }
    }
}

impl Drop for OpeningStore {
    fn drop(&mut self) {
        if let Some(opening) = self.opening.take() {
            // The result is no longer needed.
            let _ = opening.join();
        }
    }
}

/// Reads the store read-only, through the daemon that has it if there is one.
fn read_store(state: &Path, daemon: Option<&Daemon>, journal: usize) -> Result<Option<OpenedStore>, StoreError> {
    let Some(daemon) = daemon else { return store::open_read_only(state, journal) };
    let trouble = |failure: Failure| StoreError::Io { path: state.display().to_string(), message: failure.message };
    let path = format!("/v1/store?journal={journal}");
    let StoreAnswer { records, intents, journal } =
        block_on(daemon.get::<StoreAnswer>(&path)).and_then(|answer| answer).map_err(trouble)?;
    Ok(Some(store::from_daemon(state, records, intents, journal)))
}

/// Connects the built-in drivers.
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

    /// Returns the holder of the store.
    ///
    /// # Errors
    /// Exit code 1 if the host provides no event loop.
    pub(crate) fn holder(&self) -> Result<&Holder, Failure> {
        if let Some(holder) = self.holder.get() {
            return Ok(holder);
        }
        let found = Holder::find(&self.state)?;
        if let Holder::Mute(why) = &found {
            let what = "the daemon that has the store does not answer correctly";
            self.terminal.note(&format!(
                "{what}: {why} (stop a daemon that hangs with SIGTERM, a second SIGTERM stops it at once)"
            ));
        }
        if matches!(found, Holder::Barred) {
            let state = self.state.display();
            self.terminal.note(&format!("cannot tell whether a daemon runs: this user may not read {state}"));
        }
        Ok(self.holder.get_or_init(|| found))
    }

    /// Returns the daemon that has the store, if there is one.
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

    /// Returns the daemon that has the store, if it follows these manifests.
    pub(crate) fn daemon_of(&self, specs: &Path) -> Result<Option<&Daemon>, Failure> {
        let same = |daemon: &&Daemon| specs.as_os_str() != "-" && real(&daemon.view.specs) == real(specs);
        Ok(self.daemon()?.filter(same))
    }

    /// Returns what the host configuration allows manifests to use.
    ///
    /// # Errors
    /// Exit code 2 if the host configuration cannot be read.
    pub(crate) fn allowed(&self) -> Result<Allowed, Failure> {
        config::read(self.config.as_deref())
    }

    /// Returns the path of the host configuration, if one is named.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Reads manifests, with their problems, and applies the path policy. `-` is stdin.
    ///
    /// # Errors
    /// Exit code 5 if stdin is not UTF-8, 2 if the host configuration cannot be read.
    pub(crate) fn read_specs(&self, specs: &Path) -> Result<Loaded, Failure> {
        let allowed = self.allowed()?;
        let source =
            if specs.as_os_str() == "-" { Source::Text(read_stdin()?) } else { Source::Path(specs.to_owned()) };
        let _busy = self.terminal.busy("reading the manifests");
        let mut loaded = manifest::load(&source, &Limits::default());
        loaded.apply_path_policy(&source, &allowed);
        if let [problem] = loaded.problems.as_mut_slice()
            && problem.place.known().is_none()
            && specs.as_os_str() != "-"
            && !specs.exists()
            && let Some(hint) = working_dir::hint()
        {
            problem.hint = Some(hint);
        }
        Ok(loaded)
    }

    /// Applies the path policy to the specs of a saved plan, relative to the working directory.
    ///
    /// # Errors
    /// Exit code 2 if the host configuration cannot be read.
    pub(crate) fn check_saved_paths(&self, reading: &mut Reading) -> Result<(), Failure> {
        manifest::check_saved_paths(reading, Path::new("."), &self.allowed()?);
        Ok(())
    }

    /// Returns the failure for manifests with problems, which it prints to stderr. What is wrong with all of SPECS is the failure itself.
    pub(crate) fn refused(&self, problems: &[Problem]) -> Failure {
        whole_source(problems).unwrap_or_else(|| self.show_problems(problems))
    }

    /// Prints problems to stderr, and returns the failure.
    pub(crate) fn show_problems(&self, problems: &[Problem]) -> Failure {
        let each = problems.iter().map(|problem| (problem.place.known(), &*problem.message, problem.hint.as_deref()));
        for same in same_problems(each) {
            let problem = &problems[same.first];
            // A problem escapes its own text: it knows which line breaks are its own.
            let complete = |text: &String| self.terminal.commands().complete(text);
            let (message, hint) = (complete(&problem.message), problem.hint.as_ref().map(complete));
            let problem = Problem { message, hint, ..problem.clone() };
            let paint = self.terminal.err_paint;
            let listing = self.terminal.commands().command("kiln check -o json");
            let others = same.others(&listing).into_iter().map(|others| paint.fit(&format!("{}\n", escape(&others))));
            self.terminal.talk(&format!("{}\n{}", problem.shown(paint), others.collect::<String>()));
        }
        // They are shown above.
        Failure { hint: None, ..Failure::invalid(problems.len()) }
    }

    /// Reads manifests while the store is opened read-only on another thread: both take time if there is much to read.
    ///
    /// # Errors
    /// See [`Context::read_specs`].
    pub(crate) fn read_specs_and_store(&self, specs: &Path) -> Result<(Loaded, OpeningStore), Failure> {
        let store = self.begin_opening_store()?;
        Ok((self.read_specs(specs)?, store))
    }

    /// Begins to open the store read-only.
    ///
    /// # Errors
    /// As [`Context::holder`].
    pub(crate) fn begin_opening_store(&self) -> Result<OpeningStore, Failure> {
        Ok(OpeningStore::begin(self.state.clone(), self.daemon()?.cloned()))
    }

    /// Reads manifests that must be valid.
    ///
    /// # Errors
    /// Exit code 5 if they have any problem; all problems are printed.
    pub(crate) fn valid_specs(&self, specs: &Path) -> Result<Arc<Reading>, Failure> {
        self.valid(self.read_specs(specs)?)
    }

    fn valid(&self, loaded: Loaded) -> Result<Arc<Reading>, Failure> {
        if loaded.problems.is_empty() { Ok(Arc::new(loaded.reading)) } else { Err(self.refused(&loaded.problems)) }
    }

    /// Opens the store for writing.
    ///
    /// # Errors
    /// Exit code 7 if the store cannot be used.
    pub(crate) fn open_store(&self) -> Result<Arc<dyn Store>, Failure> {
        let opened = store::open(&self.state, SystemClock.now())?;
        Ok(self.with_notes(opened))
    }

    /// Returns the owner of the objects of manifests, which may have problems if they declare a Stack.
    ///
    /// # Errors
    /// Those of [`Context::valid_specs`].
    pub(crate) fn owner(&self, specs: &Path) -> Result<Owner, Failure> {
        let loaded = self.read_specs(specs)?;
        let is_enough = loaded.reading.specs.stack.declared;
        let reading = if is_enough { Arc::new(loaded.reading) } else { self.valid(loaded)? };
        Ok(reading.specs.stack.owner.clone())
    }

    /// Returns the last entries of the journal, of one owner and about one object, or all. Only the store has it: a missing store has no entries, and an
    /// unreadable one is an error.
    ///
    /// # Errors
    /// Exit code 7 if the store, or the daemon that has it, does not answer.
    pub(crate) fn journal(
        &self,
        owner: Option<&Owner>,
        what: Option<&ObjectId>,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, Failure> {
        if let Some(daemon) = self.daemon()? {
            let about = what.map(|ObjectId { kind, name }| format!("&kind={}&name={name}", kind.as_lower()));
            // The daemon does not select by owner.
            let read = if owner.is_none() { limit } else { usize::MAX };
            let path = format!("/v1/journal?limit={read}{}", about.unwrap_or_default());
            let entries: Vec<JournalEntry> = block_on(daemon.get(&path))??;
            return Ok(history_of(&entries, owner, what, limit));
        }
        // Entries about one object, or of one owner, may be anywhere in the journal.
        let read = if what.is_none() && owner.is_none() { limit } else { usize::MAX };
        match self.open_store_read_only(read)? {
            None => Ok(Vec::new()),
            Some(store) => Ok(history_of(&store.journal(read)?, owner, what, limit)),
        }
    }

    /// Opens the store read-only; none if it does not exist.
    fn open_store_read_only(&self, journal: usize) -> Result<Option<Arc<dyn Store>>, Failure> {
        let Some(opened) = read_store(&self.state, None, journal)? else { return Ok(None) };
        let fix = match opened.found {
            StoreCondition::Whole => return Ok(Some(self.with_notes(opened))),
            StoreCondition::Unreadable => "run as a user that may read the store, or use another store: --state DIR",
            StoreCondition::Damaged => "`kiln apply` sets it aside and creates a new one; the journal is lost",
        };
        Err(Failure::new(Exit::Store, opened.notes.join("; ")).hint(fix))
    }

    /// Opens the store read-only, and leaves its notes to the caller.
    ///
    /// # Errors
    /// Exit code 7 if the store cannot be used.
    pub(crate) fn open_store_quietly(&self) -> Result<Option<OpenedStore>, Failure> {
        Ok(read_store(&self.state, self.daemon()?, engine::JOURNAL_SHOWN)?)
    }

    fn with_notes(&self, opened: OpenedStore) -> Arc<dyn Store> {
        for note in &opened.notes {
            self.terminal.note(note);
        }
        opened.store
    }

    /// Returns a setup that writes.
    ///
    /// # Errors
    /// Exit code 7 if the store cannot be used.
    pub(crate) fn writing(&self, reading: Arc<Reading>) -> Result<Setup, Failure> {
        Ok(self.setup(reading, Some(self.open_store()?)))
    }

    /// Returns a setup that writes. The store is made, or opened for writing, by the first change.
    ///
    /// # Errors
    /// As [`Context::writing`].
    pub(crate) fn writing_after_question(&self, reading: Arc<Reading>) -> Result<Setup, Failure> {
        let seen = match store::open_read_only(&self.state, 0)? {
            None => Arc::new(MemoryStore::new()),
            Some(opened) if opened.found == StoreCondition::Whole => self.with_notes(opened),
            // Opening it for writing sets it aside, or says why that is impossible.
            Some(_) => return self.writing(reading),
        };
        let store = LateStore::new(self.state.clone(), self.terminal.clone(), seen);
        Ok(self.setup(reading, Some(Arc::new(store))))
    }

    /// Returns a read-only setup, without the store if it does not exist or another process has it.
    ///
    /// # Errors
    /// As [`Context::holder`].
    pub(crate) fn read_only(&self, reading: Arc<Reading>) -> Result<Setup, Failure> {
        let store = self.or_without(read_store(&self.state, self.daemon()?, 0));
        Ok(self.setup(reading, store))
    }

    fn or_without(&self, overview: Result<Option<OpenedStore>, StoreError>) -> Option<Arc<dyn Store>> {
        match overview {
            Ok(opened) => opened.map(|opened| self.with_notes(opened)),
            Err(error) => {
                self.terminal.note(&format!("{error}; continuing without the store"));
                None
            }
        }
    }

    /// Returns a setup with this store.
    pub(crate) fn setup(&self, reading: Arc<Reading>, store: Option<Arc<dyn Store>>) -> Setup {
        Setup { reading, store, connect: Arc::new(BuiltIn), clock: Arc::new(SystemClock), jobs: Arc::default() }
    }

    /// Returns the directory of the store.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Prints data as JSON.
    pub(crate) fn json(&self, data: &impl serde::Serialize) {
        // Serialization cannot fail: what is printed has string keys and plain values.
        self.terminal.out(&(serde_json::to_string_pretty(data).unwrap_or_default() + "\n"));
    }

    /// Prints data as YAML.
    pub(crate) fn yaml(&self, data: &impl serde::Serialize) {
        self.terminal.out(&serde_yaml::to_string(data).unwrap_or_default());
    }

    /// Prints sentences about what was done, with text from outside escaped.
    pub(crate) fn print_sentences(&self, sentences: &[String]) {
        for sentence in sentences {
            self.terminal.line(&escape(&self.terminal.commands().complete(sentence)));
        }
    }

    /// Reads manifests that must be valid, and observes all backends: for commands that no daemon answers.
    ///
    /// # Errors
    /// Those of [`Context::valid_specs`]; exit code 1 if the host provides no event loop.
    pub(crate) fn overview(&self, specs: &Path) -> Result<(Arc<Reading>, Overview), Failure> {
        let (loaded, store) = self.read_specs_and_store(specs)?;
        let reading = self.valid(loaded)?;
        let overview = self.overview_of(&reading, store)?;
        Ok((reading, overview))
    }

    /// Asks the daemon that follows these manifests; none if no daemon does. Prints problems of the manifests; the exit code beside the
    /// answer reports them.
    ///
    /// # Errors
    /// Exit code 7 if the daemon stops.
    pub(crate) fn ask<T: DeserializeOwned>(&self, specs: &Path, question: &str) -> Result<Option<(T, Exit)>, Failure> {
        let Some(Answer { problems, answer }) = self.ask_quietly(specs, question)? else { return Ok(None) };
        if !problems.is_empty() {
            // As a command that reads the manifests itself prints them.
            self.show_problems(&self.read_specs(specs)?.problems);
            let count = counted(problems.len(), "problem");
            self.terminal.note(&format!("the manifests have {count}; the daemon uses their last valid content"));
        }
        Ok(Some((answer, Exit::Invalid.when(!problems.is_empty()))))
    }

    /// Asks the daemon that follows these manifests, and prints no problems; none if no daemon does.
    ///
    /// # Errors
    /// As [`Context::ask`].
    pub(crate) fn ask_quietly<T: DeserializeOwned>(
        &self,
        specs: &Path,
        question: &str,
    ) -> Result<Option<Answer<T>>, Failure> {
        let Some(daemon) = self.daemon_of(specs)? else { return Ok(None) };
        let _busy = self.terminal.busy("observing the backends");
        block_on(daemon.get(question))?.map(Some)
    }

    /// Executes an operation: here, or in the daemon that has the store.
    ///
    /// # Errors
    /// Those of [`Context::declared_for`] and [`Context::operate_on`].
    pub(crate) fn operate(&self, specs: &Path, operation: Operation) -> Result<OperationResult, Failure> {
        self.operate_on(specs, self.declared_for(specs, &operation)?, operation)
    }

    /// Reads the manifests for an operation: they must be valid, unless the operation needs only the owner and they declare it.
    ///
    /// # Errors
    /// Those of [`Context::valid_specs`].
    pub(crate) fn declared_for(&self, specs: &Path, operation: &Operation) -> Result<Arc<Reading>, Failure> {
        let loaded = self.read_specs(specs)?;
        let is_enough = loaded.reading.specs.stack.declared && operation.needs_the_owner_alone();
        if is_enough { Ok(Arc::new(loaded.reading)) } else { self.valid(loaded) }
    }

    /// Executes an operation with manifests that were read: here, or in the daemon that has the store.
    ///
    /// # Errors
    /// Those of [`Context::writing`], and those of the operation.
    pub(crate) fn operate_on(
        &self,
        specs: &Path,
        declared: Arc<Reading>,
        operation: Operation,
    ) -> Result<OperationResult, Failure> {
        // The pools record it without the store: the process that has the store reads it there before its next step.
        let without_store = operation.needs_the_owner_alone().then(|| (Arc::clone(&declared), operation.clone()));
        match (self.operate_with_store(specs, declared, operation), without_store) {
            (Err(failure), Some((declared, operation))) if failure.exit == Exit::Store => {
                self.terminal.note(&format!("{}; only the pools record it", failure.message));
                let setup = self.setup(declared, None);
                Ok(block_on(async { engine::operate(&setup, operation).await })??)
            }
            (result, _) => result,
        }
    }

    /// Executes an operation that needs the store: here, or in the daemon that has it.
    fn operate_with_store(
        &self,
        specs: &Path,
        declared: Arc<Reading>,
        operation: Operation,
    ) -> Result<OperationResult, Failure> {
        let Some(daemon) = self.daemon()? else {
            let setup = match matches!(operation, Operation::ListPurge(_)) {
                true => self.writing_after_question(declared)?,
                false => self.writing(declared)?,
            };
            return Ok(block_on(async { engine::operate(&setup, operation).await })??);
        };
        let request = OperationRequest { specs: real(specs), operation };
        match block_on(daemon.post("/v1/operation", &request))?? {
            OperationAnswer::Done(result) => Ok(result),
            OperationAnswer::Failed(error) => Err(error.into()),
            OperationAnswer::Invalid(problems) => Err(Failure::invalid(problems.len())),
            OperationAnswer::OtherSpecs { message, fix } => Err(Failure::new(Exit::Store, message).hint(fix)),
        }
    }

    /// Executes an operation and prints what was done.
    ///
    /// # Errors
    /// As [`Context::operate`].
    pub(crate) fn operate_and_print(&self, specs: &Path, operation: Operation) -> Result<Exit, Failure> {
        Ok(self.print_result(self.operate(specs, operation)?))
    }

    /// Executes operations and prints what each did, also after one that failed. Reads the manifests once.
    ///
    /// # Errors
    /// Those of [`Context::declared_for`].
    pub(crate) fn operate_on_each(&self, specs: &Path, operations: Vec<Operation>) -> Result<Exit, Failure> {
        let Some(first) = operations.first() else { return Ok(Exit::Done) };
        let declared = self.declared_for(specs, first)?;
        let operate = |operation| {
            let result = self.operate_on(specs, Arc::clone(&declared), operation);
            result.map(|result| self.print_result(result)).unwrap_or_else(|Failure { exit, message, hint }| {
                self.terminal.error(&message, hint.as_deref());
                exit
            })
        };
        Ok(Exit::combine(operations.into_iter().map(operate)))
    }

    /// Prints what an operation did, and what it did not do and why.
    pub(crate) fn print_result(&self, result: OperationResult) -> Exit {
        match result {
            OperationResult::Sentences(sentences) => self.print_sentences(&sentences),
            OperationResult::ToPurge(..) => {}
            OperationResult::Executed(Executed { done, left }) => {
                self.print_sentences(&done);
                let left: Vec<Failure> = left.into_iter().map(Failure::from).collect();
                for (index, Failure { message, hint, .. }) in left.iter().enumerate() {
                    let is_hinted_next = left.get(index + 1).is_some_and(|next| next.hint == *hint);
                    self.terminal.error(message, hint.as_deref().filter(|_| !is_hinted_next));
                }
                return Exit::combine(left.iter().map(|failure| failure.exit));
            }
            OperationResult::Recorded(SuspensionResult { said, missed }) => {
                self.print_sentences(&said);
                for missed in &missed {
                    self.terminal.note(missed);
                }
                return Exit::Unobserved.when(!missed.is_empty());
            }
        }
        Exit::Done
    }

    /// Observes all backends and plans.
    ///
    /// # Errors
    /// Exit code 1 if the host provides no event loop.
    pub(crate) fn overview_of(&self, reading: &Arc<Reading>, store: OpeningStore) -> Result<Overview, Failure> {
        let setup = self.setup(reading.clone(), None);
        let opening = async {
            let opened = tokio::task::spawn_blocking(move || store.opened()).await;
            self.or_without(opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
        };
        let _busy = self.terminal.busy("observing the backends");
        block_on(async { engine::overview_while(&setup, opening, &[]).await })
    }
}

/// Returns the failure for a problem of all of SPECS, such as a directory that does not exist; None for problems with a place.
pub(crate) fn whole_source(problems: &[Problem]) -> Option<Failure> {
    let [Problem { place, message, hint, .. }] = problems else { return None };
    let failure = Failure { hint: hint.clone(), ..Failure::new(Exit::Invalid, message.clone()) };
    place.known().is_none().then_some(failure)
}

/// One byte more than the default limit of a manifest file, so that the reader sees that the text is too large.
const STDIN_LIMIT: u64 = (1 << 20) + 1;

fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(STDIN_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Exit::Invalid, format!("stdin cannot be read: {error}")))?;
    // Text cut inside a character is too large anyway; the reader reports that, and not invalid UTF-8.
    if bytes.len() as u64 == STDIN_LIMIT {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(Exit::Invalid, format!("stdin is not UTF-8 from byte {at} on"))
            .hint("write manifests as YAML in UTF-8")
    })
}
