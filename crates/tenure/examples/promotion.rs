//! Promoting a replica of a database, and only one that is up to date.
//!
//! `cargo run -p tenure --example promotion [URL] [NAME] [LAG]`. A replica that lags too far
//! behind does not contend; among those that do, the one that is furthest ahead is preferred by
//! a store that keeps a queue; and whoever is elected looks once more before it promotes.
#![allow(clippy::print_stdout)] // what it says is what it is for

use std::time::Duration;

use tenure::{Campaign, Elector, Error, Leadership};

/// Bytes that a replica may lag behind and still be promoted.
const MAX_LAG: u64 = 1024;

/// Stands for the database: its position in the log, and the last one known of the primary.
struct Replica {
    position: u64,
    primary: u64,
}

impl Replica {
    fn lag(&self) -> u64 {
        self.primary.saturating_sub(self.position)
    }

    /// Replication goes on while this process waits.
    async fn catch_up(&mut self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.position = (self.position + 4096).min(self.primary);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| String::from("mem://promotion"));
    let name = arguments.next().unwrap_or_else(|| String::from("replica-1"));
    let lag: u64 = arguments.next().and_then(|lag| lag.parse().ok()).unwrap_or(10_000);
    let elector = Elector::builder().ttl(Duration::from_secs(2)).connect(&url).await?;
    let mut replica = Replica { position: 1_000_000 - lag.min(1_000_000), primary: 1_000_000 };

    loop {
        while replica.lag() > MAX_LAG {
            println!("{name} lags {} bytes behind and does not contend", replica.lag());
            replica.catch_up().await;
        }
        let candidate = elector.election("examples/primary").candidate(&name);
        let campaign = candidate.value(format!("{name}:5432")).rank(replica.position).start()?;
        if let Some(leadership) = lead_if_fit(campaign, &mut replica).await? {
            println!("{name} is promoted under token {}", leadership.token());
            // Give the token to the clients' proxy, write it into the new timeline, ...
            let served = leadership.protect(tokio::time::sleep(Duration::from_millis(200))).await;
            match served {
                Ok(()) => println!("{name} steps down in good order"),
                Err(lost) => println!("{name} must not serve any more: {lost}"),
            }
            return Ok(());
        }
    }
}

/// Waits to be elected for as long as the replica is fit. None when it fell behind meanwhile.
async fn lead_if_fit(
    mut campaign: Campaign,
    replica: &mut Replica,
) -> Result<Option<Leadership>, Error> {
    loop {
        let look_again = tokio::time::sleep(Duration::from_millis(500));
        tokio::select! {
            leadership = campaign.elected() => {
                let leadership = leadership?;
                // Whatever was true when it began to wait may not be true any more.
                return Ok((replica.lag() <= MAX_LAG).then_some(leadership));
            }
            () = look_again => {
                if replica.lag() > MAX_LAG {
                    campaign.withdraw(Duration::from_secs(2)).await;
                    return Ok(None);
                }
            }
        }
    }
}
