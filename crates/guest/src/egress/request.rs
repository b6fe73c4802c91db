//! One request through the broker. Its answer's end is held back until the outcome is durable.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use proofroom_record::{
    event::EgressEnd,
    room_api::{ACCOUNT_TRAILER, EgressAccount},
};
use tokio::sync::mpsc;

use super::{
    Asked, Attempted, Denied, account_in, action_of, announce, ask, deny, may_connect,
    not_carried_out, settle,
};
use crate::{
    channel::{Body, BoxError},
    session::Session,
};

pub(super) type Pieces = mpsc::Sender<Result<Frame<Bytes>, BoxError>>;

/// Pieces of an answer that wait for the agent before the broker has to.
const PIECES: usize = 8;

/// Headers that end in the supervisor.
const HERE: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) async fn forward(
    session: Arc<Session>,
    request: Request<Incoming>,
    asked: Asked,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let method = parts.method.as_str();
    let action = action_of(method, &parts.uri, asked.endpoint.as_ref());
    let allowed = asked.target.map_err(Denied::from).and_then(|target| {
        session.egress.request(method, &target)?;
        may_connect(&session, &target.endpoint)?;
        Ok(target)
    });
    let target = match allowed {
        Ok(target) => target,
        Err(denied) => return deny(&session, action, denied).await,
    };
    let attempted = match announce(&session, action).await {
        Ok(attempted) => attempted,
        Err(over) => return over,
    };
    let url = format!("https://{}{}", target.endpoint, target.path_and_query());
    let body = body.map_err(Into::into).boxed_unsync();
    let Some(mut asked) = ask(attempted.intent, method, url, body) else {
        return not_carried_out(&session, attempted, None).await;
    };
    pass_on(&parts.headers, asked.headers_mut());
    let sent = tokio::select! {
        sent = session.channel.send(asked) => sent.ok(),
        _ = session.until_ended() => None,
    };
    match sent {
        None => not_carried_out(&session, attempted, None).await,
        Some(answer) if answer.headers().contains_key(ACCOUNT_TRAILER) => {
            let account = account_in(answer.headers());
            not_carried_out(&session, attempted, account).await
        }
        Some(answer) => stream(session, attempted, answer),
    }
}

/// The host takes its own choice of these; the length it takes from the body.
fn pass_on(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        let ours = name.as_str().starts_with("x-proofroom-");
        if !ours && !HERE.contains(&name.as_str()) {
            to.append(name, value.clone());
        }
    }
    if let Some(length) = from.get(http::header::CONTENT_LENGTH) {
        to.insert(http::header::CONTENT_LENGTH, length.clone());
    }
}

fn stream(
    session: Arc<Session>,
    attempted: Attempted,
    answer: Response<Incoming>,
) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    parts.version = http::Version::HTTP_11;
    let status = parts.status.as_u16();
    let (pieces, receiver) = mpsc::channel(PIECES);
    drop(tokio::spawn(async move {
        let account = pump(&session, body, &pieces).await;
        let whole = matches!(
            &account,
            Some(EgressAccount::Passed {
                end: EgressEnd::Complete,
                ..
            })
        );
        settle(&session, attempted, account, Some(status)).await;
        if !whole {
            let broke: BoxError = "the answer was cut".into();
            // Nobody may be left to read it.
            drop(pieces.send(Err(broke)).await);
        }
    }));
    Response::from_parts(parts, Fed(receiver).boxed_unsync())
}

/// Hands the answer on, to the account at its end; none when the agent or the session is gone, which
/// ends the request at the broker.
async fn pump(session: &Session, mut body: Incoming, pieces: &Pieces) -> Option<EgressAccount> {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame?.ok()?,
            () = pieces.closed() => return None,
            _ = session.until_ended() => return None,
        };
        match frame.into_data() {
            // An agent that is gone is noticed above.
            Ok(data) => drop(pieces.send(Ok(Frame::data(data))).await),
            Err(frame) => return account_in(&frame.into_trailers().unwrap_or_default()),
        }
    }
}

/// A body that is fed piece by piece.
pub(super) struct Fed(pub(super) mpsc::Receiver<Result<Frame<Bytes>, BoxError>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(context)
    }
}
