//! Access tokens for a service account, from a double of Google's token endpoint: asked for with an assertion that the account's key
//! signs, shared, renewed ahead of their end, and refused by a code each.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use proofroom_gateway::{UpstreamsConfig, config::SystemSecrets};
use proofroom_record::event::RunStatus;
use proofroom_testkit::service_account::{self, EMAIL, PEM};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    upstream::{FakeUpstream, Reply, Seen},
    world::{CHAT, Got, NOW, World, chat, standard},
};

/// An upstream, the endpoint of its tokens, and the file of the account.
struct Vertex {
    upstream: FakeUpstream,
    endpoint: FakeUpstream,
    dir: TempDir,
}

impl Vertex {
    async fn start() -> Self {
        let vertex = Self {
            upstream: FakeUpstream::plain().await,
            endpoint: FakeUpstream::plain().await,
            dir: tempfile::tempdir().unwrap(),
        };
        vertex.write(&vertex.account("key-1"));
        vertex
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("account.json")
    }

    fn token_uri(&self) -> String {
        format!("http://{}/token", self.endpoint.address)
    }

    fn account(&self, key_id: &str) -> Value {
        service_account::account(&self.token_uri(), key_id)
    }

    fn write(&self, account: &Value) {
        let new = self.dir.path().join("new");
        fs::write(&new, account.to_string()).unwrap();
        fs::rename(&new, self.file()).unwrap();
    }

    fn upstreams(&self, token_host: &str) -> String {
        let key = format!(
            r#"{{ from = "service-account", path = "{}", token_host = "{token_host}" }}"#,
            self.file().display()
        );
        let bearer = r#"{ from = "env", name = "STD_KEY", header = "bearer" }"#;
        standard(self.upstream.address).replace(bearer, &key)
    }

    fn world(&self) -> World {
        World::new(self.upstreams("127.0.0.1"))
    }

    fn grants(&self, token: &str, seconds: u32) {
        let answer = json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"});
        self.endpoint.reply(Reply::Whole(
            200,
            "application/json",
            answer.to_string().into(),
        ));
    }

    /// What the upstream was sent last, as who.
    async fn bearer(&mut self) -> String {
        let seen = self.upstream.seen.recv().await.unwrap();
        seen.headers["authorization"].to_str().unwrap().to_owned()
    }
}

async fn ask(world: &World) -> Got {
    Got::of(
        world
            .post(&world.caller(1), CHAT, chat("std-model", "hi"))
            .await,
    )
    .await
}

/// Head and claims of what the endpoint was asked with, once its signature was verified.
fn asserted(seen: &Seen) -> (Value, Value) {
    assert_eq!(seen.target, "/token");
    assert_eq!(
        seen.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert!(!seen.headers.contains_key("authorization"));
    service_account::asserted(&seen.body).unwrap()
}

#[tokio::test]
async fn one_token_is_asked_for_with_a_signed_assertion_and_shared_by_all_requests() {
    let mut vertex = Vertex::start().await;
    let mut world = vertex.world();
    vertex.grants("canary-token", 3600);
    let asking = tokio::join!(ask(&world), ask(&world), ask(&world));
    for got in [asking.0, asking.1, asking.2] {
        assert_eq!(got.status, 200, "{got:?}");
        assert_eq!(vertex.bearer().await, "Bearer canary-token");
        assert!(!format!("{:?}", world.record().await.1).contains("canary"));
    }
    let (head, claims) = asserted(&vertex.endpoint.seen.recv().await.unwrap());
    assert_eq!(head, json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"}));
    let now = NOW.unix_seconds();
    assert_eq!(
        claims,
        json!({"iss": EMAIL, "scope": "https://www.googleapis.com/auth/cloud-platform",
            "aud": vertex.token_uri(), "iat": now, "exp": now + 600})
    );
    vertex.endpoint.nothing_was_sent();
    assert!(!format!("{:?}", world.gateway).contains("canary"));
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end_and_never_used_after_it() {
    let mut vertex = Vertex::start().await;
    let mut world = vertex.world();
    vertex.grants("first", 1000);
    assert_eq!(ask(&world).await.status, 200);
    assert_eq!(vertex.bearer().await, "Bearer first");
    vertex.endpoint.seen.recv().await.unwrap();
    world.clock.advance_seconds(799);
    world.gateway.tend();
    vertex.endpoint.nothing_was_sent();
    // the endpoint is away: the token is used until its end
    world.clock.advance_seconds(1);
    vertex
        .endpoint
        .reply(Reply::Whole(503, "application/json", Bytes::new()));
    assert_eq!(ask(&world).await.status, 200);
    assert_eq!(vertex.bearer().await, "Bearer first");
    vertex.endpoint.seen.recv().await.unwrap();
    // until a renewal that succeeds
    vertex.grants("second", 1000);
    world.clock.advance_seconds(2);
    let renewed = loop {
        assert_eq!(ask(&world).await.status, 200);
        match vertex.bearer().await.as_str() {
            "Bearer first" => tokio::task::yield_now().await,
            other => break other.to_owned(),
        }
    };
    assert_eq!(renewed, "Bearer second");
    vertex.endpoint.seen.recv().await.unwrap();
    world.clock.advance_seconds(1000);
    vertex
        .endpoint
        .reply(Reply::Whole(503, "application/json", Bytes::new()));
    let got = ask(&world).await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (503, "token-endpoint-unreachable")
    );
    vertex.upstream.nothing_was_sent();
    assert_eq!(world.events.closed(), ["token-endpoint-unreachable"]);
    world.records();
}

#[tokio::test]
async fn an_endpoint_that_gives_no_token_closes_the_upstream_by_a_code() {
    let token = |token: &str, kind: &str, seconds: i64| {
        json!({"access_token": token, "token_type": kind, "expires_in": seconds}).to_string()
    };
    for (status, answer, code) in [
        (
            400,
            r#"{"error":"invalid_grant","error_description":"canary"}"#.to_owned(),
            "token-refused",
        ),
        (401, "canary".to_owned(), "token-refused"),
        (302, String::new(), "token-refused"),
        (500, "canary".to_owned(), "token-endpoint-unreachable"),
        (429, String::new(), "token-endpoint-unreachable"),
        (200, "canary".to_owned(), "token-malformed"),
        (200, token("", "Bearer", 3600), "token-malformed"),
        (200, token("two\nlines", "Bearer", 3600), "token-malformed"),
        (200, token("canary", "mac", 3600), "token-malformed"),
        (200, token("canary", "Bearer", 0), "token-malformed"),
        (200, token("canary", "Bearer", -1), "token-malformed"),
        (
            200,
            token(&"x".repeat(64 * 1024), "Bearer", 3600),
            "token-malformed",
        ),
    ] {
        let mut vertex = Vertex::start().await;
        let mut world = vertex.world();
        vertex
            .endpoint
            .reply(Reply::Whole(status, "application/json", answer.into()));
        // the second is refused without asking again
        for _ in 0..2 {
            let got = ask(&world).await;
            assert_eq!((got.status.as_u16(), got.code().as_str()), (503, code));
            assert!(!format!("{got:?}").contains("canary"));
            let (_, record) = world.record().await;
            assert_eq!(
                (record.status, record.request.forwarded),
                (RunStatus::Refused, None)
            );
            assert!(!format!("{record:?}").contains("canary"));
        }
        assert_eq!(world.events.closed(), [code]);
        vertex.endpoint.seen.recv().await.unwrap();
        vertex.endpoint.nothing_was_sent();
        world.clock.advance_seconds(2);
        vertex.grants("good", 3600);
        assert_eq!(ask(&world).await.status, 200);
        assert_eq!(vertex.bearer().await, "Bearer good");
        assert_eq!(world.events.keys_read(), 1);
    }
}

/// How old a token or a failure is, nobody knows then.
#[tokio::test]
async fn a_clock_that_is_set_back_keeps_neither_a_token_nor_a_closed_way() {
    let mut vertex = Vertex::start().await;
    let mut world = vertex.world();
    vertex.grants("first", 3600);
    assert_eq!(ask(&world).await.status, 200);
    assert_eq!(vertex.bearer().await, "Bearer first");
    world.clock.advance_seconds(-10);
    vertex
        .endpoint
        .reply(Reply::Whole(400, "application/json", Bytes::new()));
    assert_eq!(ask(&world).await.code(), "token-refused");
    world.clock.advance_seconds(-10);
    vertex.grants("second", 3600);
    assert_eq!(ask(&world).await.status, 200);
    assert_eq!(vertex.bearer().await, "Bearer second");
    world.records();
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_one_that_is_away() {
    let vertex = Vertex::start().await;
    let mut world = vertex.world();
    let Vertex {
        mut upstream,
        endpoint,
        dir,
    } = vertex;
    endpoint.stop().await;
    let got = ask(&world).await;
    assert_eq!(got.code(), "token-endpoint-unreachable");
    upstream.nothing_was_sent();
    world.record().await;
    drop(dir);
}

#[tokio::test]
async fn another_key_in_the_file_gets_another_token_and_none_ends_the_token_too() {
    let mut vertex = Vertex::start().await;
    let mut world = vertex.world();
    for key in ["key-1", "key-2"] {
        vertex.write(&vertex.account(key));
        vertex.grants(key, 3600);
        assert_eq!(ask(&world).await.status, 200);
        assert_eq!(vertex.bearer().await, format!("Bearer {key}"));
        let (head, _) = asserted(&vertex.endpoint.seen.recv().await.unwrap());
        assert_eq!(head["kid"], key);
    }
    let mut elsewhere = vertex.account("key-3");
    elsewhere["token_uri"] = json!("https://oauth2.example.com/token");
    vertex.write(&elsewhere);
    assert_eq!(ask(&world).await.code(), "token-host");
    fs::remove_file(vertex.file()).unwrap();
    assert_eq!(ask(&world).await.code(), "key-unreadable");
    vertex.upstream.nothing_was_sent();
    vertex.endpoint.nothing_was_sent();
    world.records();
}

#[tokio::test]
async fn an_account_that_is_none_or_asks_elsewhere_is_refused_at_load() {
    let vertex = Vertex::start().await;
    let codes = |host: &str| -> Vec<&'static str> {
        let read =
            UpstreamsConfig::parse(&vertex.upstreams(host), std::sync::Arc::new(SystemSecrets));
        let problems = read.err().unwrap_or_default();
        assert!(
            problems
                .iter()
                .all(|problem| !problem.to_string().contains("canary"))
        );
        problems.iter().map(|problem| problem.code).collect()
    };
    assert_eq!(codes("127.0.0.1"), [""; 0]);
    assert_eq!(codes("oauth2.googleapis.com"), ["token-host"]);
    for (member, value, code) in [
        (
            "token_uri",
            json!("http://oauth2.googleapis.com/token"),
            "token-host",
        ),
        (
            "token_uri",
            json!("https://127.0.0.1@oauth2.example.com/token"),
            "token-host",
        ),
        (
            "token_uri",
            json!("https://127.0.0.1/token?canary=1"),
            "token-host",
        ),
        ("type", json!("authorized_user"), "key-form"),
        ("client_email", json!("can ary"), "key-form"),
        ("private_key_id", json!(""), "key-form"),
        ("private_key", json!("canary"), "key-form"),
        ("private_key", json!(PEM.replace("MII", "AAA")), "key-form"),
    ] {
        let mut account = vertex.account("key-1");
        account[member] = value;
        vertex.write(&account);
        assert_eq!(codes("127.0.0.1"), [code], "{member}");
    }
}
