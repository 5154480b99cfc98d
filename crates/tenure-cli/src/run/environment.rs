//! What the command and the hooks find in their environment.

use std::{ffi::OsString, process::Command};

use tenure_core::{CandidateId, ElectionName, Token};

use super::{
    notify::VARIABLES,
    parse::{Compat, Listen},
    settings::Settings,
};
use crate::{command::run::Notify, output::time};

/// Why something is started, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Occasion {
    pub(crate) event: &'static str,
    pub(crate) leads: bool,
    pub(crate) election: ElectionName,
    pub(crate) token: Option<Token>,
    pub(crate) previous: Option<CandidateId>,
    pub(crate) reason: Option<&'static str>,
}

impl Occasion {
    pub(crate) fn role(&self) -> &'static str {
        if self.leads { "leader" } else { "standby" }
    }
}

/// Sets up the environment.
///
/// Nothing of Tenure's own settings gets through: a variable of ours may hold a secret or point
/// at one, also one that a later version invents. What the command may know is set anew.
pub(crate) fn prepare(
    command: &mut Command,
    settings: &Settings,
    id: &CandidateId,
    occasion: &Occasion,
) {
    let child = &settings.options.child;
    if child.clear_env {
        command.env_clear();
    }
    for (name, _) in std::env::vars_os() {
        if is_ours(&name) || (settings.options.outside.notify != Notify::Pass && is_manager(&name))
        {
            command.env_remove(name);
        }
    }
    for (name, value) in &child.env {
        command.env(name, value);
    }
    let value = settings.options.who.value.as_ref().map_or(id.as_str(), |value| value.as_str());
    command
        .env("TENURE_ELECTION", occasion.election.as_str())
        .env("TENURE_ID", id.as_str())
        .env("TENURE_VALUE", value)
        .env("TENURE_TTL_MS", time::millis(settings.budget.ttl.get()).to_string())
        .env("TENURE_EVENT", occasion.event)
        .env("TENURE_ROLE", occasion.role());
    if let Some(token) = occasion.token {
        command.env("TENURE_TOKEN", token.to_string());
    }
    if let Some(slot) = &settings.slot {
        command.env("TENURE_SLOT", slot.as_str());
    }
    if let Some((partition, count)) = settings.partition {
        command.env("TENURE_PARTITION", partition.to_string());
        command.env("TENURE_PARTITIONS", count.to_string());
    }
    if let Some(previous) = &occasion.previous {
        command.env("TENURE_PREV_LEADER", previous.as_str());
    }
    if let Some(reason) = occasion.reason {
        command.env("TENURE_REASON", reason);
    }
    if let Some(url) = settings.store.url() {
        command.env("TENURE_URL", url);
    }
    match &settings.options.outside.listen {
        Some(Listen::Tcp(address)) => _ = command.env("TENURE_API", format!("http://{address}")),
        Some(Listen::Unix(path)) => {
            command.env("TENURE_API", format!("unix:{}", path.display()));
        }
        None => {}
    }
    if let (true, Some(token)) = (occasion.leads, occasion.token) {
        for compat in &child.compat_env {
            match compat {
                Compat::Consul => _ = command.env("CONSUL_LOCK_HELD", "true"),
                Compat::Etcd => {
                    let key = format!("{}/{token}", occasion.election);
                    command.env("ETCD_LOCK_KEY", key).env("ETCD_LOCK_REV", token.to_string());
                }
            }
        }
    }
}

fn is_ours(name: &OsString) -> bool {
    name.as_encoded_bytes().starts_with(b"TENURE_")
}

fn is_manager(name: &OsString) -> bool {
    VARIABLES.iter().any(|variable| name == variable)
}
