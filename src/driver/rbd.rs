//! The section `rbd` of a Backend. The driver is not built yet; its settings are checked, so that what is written today does not turn
//! out to be wrong on the day that it is.

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
        FieldRule::optional(NAME).named("dataPool", "The pool for data, where the images' headers are in another."),
        FieldRule::optional(NAME).named("user", "The CephX user, without `client.`."),
        FieldRule::default(FieldForm::Path, "/etc/ceph/ceph.conf")
            .key()
            .named("conf", "The cluster's configuration file, relative to the file."),
        FieldRule::optional(FieldForm::Path).named("keyring", "The user's key ring, relative to the file."),
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
        ("object-map", "Which objects are there."),
        ("fast-diff", "Quick differences."),
        ("deep-flatten", "Flattening of snapshots too."),
        ("journaling", "A journal."),
    ],
    refused: None,
};

/// librbd: order 12 to 25.
fn is_object_size(size: Size) -> FieldCheck {
    let fits = size.0.is_power_of_two() && size.0 <= 32 << 20;
    Complaint::unless(fits, &format!("is {size}, and must be a power of two up to 32Mi"), "the default is 4Mi")
}
