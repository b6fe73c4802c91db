//! Receipts of a service of Attested Confidential Inference and the sessions that they cite: what counts, and each
//! defect with the code that refuses it.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_provider::{
    AciRun, CitedSession, Component, VerifiedProvider, verify_aci_receipt, verify_aci_session,
};
use proofroom_testkit::provider::{
    ProviderKey,
    aci::{self, receipt_key},
};
use serde_json::{Value, json};

use crate::{
    aci::{appraise, plan},
    world::{NOW, policy_of},
};

fn provider(serving: &str) -> VerifiedProvider {
    let policy = policy_of(&aci::policy(serving));
    appraise(&plan(), &policy).into_verified().unwrap()
}

fn run() -> AciRun<'static> {
    AciRun {
        endpoint: "/v1/chat/completions",
        request: Digest::of("request"),
        answer: Digest::of("answer"),
        sent: NOW,
        ended: NOW.after_seconds(9),
    }
}

fn events() -> Vec<Value> {
    aci::events(run().request, run().answer)
}

fn relayed() -> Vec<Value> {
    let mut events = events();
    events.insert(2, aci::verified(&aci::session(NOW)));
    events
}

fn code(provider: &VerifiedProvider, receipt: &Value) -> Option<&'static str> {
    let bytes = receipt.to_string();
    let verified = verify_aci_receipt(bytes.as_bytes(), provider, &run());
    verified.err().map(|error| error.code())
}

fn cited(provider: &VerifiedProvider) -> CitedSession {
    let receipt = aci::signed(&receipt_key(), aci::receipt(&plan(), &relayed(), NOW));
    let verified = verify_aci_receipt(receipt.to_string().as_bytes(), provider, &run());
    verified.unwrap().1.unwrap()
}

#[test]
fn a_receipt_over_the_exact_bytes_counts_in_any_spelling_of_the_document() {
    let receipt = aci::receipt(&plan(), &events(), NOW);
    let signed = aci::signed(&receipt_key(), receipt.clone());
    for bytes in [signed.to_string(), format!("{signed:#}")] {
        let verified = verify_aci_receipt(bytes.as_bytes(), &provider("direct"), &run());
        let (verified, session) = verified.unwrap();
        assert_eq!(session, None);
        assert_eq!(verified.signer(), Component::Model(0));
        assert_eq!(verified.text(), aci::canonical(&receipt));
        assert_eq!(verified.key().algorithm(), "ed25519");
    }
    // a service may write events of its own
    let mut more = events();
    more.push(json!({ "type": "route.selected", "weight": 1 }));
    let more = aci::signed(&receipt_key(), aci::receipt(&plan(), &more, NOW));
    assert_eq!(code(&provider("direct"), &more), None);
}

#[test]
fn a_receipt_of_an_aggregator_cites_the_session_that_must_be_verified_too() {
    let provider = provider("aggregator");
    let session = aci::session(NOW);
    let cited = cited(&provider);
    assert_eq!(cited.id(), aci::digest(&session).to_hex());
    for bytes in [session.to_string(), format!("{session:#}")] {
        verify_aci_session(bytes.as_bytes(), &provider, cited).unwrap();
    }
}

type Defect = fn(&mut Value);

#[test]
fn every_defect_of_a_receipt_has_its_code() {
    let defects: &[(&str, Defect)] = &[
        ("receipt-text", |r| r["api_version"] = json!("aci/2")),
        ("receipt-malformed", |r| r["weight"] = json!(0.5)),
        ("receipt-text", |r| r["weight"] = json!(1_u64 << 60)),
        ("receipt-keyset-differs", |r| {
            r["workload_keyset_digest"] = hash("other keyset")
        }),
        ("receipt-endpoint-differs", |r| {
            r["endpoint"] = json!("/v1/embeddings")
        }),
        ("receipt-endpoint-differs", |r| r["method"] = json!("GET")),
        ("receipt-model-differs", |r| r["model"] = json!("cheaper")),
        ("receipt-model-differs", |r| r["model"] = json!(null)),
        ("receipt-request-differs", |r| {
            r["event_log"][0]["body_hash"] = hash("re-serialised");
        }),
        ("receipt-rewritten", |r| {
            r["event_log"][1]["body_hash"] = hash("rewritten")
        }),
        ("receipt-response-differs", |r| {
            r["event_log"][2]["body_hash"] = hash("edited delta")
        }),
        ("receipt-events", |r| drop(list(r).remove(0))),
        // a refusal passed off as an answer
        ("receipt-events", |r| drop(list(r).remove(1))),
        ("receipt-events", |r| drop(list(r).remove(2))),
        ("receipt-events", |r| list(r).swap(0, 1)),
        ("receipt-events", |r| {
            let again = list(r)[2].clone();
            list(r).push(again);
        }),
        ("receipt-events", |r| {
            r["event_log"][2]["body_hash"] = json!("sha512:00")
        }),
        ("receipt-replayed", |r| {
            r["served_at"] = json!(NOW.unix_seconds() - 301)
        }),
        ("receipt-replayed", |r| {
            r["served_at"] = json!(NOW.unix_seconds() + 310)
        }),
        ("receipt-upstream-unexpected", |r| {
            list(r).push(aci::verified(&aci::session(NOW)));
        }),
        ("receipt-malformed", |r| r["served_at"] = json!(-1)),
        ("receipt-key-unknown", |r| r["key_id"] = json!("receipt-2")),
    ];
    let provider = provider("direct");
    for (wanted, defect) in defects {
        let mut receipt = aci::receipt(&plan(), &events(), NOW);
        defect(&mut receipt);
        let signed = aci::signed(&receipt_key(), receipt);
        assert_eq!(code(&provider, &signed), Some(*wanted), "{signed}");
    }
}

fn hash(text: &str) -> Value {
    json!(format!("sha256:{}", Digest::of(text).to_hex()))
}

fn list(receipt: &mut Value) -> &mut Vec<Value> {
    receipt["event_log"].as_array_mut().unwrap()
}

#[test]
fn a_signature_counts_only_by_an_attested_key_and_over_all_that_is_said() {
    let provider = provider("direct");
    let receipt = aci::receipt(&plan(), &events(), NOW);
    let signed = aci::signed(&receipt_key(), receipt.clone());
    let relay = aci::signed(&ProviderKey::ed25519("relay"), receipt);
    assert_eq!(code(&provider, &relay), Some("receipt-signature"));
    for member in ["receipt_id", "chat_id"] {
        let mut changed = signed.clone();
        changed[member] = json!("another");
        assert_eq!(
            code(&provider, &changed),
            Some("receipt-signature"),
            "{member}"
        );
    }
    for bad in [
        "00",
        "",
        &"0".repeat(128),
        &signed["signature"].as_str().unwrap().to_uppercase(),
    ] {
        let mut changed = signed.clone();
        changed["signature"] = json!(bad);
        assert_eq!(
            code(&provider, &changed),
            Some("receipt-signature"),
            "{bad}"
        );
    }
    let whole = signed.to_string();
    for length in 0..whole.len() {
        let cut = verify_aci_receipt(&whole.as_bytes()[..length], &provider, &run());
        assert_eq!(cut.unwrap_err().code(), "receipt-malformed", "{length}");
    }
    let twice = whole.replacen("\"model\"", "\"model\":\"x\",\"model\"", 1);
    let long = whole.replacen('{', &format!("{{\"pad\":\"{}\",", "x".repeat(16 * 1024)), 1);
    for bytes in [twice, long] {
        let refused = verify_aci_receipt(bytes.as_bytes(), &provider, &run());
        assert_eq!(refused.unwrap_err().code(), "receipt-malformed");
    }
    // another kind of provider has no keyset, so that nobody signs so for it
    let near = crate::world::verified();
    assert_eq!(code(&near, &signed), Some("receipt-key-unknown"));
}

#[test]
fn a_receipt_that_does_not_say_who_answered_as_the_policy_demands_is_refused() {
    let provider = provider("aggregator");
    let defects: &[(&str, Defect)] = &[
        ("receipt-upstream-unverified", |r| drop(list(r).remove(2))),
        ("receipt-upstream-unverified", |r| {
            r["event_log"][2] = json!({
                "type": "upstream.verified", "result": "failed", "required": false,
                "model_id": "simulated/upstream-model", "reason": "away",
            });
        }),
        ("receipt-upstream-unverified", |r| {
            let again = list(r)[2].clone();
            list(r).push(again);
        }),
        ("receipt-upstream-unverified", |r| {
            r["event_log"][2]["session_id"] = json!("00")
        }),
        ("receipt-upstream-optional", |r| {
            r["event_log"][2]["required"] = json!(false)
        }),
        ("receipt-upstream-optional", |r| {
            r["event_log"][2]["required"] = json!(null)
        }),
        ("receipt-upstream-model", |r| {
            r["event_log"][2]["model_id"] = json!("cheaper")
        }),
    ];
    for (wanted, defect) in defects {
        let mut receipt = aci::receipt(&plan(), &relayed(), NOW);
        defect(&mut receipt);
        let signed = aci::signed(&receipt_key(), receipt);
        assert_eq!(code(&provider, &signed), Some(*wanted), "{signed}");
    }
    // an attempt that failed may stand beside the one that served
    let mut tried = relayed();
    tried.insert(2, json!({ "type": "upstream.verified", "result": "failed", "required": true, "reason": "away" }));
    let tried = aci::signed(&receipt_key(), aci::receipt(&plan(), &tried, NOW));
    assert_eq!(code(&provider, &tried), None);
}

#[test]
fn a_changed_request_counts_where_the_policy_allows_it() {
    let mut receipt = aci::receipt(&plan(), &events(), NOW);
    receipt["event_log"][1]["body_hash"] = hash("rewritten");
    let signed = aci::signed(&receipt_key(), receipt);
    let text =
        aci::policy("direct").replacen("rewrites = \"refused\"", "rewrites = \"allowed\"", 1);
    let lax = appraise(&plan(), &policy_of(&text))
        .into_verified()
        .unwrap();
    assert_eq!(code(&lax, &signed), None);
}

/// The code with which a session is refused that a receipt does cite.
fn session_code(session: &Value, served: Timestamp) -> Option<&'static str> {
    let provider = provider("aggregator");
    let mut events = events();
    events.insert(2, aci::verified(session));
    let receipt = aci::signed(&receipt_key(), aci::receipt(&plan(), &events, served));
    let verified = verify_aci_receipt(receipt.to_string().as_bytes(), &provider, &run());
    let cited = verified.unwrap().1.unwrap();
    let verified = verify_aci_session(session.to_string().as_bytes(), &provider, cited);
    verified.err().map(|error| error.code())
}

#[test]
fn every_defect_of_a_session_has_its_code() {
    let defects: &[(&str, Defect)] = &[
        ("session-malformed", |s| s["api_version"] = json!("aci/2")),
        ("session-malformed", |s| {
            s["claims"]["extra"]["load"] = json!(0.5)
        }),
        ("session-malformed", |s| s["evidence"] = json!(null)),
        ("session-evidence", |s| {
            s["evidence"]["data"] = json!("data:text/plain;base64,AAAA")
        }),
        ("session-evidence", |s| {
            s["evidence"]["data"] = json!("example-evidence")
        }),
        ("session-expired", |s| {
            s["expires_at"] = json!(NOW.unix_seconds())
        }),
        ("session-expired", |s| {
            s["established_at"] = json!(NOW.unix_seconds() + 1)
        }),
        ("session-verifier", |s| s["verifier_id"] = json!("nobody/1")),
        ("session-channel", |s| s["channel_binding"] = json!([])),
        ("session-channel", |s| {
            s["channel_binding"][0]["type"] = json!("dns")
        }),
        ("session-claim", |s| {
            s["claims"]["tee_attested"] = json!({ "status": "unknown" })
        }),
        ("session-claim", |s| {
            s["claims"]["tee_attested"]["status"] = json!("refuted")
        }),
        ("session-claim", |s| {
            s["claims"]["tee_attested"]["source"] = json!("operator_asserted")
        }),
        ("session-claim", |s| {
            drop(
                s["claims"]
                    .as_object_mut()
                    .unwrap()
                    .remove("tcb_up_to_date"),
            )
        }),
    ];
    for (wanted, defect) in defects {
        let mut session = aci::session(NOW);
        defect(&mut session);
        assert_eq!(session_code(&session, NOW), Some(*wanted), "{session}");
    }
    let mut weaker = aci::session(NOW);
    weaker["claims"]["tcb_up_to_date"]["source"] = json!("verifier_derived");
    assert_eq!(session_code(&weaker, NOW), None);
}

#[test]
fn only_the_session_that_is_cited_counts_and_only_whole() {
    let provider = provider("aggregator");
    let cited = cited(&provider);
    let mut later = aci::session(NOW);
    later["expires_at"] = json!(NOW.unix_seconds() + 601);
    let code = |bytes: &[u8]| {
        verify_aci_session(bytes, &provider, cited)
            .unwrap_err()
            .code()
    };
    assert_eq!(code(later.to_string().as_bytes()), "session-other");
    let whole = aci::session(NOW).to_string();
    for length in 0..whole.len() {
        assert_eq!(
            code(&whole.as_bytes()[..length]),
            "session-malformed",
            "{length}"
        );
    }
    let direct = self::provider("direct");
    let refused = verify_aci_session(whole.as_bytes(), &direct, cited);
    assert_eq!(refused.unwrap_err().code(), "receipt-upstream-unexpected");
}
