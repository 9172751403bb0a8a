//! `kiln log`: what was done, when, for which revision, with what outcome.

use serde::Serialize;

use super::args::LogArgs;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::table::table;
use crate::engine::rfc3339;
use crate::model::JournalEntry;
use crate::plan::Paint;

/// A line of the journal, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// When it ended, in RFC 3339.
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

impl Line {
    pub(crate) fn new(entry: &JournalEntry) -> Self {
        let JournalEntry { at, revision, owner, backend, kind, name, uid, action, detail, outcome, message, millis } =
            entry;
        Self {
            time: rfc3339(*at),
            action: action.clone(),
            kind: kind.to_string(),
            name: name.to_string(),
            backend: backend.to_string(),
            uid: uid.to_string(),
            owner: owner.to_string(),
            revision: revision.clone(),
            detail: detail.clone(),
            outcome: outcome.clone(),
            message: message.clone(),
            millis: *millis,
        }
    }
}

pub(crate) fn log(context: &Context, args: &LogArgs) -> Result<Exit, Failure> {
    // The journal is in the store alone: without it there is nothing to show, and that is not the same as an empty one.
    let journal = if args.what.is_none() { args.lines } else { usize::MAX };
    let entries = match context.look_store(journal)? {
        None => Vec::new(),
        Some(store) => store.journal(journal)?,
    };
    let mut lines: Vec<Line> = entries
        .iter()
        .filter(|entry| args.what.as_ref().is_none_or(|what| entry.kind == what.kind && entry.name == what.name))
        .map(Line::new)
        .collect();
    lines.drain(..lines.len().saturating_sub(args.lines));
    if args.output.is_json() {
        context.json(&lines);
    } else if lines.is_empty() {
        context.terminal.line("Nothing is recorded.");
    } else {
        context.terminal.out(&lines_as_table(&lines, context.terminal.paint));
    }
    Ok(Exit::Done)
}

/// How many characters of a revision tell it from all others, for people.
const SHORT_REVISION: usize = 12;

/// Lines as a table for people.
pub(crate) fn lines_as_table(lines: &[Line], paint: Paint) -> String {
    let rows: Vec<[String; 7]> = lines
        .iter()
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
                line.revision.chars().take(SHORT_REVISION).collect(),
                did,
            ]
        })
        .collect();
    table(["TIME", "ACTION", "OBJECT", "BACKEND", "OUTCOME", "REVISION", "DETAIL"], rows, paint)
}
