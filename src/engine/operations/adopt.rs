//! Taking over the objects of another owner.

use std::collections::{HashMap, HashSet};

use crate::model::{
    Absence, Action, Address, Capabilities, DriverError, Expect, Identity, InnerSnapshot, Kind, Ledger, LedgerView,
    Name, NameFault, NameRules, NativeName, Object, Observed, Owner, Place, Reason, Risk, Seconds, Step, Tags,
    TrashAbility, Uid, Verb,
};

use super::error::OperationError;
use super::run::{self, Executed, begin, check_free, lower, make};
use super::stackless::refuse_without_stack;
use super::trash::{Trashed, by_hand};
use crate::engine::blockers::Blockers;
use crate::engine::ledger;
use crate::engine::session::Session;
use crate::engine::setup::Setup;
use crate::plan::Observation;
use crate::text::did_you_mean;

/// Returns the observation of a backend with all objects of another owner's ledger. Where lists need not show them, they are asked for;
/// where nothing answers, what the records of the driver do not show stays in the ledger.
async fn with_objects_of(
    session: &mut Session<'_>,
    backend: &Name,
    theirs: &Ledger,
    observed: Observed,
) -> Result<Observed, OperationError> {
    match absence_of(session, backend) {
        Absence::ByList => return Ok(observed),
        Absence::ByLedger if observed.gaps.is_empty() => return Ok(observed),
        Absence::ByLedger => {
            let message =
                format!("the driver of {backend} cannot read all of its records: {}", observed.gaps.join("; "));
            return Err(OperationError::Unobserved(message));
        }
        Absence::ByName => {}
    }
    let asked: Vec<Address> = theirs.addresses().collect();
    session.observations.ask_for([(backend.clone(), asked.clone())].into()).await;
    let observed = run::observed(session, backend)?;
    match asked.iter().all(|at| observed.queried.contains(at)) {
        true => Ok(observed),
        false => Err(OperationError::Unobserved(format!(
            "{backend} did not answer for every name in the ledger of {}",
            theirs.owner
        ))),
    }
}

fn absence_of(session: &Session<'_>, backend: &Name) -> Absence {
    let can = session.observations.world.get(backend).and_then(Observation::capabilities);
    can.map_or(Absence::ByList, |can| can.absence)
}

/// Makes this Stack the owner of all objects of `from` on a declared backend; names and uids stay. Objects that `from` suspended stay
/// suspended. Copies of objects of another pool stay as they are.
///
/// # Errors
/// See [`OperationError`]. Then no object was given.
pub async fn adopt_owner(setup: &Setup, backend: &Name, from: &Owner) -> Result<Executed, OperationError> {
    let specs = &setup.reading.specs;
    let owner = &specs.stack.owner;
    if !specs.backends.contains_key(backend) {
        let meant = did_you_mean(backend.as_str(), specs.backends.keys().map(Name::as_str));
        return Err(OperationError::Usage(format!("no Backend {backend} is declared{meant}")));
    }
    let mut session = begin(setup).await?;
    let mut observed = run::observed(&session, backend)?;
    refuse_without_stack(specs, backend, Some(&observed), session.records.backends.get(backend))?;
    let failed = |error: DriverError| OperationError::Failed(format!("{backend}: {error}"));
    let theirs = match session.observations.backends.get(backend) {
        Some(open) if from != owner => open.ledger(from).await.map_err(failed)?,
        _ => observed.ledger.clone(),
    };
    if let Some(LedgerView::Unreadable(why) | LedgerView::Damaged(why)) = theirs {
        return Err(OperationError::Unobserved(format!("{backend}: {why}")));
    }
    let is_by_ledger = absence_of(&session, backend) == Absence::ByLedger;
    // An object that only the last write knows would be created again.
    if let (true, Some(LedgerView::Older(_, why))) = (is_by_ledger, &theirs) {
        return Err(OperationError::Unobserved(format!(
            "{backend} cannot be asked for objects, and the newest ledger of {from} is not intact: {why}"
        )));
    }
    let Some(theirs) = theirs.as_ref().and_then(LedgerView::ledger) else {
        if let Some(unobserved) = session.unobserved().into_iter().find(|unobserved| unobserved.backend == *backend) {
            return Err(OperationError::Unobserved(unobserved.message));
        }
        return Err(OperationError::Usage(format!("{from} has no ledger on {backend}")));
    };
    if from != owner {
        observed = with_objects_of(&mut session, backend, theirs, observed).await?;
    }
    let pool = session.init_and_lock(backend).await.map_err(failed)?;
    if from == owner {
        let ledger = Ledger { stack: specs.stack.id.clone(), ..theirs.clone() };
        session.ledgers.insert(backend.clone(), ledger.into());
        session.write_ledger(backend).await.map_err(failed)?;
        let done = vec![format!("{backend} now belongs to this Stack (id {})", specs.stack.id)];
        return Ok(Executed { done, left: Vec::new() });
    }
    let _their_lock = match session.observations.backends.get(backend) {
        Some(open) => open.lock_of(from).await.map_err(|error| OperationError::Held(format!("{backend}: {error}")))?,
        None => return Err(OperationError::Unobserved(format!("{backend} is not open"))),
    };
    let mut ours = match &observed.ledger {
        Some(LedgerView::Good(ledger)) if ledger.stack == specs.stack.id => Ledger::clone(ledger),
        Some(LedgerView::Unreadable(why)) => return Err(OperationError::Unobserved(format!("{backend}: {why}"))),
        Some(_) => {
            return Err(OperationError::Held(format!(
                "the ledger of {owner} on {backend} is damaged, or another Stack's"
            )));
        }
        None => ledger::first(pool, owner, specs),
    };
    ledger::take_over(&mut ours, theirs);
    // Nothing else tells of a creation whose outcome is not known.
    if is_by_ledger {
        let unknown = theirs.creating.iter().filter(|(uid, _)| !theirs.complete.contains_key(uid));
        ours.creating.extend(unknown.map(|(uid, entry)| (*uid, entry.clone())));
    }
    // Copies of objects of another pool are not theirs to give.
    let gives = |id: &Identity| {
        id.owner == *from && (theirs.complete.contains_key(&id.uid) || !theirs.copies.contains(&id.uid))
    };
    // Names in use: this owner's, and those of live objects of `from`.
    let (mut taken, mut live) = (HashSet::new(), HashSet::new());
    for object in observed.objects.iter().filter(|o| o.place != Place::Temporary) {
        let Some(identity) = &object.identity else { continue };
        let key = (identity.kind, &identity.name);
        if identity.owner == *owner {
            taken.insert(key);
        } else if gives(identity) && object.place == Place::Live {
            live.insert(key);
        }
    }
    let Some(capabilities) = session.observations.world.get(backend).and_then(Observation::capabilities) else {
        return Err(OperationError::Unobserved(format!("{backend} is not open")));
    };
    let moves_inside = capabilities.trash == TrashAbility::Volumes;
    let mut giving = Giving { moves_inside, ..Giving::default() };
    let mut left = 0;
    let is_theirs = |object: &&Object| object.identity.as_ref().is_some_and(gives);
    let mut objects: Vec<&Object> =
        observed.objects.iter().filter(|o| o.place != Place::Temporary).filter(is_theirs).collect();
    // Volumes first: the snapshots inside of one are then found under its new name.
    objects.sort_by_key(|object| object.identity.as_ref().map(|id| id.kind));
    let blockers = Blockers::in_objects(backend, &observed.objects);
    for object in &objects {
        let Some(identity) = &object.identity else { continue };
        let inside: Vec<&Object> = objects.iter().copied().filter(|inner| giving.moves(inner, object)).collect();
        let is_live = |object: &&Object| object.identity.as_ref().is_some_and(|id| live.contains(&(id.kind, &id.name)));
        let mine = Identity { owner: owner.clone(), ..identity.clone() };
        if let Some(why) = &object.conflict {
            return Err(OperationError::Held(format!("{} cannot be given away: {why}", object.native)));
        }
        check_free(&blockers, backend, object)?;
        if let Some(begun) = &object.tags.restoring {
            let message =
                format!("the restore of {} ({begun}) is not complete; fix: `kiln apply` as {from}", object.native);
            return Err(OperationError::Held(message));
        }
        if taken.contains(&(mine.kind, &mine.name)) {
            let sentence = format!("{owner} has a {} {} on {backend} already", mine.kind.as_lower(), mine.name);
            return Err(OperationError::Usage(sentence));
        }
        check_native(capabilities, backend, object, &mine)?;
        match object.place {
            Place::Trash if is_live(object) || inside.iter().any(is_live) || giving.stays_inside(object) => {
                left += 1;
            }
            Place::Trash => giving.trashed(backend, object, mine, &inside, session.now),
            Place::Live | Place::Temporary => giving.live(backend, object, mine),
        }
    }
    let steps = giving.steps();
    // Before the first object changes its owner: an interruption must not lose a suspension.
    let suspended = session.take_over_suspensions(backend, from).await.map_err(failed)?;
    session.ledgers.insert(backend.clone(), ours.into());
    session.write_ledger(backend).await.map_err(failed)?;
    let given = |step: &Step| {
        let is_rename = step.action.verb() == Verb::Move;
        is_rename.then(|| format!("{} {} is now {}", lower(step), step.identity.name, step.native))
    };
    let mut executed = make(&mut session, steps, given, Some(backend), true).await?;
    executed.done.extend(suspended);
    if left > 0 {
        executed.done.push(format!("in the trash of {from} stay objects whose names are taken: {left}"));
    } else if executed.left.is_empty()
        && let Some(open) = session.observations.backends.get(backend)
        && let Err(error) = open.remove_ledger(from).await
    {
        executed.left.push(failed(error));
    }
    Ok(executed)
}

/// The steps that give objects to another owner.
#[derive(Default)]
struct Giving {
    /// Whether snapshots go to the trash and come back only inside of their volumes.
    moves_inside: bool,
    steps: Vec<Step>,
    /// By uid.
    volumes: HashMap<Uid, GivenVolume>,
}

/// A volume that is given. The snapshots inside of it are given after it is renamed, and before it goes back to the trash.
struct GivenVolume {
    native: NativeName,
    renamed: usize,
    /// Trashes it again.
    back: Option<Step>,
    /// The last step of each snapshot inside of it.
    inside: Vec<usize>,
    /// The snapshots that go to the trash inside of it again.
    with: Vec<InnerSnapshot>,
}

impl Giving {
    /// Whether an object is inside of a volume that is not given.
    fn stays_inside(&self, object: &Object) -> bool {
        object.parent_volume.is_some() && object.tags.volume.is_none_or(|uid| !self.volumes.contains_key(&uid))
    }

    /// Whether a snapshot is in the trash inside of a volume, and comes back only with it.
    fn moves(&self, inner: &Object, volume: &Object) -> bool {
        self.moves_inside
            && (volume.place, inner.place) == (Place::Trash, Place::Trash)
            && inner.parent_volume.as_ref() == Some(&volume.native)
            && inner.tags.volume == volume.uid()
    }

    fn live(&mut self, backend: &Name, object: &Object, mine: Identity) {
        let first = self.steps.len();
        self.steps.push(give(backend, object, mine));
        self.follow(object, first, None);
    }

    /// Gives an object in the trash: restores it, renames it, and trashes it again for the remaining time. After a crash between them the
    /// object is live, and is given as a live object.
    fn trashed(&mut self, backend: &Name, object: &Object, mine: Identity, inside: &[&Object], now: u64) {
        let Some(theirs) = object.identity.clone() else { return };
        if self.moves_inside && object.parent_volume.is_some() {
            // Its volume has brought it back, and takes it along again.
            return self.live(backend, object, mine);
        }
        let with = inside.iter().filter_map(|inner| InnerSnapshot::of(inner, inner.tags.retained)).collect();
        let before = object.tags.lasting();
        let trashed = Trashed {
            backend: backend.clone(),
            object: object.clone(),
            expires: object.tags.expires,
            clients_unseen: false,
        };
        let first = self.steps.len();
        let out = by_hand(&trashed, theirs, Action::Undelete { tags: before, with }, Reason::OwnerGiven, Risk::None);
        let renamed = Step { after: vec![first], ..give(backend, object, mine) };
        let ttl = Seconds(object.tags.expires.unwrap_or(now).saturating_sub(now));
        let back = Step {
            action: Action::Trash { ttl, with: Vec::new() },
            expect: Expect { tags: None, idle: true, ..Expect::live(object) },
            after: vec![first + 1],
            ..renamed.clone()
        };
        self.steps.extend([out, renamed]);
        self.follow(object, first, Some(back));
    }

    /// Ends the steps of an object, which begin at `first`: `back` trashes it again.
    fn follow(&mut self, object: &Object, first: usize, mut back: Option<Step>) {
        let renamed = self.steps.len() - 1;
        if let Some(uid) = object.uid().filter(|_| object.kind() == Kind::Volume) {
            let native = self.steps[renamed].native.clone();
            self.volumes.insert(uid, GivenVolume { native, renamed, back, inside: Vec::new(), with: Vec::new() });
            return;
        }
        self.steps.extend(back.take());
        let last = self.steps.len() - 1;
        let volume = object.tags.volume.filter(|_| object.parent_volume.is_some());
        if let Some(volume) = volume.and_then(|uid| self.volumes.get_mut(&uid)) {
            volume.inside.push(last);
            let step = &self.steps[last];
            volume.with.extend(volume.back.is_some().then(|| InnerSnapshot {
                identity: step.identity.clone(),
                native: step.native.clone(),
                size: object.size,
                released: object.tags.retained,
            }));
            self.steps[first].after.push(volume.renamed);
            for step in &mut self.steps[first..] {
                step.parent_volume = Some(volume.native.clone());
            }
        }
    }

    fn steps(self) -> Vec<Step> {
        let Self { moves_inside, mut steps, volumes } = self;
        let back = volumes.into_values().filter_map(|volume| {
            let GivenVolume { back, inside, with, native: _, renamed: _ } = volume;
            let mut back = back?;
            back.after.extend(inside);
            if let Action::Trash { with: goes_along, .. } = &mut back.action {
                *goes_along = if moves_inside { with } else { Vec::new() };
            }
            Some(back)
        });
        let mut back: Vec<Step> = back.collect();
        back.sort_by_key(Step::address);
        steps.extend(back);
        steps
    }
}

/// Refuses an object that its backend cannot give the name which says whose it is.
fn check_native(
    capabilities: &Capabilities,
    backend: &Name,
    object: &Object,
    mine: &Identity,
) -> Result<(), OperationError> {
    let Object { native, tags, .. } = object;
    if !capabilities.rename {
        let message =
            format!("{backend} cannot rename objects, and {native} could only be given away under another name");
        return Err(OperationError::Held(message));
    }
    let (names, longest) = (&capabilities.names, NameRules::longest(mine));
    match names.check(&longest) {
        Err(NameFault::TooLong(bytes)) if tags.identity.is_none() => {
            let allowed = names.max_bytes;
            let message = format!("{native} would be {longest}, which has {bytes} bytes; {backend} allows {allowed}");
            Err(OperationError::Held(message))
        }
        _ => Ok(()),
    }
}

/// The step that gives a live object to another owner.
fn give(backend: &Name, object: &Object, mine: Identity) -> Step {
    let before = object.tags.lasting();
    let own_name = before.identity.is_some();
    let native: NativeName = if own_name { object.native.clone() } else { mine.native() };
    let tags = Tags { identity: own_name.then(|| Box::new(mine.clone())), ..before.clone() };
    Step {
        expect: Expect { tags: Some(before), ..Expect::live(object) },
        native,
        parent_volume: object.parent_volume.clone(),
        ..Step::new(backend.clone(), mine, Action::Rename { from: object.native.clone(), tags }, Reason::OwnerGiven)
    }
}
