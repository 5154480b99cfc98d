//! A transaction pooler between us and the server: PgBouncer from Debian's packages.

use std::{path::Path, process::Command, time::Duration};

use tenure::{Elector, Error};
use tenure_testkit::{
    servers::{Postgres, Server, free_port},
    suite::{
        self, Store, killed_holder_is_succeeded, only_one_of_many_leads, tokens_rise_over_tenures,
    },
};

use super::{TTL, server};

/// Everything that a client does between two transactions may meet another connection.
fn pooled(server: &Postgres, dir: &Path) -> (Server, String) {
    let port = free_port().expect("a port");
    let config = format!(
        "[databases]\npostgres = host=127.0.0.1 port={} user=postgres\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n",
        server.port()
    );
    let file = dir.join("pgbouncer.ini");
    std::fs::write(&file, config).expect("a configuration");
    // It does not run as root, and reads nothing that others may not.
    let mut command = match rustix::process::geteuid().is_root() {
        true => {
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(dir, open).expect("a directory that can be read");
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "pgbouncer"]);
            command
        }
        false => Command::new("pgbouncer"),
    };
    let pooler = Server::start(command.arg(&file), "pgbouncer", &dir.join("pgbouncer.log"));
    let mut pooler = pooler.unwrap_or_else(|error| panic!("{error}"));
    pooler.wait_for_port(port).unwrap_or_else(|error| panic!("{error}"));
    (pooler, format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable"))
}

#[tokio::test]
async fn behind_a_transaction_pooler_elections_hold_and_hints_do_not() {
    let server = server();
    let dir = tempfile::tempdir().expect("a directory");
    let (_pooler, url) = pooled(&server, dir.path());
    let elector = Elector::builder().ttl(TTL).connect(&url).await;
    let elector = elector.unwrap_or_else(|error| panic!("{error}"));
    let pushed = elector.capabilities().pushed.to_string();
    assert!(pushed.contains("pooler"), "{pushed}");
    elector.close();
    let refused = Elector::builder().connect(&format!("{url}&require=push")).await;
    let Err(Error::Store(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("pooler"), "{error}");

    let store = Store { url, ttl: TTL, expires: true, shared: true };
    only_one_of_many_leads(&store).await;
    tokens_rise_over_tenures(&store).await;
    suite::many_elections(&store).await;
    killed_holder_is_succeeded(&store, Path::new(env!("CARGO_BIN_EXE_testkit-candidate")), 1);
    // Nothing of ours is left on the connections that the pooler lends to others.
    let left = server.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'");
    assert_eq!(left.expect("a count"), "0");
}

/// With `listen=no` nothing at all is left on them.
#[tokio::test]
async fn whoever_does_not_listen_says_so() {
    let server = server();
    let url = format!("{}&listen=no", server.url());
    let elector = Elector::builder().ttl(TTL).timeout(Duration::from_secs(5)).connect(&url).await;
    let elector = elector.unwrap_or_else(|error| panic!("{error}"));
    assert!(elector.capabilities().pushed.to_string().contains("listen=no"));
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    assert_eq!(server.sql(listening).expect("a count"), "0");
}
