//! An attested upstream gets a prompt only after its evidence was accepted, over the key that the
//! evidence names, and never is anything else used in its place.

use std::sync::{Arc, atomic::Ordering};

use proofroom_canonical::{Digest, Timestamp};
use proofroom_gateway::Caller;
use proofroom_record::{
    event::RunStatus,
    statement::{AnsweredBy, Assurance, ModelRun},
};
use proofroom_testkit::tee::TcbAnswer;

use crate::{
    tee::{PRODUCTION, TeeUpstream},
    upstream::{FakeUpstream, JSON_ANSWER, Reply},
    world::{CHAT, Got, MESSAGES, NOW, Options, SECRET, World, chat, standard, tee},
};

fn seconds(more: i64) -> Timestamp {
    Timestamp::from_unix_seconds(NOW.unix_seconds() + more)
}

async fn ask(world: &mut World, caller: &Arc<Caller>, model: &str) -> (Got, ModelRun) {
    let got = Got::of(world.post(caller, CHAT, chat(model, SECRET)).await).await;
    let (_, record) = world.record().await;
    (got, record)
}

fn is_refused(got: &Got, record: &ModelRun, code: &str) {
    assert_eq!((got.status.as_u16(), got.code().as_str()), (503, code));
    assert_eq!(record.status, RunStatus::Refused);
    assert_eq!(record.failure.as_ref().unwrap().code, code);
    assert_eq!(record.request.forwarded, None);
    assert_eq!(record.upstream, None);
    assert!(
        record
            .routing
            .rejected
            .iter()
            .any(|r| r.upstream == "tee" && r.code == code),
        "{:?}",
        record.routing.rejected
    );
}

#[tokio::test]
async fn a_verified_upstream_gets_the_prompt_and_the_record_cites_its_evidence() {
    let mut attested = TeeUpstream::start().await;
    let mut world = World::new(tee(attested.upstream.address));
    let caller = world.caller(1);
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    assert_eq!(got.status, 200);
    assert_eq!(
        attested.upstream.seen.recv().await.unwrap().body,
        chat("tee-model", SECRET)
    );
    let Assurance::Attested {
        evidence,
        appraisal_policy,
        tls_spki,
        appraised,
        expires,
        ..
    } = record.upstream.unwrap().assurance
    else {
        panic!("not attested");
    };
    assert!(appraisal_policy.contains("simulated"));
    assert_eq!(tls_spki, attested.spki);
    assert_eq!(appraised, NOW);
    assert_eq!(expires, seconds(600));
    let document = world.gateway.evidence(evidence).unwrap();
    assert_eq!(Digest::of(&document), evidence);
    // the next run uses what was verified
    ask(&mut world, &caller, "tee-model").await;
    assert_eq!(attested.fetched(), 1);
}

#[tokio::test]
async fn evidence_that_cannot_be_kept_keeps_the_way_closed_and_the_refusal_is_a_record() {
    let mut attested = TeeUpstream::start().await;
    let mut world = World::new(tee(attested.upstream.address));
    world.sink.forgets.store(true, Ordering::Relaxed);
    let caller = world.caller(1);
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    is_refused(&got, &record, "evidence-not-kept");
    assert_eq!(world.events.closed(), ["evidence-not-kept"]);
    assert!(
        attested.upstream.seen.try_recv().is_err(),
        "a prompt went out"
    );
    // once there is room again, the next try verifies anew
    world.sink.forgets.store(false, Ordering::Relaxed);
    world.clock.advance_seconds(60);
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    assert_eq!(
        (got.status.as_u16(), record.status),
        (200, RunStatus::Complete)
    );
}

#[tokio::test]
async fn an_answer_by_another_model_than_the_verified_one_is_no_complete_run() {
    let attested = TeeUpstream::start().await;
    let mut world = World::new(tee(attested.upstream.address));
    let caller = world.caller(1);
    let cheaper = JSON_ANSWER.replace("std-model", "cheap-model");
    let reply = Reply::Whole(200, "application/json", cheaper.into());
    attested.upstream.reply(reply);
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    let code = "upstream-answered-another-model";
    assert_eq!(record.status, RunStatus::UpstreamError);
    assert_eq!(record.failure.unwrap().code, code);
    assert_eq!(got.trailer("x-proofroom-status"), "upstream-error");
    let response = record.response.unwrap();
    assert_eq!(response.answered_by, Some(AnsweredBy::Other));
}

#[tokio::test]
async fn simulated_evidence_is_refused_under_the_production_policy() {
    let mut attested = TeeUpstream::start().await;
    let mut options = Options::of(tee(attested.upstream.address));
    // the shipped production policy, with this upstream's model in it
    options.appraisal = PRODUCTION.replace("example/replace-by-your-model", "tee-model");
    let mut world = World::with(&options);
    let caller = world.caller(1);
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    is_refused(&got, &record, "evidence-refused");
    attested.upstream.nothing_was_sent();
}

#[tokio::test]
async fn an_outage_never_falls_back_to_another_tier() {
    let mut other = FakeUpstream::plain().await;
    let attested = TeeUpstream::start().await;
    let upstreams = standard(other.address) + &tee(attested.upstream.address);
    let mut world = World::new(upstreams);
    let caller = world.caller(1);
    attested.upstream.stop().await;
    let (got, record) = ask(&mut world, &caller, "both-model").await;
    is_refused(&got, &record, "upstream-unreachable");
    other.nothing_was_sent();
}

#[tokio::test]
async fn an_outage_after_verification_does_not_fall_back_either() {
    let mut other = FakeUpstream::plain().await;
    let attested = TeeUpstream::start().await;
    let upstreams = standard(other.address) + &tee(attested.upstream.address);
    let mut world = World::new(upstreams);
    let caller = world.caller(1);
    assert_eq!(ask(&mut world, &caller, "both-model").await.0.status, 200);
    attested.upstream.stop().await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let (got, record) = ask(&mut world, &caller, "both-model").await;
        statuses.push(got.status.as_u16());
        assert_ne!(record.status, RunStatus::Complete);
    }
    // a request that a dying connection had already taken may be 502; none is answered
    assert!(
        statuses.iter().all(|status| [502, 503].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(statuses.last(), Some(&503));
    other.nothing_was_sent();
}

#[tokio::test]
async fn evidence_about_another_key_than_the_connections_is_refused() {
    let mut attested = TeeUpstream::start().await;
    attested.attest(NOW, |plan| {
        plan.statement.tls_spki_sha256 = Digest::of("relay")
    });
    let mut world = World::new(tee(attested.upstream.address));
    let caller = world.caller(1);
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    is_refused(&got, &record, "evidence-of-another-key");
    attested.upstream.nothing_was_sent();
}

#[tokio::test]
async fn a_key_that_changes_after_verification_closes_the_route() {
    let mut attested = TeeUpstream::start().await;
    let mut world = World::new(tee(attested.upstream.address));
    let caller = world.caller(1);
    let (got, _) = ask(&mut world, &caller, "tee-model").await;
    assert_eq!(got.status, 200);
    attested.upstream.seen.recv().await.unwrap();
    attested.change_key();
    attested.upstream.close_connections().await;
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    is_refused(&got, &record, "upstream-key-changed");
    // closed: refused without asking again, then verified anew and found to be another key
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    is_refused(&got, &record, "upstream-key-changed");
    assert_eq!(attested.fetched(), 1);
    world.clock.advance_seconds(3);
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    is_refused(&got, &record, "evidence-of-another-key");
    assert_eq!(
        world.events.codes_closed(),
        ["upstream-key-changed", "evidence-of-another-key"]
    );
    attested.upstream.nothing_was_sent();
}

#[tokio::test]
async fn evidence_is_used_until_it_expires_and_not_longer() {
    let mut attested = TeeUpstream::start().await;
    let mut world = World::new(tee(attested.upstream.address));
    let caller = world.caller(1);
    assert_eq!(ask(&mut world, &caller, "tee-model").await.0.status, 200);
    attested.upstream.seen.recv().await.unwrap();
    // past the end, and the upstream has nothing better than evidence that has expired
    world.clock.advance_seconds(601);
    attested.attest(NOW, |plan| plan.statement.not_after = seconds(600));
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    is_refused(&got, &record, "evidence-refused");
    assert_eq!(attested.fetched(), 2);
    attested.upstream.nothing_was_sent();
    // with good evidence it is verified anew
    world.clock.advance_seconds(10);
    attested.attest(seconds(611), |_| ());
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    assert_eq!(got.status, 200);
    let Assurance::Attested { appraised, .. } = record.upstream.unwrap().assurance else {
        panic!("not attested");
    };
    assert_eq!(appraised, seconds(611));
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_way_closed_and_makes_no_evidence_last() {
    let attested = TeeUpstream::start().await;
    let mut world = World::new(tee(attested.upstream.address));
    let caller = world.caller(1);
    attested.attest(NOW, |plan| plan.tcb = TcbAnswer::OutOfDate);
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    is_refused(&got, &record, "evidence-refused");
    // hours before it was closed, so not closed for hours
    world.clock.advance_seconds(-7200);
    attested.attest(seconds(-7200), |_| ());
    assert_eq!(ask(&mut world, &caller, "tee-model").await.0.status, 200);
    assert_eq!(attested.fetched(), 2);
    // before it was verified, so not verified
    world.clock.advance_seconds(-3600);
    attested.attest(seconds(-10_800), |plan| plan.tcb = TcbAnswer::OutOfDate);
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    is_refused(&got, &record, "evidence-refused");
}

#[tokio::test]
async fn evidence_is_renewed_in_the_background_before_it_expires() {
    let attested = TeeUpstream::start().await;
    let mut world = World::new(tee(attested.upstream.address));
    let caller = world.caller(1);
    ask(&mut world, &caller, "tee-model").await;
    world.clock.advance_seconds(500);
    attested.attest(seconds(500), |_| ());
    let (_, record) = ask(&mut world, &caller, "tee-model").await;
    // served under the old verification, which still holds
    let Assurance::Attested { expires, .. } = record.upstream.unwrap().assurance else {
        panic!("not attested");
    };
    assert_eq!(expires, seconds(600));
    while world.events.verified() < 2 {
        tokio::task::yield_now().await;
    }
    world.clock.advance_seconds(200);
    let (got, _) = ask(&mut world, &caller, "tee-model").await;
    assert_eq!(got.status, 200);
    assert_eq!(attested.fetched(), 2);
}

#[tokio::test]
async fn newer_evidence_that_finds_no_room_leaves_the_way_open_while_the_older_holds() {
    let attested = TeeUpstream::start().await;
    let mut world = World::new(tee(attested.upstream.address));
    let caller = world.caller(1);
    ask(&mut world, &caller, "tee-model").await;
    world.sink.forgets.store(true, Ordering::Relaxed);
    world.clock.advance_seconds(500);
    attested.attest(seconds(500), |_| ());
    ask(&mut world, &caller, "tee-model").await;
    while attested.fetched() < 2 {
        tokio::task::yield_now().await;
    }
    let (_, record) = ask(&mut world, &caller, "tee-model").await;
    assert_eq!(record.status, RunStatus::Complete);
    assert_eq!(world.events.closed(), Vec::<&str>::new());
    // and not longer
    world.clock.advance_seconds(101);
    attested.attest(seconds(601), |_| ());
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    is_refused(&got, &record, "evidence-not-kept");
}

#[tokio::test]
async fn a_tended_upstream_is_verified_and_renewed_before_any_request_waits_for_it() {
    let attested = TeeUpstream::start().await;
    let mut world = World::new(tee(attested.upstream.address));
    let caller = world.caller(1);
    let verified = async |world: &World, times| {
        world.gateway.tend();
        while world.events.verified() < times {
            tokio::task::yield_now().await;
        }
    };
    verified(&world, 1).await;
    world.gateway.tend();
    ask(&mut world, &caller, "tee-model").await;
    assert_eq!(attested.fetched(), 1, "the request found it verified");
    world.clock.advance_seconds(500);
    attested.attest(seconds(500), |_| ());
    verified(&world, 2).await;
    world.clock.advance_seconds(200);
    let (got, _) = ask(&mut world, &caller, "tee-model").await;
    assert_eq!((got.status.as_u16(), attested.fetched()), (200, 2));
    // wrong evidence closes the way without a request, and is asked about again later
    world.clock.advance_seconds(400);
    attested.attest(seconds(1100), |plan| plan.tcb = TcbAnswer::OutOfDate);
    world.gateway.tend();
    while world.events.closed().is_empty() {
        tokio::task::yield_now().await;
    }
    let (got, record) = ask(&mut world, &caller, "tee-model").await;
    is_refused(&got, &record, "evidence-refused");
    attested.attest(seconds(1131), |_| ());
    world.clock.advance_seconds(31);
    verified(&world, 3).await;
    let (got, _) = ask(&mut world, &caller, "tee-model").await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn evidence_with_another_nonce_status_or_model_is_refused() {
    let mut attested = TeeUpstream::start().await;
    let mut world = World::new(tee(attested.upstream.address));
    let caller = world.caller(1);
    let refused = async |world: &mut World, code: &str| {
        let (got, record) = ask(world, &caller, "tee-model").await;
        is_refused(&got, &record, code);
        world.clock.advance_seconds(3);
    };
    attested.attest(NOW, |plan| {
        plan.statement.nonce = proofroom_canonical::Nonce::from_random([0; 32]);
    });
    refused(&mut world, "evidence-refused").await;
    attested.attest(NOW, |plan| plan.tcb = TcbAnswer::OutOfDate);
    refused(&mut world, "evidence-refused").await;
    attested.attest(NOW, |plan| plan.statement.model = "other-model".to_owned());
    refused(&mut world, "model-not-attested").await;
    let mut world = World::new(tee(attested.upstream.address));
    *attested.upstream.evidence.lock().unwrap() = Box::new(|_| (500, Vec::new()));
    refused(&mut world, "evidence-not-served").await;
    *attested.upstream.evidence.lock().unwrap() = Box::new(|_| (200, b"{}".to_vec()));
    refused(&mut world, "evidence-refused").await;
    *attested.upstream.evidence.lock().unwrap() = Box::new(|_| (200, vec![b'x'; 1 << 20]));
    refused(&mut world, "evidence-unreadable").await;
    attested.upstream.nothing_was_sent();
}

#[tokio::test]
async fn requests_that_wait_for_one_verification_share_it() {
    let attested = TeeUpstream::start().await;
    let world = World::new(tee(attested.upstream.address));
    let caller = world.caller(1);
    let posts = (0..8).map(|_| world.post(&caller, MESSAGES, chat("tee-model", SECRET)));
    for response in futures_util::future::join_all(posts).await {
        assert_eq!(response.status(), 200);
    }
    assert_eq!(attested.fetches.load(Ordering::SeqCst), 1);
}
