//! The section `sim` of a Backend.

use std::path::PathBuf;

use crate::model::table::{FieldForm, FieldRule, FieldValue, Setting, fields};
use crate::model::{
    Absence, Capabilities, ClientVisibility, DriverTable, Kind, NameAlphabet, NameRules, Percent, Reservation,
    Restores, SettingsAbility, Size, SnapshotAbility, TrashAbility,
};

pub(in crate::driver) const TABLE: DriverTable = DriverTable {
    kind: Kind::Backend,
    name: "sim",
    settings: SimSettings::TABLE,
    required: None,
    needs_stack: false,
    overcommit: None,
    place: "memory",
};

fields! {
    /// The simulator.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SimSettings("Sim") {
        /// The file of the pool, relative to the manifest. Without it the pool is in memory.
        "path" => path: Option<PathBuf> = FieldRule::optional(FieldForm::Path).key(),
        /// The seed of the faults.
        "seed" => seed: u64 = FieldRule::default(FieldForm::Whole { min: 0, max: u64::MAX }, "0"),
        /// The capacity. Default: without limit.
        "capacity" => capacity: Option<Size> = FieldRule::optional(FieldForm::size(1)),
        /// How often each fault occurs, per call. Default: never.
        "faults" => faults: Option<FaultRates> = FieldRule::optional(FieldForm::Map(&FaultRates::TABLE)),
        /// In what the backend differs from one that can do everything that the simulator can.
        "mode" => mode: Option<SimMode> = FieldRule::optional(FieldForm::Map(&SimMode::TABLE)),
    }
}

fields! {
    /// In what a simulated backend differs, as real ones do.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct SimMode("Mode") {
        /// Objects cannot be renamed.
        "noRename" => no_rename: bool = FieldRule::default(FieldForm::Bool, "false"),
        /// Snapshots are inside of their volumes: their names are unique only there, and they cannot outlive the volume.
        "nestedSnapshots" => nested_snapshots: bool = FieldRule::default(FieldForm::Bool, "false"),
        /// Which objects its trash takes. Default: All.
        "trash" => trash: Option<TrashAbility> = FieldRule::optional(FieldForm::Choice(&TrashAbility::CHOICES)),
        /// The native names that there can be. Default: all of up to 128 bytes.
        "names" => names: Option<SimNames> = FieldRule::optional(FieldForm::Map(&SimNames::TABLE)),
        /// Creating an object that exists makes a second one.
        "unrepeatable" => unrepeatable: bool = FieldRule::default(FieldForm::Bool, "false"),
        /// Clients cannot be seen: neither shown, nor in the way of a step. A snapshot or clone of an open volume is inconsistent.
        "blindToClients" => blind_to_clients: bool = FieldRule::default(FieldForm::Bool, "false"),
        /// How it is proven that an object does not exist. ByName: lists show only some of the objects. ByLedger: only objects are
        /// shown whose creation was answered, there is no trash, and nothing can be adopted. Default: ByList.
        "absence" => absence: Option<Absence> = FieldRule::optional(FieldForm::Choice(&Absence::CHOICES)),
        /// How a volume is restored from a snapshot. Default: Atomic.
        "restore" => restore: Option<Restores> = FieldRule::optional(FieldForm::Choice(&Restores::CHOICES)),
        /// What the backend can run out of beside its capacity. Default: nothing.
        "capacities" => capacities: Option<SimCapacities> = FieldRule::optional(FieldForm::Map(&SimCapacities::TABLE)),
        /// Whether it is shown that the space of a volume is reserved, and whether it can be reserved later. Default: Changeable.
        "reservation" => reservation: Option<Reservation> = FieldRule::optional(FieldForm::Choice(&Reservation::CHOICES)),
        /// The settings that volumes can have. Default: all.
        "settings" => settings: Option<SimVolumeSettings> = FieldRule::optional(FieldForm::Map(&SimVolumeSettings::TABLE)),
    }
}

fields! {
    /// What a simulated backend can run out of beside its capacity.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct SimCapacities("Capacities") {
        /// Bytes of metadata; each object takes 4Ki.
        "metadata" => metadata: Option<Size> = FieldRule::optional(FieldForm::size(1)),
        /// The most objects.
        "objects" => objects: Option<u64> = FieldRule::optional(FieldForm::Whole { min: 1, max: u64::MAX }),
    }
}

fields! {
    /// The settings that volumes of a simulated backend can have.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct SimVolumeSettings("VolumeSettings") {
        /// Whether rates can be limited.
        "qos" => qos: bool = FieldRule::default(FieldForm::Bool, "true"),
        /// Whether the limits of an open volume can be changed.
        "qosLive" => qos_live: bool = FieldRule::default(FieldForm::Bool, "true"),
        /// Whether volumes can be created encrypted. The simulator only records it, and encrypts nothing.
        "encryption" => encryption: bool = FieldRule::default(FieldForm::Bool, "true"),
    }
}

fields! {
    /// The native names of a simulated backend.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct SimNames("Names") {
        /// The longest name, in bytes.
        "maxBytes" => max_bytes: u64 = FieldRule::default(FieldForm::Whole { min: 1, max: 255 }, "128"),
        /// The bytes before each name that count too.
        "prefix" => prefix: u64 = FieldRule::default(FieldForm::Whole { min: 0, max: 255 }, "0"),
        /// The bytes that a dash counts.
        "dash" => dash: u64 = FieldRule::default(FieldForm::Whole { min: 1, max: 2 }, "1"),
        /// Whether names contain only `A-Z`, `a-z`, `0-9`, `.`, `_`, `+` and `-`.
        "portable" => portable: bool = FieldRule::default(FieldForm::Bool, "false"),
    }
}

impl SimNames {
    fn rules(&self) -> NameRules {
        let SimNames { max_bytes, prefix, dash, portable } = *self;
        let bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        NameRules {
            prefix_bytes: bytes(prefix),
            dash_bytes: bytes(dash),
            alphabet: if portable { NameAlphabet::Portable } else { NameAlphabet::Any },
            ..NameRules::up_to(bytes(max_bytes))
        }
    }
}

impl SimVolumeSettings {
    fn ability(self) -> SettingsAbility {
        let Self { qos, qos_live, encryption } = self;
        SettingsAbility { qos, qos_live, encryption }
    }
}

impl SimMode {
    /// Returns what a backend of this mode can do.
    pub fn capabilities(&self) -> Capabilities {
        let SimMode {
            no_rename,
            nested_snapshots,
            trash,
            names,
            unrepeatable,
            blind_to_clients,
            absence,
            restore,
            reservation,
            settings,
            capacities: _,
        } = *self;
        let everything = Capabilities::everything();
        let absence = absence.unwrap_or(everything.absence);
        let shows_foreign = absence != Absence::ByLedger;
        let all = if shows_foreign { TrashAbility::All } else { TrashAbility::None };
        let snapshots =
            SnapshotAbility { nested: nested_snapshots, while_open: !blind_to_clients, adopt: shows_foreign };
        let client_visibility = if blind_to_clients { ClientVisibility::None } else { ClientVisibility::All };
        Capabilities {
            names: names.map_or(everything.names, |names| names.rules()),
            rename: !no_rename,
            snapshots: Some(snapshots),
            adopt: shows_foreign,
            trash: trash.filter(|_| shows_foreign).unwrap_or(all),
            repeatable: !unrepeatable,
            client_visibility,
            absence,
            restore: restore.unwrap_or(everything.restore),
            reservation: reservation.unwrap_or(everything.reservation),
            settings: settings.map_or(everything.settings, |settings| settings.ability()),
            ..everything
        }
    }
}

/// The rate of a fault; 0 if it is not written.
struct Rate;

impl Rate {
    fn read(rate: Option<Setting>) -> Option<Percent> {
        Some(Option::<Percent>::from_field(rate)?.unwrap_or(Percent(0)))
    }

    fn write(rate: &Percent) -> Option<Setting> {
        if rate.0 == 0 { None } else { rate.to_value() }
    }
}

const RATE: FieldRule = FieldRule::optional(FieldForm::Share { min: 0, max: 100 });

fields! {
    /// How often each fault occurs, per call.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct FaultRates("Faults") {
        /// An error before the effect.
        "error" => error: Percent, with Rate = RATE,
        /// The effect, with the reply lost.
        "lostReply" => lost_reply: Percent, with Rate = RATE,
        /// An incomplete effect.
        "half" => half: Percent, with Rate = RATE,
        /// A listing of the state before the last change.
        "stale" => stale: Percent, with Rate = RATE,
        /// An incomplete listing that says so.
        "cut" => cut: Percent, with Rate = RATE,
        /// A call that takes ten seconds.
        "slow" => slow: Percent, with Rate = RATE,
        /// A call that never ends.
        "hang" => hang: Percent, with Rate = RATE,
        /// A reported success without effect.
        "lie" => lie: Percent, with Rate = RATE,
    }
}

impl FaultRates {
    /// No faults.
    pub const NONE: FaultRates = FaultRates {
        error: Percent(0),
        lost_reply: Percent(0),
        half: Percent(0),
        stale: Percent(0),
        cut: Percent(0),
        slow: Percent(0),
        hang: Percent(0),
        lie: Percent(0),
    };
}
