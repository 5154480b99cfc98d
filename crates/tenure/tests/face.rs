//! The library's face: work that runs while it leads.
#![allow(clippy::unwrap_used)] // a test stops where it fails

use core::time::Duration;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tenure::{Elector, Error, Lead, Loss, View};
use tokio_stream::StreamExt;

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

async fn pair(name: &str) -> (Elector, Elector) {
    let url = format!("mem://{name}");
    (Elector::connect(&url).await.unwrap(), Elector::connect(&url).await.unwrap())
}

/// Tells when it is dropped.
struct Dropped(Arc<AtomicU32>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_value_of_the_work_is_given_and_the_next_one_leads() {
    let (one, two) = pair("value").await;
    let done = one.election("e").candidate("one").run(|lead| async move {
        lead.check()?;
        Ok::<_, Error>(lead.token())
    });
    let first = within(done).await.unwrap();
    let mut next = two.campaign("e", "two").start().unwrap();
    assert!(within(next.elected()).await.token() > first);
}

trait Elected {
    fn token(self) -> tenure::Token;
}

impl Elected for Result<tenure::Leadership, Error> {
    fn token(self) -> tenure::Token {
        self.unwrap().lead().token()
    }
}

#[tokio::test]
async fn an_error_of_the_work_ends_the_campaign() {
    let (one, two) = pair("error").await;
    let failed = one.campaign("e", "one").run(|_| async { Err::<(), _>(Error::Closed) });
    assert!(matches!(within(failed).await, Err(Error::Closed)));
    let mut next = two.campaign("e", "two").start().unwrap();
    within(next.elected()).await.unwrap();
}

#[tokio::test]
async fn an_impossible_name_is_refused_at_once() {
    let (one, _) = pair("names").await;
    let work = |_: Lead| async { Ok::<_, Error>(()) };
    let refused = within(one.election("no spaces").candidate("one").run(work)).await;
    assert!(matches!(refused, Err(Error::Name(_))), "{refused:?}");
    let refused = one.election("").leader().await;
    assert!(matches!(refused, Err(Error::Name(_))), "{refused:?}");
}

/// Spawnable, and dropped with the work first: nobody else leads while it still exists.
#[tokio::test]
async fn a_run_that_is_dropped_gives_leadership_back() {
    let (one, two) = pair("dropped").await;
    let (dropped, (tell, led)) =
        (Arc::new(AtomicU32::new(0)), tokio::sync::mpsc::unbounded_channel::<Lead>());
    let mut led = led;
    let run = tokio::spawn({
        let dropped = Arc::clone(&dropped);
        one.campaign("e", "one").run(move |lead| {
            let (tell, work) = (tell.clone(), Dropped(Arc::clone(&dropped)));
            async move {
                tell.send(lead).unwrap();
                std::future::pending::<()>().await;
                drop(work);
                Ok::<_, Error>(())
            }
        })
    });
    let lead = within(led.recv()).await.unwrap();
    assert!(lead.check().is_ok());
    let mut next = two.campaign("e", "two").start().unwrap();
    run.abort();
    within(next.elected()).await.unwrap();
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(lead.check().unwrap_err().loss, Loss::Resigned);
}

/// A handle outlives the tenure, and must not say yes when somebody else leads.
#[tokio::test]
async fn a_handle_knows_at_once_that_leadership_was_given_up() {
    let (one, _) = pair("handle").await;
    for transfers in [false, true] {
        let mut campaign = one.campaign("e", "one").start().unwrap();
        let leadership = within(campaign.elected()).await.unwrap();
        let lead = leadership.lead();
        let waits = tokio::spawn({
            let lead = lead.clone();
            async move { lead.lost().await }
        });
        tokio::task::yield_now().await;
        match transfers {
            false => leadership.resign(),
            true => leadership.transfer(tenure::CandidateId::new("nobody").unwrap()),
        }
        assert_eq!(lead.check().unwrap_err().loss, Loss::Resigned);
        assert_eq!(within(waits).await.unwrap().loss, Loss::Resigned);
        campaign.withdraw(Duration::from_secs(5)).await;
    }
}

/// A withdrawal while a hand-over is under way used to be forgotten: it waited out its patience.
#[tokio::test]
async fn withdrawing_right_after_a_hand_over_leaves() {
    let dir = tempfile::tempdir().unwrap();
    for url in [String::from("mem://leaves"), format!("file://{}", dir.path().display())] {
        let elector = Elector::connect(&url).await.unwrap();
        let mut campaign = elector.campaign("e", "one").start().unwrap();
        let leadership = within(campaign.elected()).await.unwrap();
        let begun = std::time::Instant::now();
        leadership.transfer(tenure::CandidateId::new("nobody").unwrap());
        campaign.withdraw(Duration::from_secs(15)).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn protected_work_is_dropped_when_leadership_ends() {
    let (one, _) = pair("protected").await;
    let mut campaign = one.campaign("e", "one").start().unwrap();
    let leadership = within(campaign.elected()).await.unwrap();
    assert_eq!(leadership.protect(async { 7 }).await.unwrap(), 7);
    let lead = leadership.lead();
    let dropped = Arc::new(AtomicU32::new(0));
    let work = Dropped(Arc::clone(&dropped));
    let (begun, begins) = tokio::sync::oneshot::channel();
    let protected = tokio::spawn(async move {
        let work = async move {
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(work);
        };
        lead.protect(work).await
    });
    within(begins).await.unwrap();
    one.close();
    let lost = within(protected).await.unwrap().unwrap_err();
    assert_eq!((lost.loss, lost.token), (Loss::Expired, leadership.token()));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    // Never polled again: not even once.
    let polled = leadership.protect(async { panic!("polled without a lease") }).await;
    assert!(polled.is_err());
}

#[tokio::test]
async fn sightings_come_as_a_stream_until_the_elector_is_closed() {
    let (one, two) = pair("stream").await;
    let mut sightings = two.election("e").observe().await.unwrap().into_stream();
    assert_eq!(within(sightings.next()).await.unwrap().view, View::Vacant);
    let mut campaign = one.campaign("e", "one").start().unwrap();
    let leadership = within(campaign.elected()).await.unwrap();
    let seen = within(sightings.next()).await.unwrap();
    assert_eq!(seen.view.leader().map(|leader| leader.token), Some(leadership.token()));
    assert_eq!(one.election("e").leader().await.unwrap().view, seen.view);
    two.close();
    while within(sightings.next()).await.is_some() {}
    assert_eq!(within(sightings.next()).await, None);
}

#[test]
fn the_blocking_face_does_the_same() {
    use tenure::blocking::{Elector, lost_within};
    let (one, two) =
        (Elector::connect("mem://threads").unwrap(), Elector::connect("mem://threads").unwrap());
    let mut observer = two.observe("e").unwrap();
    assert_eq!(observer.next().unwrap().view, View::Vacant);
    let mut calls = 0;
    let token = one.candidate("e", "one").value("here").run(|lead| {
        calls += 1;
        assert_eq!(lost_within(lead, Duration::from_millis(10)), None);
        // Here, while it leads: an observer is told the latest, not everything.
        let seen = observer.find(|sighting| sighting.view.leader().is_some()).unwrap().view;
        assert_eq!(seen.leader().map(|leader| leader.token), Some(lead.token()));
        let mut other = two.candidate("e", "two").start()?;
        assert!(other.elected_within(Duration::from_millis(20))?.is_none());
        other.withdraw(Duration::from_secs(5));
        Ok::<_, Error>(lead.check()?)
    });
    let token = token.unwrap();
    assert_eq!(calls, 1);
    let mut next = two.candidate("e", "two").start().unwrap();
    assert!(next.elected().unwrap().token() > token);
    assert!(matches!(two.candidate("e e", "two").start(), Err(Error::Name(_))));
}
