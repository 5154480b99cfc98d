//! Plots as SVG: one figure over the number of nodes, both axes logarithmic.

use std::fmt::Write;

use super::{
    Size,
    report::{Series, series},
};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
/// Room for the title, and for each line of the legend.
const TITLE: f64 = 40.0;
const LEGEND: f64 = 16.0;
const BOTTOM: f64 = 56.0;
const COLOURS: [&str; 6] = ["#0b6e99", "#c4492d", "#4a7c2f", "#7a4fa3", "#b8860b", "#444444"];

/// File names and their content.
pub(super) fn all(sizes: &[Size]) -> Vec<(&'static str, String)> {
    let all = series(sizes);
    let of = |unit: &str| all.iter().filter(|series| series.unit == unit).collect::<Vec<_>>();
    vec![
        ("times.svg", plot("How long it takes", ("nodes", "milliseconds"), &of("ms"))),
        (
            "costs.svg",
            plot("What an idle node costs", ("nodes", "% of one core"), &of("% of a core")),
        ),
        ("memory.svg", plot("Memory of an idle node", ("nodes", "MB"), &of("MB"))),
    ]
}

/// A logarithmic axis: whole decades around the values.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let values = values.filter(|value| *value > 0.0).map(f64::log10);
        let low = values.clone().reduce(f64::min).unwrap_or(0.0).floor();
        let high = values.reduce(f64::max).unwrap_or(1.0).ceil().max(low + 1.0);
        Self { low, high, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.max(1e-9).log10() - self.low) / (self.high - self.low);
        self.from + share * (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        let (mut at, high) = (self.low, self.high);
        std::iter::from_fn(move || {
            let decade = (at <= high).then(|| 10_f64.powf(at));
            at += 1.0;
            decade
        })
    }
}

/// Draws series; the axes have these names.
pub(in crate::bench) fn plot(title: &str, axes: (&str, &str), all: &[&Series]) -> String {
    let (across, unit) = axes;
    let points = || all.iter().flat_map(|series| series.points.iter());
    let x = Axis::around(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let head = TITLE + LEGEND * lossy(all.len()) + 8.0;
    let y = Axis::around(points().map(|point| point.1), HEIGHT - BOTTOM, head);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"16\" fill=\"#222\">{title}</text>\n"
    );
    // Writing to a string cannot fail.
    for decade in x.decades() {
        let at = x.at(decade);
        let (top, bottom) = (head, HEIGHT - BOTTOM);
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#444\">{decade}</text>",
            bottom + 18.0
        );
    }
    for decade in y.decades() {
        let at = y.at(decade);
        let right = WIDTH - RIGHT;
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444\">{decade}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#444\">{across}</text>\
         <text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\" \
         fill=\"#444\">{unit}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 14.0,
        (head + HEIGHT - BOTTOM) / 2.0
    );
    for (index, series) in all.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let line: Vec<_> = series
            .points
            .iter()
            .map(|(n, value)| format!("{:.1},{:.1}", x.at(*n), y.at(*value)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for point in &line {
            let (cx, cy) = point.split_once(',').unwrap_or_default();
            let _ = writeln!(svg, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let slope = series.slope().map(|it| format!(" (n^{it:.2})")).unwrap_or_default();
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}{slope}</text>",
            LEFT,
            TITLE + 4.0 + LEGEND * lossy(index),
            series.name
        );
    }
    svg + "</svg>\n"
}

fn lossy(index: usize) -> f64 {
    u32::try_from(index).map_or(0.0, f64::from)
}
