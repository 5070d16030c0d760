//! Maintenance windows: planned work during which nothing moves by itself.
//!
//! A window is the one thing here that is about wall time, because planned work is. The wall time is the leader's stamp of the
//! command, so that every node judges alike; `apply` never looks at a clock. How far that stamp is to be trusted: a leader
//! whose clock is off holds a switch that was due, or lets one through that a window should have held. It never causes
//! one: the verdict and every other rule are in log time and must hold all the same.
//!
//! Two notations, both in UTC: `Sat 02:00-04:00` each week, and an ISO 8601 interval once.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const MINUTE_MS: u64 = 60_000;
const DAY: u64 = 24 * 60;
const DAY_MS: u64 = DAY * MINUTE_MS;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const YEAR_10000: u64 = 253_402_300_800_000;
/// How many windows that follow one another without a gap are looked through for the end.
const CHAIN: usize = 64;

/// A time of planned work. Only the leader's wall stamp is ever compared with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Window {
    /// Each week.
    Weekly {
        /// A bit a day, Monday is the lowest.
        days: u8,
        /// Minutes after midnight.
        start: u64,
        /// In minutes: less than a day, after which it ends on the next one, or a whole day from midnight.
        length: u64,
    },
    /// Once, in ms since 1970.
    Once {
        /// The first instant in it.
        from: u64,
        /// The first instant after it.
        until: u64,
    },
}

/// A text that is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no maintenance window{why}")]
pub struct WindowError {
    text: String,
    why: &'static str,
}

/// How the two notations look, for hints.
pub const NOTATIONS: &str = "write \"Sat 02:00-04:00\", \"Mon-Fri 22:00-23:30\", \"daily 03:00-03:30\", or once \
                             \"2026-12-24T22:00Z/2026-12-25T02:00Z\" or \"2026-12-24T22:00Z/PT4H\"; all in UTC";

impl Window {
    /// When it closes, if it is open at `wall`.
    #[must_use]
    pub fn open_at(&self, wall: u64) -> Option<u64> {
        let bounds = match *self {
            Self::Once { from, until } => vec![(from, until)],
            Self::Weekly { start, length, .. } => {
                let today = wall / DAY_MS;
                // One that began yesterday may still be open.
                let begun = [today.checked_sub(1), Some(today)].into_iter().flatten().filter(|day| self.has_day(*day));
                begun.map(|day| (at_minute(day, start), at_minute(day, start + length))).collect()
            }
        };
        bounds.into_iter().filter(|(from, until)| (*from..*until).contains(&wall)).map(|(_, until)| until).max()
    }

    /// When it opens next after `wall`.
    #[must_use]
    pub fn opens_after(&self, wall: u64) -> Option<u64> {
        match *self {
            Self::Once { from, .. } => Some(from).filter(|from| *from > wall),
            Self::Weekly { start, .. } => {
                let today = wall / DAY_MS;
                let openings = (today..=today.saturating_add(7)).filter(|day| self.has_day(*day));
                openings.map(|day| at_minute(day, start)).find(|from| *from > wall)
            }
        }
    }

    fn has_day(&self, day: u64) -> bool {
        // 1 January 1970 was a Thursday.
        matches!(*self, Self::Weekly { days, .. } if days >> ((day + 3) % 7) & 1 == 1)
    }
}

/// Minutes after the midnight that begins a day. A clock at the end of time is no reason to panic.
fn at_minute(day: u64, minute: u64) -> u64 {
    day.saturating_mul(DAY_MS).saturating_add(minute * MINUTE_MS)
}

/// The window that is open at `wall`, and when that one and all that follow it without a gap are over.
#[must_use]
pub fn open_at(windows: &[Window], wall: u64) -> Option<(&Window, u64)> {
    let latest =
        |at| windows.iter().filter_map(|window| Some((window, window.open_at(at)?))).max_by_key(|(_, until)| *until);
    let (first, mut until) = latest(wall)?;
    for _ in 0..CHAIN {
        match latest(until) {
            Some((_, later)) => until = later,
            None => break,
        }
    }
    Some((first, until))
}

/// Whether some instant of every week is in no window.
#[must_use]
pub fn leave_time(windows: &[Window]) -> bool {
    let weekly: Vec<_> = windows.iter().filter(|window| matches!(window, Window::Weekly { .. })).collect();
    // The second week: windows of the Sunday before it reach into the first.
    (0..7 * DAY).any(|minute| weekly.iter().all(|window| window.open_at(7 * DAY_MS + minute * MINUTE_MS).is_none()))
}

/// An instant as people read it: `Sat 2026-12-26 04:00 UTC`.
#[must_use]
pub fn instant(wall: u64) -> String {
    let weekday = DAYS[usize::try_from((wall / DAY_MS + 3) % 7).unwrap_or_default()];
    format!("{weekday} {} UTC", stamp(wall, ' '))
}

fn stamp(wall: u64, between: char) -> String {
    let (year, month, day) = civil(wall / DAY_MS);
    let minute = wall % DAY_MS / MINUTE_MS;
    format!("{year:04}-{month:02}-{day:02}{between}{:02}:{:02}", minute / 60, minute % 60)
}

/// Year, month and day of a day since 1970, by the proleptic Gregorian calendar (Hinnant, `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The day since 1970 of a date that exists (`days_from_civil`).
fn day_of(year: u64, month: u64, day: u64) -> Option<u64> {
    let shifted = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, year_of_era) = (shifted / 400, shifted % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + of_era).checked_sub(719_468)?;
    (civil(days) == (year, month, day)).then_some(days)
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let window = if text.contains('/') { once(text) } else { weekly(text) };
        window.map_err(|why| WindowError { text: text.chars().take(60).collect(), why })
    }
}

fn weekly(text: &str) -> Result<Window, &'static str> {
    let (days, times) = text.trim().split_once(' ').ok_or("")?;
    let (start, end) = times.trim().split_once('-').ok_or("")?;
    let clock = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
        (minute < 60 && hour * 60 + minute <= DAY).then_some(hour * 60 + minute)
    };
    let wrong = ": the times are HH:MM from 00:00 to 24:00";
    let (start, end) = (clock(start).filter(|start| *start < DAY).ok_or(wrong)?, clock(end).ok_or(wrong)?);
    if start == end {
        return Err(": it would last no time; a whole day is 00:00-24:00");
    }
    let length = if end > start { end - start } else { end + DAY - start };
    Ok(Window::Weekly {
        days: days_of(days).ok_or(": the days are Mon, Tue, Wed, Thu, Fri, Sat, Sun or daily")?,
        start,
        length,
    })
}

/// `daily`, `Sat`, `Mon-Fri`, `Sat,Sun`.
fn days_of(text: &str) -> Option<u8> {
    if text.eq_ignore_ascii_case("daily") {
        return Some(0x7f);
    }
    let day = |text: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(text.trim()));
    text.split(',').try_fold(0, |days, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // Fri-Mon goes over the end of the week.
        let count = (last + 7 - first) % 7;
        Some((0..=count).fold(days, |days, i| days | 1 << ((first + i) % 7)))
    })
}

/// ISO 8601: `start/end` or `start/duration`, in UTC.
fn once(text: &str) -> Result<Window, &'static str> {
    let (from, end) = text.trim().split_once('/').ok_or("")?;
    let zone = ": an instant is written like 2026-12-24T22:00Z";
    let from = instant_of(from).ok_or(zone)?;
    let until = match end.trim().strip_prefix('P') {
        Some(span) => {
            span_of(span).and_then(|ms| from.checked_add(ms)).ok_or(": a duration is written like PT2H30M")?
        }
        None => instant_of(end).ok_or(zone)?,
    };
    match until {
        _ if until <= from => Err(": it ends before it begins"),
        YEAR_10000.. => Err(": it ends after the year 9999"),
        _ => Ok(Window::Once { from, until }),
    }
}

fn instant_of(text: &str) -> Option<u64> {
    let (date, time) = text.trim().strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (digits(date.next()?, 4)?, digits(date.next()?, 2)?, digits(date.next()?, 2)?);
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    let second = time.next().map_or(Some(0), |second| digits(second, 2))?;
    if !(1..=12).contains(&month) || day == 0 || hour > 23 || minute > 59 || second > 0 {
        return None;
    }
    Some(day_of(year, month, day)? * DAY_MS + (hour * 60 + minute) * MINUTE_MS)
}

/// What stands behind the `P`: days, hours and minutes.
fn span_of(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    let mut minutes = 0_u64;
    for (mut rest, units) in [(date, &[('D', DAY)][..]), (time, &[('H', 60), ('M', 1)][..])] {
        for (unit, worth) in units {
            if let Some((number, after)) = rest.split_once(*unit) {
                let number: u64 =
                    Some(number).filter(|number| number.bytes().all(|c| c.is_ascii_digit()))?.parse().ok()?;
                minutes = minutes.checked_add(number.checked_mul(*worth)?)?;
                rest = after;
            }
        }
        if !rest.is_empty() {
            return None;
        }
    }
    minutes.checked_mul(MINUTE_MS).filter(|ms| *ms > 0)
}

fn digits(text: &str, count: usize) -> Option<u64> {
    (text.len() == count && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().ok())?
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Once { from, until } => write!(f, "{}Z/{}Z", stamp(from, 'T'), stamp(until, 'T')),
            Self::Weekly { days, start, length } => {
                let named: Vec<_> = (0..7).filter(|i| days >> i & 1 == 1).map(|i| DAYS[i]).collect();
                let days = if named.len() == 7 { "daily".to_owned() } else { named.join(",") };
                let end = start + length;
                let end = if end > DAY { end - DAY } else { end };
                write!(f, "{days} {:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
            }
        }
    }
}

impl TryFrom<String> for Window {
    type Error = WindowError;
    fn try_from(text: String) -> Result<Self, WindowError> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(text: &str) -> Window {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn wall(text: &str) -> u64 {
        instant_of(text).unwrap()
    }

    #[test]
    fn a_window_is_open_from_its_first_instant_to_just_before_its_end() {
        // 26 December 2026 is a Saturday.
        for (text, at, closes) in [
            ("Sat 02:00-04:00", "2026-12-26T01:59Z", None),
            ("Sat 02:00-04:00", "2026-12-26T02:00Z", Some("2026-12-26T04:00Z")),
            ("Sat 02:00-04:00", "2026-12-26T03:59Z", Some("2026-12-26T04:00Z")),
            ("Sat 02:00-04:00", "2026-12-26T04:00Z", None),
            ("Sat 02:00-04:00", "2026-12-27T03:00Z", None),
            ("sat 23:00-01:00", "2026-12-27T00:30Z", Some("2026-12-27T01:00Z")),
            ("Fri-Mon 00:00-24:00", "2026-12-28T10:00Z", Some("2026-12-29T00:00Z")),
            ("Fri-Mon 00:00-24:00", "2026-12-29T00:00Z", None),
            ("Tue,Thu 06:00-07:00", "2026-12-24T06:30Z", Some("2026-12-24T07:00Z")),
            ("daily 03:00-03:30", "2024-02-29T03:29Z", Some("2024-02-29T03:30Z")),
            ("2026-12-24T22:00Z/2026-12-25T02:00Z", "2026-12-25T01:00Z", Some("2026-12-25T02:00Z")),
            ("2026-12-24T22:00Z/PT2H30M", "2026-12-25T00:29Z", Some("2026-12-25T00:30Z")),
            ("2026-12-24T22:00Z/P1DT1H", "2026-12-25T23:30Z", None),
        ] {
            assert_eq!(window(text).open_at(wall(at)), closes.map(wall), "{text} at {at}");
        }
    }

    #[test]
    fn what_is_no_window_is_refused_with_the_reason() {
        for (text, why) in [
            ("Sat", ""),
            ("Caturday 02:00-04:00", "the days are"),
            ("Sat 02:00-02:00", "no time"),
            ("Sat 2:00-04:00", "HH:MM"),
            ("Sat 24:00-25:00", "HH:MM"),
            ("Sat 02:60-04:00", "HH:MM"),
            ("2026-12-24T22:00/PT2H", "an instant"),
            ("2026-02-30T22:00Z/PT2H", "an instant"),
            ("2026-12-24T22:00Z/PT", "a duration"),
            ("2026-12-24T22:00Z/PT-2H", "a duration"),
            ("2026-12-24T22:00Z/2026-12-24T21:00Z", "ends before"),
            ("1969-12-24T22:00Z/PT2H", "an instant"),
        ] {
            let error = text.parse::<Window>().expect_err(text).to_string();
            assert!(error.contains("is no maintenance window") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn windows_that_touch_are_one_and_the_next_opening_is_known() {
        let windows = [window("Sat 02:00-04:00"), window("Sat 04:00-05:00"), window("Sun 02:00-03:00")];
        let at = wall("2026-12-26T02:30Z");
        assert_eq!(open_at(&windows, at), Some((&windows[0], wall("2026-12-26T05:00Z"))));
        assert_eq!(windows[0].opens_after(at), Some(wall("2027-01-02T02:00Z")));
        assert_eq!(window("2026-12-24T22:00Z/PT2H").opens_after(at), None);
        assert_eq!(instant(at), "Sat 2026-12-26 02:30 UTC");
        assert!(leave_time(&windows));
        assert!(!leave_time(&[window("Mon-Sat 00:00-24:00"), window("Sun 00:00-12:00"), window("Sun 12:00-00:00")]));
        // Without an end in sight the answer is an instant all the same.
        assert!(open_at(&[window("daily 00:00-24:00")], at).is_some());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_days_are_days(days in 1_u8..128, start in 0..DAY, length in 1..=DAY,
                                                        from in 0_u64..200_000_000, span in 1_u64..1_000_000) {
            // A whole day begins at midnight: that is the only one that can be written.
            let length = if start > 0 { length.min(DAY - 1) } else { length };
            let once = Window::Once { from: from * MINUTE_MS, until: (from + span) * MINUTE_MS };
            for window in [Window::Weekly { days, start, length }, once] {
                prop_assert_eq!(window.to_string().parse::<Window>(), Ok(window));
            }
            let (year, month, day) = civil(from / DAY);
            prop_assert_eq!(day_of(year, month, day), Some(from / DAY));
        }

        #[test]
        fn whatever_is_written_an_answer_comes(text in "\\PC{0,40}", at: u64) {
            if let Ok(window) = text.parse::<Window>() {
                let _ = (window.open_at(at), window.opens_after(at), window.to_string());
            }
        }
    }
}
