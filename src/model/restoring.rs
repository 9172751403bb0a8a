//! The tag of a restore that was begun.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Size, Uid};

/// A restore that was begun and is not known to be complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restoring {
    /// The request from the manifest.
    pub request: String,
    /// The snapshot. `None`: not known, because an earlier version stored only the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Uid>,
    /// The size of the volume before, which it gets again with the last change: on some backends a restore changes it first to that of
    /// the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

impl fmt::Display for Restoring {
    /// `request monday`, for a sentence about a restore.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}", self.request)
    }
}

impl<'de> Deserialize<'de> for Restoring {
    /// Reads also the request alone, as an earlier version stored it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            request: String,
            #[serde(default)]
            snapshot: Option<Uid>,
            #[serde(default)]
            size: Option<Size>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Restoring;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a request and a snapshot")
            }
            fn visit_str<E: de::Error>(self, request: &str) -> Result<Restoring, E> {
                Ok(Restoring { request: request.to_owned(), snapshot: None, size: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Restoring, A::Error> {
                let Whole { request, snapshot, size } = Whole::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Restoring { request, snapshot, size })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::volume;

    #[test]
    fn a_request_alone_is_read_as_one_of_an_unknown_snapshot() {
        let read = |text: &str| serde_json::from_str::<Restoring>(text);
        let uid = volume("db").uid;
        let whole = Restoring { request: "monday".to_owned(), snapshot: Some(uid), size: Some(Size(4096)) };
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(text, format!(r#"{{"request":"monday","snapshot":"{uid}","size":4096}}"#));
        assert_eq!(read(&text).unwrap(), whole);
        assert_eq!(read(r#""monday""#).unwrap(), Restoring { snapshot: None, size: None, ..whole });
        assert!(read(r#"{"request":"monday","more":1}"#).is_err());
        assert!(read("1").is_err());
    }
}
