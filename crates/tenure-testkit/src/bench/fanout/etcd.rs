//! Watchers of etcd: a stream of its gRPC interface each, on a connection of its own, to one
//! member after another. Of the messages of `rpc.proto` this has what is needed.

use std::{io, sync::Arc};

use http::uri::PathAndQuery;
use prost::Message;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::{StreamExt, pending};
use tonic::{Request, client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;

use super::{Heard, news, number};

const KEY: &[u8] = b"leader";

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, Message)]
struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    create: Option<WatchCreate>,
}

#[derive(Clone, PartialEq, Message)]
struct WatchCreate {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct WatchResponse {
    #[prost(bool, tag = "3")]
    created: bool,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(message, optional, tag = "2")]
    kv: Option<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

/// What changes the leader.
pub(super) struct Changer(Grpc<tonic::transport::Channel>);

pub(super) async fn start(
    url: &str,
    count: usize,
    heard: &Arc<Heard>,
    watchers: &mut JoinSet<io::Result<()>>,
) -> io::Result<Changer> {
    let members: Vec<_> = url.trim_start_matches("etcd://").split(',').map(str::to_owned).collect();
    let (ready, mut created) = mpsc::unbounded_channel();
    for (_, member) in (0..count).zip(members.iter().cycle()) {
        watchers.spawn(watch(member.clone(), heard.clone(), ready.clone()));
    }
    for _ in 0..count {
        let gone = || io::Error::other("a watcher of etcd has ended");
        created.recv().await.ok_or_else(gone)?;
    }
    Ok(Changer(connect(&members[0]).await?))
}

async fn connect(member: &str) -> io::Result<Grpc<tonic::transport::Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{member}")).map_err(io::Error::other)?;
    Ok(Grpc::new(endpoint.connect().await.map_err(io::Error::other)?))
}

async fn watch(
    member: String,
    heard: Arc<Heard>,
    ready: mpsc::UnboundedSender<()>,
) -> io::Result<()> {
    let mut grpc = connect(&member).await?;
    grpc.ready().await.map_err(io::Error::other)?;
    let create = WatchRequest { create: Some(WatchCreate { key: KEY.to_vec() }) };
    // The stream of requests must not end, or the watch would.
    let asks = Request::new(tokio_stream::once(create).chain(pending()));
    let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
    let codec: ProstCodec<WatchRequest, WatchResponse> = ProstCodec::default();
    let answers = grpc.streaming(asks, path, codec).await.map_err(io::Error::other)?;
    let (mut answers, mut last) = (answers.into_inner(), 0);
    while let Some(answer) = answers.message().await.map_err(io::Error::other)? {
        if answer.created {
            let _ = ready.send(());
        }
        let values = answer.events.into_iter().filter_map(|event| event.kv);
        for number in values.filter_map(|kv| number(&kv.value)) {
            heard.note(number, &mut last);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

impl Changer {
    pub(super) async fn change(&mut self, number: u64) -> io::Result<u64> {
        self.0.ready().await.map_err(io::Error::other)?;
        let put = PutRequest { key: KEY.to_vec(), value: news(number).into_bytes() };
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
        let codec: ProstCodec<PutRequest, PutResponse> = ProstCodec::default();
        self.0.unary(Request::new(put), path, codec).await.map_err(io::Error::other)?;
        Ok(number)
    }
}
