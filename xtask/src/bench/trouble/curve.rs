//! How many there were by when: steps over seconds.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = 52.0;
const COLOURS: [&str; 3] = ["#999999", "#0b6e99", "#c4492d"];

/// Moments at which there was one more, in seconds, in order.
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) times: Vec<f64>,
}

/// Draws them.
pub(super) fn draw(title: &str, curves: &[Curve]) -> String {
    let last = curves.iter().filter_map(|curve| curve.times.last()).copied();
    let most = curves.iter().map(|curve| count(curve.times.len())).fold(1.0, f64::max);
    let (along, up) = (step(last.fold(0.1, f64::max)), step(most));
    let x = |seconds: f64| LEFT + seconds / along.1 * (WIDTH - LEFT - RIGHT);
    let y = |number: f64| HEIGHT - BOTTOM - number / up.1 * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"16\" fill=\"#222\">{title}</text>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#444\">seconds</text>\n\
         <text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\" \
         fill=\"#444\">nodes</text>\n",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0,
        (TOP + HEIGHT - BOTTOM) / 2.0
    );
    // Writing to a string cannot fail.
    for at in ticks(along) {
        let (x, bottom) = (x(at), HEIGHT - BOTTOM);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\" fill=\"#444\">{}</text>",
            bottom + 17.0,
            tidy(at)
        );
    }
    for at in ticks(up) {
        let y = y(at);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\" fill=\"#444\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            tidy(at)
        );
    }
    for (index, (curve, colour)) in curves.iter().zip(COLOURS).enumerate() {
        let mut path = format!("M{:.1} {:.1}", x(0.0), y(0.0));
        for (number, at) in curve.times.iter().enumerate() {
            let _ = write!(path, "H{:.1}V{:.1}", x(*at), y(count(number + 1)));
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{LEFT}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
            44.0 + 17.0 * count(index),
            curve.name
        );
    }
    svg + "</svg>\n"
}

/// A round distance of marks, and the end of an axis that holds this much.
fn step(most: f64) -> (f64, f64) {
    let decade = 10_f64.powf(most.log10().floor());
    let factors = [0.1, 0.2, 0.5, 1.0, 2.0];
    let step = factors.map(|factor| factor * decade).into_iter().find(|step| most / step <= 8.0);
    let step = step.unwrap_or(decade);
    (step, (most / step).ceil() * step)
}

fn ticks((step, end): (f64, f64)) -> impl Iterator<Item = f64> {
    let steps = (end / step).round();
    let mut at = 0.0;
    std::iter::from_fn(move || {
        let tick = (at <= steps).then_some(at * step);
        at += 1.0;
        tick
    })
}

/// Without the dust of binary fractions.
fn tidy(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_round_and_hold_all() {
        for (most, end) in [(995.0, 1000.0), (0.1, 0.1), (12.4, 14.0), (1.0, 1.0), (61.0, 70.0)] {
            let (step, to) = step(most);
            assert!((to - end).abs() < 1e-9, "{most}: {to}");
            assert!(to >= most && to / step <= 8.0 + 1e-9, "{most}: {step} up to {to}");
        }
        assert_eq!(tidy(0.30000000000000004), "0.3");
        assert_eq!((tidy(100.0), tidy(0.0)), ("100".to_owned(), "0".to_owned()));
    }
}
