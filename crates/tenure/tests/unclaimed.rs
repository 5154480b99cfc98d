//! Grants that nobody takes.
#![allow(clippy::unwrap_used)] // a test stops where it fails

use core::time::Duration;
use tenure::{Elector, View};

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// A grant that waits in a campaign's queue when the campaign goes would be held for as long as
/// its process lives, by nobody.
#[tokio::test]
async fn a_grant_that_nobody_takes_is_given_back() {
    let one = Elector::connect("mem://unclaimed").await.unwrap();
    let two = Elector::connect("mem://unclaimed").await.unwrap();
    let mut observer = two.observe("demo").await.unwrap();
    for withdraws in [false, true] {
        let unclaimed = one.campaign("demo", "one").start().unwrap();
        while !matches!(within(observer.changed()).await.unwrap().view, View::Led(_)) {}
        match withdraws {
            true => unclaimed.withdraw(Duration::from_secs(5)).await,
            false => drop(unclaimed),
        }
        let mut next = two.campaign("demo", "two").start().unwrap();
        within(next.elected()).await.unwrap().resign();
        while !matches!(within(observer.changed()).await.unwrap().view, View::Vacant) {}
    }
}

/// An assignment drops the old value after the new one was made: a campaign that is over, or
/// refused, must not take the next one for the same election with it.
#[tokio::test]
async fn a_campaign_that_is_over_does_not_withdraw_the_next_one() {
    let elector = Elector::connect("mem://successors").await.unwrap();
    let mut campaign = elector.campaign("demo", "one").start().unwrap();
    let first = within(campaign.elected()).await.unwrap();
    first.resign();
    assert!(within(campaign.elected()).await.is_err(), "left");
    let holder = Elector::connect("mem://successors").await.unwrap();
    let mut held = holder.campaign("demo", "two").start().unwrap();
    let leadership = within(held.elected()).await.unwrap();
    // It waits, and is not leading when the old one is dropped.
    campaign = elector.campaign("demo", "three").start().unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(100), campaign.elected()).await;
    assert!(waits.is_err(), "{waits:?}");
    leadership.resign();
    within(campaign.elected()).await.unwrap();
}
