//! People with tokens of an issuer and holders of bound keys, at the standalone gateway as a process.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use proofroom_e2e::{
    Deployment,
    gateway::{
        Answer, GatewayFiles, RunningGateway, chat_body, predicate, read_answer, record_lines,
    },
    program, repository_root,
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
        let url = &issuer.issuer.url;
        let people = format!(
            r#"
[[people.issuer]]
url = "{url}"
audience = "https://gateway.test"
algorithms = ["ES256"]
tokens = "at+jwt"
name = "email"
names = ["*@example.test"]
longest_life_minutes = 60
proof = "if-bound"
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

    fn runs(&self) -> Vec<Value> {
        record_lines(&self.files.state())
            .iter()
            .filter(|(kind, ..)| kind == "model-run")
            .map(|(_, _, envelope)| predicate(envelope))
            .collect()
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
    let runs = world.runs();
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
        .runs()
        .iter()
        .map(|run| run["status"].clone())
        .collect();
    assert_eq!(statuses, ["cancelled", "complete"]);
}

/// A proxy that serves. It is killed with the value.
struct Proxy {
    child: Child,
    address: String,
    key: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Proxy {
    fn start(gateway: &RunningGateway, client_key: &str, token: &str) -> Self {
        use std::io::BufRead as _;
        let mut child = Command::new(program("proofroom"))
            .args([
                "gateway",
                "proxy",
                "--client-key",
                client_key,
                "--token",
                token,
            ])
            .arg("--gateway")
            .arg(format!("http://{}", gateway.address))
            .stdout(Stdio::piped())
            .spawn()
            .expect("proofroom starts");
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("readable");
        let said: Value = serde_json::from_str(&line).expect("one line of JSON");
        let text = |name: &str| said[name].as_str().expect("text").to_owned();
        Self {
            address: text("listening").replace("http://", ""),
            key: text("key"),
            child,
        }
    }

    fn chat(&self, key: &str, stream: bool) -> Answer {
        use std::io::Write as _;
        let mut to = std::net::TcpStream::connect(&self.address).expect("a connection");
        to.set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a timeout");
        let body = chat_body("Say hello", stream);
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\nx-api-key: {key}\r\n\
             content-type: application/json\r\nte: trailers\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        to.write_all(head.as_bytes()).expect("written");
        read_answer(&mut to)
    }
}

#[test]
fn a_bound_key_is_good_through_the_proxy_that_holds_the_clients_key_and_nowhere_else() {
    // the port is known when the gateway listens, and it must know its own address
    let deployment = Deployment::with_cassette(&hello());
    let files = GatewayFiles::new(&deployment, "");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address");
    drop(port);
    let text = std::fs::read_to_string(files.config())
        .expect("readable")
        .replace(
            "address = \"127.0.0.1:0\"\n",
            &format!("address = \"{address}\"\nurls = [\"http://{address}\"]\n"),
        );
    std::fs::write(files.config(), text).expect("written");
    let inputs = tempfile::tempdir().expect("directory");
    let path = |name: &str| inputs.path().join(name).to_str().expect("text").to_owned();
    let (client_key, token_file) = (path("client.pem"), path("token"));
    let thumbprint = Command::new(program("proofroom"))
        .args([
            "gateway",
            "proxy",
            "--thumbprint",
            "--client-key",
            &client_key,
        ])
        .output()
        .expect("proofroom starts");
    let thumbprint = String::from_utf8(thumbprint.stdout).expect("text");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&client_key).expect("a key").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let key = files.key(&["--dpop", thumbprint.trim()]);
    write_secret(&token_file, &key);
    let gateway = files.start();
    let refused = gateway.chat(&key, "Say hello");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "key-bound-to-client")
    );
    assert!(refused.headers["www-authenticate"].starts_with("DPoP "));
    assert!(refused.headers.contains_key("dpop-nonce"));
    let proxy = Proxy::start(&gateway, &client_key, &token_file);
    let stranger = proxy.chat("guessed", false);
    assert_eq!(
        (stranger.status, stranger.code().as_str()),
        (401, "proxy-key")
    );
    for stream in [false, true, true] {
        let answer = proxy.chat(&proxy.key, stream);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.whole && answer.headers["x-proofroom-status"] == "complete");
        assert!(!answer.headers.contains_key("dpop-nonce"));
    }
    // a proxy with another key is nobody, and so is this one after a start of the gateway, once
    let other = Proxy::start(&gateway, &path("other.pem"), &token_file);
    assert_eq!(other.chat(&other.key, false).code(), "key-bound-to-client");
    assert!(gateway.stop().success());
    let gateway = files.start();
    let renewed = proxy.chat(&proxy.key, false);
    assert_eq!(
        (renewed.status, renewed.code().as_str()),
        (503, "proxy-nonce-renewed")
    );
    assert_eq!(proxy.chat(&proxy.key, false).status, 200);
    assert!(gateway.stop().success());
    let runs: Vec<Value> = record_lines(&files.state())
        .iter()
        .filter(|(kind, ..)| kind == "model-run")
        .map(|(_, _, envelope)| predicate(envelope))
        .collect();
    assert_eq!(runs.len(), 4);
    assert!(
        runs.iter()
            .all(|run| run["client"]["proof_key"].is_string()),
        "{runs:?}"
    );
}

fn write_secret(path: &str, text: &str) {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.expect("made")
        .write_all(text.as_bytes())
        .expect("written");
}
