//! ZooKeeper, alone or as an ensemble.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::{Pid, Signal};

use super::process::{Server, free_port};

/// Where Debian's package puts it; the archive names whatever else it needs.
const ARCHIVE: &str = "/usr/share/java/zookeeper.jar";
/// In milliseconds: sessions last 2 to 20 of them.
const TICK: u32 = 200;

/// Servers of one ensemble on this machine; killed when it is dropped.
#[derive(Debug)]
pub struct ZooKeeper {
    dir: PathBuf,
    ports: Vec<Ports>,
    servers: Vec<Option<Server>>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    client: u16,
    quorum: u16,
    election: u16,
}

impl ZooKeeper {
    /// Starts so many servers, with their data in `dir`, and waits until they serve.
    ///
    /// # Errors
    /// When ZooKeeper or Java is not installed, or it does not get ready.
    pub fn start(dir: &Path, servers: usize) -> io::Result<Self> {
        if !Path::new(ARCHIVE).is_file() {
            let why = format!("there is no {ARCHIVE}; apt-get install zookeeper");
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        let ports = |_| {
            let (client, quorum, election) = (free_port()?, free_port()?, free_port()?);
            Ok(Ports { client, quorum, election })
        };
        let ports = (0..servers).map(ports).collect::<io::Result<_>>()?;
        let servers = (0..servers).map(|_| None).collect();
        let mut zookeeper = Self { dir: dir.to_owned(), ports, servers };
        for at in 0..zookeeper.servers.len() {
            zookeeper.configure(at)?;
            zookeeper.servers[at] = Some(zookeeper.spawn(at)?);
        }
        for at in 0..zookeeper.servers.len() {
            zookeeper.wait(at)?;
        }
        Ok(zookeeper)
    }

    fn home(&self, at: usize) -> PathBuf {
        self.dir.join(format!("zk{at}"))
    }

    fn configure(&self, at: usize) -> io::Result<()> {
        let home = self.home(at);
        let data = home.join("data");
        fs::create_dir_all(&data)?;
        let mut settings = format!(
            "tickTime={TICK}\ninitLimit=20\nsyncLimit=10\ndataDir={}\nclientPort={}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n\
             4lw.commands.whitelist=srvr,mntr\n",
            data.display(),
            self.ports[at].client
        );
        if self.ports.len() > 1 {
            for (id, ports) in self.ports.iter().enumerate() {
                let Ports { quorum, election, .. } = ports;
                settings.push_str(&format!("server.{id}=127.0.0.1:{quorum}:{election}\n"));
            }
            fs::write(data.join("myid"), at.to_string())?;
        }
        fs::write(home.join("zoo.cfg"), settings)?;
        let log = "log4j.rootLogger=INFO, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
                   log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
                   log4j.appender.out.layout.ConversionPattern=%d %p %c{1} %m%n\n";
        fs::write(home.join("log4j.properties"), log)
    }

    fn spawn(&self, at: usize) -> io::Result<Server> {
        let home = self.home(at);
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-Dzookeeper.jmx.log4j.disable=true"])
            .arg(format!("-Dlog4j.configuration=file:{}/log4j.properties", home.display()))
            .args(["-cp", ARCHIVE, "org.apache.zookeeper.server.quorum.QuorumPeerMain"])
            .arg(home.join("zoo.cfg"));
        Server::start(&mut command, "default-jre-headless", &home.join("log"))
    }

    fn wait(&mut self, at: usize) -> io::Result<()> {
        let port = self.ports[at].client;
        let ready = || mode(port).is_some();
        self.servers[at].as_mut().map_or(Ok(()), |server| server.wait_until(ready))
    }

    /// Names all servers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("zk://{}", self.hosts())
    }

    /// All servers, without a scheme.
    #[must_use]
    pub fn hosts(&self) -> String {
        let servers: Vec<_> =
            self.ports.iter().map(|ports| format!("127.0.0.1:{}", ports.client)).collect();
        servers.join(",")
    }

    /// Where the first server listens for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[0].client
    }

    /// Their processes.
    #[must_use]
    pub fn pids(&self) -> Vec<Pid> {
        self.servers.iter().flatten().filter_map(Server::pid).collect()
    }

    /// Sends all servers a signal.
    pub fn signal(&self, signal: Signal) {
        self.servers.iter().flatten().for_each(|server| server.signal(signal));
    }

    /// Kills a server as a crash would.
    pub fn kill(&mut self, at: usize) {
        self.servers[at] = None;
    }

    /// Starts a server that was killed, with its data.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn restart(&mut self, at: usize) -> io::Result<()> {
        self.servers[at] = None;
        self.servers[at] = Some(self.spawn(at)?);
        self.wait(at)
    }

    /// The server that leads the ensemble.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let leads = |at: &usize| mode(self.ports[*at].client).as_deref() == Some("leader");
        (0..self.servers.len()).filter(|at| self.servers[*at].is_some()).find(leads)
    }
}

/// What a server is; none while it serves nobody.
fn mode(port: u16) -> Option<String> {
    let text = four_letters(port, "srvr").ok()?;
    text.lines().find_map(|line| line.strip_prefix("Mode: ").map(str::to_owned))
}

/// Asks a server with one of its commands of four letters: `srvr` or `mntr`.
///
/// # Errors
/// When it does not answer.
pub fn four_letters(port: u16, command: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(command.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
