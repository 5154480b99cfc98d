//! `cargo xtask bench wrapper`: real wrappers, real commands, and what each does when something
//! goes wrong. The kernel says who was alive when (pidfds), not the wrappers.

mod column;
mod cost;
mod lives;
mod row;
mod servers;
mod worker;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::install;
use column::{Column, Stage};
use cost::Cost;
use row::{Cell, Row};
pub(crate) use worker::{WorkerArgs, run as work};

/// Options of the bench.
#[derive(Args)]
pub(crate) struct WrapperArgs {
    /// Play these rows alone (repeat it, or separate by commas)
    #[arg(long, value_delimiter = ',')]
    rows: Vec<Row>,
    /// Compare these wrappers alone
    #[arg(long, value_delimiter = ',')]
    columns: Vec<Column>,
    /// Lease, in whole seconds: etcd knows no shorter ones than 2
    #[arg(long, default_value_t = 2)]
    ttl: u64,
    /// How often the start is measured; 0 leaves the cost out
    #[arg(long, default_value_t = 30)]
    starts: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Use this `tenure`, which must know the stores, instead of building one
    #[arg(long)]
    tenure: Option<PathBuf>,
    /// Where data and logs go
    #[arg(long)]
    out: Option<PathBuf>,
}

/// One cell, or why there is none.
type Result = std::result::Result<Option<Cell>, String>;

/// Runs the bench, prints its table; fails when one of ours let two commands live at once, or
/// left something behind.
pub(crate) fn run(args: &WrapperArgs) -> Outcome {
    install::servers()?;
    let out = args.out.clone().unwrap_or_else(|| std::env::temp_dir().join("tenure-wrapper"));
    let tenure = match &args.tenure {
        Some(tenure) => tenure.clone(),
        None => build()?,
    };
    let columns = if args.columns.is_empty() { &Column::ALL[..] } else { &args.columns };
    let rows = if args.rows.is_empty() { &Row::ALL[..] } else { &args.rows };
    let ttl = Duration::from_secs(args.ttl.max(1));
    let cost = match args.starts {
        0 => None,
        rounds => Some(cost::measure(&tenure, &out.join("cost"), rounds)?),
    };
    let (begun, all) = (Instant::now(), rows.len() * columns.len());
    let mut table = Vec::new();
    for row in rows {
        let mut cells = Vec::new();
        for column in columns {
            let cell = play(*row, *column, &tenure, &out, ttl);
            let done = table.len() * columns.len() + cells.len() + 1;
            let spent = begun.elapsed().as_secs();
            eprintln!(
                "[{done}/{all}, {spent} s] {}, {}: {}",
                row.title(),
                column.title(),
                told(&cell)
            );
            cells.push(cell);
        }
        table.push((*row, cells));
    }
    let _ = std::fs::remove_dir_all(&out);
    if args.json {
        println!("{:#}", as_json(columns, &table, cost.as_ref()));
    } else {
        print(columns, &table, cost.as_ref());
    }
    judge(columns, &table)
}

fn build() -> Outcome<PathBuf> {
    eprintln!("building tenure with the stores, with optimisation");
    let mut cargo = install::cargo();
    cargo.args(["build", "--release", "-j2", "--package", "tenure-cli", "--features", "stores"]);
    let built = cargo.current_dir(install::workspace()).stdin(Stdio::null()).status();
    let why = match built {
        Ok(status) if status.success() => {
            return Ok(install::target().join("release/tenure"));
        }
        Ok(status) => format!("cargo ended with {status}"),
        Err(error) => error.to_string(),
    };
    Err(Failure::new("cannot build tenure", why, "see cargo's words above"))
}

fn play(row: Row, column: Column, tenure: &Path, out: &Path, ttl: Duration) -> Result {
    if !row.applies(column) {
        return Ok(None);
    }
    let stage = Stage::new(column, tenure, &out.join(column.title().replace([' ', ','], "")), ttl);
    let cell = stage.and_then(|stage| row::play(stage, row, ttl));
    cell.map(Some).map_err(|failure| failure.brief())
}

fn told(cell: &Result) -> String {
    let short = |time: Duration| match time.as_millis() {
        0 => String::from("0"),
        millis @ ..10_000 => format!("{millis} ms"),
        millis => format!("{} s", millis / 1000),
    };
    match cell {
        Ok(None) => String::from("-"),
        Ok(Some(Cell { overlap, gap, orphans, end })) => {
            let gap = gap.map_or_else(|| String::from("none"), short);
            format!("overlap {}, next {gap}, orphans {orphans}, {end}", short(*overlap))
        }
        Err(why) => format!("FAILED: {why}"),
    }
}

fn print(columns: &[Column], table: &[(Row, Vec<Result>)], cost: Option<&Cost>) {
    let mut shown = Table::new();
    shown.load_style(presets::UTF8_FULL_CONDENSED);
    shown.set_header(
        std::iter::once("what happens to the first of two")
            .chain(columns.iter().map(|column| column.title())),
    );
    for (row, cells) in table {
        let cells = cells.iter().map(|cell| told(cell).replace(", ", "\n"));
        shown.add_row(std::iter::once(row.title().to_owned()).chain(cells));
    }
    println!("{shown}");
    println!(
        "overlap: longest time for which commands of two wrappers were alive at once\n\
         next: from what happened to the next start; none: the first one kept what it held\n\
         orphans: processes of the first command that lived when its wrapper was gone\n\
         \"all its processes\" of tenure run are its front and its warden; \"the way to the store \
         is cut\" is a proxy that lets nothing through; in a quorum the other members are the \
         store, and are killed or frozen\n\
         A suspend cannot be played with the clock: the kernel fixes a time namespace's offset \
         before its first process, so the boot clock of something that runs does not jump."
    );
    if let Some(cost) = cost {
        println!("{}", cost.told());
    }
}

fn as_json(columns: &[Column], table: &[(Row, Vec<Result>)], cost: Option<&Cost>) -> Value {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let cell = |cell: &Result| match cell {
        Ok(None) => Value::Null,
        Ok(Some(cell)) => json!({
            "overlap_ms": millis(cell.overlap),
            "next_ms": cell.gap.map(millis),
            "orphans": cell.orphans,
            "end": cell.end,
        }),
        Err(why) => json!({ "failed": why }),
    };
    let rows = table.iter().map(|(row, cells)| {
        let cells = columns.iter().zip(cells);
        let cells: serde_json::Map<_, _> =
            cells.map(|(column, result)| (column.title().to_owned(), cell(result))).collect();
        json!({ "row": row.title(), "cells": cells })
    });
    json!({ "rows": rows.collect::<Vec<_>>(), "cost": cost })
}

fn judge(columns: &[Column], table: &[(Row, Vec<Result>)]) -> Outcome {
    let ours = table.iter().flat_map(|(row, cells)| {
        let cells = columns.iter().zip(cells).filter(|(column, _)| column.is_ours());
        cells.map(move |(column, cell)| (row, column, cell))
    });
    let bad: Vec<_> = ours
        .filter(|(_, _, cell)| match cell {
            Ok(Some(cell)) => !cell.overlap.is_zero() || cell.orphans > 0,
            Ok(None) => false,
            Err(_) => true,
        })
        .map(|(row, column, cell)| format!("{}, {}: {}", row.title(), column.title(), told(cell)))
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        "tenure run broke its promise",
        bad.join("; "),
        "play the row alone with --rows and --columns, and read the logs",
    ))
}
