//! Files with a checksum: a line `HEAD HASH`, followed by JSON. HASH is the BLAKE3 hash of the JSON.

use serde::Serialize;

/// Encodes a value. `head` ends with a space.
pub(super) fn encode(head: &str, value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let body = serde_json::to_vec(value)?;
    let mut bytes = format!("{head}{}\n", blake3::hash(&body).to_hex()).into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Returns the JSON after the first line, if the hash matches.
pub(super) fn body_of<'b>(head: &str, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let line = bytes.iter().position(|byte| *byte == b'\n')?;
    let (first, body) = (&bytes[..line], &bytes[line + 1..]);
    let hash = first.strip_prefix(head.as_bytes())?;
    (hash == blake3::hash(body).to_hex().as_bytes()).then_some(body)
}
