//! Reads TOML tables without stopping at the first mistake.
//!
//! Each wrong type, unknown key and unreadable value becomes a problem at its place, and reading goes on; whoever reads a
//! table asks for every key that it may hold, and what nobody asked for is refused. A key that could not be read is
//! remembered, so that it is not called missing as well.

mod table;
mod value;

use std::{cell::RefCell, ops::Range};

pub use table::Table;
pub use value::Value;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    core::draft::{Path, Problem, Segment, Warning},
    diagnostic::{Diagnostic, Problems},
};

/// The longest text that is read, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// How many problems are kept with their places, so that a flood of them costs little.
const MAX_KEPT: usize = 1_000;

/// A parsed text and what was found in it so far.
#[derive(Debug)]
pub struct Document<'t> {
    text: &'t str,
    /// The table whose lines are never shown, for somebody might have put a secret there.
    private: Option<&'static str>,
    root: Spanned<DeTable<'t>>,
    found: RefCell<Found>,
}

#[derive(Debug, Default)]
struct Found {
    problems: Vec<Diagnostic>,
    /// How many more there are, beyond [`MAX_KEPT`].
    more: usize,
    /// Fields that were written and could not be read: nothing further is said of them.
    unread: Vec<Path>,
}

impl<'t> Document<'t> {
    /// Parses the text. No excerpt is ever shown of what stands in the table `private`.
    ///
    /// # Errors
    /// It is not TOML, or too long.
    pub fn parse(text: &'t str, private: Option<&'static str>) -> Result<Self, Problems> {
        let empty = Spanned::new(0..0, DeTable::new());
        let mut document = Self { text, private, root: empty, found: RefCell::default() };
        if text.len() > MAX_BYTES {
            let message = format!("the text is longer than {MAX_BYTES} bytes");
            return Err(Problems::one(document.diagnostic(0..0, Path::default(), message, None)));
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let message = error.message().replace('\n', "; ");
            document.problem(Path::default(), error.span().unwrap_or(0..0), message, None);
        }
        document.root = root;
        let clean = document.found.borrow().problems.is_empty();
        if clean { Ok(document) } else { document.finish(None) }
    }

    /// Reads the whole with `read` and refuses the keys that it did not ask for.
    pub fn read<T>(&self, read: impl FnOnce(&Table<'_, 't>) -> T) -> T {
        Table::read(self, self.root.get_ref(), Path::default(), read)
    }

    /// What validation made of it. Its problems are added, except those that only follow from a field that could not be read.
    pub fn validated<T>(&self, result: Result<T, Vec<Problem>>) -> Option<T> {
        let unread = self.found.borrow().unread.clone();
        let touched = |path: &Path| unread.iter().any(|unread| path.is_within(unread) || unread.is_within(path));
        for Problem { path, message, hint, because } in result.as_ref().err().into_iter().flatten().cloned() {
            if !unread.iter().any(|unread| path.is_within(unread)) && !because.iter().any(touched) {
                let span = self.locate(&path);
                self.problem(path, span, message, hint);
            }
        }
        result.ok()
    }

    /// The value, unless something was refused.
    ///
    /// # Errors
    /// Everything that was refused.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        let text = self.text;
        let found = self.found.into_inner();
        match (value, Problems::new(found.problems, found.more)) {
            (Some(value), None) => Ok(value),
            (_, Some(problems)) => Err(problems),
            (None, None) => {
                let message = "this is not complete".to_owned();
                Err(Problems::one(Diagnostic::at(text, 0..0, Path::default(), message, None)))
            }
        }
    }

    /// A warning at its place in the text.
    pub fn place(&self, warning: Warning) -> Diagnostic {
        let span = self.locate(&warning.path);
        self.diagnostic(span, warning.path, warning.message, None)
    }

    /// Where the field stands; where it is missing, the innermost table that ought to have it.
    fn locate(&self, path: &Path) -> Range<usize> {
        let mut span = 0..0;
        let mut table = Some(self.root.get_ref());
        let mut value: Option<&Spanned<DeValue<'_>>> = None;
        for segment in &path.0 {
            let next = match segment {
                Segment::Key(key) => table.and_then(|table| table.get(key.as_str())),
                // A single table may stand for a list of one.
                Segment::Index(0) if table.is_some() && value.is_some() => value,
                Segment::Index(index) => value.and_then(|v| v.get_ref().as_array()).and_then(|a| a.get(*index)),
            };
            let Some(next) = next else { break };
            span = next.span();
            table = next.get_ref().as_table();
            value = Some(next);
        }
        span
    }

    fn problem(&self, path: Path, span: Range<usize>, message: String, hint: Option<String>) {
        if self.found.borrow().problems.len() >= MAX_KEPT {
            self.found.borrow_mut().more += 1;
            return;
        }
        let diagnostic = self.diagnostic(span, path, message, hint);
        self.found.borrow_mut().problems.push(diagnostic);
    }

    /// Nothing further is said of this field.
    fn unread(&self, path: Path) {
        let mut found = self.found.borrow_mut();
        if found.more == 0 {
            found.unread.push(path);
        }
    }

    fn diagnostic(&self, span: Range<usize>, path: Path, message: String, hint: Option<String>) -> Diagnostic {
        // Without a path the text is no TOML, and nobody knows in which table the line stands.
        let hidden = self.private.is_some_and(|private| match path.0.first() {
            None => true,
            Some(first) => *first == Segment::Key(private.to_owned()),
        });
        let diagnostic = Diagnostic::at(self.text, span, path, message, hint);
        if hidden { Diagnostic { excerpt: String::new(), ..diagnostic } } else { diagnostic }
    }
}

/// The beginning of a text, for messages.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
