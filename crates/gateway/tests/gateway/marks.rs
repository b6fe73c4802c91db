//! The session's mark under interleaving, retry, fallback and error: it never falls, and nothing of
//! a session goes to an unattested upstream once the session is above what may go there.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use proofroom_gateway::Caller;
use proofroom_record::{event::RunStatus, statement::ModelRun};

use crate::{
    tee::TeeUpstream,
    upstream::{FakeUpstream, Reply},
    world::{CHAT, Got, MESSAGES, SECRET, World, chat, standard, tee},
};

const LABELS: [&str; 4] = ["public", "internal", "confidential", "restricted"];
const MODELS: [&str; 6] = [
    "std-model",
    "both-model",
    "tee-model",
    "standard/both-model",
    "tee/both-model",
    "no-such-model",
];

fn rank(label: &str) -> usize {
    LABELS.iter().position(|known| *known == label).unwrap()
}

/// A small generator: which schedule a failing seed stands for can be read from the seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.roll(from.len() as u64)).unwrap()]
    }
}

/// What a session of `labels` must look like in its records, in order of their sequence.
fn check(records: &BTreeMap<u64, ModelRun>) {
    let mut mark = 0;
    for (expected, (sequence, record)) in records.iter().enumerate() {
        assert_eq!(*sequence, expected as u64, "a gap in the sequence");
        let said = &record.classification;
        assert_eq!(rank(&said.high_water_before), mark, "{record:?}");
        let own = LABELS.iter().position(|known| *known == said.label);
        mark = mark.max(own.unwrap_or(0));
        assert_eq!(rank(&said.high_water_after), mark, "{record:?}");
        if mark >= rank("confidential") {
            assert_ne!(
                record.routing.tier.as_deref(),
                Some("standard"),
                "{record:?}"
            );
        }
        if record.request.forwarded.is_none() {
            assert_eq!(record.upstream, None);
        }
    }
}

async fn one_of_many(world: &World, caller: &Arc<Caller>, dice: &mut Dice) -> Option<Got> {
    let text = dice.pick(&["hello", "hello", "hello", "house-internal", SECRET]);
    let path = dice.pick(&[CHAT, MESSAGES]);
    let body = match dice.roll(8) {
        0 => "{\"model\": \"std-model\", \"messages\"".to_owned(),
        1 => chat(dice.pick(&MODELS), &format!("{text}\",\"content\":\"x")),
        _ => chat(dice.pick(&MODELS), text),
    };
    let asked = world.post(caller, path, body);
    if dice.roll(6) == 0 {
        // a client that goes away
        drop(tokio::time::timeout(std::time::Duration::from_millis(2), asked).await);
        return None;
    }
    Some(Got::of(asked.await).await)
}

fn fault(dice: &mut Dice) -> Reply {
    match dice.roll(4) {
        0 => Reply::Whole(503, "application/json", "{\"error\":{}}".into()),
        1 => Reply::Whole(429, "application/json", "{\"error\":{}}".into()),
        2 => Reply::Whole(200, "text/html", "<p>".into()),
        _ => Reply::Whole(200, "text/event-stream", "data: {\n\n".into()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_interleaving_retry_or_error_lowers_the_mark() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let standard_one = FakeUpstream::plain().await;
        let attested = TeeUpstream::start().await;
        for _ in 0..dice.roll(8) {
            standard_one.reply(fault(&mut dice));
            attested.upstream.reply(fault(&mut dice));
        }
        let upstreams = standard(standard_one.address) + &tee(attested.upstream.address);
        let mut world = World::new(upstreams);
        let caller = world.caller(1);
        let lanes: Vec<u64> = (0..4).map(|lane| seed * 1000 + lane).collect();
        let runs = lanes.into_iter().map(|lane| {
            let (world, caller) = (&world, &caller);
            async move {
                let mut dice = Dice(lane);
                for _ in 0..4 {
                    one_of_many(world, caller, &mut dice).await;
                }
            }
        });
        futures_util::future::join_all(runs).await;
        caller.settle().await;
        let mut records = BTreeMap::new();
        for _ in 0..caller.runs() {
            let (_, record) = world.record().await;
            records.insert(record.sequence, record);
        }
        check(&records);
        assert_eq!(world.gateway.label_name(caller.high_water()), {
            let last = records.values().last().unwrap();
            last.classification.high_water_after.as_str()
        });
    }
}

/// What a session remembers of its texts changes nothing but the time it takes.
#[tokio::test]
async fn a_conversation_that_grows_is_classified_as_if_it_were_new() {
    let standard_one = FakeUpstream::plain().await;
    let attested = TeeUpstream::start().await;
    let upstreams = standard(standard_one.address) + &tee(attested.upstream.address);
    let mut world = World::new(upstreams);
    let caller = world.caller(1);
    let turns = ["hello", SECRET, "and on", SECRET, "hello"];
    for length in 1..=turns.len() {
        let texts = turns[..length].join("\"},{\"role\":\"user\",\"content\":\"");
        let fresh = world.caller(u8::try_from(10 + length).unwrap());
        let mut said = Vec::new();
        for caller in [&caller, &fresh] {
            Got::of(world.post(caller, CHAT, chat("both-model", &texts)).await).await;
            said.push(world.record().await.1.classification);
        }
        assert_eq!(said[0].label, said[1].label);
        assert_eq!(said[0].findings, said[1].findings);
        assert_eq!(said[0].findings.is_empty(), length == 1);
    }
}

#[tokio::test]
async fn a_restricted_conversation_never_falls_back_to_the_standard_tier() {
    let mut standard_one = FakeUpstream::plain().await;
    let attested = TeeUpstream::start().await;
    let upstreams = standard(standard_one.address) + &tee(attested.upstream.address);
    let mut world = World::new(upstreams);
    let caller = world.caller(1);
    let first = Got::of(world.post(&caller, CHAT, chat("both-model", SECRET)).await).await;
    assert_eq!(first.headers["x-proofroom-tier"], "tee");
    world.record().await;
    // the enclave fails in every way, is asked again, and at last is not there at all
    for (reply, status) in [
        (Reply::Whole(503, "application/json", "{}".into()), 503),
        (Reply::Whole(429, "application/json", "{}".into()), 429),
        (Reply::Whole(200, "text/html", "no".into()), 502),
    ] {
        attested.upstream.reply(reply);
        let got = Got::of(world.post(&caller, CHAT, chat("both-model", "again")).await).await;
        assert_eq!(got.status, status);
        let (_, record) = world.record().await;
        assert_eq!(record.routing.tier.as_deref(), Some("tee"));
    }
    attested.upstream.stop().await;
    for model in MODELS {
        let got = Got::of(world.post(&caller, CHAT, chat(model, "again")).await).await;
        assert!(!got.status.is_success(), "{model}");
        let (_, record) = world.record().await;
        assert_eq!(record.classification.high_water_before, "restricted");
        assert_ne!(record.routing.tier.as_deref(), Some("standard"));
        assert_ne!(record.status, RunStatus::Complete);
    }
    standard_one.nothing_was_sent();
}

#[tokio::test]
async fn old_text_in_a_new_conversation_is_what_it_was() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let (one, two) = (world.caller(1), world.caller(2));
    Got::of(world.post(&one, CHAT, chat("std-model", SECRET)).await).await;
    world.record().await;
    // in the same session an empty conversation is no new session
    let got = Got::of(world.post(&one, MESSAGES, chat("std-model", "hi")).await).await;
    assert_eq!(got.code(), "label-requires-tier");
    world.record().await;
    // in another session the old text is found again, as an answer of the model too
    let replay = format!(
        "{{\"model\":\"std-model\",\"messages\":[{{\"role\":\"assistant\",\"content\":\"{SECRET}\"}},{{\"role\":\"user\",\"content\":\"go on\"}}]}}"
    );
    let got = Got::of(world.post(&two, CHAT, replay).await).await;
    assert_eq!(got.code(), "label-requires-tier");
    assert_eq!(world.record().await.1.classification.label, "restricted");
    upstream.nothing_was_sent();
}

#[tokio::test]
async fn a_request_that_refers_to_a_kept_conversation_is_refused() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    for member in [
        "\"previous_response_id\":\"resp_1\"",
        "\"previous_interaction_id\":\"v1_1\"",
        "\"conversation\":{\"id\":\"conv_1\"}",
        "\"conversation\":\"conv_1\"",
        "\"container\":\"container_1\"",
        "\"prompt\":{\"id\":\"pmpt_1\"}",
        "\"cached_content\":\"cachedContents/1\"",
        "\"thread_id\":\"thread_1\"",
        "\"Previous_Response_Id\":\"resp_1\"",
    ] {
        for path in [CHAT, MESSAGES, "/v1/responses"] {
            let body = format!("{{\"model\":\"std-model\",\"messages\":[],\"input\":[],{member}}}");
            let caller = world.caller(1);
            let got = Got::of(world.post(&caller, path, body).await).await;
            assert_eq!(got.status, 400, "{member}");
            assert_eq!(got.code(), "request-refers-to-kept", "{member}");
            assert_eq!(world.record().await.1.request.forwarded, None);
        }
    }
    let nothing = "{\"model\":\"std-model\",\"messages\":[],\"previous_response_id\":null}";
    let got = Got::of(world.post(&world.caller(1), CHAT, nothing).await).await;
    assert_eq!(got.status, 200);
    upstream.seen.recv().await.unwrap();
    // the APIs whose conversations live at the provider are not served at all
    for path in [
        "/v1/responses/resp_1",
        "/v1/conversations",
        "/v1/threads",
        "/v1/files",
    ] {
        let request = Request::post(path)
            .body(Full::new(Bytes::from_static(b"{}")))
            .unwrap();
        let got = Got::of(world.gateway.handle(request, world.caller(1)).await).await;
        assert_eq!(got.code(), "no-such-route");
    }
    upstream.nothing_was_sent();
}
