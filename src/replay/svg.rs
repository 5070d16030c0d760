//! The plot: by service, how the regions looked and which one was answered, as it happened and under both policies.

use std::fmt::Write as _;

use time::{OffsetDateTime, UtcOffset};

use super::report::{Column, Report, SwitchLine, Timeline};

const WIDTH: u64 = 1200;
const LEFT: u64 = 190;
const RIGHT: u64 = 24;
const TOP: u64 = 64;
const ROW: u64 = 16;
const GAP: u64 = 5;
const BETWEEN: u64 = 18;
/// How many services are drawn: those with a switch or an outage first.
const SERVICES: usize = 24;
/// One a region, in order of preference; then from the start again. They differ in lightness too.
const REGIONS: [&str; 6] = ["#1f6fb2", "#e08a1e", "#6b4fa0", "#2f9e8f", "#b0446f", "#7a7a2a"];
const PASSING: &str = "#bfe3c4";
const FAILING: &str = "#d64545";
const UNCLEAR: &str = "#dddddd";

/// The report as an SVG 1.1 document.
#[must_use]
pub fn svg(report: &Report) -> String {
    let (from, to) = (report.recording.from_wall_ms, report.recording.to_wall_ms);
    let scale = Scale { from, span: to.saturating_sub(from).max(1) };
    let drawn = drawn(report);
    let height = TOP + drawn.iter().map(|of| height_of(of)).sum::<u64>() + 56;
    let mut out = String::new();
    let _ = write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" \
         height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <title>Quorate: a policy tried on the past</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let head = format!("{} to {} UTC", day(from), day(to));
    text(&mut out, LEFT, 20, "start", 14, &head);
    let summary = |name: &str, of: &Column| {
        format!("{name}: {} automatic, {} false, {} missed", of.automatic, of.false_switches, of.missed.len())
    };
    text(&mut out, LEFT, 38, "start", 11, &summary("recorded policy", &report.recorded));
    text(&mut out, LEFT, 54, "start", 11, &summary("tried policy", &report.tried));
    let mut y = TOP;
    for of in &drawn {
        service(&mut out, report, of, &scale, y);
        y += height_of(of);
    }
    axis(&mut out, &scale, y);
    legend(&mut out, y + 36);
    if drawn.len() < report.timeline.len() {
        let rest =
            format!("{} services without a switch or an outage are not drawn", report.timeline.len() - drawn.len());
        text(&mut out, WIDTH - RIGHT, 20, "end", 11, &rest);
    }
    out.push_str("</svg>\n");
    out
}

struct Scale {
    from: u64,
    span: u64,
}

impl Scale {
    fn x(&self, wall: u64) -> u64 {
        let inside = wall.saturating_sub(self.from).min(self.span);
        LEFT + u64::try_from(u128::from(inside) * u128::from(WIDTH - LEFT - RIGHT) / u128::from(self.span)).unwrap_or(0)
    }
}

fn drawn(report: &Report) -> Vec<&Timeline> {
    let eventful = |of: &&Timeline| {
        let moved = [&of.happened, &of.recorded, &of.tried].into_iter().any(|course| course.len() > 1);
        moved || report.outages.iter().any(|outage| outage.service == of.service)
    };
    let mut all: Vec<_> = report.timeline.iter().filter(eventful).collect();
    if all.is_empty() {
        all.extend(&report.timeline);
    }
    all.truncate(SERVICES);
    all
}

fn height_of(of: &Timeline) -> u64 {
    (of.regions.len() as u64 + 3) * (ROW + GAP) + BETWEEN
}

fn service(out: &mut String, report: &Report, of: &Timeline, scale: &Scale, top: u64) {
    let _ = writeln!(out, "<g class=\"service\">");
    text(out, 8, top + ROW - 4, "start", 13, &of.service);
    let mut y = top;
    let end = scale.from + scale.span;
    for (region, turns) in &of.regions {
        text(out, LEFT - 8, y + ROW - 4, "end", 11, region);
        for (i, (at, seen)) in turns.iter().enumerate() {
            let until = turns.get(i + 1).map_or(end, |next| next.0);
            let fill = match *seen {
                "passing" => PASSING,
                "failing" => FAILING,
                _ => UNCLEAR,
            };
            bar(out, "seen", (scale.x(*at), scale.x(until)), y, fill, &format!("{region}: {seen} from {}", clock(*at)));
        }
        y += ROW + GAP;
    }
    let courses = [
        ("happened", &of.happened, &report.happened),
        ("recorded policy", &of.recorded, &report.recorded.switches),
        ("tried policy", &of.tried, &report.tried.switches),
    ];
    for (name, course, switches) in courses {
        text(out, LEFT - 8, y + ROW - 4, "end", 11, name);
        for (i, (at, target)) in course.iter().enumerate() {
            let Some(target) = target else { continue };
            let until = course.get(i + 1).map_or(end, |next| next.0);
            let place = of.regions.iter().position(|(region, _)| region == target).unwrap_or(0);
            let fill = REGIONS[place % REGIONS.len()];
            bar(out, "active", (scale.x(*at), scale.x(until)), y, fill, &format!("{target} from {}", clock(*at)));
            if scale.x(until) > scale.x(*at) + 10 * target.len() as u64 {
                let _ = write!(out, "<g fill=\"#ffffff\">");
                text(out, scale.x(*at) + 10, y + ROW - 4, "start", 10, target);
                let _ = writeln!(out, "</g>");
            }
        }
        for switch in switches.iter().filter(|switch| switch.service == of.service && switch.from.is_some()) {
            mark(out, switch, scale.x(switch.wall_ms), y);
        }
        y += ROW + GAP;
    }
    let _ = writeln!(out, "</g>");
}

fn bar(out: &mut String, class: &str, (from, to): (u64, u64), y: u64, fill: &str, title: &str) {
    // What was short is seen all the same.
    let width = to.saturating_sub(from).max(1);
    let title = escaped(title);
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{from}\" y=\"{y}\" width=\"{width}\" height=\"{ROW}\" fill=\"{fill}\"><title>{title}</title></rect>"
    );
}

/// A switch: a line over its row, and a cross where it was false.
fn mark(out: &mut String, switch: &SwitchLine, x: u64, y: u64) {
    let (class, colour) =
        if switch.false_because.is_some() { ("switch false", FAILING) } else { ("switch", "#111111") };
    let mut title = format!("epoch {}: {} to {} at {}", switch.epoch, switch.cause, switch.to, clock(switch.wall_ms));
    if let Some(delay) = switch.detection_ms {
        let _ = write!(
            title,
            ", {} after the first failure",
            crate::core::explain::words(std::time::Duration::from_millis(delay))
        );
    }
    if let Some(why) = &switch.false_because {
        let _ = write!(title, "; false: {why}");
    }
    let (top, bottom) = (y - 3, y + ROW + 3);
    let _ =
        write!(out, "<g class=\"{class}\" stroke=\"{colour}\" stroke-width=\"2\"><title>{}</title>", escaped(&title));
    let _ = write!(out, "<line x1=\"{x}\" y1=\"{top}\" x2=\"{x}\" y2=\"{bottom}\"/>");
    if switch.false_because.is_some() {
        let (left, right, middle) = (x - 5, x + 5, y + ROW / 2);
        let (high, low) = (middle - 5, middle + 5);
        let path = format!("M{left} {high}L{right} {low}M{left} {low}L{right} {high}");
        // On white, so that it stands out of any colour.
        let _ = write!(out, "<path d=\"{path}\" stroke=\"#ffffff\" stroke-width=\"6\"/><path d=\"{path}\"/>");
    }
    let _ = writeln!(out, "</g>");
}

/// Whole seconds, minutes, hours or days apart, so that there are from four to nine or so.
fn axis(out: &mut String, scale: &Scale, y: u64) {
    const STEPS: [u64; 14] = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800];
    let step = STEPS.iter().map(|s| s * 1000).find(|step| scale.span / step <= 9).unwrap_or(604_800_000);
    let mut at = scale.from.div_ceil(step) * step;
    let _ = writeln!(out, "<g class=\"axis\" stroke=\"#999999\" stroke-width=\"0.5\">");
    while at <= scale.from + scale.span {
        let x = scale.x(at);
        let _ = writeln!(out, "<line x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{y}\" stroke-dasharray=\"2 3\"/>");
        at += step;
    }
    let _ = writeln!(out, "</g>");
    let mut at = scale.from.div_ceil(step) * step;
    while at <= scale.from + scale.span {
        let label = if step >= 86_400_000 { day(at)[..10].to_owned() } else { clock(at) };
        text(out, scale.x(at), y + 12, "middle", 10, &label);
        at += step;
    }
}

fn legend(out: &mut String, y: u64) {
    let mut x = LEFT;
    for (fill, what) in [
        (PASSING, "most sites see it pass"),
        (FAILING, "most sites see it fail"),
        (UNCLEAR, "no majority either way"),
        ("#111111", "switch"),
    ] {
        let width = if what == "switch" { 2 } else { 12 };
        let _ = writeln!(out, "<rect x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"12\" fill=\"{fill}\"/>", y - 10);
        text(out, x + 18, y, "start", 11, what);
        x += 180;
    }
    let _ = writeln!(out, "<path d=\"M{x} {}l10 10m0 -10l-10 10\" stroke=\"{FAILING}\" stroke-width=\"2\"/>", y - 9);
    text(out, x + 18, y, "start", 11, "false switch");
}

fn text(out: &mut String, x: u64, y: u64, anchor: &str, size: u64, what: &str) {
    let what = escaped(what);
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{what}</text>");
}

/// Text for XML 1.0: without the characters that it does not allow.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn at(wall: u64) -> OffsetDateTime {
    let nanos = i128::from(wall) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH).to_offset(UtcOffset::UTC)
}

/// `14:02:09`
fn clock(wall: u64) -> String {
    let (hour, minute, second) = at(wall).to_hms();
    format!("{hour:02}:{minute:02}:{second:02}")
}

/// `2026-11-23 14:02:09`
fn day(wall: u64) -> String {
    let of = at(wall);
    format!("{:04}-{:02}-{:02} {}", of.year(), u8::from(of.month()), of.day(), clock(wall))
}
