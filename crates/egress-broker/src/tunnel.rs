//! Connections that go through as they are. Not a byte goes out before the client hello named the
//! host that the connection was asked for.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use proofroom_egress::{
    Denial, Endpoint, Hello, Meter, Way, client_hello, client_hello::HelloError,
};
use proofroom_record::{event::EgressEnd, room_api::EgressAccount};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use crate::{
    Broker, Refusal, Report,
    body::{Body, Passed, Pieces, ending, piecewise},
    dial::dial,
};

/// How long a client may take for its hello.
const HELLO_TIME: Duration = Duration::from_secs(10);
/// How long nothing may come from the other side.
const IDLE: Duration = Duration::from_secs(600);
/// How long the other side may still answer when the client has ended.
const LINGER: Duration = Duration::from_secs(3);
/// The most bytes that are read at once.
const PIECE: usize = 32 * 1024;

impl Broker {
    /// Opens a connection for the room. `body` is what the room says on it.
    ///
    /// # Errors
    /// [`Refusal`]; the room is told before it says anything.
    pub async fn tunnel(
        self: &Arc<Self>,
        endpoint: Endpoint,
        body: Incoming,
        report: Report,
    ) -> Result<Response<Body>, Refusal> {
        let rule = match self.policy.connect(&endpoint)? {
            Way::Through(rule) => rule,
            Way::Requests(_) => return Err(Denial::RequestsOnly(endpoint).into()),
        };
        let permit = self.admit()?;
        let (stream, peer) = dial(self.resolver.as_ref(), &endpoint, rule).await?;
        let (pieces, answer) = piecewise();
        let tunnel = Tunnel {
            broker: Arc::clone(self),
            rule: rule.name.clone(),
            endpoint,
            peer,
            passed: Arc::default(),
            _permit: permit,
        };
        drop(tokio::spawn(tunnel.carry(stream, body, pieces, report)));
        Ok(Response::new(answer))
    }
}

struct Tunnel {
    broker: Arc<Broker>,
    rule: String,
    endpoint: Endpoint,
    peer: SocketAddr,
    passed: Arc<Passed>,
    _permit: OwnedSemaphorePermit,
}

impl Tunnel {
    async fn carry(self, stream: TcpStream, mut body: Incoming, pieces: Pieces, report: Report) {
        let hello = match timeout(HELLO_TIME, self.hello(&mut body)).await {
            Ok(hello) => hello,
            Err(_) => Err(HelloError::NotTls.into()),
        };
        let account = match hello {
            Err(denial) => Refusal::Denied(denial).account(),
            Ok(hello) => {
                let end = self.pump(stream, hello, body, &pieces).await;
                EgressAccount::Passed {
                    rule: self.rule,
                    connected: self.peer.to_string(),
                    sent: self.passed.sent(),
                    received: self.passed.received(),
                    end,
                }
            }
        };
        // A room that is gone has nobody to tell.
        drop(report.send(account.clone()));
        drop(pieces.send_timeout(Ok(ending(&account)), LINGER).await);
    }

    /// The first bytes, once they name the host that was asked for.
    async fn hello(&self, body: &mut Incoming) -> Result<Bytes, Denial> {
        let mut bytes = BytesMut::new();
        loop {
            match client_hello(&bytes)? {
                Hello::To(named) if named == self.endpoint.host => return Ok(bytes.freeze()),
                Hello::To(named) => {
                    let asked = self.endpoint.host.clone();
                    return Err(Denial::SniDiffers { asked, named });
                }
                Hello::Incomplete => match next(body).await {
                    Next::Data(data) => bytes.extend_from_slice(&data),
                    Next::End | Next::Broken => return Err(HelloError::NotTls.into()),
                },
            }
        }
    }

    async fn pump(
        &self,
        stream: TcpStream,
        hello: Bytes,
        body: Incoming,
        pieces: &Pieces,
    ) -> EgressEnd {
        let (reader, writer) = stream.into_split();
        let out = self.out(writer, hello, body);
        let back = self.back(reader, pieces);
        tokio::pin!(out, back);
        tokio::select! {
            () = pieces.closed() => EgressEnd::BrokeOff,
            end = &mut back => end,
            end = &mut out => match end {
                EgressEnd::CutAtCap => end,
                // What the other side still says is handed over.
                _ => timeout(LINGER, back).await.unwrap_or(end),
            },
        }
    }

    async fn out(&self, mut writer: OwnedWriteHalf, hello: Bytes, mut body: Incoming) -> EgressEnd {
        let mut piece = hello;
        loop {
            let bytes = piece.len() as u64;
            if self
                .broker
                .meter(|meter, since| Meter::send(meter, since, bytes))
                .is_err()
            {
                return EgressEnd::CutAtCap;
            }
            self.passed.sending(bytes);
            if writer.write_all(&piece).await.is_err() {
                return EgressEnd::BrokeOff;
            }
            piece = match next(&mut body).await {
                Next::Data(data) => data,
                Next::Broken => return EgressEnd::BrokeOff,
                Next::End => {
                    // When the other side is gone already, there is nothing to end.
                    drop(writer.shutdown().await);
                    return EgressEnd::Complete;
                }
            };
        }
    }

    async fn back(&self, mut reader: OwnedReadHalf, pieces: &Pieces) -> EgressEnd {
        let mut buffer = BytesMut::with_capacity(PIECE);
        loop {
            buffer.reserve(PIECE);
            let read = match timeout(IDLE, reader.read_buf(&mut buffer)).await {
                Ok(Ok(0)) => return EgressEnd::Complete,
                Ok(Ok(read)) => read as u64,
                Ok(Err(_)) | Err(_) => return EgressEnd::BrokeOff,
            };
            if self
                .broker
                .meter(|meter, since| Meter::receive(meter, since, read))
                .is_err()
            {
                return EgressEnd::CutAtCap;
            }
            self.passed.receiving(read);
            let piece = buffer.split().freeze();
            if pieces.send(Ok(Frame::data(piece))).await.is_err() {
                return EgressEnd::BrokeOff;
            }
        }
    }
}

enum Next {
    Data(Bytes),
    End,
    Broken,
}

async fn next(body: &mut Incoming) -> Next {
    match body.frame().await {
        None => Next::End,
        Some(Err(_)) => Next::Broken,
        Some(Ok(frame)) => frame.into_data().map_or(Next::End, Next::Data),
    }
}
