//! The objects that arguments name, in the forms that people type: `volume`, `volume/db`, `volume db web`, `db`, `volume/db-*`. Pure.

use std::fmt;

use crate::model::{Kind, Name, ObjectId};
use crate::text::{differ_in_number, distance};

/// Objects as arguments name them. Empty: no argument was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectSelection {
    patterns: Vec<ObjectPattern>,
}

/// The objects of a kind, or of any, whose name is this one, or matches it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ObjectPattern {
    /// None: of any kind.
    kind: Option<Kind>,
    name: NamePattern,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum NamePattern {
    Exact(Name),
    /// `*` stands for any characters, `?` for one.
    Glob(String),
}

/// `volume/db`, or `*/db` for any kind.
impl fmt::Display for ObjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.map_or("*", Kind::as_lower);
        match &self.name {
            NamePattern::Exact(name) => write!(f, "{kind}/{name}"),
            NamePattern::Glob(glob) => write!(f, "{kind}/{glob}"),
        }
    }
}

/// The selection as words that [`ObjectSelection::parse`] reads, separated by blanks.
impl fmt::Display for ObjectSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.patterns.iter().map(ToString::to_string).collect();
        f.pad(&words.join(" "))
    }
}

impl From<ObjectId> for ObjectSelection {
    fn from(ObjectId { kind, name }: ObjectId) -> Self {
        Self { patterns: vec![ObjectPattern { kind: Some(kind), name: NamePattern::Exact(name) }] }
    }
}

impl ObjectSelection {
    /// Parses arguments: kinds (`volume`, `volumes,snapshots`), then names of objects of these kinds; or `KIND/NAME`; or `NAME` for
    /// objects of any kind. A name may be a glob. An object whose name is the word of a kind is named as `KIND/NAME`.
    ///
    /// # Errors
    /// One sentence about the word that is none of these.
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, String> {
        let mut patterns = Vec::new();
        let mut kinds: Option<(&str, Vec<Kind>)> = None;
        for (index, word) in words.into_iter().enumerate() {
            match (word.split_once('/'), &kinds) {
                (Some((_, name)), Some((typed, _))) => {
                    return Err(format!("{typed} {word}: write either `{typed} {name}` or `{word}`"));
                }
                (Some((kind, name)), None) => {
                    let kind = if kind == "*" { None } else { Some(kind_named(kind)?) };
                    patterns.push(ObjectPattern { kind, name: name_pattern(name)? });
                }
                (None, Some((_, kinds))) => {
                    for kind in kinds {
                        patterns.push(ObjectPattern { kind: Some(*kind), name: name_pattern(word)? });
                    }
                }
                (None, None) if index == 0 && word.contains(',') => {
                    kinds = Some((word, word.split(',').map(kind_named).collect::<Result<_, _>>()?));
                }
                (None, None) => match Kind::parse_loosely(word).filter(|_| index == 0) {
                    Some(kind) => kinds = Some((word, vec![kind])),
                    None => patterns.push(ObjectPattern { kind: None, name: name_pattern(word)? }),
                },
            }
        }
        // Kinds without names: all objects of these kinds.
        if let Some((_, kinds)) = kinds.filter(|_| patterns.is_empty()) {
            let all = |kind| ObjectPattern { kind: Some(kind), name: NamePattern::Glob("*".to_owned()) };
            patterns = kinds.into_iter().map(all).collect();
        }
        Ok(Self { patterns })
    }

    /// Whether no argument was given.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether an object is named or matched.
    pub fn matches(&self, kind: Kind, name: &Name) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(kind, name))
    }

    /// The kinds that are named.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.patterns.iter().filter_map(|pattern| pattern.kind)
    }

    /// Whether objects of a kind can match.
    pub fn may_match(&self, kind: Kind) -> bool {
        self.patterns.iter().any(|pattern| pattern.kind.is_none_or(|only| only == kind))
    }

    /// Whether each pattern is the full name of an object, with or without its kind.
    pub fn is_exact(&self) -> bool {
        !self.is_empty() && self.patterns.iter().all(|pattern| matches!(pattern.name, NamePattern::Exact(_)))
    }

    /// Returns the objects that are named as `KIND/NAME`; None if any is named otherwise.
    pub fn ids(&self) -> Option<Vec<ObjectId>> {
        let id = |pattern: &ObjectPattern| match (pattern.kind, &pattern.name) {
            (Some(kind), NamePattern::Exact(name)) => Some(ObjectId::new(kind, name)),
            (None, _) | (_, NamePattern::Glob(_)) => None,
        };
        self.patterns.iter().map(id).collect()
    }

    /// Returns the named objects that are not known, one sentence each: a kind or a glob may match none. `unknown` says what that means:
    /// "the manifests do not declare it".
    pub fn unmatched<'n>(&self, known: impl Iterator<Item = (Kind, &'n Name)> + Clone, unknown: &str) -> Vec<String> {
        let missing = |pattern: &&ObjectPattern| {
            matches!(pattern.name, NamePattern::Exact(_))
                && !known.clone().any(|(kind, name)| pattern.matches(kind, name))
        };
        self.patterns.iter().filter(missing).map(|pattern| pattern.not_found(known.clone(), unknown)).collect()
    }

    /// Returns the known objects of a name, sorted, or else the one with the nearest name; none if no name is near.
    pub fn meant<'n>(name: &Name, known: impl Iterator<Item = (Kind, &'n Name)> + Clone) -> Vec<ObjectId> {
        let mut exact: Vec<ObjectId> =
            known.clone().filter(|(_, other)| *other == name).map(|(kind, name)| ObjectId::new(kind, name)).collect();
        exact.sort();
        exact.dedup();
        if exact.is_empty() {
            exact.extend(nearest(name, None, known).map(|(kind, name)| ObjectId::new(kind, name)));
        }
        exact
    }

    /// Returns what a name without a kind means to several objects of different kinds, in one sentence; None if each means one.
    pub fn ambiguous<'n>(&self, known: impl Iterator<Item = (Kind, &'n Name)> + Clone) -> Option<String> {
        self.patterns.iter().filter(|pattern| pattern.kind.is_none()).find_map(|pattern| {
            let NamePattern::Exact(name) = &pattern.name else { return None };
            let mut found: Vec<Kind> =
                known.clone().filter(|(_, other)| *other == name).map(|(kind, _)| kind).collect();
            found.sort_unstable();
            found.dedup();
            let found: Vec<String> = found.into_iter().map(|kind| format!("{}/{name}", kind.as_lower())).collect();
            (found.len() > 1).then(|| format!("{name} is the name of several objects: {}", found.join(", ")))
        })
    }
}

impl ObjectPattern {
    fn matches(&self, kind: Kind, name: &Name) -> bool {
        self.kind.is_none_or(|only| only == kind)
            && match &self.name {
                NamePattern::Exact(only) => only == name,
                NamePattern::Glob(glob) => is_match(glob.as_bytes(), name.as_str().as_bytes()),
            }
    }

    fn not_found<'n>(&self, known: impl Iterator<Item = (Kind, &'n Name)>, unknown: &str) -> String {
        let NamePattern::Exact(typed) = &self.name else { return format!("nothing matches {self}") };
        let near = nearest(typed, self.kind, known).map(|(kind, name)| format!("{}/{name}", kind.as_lower()));
        let near_kind = || match self.kind {
            Some(_) => None,
            None => kind_meant(typed.as_str()).map(|kind| kind.as_lower().to_owned()),
        };
        let what = self.kind.map_or("object", Kind::as_lower);
        let separator = if self.kind.is_some() { '/' } else { ' ' };
        // `kubectl get all`
        let all = (self.kind.is_none() && typed.as_str() == "all").then(|| "'*', which matches all objects".to_owned());
        match near.or_else(near_kind).or(all) {
            Some(near) => format!("there is no {what}{separator}{typed}; did you mean {near}?"),
            None => format!("there is no {what}{separator}{typed}: {unknown}"),
        }
    }
}

/// Returns the known object with the nearest name, of the same kind before others.
fn nearest<'n>(
    typed: &Name,
    only: Option<Kind>,
    known: impl Iterator<Item = (Kind, &'n Name)>,
) -> Option<(Kind, &'n Name)> {
    let known = known.filter(|(_, name)| !differ_in_number(typed.as_str(), name.as_str()));
    let near = known.filter_map(|(kind, name)| {
        let distance = distance(typed.as_str(), name.as_str())?;
        Some((distance, only.is_some_and(|only| only != kind), kind, name))
    });
    near.min().map(|(.., kind, name)| (kind, name))
}

/// Words of Kubernetes, LVM, Ceph and Cinder for what a kind declares.
const OTHER_WORDS: [(Kind, &[&str]); 4] = [
    (
        Kind::Volume,
        &[
            "vol",
            "vols",
            "pv",
            "pvs",
            "pvc",
            "pvcs",
            "persistentvolume",
            "persistentvolumes",
            "persistentvolumeclaim",
            "persistentvolumeclaims",
            "lv",
            "lvs",
            "disk",
            "disks",
        ],
    ),
    (Kind::Snapshot, &["snap", "snaps", "vs", "volumesnapshot", "volumesnapshots"]),
    (Kind::Backend, &["pool", "pools", "sc", "storageclass", "storageclasses"]),
    (Kind::Export, &["lun", "luns", "share", "shares"]),
];

/// Returns the kind that a word which is none probably means: a word of another tool, or a typing error.
pub fn kind_meant(word: &str) -> Option<Kind> {
    let word = word.to_ascii_lowercase();
    let other = OTHER_WORDS.iter().find(|(_, words)| words.contains(&word.as_str())).map(|(kind, _)| *kind);
    let near = || Kind::ALL.into_iter().filter_map(|kind| Some((distance(&word, kind.as_lower())?, kind))).min();
    other.or_else(|| near().map(|(_, kind)| kind))
}

fn name_pattern(text: &str) -> Result<NamePattern, String> {
    let is_glob = |c: char| c == '*' || c == '?';
    if !text.contains(is_glob) {
        return text.parse().map(NamePattern::Exact).map_err(|error| format!("the name {text:?} {error}"));
    }
    // Any glob that can match a name is a name once its wildcards are letters.
    match text.chars().find(|c| !is_glob(*c) && !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        None => Ok(NamePattern::Glob(text.to_owned())),
        Some(c) => Err(format!("the pattern {text:?} matches no name: {c:?} occurs in none")),
    }
}

/// Whether a glob matches a whole name. Takes at most the product of the lengths: of several `*`, only the last is tried again.
fn is_match(glob: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[from] => (at, from) = (at + 1, from + 1),
            _ => {
                let Some((star_at, matched)) = star else { return false };
                star = Some((star_at, matched + 1));
                (at, from) = (star_at + 1, matched + 1);
            }
        }
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}

/// Returns the kind of a word: `volume`, `Volumes`.
///
/// # Errors
/// One sentence, with the kind that was probably meant.
pub fn kind_named(text: &str) -> Result<Kind, String> {
    Kind::parse_loosely(text).ok_or_else(|| match kind_meant(text).map(Kind::as_lower) {
        Some(kind) => format!("unknown kind {text:?}; did you mean {kind:?}?"),
        None => format!("unknown kind {text:?}; the kinds are {}", Kind::ALL.map(Kind::as_lower).join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [(Kind, &str); 6] = [
        (Kind::Volume, "db"),
        (Kind::Volume, "db-copy"),
        (Kind::Volume, "postgres"),
        (Kind::Snapshot, "db-monday"),
        (Kind::Snapshot, "postgres"),
        (Kind::Backend, "fast"),
    ];

    fn parse(words: &str) -> Result<ObjectSelection, String> {
        ObjectSelection::parse(words.split_whitespace())
    }

    fn known() -> Vec<(Kind, Name)> {
        KNOWN.into_iter().map(|(kind, name)| (kind, name.parse().unwrap())).collect()
    }

    fn selected(words: &str) -> String {
        let selection = parse(words).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(parse(&selection.to_string()).as_ref(), Ok(&selection), "{selection} is read as it is written");
        let known = known();
        let matched = known.iter().filter(|(kind, name)| selection.matches(*kind, name));
        matched.map(|(kind, name)| format!("{}/{name}", kind.as_lower())).collect::<Vec<_>>().join(" ")
    }

    fn unmatched(words: &str) -> String {
        let known = known();
        parse(words).unwrap().unmatched(known.iter().map(|(kind, name)| (*kind, name)), "it is unknown").join("\n")
    }

    #[test]
    fn objects_are_named_as_people_type_them() {
        for (words, expected) in [
            ("volume", "volume/db volume/db-copy volume/postgres"),
            ("Volumes", "volume/db volume/db-copy volume/postgres"),
            ("snapshots,backends", "snapshot/db-monday snapshot/postgres backend/fast"),
            ("volume db", "volume/db"),
            ("volume db postgres", "volume/db volume/postgres"),
            ("volumes,snapshots postgres", "volume/postgres snapshot/postgres"),
            ("volume/db", "volume/db"),
            ("volume/db snapshots/postgres", "volume/db snapshot/postgres"),
            ("postgres", "volume/postgres snapshot/postgres"),
            ("fast db", "volume/db backend/fast"),
            ("volume/db-*", "volume/db-copy"),
            ("volume db*", "volume/db volume/db-copy"),
            ("db-*", "volume/db-copy snapshot/db-monday"),
            ("*/db-??n*y", "snapshot/db-monday"),
            ("volume/x*", ""),
            ("volume/*", "volume/db volume/db-copy volume/postgres"),
        ] {
            assert_eq!(selected(words), expected, "{words}");
        }
    }

    #[test]
    fn words_that_name_no_object_are_refused() {
        for (words, part) in [
            ("volume/", "must not be empty"),
            ("volume/Db", "not 'D'"),
            ("Postgres", "not 'P'"),
            ("volume/a/b", "not '/'"),
            ("volume/../x", "not '.'"),
            ("/db", "unknown kind \"\""),
            ("volumne/x", "did you mean \"volume\""),
            ("volumes,snapshosts", "did you mean \"snapshot\""),
            ("vol/x", "did you mean \"volume\""),
            ("PVC/x", "did you mean \"volume\""),
            ("pods/x", "the kinds are stack, backend, volume"),
            ("volume/Db-*", "'D' occurs in none"),
            ("volume volume/db", "write either `volume db` or `volume/db`"),
        ] {
            let error = parse(words).expect_err(words);
            assert!(error.contains(part), "{words}: {error}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_known_one() {
        for (words, expected) in [
            ("volume/db volume/*x", ""),
            ("volume/postgre", "there is no volume/postgre; did you mean volume/postgres?"),
            // The same kind comes first, and then the nearest.
            ("snapshot/postgrse", "there is no snapshot/postgrse; did you mean snapshot/postgres?"),
            ("volume/db-monday", "there is no volume/db-monday; did you mean snapshot/db-monday?"),
            ("fats", "there is no object fats; did you mean backend/fast?"),
            ("volumne", "there is no object volumne; did you mean volume?"),
            ("pvc", "there is no object pvc; did you mean volume?"),
            ("snaps", "there is no object snaps; did you mean snapshot?"),
            ("volume/pvc", "there is no volume/pvc: it is unknown"),
            ("volume/grafana", "there is no volume/grafana: it is unknown"),
            (
                "volume/a b",
                "there is no volume/a: it is unknown\n\
                            there is no object b: it is unknown",
            ),
        ] {
            assert_eq!(unmatched(words), expected, "{words}");
        }
    }

    #[test]
    fn a_name_of_two_kinds_is_ambiguous_without_its_kind() {
        let known = known();
        let ambiguous = |words| parse(words).unwrap().ambiguous(known.iter().map(|(kind, name)| (*kind, name)));
        let message = "postgres is the name of several objects: volume/postgres, snapshot/postgres";
        assert_eq!(ambiguous("db postgres").as_deref(), Some(message));
        for one in ["db", "volume/postgres", "volume postgres", "postgre*"] {
            assert_eq!(ambiguous(one), None, "{one}");
        }
    }

    #[test]
    fn a_name_means_every_object_of_that_name_or_else_the_nearest() {
        let known = known();
        let meant = |name: &str| {
            let meant = ObjectSelection::meant(&name.parse().unwrap(), known.iter().map(|(kind, name)| (*kind, name)));
            meant.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(meant("postgres"), "volume/postgres snapshot/postgres");
        assert_eq!(meant("db"), "volume/db");
        assert_eq!(meant("fats"), "backend/fast");
        assert_eq!(meant("grafana"), "");
    }

    #[test]
    fn only_full_names_are_exact() {
        assert!(parse("db").unwrap().is_exact() && parse("volume db web").unwrap().is_exact());
        assert!(!parse("").unwrap().is_exact() && !parse("volume").unwrap().is_exact());
        assert!(!parse("volume/db volume/*").unwrap().is_exact());
        let ids =
            |words| parse(words).unwrap().ids().map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(ids("volume db web"), Some(vec!["volume/db".to_owned(), "volume/web".to_owned()]));
        assert_eq!((ids("db"), ids("volume/d*")), (None, None));
    }

    #[test]
    fn globs_match_whole_names_in_little_time() {
        let is = |glob: &str, name: &str| is_match(glob.as_bytes(), name.as_bytes());
        assert!(
            is("*", "") && is("a*", "a") && is("*b", "aab") && is("a*b*c", "axbbxc") && is("?", "a") && is("**", "x")
        );
        assert!(!is("a*", "ba") && !is("?", "") && !is("?", "ab") && !is("a*b", "abc") && !is("", "a"));
        assert!(!is(&"*a".repeat(1000), &"b".repeat(63)));
        assert!(!is(&format!("{}c", "*a".repeat(31)), &"a".repeat(63)));
    }
}
