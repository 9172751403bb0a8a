//! The tags of objects.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize, Serializer};

use super::{Identity, OnRemove, Provisioning, Restoring, Uid};

/// Metadata that a backend stores beside an object because its name does not contain it. A plain volume has no tags (`Tags::default()`),
/// and nothing is stored for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Tags {
    /// `metadata.labels`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Blocks every step that could lose data.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// What happens when its document is removed; `None` means Trash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_remove: Option<OnRemove>,
    /// Thick if it was created so, or its space was reserved later; `None` means thin or unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioning: Option<Provisioning>,
    /// It was released when its document was removed. It stays, and nothing is planned for it until it is declared again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retained: bool,
    /// In the trash: when it may be purged, in seconds since 1970 by the clock of the host. Ignored on a live object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Its identity, if it has a native name of its own. (Boxed, because it is rare and tags are many.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Box<Identity>>,
    /// It was adopted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The uid of the volume, for a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Uid>,
    /// The request of the last executed restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// The restore that was begun and is not complete, on backends where a restore takes several steps: the content is partly that of
    /// the snapshot, partly that from before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restoring: Option<Box<Restoring>>,
}

impl Tags {
    /// Returns what happens when the document is removed.
    pub fn on_remove(&self) -> OnRemove {
        self.on_remove.unwrap_or(OnRemove::Trash)
    }

    /// Whether there is nothing to store.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the tags without what means something only in the trash.
    #[must_use]
    pub fn lasting(&self) -> Self {
        Self { expires: None, ..self.clone() }
    }
}

static PLAIN: Tags = Tags {
    labels: BTreeMap::new(),
    protected: false,
    on_remove: None,
    provisioning: None,
    retained: false,
    expires: None,
    identity: None,
    adopted: false,
    volume: None,
    restored: None,
    restoring: None,
};

/// The tags of an object in memory. There may be 100,000 objects, and most are plain: their tags take no more than a pointer.
#[derive(Debug, Clone, Default, Eq, Deserialize)]
#[serde(from = "Tags")]
pub struct ObjectTags(Option<Box<Tags>>);

impl ObjectTags {
    /// Whether there is nothing to store.
    pub fn is_plain(&self) -> bool {
        Tags::is_plain(self)
    }
}

impl Deref for ObjectTags {
    type Target = Tags;
    fn deref(&self) -> &Tags {
        self.0.as_deref().unwrap_or(&PLAIN)
    }
}
impl DerefMut for ObjectTags {
    fn deref_mut(&mut self) -> &mut Tags {
        self.0.get_or_insert_default()
    }
}
impl From<Tags> for ObjectTags {
    fn from(tags: Tags) -> Self {
        Self((!tags.is_plain()).then(|| Box::new(tags)))
    }
}
impl From<ObjectTags> for Tags {
    fn from(tags: ObjectTags) -> Self {
        tags.0.map_or_else(Self::default, |tags| *tags)
    }
}
impl PartialEq for ObjectTags {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl PartialEq<Tags> for ObjectTags {
    fn eq(&self, other: &Tags) -> bool {
        **self == *other
    }
}
impl Serialize for ObjectTags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Tags::serialize(self, serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_tags_take_no_memory_and_are_equal_however_they_came_about() {
        assert_eq!(PLAIN, Tags::default());
        let mut tags = ObjectTags::from(Tags::default());
        assert!(tags.0.is_none());
        tags.protected = true;
        assert_eq!(tags, Tags { protected: true, ..Tags::default() });
        assert_ne!(tags, ObjectTags::default());
        tags.protected = false;
        assert_eq!(tags, ObjectTags::default());
        assert!(tags.is_plain());
        assert_eq!(serde_json::from_str::<ObjectTags>("{}").unwrap().0, None);
    }
}
