//! What is wrong with a draft, and where.

use std::{fmt, str::FromStr, time::Duration};

/// A field of a draft: `record[0].ttl`. The empty path is the draft as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<Segment>);

/// One step into a draft.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// Into a table.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

impl Path {
    /// The field `key` of this one.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    /// The item `index` of this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// Whether this is `outer` or lies within it.
    #[must_use]
    pub fn is_within(&self, outer: &Self) -> bool {
        self.0.starts_with(&outer.0)
    }

    fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare =
            |key: &str| !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-');
        for (i, segment) in self.0.iter().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if bare(key) => write!(f, "{dot}{key}")?,
                Segment::Key(key) => write!(f, "{dot}{key:?}")?,
            }
        }
        Ok(())
    }
}

/// Why a draft is refused: one reason of possibly many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Problem {
    /// The field; the one that ought to be there when it is missing.
    pub path: Path,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The other fields without which it would not be wrong. Where one of them could not be read, neither can this be said.
    pub because: Vec<Path>,
}

/// What is allowed but worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The field.
    pub path: Path,
    /// What it leads to.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Collects what validation finds.
#[derive(Debug, Default)]
pub(super) struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Findings {
    /// A problem to which `hint` and `because` can be added.
    pub(super) fn problem(&mut self, path: &Path, message: impl Into<String>) -> &mut Problem {
        self.problems.push(Problem { path: path.clone(), message: message.into(), hint: None, because: Vec::new() });
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    pub(super) fn warn(&mut self, path: &Path, message: impl Into<String>) {
        self.warnings.push(Warning { path: path.clone(), message: message.into() });
    }

    /// How many problems there are so far.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    /// The text that must be there.
    pub(super) fn written<'a>(&mut self, path: &Path, text: Option<&'a str>) -> Option<&'a str> {
        if text.is_none() {
            let field = match path.0.last() {
                Some(Segment::Key(key)) => key.as_str(),
                _ => "value",
            };
            let message = format!("`{field}` is missing");
            self.problem(path, message);
        }
        text
    }

    /// The text read as a `T`.
    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, path: &Path, text: &str) -> Option<T> {
        text.parse().map_err(|error: T::Err| self.problem(path, error.to_string())).ok()
    }

    /// The text that must be there, read as a `T`.
    pub(super) fn required<T: FromStr<Err: fmt::Display>>(&mut self, path: &Path, text: Option<&str>) -> Option<T> {
        let text = self.written(path, text)?;
        self.parsed(path, text)
    }

    /// A number between `low` and `high`, both included.
    pub(super) fn number<T>(&mut self, path: &Path, written: Option<i64>, default: T, low: T, high: T) -> T
    where
        T: Copy + PartialOrd + TryFrom<i64> + fmt::Display,
    {
        let Some(written) = written else { return default };
        match T::try_from(written) {
            Ok(number) if low <= number && number <= high => number,
            _ => {
                self.problem(path, format!("{written} is not between {low} and {high}"));
                default
            }
        }
    }

    /// A duration between `low` and `high`, both included.
    pub(super) fn span(
        &mut self,
        path: &Path,
        written: Option<Duration>,
        default: Duration,
        low: Duration,
        high: Duration,
    ) -> Duration {
        let span = written.unwrap_or(default);
        if (low..=high).contains(&span) {
            return span;
        }
        let message = format!("{} is not between {} and {}", Human(span), Human(low), Human(high));
        self.problem(path, message);
        default
    }

    /// What was built, unless there are problems.
    pub(super) fn into_result<T>(
        mut self,
        build: impl FnOnce() -> Option<T>,
    ) -> Result<(T, Vec<Warning>), Vec<Problem>> {
        match build() {
            Some(value) if self.problems.is_empty() => Ok((value, self.warnings)),
            _ => {
                if self.problems.is_empty() {
                    // Only a rule that drops a part without saying why leads here: refuse rather than accept the rest.
                    self.problem(&Path::default(), "this is not a complete service");
                }
                Err(self.problems)
            }
        }
    }
}

/// A duration as people write it: `1m 30s`, `500ms`.
pub(super) struct Human(pub(super) Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
        let mut rest = self.0.as_secs();
        let mut parts = Vec::new();
        for (unit, name) in UNITS {
            if rest / unit > 0 {
                parts.push(format!("{}{name}", rest / unit));
                rest %= unit;
            }
        }
        match self.0.subsec_nanos() {
            0 => {}
            nanos if nanos % 1_000_000 == 0 => parts.push(format!("{}ms", nanos / 1_000_000)),
            nanos => parts.push(format!("{nanos}ns")),
        }
        if parts.is_empty() {
            parts.push("0s".to_owned());
        }
        f.write_str(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_in_the_file() {
        let path = Path::default().key("region").index(1).key("probe").index(0).key("json").key("/a b");
        assert_eq!(path.to_string(), "region[1].probe[0].json.\"/a b\"");
        assert!(path.is_within(&Path::default().key("region").index(1)));
        assert!(!path.is_within(&Path::default().key("region").index(0)));
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (millis, text) in [(0, "0s"), (1, "1ms"), (1_500, "1s 500ms"), (90_000, "1m 30s"), (90_000_000, "1d 1h")] {
            assert_eq!(Human(Duration::from_millis(millis)).to_string(), text);
        }
        assert_eq!(Human(Duration::from_nanos(1_000_000_001)).to_string(), "1s 1ns");
    }
}
