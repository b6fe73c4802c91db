//! Egress: clients in a room against servers outside it, what the policy allows and every way around
//! it, each with its event, each in a bundle that is accepted.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use proofroom_e2e::{Bundle, Deployment, repository_root};
use serde_json::Value;

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
    let leaf = rcgen::CertificateParams::new(["localhost".to_owned()])
        .expect("names")
        .signed_by(&key, &issuer)
        .expect("certificate");
    Authority {
        ca: certificate.pem(),
        certificate: leaf.pem(),
        key: key.serialize_pem(),
    }
}

fn script(name: &str) -> PathBuf {
    repository_root().join("crates/e2e/tests/egress").join(name)
}

/// What happened in a room whose client took these steps.
struct Played {
    bundle: Bundle,
    said: Vec<Value>,
    events: Vec<Value>,
}

impl Played {
    fn steps(deployment: &Deployment, outside: &Outside, steps: &str) -> Self {
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
        let bundle = deployment.session(&repository).command(&command).run();
        let said: String = bundle
            .lines
            .iter()
            .filter(|line| line["type"] == "room" && line["kind"] == "stdout")
            .map(|line| line["text"].as_str().expect("text"))
            .collect();
        bundle.assert_accepted();
        Self {
            said: said
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
            events: bundle.events(),
            bundle,
        }
    }

    /// What the client said of one step.
    fn of(&self, name: &str) -> &Value {
        let found = self.said.iter().find(|said| said["name"] == name);
        found.unwrap_or_else(|| panic!("no `{name}`: {:#?} {:#?}", self.said, self.bundle))
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
