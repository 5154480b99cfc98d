//! Leader election with fencing tokens.
//!
//! ```no_run
//! use std::time::Duration;
//! use tenure::{Elector, Error};
//!
//! # async fn bill_next_customer(_token: tenure::Token) {}
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Error> {
//!     let elector = Elector::builder()
//!         .ttl(Duration::from_secs(5))
//!         .connect("tenure://10.0.0.1:7001,10.0.0.2:7001,10.0.0.3:7001")
//!         .await?;
//!     let job = elector.election("billing/nightly").candidate("worker-7");
//!
//!     job.run(|lead| async move {
//!         println!("leading with fencing token {}", lead.token());
//!         loop {
//!             let token = lead.check()?; // one comparison with the local deadline, no I/O
//!             bill_next_customer(token).await;
//!         }
//!     })
//!     .await
//! }
//! ```
//!
//! [`Candidate::run`] is the short way: leadership lasts as long as the work. The long way is
//! [`Candidate::start`] and [`Campaign::elected`], which give a [`Leadership`]. The one rule
//! there: that value exists while work may run. Ask it ([`Lead::check`]) right before each
//! effect, hand its token to the resource, and drop it when the work has stopped.
//!
//! | to | use |
//! |---|---|
//! | do something while leading | [`Candidate::run`], [`Lead::protect`], [`Lead::check`] |
//! | lead many elections together with others | [`Elector::partitions`] |
//! | know who leads | [`Election::leader`], [`Observer`] |
//! | refuse whoever leads no longer | [`fence`] |
//! | do all that without `async` | [`blocking`] |
//!
//! `examples/` has a program for each. Which store holds the election is a matter of the URL
//! ([`ElectorBuilder::connect`]); what it can promise, of [`Elector::capabilities`].

pub mod blocking;
mod campaign;
mod election;
mod elector;
mod error;
pub mod fence;
mod keeper;
mod leadership;
mod observer;
mod partitions;
mod stores;
mod system;

pub use campaign::Campaign;
pub use election::{Candidate, Election};
pub use elector::{Elector, ElectorBuilder};
pub use error::Error;
pub use leadership::{Lead, Leadership, Lost, Taken};
pub use observer::{Observer, Sightings};
pub use partitions::{Family, Participant, ShareAction, Shares};

pub use tenure_core::{
    CandidateId, ElectionName, Leader, NameError, Revision, Sighting, Token, Value, View,
    backend::{Capabilities, ConnectError, Guarantee, Slot, StoreError},
    candidate::Loss,
    ledger::{Refusal, Standing},
    timing::{Drift, Ttl, TtlError},
};
