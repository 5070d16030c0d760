//! One value: read as what it ought to be, or refused.

use std::{fmt, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{Document, Table, cut};
use crate::core::draft::Path;

/// One value, being read.
#[derive(Debug, Clone)]
pub struct Value<'d, 't> {
    document: &'d Document<'t>,
    written: &'d Spanned<DeValue<'t>>,
    path: Path,
}

impl<'d, 't> Value<'d, 't> {
    pub(super) fn new(document: &'d Document<'t>, written: &'d Spanned<DeValue<'t>>, path: Path) -> Self {
        Self { document, written, path }
    }

    /// The value as the only item of a list that was not written as one.
    pub(super) fn as_item_of_one(&self) -> Self {
        Self { path: self.path.index(0), ..self.clone() }
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses the value; nothing further is said of it.
    pub fn refuse(&self, message: impl Into<String>, hint: Option<&str>) {
        self.document.unread(self.path.clone());
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
        Some(Table::read(self.document, table, self.path.clone(), read))
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
