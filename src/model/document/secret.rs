//! References to secrets. They are checked and not stored, because no driver reads secrets yet.

use crate::model::table::{Complaint, FieldCheck, FieldForm, FieldRule, FieldTable, Text};

/// A reference to a secret: `{file: …}` or `{env: …}`.
pub(super) const SECRET_FROM: FieldTable = FieldTable {
    checked: &[
        FieldRule::optional(FieldForm::Path).named("file", "A file, relative to the manifest."),
        FieldRule::optional(FieldForm::Text(Text::of(is_variable))).named("env", "An environment variable of Kiln."),
    ],
    one_of: &["file", "env"],
    ..FieldTable::of("SecretFrom", "Where the secret is read from when a step needs it. Exactly one of these.", &[])
};

/// A name and a password.
pub(super) const LOGIN: FieldTable = FieldTable {
    checked: &[
        FieldRule::required("write the name with which the client logs in", FieldForm::Text(Text::line(255)))
            .named("username", "The name."),
        FieldRule::required("write `passwordFrom: {file: …}` or `{env: …}`", FieldForm::Map(&SECRET_FROM))
            .named("passwordFrom", "Where the password is read from."),
    ],
    refused: Some((
        "password",
        "a password is never written in a manifest",
        "write `passwordFrom: {file: …}` or `{env: …}`",
    )),
    ..FieldTable::of("Login", "A name and a password.", &[])
};

fn is_variable(text: &str) -> FieldCheck {
    let fits =
        !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    Complaint::unless(fits, "is not the name of an environment variable", "letters, digits and `_`, like CHAP_DB")
}
