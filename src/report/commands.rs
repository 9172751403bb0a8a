//! Completes the commands that texts name, so that each means the same when it is pasted.
//!
//! The planner and the engine write `kiln apply` or `kiln forget volume/db` between backticks and know neither SPECS nor the store.
//! Whatever prints such a text completes it here, from the options of the command that runs.

use crate::model::{Kind, Name, ObjectId};
use crate::text::quoted;

/// The options that a printed command needs besides its own words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commands {
    /// SPECS as typed; none if it is the default.
    pub specs: Option<String>,
    /// The saved plan that `apply` was given instead of SPECS.
    pub plan: Option<String>,
    /// `--state`; none if it is the default.
    pub state: Option<String>,
    /// `--config`, if given.
    pub config: Option<String>,
    /// Whether the manifests were read with `--prune`.
    pub prune: bool,
    /// The objects that `apply` was limited to.
    pub only: Vec<ObjectId>,
    /// Whether the run executes a part of the set that waits: what waits after it has another digest.
    pub digest_changes: bool,
}

/// What is true of a command that approves a part of a set.
const OF_PART: &str = "approves only these objects, and what must go before them";

/// Returns a text in which the planner says what a command approves, as it is true of a command that is limited to some objects.
fn of_part(text: &str) -> Option<String> {
    let (before, rest) = text.split_once("approves all ")?;
    let (_, after) = rest.split_once(" steps that wait")?;
    Some(format!("{before}{OF_PART}{after}"))
}

/// Returns a text without the command at its end that approves the set that waits, whose digest changes.
fn without_digest(text: &str) -> Option<String> {
    let (before, _) = text.split_once("`kiln approve ")?;
    Some(format!("{before}`kiln plan` shows what approves it after this run"))
}

/// How a command takes SPECS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// As its first argument.
    Argument,
    /// As `--specs`.
    Option,
}

/// Returns how a command takes SPECS; none if it takes neither SPECS nor the store.
pub fn takes(command: &str) -> Option<Takes> {
    match command {
        "check" | "plan" | "apply" | "watch" => Some(Takes::Argument),
        "get" | "describe" | "status" | "trash" | "approve" | "suspend" | "resume" | "forget" | "adopt" | "image"
        | "doctor" | "log" => Some(Takes::Option),
        _ => None,
    }
}

impl Commands {
    /// Completes each command between backticks in a text. Completing a completed text changes nothing.
    pub fn complete(&self, text: &str) -> String {
        if !text.contains('`') {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let without_digest = self.digest_changes.then(|| without_digest(text)).flatten();
        let text = without_digest.as_deref().unwrap_or(text);
        let of_part = (!self.only.is_empty()).then(|| of_part(text)).flatten();
        let text = of_part.as_deref().unwrap_or(text);
        for (index, part) in text.split('`').enumerate() {
            if index > 0 {
                out.push('`');
            }
            match index % 2 == 1 && part.starts_with("kiln ") {
                true => out.push_str(&self.command(part)),
                false => out.push_str(part),
            }
        }
        out
    }

    /// Completes each command between backticks in a text about one object: an approval covers only this object.
    pub fn complete_for(&self, object: &ObjectId, text: &str) -> String {
        let is_approval = text.contains("--approve ") || text.contains("`kiln approve ");
        match is_approval && self.only.is_empty() {
            true => Self { only: vec![object.clone()], ..self.clone() }.complete(text),
            false => self.complete(text),
        }
    }

    /// Returns the command that approves a set, or of it what was selected.
    pub fn approve(&self, digest: &str) -> String {
        self.command(&format!("kiln approve {digest}"))
    }

    /// Whether only `apply` can approve: `approve` takes no saved plan, no manifests from a pipe, no `--prune`, and no objects.
    fn approves_with_apply(&self) -> bool {
        self.plan.is_some() || self.specs.as_deref() == Some("-") || self.prune || !self.only.is_empty()
    }

    /// Completes one command.
    pub fn command(&self, text: &str) -> String {
        if let Some(digest) = text.strip_prefix("kiln approve ").filter(|_| self.approves_with_apply())
            && !digest.contains(' ')
        {
            return self.command(&format!("kiln apply --approve {digest}"));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let Some(takes) = words.get(1).and_then(|command| takes(command)) else { return text.to_owned() };
        // Brackets occur in the synopsis of a command, not in a command; help needs nothing.
        if text.contains('[') || words.contains(&"--help") {
            return text.to_owned();
        }
        let command = words[1];
        let plan = self.plan.as_deref().filter(|_| command == "apply");
        let specs = plan.or(self.specs.as_deref()).map(quoted);
        let first = words.get(2).filter(|word| !is_option(word)).copied();
        let names_specs = first.is_some_and(|first| !is_object(first) || specs.as_deref() == Some(first));
        let (head, rest) = text.split_at(text.find(command).map_or(text.len(), |at| at + command.len()));
        let mut out = head.to_owned();
        if takes == Takes::Argument && !names_specs {
            out.extend(specs.iter().map(|specs| format!(" {specs}")));
            // A limited `apply` keeps its limits.
            if command == "apply" && first.is_none() {
                out.extend(self.only.iter().map(|object| format!(" {object}")));
            }
        }
        out.push_str(rest);
        let mut add = |option: &str, value: Option<&str>| {
            if !words.contains(&option) {
                out.push_str(&format!(" {option}"));
                out.extend(value.map(|value| format!(" {}", quoted(value))));
            }
        };
        if let Some(specs) = self.specs.as_ref().filter(|_| takes == Takes::Option) {
            add("--specs", Some(specs));
        }
        if self.prune && plan.is_none() && matches!(command, "plan" | "apply") {
            add("--prune", None);
        }
        if let Some(state) = self.state.as_ref().filter(|_| command != "check") {
            add("--state", Some(state));
        }
        if let Some(config) = self.config.as_ref() {
            add("--config", Some(config));
        }
        out
    }
}

fn is_option(word: &str) -> bool {
    word.starts_with('-') && word != "-"
}

/// Whether a word is `volume/db`.
fn is_object(word: &str) -> bool {
    let name_of = |(kind, name): (&str, &str)| Kind::parse_loosely(kind).and_then(|_| name.parse::<Name>().ok());
    word.split_once('/').and_then(name_of).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Commands {
        let text = |text: &str| Some(text.to_owned());
        Commands { specs: text("st"), state: text("X"), config: text("c d.toml"), ..Commands::default() }
    }

    #[test]
    fn a_command_gets_what_it_takes() {
        for (bare, complete) in [
            ("kiln apply", "kiln apply st --state X --config 'c d.toml'"),
            ("kiln apply --approve 12ab", "kiln apply st --approve 12ab --state X --config 'c d.toml'"),
            ("kiln apply volume/db", "kiln apply st volume/db --state X --config 'c d.toml'"),
            ("kiln apply plan.json", "kiln apply plan.json --state X --config 'c d.toml'"),
            ("kiln plan", "kiln plan st --state X --config 'c d.toml'"),
            ("kiln check", "kiln check st --config 'c d.toml'"),
            ("kiln forget volume/db", "kiln forget volume/db --specs st --state X --config 'c d.toml'"),
            ("kiln trash purge", "kiln trash purge --specs st --state X --config 'c d.toml'"),
            ("kiln log", "kiln log --specs st --state X --config 'c d.toml'"),
            ("kiln init", "kiln init"),
            ("kiln check --help", "kiln check --help"),
            ("kiln explain KIND", "kiln explain KIND"),
            ("kiln apply [SPECS|PLAN-FILE]", "kiln apply [SPECS|PLAN-FILE]"),
        ] {
            assert_eq!(all().command(bare), complete);
            assert_eq!(all().command(complete), complete, "a complete command stays");
            assert_eq!(Commands::default().command(bare), bare);
        }
    }

    #[test]
    fn pruning_and_chosen_objects_stay_with_plan_and_apply() {
        let pruned = Commands { specs: Some("-".to_owned()), prune: true, ..Commands::default() };
        assert_eq!(pruned.command("kiln apply --approve 12ab"), "kiln apply - --approve 12ab --prune");
        assert_eq!(pruned.command("kiln plan"), "kiln plan - --prune");
        assert_eq!(pruned.command("kiln get"), "kiln get --specs -");
        let chosen =
            Commands { only: vec![(Kind::Volume, "db".parse().unwrap()).into()], specs: Some("st".into()), ..pruned };
        assert_eq!(chosen.command("kiln apply --approve 1"), "kiln apply st volume/db --approve 1 --prune");
        let saved = Commands { plan: Some("p".into()), specs: Some("SPECS".into()), ..chosen.clone() };
        assert_eq!(saved.command("kiln apply --approve 1"), "kiln apply p volume/db --approve 1");
        assert_eq!(saved.command("kiln plan"), "kiln plan SPECS --prune");
        assert_eq!(chosen.command("kiln apply volume/b"), "kiln apply st volume/b --prune");
    }

    #[test]
    fn a_set_is_approved_by_a_command_that_finds_it_again() {
        assert_eq!(all().approve("12ab"), "kiln approve 12ab --specs st --state X --config 'c d.toml'");
        let text = |text: &str| Some(text.to_owned());
        let pipe = Commands { specs: text("-"), prune: true, ..Commands::default() };
        assert_eq!(pipe.approve("12ab"), "kiln apply - --approve 12ab --prune");
        let pruned = Commands { specs: text("a.yaml"), prune: true, ..Commands::default() };
        assert_eq!(pruned.approve("12ab"), "kiln apply a.yaml --approve 12ab --prune");
        let saved = Commands { plan: text("p"), specs: text("SPECS"), ..Commands::default() };
        assert_eq!(saved.approve("12ab"), "kiln apply p --approve 12ab");
    }

    #[test]
    fn the_fix_of_a_part_approves_no_more_than_the_part() {
        let db = ObjectId::from((Kind::Volume, "db".parse().unwrap()));
        let part = Commands { only: vec![db.clone()], ..Commands::default() };
        for (whole, of_part) in [
            (
                "restore specs; `kiln approve 1` approves it",
                "restore specs; `kiln apply volume/db --approve 1` approves it",
            ),
            ("run `kiln apply --approve 1`", "run `kiln apply volume/db --approve 1`"),
            (
                "`kiln approve 1` approves all 2 steps that wait",
                "`kiln apply volume/db --approve 1` approves only these objects, and what must go before them",
            ),
        ] {
            assert_eq!(part.complete(whole), of_part);
            assert_eq!(part.complete(of_part), of_part, "a complete command stays");
            assert_eq!(Commands::default().complete(whole), whole);
            assert_eq!(Commands::default().complete_for(&db, whole), of_part);
        }
        let other = "repair the backend, then run `kiln apply`";
        assert_eq!(Commands::default().complete_for(&db, other), other);
    }

    #[test]
    fn a_digest_that_changes_is_not_shown() {
        let running = Commands { digest_changes: true, specs: Some("st".to_owned()), ..Commands::default() };
        let after = "restore specs; `kiln plan st` shows what approves it after this run";
        assert_eq!(running.complete("restore specs; `kiln approve 1` approves all 2 steps that wait"), after);
        assert_eq!(running.complete(after), after, "a complete command stays");
        assert_eq!(running.complete("`kiln trash list`"), "`kiln trash list`".replace("list", "list --specs st"));
    }

    #[test]
    fn only_commands_between_backticks_change() {
        let text =
            "bring it back; or `kiln forget volume/db`, then `kiln apply`, and kiln apply goes on with `size: 1Gi`";
        let specs = Commands { specs: Some("st".to_owned()), ..Commands::default() };
        let complete = "bring it back; or `kiln forget volume/db --specs st`, then `kiln apply st`, and kiln apply goes on with \
                        `size: 1Gi`";
        assert_eq!(specs.complete(text), complete);
        assert_eq!(specs.complete(complete), complete);
    }
}
