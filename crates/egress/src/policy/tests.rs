//! Policies: what is refused when a file is loaded, what is decided by one, and the profiles.

use super::{EgressPolicy, Mode};
use crate::{
    DEFAULT_EGRESS,
    decide::{Denial, Way},
    profile,
    target::{Endpoint, Target},
};

const HEAD: &str = "version = 1\nprofiles = []\n[caps]\nrequests_per_minute = 60\nsent_per_minute = 1\nreceived_per_minute = 1\nsent = 1\nreceived = 1\n";
const TUNNEL: &str = r#"
[[rule]]
name = "docs"
hosts = ["docs.example.com"]
ports = [443, 8443]
mode = "tls-passthrough"
match = ["CONNECT docs.example.com:443"]
not_match = ["CONNECT docs.example.com:80"]
"#;
const API: &str = r#"
[[rule]]
name = "api"
hosts = ["api.example.com"]
ports = [443]
mode = "http"
methods = ["GET", "POST"]
paths = ["/v1/tickets/", "/health"]
match = ["GET https://api.example.com/v1/tickets/7"]
not_match = ["DELETE https://api.example.com/v1/tickets/7"]
"#;

fn policy(rules: &str) -> EgressPolicy {
    EgressPolicy::parse(&format!("{HEAD}{rules}")).unwrap()
}

fn problems(rules: &str) -> Vec<&'static str> {
    let found = EgressPolicy::parse(&format!("{HEAD}{rules}")).unwrap_err();
    found.iter().map(|problem| problem.code).collect()
}

fn request(policy: &EgressPolicy, method: &str, url: &str) -> Result<String, &'static str> {
    Target::of_url(url)
        .and_then(|target| policy.request(method, &target))
        .map(|rule| rule.name.clone())
        .map_err(|denial: Denial| denial.code())
}

fn connect(policy: &EgressPolicy, authority: &str) -> Result<&'static str, &'static str> {
    let way = Endpoint::of_connect(authority).and_then(|endpoint| {
        policy.connect(&endpoint).map(|way| match way {
            Way::Through(_) => "through",
            Way::Requests(_) => "requests",
        })
    });
    way.map_err(|denial| denial.code())
}

#[test]
fn the_default_policy_allows_nothing() {
    let policy = EgressPolicy::parse(DEFAULT_EGRESS).unwrap();
    assert!(policy.is_closed());
    assert_eq!(connect(&policy, "good.com:443"), Err("egress-host"));
    assert_eq!(
        request(&policy, "GET", "http://good.com/"),
        Err("egress-host")
    );
    assert_eq!(
        policy.digest(),
        proofroom_canonical::Digest::of(DEFAULT_EGRESS)
    );
}

#[test]
fn the_examples_in_the_default_file_are_rules_that_load() {
    let uncommented: String = DEFAULT_EGRESS
        .lines()
        .skip_while(|line| !line.starts_with("# [[rule]]"))
        .map(|line| {
            line.strip_prefix("# ")
                .or(line.strip_prefix('#'))
                .unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(policy(&uncommented).rules().len(), 2);
}

#[test]
fn a_rule_allows_what_it_says_and_nothing_beside_it() {
    let policy = policy(&format!("{TUNNEL}{API}"));
    assert_eq!(connect(&policy, "DOCS.example.com.:8443"), Ok("through"));
    assert_eq!(connect(&policy, "api.example.com:443"), Ok("requests"));
    assert_eq!(connect(&policy, "docs.example.com:22"), Err("egress-port"));
    assert_eq!(
        connect(&policy, "docs.example.com.evil.com:443"),
        Err("egress-host")
    );
    assert_eq!(connect(&policy, "example.com:443"), Err("egress-host"));
    assert_eq!(connect(&policy, "1.1.1.1:443"), Err("egress-ip-literal"));
    let api = |method: &str, rest: &str| {
        request(&policy, method, &format!("https://api.example.com{rest}"))
    };
    assert_eq!(api("POST", "/v1/tickets/7"), Ok("api".to_owned()));
    assert_eq!(api("GET", "/health"), Ok("api".to_owned()));
    assert_eq!(api("DELETE", "/health"), Err("egress-method"));
    assert_eq!(api("get", "/health"), Err("egress-method"));
    assert_eq!(api("GET", "/v1/users"), Err("egress-path"));
    assert_eq!(
        api("GET", "/v1/tickets/../users"),
        Err("egress-path-ambiguous")
    );
    assert_eq!(
        api("GET", "/v1/tickets/a%2fb"),
        Err("egress-path-ambiguous")
    );
    assert_eq!(api("GET", "/health?token=x"), Err("egress-query"));
    assert_eq!(api("GET", ":444/health"), Err("egress-port"));
    assert_eq!(
        request(&policy, "GET", "http://api.example.com/health"),
        Err("egress-port")
    );
    assert_eq!(
        request(&policy, "GET", "https://docs.example.com/x"),
        Err("egress-tunnel-only")
    );
}

#[test]
fn two_rules_about_one_endpoint_add_up_and_the_first_says_how() {
    let more = API
        .replace("\"api\"", "\"more\"")
        .replace("\"GET\", \"POST\"", "\"DELETE\"")
        .replace("not_match = [\"DELETE", "not_match = [\"PUT")
        .replace("match = [\"GET", "match = [\"DELETE");
    let policy = policy(&format!("{API}{more}"));
    assert_eq!(
        request(&policy, "DELETE", "https://api.example.com/v1/tickets/7"),
        Ok("more".to_owned())
    );
    let tunnel = TUNNEL
        .replace("docs.example.com", "api.example.com")
        .replace("\"docs\"", "\"tunnel\"");
    assert_eq!(
        problems(&format!("{tunnel}{API}")),
        ["example-fails"],
        "a tunnel hides the requests"
    );
}

#[test]
fn every_problem_of_a_file_is_named() {
    let with = |line: &str| problems(&format!("{API}{line}\n"));
    assert_eq!(with("colour = 1"), ["malformed"]);
    assert_eq!(
        with("credential = { header = \"authorization\", file = \"relative\" }"),
        ["credential"]
    );
    assert_eq!(
        with("credential = { header = \"host\", file = \"/k\" }"),
        ["credential"]
    );
    assert_eq!(
        with("headers = [\"x-auth-thing\", \"cookie\", \"host\", \"X-Upper\", \"x-fine\"]"),
        ["header"; 4]
    );
    assert_eq!(
        with("allow_addresses = [\"10.0.0.1/8\", \"169.254.0.0/16\", \"0.0.0.0/0\"]"),
        ["address-range", "address-never", "address-never"]
    );
    assert_eq!(with("ca_file = \"ca.pem\""), ["ca-file"]);
}

#[test]
fn a_rule_that_contradicts_itself_is_refused() {
    let wide = API.replace("\"api.example.com\"", "\"*.example.com\"");
    assert_eq!(
        problems(&format!(
            "{wide}credential = {{ header = \"authorization\", file = \"/k\" }}\n"
        )),
        ["credential-endpoint"]
    );
    assert_eq!(
        problems(&format!(
            "{API}scheme = \"http\"\ncredential = {{ header = \"authorization\", file = \"/k\" }}\n"
        )),
        ["credential-endpoint"]
    );
    assert_eq!(
        problems(&TUNNEL.replace("mode", "methods = [\"GET\"]\nqueries = \"allowed\"\nmode")),
        ["rule-keys", "rule-keys"]
    );
    assert_eq!(
        problems(&API.replace("\"/v1/tickets/\", \"/health\"", "\"/a/../b\", \"/a*\"")),
        ["path-pattern", "path-pattern"]
    );
    assert_eq!(
        problems(&API.replace("\"GET\", \"POST\"", "\"get\", \"CONNECT\"")),
        ["method", "method"]
    );
    assert_eq!(
        problems(&TUNNEL.replace("\"docs.example.com\"]", "\"*.com\", \"127.0.0.1\"]")),
        ["host-pattern", "host-pattern"]
    );
    assert_eq!(
        problems(&TUNNEL.replace("443, 8443", "0")),
        ["rule-endpoints"]
    );
    assert_eq!(problems(&format!("{TUNNEL}{TUNNEL}")), ["rule-name"]);
    assert_eq!(
        problems(&TUNNEL.replace(
            "CONNECT docs.example.com:443",
            "CONNECT docs.example.com:444"
        )),
        ["example-fails"]
    );
    assert_eq!(
        problems(&TUNNEL.replace(
            "CONNECT docs.example.com:80",
            "CONNECT docs.example.com:443"
        )),
        ["example-fails"]
    );
    assert_eq!(
        problems(&TUNNEL.replace("\"CONNECT docs.example.com:443\"", "")),
        ["example-missing"]
    );
}

#[test]
fn the_head_of_a_file_is_judged_with_its_rules() {
    let other = format!("{HEAD}{TUNNEL}")
        .replace("version = 1", "version = 2")
        .replace("sent = 1", "sent = 0")
        .replace("profiles = []", "profiles = [\"x\"]");
    let found: Vec<&str> = EgressPolicy::parse(&other)
        .unwrap_err()
        .iter()
        .map(|p| p.code)
        .collect();
    assert_eq!(found, ["version-unknown", "cap", "profile-unknown"]);
    assert_eq!(
        EgressPolicy::parse(&"#".repeat(300_000)).unwrap_err()[0].code,
        "too-long"
    );
}

fn all_profiles() -> EgressPolicy {
    let text = HEAD.replace(
        "profiles = []",
        &format!("profiles = {:?}", profile::names()),
    );
    EgressPolicy::parse(&text).unwrap()
}

#[test]
fn profiles_fetch_and_never_send() {
    let policy = all_profiles();
    for rule in policy.rules() {
        let Mode::Http {
            methods,
            credential,
            queries,
            ..
        } = &rule.mode
        else {
            panic!("{} is a tunnel", rule.name);
        };
        assert_eq!(methods, &["GET", "HEAD"], "{}", rule.name);
        assert!(credential.is_none() && rule.allow_addresses.is_empty());
        assert_eq!(*queries, super::Queries::Refused);
        assert!(rule.hosts.iter().all(|host| host.only().is_some()));
    }
}

#[test]
fn what_package_managers_fetch_is_allowed() {
    let policy = all_profiles();
    for url in [
        "https://index.crates.io/config.json",
        "https://index.crates.io/3/a/aes",
        "https://static.crates.io/crates/aes/0.8.4/download",
        "https://crates.io/api/v1/crates/aes/0.8.4/download",
        "https://pypi.org/simple/pip/",
        "https://files.pythonhosted.org/packages/8a/6a/19e9fe04fca059ccf770861c7d5721ab4c2aebc539889e97c7977528a53b/pip-24.0-py3-none-any.whl.metadata",
        "https://registry.npmjs.org/@types%2Fnode",
        "https://registry.npmjs.org/@types/node/-/node-22.0.0.tgz",
        "https://registry.npmjs.org/react",
        "http://deb.debian.org/debian/pool/main/g/g++/x_1%2b2_all.deb",
        "http://security.debian.org/debian-security/dists/trixie-security/InRelease",
    ] {
        assert!(
            request(&policy, "GET", url).is_ok(),
            "{url}: {:?}",
            request(&policy, "GET", url)
        );
        assert_eq!(request(&policy, "POST", url), Err("egress-method"), "{url}");
    }
}

#[test]
fn uploads_and_logins_are_refused() {
    let policy = all_profiles();
    for (method, url, code) in [
        (
            "PUT",
            "https://crates.io/api/v1/crates/new",
            "egress-method",
        ),
        ("GET", "https://crates.io/api/v1/me", "egress-path"),
        ("POST", "https://upload.pypi.org/legacy/", "egress-host"),
        ("PUT", "https://registry.npmjs.org/mine", "egress-method"),
        (
            "GET",
            "https://registry.npmjs.org/-/npm/v1/user",
            "egress-path",
        ),
        ("GET", "https://registry.npmjs.org/-/whoami", "egress-path"),
        (
            "POST",
            "https://registry.npmjs.org/-/npm/v1/security/advisories/bulk",
            "egress-method",
        ),
        (
            "GET",
            "https://registry.npmjs.org/react?secret=abc",
            "egress-query",
        ),
        ("PUT", "http://deb.debian.org/debian/x", "egress-method"),
        (
            "GET",
            "http://169.254.169.254/latest/meta-data/",
            "egress-ip-literal",
        ),
    ] {
        assert_eq!(request(&policy, method, url), Err(code), "{method} {url}");
    }
}
