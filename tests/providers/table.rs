//! The table: a row for each case, a column for each provider, and below it why something cannot happen.

use comfy_table::{Table, presets};

use crate::{
    cases::CASES,
    contract::{Column, Outcome},
};

/// A reason that is shorter than this says nothing.
const REASON_MIN: usize = 15;

/// Prints the table; fails if any case did.
pub fn conclude(columns: &[Column]) {
    let (mut reasons, mut failures): (Vec<&str>, Vec<String>) = (vec![], vec![]);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty();
    // Each word of a title stands on a line of its own, so that a dozen providers fit beside each other.
    let heads = columns.iter().map(|column| format!("{}\ngrade {}", column.name.replace(' ', "\n"), column.grade));
    table.set_header(std::iter::once("provider contract".to_owned()).chain(heads));
    for (number, (title, _)) in CASES.iter().enumerate() {
        let mut row = vec![(*title).to_owned()];
        for column in columns {
            row.push(match &column.outcomes[number] {
                Outcome::Ok => "ok".to_owned(),
                Outcome::NotApplicable(why) => format!("n/a {}", numbered(why, &mut reasons)),
                Outcome::Failed(why) => {
                    failures.push(format!("{}, {title}: {why}", column.name));
                    "FAILED".to_owned()
                }
            });
        }
        table.add_row(row);
    }
    let seconds = columns.iter().map(|column| format!("{:.0} s", column.took.as_secs_f64()));
    table.add_row(std::iter::once("all of it took".to_owned()).chain(seconds));
    for line in table.lines() {
        println!("TABLE: {}", line.trim_end());
    }
    for (i, reason) in reasons.iter().enumerate() {
        println!("TABLE: n/a {}: {reason}", i + 1);
        if reason.len() < REASON_MIN {
            failures.push(format!("`{reason}` is no reason why something cannot happen"));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// The number of a reason, from 1; the same reason has the same one everywhere.
fn numbered<'r>(why: &'r str, reasons: &mut Vec<&'r str>) -> usize {
    let known = reasons.iter().position(|reason| *reason == why);
    known.unwrap_or_else(|| {
        reasons.push(why);
        reasons.len() - 1
    }) + 1
}
