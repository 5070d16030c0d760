//! What another policy would have done: a recording, run through the same `core` again.
//!
//! ```text
//! history ─▶ past: the recording as it was, every command applied ─▶ switches that happened, how long writes took
//!    │
//!    └─────▶ lane "recorded" ─┐  observations, members, operators' acts go in as they were;
//!            lane "tried" ────┴▶ switches come from `State::due`, never from the recording
//!                             │
//!            sight: what the sites saw, undamped ─▶ judge: false, missed, how fast
//! ```
//! What goes in: reports, terms, electorates, services (with the policy replaced), freezes and switches by people, drift, adoptions.
//! What comes out of the state and therefore is not taken from the recording: automatic switches, and freezes for a spent budget.
//! A switch is authorised where it becomes due, and written and observed after the time that the recorded one took, else after the
//! median of those recorded, else after what was given.
//!
//! # How faithful that is
//! * Runs keep every outcome, and up to the greater of the recorded `fall` and `rise` every count at the time it was told. So with
//!   thresholds up to that one the replay is exact: the recorded policy gives the recorded switches, at the same entries.
//! * Beyond it a node told no counts while a run went on, only the last. They are told anew (`retell`): one an interval since the last
//!   that was told, never more than the run came to. Such an opinion may come late by an interval and a report.
//! * Probes cannot be made again: interval, timeout, checks and regions must be the recorded ones, and others are refused.
//! * The world would have answered otherwise: that operators acted on a switch which did not happen here is not undone.

mod judge;
mod lane;
mod past;
mod report;
mod retell;
mod sight;
mod svg;
mod tried;

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    time::Duration,
};

use crate::{
    core::state::Position,
    history::{Damage, Decoder, Item, Record, Trimmer},
};

pub use judge::Outage;
pub use report::{Column, OutageLine, PolicyLine, Recording, Report, SwitchLine};
pub use svg::svg;
pub use tried::{Tried, TriedError};

use self::{lane::Lane, past::Past, sight::Sight};

/// How much of a file is read at once.
const CHUNK: usize = 1 << 20;
/// How long a write takes, and its observation, where nothing was recorded and nothing given.
const WRITE: Duration = Duration::from_secs(1);

/// Where the recording is.
#[derive(Debug)]
pub enum Source {
    /// A file of `history export`, or a segment.
    File(PathBuf),
    /// The same in memory.
    Bytes(Vec<u8>),
}

/// What is asked.
#[derive(Debug, Default)]
pub struct Options {
    /// The policies that are tried.
    pub tried: Tried,
    /// Only from this wall time (ms since 1970).
    pub since: Option<u64>,
    /// Only to this wall time (ms since 1970).
    pub until: Option<u64>,
    /// How long a switch takes from authorised to observed; as recorded when `None`.
    pub write_time: Option<Duration>,
    /// A switch whose outage was over sooner than this after it is false; the recorded cooldown when `None`.
    pub false_within: Option<Duration>,
    /// The real outages, where somebody knows better than the sites.
    pub outages: Option<Vec<Outage>>,
}

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file.
    #[error("cannot read the recording: {0}")]
    Io(#[from] io::Error),
    /// Nothing in it to begin with.
    #[error("there is no state to begin with in the recording{}", .0.as_ref().map(|d| format!("; it is damaged: {d}")).unwrap_or_default())]
    Empty(Option<Damage>),
    /// The policy does not fit the recording.
    #[error(transparent)]
    Tried(#[from] TriedError),
}

/// Replays a recording; equal input gives an equal report.
///
/// # Errors
/// The recording cannot be read, or the policies do not fit it.
pub fn run(source: &Source, options: &Options) -> Result<Report, ReplayError> {
    let mut past = Past::default();
    each(source, options, &mut |step| past.take(step))?;
    if !past.begun() {
        return Err(ReplayError::Empty(past.damage.into_iter().next()));
    }
    let tried = options.tried.for_services(past.services())?;
    let (write, observe) = past.pace(options.write_time, WRITE);
    let mut lanes = [Lane::new(None, write, observe), Lane::new(Some(&tried), write, observe)];
    let mut sight = Sight::default();
    each(source, options, &mut |step| {
        for lane in &mut lanes {
            lane.take(&step, &past);
        }
        let [recorded, _] = &lanes;
        sight.take(&step, recorded.state());
        let [recorded, new] = &mut lanes;
        recorded.decide(&past, &sight, None);
        new.decide(&past, &sight, Some(recorded));
    })?;
    sight.end(past.last());
    let [recorded, new] = lanes;
    Ok(report::make(&past, &sight, &recorded, &new, &tried, options))
}

/// One step of a replay: what is whole and follows what came before.
enum Step {
    /// The state from here on: the first one, or after entries that are missing.
    State(Record),
    /// The next entry.
    Next(Record),
    /// The same state as follows from the entries; it begins another segment.
    Same(Record),
    /// Entries are missing from here to the next state.
    Hole {
        /// The last entry before.
        after: Position,
    },
    Damage(Damage),
}

/// Goes through a recording in order, each entry once.
fn each(source: &Source, options: &Options, take: &mut dyn FnMut(Step)) -> io::Result<()> {
    let mut trimmer = Trimmer::new(options.since, options.until);
    let mut at: Option<Position> = None;
    let mut hole = false;
    let mut one = |record: Record| {
        let Some(position) = record.position() else { return };
        match (&record, at) {
            (Record::State { .. }, None) => take(Step::State(record)),
            (Record::State { .. }, Some(last)) if position.index < last.index => return,
            (Record::State { .. }, Some(last)) if position == last && !hole => take(Step::Same(record)),
            (Record::State { .. }, Some(last)) => {
                if !hole {
                    take(Step::Hole { after: last });
                }
                hole = false;
                take(Step::State(record));
            }
            (_, None) => return,
            // Two segments may overlap.
            (_, Some(last)) if position.index <= last.index || hole => return,
            (_, Some(last)) if position.index > last.index + 1 => {
                hole = true;
                take(Step::Hole { after: last });
                return;
            }
            _ => take(Step::Next(record)),
        }
        at = Some(position);
    };
    let mut damages = vec![];
    let mut decoder = Decoder::new();
    let mut feed = |decoder: &mut Decoder, damages: &mut Vec<Damage>| {
        while let Some(item) = decoder.next_item() {
            match item {
                Item::Damage(damage) => damages.push(damage),
                Item::Record(record) => trimmer.take(*record).into_iter().for_each(&mut one),
            }
        }
        trimmer.is_over()
    };
    match source {
        Source::Bytes(bytes) => {
            for chunk in bytes.chunks(CHUNK) {
                decoder.push(chunk);
                if feed(&mut decoder, &mut damages) {
                    break;
                }
            }
        }
        Source::File(path) => {
            let (mut file, mut chunk) = (File::open(path)?, vec![0; CHUNK]);
            loop {
                let length = file.read(&mut chunk)?;
                decoder.push(&chunk[..length]);
                if length == 0 || feed(&mut decoder, &mut damages) {
                    break;
                }
            }
        }
    }
    decoder.end();
    feed(&mut decoder, &mut damages);
    for damage in damages {
        take(Step::Damage(damage));
    }
    Ok(())
}
