//! `quoratectl history`: what a node recorded, as a file.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use serde::Serialize;
use time::{
    Date, OffsetDateTime, PrimitiveDateTime, Time, format_description::BorrowedFormatItem,
    format_description::well_known::Rfc3339, macros::format_description,
};

use super::{
    connect::{Session, histories},
    failure::{Exit, Failure},
    output::{Output, Screen},
};
use crate::{
    history::{Decoder, Item, Record, Trimmer, encode},
    proto::v1,
};

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(500);

/// The commands.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  quoratectl history export --from 24h --out day.qh")]
pub enum Command {
    /// Writes a node's recording into a file, for `quoratectl replay`
    #[command(after_help = "Examples:\n  \
        quoratectl history export --out all.qh\n  \
        quoratectl history export --from 24h --out day.qh\n  \
        quoratectl history export --from 2026-11-23T00:00 --to 2026-11-23T06:00 --out night.qh")]
    Export(Export),
}

/// From when to when.
#[derive(Debug, Clone, Args)]
pub struct Bounds {
    /// From then: `2026-11-23T00:00` (UTC), RFC 3339, or so long ago (`24h`) [default: the oldest record]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<u64>,
    /// Until then [default: the newest record]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<u64>,
}

/// What to export.
#[derive(Debug, Args)]
pub struct Export {
    /// From then: `2026-11-23T00:00` (UTC), RFC 3339, or so long ago (`24h`) [default: the oldest record]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<u64>,
    /// Until then [default: the newest record]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<u64>,
    /// Where to; a file that is there already is not written over
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Default, Serialize)]
struct Exported {
    file: String,
    bytes: u64,
    entries: u64,
    /// The first and the last entry; `null` when there is none.
    first_index: Option<u64>,
    last_index: Option<u64>,
    /// Stretches that could not be read, and are left out.
    damage: Vec<String>,
    answered_by: u64,
}

pub async fn run(command: Command, session: &Session, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let Command::Export(Export { from, to, out }) = command;
    let temporary = out.with_extension("part");
    if out.exists() {
        return Err(usage(format!("{} is there already", out.display())));
    }
    let cannot = |path: &Path, error: std::io::Error| usage(format!("cannot write {}: {error}", path.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let mut file = BufWriter::new(file.map_err(|error| cannot(&temporary, error))?);
    let mut told = Exported { file: out.display().to_string(), ..Exported::default() };
    let written = fetch(session, screen, from, to, &mut told, &mut |bytes| file.write_all(bytes)).await;
    let ended = match written {
        Ok(()) => file.flush().and_then(|()| fs::rename(&temporary, &out)).map_err(|error| cannot(&out, error)),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = ended {
        // Half a recording would look like a whole one.
        let _ = fs::remove_file(&temporary);
        return Err(failure);
    }
    screen.answer(&told, |of| {
        let mut text =
            format!("{}: {} entries, {}, from node {}\n", of.file, of.entries, size(of.bytes), of.answered_by);
        for damage in &of.damage {
            let _ = writeln!(text, "left out, it is damaged: {damage}");
        }
        text
    })?;
    Ok(Exit::Done)
}

/// A node's recording in memory.
pub async fn in_memory(session: &Session, screen: &mut Screen<'_>, bounds: &Bounds) -> Result<Vec<u8>, Failure> {
    let (mut bytes, mut told) = (vec![], Exported::default());
    let mut keep = |part: &[u8]| {
        bytes.extend_from_slice(part);
        Ok(())
    };
    fetch(session, screen, bounds.since, bounds.until, &mut told, &mut keep).await?;
    for damage in told.damage {
        screen.progress(&format!("left out, it is damaged: {damage}"))?;
    }
    Ok(bytes)
}

/// Streams a recording, cut to the bounds, and says how far it is.
async fn fetch(
    session: &Session,
    screen: &mut Screen<'_>,
    from: Option<u64>,
    to: Option<u64>,
    told: &mut Exported,
    write: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
) -> Result<(), Failure> {
    let request = v1::ExportHistoryRequest { from_wall_ms: from.unwrap_or(0), to_wall_ms: to.unwrap_or(0) };
    let export = |channel, request| async { histories(channel).export_history(request).await };
    let mut stream = session.stream(request, export).await?;
    let (mut decoder, mut trimmer) = (Decoder::new(), Trimmer::new(from, to));
    let (mut read, mut next) = (0, Instant::now() + PROGRESS);
    let mut keep = |decoder: &mut Decoder, told: &mut Exported| -> Result<(), Failure> {
        while let Some(item) = decoder.next_item() {
            match item {
                Item::Damage(damage) => told.damage.push(damage.to_string()),
                Item::Record(record) => {
                    for record in trimmer.take(*record) {
                        count(told, &record);
                        let bytes = encode(&record);
                        told.bytes += bytes.len() as u64;
                        write(&bytes).map_err(|error| usage(format!("cannot write: {error}")))?;
                    }
                }
            }
        }
        Ok(())
    };
    while let Some(part) = stream.message().await.map_err(|status| Failure::from_status(&status))? {
        told.answered_by = part.answered_by;
        read += part.data.len() as u64;
        decoder.push(&part.data);
        keep(&mut decoder, told)?;
        if Instant::now() >= next {
            next += PROGRESS;
            screen.progress(&format!("{} of {}", size(read), size(part.total_bytes)))?;
        }
    }
    decoder.end();
    keep(&mut decoder, told)
}

fn count(told: &mut Exported, record: &Record) {
    if let (Some(position), Record::Entry { .. } | Record::Term { .. } | Record::Voters { .. }) =
        (record.position(), record)
    {
        told.entries += 1;
        told.first_index.get_or_insert(position.index);
        told.last_index = Some(position.index);
    }
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// Whether the answer is for people.
pub fn for_people(screen: &Screen<'_>) -> bool {
    screen.format == Output::Table
}

/// A time as an operator writes it, in ms since 1970: RFC 3339, the same without a zone (UTC), or so long ago.
pub fn moment(text: &str) -> Result<u64, String> {
    const MINUTES: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]");
    const SECONDS: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
    let utc = |format| PrimitiveDateTime::parse(text, format).ok().map(PrimitiveDateTime::assume_utc);
    let day = || Date::parse(text, DAY).ok().map(|day| day.with_time(Time::MIDNIGHT).assume_utc());
    let then =
        OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| utc(MINUTES)).or_else(|| utc(SECONDS)).or_else(day);
    if let Some(then) = then {
        return u64::try_from(then.unix_timestamp_nanos() / 1_000_000).map_err(|_| "that was before 1970".to_owned());
    }
    let ago = humantime::parse_duration(text)
        .map_err(|_| "write 2026-11-23T00:00, with Z or an offset, or 24h".to_owned())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(now.saturating_sub(ago).as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for text in ["2026-11-23T12:00", "2026-11-23T12:00:00", "2026-11-23T12:00:00Z", "2026-11-23T13:00:00+01:00"] {
            assert_eq!(moment(text), Ok(1_795_435_200_000), "{text}");
        }
        assert_eq!(moment("2026-11-23"), Ok(1_795_392_000_000));
        let hour_ago = moment("1h").unwrap();
        assert!(moment("2h").unwrap() < hour_ago && hour_ago < moment("0s").unwrap());
        for wrong in ["", "yesterday", "2026-11-31T00:00", "12:00"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
