//! What is wrong in a file that somebody wrote, for the person who wrote it: file, line, column, excerpt and hint.

use std::{fmt, ops::Range};

use crate::core::draft::Path;

/// How many problems are told at once; the rest is counted.
const MAX_TOLD: usize = 100;
/// How much of a line is shown, in characters.
const MAX_EXCERPT: usize = 120;

/// One finding and its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The field, as in `record[0].ttl`; empty when the text is no TOML there.
    pub path: Path,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line as written, cut.
    pub excerpt: String,
    /// How many characters to underline, at least 1.
    pub width: usize,
}

/// Everything that is wrong with one text; at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    told: Vec<Diagnostic>,
    untold: usize,
}

impl Diagnostic {
    /// A finding at `span` (bytes) of `text`.
    #[must_use]
    pub fn at(text: &str, span: Range<usize>, path: Path, message: String, hint: Option<String>) -> Self {
        let start = floor(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let end = floor(text, span.end.clamp(start, start.max(line_start + line.len())));
        Self {
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            path,
            message,
            hint,
            excerpt: line.chars().take(MAX_EXCERPT).collect(),
            width: text[start..end].chars().count().max(1),
        }
    }

    fn render(&self, f: &mut fmt::Formatter<'_>, file: &str, severity: &str) -> fmt::Result {
        let Self { line, column, message, .. } = self;
        writeln!(f, "{file}:{line}:{column}: {severity}: {message}")?;
        let gutter = line.to_string();
        let blank = " ".repeat(gutter.len());
        if *column <= MAX_EXCERPT && !self.excerpt.trim().is_empty() {
            // A tab stays a tab, so that the mark stands below what it marks.
            let indent: String =
                self.excerpt.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
            let shown: String =
                self.excerpt.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
            let marks = "^".repeat(self.width.min(MAX_EXCERPT + 1 - column));
            writeln!(f, "{gutter} | {shown}\n{blank} | {indent}{marks}")?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "{blank} = hint: {hint}"),
            None => Ok(()),
        }
    }

    /// The finding as a warning about `file`.
    #[must_use]
    pub fn as_warning<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| self.render(f, file, "warning"))
    }
}

impl Problems {
    /// The problems in the order of the text, and how many more there are; `None` when there are none.
    #[must_use]
    pub fn new(mut all: Vec<Diagnostic>, more: usize) -> Option<Self> {
        if all.is_empty() {
            return None;
        }
        all.sort_by_key(|problem| (problem.line, problem.column));
        let untold = all.len().saturating_sub(MAX_TOLD) + more;
        all.truncate(MAX_TOLD);
        Some(Self { file: "input".to_owned(), told: all, untold })
    }

    /// This problem alone.
    #[must_use]
    pub fn one(problem: Diagnostic) -> Self {
        Self { file: "input".to_owned(), told: vec![problem], untold: 0 }
    }

    /// The same, said of the file of that name.
    #[must_use]
    pub fn in_file(self, file: impl Into<String>) -> Self {
        Self { file: file.into(), ..self }
    }

    /// In the order of the text, at most 100.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.told.iter()
    }

    /// How many there are, also those that are not told.
    #[must_use]
    pub fn count(&self) -> usize {
        self.told.len() + self.untold
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.told {
            problem.render(f, &self.file, "error")?;
        }
        let count = self.count();
        write!(f, "{}: {count} {}", self.file, if count == 1 { "error" } else { "errors" })?;
        if self.untold > 0 { write!(f, ", the first {MAX_TOLD} shown") } else { Ok(()) }
    }
}

/// The last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}
