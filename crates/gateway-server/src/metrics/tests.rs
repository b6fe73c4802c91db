//! What a scrape shows, and that nothing of a request is in it.

use std::collections::BTreeSet;

use proofroom_canonical::{RunId, SessionId, Timestamp};
use proofroom_gateway::{Finished, RunEvent, RunObserver as _};
use proofroom_record::{event::RunStatus, statement::TokenCount};

use super::{Gauges, Metrics};

fn finished(model: &str) -> Finished {
    Finished {
        run: RunId::from_random([1; 16]),
        model: model.to_owned(),
        tier: Some("tee".to_owned()),
        upstream: Some("u".to_owned()),
        status: RunStatus::Complete,
        code: String::new(),
        received_bytes: 10,
        answered_bytes: 20,
        tokens: Some(TokenCount {
            input: 5,
            output: 300,
        }),
        started: Timestamp::from_unix_millis(1000),
        finished: Timestamp::from_unix_millis(1050),
    }
}

#[test]
fn runs_are_counted_by_what_the_configuration_names() {
    let metrics = Metrics::new(BTreeSet::from(["known".to_owned()]));
    metrics.ended(&finished("known"));
    metrics.ended(&finished("known"));
    metrics.ended(&finished("a secret in the model's name"));
    metrics.unauthenticated("key-unknown");
    let text = metrics.render(Gauges {
        ready: true,
        sessions: 1,
        memory_locked: true,
    });
    for line in [
        "proofroom_gateway_ready 1",
        "proofroom_gateway_memory_locked 1",
        "proofroom_gateway_unauthenticated_total{code=\"key-unknown\"} 1",
        "proofroom_gateway_runs_total{tier=\"tee\",upstream=\"u\",gen_ai_request_model=\"known\",status=\"complete\",code=\"\"} 2",
        "proofroom_gateway_runs_total{tier=\"tee\",upstream=\"u\",gen_ai_request_model=\"other\",status=\"complete\",code=\"\"} 1",
        "gen_ai_server_request_duration_seconds_bucket{tier=\"tee\",upstream=\"u\",gen_ai_request_model=\"known\",le=\"0.04\"} 0",
        "gen_ai_server_request_duration_seconds_bucket{tier=\"tee\",upstream=\"u\",gen_ai_request_model=\"known\",le=\"0.08\"} 2",
        "gen_ai_client_token_usage_bucket{gen_ai_request_model=\"known\",gen_ai_token_type=\"output\",le=\"256\"} 0",
        "gen_ai_client_token_usage_count{gen_ai_request_model=\"known\",gen_ai_token_type=\"output\"} 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("secret"));
}

#[test]
fn what_is_done_about_busy_and_failing_upstreams_is_counted() {
    let metrics = Metrics::new(BTreeSet::new());
    let rests = |upstream: &str| RunEvent::UpstreamRests {
        upstream: upstream.to_owned(),
        until: Timestamp::from_unix_millis(0),
    };
    let again = RunEvent::SentAgain {
        session: SessionId::from_random([1; 16]),
        run: RunId::from_random([1; 16]),
        upstream: "u".to_owned(),
        status: 429,
    };
    let back = RunEvent::UpstreamBack {
        upstream: "u".to_owned(),
    };
    for event in [again.clone(), again, rests("u"), back, rests("v")] {
        metrics.observe(&event);
    }
    let text = metrics.render(Gauges {
        ready: true,
        sessions: 1,
        memory_locked: true,
    });
    for line in [
        "proofroom_gateway_sent_again_total{upstream=\"u\",status=\"429\"} 2",
        "proofroom_gateway_upstream_rests_total{upstream=\"u\"} 1",
        "proofroom_gateway_upstream_resting{upstream=\"u\"} 0",
        "proofroom_gateway_upstream_resting{upstream=\"v\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn upstreams_that_close_and_keys_that_are_read_again_are_counted() {
    let metrics = Metrics::new(BTreeSet::new());
    let closed = |code| RunEvent::UpstreamClosed {
        upstream: "u".to_owned(),
        code,
    };
    let read = RunEvent::UpstreamKeyRead {
        upstream: "u".to_owned(),
    };
    for event in [
        closed("key-form"),
        closed("key-form"),
        closed("key-expired"),
        read,
    ] {
        metrics.observe(&event);
    }
    let text = metrics.render(Gauges {
        ready: true,
        sessions: 1,
        memory_locked: true,
    });
    for line in [
        "proofroom_gateway_upstream_closed_total{upstream=\"u\",code=\"key-form\"} 2",
        "proofroom_gateway_upstream_closed_total{upstream=\"u\",code=\"key-expired\"} 1",
        "proofroom_gateway_upstream_keys_read_total{upstream=\"u\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}
