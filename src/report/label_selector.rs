//! Label selectors, with the grammar and the meaning of kubectl's `-l`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;

/// Requirements on labels, all of which an object must meet. None select every object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// As typed.
    text: String,
    requirements: Vec<Requirement>,
}

/// A requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    /// `key`
    Exists(String),
    /// `!key`
    Missing(String),
    /// `key=value`, `key==value`, `key in (…)`
    In(String, BTreeSet<String>),
    /// `key!=value`, `key notin (…)`: also met by an object without the key.
    NotIn(String, BTreeSet<String>),
}

impl LabelSelector {
    /// Parses `key`, `!key`, `key=value`, `key==value`, `key!=value`, `key in (a,b)` and `key notin (a,b)`, separated by commas. Keys and
    /// values with other characters than those of Kubernetes (blanks, commas) can be written between double quotes.
    ///
    /// # Errors
    /// What is wrong, in one sentence, then the text with a caret below the place.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut words = Words { text, chars: text.char_indices().peekable() };
        let mut requirements = Vec::new();
        loop {
            requirements.push(words.requirement()?);
            match words.next()? {
                (_, Token::End) => return Ok(Self { text: text.to_owned(), requirements }),
                (_, Token::Comma) => {}
                (at, _) => return Err(words.error(at, "requirements are separated by commas: `a=b,c!=d`")),
            }
        }
    }

    /// Adds the requirements of another selector.
    pub fn and(&mut self, other: Self) {
        if !self.is_empty() && !other.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(&other.text);
        self.requirements.extend(other.requirements);
    }

    /// Whether there is no requirement.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether labels meet all requirements.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
        })
    }
}

/// The selector as text that [`LabelSelector::parse`] reads.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Not,
    Equals,
    NotEquals,
    Comma,
    Open,
    Close,
    /// `<` or `>`
    Order,
    End,
}

struct Words<'t> {
    text: &'t str,
    chars: Peekable<CharIndices<'t>>,
}

impl Words<'_> {
    fn requirement(&mut self) -> Result<Requirement, String> {
        let (at, token) = self.next()?;
        let key = match token {
            Token::Not => return Ok(Requirement::Missing(self.key()?)),
            Token::Word(key) if !key.is_empty() => key,
            _ => return Err(self.error(at, "a label's key is missing here")),
        };
        let operator = self.chars.clone();
        match self.next()? {
            (_, Token::Equals) => Ok(Requirement::In(key, BTreeSet::from([self.value()?]))),
            (_, Token::NotEquals) => Ok(Requirement::NotIn(key, BTreeSet::from([self.value()?]))),
            (_, Token::Word(word)) if word == "in" => Ok(Requirement::In(key, self.values()?)),
            (_, Token::Word(word)) if word == "notin" => Ok(Requirement::NotIn(key, self.values()?)),
            (_, Token::Comma | Token::End) => {
                self.chars = operator;
                Ok(Requirement::Exists(key))
            }
            (at, Token::Order) => Err(self.error(at, "labels are not ordered: use =, !=, in or notin")),
            (at, _) => Err(self.error(at, "a key is followed by =, !=, in, notin or a comma")),
        }
    }

    fn key(&mut self) -> Result<String, String> {
        match self.next()? {
            (_, Token::Word(key)) if !key.is_empty() => Ok(key),
            (at, _) => Err(self.error(at, "a label's key is missing here")),
        }
    }

    /// A value after `=`: it may be empty.
    fn value(&mut self) -> Result<String, String> {
        let before = self.chars.clone();
        match self.next()? {
            (_, Token::Word(value)) => Ok(value),
            (_, Token::Comma | Token::End) => {
                self.chars = before;
                Ok(String::new())
            }
            (at, _) => Err(self.error(at, "a value is missing here")),
        }
    }

    /// The values of `in` and `notin`: each may be empty.
    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        match self.next()? {
            (_, Token::Open) => {}
            (at, _) => return Err(self.error(at, "in and notin are followed by values in parentheses: `key in (a,b)`")),
        }
        let mut values = BTreeSet::new();
        let mut value = None;
        loop {
            match self.next()? {
                (_, Token::Word(word)) if value.is_none() => value = Some(word),
                (_, Token::Comma) => drop(values.insert(value.take().unwrap_or_default())),
                (at, Token::Close) if values.is_empty() && value.is_none() => {
                    return Err(self.error(at, "the parentheses contain no value"));
                }
                (_, Token::Close) => {
                    values.insert(value.unwrap_or_default());
                    return Ok(values);
                }
                (at, Token::Word(_)) => return Err(self.error(at, "values are separated by commas")),
                (at, _) => return Err(self.error(at, "the parenthesis is not closed here")),
            }
        }
    }

    /// Returns the next token and its place in bytes.
    fn next(&mut self) -> Result<(usize, Token), String> {
        while self.chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        let Some((at, first)) = self.chars.next() else { return Ok((self.text.len(), Token::End)) };
        let token = match first {
            ',' => Token::Comma,
            '(' => Token::Open,
            ')' => Token::Close,
            '<' | '>' => Token::Order,
            '!' if self.chars.next_if(|(_, c)| *c == '=').is_some() => Token::NotEquals,
            '!' => Token::Not,
            '=' => {
                self.chars.next_if(|(_, c)| *c == '=');
                Token::Equals
            }
            '"' => {
                let mut word = String::new();
                loop {
                    match self.chars.next() {
                        Some((_, '"')) => break Token::Word(word),
                        Some((_, c)) => word.push(c),
                        None => return Err(self.error(at, "this quote is not closed")),
                    }
                }
            }
            first => {
                let mut word = String::from(first);
                let is_inside = |(_, c): &(usize, char)| !c.is_whitespace() && !"=!(),<>".contains(*c);
                while let Some((_, c)) = self.chars.next_if(is_inside) {
                    word.push(c);
                }
                if let Some(star) = word.find('*') {
                    let message = "labels are not compared with patterns: name each value, as in `key in (a,b)`, \
                                   or put a value that contains `*` in double quotes";
                    return Err(self.error(at + star, message));
                }
                Token::Word(word)
            }
        };
        Ok((at, token))
    }

    /// Returns a sentence and the text with a caret below a place.
    fn error(&self, at: usize, message: &str) -> String {
        let before: String = self.text[..at].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        format!("{message}\n  {}\n  {before}^", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// The objects of the examples in Kubernetes' page on labels and selectors.
    fn selected(selector: &str) -> String {
        let objects = [
            ("a", labels(&[("environment", "production"), ("tier", "frontend")])),
            ("b", labels(&[("environment", "production"), ("tier", "backend")])),
            ("c", labels(&[("environment", "qa"), ("partition", "x")])),
            ("d", labels(&[("environment", ""), ("tier", "frontend")])),
            ("e", labels(&[])),
        ];
        let selector = LabelSelector::parse(selector).unwrap_or_else(|error| panic!("{error}"));
        objects.iter().filter(|(_, labels)| selector.matches(labels)).map(|(name, _)| *name).collect()
    }

    #[test]
    fn selectors_mean_what_they_mean_to_kubectl() {
        for (selector, expected) in [
            ("environment=production", "ab"),
            ("environment==production", "ab"),
            ("environment = production", "ab"),
            // Objects without the key match too.
            ("tier!=frontend", "bce"),
            ("environment=production,tier!=frontend", "b"),
            ("environment in (production, qa)", "abc"),
            ("environment in (production),tier in (frontend)", "a"),
            ("tier notin (frontend, backend)", "ce"),
            ("environment,environment notin (frontend)", "abcd"),
            ("partition", "c"),
            ("!partition", "abde"),
            ("! partition , tier", "abd"),
            ("partition,environment notin (qa)", ""),
            // Empty values.
            ("environment=", "d"),
            ("environment=,tier=frontend", "d"),
            ("environment in (,qa)", "cd"),
            ("environment in (production,)", "abd"),
            ("environment!=", "abce"),
            // Words that are operators elsewhere.
            ("in", ""),
            ("in in (in)", ""),
            ("environment=in", ""),
            ("\"environment\"=\"qa\"", "c"),
        ] {
            assert_eq!(selected(selector), expected, "{selector}");
        }
    }

    #[test]
    fn several_selectors_must_all_match() {
        let mut both = LabelSelector::parse("a=1").unwrap();
        both.and(LabelSelector::parse("b").unwrap());
        assert!(both.matches(&labels(&[("a", "1"), ("b", "")])));
        assert!(!both.matches(&labels(&[("a", "1")])));
        assert_eq!(LabelSelector::parse(&both.to_string()).unwrap(), both);
        let mut all = LabelSelector::parse(" ").unwrap();
        assert!(all.is_empty() && all.matches(&labels(&[])));
        all.and(both.clone());
        assert_eq!(all, both);
    }

    #[test]
    fn values_that_kubernetes_would_refuse_can_be_quoted() {
        let selector = LabelSelector::parse("note=\"a, b (c)\"").unwrap();
        assert!(selector.matches(&labels(&[("note", "a, b (c)")])));
        assert!(LabelSelector::parse("note=\"a*\"").unwrap().matches(&labels(&[("note", "a*")])));
        assert!(LabelSelector::parse("path=a/b.c_d-e").unwrap().matches(&labels(&[("path", "a/b.c_d-e")])));
    }

    #[test]
    fn errors_point_at_the_place() {
        for (selector, place) in [
            ("a=b,", 4),
            ("a in ()", 6),
            ("a=b,,c", 4),
            ("=b", 0),
            ("a=b c=d", 4),
            ("a b", 2),
            ("a in b", 5),
            ("a in (b c)", 8),
            ("a notin (b", 10),
            ("a in (b=c)", 7),
            ("a>5", 1),
            ("a=(b)", 2),
            ("a=!b", 2),
            ("!", 1),
            ("!a=b", 2),
            ("a=sh*", 4),
            ("a in (b,*)", 8),
            ("te*", 2),
            ("ä=\"b", 3),
        ] {
            let error = LabelSelector::parse(selector).expect_err(selector);
            let caret = error.lines().last().unwrap();
            assert_eq!(caret.chars().count() - 1, 2 + selector[..place].chars().count(), "{error}");
            assert!(caret.ends_with('^') && error.lines().nth(1) == Some(format!("  {selector}").as_str()), "{error}");
        }
    }
}
