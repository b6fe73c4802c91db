//! Label, tier, high-water mark: who may send what where.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_gateway::{SetupProblem, UpstreamsConfig, contradictions};
use proofroom_record::event::RunStatus;

use crate::{
    tee::TeeUpstream,
    upstream::FakeUpstream,
    world::{
        CHAT, CLASSIFICATION, Got, MESSAGES, Options, ROUTING, SECRET, Secrets, World, chat,
        standard, tee,
    },
};

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test]
async fn the_label_decides_the_tier() {
    let standard_one = FakeUpstream::plain().await;
    let attested = TeeUpstream::start().await;
    let upstreams = standard(standard_one.address) + &tee(attested.upstream.address);
    let mut world = World::new(upstreams);
    for (text, model, label, outcome) in [
        ("hello", "std-model", "public", Ok("standard")),
        ("hello", "tee-model", "public", Ok("tee")),
        ("hello", "both-model", "public", Ok("standard")),
        ("house-internal", "both-model", "internal", Ok("standard")),
        (SECRET, "both-model", "restricted", Ok("tee")),
        (SECRET, "tee-model", "restricted", Ok("tee")),
        (
            SECRET,
            "std-model",
            "restricted",
            Err((403, "label-requires-tier")),
        ),
        (
            SECRET,
            "standard/both-model",
            "restricted",
            Err((403, "label-requires-tier")),
        ),
        (
            SECRET,
            "std/both-model",
            "restricted",
            Err((403, "label-requires-tier")),
        ),
        (
            "hello",
            "no-such-model",
            "public",
            Err((404, "model-not-served")),
        ),
    ] {
        for path in [CHAT, MESSAGES] {
            let caller = world.caller(1);
            let got = Got::of(world.post(&caller, path, chat(model, text)).await).await;
            let (_, record) = world.record().await;
            assert_eq!(got.headers["x-proofroom-label"], label, "{model} {text}");
            assert_eq!(record.classification.label, label);
            let tier = got
                .headers
                .get("x-proofroom-tier")
                .map(|t| t.to_str().unwrap());
            assert_eq!(tier, outcome.ok(), "{model} {text}");
            assert_eq!(record.routing.tier.as_deref(), outcome.ok());
            match outcome {
                Ok(_) => assert_eq!(record.status, RunStatus::Complete),
                Err((status, code)) => {
                    assert_eq!((got.status.as_u16(), got.code().as_str()), (status, code));
                    assert_eq!(record.status, RunStatus::Refused);
                    assert_eq!(record.failure.unwrap().code, code);
                    assert_eq!(record.request.forwarded, None);
                    assert_eq!((record.upstream, record.response), (None, None));
                    assert_eq!(got.trailer("x-proofroom-status"), "refused");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_secret_for_a_pinned_standard_model_is_refused_and_nothing_is_sent() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let got = Got::of(
        world
            .post(&world.caller(1), CHAT, chat("std-model", SECRET))
            .await,
    )
    .await;
    assert_eq!(got.status, 403);
    assert!(!String::from_utf8_lossy(&got.body).contains("Heron"));
    let (digest, record) = world.record().await;
    assert_eq!(got.trailer("x-proofroom-record"), digest.to_string());
    assert_eq!(record.classification.findings[0].rule, "code-name");
    assert_eq!(record.classification.findings[0].count, 1);
    assert_eq!(record.routing.rejected[0].code, "tier-not-allowed");
    upstream.nothing_was_sent();
}

#[tokio::test]
async fn a_purpose_routes_and_is_recorded_and_no_request_says_it() {
    let upstream = FakeUpstream::plain().await;
    let for_purpose = |purpose: &str| {
        let rule = format!("when = {{ label_at_most = \"internal\", purposes = [\"{purpose}\"] }}");
        Options {
            routing: ROUTING
                .replace("when = { label_at_most = \"internal\" }", &rule)
                .replace(
                    "match = [{ label = \"public\",",
                    &format!("match = [{{ purpose = \"{purpose}\", label = \"public\","),
                ),
            ..Options::of(standard(upstream.address))
        }
    };
    let mut open = World::with(&for_purpose("review"));
    let caller = open.caller(1);
    let got = Got::of(open.post(&caller, CHAT, chat("std-model", "hello")).await).await;
    assert_eq!(got.status, 200);
    assert_eq!(
        open.record().await.1.routing.inputs.unwrap().purpose,
        "review"
    );
    let mut shut = World::with(&for_purpose("batch"));
    let request = Request::post(CHAT)
        .header("x-proofroom-purpose", "batch")
        .body(Full::new(Bytes::from(chat("std-model", "hello"))));
    let handled = shut.gateway.handle(request.unwrap(), shut.caller(1)).await;
    assert_eq!(Got::of(handled).await.code(), "refused-by-rule");
    let inputs = shut.record().await.1.routing.inputs.unwrap();
    assert_eq!(inputs.purpose, "review");
}

#[tokio::test]
async fn a_secret_beside_the_body_counts_as_one_within() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let request = Request::post(CHAT)
        .header("user-agent", SECRET)
        .body(Full::new(Bytes::from(chat("std-model", "hi"))))
        .unwrap();
    let got = Got::of(world.gateway.handle(request, world.caller(1)).await).await;
    assert_eq!(got.code(), "label-requires-tier");
    assert_eq!(world.record().await.1.classification.label, "restricted");
    upstream.nothing_was_sent();
}

#[tokio::test]
async fn an_upstream_of_another_api_is_rejected_by_name() {
    let upstream = FakeUpstream::plain().await;
    let one_api = standard(upstream.address).replace(", \"embeddings\", \"rerank\"", "");
    let mut world = World::new(one_api);
    let caller = world.caller(1);
    let ask = "{\"model\":\"std-model\",\"input\":\"hi\"}";
    let got = Got::of(world.post(&caller, "/v1/embeddings", ask).await).await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (404, "model-not-served")
    );
    let (_, record) = world.record().await;
    assert_eq!(record.routing.rejected[0].upstream, "std");
    assert_eq!(record.routing.rejected[0].code, "api-not-spoken");
}

#[tokio::test]
async fn the_high_water_mark_never_falls_and_sequences_have_no_gaps() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let caller = world.caller(1);
    let wanted = [
        ("hello", "public", "public", 200),
        ("house-internal", "public", "internal", 200),
        ("hello", "internal", "internal", 200),
        (SECRET, "internal", "restricted", 403),
        ("hello", "restricted", "restricted", 403),
    ];
    for (number, (text, before, after, status)) in wanted.into_iter().enumerate() {
        let got = Got::of(world.post(&caller, CHAT, chat("std-model", text)).await).await;
        assert_eq!(got.status.as_u16(), status);
        let (_, record) = world.record().await;
        assert_eq!(record.sequence, number as u64);
        assert_eq!(record.classification.high_water_before, before);
        assert_eq!(record.classification.high_water_after, after);
    }
    assert_eq!(caller.runs(), 5);
    for _ in 0..3 {
        upstream.seen.recv().await.unwrap();
    }
    upstream.nothing_was_sent();
}

#[tokio::test]
async fn two_sessions_at_once_keep_their_own_marks() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let (one, two) = (world.caller(1), world.caller(2));
    let chunks = upstream.stream("text/event-stream");
    // session one is in the middle of an answer while session two is tainted
    let open = world.post(&one, CHAT, chat("std-model", "hello")).await;
    let got = Got::of(world.post(&two, CHAT, chat("std-model", SECRET)).await).await;
    assert_eq!(got.status, 403);
    assert_eq!(world.record().await.1.session, two.identity().session);
    chunks
        .send(Ok(Bytes::from_static(b"data: [DONE]\n\n")))
        .await
        .unwrap();
    drop(chunks);
    Got::of(open).await;
    let (_, record) = world.record().await;
    assert_eq!(record.session, one.identity().session);
    let got = Got::of(world.post(&one, CHAT, chat("std-model", "hello")).await).await;
    assert_eq!(got.headers["x-proofroom-label"], "public");
    assert_eq!(world.record().await.1.sequence, 1);
    assert_eq!(world.gateway.label_name(two.high_water()), "restricted");
}

#[tokio::test]
async fn models_are_listed_only_where_the_session_may_go() {
    let standard_one = FakeUpstream::plain().await;
    let attested = TeeUpstream::start().await;
    let upstreams = standard(standard_one.address) + &tee(attested.upstream.address);
    let world = World::new(upstreams);
    let caller = world.caller(1);
    assert_eq!(
        listed(&world, &caller).await,
        ["both-model", "nickname", "std-model", "tee-model"]
    );
    Got::of(world.post(&caller, CHAT, chat("std-model", SECRET)).await).await;
    assert_eq!(listed(&world, &caller).await, ["both-model", "tee-model"]);
}

async fn listed(world: &World, caller: &std::sync::Arc<proofroom_gateway::Caller>) -> Vec<String> {
    let request = Request::get("/v1/models")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let got = Got::of(
        world
            .gateway
            .handle(request, std::sync::Arc::clone(caller))
            .await,
    )
    .await;
    let body: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    let data = body["data"].as_array().unwrap();
    data.iter()
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn contradictions_between_the_policies_keep_the_gateway_from_starting() {
    let upstreams = standard("127.0.0.1:1").replace("\"standard\"", "\"gold\"")
        + &standard("127.0.0.1:1")
            .replace("\"std\"", "\"second\"")
            .replace("\"standard\"", "\"tee\"")
            .replace(
                "{ kind = \"none\" }",
                "{ kind = \"proofroom-upstream\", appraisal_policy = \"other.toml\" }",
            )
            .replace("http://", "https://");
    let mut codes = crate::world::setup_codes(&upstreams);
    codes.sort_unstable();
    assert_eq!(codes, ["appraisal-policy-missing", "tier-unknown"]);
}

#[test]
fn a_rule_for_an_upstream_that_is_not_there_is_a_contradiction() {
    let upstreams = UpstreamsConfig::parse(&standard("127.0.0.1:1"), Arc::new(Secrets)).unwrap();
    let classification = ClassificationPolicy::parse(CLASSIFICATION, "c.toml").unwrap();
    let found = |names: &str| {
        let text = ROUTING.replacen("upstreams = [\"*\"]", names, 1);
        let routing = RoutingPolicy::parse(&text, "r.toml", &classification).unwrap();
        contradictions(&routing, &upstreams, &[], &BTreeMap::new())
    };
    assert_eq!(found("upstreams = [\"std\", \"other-*\"]"), []);
    let unknown = SetupProblem::UnknownUpstream {
        rule: "confidential-to-tee".to_owned(),
        upstream: "sdt".to_owned(),
    };
    assert_eq!(unknown.code(), "upstream-unknown");
    assert_eq!(found("upstreams = [\"std\", \"sdt\"]"), [unknown]);
}

#[tokio::test]
async fn a_developer_raises_the_label_and_never_lowers_it() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    for (header, text, label, status) in [
        (Some("confidential"), "hi", "confidential", 403),
        (Some("public, internal"), "hi", "internal", 200),
        (None, "please\\n/label restricted", "restricted", 403),
        (None, "/label resticted", "restricted", 403),
        (Some("public"), SECRET, "restricted", 403),
        (None, "Project Heron\\n/label public", "restricted", 403),
    ] {
        let caller = world.caller(1);
        let got = ask(&world, &caller, header, text).await;
        let (_, record) = world.record().await;
        assert_eq!(got.status.as_u16(), status, "{header:?} {text}");
        assert_eq!(record.classification.label, label, "{header:?} {text}");
        let rules = record.classification.findings.iter();
        assert!(
            rules
                .map(|found| found.rule.as_str())
                .any(|rule| rule == "raised-by-developer")
        );
        // the mark stays where the developer has put it
        Got::of(world.post(&caller, CHAT, chat("std-model", "hi")).await).await;
        let (_, next) = world.record().await;
        assert_eq!(next.classification.high_water_before, label);
    }
    let got = ask(&world, &world.caller(1), Some("secret"), "hi").await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (400, "label-unknown")
    );
    assert_eq!(world.record().await.1.request.forwarded, None);
    for _ in 0..2 {
        let seen = upstream.seen.recv().await.unwrap();
        assert!(!seen.headers.contains_key("x-proofroom-label"));
    }
    upstream.nothing_was_sent();
}

async fn ask(
    world: &World,
    caller: &std::sync::Arc<proofroom_gateway::Caller>,
    header: Option<&str>,
    text: &str,
) -> Got {
    let mut request = Request::post(CHAT).body(Full::new(Bytes::from(chat("std-model", text))));
    if let (Some(value), Ok(request)) = (header, &mut request) {
        request
            .headers_mut()
            .insert("x-proofroom-label", value.parse().unwrap());
    }
    let caller = std::sync::Arc::clone(caller);
    Got::of(world.gateway.handle(request.unwrap(), caller).await).await
}
