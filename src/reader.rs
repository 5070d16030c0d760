//! Reads TOML tables without stopping at the first mistake.
//!
//! Each wrong type, unknown key and unreadable value becomes a problem at its place, and reading goes on; whoever reads a
//! table asks for every key that it may hold, and what nobody asked for is refused. A key that could not be read is
//! remembered, so that it is not called missing as well.

use std::{
    cell::{Cell, RefCell},
    fmt,
    ops::Range,
    time::Duration,
};

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
    /// Fields that were written and could not be read: nothing further is said of them.
    unread: Vec<Path>,
}

/// One of these keys must be there, or else the message is told.
#[derive(Debug)]
struct Needed {
    keys: Vec<&'static str>,
    message: String,
    hint: Option<String>,
}

/// One table, being read.
#[derive(Debug)]
pub struct Table<'d, 't> {
    document: &'d Document<'t>,
    entries: &'d DeTable<'t>,
    path: Path,
    /// What the reader asked for so far: the keys that there are.
    known: RefCell<Vec<&'static str>>,
    /// The keys of which one must be there.
    needed: RefCell<Vec<Needed>>,
    /// Whether the keys are data, and any is right.
    open: Cell<bool>,
}

/// One value, being read.
#[derive(Debug, Clone)]
pub struct Value<'d, 't> {
    document: &'d Document<'t>,
    written: &'d Spanned<DeValue<'t>>,
    path: Path,
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
        self.table(self.root.get_ref(), Path::default(), read)
    }

    fn table<'d, T>(&'d self, table: &'d DeTable<'t>, path: Path, read: impl FnOnce(&Table<'d, 't>) -> T) -> T {
        let table = Table {
            document: self,
            entries: table,
            path,
            known: RefCell::default(),
            needed: RefCell::default(),
            open: Cell::new(false),
        };
        let value = read(&table);
        table.refuse_unknown();
        table.refuse_missing();
        value
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
        let found = self.found.into_inner().problems;
        match (value, Problems::new(found)) {
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
        let diagnostic = self.diagnostic(span, path, message, hint);
        self.found.borrow_mut().problems.push(diagnostic);
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

impl<'d, 't> Table<'d, 't> {
    /// The value of `key`, if it was written.
    pub fn get(&self, key: &'static str) -> Option<Value<'d, 't>> {
        self.known.borrow_mut().push(key);
        let value = self.entries.get(key)?;
        Some(Value { document: self.document, written: value, path: self.path.key(key) })
    }

    /// The value of `key`, which must be there.
    pub fn need(&self, key: &'static str) -> Option<Value<'d, 't>> {
        self.need_one_of(&[key], format!("`{key}` is missing"), None);
        self.get(key)
    }

    /// One of these keys must be there.
    pub fn need_one_of(&self, keys: &[&'static str], message: impl Into<String>, hint: Option<&str>) {
        let needed = Needed { keys: keys.to_vec(), message: message.into(), hint: hint.map(str::to_owned) };
        self.needed.borrow_mut().push(needed);
    }

    /// Nobody knows which further keys belong here.
    pub fn ignore_rest(&self) {
        self.open.set(true);
    }

    /// Where this table stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Option<String> {
        self.get(key)?.text()
    }

    /// A whole number.
    pub fn integer(&self, key: &'static str) -> Option<i64> {
        self.get(key)?.integer()
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        self.get(key)?.boolean()
    }

    /// A duration such as `"1m 30s"`.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        self.get(key)?.duration()
    }

    /// A list of texts. One that is no text is refused and stands there empty, so that the others keep their places.
    pub fn texts(&self, key: &'static str) -> Vec<String> {
        self.get(key).map(|value| value.texts()).unwrap_or_default()
    }

    /// A table.
    pub fn table<T>(&self, key: &'static str, read: impl FnOnce(&Table<'d, 't>) -> T) -> Option<T> {
        self.get(key)?.table(read)
    }

    /// A list of tables, `[[key]]`; one table is a list of one. One that is no table is refused and read as empty.
    pub fn tables<T: Default>(&self, key: &'static str, read: impl Fn(&Table<'d, 't>) -> T) -> Vec<T> {
        let Some(value) = self.get(key) else { return Vec::new() };
        if value.written.get_ref().is_table() {
            let only = Value { path: value.path.index(0), ..value };
            return only.table(read).into_iter().collect();
        }
        let items = value.items("a table, or a list of tables");
        items.into_iter().map(|item| item.table(&read).unwrap_or_default()).collect()
    }

    /// All keys, for a table whose keys are data.
    pub fn entries(&self) -> Vec<(String, Value<'d, 't>)> {
        self.open.set(true);
        let entry = |(key, value): (&Spanned<_>, &'d Spanned<DeValue<'t>>)| {
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            let path = self.path.key(key);
            (key.clone().into_owned(), Value { document: self.document, written: value, path })
        };
        self.entries.iter().map(entry).collect()
    }

    /// Refuses this table as a whole.
    pub fn refuse(&self, message: impl Into<String>, hint: Option<&str>) {
        let span = self.document.locate(&self.path);
        self.document.problem(self.path.clone(), span, message.into(), hint.map(str::to_owned));
    }

    /// Runs after [`Self::refuse_unknown`]: a misspelt key is not missing as well.
    fn refuse_missing(&self) {
        for Needed { keys, message, hint } in self.needed.take() {
            let path = self.path.key(keys[0]);
            let misspelt = |key: &&str| self.document.found.borrow().unread.contains(&self.path.key(key));
            if !keys.iter().any(|key| self.entries.contains_key(*key) || misspelt(key)) {
                let span = self.document.locate(&path);
                self.document.problem(path, span, message, hint);
            }
        }
    }

    fn refuse_unknown(&self) {
        if self.open.get() {
            return;
        }
        let known = self.known.borrow();
        for (key, _) in self.entries.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let text = key.get_ref().as_ref();
            let meant = known
                .iter()
                .filter(|candidate| !self.entries.contains_key(**candidate))
                .map(|candidate| (strsim::damerau_levenshtein(text, candidate), *candidate))
                .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
                .min();
            let hint = if let Some((_, candidate)) = meant {
                self.document.found.borrow_mut().unread.push(self.path.key(candidate));
                format!("did you mean `{candidate}`?")
            } else {
                let mut keys = known.clone();
                keys.sort_unstable();
                format!("the keys here are {}", keys.join(", "))
            };
            let path = self.path.key(text);
            self.document.found.borrow_mut().unread.push(path.clone());
            self.document.problem(path, key.span(), format!("unknown key `{}`", cut(text)), Some(hint));
        }
    }
}

impl<'d, 't> Value<'d, 't> {
    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses the value; nothing further is said of it.
    pub fn refuse(&self, message: impl Into<String>, hint: Option<&str>) {
        self.document.found.borrow_mut().unread.push(self.path.clone());
        self.document.problem(self.path.clone(), self.written.span(), message.into(), hint.map(str::to_owned));
    }

    fn wrong_type(&self, wanted: &str, hint: Option<&str>) {
        self.refuse(format!("{} is not {wanted}", kind(self.written.get_ref())), hint);
    }

    /// The TOML value itself.
    pub fn raw(&self) -> &'d DeValue<'t> {
        self.written.get_ref()
    }

    /// A text.
    pub fn text(&self) -> Option<String> {
        let text = self.raw().as_str();
        if text.is_none() {
            self.wrong_type("a text", Some("put it in quotes"));
        }
        text.map(str::to_owned)
    }

    /// A whole number.
    pub fn integer(&self) -> Option<i64> {
        let Some(integer) = self.raw().as_integer() else {
            self.wrong_type("a whole number", self.raw().is_str().then_some("leave the quotes out"));
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if number.is_none() {
            self.refuse("the number is too large", None);
        }
        number
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        let boolean = self.raw().as_bool();
        if boolean.is_none() {
            self.wrong_type("true or false", None);
        }
        boolean
    }

    /// A duration such as `"1m 30s"`.
    pub fn duration(&self) -> Option<Duration> {
        const HINT: Option<&str> = Some("write a number and a unit in quotes, such as \"500ms\", \"2s\" or \"10m\"");
        let Some(text) = self.raw().as_str() else {
            self.wrong_type("a duration", HINT);
            return None;
        };
        let duration = humantime::parse_duration(text).ok();
        if duration.is_none() {
            self.refuse(format!("`{}` is not a duration", cut(text)), HINT);
        }
        duration
    }

    /// A duration between `low` and `high`, both included.
    pub fn duration_within(&self, low: Duration, high: Duration) -> Option<Duration> {
        let span = self.duration()?;
        if (low..=high).contains(&span) {
            return Some(span);
        }
        let [span, low, high] = [span, low, high].map(humantime::format_duration);
        self.refuse(format!("{span} is not between {low} and {high}"), None);
        None
    }

    /// The text read by `read`, which tells what is wrong with it.
    pub fn read<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text()?;
        read(&text).map_err(|message| self.refuse(message, None)).ok()
    }

    /// A list of texts, see [`Table::texts`].
    pub fn texts(&self) -> Vec<String> {
        self.items("a list of texts").iter().map(|item| item.text().unwrap_or_default()).collect()
    }

    /// The items of a list; refused and empty when this is none.
    pub fn items(&self, wanted: &str) -> Vec<Value<'d, 't>> {
        let Some(array) = self.raw().as_array() else {
            self.wrong_type(wanted, wanted.starts_with("a list").then_some("put it in brackets: [ … ]"));
            return Vec::new();
        };
        let item = |(i, value)| Value { document: self.document, written: value, path: self.path.index(i) };
        array.iter().enumerate().map(item).collect()
    }

    /// A table.
    pub fn table<T>(&self, read: impl FnOnce(&Table<'d, 't>) -> T) -> Option<T> {
        let Some(table) = self.raw().as_table() else {
            self.wrong_type("a table", None);
            return None;
        };
        Some(self.document.table(table, self.path.clone(), read))
    }

    /// The text read as a `T`.
    pub fn parse<T: std::str::FromStr<Err: fmt::Display>>(&self) -> Option<T> {
        let text = self.text()?;
        text.parse().map_err(|error: T::Err| self.refuse(error.to_string(), None)).ok()
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
