//! The bare upstream: answers at once, whole or as a stream of events, as the model's name asks.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt as _, Collected, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A whole answer of 569 bytes.
pub(crate) const ANSWER: &str = concat!(
    r#"{"id":"chatcmpl-0","object":"chat.completion","created":1,"model":"whole","choices":[{"index":0,"#,
    r#""message":{"role":"assistant","content":"The function reads one line and returns its length; the "#,
    r#"caller must check for zero. The loop ends when the reader has no more lines, and the error of the "#,
    r#"last read is returned to the caller unchanged. Names that are longer than sixty bytes are refused "#,
    r#"before anything is read, which the test beside it shows for every length up to one hundred."},"#,
    r#""finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":80,"total_tokens":110}}"#
);
/// Events of a streamed answer, the last being `[DONE]`.
pub(crate) const EVENTS: usize = 23;

type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) async fn serve(at: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(tcp), service_fn(answer));
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let body = request.into_body().collect().await;
    let body = body.map(Collected::to_bytes).unwrap_or_default();
    // the model's name: peers write members in an order of their own
    let head = body.get(..64).unwrap_or(&body);
    let tail = body.get(body.len().saturating_sub(256)..).unwrap_or(&body);
    let has = |word: &str| {
        let mut places = head.windows(word.len()).chain(tail.windows(word.len()));
        places.any(|part| part == word.as_bytes())
    };
    let (kind, body) = if has("burst") {
        ("text/event-stream", events(Duration::ZERO))
    } else if has("paced") {
        ("text/event-stream", events(Duration::from_millis(10)))
    } else {
        let whole = Full::new(Bytes::from_static(ANSWER.as_bytes()));
        ("application/json", whole.boxed_unsync())
    };
    let mut response = Response::new(body);
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

fn events(pause: Duration) -> Body {
    let stream = futures_util::stream::unfold(0, move |index| async move {
        if index == EVENTS {
            return None;
        }
        if index > 0 && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some((Ok(Frame::data(event(index))), index + 1))
    });
    StreamBody::new(stream).boxed_unsync()
}

fn event(index: usize) -> Bytes {
    let choice = match index {
        0 => r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#
            .to_owned(),
        22 => return Bytes::from_static(b"data: [DONE]\n\n"),
        21 => r#"{"index":0,"delta":{},"finish_reason":"stop"}"#.to_owned(),
        n => format!(r#"{{"index":0,"delta":{{"content":" word{n}"}},"finish_reason":null}}"#),
    };
    Bytes::from(format!(
        "data: {{\"id\":\"chatcmpl-0\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{choice}]}}\n\n"
    ))
}
