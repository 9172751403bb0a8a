//! A step: one driver call, with its expectations and its reason.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

use super::approval::ApprovalItem;
use super::verb::Verb;
use super::{
    Address, ClientVisibility, Clients, DriverError, Endpoint, ErrorKind, Identity, Kind, Name, NativeName, Object,
    ObjectRef, Origin, Place, Provisioning, Restoring, Seconds, Size, Tags, VolumeSettings, Written,
};

/// One driver call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The Backend or Target whose driver executes it.
    #[serde(rename = "backend")]
    pub endpoint: Endpoint,
    /// The identity of the object after the step. (For a rename, the new name.)
    pub identity: Identity,
    /// The native name of the object after the step.
    pub native: NativeName,
    /// The native name of the volume that the object is inside of, for a snapshot on a backend that nests them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_volume: Option<NativeName>,
    /// What to do.
    pub action: Action,
    /// What the driver checks just before the effect. If it differs, the step fails with Conflict and changes nothing.
    pub expect: Expect,
    /// What the step could lose.
    pub risk: Risk,
    /// Why the step is planned. For people; code never branches on it.
    pub reason: Reason,
    /// The changed fields, for people and for the digest.
    pub changes: Vec<FieldChange>,
    /// The size of the object that the step removes or destroys, in bytes. The sum is reported as bytes at risk.
    pub bytes: Size,
    /// Indexes of the steps in the same plan that must succeed first.
    pub after: Vec<usize>,
    /// Indexes of the steps in the same plan that must be over first: done, or failed or never begun with a certain effect. If the
    /// effect of one is unknown, this step is not begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_completion: Vec<usize>,
}

impl Step {
    /// Returns a step on the object of this identity, under the name that Kiln gives it. It expects nothing and has no risk.
    pub fn new(endpoint: impl Into<Endpoint>, identity: Identity, action: Action, reason: Reason) -> Self {
        Self {
            endpoint: endpoint.into(),
            native: identity.native(),
            parent_volume: None,
            identity,
            action,
            expect: Expect::default(),
            risk: Risk::None,
            reason,
            changes: Vec::new(),
            bytes: Size(0),
            after: Vec::new(),
            after_completion: Vec::new(),
        }
    }

    /// Returns the Backend whose driver executes it, unless a Target does.
    pub fn backend(&self) -> Option<&Name> {
        self.endpoint.backend()
    }

    /// Returns the indexes of all steps that it waits for.
    pub fn waits_for(&self) -> impl Iterator<Item = usize> {
        self.after.iter().chain(&self.after_completion).copied()
    }

    /// Names it in an approval. Two restores of one request from two snapshots are approved separately, and so are two sizes.
    pub fn approval_item(&self) -> ApprovalItem {
        let ActionFacts { verb, detail, .. } = self.action.facts();
        ApprovalItem::new(self.identity.uid, verb, &detail)
    }

    /// Whether the step moves the object to the trash or destroys it. (Releasing an object does not remove it.)
    pub fn is_removal(&self) -> bool {
        matches!(self.action, Action::Trash { .. } | Action::Destroy)
    }

    /// Returns what the backend finds the object by after the step.
    pub fn address(&self) -> Address {
        Address { native: self.native.clone(), parent_volume: self.parent_volume.clone() }
    }

    /// Returns the address of the unfinished object that it replaces, if it makes its object.
    pub fn address_of_unfinished(&self) -> Option<Address> {
        let makes = matches!(self.action, Action::Create { .. } | Action::Snapshot { .. });
        makes.then(|| self.identity.unfinished_address())
    }

    /// Returns what the backend finds the object by before the step.
    pub fn address_before(&self) -> Address {
        Address { native: self.action.facts().from.unwrap_or(&self.native).clone(), ..self.address() }
    }
}

/// What a step does. Every driver matches all actions.
///
/// Every action is idempotent: if its effect is already there, the outcome is [`Outcome::Unchanged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Creates a volume, empty or from an origin, completely or not at all.
    Create {
        /// At least the size of the origin, and a multiple of the granularity.
        size: Size,
        /// Thin or thick.
        provisioning: Provisioning,
        /// Where the content comes from. `None`: zeroes.
        origin: Option<Origin>,
        /// Written in the same atomic step as the object.
        tags: Tags,
        /// In force before any client can open the volume.
        #[serde(default, skip_serializing_if = "VolumeSettings::is_plain")]
        settings: VolumeSettings,
        /// Which of the name's uids it gets, for the ledger.
        n: u32,
    },
    /// Creates a snapshot of a volume. Its `tags.volume` is the uid of the volume.
    Snapshot {
        /// The volume.
        volume: ObjectRef,
        /// Written in the same atomic step as the snapshot.
        tags: Tags,
        /// Which of the name's uids it gets, for the ledger.
        n: u32,
    },
    /// Grows a volume. Volumes never shrink.
    Grow {
        /// The new size.
        to: Size,
    },
    /// Restores the content of a volume from a snapshot, keeps its size, and tags it as restored. Completes the same restore if that was
    /// interrupted.
    Restore {
        /// The snapshot.
        snapshot: ObjectRef,
        /// The request from the manifest; written as `tags.restored`.
        request: String,
    },
    /// Replaces the tags.
    SetTags {
        /// All of them.
        tags: Tags,
    },
    /// Reserves all space of a volume, so that it is thick. Its content stays.
    Reserve,
    /// Replaces the settings of a volume. Never changes whether it is encrypted.
    Configure {
        /// All of them.
        settings: VolumeSettings,
    },
    /// Renames an object to its new native name.
    Rename {
        /// The old native name.
        from: NativeName,
        /// All tags, which may change with the name: those of an object with a native name of its own hold its identity.
        tags: Tags,
    },
    /// Adopts an object without an owner under its native name. The tags carry the identity and `adopted`.
    Adopt {
        /// All of them.
        tags: Tags,
        /// Which of the name's uids it gets, for the ledger.
        n: u32,
    },
    /// Moves an object to the trash. It expires `ttl` after the step by the clock of the host.
    Trash {
        /// How long it can be restored.
        ttl: Seconds,
        /// The snapshots inside of it, which go along: all of them, or the step is refused.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        with: Vec<InnerSnapshot>,
    },
    /// Restores an object from the trash.
    Undelete {
        /// All of them.
        tags: Tags,
        /// The snapshots inside of it, which come along: all of them, or the step is refused.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        with: Vec<InnerSnapshot>,
    },
    /// Destroys a live object: `onRemove: Delete`. Refused while a snapshot is inside of it.
    Destroy,
    /// Destroys an object in the trash. Refused while a snapshot is inside of it. Never part of a plan.
    Purge,
    /// Removes an incomplete object that a crash left under a temporary name. Never part of a plan.
    Sweep,
    /// Makes all clones of a snapshot independent of the snapshot.
    Detach,
}

/// A snapshot that goes to the trash, or comes back, inside of its volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InnerSnapshot {
    /// Its identity.
    pub identity: Identity,
    /// Its native name.
    pub native: NativeName,
    /// Its size.
    pub size: Size,
    /// Whether it is released: no document declares it when it goes, or when it comes back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
}

impl InnerSnapshot {
    /// Returns a snapshot as it was observed. `None`: it has no owner.
    pub fn of(object: &Object, released: bool) -> Option<Self> {
        let identity = object.identity.clone()?;
        Some(Self { identity, native: object.native.clone(), size: object.size, released })
    }
}

/// What a call costs a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// It changes metadata.
    Call,
    /// It frees much data.
    Free,
    /// It copies or reserves much data.
    Copy,
}

/// What [`Action`] answers about itself.
struct ActionFacts<'a> {
    verb: Verb,
    is_first: bool,
    cost: Cost,
    leaves_content: bool,
    origin: Option<&'a Origin>,
    reads: Option<(Kind, &'a ObjectRef)>,
    replaced_tags: Option<&'a Tags>,
    /// The snapshots that the action moves inside of the volume.
    with: &'a [InnerSnapshot],
    /// The native name before the action, if it changes.
    from: Option<&'a NativeName>,
    /// Distinguishes approvals of one verb for one object.
    detail: String,
}

impl Action {
    /// The one list of all actions that these questions share: a new action answers all of them here.
    fn facts(&self) -> ActionFacts<'_> {
        let only = |verb| ActionFacts {
            verb,
            is_first: false,
            cost: Cost::Call,
            leaves_content: false,
            origin: None,
            reads: None,
            replaced_tags: None,
            with: &[],
            from: None,
            detail: String::new(),
        };
        match self {
            Action::Create { origin, provisioning, .. } => ActionFacts {
                is_first: true,
                leaves_content: true,
                cost: match origin.is_some() || *provisioning == Provisioning::Thick {
                    true => Cost::Copy,
                    false => Cost::Call,
                },
                origin: origin.as_ref(),
                reads: origin.as_ref().and_then(Origin::object),
                ..only(Verb::Create)
            },
            Action::Snapshot { volume, .. } => ActionFacts {
                is_first: true,
                leaves_content: true,
                cost: Cost::Copy,
                reads: Some((Kind::Volume, volume)),
                ..only(Verb::Create)
            },
            Action::Grow { to } => ActionFacts { detail: to.bytes().to_string(), ..only(Verb::Update) },
            Action::Restore { snapshot, request } => ActionFacts {
                cost: Cost::Copy,
                reads: Some((Kind::Snapshot, snapshot)),
                detail: format!("{} {request}", snapshot.uid),
                ..only(Verb::Update)
            },
            Action::SetTags { tags } => {
                // Releasing changes only tags, but is shown as a removal.
                let verb = if tags.retained { Verb::Remove } else { Verb::Update };
                ActionFacts { leaves_content: true, replaced_tags: Some(tags), ..only(verb) }
            }
            Action::Reserve => ActionFacts { cost: Cost::Copy, ..only(Verb::Update) },
            Action::Configure { .. } => ActionFacts { leaves_content: true, ..only(Verb::Update) },
            Action::Rename { from, tags } => {
                ActionFacts { replaced_tags: Some(tags), from: Some(from), ..only(Verb::Move) }
            }
            Action::Adopt { .. } => ActionFacts { is_first: true, ..only(Verb::Adopt) },
            Action::Trash { ttl: _, with } => {
                // An approval covers exactly the snapshots that go along.
                let uids: Vec<&str> = with.iter().map(|snapshot| snapshot.identity.uid.as_str()).collect();
                ActionFacts { with, detail: uids.join(" "), ..only(Verb::Remove) }
            }
            Action::Undelete { tags, with } => ActionFacts { replaced_tags: Some(tags), with, ..only(Verb::Adopt) },
            Action::Destroy | Action::Purge | Action::Sweep => ActionFacts { cost: Cost::Free, ..only(Verb::Destroy) },
            Action::Detach => ActionFacts { cost: Cost::Copy, ..only(Verb::Update) },
        }
    }

    /// Returns the verb that people see.
    pub fn verb(&self) -> Verb {
        self.facts().verb
    }

    /// Returns the word for people: the verb, but an object that returns from the trash is restored and not adopted.
    pub fn word(&self) -> &'static str {
        if matches!(self, Action::Undelete { .. }) { "restore" } else { self.verb().as_str() }
    }

    /// Whether it gives Kiln an object that it did not have: creates or adopts it.
    pub fn is_first(&self) -> bool {
        self.facts().is_first
    }

    /// Whether it is the restore that was begun.
    pub fn completes(&self, begun: &Restoring) -> bool {
        let is_it =
            |snapshot: &ObjectRef, request: &String| *request == begun.request && Some(snapshot.uid) == begun.snapshot;
        matches!(self, Action::Restore { snapshot, request } if is_it(snapshot, request))
    }

    /// The origin of the volume that it creates.
    pub fn origin(&self) -> Option<&Origin> {
        self.facts().origin
    }

    /// The object whose content it copies, with its kind.
    pub fn reads(&self) -> Option<(Kind, &ObjectRef)> {
        self.facts().reads
    }

    /// The object whose content it copies, to change its address.
    pub fn read_mut(&mut self) -> Option<&mut ObjectRef> {
        match self {
            Action::Create { origin: Some(Origin::Snapshot(object) | Origin::Volume(object)), .. } => Some(object),
            Action::Snapshot { volume, .. } => Some(volume),
            Action::Restore { snapshot, .. } => Some(snapshot),
            Action::Create { origin: Some(Origin::Image { .. }) | None, .. }
            | Action::Grow { .. }
            | Action::SetTags { .. }
            | Action::Reserve
            | Action::Configure { .. }
            | Action::Rename { .. }
            | Action::Adopt { .. }
            | Action::Trash { .. }
            | Action::Undelete { .. }
            | Action::Destroy
            | Action::Purge
            | Action::Sweep
            | Action::Detach => None,
        }
    }

    /// All tags of the object after it, if it replaces the tags of an object that Kiln has.
    pub fn replaced_tags(&self) -> Option<&Tags> {
        self.facts().replaced_tags
    }

    /// The snapshots that it moves to the trash, or back, inside of the volume.
    pub fn with(&self) -> &[InnerSnapshot] {
        self.facts().with
    }

    /// Whether it copies or frees much data, and may take far longer than other calls: the time limit is longer and starts again with
    /// each sign of progress, and progress is shown.
    pub fn is_long(&self) -> bool {
        self.cost() != Cost::Call
    }

    /// Whether it leaves the content and the address of its object as they are, so that the object can be copied meanwhile.
    pub fn leaves_content(&self) -> bool {
        self.facts().leaves_content
    }

    /// What it costs the backend.
    pub fn cost(&self) -> Cost {
        self.facts().cost
    }

    /// What it costs where copies within the pool share their blocks.
    pub fn cost_if_shared(&self) -> Cost {
        let is_thick = matches!(self, Action::Create { provisioning: Provisioning::Thick, .. });
        match self.cost() {
            Cost::Copy if self.reads().is_some() && !is_thick => Cost::Call,
            cost => cost,
        }
    }

    /// Whether it copies or reserves much data. Such a step of the daemon may outlive its pass.
    pub fn is_copy(&self) -> bool {
        self.cost() == Cost::Copy
    }
}

impl fmt::Display for Action {
    /// Describes the action for the journal and for progress lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Create { size, origin: None, .. } => write!(f, "create {}", size.exact()),
            Action::Create { size, origin: Some(origin), .. } => {
                write!(f, "create {} from {origin}", size.exact())
            }
            Action::Snapshot { volume, .. } => write!(f, "create snapshot of {}", volume.native),
            Action::Grow { to } => write!(f, "grow to {}", to.exact()),
            Action::Restore { snapshot, request } => write!(f, "restore from {} ({request})", snapshot.native),
            Action::SetTags { tags } if tags.retained => f.write_str("release"),
            Action::SetTags { .. } => f.write_str("set tags"),
            Action::Reserve => f.write_str("reserve its space"),
            Action::Configure { .. } => f.write_str("set limits"),
            Action::Rename { from, .. } => write!(f, "rename from {from}"),
            Action::Adopt { .. } => f.write_str("adopt"),
            Action::Trash { ttl, with } => write!(f, "move to the trash for {ttl}{}", Along(with)),
            Action::Undelete { tags: _, with } => write!(f, "restore from the trash{}", Along(with)),
            Action::Destroy => f.write_str("destroy"),
            Action::Purge => f.write_str("purge from the trash"),
            Action::Sweep => f.write_str("remove an incomplete object"),
            Action::Detach => f.write_str("make its clones independent"),
        }
    }
}

/// `, with 2 snapshots in it`, or nothing.
struct Along<'a>(&'a [InnerSnapshot]);

impl fmt::Display for Along<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            [_] => f.write_str(", with 1 snapshot in it"),
            several => write!(f, ", with {} snapshots in it", several.len()),
        }
    }
}

/// Conditions that the driver checks just before the effect. `None` and `false` are not checked, except for `place`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Expect {
    /// Where the object is. `None`: it does not exist (it is being created).
    pub place: Option<Place>,
    /// Its [`Object::id`]: that it was not deleted and made again since it was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SmolStr>,
    /// Its size.
    pub size: Option<Size>,
    /// Its tags, except `expires`.
    pub tags: Option<Tags>,
    /// Its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<VolumeSettings>,
    /// That no client has it open, as far as the backend can tell.
    pub idle: bool,
    /// That it was never written to: the backend proves that it contains no data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unwritten: bool,
}

impl Expect {
    /// Expects a live object as it was observed.
    pub fn live(object: &Object) -> Self {
        Self {
            place: Some(Place::Live),
            id: object.id.clone(),
            size: Some(object.size),
            tags: Some(object.tags.lasting()),
            settings: None,
            idle: false,
            unwritten: false,
        }
    }

    /// Compares an object with what is expected of it. `there`: as it is now, observed by name. `shows`: which clients the backend shows.
    ///
    /// # Errors
    /// Conflict if it is not as it was observed; Busy if it must be idle and has clients, or its clients were not observed although the
    /// backend shows all. Nothing was changed.
    pub fn check(&self, there: &Object, shows: ClientVisibility) -> Result<(), DriverError> {
        let Self { place, id, size, tags, settings, idle, unwritten } = self;
        let conflict = |why: String| Err(DriverError::before(ErrorKind::Conflict, why));
        if let Some(wanted) = place.filter(|wanted| *wanted != there.place) {
            return conflict(format!("it is {:?} and not {wanted:?}", there.place));
        }
        if id.is_some() && *id != there.id {
            return conflict("it was replaced by another object after it was observed".to_owned());
        }
        if let Some(wanted) = size.filter(|wanted| *wanted != there.size) {
            return conflict(format!("its size is {} and not {wanted}", there.size));
        }
        if tags.as_ref().is_some_and(|wanted| wanted.lasting() != there.tags.lasting()) {
            return conflict("its tags have changed since it was observed".to_owned());
        }
        if settings.as_ref().is_some_and(|wanted| *wanted != there.settings) {
            return conflict("its settings have changed since it was observed".to_owned());
        }
        if *unwritten && there.written != Written::Never {
            return conflict("it was written to after the plan was made".to_owned());
        }
        let busy = |why: String| Err(DriverError::before(ErrorKind::Busy, format!("{} {why}", there.address())));
        match &there.clients {
            Clients::Some(clients) if *idle => busy(format!("is open: {}", clients.join(", "))),
            Clients::Unknown if *idle && shows == ClientVisibility::All => {
                busy("may be open: its clients were not observed".to_owned())
            }
            Clients::Some(_) | Clients::None | Clients::Unknown => Ok(()),
        }
    }
}

/// What a step could lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Nothing.
    None,
    /// Clients are interrupted.
    Disruptive,
    /// The object can be restored.
    Recoverable,
    /// The object or its content cannot be restored.
    Irreversible,
}

/// Why a step is planned. For people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// Declared, and proven absent.
    NotThere,
    /// Declared, but in the trash.
    InTrash,
    /// Declared again after it was released.
    WasRetained,
    /// The declared size is larger.
    Grown,
    /// Labels, protection or `onRemove` differ.
    TagsDiffer,
    /// It is thick, and its space is not reserved.
    NotReserved,
    /// The limits differ.
    SettingsDiffer,
    /// A restore was requested.
    RestoreRequested,
    /// Renamed by `metadata.renamedFrom`.
    RenamedFrom,
    /// Adopted by `spec.adopt`.
    AdoptRequested,
    /// Adopted by `kiln adopt --from-owner`.
    OwnerGiven,
    /// No longer declared.
    NotDeclared,
    /// Expired in the trash, or purged by request.
    Purged,
    /// Left incomplete by an interruption.
    LeftOver,
    /// Clones depend on it.
    HasClones,
    /// Never written to, and in the way of the object that its document was renamed from.
    GivesWay,
}

/// The change of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The path of the field in the manifest.
    pub path: String,
    /// The value before; null if none.
    pub before: Value,
    /// The value after; null if none.
    pub after: Value,
}

/// The outcome of a call that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The effect was achieved.
    Changed,
    /// The effect was already there.
    Unchanged,
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn an_object_that_is_not_as_expected_is_refused() {
        let observed = Object {
            id: Some("7".into()),
            written: Written::Never,
            clients: Clients::None,
            ..Object::new(NativeName::new("db"), Place::Live, Size(4096))
        };
        let settings = Some(observed.settings.clone());
        let expect = Expect { idle: true, unwritten: true, settings, ..Expect::live(&observed) };
        assert_eq!(expect.check(&observed, ClientVisibility::All), Ok(()));
        let tagged = |tags: Tags| Object { tags: tags.into(), ..observed.clone() };
        let expired = tagged(Tags { expires: Some(9), ..observed.tags.lasting() });
        assert_eq!(expect.check(&expired, ClientVisibility::All), Ok(()), "when it expires is not compared");
        let protected = Tags { protected: true, ..observed.tags.lasting() };
        let settings = VolumeSettings { encrypted: true, ..observed.settings.clone() };
        let clients = Clients::Some(vec!["qemu (pid 7)".to_owned()]);
        for (changed, kind, why) in [
            (Object { place: Place::Trash, ..observed.clone() }, ErrorKind::Conflict, "it is Trash and not Live"),
            (Object { id: None, ..observed.clone() }, ErrorKind::Conflict, "it was replaced by another object"),
            (Object { size: Size(8192), ..observed.clone() }, ErrorKind::Conflict, "its size is 8Ki and not 4Ki"),
            (tagged(protected), ErrorKind::Conflict, "its tags have changed"),
            (Object { settings, ..observed.clone() }, ErrorKind::Conflict, "its settings have changed"),
            (Object { written: Written::Yes, ..observed.clone() }, ErrorKind::Conflict, "it was written to"),
            (Object { written: Written::Unknown, ..observed.clone() }, ErrorKind::Conflict, "it was written to"),
            (Object { clients, ..observed.clone() }, ErrorKind::Busy, "db is open: qemu (pid 7)"),
            (
                Object { clients: Clients::Unknown, ..observed.clone() },
                ErrorKind::Busy,
                "its clients were not observed",
            ),
        ] {
            let refused = expect.check(&changed, ClientVisibility::All).unwrap_err();
            assert!(refused.kind == kind && refused.message.contains(why), "{why}: {refused:?}");
            assert_eq!(refused.effect, crate::model::Effect::No);
            let nothing = Expect { place: Some(changed.place), ..Expect::default() };
            assert_eq!(nothing.check(&changed, ClientVisibility::All), Ok(()), "what is not expected is not compared");
        }
        let unseen = Object { clients: Clients::Unknown, ..observed };
        for shows in [ClientVisibility::Host, ClientVisibility::None] {
            assert_eq!(expect.check(&unseen, shows), Ok(()), "as far as the backend can tell");
        }
    }
}
