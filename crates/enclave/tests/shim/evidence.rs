//! What the shim proves, and that it serves nothing which it cannot prove.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use proofroom_canonical::Digest;
use proofroom_testkit::{enclave, gpu::SimulatedGpus, provider::MODEL};

use crate::world::{
    CHAT, Machine, Server, Shim, challenge, config, honest, policy, weights, without_gpus,
};

#[tokio::test]
async fn nothing_is_served_before_the_machine_has_proved_itself() {
    let mut server = Server::start().await;
    let shim = Shim::unproved(config(server.address, ""), Machine(honest)).await;
    let mut client = shim.client().await;
    let nonce = challenge(1);
    for answer in [
        client.post("{}", &nonce.to_string()).await,
        client.report(nonce).await,
        client.receipt(&nonce.to_string()).await,
        client.get("/v1/models").await,
    ] {
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "enclave-not-ready")
        );
    }
    assert!(server.seen.try_recv().is_err());
    shim.enclave.prove(weights()).await.unwrap();
    assert_eq!(client.report(nonce).await.status, 200);
}

#[tokio::test]
async fn a_machine_whose_quote_is_about_something_else_serves_nothing() {
    let server = Server::start().await;
    let shim = Shim::unproved(config(server.address, ""), Machine(|_| [1; 64])).await;
    let refused = shim.enclave.prove(weights()).await.unwrap_err();
    assert_eq!(refused.code(), "report-other-data");
    let answer = shim.client().await.report(challenge(1)).await;
    assert_eq!(answer.code(), "enclave-not-ready");
}

#[tokio::test]
async fn its_evidence_is_accepted_for_its_own_connection_weights_image_and_nonce_alone() {
    let server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    let appraisal = client.appraised(&without_gpus(), challenge(1)).await;
    let gpu = appraisal.checks().last().unwrap().clone();
    assert_eq!(
        (gpu.label().as_str(), gpu.outcome.code()),
        ("model-0: gpu", Some("gpu-not-supplied"))
    );
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(
        (verified.model(), verified.tls_spki()),
        (MODEL, Some(client.spki))
    );
    let strict = policy(&enclave::policy(weights(), enclave::image()));
    for (policy, code) in [
        (strict, "gpu-not-supplied"),
        (
            policy(&enclave::policy(Digest::of("other"), enclave::image())),
            "weights-not-allowed",
        ),
        (
            policy(&enclave::policy(weights(), Digest::of("other"))),
            "image-not-allowed",
        ),
    ] {
        let appraisal = client.appraised(&policy, challenge(2)).await;
        assert_eq!(
            appraisal.first_obstacle().unwrap().outcome.code(),
            Some(code)
        );
    }
    // a key of another run of the same shim
    let other = Shim::with(&server, "").await.client().await;
    assert_ne!(client.spki, other.spki);
}

#[tokio::test]
async fn only_a_nonce_in_its_one_spelling_is_answered() {
    let server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    let nonce = challenge(0xab).to_string();
    for query in [
        "",
        "?nonce=",
        "?nonce=00",
        &format!("?nonce={}", nonce.to_uppercase()),
        &format!("?nonce={nonce}&nonce={nonce}"),
        &format!("?other=1&nonce={nonce}"),
    ] {
        let target = format!("/.well-known/proofroom/attestation{query}");
        let answer = client.get(&target).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "nonce-malformed"),
            "{query}"
        );
    }
    // where the first protocol's clients ask: they go away without sending anything
    let old = format!("/.well-known/proofroom-attestation?nonce={nonce}");
    let answer = client.get(&old).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (404, "no-such-route")
    );
    assert_eq!(client.get(CHAT).await.status, 404);
}

/// A program that prints what lies beside it for its nonce.
fn helper(dir: &Path, script: &str) -> String {
    let path = dir.join("gpu-evidence");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let (path, dir) = (path.display(), dir.display());
    format!("[gpu]\ncommand = [\"{path}\", \"{dir}\"]\nseconds = 2\n")
}

#[tokio::test]
async fn what_gpus_show_for_the_nonce_is_bound_and_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let gpus = SimulatedGpus::demo();
    let nonce = challenge(7);
    for (nonce, name) in [(nonce, nonce.to_string()), (challenge(8), "any".to_owned())] {
        let plans: Vec<_> = (0..2).map(|number| gpus.plan(number, nonce)).collect();
        fs::write(
            dir.path().join(name),
            enclave::gpu_evidence(&plans).unwrap(),
        )
        .unwrap();
    }
    // what was made for another nonce is shown where there is nothing for this one
    let script = "test -z \"$HOME\" && cat \"$1/$2\" 2>/dev/null || cat \"$1/any\"";
    let server = Server::start().await;
    let shim = Shim::with(&server, &helper(dir.path(), script)).await;
    let mut client = shim.client().await;
    let strict = policy(&enclave::policy(weights(), enclave::image()));
    let accepted = client
        .appraised(&strict, nonce)
        .await
        .into_verified()
        .unwrap();
    assert_eq!(accepted.machines_and_gpus(), (1, 2));
    let stale = client.appraised(&strict, challenge(9)).await;
    let obstacle = stale.first_obstacle().unwrap();
    assert_eq!(obstacle.outcome.code(), Some("gpu-nonce-mismatch"));
}

#[tokio::test]
async fn gpus_that_cannot_be_shown_are_never_left_out() {
    let server = Server::start().await;
    for (script, code) in [
        ("exit 1", "gpu-helper-failed"),
        ("echo '[]'", "gpu-evidence-malformed"),
        ("echo no", "gpu-evidence-malformed"),
        ("yes", "gpu-evidence-malformed"),
        ("sleep 60", "gpu-helper-silent"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(server.address, &helper(dir.path(), script));
        let shim = Shim::unproved(config, Machine(honest)).await;
        let refused = shim.enclave.prove(weights()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{script}");
    }
    // one that fails later takes the evidence with it
    let dir = tempfile::tempdir().unwrap();
    let gpus = SimulatedGpus::demo();
    let list = enclave::gpu_evidence(&[gpus.plan(0, challenge(8))]).unwrap();
    fs::write(dir.path().join("any"), list).unwrap();
    let shim = Shim::with(&server, &helper(dir.path(), "cat \"$1/any\"")).await;
    fs::remove_file(dir.path().join("any")).unwrap();
    let answer = shim.client().await.report(challenge(1)).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "gpu-helper-failed")
    );
}
