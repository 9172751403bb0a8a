//! Journal entries, as people and programs read them.

use serde::Serialize;

use crate::model::{JournalEntry, Kind, Name};
use crate::text::{Paint, rfc3339, table};

/// A journal entry, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalLine {
    /// When the step ended, in RFC 3339.
    time: String,
    action: String,
    kind: String,
    name: String,
    backend: String,
    uid: String,
    owner: String,
    revision: String,
    detail: String,
    outcome: String,
    message: Option<String>,
    millis: u64,
}

impl JournalLine {
    /// Returns an entry as shown.
    pub fn new(entry: &JournalEntry) -> Self {
        let JournalEntry { at, revision, owner, backend, kind, name, uid, action, detail, outcome, message, millis } =
            entry;
        Self {
            time: rfc3339(*at),
            action: action.as_str().to_owned(),
            kind: kind.to_string(),
            name: name.to_string(),
            backend: backend.to_string(),
            uid: uid.to_string(),
            owner: owner.to_string(),
            revision: revision.clone(),
            detail: detail.clone(),
            outcome: outcome.as_str().to_owned(),
            message: message.clone(),
            millis: *millis,
        }
    }

    /// Whether it is about this object.
    pub(super) fn is_about(&self, kind: Kind, name: &Name) -> bool {
        self.kind == kind.as_str() && self.name == name.as_str()
    }
}

/// The number of characters that identify a revision, for people.
const SHORT_REVISION: usize = 12;

fn short(revision: &str) -> String {
    let (id, dirty) = match revision.strip_suffix("-dirty") {
        Some(id) => (id, "-dirty"),
        None => (revision, ""),
    };
    format!("{}{dirty}", id.chars().take(SHORT_REVISION).collect::<String>())
}

/// Returns journal entries as a table.
pub fn journal_table<'l>(lines: impl IntoIterator<Item = &'l JournalLine>, paint: Paint) -> String {
    let rows: Vec<[String; 7]> = lines
        .into_iter()
        .map(|line| {
            let did = match &line.message {
                Some(message) => format!("{}: {message}", line.detail),
                None => line.detail.clone(),
            };
            [
                line.time.clone(),
                line.action.clone(),
                format!("{}/{}", line.kind.to_ascii_lowercase(), line.name),
                line.backend.clone(),
                line.outcome.clone(),
                short(&line.revision),
                did,
            ]
        })
        .collect();
    table(["TIME", "ACTION", "OBJECT", "BACKEND", "OUTCOME", "REVISION", "DETAIL"], rows, paint)
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_shortened_revision_keeps_its_dirty_suffix() {
        for (long, shown) in [
            ("3f2a9c1e4b5d6f708192a3b4c5d6e7f801020304", "3f2a9c1e4b5d"),
            ("3f2a9c1e4b5d6f708192a3b4c5d6e7f801020304-dirty", "3f2a9c1e4b5d-dirty"),
            ("f00d", "f00d"),
        ] {
            assert_eq!(short(long), shown);
        }
    }
}
