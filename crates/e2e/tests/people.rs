//! People with tokens of an issuer, at the standalone gateway as a process.

use std::{path::PathBuf, time::Duration};

use proofroom_e2e::{
    Deployment,
    gateway::{GatewayFiles, chat_body, read_answer, record_lines},
    repository_root,
};
use proofroom_testkit::issuer::IssuerServer;
use serde_json::{Value, json};

fn hello() -> PathBuf {
    repository_root().join("crates/testkit/cassettes/hello.json")
}

/// Of a real issuer's range, with the right check digit, and nobody's.
const CARD: &str = "The card is 4485 2757 4230 8327, keep it.";

struct World {
    _deployment: Deployment,
    files: GatewayFiles,
    issuer: IssuerServer,
}

impl World {
    fn new(cassette: &std::path::Path) -> Self {
        let deployment = Deployment::with_cassette(cassette);
        let issuer = IssuerServer::start();
        let (url, table) = (&issuer.issuer.url, issuer.issuer.table("if-bound"));
        let people = format!(
            r#"{table}
[[people.rule]]
issuer = "{url}"
when = [{{ claim = ["groups"], is = "developers" }}]
team = "core"
scope = {{ models = ["*"], tiers = ["*"], labels = ["*"], regions = ["*"], repository = "" }}
"#
        );
        Self {
            files: GatewayFiles::new(&deployment, &people),
            _deployment: deployment,
            issuer,
        }
    }

    /// A token of a person, from so many seconds ago.
    fn token(&self, person: &str, ago: i64) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = i64::try_from(now.expect("after 1970").as_secs()).expect("seconds");
        self.issuer.issuer.token(person, now - ago)
    }

    fn person(&self, words: &[&str]) -> String {
        let done = self.files.command(&[&["person"], words].concat());
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).expect("text")
    }
}

#[test]
fn a_persons_tokens_are_one_session_whose_mark_stays_and_records_name_person_issuer_and_token() {
    let world = World::new(&hello());
    let gateway = world.files.start();
    let (first, second) = (world.token("ada", 5), world.token("ada", 4));
    let raised = gateway.chat(&first, CARD);
    let label = raised.headers["x-proofroom-label"].clone();
    let after = gateway.chat(&second, "Say hello");
    assert_eq!(after.headers["x-proofroom-label"], label, "the mark fell");
    assert_eq!(after.headers["x-proofroom-sequence"], "1");
    // another person begins anew
    let eve = world.token("eve", 3);
    let other = gateway.chat(&eve, "Say hello");
    assert_eq!(
        (other.status, &*other.headers["x-proofroom-sequence"]),
        (200, "0")
    );
    assert_ne!(other.headers["x-proofroom-label"], label);
    gateway.kill();
    let gateway = world.files.start();
    let after = gateway.chat(&world.token("ada", 2), "Say hello");
    assert_eq!(
        after.headers["x-proofroom-label"], label,
        "the mark fell over a kill"
    );
    // whoever nobody speaks about gets nothing, and neither does a token for somebody else
    let run = other.headers["x-proofroom-run"].clone();
    let path = format!("/v1/records/{run}");
    assert_eq!(gateway.ask("GET", &path, &eve, "").status, 200);
    assert_eq!(
        gateway.ask("GET", &path, &second, "").code(),
        "no-such-record"
    );
    let refused = gateway.chat(&first.replace('.', ""), "Say hello");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "token-malformed")
    );
    assert_eq!(
        refused.headers["www-authenticate"],
        r#"Bearer error="invalid_token""#
    );
    assert!(gateway.stop().success());
    let runs = world.files.runs();
    let client = &runs[1]["client"];
    assert_eq!(client["user"], "ada@example.test");
    assert_eq!(
        client["issuer"],
        Value::from(world.issuer.issuer.url.clone())
    );
    assert_eq!(client["key"], runs[0]["client"]["key"]);
    assert_ne!(client["token"], runs[0]["client"]["token"]);
    let id = client["key"].as_str().expect("text");
    assert!(id.starts_with("person-"), "{client}");
    let caller = runs[1]["caller"].as_str().expect("text");
    assert!(
        caller.ends_with(&format!("/gateway/person/{id}")),
        "{caller}"
    );
    // no file has a token, nor the signature of one
    let mut all = std::fs::read(world.files.log()).expect("readable");
    for (_, _, body) in record_lines(&world.files.state()) {
        all.extend(body.to_string().bytes());
    }
    let text = String::from_utf8_lossy(&all);
    for token in [&first, &second, &eve] {
        let signature = token.rsplit('.').next().expect("a part");
        assert!(!text.contains(signature));
    }
}

#[test]
fn barring_a_person_breaks_off_their_stream_and_lets_nothing_more_in_until_they_are_unbarred() {
    let inputs = tempfile::tempdir().expect("directory");
    let cassette = inputs.path().join("slow.json");
    // more than the buffers between gateway and client take
    let slow = json!({"name": "long", "turns": [{"text": "word ".repeat(200_000)}]});
    std::fs::write(&cassette, slow.to_string()).expect("written");
    let world = World::new(&cassette);
    let gateway = world.files.start();
    let token = world.token("ada", 0);
    let url = world.issuer.issuer.url.clone();
    let body = chat_body("Say hello", true);
    let mut stream = gateway.send("POST", "/v1/chat/completions", &token, &body);
    stream.peek(&mut [0; 1]).expect("the answer begins");
    let said = world.person(&["bar", "--issuer", &url, "--subject", "ada"]);
    assert!(said.starts_with("barred person-"), "{said}");
    // the server looks once a second
    std::thread::sleep(Duration::from_millis(1500));
    let answer = read_answer(&mut stream);
    assert_eq!(answer.status, 200);
    assert!(!answer.whole && !answer.headers.contains_key("x-proofroom-status"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("[DONE]"));
    let refused = gateway.chat(&world.token("ada", 1), "Say hello");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "person-barred")
    );
    assert_eq!(world.person(&["list"]).lines().count(), 1);
    let said = world.person(&["unbar", "--issuer", &url, "--subject", "ada"]);
    assert!(said.starts_with("let in again: person-"), "{said}");
    assert_eq!(gateway.chat(&token, "Say hello").status, 200);
    assert!(gateway.stop().success());
    let statuses: Vec<_> = world
        .files
        .runs()
        .iter()
        .map(|run| run["status"].clone())
        .collect();
    assert_eq!(statuses, ["cancelled", "complete"]);
}
