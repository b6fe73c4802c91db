//! A connection through the broker: the agent's bytes are the request's body, what comes back is the
//! answer's. The outcome is written when the broker has given its account.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use proofroom_egress::Endpoint;
use proofroom_record::room_api::EgressAccount;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};

use super::{
    Attempted, account_in, announce, ask, connection_action, not_carried_out,
    request::{Fed, Pieces},
    settle,
};
use crate::{
    channel::{Body, whole},
    session::Session,
};

/// Pieces that wait for the host before the agent has to.
const PIECES: usize = 8;
/// The most bytes that are read at once.
const PIECE: usize = 32 * 1024;

pub(super) async fn open(
    session: Arc<Session>,
    request: Request<Incoming>,
    endpoint: &Endpoint,
) -> Response<Body> {
    let opened = match at_the_broker(&session, endpoint).await {
        Ok(opened) => opened,
        Err(refused) => return refused,
    };
    drop(tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => carry(session, opened, TokioIo::new(upgraded)).await,
            Err(_) => {
                let attempted = opened.attempted;
                drop((opened.pieces, opened.answer));
                settle(&session, attempted, None, None).await;
            }
        }
    }));
    Response::new(whole(Bytes::new()))
}

/// The same for a client that connected by itself; a refusal ends its connection.
pub(super) async fn over(session: Arc<Session>, stream: TcpStream, endpoint: &Endpoint) {
    if let Ok(opened) = at_the_broker(&session, endpoint).await {
        carry(session, opened, stream).await;
    }
}

/// A connection that the broker has.
struct Opened {
    attempted: Attempted,
    pieces: Pieces,
    answer: Incoming,
}

async fn at_the_broker(
    session: &Arc<Session>,
    endpoint: &Endpoint,
) -> Result<Opened, Response<Body>> {
    let attempted = announce(session, connection_action(endpoint)).await?;
    let (pieces, receiver) = mpsc::channel(PIECES);
    let body = Fed(receiver).boxed_unsync();
    let Some(asked) = ask(attempted.intent, "CONNECT", endpoint.to_string(), body) else {
        return Err(not_carried_out(session, attempted, None).await);
    };
    let sent = tokio::select! {
        sent = session.channel.send(asked) => sent.ok(),
        _ = session.until_ended() => None,
    };
    match sent {
        Some(answer) if answer.status() == StatusCode::OK => Ok(Opened {
            attempted,
            pieces,
            answer: answer.into_body(),
        }),
        Some(answer) => {
            let account = account_in(answer.headers());
            Err(not_carried_out(session, attempted, account).await)
        }
        None => Err(not_carried_out(session, attempted, None).await),
    }
}

async fn carry<S>(session: Arc<Session>, opened: Opened, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let Opened {
        attempted,
        pieces,
        answer,
    } = opened;
    let (reader, writer) = tokio::io::split(stream);
    let up = tokio::spawn(up(reader, pieces));
    let account = tokio::select! {
        account = down(writer, answer) => account,
        // Dropping the answer ends the connection at the broker.
        _ = session.until_ended() => None,
    };
    up.abort();
    settle(&session, attempted, account, None).await;
}

/// What the agent says, until it ends.
async fn up<R: AsyncRead + Unpin>(mut reader: R, pieces: Pieces) {
    let mut buffer = BytesMut::with_capacity(PIECE);
    loop {
        buffer.reserve(PIECE);
        if !matches!(reader.read_buf(&mut buffer).await, Ok(read) if read > 0) {
            return;
        }
        let piece = Frame::data(buffer.split().freeze());
        if pieces.send(Ok(piece)).await.is_err() {
            return;
        }
    }
}

/// What comes back, to the account at its end; none when the agent takes nothing more.
async fn down<W: AsyncWrite + Unpin>(mut writer: W, mut answer: Incoming) -> Option<EgressAccount> {
    while let Some(Ok(frame)) = answer.frame().await {
        match frame.into_data() {
            Ok(data) => {
                writer.write_all(&data).await.ok()?;
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                // An agent that is gone needs no end.
                drop(writer.shutdown().await);
                return account_in(&trailers);
            }
        }
    }
    None
}
