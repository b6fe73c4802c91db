//! Upstreams that lie on the wire, and whatever a request is: it passes as it came or not at all.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use bytes::Bytes;
use proofroom_canonical::Digest;
use proofroom_gateway::Limits;
use proofroom_record::{
    event::RunStatus,
    statement::{AnsweredBy, ModelRun},
};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};
use tokio::runtime::Builder;

use crate::{
    upstream::{FakeUpstream, JSON_ANSWER, Reply, raw},
    world::{CHAT, Got, Options, World, chat, standard},
};

/// How many requests the property is tried with.
const CASES: u32 = 300;

async fn ask(world: &mut World) -> (Got, ModelRun) {
    let caller = world.caller(1);
    let got = Got::of(world.post(&caller, CHAT, chat("std-model", "hi")).await).await;
    let (digest, record) = world.record().await;
    assert_eq!(got.trailer("x-proofroom-record"), digest.to_string());
    (got, record)
}

fn head(more: &str, body: &str) -> &'static [u8] {
    let text = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{more}\r\n{body}");
    text.into_bytes().leak()
}

#[tokio::test]
async fn lengths_that_lie_and_answers_cut_short_are_faults_and_nothing_of_them_is_given() {
    let long = "x: ".to_owned() + &"a".repeat(1 << 20) + "\r\n";
    for (bytes, code) in [
        (
            head("content-length: 4000\r\n", JSON_ANSWER),
            "upstream-broke-off",
        ),
        // what is beyond the length belongs to no answer
        (
            head("content-length: 10\r\n", JSON_ANSWER),
            "upstream-answer-unreadable",
        ),
        (
            head("content-length: 5\r\ncontent-length: 6\r\n", "{}"),
            "upstream-broke-off",
        ),
        (
            head("transfer-encoding: chunked\r\n", "zz\r\n{}"),
            "upstream-broke-off",
        ),
        (
            head("transfer-encoding: chunked\r\n", "fffffffffffffffff\r\n{}"),
            "upstream-broke-off",
        ),
        (
            head("transfer-encoding: chunked\r\n", "2\r\n{}\r\n"),
            "upstream-broke-off",
        ),
        (head(&long, "{}"), "upstream-broke-off"),
        (&b"HTTP/1.1 200 OK\r\ncontent-ty"[..], "upstream-broke-off"),
        (b"HTTP/1.1 0 \r\n\r\n", "upstream-broke-off"),
        (b"", "upstream-broke-off"),
    ] {
        let mut world = World::new(standard(raw(bytes).await));
        let (got, record) = ask(&mut world).await;
        assert_eq!(record.status, RunStatus::UpstreamError);
        assert_eq!(record.failure.unwrap().code, code);
        if code == "upstream-broke-off" {
            assert_eq!((got.status.as_u16(), got.code().as_str()), (502, code));
        }
    }
}

#[tokio::test]
async fn an_answer_that_drips_comes_to_an_end() {
    for kind in ["application/json", "text/event-stream"] {
        let upstream = FakeUpstream::plain().await;
        let mut options = Options::of(standard(upstream.address));
        options.limits = Limits {
            idle: Duration::from_secs(5),
            answer: Duration::from_millis(200),
            ..Limits::default()
        };
        let mut world = World::with(&options);
        let chunks = upstream.stream(kind);
        let drip = tokio::spawn(async move {
            while chunks.send(Ok(Bytes::from_static(b" "))).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let (got, record) = ask(&mut world).await;
        assert!(String::from_utf8_lossy(&got.body).contains("upstream-endless"));
        assert_eq!(record.status, RunStatus::UpstreamError);
        assert_eq!(record.failure.unwrap().code, "upstream-endless");
        // the upstream's body was dropped
        drip.await.unwrap();
    }
}

#[tokio::test]
async fn the_record_says_whether_the_model_that_was_asked_for_answered() {
    for (named, said) in [
        ("std-model", Some(AnsweredBy::Asked)),
        ("std-model-2026-01-01", Some(AnsweredBy::Variant)),
        ("maker/std-model", Some(AnsweredBy::Variant)),
        ("std-modelling", Some(AnsweredBy::Other)),
        ("cheap-model", Some(AnsweredBy::Other)),
        ("", None),
    ] {
        let upstream = FakeUpstream::plain().await;
        let mut world = World::new(standard(upstream.address));
        let answer = JSON_ANSWER.replace("std-model", named);
        upstream.reply(Reply::Whole(200, "application/json", answer.clone().into()));
        let (got, record) = ask(&mut world).await;
        assert_eq!(got.body, answer, "it passes as it is");
        assert_eq!(record.response.unwrap().answered_by, said, "{named}");
        assert_eq!(record.status, RunStatus::Complete);
    }
}

#[tokio::test]
async fn broken_arguments_of_a_tool_pass_as_they_are() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let call = json!({"id": "c", "type": "function", "function": {"name": "write", "arguments": "{\"a\": \u{0}[[,"}});
    let answer = json!({"id": "x", "object": "chat.completion", "model": "std-model", "choices": [
        {"index": 0, "message": {"role": "assistant", "tool_calls": [call]}, "finish_reason": "tool_calls"}]});
    let answer = answer.to_string();
    upstream.reply(Reply::Whole(200, "application/json", answer.clone().into()));
    let (got, record) = ask(&mut world).await;
    assert_eq!(got.body, answer);
    assert_eq!(record.status, RunStatus::Complete);
}

/// Any JSON, with text that needs escapes.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-z]{1,6}", inner), 0..4)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A request as some client may spell it: members in any order, of any kind, with any space between.
fn spelled() -> impl Strategy<Value = String> {
    let unknown = vec(("x[a-z]{1,6}", value()), 0..4);
    (any::<String>(), unknown, any::<bool>(), "[ \t\r\n]{0,3}").prop_map(
        |(text, unknown, first, space)| {
            let turns = json!([{"role": "user", "content": text}]);
            let mut members = vec![
                format!("\"model\":{space}\"std-model\""),
                format!("\"messages\"{space}:{turns}"),
            ];
            let unknown: Map<_, _> = unknown.into_iter().collect();
            let more = unknown
                .iter()
                .map(|(name, value)| format!("\"{name}\":{space}{value}"));
            if first {
                members.splice(0..0, more);
            } else {
                members.extend(more);
            }
            format!(
                "{space}{{{}{space}}}{space}",
                members.join(&format!("{space},"))
            )
        },
    )
}

fn answer() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        value().prop_map(|value| json!({"choices": value}).to_string().into_bytes()),
        vec(any::<u8>(), 0..200),
        vec("\\PC{0,20}", 0..6).prop_map(|events| {
            let event = |data: &String| format!("data: {data}\n\n");
            events.iter().map(event).collect::<String>().into_bytes()
        }),
    ]
}

/// Sends one request and answers it in small pieces. Whether it passed; what passes is unchanged both ways.
async fn passes(
    (upstream, world): &mut (FakeUpstream, World),
    number: u8,
    (sent, answered, kind): (&str, &[u8], &'static str),
) -> bool {
    let chunks = upstream.stream(kind);
    let pieces: Vec<_> = answered.chunks(7).map(Bytes::copy_from_slice).collect();
    tokio::spawn(async move {
        for piece in pieces {
            drop(chunks.send(Ok(piece)).await);
        }
    });
    let caller = world.caller(number);
    let got = Got::of(world.post(&caller, CHAT, sent.to_owned()).await).await;
    let (_, record) = world.record().await;
    assert_eq!(record.request.received, Digest::of(sent));
    if record.request.forwarded.is_none() {
        assert!(!got.status.is_success());
        upstream.nothing_was_sent();
        upstream.replies.lock().unwrap().clear();
        return false;
    }
    let seen = upstream.seen.recv().await.unwrap();
    assert_eq!(seen.body, sent);
    assert_eq!(got.body, answered);
    assert_eq!(record.response.unwrap().digest, Digest::of(answered));
    true
}

#[test]
fn requests_and_answers_pass_byte_for_byte_whatever_they_are() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let setting = runtime.block_on(async {
        let upstream = FakeUpstream::plain().await;
        let world = World::new(standard(upstream.address));
        (upstream, world)
    });
    let setting = RefCell::new(setting);
    let passed = Cell::new(0);
    let kinds = prop_oneof![Just("application/json"), Just("text/event-stream")];
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let case = |(sent, answered, kind, number): (String, Vec<u8>, &'static str, u8)| {
        let mut setting = setting.borrow_mut();
        let one = passes(&mut setting, number, (&sent, &answered, kind));
        passed.set(passed.get() + u32::from(runtime.block_on(one)));
        Ok(())
    };
    TestRunner::new(config)
        .run(&(spelled(), answer(), kinds, any::<u8>()), case)
        .unwrap();
    assert!(passed.get() > CASES / 2, "{} passed", passed.get());
}
