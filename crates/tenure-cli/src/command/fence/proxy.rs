//! `tenure fence proxy`: the guard of a resource that speaks HTTP.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use hyper::{Method, header::HeaderName};

use crate::{
    args,
    cli::{Global, epilogue},
    error::{Exit, Failure, Outcome},
    output::Output,
    proxy::{self, Guarded, Limits, Rules, Settings, Upstream},
};

/// Guard a resource that speaks HTTP: pass on only requests under the newest token
///
/// A reverse proxy. Requests carry the leader's token in a header; the first one under a newer
/// token shuts out all older ones, also across crashes and restarts of the proxy. Whoever can
/// reach the resource past the proxy is not guarded: let it listen where only the proxy can
/// reach it.
///
/// Refused, with a problem in JSON and its code in the header Tenure-Fence: 412 a stale token,
/// 428 none, 400 one that is none, 409 one for another election, 404 a path that no election
/// guards, 413 a body that is too long, 503 an effect under an older token is still under way
/// (try again). 502 and 504 say that the upstream could not be reached or has not answered.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure fence proxy --upstream http://127.0.0.1:9000", "on 127.0.0.1:7480"),
        ("curl -H \"Tenure-Token: $TENURE_TOKEN\" -T report http://127.0.0.1:7480/report", ""),
        ("tenure fence proxy --upstream unix:/run/app.sock --open GET,HEAD", "reads need no token"),
        (
            "tenure fence proxy --upstream http://127.0.0.1:9000 --election /a=jobs/a --election /b=jobs/b",
            "",
        ),
    ],
    &[
        (Exit::Yes, "asked to end"),
        (Exit::Usage, "the command line makes no sense"),
        (Exit::Unavailable, "--follow: nobody answers at --url"),
        (Exit::Conflict, "the port or the marks are in use"),
        (Exit::Denied, "not allowed to listen there or to keep marks there"),
        (Exit::Tool, "a mark cannot be used"),
    ],
))]
pub(crate) struct ProxyArgs {
    /// Where the resource listens: http://HOST:PORT or unix:PATH
    #[arg(long, value_name = "URL", value_parser = Upstream::parse)]
    upstream: Upstream,
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT", value_parser = args::address_of, default_value = "127.0.0.1:7480")]
    listen: String,
    /// The election whose leader may write, for paths that begin with PREFIX; may be repeated,
    /// the longest prefix counts
    #[arg(
        long = "election",
        value_name = "[/PREFIX=]NAME",
        value_parser = Guarded::parse,
        default_value = "default"
    )]
    elections: Vec<Guarded>,
    /// The header with the token
    #[arg(long, value_name = "NAME", value_parser = header, default_value = "Tenure-Token")]
    token_header: HeaderName,
    /// Methods that pass without a token, like GET,HEAD
    #[arg(long, value_name = "METHODS", value_delimiter = ',', value_parser = method)]
    open: Vec<Method>,
    /// Follow the election at --url: a former leader is shut out as soon as another one is
    /// elected, not only when that one has sent something
    #[arg(long)]
    follow: bool,
    /// Directory of the marks, on a local file system; one proxy uses it at a time [default: one
    /// for each upstream, in the user's state directory]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Longest wait of a new leader's requests for those of the former one
    #[arg(long, value_name = "DUR", value_parser = args::duration, default_value = "5s")]
    drain: Duration,
    /// Longest silence of the upstream, or of a client in the middle of a request
    #[arg(long, value_name = "DUR", value_parser = args::some_time, default_value = "30s")]
    patience: Duration,
    /// Longest body of a request; it is passed on as it comes, not kept
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1GiB")]
    max_body: u64,
    /// Connections at once; more wait
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), default_value_t = 256)]
    connections: u16,
    /// Answer /livez, /readyz and /metrics here
    #[arg(long, value_name = "HOST:PORT", value_parser = args::address_of)]
    status: Option<String>,
    /// Listen on addresses that other machines can reach, though whoever reaches the proxy can
    /// shut the leader out with a high token
    #[arg(long)]
    insecure_listen: bool,
}

/// Runs the command.
pub(crate) fn run(args: ProxyArgs, global: &Global, output: Output) -> Outcome {
    for address in [Some(&args.listen), args.status.as_ref()].into_iter().flatten() {
        if !args.insecure_listen && !args::is_loopback(address) {
            return Err(Failure::usage(
                format!("{address} can be reached from other machines"),
                "connections are neither encrypted nor authenticated: whoever reaches the proxy \
                 can present a token and shut the leader out",
                "listen on 127.0.0.1, or, on a network where you trust everybody, add \
                 --insecure-listen",
            ));
        }
    }
    for (at, guarded) in args.elections.iter().enumerate() {
        let before = &args.elections[..at];
        let twice =
            |other: &&Guarded| other.election == guarded.election || other.prefix == guarded.prefix;
        if let Some(other) = before.iter().find(twice) {
            return Err(Failure::usage(
                format!(
                    "{}={} and {}={} get in each other's way",
                    other.prefix, other.election, guarded.prefix, guarded.election
                ),
                "a prefix belongs to one election, and an election guards one prefix",
                "give one of them, or run a second proxy",
            ));
        }
    }
    let (header, open) = (args.token_header, args.open);
    let settings = Settings {
        upstream: args.upstream,
        listen: args.listen,
        status: args.status,
        rules: Rules { guarded: args.elections, header, open },
        state: args.state,
        follow: args.follow,
        limits: Limits {
            drain: args.drain,
            patience: args.patience,
            body: args.max_body,
            connections: usize::from(args.connections),
        },
    };
    crate::command::block_on(proxy::run(settings, global, output))
}

fn header(text: &str) -> Result<HeaderName, String> {
    let about_the_message = ["host", "content-length", "connection", "transfer-encoding", "expect"];
    match text.parse::<HeaderName>() {
        Ok(name) if about_the_message.contains(&name.as_str()) => {
            Err(format!("{text:?} has another meaning already"))
        }
        Ok(name) => Ok(name),
        Err(_) => Err(format!("{text:?} is not the name of a header")),
    }
}

fn method(text: &str) -> Result<Method, String> {
    let known = ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH"];
    match known.contains(&text) {
        true => text.parse().map_err(|_| format!("{text:?} is not a method")),
        false => Err(format!("{text:?} is not one of {}, which change nothing", known.join(", "))),
    }
}

/// A number of bytes, like `64KiB`, `100MiB` or `1GiB`.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size like 64KiB, 100MiB or 1GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("10 KiB"), Ok(10_240));
        assert_eq!(size("7"), Ok(7));
        for bad in ["", "GiB", "-1", "1.5GiB", "1GB", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_methods_that_change_nothing_are_opened() {
        assert!(method("GET").is_ok() && method("PUT").is_err() && method("get").is_err());
        assert!(header("X-My-Token").is_ok() && header("Host").is_err() && header("a b").is_err());
    }
}
