//! Requests that are sealed to the key of the statement: what is seen of them outside, what is answered, and what is refused.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use proofroom_canonical::{Digest, Nonce};
use proofroom_provider::{ServedRun, verify_serving_receipt};
use proofroom_sealing::{
    ANSWER_TYPE, AnswerOpener, KeyPair, Piece, REQUEST_TYPE, RequestHead, SealError, seal_request,
};
use proofroom_serving::{KeyConfig, SEALED_PATH, SEALED_TO_HEADER};
use proofroom_testkit::{enclave, provider::MODEL};

use crate::world::{CHAT, Client, Got, RECEIPT, Server, Shim, challenge, policy, weights};

const ANSWER: &str = "{ \"id\": \"canary-answer\" }";

fn prompt() -> String {
    format!("{{\"model\":\"{MODEL}\",\"x\":\"canary-prompt\"}}")
}

/// What a gateway learns from the statement, under a policy that demands it.
async fn key(client: &mut Client) -> KeyConfig {
    let text = enclave::policy(weights(), enclave::image())
        .replace("[serving]", "[serving]\nencryption = \"required\"")
        + "\n[[tolerate]]\ncheck = \"gpu\"\nreason = \"none\"\n";
    let appraisal = client.appraised(&policy(&text), challenge(98)).await;
    appraisal.into_verified().unwrap().sealing_key().unwrap()
}

struct Sealed {
    outer: Request<Full<Bytes>>,
    opener: AnswerOpener,
}

fn sealed(
    key: KeyConfig,
    (method, path): (&str, &str),
    challenge: Option<Nonce>,
    body: &str,
) -> Sealed {
    let challenge = challenge.map(|challenge| challenge.to_string());
    let mut fields = vec![
        ("content-type", "application/json"),
        ("authorization", "Bearer canary-key"),
        ("cookie", "c=d"),
    ];
    fields.extend(challenge.as_deref().map(|challenge| (RECEIPT, challenge)));
    let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
    let random = Digest::of(format!("{path}{challenge:?}{body}"));
    let head = RequestHead { method, path };
    let (bytes, opener) =
        seal_request(&key, random.as_bytes(), head, fields, body.as_bytes()).unwrap();
    Sealed {
        outer: outer(key, bytes),
        opener,
    }
}

fn outer(key: KeyConfig, bytes: Vec<u8>) -> Request<Full<Bytes>> {
    Request::post(SEALED_PATH)
        .header("content-type", REQUEST_TYPE)
        .header(SEALED_TO_HEADER, key.digest().to_string())
        .body(Full::new(Bytes::from(bytes)))
        .unwrap()
}

/// Status, content, and the code of how it ended.
fn opened(mut opener: AnswerOpener, got: &Got) -> (u16, Vec<u8>, Result<(), &'static str>) {
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(got.headers["content-type"], ANSWER_TYPE);
    assert!(!got.headers.contains_key(RECEIPT));
    opener.push(&got.body);
    let (mut status, mut content) = (0, Vec::new());
    while let Some(piece) = opener.next().unwrap() {
        match piece {
            Piece::Head(head) => status = head.status,
            Piece::Content(more) => content.extend_from_slice(&more),
        }
    }
    (status, content, opener.finish().map_err(SealError::code))
}

async fn ask(client: &mut Client, sealed: Sealed) -> (u16, String) {
    let got = client.send(sealed.outer).await;
    let (status, content, end) = opened(sealed.opener, &got);
    assert_eq!(end, Ok(()));
    (status, String::from_utf8(content).unwrap())
}

#[tokio::test]
async fn a_sealed_run_reaches_the_server_byte_for_byte_and_its_receipt_is_about_what_was_inside() {
    let mut server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    let key = key(&mut client).await;
    server.whole(ANSWER);
    let run = sealed(key, ("POST", CHAT), Some(challenge(1)), &prompt());
    let got = client.send(run.outer).await;
    assert!(!String::from_utf8_lossy(&got.body).contains("canary"));
    let (status, content, end) = opened(run.opener, &got);
    assert_eq!(
        (status, content.as_slice(), end),
        (200, ANSWER.as_bytes(), Ok(()))
    );
    let seen = server.seen.recv().await.unwrap();
    assert_eq!(
        (seen.target.as_str(), &seen.body[..]),
        (CHAT, prompt().as_bytes())
    );
    assert_eq!(seen.headers["authorization"], "Bearer canary-key");
    assert!(!seen.headers.contains_key("cookie"));
    let path = format!("/.well-known/proofroom/receipt/{}", challenge(1));
    let (status, receipt) = ask(&mut client, sealed(key, ("GET", &path), None, "")).await;
    assert_eq!(status, 200);
    let run = ServedRun {
        challenge: challenge(1),
        request: Digest::of(prompt()),
        answer: Digest::of(ANSWER),
        answer_bytes: ANSWER.len() as u64,
    };
    let provider = client.verified().await;
    verify_serving_receipt(receipt.as_bytes(), &provider, &run).unwrap();
}

#[tokio::test]
async fn a_sealed_stream_passes_as_it_comes_and_one_that_breaks_off_has_no_last_chunk() {
    for breaks in [false, true] {
        let server = Server::start().await;
        let shim = Shim::with(&server, "").await;
        let mut client = shim.client().await;
        let key = key(&mut client).await;
        let chunks = server.stream();
        let run = sealed(key, ("POST", CHAT), Some(challenge(1)), &prompt());
        let sent = tokio::spawn(async move { (client.send(run.outer).await, run.opener) });
        chunks.send(Ok(Bytes::from("data: 1\n\n"))).await.unwrap();
        chunks.send(Ok(Bytes::from("data: 2\n\n"))).await.unwrap();
        if breaks {
            // once what came before has gone out
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            let died = std::io::Error::other("the server died");
            chunks.send(Err(died)).await.unwrap();
        }
        drop(chunks);
        let (got, opener) = sent.await.unwrap();
        let (status, content, end) = opened(opener, &got);
        assert_eq!(
            (status, content.as_slice()),
            (200, &b"data: 1\n\ndata: 2\n\n"[..])
        );
        assert_eq!(end, if breaks { Err("sealed-cut") } else { Ok(()) });
        let mut client = shim.client().await;
        let found = client.receipt(&challenge(1).to_string()).await.status;
        assert_eq!(found, if breaks { 404 } else { 200 });
    }
}

type Refused = (
    (&'static str, &'static str),
    Option<Nonce>,
    String,
    u16,
    &'static str,
);

/// Requests that open and are refused then.
fn refused_inside() -> [Refused; 8] {
    [
        (("POST", CHAT), None, prompt(), 400, "challenge-missing"),
        (
            ("GET", "/v1/models"),
            None,
            String::new(),
            400,
            "challenge-missing",
        ),
        (
            ("POST", CHAT),
            Some(challenge(1)),
            "{}".to_owned(),
            400,
            "request-unreadable",
        ),
        (
            ("POST", "/metrics"),
            Some(challenge(1)),
            prompt(),
            404,
            "no-such-route",
        ),
        (
            ("POST", SEALED_PATH),
            Some(challenge(1)),
            prompt(),
            404,
            "no-such-route",
        ),
        (
            ("POST", "http://127.0.0.1/v1/models"),
            None,
            prompt(),
            400,
            "sealed-message-malformed",
        ),
        (
            ("POST", "*"),
            None,
            prompt(),
            400,
            "sealed-message-malformed",
        ),
        (
            ("GET", "/.well-known/proofroom/attestation?nonce=00"),
            None,
            String::new(),
            404,
            "no-such-route",
        ),
    ]
}

#[tokio::test]
async fn refusals_of_what_was_opened_are_sealed() {
    let mut server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    let key = key(&mut client).await;
    for (request, challenge, body, status, code) in refused_inside() {
        let got = ask(&mut client, sealed(key, request, challenge, &body)).await;
        assert_eq!(got.0, status, "{request:?} {}", got.1);
        assert!(got.1.contains(code), "{request:?} {}", got.1);
    }
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn whoever_repeats_a_sealed_request_gets_no_second_run() {
    let server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    let key = key(&mut client).await;
    server.whole(ANSWER);
    let make = || sealed(key, ("POST", CHAT), Some(challenge(1)), &prompt());
    assert_eq!(ask(&mut client, make()).await.0, 200);
    let (status, body) = ask(&mut client, make()).await;
    assert_eq!(status, 409);
    assert!(body.contains("challenge-used"));
}

#[tokio::test]
async fn whoever_cuts_a_sealed_answer_and_repeats_its_request_gets_no_second_run() {
    let mut server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    let key = key(&mut client).await;
    let make = || sealed(key, ("POST", CHAT), Some(challenge(1)), &prompt());
    let chunks = server.stream();
    let run = make();
    let relay = tokio::spawn(async move { client.send(run.outer).await });
    chunks.send(Ok(Bytes::from("data: 1\n\n"))).await.unwrap();
    server.seen.recv().await.unwrap();
    relay.abort();
    // until the shim has noticed, the run goes on
    let mut client = shim.client().await;
    let until = chunks.closed();
    tokio::time::timeout(std::time::Duration::from_secs(20), until)
        .await
        .unwrap();
    server.whole(ANSWER);
    let (status, body) = ask(&mut client, make()).await;
    assert_eq!(status, 409);
    assert!(body.contains("challenge-used"));
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn what_does_not_open_is_refused_in_the_clear_each_with_its_code() {
    let mut server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    let key = key(&mut client).await;
    let head = RequestHead {
        method: "POST",
        path: CHAT,
    };
    let seal = |to: &KeyConfig, body: &str| {
        seal_request(to, &[7; 32], head, [].into_iter(), body.as_bytes())
            .unwrap()
            .0
    };
    let other = KeyPair::from_random(&[1; 32]).config();
    let good = seal(&key, &prompt());
    let long = "x".repeat((32 << 20) + (1 << 16));
    let mut oversized = good[..39].to_vec();
    oversized.extend([0x80, 0x00, 0x40, 0x11]);
    for (bytes, to, status, code) in [
        (seal(&other, &prompt()), other, 421, "sealed-key-unknown"),
        (seal(&other, &prompt()), key, 400, "sealed-chunk-refused"),
        ([&[1], &good[1..]].concat(), key, 421, "sealed-key-unknown"),
        (good[..good.len() - 18].to_vec(), key, 400, "sealed-cut"),
        (good[..20].to_vec(), key, 400, "sealed-cut"),
        (
            good[..good.len() - 1].to_vec(),
            key,
            400,
            "sealed-chunk-refused",
        ),
        ([&good[..], &[0]].concat(), key, 400, "sealed-chunk-refused"),
        (oversized, key, 400, "sealed-chunk-too-large"),
        (seal(&key, &long), key, 413, "request-too-large"),
    ] {
        let got = shim.client().await.send(outer(to, bytes)).await;
        assert_eq!((got.status, got.code().as_str()), (status, code));
    }
    let mut plain = outer(key, good);
    plain.headers_mut().remove("content-type");
    let got = shim.client().await.send(plain).await;
    assert_eq!(
        (got.status, got.code().as_str()),
        (415, "sealed-media-type")
    );
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn an_enclave_that_demands_it_takes_no_request_and_gives_no_receipt_in_the_clear() {
    let mut server = Server::start().await;
    let mut config = crate::world::config(server.address, "");
    config.encryption = proofroom_enclave::config::Encryption::Required;
    let shim = Shim::unproved(config, crate::world::Machine(crate::world::honest)).await;
    shim.enclave.prove(weights()).await.unwrap();
    let mut client = shim.client().await;
    let got = client.post(&prompt(), &challenge(1).to_string()).await;
    assert_eq!(
        (got.status, got.code().as_str()),
        (403, "encryption-required")
    );
    for target in ["/v1/models", "/.well-known/proofroom/receipt/00"] {
        let got = shim.client().await.get(target).await;
        assert_eq!(
            (got.status, got.code().as_str()),
            (403, "encryption-required")
        );
    }
    assert!(server.seen.try_recv().is_err());
    let key = key(&mut client).await;
    server.whole(ANSWER);
    let run = sealed(key, ("POST", CHAT), Some(challenge(1)), &prompt());
    assert_eq!(ask(&mut client, run).await, (200, ANSWER.to_owned()));
}
