//! `kind: Target` and `kind: Export`. Checked in full, though no target driver is built yet and little of them is kept: what
//! is written today must not turn out to be wrong on the day that one is.

use std::net::{IpAddr, SocketAddr};

use super::Reference;
use super::backend::driver_name;
use super::head::{path, refer};
use crate::manifest::fields::{At, Fields};
use crate::manifest::text::quote;
use crate::model::{ExportSpec, ExportedThing, Kind, Meta, TargetSpec};

pub(super) fn read_target(mut fields: Fields<'_>, meta: Option<Meta>) -> Option<TargetSpec> {
    let driver = fields.need("driver", "write `driver: tgt`, or another driver").and_then(driver_name);
    let section = fields.get("tgt");
    match (driver, section) {
        (Some("tgt"), Some(at)) => tgt(at),
        (Some("tgt"), None) => fields.at().missing("tgt", "write `tgt: {iqnPrefix: iqn.2026-01.org.example}`"),
        (Some(other), Some(at)) => {
            at.wrong(format_args!("is not the section of the driver {other}"), "remove it, or change `driver`");
        }
        _ => {}
    }
    if let Some(at) = driver.filter(|driver| *driver != "tgt").and_then(|driver| fields.peek(driver)) {
        at.entries();
    }
    fields.finish_except(driver.unwrap_or_default());
    Some(TargetSpec { meta: meta?, driver: driver?.to_owned() })
}

fn tgt(at: At<'_>) {
    let Some(mut fields) = at.fields() else { return };
    fields.get("portals").map(|at| {
        at.each(1, 64, |item| {
            let text = item.text()?;
            let portal: Option<SocketAddr> = text.parse().ok().filter(|portal: &SocketAddr| portal.port() != 0);
            if portal.is_none() {
                item.wrong(
                    format_args!("has {}, which is not ADDRESS:PORT", quote(text)),
                    "for example \"127.0.0.1:3260\"",
                );
            }
            portal
        })
    });
    // tgtd's own limit on control ports.
    fields.get("control").map(|at| at.whole(0, 32_767));
    fields.get("socket").map(path);
    if let Some(at) =
        fields.need("iqnPrefix", "write `iqnPrefix: iqn.2026-01.org.example`: year, month and a domain of yours")
        && let Some(text) = at.text()
        && !is_iqn(text)
    {
        at.wrong(format_args!("is {}, which is not an iSCSI name", quote(text)), "for example iqn.2026-01.org.example");
    }
    fields.finish();
}

/// `iqn.YYYY-MM.` and a reversed domain (RFC 3720, 3.2.6.3.1), with what follows it if there is more.
fn is_iqn(text: &str) -> bool {
    let Some((date, rest)) = text.strip_prefix("iqn.").and_then(|rest| rest.split_once('.')) else { return false };
    let date_ok = date.split_once('-').is_some_and(|(year, month)| {
        let number = |text: &str, len| text.len() == len && text.chars().all(|c| c.is_ascii_digit());
        number(year, 4) && number(month, 2) && ("01"..="12").contains(&month)
    });
    date_ok
        && !rest.is_empty()
        && rest.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | ':'))
        && text.len() <= 223
}

const PROTOCOLS: [&str; 5] = ["iscsi", "iser", "nvme-tcp", "nvme-rdma", "nbd"];

pub(super) fn read(mut fields: Fields<'_>, meta: Option<Meta>, references: &mut Vec<Reference>) -> Option<ExportSpec> {
    let what_at = fields.one_of(&["volume", "snapshot"]);
    let what = match what_at {
        Some(at) if at.field() == "volume" => {
            refer(Some(at), Kind::Volume, "volume", references).map(ExportedThing::Volume)
        }
        at => refer(at, Kind::Snapshot, "snapshot", references).map(ExportedThing::Snapshot),
    };
    let target = fields.need("target", "write the name of a Target");
    let target = refer(target, Kind::Target, "target", references);
    let protocol = fields.need("protocol", "write `protocol: iscsi`, or another protocol");
    let protocol = protocol.and_then(|at| at.choice(&PROTOCOLS.map(|word| (word, word))));
    let read_only_at = fields.get("readOnly");
    if let (Some(at), Some("snapshot")) = (read_only_at, what_at.map(|at| at.field()))
        && at.flag() == Some(false)
    {
        at.wrong(
            "is false, and a snapshot never changes",
            "remove the field, or export a volume made from the snapshot",
        );
    } else if let Some(at) = read_only_at {
        at.flag();
    }
    let initiators = fields.get("initiators").map(|at| at.each(1, 1024, |item| initiator(item, protocol)));
    let networks = fields.get("networks").map(|at| at.each(1, 1024, network));
    let open_at = fields.get("openToAll");
    if let Some(at) = open_at
        && at.flag() == Some(true)
        && (initiators.is_some() || networks.is_some())
    {
        at.wrong("contradicts the initiators or networks that are listed", "keep one of them");
    }
    fields.get("shared").map(|at| at.flag());
    fields.get("force").map(|at| at.flag());
    if let Some(at) = fields.get("auth") {
        auth(at.secret());
    }
    fields.finish();
    Some(ExportSpec { meta: meta?, what: what?, target: target?, protocol: protocol?.to_owned() })
}

fn initiator(at: At<'_>, protocol: Option<&str>) -> Option<String> {
    let text = at.line(223)?;
    let prefixes: &[&str] = match protocol {
        Some("iscsi" | "iser") => &["iqn.", "eui.", "naa."],
        Some("nvme-tcp" | "nvme-rdma") => &["nqn."],
        _ => &[""],
    };
    let fits = prefixes.iter().any(|prefix| text.starts_with(prefix)) && !text.contains(char::is_whitespace);
    if !fits {
        let hint = format!("names begin with {} here", prefixes.join(" or "));
        at.wrong(format_args!("has {}, which is not the name of an initiator", quote(text)), hint);
    }
    fits.then(|| text.to_owned())
}

fn network(at: At<'_>) -> Option<(IpAddr, u8)> {
    let text = at.text()?;
    let hint = "for example 10.0.0.0/24, or fd00::/64";
    let parsed = text.split_once('/').and_then(|(address, bits)| Some((address.parse().ok()?, bits.parse().ok()?)));
    let Some((address, bits)) = parsed.filter(|(address, bits): &(IpAddr, u8)| *bits <= width(address)) else {
        at.wrong(format_args!("has {}, which is not ADDRESS/BITS", quote(text)), hint);
        return None;
    };
    let first = masked(address, bits);
    if first != address {
        at.wrong(format_args!("has {text}, an address inside of a network"), format!("the network is {first}/{bits}"));
        return None;
    }
    Some((address, bits))
}

fn width(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            IpAddr::from((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            IpAddr::from((v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)).to_be_bytes())
        }
    }
}

fn auth(at: At<'_>) {
    let Some(mut fields) = at.fields() else { return };
    let chap = fields.need("chap", "write `chap: {username: …, passwordFrom: {file: …}}`");
    for at in [chap, fields.get("mutual")].into_iter().flatten() {
        login(at);
    }
    fields.finish();
}

fn login(at: At<'_>) {
    let Some(mut fields) = at.fields() else { return };
    fields.refuse(
        "password",
        "a password is never written in a manifest",
        "write `passwordFrom: {file: …}` or `{env: …}`",
    );
    fields.need("username", "write the name that the client logs in with").map(|at| at.line(255));
    if let Some(at) = fields.need("passwordFrom", "write `passwordFrom: {file: …}` or `{env: …}`") {
        secret_from(at);
    }
    fields.finish_except("password");
}

/// Where a secret is read from when a step needs it: `{file: …}` or `{env: …}`.
pub(super) fn secret_from(at: At<'_>) {
    let Some(mut fields) = at.fields() else { return };
    let one = fields.one_of(&["file", "env"]);
    fields.finish();
    let Some(one) = one else { return };
    if one.field() == "file" {
        path(one);
    } else if let Some(text) = one.text() {
        let fits = !text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fits {
            one.wrong("is not the name of an environment variable", "letters, digits and `_`, like CHAP_DB");
        }
    }
}
