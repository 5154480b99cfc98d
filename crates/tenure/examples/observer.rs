//! Follows an election without contending: `cargo run -p tenure --example observer [URL] [COUNT]`.
//!
//! Without a URL it watches a candidate of its own, in this process.
#![allow(clippy::print_stdout)] // what it says is what it is for

use std::time::Duration;

use tenure::{Elector, Error, View};

const ELECTION: &str = "examples/scheduler";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next();
    let mut left: u32 = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(3);
    if url.is_none() {
        tokio::spawn(come_and_go());
    }
    let elector = Elector::connect(url.as_deref().unwrap_or("mem://observer")).await?;
    let mut observer = elector.election(ELECTION).observe().await?;
    // The first answer is how it stands now. There is always a next one when something changes,
    // also when nobody who could say is heard any more: `Unknown` is not `Vacant`.
    while let Some(sighting) = observer.changed().await {
        match &sighting.view {
            View::Led(leader) => {
                println!("{} leads, token {}, {:?}", leader.id, leader.token, leader.value);
            }
            View::Vacant => println!("nobody leads"),
            View::Unknown => {
                let why = sighting.reason.as_deref().unwrap_or("no word");
                println!("not known: {why}; the last word is {:?} old", sighting.age);
            }
        }
        left -= 1;
        if left == 0 {
            break;
        }
    }
    Ok(())
}

async fn come_and_go() -> Result<(), Error> {
    let elector = Elector::connect("mem://observer").await?;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let candidate = elector.election(ELECTION).candidate("here").value("127.0.0.1:80");
        candidate
            .run(|_| async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok::<_, Error>(())
            })
            .await?;
    }
}
