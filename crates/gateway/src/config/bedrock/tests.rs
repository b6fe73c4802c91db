//! Where hosts and models of Bedrock are, as their names say it.

use super::{agrees, is_region, place_of, region_of};

#[test]
fn a_hosts_region_is_read_from_its_name() {
    for (host, region) in [
        (
            "bedrock-runtime.eu-central-1.amazonaws.com",
            Some("eu-central-1"),
        ),
        (
            "bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
            Some("us-gov-west-1"),
        ),
        (
            "bedrock-runtime.cn-north-1.amazonaws.com.cn",
            Some("cn-north-1"),
        ),
        ("bedrock-mantle.eu-west-1.api.aws", Some("eu-west-1")),
        (
            "vpce-0a1-b2.bedrock-runtime.eu-west-3.vpce.amazonaws.com",
            Some("eu-west-3"),
        ),
        (
            "bedrock-runtime.eusc-de-east-1.amazonaws.eu",
            Some("eusc-de-east-1"),
        ),
        ("s3.eu-central-1.amazonaws.com", None),
        ("bedrock-runtime.amazonaws.com", None),
        (
            "bedrock-runtime.eu-central-1.amazonaws.com.example.com",
            None,
        ),
        ("127.0.0.1", None),
    ] {
        assert_eq!(region_of(host), region, "{host}");
    }
    for not in [
        "",
        "eu",
        "eu-1",
        "eu-central",
        "EU-central-1",
        "eu--1",
        "eu-central-1-",
    ] {
        assert!(!is_region(not), "{not}");
    }
}

#[test]
fn a_model_runs_in_its_region_or_in_the_geography_of_its_profile() {
    let here = Some("eu-central-1");
    for (model, place) in [
        ("anthropic.claude-x-v1:0", here),
        ("anthropic.*", here),
        ("openai.gpt-oss-20b-1:0", here),
        ("eu.anthropic.claude-x-v1:0", Some("eu")),
        ("global.anthropic.claude-x", Some("global")),
        ("us-gov.anthropic.claude-x", Some("us-gov")),
        ("new.anthropic.claude-x", Some("new")),
        ("eu.amazon.nova-lite-v1:0", Some("eu")),
        (
            "arn:aws:bedrock:eu-central-1::foundation-model/anthropic.claude-x",
            here,
        ),
        (
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-x",
            Some("us-east-1"),
        ),
        (
            "arn:aws:bedrock:eu-central-1:1:inference-profile/eu.anthropic.claude-x-v1:0",
            Some("eu"),
        ),
        (
            "arn:aws:bedrock:eu-central-1:1:application-inference-profile/a1b2",
            here,
        ),
        ("arn:aws:bedrock:eu-central-1:1:inference-profile/*", None),
        ("arn:aws", None),
        ("*", None),
        ("*.anthropic.x", None),
        ("{eu,us}.anthropic.x", None),
        ("claude", None),
    ] {
        assert_eq!(place_of(model, "eu-central-1"), place, "{model}");
    }
}

#[test]
fn what_is_said_may_be_wider_than_what_is_and_not_narrower() {
    for (said, place, agree) in [
        ("eu-central-1", "eu-central-1", true),
        ("eu", "eu-central-1", true),
        ("eu", "eu", true),
        ("eu-central-1", "eu", false),
        ("eu", "global", false),
        ("e", "eu-central-1", false),
        ("us", "eu-central-1", false),
    ] {
        assert_eq!(agrees(said, place), agree, "{said} {place}");
    }
}
