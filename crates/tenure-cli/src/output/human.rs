//! Lines for people.

use std::fmt::Display;

use tenure_core::{Leader, Sighting, View, WallTime};

use super::time::span;

/// Colours, or none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Paint {
    /// Whether to colour at all.
    pub(crate) on: bool,
}

impl Paint {
    fn with(self, code: &str, text: impl Display) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// What matters most.
    pub(crate) fn strong(self, text: impl Display) -> String {
        self.with("1", text)
    }

    /// What matters least.
    pub(crate) fn dim(self, text: impl Display) -> String {
        self.with("2", text)
    }

    /// Well.
    pub(crate) fn good(self, text: impl Display) -> String {
        self.with("32", text)
    }

    /// Not well.
    pub(crate) fn bad(self, text: impl Display) -> String {
        self.with("31", text)
    }

    /// Not known, or waiting.
    pub(crate) fn unsure(self, text: impl Display) -> String {
        self.with("33", text)
    }
}

/// A leader and what it tells about itself: `n2`, or `b (10.0.0.2:8080)`.
pub(crate) fn name(leader: &Leader) -> String {
    let value = leader.value.as_str();
    if value.is_empty() || value == leader.id.as_str() {
        leader.id.to_string()
    } else {
        format!("{} ({value})", leader.id)
    }
}

/// What a node shows, in one phrase.
pub(crate) fn sighting(sighting: &Sighting, now: WallTime, paint: Paint) -> String {
    match &sighting.view {
        View::Led(leader) => format!(
            "led by {}   token {}   for {}",
            paint.strong(name(leader)),
            leader.token,
            span(now.since(leader.since)),
        ),
        View::Vacant => paint.unsure("vacant"),
        View::Unknown => match &sighting.reason {
            Some(why) => format!("{} ({why})", paint.bad("unknown")),
            None => paint.bad("unknown"),
        },
    }
}

/// Columns as wide as their widest cell, two spaces apart. Colour may be put on the cells of
/// the last column only, because it has no width to reckon with.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>], paint: Paint) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|word| word.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let lay = |cells: &[String]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            line.push_str(cell);
            let pad = width.saturating_sub(cell.chars().count()) + 2;
            line.push_str(&" ".repeat(pad));
        }
        line.trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|&word| word.to_owned()).collect();
    let mut lines = vec![paint.dim(lay(&head))];
    lines.extend(rows.iter().map(|row| lay(row)));
    lines.join("\n")
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use tenure_core::{CandidateId, Revision, Token, Value, timing::Ttl};

    fn leader(value: &str) -> Leader {
        Leader {
            id: CandidateId::new("b").unwrap(),
            value: Value::new(value).unwrap(),
            token: Token::new(42),
            ttl: Ttl::new(Duration::from_secs(5)).unwrap(),
            since: WallTime::from_micros(0),
        }
    }

    fn seen(view: View, reason: Option<&str>) -> String {
        let revision = Revision::new(7);
        let reason = reason.map(str::to_owned);
        let seen = Sighting { view, revision, age: Duration::ZERO, reason };
        sighting(&seen, WallTime::from_micros(61_000_000), Paint::default())
    }

    #[test]
    fn a_sighting_is_one_phrase() {
        assert_eq!(
            seen(View::Led(leader("10.0.0.2:8080")), None),
            "led by b (10.0.0.2:8080)   token 42   for 1m 1s"
        );
        assert_eq!(seen(View::Led(leader("b")), None), "led by b   token 42   for 1m 1s");
        assert_eq!(seen(View::Vacant, None), "vacant");
        assert_eq!(seen(View::Unknown, Some("no quorum")), "unknown (no quorum)");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["n1".to_owned(), "leader".to_owned(), "x".to_owned()],
            vec!["node-10".to_owned(), "-".to_owned(), "y".to_owned()],
        ];
        insta::assert_snapshot!(table(&["node", "role", "pid"], &rows, Paint::default()), @r"
        node     role    pid
        n1       leader  x
        node-10  -       y
        ");
    }
}
