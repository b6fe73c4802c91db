//! The load: callers that each send the next request when they have the whole answer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// What one call took, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    /// Until the first byte of the answer's body.
    pub(crate) first: f64,
    /// Until its end.
    pub(crate) whole: f64,
}

/// Loads `url` with `callers` for `time`.
pub(crate) async fn load(url: &str, body: &Bytes, callers: usize, time: Duration) -> Vec<Taken> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let url: Uri = url.parse().unwrap();
    let end = Instant::now() + time;
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (client, url, body) = (client.clone(), url.clone(), body.clone());
        workers.spawn(async move {
            let mut taken = Vec::new();
            while Instant::now() < end {
                taken.push(call(&client, url.clone(), body.clone()).await);
            }
            taken
        });
    }
    workers.join_all().await.concat()
}

async fn call(client: &Client<HttpConnector, Full<Bytes>>, url: Uri, body: Bytes) -> Taken {
    let request = Request::post(url)
        .header("content-type", "application/json")
        // peers pass it on; ours never takes a key from a request
        .header("authorization", "Bearer none")
        .body(Full::new(body))
        .unwrap();
    let begin = Instant::now();
    let answer = client.request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let mut first = None;
    while let Some(frame) = body.frame().await {
        if frame.unwrap().is_data() {
            first.get_or_insert_with(|| micros(begin));
        }
    }
    let whole = micros(begin);
    Taken {
        first: first.unwrap_or(whole),
        whole,
    }
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}
