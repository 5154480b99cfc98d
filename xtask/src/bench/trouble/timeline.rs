//! The picture of a run: what was done, and the gaps, minute by minute.

use std::fmt::Write;

use super::judge::Gap;
use super::plan::Kind;
use super::play::Done;
use super::report::millis;
use crate::bench::table::ms;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
/// Room for title and legend.
const TOP: f64 = 84.0;
/// One strip of time, and where its base line is.
const STRIP: f64 = 84.0;
const BASE: f64 = 64.0;
/// Height of a gap of one millisecond, and what a decade more adds.
const LOWEST: f64 = 6.0;
const DECADE: f64 = 11.0;
/// Shortest gap whose length is written beside it, in milliseconds.
const TOLD: f64 = 20.0;
const NO_LEADER: &str = "#b3261e";
const NOT_ALL: &str = "#e8a33d";

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Kill => "#222222",
        Kind::Pause => "#0b6e99",
        Kind::Leave => "#4a7c2f",
        Kind::Replace => "#7a4fa3",
    }
}

/// Lengths of a line, in seconds.
const STRIPS: [f64; 5] = [3.0, 6.0, 12.0, 30.0, 60.0];

/// Draws it. Times are nanoseconds of one clock.
pub(super) fn draw(title: &str, span: (u64, u64), done: &[Done], gaps: &[Gap]) -> String {
    let seconds = |at: u64| millis(at.saturating_sub(span.0)) / 1000.0;
    let all = seconds(span.1);
    let strip = STRIPS.into_iter().find(|strip| *strip >= all).unwrap_or(60.0);
    let strips = (all / strip).ceil().max(1.0);
    let height = TOP + strips * STRIP + 24.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"16\" fill=\"#222\">{title}</text>\n"
    );
    legend(&mut svg);
    let place = Place { strip };
    let mut at = 0.0;
    while at < strips {
        line(&mut svg, place, at, all);
        at += 1.0;
    }
    for one in done {
        mark(&mut svg, place, seconds(one.at), one);
    }
    for gap in gaps {
        bars(&mut svg, place, (seconds(gap.from), seconds(gap.to)), gap);
    }
    // Words last, so that no bar covers them; two on the same spot could not be read.
    let mut written = f64::NEG_INFINITY;
    for gap in gaps.iter().filter(|gap| millis(gap.length()) >= TOLD) {
        let from = seconds(gap.from);
        if (from - written) * place.scale() > 44.0 {
            written = from;
            let (x, y) = (place.x(from), place.base(from) - tall(millis(gap.length())) - 3.0);
            let anchor = if x > WIDTH - RIGHT - 44.0 { "end" } else { "start" };
            let length = ms(millis(gap.length()));
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\">\
                 {length}</text>"
            );
        }
    }
    svg + "</svg>\n"
}

/// Where a second of the run is on the picture.
#[derive(Clone, Copy)]
struct Place {
    strip: f64,
}

impl Place {
    fn scale(self) -> f64 {
        (WIDTH - LEFT - RIGHT) / self.strip
    }

    fn x(self, second: f64) -> f64 {
        LEFT + (second % self.strip) * self.scale()
    }

    fn base(self, second: f64) -> f64 {
        TOP + (second / self.strip).floor() * STRIP + BASE
    }
}

fn legend(svg: &mut String) {
    let mut x = LEFT;
    let mut entry = |sign: &dyn Fn(f64) -> String, text: &str| {
        let _ = writeln!(
            svg,
            "{}<text x=\"{:.1}\" y=\"52\" fill=\"#444\">{text}</text>",
            sign(x),
            x + 14.0
        );
        x += 34.0 + 6.2 * f64::from(u32::try_from(text.len()).unwrap_or(0));
    };
    for kind in Kind::ALL {
        let sign = |x: f64| {
            format!("<circle cx=\"{:.1}\" cy=\"48\" r=\"4\" fill=\"{}\"/>", x + 4.0, colour(kind))
        };
        entry(&sign, &kind.to_string());
    }
    let ring = |x: f64| {
        format!("<circle cx=\"{:.1}\" cy=\"48\" r=\"3.5\" fill=\"none\" stroke=\"#444\"/>", x + 4.0)
    };
    entry(&ring, "back again");
    for (fill, text) in [(NO_LEADER, "no valid leader"), (NOT_ALL, "not every live node shows it")]
    {
        let sign = |x: f64| {
            format!("<rect x=\"{x:.1}\" y=\"42\" width=\"8\" height=\"12\" fill=\"{fill}\"/>")
        };
        entry(&sign, text);
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"70\" fill=\"#666\">height of a gap: the logarithm of its length; \
         L, Q, V: the victim led, led the quorum, voted</text>"
    );
}

/// One line of time with its seconds.
fn line(svg: &mut String, place: Place, number: f64, all: f64) {
    let from = number * place.strip;
    let base = place.base(from);
    let until = (all - from).min(place.strip);
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {base:.1}h{:.1}\" stroke=\"#4a7c2f\" stroke-width=\"2\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444\">{from:.0} s</text>",
        until * place.scale(),
        LEFT - 8.0,
        base + 4.0
    );
    let step = place.strip / 6.0;
    for tick in 1..6 {
        let x = LEFT + f64::from(tick) * step * place.scale();
        let after = f64::from(tick) * step;
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {base:.1}v-4\" stroke=\"#999\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"8\" \
             fill=\"#aaa\">+{after}</text>",
            base - 52.0
        );
    }
}

fn tall(length: f64) -> f64 {
    (LOWEST + DECADE * length.max(1.0).log10()).min(BASE - 16.0)
}

/// A gap, on as many lines as it lasts; what of it was without a leader stands at its left.
fn bars(svg: &mut String, place: Place, (from, to): (f64, f64), gap: &Gap) {
    let height = tall(millis(gap.length()));
    let led_from = from + millis(gap.leaderless) / 1000.0;
    let mut part = |from: f64, to: f64, fill: &str| {
        let mut at = from;
        while at < to {
            let end = ((at / place.strip).floor() + 1.0) * place.strip;
            let width = ((to.min(end) - at) * place.scale()).max(1.6);
            let (x, y) = (place.x(at), place.base(at) - height);
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
                 fill=\"{fill}\"/>"
            );
            at = end;
        }
    };
    // A bar too thin to be divided takes the colour of its greater part.
    if (to - from) * place.scale() < 4.0 {
        let leaderless = (led_from - from) * 2.0 > to - from;
        part(from, to, if leaderless { NO_LEADER } else { NOT_ALL });
    } else {
        part(from, led_from, NO_LEADER);
        part(led_from, to, NOT_ALL);
    }
}

/// Something that was done, below the line.
fn mark(svg: &mut String, place: Place, at: f64, done: &Done) {
    let (x, y) = (place.x(at), place.base(at) + 9.0);
    let colour = colour(done.kind);
    if matches!(done.did, "wake" | "start again" | "join") {
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"none\" stroke=\"{colour}\"/>"
        );
        return;
    }
    let letter = match done.was {
        "leader" | "leader of both" => "L",
        "quorum's leader" => "Q",
        "voter" => "V",
        _ => "",
    };
    let _ = writeln!(
        svg,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>\
         <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"9\" fill=\"#444\">\
         {letter}</text>",
        y + 12.0
    );
}
