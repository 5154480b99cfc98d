//! Watchers of Redis: subscribers of one channel, spoken to over bare sockets.

use std::{io, net::Ipv4Addr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};

use super::{Heard, LENGTH, news, number};

const SUBSCRIBE: &[u8] = b"*2\r\n$9\r\nSUBSCRIBE\r\n$6\r\nleader\r\n";

/// What changes the leader.
pub(super) struct Changer(TcpStream);

pub(super) async fn start(
    port: u16,
    count: usize,
    heard: &Arc<Heard>,
    watchers: &mut JoinSet<io::Result<()>>,
) -> io::Result<Changer> {
    let (ready, mut subscribed) = mpsc::unbounded_channel();
    for _ in 0..count {
        watchers.spawn(watch(port, heard.clone(), ready.clone()));
    }
    for _ in 0..count {
        let gone = || io::Error::other("a subscriber has ended");
        subscribed.recv().await.ok_or_else(gone)?;
    }
    Ok(Changer(connect(port).await?))
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn watch(port: u16, heard: Arc<Heard>, ready: mpsc::UnboundedSender<()>) -> io::Result<()> {
    let mut stream = connect(port).await?;
    stream.write_all(SUBSCRIBE).await?;
    let (mut buffer, mut filled, mut last) = ([0; 1024], 0, 0);
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        // `subscribe` is answered with the number of channels, a message ends with its text.
        if buffer[..filled].ends_with(b":1\r\n") {
            let _ = ready.send(());
            filled = 0;
        } else if buffer[..filled].ends_with(b"\r\n") && filled > LENGTH + 2 {
            let text = &buffer[filled - LENGTH - 2..filled - 2];
            if let Some(number) = number(text) {
                heard.note(number, &mut last);
                filled = 0;
            }
        }
    }
}

impl Changer {
    pub(super) async fn change(&mut self, number: u64) -> io::Result<u64> {
        let head = format!("*3\r\n$7\r\nPUBLISH\r\n$6\r\nleader\r\n${LENGTH}\r\n");
        self.0.write_all(format!("{head}{}\r\n", news(number)).as_bytes()).await?;
        let mut answer = [0; 64];
        // How many were told is no news here, but that it was done is.
        match self.0.read(&mut answer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(number),
        }
    }
}
