//! The file as it is written, and what becomes of it.

use std::path::PathBuf;

use proofroom_canonical::Digest;
use serde::Deserialize;

use super::{
    Credential, EgressPolicy, EncodedSlashes, Mode, PolicyProblem, Queries, Rule, Scheme, examples,
    problem,
};
use crate::{address::Network, host::HostPattern, meter::Caps, path::PathPattern, profile};

/// The most rules that a file may have.
const MAX_RULES: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    version: u32,
    profiles: Vec<String>,
    caps: Caps,
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawMode {
    TlsPassthrough,
    Http,
}

/// A rule as the file has it; a profile's rules are written in the same way.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRule {
    pub(crate) name: String,
    hosts: Vec<String>,
    ports: Vec<u16>,
    mode: RawMode,
    scheme: Option<Scheme>,
    methods: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    queries: Option<Queries>,
    encoded_slashes: Option<EncodedSlashes>,
    headers: Option<Vec<String>>,
    credential: Option<Credential>,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    allow_addresses: Vec<String>,
    #[serde(rename = "match")]
    pub(crate) matching: Vec<String>,
    pub(crate) not_match: Vec<String>,
}

pub(super) fn read(text: &str, digest: Digest) -> Result<EgressPolicy, Vec<PolicyProblem>> {
    let raw: RawPolicy = toml::from_str(text).map_err(|error| {
        let words = error.to_string().trim().replace('\n', " ");
        vec![problem("malformed", words)]
    })?;
    let mut problems = Vec::new();
    if raw.version != 1 {
        problems.push(problem("version-unknown", "`version` must be 1"));
    }
    if raw.rule.len() > MAX_RULES {
        let message = format!("there are more than {MAX_RULES} rules");
        problems.push(problem("too-many-rules", message));
    }
    for (name, cap) in raw.caps.named() {
        if cap == 0 {
            let message = format!("`caps.{name}` is 0; leave the rules out to allow nothing");
            problems.push(problem("cap", message));
        }
    }
    let mut written = raw.rule;
    for name in &raw.profiles {
        match profile::rules(name) {
            Ok(more) => written.extend(more),
            Err(found) => problems.push(found),
        }
    }
    let mut rules: Vec<Rule> = Vec::new();
    for rule in &written {
        if rules.iter().any(|earlier| earlier.name == rule.name) {
            let message = format!("two rules have the name `{}`", rule.name);
            problems.push(problem("rule-name", message));
        }
        rules.extend(read_rule(rule, &mut problems));
    }
    let policy = EgressPolicy {
        rules,
        caps: raw.caps,
        digest,
    };
    if problems.is_empty() {
        for rule in &written {
            examples::run(&policy, rule, &mut problems);
        }
    }
    if problems.is_empty() {
        return Ok(policy);
    }
    Err(problems)
}

/// The rule; none when something is wrong with it, which `problems` says then.
fn read_rule(raw: &RawRule, problems: &mut Vec<PolicyProblem>) -> Option<Rule> {
    let before = problems.len();
    let mut add = |code, words: String| {
        problems.push(problem(code, format!("rule `{}`: {words}", raw.name)));
    };
    let name_is_plain = raw
        .name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte));
    if raw.name.is_empty() || raw.name.len() > 60 || !name_is_plain {
        let words = "its name is not 1 to 60 letters, digits, `-`, `_`, `.`, `:`";
        add("rule-name", words.to_owned());
    }
    if raw.hosts.is_empty() || raw.ports.is_empty() || raw.ports.contains(&0) {
        add(
            "rule-endpoints",
            "it needs hosts and ports from 1 on".to_owned(),
        );
    }
    let mut hosts = Vec::new();
    for text in &raw.hosts {
        match HostPattern::parse(text) {
            Ok(pattern) => hosts.push(pattern),
            Err(error) => add(
                "host-pattern",
                format!("{error}; a wildcard is `*.` or `**.` before a name of two labels or more"),
            ),
        }
    }
    let mut allow_addresses = Vec::new();
    for text in &raw.allow_addresses {
        match Network::parse(text) {
            Some(network) if network.holds_metadata() => {
                let words = format!(
                    "`{text}` holds link-local or metadata addresses, which no rule can allow"
                );
                add("address-never", words);
            }
            Some(network) => allow_addresses.push(network),
            None => add(
                "address-range",
                format!("`{text}` is no network such as `10.1.0.0/16`"),
            ),
        }
    }
    if raw.matching.is_empty() {
        add("example-missing", "`match` has no example".to_owned());
    }
    let mode = match raw.mode {
        RawMode::TlsPassthrough => passthrough(raw, &mut add),
        RawMode::Http => http(raw, &hosts, &mut add),
    };
    (problems.len() == before).then_some(Rule {
        name: raw.name.clone(),
        hosts,
        ports: raw.ports.clone(),
        mode,
        allow_addresses,
    })
}

fn passthrough(raw: &RawRule, add: &mut impl FnMut(&'static str, String)) -> Mode {
    let keys = [
        ("scheme", raw.scheme.is_some()),
        ("methods", raw.methods.is_some()),
        ("paths", raw.paths.is_some()),
        ("queries", raw.queries.is_some()),
        ("encoded_slashes", raw.encoded_slashes.is_some()),
        ("headers", raw.headers.is_some()),
        ("credential", raw.credential.is_some()),
        ("ca_file", raw.ca_file.is_some()),
    ];
    for (key, _) in keys.iter().filter(|(_, there)| *there) {
        add(
            "rule-keys",
            format!("`{key}` needs the mode `http`: through TLS nobody sees it"),
        );
    }
    Mode::TlsPassthrough
}

fn http(raw: &RawRule, hosts: &[HostPattern], add: &mut impl FnMut(&'static str, String)) -> Mode {
    let scheme = raw.scheme.unwrap_or(Scheme::Https);
    let methods = raw.methods.clone().unwrap_or_default();
    for method in &methods {
        let token = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        if !token || method.len() > 20 || ["CONNECT", "TRACE"].contains(&method.as_str()) {
            add(
                "method",
                format!("`{method}` is no method that can be allowed"),
            );
        }
    }
    let mut paths = Vec::new();
    for text in raw.paths.iter().flatten() {
        match PathPattern::parse(text) {
            Ok(pattern) => paths.push(pattern),
            Err(error) => add("path-pattern", format!("`{text}`: {error}")),
        }
    }
    if methods.is_empty() || raw.paths.as_ref().is_none_or(Vec::is_empty) {
        add(
            "rule-keys",
            "the mode `http` needs `methods` and `paths`".to_owned(),
        );
    }
    for name in raw.headers.iter().flatten() {
        if !header_may_pass(name) {
            add(
                "header",
                format!("header `{name}` can carry a credential or steers the connection"),
            );
        }
    }
    judge_credential(raw, hosts, scheme, add);
    if raw
        .ca_file
        .as_ref()
        .is_some_and(|path| !path.is_absolute() || scheme != Scheme::Https)
    {
        add(
            "ca-file",
            "`ca_file` is an absolute path, for `https`".to_owned(),
        );
    }
    Mode::Http {
        scheme,
        methods,
        paths,
        queries: raw.queries.unwrap_or(Queries::Refused),
        encoded_slashes: raw.encoded_slashes.unwrap_or(EncodedSlashes::Refused),
        headers: raw.headers.clone().unwrap_or_default(),
        credential: raw.credential.clone(),
        ca_file: raw.ca_file.clone(),
    }
}

fn judge_credential(
    raw: &RawRule,
    hosts: &[HostPattern],
    scheme: Scheme,
    add: &mut impl FnMut(&'static str, String),
) {
    let Some(credential) = &raw.credential else {
        return;
    };
    let one = raw.ports.len() == 1 && matches!(hosts, [pattern] if pattern.only().is_some());
    if !one || scheme != Scheme::Https {
        let words = "a credential is for one host, one port, and `https`";
        add("credential-endpoint", words.to_owned());
    }
    let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    let well_formed = is_header_name(&credential.header)
        && !STEERING.contains(&credential.header.as_str())
        && credential.prefix.bytes().all(printable)
        && credential.file.is_absolute();
    if !well_formed {
        let words =
            "a credential has a lower-case `header`, a printable `prefix` and an absolute `file`";
        add("credential", words.to_owned());
    }
}

/// Headers that belong to the connection or say where a request goes.
const STEERING: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// What the name of a header with a credential in it looks like.
const SECRET: [&str; 8] = [
    "auth",
    "cookie",
    "credential",
    "key",
    "password",
    "proxy",
    "secret",
    "token",
];

fn header_may_pass(name: &str) -> bool {
    is_header_name(name)
        && !STEERING.contains(&name)
        && !name.starts_with("x-forwarded")
        && !SECRET.iter().any(|part| name.contains(part))
}

fn is_header_name(name: &str) -> bool {
    (1..=60).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
