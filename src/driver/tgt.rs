//! The section `tgt` of a Target. The driver is not implemented yet. Its settings are checked, like those of `rbd`.

use std::net::{IpAddr, SocketAddr};

use crate::model::table::{Complaint, FieldCheck, FieldForm, FieldRule, FieldTable, Text};
use crate::model::{DriverTable, Kind};

pub(super) const TABLE: DriverTable = DriverTable {
    kind: Kind::Target,
    name: "tgt",
    settings: SETTINGS,
    required: Some("write `tgt: {iqnPrefix: iqn.2026-01.org.example}`"),
    needs_stack: false,
    overcommit: None,
    place: "",
};

const SETTINGS: FieldTable = FieldTable::of(
    "Tgt",
    "The daemon of the Linux target framework.",
    &[
        FieldRule::default(
            FieldForm::List { of: &FieldForm::Text(Text::of(is_portal)), min: 1, max: 64 },
            "127.0.0.1:3260",
        )
        .named("portals", "ADDRESS:PORT on which the daemon serves clients."),
        // The limit of tgtd on control ports.
        FieldRule::default(FieldForm::Whole { min: 0, max: 32_767 }, "0")
            .named("control", "The daemon's control number."),
        FieldRule::default(FieldForm::Path, "/run/tgtd").named("socket", "The daemon's control socket."),
        FieldRule::required(
            "write `iqnPrefix: iqn.2026-01.org.example`: year, month and your reversed domain",
            FieldForm::Text(Text::of(is_iqn)),
        )
        .named("iqnPrefix", "`iqn`, year and month, and your reversed domain: iqn.2026-01.org.example."),
    ],
);

fn is_portal(text: &str) -> FieldCheck {
    let fits = text.parse().is_ok_and(|portal: SocketAddr| portal.port() != 0);
    let hint = match text.parse::<IpAddr>() {
        Ok(address) => format!("write \"{}\"", SocketAddr::new(address, 3260)),
        Err(_) => "for example \"127.0.0.1:3260\"".to_owned(),
    };
    Complaint::unless(fits, "has {}, which is not ADDRESS:PORT", &hint)
}

/// Checks for `iqn.YYYY-MM.` and a reversed domain (RFC 3720, 3.2.6.3.1), with an optional suffix.
fn is_iqn(text: &str) -> FieldCheck {
    let parts = text.strip_prefix("iqn.").and_then(|rest| rest.split_once('.'));
    let fits = parts.is_some_and(|(date, rest)| {
        let date_ok = date.split_once('-').is_some_and(|(year, month)| {
            let number = |text: &str, len| text.len() == len && text.chars().all(|c| c.is_ascii_digit());
            number(year, 4) && number(month, 2) && ("01"..="12").contains(&month)
        });
        date_ok
            && !rest.is_empty()
            && rest.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | ':'))
            && text.len() <= 223
    });
    Complaint::unless(fits, "is {}, which is not an iSCSI name", "for example iqn.2026-01.org.example")
}
