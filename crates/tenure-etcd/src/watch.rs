//! Follows etcd's events, and turns them into hints.
//!
//! One watch over all elections below the prefix, resumed from the revision after the last event
//! whenever it breaks. It is never trusted to be alive because it is silent: it is asked how far
//! it has come, and left for another member when it does not say.

use core::time::Duration;
use std::sync::Arc;

use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    store::Shared,
    wire::{
        DELETED, Event, WatchCreate, WatchProgress, WatchRequest, WatchResponse, Watching, path,
    },
};

/// Longest pause before the next attempt.
const PAUSE: Duration = Duration::from_secs(1);

/// Watches until it is aborted. `beat` is the longest silence.
pub(crate) async fn watch(shared: Arc<Shared>, beat: Duration) {
    let mut watch = Watch { shared, beat, next: 0, pause: Duration::ZERO };
    loop {
        let (at, why) = watch.once().await;
        tracing::debug!(%why, "the watch has ended");
        watch.shared.client.leave(at);
        watch.pause = (watch.pause * 2 + Duration::from_millis(5)).min(PAUSE);
        sleep(watch.pause).await;
    }
}

struct Watch {
    shared: Arc<Shared>,
    beat: Duration,
    /// The first revision that was not seen; 0 when events were missed.
    next: i64,
    pause: Duration,
}

fn asking(watching: Watching) -> WatchRequest {
    WatchRequest { watching: Some(watching) }
}

impl Watch {
    /// One stream; gives the member it came from, and why it has ended.
    async fn once(&mut self) -> (usize, String) {
        let (asks, asked) = mpsc::channel(4);
        let (key, range_end) = self.shared.keys.all();
        let create = WatchCreate { key, range_end, start_revision: self.next };
        // Four fit, and none is taken before the stream is open.
        let _ = asks.try_send(asking(Watching::Create(create)));
        let client = &self.shared.client;
        let (at, opened) = client.stream(path::WATCH, ReceiverStream::new(asked)).await;
        let mut answers: tonic::Streaming<WatchResponse> = match opened {
            Ok(answers) => answers,
            Err(why) => return (at, why),
        };
        let mut beat = self.beat;
        loop {
            match timeout(beat, answers.message()).await {
                Ok(Ok(Some(answer))) => {
                    beat = self.beat;
                    if let Err(why) = self.on(&answer) {
                        return (at, why);
                    }
                }
                Ok(Ok(None)) => return (at, String::from("etcd has closed it")),
                Ok(Err(status)) => return (at, status.message().to_owned()),
                Err(_) if beat == self.beat && asks.try_send(progress()).is_ok() => {
                    beat = self.shared.client.attempt;
                }
                Err(_) => return (at, String::from("it does not say how far it has come")),
            }
        }
    }

    fn on(&mut self, answer: &WatchResponse) -> Result<(), String> {
        if answer.canceled {
            // Compacted: what happened since cannot be had any more.
            self.next = 0;
            return Err(format!("{} {}", answer.cancel_reason, answer.compact_revision));
        }
        self.pause = Duration::ZERO;
        if answer.created && self.next == 0 {
            let revision = answer.header.as_ref().map_or(0, |header| header.revision);
            self.next = revision + 1;
            self.shared.sights().forget();
            self.shared.hints().everything();
        }
        for event in &answer.events {
            self.happened(event);
        }
        Ok(())
    }

    fn happened(&mut self, event: &Event) {
        let Some(kv) = &event.kv else { return };
        self.next = self.next.max(kv.mod_revision + 1);
        let Some(parts) = self.shared.keys.parts(&kv.key) else { return };
        let deleted = event.kind == DELETED;
        if !deleted {
            self.shared.delete_if_stray(&kv.key);
        }
        let hint = self.shared.sights().event(&parts.election, &kv.key, deleted, kv.mod_revision);
        if hint {
            self.shared.hints().changed(parts.election);
        }
    }
}

fn progress() -> WatchRequest {
    asking(Watching::Progress(WatchProgress {}))
}
