//! A resource that speaks HTTP, knows nothing of tokens and does what it is told; and a client.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
};

use super::PATIENCE;

/// What the resource was asked to do, in the order in which it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Paths that begin with `/hold` are done and not answered before [`Resource::release`];
/// `/leave` goes away without an answer, `/echo` answers with what it was sent.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) address: String,
    inner: Arc<Inner>,
    events: Receiver<String>,
}

#[derive(Debug, Default)]
struct Inner {
    done: Mutex<Vec<Done>>,
    released: Mutex<bool>,
    on_release: Condvar,
}

impl Resource {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let inner = Arc::<Inner>::default();
        let (tell, events) = channel();
        let shared = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (inner, tell) = (Arc::clone(&shared), tell.clone());
                std::thread::spawn(move || inner.serve(&stream, &tell));
            }
        });
        Self { address, inner, events }
    }

    /// What it has done so far.
    pub(crate) fn done(&self) -> Vec<Done> {
        self.inner.done.lock().unwrap().clone()
    }

    /// The bodies of what was done to a path.
    pub(crate) fn bodies(&self, path: &str) -> Vec<String> {
        self.done().into_iter().filter(|done| done.path == path).map(|done| done.body).collect()
    }

    /// Waits until it has begun (`begun PATH`), done (`done PATH`) or lost (`broken PATH`) that.
    #[track_caller]
    pub(crate) fn has(&self, what: &str) {
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(event) if event == what => return,
                Ok(_) => {}
                Err(_) => panic!("the resource has not {what}"),
            }
        }
    }

    /// Answers what is held.
    pub(crate) fn release(&self) {
        *self.inner.released.lock().unwrap() = true;
        self.inner.on_release.notify_all();
    }
}

impl Inner {
    fn serve(&self, stream: &TcpStream, tell: &Sender<String>) {
        let mut reader = BufReader::new(stream);
        let Some((head, length)) = head(&mut reader) else { return };
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let _ = tell.send(format!("begun {path}"));
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            let _ = tell.send(format!("broken {path}"));
            return;
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        self.done.lock().unwrap().push(Done { path: path.clone(), head, body: body.clone() });
        let _ = tell.send(format!("done {path}"));
        if path.starts_with("/hold") {
            let released = self.released.lock().unwrap();
            drop(self.on_release.wait_while(released, |released| !*released).unwrap());
        }
        if path.starts_with("/leave") {
            return;
        }
        let answer = if path.starts_with("/echo") { body.as_str() } else { "done" };
        let length = answer.len();
        let text =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Mine: yes\r\n\r\n{answer}");
        let mut out = stream;
        let _ = out.write_all(text.as_bytes());
    }
}

/// Reads up to the empty line; gives it with the length of the body.
fn head(reader: &mut impl BufRead) -> Option<(String, usize)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some((head, length.unwrap_or(0)))
}

/// An answer of the proxy.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A field of a problem.
    pub(crate) fn problem(&self) -> serde_json::Value {
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// The code of a problem, also told by a header.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let code = self.problem()["code"].as_str().unwrap().to_owned();
        assert!(self.head.contains(&format!("tenure-fence: {code}")), "{self:?}");
        code
    }
}

/// A request on a connection of its own.
#[derive(Debug)]
pub(crate) struct Request {
    stream: TcpStream,
}

impl Request {
    /// Sends the head, and as much of the body as is given.
    pub(crate) fn begin(address: &str, line: &str, headers: &str, length: usize) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let text = format!(
            "{line} HTTP/1.1\r\nHost: resource\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(text.as_bytes()).unwrap();
        Self { stream }
    }

    pub(crate) fn send(&mut self, body: &str) {
        self.stream.write_all(body.as_bytes()).unwrap();
    }

    #[track_caller]
    pub(crate) fn answer(self) -> Answer {
        let mut reader = BufReader::new(&self.stream);
        let (head, length) = loop {
            let (head, length) = head(&mut reader).expect("an answer");
            // The leave to go on, for who has asked for it.
            if !head.starts_with("HTTP/1.1 100") {
                break (head, length);
            }
        };
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the whole answer");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }
}

/// Sends a whole request under a token, and gives the answer.
#[track_caller]
pub(crate) fn put(address: &str, path: &str, token: u64, body: &str) -> Answer {
    begin_put(address, path, token, body).answer()
}

/// Sends a whole request under a token.
pub(crate) fn begin_put(address: &str, path: &str, token: u64, body: &str) -> Request {
    let headers = format!("Tenure-Token: {token}\r\n");
    let mut request = Request::begin(address, &format!("PUT {path}"), &headers, body.len());
    request.send(body);
    request
}
