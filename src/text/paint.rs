//! Colours and weights of text on a terminal.

use crate::model::Verb;

/// Whether and how text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paint {
    /// Whether escape sequences may be written.
    pub colour: bool,
}

impl Paint {
    /// No colour.
    pub const PLAIN: Paint = Paint { colour: false };

    /// Surrounds `text` with a Select Graphic Rendition code (ECMA-48) and a reset.
    pub fn with(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Headings and names.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Secondary text.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// Returns the glyph of a verb in its colour.
    pub fn glyph(self, verb: Verb) -> String {
        let code = match verb {
            Verb::Create => "32",
            Verb::Update => "33",
            Verb::Move | Verb::Adopt => "36",
            Verb::Remove => "31",
            Verb::Destroy => "1;31",
        };
        self.with(code, &verb.glyph().to_string())
    }
}
