//! States of a machine as text: its manifests, its pools and its store. See README.md in this directory.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FallocateFlags, StatxFlags, fallocate, statx};
use serde_json::{Value, json};

/// Begins the line before each file, followed by its path.
const FILE: &str = "=== ";
/// Stands for the directory of the state.
const HERE: &str = "@HERE@";
/// Follows the path of a file whose last line does not end.
const UNENDED: &str = "without a newline at its end";
const STORE: &str = "state/db";
const MARKS: &str = "pool/.kiln-pool/adopted/";
/// Made anew by each process, and without any record in them.
const LEFT_OUT: &[&str] = &["lock", "reserve", "spare", "room", "mark"];

/// One file of a state.
pub(crate) struct Stored {
    pub(crate) path: String,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    /// As many zeroes.
    Zeroes(u64),
    Text(String),
    /// The store: a value a line, its key, its format and its JSON.
    Values(String),
}

/// Reads the text of a state for installation in a directory.
pub(crate) fn read(text: &str, here: &Path) -> Vec<Stored> {
    let text = text.strip_suffix('\n').unwrap().replace(HERE, here.to_str().unwrap());
    let between = format!("\n{FILE}");
    text.strip_prefix(FILE)
        .unwrap()
        .split(&between)
        .map(|file| {
            let (head, body) = file.split_once('\n').unwrap_or((file, ""));
            let (path, form) = head.split_once(' ').unwrap_or((head, ""));
            let content = match form.strip_suffix(" bytes") {
                Some(bytes) => Content::Zeroes(bytes.parse().unwrap()),
                None if path == STORE => Content::Values(body.to_owned()),
                None if form == UNENDED => Content::Text(body.to_owned()),
                None => Content::Text(format!("{body}\n")),
            };
            Stored { path: path.to_owned(), content }
        })
        .collect()
}

/// Makes the files of a state in a directory.
pub(crate) fn install(text: &str, here: &Path) {
    let (marks, files): (Vec<Stored>, Vec<Stored>) =
        read(text, here).into_iter().partition(|file| file.path.starts_with(MARKS));
    // A mark is younger than its file.
    for Stored { path, content } in files.into_iter().chain(marks) {
        let to = here.join(&path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        match content {
            Content::Zeroes(bytes) => {
                let file = fs::File::create(to).unwrap();
                // The text of a state does not tell which files are allocated.
                match path.contains(".thick.") {
                    true => fallocate(&file, FallocateFlags::empty(), 0, bytes).unwrap(),
                    false => file.set_len(bytes).unwrap(),
                }
            }
            Content::Values(lines) => write_store(&to, &lines),
            Content::Text(text) => {
                let marked = path.strip_prefix(MARKS).and_then(|name| name.strip_suffix(".json"));
                let text = marked.map_or(text.clone(), |native| of_this_file(&text, &here.join("pool").join(native)));
                fs::write(to, text).unwrap();
            }
        }
    }
}

/// A mark that names its file names the one that stands there now.
fn of_this_file(mark: &str, file: &Path) -> String {
    let mut mark: Value = serde_json::from_str(mark).unwrap();
    if let (Some(marked), true) = (mark.get_mut("file"), file.exists()) {
        let stat = statx(CWD, file, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO | StatxFlags::BTIME).unwrap();
        marked["inode"] = json!(stat.stx_ino);
        let born = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        marked["born"] = if born { json!([stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec]) } else { Value::Null };
    }
    mark.to_string()
}

/// Writes a state down as text.
pub(crate) fn write(dir: &Path, made_in: &Path) -> String {
    let mut paths = Vec::new();
    walk(dir, &mut paths);
    let mut text = String::new();
    for path in paths {
        let shown = path.strip_prefix(dir).unwrap().to_str().unwrap();
        let name = path.file_name().unwrap().as_bytes();
        let left_out = |left: &str| name.starts_with(left.as_bytes()) || name.ends_with(format!(".{left}").as_bytes());
        if shown == STORE {
            let _ = write!(text, "{FILE}{shown}\n{}", read_store(&path));
        } else if shown.ends_with(".img") || shown.ends_with(".raw") {
            let _ = writeln!(text, "{FILE}{shown} {} bytes", fs::metadata(&path).unwrap().len());
        } else if !LEFT_OUT.iter().any(|left| left_out(left)) {
            let body = fs::read_to_string(&path).unwrap();
            let _ = match body.strip_suffix('\n') {
                Some(body) => writeln!(text, "{FILE}{shown}\n{body}"),
                None => writeln!(text, "{FILE}{shown} {UNENDED}\n{body}"),
            };
        }
    }
    text.replace(made_in.to_str().unwrap(), HERE)
}

fn walk(path: &Path, out: &mut Vec<PathBuf>) {
    if path.is_dir() && !path.ends_with(STORE) {
        let mut entries: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| walk(entry, out));
    } else {
        out.push(path.to_owned());
    }
}

/// A key as text: the kind of the value, and its name or its number.
fn key_text(key: &[u8]) -> String {
    match key.split_first().unwrap() {
        (kind @ (b'i' | b'j'), number) => {
            format!("{}{}", char::from(*kind), u64::from_be_bytes(number.try_into().unwrap()))
        }
        _ => String::from_utf8(key.to_vec()).unwrap(),
    }
}

fn key_bytes(text: &str) -> Vec<u8> {
    match text.split_at(1) {
        (kind @ ("i" | "j"), number) => [kind.as_bytes(), &number.parse::<u64>().unwrap().to_be_bytes()].concat(),
        _ => text.as_bytes().to_vec(),
    }
}

/// The bytes before the JSON of a row: checksum, format, number of rows.
const SUM: usize = 16;
const HEAD: usize = SUM + 4;
/// The bytes behind the key of a value in the key of a row: a zero, and the index.
const INDEX: usize = 3;
const CHUNK: usize = 4096;

fn read_store(path: &Path) -> String {
    let db = sled::open(path).unwrap();
    let mut text = String::new();
    for row in db.iter() {
        let (key, row) = row.unwrap();
        let (key, index) = key.split_at(key.len() - INDEX);
        // What the store says of itself follows from the rest.
        if key == b"m" {
            continue;
        }
        if index == [0; INDEX] {
            let format = u16::from_be_bytes([row[SUM], row[SUM + 1]]);
            let _ = write!(text, "{}{} {format} ", if text.is_empty() { "" } else { "\n" }, key_text(key));
        }
        text.push_str(std::str::from_utf8(&row[HEAD..]).unwrap());
    }
    text + "\n"
}

fn write_store(path: &Path, lines: &str) {
    let db = sled::open(path).unwrap();
    let (mut rows, mut digest) = (0, [0; SUM]);
    for line in lines.lines() {
        let [key, format, json] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        for sum in insert(&db, &key_bytes(key), format.parse().unwrap(), json.as_bytes()) {
            rows += 1;
            digest.iter_mut().zip(sum).for_each(|(mine, its)| *mine ^= its);
        }
    }
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    insert(&db, b"m", 1, json!({"seq": 1, "rows": rows, "digest": digest}).to_string().as_bytes());
    db.flush().unwrap();
}

/// Writes the rows of a value, and returns their checksums.
fn insert(db: &sled::Db, key: &[u8], format: u16, json: &[u8]) -> Vec<[u8; SUM]> {
    let chunks: Vec<&[u8]> = json.chunks(CHUNK).collect();
    let rows = chunks.iter().zip(0_u16..).map(|(chunk, index)| {
        let key = [key, &[0], &index.to_be_bytes()].concat();
        let body = [&format.to_be_bytes(), &(chunks.len() as u16).to_be_bytes(), *chunk].concat();
        let hash = blake3::hash(&[&(key.len() as u32).to_be_bytes(), &key[..], &body].concat());
        let sum: [u8; SUM] = hash.as_bytes()[..SUM].try_into().unwrap();
        db.insert(key, [&sum[..], &body].concat()).unwrap();
        sum
    });
    rows.collect()
}
