//! Encodes values as rows, with checksums that prove that the rows are complete.
//!
//! A value is JSON: records gain fields more often than any other part of Kiln, and old JSON can be read without an old schema. A value is
//! split into rows of at most [`CHUNK`] bytes. Each row has a checksum over its key and its content, the format version, and the number of
//! rows of the value:
//!
//! ```text
//! key:   kind (1 byte) · name, uid or number · 0 · index of the row (2 bytes, big-endian)
//! row:   checksum (16 bytes) · format (2) · rows of this value (2) · JSON
//! ```
//!
//! The checksum of the store ([`StoreMeta`]) is the XOR of the checksums of all rows: missing, duplicate, exchanged and stale rows change
//! it. (It detects damage, not forged rows.)

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::DbError;
use crate::model::{IntentId, JournalEntry};

/// The newest format that this program writes and reads. Every change of [`StoreMeta`], of the layout of rows, or of a record that an earlier
/// program would misread gets a new number; `tests/fixtures/store` has rows of each format.
pub(super) const FORMAT: u16 = 3;

/// The format in which a value is written: the first one with its kind, so that earlier programs can read the store after a downgrade.
/// Suspensions were added in 2: earlier programs would not respect them, and refuse a store that has one. Their ids were added in 3: earlier
/// programs read the key of such a row as damage.
fn format_of(value_key: &[u8]) -> u16 {
    match value_key.first() {
        Some(&kind::SUSPENSION) if value_key.contains(&b'@') => 3,
        Some(&kind::SUSPENSION) => 2,
        _ => 1,
    }
}

/// Maximum bytes of JSON in one row. sled stores tree leaves of more than 128 KiB (a quarter of a segment) in separate files, which it never
/// syncs. A leaf has up to 17 rows; rows of 48 KiB exceeded the limit, while leaves of 4 KiB rows stay below 70 KiB.
pub(super) const CHUNK: usize = 4 * 1024;

const SUM: usize = 16;
const HEADER: usize = SUM + 4;

/// The checksum of a row, or the XOR of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Checksum([u8; SUM]);

impl Checksum {
    /// Adds a row, or removes one that was added.
    pub(super) fn toggle(&mut self, row: &[u8]) {
        for (mine, its) in self.0.iter_mut().zip(row) {
            *mine ^= its;
        }
    }

    pub(super) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The row about the whole store. Written with every batch, and not part of its own checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoreMeta {
    /// Counts batches: see `mark`.
    pub(super) seq: u64,
    /// Number of rows, without this one.
    pub(super) rows: u64,
    /// The XOR of their checksums, in hexadecimal.
    #[serde(rename = "digest")]
    pub(super) checksum: String,
}

/// The kinds of rows: the first byte of a key.
pub(super) mod kind {
    pub(in super::super) const BACKEND: u8 = b'b';
    pub(in super::super) const INTENT: u8 = b'i';
    pub(in super::super) const JOURNAL: u8 = b'j';
    pub(in super::super) const META: u8 = b'm';
    pub(in super::super) const OBJECT: u8 = b'o';
    pub(in super::super) const SUSPENSION: u8 = b's';
}

/// Returns the key of a value: of a backend (its name), an object (its uid) or a suspension ([`crate::model::Suspension::key`]).
pub(super) fn key(kind: u8, of: impl AsRef<[u8]>) -> Vec<u8> {
    [&[kind], of.as_ref()].concat()
}

pub(super) fn intent_key(id: IntentId) -> Vec<u8> {
    key(kind::INTENT, id.0.to_be_bytes())
}

pub(super) fn journal_key(number: u64) -> Vec<u8> {
    key(kind::JOURNAL, number.to_be_bytes())
}

/// Returns the number in the key of an intent or a journal entry.
pub(super) fn number_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

/// Returns the key of the `index`-th row of a value.
pub(super) fn row_key(value_key: &[u8], index: usize) -> Vec<u8> {
    let mut key = value_key.to_vec();
    key.push(0);
    key.extend_from_slice(&(index as u16).to_be_bytes());
    key
}

/// Splits the key of a row into the key of the value and the index.
pub(super) fn split_row_key(row_key: &[u8]) -> Option<(&[u8], usize)> {
    let (rest, index) = row_key.split_last_chunk::<2>()?;
    let (zero, value_key) = rest.split_last()?;
    (*zero == 0 && !value_key.is_empty()).then_some((value_key, usize::from(u16::from_be_bytes(*index))))
}

fn checksum(row_key: &[u8], body: &[u8]) -> [u8; SUM] {
    let mut hash = blake3::Hasher::new();
    hash.update(&(row_key.len() as u32).to_be_bytes()).update(row_key).update(body);
    let mut sum = [0; SUM];
    sum.copy_from_slice(&hash.finalize().as_bytes()[..SUM]);
    sum
}

/// Encodes a value as JSON.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    // Most values are shorter: they grow no buffer.
    let mut json = Vec::with_capacity(1024);
    serde_json::to_writer(&mut json, value).map_err(|e| format!("a value cannot be written as JSON: {e}"))?;
    if json.len() > CHUNK * usize::from(u16::MAX) {
        return Err(format!("a value of {} bytes is too large for the store", json.len()));
    }
    Ok(json)
}

/// Splits a value into rows.
pub(super) fn rows(value_key: &[u8], json: &[u8]) -> Vec<Vec<u8>> {
    rows_of_format(value_key, json, format_of(value_key))
}

pub(super) fn rows_of_format(value_key: &[u8], json: &[u8], format: u16) -> Vec<Vec<u8>> {
    let count = json.len().div_ceil(CHUNK).max(1) as u16;
    // JSON is never empty, so there is at least one row.
    json.chunks(CHUNK)
        .enumerate()
        .map(|(index, chunk)| {
            let mut row = vec![0; SUM];
            row.extend_from_slice(&format.to_be_bytes());
            row.extend_from_slice(&count.to_be_bytes());
            row.extend_from_slice(chunk);
            let sum = checksum(&row_key(value_key, index), &row[SUM..]);
            row[..SUM].copy_from_slice(&sum);
            row
        })
        .collect()
}

/// Returns the number of rows of the value, and the part of its JSON in this row.
pub(super) fn open_row<'a>(row_key: &[u8], row: &'a [u8]) -> Result<(usize, &'a [u8]), DbError> {
    let damaged = |how: &str| DbError::Damaged(format!("a row of {} bytes {how}", row.len()));
    let (header, json) = row.split_at_checked(HEADER).ok_or_else(|| damaged("is too short"))?;
    if header[..SUM] != checksum(row_key, &row[SUM..]) {
        return Err(damaged("has a wrong checksum"));
    }
    let format = u16::from_be_bytes([header[SUM], header[SUM + 1]]);
    match format {
        0 => Err(damaged("has the format 0")),
        1..=FORMAT => Ok((usize::from(u16::from_be_bytes([header[SUM + 2], header[SUM + 3]])), json)),
        newer => Err(DbError::Newer(u32::from(newer))),
    }
}

/// Decodes entries of the journal. Skips entries that another version wrote and this one cannot read, with a warning.
pub(super) fn journal_entries<'j>(lines: impl Iterator<Item = &'j [u8]>) -> Vec<JournalEntry> {
    let mut unreadable = 0;
    let entries = lines.filter_map(|json| {
        let entry = decode(json).ok();
        unreadable += usize::from(entry.is_none());
        entry
    });
    let entries = entries.collect();
    if unreadable > 0 {
        tracing::warn!(
            lines = unreadable,
            "left out lines of the journal that another version of kiln wrote and this version cannot read"
        );
    }
    entries
}

/// Decodes the JSON of a value of [`FORMAT`] or any earlier format: no format has changed the fields of an earlier one.
pub(super) fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, DbError> {
    serde_json::from_slice(json)
        .map_err(|e| DbError::Damaged(format!("the content of a row does not match its key: {e}")))
}
