//! Where answers go and how they look: tables that are never cut, or JSON.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::core::explain::words;

/// For whom.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For programs: one document, or one a line for streams; times in ms of log time
    Json,
}

/// Where a command writes.
pub struct Screen<'a> {
    /// The format of the answer.
    pub format: Output,
    /// The answer.
    pub out: &'a mut (dyn Write + Send),
    /// Progress and warnings.
    pub err: &'a mut (dyn Write + Send),
}

impl Screen<'_> {
    /// The answer: `value` for programs, `text` for people.
    pub fn answer<T: Serialize>(&mut self, value: &T, text: impl FnOnce(&T) -> String) -> io::Result<()> {
        match self.format {
            Output::Table => self.out.write_all(text(value).as_bytes())?,
            Output::Json => {
                serde_json::to_writer_pretty(&mut self.out, value)?;
                writeln!(self.out)?;
            }
        }
        self.out.flush()
    }

    /// One of a stream of answers, on one line.
    pub fn event<T: Serialize>(&mut self, value: &T, text: impl FnOnce(&T) -> String) -> io::Result<()> {
        match self.format {
            Output::Table => self.out.write_all(text(value).as_bytes())?,
            Output::Json => {
                serde_json::to_writer(&mut self.out, value)?;
                writeln!(self.out)?;
            }
        }
        self.out.flush()
    }

    /// What a person waiting wants to see meanwhile.
    pub fn progress(&mut self, line: &str) -> io::Result<()> {
        match self.format {
            Output::Table => writeln!(self.err, "{}", printable(line)),
            Output::Json => Ok(()),
        }
    }
}

/// A table as text, each line as long as it must be; empty without rows.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty().set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| printable(if cell.is_empty() { "-" } else { &cell })));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    if !table.is_empty() {
        for line in table.lines() {
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

/// What others wrote, safe for a terminal: no control characters, so no escape sequences and no forged lines.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Milliseconds in words.
pub fn ms(ms: u64) -> String {
    words(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_plain_and_whole() {
        let long = "x".repeat(300);
        let text = table(["NAME", "WHY"], [["app".into(), long.clone()], [String::new(), "a\nb\u{1b}[2J".into()]]);
        assert_eq!(text, format!("NAME  WHY\napp   {long}\n-     a\u{fffd}b\u{fffd}[2J\n"));
        assert_eq!(table(["NAME"], []), "");
    }
}
