//! The mark: one line beside the database with the number of the last batch that the database must contain.
//!
//! If the end of its log is damaged, sled may open an older, consistent state, which nothing inside the database reveals. After each batch is
//! on disk, its number is therefore written to the file `mark`, outside of sled. A database with a smaller number has lost acknowledged
//! batches. The mark is not synced with each batch, which would double the cost: after a power cut it may be older and require less, but
//! never too much.
//!
//! The mark also tells other versions of the program the format of the store. Every format therefore keeps the first line:
//! `kiln-store format=N … crc=` and the CRC-32 of the text before ` crc=`, as eight hexadecimal digits.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::codec::FORMAT;
use super::lock::NO_WAIT;

/// The format in the mark. The mark itself has not changed since the first format, and each row has its own format number.
const WRITTEN: u16 = 1;

/// The file's name.
pub(super) const FILE: &str = "mark";

/// The content of the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreMark {
    /// The file does not exist.
    Missing,
    /// It is damaged, or truncated by a power cut.
    Unreadable,
    /// A format that this program reads.
    Current {
        /// The number of a batch that is on disk.
        seq: u64,
    },
    /// A newer program wrote it.
    Newer(u32),
}

/// The open file of the mark.
pub(super) struct MarkFile(File);

fn line(seq: u64) -> String {
    let text = format!("kiln-store format={WRITTEN} seq={seq:020}");
    format!("{text} crc={:08x}\n", crc32fast::hash(text.as_bytes()))
}

fn parse(bytes: &[u8]) -> Option<StoreMark> {
    let first = bytes.split(|b| *b == b'\n').next()?;
    let (text, crc) = std::str::from_utf8(first).ok()?.rsplit_once(" crc=")?;
    if format!("{:08x}", crc32fast::hash(text.as_bytes())) != crc {
        return None;
    }
    let rest = text.strip_prefix("kiln-store format=")?;
    let (format, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    match format.parse::<u32>().ok()? {
        0 => None,
        newer if newer > u32::from(FORMAT) => Some(StoreMark::Newer(newer)),
        _ => Some(StoreMark::Current { seq: rest.strip_prefix("seq=")?.parse().ok()? }),
    }
}

/// Reads the mark of the store in `dir`.
pub(super) fn read(dir: &Path) -> io::Result<StoreMark> {
    let path = dir.join(FILE);
    match std::fs::metadata(&path) {
        // Reading a FIFO would block forever.
        Ok(metadata) if !metadata.is_file() => return Ok(StoreMark::Unreadable),
        _ => {}
    }
    match std::fs::read(path) {
        Ok(bytes) => Ok(parse(&bytes).unwrap_or(StoreMark::Unreadable)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(StoreMark::Missing),
        Err(e) => Err(e),
    }
}

impl MarkFile {
    /// Opens the mark and sets it to `seq`, durably.
    pub(super) fn open(dir: &Path, seq: u64) -> io::Result<MarkFile> {
        let options =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(NO_WAIT).clone();
        let file = options.open(dir.join(FILE))?;
        let text = line(seq);
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
        file.sync_all()?;
        Ok(MarkFile(file))
    }

    /// Sets the mark to `seq`, not durably. All marks have the same length, so this is one write within one sector.
    pub(super) fn set(&self, seq: u64) -> io::Result<()> {
        self.0.write_all_at(line(seq).as_bytes(), 0)
    }

    /// Makes the last [`set`](Self::set) durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_no_flipped_bit_is() {
        let good = line(1234);
        assert_eq!(parse(good.as_bytes()), Some(StoreMark::Current { seq: 1234 }));
        // The line feed at the end is not required.
        for bit in 0..(good.len() - 1) * 8 {
            let mut bytes = good.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_known_whatever_else_it_says() {
        let text = "kiln-store format=7 something=else";
        let newer = format!("{text} crc={:08x}\nmore lines\n", crc32fast::hash(text.as_bytes()));
        assert_eq!(parse(newer.as_bytes()), Some(StoreMark::Newer(7)));
    }
}
