//! `proofroom gateway proxy` between a client and a standalone gateway, each of them a process: proofs for keys that are
//! bound to their client, and nothing sent to a gateway that has not shown what it is.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use proofroom_e2e::{
    Deployment,
    gateway::{Answer, GatewayFiles, chat_body, predicate, read_answer, record_lines},
    program, repository_root, skip,
};
use proofroom_testkit::{
    tee::SimulatedTee,
    tls::TlsAuthority,
    tsm::{TsmDouble, TsmOptions, TsmProvider},
};
use serde_json::Value;

fn hello() -> PathBuf {
    repository_root().join("crates/testkit/cassettes/hello.json")
}

/// What a proxy is started with.
struct Inputs {
    dir: tempfile::TempDir,
    client_key: String,
    token: String,
}

impl Inputs {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
        Self {
            client_key: path("client.pem"),
            token: path("token"),
            dir,
        }
    }

    /// A key at the gateway that is bound to the client's, and in its file.
    fn bound_key(&self, files: &GatewayFiles) -> String {
        let done = proxy(&["--thumbprint", "--client-key", &self.client_key]).output();
        let thumbprint = String::from_utf8(done.expect("proofroom starts").stdout).expect("text");
        let key = files.key(&["--dpop", thumbprint.trim()]);
        write_secret(&self.token, &key);
        key
    }
}

/// `proofroom gateway proxy` with these options.
fn proxy(options: &[&str]) -> Command {
    let mut command = Command::new(program("proofroom"));
    command.args(["gateway", "proxy"]).args(options);
    command
}

/// A gateway has to know its own address, and its port is known when it listens.
fn free_port() -> SocketAddr {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    port.local_addr().expect("an address")
}

/// Lets the gateway listen there, under this address.
fn listen(files: &GatewayFiles, address: SocketAddr, url: &str, more: &str) {
    let text = fs::read_to_string(files.config()).expect("readable");
    let from = "address = \"127.0.0.1:0\"\n";
    assert!(text.contains(from), "{text}");
    let to = format!("address = \"{address}\"\nurls = [\"{url}\"]\n{more}");
    fs::write(files.config(), text.replacen(from, &to, 1)).expect("written");
}

/// A gateway without TLS, and its address.
fn without_tls(deployment: &Deployment) -> (GatewayFiles, String) {
    let files = GatewayFiles::new(deployment, "");
    let address = free_port();
    let url = format!("http://{address}");
    listen(&files, address, &url, "");
    (files, url)
}

/// A proxy that serves. It is killed with the value.
struct Proxy {
    child: Child,
    said: Value,
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
    fn start(command: &mut Command) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("proofroom starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("readable");
        let said: Value = serde_json::from_str(&line).expect("one line of JSON");
        let text = |name: &str| said[name].as_str().expect("text").to_owned();
        Self {
            address: text("listening").replace("http://", ""),
            key: text("key"),
            said,
            child,
        }
    }

    fn chat(&self, key: &str, stream: bool) -> Answer {
        let mut to = TcpStream::connect(&self.address).expect("a connection");
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

    /// Asks until the answer is `wanted`.
    fn chat_until(&self, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.chat(&self.key, false);
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < until, "{answer:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn a_bound_key_is_good_through_the_proxy_that_holds_the_clients_key_and_nowhere_else() {
    let deployment = Deployment::with_cassette(&hello());
    let (files, url) = without_tls(&deployment);
    let inputs = Inputs::new();
    let key = inputs.bound_key(&files);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(&inputs.client_key)
            .expect("a key")
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let start = |client_key: &str| {
        let options = [
            "--gateway",
            &url,
            "--client-key",
            client_key,
            "--token",
            &inputs.token,
        ];
        Proxy::start(&mut proxy(&options))
    };
    let gateway = files.start();
    let refused = gateway.chat(&key, "Say hello");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "key-bound-to-client")
    );
    assert!(refused.headers["www-authenticate"].starts_with("DPoP "));
    assert!(refused.headers.contains_key("dpop-nonce"));
    let proxy = start(&inputs.client_key);
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
    let other = inputs.dir.path().join("other.pem");
    let other = start(other.to_str().expect("text"));
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

/// Gateways of one deployment behind one address, with certificates of one authority.
struct Site {
    deployment: Deployment,
    authority: TlsAuthority,
    address: SocketAddr,
    inputs: Inputs,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            deployment: Deployment::with_cassette(&hello()),
            authority: TlsAuthority::new(),
            address: free_port(),
            inputs: Inputs::new(),
        };
        fs::write(site.file("authority.pem"), &site.authority.pem).expect("written");
        let text = proofroom_verifier::SIMULATED_UPSTREAM;
        fs::write(site.file("accepted.toml"), text).expect("written");
        let made = Command::new(program("proofroom-simulated-collateral"))
            .arg(site.file("collateral"))
            .status();
        assert!(made.expect("runs").success());
        site
    }

    fn file(&self, name: &str) -> PathBuf {
        self.deployment.path().join(name)
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// A gateway with a TLS key of its own, which looks for its machine's reports in this directory.
    fn gateway(&self, name: &str, reports: &Path) -> GatewayFiles {
        let more = format!("reports = \"{}\"", reports.display());
        let files = GatewayFiles::named(&self.deployment, name, &more);
        let identity = self.authority.certify();
        let place = |name: &str| files.config().with_file_name(name);
        fs::write(place("tls.pem"), identity.certificate).expect("written");
        fs::write(place("tls.key"), identity.key).expect("written");
        let tls = "tls = { certificate = \"tls.pem\", key = \"tls.key\", client_certificates = \"asked\" }\n";
        listen(&files, self.address, &self.url(), tls);
        files
    }

    /// A proxy that wants evidence which `policy` accepts.
    fn proxy(&self, policy: &str) -> Command {
        let inputs = &self.inputs;
        let mut command = proxy(&["--client-key", &inputs.client_key, "--token", &inputs.token]);
        command.args(["--gateway", &self.url()]);
        for (option, file) in [
            ("--authorities", "authority.pem"),
            ("--evidence-policy", policy),
            ("--collateral", "collateral"),
        ] {
            command.arg(option).arg(self.file(file));
        }
        command
    }

    /// A proxy that does not start.
    fn refused(&self, policy: &str) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = self.proxy(policy).output().expect("proofroom starts");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }
}

#[test]
fn nothing_is_sent_to_a_gateway_that_has_not_shown_what_it_is_nor_to_another_in_its_place() {
    let site = Site::new();
    let machine = site.file("machine");
    fs::create_dir(&machine).expect("directory");
    let options = TsmOptions {
        provider: TsmProvider::Tdx,
        ..TsmOptions::default()
    };
    let Ok(_machine) = TsmDouble::mount(&machine, SimulatedTee::demo(), options) else {
        return skip("a verified gateway", "FUSE cannot be mounted here");
    };
    let genuine = site.gateway("genuine", &machine.join("report"));
    let impostor = site.gateway("impostor", Path::new("none-such"));
    site.inputs.bound_key(&genuine);
    let gateway = genuine.start();

    let proxy = Proxy::start(&mut site.proxy("accepted.toml"));
    let shown = &proxy.said["gateway"];
    assert_eq!(shown["assurance"], "simulated", "{shown}");
    for member in ["evidence", "tls_key", "record_key", "verified_until"] {
        assert!(shown[member].is_string(), "{member}: {shown}");
    }
    let answer = proxy.chat(&proxy.key, true);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.whole && answer.headers["x-proofroom-status"] == "complete");

    // certified for the same name, at the same place, and no machine that shows anything
    assert!(gateway.stop().success());
    let other = impostor.start();
    let first = proxy.chat(&proxy.key, false);
    assert_eq!(first.code(), "proxy-gateway-unreachable", "{first:?}");
    let then = proxy.chat_until(|answer| answer.code() != "proxy-gateway-unreachable");
    assert_eq!(
        (then.status, then.code().as_str()),
        (502, "proxy-gateway-not-verified")
    );
    let (code, complaint) = site.refused("accepted.toml");
    assert_eq!(code, Some(20), "{complaint}");
    assert!(
        complaint.contains("gateway-without-evidence"),
        "{complaint}"
    );
    // it would have counted a request with a key that it does not know
    let metrics = other.operations("/metrics");
    let metrics = String::from_utf8(metrics.body).expect("text");
    assert!(
        metrics.contains("proofroom_gateway_sessions 0"),
        "{metrics}"
    );
    assert!(!metrics.contains("unauthenticated_total{"), "{metrics}");
    assert!(other.stop().success());

    // itself again
    let gateway = genuine.start();
    let answer = proxy.chat_until(|answer| answer.status == 200);
    assert!(answer.whole);
    let production = proofroom_verifier::PRODUCTION_UPSTREAM;
    fs::write(site.file("production.toml"), production).expect("written");
    let (code, complaint) = site.refused("production.toml");
    assert_eq!(code, Some(10), "{complaint}");
    assert!(
        complaint.contains("gateway-evidence-refused"),
        "{complaint}"
    );
    assert!(gateway.stop().success());
    assert_eq!(genuine.runs().len(), 2);
}

#[test]
fn a_gateway_that_is_to_show_evidence_needs_tls_to_bind_it_to() {
    let deployment = Deployment::with_cassette(&hello());
    let (files, url) = without_tls(&deployment);
    let inputs = Inputs::new();
    inputs.bound_key(&files);
    let gateway = files.start();
    let policy = deployment.path().join("accepted.toml");
    fs::write(&policy, proofroom_verifier::SIMULATED_UPSTREAM).expect("written");
    let options = [
        "--gateway",
        &url,
        "--client-key",
        &inputs.client_key,
        "--token",
        &inputs.token,
    ];
    let refused = proxy(&options)
        .arg("--evidence-policy")
        .arg(&policy)
        .arg("--collateral")
        .arg(deployment.path())
        .output()
        .expect("proofroom starts");
    let complaint = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(64), "{complaint}");
    assert!(
        complaint.contains("gateway-evidence-unbound"),
        "{complaint}"
    );
    assert!(gateway.stop().success());
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
