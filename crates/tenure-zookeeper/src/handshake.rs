//! ZooKeeper's handshake, spoken by hand: which sessions a server grants, or why it grants none.
//!
//! The client library connects again and again without saying what it met, and cannot ask for
//! a session so short or so long that the server shows its bounds.

use core::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Length of a session's password.
const PASSWORD: usize = 16;
/// Length of a `ConnectResponse`: version, timeout, session, password, and since 3.4 one byte more
/// that says whether the server is read-only.
const ANSWER: usize = 4 + 4 + 8 + 4 + PASSWORD;
/// Operation number of the end of a session.
const CLOSE_SESSION: i32 = -11;

/// The sessions that servers grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) shortest: Duration,
    pub(crate) longest: Duration,
    /// The server is the only one.
    pub(crate) standalone: bool,
}

impl Granted {
    /// The servers' `tickTime`: unless configured otherwise, sessions last 2 to 20 ticks. The
    /// longer of both guesses, because a tick that is taken for too long costs only time.
    pub(crate) fn tick(&self) -> Duration {
        (self.shortest / 2).max(self.longest / 20)
    }
}

/// Why a server grants no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It may do so later.
    Away(String),
    /// It never will.
    NotZooKeeper(String),
}

/// Asks one server.
pub(crate) async fn ask(server: &str, patience: Duration) -> Result<Granted, Trouble> {
    let asked = async {
        let shortest = session(server, 1).await?;
        let longest = session(server, i32::MAX).await?;
        Ok(Granted { shortest, longest, standalone: is_standalone(server).await })
    };
    match timeout(patience, asked).await {
        Ok(granted) => granted,
        Err(_) => Err(Trouble::Away(format!("{server}: nothing came within {patience:?}"))),
    }
}

/// The session granted when one of this length is asked for; it is closed at once.
async fn session(server: &str, millis: i32) -> Result<Duration, Trouble> {
    let away = |error: std::io::Error| Trouble::Away(format!("{server}: {error}"));
    let mut stream = TcpStream::connect(server).await.map_err(away)?;
    stream.write_all(&request(millis)).await.map_err(away)?;
    let mut length = [0; 4];
    if stream.read_exact(&mut length).await.is_err() {
        // A server that cannot reach a quorum answers the handshake by hanging up.
        let why = format!(
            "{server}: it hangs up on clients; either its ensemble has no quorum, or something \
             else than ZooKeeper, or ZooKeeper with TLS only, listens there"
        );
        return Err(Trouble::Away(why));
    }
    let strange =
        || Trouble::NotZooKeeper(format!("{server}: what answers there is not ZooKeeper"));
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length != ANSWER && length != ANSWER + 1 {
        return Err(strange());
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await.map_err(away)?;
    let granted = granted(&answer).ok_or_else(strange)?;
    if granted.is_zero() {
        let why = format!(
            "{server}: it is so slow that a session ran out before the answer to its opening came"
        );
        return Err(Trouble::Away(why));
    }
    // So that it need not wait for the session to run out.
    let _ = stream.write_all(&close()).await;
    let _ = stream.read(&mut [0; 64]).await;
    Ok(granted)
}

/// `ConnectRequest`, with its length before it.
fn request(millis: i32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(0i32.to_be_bytes()); // version of the protocol
    body.extend(0i64.to_be_bytes()); // last change seen
    body.extend(millis.to_be_bytes());
    body.extend(0i64.to_be_bytes()); // a new session
    body.extend(i32::try_from(PASSWORD).unwrap_or(0).to_be_bytes());
    body.extend([0; PASSWORD]);
    body.push(0); // not read-only
    framed(&body)
}

fn close() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(1i32.to_be_bytes()); // number of the request
    body.extend(CLOSE_SESSION.to_be_bytes());
    framed(&body)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).unwrap_or(0);
    [&length.to_be_bytes()[..], body].concat()
}

/// The length of the session in a `ConnectResponse`; zero when it had run out by then.
fn granted(body: &[u8]) -> Option<Duration> {
    let version = body.get(..4)?;
    let millis = i32::from_be_bytes(body.get(4..8)?.try_into().ok()?);
    let granted = Duration::from_millis(u64::try_from(millis).ok()?);
    (version == [0; 4]).then_some(granted)
}

/// What `srvr`, the only word that every server answers unless it was forbidden, tells.
async fn is_standalone(server: &str) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(server).await.ok()?;
        stream.write_all(b"srvr").await.ok()?;
        let mut text = String::new();
        stream.take(4096).read_to_string(&mut text).await.ok()?;
        Some(text.contains("Mode: standalone"))
    };
    asked.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_framed_as_the_protocol_says() {
        let request = request(7);
        assert_eq!(request.len(), 4 + 45);
        assert_eq!(request[..4], [0, 0, 0, 45]);
        assert_eq!(request[16..20], [0, 0, 0, 7]);
        assert_eq!(close(), [0, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xf5]);
    }

    #[test]
    fn only_an_answer_of_zookeeper_is_one() {
        let mut answer = vec![0; ANSWER + 1];
        answer[4..8].copy_from_slice(&400i32.to_be_bytes());
        assert_eq!(granted(&answer), Some(Duration::from_millis(400)));
        assert_eq!(granted(&answer[..ANSWER]), Some(Duration::from_millis(400)));
        assert_eq!(granted(&[0; ANSWER]), Some(Duration::ZERO), "a session that has run out");
        assert_eq!(granted(b"-ERR unknown command................"), None);
    }

    #[test]
    fn a_tick_is_rather_taken_for_too_long() {
        let millis = Duration::from_millis;
        let granted = |shortest, longest| Granted {
            shortest: millis(shortest),
            longest: millis(longest),
            standalone: false,
        };
        assert_eq!(granted(4000, 40_000).tick(), millis(2000));
        assert_eq!(granted(500, 40_000).tick(), millis(2000), "a shorter session was configured");
        assert_eq!(granted(4000, 10_000).tick(), millis(2000), "a lower limit was configured");
    }
}
