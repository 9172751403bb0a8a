//! What files came to, kept between runs: a file whose bytes are known is not parsed again.
//!
//! Only files without a problem are kept. Nothing here is the only truth: what does not fit in any way is not believed, and the files
//! are parsed.

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;

use super::Limits;
use super::files::Found;
use super::kinds::Document;

/// Begins what is kept; the number goes up with every change of the layout.
const MAGIC: &[u8] = b"kiln-parsed 1\n";
const HASH: usize = blake3::OUT_LEN;

/// The documents of files, by the hash of all that they depend on.
///
/// Layout: magic, hash of the rest, then for each file: key, length (8 bytes, big end first), JSON.
pub struct Parsed {
    /// Who reads: another program may take the same bytes for something else.
    reader: String,
    bytes: Vec<u8>,
    files: HashMap<[u8; HASH], Range<usize>>,
    /// Whether the next reading is to be kept.
    keeps: bool,
    /// What the last reading came to, where it is worth keeping.
    now: Vec<([u8; HASH], Kept)>,
}

/// The JSON of one file's documents.
pub(super) enum Kept {
    /// As it was kept.
    Known(Range<usize>),
    /// Of a file that was parsed.
    New(Box<[u8]>),
}

impl Parsed {
    /// Nothing is known. `reader` names the program, down to its build.
    pub fn nothing(reader: String) -> Self {
        Self { reader, bytes: Vec::new(), files: HashMap::new(), keeps: true, now: Vec::new() }
    }

    /// What was kept by [`Parsed::write`]; nothing, if it is not whole.
    pub fn read(reader: String, bytes: Vec<u8>) -> Self {
        match index(&bytes) {
            Some(files) => Self { reader, bytes, files, keeps: true, now: Vec::new() },
            None => Self::nothing(reader),
        }
    }

    /// The same, for a reading that is not to be kept.
    pub fn to_look(self) -> Self {
        Self { keeps: false, ..self }
    }

    /// Whether the last reading came to something else than what was kept before.
    pub fn is_changed(&self) -> bool {
        self.now.len() != self.files.len() || self.now.iter().any(|(_, kept)| matches!(kept, Kept::New(_)))
    }

    /// Writes what the last reading came to.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let head = |key: &[u8; HASH], json: &[u8]| {
            let mut head = key.to_vec();
            head.extend_from_slice(&(json.len() as u64).to_be_bytes());
            head
        };
        let all = || self.now.iter().map(|(key, kept)| (key, self.json(kept)));
        let mut hash = blake3::Hasher::new();
        for (key, json) in all() {
            hash.update(&head(key, json)).update(json);
        }
        to.write_all(MAGIC)?;
        to.write_all(hash.finalize().as_bytes())?;
        for (key, json) in all() {
            to.write_all(&head(key, json))?;
            to.write_all(json)?;
        }
        Ok(())
    }

    fn json<'p>(&'p self, kept: &'p Kept) -> &'p [u8] {
        match kept {
            Kept::Known(range) => &self.bytes[range.clone()],
            Kept::New(json) => json,
        }
    }

    /// Over all that the documents of a file depend on: its bytes, what it is called and what paths in it are relative to.
    fn key(&self, found: &Found, limits: &Limits) -> Option<[u8; HASH]> {
        let mut hash = blake3::Hasher::new();
        let directory = found.file.directory.as_os_str().as_encoded_bytes();
        let limits = format!("{limits:?}");
        for part in [self.reader.as_bytes(), limits.as_bytes(), found.file.name.as_bytes(), directory] {
            hash.update(&(part.len() as u64).to_be_bytes()).update(part);
        }
        Some(*hash.update(found.hash?.as_bytes()).finalize().as_bytes())
    }

    /// The documents of a file, the `index`-th of this reading, if they are known.
    pub(super) fn find(&self, index: usize, found: &Found, limits: &Limits) -> Option<(Vec<Document>, Remembered)> {
        let key = self.key(found, limits)?;
        let range = self.files.get(&key)?.clone();
        let mut documents: Vec<Document> = serde_json::from_slice(&self.bytes[range.clone()]).ok()?;
        for document in &mut documents {
            document.file = index;
        }
        Some((documents, Remembered(key, Kept::Known(range))))
    }

    /// What is to be kept of a file that was parsed and has no problem.
    pub(super) fn keep(&self, found: &Found, limits: &Limits, documents: &[Document]) -> Option<Remembered> {
        if !self.keeps {
            return None;
        }
        let json = serde_json::to_vec(documents).ok()?;
        // Without the room that it grew into.
        Some(Remembered(self.key(found, limits)?, Kept::New(json.into_boxed_slice())))
    }

    /// Takes note of everything that a reading came to.
    pub(super) fn note(&mut self, remembered: impl Iterator<Item = Remembered>) {
        self.now = remembered.map(|Remembered(key, kept)| (key, kept)).collect();
    }
}

/// What is known of one file, for [`Parsed::note`].
pub(super) struct Remembered([u8; HASH], Kept);

fn index(bytes: &[u8]) -> Option<HashMap<[u8; HASH], Range<usize>>> {
    let (sum, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<HASH>()?;
    if blake3::hash(rest).as_bytes() != sum {
        return None;
    }
    let mut files = HashMap::new();
    let mut at = MAGIC.len() + HASH;
    while at < bytes.len() {
        let (key, rest) = bytes[at..].split_first_chunk::<HASH>()?;
        let (len, _) = rest.split_first_chunk::<8>()?;
        let begin = at + HASH + 8;
        let end = begin.checked_add(usize::try_from(u64::from_be_bytes(*len)).ok()?)?;
        if end > bytes.len() {
            return None;
        }
        files.insert(*key, begin..end);
        at = end;
    }
    Some(files)
}
