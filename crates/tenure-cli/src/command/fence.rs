//! `tenure fence`: the resource's side, which refuses whoever comes with an older token.

mod proxy;

use std::{
    ffi::OsString, os::unix::process::CommandExt, path::PathBuf, process::Command, time::Duration,
};

use clap::{Args, Subcommand};
use serde_json::json;
use tenure::{
    Token,
    fence::{self, FileGate, NotAdmitted},
};

use crate::{
    args,
    cli::{Global, epilogue},
    error::{Exit, Failure, Outcome},
    output::{Output, json},
};

/// Refuse effects of a leader that is one no more
///
/// A leader can be paused between its last check and its effect for any length of time. Only
/// the resource can tell then that another one leads by now: by the fencing token, which it
/// remembers. These are ready-made guards for files, PostgreSQL, Redis, and whatever speaks HTTP.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure fence verify /srv/data/.fence -- ./publish", "with the token of `tenure campaign`"),
        ("tenure fence sql | psql app", "install the guard of a database"),
        ("tenure fence redis > fence.lua", "the script that runs a command if its token is current"),
        ("tenure fence proxy --upstream http://127.0.0.1:9000", "refuse requests without a current token"),
    ],
    &[(Exit::Yes, "admitted, or printed"), (Exit::Conflict, "the token is stale")],
))]
pub(crate) struct FenceArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Verify(VerifyArgs),
    Sql(SqlArgs),
    Redis(RedisArgs),
    Proxy(Box<proxy::ProxyArgs>),
}

/// Check a token against the newest one that a file remembers
///
/// The file is made when it is not there, and remembers the newest token across crashes. With a
/// command, nobody is admitted with a newer token until it and everything it started have
/// ended: so its effect cannot be overtaken.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure fence verify /srv/data/.fence --token 42", "admit it, raise the mark"),
        ("tenure fence verify /srv/data/.fence -- cp new /srv/data/", "run only if it is admitted"),
    ],
    &[
        (Exit::Yes, "admitted; with a command: its own exit code"),
        (Exit::Usage, "the command line makes no sense"),
        (Exit::Conflict, "the token is stale: another one leads"),
        (Exit::Unavailable, "an effect under an older token is still under way: try again"),
        (Exit::Tool, "the file cannot be used, or the command not be started"),
    ],
))]
struct VerifyArgs {
    /// Where the newest token is remembered; on a local file system, one for each resource
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The token of the leader that acts
    #[arg(long, env = "TENURE_TOKEN", value_name = "N")]
    token: u64,
    /// Longest wait for effects under an older token
    #[arg(long, value_name = "DUR", value_parser = args::some_time, default_value = "5s")]
    wait: Duration,
    /// Run this if the token is admitted
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Print the guard for PostgreSQL
///
/// SQL that may be installed by any means and used from any language. Its comments say how.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[("tenure fence sql | psql app", "install it; marks that are there are kept")],
    &[(Exit::Yes, "printed")],
))]
struct SqlArgs {}

/// Print the guard for Redis
///
/// A Lua script for EVAL that runs a command if its token is current. Its comments say how.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[(
        "redis-cli EVAL \"$(tenure fence redis)\" 2 fence key 42 SET key value",
        "",
    )],
    &[(Exit::Yes, "printed")],
))]
struct RedisArgs {}

/// Runs the command.
pub(crate) fn run(args: FenceArgs, global: &Global, output: Output) -> Outcome {
    match args.what {
        What::Verify(args) => verify(&args, output),
        What::Sql(SqlArgs {}) => print(fence::POSTGRES, output),
        What::Redis(RedisArgs {}) => print(fence::REDIS, output),
        What::Proxy(args) => proxy::run(*args, global, output),
    }
}

fn print(text: &str, output: Output) -> Outcome {
    match output.json {
        true => output.data(&json::text(&json!({ "script": text })))?,
        false => output.data(text.trim_end())?,
    }
    Ok(Exit::Yes)
}

fn verify(args: &VerifyArgs, output: Output) -> Outcome {
    let unusable = |error: std::io::Error| {
        let next = "name a file on a local file system that this user may write to";
        Failure::new(Exit::Tool, "the token cannot be checked", error, next)
    };
    let gate = FileGate::open(&args.file).map_err(unusable)?.patience(args.wait);
    let pass = gate.enter(Token::new(args.token)).map_err(|error| match error {
        NotAdmitted::Fenced(fenced) => {
            let next = "stop: leadership was lost. Contend again and use the new token";
            Failure::new(Exit::Conflict, "refused", fenced, next)
        }
        NotAdmitted::Mark(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            let next = "try again; if its process is paused, wake it or end it";
            Failure::new(Exit::Unavailable, "not admitted yet", error, next)
        }
        NotAdmitted::Mark(error) => unusable(error),
    })?;
    let Some((program, arguments)) = args.command.split_first() else {
        if output.json {
            output.data(&json::text(&json!({ "admitted": true, "token": args.token })))?;
        } else {
            output.talk(&format!("token {} is admitted", args.token));
        }
        return Ok(Exit::Yes);
    };
    pass.bequeath().map_err(unusable)?;
    let error = Command::new(program).args(arguments).exec();
    let what = format!("{} cannot be run", program.display());
    Err(Failure::new(Exit::Tool, what, error, "check the command; the token was admitted"))
}
