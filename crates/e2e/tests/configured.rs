//! What `room.toml` and `--upstream` say reaches the session: loopback, limits, the audit of opened
//! files, and the model of a server that was only named by its address.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    thread,
};

use proofroom_e2e::{Bundle, Deployment, Upstream, program, repository_root};
use serde_json::Value;

fn cassette(name: &str) -> PathBuf {
    repository_root()
        .join("crates/testkit/cassettes")
        .join(name)
}

/// Changes lines of the deployment's `room.toml`.
fn configure(deployment: &Deployment, edits: &[(&str, &str)]) {
    let path = deployment.policy().join("room.toml");
    let mut text = fs::read_to_string(&path).expect("room.toml");
    for (from, to) in edits {
        assert!(text.contains(from), "room.toml has no `{from}`");
        text = text.replacen(from, to, 1);
    }
    fs::write(&path, text).expect("room.toml");
}

/// Runs a Python program in a room; what it printed comes from the delivered branch.
fn python_in_a_room(deployment: &Deployment, script: &str) -> (Bundle, String) {
    let repository = deployment.repository("configured", &[("script.py", script)]);
    let argv = ["sh", "-c", "python3 script.py > printed 2>&1"];
    let bundle = deployment.session(&repository).command(&argv).run();
    assert_eq!(bundle.code, Some(0), "{bundle:#?}");
    bundle.assert_accepted();
    let record = bundle.session_record();
    let reference = record["predicate"]["result"]["reference"].as_str();
    let reference = reference.expect("a branch");
    let printed = proofroom_e2e::git(&repository, &["show", &format!("{reference}:printed")]);
    (bundle, printed)
}

fn blocked(bundle: &Bundle) -> Vec<Value> {
    let events = bundle.events().into_iter();
    let observations = events.map(|event| event["body"]["observation"].clone());
    observations
        .filter(|seen| seen["kind"] == "blocked")
        .collect()
}

const SERVER: &str = r#"
import http.server, threading, urllib.request
http.server.SimpleHTTPRequestHandler.log_message = lambda *_: None
try:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/script.py"
    print("served", len(urllib.request.urlopen(url, timeout=10).read()) > 0)
    everywhere = http.server.HTTPServer(("", 0), http.server.SimpleHTTPRequestHandler)
    print("bound everywhere")
except OSError as error:
    print("refused", type(error).__name__)
import socket
try:
    socket.create_connection(("1.1.1.1", 80), timeout=5)
    print("outside reached")
except OSError as error:
    print("outside", type(error).__name__)
"#;

#[test]
fn test_servers_serve_on_the_rooms_own_loopback() {
    let deployment = Deployment::with_cassette(&cassette("hello.json"));
    let edit = ("loopback = \"channel-only\"", "loopback = \"test-servers\"");
    configure(&deployment, &[edit]);
    let (bundle, printed) = python_in_a_room(&deployment, SERVER);
    assert_eq!(printed, "served True\nbound everywhere\noutside OSError");
    let blocked = blocked(&bundle);
    assert_eq!(blocked.len(), 1, "{blocked:#?}");
    assert_eq!(blocked[0]["attempt"]["target"], "ip 1.1.1.1:80");
}

#[test]
fn without_test_servers_a_bind_is_refused_and_is_an_event() {
    let deployment = Deployment::with_cassette(&cassette("hello.json"));
    let (bundle, printed) = python_in_a_room(&deployment, SERVER);
    assert_eq!(printed, "refused PermissionError\noutside OSError");
    let blocked = blocked(&bundle);
    let targets: Vec<_> = blocked
        .iter()
        .map(|one| &one["attempt"]["target"])
        .collect();
    assert_eq!(targets, ["bind ip 127.0.0.1:0", "ip 1.1.1.1:80"]);
}

#[test]
fn limits_and_the_audit_of_opens_are_the_files() {
    let deployment = Deployment::with_cassette(&cassette("hello.json"));
    let edits = [
        ("processes = 512", "processes = 24"),
        ("open_files = 4096", "open_files = 77"),
        ("file_bytes = 2147483648", "file_bytes = 12345"),
        ("file_audit = \"every-open\"", "file_audit = \"writes\""),
    ];
    configure(&deployment, &edits);
    let script = "import resource as r
for name in ('NPROC', 'NOFILE', 'FSIZE'):
    print(name, *r.getrlimit(getattr(r, 'RLIMIT_' + name)))
print('CORE', r.getrlimit(r.RLIMIT_CORE)[0] < 2)
try:
    open('/etc/shadow')
except OSError as error:
    print(type(error).__name__)
";
    let (bundle, printed) = python_in_a_room(&deployment, script);
    let wanted = "NPROC 24 24\nNOFILE 77 77\nFSIZE 12345 12345\nCORE True\nFileNotFoundError";
    assert_eq!(printed, wanted);
    // opens for reading are not looked at, so this one is no event; there is no such file anyway
    assert!(blocked(&bundle).is_empty(), "{bundle:#?}");
}

/// A server in front of a cassette that says which models there are.
fn server_with(models: &'static str, behind: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            let behind = behind.clone();
            thread::spawn(move || answer(client, models, &behind));
        }
    });
    address
}

fn answer(mut client: TcpStream, models: &str, behind: &str) {
    let mut head = vec![0; 64 * 1024];
    let count = client.read(&mut head).unwrap_or(0);
    head.truncate(count);
    if head.starts_with(b"GET /v1/models ") {
        let length = models.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{models}"
        );
        drop(client.write_all(answer.as_bytes()));
        return;
    }
    let Ok(mut upstream) = TcpStream::connect(behind) else {
        return;
    };
    drop(upstream.write_all(&head));
    let (Ok(mut from), Ok(mut to)) = (client.try_clone(), upstream.try_clone()) else {
        return;
    };
    let up = thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
    drop(std::io::copy(&mut upstream, &mut client));
    drop(client.shutdown(Shutdown::Both));
    drop(up.join());
}

/// A session whose only configuration of models is an address.
fn with_upstream(
    deployment: &Deployment,
    url: &str,
    more: &[&str],
) -> (std::process::Output, Bundle) {
    let repository = deployment.demo_repository();
    let out = deployment.path().join("out.proofroom");
    let output = Command::new(program("proofroom"))
        .args(["run", "--json", "--task", "Fix the tests.", "--repo"])
        .arg(&repository)
        .arg("--state")
        .arg(deployment.state())
        .arg("--out")
        .arg(&out)
        .args(["--upstream", url])
        .args(more)
        .output()
        .expect("proofroom starts");
    let bundle = Bundle {
        code: output.status.code(),
        lines: Vec::new(),
        complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
        path: out,
    };
    (output, bundle)
}

#[test]
fn the_only_model_of_a_named_server_is_taken_and_its_answers_count_as_live() {
    let upstream = Upstream::start(&cassette("repair.json"), &[]);
    let one = r#"{"object":"list","data":[{"id":"cassette-standard","object":"model"}]}"#;
    let address = server_with(one, upstream.address.clone());
    let deployment = Deployment::empty();
    let (_, bundle) = with_upstream(&deployment, &format!("http://{address}/v1"), &[]);
    assert_eq!(bundle.code, Some(0), "{}", bundle.complaint);
    bundle.assert_accepted();
    let runs = bundle.model_runs();
    assert_eq!(runs.len(), 6);
    for run in runs {
        assert_eq!(run["request"]["model"], "cassette-standard", "{run:#}");
        // whoever names a server says that its answers are a model's
        assert_eq!(run["upstream"]["source"], "live", "{run:#}");
        assert_eq!(run["routing"]["tier"], "standard", "{run:#}");
    }
}

#[test]
fn a_named_server_with_several_models_or_none_is_asked_about() {
    let upstream = Upstream::start(&cassette("repair.json"), &[]);
    let deployment = Deployment::empty();
    let (_, several) = with_upstream(&deployment, &format!("http://{}", upstream.address), &[]);
    assert_eq!(several.code, Some(64));
    assert!(
        several.complaint.contains("several models"),
        "{}",
        several.complaint
    );
    assert!(
        several
            .complaint
            .contains("cassette-standard, cassette-tee"),
        "{}",
        several.complaint
    );
    let none = server_with(r#"{"object":"list","data":[]}"#, upstream.address.clone());
    let deployment = Deployment::empty();
    let (_, none) = with_upstream(&deployment, &format!("http://{none}/v1"), &[]);
    assert_eq!(none.code, Some(64));
    assert!(
        none.complaint.contains("serves no model"),
        "{}",
        none.complaint
    );
    let deployment = Deployment::empty();
    let (_, absent) = with_upstream(&deployment, "http://127.0.0.1:9", &[]);
    assert_eq!(absent.code, Some(64));
    assert!(
        absent.complaint.contains("cannot be reached"),
        "{}",
        absent.complaint
    );
    assert!(!absent.path.exists(), "no session took place");
}
