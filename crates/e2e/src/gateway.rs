//! A standalone gateway as a process, in a deployment of the tests, and requests to it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{Deployment, program};

/// A gateway's files; its process is another value.
#[derive(Debug)]
pub struct GatewayFiles {
    dir: PathBuf,
}

/// A gateway that serves. It is killed with the value.
#[derive(Debug)]
pub struct RunningGateway {
    child: Child,
    _out: BufReader<ChildStdout>,
    /// Host and port.
    pub address: String,
    /// Host and port of health and metrics.
    pub operations: String,
}

/// An answer, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers and trailers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub whole: bool,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of an error in either API's format.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn code(&self) -> String {
        let code = &self.json()["error"]["code"];
        code.as_str().expect("a code").to_owned()
    }
}

impl GatewayFiles {
    /// Files for a gateway with the policies and upstreams of `deployment`. `more` is added to its
    /// configuration.
    ///
    /// # Panics
    /// When they cannot be written.
    #[must_use]
    pub fn new(deployment: &Deployment, more: &str) -> Self {
        Self::named(deployment, "gateway", more)
    }

    /// As [`Self::new`], in a directory of this name, for a deployment with several gateways.
    ///
    /// # Panics
    /// When they cannot be written.
    #[must_use]
    pub fn named(deployment: &Deployment, name: &str, more: &str) -> Self {
        let dir = deployment.path().join(name);
        fs::create_dir_all(&dir).expect("directory");
        let files = Self { dir };
        files.configure(more);
        files
    }

    /// Writes the configuration anew.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, more: &str) {
        let text = format!(
            "version = 1\nstate = \"state\"\npolicy = \"../policy\"\n{more}\n\
             [listen]\naddress = \"127.0.0.1:0\"\noperations = \"127.0.0.1:0\"\n"
        );
        fs::write(self.config(), text).expect("configuration");
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("gateway.toml")
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What the gateway wrote to standard error.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("stderr")
    }

    /// Every model-run record in the state directory, oldest first.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn runs(&self) -> Vec<Value> {
        self.records("model-run")
    }

    /// Every record of this kind, oldest first.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn records(&self, kind: &str) -> Vec<Value> {
        let lines = record_lines(&self.state());
        let such = lines.iter().filter(|(of, ..)| of == kind);
        such.map(|(_, _, envelope)| predicate(envelope)).collect()
    }

    /// Every byte of the state directory and of standard error, for a search.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        let mut bytes = fs::read(self.log()).expect("readable");
        let mut folders = vec![self.state()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("readable") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    bytes.extend(fs::read(path).expect("readable"));
                }
            }
        }
        bytes
    }

    /// Makes a key with these options; returns the key.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn key(&self, options: &[&str]) -> String {
        let mut all = vec!["create", "--user", "ada", "--team", "core"];
        all.extend(options);
        self.key_command(&all)
    }

    /// Runs a command of `proofroom gateway` to its end.
    ///
    /// # Panics
    /// When the program does not start.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Output {
        Command::new(program("proofroom"))
            .arg("gateway")
            .args(words)
            .arg("--config")
            .arg(self.config())
            .output()
            .expect("proofroom starts")
    }

    /// Runs `proofroom gateway key`; returns what it said.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn key_command(&self, words: &[&str]) -> String {
        let done = self.command(&[&["key"], words].concat());
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8(done.stdout).expect("text");
        said.trim().to_owned()
    }

    /// Starts the gateway and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(&self) -> RunningGateway {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("log");
        let mut child = Command::new(program("proofroom"))
            .args(["gateway", "serve", "--config"])
            .arg(self.config())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("proofroom starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("readable");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let said = fs::read_to_string(self.log()).unwrap_or_default();
            panic!("the gateway does not start: {line}{said}")
        });
        let text = |name: &str| ready[name].as_str().expect("an address").to_owned();
        RunningGateway {
            address: text("listening"),
            operations: text("operations"),
            child,
            _out: out,
        }
    }
}

impl RunningGateway {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request with a key and reads the answer.
    ///
    /// # Panics
    /// When there is no connection.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, key: &str, body: &str) -> Answer {
        let mut stream = self.send(method, path, key, body);
        read_answer(&mut stream)
    }

    /// Asks the Chat Completions API of the standard cassette.
    ///
    /// # Panics
    /// When there is no connection.
    #[must_use]
    pub fn chat(&self, key: &str, prompt: &str) -> Answer {
        let body = chat_body(prompt, false);
        self.ask("POST", "/v1/chat/completions", key, &body)
    }

    /// Sends a request with a key, and reads nothing.
    ///
    /// # Panics
    /// When there is no connection.
    #[must_use]
    pub fn send(&self, method: &str, path: &str, key: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).expect("a timeout");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\nte: trailers\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("written");
        stream.write_all(body.as_bytes()).expect("written");
        stream
    }

    /// Asks for health or metrics.
    ///
    /// # Panics
    /// When there is no connection.
    #[must_use]
    pub fn operations(&self, path: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.operations).expect("a connection");
        let head = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("written");
        read_answer(&mut stream)
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn stop(mut self) -> ExitStatus {
        let asked = Command::new("kill").arg(self.pid().to_string()).status();
        assert!(asked.expect("kill").success());
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "it does not stop"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for RunningGateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A Chat Completions request to the standard cassette.
#[must_use]
pub fn chat_body(prompt: &str, stream: bool) -> String {
    let message = serde_json::json!({"role": "user", "content": prompt});
    serde_json::json!({"model": "cassette-standard", "stream": stream, "messages": [message]})
        .to_string()
}

/// Reads an answer to its end, or to where it breaks off.
///
/// # Panics
/// When it has no head.
#[must_use]
pub fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // a connection that is reset leaves what came before
    drop(stream.read_to_end(&mut bytes));
    let split = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no head: {}", String::from_utf8_lossy(&bytes)));
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut headers = BTreeMap::new();
    take_headers(lines, &mut headers);
    let rest = &bytes[split + 4..];
    let chunked = headers
        .get("transfer-encoding")
        .is_some_and(|encoding| encoding == "chunked");
    let (body, whole) = if chunked {
        dechunk(rest, &mut headers)
    } else {
        let length = headers.get("content-length").and_then(|n| n.parse().ok());
        (
            rest.to_vec(),
            length.is_none_or(|length: usize| length == rest.len()),
        )
    };
    Answer {
        status: status
            .and_then(|status| status.parse().ok())
            .expect("a status"),
        headers,
        body,
        whole,
    }
}

fn take_headers<'a>(lines: impl Iterator<Item = &'a str>, into: &mut BTreeMap<String, String>) {
    for line in lines {
        if let Some((name, value)) = line.split_once(':') {
            into.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
}

fn dechunk(mut rest: &[u8], trailers: &mut BTreeMap<String, String>) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&rest[..end]).ok();
        let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
            return (body, false);
        };
        rest = &rest[end + 2..];
        if size == 0 {
            let last = String::from_utf8_lossy(rest).into_owned();
            take_headers(last.lines(), trailers);
            return (body, true);
        }
        if rest.len() < size + 2 {
            return (body, false);
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

/// Every line of a gateway's record files: kind, session, body.
///
/// # Panics
/// When they cannot be read.
#[must_use]
pub fn record_lines(state: &Path) -> Vec<(String, String, Value)> {
    let mut lines = Vec::new();
    let mut files: Vec<_> = fs::read_dir(state.join("records"))
        .expect("record files")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    for file in files {
        for line in fs::read_to_string(file).expect("text").lines() {
            let mut parts = line.splitn(4, ' ');
            let mut word = || parts.next().expect("four parts").to_owned();
            let (kind, session, _, body) = (word(), word(), word(), word());
            let body = serde_json::from_str(&body).expect("JSON");
            lines.push((kind, session, body));
        }
    }
    lines
}

/// The predicate of a record's envelope.
///
/// # Panics
/// When it has none.
#[must_use]
pub fn predicate(envelope: &Value) -> Value {
    let payload = envelope["payload"].as_str().expect("a payload");
    let mut decode = Command::new("base64")
        .arg("-d")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("base64");
    let mut input = decode.stdin.take().expect("piped");
    input.write_all(payload.as_bytes()).expect("written");
    drop(input);
    let decoded = decode.wait_with_output().expect("decoded").stdout;
    let statement: Value = serde_json::from_slice(&decoded).expect("a statement");
    statement["predicate"].clone()
}
