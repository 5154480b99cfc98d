//! `mem://name`: the ledger behind a mutex, for candidates of one process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use core::{future::Future, pin::Pin, time::Duration};
use tenure_core::{
    CandidateId, ElectionName, Moment, SessionId, View,
    backend::{
        Answer, Backend, Bid, Capabilities, Change, Connect, ConnectError, Guarantee, Hold,
        Holding, Slot, StoreError,
    },
    ledger::{Command, Ledger, Outcome, Refusal, SessionEnd, Standing},
    timing::Ttl,
};
use tokio::sync::broadcast;

use crate::system;

/// Hints that a slow reader may leave unread before it is told that everything has changed.
const HINTS: usize = 256;

/// All stores of this process. They last as long as it does, so that tokens never fall back.
static STORES: Mutex<BTreeMap<String, Arc<Store>>> = Mutex::new(BTreeMap::new());

/// One ledger with its clocks.
#[derive(Debug)]
struct Store {
    state: Mutex<State>,
    hints: broadcast::Sender<ElectionName>,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    leases: BTreeMap<SessionId, (Ttl, Moment)>,
}

/// One connection.
#[derive(Debug)]
struct Mem {
    store: Arc<Store>,
    hints: tokio::sync::Mutex<broadcast::Receiver<ElectionName>>,
    capabilities: Capabilities,
}

/// Connects to the store of that name, and makes it when it is new.
pub(super) fn connect(connect: &Connect) -> Result<Arc<dyn Backend>, ConnectError> {
    let name = connect.url.trim_start_matches("mem://");
    if name.contains('?') {
        let why = String::from("a store in memory has no settings, for example mem://jobs");
        return Err(ConnectError::Url { what: connect.url.clone(), why });
    }
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    let store = stores.entry(name.to_owned()).or_insert_with(|| {
        let hints = broadcast::channel(HINTS).0;
        Arc::new(Store { state: Mutex::default(), hints })
    });
    let store = Arc::clone(store);
    let hints = tokio::sync::Mutex::new(store.hints.subscribe());
    Ok(Arc::new(Mem { store, hints, capabilities: capabilities() }))
}

fn capabilities() -> Capabilities {
    Capabilities {
        store: String::from("mem"),
        shortest_ttl: Ttl::MIN.get(),
        ttl_step: Duration::from_millis(1),
        expired_by: String::from("this process's CLOCK_BOOTTIME"),
        one_holder: Guarantee::Yes,
        monotonic_token: Guarantee::Yes,
        pushed: Guarantee::Yes,
        queue: true,
        transfer: true,
        pads_leases: false,
        expiry_delay: Duration::ZERO,
    }
}

impl Store {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a command after whatever has run out by now.
    fn apply(&self, command: Command) -> Outcome {
        let mut state = self.state();
        let now = system::moment();
        let over = state.leases.iter().filter(|(_, (_, deadline))| *deadline <= now);
        let over: Vec<_> = over.map(|(session, (ttl, _))| (*session, ttl.get())).collect();
        for (session, silent) in over {
            state.leases.remove(&session);
            let reason = SessionEnd::Expired { silent };
            self.enter(&mut state, Command::CloseSession { session, reason });
        }
        self.enter(&mut state, command)
    }

    fn enter(&self, state: &mut State, command: Command) -> Outcome {
        let applied = state.ledger.apply(None, system::wall(), command);
        for event in &applied.events {
            if let Some(election) = event.kind.election() {
                // Nobody may be listening.
                let _ = self.hints.send(election.clone());
            }
        }
        applied.outcome
    }

    /// From now on the session lasts for a whole ttl.
    fn extend(&self, session: SessionId, ttl: Option<Ttl>) -> Result<(), StoreError> {
        let mut state = self.state();
        let now = system::moment();
        let ttl = match (ttl, state.leases.get(&session)) {
            (Some(ttl), _) => ttl,
            (None, Some((ttl, deadline))) if *deadline > now => *ttl,
            _ => return Err(StoreError::NoSession { session }),
        };
        state.leases.insert(session, (ttl, now + ttl.get()));
        Ok(())
    }

    fn holding(&self, election: &ElectionName, asks: Option<SessionId>) -> Holding {
        let state = self.state();
        let (view, revision) = state.ledger.view(election);
        let known = state.ledger.election(election);
        let tenure = known.and_then(|election| election.tenure());
        let holder = match (view, tenure) {
            (View::Led(leader), Some(tenure)) => Some((tenure.session, leader)),
            _ => None,
        };
        let waiting = known.map(|election| election.waiting()).unwrap_or_default();
        let position = waiting.iter().position(|waiting| Some(waiting.session) == asks);
        let lease = holder.as_ref().and_then(|(holder, _)| state.leases.get(holder));
        Holding {
            revision,
            position: position.map_or(1, |at| u32::try_from(at + 1).unwrap_or(u32::MAX)),
            again: lease.map(|(_, deadline)| deadline.since(system::moment())),
            holder,
        }
    }
}

fn refused(outcome: Outcome) -> Result<Outcome, StoreError> {
    match outcome {
        Outcome::Refused(Refusal::NoSession { session }) => Err(StoreError::NoSession { session }),
        Outcome::Refused(refusal) => Err(StoreError::Refused { why: refusal.to_string() }),
        outcome => Ok(outcome),
    }
}

fn ready<'a, T: Send + 'a>(result: Result<T, StoreError>) -> Answer<'a, T> {
    Box::pin(core::future::ready(result))
}

impl Backend for Mem {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn open(&self, session: SessionId, ttl: Ttl) -> Answer<'_, ()> {
        let opened = self.store.apply(Command::OpenSession { session, ttl, supersedes: None });
        ready(refused(opened).and_then(|_| self.store.extend(session, Some(ttl))))
    }

    fn close(&self, session: SessionId) -> Answer<'_, ()> {
        let reason = SessionEnd::Closed;
        self.store.apply(Command::CloseSession { session, reason });
        self.store.state().leases.remove(&session);
        ready(Ok(()))
    }

    fn acquire(&self, bid: Bid) -> Answer<'_, Holding> {
        let Bid { session, election, candidate, value, .. } = bid;
        let command = Command::Campaign {
            session,
            election: election.clone(),
            candidate,
            value,
            standing: Standing::default(),
        };
        let extended = self.store.extend(session, None);
        let entered = extended.and_then(|()| refused(self.store.apply(command)));
        ready(entered.map(|_| self.store.holding(&election, Some(session))))
    }

    fn withdraw(&self, session: SessionId, election: ElectionName) -> Answer<'_, ()> {
        self.store.apply(Command::Withdraw { session, election });
        ready(Ok(()))
    }

    fn renew(&self, session: SessionId, holds: Vec<Hold>) -> Answer<'_, Vec<ElectionName>> {
        let renewed = self.store.extend(session, None).map(|()| {
            let holds = holds.into_iter();
            let lapsed = holds.filter(|hold| {
                let standing = self.store.holding(&hold.election, None);
                standing.token_of(session) != Some(hold.token)
            });
            lapsed.map(|hold| hold.election).collect()
        });
        ready(renewed)
    }

    fn release(&self, hold: Hold, successor: Option<CandidateId>) -> Answer<'_, bool> {
        let Hold { session, election, token, .. } = hold;
        let outcome = match successor {
            Some(to) => {
                let election = election.clone();
                self.store.apply(Command::Transfer { session, election, token, to })
            }
            None => Outcome::Done,
        };
        // A hand-over leaves the candidate in the queue; it contends again when it wants to.
        let outcome = match outcome {
            Outcome::Refused(Refusal::NotLeader { .. }) => return ready(Ok(false)),
            Outcome::Refused(_) => self.store.apply(Command::Resign { session, election, token }),
            _ if self.store.holding(&election, None).token_of(session) == Some(token) => {
                self.store.apply(Command::Resign { session, election, token })
            }
            _ => self.store.apply(Command::Withdraw { session, election }),
        };
        ready(Ok(!matches!(outcome, Outcome::Refused(Refusal::NotLeader { .. }))))
    }

    fn look(&self, elections: Vec<ElectionName>) -> Answer<'_, Vec<Holding>> {
        let look = |election: &ElectionName| self.store.holding(election, None);
        ready(Ok(elections.iter().map(look).collect()))
    }

    fn take(&self, slot: Slot) -> Answer<'_, Slot> {
        let Slot { election, name, token } = slot;
        let command = Command::Take { election: election.clone(), token, slot: name };
        ready(refused(self.store.apply(command)).and_then(|outcome| match outcome {
            Outcome::Taken { slot: name, token } => Ok(Slot { election, name, token }),
            other => Err(StoreError::Refused { why: format!("it answered {other:?}") }),
        }))
    }

    fn follow(&self, _election: ElectionName) {}

    fn unfollow(&self, _election: &ElectionName) {}

    fn changed(&self) -> Pin<Box<dyn Future<Output = Change> + Send + '_>> {
        Box::pin(async {
            match self.hints.lock().await.recv().await {
                Ok(election) => Change::Elections(vec![election]),
                Err(_) => Change::Everything,
            }
        })
    }
}
