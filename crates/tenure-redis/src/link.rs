//! The connection to the primary, made anew whenever it is of no use any more.

use std::sync::Arc;

use core::time::Duration;
use futures_util::StreamExt;
use redis::{Client, ConnectionAddr, IntoConnectionInfo, ScriptInvocation, Value};
use tenure_core::backend::StoreError;
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    task::JoinSet,
};

use crate::{
    dial::{Dialer, Live},
    location::Address,
    sentinel::SWITCH,
    trouble::{Trouble, understood},
};

/// First and longest pause between two attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Whether there is a connection.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Live(Arc<Live>),
    Away(Trouble),
}

/// A reason to look for a better connection.
#[derive(Debug)]
enum Doubt {
    /// The connection of this number is of no use.
    Of(u64, Trouble),
    /// The primary is there, by the word of a sentinel.
    Elsewhere(Address),
}

/// The way to the primary. Its tasks end when it is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    dialer: Arc<Dialer>,
    state: watch::Receiver<State>,
    doubts: UnboundedSender<Doubt>,
    _tasks: JoinSet<()>,
}

impl Link {
    /// Connects, and keeps connected.
    pub(crate) async fn new(dialer: Dialer) -> Result<(Self, Arc<Live>), Trouble> {
        let first = Arc::new(dialer.dial().await?);
        let dialer = Arc::new(dialer);
        let (tell, state) = watch::channel(State::Live(Arc::clone(&first)));
        let (doubts, doubted) = unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(supervise(Arc::clone(&dialer), tell, doubted));
        if let Some(sentinels) = &dialer.sentinels {
            for sentinel in sentinels.configured() {
                let (name, doubts) = (sentinels.name().to_owned(), doubts.clone());
                tasks.spawn(listen(sentinel.clone(), name, doubts, dialer.patience));
            }
        }
        Ok((Self { dialer, state, doubts, _tasks: tasks }, first))
    }

    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    pub(crate) fn patience(&self) -> Duration {
        self.dialer.patience
    }

    /// The connection, if there is one now.
    pub(crate) fn present(&self) -> Result<Arc<Live>, StoreError> {
        match &*self.state.borrow() {
            State::Live(live) => Ok(Arc::clone(live)),
            State::Away(trouble) => Err(trouble.of_store()),
        }
    }

    /// The connection, as soon as there is one.
    pub(crate) async fn live(&self) -> Result<Arc<Live>, StoreError> {
        let mut state = self.state.clone();
        let live = state.wait_for(|state| matches!(state, State::Live(_)));
        // Whether it came or not is told by what is there now.
        let _ = tokio::time::timeout(self.patience(), live).await;
        self.present()
    }

    /// This connection is of no use any more.
    pub(crate) fn doubt(&self, live: &Live, trouble: Trouble) -> StoreError {
        let error = trouble.of_store();
        // The supervisor outlives every caller.
        let _ = self.doubts.send(Doubt::Of(live.number, trouble));
        error
    }

    /// The server behind this connection is another start than the one that was talked to.
    pub(crate) fn moved(&self, live: &Live) -> StoreError {
        let why = format!("Redis at {} was restarted, or another one was promoted", live.address);
        self.doubt(live, Trouble::silent(why))
    }

    /// Runs a script.
    pub(crate) async fn call(
        &self,
        live: &Live,
        script: &ScriptInvocation<'_>,
    ) -> Result<Value, StoreError> {
        let mut connection = live.connection.clone();
        script.invoke_async(&mut connection).await.map_err(|error| self.failed(live, &error))
    }

    pub(crate) fn failed(&self, live: &Live, error: &redis::RedisError) -> StoreError {
        let (mut trouble, broken) = understood(error);
        trouble.why = format!("{}: {}", live.address, trouble.why);
        match broken {
            true => self.doubt(live, trouble),
            false => trouble.of_store(),
        }
    }

    /// Whether what this server has just granted may be believed: a majority of the sentinels
    /// must still name it.
    pub(crate) async fn confirm(&self, live: &Live) -> Result<(), StoreError> {
        let Some(sentinels) = &self.dialer.sentinels else { return Ok(()) };
        sentinels.confirm(&live.address).await.map_err(|trouble| self.doubt(live, trouble))
    }
}

async fn supervise(
    dialer: Arc<Dialer>,
    tell: watch::Sender<State>,
    mut doubts: UnboundedReceiver<Doubt>,
) {
    while let Some(doubt) = doubts.recv().await {
        let trouble = match (&*tell.borrow(), doubt) {
            (State::Live(live), Doubt::Of(number, trouble)) if live.number == number => trouble,
            (State::Live(live), Doubt::Elsewhere(address)) if live.address != address => {
                Trouble::silent(format!("a sentinel has named {address} as the new primary"))
            }
            _ => continue,
        };
        tracing::debug!(why = %trouble.why, "the connection to Redis is given up");
        tell.send_replace(State::Away(trouble));
        let mut pause = PAUSES.0;
        let live = loop {
            match dialer.dial().await {
                Ok(live) => break live,
                Err(trouble) => {
                    tracing::debug!(why = %trouble.why, "no connection to Redis");
                    tell.send_replace(State::Away(trouble));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSES.1),
                // News of a sentinel, perhaps.
                doubt = doubts.recv() => if doubt.is_none() { return },
            }
        };
        tracing::debug!(?live, "connected to Redis");
        tell.send_replace(State::Live(Arc::new(live)));
    }
}

/// Listens to what one sentinel announces.
async fn listen(
    sentinel: Address,
    name: String,
    doubts: UnboundedSender<Doubt>,
    patience: Duration,
) {
    loop {
        let address = ConnectionAddr::Tcp(sentinel.host.clone(), sentinel.port);
        let listening = tokio::time::timeout(patience, async {
            let client = Client::open(address.into_connection_info()?)?;
            let mut listening = client.get_async_pubsub().await?;
            listening.subscribe(SWITCH).await?;
            Ok::<_, redis::RedisError>(listening)
        });
        if let Ok(Ok(listening)) = listening.await {
            let mut messages = listening.into_on_message();
            while let Some(message) = messages.next().await {
                let text = message.get_payload::<String>().unwrap_or_default();
                if let Some(address) = switched(&text, &name)
                    && doubts.send(Doubt::Elsewhere(address)).is_err()
                {
                    return;
                }
            }
        }
        tokio::time::sleep(PAUSES.1).await;
    }
}

/// `NAME OLD-HOST OLD-PORT NEW-HOST NEW-PORT`.
fn switched(text: &str, name: &str) -> Option<Address> {
    let words: Vec<_> = text.split(' ').collect();
    let [named, _, _, host, port] = words.as_slice() else { return None };
    let port = port.parse().ok()?;
    (*named == name).then(|| Address { host: (*host).to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_of_other_primaries_are_passed_over() {
        let text = "mymaster 10.0.0.1 6379 10.0.0.2 6380";
        let address = Address { host: String::from("10.0.0.2"), port: 6380 };
        assert_eq!(switched(text, "mymaster"), Some(address));
        assert_eq!(switched(text, "other"), None);
        assert_eq!(switched("mymaster 10.0.0.1", "mymaster"), None);
    }
}
