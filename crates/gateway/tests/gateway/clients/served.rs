//! A gateway on a loopback port, in front of recorded answers that are played in one API alone.

use std::{convert::Infallible, sync::Arc};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proofroom_testkit::cassette::{self, Cassette, Options, Transport};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::world::{World, standard};

/// Recordings in the order in which they are tried.
const CASSETTES: [&str; 6] = [
    include_str!("../../../../testkit/cassettes/clients/title.json"),
    include_str!("../../../../testkit/cassettes/clients/claude.json"),
    include_str!("../../../../testkit/cassettes/clients/codex.json"),
    include_str!("../../../../testkit/cassettes/clients/opencode.json"),
    include_str!("../../../../testkit/cassettes/clients/aider.json"),
    include_str!("../../../../testkit/cassettes/sdk.json"),
];

/// The model that clients ask for.
pub const MODEL: &str = "cassette-standard";

pub struct Served {
    pub world: World,
    /// `http://127.0.0.1:<port>`
    pub address: String,
    serving: JoinHandle<()>,
    _upstream: cassette::Running,
}

impl Served {
    /// In front of an upstream that speaks `api` only.
    pub async fn start(api: &str) -> Self {
        let cassettes = CASSETTES.map(|text| Cassette::parse(text).unwrap());
        let options = Options {
            port: 0,
            cassettes: cassettes.into(),
            transport: Transport::Plain,
        };
        let upstream = cassette::start(options).await.unwrap();
        let all = r#"["chat", "messages", "responses", "embeddings", "rerank"]"#;
        let upstreams = standard(upstream.address)
            .replace(all, &format!("[\"{api}\"]"))
            .replace("std-model", MODEL);
        let world = World::new(upstreams);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (gateway, caller) = (world.gateway.clone(), world.caller(1));
        let serving = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (gateway, caller) = (gateway.clone(), Arc::clone(&caller));
                let service = service_fn(move |request: hyper::Request<Incoming>| {
                    let (gateway, caller) = (gateway.clone(), Arc::clone(&caller));
                    async move { Ok::<_, Infallible>(gateway.handle(request, caller).await) }
                });
                tokio::spawn(async move {
                    let connection = http1::Builder::new();
                    drop(
                        connection
                            .serve_connection(TokioIo::new(tcp), service)
                            .await,
                    );
                });
            }
        });
        Self {
            world,
            address,
            serving,
            _upstream: upstream,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
