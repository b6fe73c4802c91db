//! Receipts as records keep them, judged again: what was accepted when it was served is, and no lie of who made the
//! record.

use proofroom_canonical::{Digest, Nonce};
use proofroom_provider::{KeptAnswer, KeptReceipt, KeptRun, VerifiedProvider, verify_kept_receipt};
use proofroom_testkit::{
    enclave,
    provider::{MODEL, ProviderKey, aci, receipt},
};

use crate::{
    aci as service, enclave as of_enclave,
    world::{NOW, policy_of, verified},
};

/// A receipt as a record has it, with who may have signed it.
struct Kept {
    provider: VerifiedProvider,
    algorithm: &'static str,
    key: String,
    text: String,
    signature: String,
}

impl Kept {
    fn judged(&self, run: &KeptRun<'_>) -> Result<(String, bool), &'static str> {
        let kept = KeptReceipt {
            algorithm: self.algorithm,
            key: &self.key,
            text: &self.text,
            signature: &self.signature,
        };
        verify_kept_receipt(kept, &self.provider, run)
            .map(|(verified, session)| (verified.signer().to_string(), session.is_some()))
            .map_err(|error| error.code())
    }
}

fn request() -> Digest {
    Digest::of("the request")
}

fn answer() -> Digest {
    Digest::of(ANSWER)
}

const ANSWER: &[u8] = b"the answer";

fn run() -> KeptRun<'static> {
    KeptRun {
        endpoint: "/v1/chat/completions",
        request: request(),
        answer: KeptAnswer::Whole(answer()),
        sent: NOW,
        ended: NOW.after_seconds(9),
    }
}

fn of_a_model(key: &ProviderKey, algorithm: &'static str) -> Kept {
    let served = receipt(key, Some(MODEL), request(), answer());
    let member = |name: &str| served[name].as_str().unwrap().to_owned();
    Kept {
        provider: verified(),
        algorithm,
        key: member("signing_address")
            .trim_start_matches("0x")
            .to_owned(),
        text: member("text"),
        signature: member("signature"),
    }
}

fn of_our_enclave() -> Kept {
    let text = enclave::receipt_text(Nonce::from_random([3; 32]), request(), ANSWER);
    let signed = enclave::receipt(&enclave::receipt_key(), &text);
    Kept {
        provider: of_enclave::appraise(&of_enclave::plan())
            .into_verified()
            .unwrap(),
        algorithm: "ed25519",
        key: signed.key.to_string(),
        text: signed.text,
        signature: signed.signature.to_string(),
    }
}

fn of_a_service(serving: &str) -> Kept {
    let mut events = aci::events(request(), answer());
    if serving == "aggregator" {
        events.insert(2, aci::verified(&aci::session(NOW)));
    }
    let text = aci::receipt(&service::plan(), &events, NOW);
    let signed = aci::signed(&aci::receipt_key(), text.clone());
    let policy = policy_of(&aci::policy(serving));
    Kept {
        provider: service::appraise(&service::plan(), &policy)
            .into_verified()
            .unwrap(),
        algorithm: "ed25519",
        key: String::new(),
        text: aci::canonical(&text),
        signature: signed["signature"].as_str().unwrap().to_owned(),
    }
}

fn every_format() -> [Kept; 4] {
    [
        of_a_model(&ProviderKey::ethereum("model"), "ecdsa"),
        of_our_enclave(),
        of_a_service("direct"),
        of_a_service("aggregator"),
    ]
}

#[test]
fn what_was_a_machines_word_still_is_and_a_session_that_was_not_kept_is_told() {
    let judged = every_format().map(|kept| kept.judged(&run()));
    let direct = Ok(("model-0".to_owned(), false));
    let relayed = Ok(("gateway".to_owned(), true));
    assert_eq!(judged, [direct.clone(), direct.clone(), direct, relayed]);
}

#[test]
fn a_record_that_states_another_run_than_the_receipt_is_refused() {
    let other = Digest::of("another");
    for kept in every_format() {
        let of = |run: KeptRun<'_>| kept.judged(&run).map(|_| "accepted");
        let asked = KeptRun {
            request: other,
            ..run()
        };
        assert_eq!(of(asked), Err("receipt-request-differs"));
        let answered = KeptRun {
            answer: KeptAnswer::Whole(other),
            ..run()
        };
        assert_eq!(of(answered), Err("receipt-response-differs"));
        // one that the record does not have is compared with nothing, and all else still counts
        let not_kept = KeptRun {
            answer: KeptAnswer::NotKept,
            ..run()
        };
        assert_eq!(of(not_kept), Ok("accepted"));
        let neither = KeptRun {
            request: other,
            ..not_kept
        };
        assert_eq!(of(neither), Err("receipt-request-differs"));
    }
}

#[test]
fn a_service_that_says_when_it_served_is_held_to_the_time_of_the_run() {
    let kept = of_a_service("direct");
    let late = KeptRun {
        sent: NOW.after_seconds(301),
        ended: NOW.after_seconds(310),
        ..run()
    };
    assert_eq!(kept.judged(&late), Err("receipt-replayed"));
    let elsewhere = KeptRun {
        endpoint: "/v1/responses",
        ..run()
    };
    assert_eq!(kept.judged(&elsewhere), Err("receipt-endpoint-differs"));
}

#[test]
fn a_text_or_signature_that_the_record_changed_is_nobodys_word() {
    for kept in every_format() {
        let forged = Kept {
            signature: kept.signature.replacen(['1', '2', '3'], "4", 3),
            ..kept
        };
        let code = forged.judged(&run()).unwrap_err();
        assert!(
            ["receipt-signature", "receipt-key-unknown"].contains(&code),
            "{code}"
        );
    }
    for kept in every_format() {
        let edited = Kept {
            text: kept
                .text
                .replace(&answer().to_hex(), &Digest::of("another").to_hex()),
            ..kept
        };
        assert!(edited.judged(&run()).is_err());
        // nor does it help to say that the answer was not kept
        let hidden = KeptRun {
            answer: KeptAnswer::NotKept,
            ..run()
        };
        let code = edited.judged(&hidden).unwrap_err();
        assert!(
            ["receipt-signature", "receipt-key-unknown"].contains(&code),
            "{code}"
        );
    }
    let relay = of_a_model(&ProviderKey::ethereum("relay"), "ecdsa");
    assert_eq!(relay.judged(&run()), Err("receipt-key-unknown"));
    let unknown = Kept {
        algorithm: "rsa",
        ..relay
    };
    assert_eq!(unknown.judged(&run()), Err("receipt-signature"));
    let unsigned = Kept {
        signature: String::new(),
        ..of_our_enclave()
    };
    assert_eq!(unsigned.judged(&run()), Err("receipt-signature"));
}
