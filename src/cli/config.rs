//! The host configuration, `/etc/kiln/kiln.toml`: the paths that manifests may use besides those near them.
//!
//! ```toml
//! [allow]
//! paths = ["/srv/pools", "/etc/ceph"]   # these, and all below them
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::exit::Exit;
use super::failure::Failure;
use crate::manifest::{AllowWritten, Allowed};

/// The default path.
pub(crate) const DEFAULT: &str = "/etc/kiln/kiln.toml";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    allow: Option<Allow>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Allow {
    paths: Option<Vec<PathBuf>>,
    /// Accepted, so that a file written for a later Kiln is valid; this version runs no commands.
    via: Vec<Vec<String>>,
}

/// Reads the host configuration: the `named` file, which must exist, or the default, which need not.
///
/// # Errors
/// Exit code 2 if the file is missing, unreadable or invalid: a misspelt rule must not allow or forbid something else.
pub(crate) fn read(named: Option<&Path>) -> Result<Allowed, Failure> {
    let path = named.unwrap_or(Path::new(DEFAULT));
    let allowed = |paths, written| Allowed { paths, file: path.to_owned(), written };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {
            return Ok(allowed(Vec::new(), AllowWritten::Nothing));
        }
        Err(error) => {
            let message = format!("the host configuration {} cannot be read: {error}", path.display());
            return Err(Failure::new(Exit::Usage, message)
                .hint("pass another file with --config FILE, or make it readable by this user"));
        }
    };
    let wrong = |what: String| {
        Failure::new(Exit::Usage, format!("{}: {what}", path.display())).hint(
            "it may have the table `[allow]`, with one list of absolute paths: `paths = [\"/srv/a\", \"/srv/b\"]`",
        )
    };
    let Config { allow } = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        wrong(format!("line {line}: {}", error.message()))
    })?;
    let written = match &allow {
        None => AllowWritten::Nothing,
        Some(Allow { paths: None, .. }) => AllowWritten::Table,
        Some(Allow { paths: Some(_), .. }) => AllowWritten::Paths,
    };
    let Allow { paths, via } = allow.unwrap_or_default();
    let paths = paths.unwrap_or_default();
    if let Some(relative) = paths.iter().find(|path| !path.is_absolute()) {
        return Err(wrong(format!("{} in `paths` is not absolute", relative.display())));
    }
    if via.iter().any(Vec::is_empty) {
        return Err(wrong("an empty command in `via`".to_owned()));
    }
    Ok(allowed(paths, written))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Vec<PathBuf>, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kiln.toml");
        std::fs::write(&path, text).unwrap();
        read(Some(&path)).map(|allowed| allowed.paths)
    }

    #[test]
    fn written_values_are_read_back() {
        assert_eq!(config("").unwrap(), Vec::<PathBuf>::new());
        let text = "[allow]\npaths = [\"/etc/ceph\", \"/srv\"]\nvia = [[\"ssh\", \"*\"]]\n";
        assert_eq!(config(text).unwrap(), [PathBuf::from("/etc/ceph"), PathBuf::from("/srv")]);
    }

    #[test]
    fn a_misspelt_setting_allows_nothing_and_is_reported_with_its_line() {
        for (text, line) in [
            ("\n[alow]\npaths = []\n", "line 2"),
            ("[allow]\npath = [\"/x\"]\n", "line 2"),
            ("[allow]\npaths = \"/x\"\n", "line 2"),
            ("[allow\n", "line 1"),
            ("[allow]\npaths = [\"x\"]\n", "not absolute"),
            ("[allow]\nvia = [[]]\n", "empty command"),
        ] {
            let failure = config(text).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{text}");
            assert!(failure.message.contains(line) && failure.hint.is_some(), "{text}: {failure:?}");
        }
    }

    #[test]
    fn only_the_default_may_be_missing() {
        assert_eq!(read(Some(Path::new("/not/there/kiln.toml"))).unwrap_err().exit, Exit::Usage);
    }
}
