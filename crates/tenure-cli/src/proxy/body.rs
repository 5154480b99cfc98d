//! Bodies on their way through: counted, bounded, and cut when they must be. Nothing is kept.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::{
    task::AbortHandle,
    time::{Instant, Sleep, sleep},
};

use super::{gate::Pass, passage::Stage};

/// Ends the connection to the upstream when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection(pub(crate) AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Silence that is not borne any longer.
#[derive(Debug)]
struct Patience {
    length: Duration,
    over: Pin<Box<Sleep>>,
}

impl Patience {
    fn new(length: Duration) -> Self {
        Self { length, over: Box::pin(sleep(length)) }
    }

    fn heard(&mut self) {
        self.over.as_mut().reset(Instant::now() + self.length);
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.over.as_mut().poll(context).is_ready()
    }
}

/// The body of a request, on its way to the upstream.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Incoming,
    left: u64,
    patience: Patience,
    pass: Option<Arc<Pass>>,
    progress: Arc<Progress>,
}

/// How a request gets on, for whoever answers it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// How many pieces have been passed on.
    pub(crate) pieces: AtomicU64,
    /// Why it broke off.
    pub(crate) interrupted: OnceLock<Interrupted>,
}

/// Why a request did not reach the upstream in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Interrupted {
    TooLong,
    Broken(String),
}

impl Upload {
    pub(crate) fn new(
        body: Incoming,
        limit: u64,
        patience: Duration,
        pass: Option<Arc<Pass>>,
        progress: Arc<Progress>,
    ) -> Self {
        let upload = Self { body, left: limit, patience: Patience::new(patience), pass, progress };
        if upload.body.is_end_stream() {
            upload.complete();
        }
        upload
    }

    fn complete(&self) {
        if let Some(pass) = &self.pass {
            pass.reach(Stage::Sent);
        }
    }

    fn interrupted(&self, why: Interrupted) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let error = io::Error::other(format!("{why:?}"));
        // Only the first reason counts.
        let _ = self.progress.interrupted.set(why);
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => {
                return self.interrupted(Interrupted::Broken(error.to_string()));
            }
            Poll::Ready(None) => {
                self.complete();
                return Poll::Ready(None);
            }
            Poll::Pending if self.patience.is_over(context) => {
                let why = format!("nothing came for {} s", self.patience.length.as_secs_f32());
                return self.interrupted(Interrupted::Broken(why));
            }
            Poll::Pending => return Poll::Pending,
        };
        self.patience.heard();
        self.progress.pieces.fetch_add(1, Ordering::Relaxed);
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => return self.interrupted(Interrupted::TooLong),
        }
        if self.body.is_end_stream() {
            self.complete();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer: the upstream's on its way to the client, or the proxy's own.
pub(crate) enum Answer {
    Own(Full<Bytes>),
    Upstream(Box<Download>),
}

/// What the upstream answers.
pub(crate) struct Download {
    body: Incoming,
    patience: Patience,
    /// Dropped last: what ends the effect.
    _connection: Connection,
}

impl Answer {
    pub(crate) fn own(body: Full<Bytes>) -> Self {
        Self::Own(body)
    }

    pub(crate) fn upstream(body: Incoming, patience: Duration, connection: Connection) -> Self {
        let patience = Patience::new(patience);
        Self::Upstream(Box::new(Download { body, patience, _connection: connection }))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let download = match &mut *self {
            Self::Own(body) => {
                let frame = Pin::new(body).poll_frame(context);
                return frame.map(|frame| frame.map(|frame| frame.map_err(|never| match never {})));
            }
            Self::Upstream(download) => download,
        };
        match Pin::new(&mut download.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                download.patience.heard();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(io::Error::other(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if download.patience.is_over(context) => {
                Poll::Ready(Some(Err(io::Error::other("the upstream is silent"))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Upstream(download) => download.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Upstream(download) => download.body.size_hint(),
        }
    }
}
