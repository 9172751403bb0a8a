//! The raw form of documents: names, types and descriptions of the fields, for [`super::schema`] only.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// A DNS-1123 label of at most 63 characters.
pub(super) struct Label;
/// A number of bytes, or one with Ki Mi Gi Ti Pi (powers of 1024) or k M G T P (powers of 1000).
pub(super) struct Size;
/// A whole number with s, m, h or d.
pub(super) struct Duration;
/// Whole percent, like 90%.
pub(super) struct Percent;

/// A schema that is one of these texts, or a number where one will do.
macro_rules! text_schema {
    ($type:ident, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
text_schema!(Label, {
    "description": "A DNS-1123 label of at most 63 characters.",
    "type": "string", "examples": ["db-1"], "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
});
text_schema!(Size, {
    "description": "A number of bytes, or one with Ki Mi Gi Ti Pi (powers of 1024) or k M G T P (powers of 1000).",
    "type": ["integer", "string"], "examples": ["10Gi", 1048576], "minimum": 0, "pattern": "^(0|[1-9][0-9]*)(\\.[0-9]+)?([KMGTP]iB?|[kMGTP])?$"
});
text_schema!(Duration, {
    "description": "A whole number with s, m, h or d.",
    "type": "string", "examples": ["30s", "12h", "7d"], "pattern": "^(0|[1-9][0-9]*)[smhd]$"
});
text_schema!(Percent, {
    "description": "Whole percent, like 90%.",
    "type": ["integer", "string"], "examples": ["90%"], "minimum": 0, "pattern": "^(0|[1-9][0-9]*)%?$"
});

/// Declares the raw structs: fields with their descriptions, all of them unread.
macro_rules! raw {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[expect(dead_code, reason = "only their names, types and descriptions are used")]
        $(#[$meta])*
        pub(super) struct $name { $($(#[$field_meta])* $field: $type,)* }
    )*};
}

raw! {
    /// What every object has.
    Metadata {
        /// Unique per kind. Of a Stack: at most 20 characters, since every native name begins with it.
        name: Label,
        /// Free text by key, kept on the object.
        labels: Option<BTreeMap<String, String>>,
        /// This is the object that used to be declared under that name.
        renamed_from: Option<Label>,
    }

    /// Policy of the owner.
    StackSpec {
        /// 8 to 40 of a-z, 0-9 and '-', made once by `kiln init`. Tells two stacks of one name apart; must never change.
        #[schemars(regex(pattern = r"^[a-z0-9-]{8,40}$"))]
        id: String,
        /// For what documents leave out.
        defaults: Option<StackDefaults>,
        /// Watch mode: how often everything is observed again. Default: 1m.
        interval: Option<Duration>,
        /// How long removed objects can be brought back.
        trash: Option<Trash>,
        /// How much may leave within 24 hours without a person's approval.
        safety: Option<Safety>,
    }

    /// For what documents leave out.
    StackDefaults {
        /// The Backend of volumes that name none. No default.
        backend: Option<Label>,
        /// For objects that are being created. Default: Trash.
        on_remove: Option<OnRemove>,
        /// For objects that are being created. Default: false.
        protected: Option<bool>,
    }

    /// How long removed objects can be brought back.
    Trash {
        /// How long they are kept at least. Default: 7d.
        ttl: Option<Duration>,
        /// auto: the daemon purges what is past its time; manual: only `kiln trash purge` does. Default: auto.
        purge: Option<Purge>,
    }

    /// How much may leave within 24 hours without a person's approval.
    Safety {
        /// Volumes and snapshots. Default: 10.
        max_removals: Option<u32>,
        /// Their share of all there are. Default: 50%.
        max_removed_percent: Option<Percent>,
        /// Their bytes. Default: 1Ti.
        max_removed_bytes: Option<Size>,
    }

    /// A pool of storage and how it is talked to.
    #[schemars(extend("additionalProperties" = {"type": "object"}))]
    BackendSpec {
        /// local, sim, rbd, lvm, … One that this Kiln does not have: what is declared on it is held as Unsupported.
        driver: String,
        /// For `driver: local`.
        local: Option<Local>,
        /// For `driver: sim`.
        sim: Option<Sim>,
        /// For `driver: rbd`.
        rbd: Option<Rbd>,
        /// Calls in flight at once. Default: 8.
        #[schemars(range(min = 1, max = 1024))]
        concurrency: Option<u32>,
        /// Of one call. Default: 30s.
        timeout: Option<Duration>,
        /// Share of the capacity past which nothing is created or grown. Default: 90%.
        max_fill: Option<Percent>,
        /// Provisioned bytes by capacity, for thin volumes. Default: 1.0; rbd: 5.0; sim: no limit.
        #[schemars(range(min = 0.01, max = 1000))]
        overcommit: Option<f64>,
        /// Runs the driver elsewhere, over this command's standard streams, like [ssh, storage-1].
        #[schemars(length(min = 1))]
        via: Option<Vec<String>>,
    }

    /// A directory that holds the objects.
    Local {
        /// The directory, relative to the file.
        path: String,
        /// Makes the directory on first use. Default: false.
        create: Option<bool>,
    }

    /// The simulator.
    Sim {
        /// The file that keeps it, relative to the file; in memory without one.
        path: Option<String>,
        /// Of its faults. Default: 0.
        seed: Option<u64>,
        /// Default: without limit.
        capacity: Option<Size>,
        /// How often each fault occurs. Default: never.
        faults: Option<Faults>,
    }

    /// How often each fault occurs, per call.
    Faults {
        /// An error before the effect.
        error: Option<Percent>,
        /// The effect, with its reply lost.
        lost_reply: Option<Percent>,
        /// Half an effect.
        half: Option<Percent>,
        /// A listing that shows the world as it was one call ago.
        stale: Option<Percent>,
        /// A listing that is cut short, and says so.
        cut: Option<Percent>,
        /// A call that takes ten seconds.
        slow: Option<Percent>,
        /// A call that never ends.
        hang: Option<Percent>,
        /// Success is reported, and nothing was done.
        lie: Option<Percent>,
    }

    /// A pool of a Ceph cluster.
    Rbd {
        /// The RADOS pool.
        pool: String,
        /// The namespace in it. Default: none.
        namespace: Option<String>,
        /// The pool for data, where the images' headers are in another.
        data_pool: Option<String>,
        /// The CephX user, without `client.`.
        user: Option<String>,
        /// The cluster's configuration file, relative to the file.
        conf: Option<String>,
        /// The user's key ring, relative to the file.
        keyring: Option<String>,
        /// Bytes per RADOS object: a power of two, 4Ki to 32Mi. Default: 4Mi.
        object_size: Option<Size>,
        /// Features of new images.
        features: Option<Vec<Feature>>,
    }

    /// What the volume should be.
    VolumeSpec {
        /// The Backend that it is on. Default: the Stack's.
        backend: Option<Label>,
        /// At least one byte; rounded up to what the backend can do. Only grows.
        size: Size,
        /// Default: thin where the driver can.
        provisioning: Option<Provisioning>,
        /// How it begins. Not looked at once it is there.
        source: Option<Source>,
        /// Blocks every step that could lose data; only a written `false` lifts it.
        protected: Option<bool>,
        /// What happens when the document goes. Default: the Stack's, else Trash.
        on_remove: Option<OnRemove>,
        /// The native name, where it must be known beforehand.
        #[schemars(length(min = 1, max = 255))]
        object: Option<String>,
        /// Takes over what exists on the backend, under its own name.
        adopt: Option<Adopt>,
        /// Back to a snapshot, once for each distinct request.
        restore: Option<Restore>,
        /// Rate limits.
        qos: Option<Qos>,
        /// LUKS2; `size` is what can be used.
        encryption: Option<Encryption>,
    }

    /// How a volume begins: exactly one of these.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    Source {
        /// A copy of a snapshot.
        snapshot: Option<Label>,
        /// A copy of a volume as it is at that moment.
        volume: Option<Label>,
        /// A copy of an image.
        image: Option<Image>,
    }

    /// A file with an image.
    Image {
        /// The file, relative to the one that names it.
        path: String,
        /// Never guessed.
        format: ImageFormat,
        /// Of the file, in hexadecimal.
        #[schemars(regex(pattern = r"^[0-9a-fA-F]{64}$"))]
        sha256: Option<String>,
    }

    /// What is taken over.
    Adopt {
        /// As the backend lists it.
        #[schemars(length(min = 1, max = 255))]
        name: String,
    }

    /// Back to a snapshot.
    Restore {
        /// Which.
        snapshot: Label,
        /// Any text; another text is another restore.
        #[schemars(length(min = 1, max = 200))]
        request: String,
    }

    /// Operations and bytes a second.
    Qos {
        /// Reads and writes together.
        iops: Option<u64>,
        /// Reads.
        read_iops: Option<u64>,
        /// Writes.
        write_iops: Option<u64>,
        /// Bytes read and written.
        bps: Option<Size>,
        /// Bytes read.
        read_bps: Option<Size>,
        /// Bytes written.
        write_bps: Option<Size>,
        /// Operations above `iops` for a short while.
        iops_burst: Option<u64>,
        /// Bytes above `bps` for a short while.
        bps_burst: Option<Size>,
    }

    /// LUKS2.
    Encryption {
        /// Where the passphrase is read from.
        passphrase_from: SecretFrom,
    }

    /// Where a secret is read from when a step needs it: exactly one of these.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    SecretFrom {
        /// A file, relative to the one that names it.
        file: Option<String>,
        /// A variable of Kiln's environment.
        env: Option<String>,
    }

    /// What the snapshot is of.
    SnapshotSpec {
        /// The declared volume.
        volume: Label,
        /// Blocks every step that could lose it; only a written `false` lifts it.
        protected: Option<bool>,
        /// What happens when the document goes; Detach makes its clones independent first. Default: Trash.
        on_remove: Option<OnRemoveSnapshot>,
        /// Takes over what exists on the backend, under its own name.
        adopt: Option<Adopt>,
    }

    /// A server that exports volumes.
    #[schemars(extend("additionalProperties" = {"type": "object"}))]
    TargetSpec {
        /// tgt, nbd, lio, nvmet, …
        driver: String,
        /// For `driver: tgt`.
        tgt: Option<Tgt>,
    }

    /// The target framework's daemon.
    Tgt {
        /// ADDRESS:PORT on which clients are served. Default: 127.0.0.1:3260.
        #[schemars(length(min = 1))]
        portals: Option<Vec<String>>,
        /// The daemon's control number. Default: 0.
        #[schemars(range(max = 32767))]
        control: Option<u32>,
        /// The daemon's control socket. Default: /run/tgtd.
        socket: Option<String>,
        /// iqn, year and month, and a domain of yours: iqn.2026-01.org.example.
        iqn_prefix: String,
    }

    /// Who may reach what, and how. Exactly one of `volume` and `snapshot`.
    ExportSpec {
        /// The declared volume.
        volume: Option<Label>,
        /// The declared snapshot; read-only.
        snapshot: Option<Label>,
        /// The declared Target.
        target: Label,
        /// As far as the target can.
        protocol: Protocol,
        /// Default: false; snapshots: true.
        read_only: Option<bool>,
        /// Names of clients. Where networks are given too, both must match.
        #[schemars(length(min = 1))]
        initiators: Option<Vec<String>>,
        /// Addresses of clients, like 10.0.0.0/24.
        #[schemars(length(min = 1))]
        networks: Option<Vec<String>>,
        /// Admits every client that can reach the target. Default: false.
        open_to_all: Option<bool>,
        /// How clients log in.
        auth: Option<Auth>,
        /// More than one writer. Default: false.
        shared: Option<bool>,
        /// May be taken away from connected clients. Default: false.
        force: Option<bool>,
    }

    /// How clients log in.
    Auth {
        /// What the client must know.
        chap: Login,
        /// What the target must know.
        mutual: Option<Login>,
    }

    /// A name and a password.
    Login {
        /// The name.
        username: String,
        /// Where the password is read from.
        password_from: SecretFrom,
    }

    /// A person's decision.
    ApprovalSpec {
        /// As `kiln plan` prints it: it covers exactly that set.
        digest: String,
    }
}

/// Declares the choices of a field.
macro_rules! choices {
    ($($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $text:literal $variant:ident,)* })*) => {$(
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only their names and descriptions are used")]
        $(#[$meta])*
        pub(super) enum $name { $($(#[$variant_meta])* #[serde(rename = $text)] $variant,)* }
    )*};
}

choices! {
    /// What happens to an object whose document goes.
    OnRemove {
        /// Into the trash, from where it can be brought back.
        "Trash" Trash,
        /// It stays, released.
        "Retain" Retain,
        /// Destroyed at once: cannot be undone.
        "Delete" Delete,
    }
    /// What happens to a snapshot whose document goes.
    OnRemoveSnapshot {
        /// Into the trash, from where it can be brought back.
        "Trash" Trash,
        /// It stays, released.
        "Retain" Retain,
        /// Destroyed at once: cannot be undone.
        "Delete" Delete,
        /// Its clones are made independent of it first, then Trash.
        "Detach" Detach,
    }
    /// Who purges the trash.
    Purge {
        /// The daemon purges what is past its time.
        "auto" Auto,
        /// Only `kiln trash purge` does.
        "manual" Manual,
    }
    /// When space is taken.
    Provisioning {
        /// When written to.
        "thin" Thin,
        /// When made.
        "thick" Thick,
    }
    /// The format of an image.
    ImageFormat {
        /// Bytes as they are.
        "raw" Raw,
        /// QEMU's.
        "qcow2" Qcow2,
    }
    /// How clients talk to the target.
    Protocol {
        /// iSCSI.
        "iscsi" Iscsi,
        /// iSCSI over RDMA.
        "iser" Iser,
        /// NVMe over TCP.
        "nvme-tcp" NvmeTcp,
        /// NVMe over RDMA.
        "nvme-rdma" NvmeRdma,
        /// Network block device.
        "nbd" Nbd,
    }
    /// A feature of RBD images.
    Feature {
        /// Clones.
        "layering" Layering,
        /// One writer at a time.
        "exclusive-lock" ExclusiveLock,
        /// Which objects are there.
        "object-map" ObjectMap,
        /// Quick differences.
        "fast-diff" FastDiff,
        /// Flattening of snapshots too.
        "deep-flatten" DeepFlatten,
        /// A journal.
        "journaling" Journaling,
    }
}
