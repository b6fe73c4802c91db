//! Any bytes as a receipt of a service of ACI, as the text of one that a record keeps, and as the session that one
//! cites: no panic, and nothing counts but what the attested key signed.

#![no_main]

use std::sync::LazyLock;

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_provider::{
    AciRun, CitedSession, Exchange, Format, KeptAnswer, KeptReceipt, KeptRun, ProviderDocument,
    ProviderPolicy, VerifiedProvider, VerifiedReceipt, appraise_provider, verify_aci_receipt,
    verify_aci_session, verify_kept_receipt,
};
use proofroom_testkit::provider::{self, aci};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_000_000);

/// A service that passes requests on, what it signed of one, and the session that it cites.
static SERVICE: LazyLock<(VerifiedProvider, VerifiedReceipt, CitedSession)> = LazyLock::new(|| {
    let (nonce, tls_spki) = (Nonce::from_random([1; 32]), Digest::of("spki"));
    let siblings = provider::policies();
    let sibling = |name: &str| siblings.get(name).cloned();
    let policy = ProviderPolicy::parse(&aci::policy("aggregator"), "p.toml", &sibling);
    let policy = policy.expect("a policy");
    let plan = aci::plan(nonce, tls_spki, NOW);
    let document =
        ProviderDocument::write(Format::Aci, &aci::report(&plan), aci::collateral(&plan));
    let exchange = Exchange::Challenge { nonce, tls_spki };
    let document = document.expect("a document");
    let appraisal = appraise_provider(&document, &policy, exchange, NOW);
    let proof = appraisal.into_verified().expect("an honest service");
    let mut events = aci::events(sent().request, sent().answer);
    events.insert(2, aci::verified(&aci::session(NOW)));
    let receipt = aci::receipt(&plan, &events, NOW);
    let signed = aci::signed(&aci::receipt_key(), receipt.clone()).to_string();
    let verified = verify_aci_receipt(signed.as_bytes(), &proof, &sent());
    let (verified, cited) = verified.expect("an honest receipt");
    assert_eq!(verified.text(), aci::canonical(&receipt));
    (proof, verified, cited.expect("a session"))
});

fn sent() -> AciRun<'static> {
    AciRun {
        endpoint: "/v1/chat/completions",
        request: Digest::of("request"),
        answer: Digest::of("answer"),
        sent: NOW,
        ended: NOW,
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (proof, signed, cited) = &*SERVICE;
    if let Ok((receipt, _)) = verify_aci_receipt(bytes, proof, &sent()) {
        assert_eq!(receipt.text(), signed.text());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let kept = KeptReceipt {
            algorithm: "ed25519",
            key: "",
            text,
            signature: signed.signature(),
        };
        let run = KeptRun {
            endpoint: sent().endpoint,
            request: sent().request,
            answer: KeptAnswer::NotKept,
            sent: NOW,
            ended: NOW,
        };
        if verify_kept_receipt(kept, proof, &run).is_ok() {
            assert_eq!(text, signed.text());
        }
    }
    if verify_aci_session(bytes, proof, *cited).is_ok() {
        let read = serde_json::from_slice(bytes).expect("was read");
        assert_eq!(aci::digest(&read), aci::digest(&aci::session(NOW)));
    }
});
