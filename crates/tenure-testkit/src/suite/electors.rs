//! Several electors in one process.

use std::time::{Duration, Instant};

use tenure::{
    Campaign, CandidateId, Elector, Error, Leadership, Observer, Refusal, Taken, Token, View,
};

use super::Store;
use crate::PATIENCE;

/// An elector, as soon as the store has time for one more.
pub(super) async fn elector(store: &Store) -> Elector {
    let begun = Instant::now();
    loop {
        match Elector::builder().ttl(store.ttl).connect(&store.url).await {
            Ok(elector) => return elector,
            Err(error) if error.is_retryable() && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{}: {error}", store.url),
        }
    }
}

pub(super) fn campaign(elector: &Elector, election: &str, id: &str) -> Campaign {
    let campaign = elector.campaign(election, id).value(format!("value of {id}")).start();
    campaign.unwrap_or_else(|error| panic!("{election}: {error}"))
}

pub(super) async fn elected(campaign: &mut Campaign) -> Leadership {
    let elected = tokio::time::timeout(PATIENCE, campaign.elected()).await;
    let elected = elected.unwrap_or_else(|_| panic!("{} stays vacant", campaign.election()));
    elected.unwrap_or_else(|error| panic!("{}: {error}", campaign.election()))
}

/// Waits until the observer sees what is wanted; its revisions never go back.
async fn sees(observer: &mut Observer, what: &str, wanted: impl Fn(&View) -> bool) -> View {
    let mut last = None;
    loop {
        let change = tokio::time::timeout(PATIENCE, observer.changed()).await;
        let change = change.unwrap_or_else(|_| panic!("the observer never sees {what}: {last:?}"));
        let sighting = change.unwrap_or_else(|| panic!("the observer has ended"));
        assert!(last.is_none_or(|last| last <= sighting.revision), "a view went back");
        last = Some(sighting.revision);
        if wanted(&sighting.view) {
            return sighting.view;
        }
    }
}

/// Of several candidates one leads, and goes on leading for many leases.
///
/// # Panics
/// When that is not so.
pub async fn only_one_of_many_leads(store: &Store) {
    let mut electors = Vec::new();
    for _ in 0..4 {
        electors.push(elector(store).await);
    }
    let campaigns = electors.iter().enumerate();
    let mut campaigns: Vec<_> = campaigns
        .map(|(at, elector)| campaign(elector, "one-of-many", &format!("c{at}")))
        .collect();
    let (first, rest) = campaigns.split_at_mut(1);
    let mut leaders = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < store.ttl * 4 {
        for campaign in first.iter_mut().chain(rest.iter_mut()) {
            if let Ok(elected) = tokio::time::timeout(store.ttl / 16, campaign.elected()).await {
                leaders.push(elected.unwrap_or_else(|error| panic!("{error}")));
            }
        }
    }
    assert_eq!(leaders.len(), 1, "leaders after four leases: {leaders:?}");
    assert!(leaders[0].check().is_ok(), "the lease was not renewed: {:?}", leaders[0].check());
}

/// Each tenure has a higher token than all before, whoever holds it.
///
/// # Panics
/// When that is not so.
pub async fn tokens_rise_over_tenures(store: &Store) {
    let mut last = Token::default();
    for round in 0..3 {
        let elector = elector(store).await;
        for turn in 0..3 {
            let mut campaign = campaign(&elector, "rising", &format!("c{round}"));
            let leadership = elected(&mut campaign).await;
            let token = leadership.token();
            assert!(token > last, "token {token} after {last} in round {round}, turn {turn}");
            last = token;
            leadership.resign();
            campaign.withdraw(PATIENCE).await;
        }
        elector.close();
    }
}

/// A leader that resigns is succeeded long before its lease would end.
///
/// # Panics
/// When that is not so.
pub async fn hand_over_by_resigning(store: &Store) {
    let (first, second) = (elector(store).await, elector(store).await);
    let mut best = Duration::MAX;
    for round in 0..3 {
        let election = format!("resigning-{round}");
        let mut one = campaign(&first, &election, "one");
        let leadership = elected(&mut one).await;
        let mut two = campaign(&second, &election, "two");
        let waits = tokio::time::timeout(store.ttl / 2, two.elected()).await;
        assert!(waits.is_err(), "two leaders: {waits:?}");
        let (token, begun) = (leadership.token(), Instant::now());
        leadership.resign();
        let next = elected(&mut two).await;
        best = best.min(begun.elapsed());
        assert!(next.token() > token);
    }
    assert!(best < store.ttl / 4, "the fastest hand-over took {best:?} of {:?}", store.ttl);
}

/// Leadership goes to the candidate that the leader names, if the store can do that; otherwise
/// to anybody, and the former leader stays in the queue.
///
/// # Panics
/// When that is not so.
pub async fn hand_over_to_a_named_candidate(store: &Store) {
    let (first, second, third) = (elector(store).await, elector(store).await, elector(store).await);
    let mut one = campaign(&first, "named", "one");
    let leadership = elected(&mut one).await;
    let mut others = [campaign(&second, "named", "two"), campaign(&third, "named", "three")];
    let [two, three] = &mut others;
    let (waits, too) = tokio::join!(
        tokio::time::timeout(store.ttl / 4, two.elected()),
        tokio::time::timeout(store.ttl / 4, three.elected()),
    );
    assert!(waits.is_err() && too.is_err(), "several leaders: {waits:?}, {too:?}");
    let token = leadership.token();
    let heir = CandidateId::new("three").unwrap_or_else(|error| panic!("{error}"));
    leadership.transfer(heir);
    let waits = async {
        tokio::select! {
            next = two.elected() => ("two", next),
            next = three.elected() => ("three", next),
        }
    };
    let next = tokio::time::timeout(PATIENCE, waits).await;
    let (id, next) = next.unwrap_or_else(|_| panic!("nobody leads after a hand-over"));
    let next = next.unwrap_or_else(|error| panic!("{error}"));
    assert!(next.token() > token || first.capabilities().queue, "{} after {token}", next.token());
    assert!(id == "three" || !first.capabilities().transfer, "{id} leads, three was named");
    // The former leader is still a candidate.
    next.resign();
    drop(others);
    assert!(elected(&mut one).await.check().is_ok());
}

/// Two processes that contend under one id are two: one of them leads or is refused, the other
/// waits, and neither takes the other's tenure for its own.
///
/// # Panics
/// When that is not so.
pub async fn duplicates_never_lead_together(store: &Store) {
    let (first, second) = (elector(store).await, elector(store).await);
    let mut one = campaign(&first, "twins", "same");
    let leadership = elected(&mut one).await;
    let mut two = campaign(&second, "twins", "same");
    match tokio::time::timeout(store.ttl, two.elected()).await {
        // It waits, like any other.
        Err(_) => {}
        Ok(Err(Error::Refused(Refusal::DuplicateCandidate { .. }))) => {
            two = campaign(&second, "twins", "other");
        }
        Ok(other) => panic!("the same id twice: {other:?}"),
    }
    assert!(leadership.check().is_ok(), "{:?}", leadership.check());
    let token = leadership.token();
    leadership.resign();
    assert!(elected(&mut two).await.token() != token);
}

/// A candidate that withdraws is not elected any more, and holds nobody up.
///
/// # Panics
/// When that is not so.
pub async fn withdrawing_leaves_the_queue(store: &Store) {
    let (first, second, third) = (elector(store).await, elector(store).await, elector(store).await);
    let mut one = campaign(&first, "withdrawing", "one");
    let leadership = elected(&mut one).await;
    let mut two = campaign(&second, "withdrawing", "two");
    let waits = tokio::time::timeout(store.ttl / 4, two.elected()).await;
    assert!(waits.is_err(), "two leaders: {waits:?}");
    let mut three = campaign(&third, "withdrawing", "three");
    two.withdraw(PATIENCE).await;
    leadership.resign();
    let next = elected(&mut three).await;
    assert!(next.check().is_ok());
}

/// An observer sees who leads, with its value and token, and that nobody does.
///
/// # Panics
/// When that is not so.
pub async fn observers_follow(store: &Store) {
    let (watching, contending) = (elector(store).await, elector(store).await);
    let mut observer = watching.observe("observed").await.unwrap_or_else(|error| panic!("{error}"));
    sees(&mut observer, "a vacancy", |view| *view == View::Vacant).await;
    for _ in 0..2 {
        let mut campaign = campaign(&contending, "observed", "one");
        let leadership = elected(&mut campaign).await;
        let token = leadership.token();
        let led = |view: &View| view.leader().is_some_and(|leader| leader.token == token);
        let view = sees(&mut observer, "the leader", led).await;
        let leader = view.leader().unwrap_or_else(|| panic!("led without a leader"));
        assert_eq!((leader.id.as_str(), leader.value.as_str()), ("one", "value of one"));
        leadership.resign();
        sees(&mut observer, "the vacancy", |view| *view == View::Vacant).await;
        campaign.withdraw(PATIENCE).await;
    }
}

/// One session holds many elections, and keeps all of them.
///
/// # Panics
/// When that is not so.
pub async fn many_elections(store: &Store) {
    let elector = elector(store).await;
    let mut held = Vec::new();
    for at in 0..50 {
        let mut campaign = campaign(&elector, &format!("many/{at}"), "one");
        let leadership = elected(&mut campaign).await;
        held.push((campaign, leadership));
    }
    let begun = Instant::now();
    while begun.elapsed() < store.ttl * 3 {
        for (_, leadership) in &held {
            assert!(leadership.check().is_ok(), "{:?}", leadership.check());
        }
        tokio::time::sleep(store.ttl / 8).await;
    }
}

/// A slot of an election's work is taken by one tenure, and an earlier one by none after it.
///
/// # Panics
/// When that is not so.
pub async fn slots_are_taken_once(store: &Store) {
    let take = async |leadership: &Leadership, slot: &str| {
        let taken = leadership.take(slot).await;
        taken.unwrap_or_else(|error| panic!("slot {slot}: {error}"))
    };
    let mut last: Option<(&str, Token)> = None;
    for (id, slots) in [("one", ["05", "05"]), ("two", ["06 x", "05"]), ("three", ["06", "10"])] {
        let elector = elector(store).await;
        let mut campaign = campaign(&elector, "slots", id);
        let leadership = elected(&mut campaign).await;
        if let Some((slot, token)) = last {
            let Taken::Before(before) = take(&leadership, slot).await else {
                panic!("{slot} was taken twice")
            };
            assert_eq!((before.name.as_str(), before.token), (slot, token));
        }
        for slot in slots {
            let newest = last.as_ref().is_none_or(|(last, _)| slot > *last);
            let own = last == Some((slot, leadership.token()));
            let taken = take(&leadership, slot).await;
            assert_eq!(taken == Taken::Ours, newest || own, "{id} takes {slot} after {last:?}");
            if newest {
                last = Some((slot, leadership.token()));
            }
        }
        leadership.resign();
        campaign.withdraw(PATIENCE).await;
        elector.close();
    }
    assert_eq!(last.map(|(slot, _)| slot), Some("10"));
}
