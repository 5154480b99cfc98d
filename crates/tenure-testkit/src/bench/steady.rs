//! What a thousand elections of one process cost while nothing happens.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use serde::Serialize;
use tenure::Elector;

use crate::{PATIENCE, proxy::Proxy};

/// Elections that one process holds.
const ELECTIONS: u32 = 1000;

/// How a store is looked at.
pub struct Meter {
    /// The store.
    pub store: String,
    /// Its URL, by way of the proxy.
    pub url: String,
    /// What counts the bytes; none where nothing goes over a line.
    pub proxy: Option<Proxy>,
    /// Commands that the server has served so far, by its own word.
    pub served: Box<dyn Fn() -> io::Result<u64>>,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Steady {
    /// The store.
    pub store: String,
    /// Elections held.
    pub elections: u32,
    /// From the first campaign to the last grant.
    pub granted_in_ms: f64,
    /// Commands that the server served in a second.
    pub commands_per_second: f64,
    /// Commands for one renewal of everything.
    pub commands_per_renewal: f64,
    /// Bytes from the client for one renewal of everything.
    pub sent_per_renewal: f64,
    /// Bytes from the server for it.
    pub received_per_renewal: f64,
    /// Leases that were lost meanwhile.
    pub lost: usize,
}

/// Holds a thousand elections for a while.
///
/// # Errors
/// When the store cannot be used, or gives none of them in time.
pub async fn steady(meter: &Meter, ttl: Duration) -> io::Result<Steady> {
    let elector = Elector::builder().ttl(ttl).connect(&meter.url).await;
    let elector = elector.map_err(io::Error::other)?;
    let begun = Instant::now();
    let campaigns = (0..ELECTIONS).map(|at| elector.campaign(&format!("steady/{at:04}"), "one"));
    let campaigns = campaigns.map(tenure::Candidate::start).collect::<Result<Vec<_>, _>>();
    let mut campaigns = campaigns.map_err(io::Error::other)?;
    let mut held = Vec::new();
    for campaign in &mut campaigns {
        let elected = tokio::time::timeout(PATIENCE * 4, campaign.elected()).await;
        held.push(elected.map_err(io::Error::other)?.map_err(io::Error::other)?);
    }
    let granted_in = begun.elapsed();
    // What was asked while they were elected comes to rest.
    tokio::time::sleep(ttl).await;
    let traffic = || meter.proxy.as_ref().map(Proxy::traffic).unwrap_or_default();
    let (begun, served, passed) = (Instant::now(), (meter.served)()?, traffic());
    tokio::time::sleep(ttl * 3).await;
    let (seconds, passed) = (begun.elapsed().as_secs_f64(), traffic().since(passed));
    let commands = (meter.served)()?.saturating_sub(served) as f64;
    let renewals = seconds / (ttl / 4).as_secs_f64();
    Ok(Steady {
        store: meter.store.clone(),
        elections: ELECTIONS,
        granted_in_ms: granted_in.as_secs_f64() * 1000.0,
        commands_per_second: commands / seconds,
        commands_per_renewal: commands / renewals,
        sent_per_renewal: passed.up as f64 / renewals,
        received_per_renewal: passed.down as f64 / renewals,
        lost: held.iter().filter(|leadership| leadership.check().is_err()).count(),
    })
}

impl fmt::Display for Steady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "steady  {}: {} elections of one process, granted in {:.0} ms, {} lost; {:.1} commands \
             a second, {:.1} a renewal; {:.0} bytes sent and {:.0} received a renewal",
            self.store,
            self.elections,
            self.granted_in_ms,
            self.lost,
            self.commands_per_second,
            self.commands_per_renewal,
            self.sent_per_renewal,
            self.received_per_renewal,
        )
    }
}
