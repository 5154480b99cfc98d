//! A candidate on etcd, as good as etcd allows: it keeps a lease alive, watches
//! the key, and campaigns the moment the watch tells that the key is gone.
//!
//! Token: the revision that created the key. The same few calls as etcd's own
//! election client, over the HTTP gateway, on connections that stay open.

use std::io::{self, BufRead, BufReader, Write};
use std::process::exit;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};
use ureq::Agent;

use super::process::now;
use crate::failure::{Failure, Outcome};

/// Arguments of the hidden child.
#[derive(Args)]
pub(crate) struct CandidateArgs {
    /// Base addresses of the members
    #[arg(long, value_delimiter = ',')]
    endpoints: Vec<String>,
    /// Seconds
    #[arg(long)]
    ttl: u64,
    #[arg(long)]
    id: String,
    #[arg(long)]
    key: String,
}

/// A client of an etcd cluster that goes to the next member when one fails.
pub(crate) struct Client {
    endpoints: Vec<String>,
    current: AtomicUsize,
    agent: Agent,
}

impl Client {
    /// Each call, connecting included, takes at most `timeout`.
    pub(crate) fn new(endpoints: &[String], timeout: Duration) -> Self {
        Self {
            endpoints: endpoints.to_vec(),
            current: AtomicUsize::new(0),
            agent: Agent::config_builder().timeout_global(Some(timeout)).build().into(),
        }
    }

    fn endpoint(&self) -> &str {
        let index = self.current.load(Ordering::Relaxed) % self.endpoints.len().max(1);
        self.endpoints.get(index).map_or("", String::as_str)
    }

    fn next(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    /// One call; on failure the following one goes to the next member.
    pub(crate) fn call(&self, path: &str, body: &Value) -> Result<Value, String> {
        let answer = self
            .agent
            .post(format!("{}/v3/{path}", self.endpoint()))
            .send(body.to_string())
            .and_then(|mut answer| answer.body_mut().read_to_string());
        let parsed = answer
            .map_err(|error| error.to_string())
            .and_then(|text| serde_json::from_str::<Value>(&text).map_err(|e| e.to_string()));
        parsed.inspect_err(|_| self.next())
    }

    /// A new lease; its id.
    pub(crate) fn grant(&self, ttl: u64) -> Result<String, String> {
        let answer = self.call("lease/grant", &json!({ "TTL": ttl }))?;
        answer["ID"].as_str().map(str::to_owned).ok_or_else(|| answer.to_string())
    }

    /// Creates the key unless it is there.
    pub(crate) fn acquire(&self, key: &str, id: &str, lease: &str) -> Result<Campaign, String> {
        let key = STANDARD.encode(key);
        let answer = self.call(
            "kv/txn",
            &json!({
                "compare": [{ "target": "CREATE", "key": key, "create_revision": "0" }],
                "success": [{ "requestPut":
                    { "key": key, "value": STANDARD.encode(id), "lease": lease } }],
                "failure": [{ "requestRange": { "key": key } }],
            }),
        )?;
        let revision = number(&answer["header"]["revision"]).ok_or_else(|| answer.to_string())?;
        if answer["succeeded"] == true {
            return Ok(Campaign::Won(revision));
        }
        let kv = &answer["responses"][0]["response_range"]["kvs"][0];
        let held = kv["lease"].as_str() == Some(lease);
        match number(&kv["create_revision"]) {
            // A call whose answer was lost had won.
            Some(token) if held => Ok(Campaign::Won(token)),
            Some(token) => Ok(Campaign::Lost { token, revision }),
            None => Err("the key went while it was read".into()),
        }
    }
}

/// How a campaign ended.
pub(crate) enum Campaign {
    /// With this token.
    Won(u64),
    /// Somebody else leads; watch from after `revision`.
    Lost { token: u64, revision: u64 },
}

/// The gateway writes 64-bit numbers as strings.
pub(crate) fn number(value: &Value) -> Option<u64> {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_u64())
}

/// Campaigns, leads, watches, until its standard input ends.
pub(crate) fn run(args: &CandidateArgs) -> Outcome {
    let client = Client::new(&args.endpoints, Duration::from_secs(1));
    // Candidates spread over the members, as clients do.
    let spread = args.id.bytes().map(usize::from).sum();
    client.current.store(spread, Ordering::Relaxed);
    let lease = patiently(|| client.grant(args.ttl)).ok_or_else(|| {
        Failure::new("the etcd candidate got no lease", "no member answered", "see etcd's log")
    })?;
    listen(args.clone_client(), lease.clone());
    keep_alive(args.clone_client(), lease.clone(), args.ttl);
    loop {
        match client.acquire(&args.key, &args.id, &lease) {
            Ok(Campaign::Won(token)) => {
                let at = now();
                say(&format!("elected {at} {token}"));
                say(&format!("seen {at} {token}"));
                watch(&client, &args.key, token + 1);
            }
            Ok(Campaign::Lost { token, revision }) => {
                say(&format!("seen {} {token}", now()));
                watch(&client, &args.key, revision + 1);
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl CandidateArgs {
    fn clone_client(&self) -> Client {
        Client::new(&self.endpoints, Duration::from_secs(1))
    }
}

fn patiently<T>(mut attempt: impl FnMut() -> Result<T, String>) -> Option<T> {
    (0..50).find_map(|_| attempt().inspect_err(|_| thread::sleep(Duration::from_millis(100))).ok())
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Returns when the key was deleted or the watch broke.
fn watch(client: &Client, key: &str, from: u64) {
    let endless: Agent =
        Agent::config_builder().timeout_connect(Some(Duration::from_millis(200))).build().into();
    let request = json!({ "create_request": {
        "key": STANDARD.encode(key), "start_revision": from.to_string() } });
    let answer = endless.post(format!("{}/v3/watch", client.endpoint())).send(request.to_string());
    let Ok(answer) = answer else {
        client.next();
        return;
    };
    for line in BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        if message["result"]["created"] == true {
            say("watching");
        }
        for event in message["result"]["events"].as_array().into_iter().flatten() {
            if event["type"] == "DELETE" {
                return;
            }
            if let Some(token) = number(&event["kv"]["create_revision"]) {
                say(&format!("seen {} {token}", now()));
            }
        }
    }
    client.next();
}

/// Renews at a third of the ttl, as etcd's own client does.
fn keep_alive(client: Client, lease: String, ttl: u64) {
    thread::spawn(move || {
        let body = json!({ "ID": lease });
        loop {
            let renewed = client.call("lease/keepalive", &body);
            let wait = if renewed.is_ok() { 1000 * ttl / 3 } else { 50 };
            thread::sleep(Duration::from_millis(wait));
        }
    });
}

/// Obeys the bench: `resign` revokes the lease, which deletes the key in the
/// same commit; the end of the input ends the process.
fn listen(client: Client, lease: String) {
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if line == "resign" {
                say(&format!("start {}", now()));
                let _ = client.call("lease/revoke", &json!({ "ID": lease }));
                exit(0);
            }
        }
        exit(0);
    });
}
