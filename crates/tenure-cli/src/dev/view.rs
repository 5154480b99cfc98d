//! What the terminal shows.

use std::{path::Path, time::Duration};

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table},
};

use super::model::{Handover, Model, NodeState, Phase};
use crate::{
    events::{ViewWord, role_word},
    output::time::span,
};

/// Cells of the bar that shows the lease.
const BAR: usize = 24;
/// Keys, as the last lines show them.
const KEYS: [(&str, &str); 7] = [
    ("k", "kill leader"),
    ("K", "kill quorum leader"),
    ("p", "pause leader"),
    ("r", "restart dead, wake paused"),
    ("t", "transfer"),
    ("a", "add a node"),
    ("q", "quit"),
];

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Whether to use colours.
    pub(super) colour: bool,
}

impl Look {
    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    fn unsure(self) -> Style {
        self.coloured(Color::Yellow)
    }

    fn bad(self) -> Style {
        self.coloured(Color::Red)
    }

    fn dim() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn strong() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

/// What is around the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    /// The directory of the cluster.
    pub(super) dir: &'a Path,
    /// CLOCK_MONOTONIC in nanoseconds.
    pub(super) now: u64,
    /// What became of the last key.
    pub(super) note: Option<&'a str>,
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, scene: Scene<'_>, look: Look) {
    let nodes = u16::try_from(model.nodes.len()).unwrap_or(u16::MAX);
    let [title, _, headline, lease, _, table, _, history, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Max(nodes.saturating_add(1)),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(5),
    ])
    .horizontal_margin(2)
    .areas(frame.area());
    frame.render_widget(title_line(model, scene.dir), title);
    frame.render_widget(headline_of(model, look), headline);
    frame.render_widget(lease_of(model, scene.now, look), lease);
    frame.render_widget(nodes_table(model, look), table);
    draw_history(frame, model, look, history);
    frame.render_widget(Paragraph::new(help(model, scene.note, look)), foot);
}

fn title_line(model: &Model, dir: &Path) -> Line<'static> {
    Line::from(vec![
        Span::styled("tenure dev", Look::strong()),
        Span::styled(format!("   ttl {}   {}", span(model.ttl), dir.display()), Look::dim()),
    ])
}

fn headline_of(model: &Model, look: Look) -> Line<'static> {
    let election = Span::styled(model.election.to_string(), Look::strong());
    if let Some(leader) = model.leader() {
        let agreed = model.agreed().is_some();
        let mut line = vec![
            election,
            Span::raw(" is led by "),
            Span::styled(leader.id.to_string(), look.good().add_modifier(Modifier::BOLD)),
            Span::raw("   token "),
            Span::styled(leader.token.to_string(), Look::strong()),
        ];
        if !agreed {
            line.push(Span::styled("   not everybody sees it", look.unsure()));
        }
        return Line::from(line);
    }
    match model.why_unknown() {
        Some(why) => Line::from(vec![
            election,
            Span::raw(": "),
            Span::styled(format!("unknown, {why}"), look.bad()),
        ]),
        None if model.live().next().is_none() => {
            Line::from(vec![election, Span::styled(": no node runs", look.bad())])
        }
        None => Line::from(vec![election, Span::styled(": nobody leads", look.unsure())]),
    }
}

/// What is left of the leader's lease if it were never renewed again.
fn lease_of(model: &Model, now: u64, look: Look) -> Line<'static> {
    let until = model.leader_node().and_then(|node| node.lease_until);
    let Some(until) = until else { return Line::from("") };
    let left = Duration::from_nanos(until.saturating_sub(now)).min(model.ttl);
    let share = left.as_secs_f64() / model.ttl.as_secs_f64().max(1e-9);
    let full = (0..BAR).filter(|cell| share * BAR as f64 > *cell as f64).count();
    let style = match share {
        0.5.. => look.good(),
        0.25.. => look.unsure(),
        _ => look.bad(),
    };
    Line::from(vec![
        Span::styled("lease ", Look::dim()),
        Span::styled("━".repeat(full), style),
        Span::styled("╌".repeat(BAR - full), Look::dim()),
        Span::styled(format!(" {:>4} ms of {}", left.as_millis(), span(model.ttl)), Look::dim()),
    ])
}

fn nodes_table(model: &Model, look: Look) -> Table<'static> {
    let leader = model.leader().map(|leader| leader.id.to_string());
    let quorum = model.quorum_leader().map(|(node, _)| node.name.clone());
    let rows = model.nodes.iter().map(|node| {
        let leads = leader.as_deref() == Some(node.name.as_str());
        let cells = vec![
            Cell::from(if leads { "▸" } else { "" }).style(look.good()),
            Cell::from(node.name.to_string()).style(if leads {
                Look::strong()
            } else {
                Style::new()
            }),
            Cell::from(node.pid.map(|pid| pid.to_string()).unwrap_or_default()),
            process_cell(node, look),
            quorum_cell(node, quorum.as_ref() == Some(&node.name)),
            sees_cell(node, look),
            Cell::from(node.addr.clone()).style(Look::dim()),
        ];
        let row = Row::new(cells);
        if node.is_live() { row } else { row.style(Look::dim()) }
    });
    let widths = [
        Constraint::Length(1),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(14),
        Constraint::Length(14),
        Constraint::Length(18),
        Constraint::Fill(1),
    ];
    let head = ["", "node", "pid", "process", "quorum", "sees", "address"];
    Table::new(rows, widths).header(Row::new(head).style(Look::dim())).column_spacing(1)
}

fn process_cell(node: &NodeState, look: Look) -> Cell<'static> {
    match &node.phase {
        Phase::Running => Cell::from("running"),
        Phase::Starting => Cell::from("starting").style(look.unsure()),
        Phase::Paused => Cell::from("paused").style(look.unsure()),
        Phase::Down(status) => Cell::from(status.clone()).style(look.bad()),
    }
}

fn quorum_cell(node: &NodeState, leads: bool) -> Cell<'static> {
    let word = match node.role {
        _ if leads => "leader",
        Some(role) if node.is_live() => role_word(role),
        _ => "",
    };
    if leads { Cell::from(word).style(Look::strong()) } else { Cell::from(word) }
}

fn sees_cell(node: &NodeState, look: Look) -> Cell<'static> {
    let Some((_, belief)) = &node.belief else { return Cell::from("") };
    match (&belief.leader, belief.view) {
        (Some(leader), _) => Cell::from(format!("{} token {}", leader.id, leader.token)),
        (None, ViewWord::Vacant) => Cell::from("vacant").style(look.unsure()),
        (None, _) => Cell::from("unknown").style(look.bad()),
    }
}

fn draw_history(frame: &mut Frame<'_>, model: &Model, look: Look, area: Rect) {
    if model.handovers.is_empty() || area.height < 2 {
        return;
    }
    let fits = usize::from(area.height) - 1;
    let rows = model.handovers.iter().rev().take(fits).map(|handover| history_row(handover, look));
    let widths = [
        Constraint::Length(15),
        Constraint::Length(14),
        Constraint::Length(12),
        Constraint::Length(12),
        Constraint::Fill(1),
    ];
    let head = ["last hand-overs", "", "token", "first view", "last view"];
    let table = Table::new(rows, widths).header(Row::new(head).style(Look::dim()));
    frame.render_widget(table.column_spacing(2), area);
}

fn history_row(handover: &Handover, look: Look) -> Row<'static> {
    let from = handover.from.as_ref().map(|from| format!("{from} → ")).unwrap_or_default();
    let time = |length: Option<Duration>| length.map_or_else(|| String::from("-"), span);
    Row::new(vec![
        Cell::from(handover.cause),
        Cell::from(format!("{from}{}", handover.to)),
        Cell::from(handover.token.to_string()),
        Cell::from(time(handover.took())).style(look.good()),
        Cell::from(time(handover.took_all())),
    ])
}

/// What to try next.
fn help(model: &Model, note: Option<&str>, look: Look) -> Vec<Line<'static>> {
    let mut keys = Vec::new();
    for (key, what) in KEYS {
        keys.push(Span::styled(key, Look::strong()));
        keys.push(Span::styled(format!(" {what}   "), Look::dim()));
    }
    let split = keys.len().min(8);
    let more = keys.split_off(split);
    let election = &model.election;
    let tries = format!(
        "in another terminal: tenure leader {election} --all · tenure watch · tenure dev kill leader"
    );
    vec![
        Line::from(Span::styled(note.unwrap_or_default().to_owned(), look.unsure())),
        Line::from(keys),
        Line::from(more),
        Line::from(Span::styled(tries, Look::dim())),
        Line::from(""),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{name, say, three, view};
    use super::*;
    use ratatui::{Terminal, backend::TestBackend};

    const MS: u64 = 1_000_000;

    fn shown(model: &Model, now: u64) -> String {
        let mut terminal = Terminal::new(TestBackend::new(92, 20)).unwrap();
        let look = Look { colour: true };
        let note = Some("nobody can be killed: no node leads the election");
        let scene = Scene { dir: Path::new("/run/tenure/dev"), now, note };
        terminal.draw(|frame| draw(frame, model, scene, look)).unwrap();
        let text = terminal.backend().to_string();
        let lines = text.lines().map(|line| line.trim_matches('"').trim_end());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_calm_cluster() {
        let mut model = three();
        say(
            &mut model,
            "n1",
            4 * MS,
            r#""event":"lease","election":"demo","token":5,"remaining_ms":990"#,
        );
        insta::assert_snapshot!(shown(&model, 254 * MS));
    }

    #[test]
    fn after_a_kill() {
        let mut model = three();
        model.struck(&name("n1"), "killed", 100 * MS);
        model.exited(&name("n1"), "killed".into(), 101 * MS);
        view(&mut model, "n2", 104 * MS, "n2", 9);
        view(&mut model, "n3", 106 * MS, "n2", 9);
        insta::assert_snapshot!(shown(&model, 200 * MS));
    }

    #[test]
    fn without_a_quorum() {
        let mut model = three();
        model.exited(&name("n1"), "killed".into(), 100 * MS);
        model.paused(&name("n2"), 101 * MS);
        let unknown = r#""event":"view","election":"demo","view":"unknown","leader":null,"revision":5,"reason":"no quorum: 1 of 3 voters answers""#;
        say(&mut model, "n3", 600 * MS, unknown);
        insta::assert_snapshot!(shown(&model, 700 * MS));
    }

    #[test]
    fn a_tiny_terminal_is_no_reason_to_panic() {
        for (width, height) in [(1, 1), (10, 3), (40, 8)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            let look = Look { colour: false };
            let scene = Scene { dir: Path::new("/d"), now: 0, note: None };
            terminal.draw(|frame| draw(frame, &three(), scene, look)).unwrap();
        }
    }
}
