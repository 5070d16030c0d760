//! One table: its keys are asked for one by one, and what nobody asked for is refused.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Document, Value, cut};
use crate::core::draft::Path;

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

impl<'d, 't> Table<'d, 't> {
    /// Reads one table with `read` and refuses what it did not ask for.
    pub(super) fn read<T>(
        document: &'d Document<'t>,
        entries: &'d DeTable<'t>,
        path: Path,
        read: impl FnOnce(&Self) -> T,
    ) -> T {
        let table = Self {
            document,
            entries,
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

    /// The value of `key`, if it was written.
    pub fn get(&self, key: &'static str) -> Option<Value<'d, 't>> {
        self.known.borrow_mut().push(key);
        let value = self.entries.get(key)?;
        Some(Value::new(self.document, value, self.path.key(key)))
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
        if value.raw().is_table() {
            let only = value.as_item_of_one();
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
            (key.clone().into_owned(), Value::new(self.document, value, path))
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
                .filter(|candidate| text.len() <= 64 && !self.entries.contains_key(**candidate))
                .map(|candidate| (strsim::damerau_levenshtein(text, candidate), *candidate))
                .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
                .min();
            let hint = if let Some((_, candidate)) = meant {
                self.document.unread(self.path.key(candidate));
                format!("did you mean `{candidate}`?")
            } else {
                let mut keys = known.clone();
                keys.sort_unstable();
                format!("the keys here are {}", keys.join(", "))
            };
            let path = self.path.key(text);
            self.document.unread(path.clone());
            self.document.problem(path, key.span(), format!("unknown key `{}`", cut(text)), Some(hint));
        }
    }
}
