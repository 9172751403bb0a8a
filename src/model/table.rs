//! Tables of fields: the one description of what a map in a manifest may hold.
//!
//! A [`FieldTable`] is plain data. The reader of manifests checks documents against it, the JSON Schema and `kiln explain` are made of it, and
//! so are the defaults. `fields!` writes a table beside the struct that its values are kept in, each field once, with the code
//! that takes it from [`Settings`] and gives it back; `choices!` does the same for an enum of words.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Kind, Name, Percent, Seconds, Size};

/// The fields of a map.
#[derive(Debug, Clone, Copy)]
pub struct FieldTable {
    /// Its name in the schema.
    pub name: &'static str,
    /// What it describes, for people.
    pub doc: &'static str,
    /// Fields whose values are kept.
    pub fields: &'static [FieldRule],
    /// Fields that are checked and not kept.
    pub checked: &'static [FieldRule],
    /// Of these fields there must be exactly one.
    pub one_of: &'static [&'static str],
    /// A field that is known only to be refused: name, message, hint.
    pub refused: Option<(&'static str, &'static str, &'static str)>,
}

impl FieldTable {
    /// A table of fields, none of which exclude one another.
    pub const fn of(name: &'static str, doc: &'static str, fields: &'static [FieldRule]) -> Self {
        Self { name, doc, fields, checked: &[], one_of: &[], refused: None }
    }

    /// Every field, kept or not.
    pub fn all(&self) -> impl Iterator<Item = &'static FieldRule> + use<> {
        self.fields.iter().chain(self.checked)
    }

    /// What holds where nothing is written.
    pub fn defaults(&self) -> Settings {
        let defaults = self.all().filter_map(|field| Some((field.name, field.default_value()?)));
        Settings(defaults.map(|(name, value)| (SmolStr::new_static(name), value)).collect())
    }
}

/// A kind of documents, as manifests write them.
#[derive(Debug, Clone, Copy)]
pub struct DocumentTable {
    /// What it declares, for people.
    pub doc: &'static str,
    /// The fields of `spec`. A Backend or Target has the section of its driver besides.
    pub spec: &'static FieldTable,
    /// `metadata.name` and, as JSON, `spec` of a document that could be written as it is.
    pub example: (&'static str, &'static str),
}

/// A field of a map.
#[derive(Debug, Clone, Copy)]
pub struct FieldRule {
    /// As written in manifests.
    pub name: &'static str,
    /// What it is, for people. The schema adds the default.
    pub doc: &'static str,
    /// What it may be.
    pub form: FieldForm,
    /// What to write where it is missing, if it must be there.
    pub required: Option<&'static str>,
    /// What holds where it is not written, in the form of the manifest; `{}` for the defaults of a map.
    pub default: Option<&'static str>,
    /// Whether a person may write a secret here by mistake: no value at or below it is repeated in a problem.
    pub is_secret: bool,
    /// Whether it says which pool a Backend is: two Backends must not be equal in all of these.
    pub is_key: bool,
}

impl FieldRule {
    /// A field that must be there; the hint says what to write.
    pub const fn required(hint: &'static str, form: FieldForm) -> Self {
        Self { required: Some(hint), ..Self::optional(form) }
    }

    /// A field that may be left out.
    pub const fn optional(form: FieldForm) -> Self {
        Self { name: "", doc: "", form, required: None, default: None, is_secret: false, is_key: false }
    }

    /// A field that may be left out, and what then holds.
    pub const fn default(form: FieldForm, default: &'static str) -> Self {
        Self { default: Some(default), ..Self::optional(form) }
    }

    /// What holds where it is not written.
    pub fn default_value(&self) -> Option<Setting> {
        self.form.value(self.default?)
    }

    /// The same, holding where secrets are.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }

    /// The same, saying which pool a Backend is.
    #[must_use]
    pub const fn key(self) -> Self {
        Self { is_key: true, ..self }
    }

    /// The same under a name, for tables that are written without `fields!`.
    #[must_use]
    pub const fn named(self, name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, ..self }
    }
}

/// What a field may be.
#[derive(Debug, Clone, Copy)]
pub enum FieldForm {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Whole {
        /// At least.
        min: u64,
        /// At most.
        max: u64,
    },
    /// A number from 0.01 to 1000, kept in whole hundredths. What is not written is the driver's to say.
    Factor,
    /// A number of bytes.
    Size {
        /// At least.
        min: u64,
        /// Further constraints.
        check: Option<fn(Size) -> FieldCheck>,
    },
    /// A duration of at least so many seconds.
    Duration {
        /// At least.
        min: u64,
    },
    /// Whole percent within bounds.
    Share {
        /// At least.
        min: u32,
        /// At most.
        max: u32,
    },
    /// Any text.
    Text(Text),
    /// A name, by a DNS-1123 label; of a document of the kind, which must be declared.
    Name(Option<Kind>),
    /// A path, relative ones resolved against the directory of the file. Every path is judged by the path policy.
    Path,
    /// One of a few words.
    Choice(&'static Choices),
    /// A list.
    List {
        /// What its items may be.
        of: &'static FieldForm,
        /// At least so many.
        min: usize,
        /// At most so many.
        max: usize,
    },
    /// A map of known fields.
    Map(&'static FieldTable),
    /// Free text by key.
    Labels,
}

impl FieldForm {
    /// A number of bytes, at least `min`.
    pub const fn size(min: u64) -> Self {
        Self::Size { min, check: None }
    }

    /// The value of a default. A list has one item.
    fn value(&self, text: &'static str) -> Option<Setting> {
        Some(match self {
            Self::Bool => Setting::Bool(text.parse().ok()?),
            Self::Whole { .. } => Setting::Whole(text.parse().ok()?),
            Self::Factor | Self::Labels => return None,
            Self::Size { .. } => Setting::Size(text.parse().ok()?),
            Self::Duration { .. } => Setting::Duration(text.parse().ok()?),
            Self::Share { .. } => Setting::Share(text.parse().ok()?),
            Self::Text(_) | Self::Choice(_) => Setting::Text(text.to_owned()),
            Self::Name(_) => Setting::Name(text.parse().ok()?),
            Self::Path => Setting::Path(text.into()),
            Self::List { of, .. } => Setting::List(vec![of.value(text)?]),
            Self::Map(table) => Setting::Map(table.defaults()),
        })
    }
}

/// A text that is not empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text {
    /// At most so many characters, all of them visible. `None`: `check` says it all.
    pub max: Option<usize>,
    /// What the schema demands.
    pub pattern: Option<&'static str>,
    /// Further constraints.
    pub check: Option<fn(&str) -> FieldCheck>,
}

impl Text {
    /// At most so many visible characters.
    pub const fn line(max: usize) -> Self {
        Self { max: Some(max), pattern: None, check: None }
    }

    /// The same with a further constraint.
    #[must_use]
    pub const fn checked(self, check: fn(&str) -> FieldCheck) -> Self {
        Self { check: Some(check), ..self }
    }

    /// Any text that passes.
    pub const fn of(check: fn(&str) -> FieldCheck) -> Self {
        Self { max: None, pattern: None, check: Some(check) }
    }
}

/// Whether a value will do.
pub type FieldCheck = Result<(), Complaint>;

/// Why a value will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Continues the field's name; `{}` stands for the value, in quotes.
    pub message: String,
    /// What to write.
    pub hint: String,
}

impl Complaint {
    /// An error, unless the value fits.
    ///
    /// # Errors
    /// If it does not.
    pub fn unless(fits: bool, message: &str, hint: &str) -> FieldCheck {
        if fits { Ok(()) } else { Err(Self { message: message.to_owned(), hint: hint.to_owned() }) }
    }
}

/// The words that a field may be.
#[derive(Debug, Clone, Copy)]
pub struct Choices {
    /// Its name in the schema.
    pub name: &'static str,
    /// What is chosen.
    pub doc: &'static str,
    /// Each with what it means.
    pub words: &'static [(&'static str, &'static str)],
    /// A word that has no meaning here: word, message, hint.
    pub refused: Option<(&'static str, &'static str, &'static str)>,
}

/// A checked value of a field, relative paths resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setting {
    /// See [`FieldForm`].
    Bool(bool),
    /// A number.
    Whole(u64),
    /// In hundredths.
    Factor(Percent),
    /// Bytes.
    Size(Size),
    /// A time.
    Duration(Seconds),
    /// Percent.
    Share(Percent),
    /// A text or a word.
    Text(String),
    /// A name.
    Name(Name),
    /// A path, absolute.
    Path(PathBuf),
    /// A list.
    List(Vec<Setting>),
    /// A map.
    Map(Settings),
}

impl Setting {
    /// In the form of the manifest, with sizes in bytes.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Whole(value) => (*value).into(),
            Self::Factor(share) => (f64::from(share.0) / 100.0).into(),
            Self::Size(size) => size.0.into(),
            Self::Duration(time) => time.to_string().into(),
            Self::Share(share) => share.to_string().into(),
            Self::Text(text) => text.as_str().into(),
            Self::Name(name) => name.as_str().into(),
            Self::Path(path) => path.display().to_string().into(),
            Self::List(items) => items.iter().map(Self::json).collect(),
            Self::Map(values) => values.json(),
        }
    }

    /// In words: a text as it is, anything else as JSON.
    pub fn shown(&self) -> String {
        match self.json() {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// Every path in it.
    pub fn paths<'v>(&'v self, out: &mut Vec<&'v Path>) {
        match self {
            Self::Path(path) => out.push(path),
            Self::List(items) => items.iter().for_each(|item| item.paths(out)),
            Self::Map(values) => values.paths(out),
            Self::Bool(_) | Self::Whole(_) | Self::Factor(_) | Self::Size(_) | Self::Duration(_) | Self::Share(_) => {}
            Self::Text(_) | Self::Name(_) => {}
        }
    }
}

/// The values of a map by field: those that are written, and the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<SmolStr, Setting>);

impl Settings {
    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }

    /// Takes a value out.
    pub fn take(&mut self, name: &str) -> Option<Setting> {
        self.0.remove(name)
    }

    /// Sets a field.
    pub fn set(&mut self, name: &'static str, value: Setting) {
        self.0.insert(SmolStr::new_static(name), value);
    }

    /// Sets a field that is there.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<Setting>) -> Self {
        self.0.extend(value.map(|value| (name.into(), value)));
        self
    }

    /// In the form of the manifest, with sizes in bytes.
    pub fn json(&self) -> serde_json::Value {
        self.0.iter().map(|(name, value)| (name.to_string(), value.json())).collect::<serde_json::Map<_, _>>().into()
    }

    /// Every path in them.
    pub fn paths<'v>(&'v self, out: &mut Vec<&'v Path>) {
        self.0.values().for_each(|value| value.paths(out));
    }
}

impl IntoIterator for Settings {
    type Item = (SmolStr, Setting);
    type IntoIter = std::collections::btree_map::IntoIter<SmolStr, Setting>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// What the value of a field is kept as.
pub trait FieldValue: Sized {
    /// `None` if it is of another form, which its table excludes.
    fn from_value(value: Setting) -> Option<Self>;

    /// The same of a field that may not be written.
    fn from_field(value: Option<Setting>) -> Option<Self> {
        Self::from_value(value?)
    }

    /// `None`: the field is not written.
    fn to_value(&self) -> Option<Setting>;

    /// Every path in it.
    fn paths<'v>(&'v self, _out: &mut Vec<&'v Path>) {}
}

/// Implements [`FieldValue`] for types that a form is kept as without change.
macro_rules! kept_as {
    ($($type:ty = $form:ident;)*) => {$(
        impl FieldValue for $type {
            fn from_value(value: Setting) -> Option<Self> {
                if let Setting::$form(value) = value { Some(value) } else { None }
            }
            fn to_value(&self) -> Option<Setting> {
                Some(Setting::$form(self.clone()))
            }
        }
    )*};
}

kept_as! {
    bool = Bool;
    u64 = Whole;
    Size = Size;
    Seconds = Duration;
    String = Text;
    Name = Name;
}

impl FieldValue for u32 {
    fn from_value(value: Setting) -> Option<Self> {
        u64::from_value(value)?.try_into().ok()
    }
    fn to_value(&self) -> Option<Setting> {
        Some(Setting::Whole(u64::from(*self)))
    }
}

impl FieldValue for NonZeroU32 {
    fn from_value(value: Setting) -> Option<Self> {
        Self::new(u32::from_value(value)?)
    }
    fn to_value(&self) -> Option<Setting> {
        self.get().to_value()
    }
}

impl FieldValue for Percent {
    fn from_value(value: Setting) -> Option<Self> {
        if let Setting::Share(share) | Setting::Factor(share) = value { Some(share) } else { None }
    }
    fn to_value(&self) -> Option<Setting> {
        Some(Setting::Share(*self))
    }
}

impl FieldValue for PathBuf {
    /// No text is taken for a path: that it was judged is known of paths only.
    fn from_value(value: Setting) -> Option<Self> {
        if let Setting::Path(path) = value { Some(path) } else { None }
    }
    fn to_value(&self) -> Option<Setting> {
        Some(Setting::Path(self.clone()))
    }
    fn paths<'v>(&'v self, out: &mut Vec<&'v Path>) {
        out.push(self);
    }
}

impl<T: FieldValue> FieldValue for Option<T> {
    fn from_value(value: Setting) -> Option<Self> {
        T::from_value(value).map(Some)
    }
    fn from_field(value: Option<Setting>) -> Option<Self> {
        value.map_or(Some(None), Self::from_value)
    }
    fn to_value(&self) -> Option<Setting> {
        self.as_ref().and_then(T::to_value)
    }
    fn paths<'v>(&'v self, out: &mut Vec<&'v Path>) {
        self.iter().for_each(|value| value.paths(out));
    }
}

/// A list that is not written is empty, and the reverse.
impl<T: FieldValue> FieldValue for Vec<T> {
    fn from_value(value: Setting) -> Option<Self> {
        if let Setting::List(items) = value { items.into_iter().map(T::from_value).collect() } else { None }
    }
    fn from_field(value: Option<Setting>) -> Option<Self> {
        value.map_or(Some(Vec::new()), Self::from_value)
    }
    fn to_value(&self) -> Option<Setting> {
        (!self.is_empty()).then(|| Setting::List(self.iter().filter_map(T::to_value).collect()))
    }
    fn paths<'v>(&'v self, out: &mut Vec<&'v Path>) {
        self.iter().for_each(|value| value.paths(out));
    }
}

/// Declares a struct and the table of the map that it is read from.
///
/// ```text
/// fields! {
///     /// What the map is: for the schema, and for rustdoc.
///     #[derive(…)]
///     pub struct Restore("its name in the schema") {
///         given { /// Not a field of the map.  meta: Meta, }
///         /// What the field is: for the schema, `kiln explain` and rustdoc.
///         #[serde(…)]
///         "snapshot" => snapshot: Name = FieldRule::required("write the name of the snapshot", FieldForm::Name(None)),
///     }
///     checked [FieldRule::optional(FieldForm::Bool).named("force", "A field that is checked and not kept.")]
/// }
/// ```
///
/// `TABLE` is the table, `from_values` makes the struct of checked values, `values` gives them back, and `paths` tells which paths it
/// holds. After a type, `with ADAPTER` names one whose `read` and `write` keep the field as another type.
macro_rules! fields {
    (
        $(#[doc = $doc:literal])+ #[derive($($derive:ident),*)] $(#[serde($($serde:tt)*)])?
        pub struct $name:ident($title:literal) {
            given { $($given:tt)* }
            $($fields:tt)*
        }
        $(checked [$($checked:expr),* $(,)?])?
    ) => {
        $crate::model::table::fields! { @struct
            [$(#[doc = $doc])+] [$(#[doc = $doc])+ #[derive($($derive),*)] $(#[serde($($serde)*)])?]
            $name $title [$($given)*] [$($fields)*] [$($($checked),*)?]
        }
    };
    (
        $(#[doc = $doc:literal])+ #[derive($($derive:ident),*)] $(#[serde($($serde:tt)*)])?
        pub struct $name:ident($title:literal) { $($fields:tt)* }
        $(checked [$($checked:expr),* $(,)?])?
    ) => {
        $crate::model::table::fields! { @struct
            [$(#[doc = $doc])+] [$(#[doc = $doc])+ #[derive($($derive),*)] $(#[serde($($serde)*)])?]
            $name $title [] [$($fields)*] [$($($checked),*)?]
        }
        impl $crate::model::table::FieldValue for $name {
            fn from_value(value: $crate::model::table::Setting) -> Option<Self> {
                if let $crate::model::table::Setting::Map(mut values) = value { Self::from_values(&mut values) } else { None }
            }
            fn to_value(&self) -> Option<$crate::model::table::Setting> {
                Some($crate::model::table::Setting::Map(self.values()))
            }
            fn paths<'v>(&'v self, out: &mut Vec<&'v std::path::Path>) {
                self.paths(out);
            }
        }
    };
    (@struct
        [$(#[doc = $doc:literal])+] [$(#[$attr:meta])*] $name:ident $title:literal
        [$($(#[doc = $given_doc:literal])+ $given:ident: $given_type:ty,)*]
        [$(
            $(#[doc = $field_doc:literal])+ $(#[serde($($serde:tt)*)])?
            $key:literal => $field:ident: $type:ty $(, with $adapter:ident)? = $entry:expr,
        )*]
        [$($checked:expr),*]
    ) => {
        $(#[$attr])*
        pub struct $name {
            $($(#[doc = $given_doc])+ pub $given: $given_type,)*
            $($(#[doc = $field_doc])+ $(#[serde($($serde)*)])? pub $field: $type,)*
        }

        impl $name {
            /// The fields of its map.
            pub const TABLE: $crate::model::table::FieldTable = $crate::model::table::FieldTable {
                fields: &[$($entry.named($key, concat!($($field_doc),+).trim_ascii())),*],
                checked: &[$($checked),*],
                ..$crate::model::table::FieldTable::of($title, concat!($($doc),+).trim_ascii(), &[])
            };

            /// From checked values, which are taken out; `None` if one that must be there is not.
            pub fn from_values(values: &mut $crate::model::table::Settings $(, $given: $given_type)*) -> Option<Self> {
                Some(Self {
                    $($given,)*
                    $($field: $crate::model::table::fields!(@read values.take($key) $(, $adapter)?),)*
                })
            }

            /// As values.
            pub fn values(&self) -> $crate::model::table::Settings {
                $crate::model::table::Settings::default()
                    $(.with($key, $crate::model::table::fields!(@write &self.$field $(, $adapter)?)))*
            }

            /// Every path in it.
            pub fn paths<'v>(&'v self, out: &mut Vec<&'v std::path::Path>) {
                $($crate::model::table::FieldValue::paths(&self.$field, out);)*
            }
        }
    };
    (@read $value:expr) => { $crate::model::table::FieldValue::from_field($value)? };
    (@read $value:expr, $adapter:ident) => { $adapter::read($value)? };
    (@write $field:expr) => { $crate::model::table::FieldValue::to_value($field) };
    (@write $field:expr, $adapter:ident) => { $adapter::write($field) };
}

/// Declares an enum whose values are words of manifests, and the table of these words.
macro_rules! choices {
    (
        $(#[doc = $doc:literal])+ #[derive($($derive:ident),*)] $(#[serde($($serde:tt)*)])?
        pub enum $name:ident($title:literal) { $($(#[doc = $word_doc:literal])+ $word:literal => $variant:ident,)+ }
    ) => {
        $(#[doc = $doc])+ #[derive($($derive),*)] $(#[serde($($serde)*)])?
        pub enum $name { $($(#[doc = $word_doc])+ $variant,)+ }

        impl $name {
            /// The words.
            pub const CHOICES: $crate::model::table::Choices = $crate::model::table::Choices {
                name: $title,
                doc: concat!($($doc),+).trim_ascii(),
                words: &[$(($word, concat!($($word_doc),+).trim_ascii())),+],
                refused: None,
            };

            /// As in manifests.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl $crate::model::table::FieldValue for $name {
            fn from_value(value: $crate::model::table::Setting) -> Option<Self> {
                let $crate::model::table::Setting::Text(text) = value else { return None };
                [$(Self::$variant),+].into_iter().find(|choice| choice.as_str() == text)
            }
            fn to_value(&self) -> Option<$crate::model::table::Setting> {
                Some($crate::model::table::Setting::Text(self.as_str().to_owned()))
            }
        }
    };
}

pub(crate) use {choices, fields};
