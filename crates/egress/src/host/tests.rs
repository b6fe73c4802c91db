//! Names and patterns: one spelling, label by label.

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::{HostName, HostPattern, NameError};

fn name(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn covers(pattern: &str, host: &str) -> bool {
    HostPattern::parse(pattern).unwrap().covers(&name(host))
}

#[test]
fn case_and_a_dot_at_the_end_are_spellings_of_one_name() {
    assert_eq!(name("Good.COM."), name("good.com"));
    assert_eq!(
        name("XN--Bcher-KVA.example").as_str(),
        "xn--bcher-kva.example"
    );
}

#[test]
fn what_is_no_name_is_refused() {
    let long = "a".repeat(64);
    let longer = vec!["abcdefgh"; 30].join(".");
    for text in [
        "",
        ".",
        "..",
        "a..b",
        ".a.b",
        "a.b..",
        "good.com\0.evil.com",
        "good.com\0",
        "good.com evil.com",
        "good.com/",
        "good.com\\",
        "user@good.com",
        "good.com#",
        "good.com?",
        "g\u{f6}\u{f6}d.com",
        "good\u{3002}com",
        "good.c\u{043e}m",
        "good.com\u{200b}",
        "good%2ecom",
        "under_score.com",
        "-a.com",
        "a-.com",
        "good.com:443",
        long.as_str(),
        longer.as_str(),
    ] {
        let refused = HostName::parse(text).unwrap_err();
        assert!(
            matches!(refused, NameError::Malformed(_)),
            "{text:?}: {refused:?}"
        );
    }
}

#[test]
fn an_ip_address_in_any_spelling_is_not_a_name() {
    for text in [
        "127.0.0.1",
        "127.1",
        "127.0.0.1.",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0x7f000001",
        "0x7F.0.0.1",
        "127.0.0.0x1",
        "1.2.3.0x",
        "good.com.1",
        "999.999.999.999",
        "::1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "::ffff:169.254.169.254",
        "fe80::1%1",
        "[fd00:ec2::254]",
    ] {
        let refused = HostName::parse(text).unwrap_err();
        assert!(
            matches!(refused, NameError::IpLiteral(_)),
            "{text:?}: {refused:?}"
        );
    }
}

#[test]
fn patterns_are_compared_label_by_label() {
    assert!(covers("good.com", "GOOD.com"));
    for other in [
        "good.com.evil",
        "evilgood.com",
        "a.good.com",
        "com",
        "good.co",
        "good.comm",
    ] {
        assert!(!covers("good.com", other), "{other}");
    }
    assert!(covers("*.good.com", "a.good.com"));
    for other in [
        "good.com",
        "a.b.good.com",
        "agood.com",
        "a.good.com.evil",
        "good.com.a",
    ] {
        assert!(!covers("*.good.com", other), "{other}");
    }
    assert!(covers("**.good.com", "a.good.com") && covers("**.good.com", "a.b.good.com"));
    assert!(!covers("**.good.com", "good.com") && !covers("**.good.com", "bgood.com"));
}

#[test]
fn a_pattern_does_not_cover_a_whole_top_level_domain() {
    for text in [
        "*",
        "**",
        "*.com",
        "**.com",
        "*.*.com",
        "a.*.com",
        "*a.good.com",
    ] {
        let refused = HostPattern::parse(text).unwrap_err();
        assert!(matches!(refused, NameError::Malformed(_)), "{text}");
    }
    let refused = HostPattern::parse("*.0.0.1").unwrap_err();
    assert!(matches!(refused, NameError::IpLiteral(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_parsed_name_is_its_own_only_spelling(text in any::<String>()) {
        if let Ok(found) = HostName::parse(&text) {
            prop_assert_eq!(HostName::parse(found.as_str()).unwrap(), found.clone());
            let ldh = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            prop_assert!(found.as_str().chars().all(ldh));
            prop_assert!(found.as_str().parse::<std::net::IpAddr>().is_err());
        }
    }

    #[test]
    fn nothing_put_around_a_name_is_covered_by_it(
        before in "[a-z0-9.-]{0,12}",
        after in "[a-z0-9.-]{0,12}",
    ) {
        let text = format!("{before}good.com{after}");
        if let Ok(host) = HostName::parse(&text) {
            let exactly = HostPattern::parse("good.com").unwrap();
            prop_assert_eq!(exactly.covers(&host), host.as_str() == "good.com");
            let below = HostPattern::parse("**.good.com").unwrap();
            prop_assert_eq!(below.covers(&host), host.as_str().ends_with(".good.com"));
        }
    }

    #[test]
    fn every_ipv4_address_is_refused_in_every_base(bits in any::<u32>()) {
        let [a, b, c, d] = bits.to_be_bytes();
        for text in [
            format!("{a}.{b}.{c}.{d}"),
            format!("{bits}"),
            format!("{bits:#x}"),
            format!("0{bits:o}"),
            format!("0{a:o}.{b:#x}.{c}.{d:#x}"),
            format!("{a}.{}", bits & 0x00ff_ffff),
            format!("::ffff:{a}.{b}.{c}.{d}"),
            format!("[::ffff:{a:x}{b:02x}:{c:x}{d:02x}]"),
        ] {
            prop_assert!(matches!(HostName::parse(&text), Err(NameError::IpLiteral(_))), "{}", text);
        }
    }
}
