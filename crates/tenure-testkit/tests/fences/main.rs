//! The story that every fence is for: a leader is paused between its last check and its effect,
//! another one is elected and works, the first wakes up and goes on. With the fence it is
//! refused; the same without the fence destroys what the second one wrote.

mod objects;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tenure::fence;
use tenure_testkit::{
    candidate::Candidate,
    servers::{Postgres, Server, free_port},
};

const TTL: Duration = Duration::from_millis(600);

/// A leader with an effect that is ready to be carried out: `$TOKEN` is its token. The effect
/// says `ready` and waits for a line.
struct Leader {
    candidate: Candidate,
    token: u64,
    effect: Child,
}

impl Leader {
    fn elected(candidate: Candidate, effect: &str) -> Self {
        let token = candidate.says("elected").token;
        let mut effect = Command::new("sh")
            .args(["-c", effect])
            .env("TOKEN", token.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut ready = [0; 6];
        let said = effect.stdout.as_mut().expect("an output");
        io::Read::read_exact(said, &mut ready).expect("an effect that waits");
        assert_eq!(&ready, b"ready\n");
        Self { candidate, token, effect }
    }

    fn signal(&self, signal: Signal) {
        self.candidate.signal(signal);
        let pid = i32::try_from(self.effect.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("a process");
    }

    fn act(mut self) -> Output {
        let mut go = self.effect.stdin.take().expect("an input");
        go.write_all(b"go\n").expect("an effect that waits");
        drop(go);
        self.effect.wait_with_output().expect("an end")
    }
}

fn candidate(dir: &Path, id: &str) -> Candidate {
    // A store on which a paused holder loses its lease, as on all that are reached by network.
    let program = Path::new(env!("CARGO_BIN_EXE_testkit-candidate"));
    let url = fs::read_to_string(dir.join("url")).expect("a store");
    Candidate::start(program, &url, "billing", id, TTL).expect("a candidate")
}

/// Tells the story of effects that are shell scripts.
fn story(dir: &Path, effect: impl Fn(&str) -> String) -> (Output, Output) {
    story_of(dir, |who| format!("echo ready; read go; {}", effect(who)))
}

/// Tells the story; gives what came of the second leader's effect, then of the first one's.
fn story_of(dir: &Path, effect: impl Fn(&str) -> String) -> (Output, Output) {
    let old = Leader::elected(candidate(dir, "old"), &effect("old"));
    let waiting = candidate(dir, "new");
    waiting.says("campaigning");
    old.signal(Signal::STOP);
    let new = Leader::elected(waiting, &effect("new"));
    assert!(new.token > old.token);
    let second = new.act();
    old.signal(Signal::CONT);
    let first = old.act();
    (second, first)
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr];
    texts.map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

fn database(dir: &Path) -> Postgres {
    let server = Postgres::start(&[]).unwrap_or_else(|error| panic!("{error}"));
    fs::write(dir.join("url"), server.url()).expect("a file");
    server
}

/// SQL as an effect.
fn psql(server: &Postgres, sql: &str) -> String {
    format!(
        "psql -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p {} -U postgres postgres <<END\n{sql}\nEND",
        server.port()
    )
}

#[test]
fn a_table_with_a_guard_refuses_whoever_was_paused() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = database(dir.path());
    for _ in 0..2 {
        server.sql(fence::POSTGRES).expect("a guard that can be installed twice");
    }
    let balance = "SELECT owner FROM account";
    for guarded in [true, false] {
        server
            .sql("DROP TABLE IF EXISTS account; CREATE TABLE account AS SELECT 'nobody' AS owner")
            .expect("a table");
        if guarded {
            let trigger = "CREATE TRIGGER fence BEFORE INSERT OR UPDATE OR DELETE ON account \
                           FOR EACH STATEMENT EXECUTE FUNCTION tenure_guard('billing')";
            server.sql(trigger).expect("a trigger");
            let error = server.sql("UPDATE account SET owner = 'stranger'").unwrap_err();
            assert!(error.to_string().contains("SET LOCAL tenure.token"), "{error}");
        }
        let (second, first) = story(dir.path(), |who| {
            let sql = format!(
                "BEGIN; SET LOCAL tenure.token = '$TOKEN'; UPDATE account SET owner = '{who}'; \
                 COMMIT;"
            );
            psql(&server, &sql)
        });
        assert!(second.status.success(), "{}", said(&second));
        match guarded {
            true => {
                assert!(!first.status.success(), "a stale write came through");
                assert!(said(&first).contains("is stale"), "{}", said(&first));
                assert_eq!(server.sql(balance).expect("a row"), "new");
            }
            false => {
                assert!(first.status.success(), "{}", said(&first));
                assert_eq!(server.sql(balance).expect("a row"), "old", "nothing was destroyed?");
            }
        }
    }
}

/// `tenure_admit` in a transaction: a newer leader waits for what is under way, and no more.
#[test]
fn a_transaction_that_was_admitted_is_not_overtaken() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = database(dir.path());
    server.sql(fence::POSTGRES).expect("a guard");
    server.sql("CREATE TABLE log (at serial, who bigint)").expect("a table");
    let mut open = Command::new("psql")
        .args(["-X", "-q", "-h", "127.0.0.1", "-U", "postgres", "postgres", "-p"])
        .arg(server.port().to_string())
        .stdin(Stdio::piped())
        .spawn()
        .expect("psql");
    let mut input = open.stdin.take().expect("an input");
    // Elected: the mark is raised before any work, so that nobody waits for that later.
    server.sql("SELECT tenure_admit('log', 1)").expect("a mark");
    writeln!(input, "BEGIN; SELECT tenure_admit('log', 1);").expect("an input");
    let holds = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
    while server.sql(holds).expect("a count") != "1" {}
    // Others under the same token do not wait.
    server.sql("BEGIN; SELECT tenure_admit('log', 1); COMMIT").expect("the same leader");
    let newer = "BEGIN; SET LOCAL lock_timeout = '200ms'; SELECT tenure_admit('log', 2); COMMIT";
    let error = server.sql(newer).unwrap_err();
    assert!(error.to_string().contains("lock timeout"), "{error}");
    writeln!(input, "INSERT INTO log (who) VALUES (1); COMMIT;").expect("an input");
    drop(input);
    assert!(open.wait().expect("an end").success());
    server.sql(newer).expect("nothing is under way any more");
    let error = server.sql("SELECT tenure_admit('log', 1)").unwrap_err();
    assert!(error.to_string().contains("2 was presented since"), "{error}");
    for bad in ["NULL, 1", "'log', NULL"] {
        let error = server.sql(&format!("SELECT tenure_admit({bad})")).unwrap_err();
        assert!(error.to_string().contains("are needed"), "{error}");
    }
}

struct Redis {
    _server: Server,
    port: u16,
}

impl Redis {
    fn start(dir: &Path) -> io::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(dir);
        let mut server = Server::start(&mut command, "redis-server", &dir.join("redis.log"))?;
        server.wait_for_port(port)?;
        Ok(Self { _server: server, port })
    }

    fn cli(&self, arguments: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string()]).args(arguments);
        let output = cli.output().expect("redis-cli of the package redis-tools");
        said(&output).trim().to_owned()
    }
}

#[test]
fn redis_refuses_whoever_was_paused() {
    let dir = tempfile::tempdir().expect("a directory");
    let _database = database(dir.path());
    let redis = Redis::start(dir.path()).expect("a server");
    let script = dir.path().join("fence.lua");
    fs::write(&script, fence::REDIS).expect("a file");
    for guarded in [true, false] {
        let (second, first) = story(dir.path(), |who| {
            let cli = format!("redis-cli -e -p {}", redis.port);
            match guarded {
                true => format!(
                    "{cli} EVAL \"$(cat {})\" 2 '{{billing}}:fence' '{{billing}}:owner' \
                     $TOKEN SET '{{billing}}:owner' {who}",
                    script.display()
                ),
                false => format!("{cli} SET '{{billing}}:owner' {who}"),
            }
        });
        assert!(second.status.success(), "{}", said(&second));
        let owner = redis.cli(&["GET", "{billing}:owner"]);
        match guarded {
            true => {
                assert!(said(&first).contains("FENCED"), "{}", said(&first));
                assert_eq!(owner, "new");
            }
            false => assert_eq!(owner, "old", "nothing was destroyed?"),
        }
    }
}

#[test]
fn the_script_takes_any_command_and_no_nonsense() {
    let dir = tempfile::tempdir().expect("a directory");
    let redis = Redis::start(dir.path()).expect("a server");
    let eval = |arguments: &[&str]| {
        redis.cli(&[&["EVAL", fence::REDIS, "2", "mark", "key"], arguments].concat())
    };
    assert_eq!(eval(&["41"]), "41");
    assert_eq!(eval(&["41", "INCRBY", "key", "5"]), "5");
    // Beyond what a number in Lua holds exactly, and longer than all before.
    assert_eq!(eval(&["18446744073709551614", "INCR", "key"]), "6");
    let stale = eval(&["18446744073709551613", "INCR", "key"]);
    assert!(stale.contains("FENCED token 18446744073709551613"), "{stale}");
    assert!(eval(&["999", "INCR", "key"]).contains("FENCED"), "shorter is lower");
    for bad in ["", "abc", "-1", "007", "1.5"] {
        assert!(eval(&[bad, "INCR", "key"]).contains("NOTOKEN"), "{bad}");
    }
    assert_eq!(redis.cli(&["GET", "key"]), "6");
}

#[test]
fn a_gate_in_a_file_refuses_whoever_was_paused() {
    let dir = tempfile::tempdir().expect("a directory");
    let _database = database(dir.path());
    let (mark, data) = (dir.path().join("fence"), dir.path().join("data"));
    let gate = env!("CARGO_BIN_EXE_testkit-gate");
    for guarded in [true, false] {
        let (second, first) = story(dir.path(), |who| {
            let check = match guarded {
                true => format!("{gate} {} $TOKEN && ", mark.display()),
                false => String::new(),
            };
            format!("{check} echo {who} > {}", data.display())
        });
        assert!(second.status.success(), "{}", said(&second));
        let owner = fs::read_to_string(&data).expect("data");
        match guarded {
            true => {
                assert!(!first.status.success() && said(&first).contains("stale"), "{first:?}");
                assert_eq!(owner, "new\n");
            }
            false => assert_eq!(owner, "old\n", "nothing was destroyed?"),
        }
    }
}

/// A process that dies in the middle of an effect keeps nobody out.
#[test]
fn the_gate_of_a_dead_process_is_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let mark = dir.path().join("fence");
    let mut old = Command::new(env!("CARGO_BIN_EXE_testkit-gate"))
        .arg(&mark)
        .args(["1", "hold"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let mut entered = [0; 8];
    io::Read::read_exact(&mut old.stdout.take().expect("an output"), &mut entered).expect("a word");
    assert_eq!(&entered, b"entered\n");
    let gate = fence::FileGate::open(&mark).expect("a gate").patience(TTL / 8);
    let kept_out = gate.admit(tenure::Token::new(2));
    old.kill().expect("a process");
    old.wait().expect("an end");
    let error = kept_out.expect_err("a newer token beside an effect under way");
    assert!(error.to_string().contains("under way"), "{error}");
    gate.admit(tenure::Token::new(2)).expect("nobody is in the way");
}
