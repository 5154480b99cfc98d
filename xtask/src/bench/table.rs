//! Tables and lengths, as the reports show them.

use comfy_table::{Cell, CellAlignment, Table, presets};

/// A table with a head.
pub(super) fn plain(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(head);
    table
}

/// Numbers stand at the right of their cells.
pub(super) fn numbers(texts: Vec<String>) -> Vec<Cell> {
    let cell = |text| Cell::new(text).set_alignment(CellAlignment::Right);
    texts.into_iter().map(cell).collect()
}

/// A length in milliseconds for people.
pub(super) fn ms(ms: f64) -> String {
    match ms {
        _ if ms >= 10_000.0 => format!("{:.1} s", ms / 1000.0),
        _ if ms >= 100.0 => format!("{ms:.0} ms"),
        _ => format!("{ms:.1} ms"),
    }
}
