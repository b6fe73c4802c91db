//! What passes through the shim, byte for byte, and the receipts of it.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use proofroom_canonical::{Digest, Nonce};
use proofroom_provider::{ServedRun, verify_serving_receipt};
use proofroom_testkit::provider::MODEL;

use crate::world::{CHAT, Client, RECEIPT, Server, Shim, challenge};

const ANSWER: &str = "{ \"id\": \"x\",\r\n\t\"choices\":[] }\n";

/// As nobody would write it who wrote it anew.
fn odd_body() -> String {
    format!("{{ \"messages\" : [ ],\n \"model\":\"{MODEL}\" , \"x\": 1.50, \"y\": \"\\u00e4\" }}\n")
}

async fn judged(client: &mut Client, run: &ServedRun) -> Result<(), &'static str> {
    let served = client.receipt(&run.challenge.to_string()).await;
    if served.status != 200 {
        return Err("receipt-not-served");
    }
    let provider = client.verified().await;
    verify_serving_receipt(&served.body, &provider, run)
        .map(|_| ())
        .map_err(|error| error.code())
}

fn run(challenge: Nonce, request: &str, answer: &[u8]) -> ServedRun {
    ServedRun {
        challenge,
        request: Digest::of(request),
        answer: Digest::of(answer),
        answer_bytes: answer.len() as u64,
    }
}

#[tokio::test]
async fn a_whole_answer_passes_byte_for_byte_and_has_its_receipt() {
    let mut server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    server.whole(ANSWER);
    let request = Request::post(format!("{CHAT}?x=1"))
        .header("content-type", "application/json")
        .header("authorization", "Bearer of-the-server")
        .header("cookie", "c=d")
        .header("accept-encoding", "gzip")
        .header(RECEIPT, challenge(1).to_string())
        .body(Full::new(Bytes::from(odd_body())))
        .unwrap();
    let got = client.send(request).await;
    assert_eq!((got.status, got.body.as_slice()), (200, ANSWER.as_bytes()));
    assert_eq!(got.headers[RECEIPT], challenge(1).to_string().as_str());
    assert!(!got.headers.contains_key("set-cookie"));
    let seen = server.seen.recv().await.unwrap();
    assert_eq!(
        (seen.target.as_str(), &seen.body[..]),
        (CHAT, odd_body().as_bytes())
    );
    assert_eq!(seen.headers["authorization"], "Bearer of-the-server");
    for name in ["cookie", "accept-encoding", RECEIPT] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    let right = run(challenge(1), &odd_body(), ANSWER.as_bytes());
    assert_eq!(judged(&mut client, &right).await, Ok(()));
    let wrong = run(challenge(1), &odd_body(), ANSWER.trim().as_bytes());
    assert_eq!(
        judged(&mut client, &wrong).await,
        Err("receipt-response-truncated")
    );
}

#[tokio::test]
async fn a_stream_passes_as_it_comes_and_is_signed_at_its_end_and_not_before() {
    let server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let (mut client, mut other) = (shim.client().await, shim.client().await);
    let chunks = server.stream();
    let parts = [
        ": ping\n\nda",
        "ta: {\"id\":\"1\"}\n\n",
        "data: [DO",
        "NE]\n\n",
    ];
    let sent = tokio::spawn({
        let body = odd_body();
        async move { (client.post(&body, &challenge(1).to_string()).await, client) }
    });
    for part in parts {
        chunks.send(Ok(Bytes::from(part))).await.unwrap();
        // what has not ended has no receipt
        let early = other.receipt(&challenge(1).to_string()).await;
        assert_eq!(
            (early.status, early.code().as_str()),
            (404, "receipt-unknown")
        );
    }
    drop(chunks);
    let (got, mut client) = sent.await.unwrap();
    assert!(got.whole);
    assert_eq!(got.body, parts.concat().as_bytes());
    let right = run(challenge(1), &odd_body(), parts.concat().as_bytes());
    assert_eq!(judged(&mut client, &right).await, Ok(()));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_one_and_has_no_receipt() {
    let server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    let chunks = server.stream();
    chunks.send(Ok(Bytes::from("data: {}\n\n"))).await.unwrap();
    tokio::spawn(async move {
        // once what came before has gone out
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let broken = std::io::Error::other("the server died");
        chunks.send(Err(broken)).await.unwrap();
    });
    let got = client.post(&odd_body(), &challenge(1).to_string()).await;
    assert!(!got.whole && got.status == 200, "{got:?}");
    let mut client = shim.client().await;
    let all_that_came = run(challenge(1), &odd_body(), &got.body);
    assert_eq!(
        judged(&mut client, &all_that_came).await,
        Err("receipt-not-served")
    );
}

#[tokio::test]
async fn an_answer_whose_end_nobody_can_tell_from_a_broken_connection_is_refused() {
    for coding in ["", "transfer-encoding: identity\r\n"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = crate::world::config(listener.local_addr().unwrap(), "");
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
            let answer = format!("{head}{coding}\r\n{{}}");
            tokio::io::AsyncReadExt::read(&mut tcp, &mut [0; 4096])
                .await
                .unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut tcp, answer.as_bytes())
                .await
                .unwrap();
        });
        let shim = Shim::unproved(config, crate::world::Machine(crate::world::honest)).await;
        shim.enclave.prove(crate::world::weights()).await.unwrap();
        let mut client = shim.client().await;
        let got = client.post(&odd_body(), &challenge(1).to_string()).await;
        assert_eq!(
            (got.status, got.code().as_str()),
            (502, "answer-unframed"),
            "{coding}"
        );
        assert_eq!(client.receipt(&challenge(1).to_string()).await.status, 404);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_without_a_receipt() {
    let server = Server::start().await;
    let mut config = crate::world::config(server.address, "");
    config.server = "127.0.0.1:1".parse().unwrap();
    let shim = Shim::unproved(config, crate::world::Machine(crate::world::honest)).await;
    shim.enclave.prove(crate::world::weights()).await.unwrap();
    let mut client = shim.client().await;
    let got = client.post(&odd_body(), &challenge(1).to_string()).await;
    assert_eq!(
        (got.status, got.code().as_str()),
        (502, "model-server-unreachable")
    );
    assert_eq!(client.receipt(&challenge(1).to_string()).await.status, 404);
}

#[tokio::test]
async fn a_challenge_is_for_one_run_and_one_is_chosen_where_the_client_names_none() {
    let server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    server.whole(ANSWER);
    assert_eq!(
        client
            .post(&odd_body(), &challenge(1).to_string())
            .await
            .status,
        200
    );
    let again = client.post(&odd_body(), &challenge(1).to_string()).await;
    assert_eq!(
        (again.status, again.code().as_str()),
        (409, "challenge-used")
    );
    for malformed in ["", "00", &challenge(0xab).to_string().to_uppercase()] {
        let refused = client.post(&odd_body(), malformed).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "challenge-malformed")
        );
    }
    server.whole(ANSWER);
    let request = Request::post(CHAT)
        .body(Full::new(Bytes::from(odd_body())))
        .unwrap();
    let got = client.send(request).await;
    let chosen: Nonce = got.headers[RECEIPT].to_str().unwrap().parse().unwrap();
    let right = run(chosen, &odd_body(), ANSWER.as_bytes());
    assert_eq!(judged(&mut client, &right).await, Ok(()));
}

#[tokio::test]
async fn requests_for_another_model_or_path_and_unreadable_or_long_ones_reach_no_server() {
    let mut server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    for (body, status, code) in [
        (
            "{\"model\":\"cheaper\"}".to_owned(),
            404,
            "model-not-served",
        ),
        (
            format!("{{\"model\":\"{MODEL}\",\"model\":\"cheaper\"}}"),
            400,
            "request-unreadable",
        ),
        (format!("[\"{MODEL}\"]"), 400, "request-unreadable"),
        ("{".to_owned(), 400, "request-unreadable"),
        (String::new(), 400, "request-unreadable"),
    ] {
        let got = client.post(&body, &challenge(1).to_string()).await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{body}");
    }
    for target in [
        "/v1/files",
        "/metrics",
        "/v1/chat/completions/",
        "/v1/../v1/responses",
    ] {
        let request = Request::post(target)
            .body(Full::new(Bytes::from(odd_body())))
            .unwrap();
        assert_eq!(
            client.send(request).await.code(),
            "no-such-route",
            "{target}"
        );
    }
    let long = format!(
        "{{\"model\":\"{MODEL}\",\"x\":\"{}\"}}",
        "a".repeat(33 << 20)
    );
    let request = Request::post(CHAT)
        .body(Full::new(Bytes::from(long)))
        .unwrap();
    let got = client.send(request).await;
    assert_eq!(
        (got.status, got.code().as_str()),
        (413, "request-too-large")
    );
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn every_api_of_the_gateway_is_passed_and_models_are_listed() {
    let mut server = Server::start().await;
    let shim = Shim::with(&server, "").await;
    let mut client = shim.client().await;
    for path in [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/rerank",
    ] {
        server.whole(ANSWER);
        let request = Request::post(path)
            .body(Full::new(Bytes::from(odd_body())))
            .unwrap();
        assert_eq!(client.send(request).await.status, 200, "{path}");
        assert_eq!(server.seen.recv().await.unwrap().target, path);
    }
    server.whole(ANSWER);
    let models = client.get("/v1/models").await;
    assert_eq!(models.body, ANSWER.as_bytes());
    assert!(models.headers.contains_key(RECEIPT));
}
