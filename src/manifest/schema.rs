//! The same fields for editors: JSON Schema, and the help text of each field.
//!
//! The structs here are the raw form of documents and are never filled: documents are read field by field with a cursor
//! (`kinds`), since values read by derived code stop at the first thing that is wrong. A test holds the two together.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::model::Kind;

/// The JSON Schema (draft 2020-12) of documents of a kind; without one, of every kind, told apart by `kind`.
pub fn schema(kind: Option<Kind>) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let schemas: Vec<Value> = kind
        .map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind])
        .into_iter()
        .map(|kind| document(&mut generator, kind))
        .collect();
    let mut root = match <[Value; 1]>::try_from(schemas) {
        Ok([one]) => one,
        Err(schemas) => json!({
            "title": "Kiln manifest",
            "oneOf": schemas,
            "discriminator": {"propertyName": "kind"},
        }),
    };
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["$defs"] = Value::Object(generator.take_definitions(true));
    without_null(&mut root);
    root
}

/// What may be left out is an `Option` here, which schemars takes for "may be null". In a manifest it may not: a field with no
/// value is most likely half-written.
fn without_null(value: &mut Value) {
    let is_null = |value: &Value| *value == json!("null") || *value == json!({"type": "null"});
    match value {
        Value::Object(map) => {
            for key in ["type", "anyOf"] {
                let Some(Value::Array(choices)) = map.get_mut(key) else { continue };
                choices.retain(|choice| !is_null(choice));
                if let [one] = choices.as_mut_slice() {
                    match (key, one.take()) {
                        ("anyOf", Value::Object(fields)) => {
                            map.remove(key);
                            map.extend(fields);
                        }
                        (_, one) => drop(map.insert(key.to_owned(), one)),
                    }
                }
            }
            map.retain(|key, value| !(key == "default" && value.is_null()));
            map.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

fn document(generator: &mut SchemaGenerator, kind: Kind) -> Value {
    let (spec, description) = match kind {
        Kind::Stack => {
            (generator.subschema_for::<StackSpec>(), "The owner of all objects, and its policy. At most one.")
        }
        Kind::Backend => (generator.subschema_for::<BackendSpec>(), "A pool of storage behind a driver."),
        Kind::Volume => (generator.subschema_for::<VolumeSpec>(), "A volume."),
        Kind::Snapshot => {
            (generator.subschema_for::<SnapshotSpec>(), "What a volume held when this was made; never changes.")
        }
        Kind::Target => (generator.subschema_for::<TargetSpec>(), "A server that exports volumes to clients."),
        Kind::Export => (generator.subschema_for::<ExportSpec>(), "A volume or snapshot offered to clients."),
        Kind::Approval => (generator.subschema_for::<ApprovalSpec>(), "Lets a held set of removals go, by commit."),
    };
    json!({
        "title": kind.as_str(),
        "description": description,
        "type": "object",
        "properties": {
            "apiVersion": {"description": "The version of the format.", "const": "kiln/v1"},
            "kind": {"description": "What the document declares.", "const": kind.as_str()},
            "metadata": generator.subschema_for::<Metadata>(),
            "spec": spec,
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
    })
}

/// A DNS-1123 label of at most 63 characters.
struct Label;
/// A number of bytes, or one with Ki Mi Gi Ti Pi (powers of 1024) or k M G T P (powers of 1000).
struct Size;
/// A whole number with s, m, h or d.
struct Duration;
/// Whole percent, like 90%.
struct Percent;

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
    "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
});
text_schema!(Size, {
    "description": "A number of bytes, or one with Ki Mi Gi Ti Pi (powers of 1024) or k M G T P (powers of 1000).",
    "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+(\\.[0-9]+)?([KMGTP]iB?|[kMGTP])?$"
});
text_schema!(Duration, {
    "description": "A whole number with s, m, h or d.",
    "type": "string", "pattern": "^[0-9]+[smhd]$"
});
text_schema!(Percent, {
    "description": "Whole percent, like 90%.",
    "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+%?$"
});

/// Declares the raw structs: fields with their descriptions, all of them unread.
macro_rules! raw {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[expect(dead_code, reason = "only their names, types and descriptions are used")]
        $(#[$meta])*
        struct $name { $($(#[$field_meta])* $field: $type,)* }
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
        enum $name { $($(#[$variant_meta])* #[serde(rename = $text)] $variant,)* }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::manifest::{Limits, Source, load};

    fn resolve<'v>(root: &'v Value, value: &'v Value) -> &'v Value {
        match value["$ref"].as_str() {
            Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    /// A document in which the map at `path` holds nothing but an unknown field.
    fn document_with(kind: Kind, path: &[String]) -> String {
        let mut inner = json!({"zzz": 1});
        for (depth, name) in path.iter().enumerate().rev() {
            inner = json!({name: inner});
            // A section is read only for its driver.
            if depth == 1 && ["local", "sim", "rbd", "tgt"].contains(&name.as_str()) {
                inner["driver"] = json!(name);
            }
        }
        if !path.is_empty() {
            inner["kind"] = json!(kind.as_str());
            inner["apiVersion"] = json!("kiln/v1");
        } else {
            inner = json!({"zzz": 1, "kind": kind.as_str()});
        }
        inner.to_string()
    }

    fn check(root: &Value, kind: Kind, path: &mut Vec<String>, value: &Value, maps: &mut usize) {
        let Some(properties) = value["properties"].as_object() else { return };
        *maps += 1;
        let document = document_with(kind, path);
        let problems = load(&Source::Text(document.clone()), &Limits::default()).problems;
        let unknown = problems
            .iter()
            .find(|p| p.message.contains("\"zzz\""))
            .unwrap_or_else(|| panic!("{document}: {problems:#?}"));
        let known = unknown.hint.as_deref().unwrap().strip_prefix("known here: ").unwrap();
        let known: BTreeSet<&str> = known.split(", ").collect();
        let declared: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(known, declared, "{kind} {path:?}: the reader's fields, and the schema's");

        let end = path.last().map_or("is missing".to_owned(), |name| format!("is missing in `{name}`"));
        let missing = problems.iter().filter(|p| p.message.ends_with(&end));
        let missing: BTreeSet<&str> = missing.filter_map(|p| p.message.split('`').nth(1)).collect();
        let required = value["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut required: BTreeSet<&str> = required.collect();
        if path.is_empty() {
            required.remove("kind");
        }
        assert_eq!(missing, required, "{kind} {path:?}: what the reader misses, and what the schema requires");

        for (name, property) in properties {
            let target = resolve(root, property);
            let described = property["description"].is_string() || target["description"].is_string();
            assert!(described, "{kind} {path:?} {name} has no description");
            path.push(name.clone());
            check(root, kind, path, target, maps);
            path.pop();
        }
    }

    #[test]
    fn the_reader_and_the_schema_know_the_same_fields() {
        let mut maps = 0;
        for kind in Kind::ALL {
            let root = schema(Some(kind));
            check(&root, kind, &mut Vec::new(), &root, &mut maps);
        }
        // Seven documents with metadata and spec each, and what is inside.
        assert!(maps > 40, "{maps}");
    }

    #[test]
    fn one_schema_tells_all_kinds_apart() {
        let root = schema(None);
        let kinds: Vec<&str> = root["oneOf"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|one| one["properties"]["kind"]["const"].as_str())
            .collect();
        assert_eq!(kinds, Kind::ALL.map(Kind::as_str));
        let text = root.to_string();
        assert!(!text.contains("null"), "a field without a value is a problem: {text}");
        assert_eq!(root["$defs"]["OnRemoveSnapshot"]["oneOf"].as_array().unwrap().len(), 4);
    }
}
