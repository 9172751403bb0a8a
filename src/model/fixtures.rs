//! Names and objects that tests of all modules use.

use super::{BackendSpec, DriverConfig, Identity, Kind, Meta, Name, Owner, Percent, Seconds, Uid};

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn owner() -> Owner {
    "prod".parse().unwrap()
}

/// An object on the Backend `fast`.
pub(crate) fn identity(kind: Kind, text: &str) -> Identity {
    nth(kind, text, 0)
}

pub(crate) fn volume(text: &str) -> Identity {
    identity(Kind::Volume, text)
}

/// As [`identity`], with another uid of the same name.
pub(crate) fn nth(kind: Kind, text: &str, n: u32) -> Identity {
    let uid = Uid::derive("5c1d2e8a90", &owner(), kind, &name("fast"), &name(text), n);
    Identity { owner: owner(), kind, name: name(text), uid }
}

pub(crate) fn backend(text: &str, config: DriverConfig) -> BackendSpec {
    BackendSpec {
        meta: Meta { name: name(text), labels: Default::default(), renamed_from: None },
        config,
        concurrency: 8.try_into().unwrap(),
        timeout: Seconds(30),
        max_fill: Percent(100),
        overcommit: None,
        via: Vec::new(),
    }
}
