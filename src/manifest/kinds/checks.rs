//! Checks across the fields of one document. The tables of fields constrain only single fields.

use crate::manifest::fields::{At, Fields};
use crate::manifest::text::quote;
use crate::model::table::{Setting, Settings};

/// Checks a Volume.
pub(super) fn volume(fields: &Fields<'_>, values: &Settings) {
    if let (Some(at), Some(Setting::Map(source))) = (fields.peek("source"), values.get("source"))
        && source.get("quiesced").is_some()
        && (source.get("snapshot").is_some() || source.get("image").is_some())
    {
        at.wrong("has `quiesced`, which is about a volume that is copied", "remove `quiesced`");
    }
    if fields.peek("adopt").is_some() {
        for at in ["source", "object"].into_iter().filter_map(|name| fields.peek(name)) {
            let hint = "keep `adopt` to adopt an existing object, or remove it to create a new volume";
            at.wrong_field("cannot be combined with `adopt`", hint);
        }
    }
}

/// Checks an Export.
pub(super) fn export(fields: &Fields<'_>, values: &Settings) {
    let is = |field: &str, value: bool| values.get(field) == Some(&Setting::Bool(value));
    if let (Some(at), Some(_)) = (fields.peek("readOnly").filter(|_| is("readOnly", false)), values.get("snapshot")) {
        let hint = "remove the field, or export a volume created from the snapshot";
        at.wrong("is false, but a snapshot is always read-only", hint);
    }
    let listed = fields.peek("initiators").or_else(|| fields.peek("networks")).is_some();
    if let Some(at) = fields.peek("openToAll").filter(|_| listed && is("openToAll", true)) {
        at.wrong("contradicts the initiators or networks that are listed", "keep one of them");
    }
    let protocol = match values.get("protocol") {
        Some(Setting::Text(protocol)) => protocol.as_str(),
        _ => "",
    };
    let names =
        fields.peek("initiators").into_iter().flat_map(|at| at.quietly(|at| at.items(1, 1024)).unwrap_or_default());
    names.for_each(|at| initiator(at, protocol));
}

fn initiator(at: At<'_>, protocol: &str) {
    // Problems with the text itself have been reported.
    let Some(text) = at.quietly(|at| at.line(223)) else { return };
    let prefixes: &[&str] = match protocol {
        "iscsi" | "iser" => &["iqn.", "eui.", "naa."],
        "nvme-tcp" | "nvme-rdma" => &["nqn."],
        _ => &[""],
    };
    let fits =
        |text: &str| prefixes.iter().any(|prefix| text.starts_with(prefix)) && !text.contains(char::is_whitespace);
    if !fits(text) {
        let hint = match text.contains([' ', ';']) {
            true => "write a comma between two names".to_owned(),
            false => {
                let lower = Some(text.to_lowercase()).filter(|lower| fits(lower));
                at.write(lower, &format!("names begin with {} here", prefixes.join(" or ")))
            }
        };
        at.wrong(format_args!("has {}, which is not the name of an initiator", quote(text)), hint);
    }
}
