//! The terminal: what keys mean, and when to draw.

use std::time::{Duration, Instant};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    control::{Request, Target},
    model::{Model, Phase},
    supervisor::Input,
    view::{self, Look, Scene},
};
use crate::{error::Failure, output::Color};

/// Shortest time between two frames.
const FRAME: Duration = Duration::from_millis(30);

/// The terminal, until this value is dropped.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: DefaultTerminal,
    drawn: Option<Instant>,
    look: Look,
}

impl Screen {
    /// Takes over the terminal.
    pub(super) fn open(inputs: &UnboundedSender<Input>, color: Color) -> Result<Self, Failure> {
        let cannot = |error: &std::io::Error| {
            Failure::io("cannot draw on this terminal", error, "tenure dev | cat, or --json")
        };
        let terminal = ratatui::try_init().map_err(|error| cannot(&error))?;
        let screen =
            Self { terminal, drawn: None, look: Look { colour: color.on(&std::io::stdout()) } };
        let inputs = inputs.clone();
        // Reading a terminal blocks, so it has a thread; it ends with the process.
        std::thread::Builder::new()
            .name(String::from("tenure-keys"))
            .spawn(move || {
                while let Ok(event) = event::read() {
                    if inputs.send(Input::Terminal(event)).is_err() {
                        break;
                    }
                }
            })
            .map_err(|error| cannot(&error))?;
        Ok(screen)
    }

    /// What a key asks for.
    pub(super) fn key(&mut self, event: &Event, model: &Model) -> Vec<Request> {
        match event {
            Event::Key(key) if key.kind == KeyEventKind::Press => requests(*key, model),
            _ => {
                self.drawn = None;
                Vec::new()
            }
        }
    }

    /// Draws, unless that was done a moment ago: the next tick will.
    pub(super) fn draw(&mut self, model: &Model, scene: Scene<'_>) {
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < FRAME) {
            return;
        }
        self.drawn = Some(Instant::now());
        let look = self.look;
        // A frame that cannot be drawn is followed by one that perhaps can.
        let _ = self.terminal.draw(|frame| view::draw(frame, model, scene, look));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn requests(key: KeyEvent, model: &Model) -> Vec<Request> {
    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if interrupt => vec![Request::Down],
        KeyCode::Char('q') => vec![Request::Down],
        KeyCode::Char('k') => vec![Request::Kill { target: Target::Leader }],
        KeyCode::Char('K') => vec![Request::Kill { target: Target::QuorumLeader }],
        KeyCode::Char('p') => vec![Request::Pause { target: Target::Leader }],
        KeyCode::Char('t') => vec![Request::Transfer { to: None }],
        KeyCode::Char('a') => vec![Request::Add],
        KeyCode::Char('r') => wake(model),
        _ => Vec::new(),
    }
}

/// Whatever is down is started, whatever is paused goes on.
fn wake(model: &Model) -> Vec<Request> {
    let wake = |node: &super::model::NodeState| match node.phase {
        Phase::Down(_) => Some(Request::Restart { node: node.name.clone() }),
        Phase::Paused => Some(Request::Resume { node: node.name.clone() }),
        Phase::Starting | Phase::Running => None,
    };
    model.nodes.iter().filter_map(wake).collect()
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{name, three};
    use super::*;

    fn press(c: char, model: &Model) -> Vec<Request> {
        requests(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE), model)
    }

    #[test]
    fn keys_ask_for_what_the_last_line_says() {
        let mut model = three();
        assert_eq!(press('k', &model), [Request::Kill { target: Target::Leader }]);
        assert_eq!(press('K', &model), [Request::Kill { target: Target::QuorumLeader }]);
        assert_eq!(press('q', &model), [Request::Down]);
        assert_eq!(press('r', &model), []);
        assert_eq!(press('x', &model), []);
        model.exited(&name("n1"), "killed".into(), 1);
        model.paused(&name("n2"), 2);
        assert_eq!(
            press('r', &model),
            [Request::Restart { node: name("n1") }, Request::Resume { node: name("n2") }]
        );
    }
}
