//! Limits on the size of manifests.

/// Limits on the size of manifests. With the defaults no file takes more than 64 MiB of memory, or much longer to
/// read than ten thousand volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes per file.
    pub file_bytes: u64,
    /// Bytes of all files together.
    pub total_bytes: u64,
    /// Number of files.
    pub files: usize,
    /// Documents per file.
    pub documents: usize,
    /// Bytes per document. The parser's lookahead inside brackets is unbounded, and its time quadratic in the distance.
    pub document_bytes: usize,
    /// Values and keys per document.
    pub nodes: usize,
    /// Nesting depth of lists and maps.
    pub depth: usize,
    /// Reported problems per file.
    pub shown: usize,
}

impl Default for Limits {
    /// 1 MiB holds about 3,000 volumes. Handwritten documents have fewer than 1,000 values and are less than 10 deep; the limits are
    /// 10 and 3 times that. `tests/manifest_limits.rs` measures their cost.
    fn default() -> Self {
        Self {
            file_bytes: 1 << 20,
            total_bytes: 256 << 20,
            files: 10_000,
            documents: 20_000,
            document_bytes: 32 << 10,
            nodes: 10_000,
            depth: 32,
            shown: 100,
        }
    }
}
