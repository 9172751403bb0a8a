//! The files of the project, read once.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use crate::source::Source;

pub(crate) struct File {
    /// From the root of the project, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files that the project is made of: not what Git keeps, what cargo builds, or what the demo makes.
pub(crate) static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let mut files = Vec::new();
    let mut left = vec![root().to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the project is readable") {
            let path = entry.expect("a directory of the project is readable").path();
            let name = path.strip_prefix(root()).expect("the file is in the project").to_string_lossy().into_owned();
            if [".git", "target", "pool", "state"].contains(&name.as_str()) || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                left.push(path);
            } else if path.is_file() {
                let bytes = fs::read(&path).expect("a file of the project is readable");
                files.push(File { path: name, text: String::from_utf8_lossy(&bytes).into_owned() });
            }
        }
    }
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "the search is wrong");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
});

/// The sources under `src`.
pub(crate) static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let files = FILES.iter().filter(|file| file.path.starts_with("src/") && file.path.ends_with(".rs"));
    let sources = Source::parse_all(files.map(|file| (&*file.path, &*file.text)));
    assert!(sources.len() > 10, "only {} sources were found: the search is wrong", sources.len());
    sources
});
