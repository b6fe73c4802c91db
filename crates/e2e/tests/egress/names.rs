//! Names looked up in the room: programs without a proxy variable, through the same broker; and the
//! resolver as a way out.

use serde_json::{Value, json};

use super::{Deployment, Outside, Played, deployment, fs};

/// Whether a test can have a hosts file of its own; says aloud when it cannot.
fn can_have_hosts(test: &str) -> bool {
    let tried = std::process::Command::new("unshare")
        .args(["--mount", "true"])
        .output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        proofroom_e2e::skip(test, "a mount namespace of its own needs root");
    }
    can
}

fn rules(outside: &Outside, deployment: &Deployment) -> String {
    let hosts = ["api", "web", "plain", "other", "n1.wild", "localhost"];
    let address = outside.named_address();
    // The broker asks for names with their dot at the end.
    let lines = hosts.map(|host| format!("{address} {host}.rooms.example {host}.rooms.example.\n"));
    fs::write(deployment.path().join("hosts"), lines.concat()).expect("hosts");
    let (high, ca) = (outside.port("high"), deployment.path().join("ca.pem"));
    let ca = ca.display();
    format!(
        r#"
[[rule]]
name = "api"
hosts = ["api.rooms.example"]
ports = [443, {high}]
mode = "tls-passthrough"
allow_addresses = ["127.0.0.0/8"]
match = ["CONNECT api.rooms.example:443"]
not_match = ["CONNECT other.rooms.example:443"]

[[rule]]
name = "wild"
hosts = ["**.wild.rooms.example"]
ports = [443]
mode = "tls-passthrough"
match = ["CONNECT n1.wild.rooms.example:443"]
not_match = ["CONNECT wild.rooms.example:443"]

[[rule]]
name = "web"
hosts = ["web.rooms.example"]
ports = [443]
mode = "http"
methods = ["GET"]
paths = ["/v1/"]
ca_file = "{ca}"
allow_addresses = ["127.0.0.0/8"]
match = ["GET https://web.rooms.example/v1/a"]
not_match = ["GET https://web.rooms.example/other"]

[[rule]]
name = "plain"
hosts = ["plain.rooms.example"]
ports = [80]
mode = "http"
scheme = "http"
methods = ["GET"]
paths = ["/files/"]
allow_addresses = ["127.0.0.0/8"]
match = ["GET http://plain.rooms.example/files/a"]
not_match = ["GET http://plain.rooms.example/other"]
"#
    )
}

/// Targets of blocked attempts at the network.
fn blocked(played: &Played) -> Vec<&str> {
    let attempts = played
        .events
        .iter()
        .map(|event| &event["body"]["observation"]["attempt"]);
    attempts
        .filter_map(|attempt| attempt["target"].as_str())
        .collect()
}

fn limits(played: &Played) -> Vec<(&Value, &Value)> {
    let observations = played
        .events
        .iter()
        .map(|event| &event["body"]["observation"]);
    let reached = observations.filter(|seen| seen["kind"] == "limit-reached");
    reached
        .map(|seen| (&seen["resource"], &seen["detail"]))
        .collect()
}

/// Outcomes of attempts at one host, with what was tried.
fn outcomes<'a>(played: &'a Played, host: &str) -> Vec<(&'a Value, &'a Value)> {
    let mut all = played.attempts();
    all.retain(|(action, _)| action["host"] == host);
    all
}

#[test]
fn a_name_that_a_rule_allows_leads_through_the_broker_and_no_other_name_leads_anywhere() {
    if !can_have_hosts("names") {
        return;
    }
    let (deployment, outside) = deployment(rules);
    let played = Played::with_hosts(&deployment, &outside, "names.py");
    resolved(&played);
    fetched(&played, &outside);
    refused(&played);
    bounded(&played, &outside);
}

fn resolved(played: &Played) {
    let resolvers = played.of("resolvers");
    let address = &resolvers["address"];
    assert_eq!(address, "127.64.0.1", "{resolvers}");
    assert_eq!(resolvers["connected"], *address);
    assert_eq!(resolvers["libc"], json!([address, address]));
    assert_eq!(resolvers["bound"], json!([0, 1]));
    assert_eq!(resolvers["stream"], json!([[0, 1], [3, 0]]));
    assert_eq!(
        resolvers["other_types"],
        json!([[0, 0], [0, 0], [0, 0], [0, 0]])
    );
    assert_eq!(resolvers["other_class"], json!([5, 0]));
    for step in ["getent", "busybox"] {
        let said = played.of(step);
        let out = said["out"].as_str().expect("text");
        assert!(out.contains("127.64.0.2"), "{step}: {said}");
    }
    assert_eq!(played.of("after broken")["code"], json!([0, 1]));
    assert_eq!(played.of("long message")["got"], 0);
}

fn fetched(played: &Played, outside: &Outside) {
    let mut steps = vec!["curl through", "curl request", "curl in clear"];
    if played.said.iter().any(|said| said["name"] == "node") {
        steps.push("node");
    } else {
        proofroom_e2e::skip("names: node", "no node in the room");
    }
    for step in &steps {
        let said = played.of(step);
        let out = said["out"].as_str().expect("text");
        assert!(out.starts_with("hello from outside\n"), "{step}: {said}");
    }
    let address = outside.named_address();
    for (host, port, rule, method, path) in [
        ("api.rooms.example", 443, "api", "CONNECT", Value::Null),
        ("web.rooms.example", 443, "web", "GET", json!("/v1/a")),
        ("plain.rooms.example", 80, "plain", "GET", json!("/files/a")),
    ] {
        let went = outcomes(played, host);
        let (action, result) = went
            .iter()
            .find(|(_, result)| result["status"] == "egress")
            .expect(host);
        assert_eq!(
            (&action["port"], &action["method"]),
            (&json!(port), &json!(method))
        );
        assert_eq!(action["path"], path);
        assert_eq!(
            (&result["rule"], &result["end"]),
            (&json!(rule), &json!("complete"))
        );
        assert_eq!(result["connected"], json!(format!("{address}:{port}")));
        for count in ["sent", "received"] {
            assert!(
                result[count].as_u64().is_some_and(|bytes| bytes > 10),
                "{result}"
            );
        }
    }
    let arrived = outside.requests("named tls").len() + outside.requests("named plain").len();
    assert_eq!(arrived, steps.len(), "nothing else arrived");
}

fn refused(played: &Played) {
    let evil = played.of("evil");
    assert_eq!(
        (&evil["ok"], &evil["noname"]),
        (&json!(false), &json!(true))
    );
    let steps = [
        "other port",
        "no name's",
        "not the supervisor's",
        "resolver outside",
        "message outside",
        "messages outside",
    ];
    for step in steps {
        assert_eq!(played.of(step)["ok"], false, "{step}");
    }
    // Several messages are sent together or not at all.
    assert_eq!(played.of("nothing of them")["got"], 0);
    let messages = played.of("messages");
    assert_eq!(messages["one"], json!([0, 1]));
    assert_eq!(messages["many"], 2);
    assert_eq!(messages["answers"], json!([true, true]));
    let blocked = blocked(played);
    for told in [
        "dns evil.example",
        "name api.rooms.example:22",
        "ip 127.64.200.1:443",
        "ip 127.0.0.1:443",
        "ip 8.8.8.8:53",
        "ip 8.8.4.4:53",
        "ip 9.9.9.9:53",
        "bind ip 0.0.0.0:443",
        "bind ip 127.0.0.1:53",
    ] {
        assert!(blocked.contains(&told), "no `{told}`: {blocked:#?}");
    }
    let told = |host: &str, code: &str| {
        let all = outcomes(played, host);
        assert!(
            all.iter()
                .any(|(_, result)| result["status"] == "denied" && result["code"] == code),
            "{host} {code}: {all:#?}"
        );
    };
    assert_eq!(played.of("another name's port")["got"], 0);
    told("api.rooms.example", "egress-port");
    assert_ne!(played.of("curl other name")["code"], 0);
    told("api.rooms.example", "egress-sni-differs");
    assert_ne!(played.of("curl other name of requests")["code"], 0);
    told("web.rooms.example", "egress-sni-differs");
    assert_eq!(played.of("curl other path")["out"], "403");
    told("web.rooms.example", "egress-path");
    assert_eq!(played.of("curl other host")["out"], "403");
    told("plain.rooms.example", "egress-host-differs");
    assert_eq!(played.of("squatted")["by"], json!([]));
}

fn bounded(played: &Played, outside: &Outside) {
    assert_eq!(played.of("exfiltration")["codes"], json!([[3, 0]]));
    assert_eq!(played.of("many names")["codes"], json!([2, 0]));
    assert_eq!(played.of("many names")["kept"], "127.64.0.1");
    let names = blocked(played)
        .into_iter()
        .filter(|target| target.starts_with("dns "))
        .count();
    assert!((200..=256).contains(&names), "{names}");
    let limits = limits(played);
    let more = "further names and connections that no rule allows are not written";
    assert_eq!(
        limits.iter().filter(|(_, detail)| *detail == more).count(),
        1,
        "{limits:?}"
    );
    assert_eq!(
        limits
            .iter()
            .filter(|(resource, _)| *resource == "names")
            .count(),
        1
    );
    // Questions are no attempts, and nobody outside was asked anything.
    let hosts = played
        .attempts()
        .into_iter()
        .map(|(action, _)| action["host"].to_string());
    let strange: Vec<_> = hosts
        .filter(|host| host.contains("evil") || host.contains("wild"))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(outside.requests("through").is_empty());
}

#[test]
fn the_ports_of_names_are_taken_before_a_command_can_have_them() {
    if !can_have_hosts("squatting") {
        return;
    }
    let (deployment, outside) = deployment(rules);
    let file = deployment.policy().join("room.toml");
    let text = fs::read_to_string(&file).expect("room policy");
    let servers = text.replace("loopback = \"channel-only\"", "loopback = \"test-servers\"");
    assert_ne!(text, servers);
    fs::write(&file, servers).expect("room policy");
    let played = Played::with_hosts(&deployment, &outside, "squat.py");
    assert_eq!(played.of("taken")["by"], json!([]));
    assert_eq!(played.of("own server")["ok"], true);
    assert_eq!(played.of("other port")["ok"], false);
    assert!(blocked(&played).contains(&"name api.rooms.example:22"));
}
