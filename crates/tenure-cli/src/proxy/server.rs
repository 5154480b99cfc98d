//! Listens, and takes as many connections as it may.

use std::{convert::Infallible, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::{Proxy, cannot_listen, exchange};
use crate::error::Outcome;

/// Longest time for the head of a request, also the first one of a connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Longest head of a request.
const HEAD: usize = 64 * 1024;
/// Before a connection is asked for again when the system has none to give.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn bind(address: &str, option: &str) -> Outcome<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| cannot_listen(&format!("{address} ({option})"), &error))
}

/// Answers until it is dropped.
pub(crate) async fn serve(listener: TcpListener, proxy: &Arc<Proxy>) -> Infallible {
    let connections = Arc::new(tokio::sync::Semaphore::new(proxy.limits.connections));
    loop {
        // Who comes when there is no place waits in the queue of the kernel.
        let place = Arc::clone(&connections).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let proxy = Arc::clone(proxy);
                tokio::spawn(async move {
                    converse(stream, proxy).await;
                    drop(place);
                });
            }
            // Out of files, for example: no reason to spin.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn converse(stream: TcpStream, proxy: Arc<Proxy>) {
    // Who does not read its answer is given up after the same time as who does not send.
    let patience = u32::try_from(proxy.limits.patience.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, patience);
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let proxy = Arc::clone(&proxy);
        async move { Ok::<_, Infallible>(exchange::answer(&proxy, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // Who asked has gone, or has said nothing that could be understood.
    let _ = connection.await;
}

/// When no request is under way.
pub(crate) async fn emptied(proxy: &Proxy) {
    let all = u32::try_from(proxy.limits.connections).unwrap_or(u32::MAX);
    let _ = proxy.places.acquire_many(all).await;
}
