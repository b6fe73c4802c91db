//! Clouds that want to be asked in their own way, through the standalone gateway as a process: Amazon Bedrock, whose requests
//! are signed and whose streams are frames, and Google's Vertex, whose tokens are exchanged for a service account's key.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use proofroom_canonical::Digest;
use proofroom_e2e::{
    Deployment, canary,
    gateway::{GatewayFiles, chat_body},
    server::{Received, Reply, Server},
};
use proofroom_testkit::{
    bedrock::{self, FRAMES, chunk, exception},
    service_account,
};
use serde_json::{Value, json};

const MODEL: &str = "eu.anthropic.claude-x-v1:0";
const PATH: &str = "/model/eu.anthropic.claude-x-v1%3A0";

/// A gateway's files whose one upstream is at `address`, with these members beside the usual ones.
fn files(deployment: &Deployment, address: &str, more: &str) -> GatewayFiles {
    let upstream = format!(
        "[[upstream]]\nname = \"cloud\"\ntier = \"standard\"\nbase_url = \"http://{address}\"\n\
         region = \"eu\"\nsource = \"cassette\"\n\
         retention = {{ mode = \"in-memory\", contract = \"of a server of the tests\" }}\n\
         attestation = {{ kind = \"none\" }}\n{more}"
    );
    fs::write(deployment.policy().join("upstreams.toml"), upstream).expect("upstreams");
    GatewayFiles::new(deployment, "")
}

/// Puts a file where it may be read at any moment.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(&new, file).expect("renamed");
}

fn found(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// What Bedrock says next, and whose signature it takes.
struct Bedrock {
    id: String,
    secret: String,
    frames: Vec<Vec<u8>>,
}

impl Bedrock {
    /// As AWS does: who is not signed is not served.
    fn answer(&self, request: &Received) -> Reply {
        let credentials = (self.id.as_str(), self.secret.as_str());
        let header = |name: &str| request.header(name);
        let expected = bedrock::authorization(&request.target, header, &request.body, credentials);
        if request.header("authorization") != expected {
            return Reply::json(403, format!("{{\"message\":\"expected {expected}\"}}"));
        }
        match request.target.strip_prefix(PATH) {
            Some("/invoke") => Reply::json(200, whole().to_string()),
            Some("/invoke-with-response-stream") => Reply::pieces(FRAMES, self.frames.clone()),
            _ => Reply::json(404, "{}"),
        }
    }
}

fn whole() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
        "content": [{"type": "text", "text": "hello"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 5}})
}

fn events() -> Vec<String> {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
        "content": [], "stop_reason": null, "usage": {"input_tokens": 3, "output_tokens": 1}});
    [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ]
    .map(|event| event.to_string())
    .to_vec()
}

/// Each frame in two pieces, so that none arrives whole.
fn halves(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let halves = |frame: &Vec<u8>| {
        let (first, second) = frame.split_at(frame.len() / 2);
        [first.to_vec(), second.to_vec()]
    };
    frames.iter().flat_map(halves).collect()
}

fn credentials(id: &str, secret: &str) -> String {
    json!({"Version": 1, "AccessKeyId": id, "SecretAccessKey": secret, "SessionToken": "of-a-session"})
        .to_string()
}

fn messages(stream: bool) -> String {
    let turns = json!([{"role": "user", "content": "Say hello"}]);
    json!({"model": "nickname", "max_tokens": 50, "messages": turns, "stream": stream}).to_string()
}

#[test]
fn bedrock_is_asked_with_signatures_and_its_frames_reach_clients_as_events() {
    let deployment = Deployment::empty();
    let secrets = [canary::random(), canary::random()];
    let frames: Vec<_> = events().iter().map(|event| chunk(event)).collect();
    let state = Arc::new(Mutex::new(Bedrock {
        id: "AKIDFIRST".to_owned(),
        secret: secrets[0].clone(),
        frames: halves(&frames),
    }));
    let answers = Arc::clone(&state);
    let server = Server::start(None, move |request| {
        answers.lock().expect("no panic").answer(request)
    });
    let key_file = deployment.path().join("aws.json");
    fs::write(&key_file, credentials("AKIDFIRST", &secrets[0])).expect("written");
    let more = format!(
        "apis = [\"messages\"]\nmodels = [\"{MODEL}\"]\naliases = {{ \"nickname\" = \"{MODEL}\" }}\n\
         paths = {{ form = \"bedrock\" }}\nkey = {{ from = \"aws\", path = \"{}\", region = \"{}\" }}\n",
        key_file.display(),
        bedrock::REGION
    );
    let files = files(&deployment, &server.address, &more);
    let key = files.key(&[]);
    let gateway = files.start();
    let ask = |body: &str| gateway.ask("POST", "/v1/messages", &key, body);
    // whole
    let answer = ask(&messages(false));
    assert_eq!((answer.status, answer.json()), (200, whole()));
    // streamed, to a client of this API and to one of another
    let answer = ask(&messages(true));
    let said = String::from_utf8(answer.body).expect("text");
    let expected: Vec<String> = events()
        .iter()
        .map(|event| {
            let kind: Value = serde_json::from_str(event).expect("JSON");
            let kind = kind["type"].as_str().expect("text").to_owned();
            format!("event: {kind}\ndata: {event}\n\n")
        })
        .collect();
    assert_eq!((answer.whole, said), (true, expected.concat()));
    assert_eq!(answer.headers["x-proofroom-status"], "complete");
    let chat = chat_body("Say hello", true).replace("cassette-standard", "nickname");
    let answer = gateway.ask("POST", "/v1/chat/completions", &key, &chat);
    let said = String::from_utf8(answer.body).expect("text");
    assert!(
        said.contains("hello") && said.ends_with("data: [DONE]\n\n"),
        "{said}"
    );
    // credentials that were replaced are used from the next request on
    replace(&key_file, &credentials("AKIDSECOND", &secrets[1]));
    {
        let mut bedrock = state.lock().expect("no panic");
        (bedrock.id, bedrock.secret) = ("AKIDSECOND".to_owned(), secrets[1].clone());
        let broken = [frames[0].clone(), exception("throttlingException")];
        bedrock.frames = halves(&broken);
    }
    // a stream in which Bedrock says that it failed
    let answer = ask(&messages(true));
    let said = String::from_utf8(answer.body).expect("text");
    assert!(said.contains("\"bedrock-throttling\""), "{said}");
    // and those that nobody knows reach nobody
    replace(&key_file, &credentials("AKIDTHIRD", &secrets[1]));
    let answer = ask(&messages(false));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream-credentials-refused")
    );
    assert!(gateway.stop().success());
    let runs = files.runs();
    let outcome: Vec<_> = runs
        .iter()
        .map(|run| (run["status"].as_str(), run["failure"]["code"].as_str()))
        .collect();
    let expected = [
        (Some("complete"), None),
        (Some("complete"), None),
        (Some("complete"), None),
        (Some("upstream-error"), Some("bedrock-throttling")),
        (Some("upstream-error"), Some("upstream-credentials-refused")),
    ];
    assert_eq!(outcome, expected, "{runs:?}");
    for (run, request) in runs.iter().zip(server.received()) {
        let forwarded = Digest::of(&request.body).to_string();
        assert_eq!(run["request"]["forwarded"], forwarded, "{run}");
    }
    let framed = Digest::of(frames.concat()).to_string();
    assert_eq!(runs[1]["translated"]["answer"], framed);
    assert_eq!(runs[2]["translated"]["answer"], framed);
    let written = files.written();
    for secret in secrets.iter().chain([&key]) {
        assert!(!found(&written, secret), "a secret was written");
    }
}

/// A service account's file, and the endpoint of its tokens.
struct Account {
    file: PathBuf,
    endpoint: Server,
    /// What the endpoint gives.
    grant: Arc<Mutex<(u16, Value)>>,
}

impl Account {
    fn new(deployment: &Deployment) -> Self {
        let grant = Arc::new(Mutex::new((200, json!({}))));
        let gives = Arc::clone(&grant);
        let endpoint = Server::start(None, move |request| {
            match service_account::asserted(&request.body) {
                Some(_) if request.target == "/token" => {
                    let (status, answer) = gives.lock().expect("no panic").clone();
                    Reply::json(status, answer.to_string())
                }
                _ => Reply::json(400, r#"{"error":"invalid_grant"}"#),
            }
        });
        let account = Self {
            file: deployment.path().join("account.json"),
            endpoint,
            grant,
        };
        account.write("key-1");
        account
    }

    fn write(&self, key_id: &str) {
        let uri = format!("http://{}/token", self.endpoint.address);
        replace(
            &self.file,
            &service_account::account(&uri, key_id).to_string(),
        );
    }

    fn grants(&self, token: &str) {
        let answer = json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"});
        *self.grant.lock().expect("no panic") = (200, answer);
    }
}

#[test]
fn vertex_is_asked_with_a_token_that_the_accounts_key_was_exchanged_for() {
    let deployment = Deployment::empty();
    let account = Account::new(&deployment);
    let upstream = Server::start(None, |request| {
        let message = json!({"role": "assistant", "content": "hello"});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8});
        let answer = json!({"id": "x", "object": "chat.completion", "model": "google/gemini-x",
            "choices": [choice], "usage": usage});
        match request.header("authorization") {
            "" => Reply::json(401, "{}"),
            _ => Reply::json(200, answer.to_string()),
        }
    });
    let more = format!(
        "apis = [\"chat\"]\nmodels = [\"google/gemini-x\"]\naliases = {{ \"cassette-standard\" = \"google/gemini-x\" }}\n\
         key = {{ from = \"service-account\", path = \"{}\", token_host = \"127.0.0.1\" }}\n",
        account.file.display()
    );
    let files = files(&deployment, &upstream.address, &more);
    let key = files.key(&[]);
    let gateway = files.start();
    let tokens = [canary::random(), canary::random()];
    // one token for all requests
    account.grants(&tokens[0]);
    for _ in 0..3 {
        let answer = gateway.chat(&key, "Say hello");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(account.endpoint.received().len(), 1);
    // another key gets another token, and its head names that key
    account.write("key-2");
    account.grants(&tokens[1]);
    assert_eq!(gateway.chat(&key, "Say hello").status, 200);
    let asked = account.endpoint.received();
    let (head, claims) = service_account::asserted(&asked[1].body).expect("an assertion");
    assert_eq!(
        (head["kid"].as_str(), claims["iss"].as_str()),
        (Some("key-2"), Some(service_account::EMAIL))
    );
    let bearers: Vec<_> = upstream
        .received()
        .iter()
        .map(|request| request.header("authorization").to_owned())
        .collect();
    let bearer = |token: &String| format!("Bearer {token}");
    let expected = [&tokens[0], &tokens[0], &tokens[0], &tokens[1]].map(bearer);
    assert_eq!(bearers, expected);
    // an endpoint that gives none closes the way, and nothing is sent
    account.write("key-3");
    let refusal = json!({"error": "invalid_grant", "error_description": tokens[1]});
    *account.grant.lock().expect("no panic") = (400, refusal);
    let answer = gateway.chat(&key, "Say hello");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "token-refused")
    );
    assert_eq!(upstream.received().len(), 4);
    assert!(gateway.stop().success());
    let runs = files.runs();
    assert_eq!(runs.len(), 5);
    assert_eq!(runs[4]["failure"]["code"], "token-refused");
    assert_eq!(runs[4]["request"]["forwarded"], Value::Null);
    let written = files.written();
    for token in &tokens {
        assert!(!found(&written, token), "a token was written");
    }
}
