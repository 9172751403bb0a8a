//! The kinds of documents: their fields, and the types that store them.

mod approval;
mod backend;
mod export;
mod meta;
mod secret;
mod snapshot;
mod stack;
mod target;
mod volume;

pub use approval::ApprovalSpec;
pub use backend::{BackendSpec, DriverConfig, DriverTable};
pub use export::{ExportSpec, ExportedThing};
pub use meta::{Meta, SourcePlace};
pub use snapshot::SnapshotSpec;
pub use stack::{Defaults, PurgeMode, Safety, Stack, TrashPolicy};
pub use target::TargetSpec;
pub use volume::{OnRemove, Provisioning, Qos, RestoreSpec, SourceSpec, VolumeSpec};

use super::Kind;
use super::table::DocumentTable;

impl Kind {
    /// Returns the table of the kind.
    pub const fn table(self) -> DocumentTable {
        match self {
            Kind::Stack => stack::STACK,
            Kind::Backend => backend::BACKEND,
            Kind::Volume => volume::VOLUME,
            Kind::Snapshot => snapshot::SNAPSHOT,
            Kind::Target => target::TARGET,
            Kind::Export => export::EXPORT,
            Kind::Approval => approval::APPROVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::table::{FieldForm, FieldTable, Setting, Settings};
    use crate::model::{Owner, Percent, Seconds, Size};

    /// A value of a form, of a map with all that is kept of it.
    fn sample(form: &FieldForm) -> Setting {
        match *form {
            FieldForm::Bool => Setting::Bool(true),
            FieldForm::Whole { min, .. } => Setting::Whole(min + 1),
            FieldForm::Factor => Setting::Factor(Percent(150)),
            FieldForm::Size { min, .. } => Setting::Size(Size(min + 1).into()),
            FieldForm::Duration { min } => Setting::Duration(Seconds(min + 1)),
            FieldForm::Share { min, .. } => Setting::Share(Percent(min + 1)),
            FieldForm::Text(_) => Setting::Text("text".to_owned()),
            FieldForm::Name(_) => Setting::Name("name".parse().unwrap()),
            FieldForm::Path => Setting::Path("/path".into()),
            FieldForm::Choice(choices) => Setting::Text(choices.words[0].0.to_owned()),
            FieldForm::List { of, .. } => Setting::List(vec![sample(of)]),
            FieldForm::Map(table) => Setting::Map(samples(table)),
            FieldForm::Labels => Setting::Map(Settings::default()),
        }
    }

    fn samples(table: &FieldTable) -> Settings {
        // Of fields that exclude one another, the first.
        let excluded = |name: &str| table.one_of.iter().skip(1).any(|other| *other == name);
        // This one belongs to a volume as the source, which is not the first.
        let excluded = |name: &str| excluded(name) || name == "quiesced" && !table.one_of.is_empty();
        let fields = table.fields.iter().filter(|field| !excluded(field.name));
        fields.fold(Settings::default(), |values, field| values.with(field.name, Some(sample(&field.form))))
    }

    #[test]
    fn every_field_that_a_table_keeps_is_kept_and_given_back() {
        let meta = || Meta { name: "x".parse().unwrap(), labels: Default::default(), renamed_from: None };
        for kind in Kind::ALL {
            let written = samples(kind.table().spec);
            let mut values = written.clone();
            let kept = match kind {
                Kind::Stack => Stack::from_values(&mut values, Owner::unnamed(), true).map(|spec| spec.values()),
                Kind::Backend => {
                    let config = DriverConfig::unimplemented("x".to_owned(), Settings::default());
                    BackendSpec::from_values(&mut values, meta(), config).map(|spec| spec.values())
                }
                Kind::Volume => VolumeSpec::from_values(&mut values, meta()).map(|spec| spec.values()),
                Kind::Snapshot => SnapshotSpec::from_values(&mut values, meta()).map(|spec| spec.values()),
                Kind::Target => {
                    TargetSpec::from_values(&mut values, meta(), Settings::default()).map(|spec| spec.values())
                }
                Kind::Export => ExportSpec::from_values(&mut values, meta()).map(|spec| spec.values()),
                Kind::Approval => ApprovalSpec::from_values(&mut values, meta()).map(|spec| spec.values()),
            };
            assert_eq!(kept, Some(written), "{kind}");
        }
    }

    #[test]
    fn the_values_of_a_map_without_a_stack_are_the_defaults_of_its_table() {
        let stack = Stack::unnamed();
        assert_eq!((stack.interval, stack.trash.ttl), (Seconds(60), Seconds(7 * 86_400)));
        assert_eq!((stack.trash.purge, stack.safety.max_removals), (PurgeMode::Auto, 10));
        assert!(stack.id.is_empty() && !stack.declared);
    }
}
