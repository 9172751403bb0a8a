//! Reads a complete database and checks all of it.

use std::collections::VecDeque;

use crate::model::{ObjectRecord, OpenIntent, Records, Suspension, Uid};

use super::codec::{self, Checksum, StoreMeta, kind};
use super::db::Db;
use super::error::DbError;

/// The numbers of the journal entries, from the first to the next one, which is excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct JournalRange {
    pub(super) first: u64,
    pub(super) next: u64,
}

/// The content of a database.
#[derive(Default)]
pub(super) struct LoadedStore {
    pub(super) records: Records,
    pub(super) intents: Vec<OpenIntent>,
    pub(super) lines: JournalRange,
    /// The JSON of the last journal entries, as many as requested.
    pub(super) journal: VecDeque<Vec<u8>>,
    pub(super) seq: u64,
    pub(super) rows: u64,
    pub(super) checksum: Checksum,
}

/// Reads and checks everything. `at_least`: the number of a batch that the database must contain. `journal`: the number of last entries to
/// return.
pub(super) fn load(db: &Db, at_least: u64, journal: usize) -> Result<LoadedStore, DbError> {
    let mut loaded = LoadedStore::default();
    let mut meta: Option<StoreMeta> = None;
    let mut rows_read = Rows::default();
    let each_row = |key: &[u8], row: &[u8]| {
        if key.first() != Some(&kind::META) {
            loaded.rows += 1;
            loaded.checksum.toggle(row);
        }
    };
    values(db, b"", each_row, |key, json| {
        match key.first() {
            Some(&kind::META) => meta = Some(codec::decode(json)?),
            Some(&kind::JOURNAL) => {
                let number = codec::number_of(key).ok_or_else(|| impossible(key))?;
                if loaded.lines == JournalRange::default() {
                    loaded.lines = JournalRange { first: number, next: number };
                }
                if number != loaded.lines.next {
                    return Err(impossible(key));
                }
                loaded.lines.next += 1;
                if journal > 0 {
                    if loaded.journal.len() >= journal {
                        loaded.journal.pop_front();
                    }
                    loaded.journal.push_back(json.to_vec());
                }
            }
            Some(&kind::INTENT) => {
                let intent: OpenIntent = codec::decode(json)?;
                if codec::intent_key(intent.id) != key {
                    return Err(impossible(key));
                }
                loaded.intents.push(intent);
            }
            _ => rows_read.record(key, json)?,
        }
        Ok(())
    })?;
    loaded.records = rows_read.into_records();
    let Some(meta) = meta else { return Err(DbError::Damaged("its rows are missing".to_owned())) };
    if meta.rows != loaded.rows || meta.checksum != loaded.checksum.to_hex() {
        let how = format!("its {} rows are not the {} rows that were written", loaded.rows, meta.rows);
        return Err(DbError::Damaged(how));
    }
    if meta.seq < at_least {
        let how = format!("it ends at batch {}, and batch {at_least} was written", meta.seq);
        return Err(DbError::Damaged(how));
    }
    loaded.seq = meta.seq;
    Ok(loaded)
}

/// Reads only the backends, objects and suspensions.
pub(super) fn records(db: &Db) -> Result<Records, DbError> {
    let mut rows = Rows::default();
    for kind in [kind::BACKEND, kind::OBJECT, kind::SUSPENSION] {
        values(db, &[kind], |_, _| {}, |key, json| rows.record(key, json))?;
    }
    Ok(rows.into_records())
}

/// Reads only the open intents, by number.
pub(super) fn intents(db: &Db) -> Result<Vec<OpenIntent>, DbError> {
    let mut intents = Vec::new();
    let each = |_: &[u8], json: &[u8]| codec::decode(json).map(|intent| intents.push(intent));
    values(db, &[kind::INTENT], |_, _| {}, each)?;
    Ok(intents)
}

/// Reads the rows of one value; none if there is no such value.
pub(super) fn rows(db: &Db, key: &[u8]) -> Result<Vec<Vec<u8>>, DbError> {
    let mut rows = Vec::new();
    let mut count = 1;
    while rows.len() < count {
        let row_key = codec::row_key(key, rows.len());
        match db.get(&row_key)? {
            None if rows.is_empty() => break,
            None => return Err(impossible(key)),
            Some(row) => {
                count = codec::open_row(&row_key, &row)?.0;
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// Collects records that are read in the order of their keys. A map that grows one by one in order has half-full nodes, so records are
/// inserted by the thousand.
#[derive(Default)]
struct Rows {
    records: Records,
    /// Records that are not in `records` yet.
    more: Vec<(Uid, ObjectRecord)>,
}

impl Rows {
    fn record(&mut self, key: &[u8], json: &[u8]) -> Result<(), DbError> {
        let text = key.get(1..).and_then(|rest| std::str::from_utf8(rest).ok()).ok_or_else(|| impossible(key))?;
        match key[0] {
            kind::BACKEND => {
                self.records.backends.insert(text.parse().map_err(|_| impossible(key))?, codec::decode(json)?);
            }
            kind::OBJECT => {
                let uid = text.parse().map_err(|_| impossible(key))?;
                let mut record: ObjectRecord = codec::decode(json)?;
                self.share_native(uid, &mut record);
                self.more.push((uid, record));
                // This rebuilds the whole map.
                if self.more.len() > 1000 + self.records.objects.len() / 4 {
                    self.append();
                }
            }
            kind::SUSPENSION => {
                let suspension: Suspension = codec::decode(json)?;
                if suspension.key() != text {
                    return Err(impossible(key));
                }
                self.records.suspensions.insert(text.to_owned(), suspension);
            }
            _ => return Err(impossible(key)),
        }
        Ok(())
    }

    /// Shares the text of a native name between a record and the ledger entry of its object.
    fn share_native(&self, uid: Uid, record: &mut ObjectRecord) {
        let ledgers = self.records.backends.values().filter_map(|backend| backend.ledger.as_ref());
        let mut natives = ledgers.filter_map(|ledger| Some(&ledger.complete.get(&uid)?.native));
        if let Some(native) = natives.find(|native| **native == record.native) {
            record.native = native.clone();
        }
    }

    fn append(&mut self) {
        self.records.objects.append(&mut std::mem::take(&mut self.more).into_iter().collect());
    }

    fn into_records(mut self) -> Records {
        self.append();
        self.records
    }
}

fn impossible(key: &[u8]) -> DbError {
    DbError::Damaged(format!("it has a row that kiln does not write, {:?}", String::from_utf8_lossy(key)))
}

/// Calls `each_row` with every row, and `each` with every value.
fn values(
    db: &Db,
    prefix: &[u8],
    mut each_row: impl FnMut(&[u8], &[u8]),
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), DbError>,
) -> Result<(), DbError> {
    // The current value: its key, its number of rows, the number read so far, and their content.
    let mut open: Option<(Vec<u8>, usize, usize, Vec<u8>)> = None;
    db.scan(prefix, |row_key, row| {
        each_row(row_key, row);
        let (count, json) = codec::open_row(row_key, row)?;
        let (key, index) = codec::split_row_key(row_key).ok_or_else(|| impossible(row_key))?;
        match &mut open {
            None if index == 0 && count == 1 => each(key, json)?,
            None if index == 0 && count > 1 => open = Some((key.to_vec(), count, 1, json.to_vec())),
            Some((its, of, have, whole)) if its == key && *of == count && *have == index => {
                whole.extend_from_slice(json);
                *have += 1;
                if have == of {
                    each(its, whole)?;
                    open = None;
                }
            }
            _ => return Err(impossible(row_key)),
        }
        Ok(())
    })?;
    match open {
        None => Ok(()),
        Some((key, ..)) => Err(impossible(&key)),
    }
}
