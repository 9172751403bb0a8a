//! `kind: Volume` and `kind: Snapshot`.

use super::head::{adopt, native_name, path, refer};
use super::{Reference, export};
use crate::manifest::fields::{At, Fields};
use crate::model::{
    ImageFormat, ImageRef, Kind, Meta, OnRemove, Provisioning, Qos, RestoreSpec, SnapshotSpec, SourceSpec, VolumeSpec,
};

pub(super) fn read(mut fields: Fields<'_>, meta: Option<Meta>, references: &mut Vec<Reference>) -> Option<VolumeSpec> {
    let backend = refer(fields.get("backend"), Kind::Backend, "backend", references);
    let size = fields.need("size", "write a size, like 10Gi").and_then(|at| at.size(1));
    let words = [("thin", Provisioning::Thin), ("thick", Provisioning::Thick)];
    let provisioning = fields.get("provisioning").and_then(|at| at.choice(&words));
    let source_at = fields.get("source");
    let source = source_at.and_then(source);
    let protected = fields.get("protected").and_then(|at| at.flag());
    let on_remove = fields.get("onRemove").and_then(on_remove);
    let object_at = fields.get("object");
    let object = object_at.and_then(|at| native_name(at, true));
    let adopt_at = fields.get("adopt");
    let adopt = adopt_at.and_then(adopt);
    let restore = fields.get("restore").and_then(restore);
    let qos = fields.get("qos").and_then(qos);
    let encryption = fields.get("encryption").map(|at| at.secret());
    if let Some(at) = encryption {
        encrypted(at);
    }
    fields.finish();
    if adopt_at.is_some() {
        for at in [source_at, object_at].into_iter().flatten() {
            let hint = "keep `adopt` to take over what exists, or remove it to make a new volume";
            at.wrong("has no meaning together with `adopt`", hint);
        }
    }
    let meta = meta?;
    Some(VolumeSpec {
        backend: backend.unwrap_or_else(|| meta.name.clone()),
        meta,
        size: size?,
        provisioning,
        source,
        protected,
        on_remove,
        object,
        adopt,
        restore,
        qos,
        encrypted: encryption.is_some(),
    })
}

/// `onRemove` of volumes, and of the Stack's defaults, which are for volumes too.
pub(super) fn on_remove(at: At<'_>) -> Option<OnRemove> {
    if at.is_text("Detach") {
        at.wrong("is Detach, which is for snapshots only", "write Trash, Retain or Delete");
        return None;
    }
    at.choice(&[("Trash", OnRemove::Trash), ("Retain", OnRemove::Retain), ("Delete", OnRemove::Delete)])
}

/// `source` and `restore` are judged when they are used: what they name need not be declared.
fn source(at: At<'_>) -> Option<SourceSpec> {
    let mut fields = at.fields()?;
    let one = fields.one_of(&["snapshot", "volume", "image"]);
    fields.finish();
    let one = one?;
    match one.field() {
        "snapshot" => one.name().map(SourceSpec::Snapshot),
        "volume" => one.name().map(SourceSpec::Volume),
        _ => image(one),
    }
}

fn image(at: At<'_>) -> Option<SourceSpec> {
    let mut fields = at.fields()?;
    let path = fields.need("path", "write the path of the image, relative to this file").and_then(path);
    // Formats are never guessed: a raw disk whose guest wrote a qcow2 header could otherwise name any file of the host.
    let format = fields.need("format", "write `format: raw` or `format: qcow2`");
    let format = format.and_then(|at| at.choice(&[("raw", ImageFormat::Raw), ("qcow2", ImageFormat::Qcow2)]));
    let sha256 = fields.get("sha256").and_then(|at| {
        let text = at.text()?;
        let fits = text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
        if !fits {
            at.wrong("must be 64 hexadecimal digits", "`sha256sum FILE` prints them");
        }
        fits.then(|| text.to_ascii_lowercase())
    });
    fields.finish();
    Some(SourceSpec::Image(ImageRef { path: path?, format: format?, sha256 }))
}

fn restore(at: At<'_>) -> Option<RestoreSpec> {
    let mut fields = at.fields()?;
    let snapshot = fields.need("snapshot", "write the name of the snapshot").and_then(|at| at.name());
    let hint = "write any text, like today's date; another text is another restore";
    let request = fields.need("request", hint).and_then(|at| at.line(200));
    fields.finish();
    Some(RestoreSpec { snapshot: snapshot?, request: request?.to_owned() })
}

fn qos(at: At<'_>) -> Option<Qos> {
    let mut fields = at.fields()?;
    let mut rate = |name| fields.get(name).and_then(|at| at.whole(1, i64::MAX as u64));
    let (iops, read_iops, write_iops) = (rate("iops"), rate("readIops"), rate("writeIops"));
    let iops_burst = rate("iopsBurst");
    let mut bytes = |name| fields.get(name).and_then(|at| at.size(1)).map(|size| size.bytes());
    let (bps, read_bps, write_bps) = (bytes("bps"), bytes("readBps"), bytes("writeBps"));
    let bps_burst = bytes("bpsBurst");
    fields.finish();
    Some(Qos { iops, read_iops, write_iops, bps, read_bps, write_bps, iops_burst, bps_burst })
}

fn encrypted(at: At<'_>) {
    let Some(mut fields) = at.fields() else { return };
    fields.refuse(
        "passphrase",
        "a passphrase is never written in a manifest",
        "write `passphraseFrom: {file: …}` or `{env: …}`",
    );
    if let Some(at) = fields.need("passphraseFrom", "write `passphraseFrom: {file: …}` or `{env: …}`") {
        export::secret_from(at);
    }
    fields.finish_except("passphrase");
}

pub(super) fn read_snapshot(
    mut fields: Fields<'_>,
    meta: Option<Meta>,
    references: &mut Vec<Reference>,
) -> Option<SnapshotSpec> {
    let volume = fields.need("volume", "write the name of the volume that it is of");
    let volume = refer(volume, Kind::Volume, "volume", references);
    let protected = fields.get("protected").and_then(|at| at.flag());
    let words = [
        ("Trash", OnRemove::Trash),
        ("Retain", OnRemove::Retain),
        ("Delete", OnRemove::Delete),
        ("Detach", OnRemove::Detach),
    ];
    let on_remove = fields.get("onRemove").and_then(|at| at.choice(&words));
    let adopt = fields.get("adopt").and_then(adopt);
    fields.finish();
    Some(SnapshotSpec { meta: meta?, volume: volume?, protected, on_remove, adopt })
}
