//! The work of every partition that a participant leads, as tasks of this process.

use std::collections::BTreeMap;

use core::convert::Infallible;
use tenure_core::{CandidateId, partitions::Action};
use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinError, JoinSet},
};

use super::{Participant, Shares};
use crate::{Campaign, Error, Lead, Leadership, campaign::FAREWELL};

impl Participant {
    /// Takes its share for as long as this future lives, and runs the work of every partition
    /// that it leads, as a task of its own each.
    ///
    /// | what happens | what becomes of the work of a partition | and then |
    /// |---|---|---|
    /// | it ends with an error | it is done | everything is given back; the error is the answer |
    /// | it ends | it is done | the partition is given back, and taken again after a while |
    /// | leadership is lost | its future is dropped where it waits | the plan decides |
    /// | the plan gives it away | it is dropped after [`Participant::grace`] | it is handed over |
    ///
    /// # Errors
    /// Of the work; [`Error::Closed`], turned into its type, when the elector was closed.
    ///
    /// # Cancel safety
    /// All work is dropped, then everything is given back, seat and all, with nobody lined up to
    /// take it: [`Participant::run_until`] does better.
    pub async fn run<E, F, W>(self, work: F) -> Result<Infallible, E>
    where
        F: FnMut(u32, Lead) -> W,
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.run_until(core::future::pending(), work).await
    }

    /// The same until `stop` is ready: then the seat is given up, others line up, and each
    /// partition is handed to the participant that takes it. Gives what `stop` gave.
    ///
    /// # Errors
    /// As [`Participant::run`].
    ///
    /// # Cancel safety
    /// As [`Participant::run`].
    pub async fn run_until<T, E, F, W>(self, stop: impl Future<Output = T>, work: F) -> Result<T, E>
    where
        F: FnMut(u32, Lead) -> W,
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let mut stop = core::pin::pin!(stop);
        let mut running = Running {
            shares: self.shares(),
            work,
            tasks: JoinSet::new(),
            parts: BTreeMap::new(),
            campaigns: 0,
        };
        let stopped = loop {
            tokio::select! {
                stopped = &mut stop => break stopped,
                turned = running.turn() => turned?,
            }
        };
        running.shares.leave();
        while !running.parts.is_empty() {
            running.turn().await?;
        }
        Ok(stopped)
    }
}

/// What became of a task of one partition.
enum Done<E> {
    Granted(u64, Campaign, Leadership),
    /// The work has ended, or was stopped when there is no outcome; the store knows, or was told.
    Ended(Option<Result<(), E>>),
    Refused(u64, Error),
}

/// A participant at work.
struct Running<E, F> {
    shares: Shares,
    work: F,
    tasks: JoinSet<(u32, Done<E>)>,
    parts: BTreeMap<u32, Part>,
    /// Campaigns so far. One that was left may have been granted in that moment: it is not
    /// taken for the next one.
    campaigns: u64,
}

/// What goes on for one partition.
enum Part {
    Contends(u64, AbortHandle),
    Leads(Option<oneshot::Sender<Option<CandidateId>>>),
}

impl<E, F, W> Running<E, F>
where
    F: FnMut(u32, Lead) -> W,
    W: Future<Output = Result<(), E>> + Send + 'static,
    E: From<Error> + Send + 'static,
{
    /// Waits for one thing to happen, and does what follows from it.
    async fn turn(&mut self) -> Result<(), E> {
        tokio::select! {
            actions = self.shares.next() => {
                for action in actions? {
                    self.act(action)?;
                }
            }
            Some(done) = self.tasks.join_next() => self.on_task(done)?,
        }
        Ok(())
    }

    fn on_task(&mut self, done: Result<(u32, Done<E>), JoinError>) -> Result<(), E> {
        match done {
            Ok((number, done)) => self.on_done(number, done),
            // Left: there is nothing to say about it. A panic of the work is the caller's.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Ok(()),
            },
        }
    }

    fn act(&mut self, action: Action) -> Result<(), Error> {
        match action {
            Action::Contend(number) => self.contend(number)?,
            Action::Leave(number) => {
                if let Some(Part::Contends(_, task)) = self.parts.remove(&number) {
                    task.abort();
                }
            }
            Action::HandOver(number, to) => {
                if let Some(Part::Leads(stop)) = self.parts.get_mut(&number)
                    && let Some(stop) = stop.take()
                {
                    // A task that has ended by itself says so.
                    let _ = stop.send(to);
                }
            }
        }
        Ok(())
    }

    fn contend(&mut self, number: u32) -> Result<(), Error> {
        let candidate =
            self.shares.participant.candidate(&self.shares.participant.partition(number)?);
        self.campaigns += 1;
        let campaigns = self.campaigns;
        let task = self.tasks.spawn(async move {
            let done = match candidate.start() {
                Ok(mut campaign) => match campaign.elected().await {
                    Ok(leadership) => Done::Granted(campaigns, campaign, leadership),
                    Err(error) => Done::Refused(campaigns, error),
                },
                Err(error) => Done::Refused(campaigns, error),
            };
            (number, done)
        });
        self.parts.insert(number, Part::Contends(campaigns, task));
        Ok(())
    }

    fn on_done(&mut self, number: u32, done: Done<E>) -> Result<(), E> {
        match done {
            Done::Granted(campaigns, campaign, leadership) => {
                // Who has left meanwhile drops both, and so gives it back.
                if self.contends(number, campaigns) && self.shares.granted(number) {
                    self.lead(number, campaign, leadership);
                }
            }
            Done::Ended(Some(Err(error))) => return Err(error),
            Done::Ended(outcome) => {
                self.parts.remove(&number);
                self.shares.ended(number, outcome.is_some());
            }
            Done::Refused(_, Error::Closed) => return Err(Error::Closed.into()),
            Done::Refused(campaigns, _) => {
                if self.contends(number, campaigns) {
                    self.parts.remove(&number);
                    self.shares.ended(number, true);
                }
            }
        }
        Ok(())
    }

    /// Whether it is this campaign that contends, and none before it.
    fn contends(&self, number: u32, campaigns: u64) -> bool {
        matches!(self.parts.get(&number), Some(Part::Contends(it, _)) if *it == campaigns)
    }

    fn lead(&mut self, number: u32, campaign: Campaign, leadership: Leadership) {
        let (stop, stopped) = oneshot::channel();
        let work = (self.work)(number, leadership.lead());
        let grace = self.shares.participant.grace;
        self.tasks.spawn(async move {
            let mut successor = None;
            let done = {
                let asked = async {
                    match stopped.await {
                        Ok(to) => successor = to,
                        // The participant has gone.
                        Err(_) => return,
                    }
                    tokio::time::sleep(grace).await;
                };
                tokio::select! {
                    done = leadership.protect(work) => done.ok(),
                    () = asked => None,
                }
            };
            match successor {
                Some(to) => leadership.transfer(to),
                None => drop(leadership),
            }
            campaign.withdraw(FAREWELL).await;
            (number, Done::Ended(done))
        });
        self.parts.insert(number, Part::Leads(Some(stop)));
    }
}
