//! Whatever goes wrong, the client learns it in its own format and a record says what happened.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use proofroom_canonical::Digest;
use proofroom_gateway::{AnswerError, Limits};
use proofroom_record::event::RunStatus;
use tokio::sync::oneshot;

use crate::{
    upstream::{FakeUpstream, Reply, raw},
    world::{CHAT, Got, MESSAGES, Options, World, chat, standard},
};

const SSE: &str = "text/event-stream";

/// A world with limits short enough to be reached.
fn short(upstreams: String) -> World {
    let mut options = Options::of(upstreams);
    options.limits = Limits {
        request_bytes: 1000,
        answer_bytes: 1000,
        first_byte: Duration::from_millis(50),
        idle: Duration::from_millis(50),
        ..Limits::default()
    };
    World::with(&options)
}

async fn fails(world: &mut World, status: u16, code: &str, run: RunStatus) {
    let got = Got::of(
        world
            .post(&world.caller(1), CHAT, chat("std-model", "hi"))
            .await,
    )
    .await;
    assert_eq!((got.status.as_u16(), got.code().as_str()), (status, code));
    let (digest, record) = world.record().await;
    assert_eq!(record.status, run);
    assert_eq!(record.failure.unwrap().code, code);
    assert_eq!(got.trailer("x-proofroom-record"), digest.to_string());
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_given_up() {
    let upstream = FakeUpstream::plain().await;
    let mut world = short(standard(upstream.address));
    let (held, released) = oneshot::channel();
    upstream.reply(Reply::Hang(held));
    fails(&mut world, 504, "upstream-silent", RunStatus::UpstreamError).await;
    // the request itself is dropped, not just forgotten
    released.await.unwrap_err();
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_an_upstream_error() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    upstream.stop().await;
    fails(
        &mut world,
        502,
        "upstream-unreachable",
        RunStatus::UpstreamError,
    )
    .await;
}

#[tokio::test]
async fn garbage_in_place_of_http_is_an_upstream_error() {
    let address = raw(b"220 smtp ready\r\n").await;
    let mut world = World::new(standard(address));
    fails(
        &mut world,
        502,
        "upstream-broke-off",
        RunStatus::UpstreamError,
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_no_model_api_gives_does_not_reach_the_client() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    upstream.reply(Reply::Whole(200, "text/html", "<h1>login</h1>".into()));
    fails(
        &mut world,
        502,
        "upstream-not-an-api",
        RunStatus::UpstreamError,
    )
    .await;
    upstream.reply(Reply::Whole(302, "application/json", "{}".into()));
    fails(
        &mut world,
        502,
        "upstream-not-an-api",
        RunStatus::UpstreamError,
    )
    .await;
    let refused = r#"{"error":"bad key gateway-own-key"}"#;
    upstream.reply(Reply::Whole(401, "application/json", refused.into()));
    fails(
        &mut world,
        502,
        "upstream-credentials-refused",
        RunStatus::UpstreamError,
    )
    .await;
}

#[tokio::test]
async fn a_stream_that_dies_ends_in_an_error_event_and_a_record() {
    for (path, begins) in [(CHAT, "data: {"), (MESSAGES, "event: error\ndata: {")] {
        let upstream = FakeUpstream::plain().await;
        let mut world = World::new(standard(upstream.address));
        let chunks = upstream.stream(SSE);
        let mut response = world
            .post(&world.caller(1), path, chat("std-model", "hi"))
            .await;
        chunks
            .send(Ok(Bytes::from_static(b"data: {}\n\n")))
            .await
            .unwrap();
        let first = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "data: {}\n\n");
        chunks
            .send(Err(std::io::Error::other("gone")))
            .await
            .unwrap();
        let got = Got::of(response).await;
        assert!(got.body.starts_with(begins.as_bytes()), "{:?}", got.body);
        assert_eq!(got.trailer("x-proofroom-status"), "upstream-error");
        let (_, record) = world.record().await;
        assert_eq!(record.status, RunStatus::UpstreamError);
        assert_eq!(record.failure.unwrap().code, "upstream-broke-off");
        let passed = [b"data: {}\n\n", &*got.body].concat();
        assert_eq!(record.response.unwrap().digest, Digest::of(passed));
    }
}

#[tokio::test]
async fn a_stream_that_stalls_or_never_ends_is_cut() {
    for (chunk, code) in [
        ("data: {}\n\n", "upstream-stalled"),
        ("x", "upstream-answer-too-large"),
    ] {
        let upstream = FakeUpstream::plain().await;
        let mut world = short(standard(upstream.address));
        let chunks = upstream.stream(SSE);
        let response = world
            .post(&world.caller(1), CHAT, chat("std-model", "hi"))
            .await;
        let endless = code == "upstream-answer-too-large";
        let feed = tokio::spawn(async move {
            let chunk = Bytes::from(chunk.repeat(if endless { 600 } else { 1 }));
            while chunks.send(Ok(chunk.clone())).await.is_ok() {
                if !endless {
                    return chunks.closed().await;
                }
            }
        });
        let got = Got::of(response).await;
        assert!(String::from_utf8_lossy(&got.body).contains(code));
        assert_eq!(world.record().await.1.failure.unwrap().code, code);
        // the upstream's body was dropped
        feed.await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_is_not_one_is_not_called_complete() {
    for (kind, body, code) in [
        (
            "application/json",
            &b"\xff\xfe{"[..],
            "upstream-answer-unreadable",
        ),
        ("application/json", b"{}", "upstream-answer-unreadable"),
        (SSE, b"data: \xff\xfe\n\n", "upstream-answer-incomplete"),
        (
            SSE,
            b"data: {\"error\":{\"code\":\"x\"}}\n\n",
            "upstream-reported-error",
        ),
    ] {
        let upstream = FakeUpstream::plain().await;
        let mut world = World::new(standard(upstream.address));
        upstream.reply(Reply::Whole(200, kind, Bytes::from_static(body)));
        let got = Got::of(
            world
                .post(&world.caller(1), CHAT, chat("std-model", "hi"))
                .await,
        )
        .await;
        assert_eq!(got.body, body, "passed as it is");
        let (_, record) = world.record().await;
        assert_eq!(record.status, RunStatus::UpstreamError);
        assert_eq!(record.failure.unwrap().code, code);
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_refused_with_a_record() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = short(standard(upstream.address));
    let huge = "x".repeat(1001);
    for (body, status, code) in [
        (
            Bytes::from_static(b"{\"model\":\"\xff\"}"),
            400,
            "request-not-utf8",
        ),
        (Bytes::from_static(b"not json"), 400, "request-not-json"),
        (
            Bytes::from_static(b"{\"messages\":[]}"),
            400,
            "request-member-missing",
        ),
        (Bytes::from(huge), 413, "request-too-large"),
    ] {
        let sent = Digest::of(&body);
        let got = Got::of(world.post(&world.caller(1), MESSAGES, body).await).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (status, code));
        let (_, record) = world.record().await;
        assert_eq!(record.status, RunStatus::Refused);
        assert_eq!(record.request.received, sent);
        assert_eq!(record.classification.label, "unclassified");
        assert_eq!(record.classification.high_water_after, "public");
    }
    let request = Request::post(CHAT)
        .header("content-encoding", "gzip")
        .body(Full::new(Bytes::from(chat("std-model", "hi"))))
        .unwrap();
    let got = Got::of(world.gateway.handle(request, world.caller(1)).await).await;
    assert_eq!(got.code(), "request-encoded");
    upstream.nothing_was_sent();
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_a_cancelled_record_and_frees_the_upstream() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let chunks = upstream.stream(SSE);
    let mut response = world
        .post(&world.caller(1), CHAT, chat("std-model", "hi"))
        .await;
    chunks
        .send(Ok(Bytes::from_static(b"data: {}\n\n")))
        .await
        .unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    let (_, record) = world.record().await;
    assert_eq!(record.status, RunStatus::Cancelled);
    assert_eq!(record.response.unwrap().digest, Digest::of("data: {}\n\n"));
    chunks.closed().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_not_waited_for_without_end() {
    let upstream = FakeUpstream::plain().await;
    let mut options = Options::of(standard(upstream.address));
    options.limits.idle = Duration::from_millis(50);
    let mut world = World::with(&options);
    let chunks = upstream.stream(SSE);
    let response = world
        .post(&world.caller(1), CHAT, chat("std-model", "hi"))
        .await;
    let feed = tokio::spawn(async move {
        while chunks
            .send(Ok(Bytes::from_static(b"data: {}\n\n")))
            .await
            .is_ok()
        {}
    });
    let (_, record) = world.record().await;
    assert_eq!(record.status, RunStatus::Cancelled);
    feed.await.unwrap();
    drop(response);
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_answer_leaves_a_cancelled_record() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let (held, released) = oneshot::channel();
    upstream.reply(Reply::Hang(held));
    let caller = world.caller(1);
    let waiting = {
        let (gateway, caller) = (world.gateway.clone(), caller);
        let request = Request::post(CHAT)
            .body(Full::new(Bytes::from(chat("std-model", "hi"))))
            .unwrap();
        tokio::spawn(async move { gateway.handle(request, caller).await })
    };
    upstream.seen.recv().await.unwrap();
    waiting.abort();
    let (_, record) = world.record().await;
    assert_eq!(record.status, RunStatus::Cancelled);
    assert!(record.request.forwarded.is_some());
    assert!(record.upstream.is_some());
    released.await.unwrap_err();
}

#[tokio::test]
async fn a_client_that_hangs_up_after_the_last_event_has_its_whole_answer() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let chunks = upstream.stream(SSE);
    let mut response = world
        .post(&world.caller(1), CHAT, chat("std-model", "hi"))
        .await;
    chunks
        .send(Ok(Bytes::from_static(b"data: [DONE]\n\n")))
        .await
        .unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    assert_eq!(world.record().await.1.status, RunStatus::Complete);
}

#[tokio::test]
async fn a_record_that_cannot_be_kept_breaks_the_answer_and_closes_the_gateway() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let chunks = upstream.stream(SSE);
    let mut response = world
        .post(&world.caller(1), CHAT, chat("std-model", "hi"))
        .await;
    world.sink.broken.store(true, Ordering::SeqCst);
    chunks
        .send(Ok(Bytes::from_static(b"data: [DONE]\n\n")))
        .await
        .unwrap();
    drop(chunks);
    response.body_mut().frame().await.unwrap().unwrap();
    let end = response.body_mut().frame().await.unwrap().unwrap_err();
    assert_eq!(end, AnswerError::RecordNotDurable);
    assert!(world.gateway.is_closed());
    // and stays closed, even when the sink could write again
    world.sink.broken.store(false, Ordering::SeqCst);
    let got = Got::of(
        world
            .post(&world.caller(2), CHAT, chat("std-model", "hi"))
            .await,
    )
    .await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (503, "record-not-durable")
    );
    world.no_record();
}

#[tokio::test]
async fn a_refusal_whose_record_cannot_be_kept_closes_the_gateway_too() {
    let upstream = FakeUpstream::plain().await;
    let world = World::new(standard(upstream.address));
    world.sink.broken.store(true, Ordering::SeqCst);
    let got = Got::of(world.post(&world.caller(1), CHAT, "not json").await).await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (503, "record-not-durable")
    );
    assert!(world.gateway.is_closed());
}

#[tokio::test]
async fn nothing_is_sent_while_the_sink_says_that_it_is_full() {
    let mut upstream = FakeUpstream::plain().await;
    let world = World::new(standard(upstream.address));
    world.sink.full.store(true, Ordering::SeqCst);
    let got = Got::of(
        world
            .post(&world.caller(1), CHAT, chat("std-model", "hi"))
            .await,
    )
    .await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (503, "record-not-durable")
    );
    upstream.nothing_was_sent();
    // fullness passes; only a lost record closes for good
    world.sink.full.store(false, Ordering::SeqCst);
    let got = Got::of(
        world
            .post(&world.caller(1), CHAT, chat("std-model", "hi"))
            .await,
    )
    .await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn a_whole_answer_beyond_the_cap_is_an_upstream_error() {
    let upstream = FakeUpstream::plain().await;
    let mut world = short(standard(upstream.address));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1000));
    upstream.reply(Reply::Whole(200, "application/json", long.into()));
    let code = "upstream-answer-too-large";
    fails(&mut world, 502, code, RunStatus::UpstreamError).await;
}
