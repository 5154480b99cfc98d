//! What this process contends for, holds and follows.

use alloc::vec::Vec;

use super::{
    super::{Bid, Hold, Holding, News, StoreError},
    Registrar, Report,
    entry::Ending,
};
use crate::{
    CandidateId, ElectionName, Moment, RequestId, SessionId, Token,
    ledger::{Outcome, Refusal},
};

impl Registrar {
    pub(super) fn campaign(&mut self, request: RequestId, bid: Bid, now: Moment) {
        let election = bid.election.clone();
        let entry = self.entry(&election);
        if let Some(older) = entry.campaign.replace(request) {
            // The later one is answered for both.
            self.refuse(older, Refusal::NotCandidate { election: election.clone() });
        }
        let entry = self.entry(&election);
        if let (Some(token), None) = (entry.held_token(), &entry.ending) {
            entry.campaign = None;
            return self.say(News::Outcome(request, Outcome::Leading { token }));
        }
        if entry.ending.is_none() {
            entry.bid = Some(bid);
        }
        self.look_after(&election, now);
    }

    pub(super) fn withdraw(
        &mut self,
        request: RequestId,
        session: SessionId,
        election: &ElectionName,
        now: Moment,
    ) {
        if self.ttl_of(request, session).is_none() {
            return;
        }
        if self.supersede(request, election) {
            return;
        }
        let entry = self.entry(election);
        if let Some(token) = entry.held_token() {
            let election = election.clone();
            return self.refuse(request, Refusal::Leads { election, token });
        }
        if entry.bid.is_none() {
            self.refuse(request, Refusal::NotCandidate { election: election.clone() });
            return self.tidy(election);
        }
        entry.ending = Some(Ending::Withdraw { request });
        self.look_after(election, now);
    }

    pub(super) fn release(
        &mut self,
        request: RequestId,
        session: SessionId,
        election: ElectionName,
        token: Token,
        successor: Option<CandidateId>,
        now: Moment,
    ) {
        let Some(ttl) = self.ttl_of(request, session) else { return };
        if self.entry(&election).held_token() == Some(token) && self.supersede(request, &election) {
            return;
        }
        let entry = self.entry(&election);
        if entry.held_token() != Some(token) || entry.ending.is_some() {
            let current = entry.held_token();
            return self.refuse(request, Refusal::NotLeader { election, given: token, current });
        }
        let hold = Hold { session, election: election.clone(), token, ttl };
        entry.ending = Some(Ending::Release { request, hold, successor });
        self.look_after(&election, now);
    }

    /// An ending that is under way already ends the candidacy as wished: it answers the later
    /// request too. Refusing that one would make a contender that changes its mind, from
    /// handing over to leaving, ask again and again until the store has answered.
    fn supersede(&mut self, request: RequestId, election: &ElectionName) -> bool {
        let entry = self.entry(election);
        let Some(Ending::Release { request: older, .. } | Ending::Withdraw { request: older }) =
            &mut entry.ending
        else {
            return false;
        };
        let older = core::mem::replace(older, request);
        // Whoever contended on after the hand-over does not any more.
        let campaign = entry.campaign.take();
        for request in [Some(older), campaign].into_iter().flatten() {
            self.refuse(request, Refusal::NotCandidate { election: election.clone() });
        }
        true
    }

    pub(super) fn acquired(
        &mut self,
        number: u64,
        bid: &Bid,
        result: Result<Report, StoreError>,
        now: Moment,
    ) {
        let (election, told) = (&bid.election, self.renewals.told());
        let entry = self.entry(election);
        entry.busy = false;
        if entry.bid.as_ref() != Some(bid) {
            // Asked under a session that is gone.
            return self.look_after(election, now);
        }
        let Ok(Report::Stood(mut holdings)) = result else { return self.ask_later(election, now) };
        let Some(holding) = holdings.pop() else { return self.ask_later(election, now) };
        let token = holding.token_of(bid.session);
        // A renewal that left later and did not name it was believed already: once more, so
        // that its lease is at least as long.
        if token.is_some() && told > number {
            return self.look_after(election, now);
        }
        entry.held = token.map(|token| (token, number));
        let news = entry.note(holding, now) || token.is_some();
        let outcome = match token {
            Some(token) => Outcome::Leading { token },
            None => Outcome::Waiting { position: entry.position() },
        };
        let campaign = entry.campaign.take();
        if let (Some(token), Some(Ending::Withdraw { request })) = (token, &entry.ending) {
            let request = *request;
            entry.ending = None;
            self.refuse(request, Refusal::Leads { election: election.clone(), token });
        } else if let Some(campaign) = campaign {
            self.say(News::Outcome(campaign, outcome));
        }
        if news {
            self.tell(election, now);
        }
        self.settle(election, now);
    }

    pub(super) fn ended(&mut self, bid: &Bid, result: &Result<Report, StoreError>, now: Moment) {
        let (election, poll) = (&bid.election, self.poll);
        let entry = self.entry(election);
        entry.busy = false;
        if entry.bid.as_ref() != Some(bid) {
            return self.look_after(election, now);
        }
        let Ok(report) = result else { return self.ask_later(election, now) };
        let Some(ending) = entry.ending.take() else { return };
        if entry.campaign.is_none() {
            entry.bid = None;
        }
        let (request, outcome) = match ending {
            Ending::Withdraw { request } => (request, Outcome::Done),
            Ending::Release { request, hold, .. } => {
                entry.held = None;
                entry.stands_back = Some(now + poll);
                let given = hold.token;
                let election = election.clone();
                match report {
                    Report::Released(false) => (
                        request,
                        Outcome::Refused(Refusal::NotLeader { election, given, current: None }),
                    ),
                    _ => (request, Outcome::Done),
                }
            }
        };
        self.say(News::Outcome(request, outcome));
        self.look_after(election, now);
    }

    pub(super) fn looked(
        &mut self,
        elections: Vec<ElectionName>,
        result: Result<Report, StoreError>,
        now: Moment,
    ) {
        let mut holdings = match result {
            Ok(Report::Stood(holdings)) => holdings.into_iter().map(Some).collect(),
            _ => Vec::<Option<Holding>>::new(),
        };
        holdings.resize(elections.len(), None);
        for (election, holding) in elections.into_iter().zip(holdings) {
            let Some(entry) = self.entries.get_mut(&election) else { continue };
            entry.busy = false;
            match holding {
                Some(holding) => self.stands(&election, holding, now),
                None => self.ask_later(&election, now),
            }
        }
    }

    pub(super) fn stands(&mut self, election: &ElectionName, holding: Holding, now: Moment) {
        let session = self.session.map(|(session, _)| session);
        let entry = self.entry(election);
        if let Some(token) = entry.held_token()
            && entry.ending.is_none()
            && holding.revision.get() >= token.get()
            && session.and_then(|session| holding.token_of(session)) != Some(token)
        {
            let word = entry.lapse(election, token, now);
            self.say(News::Seen(word.into()));
        }
        if self.entry(election).note(holding, now) {
            self.tell(election, now);
        }
        self.settle(election, now);
    }
}
