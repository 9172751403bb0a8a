//! `kind: Export`. Checked completely, but only partly stored, like a Target.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::Meta;
use super::secret::LOGIN;
use crate::model::table::{
    Choices, Complaint, DocumentTable, FieldCheck, FieldForm, FieldRule, FieldTable, FieldValue, Settings, Text,
};
use crate::model::{Kind, Name};

pub(super) const EXPORT: DocumentTable = DocumentTable {
    doc: "A volume or snapshot offered to clients.",
    spec: &ExportSpec::TABLE,
    example: (
        "db",
        r#"{"volume": "db", "target": "san", "protocol": "iscsi", "initiators": ["iqn.2026-01.org.example:host1"]}"#,
    ),
};

/// An Export document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportSpec {
    /// `metadata`.
    pub meta: Meta,
    /// The exported object.
    pub what: ExportedThing,
    /// The declared Target.
    pub target: Name,
    /// `iscsi`, `iser`, `nvme-tcp`, `nvme-rdma` or `nbd`.
    pub protocol: String,
}

/// The object that an Export exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExportedThing {
    /// A declared volume.
    Volume(Name),
    /// A declared snapshot, read-only.
    Snapshot(Name),
}

impl ExportSpec {
    /// The fields of `spec`.
    pub const TABLE: FieldTable = FieldTable {
        checked: &[
            FieldRule::optional(FieldForm::Bool).named("readOnly", "Default: false; snapshots: true."),
            FieldRule::optional(FieldForm::List { of: &FieldForm::Text(Text::line(223)), min: 1, max: 1024 })
                .named("initiators", "Names of clients. If networks are listed too, both must match."),
            FieldRule::optional(FieldForm::List { of: &FieldForm::Text(Text::of(is_network)), min: 1, max: 1024 })
                .named("networks", "Addresses of clients, like 10.0.0.0/24."),
            FieldRule::default(FieldForm::Bool, "false")
                .named("openToAll", "Admits every client that can reach the target."),
            FieldRule::optional(FieldForm::Map(&AUTH)).secret().named("auth", "How clients log in."),
            FieldRule::default(FieldForm::Bool, "false").named("shared", "More than one writer."),
            FieldRule::default(FieldForm::Bool, "false").named("force", "May be removed while clients are connected."),
        ],
        one_of: &["volume", "snapshot"],
        ..FieldTable::of(
            "ExportSpec",
            "Which clients may access an object, and how. Exactly one of `volume` and `snapshot`.",
            &[
                FieldRule::optional(FieldForm::Name(Some(Kind::Volume))).named("volume", "The declared volume."),
                FieldRule::optional(FieldForm::Name(Some(Kind::Snapshot)))
                    .named("snapshot", "The declared snapshot; read-only."),
                FieldRule::required("write the name of a Target", FieldForm::Name(Some(Kind::Target)))
                    .named("target", "The declared Target."),
                FieldRule::required("write `protocol: iscsi`, or another protocol", FieldForm::Choice(&PROTOCOL))
                    .named("protocol", "The protocol, which the target must support."),
            ],
        )
    };

    /// Converts checked values. `None` if a required one is missing.
    pub fn from_values(values: &mut Settings, meta: Meta) -> Option<Self> {
        let mut name = |field| values.take(field).and_then(Name::from_value);
        let what = name("volume").map(ExportedThing::Volume).or_else(|| name("snapshot").map(ExportedThing::Snapshot));
        let target = name("target");
        Some(Self { meta, what: what?, target: target?, protocol: String::from_field(values.take("protocol"))? })
    }

    /// Converts back to values.
    pub fn values(&self) -> Settings {
        let (field, name) = match &self.what {
            ExportedThing::Volume(name) => ("volume", name),
            ExportedThing::Snapshot(name) => ("snapshot", name),
        };
        let values = Settings::default().with(field, name.to_value());
        values.with("target", self.target.to_value()).with("protocol", self.protocol.to_value())
    }
}

const PROTOCOL: Choices = Choices {
    name: "Protocol",
    doc: "The protocol between clients and the target.",
    words: &[
        ("iscsi", "iSCSI."),
        ("iser", "iSCSI over RDMA."),
        ("nvme-tcp", "NVMe over TCP."),
        ("nvme-rdma", "NVMe over RDMA."),
        ("nbd", "Network block device."),
    ],
    refused: None,
};

const AUTH: FieldTable = FieldTable {
    checked: &[
        FieldRule::required("write `chap: {username: …, passwordFrom: {file: …}}`", FieldForm::Map(&LOGIN))
            .named("chap", "The credentials of the client."),
        FieldRule::optional(FieldForm::Map(&LOGIN)).named("mutual", "The credentials of the target."),
    ],
    ..FieldTable::of("Auth", "How clients log in.", &[])
};

fn is_network(text: &str) -> FieldCheck {
    let hint = match text.parse::<IpAddr>() {
        Ok(one) => format!("write {one}/{} for this address alone", width(&one)),
        Err(_) if text.contains([' ', ';']) => "write a comma between two networks".to_owned(),
        Err(_) => "for example 10.0.0.0/24, or fd00::/64".to_owned(),
    };
    let parsed = text.split_once('/').and_then(|(address, bits)| Some((address.parse().ok()?, bits.parse().ok()?)));
    if let Some((first, bits)) = text.split_once('/').and_then(|(first, mask)| Some((first, prefix_of(mask)?))) {
        return Complaint::unless(false, "has {}, which is not ADDRESS/BITS", &format!("write {first}/{bits}"));
    }
    let Some((address, bits)) = parsed.filter(|(address, bits): &(IpAddr, u8)| *bits <= width(address)) else {
        return Complaint::unless(false, "has {}, which is not ADDRESS/BITS", &hint);
    };
    let first = masked(address, bits);
    let message = format!("has {text}, an address inside a network");
    Complaint::unless(first == address, &message, &format!("the network is {first}/{bits}"))
}

/// Returns the bits of a mask like 255.255.255.0.
fn prefix_of(mask: &str) -> Option<u32> {
    let mask = mask.parse::<Ipv4Addr>().ok()?.to_bits();
    (mask.leading_ones() == mask.count_ones()).then(|| mask.count_ones())
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
