//! The file, its default, and what refuses it.

use std::path::Path;

use proofroom_record::statement::LogMode;

use super::{Config, ConfigProblem, DEFAULT_CONFIG, Whose};

fn refused(text: &str) -> ConfigProblem {
    Config::parse(text, Path::new("/etc/gateway")).unwrap_err()
}

#[test]
fn the_default_file_is_read_and_its_paths_are_beside_it() {
    let config = Config::parse(DEFAULT_CONFIG, Path::new("/etc/gateway")).unwrap();
    assert!(config.address.ip().is_loopback());
    assert_eq!(config.state, Path::new("/etc/gateway/state"));
    assert_eq!(
        config.keys,
        Path::new("/etc/gateway/state/gateway-keys.json")
    );
    assert_eq!(config.caps, super::Caps::default());
    assert_eq!(config.log, LogMode::Strict);
}

#[test]
fn plain_http_is_for_loopback_alone() {
    let text = "version = 1\nstate = \"s\"\n[listen]\naddress = \"0.0.0.0:80\"\n";
    assert_eq!(refused(text).code(), "gateway-plain-to-network");
    let text = "version = 1\nstate = \"s\"\n[listen]\naddress = \"127.0.0.1:80\"\noperations = \"0.0.0.0:1\"\n";
    assert_eq!(refused(text).code(), "gateway-operations-to-network");
}

#[test]
fn what_is_not_known_refuses_the_file() {
    let good = "version = 1\nstate = \"s\"\n[listen]\naddress = \"127.0.0.1:80\"\n";
    for (more, code) in [
        ("colour = 1\n", "gateway-config-syntax"),
        ("[log]\nmode = \"lazy\"\n", "gateway-config-syntax"),
        ("[caps]\nheader_seconds = 0\n", "gateway-config-zero"),
        ("[caps]\nheader_second = 1\n", "gateway-config-syntax"),
        ("[[shared]]\nlimits = {}\n", "gateway-config-syntax"),
        (
            "[[shared]]\nuser = \"a\"\nteam = \"b\"\nlimits = {}\n",
            "gateway-config-syntax",
        ),
    ] {
        assert_eq!(refused(&format!("{good}{more}")).code(), code, "{more}");
    }
    assert_eq!(
        refused(&good.replace("= 1", "= 2")).code(),
        "gateway-config-version"
    );
    for end in 0..good.len() - 1 {
        assert_eq!(
            refused(good.get(..end).unwrap()).code(),
            "gateway-config-syntax",
            "{end}"
        );
    }
}

const LISTEN: &str =
    "version = 1\nstate = \"s\"\n[listen]\naddress = \"127.0.0.1:80\"\n[telemetry]\n";

#[test]
fn without_a_table_there_are_no_spans_and_what_cannot_be_one_refuses_the_file() {
    let config = Config::parse(DEFAULT_CONFIG, Path::new("/")).unwrap();
    assert!(config.telemetry.is_none());
    for (more, code) in [
        ("", "gateway-config-syntax"),
        (
            "endpoint = \"http://collector.example:4318\"",
            "telemetry-endpoint",
        ),
        ("endpoint = \"ftp://localhost\"", "telemetry-endpoint"),
        ("endpoint = \"collector\"", "telemetry-endpoint"),
        (
            "endpoint = \"https://c\"\nsampled_per_million = 1000001",
            "telemetry-ratio",
        ),
        ("endpoint = \"https://c\"\nqueue = 0", "telemetry-queue"),
        (
            "endpoint = \"https://c\"\nservice_name = \"\"",
            "telemetry-resource",
        ),
        (
            "endpoint = \"https://c\"\ncontent = true",
            "gateway-config-syntax",
        ),
        (
            "endpoint = \"https://c\"\ntraceparent = \"forwarded\"",
            "gateway-config-syntax",
        ),
    ] {
        assert_eq!(refused(&format!("{LISTEN}{more}\n")).code(), code, "{more}");
    }
}

#[test]
fn the_commented_table_of_the_default_file_is_one() {
    let begin = DEFAULT_CONFIG.find("# [telemetry]").unwrap();
    let table = DEFAULT_CONFIG
        .get(begin..)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let table = table.replace("\n# ", "\n").replacen("# ", "", 1);
    let text =
        format!("version = 1\nstate = \"s\"\n{table}\n[listen]\naddress = \"127.0.0.1:80\"\n");
    let config = Config::parse(&text, Path::new("/etc/gateway")).unwrap();
    let telemetry = config.telemetry.unwrap();
    assert_eq!(
        telemetry.headers.unwrap(),
        Path::new("/etc/gateway/collector-headers")
    );
    assert_eq!(telemetry.resource["service.name"], "proofroom-gateway");
    assert_eq!(
        telemetry.resource["deployment.environment.name"],
        "production"
    );
    assert_eq!(telemetry.ratio, proofroom_gateway::trace::Ratio::ALL);
}

#[test]
fn limits_are_shared_by_users_and_teams() {
    let text = "version = 1\nstate = \"s\"\n[listen]\naddress = \"127.0.0.1:80\"\n\
        [[shared]]\nteam = \"core\"\nlimits = { requests_per_minute = 5 }\n";
    let config = Config::parse(text, Path::new("/")).unwrap();
    assert_eq!(config.shared[0].whose, Whose::Team("core".to_owned()));
    assert_eq!(config.shared[0].limits.requests_per_minute, Some(5));
}
