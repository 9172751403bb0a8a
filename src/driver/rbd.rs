//! The section `rbd` of a Backend. The driver is not implemented yet. Its settings are checked so that manifests written today will be valid
//! for it.

use crate::model::table::{Choices, Complaint, FieldCheck, FieldForm, FieldRule, FieldTable, Text};
use crate::model::{DriverTable, Kind, Percent, Size};

pub(super) const TABLE: DriverTable = DriverTable {
    kind: Kind::Backend,
    name: "rbd",
    settings: SETTINGS,
    required: None,
    needs_stack: true,
    overcommit: Some(Percent(500)),
    place: "",
};

const NAME: FieldForm = FieldForm::Text(Text::line(128));

const SETTINGS: FieldTable = FieldTable::of(
    "Rbd",
    "A pool of a Ceph cluster.",
    &[
        FieldRule::required("write the name of the RADOS pool", NAME).key().named("pool", "The RADOS pool."),
        FieldRule::optional(NAME).key().named("namespace", "The namespace in it. Default: none."),
        FieldRule::optional(NAME)
            .named("dataPool", "The pool for data, if it differs from the pool for image headers."),
        FieldRule::optional(NAME).named("user", "The CephX user, without `client.`."),
        FieldRule::default(FieldForm::Path, "/etc/ceph/ceph.conf")
            .key()
            .named("conf", "The configuration file of the cluster, relative to the manifest."),
        // Marked because the key itself may be written here.
        FieldRule::optional(FieldForm::Path)
            .secret()
            .named("keyring", "The key ring of the user, relative to the manifest."),
        FieldRule::default(FieldForm::Size { min: 4096, check: Some(is_object_size) }, "4Mi")
            .named("objectSize", "Bytes per RADOS object: a power of two, 4Ki to 32Mi."),
        FieldRule::optional(FieldForm::List { of: &FieldForm::Choice(&FEATURE), min: 1, max: 16 })
            .named("features", "Features of new images."),
    ],
);

const FEATURE: Choices = Choices {
    name: "Feature",
    doc: "A feature of RBD images.",
    words: &[
        ("layering", "Clones."),
        ("exclusive-lock", "One writer at a time."),
        ("object-map", "A map of the existing objects."),
        ("fast-diff", "Fast computation of differences."),
        ("deep-flatten", "Flattening of snapshots too."),
        ("journaling", "A journal."),
    ],
    refused: None,
};

/// Checks the object size: librbd allows order 12 to 25.
fn is_object_size(size: Size) -> FieldCheck {
    let fits = size.0.is_power_of_two() && size.0 <= 32 << 20;
    Complaint::unless(fits, &format!("is {size}, but must be a power of two from 4Ki to 32Mi"), "the default is 4Mi")
}
