//! Encrypted connections, with certificates made here: a server that the client is told to
//! trust, one that nobody vouches for, and a client that forgot to encrypt.

use std::{
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tenure::{Elector, Error};
use tenure_testkit::{
    PATIENCE,
    servers::{Certificate, Postgres, Server, free_port},
};

const TTL: Duration = Duration::from_secs(3);

async fn connect(url: &str) -> Result<Elector, Error> {
    connect_within(url, PATIENCE).await
}

async fn connect_within(url: &str, timeout: Duration) -> Result<Elector, Error> {
    Elector::builder().ttl(TTL).timeout(timeout).connect(url).await
}

/// Leads over this connection.
async fn leads(url: &str) {
    let elector = connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    let mut campaign = elector.campaign("encrypted", "c").start().expect("a campaign");
    let leadership = tokio::time::timeout(PATIENCE, campaign.elected()).await;
    let leadership = leadership.expect("in time").expect("a grant");
    assert!(leadership.check().is_ok());
}

async fn refused(url: &str) -> String {
    // What is tried again until then is told then.
    match connect_within(url, TTL).await {
        Ok(_) => panic!("{url}: connected"),
        Err(error) => error.to_string(),
    }
}

fn etcd(dir: &Path, port: u16, certificate: &Certificate) -> io::Result<Server> {
    let (client, peer) = (format!("https://127.0.0.1:{port}"), free_port()?);
    let peer = format!("http://127.0.0.1:{peer}");
    let mut command = Command::new("etcd");
    command
        .arg("--data-dir")
        .arg(dir.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .arg("--cert-file")
        .arg(&certificate.certificate)
        .arg("--key-file")
        .arg(&certificate.key);
    let mut server = Server::start(&mut command, "etcd-server", &dir.join("log"))?;
    server.wait_for_port(port)?;
    Ok(server)
}

#[tokio::test]
async fn etcd_over_tls() {
    let dir = tempfile::tempdir().expect("a directory");
    let certificate = Certificate::make(dir.path(), "IP:127.0.0.1").expect("a certificate");
    let port = free_port().expect("a port");
    let _etcd = etcd(dir.path(), port, &certificate).expect("etcd");
    let trusted = format!("etcds://127.0.0.1:{port}?ca={}", certificate.certificate.display());
    // It listens before it has elected itself.
    let begun = Instant::now();
    while let Err(error) = connect(&trusted).await {
        assert!(begun.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    leads(&trusted).await;
    // Told at once: asking again would change nothing.
    let url = format!("etcds://127.0.0.1:{port}");
    let stranger = connect_within(&url, 100 * PATIENCE);
    let stranger = tokio::time::timeout(PATIENCE, stranger).await.expect("an answer at once");
    let stranger = stranger.map(drop).expect_err("a stranger").to_string();
    assert!(stranger.to_lowercase().contains("certificate"), "{stranger}");
    let plain = refused(&format!("etcd://127.0.0.1:{port}")).await;
    assert!(plain.contains(&port.to_string()), "{plain}");
    let missing = refused(&format!("etcds://127.0.0.1:{port}?ca=/nowhere.pem")).await;
    assert!(missing.contains("/nowhere.pem"), "{missing}");
}

#[tokio::test]
async fn postgres_over_tls() {
    let dir = tempfile::tempdir().expect("a directory");
    let certificate = Certificate::make(dir.path(), "DNS:localhost").expect("a certificate");
    let server = encrypting(&certificate);
    let url = |host: &str, more: &str| {
        let port = server.port();
        format!("postgres://postgres@{host}:{port}/postgres?{more}")
    };
    let root = format!("sslrootcert={}", certificate.certificate.display());
    leads(&url("localhost", &format!("sslmode=verify-full&{root}"))).await;
    // It vouches for a name, not for this address: `verify-ca` does not mind, `verify-full` does.
    leads(&url("127.0.0.1", &format!("sslmode=verify-ca&{root}"))).await;
    let other_name = refused(&url("127.0.0.1", &format!("sslmode=verify-full&{root}"))).await;
    assert!(other_name.to_lowercase().contains("certificate"), "{other_name}");
    leads(&url("127.0.0.1", "sslmode=require")).await;
    let stranger = refused(&url("localhost", "sslmode=verify-full")).await;
    assert!(stranger.to_lowercase().contains("certificate"), "{stranger}");
    let _elector = connect(&url("127.0.0.1", "sslmode=require")).await.expect("an elector");
    let used = "SELECT count(*) > 0 FROM pg_stat_ssl WHERE ssl";
    assert_eq!(server.sql(used).expect("an answer"), "t", "nothing is encrypted");
    // A server that encrypts nothing, and a client that insists.
    let plain = Postgres::start(&[]).expect("PostgreSQL");
    let insists = plain.url().replace("sslmode=disable", "sslmode=require");
    let insists = refused(&insists).await;
    assert!(insists.contains("TLS") || insists.contains("SSL"), "{insists}");
}

/// A server that encrypts. It reads a key that is its user's alone.
fn encrypting(certificate: &Certificate) -> Postgres {
    let mut server = Postgres::start(&[]).expect("PostgreSQL");
    let data = server.sql("SHOW data_directory").expect("an answer");
    let owner = std::fs::metadata(&data).expect("a directory");
    for (from, to) in [(&certificate.certificate, "server.crt"), (&certificate.key, "server.key")] {
        let to = Path::new(&data).join(to);
        std::fs::copy(from, &to).expect("a copy");
        chown(&to, Some(owner.uid()), Some(owner.gid())).expect("its owner");
        std::fs::set_permissions(&to, PermissionsExt::from_mode(0o600)).expect("its mode");
    }
    server.sql("ALTER SYSTEM SET ssl = on").expect("a setting");
    server.stop();
    server.restart().expect("PostgreSQL again");
    server
}
