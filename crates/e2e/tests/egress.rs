//! Egress: clients in a room against servers outside it, what the policy allows and every way around
//! it, each with its event, each in a bundle that is accepted.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
};

use proofroom_e2e::{Bundle, Deployment, Session, repository_root};
use serde_json::Value;

#[path = "egress/names.rs"]
mod names;

/// Servers outside.
struct Outside {
    child: Child,
    ports: Value,
    journal: PathBuf,
}

impl Outside {
    fn start(deployment: &Deployment) -> Self {
        let dir = deployment.path().to_owned();
        let authority = authority();
        fs::write(dir.join("ca.pem"), authority.ca).expect("ca");
        fs::write(dir.join("server.pem"), authority.certificate).expect("certificate");
        fs::write(dir.join("server.key"), authority.key).expect("key");
        let journal = dir.join("outside.jsonl");
        fs::write(&journal, "").expect("journal");
        let mut child = Command::new("python3")
            .arg(script("outside.py"))
            .args([
                dir.join("server.pem"),
                dir.join("server.key"),
                journal.clone(),
            ])
            .arg(named_address())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("the server says where it listens");
        Self {
            child,
            ports: serde_json::from_str(&line).expect("one JSON line"),
            journal,
        }
    }

    /// Where the servers are that are reached by name.
    fn named_address(&self) -> &str {
        self.ports["address"].as_str().expect("an address")
    }

    fn port(&self, name: &str) -> u64 {
        self.ports[name].as_u64().expect("a port")
    }

    /// Requests that arrived at one of the servers.
    fn requests(&self, name: &str) -> Vec<Value> {
        let port = self.port(name);
        let text = fs::read_to_string(&self.journal).expect("journal");
        let all = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        all.filter(|seen: &Value| seen["port"] == port).collect()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

struct Authority {
    ca: String,
    certificate: String,
    key: String,
}

fn authority() -> Authority {
    let ca_key = rcgen::KeyPair::generate().expect("key");
    let mut ca = rcgen::CertificateParams::new([]).expect("names");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "Outside CA");
    let certificate = ca.self_signed(&ca_key).expect("CA certificate");
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("key");
    let leaf =
        rcgen::CertificateParams::new(["localhost".to_owned(), "*.rooms.example".to_owned()])
            .expect("names")
            .signed_by(&key, &issuer)
            .expect("certificate");
    Authority {
        ca: certificate.pem(),
        certificate: leaf.pem(),
        key: key.serialize_pem(),
    }
}

/// A loopback address that no other test has, so that usual ports are free there.
fn named_address() -> String {
    static COUNT: AtomicU8 = AtomicU8::new(128);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    format!("127.{count}.{high}.{low}")
}

fn script(name: &str) -> PathBuf {
    repository_root().join("crates/e2e/tests/egress").join(name)
}

/// What happened in a room whose client took these steps.
struct Played {
    bundle: Bundle,
    said: Vec<Value>,
    complaints: String,
    events: Vec<Value>,
}

impl Played {
    fn steps(deployment: &Deployment, outside: &Outside, steps: &str) -> Self {
        Self::within(deployment, outside, steps, "600")
    }

    /// With the deployment's own names outside.
    fn with_hosts(deployment: &Deployment, outside: &Outside, steps: &str) -> Self {
        let hosts = deployment.path().join("hosts");
        Self::play(deployment, outside, steps, |session| session.hosts(&hosts))
    }

    fn within(deployment: &Deployment, outside: &Outside, steps: &str, seconds: &str) -> Self {
        let limit = ["--seconds", seconds];
        Self::play(deployment, outside, steps, |session| {
            session.arguments(&limit)
        })
    }

    fn play(
        deployment: &Deployment,
        outside: &Outside,
        steps: &str,
        prepare: impl FnOnce(Session) -> Session,
    ) -> Self {
        let text = |path: PathBuf| fs::read_to_string(path).expect("a file");
        let files = [
            ("inside.py", text(script("inside.py"))),
            ("steps.py", text(script(steps))),
            ("ca.pem", text(deployment.path().join("ca.pem"))),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (*a, b.as_str())).collect();
        let repository = deployment.repository("client", &files);
        let ports = outside.ports.to_string();
        let command = ["python3", "inside.py", &ports];
        let session = deployment.session(&repository);
        let bundle = prepare(session).command(&command).run();
        let text_of = |stream: &str| -> String {
            let lines = bundle.lines.iter();
            let told = lines.filter(|line| line["type"] == "room" && line["kind"] == *stream);
            told.map(|line| line["text"].as_str().expect("text"))
                .collect()
        };
        let (said, complaints) = (text_of("stdout"), text_of("stderr"));
        bundle.assert_accepted();
        Self {
            said: said
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
            complaints,
            events: bundle.events(),
            bundle,
        }
    }

    /// What the client said of one step.
    fn of(&self, name: &str) -> &Value {
        let found = self.said.iter().find(|said| said["name"] == name);
        found.unwrap_or_else(|| panic!("no `{name}`: {:#?} {}", self.said, self.complaints))
    }

    /// Egress actions with their outcomes, in order.
    fn attempts(&self) -> Vec<(&Value, &Value)> {
        let bodies: Vec<&Value> = self.events.iter().map(|event| &event["body"]).collect();
        let mut attempts = Vec::new();
        for (seq, body) in bodies.iter().enumerate() {
            if body["type"] == "intent" && body["action"]["kind"] == "egress" {
                let outcome = bodies
                    .iter()
                    .find(|other| other["type"] == "outcome" && other["of"] == seq)
                    .expect("an outcome");
                attempts.push((&body["action"], &outcome["result"]));
            }
        }
        attempts
    }

    /// Fails unless the client was refused with this code, and an event of this host says so.
    fn refused(&self, step: &str, host: &str, code: &str) {
        let said = self.of(step);
        assert_eq!(
            (&said["status"], &said["code"]),
            (&403.into(), &code.into()),
            "{said}"
        );
        let told = self.attempts().into_iter().any(|(action, result)| {
            action["host"] == host && result["status"] == "denied" && result["code"] == code
        });
        assert!(told, "{step}: no event: {:#?}", self.attempts());
    }
}

fn deployment(policy: impl FnOnce(&Outside, &Deployment) -> String) -> (Deployment, Outside) {
    let hello = repository_root().join("crates/testkit/cassettes/hello.json");
    let deployment = Deployment::with_cassette(&hello);
    let outside = Outside::start(&deployment);
    let file = deployment.policy().join("egress.toml");
    let default = fs::read_to_string(&file).expect("the default policy");
    let rules = policy(&outside, &deployment);
    fs::write(&file, format!("{default}\n{rules}")).expect("egress policy");
    (deployment, outside)
}

fn tunnels(outside: &Outside, _: &Deployment) -> String {
    let (through, private) = (outside.port("through"), outside.port("private"));
    format!(
        r#"
[[rule]]
name = "through"
hosts = ["localhost"]
ports = [{through}]
mode = "tls-passthrough"
allow_addresses = ["127.0.0.1/32", "::1/128"]
match = ["CONNECT localhost:{through}"]
not_match = ["CONNECT localhost:22", "CONNECT localhost.evil.example:{through}"]

[[rule]]
name = "private"
hosts = ["localhost"]
ports = [{private}]
mode = "tls-passthrough"
match = ["CONNECT localhost:{private}"]
not_match = []
"#
    )
}

#[test]
fn a_tunnel_goes_to_its_host_and_nowhere_else() {
    let (deployment, outside) = deployment(tunnels);
    let played = Played::steps(&deployment, &outside, "tunnels.py");
    let environment = played.of("environment");
    assert_eq!(environment["proxy"], "http://127.0.0.1:8377");
    assert_eq!(environment["no_proxy"], "127.0.0.1,localhost");
    assert_eq!(played.of("allowed")["ok"], true, "{:#?}", played.said);
    assert_eq!(played.of("allowed in capitals")["ok"], true);
    assert_eq!(outside.requests("through").len(), 2, "nothing else arrived");
    assert!(outside.requests("private").is_empty());
    for step in ["other sni", "without proxy"] {
        assert_eq!(played.of(step)["ok"], false, "{step}");
    }
    assert_eq!(played.of("not tls")["got"], 0);
    assert_eq!(played.of("nul")["status"], 400);
    let told = |code: &str| {
        let mut all = played.attempts().into_iter();
        all.any(|(_, result)| result["status"] == "denied" && result["code"] == code)
    };
    assert!(told("egress-sni-differs") && told("egress-not-tls"));
    played.refused("other host", "evil.example", "egress-host");
    played.refused("suffix", "localhost.evil.example", "egress-host");
    played.refused("other port", "localhost", "egress-port");
    let through = outside.port("through");
    for (step, host) in [
        ("raw ip", "127.0.0.1"),
        ("raw ip as a number", "2130706433"),
        ("raw ip in hex", "0x7f000001"),
        ("raw ip version 6", "[::1]"),
        ("raw ip mapped", "[::ffff:127.0.0.1]"),
    ] {
        played.refused(step, &format!("{host}:{through}"), "egress-ip-literal");
    }
    played.refused("metadata", "169.254.169.254:80", "egress-ip-literal");
    played.refused("private address by name", "localhost", "egress-address");
    played.refused(
        "user name",
        &format!("localhost@evil.example:{through}"),
        "egress-user-info",
    );
    let malformed = played.events.iter().any(|event| {
        event["body"]["observation"]["attempt"]["target"] == "malformed request to the proxy"
    });
    assert!(malformed, "the NUL left an event");
}

#[test]
fn what_went_out_is_in_the_record_with_its_rule_its_address_and_its_bytes() {
    let (deployment, outside) = deployment(tunnels);
    let played = Played::steps(&deployment, &outside, "tunnels.py");
    let (action, result) = played
        .attempts()
        .into_iter()
        .find(|(_, result)| result["status"] == "egress")
        .expect("one that went out");
    assert_eq!(
        (&action["host"], &action["method"]),
        (&"localhost".into(), &"CONNECT".into())
    );
    assert_eq!(
        (&result["rule"], &result["end"]),
        (&"through".into(), &"complete".into())
    );
    let connected = result["connected"].as_str().expect("an address");
    assert_eq!(connected, format!("127.0.0.1:{}", outside.port("through")));
    for count in ["sent", "received"] {
        assert!(
            result[count].as_u64().is_some_and(|bytes| bytes > 200),
            "{result}"
        );
    }
    let policy = played.bundle.files()["trust/policies/egress.toml"].clone();
    let own = fs::read(deployment.policy().join("egress.toml")).expect("the policy");
    assert_eq!(policy, own);
}

const CREDENTIAL: &str = "our-own-credential-0c7e";

fn requests(outside: &Outside, deployment: &Deployment) -> String {
    let (api, plain) = (outside.port("api"), outside.port("plain"));
    let key = deployment.path().join("api.key");
    fs::write(&key, format!("{CREDENTIAL}\n")).expect("key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("permissions");
    let (key, ca) = (key.display(), deployment.path().join("ca.pem"));
    let ca = ca.display();
    format!(
        r#"
[[rule]]
name = "api"
hosts = ["localhost"]
ports = [{api}]
mode = "http"
methods = ["GET", "POST"]
paths = ["/v1/tickets/"]
headers = ["x-wanted"]
credential = {{ header = "authorization", prefix = "Bearer ", file = "{key}" }}
ca_file = "{ca}"
allow_addresses = ["127.0.0.1/32", "::1/128"]
match = ["GET https://localhost:{api}/v1/tickets/7"]
not_match = ["DELETE https://localhost:{api}/v1/tickets/7"]

[[rule]]
name = "plain"
hosts = ["localhost"]
ports = [{plain}]
mode = "http"
scheme = "http"
methods = ["GET", "POST"]
paths = ["/files/"]
allow_addresses = ["127.0.0.1/32", "::1/128"]
match = ["GET http://localhost:{plain}/files/a"]
not_match = ["GET http://localhost:{plain}/other"]
"#
    )
}

#[test]
fn requests_are_made_anew_with_our_credential_and_none_of_the_callers() {
    let (deployment, outside) = deployment(requests);
    let played = Played::steps(&deployment, &outside, "requests.py");
    assert_eq!(played.of("environment")["same"], true);
    for step in ["allowed", "posted"] {
        assert_eq!(played.of(step)["status"], 200, "{:#?}", played.said);
    }
    assert_eq!(
        played.of("kept alive")["statuses"],
        serde_json::json!([200, 403, 200])
    );
    let arrived = outside.requests("api");
    let paths: Vec<&str> = arrived
        .iter()
        .map(|seen| seen["path"].as_str().expect("path"))
        .collect();
    assert_eq!(
        paths,
        [
            "/v1/tickets/7",
            "/v1/tickets/8",
            "/v1/tickets/9",
            "/v1/tickets/10",
            "/v1/tickets/curl"
        ]
    );
    assert_eq!(arrived[1]["body"], 400);
    for seen in &arrived {
        assert_eq!(
            seen["headers"]["authorization"],
            format!("Bearer {CREDENTIAL}")
        );
    }
    let headers = arrived[0]["headers"].as_object().expect("headers");
    let mut names: Vec<&str> = headers.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "accept-encoding",
            "authorization",
            "host",
            "user-agent",
            "x-wanted"
        ]
    );
    assert_eq!(headers["user-agent"], "proofroom-egress/0.1.0");
    let answered = played.of("allowed")["headers"].to_string();
    assert!(
        !answered.contains("set-cookie") && !answered.contains("alt-svc"),
        "{answered}"
    );
    for (name, bytes) in played.bundle.files() {
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains(CREDENTIAL) && !text.contains("stolen"),
            "{name}"
        );
    }
    let curl = played.of("curl");
    assert_eq!(
        (&curl["code"], &curl["bytes"]),
        (&0.into(), &19.into()),
        "{curl}"
    );
}

#[test]
fn requests_outside_a_rules_scope_are_refused_one_by_one() {
    let (deployment, outside) = deployment(requests);
    let played = Played::steps(&deployment, &outside, "requests.py");
    for (step, code) in [
        ("other method", "egress-method"),
        ("other path", "egress-path"),
        ("climbing", "egress-path-ambiguous"),
        ("climbing encoded", "egress-path-ambiguous"),
        ("double slash", "egress-path-ambiguous"),
        ("semicolon", "egress-path-ambiguous"),
        ("query", "egress-query"),
        ("other host header", "egress-host-differs"),
        ("plain elsewhere", "egress-path"),
        ("plain upload", "egress-method"),
        ("two hosts", "egress-host-differs"),
        ("differing host", "egress-host-differs"),
        ("tunnel to plain", "egress-requests-only"),
    ] {
        played.refused(step, "localhost", code);
    }
    assert_eq!(played.of("other sni")["got"], 0);
    let told = played
        .attempts()
        .into_iter()
        .any(|(_, result)| result["code"] == "egress-sni-differs");
    assert!(told, "{:#?}", played.attempts());
    assert_eq!(played.of("plain")["status"], 200);
    assert_eq!(played.of("curl in clear")["bytes"], 19);
    let plain = outside.requests("plain");
    assert_eq!(plain.len(), 2, "{plain:#?}");
    let (action, result) = played
        .attempts()
        .into_iter()
        .find(|(action, _)| action["path"] == "/v1/tickets/8")
        .expect("the post's event");
    assert_eq!(
        (&action["method"], &action["port"]),
        (&"POST".into(), &outside.port("api").into())
    );
    assert_eq!(
        (&result["http_status"], &result["received"]),
        (&200.into(), &19.into())
    );
    assert!(
        result["sent"]
            .as_u64()
            .is_some_and(|sent| (400..1000).contains(&sent)),
        "{result}"
    );
    let query = played
        .attempts()
        .into_iter()
        .find(|(action, _)| !action["query"].is_null());
    let digest = query.expect("an action with a query").0["query"]
        .as_str()
        .expect("a digest");
    assert!(digest.starts_with("sha256:"), "{digest}");
}

#[test]
fn over_a_cap_nothing_more_goes_out_or_comes_in() {
    let (deployment, outside) = deployment(|outside, deployment| {
        let mut rules = tunnels(outside, deployment);
        let plain = requests(outside, deployment);
        let plain = plain.split("\n\n").nth(1).expect("the second rule");
        rules.push_str(plain);
        rules
    });
    let file = deployment.policy().join("egress.toml");
    let text = fs::read_to_string(&file).expect("policy");
    let tight = text
        .replace(
            "received_per_minute = 1073741824",
            "received_per_minute = 100000",
        )
        .replace("sent_per_minute = 4194304", "sent_per_minute = 50000")
        .replace("requests_per_minute = 600", "requests_per_minute = 6");
    fs::write(&file, tight).expect("policy");
    let played = Played::steps(&deployment, &outside, "caps.py");
    let ends: Vec<String> = played
        .attempts()
        .into_iter()
        .filter(|(_, result)| result["status"] == "egress")
        .map(|(action, result)| format!("{} {}", action["method"], result["end"]))
        .collect();
    assert_eq!(
        ends[0],
        "\"CONNECT\" \"cut-at-cap\"",
        "{:#?}",
        played.attempts()
    );
    assert!(
        ends.contains(&"\"POST\" \"cut-at-cap\"".to_owned()),
        "{:#?}",
        played.attempts()
    );
    let received = played.attempts()[0].1["received"].as_u64().expect("bytes");
    assert!(received <= 100_000, "{received}");
    assert_eq!(
        played.of("many")["code"],
        "egress-cap",
        "{:#?}",
        played.said
    );
    assert!(
        outside
            .requests("plain")
            .iter()
            .all(|seen| seen["body"] != 100_000)
    );
}

#[test]
fn a_session_whose_broker_lacks_a_file_does_not_begin() {
    let (deployment, outside) = deployment(requests);
    let key = deployment.path().join("api.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("permissions");
    let repository = deployment.repository("empty", &[("a", "b")]);
    let refused = deployment.session(&repository).command(&["true"]).run();
    assert!(
        refused.complaint.contains("egress-credential-exposed"),
        "{refused:#?}"
    );
    fs::remove_file(&key).expect("key");
    let refused = deployment.session(&repository).command(&["true"]).run();
    assert!(
        refused.complaint.contains("egress-file-unreadable"),
        "{refused:#?}"
    );
    assert!(outside.requests("api").is_empty() && !refused.path.exists());
}

#[test]
fn an_access_policy_can_forbid_what_the_egress_policy_allows() {
    let (deployment, outside) = deployment(tunnels);
    let file = deployment.policy().join("access.cedar");
    let text = fs::read_to_string(&file).expect("access policy");
    let forbid = r#"
@id("stay-inside")
@reason("this deployment's agents stay inside")
forbid (principal, action == Action::"connect", resource == Host::"localhost");
//? deny connect localhost:443 by stay-inside
"#;
    fs::write(&file, format!("{text}{forbid}")).expect("access policy");
    let played = Played::steps(&deployment, &outside, "tunnels.py");
    assert_eq!(played.of("allowed")["status"], 403);
    assert!(outside.requests("through").is_empty());
    let told = played
        .attempts()
        .into_iter()
        .any(|(action, result)| action["host"] == "localhost" && result["code"] == "access-policy");
    assert!(told, "{:#?}", played.attempts());
}

#[test]
fn a_tunnel_that_is_open_when_the_session_ends_has_its_account() {
    let (deployment, outside) = deployment(tunnels);
    let played = Played::within(&deployment, &outside, "open.py", "8");
    assert_eq!(
        played.bundle.end(),
        Some("limit-reached"),
        "{}",
        played.complaints
    );
    let attempts = played.attempts();
    let [(action, result)] = attempts.as_slice() else {
        panic!("{attempts:#?}");
    };
    assert_eq!(
        (&action["method"], &result["status"]),
        (&"CONNECT".into(), &"egress".into())
    );
    assert!(
        result["received"].as_u64().is_some_and(|bytes| bytes > 200),
        "{result}"
    );
}
