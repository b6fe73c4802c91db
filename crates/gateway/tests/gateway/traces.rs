//! A run as an operator's tracing shows it: what it waited for, what was sent, and no word of its client's.

use std::sync::Arc;

use http::Request;
use http_body_util::Full;
use proofroom_gateway::trace::{IncomingTrace, Parent, RunTrace, Span};
use proofroom_record::{
    event::RunStatus,
    statement::{AnsweredBy, ModelRun},
};

use crate::{
    tee::{PRODUCTION, TeeUpstream},
    upstream::{FakeUpstream, Reply},
    world::{CHAT, Got, NOW, Options, SECRET, World, chat, standard, tee},
};

/// The example of W3C Trace Context section 3.2.4.
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn ask(world: &mut World, model: &str, traceparents: &[&str]) -> (Got, RunTrace, ModelRun) {
    let caller = world.caller(1);
    let mut request = Request::post(CHAT)
        .header("content-type", "application/json")
        .header("tracestate", "vendor=secret")
        .header("baggage", "user=secret");
    for traceparent in traceparents {
        request = request.header("traceparent", *traceparent);
    }
    let request = request.body(Full::new(chat(model, "hi").into())).unwrap();
    let answer = world.gateway.handle(request, Arc::clone(&caller)).await;
    let got = Got::of(answer).await;
    let (digest, record) = world.record().await;
    let mut traces = world.traces.take();
    assert_eq!(traces.len(), 1, "one trace for one run");
    let trace = traces.remove(0);
    assert_eq!(trace.record, Some(digest));
    assert_eq!((trace.run, trace.session), (record.run, record.session));
    (got, trace, record)
}

fn lies_within(inner: Span, outer: Span) {
    assert!(
        outer.began <= inner.began && inner.began <= inner.ended && inner.ended <= outer.ended,
        "{inner:?} is not within {outer:?}"
    );
}

#[tokio::test]
async fn a_run_is_a_span_with_one_below_it_for_each_sending() {
    let one = FakeUpstream::plain().await;
    let two = FakeUpstream::plain().await;
    let named = |name: &str, at: &FakeUpstream| {
        standard(at.address).replace("\"std\"", &format!("\"{name}\""))
    };
    let control = "[control]\nattempts = 2\nlongest_wait_seconds = 2\n";
    let upstreams = format!("{control}{}{}", named("one", &one), named("two", &two));
    let mut world = World::new(upstreams);
    one.reply(Reply::Busy(429, "60"));
    let (got, trace, record) = ask(&mut world, "nickname", &[]).await;
    assert_eq!(got.status, 200);
    // the trace has the run's id
    let id: String = trace.place.trace.map(|byte| format!("{byte:02x}")).concat();
    assert_eq!(format!("run_{id}"), record.run.to_string());
    assert_eq!(trace.place.parent, Parent::None);
    assert_eq!(
        trace.span.began,
        NOW.unix_millis().cast_unsigned() * 1_000_000
    );
    assert_eq!(trace.model.as_str(), "nickname");
    assert_eq!(trace.label.as_str(), "public");
    assert_eq!(trace.rule.as_str(), record.routing.rule);
    assert_eq!(trace.tier.as_ref().unwrap().as_str(), "standard");
    assert_eq!(trace.upstream.as_ref().unwrap().as_str(), "two");
    let outcome = trace.outcome;
    let ended = (outcome.status, outcome.code, outcome.http_status);
    assert_eq!(ended, (RunStatus::Complete, None, Some(200)));
    assert_eq!(outcome.tokens, record.response.as_ref().unwrap().tokens);
    assert_eq!(outcome.answered_by, Some(AnsweredBy::Asked));
    assert_eq!(outcome.finish.unwrap().as_str(), "stop");
    assert!(trace.verifications.is_empty() && outcome.evidence.is_none());
    let sendings = trace.sendings.iter();
    let seen: Vec<_> = sendings
        .map(|sending| {
            lies_within(sending.span, trace.span);
            assert_eq!(sending.place.trace, trace.place.trace);
            assert_eq!(sending.place.parent, Parent::Own(trace.place.span));
            assert_eq!(sending.upstream.host.as_str(), "127.0.0.1");
            assert!(sending.head_after.is_some());
            (
                sending.upstream.name.as_str(),
                sending.upstream.port,
                sending.http_status,
                sending.code,
            )
        })
        .collect();
    let (first, second) = (one.address.port(), two.address.port());
    assert_eq!(
        seen,
        [
            ("one", first, Some(429), Some("upstream-busy")),
            ("two", second, Some(200), None)
        ]
    );
    let spans = [
        trace.place.span,
        trace.sendings[0].place.span,
        trace.sendings[1].place.span,
    ];
    assert!(spans[0] != spans[1] && spans[1] != spans[2] && spans[0] != spans[2]);
}

#[tokio::test]
async fn a_name_that_the_configuration_does_not_give_is_other() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let (got, trace, record) = ask(&mut world, "call-me-555-0100", &[]).await;
    assert_eq!(got.code(), "model-not-served");
    assert_eq!(record.request.model, "call-me-555-0100");
    assert_eq!(trace.model.as_str(), "other");
    assert_eq!(
        (
            trace.outcome.status,
            trace.outcome.code,
            trace.outcome.http_status
        ),
        (RunStatus::Refused, Some("model-not-served"), Some(404))
    );
    assert!(trace.sendings.is_empty() && trace.tier.is_none());
    let shown = format!("{trace:?}");
    assert!(!shown.contains("555-0100"), "{shown}");
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_sending_that_failed() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let mut world = World::new(standard(address));
    let (_, trace, _) = ask(&mut world, "std-model", &[]).await;
    assert_eq!(trace.outcome.code, Some("upstream-unreachable"));
    assert_eq!(trace.upstream, None, "nothing was sent");
    let [sending] = &trace.sendings[..] else {
        panic!("{trace:?}");
    };
    assert_eq!(sending.code, Some("upstream-unreachable"));
    assert_eq!(sending.http_status, None);
}

#[tokio::test]
async fn a_verification_is_a_span_of_the_run_that_waited_for_it_alone() {
    let attested = TeeUpstream::start().await;
    let mut world = World::new(tee(attested.upstream.address));
    let (_, first, record) = ask(&mut world, "tee-model", &[]).await;
    let [verification] = &first.verifications[..] else {
        panic!("{first:?}");
    };
    lies_within(verification.span, first.span);
    assert!(verification.span.ended <= first.sendings[0].span.began);
    assert_eq!(verification.code, None);
    assert_eq!(verification.upstream.name.as_str(), "tee");
    assert!(verification.evidence.is_some());
    assert_eq!(verification.evidence, first.outcome.evidence);
    assert!(
        world
            .gateway
            .evidence(first.outcome.evidence.unwrap())
            .is_some()
    );
    assert_eq!(record.status, RunStatus::Complete);
    let (_, second, _) = ask(&mut world, "tee-model", &[]).await;
    assert!(second.verifications.is_empty(), "it waited for nothing");
    assert_eq!(second.outcome.evidence, first.outcome.evidence);
}

#[tokio::test]
async fn a_verification_that_failed_says_why() {
    let attested = TeeUpstream::start().await;
    let mut world = World::with(&Options {
        appraisal: PRODUCTION.to_owned(),
        ..Options::of(tee(attested.upstream.address))
    });
    let (got, trace, _) = ask(&mut world, "tee-model", &[]).await;
    assert_eq!(got.code(), "evidence-refused");
    assert_eq!(trace.verifications[0].code, Some("evidence-refused"));
    assert_eq!(trace.verifications[0].evidence, None);
    assert!(trace.sendings.is_empty());
    assert_eq!(trace.outcome.code, Some("evidence-refused"));
}

#[tokio::test]
async fn a_clients_trace_is_continued_only_where_the_configuration_says_so_and_goes_no_further() {
    let mut upstream = FakeUpstream::plain().await;
    let options = Options::of(standard(upstream.address));
    let mut ignores = World::with(&options);
    let (_, trace, _) = ask(&mut ignores, "std-model", &[PARENT]).await;
    assert_eq!(trace.place.parent, Parent::None);
    let mut continues = World::with(&Options {
        incoming: IncomingTrace::Continued,
        ..options
    });
    let (_, trace, _) = ask(&mut continues, "std-model", &[PARENT]).await;
    assert_eq!(trace.place.trace[..2], [0x0a, 0xf7]);
    let Parent::Remote(parent) = trace.place.parent else {
        panic!("{trace:?}");
    };
    assert_eq!(parent[6..], [0x33, 0x31]);
    assert_eq!(trace.sendings[0].place.trace, trace.place.trace);
    for bad in [&[PARENT, PARENT][..], &["00-secret"], &[]] {
        let (_, trace, _) = ask(&mut continues, "std-model", bad).await;
        assert_eq!(trace.place.parent, Parent::None, "{bad:?}");
    }
    for _ in 0..5 {
        let seen = upstream.seen.recv().await.unwrap();
        for name in ["traceparent", "tracestate", "baggage"] {
            assert!(!seen.headers.contains_key(name), "`{name}` was forwarded");
        }
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_read_has_a_span_without_it() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let caller = world.caller(1);
    let broken = format!("{{\"model\":\"{SECRET}\"");
    Got::of(world.post(&caller, CHAT, broken).await).await;
    world.record().await;
    let traces = world.traces.take();
    let trace = &traces[0];
    assert_eq!(
        (trace.label.as_str(), trace.model.as_str()),
        ("public", "other")
    );
    assert_eq!(
        (trace.outcome.status, trace.outcome.http_status),
        (RunStatus::Refused, Some(400))
    );
    assert!(trace.outcome.code.is_some());
    assert!(!format!("{traces:?}").contains("Heron"));
}
