//! Facts about `upstreams.toml`.

use std::{io, path::Path, sync::Arc, time::Duration};

use proofroom_canonical::Sensitive;

use super::{Control, DEFAULT_UPSTREAMS, FileStamp, SecretSource, UpstreamsConfig};

struct Secrets;

impl SecretSource for Secrets {
    fn file(&self, path: &Path) -> io::Result<Sensitive<String>> {
        match path.to_str() {
            Some("/good") => Ok(Sensitive::new("sk-canary\n".to_owned())),
            Some("/aws") => Ok(Sensitive::new(
                r#"{"Version":1,"AccessKeyId":"AKID","SecretAccessKey":"canary"}"#.to_owned(),
            )),
            Some("/two-lines") => Ok(Sensitive::new("sk-canary\nx\n".to_owned())),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn stamp(&self, _: &Path) -> io::Result<FileStamp> {
        Ok(FileStamp::default())
    }

    fn variable(&self, name: &str) -> Option<Sensitive<String>> {
        (name == "GOOD").then(|| Sensitive::new("sk-canary".to_owned()))
    }
}

fn upstream(changes: &[(&str, &str)]) -> String {
    let mut fields = vec![
        ("name", r#""a""#),
        ("tier", r#""standard""#),
        ("base_url", r#""https://api.example.com""#),
        ("apis", r#"["chat"]"#),
        ("models", r#"["m", "claude-*"]"#),
        (
            "key",
            r#"{ from = "file", path = "/good", header = "bearer" }"#,
        ),
        ("region", r#""eu""#),
        (
            "retention",
            r#"{ mode = "zero-retention-contract", contract = "c-1" }"#,
        ),
        ("source", r#""live""#),
        ("attestation", r#"{ kind = "none" }"#),
    ];
    for (key, value) in changes {
        fields.retain(|(name, _)| name != key);
        fields.push((key, value));
    }
    let mut text = "[[upstream]]\n".to_owned();
    for (key, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

#[test]
fn control_is_read_and_bounded() {
    let control = |table: &str| {
        let text = format!("{table}\n{}", upstream(&[]));
        let read = UpstreamsConfig::parse(&text, Arc::new(Secrets));
        read.map(|read| read.control)
            .map_err(|problems| problems[0].code)
    };
    let shipped = Control {
        attempts: 3,
        longest_wait: Duration::from_secs(10),
        rest_after: 5,
        rest: Duration::from_secs(30),
    };
    assert_eq!(control(""), Ok(Control::default()));
    assert_eq!(control("[control]"), Ok(shipped));
    let read = UpstreamsConfig::parse(DEFAULT_UPSTREAMS, Arc::new(Secrets)).unwrap();
    assert_eq!(read.control, shipped);
    for bad in [
        "attempts = 0",
        "attempts = 9",
        "longest_wait_seconds = 61",
        "rest_after = 1001",
        "rest_seconds = 0",
        "rest_seconds = 3601",
    ] {
        assert_eq!(
            control(&format!("[control]\n{bad}")),
            Err("upstreams-control"),
            "{bad}"
        );
    }
    assert_eq!(control("[control]\nretries = 1"), Err("upstreams-syntax"));
    assert_eq!(codes(&upstream(&[("weight", "1000")])), [""; 0]);
    for bad in ["0", "1001"] {
        assert_eq!(codes(&upstream(&[("weight", bad)])), ["upstream-weight"]);
    }
}

fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = rcgen::CertificateParams::new(vec!["ca.test".to_owned()]);
    names.unwrap().self_signed(&key).unwrap().pem()
}

fn codes(text: &str) -> Vec<&'static str> {
    match UpstreamsConfig::parse(text, Arc::new(Secrets)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|problem| problem.code).collect(),
    }
}

#[test]
fn the_default_file_loads() {
    assert_eq!(codes(DEFAULT_UPSTREAMS), Vec::<&str>::new());
}

#[test]
fn a_good_file_is_read_with_its_key() {
    let config = UpstreamsConfig::parse(&upstream(&[]), Arc::new(Secrets)).unwrap();
    let upstream = config.iter().next().unwrap();
    assert_eq!(
        upstream.credential.header_now(),
        Some(("authorization".to_owned(), "Bearer sk-canary".to_owned()))
    );
    assert!(!format!("{config:?}").contains("canary"));
    assert_eq!(upstream.served("claude-x"), Some("claude-x"));
    assert_eq!(upstream.served("gpt"), None);
    assert_eq!(upstream.listed_models().collect::<Vec<_>>(), ["m"]);
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[test]
fn each_mistake_has_its_code() {
    let tee = r#"{ kind = "proofroom-upstream", appraisal_policy = "a.toml" }"#;
    let pem = certificate();
    let authority = format!("\"\"\"\n{pem}\"\"\"");
    let seventeen = format!("\"\"\"\n{}\"\"\"", pem.repeat(17));
    let broken = authority.replacen("MII", "AAA", 1);
    let azure = r#"{ form = "azure-deployments", api_version = "2024-10-21" }"#;
    let bedrock = r#"{ form = "bedrock" }"#;
    let at_bedrock = |changes: &[(&'static str, &'static str)]| {
        let mut all = vec![
            ("paths", bedrock),
            (
                "base_url",
                r#""https://bedrock-runtime.eu-central-1.amazonaws.com""#,
            ),
            ("apis", r#"["messages"]"#),
            ("models", r#"["anthropic.claude-x"]"#),
            ("region", r#""eu-central-1""#),
            (
                "key",
                r#"{ from = "aws", path = "/aws", region = "eu-central-1" }"#,
            ),
        ];
        all.extend_from_slice(changes);
        all
    };
    for (changes, wanted) in [
        (vec![("paths", r#"{ form = "bare" }"#)], vec![]),
        (vec![("paths", azure)], vec![]),
        (
            vec![("paths", azure), ("apis", r#"["messages"]"#)],
            vec!["paths-apis"],
        ),
        (
            vec![(
                "paths",
                r#"{ form = "azure-deployments", api_version = "1&x=y" }"#,
            )],
            vec!["paths-api-version"],
        ),
        (
            vec![("paths", r#"{ form = "azure-deployments" }"#)],
            vec!["upstream-shape"],
        ),
        (
            vec![("paths", r#"{ form = "v2" }"#)],
            vec!["upstream-shape"],
        ),
        (vec![("paths", bedrock)], vec!["paths-apis"]),
        (at_bedrock(&[]), vec![]),
        (at_bedrock(&[("region", r#""eu""#)]), vec![]),
        (
            at_bedrock(&[("region", r#""eu-west-1""#)]),
            vec!["upstream-region-other"],
        ),
        (
            at_bedrock(&[("models", r#"["eu.anthropic.claude-x"]"#)]),
            vec!["upstream-region-other"],
        ),
        (
            at_bedrock(&[("models", r#"["claude-*"]"#)]),
            vec!["bedrock-model-open"],
        ),
        (
            at_bedrock(&[(
                "key",
                r#"{ from = "aws", path = "/aws", region = "us-east-1" }"#,
            )]),
            vec!["key-region"],
        ),
        (
            at_bedrock(&[(
                "key",
                r#"{ from = "aws", path = "/aws", region = "Frankfurt" }"#,
            )]),
            vec!["key-region"],
        ),
        (
            at_bedrock(&[(
                "key",
                r#"{ from = "aws", path = "/good", region = "eu-central-1" }"#,
            )]),
            vec!["key-form"],
        ),
        (
            at_bedrock(&[(
                "key",
                r#"{ from = "aws", path = "/gone", region = "eu-central-1" }"#,
            )]),
            vec!["key-unreadable"],
        ),
        (
            at_bedrock(&[(
                "key",
                r#"{ from = "file", path = "/good", header = "bearer" }"#,
            )]),
            vec![],
        ),
        (at_bedrock(&[("attestation", tee)]), vec!["key-attested"]),
        (
            at_bedrock(&[("paths", ""), ("apis", r#"["chat"]"#)]),
            vec![],
        ),
        (vec![("nmae", r#""x""#)], vec!["upstream-shape"]),
        (vec![("region", "")], vec!["upstream-shape"]),
        (vec![("name", r#""A b""#)], vec!["upstream-name-form"]),
        (vec![("apis", "[]")], vec!["upstream-apis-empty"]),
        (vec![("apis", r#"["smtp"]"#)], vec!["upstream-shape"]),
        (vec![("models", "[]")], vec!["upstream-models-empty"]),
        (vec![("models", r#"["[a"]"#)], vec!["upstream-model-glob"]),
        (
            vec![("aliases", r#"{ x = "m*" }"#)],
            vec!["upstream-alias-form"],
        ),
        (vec![("certificate_authorities", &authority)], vec![]),
        (
            vec![("certificate_authorities", &seventeen)],
            vec!["authorities-malformed"],
        ),
        (
            vec![("certificate_authorities", "\"\"")],
            vec!["authorities-malformed"],
        ),
        (
            vec![("certificate_authorities", "\"\"\"\nMII")],
            vec!["upstreams-syntax"],
        ),
        (
            vec![("certificate_authorities", &broken)],
            vec!["authorities-malformed"],
        ),
        (
            vec![
                ("certificate_authorities", &authority),
                ("base_url", r#""http://[::1]:1""#),
            ],
            vec!["authorities-unused"],
        ),
        (
            vec![
                ("certificate_authorities", &authority),
                ("attestation", tee),
            ],
            vec!["authorities-unused"],
        ),
        (vec![("tier", r#""tee""#)], vec!["tee-without-attestation"]),
        (
            vec![
                ("tier", r#""tee""#),
                ("attestation", tee),
                ("base_url", r#""http://[::1]:1""#),
            ],
            vec!["attestation-over-plain-http"],
        ),
        (
            vec![("base_url", r#""http://10.0.0.1""#)],
            vec!["plain-http", "key-over-plain-http"],
        ),
        (
            vec![
                ("base_url", r#""http://127.0.0.1.example.com""#),
                ("key", r#"{ from = "none" }"#),
            ],
            vec!["plain-http"],
        ),
        (
            vec![("base_url", r#""https://u:p@h""#)],
            vec!["base-url-form"],
        ),
        (
            vec![("base_url", r#""https://h/v1""#)],
            vec!["base-url-form"],
        ),
        (vec![("base_url", r#""ftp://h""#)], vec!["base-url-form"]),
        (
            vec![("retention", r#"{ mode = "zero-retention-contract" }"#)],
            vec!["contract-missing", "retention-without-contract"],
        ),
        (
            vec![(
                "key",
                r#"{ from = "file", path = "/gone", header = "bearer" }"#,
            )],
            vec!["key-unreadable"],
        ),
        (
            vec![(
                "key",
                r#"{ from = "env", name = "NONE", header = "x-api-key" }"#,
            )],
            vec!["key-unreadable"],
        ),
        (
            vec![(
                "key",
                r#"{ from = "file", path = "/two-lines", header = "bearer" }"#,
            )],
            vec!["key-form"],
        ),
    ] {
        assert_eq!(codes(&upstream(&changes)), wanted, "{changes:?}");
    }
}

#[test]
fn http_to_loopback_is_accepted() {
    for url in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
        let quoted = format!("\"{url}\"");
        assert_eq!(
            codes(&upstream(&[("base_url", &quoted)])),
            Vec::<&str>::new()
        );
    }
}

#[test]
fn all_problems_of_all_upstreams_come_at_once() {
    let text = upstream(&[("tier", r#""tee""#)])
        + &upstream(&[("nmae", "1")])
        + &upstream(&[("name", r#""b""#), ("region", r#""""#)]);
    assert_eq!(
        codes(&text),
        [
            "tee-without-attestation",
            "upstream-shape",
            "upstream-region-empty"
        ]
    );
    assert_eq!(
        codes(&(upstream(&[]) + &upstream(&[]))),
        ["upstream-name-twice"]
    );
    assert_eq!(codes("upstream = []"), ["upstreams-empty"]);
    assert_eq!(codes("x = ["), ["upstreams-syntax"]);
}

#[test]
fn no_problem_repeats_a_key() {
    let text = upstream(&[(
        "key",
        r#"{ from = "file", path = "/two-lines", header = "bearer" }"#,
    )]);
    let problems = UpstreamsConfig::parse(&text, Arc::new(Secrets)).unwrap_err();
    assert!(
        problems
            .iter()
            .all(|problem| !problem.to_string().contains("canary"))
    );
}
