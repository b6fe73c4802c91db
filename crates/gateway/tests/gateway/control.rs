//! Busy upstreams are asked again and failing ones rest, within one tier, and records say so.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use proofroom_record::{
    event::RunStatus,
    statement::{Assurance, EarlierAttempt, ModelRun},
};

use crate::{
    tee::TeeUpstream,
    upstream::{FakeUpstream, Reply},
    world::{CHAT, Got, SECRET, World, chat, standard, tee},
};

const CONTROL: &str =
    "[control]\nattempts = 3\nlongest_wait_seconds = 2\nrest_after = 2\nrest_seconds = 30\n";

fn named(name: &str, upstream: &FakeUpstream, more: &str) -> String {
    let file = standard(upstream.address).replace("\"std\"", &format!("\"{name}\""));
    format!("{file}{more}\n")
}

async fn ask(world: &mut World, model: &str, text: &str) -> (Got, ModelRun) {
    let caller = world.caller(1);
    let got = Got::of(world.post(&caller, CHAT, chat(model, text)).await).await;
    (got, world.record().await.1)
}

fn who(earlier: &[EarlierAttempt]) -> Vec<(&str, u16)> {
    let who = |attempt: &'_ EarlierAttempt| attempt.http_status;
    earlier
        .iter()
        .map(|attempt| (attempt.upstream.name.as_str(), who(attempt)))
        .collect()
}

#[tokio::test]
async fn a_busy_upstreams_neighbour_is_asked_at_once() {
    let mut one = FakeUpstream::plain().await;
    let mut two = FakeUpstream::plain().await;
    let mut world = World::new(format!(
        "{CONTROL}{}{}",
        named("one", &one, ""),
        named("two", &two, "")
    ));
    one.reply(Reply::Busy(429, "60"));
    let begin = Instant::now();
    let (got, record) = ask(&mut world, "nickname", "hi").await;
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(got.status, 200);
    assert_eq!(record.status, RunStatus::Complete);
    assert_eq!(who(&record.earlier), [("one", 429)]);
    assert_eq!(record.upstream.as_ref().unwrap().name, "two");
    assert_eq!(record.routing.upstream.as_deref(), Some("two"));
    assert_eq!(Some(record.earlier[0].forwarded), record.request.forwarded);
    let sent = [
        one.seen.recv().await.unwrap().body,
        two.seen.recv().await.unwrap().body,
    ];
    assert_eq!(sent, [chat("std-model", "hi"), chat("std-model", "hi")]);
    assert_eq!(world.events.sent_again(), 1);
}

#[tokio::test]
async fn a_busy_upstream_is_asked_again_where_its_neighbour_cannot_be_reached() {
    let one = FakeUpstream::plain().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let two = standard(one.address)
        .replace("\"std\"", "\"two\"")
        .replace(&one.address.to_string(), &address);
    let mut world = World::new(format!("{CONTROL}{}{two}", named("one", &one, "")));
    one.reply(Reply::Busy(429, "1"));
    let begin = Instant::now();
    let (got, record) = ask(&mut world, "nickname", "hi").await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(got.status, 200);
    assert_eq!(who(&record.earlier), [("one", 429)]);
    assert_eq!(record.upstream.as_ref().unwrap().name, "one");
    assert_eq!(record.routing.rejected[0].upstream, "two");
}

#[tokio::test]
async fn the_same_upstream_is_asked_again_after_the_pause_that_it_named() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(format!("{CONTROL}{}", standard(upstream.address)));
    upstream.reply(Reply::Busy(503, "1"));
    upstream.reply(Reply::Busy(529, "0"));
    let begin = Instant::now();
    let (got, record) = ask(&mut world, "std-model", "hi").await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(got.status, 200);
    assert_eq!(who(&record.earlier), [("std", 503), ("std", 529)]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_during_a_run_makes_no_record_that_contradicts_itself() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(format!("{CONTROL}{}", standard(upstream.address)));
    upstream.reply(Reply::Busy(503, "0"));
    let chunks = upstream.stream("text/event-stream");
    let body = chat("std-model", "hi").replace("\"unknown\":1.50", "\"stream\":true");
    let response = world.post(&world.caller(1), CHAT, body).await;
    world.clock.advance_seconds(-7200);
    chunks.send(Ok("data: [DONE]\n\n".into())).await.unwrap();
    drop(chunks);
    assert_eq!(Got::of(response).await.status, 200);
    let (_, record) = world.record().await;
    let sent = record.upstream.as_ref().unwrap().sent;
    let [earlier] = &record.earlier[..] else {
        panic!("{:?}", record.earlier)
    };
    let times = [
        record.started,
        earlier.upstream.sent,
        earlier.answered,
        sent,
        record.finished,
    ];
    assert!(times.is_sorted(), "{times:?}");
}

#[tokio::test]
async fn attempts_end_and_the_client_gets_the_last_answer() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(format!("{CONTROL}{}", standard(upstream.address)));
    for after in ["0", "0", "7", "0"] {
        upstream.reply(Reply::Busy(429, after));
    }
    let (got, record) = ask(&mut world, "std-model", "hi").await;
    assert_eq!(
        (got.status.as_u16(), &got.headers["retry-after"]),
        (429, &"7".parse().unwrap())
    );
    assert_eq!(record.status, RunStatus::UpstreamError);
    assert_eq!(record.failure.unwrap().code, "upstream-status");
    assert_eq!(who(&record.earlier), [("std", 429), ("std", 429)]);
    assert_eq!(record.response.unwrap().http_status, 429);
    for _ in 0..3 {
        upstream.seen.recv().await.unwrap();
    }
    upstream.nothing_was_sent();
}

#[tokio::test]
async fn longer_than_a_run_may_wait_is_not_waited_for_and_without_control_nothing_is() {
    for (control, after) in [
        (CONTROL, "3"),
        (CONTROL, "tomorrow"),
        ("", "0"),
        ("[control]\nattempts = 1\n", "0"),
    ] {
        let mut upstream = FakeUpstream::plain().await;
        let mut world = World::new(format!("{control}{}", standard(upstream.address)));
        upstream.reply(Reply::Busy(429, after));
        let (got, record) = ask(&mut world, "std-model", "hi").await;
        assert_eq!((got.status.as_u16(), record.earlier.len()), (429, 0));
        upstream.seen.recv().await.unwrap();
        upstream.nothing_was_sent();
    }
}

#[tokio::test]
async fn a_busy_tier_is_never_left_for_another() {
    let mut plain = FakeUpstream::plain().await;
    let mut attested = TeeUpstream::start().await;
    let file = format!(
        "{CONTROL}{}{}",
        standard(plain.address),
        tee(attested.upstream.address)
    );
    // the rules name standard first, then tee
    let mut world = World::new(file);
    for _ in 0..3 {
        plain.reply(Reply::Busy(429, "0"));
    }
    let (got, record) = ask(&mut world, "both-model", "hi").await;
    assert_eq!((got.status.as_u16(), record.earlier.len()), (429, 2));
    attested.upstream.nothing_was_sent();
    while plain.seen.try_recv().is_ok() {}
    // and what only tee may see stays there
    for _ in 0..3 {
        attested.upstream.reply(Reply::Busy(503, "0"));
    }
    let (got, record) = ask(&mut world, "both-model", SECRET).await;
    assert_eq!(got.status.as_u16(), 503);
    assert_eq!(who(&record.earlier), [("tee", 503), ("tee", 503)]);
    let attested =
        |attempt: &EarlierAttempt| matches!(attempt.upstream.assurance, Assurance::Attested { .. });
    assert!(record.earlier.iter().all(attested));
    plain.nothing_was_sent();
}

#[tokio::test]
async fn a_busy_upstream_that_asks_for_too_long_a_wait_is_in_the_record_of_its_neighbours_failure()
{
    let one = FakeUpstream::plain().await;
    let two = FakeUpstream::plain().await;
    let mut world = World::new(format!(
        "{CONTROL}{}{}",
        named("one", &one, ""),
        named("two", &two, "")
    ));
    two.stop().await;
    one.reply(Reply::Busy(429, "3"));
    let (got, record) = ask(&mut world, "std-model", "hi").await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (502, "upstream-unreachable")
    );
    assert_eq!(record.status, RunStatus::UpstreamError);
    assert_eq!(who(&record.earlier), [("one", 429)]);
    assert_eq!((record.upstream, record.request.forwarded), (None, None));
    assert_eq!(record.routing.rejected[0].code, "upstream-unreachable");
}

#[tokio::test]
async fn a_client_that_goes_away_in_a_pause_ends_the_run() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(format!("{CONTROL}{}", standard(upstream.address)));
    upstream.reply(Reply::Busy(429, "1"));
    let caller = world.caller(1);
    {
        let asking = world.post(&caller, CHAT, chat("std-model", "hi"));
        let seen = async {
            upstream.seen.recv().await.unwrap();
            while world.events.sent_again() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = asking => panic!("answered"),
            () = seen => {}
        }
    }
    let record = world.record().await.1;
    assert_eq!(record.status, RunStatus::Cancelled);
    assert_eq!(who(&record.earlier), [("std", 429)]);
    upstream.nothing_was_sent();
}

#[tokio::test]
async fn an_upstream_that_keeps_failing_rests_and_comes_back() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(format!("{CONTROL}{}", standard(upstream.address)));
    for _ in 0..2 {
        upstream.reply(Reply::Whole(500, "application/json", "{}".into()));
        assert_eq!(ask(&mut world, "std-model", "hi").await.0.status, 500);
        upstream.seen.recv().await.unwrap();
    }
    let (got, record) = ask(&mut world, "std-model", "hi").await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (503, "upstream-resting")
    );
    assert_eq!(got.headers["retry-after"], "30");
    assert_eq!(record.status, RunStatus::Refused);
    assert_eq!(record.routing.rejected[0].code, "upstream-resting");
    upstream.nothing_was_sent();
    world.clock.advance_seconds(30);
    assert_eq!(ask(&mut world, "std-model", "hi").await.0.status, 200);
    assert_eq!(world.events.rests(), ["-std", "+std"]);
}

#[tokio::test]
async fn while_one_rests_its_neighbour_of_the_tier_serves() {
    let one = FakeUpstream::plain().await;
    let two = FakeUpstream::plain().await;
    let mut world = World::new(format!(
        "{CONTROL}{}{}",
        named("one", &one, ""),
        named("two", &two, "")
    ));
    one.stop().await;
    for code in [
        "upstream-unreachable",
        "upstream-unreachable",
        "upstream-resting",
    ] {
        let (got, record) = ask(&mut world, "std-model", "hi").await;
        assert_eq!(got.status, 200);
        assert_eq!(record.routing.rejected[0].code, code);
        assert_eq!(record.upstream.unwrap().name, "two");
    }
}

#[tokio::test]
async fn requests_are_shared_by_weight() {
    let one = FakeUpstream::plain().await;
    let two = FakeUpstream::plain().await;
    let spare = FakeUpstream::plain().await;
    let weighted =
        |name, upstream| named(name, upstream, "").replace("region", "weight = 5\nregion");
    let mut world = World::new(format!(
        "{}{}{}",
        named("spare", &spare, ""),
        weighted("one", &one),
        weighted("two", &two)
    ));
    let mut served = std::collections::BTreeSet::new();
    // all of one kind once in 2^63
    for _ in 0..64 {
        served.insert(
            ask(&mut world, "std-model", "hi")
                .await
                .1
                .upstream
                .unwrap()
                .name,
        );
    }
    assert_eq!(Vec::from_iter(served), ["one", "two"]);
}

#[tokio::test]
async fn nothing_is_sent_after_a_pause_in_which_the_gateway_closed() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(format!("{CONTROL}{}", standard(upstream.address)));
    upstream.reply(Reply::Busy(503, "1"));
    let (waiting, other) = (world.caller(1), world.caller(2));
    let closing = async {
        upstream.seen.recv().await.unwrap();
        world.sink.broken.store(true, Ordering::SeqCst);
        drop(world.post(&other, CHAT, "not json").await);
        world.sink.broken.store(false, Ordering::SeqCst);
        assert!(world.gateway.is_closed());
    };
    let waiting = world.post(&waiting, CHAT, chat("std-model", "hi"));
    let (answered, ()) = tokio::join!(waiting, closing);
    let got = Got::of(answered).await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (503, "record-not-durable")
    );
    assert_eq!(who(&world.record().await.1.earlier), [("std", 503)]);
    upstream.nothing_was_sent();
}
