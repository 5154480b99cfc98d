//! One request: in through its gate, to the upstream, and the answer back.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::{
    HeaderMap, Request, Response, StatusCode, Version,
    body::{Body, Incoming},
    client::conn::http1,
    header::{CONNECTION, EXPECT, HOST, HeaderValue, VIA},
    http::request::Parts,
};
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Proxy,
    answer::{self, Refusal},
    body::{Answer, Connection, Interrupted, Progress, Upload},
    gate::Pass,
    passage::Stage,
    rules::Claim,
    upstream::Stream,
};

/// Answers one request, whatever comes of it.
pub(crate) async fn answer(proxy: &Arc<Proxy>, request: Request<Incoming>) -> Response<Answer> {
    let claim = proxy.rules.claim(request.method(), request.uri(), request.headers());
    let gate = match &claim {
        Ok(Claim::Token(at, _) | Claim::Open(at)) => Some(*at),
        Err(_) => proxy.rules.guard_of(request.uri().path()).ok(),
    };
    let gate = gate.map(|at| &proxy.gates[at]);
    let carried = match claim {
        Ok(claim) => carry(proxy, claim, request).await,
        Err(refusal) => Err(refusal),
    };
    let election = gate.map(|gate| gate.election());
    match carried {
        Ok(response) => {
            proxy.counts.count(election, "passed");
            response
        }
        Err(refusal) => {
            tracing::debug!(?refusal, "not let through");
            proxy.counts.count(election, refusal.code());
            refusal.answer(election)
        }
    }
}

async fn carry(
    proxy: &Arc<Proxy>,
    claim: Claim,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Refusal> {
    let limit = proxy.limits.body;
    if request.body().size_hint().lower() > limit {
        return Err(Refusal::TooLong { limit });
    }
    // The semaphore is never closed.
    let Ok(place) = Arc::clone(&proxy.places).acquire_owned().await else {
        return Err(Refusal::Broken { why: String::from("the proxy ends") });
    };
    let pass = match claim {
        Claim::Token(at, token) => Some(Arc::new(proxy.gates[at].enter(token).await?)),
        Claim::Open(_) => None,
    };
    // In a task of its own: when the client goes away, what the upstream has in full is still
    // waited for, and kept apart from what a newer leader does.
    let exchange = tokio::spawn(exchange(Arc::clone(proxy), request, pass, place));
    exchange.await.unwrap_or_else(|error| Err(Refusal::Broken { why: error.to_string() }))
}

async fn exchange(
    proxy: Arc<Proxy>,
    request: Request<Incoming>,
    pass: Option<Arc<Pass>>,
    place: OwnedSemaphorePermit,
) -> Result<Response<Answer>, Refusal> {
    let upstream = &proxy.upstream;
    let bad = |why: &dyn std::fmt::Display| Refusal::BadUpstream {
        upstream: upstream.to_string(),
        why: why.to_string(),
    };
    let stream = tokio::select! {
        refusal = cut(pass.as_deref()) => return Err(refusal),
        stream = upstream.connect() => stream.map_err(|why| Refusal::Unreachable {
            upstream: upstream.to_string(),
            why: why.to_string(),
        })?,
    };
    let handshake = http1::Builder::new().handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| bad(&error))?;
    let connection = tokio::spawn(hold(connection, pass.clone(), place)).abort_handle();
    let connection = Connection(connection);

    let patience = proxy.limits.patience;
    let progress = Arc::<Progress>::default();
    let (parts, body) = request.into_parts();
    let body = Upload::new(body, proxy.limits.body, patience, pass.clone(), Arc::clone(&progress));
    let sent = sender.send_request(outgoing(parts, upstream.host(), body));
    let answered = tokio::select! {
        biased;
        refusal = cut(pass.as_deref()) => return Err(refusal),
        answered = sent => answered,
        () = silence(&progress, patience) => {
            let seconds = patience.as_secs();
            return Err(Refusal::Silent { upstream: upstream.to_string(), seconds });
        }
    };
    let mut response = answered.map_err(|error| match progress.interrupted.get() {
        Some(Interrupted::TooLong) => Refusal::TooLong { limit: proxy.limits.body },
        Some(Interrupted::Broken(why)) => Refusal::Broken { why: why.clone() },
        None => bad(&error),
    })?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(bad(&"it speaks something else from now on, which nobody asked for"));
    }
    if let Some(pass) = &pass {
        pass.reach(Stage::Answered);
    }
    let headers = response.headers_mut();
    pass_on(headers);
    headers.remove(answer::MARK);
    Ok(response.map(|body| Answer::upstream(body, patience, connection)))
}

/// Drives the connection to the upstream. The pass ends with it, and not before.
async fn hold(
    connection: http1::Connection<TokioIo<Pin<Box<dyn Stream>>>, Upload>,
    pass: Option<Arc<Pass>>,
    _place: OwnedSemaphorePermit,
) {
    let drained = async {
        match &pass {
            Some(pass) => pass.drained().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // How it ended is known by whoever reads the answer.
        _ = connection => {}
        () = drained => {}
    }
}

async fn cut(pass: Option<&Pass>) -> Refusal {
    match pass {
        Some(pass) => pass.cut().await,
        None => std::future::pending().await,
    }
}

/// Until nothing has moved for that long: neither has the upstream taken anything more of the
/// request, nor has it answered.
async fn silence(progress: &Progress, patience: Duration) {
    loop {
        let before = progress.pieces.load(Ordering::Relaxed);
        tokio::time::sleep(patience).await;
        if progress.pieces.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// The request as the upstream gets it: as it came, but for what was about the connection.
fn outgoing(mut parts: Parts, host: &str, body: Upload) -> Request<Upload> {
    if let Some(authority) = parts.uri.authority()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, value);
    }
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or_else(|| parts.uri.clone(), Into::into);
    parts.version = Version::HTTP_11;
    pass_on(&mut parts.headers);
    // Answered here already: the body is on its way.
    parts.headers.remove(EXPECT);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if !parts.headers.contains_key(HOST)
        && let Ok(value) = HeaderValue::from_str(host)
    {
        parts.headers.insert(HOST, value);
    }
    Request::from_parts(parts, body)
}

fn pass_on(headers: &mut HeaderMap) {
    answer::strip_hops(headers);
    headers.append(VIA, HeaderValue::from_static("1.1 tenure-fence"));
}
