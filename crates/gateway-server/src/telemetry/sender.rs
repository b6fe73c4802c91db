//! Batches of traces on their way to the collector: a second's, or as many as fit; each tried a few times and
//! then let go. Nothing here is waited for by a run.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use proofroom_gateway::{HttpClient, standard_client, trace::RunTrace};
use serde::Deserialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Counts, Lost, TelemetryNews,
    config::{TelemetryConfig, TelemetryProblem},
    encode, spans,
};

/// The most runs in one request: some 2 kB each.
const BATCH: usize = 256;
/// How long a batch waits for more.
const DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a batch is sent at most.
const ATTEMPTS: u32 = 5;
/// The pause after the first failure doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The most bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 * 1024;

/// Delivers what comes through a queue.
pub(super) struct Sender {
    client: HttpClient,
    uri: Uri,
    headers: HeaderMap,
    resource: BTreeMap<String, String>,
    counts: Arc<Counts>,
    told: fn(TelemetryNews),
}

/// What became of one request.
enum Outcome {
    /// The collector has them, but for so many.
    Taken { rejected: u64 },
    /// It may take them later.
    Later {
        code: &'static str,
        pause: Option<Duration>,
    },
    /// It will not take them.
    Never,
}

/// Whether a delivery may be tried again.
#[derive(Clone, Copy)]
enum Again {
    Yes,
    No,
}

impl Sender {
    pub(super) fn new(
        config: &TelemetryConfig,
        counts: Arc<Counts>,
        told: fn(TelemetryNews),
    ) -> Result<Self, TelemetryProblem> {
        let uri = config.endpoint.join("/v1/traces");
        let uri = uri.map_err(|error| TelemetryProblem::Endpoint(error.to_string()))?;
        let mut headers = config.read_headers()?;
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        Ok(Self {
            client: standard_client(config.read_authorities()?)?,
            uri,
            headers,
            resource: config.resource.clone(),
            counts,
            told,
        })
    }

    /// Delivers until it is told to stop, then what waits, each batch once.
    pub(super) async fn run(
        self,
        mut queue: mpsc::Receiver<Box<RunTrace>>,
        mut stopping: oneshot::Receiver<()>,
    ) {
        loop {
            let first = tokio::select! {
                biased;
                _ = &mut stopping => break,
                first = queue.recv() => first,
            };
            let Some(first) = first else {
                return;
            };
            let mut batch = vec![first];
            let until = Instant::now() + DELAY;
            let stopped = tokio::select! {
                biased;
                _ = &mut stopping => true,
                () = fill(&mut queue, &mut batch, until) => false,
            };
            if stopped {
                self.deliver(&batch, Again::No).await;
                break;
            }
            let stopped = tokio::select! {
                biased;
                () = self.deliver(&batch, Again::Yes) => false,
                _ = &mut stopping => true,
            };
            if stopped {
                self.deliver(&batch, Again::No).await;
                break;
            }
        }
        queue.close();
        self.empty(queue).await;
    }

    async fn empty(&self, mut queue: mpsc::Receiver<Box<RunTrace>>) {
        loop {
            let mut batch = Vec::new();
            if queue.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
            self.deliver(&batch, Again::No).await;
        }
    }

    async fn deliver(&self, batch: &[Box<RunTrace>], again: Again) {
        let count = batch.iter().map(|trace| spans(trace)).sum();
        let Ok(body) = encode::request(&self.resource, batch) else {
            return self.counts.lost(Lost::Collector, count);
        };
        let body = Bytes::from(body);
        let attempts = match again {
            Again::Yes => ATTEMPTS,
            Again::No => 1,
        };
        let mut wait = FIRST_PAUSE;
        for left in (0..attempts).rev() {
            match self.post(body.clone()).await {
                Outcome::Taken { rejected } => {
                    let rejected = rejected.min(count);
                    self.counts.lost(Lost::Collector, rejected);
                    let taken = count.saturating_sub(rejected);
                    self.counts.delivered.fetch_add(taken, Ordering::Relaxed);
                    return self.note(None);
                }
                Outcome::Never => {
                    self.note(Some("collector-refuses"));
                    break;
                }
                Outcome::Later { code, pause } => {
                    self.note(Some(code));
                    if left > 0 {
                        let pause = pause.unwrap_or_else(|| spread(wait));
                        sleep(pause.min(LONGEST_PAUSE)).await;
                        wait = wait.saturating_mul(2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
        let why = match again {
            Again::Yes => Lost::Collector,
            Again::No => Lost::Stopped,
        };
        self.counts.lost(why, count);
    }

    /// Tells the operator when deliveries begin to fail, and when they work again.
    fn note(&self, failing: Option<&'static str>) {
        let before = self
            .counts
            .failing
            .swap(failing.is_some(), Ordering::Relaxed);
        match failing {
            Some(code) if !before => (self.told)(TelemetryNews::Failing { code }),
            None if before => (self.told)(TelemetryNews::Delivered),
            _ => {}
        }
    }

    async fn post(&self, body: Bytes) -> Outcome {
        let unreachable = Outcome::Later {
            code: "collector-unreachable",
            pause: None,
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let answered = timeout(PATIENCE, async {
            let answer = self.client.request(request).await.ok()?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await;
            Some((parts, body.map(http_body_util::Collected::to_bytes)))
        });
        let Ok(Some((parts, body))) = answered.await else {
            return unreachable;
        };
        match parts.status {
            status if status.is_success() => Outcome::Taken {
                rejected: body.map_or(0, |body| rejected(&body)),
            },
            // the statuses that OTLP/HTTP lets a client repeat
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Outcome::Later {
                code: "collector-busy",
                pause: retry_after(&parts.headers),
            },
            _ => Outcome::Never,
        }
    }
}

/// More for a batch, until it is full or `until`.
#[expect(
    clippy::vec_box,
    reason = "what the queue holds, which is moved as it is"
)]
async fn fill(
    queue: &mut mpsc::Receiver<Box<RunTrace>>,
    batch: &mut Vec<Box<RunTrace>>,
    until: Instant,
) {
    while batch.len() < BATCH {
        match timeout_at(until, queue.recv()).await {
            Ok(Some(trace)) => batch.push(trace),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Half of `wait` to all of it, so that many gateways do not come back at once.
fn spread(wait: Duration) -> Duration {
    let mut random = [0];
    // without randomness, all of it
    let share = getrandom::fill(&mut random).map_or(u8::MAX, |()| random[0]);
    wait / 2 + wait.mul_f64(f64::from(share) / 512.0)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(value.parse().ok()?))
}

/// How many spans an answer says were not taken: OTLP's partial success. Its message is the collector's text.
fn rejected(body: &[u8]) -> u64 {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        partial_success: Option<Partial>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Partial {
        rejected_spans: Option<Number>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Number(u64),
    }
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    let rejected = answer.and_then(|answer| answer.partial_success?.rejected_spans);
    match rejected {
        None => 0,
        Some(Number::Number(count)) => count,
        Some(Number::Text(text)) => text.parse().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::rejected;

    #[test]
    fn a_partial_success_says_how_many_were_not_taken() {
        for (answer, count) in [
            ("{}", 0),
            ("", 0),
            (r#"{"partialSuccess":{}}"#, 0),
            (
                r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"x"}}"#,
                3,
            ),
            (r#"{"partialSuccess":{"rejectedSpans":4}}"#, 4),
            (r#"{"partialSuccess":{"rejectedSpans":"many"}}"#, 0),
        ] {
            assert_eq!(rejected(answer.as_bytes()), count, "{answer}");
        }
    }
}
