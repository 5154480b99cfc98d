//! Moto, which speaks as S3 does, conditional writes included; and the thinnest client of it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tenure::fence::{
    ObjectStore,
    object::{Condition, Object, Written},
};

use super::process::{Server, free_port};
use crate::PATIENCE;

/// One server on this machine; killed when it is dropped.
#[derive(Debug)]
pub struct Objects {
    _server: Server,
    port: u16,
}

/// One bucket of it. No secrets, no encryption: for tests.
#[derive(Debug, Clone)]
pub struct Bucket {
    port: u16,
    name: String,
}

/// Where `cargo xtask test` puts Moto when the machine has none.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/moto")
}

/// Python, with Moto and the client of S3.
fn interpreter() -> Command {
    let mut command = Command::new("python3");
    if installed().is_dir() {
        command.env("PYTHONPATH", installed());
    }
    command
}

/// Runs a script that may use the client of S3.
///
/// # Errors
/// When there is no Python.
pub fn python(script: &str) -> io::Result<Output> {
    interpreter().args(["-c", script]).output()
}

impl Objects {
    /// Starts one, and waits until it answers.
    ///
    /// # Errors
    /// When Moto is not installed or does not get ready.
    pub fn start(dir: &Path) -> io::Result<Self> {
        let port = free_port()?;
        let mut command = interpreter();
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let package = "python3-pip; then pip install 'moto[server]'";
        let mut server = Server::start(&mut command, package, &dir.join("moto.log"))?;
        server.wait_for_port(port)?;
        Ok(Self { _server: server, port })
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn bucket(&self, name: &str) -> io::Result<Bucket> {
        let bucket = Bucket { port: self.port, name: name.to_owned() };
        let answer = bucket.ask("PUT", "", "", b"")?;
        match answer.status {
            200 => Ok(bucket),
            _ => Err(answer.unexpected()),
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    etag: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    fn unexpected(&self) -> io::Error {
        let said = String::from_utf8_lossy(&self.body).into_owned();
        io::Error::other(format!("the store answers {}: {said}", self.status))
    }
}

impl Bucket {
    /// A header: Moto asks for a signature and does not check it.
    pub const ANYBODY: &str = "Authorization: AWS4-HMAC-SHA256 \
                               Credential=a/20260101/us-east-1/s3/aws4_request, \
                               SignedHeaders=host, Signature=0";

    /// Where it is: for another process.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.port, self.name)
    }

    /// The bucket at a place.
    #[must_use]
    pub fn at(place: &str) -> Option<Self> {
        let (port, name) = place.split_once('/')?;
        Some(Self { port: port.parse().ok()?, name: name.to_owned() })
    }

    /// Writes an object whatever is there.
    ///
    /// # Errors
    /// When the server does not do it.
    pub fn overwrite(&self, key: &str, body: &[u8]) -> io::Result<()> {
        let answer = self.ask("PUT", key, "", body)?;
        if answer.status == 200 { Ok(()) } else { Err(answer.unexpected()) }
    }

    fn ask(&self, method: &str, key: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "{method} /{}/{key} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\
             {}\r\nContent-Length: {}\r\n{headers}\r\n",
            self.name,
            self.port,
            Self::ANYBODY,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        read_answer(&mut BufReader::new(stream))
    }
}

fn read_answer(reader: &mut impl BufRead) -> io::Result<Answer> {
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "no answer in HTTP");
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(strange)?;
    let (mut etag, mut length) = (None, None);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(strange());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "etag" => etag = Some(value.to_owned()),
            "content-length" => length = value.parse::<u64>().ok(),
            _ => {}
        }
    }
    let mut body = Vec::new();
    reader.take(length.unwrap_or(u64::MAX)).read_to_end(&mut body)?;
    Ok(Answer { status, etag, body })
}

impl ObjectStore for Bucket {
    type Error = io::Error;

    async fn read(&self, key: &str) -> io::Result<Option<Object>> {
        let answer = self.ask("GET", key, "", b"")?;
        match (answer.status, &answer.etag) {
            (200, Some(version)) => {
                Ok(Some(Object { version: version.clone(), body: answer.body }))
            }
            (404, _) => Ok(None),
            _ => Err(answer.unexpected()),
        }
    }

    async fn write(&self, key: &str, body: Vec<u8>, condition: Condition) -> io::Result<Written> {
        let header = match condition {
            Condition::Absent => String::from("If-None-Match: *\r\n"),
            Condition::Version(etag) => format!("If-Match: {etag}\r\n"),
        };
        let answer = self.ask("PUT", key, &header, &body)?;
        match answer.status {
            200 => Ok(Written::Done),
            // Another one was faster, is being fast, or has deleted it.
            412 | 409 | 404 => Ok(Written::Conflict),
            _ => Err(answer.unexpected()),
        }
    }
}
