//! The little of EDN that a history needs.

use std::fmt;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edn {
    Nil,
    Bool(bool),
    Int(u64),
    Text(String),
    /// `:word`
    Key(String),
    Vector(Vec<Edn>),
    /// In the order given.
    Map(Vec<(Edn, Edn)>),
}

/// A keyword. Blanks and underscores have no place in one.
pub fn key(word: &str) -> Edn {
    Edn::Key(word.replace(['_', ' '], "-"))
}

/// A map with keywords for keys.
pub fn map<const N: usize>(entries: [(&str, Edn); N]) -> Edn {
    Edn::Map(entries.into_iter().map(|(name, value)| (key(name), value)).collect())
}

/// A vector.
pub fn vector<T: Into<Edn>>(items: impl IntoIterator<Item = T>) -> Edn {
    Edn::Vector(items.into_iter().map(Into::into).collect())
}

impl From<u64> for Edn {
    fn from(number: u64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Edn {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<&str> for Edn {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Edn {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Edn>> From<Option<T>> for Edn {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nil, Into::into)
    }
}

impl fmt::Display for Edn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Int(number) => write!(f, "{number}"),
            // Rust's escapes are not all EDN's.
            Self::Text(text) => {
                let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                write!(f, "\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
            }
            Self::Key(word) => write!(f, ":{word}"),
            Self::Vector(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { " " })?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (i, (name, value)) in entries.iter().enumerate() {
                    write!(f, "{}{name} {value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

#[test]
fn what_is_written_is_edn() {
    let value = map([
        ("dead_for", vector([1_u64, 2])),
        ("why", "a \"quoted\" \\ line\nand more".into()),
        ("from", Edn::from(None::<u64>)),
        ("type", key("ok")),
    ]);
    let text = r#"{:dead-for [1 2], :why "a \"quoted\" \\ line and more", :from nil, :type :ok}"#;
    assert_eq!(value.to_string(), text);
}
