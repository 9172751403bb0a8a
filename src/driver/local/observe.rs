//! Observes the pool.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{self, OFlags};
use rustix::io::Errno;

use super::file_id::FileId;
use super::object::{Form, FoundObject, open_data};
use super::pool::{self, Closed, ListBuffer, LocalPool, MARK, TRASH, TRIES};
use super::{content, fail, lease, ledger, lock};
use crate::driver::image;
use crate::model::{
    Address, Capacity, Clients, DriverError, ErrorKind, Kind, LedgerView, Listed, NativeForm, NativeName, Object,
    ObjectTags, Observed, Owner, Place, Provisioning, Resource, Scope, Size, Written,
};
use crate::text::quoted;

/// Inodes per object: a directory, a data file and, often, a file of tags.
const INODES: u64 = 3;
/// How often a listing is repeated because other programs renamed entries, before it is reported as incomplete.
const LISTINGS: usize = 5;

/// Observes the pool. See [`crate::driver::Driver::observe`].
pub(super) fn observe(path: &Path, create: bool, scope: &Scope) -> Result<Observed, DriverError> {
    let pool = match LocalPool::open(path) {
        Ok(pool) => pool,
        Err(Closed::Missing) if create => return may_be_made(path, scope),
        Err(Closed::Missing) => return Err(missing(path)),
        Err(Closed::Error(error)) => return Err(error),
    };
    let mut reader = PoolReader { pool: &pool, listed: Listed::COMPLETE, gaps: Vec::new(), objects: Vec::new() };
    let (listed, queried) = match scope {
        Scope::All { .. } => {
            reader.all();
            (reader.listed, BTreeSet::new())
        }
        Scope::Objects(addresses) => (Listed::NONE, reader.some(addresses)),
    };
    let PoolReader { mut gaps, mut objects, .. } = reader;
    objects.sort_by(|a, b| (&a.native, a.place).cmp(&(&b.native, b.place)));
    let id = pool.id().unwrap_or_else(|why| {
        gaps.push(why);
        None
    });
    // Reading a ledger takes time in the size of the pool, so an observation of a few objects does not read it.
    let mut read: BTreeMap<Owner, Option<LedgerView>> = BTreeMap::new();
    let owners = match scope {
        Scope::All { owner } => {
            read.insert(owner.clone(), ledger::read_of(&pool, owner));
            ledger::all_owners(&pool)?
        }
        Scope::Objects(_) => BTreeSet::new(),
    };
    for object in objects.iter_mut().filter(|object| object.place == Place::Live && object.tags.adopted) {
        let Some(identity) = &object.identity else { continue };
        let ledger = read.entry(identity.owner.clone()).or_insert_with_key(|owner| ledger::read_of(&pool, owner));
        // Its mark outlived it: the file is another one.
        if matches!(ledger, Some(LedgerView::Good(ledger)) if ledger.has_tombstone(identity.uid)) {
            (object.identity, object.tags) = (None, ObjectTags::default());
        }
    }
    let ledger = match scope {
        Scope::All { owner } => read.remove(owner).flatten(),
        Scope::Objects(_) => None,
    };
    let locked = lock::held(&pool, &mut gaps);
    let writers = lock::writers(&pool);
    let (capacities, others) = (capacities(&pool), BTreeMap::new());
    Ok(Observed { pool: id, listed, queried, gaps, objects, ledger, owners, others, capacities, locked, writers })
}

/// Returns the error of a pool that does not exist and must not be created.
pub(super) fn missing(path: &Path) -> DriverError {
    let shown = path.display().to_string();
    let new = format!("`mkdir -p {}`, or write `create: true` beside the `path` of the Backend", quoted(&shown));
    DriverError::before(ErrorKind::Unreachable, format!("{shown} does not exist")).of_missing_pool(new)
}

/// Observes an empty pool, which `init_pool` would create, if its parent directory exists.
fn may_be_made(path: &Path, scope: &Scope) -> Result<Observed, DriverError> {
    let parent = pool::parent_of(path);
    match LocalPool::open(parent) {
        Ok(_) => {
            let capacities = fs::statvfs(parent).map(|stat| ledger::less_reserve(room(stat))).unwrap_or_default();
            Ok(Observed { capacities, ..Observed::nothing_in(scope) })
        }
        Err(Closed::Missing) => Err(DriverError::before(
            ErrorKind::Unreachable,
            format!(
                "{} cannot be created because {} does not exist: Kiln creates only the last directory of the path",
                path.display(),
                parent.display()
            ),
        )
        .of_missing_pool(format!("`mkdir -p {}`", quoted(&parent.display().to_string())))),
        Err(Closed::Error(error)) => {
            Err(DriverError { message: format!("{} cannot be created: {}", path.display(), error.message), ..error })
        }
    }
}

fn capacities(pool: &LocalPool) -> Vec<Capacity> {
    let Ok(stat) = fs::fstatvfs(pool.root()) else { return Vec::new() };
    if ledger::has_reserve(pool) { room(stat) } else { ledger::less_reserve(room(stat)) }
}

/// Counts like `df`: free blocks that are reserved (usually for root) are neither used nor part of the total, so the percentage is that of
/// `df`.
fn room(stat: fs::StatVfs) -> Vec<Capacity> {
    let used = stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize);
    let total = used.saturating_add(stat.f_bavail.saturating_mul(stat.f_frsize));
    // A file system that allocates inodes dynamically (btrfs) reports none.
    let inodes = (stat.f_files > 0).then(|| {
        let used = stat.f_files.saturating_sub(stat.f_ffree);
        let free = stat.f_favail.saturating_sub(ledger::KEPT_INODES);
        Capacity { resource: Resource::Inodes, total: used.saturating_add(free), used, per_object: INODES }
    });
    std::iter::once(Capacity::data(total, used)).chain(inodes).collect()
}

struct PoolReader<'a> {
    pool: &'a LocalPool,
    listed: Listed,
    gaps: Vec<String>,
    objects: Vec<Object>,
}

impl PoolReader<'_> {
    fn all(&mut self) {
        let before = (self.listed, self.gaps.clone());
        for last in (1..=LISTINGS).map(|n| n == LISTINGS) {
            (self.listed, self.gaps) = before.clone();
            self.objects.clear();
            let gone = self.listing();
            if gone.is_empty() {
                return;
            }
            if last {
                for (name, place) in gone {
                    self.gap(&name, place, "it is created and removed repeatedly while it is read".to_owned());
                }
            }
        }
    }

    /// Lists both places and reads every entry. Returns the entries that were listed and did not exist when they were read.
    fn listing(&mut self) -> Vec<(String, Place)> {
        let mut buffer = ListBuffer::new();
        let names = self.names(&mut buffer);
        self.objects.reserve(names.len());
        let mut gone = Vec::new();
        let trash = self.pool.trash();
        for (place, name, exact) in names {
            if !exact {
                self.objects.push(nameless(name, place));
                continue;
            }
            let dir = match (place, &trash) {
                (Place::Trash, Ok(Some(trash))) => trash.as_fd(),
                (Place::Trash, Ok(None)) => {
                    gone.push((name, place));
                    continue;
                }
                (Place::Trash, Err(errno)) => {
                    self.gap(&name, place, fail::describe(*errno));
                    continue;
                }
                (Place::Live | Place::Temporary, _) => self.pool.root(),
            };
            match self.pool.read_entry(dir, &name, place, &mut buffer) {
                Ok(Some(found)) => self.objects.push(found.into_object(Clients::Unknown)),
                Ok(None) => {}
                // Its writer has published or removed the incomplete object. It is as absent as in a later listing, because its new name
                // was free when this one started.
                Err(Errno::NOENT) if NativeName::new(&name).is_temporary() => {}
                Err(Errno::NOENT) => gone.push((name, place)),
                Err(errno) => self.gap(&name, place, fail::describe(errno)),
            }
        }
        gone
    }

    /// Lists the names in both places.
    ///
    /// `readdir` may miss entries that are renamed meanwhile (POSIX), so an object on its way to the trash could be in neither list. The change
    /// times of the directories show whether anything moved; both are then read again. The union of the lists contains every object that
    /// stays in place during one of them.
    fn names(&mut self, buffer: &mut ListBuffer) -> BTreeSet<(Place, String, bool)> {
        let mut names = BTreeSet::new();
        let mut failed = Vec::new();
        for _ in 0..LISTINGS {
            failed.clear();
            let before = self.stamp();
            for place in [Place::Live, Place::Trash] {
                match self.names_in(place, buffer) {
                    Ok(more) => names.extend(more.map(|(name, exact)| (place, name, exact))),
                    Err(errno) => failed.push((place, errno)),
                }
            }
            if before.is_some() && before == self.stamp() {
                break;
            }
        }
        for (place, errno) in failed {
            let shown = self.pool.path.display();
            let (what, listed) = match place {
                Place::Trash => (format!("the trash {shown}/{TRASH}"), Listed { trash: false, ..self.listed }),
                _ => (shown.to_string(), Listed { volumes: false, snapshots: false, ..self.listed }),
            };
            self.gaps.push(format!("{what} cannot be listed: {}", fail::describe(errno)));
            self.listed = listed;
        }
        names
    }

    fn names_in(
        &self,
        place: Place,
        buffer: &mut ListBuffer,
    ) -> Result<impl Iterator<Item = (String, bool)> + use<>, Errno> {
        let entries = match self.pool.place(place)? {
            Some(dir) => pool::list(dir.as_fd(), buffer)?,
            None => Vec::new(),
        };
        let own = move |name: &str| place == Place::Live && [MARK, TRASH, TRIES].contains(&name);
        Ok(entries.into_iter().filter(move |entry| !own(&entry.name)).map(|entry| (entry.name, entry.exact)))
    }

    /// Returns the change times of both directories.
    fn stamp(&self) -> Option<[(i64, i64); 2]> {
        let of = |stat: fs::Stat| (stat.st_ctime, stat.st_ctime_nsec as i64);
        let root = fs::fstat(self.pool.root()).ok()?;
        let trash = pool::stat_in(self.pool.root(), TRASH).ok()?;
        Some([of(root), trash.map(of).unwrap_or_default()])
    }

    /// Reads the objects at these addresses. Returns the addresses that could be read, whether or not an object is at them.
    fn some(&mut self, addresses: &[Address]) -> BTreeSet<Address> {
        let mut answered: BTreeSet<Address> = addresses.iter().cloned().collect();
        // No object of this backend is inside of another.
        let flat = addresses.iter().filter(|at| at.parent_volume.is_none());
        for at in flat.collect::<BTreeSet<_>>() {
            let Ok(name) = pool::check_name(&at.native) else { continue };
            // An object that moves meanwhile may be missed in both places; it is absent only if it is missed twice.
            for _ in 0..2 {
                let (count, gaps) = (self.objects.len(), self.gaps.len());
                for place in [Place::Live, Place::Trash] {
                    match self.pool.find(name, place) {
                        Ok(Some(found)) => {
                            let (clients, image, written) = self.content(&found);
                            self.objects.push(Object { image, written, ..found.into_object(clients) });
                        }
                        Ok(None) => {}
                        Err(errno) => {
                            answered.remove(at);
                            self.gap(name, place, fail::describe(errno));
                        }
                    }
                }
                if (count, gaps) != (self.objects.len(), self.gaps.len()) {
                    break;
                }
            }
        }
        answered
    }

    /// Returns the clients, for an object without owner the image format of its content, and whether it contains data. An object that cannot
    /// be opened counts as written.
    fn content(&self, found: &FoundObject) -> (Clients, Option<String>, Written) {
        let file = match self.pool.place(found.place) {
            Ok(Some(dir)) => open_data(dir.as_fd(), found, OFlags::RDONLY),
            _ => return (Clients::Unknown, None, Written::Yes),
        };
        let Ok(file) = file else { return (Clients::Unknown, None, Written::Yes) };
        let clients = match lease::writers_of(&file) {
            Some(list) if list.is_empty() => Clients::None,
            Some(list) => Clients::Some(list),
            None => Clients::Unknown,
        };
        let foreign = found.identity.is_none() && found.form == Form::File;
        let image = if foreign { image::format_of(&file).ok().flatten() } else { None };
        let written = if content::holds_no_data(&file) { Written::Never } else { Written::Yes };
        (clients, image.map(str::to_owned), written)
    }

    /// Records that an entry could not be read. The object of this name is then not proven absent.
    fn gap(&mut self, name: &str, place: Place, why: String) {
        let form = NativeName::new(name).parse().map(|(form, ..)| form);
        match (place, form) {
            (Place::Trash, _) => self.listed.trash = false,
            (_, Some(NativeForm::Volume)) => self.listed.volumes = false,
            (_, Some(NativeForm::Snapshot)) => self.listed.snapshots = false,
            (_, Some(NativeForm::Temporary)) => {}
            (_, None) => (self.listed.volumes, self.listed.snapshots) = (false, false),
        }
        let trash = if place == Place::Trash { ".trash/" } else { "" };
        self.gaps.push(format!("{}/{trash}{name} cannot be read: {why}", self.pool.path.display()));
    }
}

/// An entry whose name is not UTF-8: not an object of Kiln, and never changed.
fn nameless(name: String, place: Place) -> Object {
    Object::new(NativeName::new(name), place, Size(0))
}

impl FoundObject {
    /// The birth time of a snapshot's directory, which stays the same when the snapshot is renamed or moved to the trash. A restore
    /// replaces the directory of a volume.
    fn created(&self) -> Option<u64> {
        self.own.filter(|_| self.identity.as_ref().is_some_and(|id| id.kind == Kind::Snapshot)).and_then(FileId::born)
    }

    /// Whether all space of a volume is allocated. A file that clients have written in full is as large as a thick one, and tells nothing.
    fn provisioning(&self) -> Option<Provisioning> {
        let is_volume = self.identity.as_ref().is_none_or(|identity| identity.kind == Kind::Volume);
        if !is_volume || self.place == Place::Temporary {
            return None;
        }
        if self.used < self.size { Some(Provisioning::Thin) } else { self.tags.provisioning }
    }

    fn into_object(self, clients: Clients) -> Object {
        Object {
            id: self.id(),
            unfinished: self.is_unfinished(),
            used: Some(self.used),
            created: self.created(),
            provisioning: self.provisioning(),
            tags: self.tags.into(),
            conflict: self.conflict,
            clients,
            identity: self.identity,
            ..Object::new(NativeName::new(self.native), self.place, Size(self.size))
        }
    }
}
