//! Sessions of attackers, and what can be asked of them afterwards.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use proofroom_e2e::{Bundle, Deployment, Session, repository_root};
use serde_json::Value;

/// What a provider's key looks like in these tests: the scripts know the pattern, not the key.
const PROVIDER_KEY: &str = "prk-live-5f0c2d9e8b7a41336c55d0e1f2a3b4c5";

/// One attacker's session, as far as tests ask. Its deployment is gone by then.
#[derive(Debug)]
pub(crate) struct Played {
    /// What the attacker said, line by line.
    pub(crate) attempts: Vec<Value>,
    /// The bundle's events.
    pub(crate) events: Vec<Value>,
    /// Exit code of the verifier, and what it said.
    verified: (i32, Value),
    session: String,
}

/// The text of a script beside the tests.
pub(crate) fn script(name: &str) -> String {
    let path = repository_root()
        .join("crates/e2e/tests/attacks")
        .join(name);
    std::fs::read_to_string(path).expect("the script")
}

/// A deployment whose upstreams want the provider's key.
pub(crate) fn deployment(cassette: &Path) -> Deployment {
    let deployment = Deployment::with_cassette(cassette);
    let key = deployment.path().join("provider.key");
    std::fs::write(&key, PROVIDER_KEY).expect("key file");
    let file = deployment.policy().join("upstreams.toml");
    let text = std::fs::read_to_string(&file).expect("upstreams file");
    let with_key = format!(
        "key = {{ from = \"file\", path = \"{}\", header = \"bearer\" }}",
        key.display()
    );
    std::fs::write(&file, text.replace("key = { from = \"none\" }", &with_key)).expect("upstreams");
    deployment
}

/// The cassette that answers anything.
pub(crate) fn hello() -> PathBuf {
    repository_root().join("crates/testkit/cassettes/hello.json")
}

impl Played {
    /// Takes from a bundle what the tests ask for.
    pub(crate) fn of(bundle: &Bundle) -> Self {
        let mut said = String::new();
        for line in &bundle.lines {
            if line["type"] == "room" && line["kind"] == "stdout" {
                said.push_str(line["text"].as_str().expect("text"));
            }
        }
        assert!(
            bundle.path.exists(),
            "no bundle: {} {:#?}",
            bundle.complaint,
            bundle.lines
        );
        Self {
            attempts: lines(&said),
            events: bundle.events(),
            verified: bundle.verify(),
            session: format!("{:?} {} {:?}", bundle.code, bundle.complaint, bundle.lines),
        }
    }

    /// Fails unless the bundle is accepted and every attempt with this id was lost, at least
    /// `least` of them.
    pub(crate) fn all_lost(&self, id: &str, least: usize) {
        assert_eq!(self.verified.0, 0, "not accepted: {:#}", self.verified.1);
        let attempts = self.attempts.iter().filter(|one| one["id"] == id);
        let attempts: Vec<&Value> = attempts.collect();
        assert!(
            attempts.len() >= least,
            "{id}: {} attempts of {least}: {attempts:?}\n{}",
            attempts.len(),
            self.session
        );
        for one in attempts {
            assert_eq!(one["won"], false, "{one}");
        }
    }

    /// The bodies of events of one type.
    pub(crate) fn bodies(&self, kind: &str) -> impl Iterator<Item = &Value> {
        let kind = kind.to_owned();
        self.events
            .iter()
            .map(|event| &event["body"])
            .filter(move |body| body["type"] == *kind)
    }

    /// Observations of one kind.
    pub(crate) fn observed(&self, kind: &str) -> impl Iterator<Item = &Value> {
        let kind = kind.to_owned();
        self.bodies("observed")
            .map(|body| &body["observation"])
            .filter(move |seen| seen["kind"] == *kind)
    }

    /// Fails unless a blocked attempt on `on` is recorded whose `field` is `value`.
    pub(crate) fn blocked(&self, on: &str, field: &str, value: &str) {
        let attempts: Vec<&Value> = self.observed("blocked").map(|b| &b["attempt"]).collect();
        assert!(
            attempts.iter().any(|a| a["on"] == on && a[field] == value),
            "no event: {on} {field} `{value}` among {attempts:#?}"
        );
    }

    /// Fails unless a blocked attempt to open, change or make `path` is recorded.
    pub(crate) fn blocked_file(&self, path: &str, access: &str) {
        let attempts: Vec<&Value> = self.observed("blocked").map(|b| &b["attempt"]).collect();
        let there = |a: &&Value| a["on"] == "file" && a["path"] == path && a["access"] == access;
        assert!(
            attempts.iter().any(there),
            "no event: {access} `{path}` among {attempts:#?}"
        );
    }

    /// The outcomes with the status `denied` or `failed`: action kind, code and reason.
    pub(crate) fn refusals(&self) -> Vec<(Value, String, String)> {
        let mut found = Vec::new();
        for body in self.bodies("outcome") {
            let result = &body["result"];
            if result["status"] == "denied" || result["status"] == "failed" {
                let of = body["of"].as_u64().expect("a number");
                let intent = self.events.iter().find(|event| event["seq"] == of);
                let text = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
                found.push((
                    intent.expect("an intent")["body"]["action"].clone(),
                    text("code"),
                    text("reason"),
                ));
            }
        }
        found
    }

    /// Programs that were started, by path.
    pub(crate) fn started(&self) -> Vec<&str> {
        self.observed("process-started")
            .filter_map(|seen| seen["path"].as_str())
            .collect()
    }
}

/// The JSON lines of a text.
pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// One group of `room.py`, run once for all tests that ask for it.
pub(crate) fn room(group: &'static str) -> &'static Played {
    static FILES: OnceLock<Played> = OnceLock::new();
    static PROCESSES: OnceLock<Played> = OnceLock::new();
    static CLAUSES: OnceLock<Played> = OnceLock::new();
    let kept = match group {
        "files" => &FILES,
        "processes" => &PROCESSES,
        _ => &CLAUSES,
    };
    kept.get_or_init(|| {
        let deployment = deployment(&hello());
        let repository = deployment.repository("attacked", &[("room.py", &script("room.py"))]);
        let session: Session = deployment.session(&repository);
        Played::of(&session.command(&["python3", "room.py", group]).run())
    })
}
