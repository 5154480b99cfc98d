//! Leader election with fencing tokens.
//!
//! ```no_run
//! # async fn demo() -> Result<(), tenure::Error> {
//! let elector = tenure::Elector::connect("tenure://127.0.0.1:7001,127.0.0.1:7002").await?;
//! let mut campaign = elector.campaign("billing/nightly", "worker-7").start()?;
//! loop {
//!     let leadership = campaign.elected().await?;
//!     println!("leading with fencing token {}", leadership.token());
//!     while leadership.check().is_ok() {
//!         // one piece of work; give the token to every resource that can check it
//!     }
//!     // dropping `leadership` says that the work has stopped
//! }
//! # }
//! ```
//!
//! The one rule: a [`Leadership`] value exists while work may run. Ask it ([`Leadership::check`])
//! right before each effect, hand its token to the resource, and drop it when the work has
//! stopped.

mod elector;
mod error;
pub mod fence;
mod keeper;
mod leadership;
mod observer;
mod stores;
mod system;

pub use elector::{Campaign, CampaignBuilder, Elector, ElectorBuilder};
pub use error::Error;
pub use leadership::{Leadership, Lost};
pub use observer::Observer;

pub use tenure_core::{
    CandidateId, ElectionName, Leader, NameError, Revision, Sighting, Token, Value, View,
    backend::{Capabilities, ConnectError, Guarantee},
    candidate::Loss,
    ledger::{Refusal, Standing},
    timing::{Drift, Ttl, TtlError},
};
