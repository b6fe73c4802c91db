//! The broker against a resolver of the test's: what is dialled, what is not, and how often a name is
//! looked up. Bodies come over a real HTTP/2 connection, as a room's do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected fails"
)]

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proofroom_egress::{Denial, EgressPolicy, Endpoint};
use proofroom_egress_broker::{Body, Broker, Refusal, Resolve, Resolving, Wanted, account_header};
use proofroom_record::{
    event::EgressEnd,
    room_api::{ACCOUNT_TRAILER, EgressAccount},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::{mpsc, oneshot},
};

/// Another answer for each lookup; the last one stays.
#[derive(Debug)]
struct Scripted {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self {
            answers: answers.iter().map(parse).collect(),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Resolve for Scripted {
    fn resolve<'a>(&'a self, _: &'a Endpoint) -> Resolving<'a> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.get(number).or(self.answers.last()).cloned();
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
    }
}

const HEAD: &str = "version = 1\nprofiles = []\n[caps]\nrequests_per_minute = 60\nsent_per_minute = 1000\nreceived_per_minute = 1000\nsent = 1000\nreceived = 1000\n";

fn policy(port: u16, allowed: &str) -> EgressPolicy {
    let text = format!(
        r#"{HEAD}
[[rule]]
name = "plain"
hosts = ["good.example"]
ports = [{port}]
mode = "http"
scheme = "http"
methods = ["GET", "POST"]
paths = ["/files/"]
allow_addresses = [{allowed}]
match = ["GET http://good.example:{port}/files/a"]
not_match = []
"#
    );
    EgressPolicy::parse(&text).unwrap()
}

/// A server that answers each connection once; how many there were, and where it listens.
async fn server(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    drop(tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            drop(tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _read = stream.read(&mut buffer).await.unwrap();
                drop(stream.write_all(answer.as_bytes()).await);
            }));
        }
    }));
    (port, count)
}

/// One request of a room's, through HTTP/2 to the broker and back: status, account, body.
async fn ask(
    broker: &Arc<Broker>,
    method: &str,
    url: &str,
    body: &str,
) -> (StatusCode, EgressAccount, Vec<u8>) {
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let broker = Arc::clone(broker);
    let (method, url) = (method.to_owned(), url.to_owned());
    let (report, mut reported) = mpsc::channel(1);
    drop(tokio::spawn(async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let (broker, report) = (Arc::clone(&broker), report.clone());
            let wanted = Wanted::parse(&method, &url);
            async move { Ok::<_, Infallible>(serve(&broker, wanted, request, report).await) }
        });
        drop(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(theirs), service)
                .await,
        );
    }));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(ours))
            .await
            .unwrap();
    drop(tokio::spawn(connection));
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://room/")
        .header("authorization", "Bearer stolen")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let (status, early) = (answer.status(), account(answer.headers()));
    let (mut bytes, mut late) = (Vec::new(), None);
    let mut body = answer.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        match frame.into_data() {
            Ok(data) => bytes.extend(data),
            Err(frame) => late = account(&frame.into_trailers().unwrap()),
        }
    }
    // An answer that is shorter than it said ends without trailers.
    let told = match early.or(late) {
        Some(told) => told,
        None => reported.recv().await.expect("an account"),
    };
    (status, told, bytes)
}

async fn serve(
    broker: &Arc<Broker>,
    wanted: Result<Wanted, Denial>,
    request: Request<Incoming>,
    told: mpsc::Sender<EgressAccount>,
) -> Response<Body> {
    let (report, reported) = oneshot::channel();
    drop(tokio::spawn(async move {
        if let Ok(account) = reported.await {
            told.send(account).await.unwrap();
        }
    }));
    let (parts, body) = request.into_parts();
    let answer = match wanted.map_err(Refusal::from) {
        Err(refusal) => Err(refusal),
        Ok(Wanted::Connection(endpoint)) => broker.tunnel(endpoint, body, report).await,
        Ok(Wanted::Request { method, target }) => {
            broker
                .request(&method, &target, &parts.headers, body, report)
                .await
        }
    };
    answer.unwrap_or_else(|refusal| {
        let empty = Full::new(Bytes::new()).map_err(|never| match never {});
        let mut response = Response::new(empty.boxed_unsync());
        *response.status_mut() = refusal.status();
        response
            .headers_mut()
            .extend(account_header(&refusal.account()));
        response
    })
}

fn account(headers: &HeaderMap) -> Option<EgressAccount> {
    let value = headers.get(ACCOUNT_TRAILER)?;
    Some(serde_json::from_slice(value.as_bytes()).unwrap())
}

fn code(account: &EgressAccount) -> &str {
    match account {
        EgressAccount::Denied { code, .. } | EgressAccount::Failed { code, .. } => code,
        EgressAccount::Passed { .. } => "passed",
    }
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
const HERE: &str = "\"127.0.0.1/32\"";

#[tokio::test]
async fn a_name_is_looked_up_once_and_what_was_judged_is_what_is_dialled() {
    let (port, count) = server(ANSWER).await;
    // The second answer would be another address that nobody judged.
    let resolver = Scripted::new(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let broker = Broker::open(policy(port, HERE), Arc::clone(&resolver) as _).unwrap();
    let url = format!("http://good.example:{port}/files/a");
    let (status, account, body) = ask(&broker, "GET", &url, "").await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, &b"hello"[..]));
    let EgressAccount::Passed {
        connected,
        received,
        end,
        ..
    } = account
    else {
        panic!("{account:?}");
    };
    assert_eq!(
        (connected, received, end),
        (format!("127.0.0.1:{port}"), 5, EgressEnd::Complete)
    );
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
    // The next request is judged by itself.
    let (_, account, _) = ask(&broker, "GET", &url, "").await;
    assert_eq!(code(&account), "egress-address");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_dialled_whatever_else_it_leads_to() {
    let (port, count) = server(ANSWER).await;
    let url = format!("http://good.example:{port}/files/a");
    for answers in [
        &["127.0.0.1"][..],
        &["1.1.1.1", "127.0.0.1"],
        &["::ffff:127.0.0.1"],
        &["::1"],
        &["169.254.169.254"],
        &["192.168.1.1"],
        &["fd00::1"],
        &["fe80::1"],
        &["64:ff9b::7f00:1"],
        &["0.0.0.0"],
        &["::"],
    ] {
        let broker = Broker::open(policy(port, ""), Scripted::new(&[answers])).unwrap();
        let (status, account, _) = ask(&broker, "GET", &url, "").await;
        assert_eq!(
            (status, code(&account)),
            (StatusCode::FORBIDDEN, "egress-address"),
            "{answers:?}"
        );
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_host_decides_whatever_the_room_decided() {
    let (port, count) = server(ANSWER).await;
    let broker = Broker::open(policy(port, HERE), Scripted::new(&[&["127.0.0.1"]])).unwrap();
    for (method, rest, wanted) in [
        ("GET", "/other", "egress-path"),
        ("DELETE", "/files/a", "egress-method"),
        ("GET", "/files/../a", "egress-path-ambiguous"),
        ("GET", "/files/a?b", "egress-query"),
    ] {
        let url = format!("http://good.example:{port}{rest}");
        let (_, account, _) = ask(&broker, method, &url, "").await;
        assert_eq!(code(&account), wanted, "{method} {rest}");
    }
    let (_, account, _) = ask(&broker, "GET", "http://evil.example/files/a", "").await;
    assert_eq!(code(&account), "egress-host");
    let (_, account, _) = ask(&broker, "CONNECT", &format!("good.example:{port}"), "").await;
    assert_eq!(code(&account), "egress-requests-only");
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_body_over_the_cap_is_cut_and_counted() {
    let (port, _) = server("").await;
    let broker = Broker::open(policy(port, HERE), Scripted::new(&[&["127.0.0.1"]])).unwrap();
    let url = format!("http://good.example:{port}/files/a");
    let (status, account, _) = ask(&broker, "POST", &url, &"x".repeat(5000)).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    let EgressAccount::Passed { sent, end, .. } = account else {
        panic!("{account:?}");
    };
    assert_eq!(end, EgressEnd::CutAtCap);
    assert!(sent < 1000, "{sent}");
}

#[tokio::test]
async fn an_answer_over_the_cap_is_cut() {
    let long: &'static str = Box::leak(
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n{}",
            "y".repeat(3000)
        )
        .into_boxed_str(),
    );
    let (port, _) = server(long).await;
    let broker = Broker::open(policy(port, HERE), Scripted::new(&[&["127.0.0.1"]])).unwrap();
    let url = format!("http://good.example:{port}/files/a");
    let (_, account, body) = ask(&broker, "GET", &url, "").await;
    assert!(body.len() <= 1000);
    let EgressAccount::Passed { received, end, .. } = account else {
        panic!("{account:?}");
    };
    assert_eq!(end, EgressEnd::CutAtCap);
    assert!(received <= 1000, "{received}");
}

#[tokio::test]
async fn a_server_that_wants_another_protocol_is_left() {
    let (port, _) = server(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    )
    .await;
    let broker = Broker::open(policy(port, HERE), Scripted::new(&[&["127.0.0.1"]])).unwrap();
    let url = format!("http://good.example:{port}/files/a");
    let (status, account, _) = ask(&broker, "GET", &url, "").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(
        matches!(
            account,
            EgressAccount::Passed {
                end: EgressEnd::BrokeOff,
                ..
            }
        ),
        "{account:?}"
    );
}

#[tokio::test]
async fn a_name_without_address_fails_and_is_no_denial() {
    let broker = Broker::open(policy(80, HERE), Scripted::new(&[&[]])).unwrap();
    let (_, account, _) = ask(&broker, "GET", "http://good.example/files/a", "").await;
    assert!(
        matches!(&account, EgressAccount::Failed { code, .. } if code == "egress-resolve"),
        "{account:?}"
    );
}
