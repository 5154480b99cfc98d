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
