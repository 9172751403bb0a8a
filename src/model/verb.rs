//! What a step does to its object, in one word.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The six verbs of plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// `+`: create.
    Create,
    /// `~`: grow, restore, change tags or access.
    Update,
    /// `>`: rename or move.
    Move,
    /// `=`: adopt, or restore from the trash.
    Adopt,
    /// `-`: move to the trash, or release.
    Remove,
    /// `!`: destroy; cannot be undone.
    Destroy,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Create, Self::Update, Self::Move, Self::Adopt, Self::Remove, Self::Destroy];

    /// Returns the verb as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Move => "move",
            Verb::Adopt => "adopt",
            Verb::Remove => "remove",
            Verb::Destroy => "destroy",
        }
    }

    /// Returns the glyph of plan listings.
    pub fn glyph(self) -> char {
        match self {
            Verb::Create => '+',
            Verb::Update => '~',
            Verb::Move => '>',
            Verb::Adopt => '=',
            Verb::Remove => '-',
            Verb::Destroy => '!',
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
