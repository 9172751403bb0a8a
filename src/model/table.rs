//! Tables of fields: the single definition of the maps in manifests.
//!
//! A [`FieldTable`] is data. The reader of manifests checks documents with it, and the JSON Schema, `kiln explain` and the defaults are
//! generated from it. `fields!` defines a table together with the struct of its values, and the conversions from and to [`Settings`];
//! `choices!` does the same for an enum of words.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{DeclaredSize, Kind, Name, Percent, Seconds, Size};

/// The fields of a map.
#[derive(Debug, Clone, Copy)]
pub struct FieldTable {
    /// Its name in the schema.
    pub name: &'static str,
    /// Its description.
    pub doc: &'static str,
    /// Fields whose values are stored.
    pub fields: &'static [FieldRule],
    /// Fields that are checked and not stored.
    pub checked: &'static [FieldRule],
    /// Fields of which exactly one must be written.
    pub one_of: &'static [&'static str],
    /// A field that is known only to be refused: name, message, hint.
    pub refused: Option<(&'static str, &'static str, &'static str)>,
}

impl FieldTable {
    /// Returns a table of fields that do not exclude each other.
    pub const fn of(name: &'static str, doc: &'static str, fields: &'static [FieldRule]) -> Self {
        Self { name, doc, fields, checked: &[], one_of: &[], refused: None }
    }

    /// Returns all fields, stored or not.
    pub fn all(&self) -> impl Iterator<Item = &'static FieldRule> + use<> {
        self.fields.iter().chain(self.checked)
    }

    /// Returns the defaults of all fields.
    pub fn defaults(&self) -> Settings {
        let defaults = self.all().filter_map(|field| Some((field.name, field.default_value()?)));
        Settings(defaults.map(|(name, value)| (SmolStr::new_static(name), value)).collect())
    }
}

/// The table of a kind of documents.
#[derive(Debug, Clone, Copy)]
pub struct DocumentTable {
    /// Its description.
    pub doc: &'static str,
    /// The fields of `spec`. A Backend or Target also has the section of its driver.
    pub spec: &'static FieldTable,
    /// `metadata.name` and `spec`, as JSON, of an example.
    pub example: (&'static str, &'static str),
}

/// A field of a map.
#[derive(Debug, Clone, Copy)]
pub struct FieldRule {
    /// As written in manifests.
    pub name: &'static str,
    /// Its description. The schema adds the default.
    pub doc: &'static str,
    /// The form of its values.
    pub form: FieldForm,
    /// The hint if it is missing; `None` if it is optional.
    pub required: Option<&'static str>,
    /// Its default, as in a manifest; `{}` for the defaults of a map.
    pub default: Option<&'static str>,
    /// Whether a secret may be written here by mistake. Problems show no value at or below it.
    pub is_secret: bool,
    /// Whether it identifies the pool of a Backend: two Backends must differ in at least one such field.
    pub is_key: bool,
}

impl FieldRule {
    /// Returns a required field, with the hint if it is missing.
    pub const fn required(hint: &'static str, form: FieldForm) -> Self {
        Self { required: Some(hint), ..Self::optional(form) }
    }

    /// Returns an optional field.
    pub const fn optional(form: FieldForm) -> Self {
        Self { name: "", doc: "", form, required: None, default: None, is_secret: false, is_key: false }
    }

    /// Returns an optional field with a default.
    pub const fn default(form: FieldForm, default: &'static str) -> Self {
        Self { default: Some(default), ..Self::optional(form) }
    }

    /// Returns its default value.
    pub fn default_value(&self) -> Option<Setting> {
        self.form.value(self.default?)
    }

    /// Marks the field as one that may contain a secret.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }

    /// Marks the field as one that identifies the pool of a Backend.
    #[must_use]
    pub const fn key(self) -> Self {
        Self { is_key: true, ..self }
    }

    /// Sets the name and the description, in tables without `fields!`.
    #[must_use]
    pub const fn named(self, name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, ..self }
    }
}

/// The form of the values of a field.
#[derive(Debug, Clone, Copy)]
pub enum FieldForm {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Whole {
        /// Minimum.
        min: u64,
        /// Maximum.
        max: u64,
    },
    /// A number from 0.01 to 1000, stored in hundredths. The driver defines the default.
    Factor,
    /// A number of bytes.
    Size {
        /// Minimum.
        min: u64,
        /// Further constraints.
        check: Option<fn(Size) -> FieldCheck>,
    },
    /// A duration.
    Duration {
        /// Minimum, in seconds.
        min: u64,
    },
    /// Whole percent within bounds.
    Share {
        /// Minimum.
        min: u32,
        /// Maximum.
        max: u32,
    },
    /// Any text.
    Text(Text),
    /// A name (a DNS-1123 label); with a kind, that of a declared document.
    Name(Option<Kind>),
    /// A path, relative to the directory of the file. The path policy applies to every path.
    Path,
    /// One of a few words.
    Choice(&'static Choices),
    /// A list.
    List {
        /// The form of its items.
        of: &'static FieldForm,
        /// Minimum number of items.
        min: usize,
        /// Maximum number of items.
        max: usize,
    },
    /// A map of fixed fields.
    Map(&'static FieldTable),
    /// Free text by key.
    Labels,
}

impl FieldForm {
    /// Returns the form of a number of bytes, at least `min`.
    pub const fn size(min: u64) -> Self {
        Self::Size { min, check: None }
    }

    /// Parses a default. A list has one item.
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

/// The form of a non-empty text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text {
    /// Maximum number of characters, all of them visible. `None`: only `check` constrains the text.
    pub max: Option<usize>,
    /// The pattern in the schema.
    pub pattern: Option<&'static str>,
    /// Further constraints.
    pub check: Option<fn(&str) -> FieldCheck>,
}

impl Text {
    /// Returns the form of at most `max` visible characters.
    pub const fn line(max: usize) -> Self {
        Self { max: Some(max), pattern: None, check: None }
    }

    /// Adds a constraint.
    #[must_use]
    pub const fn checked(self, check: fn(&str) -> FieldCheck) -> Self {
        Self { check: Some(check), ..self }
    }

    /// Returns the form of any text that passes `check`.
    pub const fn of(check: fn(&str) -> FieldCheck) -> Self {
        Self { max: None, pattern: None, check: Some(check) }
    }
}

/// The result of checking a value.
pub type FieldCheck = Result<(), Complaint>;

/// Why a value is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Continues a sentence that starts with the field's name; `{}` is replaced by the value in quotes.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl Complaint {
    /// Checks a condition.
    ///
    /// # Errors
    /// Unless `fits`.
    pub fn unless(fits: bool, message: &str, hint: &str) -> FieldCheck {
        if fits { Ok(()) } else { Err(Self { message: message.to_owned(), hint: hint.to_owned() }) }
    }
}

/// The words that a field may have as its value.
#[derive(Debug, Clone, Copy)]
pub struct Choices {
    /// Its name in the schema.
    pub name: &'static str,
    /// The description of the choice.
    pub doc: &'static str,
    /// The words, each with its description.
    pub words: &'static [(&'static str, &'static str)],
    /// A word that is known only to be refused: word, message, hint.
    pub refused: Option<(&'static str, &'static str, &'static str)>,
}

/// A checked value of a field, with paths made absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setting {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Whole(u64),
    /// A factor, in hundredths.
    Factor(Percent),
    /// A number of bytes.
    Size(DeclaredSize),
    /// A duration.
    Duration(Seconds),
    /// A percentage.
    Share(Percent),
    /// A text or a word.
    Text(String),
    /// A name.
    Name(Name),
    /// An absolute path.
    Path(PathBuf),
    /// A list.
    List(Vec<Setting>),
    /// A map.
    Map(Settings),
}

impl Setting {
    /// Returns the JSON form, with sizes in bytes.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Whole(value) => (*value).into(),
            Self::Factor(share) => (f64::from(share.0) / 100.0).into(),
            Self::Size(size) => size.bytes().into(),
            Self::Duration(time) => time.to_string().into(),
            Self::Share(share) => share.to_string().into(),
            Self::Text(text) => text.as_str().into(),
            Self::Name(name) => name.as_str().into(),
            Self::Path(path) => path.display().to_string().into(),
            Self::List(items) => items.iter().map(Self::json).collect(),
            Self::Map(values) => values.json(),
        }
    }

    /// Formats the value for messages: a text as it is, any other value as JSON.
    pub fn shown(&self) -> String {
        match self.json() {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// Adds every path in it.
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

/// The values of a map by field, including defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<SmolStr, Setting>);

impl Settings {
    /// Returns the value of a field.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }

    /// Removes and returns the value of a field.
    pub fn take(&mut self, name: &str) -> Option<Setting> {
        self.0.remove(name)
    }

    /// Sets a field.
    pub fn set(&mut self, name: &'static str, value: Setting) {
        self.0.insert(SmolStr::new_static(name), value);
    }

    /// Sets a field, if there is a value.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<Setting>) -> Self {
        self.0.extend(value.map(|value| (name.into(), value)));
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the JSON form, with sizes in bytes.
    pub fn json(&self) -> serde_json::Value {
        self.0.iter().map(|(name, value)| (name.to_string(), value.json())).collect::<serde_json::Map<_, _>>().into()
    }

    /// Adds every path in them.
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

/// A Rust type that stores the value of a field.
pub trait FieldValue: Sized {
    /// Converts a value. `None` if it has another form than the table allows.
    fn from_value(value: Setting) -> Option<Self>;

    /// Converts the value of an optional field.
    fn from_field(value: Option<Setting>) -> Option<Self> {
        Self::from_value(value?)
    }

    /// Converts back to a value. `None`: the field is not written.
    fn to_value(&self) -> Option<Setting>;
}

/// Implements [`FieldValue`] for types that store a form unchanged.
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
    DeclaredSize = Size;
    Seconds = Duration;
    String = Text;
    Name = Name;
}

impl FieldValue for Size {
    fn from_value(value: Setting) -> Option<Self> {
        DeclaredSize::from_value(value).map(Self::from)
    }
    fn to_value(&self) -> Option<Setting> {
        Some(Setting::Size((*self).into()))
    }
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
    /// Refuses a text: the path policy was applied only to paths.
    fn from_value(value: Setting) -> Option<Self> {
        if let Setting::Path(path) = value { Some(path) } else { None }
    }
    fn to_value(&self) -> Option<Setting> {
        Some(Setting::Path(self.clone()))
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
}

/// A missing list is an empty one, and vice versa.
/// For large values that few documents have.
impl<T: FieldValue> FieldValue for Box<T> {
    fn from_value(value: Setting) -> Option<Self> {
        T::from_value(value).map(Box::new)
    }
    fn to_value(&self) -> Option<Setting> {
        T::to_value(self)
    }
}

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
}

/// Defines a struct, and the table of the map that it is read from.
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
/// `TABLE` is the table, `from_values` converts checked values to the struct, and `values` converts back. After a type, `with ADAPTER`
/// names a type whose `read` and `write` convert the field.
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
        }
    };
    (@struct
        [$(#[doc = $doc:literal])+] [$(#[$attr:meta])*] $name:ident $title:literal
        [$($(#[doc = $given_doc:literal])+ $(#[serde($($given_serde:tt)*)])? $given:ident: $given_type:ty,)*]
        [$(
            $(#[doc = $field_doc:literal])+ $(#[serde($($serde:tt)*)])?
            $key:literal => $field:ident: $type:ty $(, with $adapter:ident)? = $entry:expr,
        )*]
        [$($checked:expr),*]
    ) => {
        $(#[$attr])*
        pub struct $name {
            $($(#[doc = $given_doc])+ $(#[serde($($given_serde)*)])? pub $given: $given_type,)*
            $($(#[doc = $field_doc])+ $(#[serde($($serde)*)])? pub $field: $type,)*
        }

        impl $name {
            /// The fields of its map.
            pub const TABLE: $crate::model::table::FieldTable = $crate::model::table::FieldTable {
                fields: &[$($entry.named($key, concat!($($field_doc),+).trim_ascii())),*],
                checked: &[$($checked),*],
                ..$crate::model::table::FieldTable::of($title, concat!($($doc),+).trim_ascii(), &[])
            };

            /// Converts checked values, which are removed from `values`. `None` if a required one is missing.
            pub fn from_values(values: &mut $crate::model::table::Settings $(, $given: $given_type)*) -> Option<Self> {
                Some(Self {
                    $($given,)*
                    $($field: $crate::model::table::fields!(@read values.take($key) $(, $adapter)?),)*
                })
            }

            /// Converts back to values.
            pub fn values(&self) -> $crate::model::table::Settings {
                $crate::model::table::Settings::default()
                    $(.with($key, $crate::model::table::fields!(@write &self.$field $(, $adapter)?)))*
            }
        }
    };
    (@read $value:expr) => { $crate::model::table::FieldValue::from_field($value)? };
    (@read $value:expr, $adapter:ident) => { $adapter::read($value)? };
    (@write $field:expr) => { $crate::model::table::FieldValue::to_value($field) };
    (@write $field:expr, $adapter:ident) => { $adapter::write($field) };
}

/// Defines an enum of the words that a field may have as its value, and the table of these words.
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

            /// Returns the word as in manifests.
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
