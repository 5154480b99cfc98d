//! Raises the marks as soon as somebody is elected: a former leader is shut out before the new
//! one has sent anything.

use std::sync::Arc;

use tenure::{Elector, Observer, Sighting};

use super::gate::Gate;
use crate::{ask::PATIENCE, cli::Global, discover, error::Outcome, output::Output, store};

/// Follows the elections of the gates; gives the connection, which must be kept.
pub(crate) async fn start(
    gates: &[Arc<Gate>],
    global: &Global,
    output: Output,
) -> Outcome<Elector> {
    let patience = global.timeout.unwrap_or(PATIENCE);
    let how = Elector::builder().timeout(patience);
    let elector = match &global.url {
        Some(url) => how.connect(url).await,
        None => how.reach(discover::cluster(global)?.endpoints).await,
    };
    let elector = elector.map_err(|error| store::failed(&error))?;
    for gate in gates {
        let observer = elector.observe(gate.election().as_str()).await;
        let mut observer = observer.map_err(|error| store::failed(&error))?;
        // Before the first request, if that can be had.
        let known = tokio::time::timeout(patience, known(&mut observer, gate)).await;
        if known.is_err() {
            output.talk(&format!(
                "who leads {} is not known yet; until it is, only the tokens that were presented \
                 count",
                gate.election()
            ));
        }
        let gate = Arc::clone(gate);
        tokio::spawn(async move { while seen(&mut observer, &gate).await.is_some() {} });
    }
    Ok(elector)
}

async fn known(observer: &mut Observer, gate: &Gate) {
    while let Some(sighting) = seen(observer, gate).await {
        if sighting.view != tenure_core::View::Unknown {
            return;
        }
    }
}

async fn seen(observer: &mut Observer, gate: &Gate) -> Option<Sighting> {
    let sighting = observer.changed().await?;
    if let Some(leader) = sighting.view.leader()
        && leader.token > gate.newest()
    {
        // A mark that cannot be kept lets nobody in; that was said where it happened.
        let _ = gate.raise(leader.token).await;
    }
    Some(sighting)
}
