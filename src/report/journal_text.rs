//! Journal entries, as people and programs read them.

use serde::Serialize;

use crate::model::{Action, JournalEntry, Name, Tags, Verb};
use crate::text::{Paint, rfc3339, table};

/// A journal entry, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalLine {
    /// When the step ended, in RFC 3339.
    time: String,
    action: String,
    kind: String,
    name: String,
    backend: Option<String>,
    target: Option<String>,
    /// For people.
    #[serde(skip)]
    endpoint: String,
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
        let JournalEntry {
            at,
            revision,
            owner,
            endpoint,
            kind,
            name,
            uid,
            action,
            detail,
            destroys: _,
            outcome,
            message,
            millis,
        } = entry;
        Self {
            time: rfc3339(*at),
            action: action.as_str().to_owned(),
            kind: kind.to_string(),
            name: name.to_string(),
            backend: endpoint.backend().map(Name::to_string),
            target: endpoint.target().map(Name::to_string),
            endpoint: endpoint.to_string(),
            uid: uid.to_string(),
            owner: owner.to_string(),
            revision: revision.clone(),
            detail: detail.clone(),
            outcome: outcome.as_str().to_owned(),
            message: message.clone(),
            millis: *millis,
        }
    }

    /// Returns the kind and the name of its object.
    pub(super) fn object(&self) -> (&str, &str) {
        (&self.kind, &self.name)
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

/// Returns the last two columns in their order: on a terminal, where they may be below their row, the detail comes first.
fn in_order<T>([revision, detail]: [T; 2], paint: Paint) -> [T; 2] {
    if paint.width.is_some() { [detail, revision] } else { [revision, detail] }
}

/// Returns journal entries as a table. `is_of_one`: they are about one object, which a terminal has just been told.
pub fn journal_table<'l>(lines: impl IntoIterator<Item = &'l JournalLine>, is_of_one: bool, paint: Paint) -> String {
    let names = in_order(["REVISION", "DETAIL"], paint);
    let restores = Action::Undelete { tags: Tags::default(), with: Vec::new() }.to_string();
    let rows = lines.into_iter().map(|line| {
        // The verb of a return from the trash is that of an adoption.
        let is_restored = line.action == Verb::Adopt.as_str() && line.detail.starts_with(&restores);
        let did = match &line.message {
            Some(message) => format!("{}: {message}", line.detail),
            None => line.detail.clone(),
        };
        let [sixth, seventh] = in_order([short(&line.revision), did], paint);
        [
            line.time.clone(),
            if is_restored { "restore".to_owned() } else { line.action.clone() },
            match is_of_one && paint.width.is_some() {
                true => String::new(),
                false => format!("{}/{}", line.kind.to_ascii_lowercase(), line.name),
            },
            line.endpoint.clone(),
            line.outcome.clone(),
            sixth,
            seventh,
        ]
    });
    table(["TIME", "ACTION", "OBJECT", "BACKEND", "OUTCOME", names[0], names[1]], rows, paint)
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
