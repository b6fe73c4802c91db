//! Credentials of AWS as files hold them, and signatures that AWS published.

use http::Request;
use proofroom_canonical::{Digest, Sensitive, Timestamp};

use super::{Arc, Aws, AwsAccess, AwsKey, KeyError, Watched};
use crate::credential::testing::Files;

fn read(text: &str) -> Result<AwsKey, KeyError> {
    AwsKey::read(&Sensitive::new(text.to_owned()))
}

fn written(token: &str) -> String {
    format!(
        r#"{{"Version":1,"AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"{token}}}"#
    )
}

fn signed(
    request: &mut Request<()>,
    (service, region): (&'static str, &str),
    token: &str,
    at: &str,
) {
    let key = read(&written(token)).unwrap();
    let access = AwsAccess {
        key: Arc::new(key),
        region: region.into(),
        service,
    };
    let now: Timestamp = at.parse().unwrap();
    access.sign(request, Digest::of(""), now).unwrap();
}

/// Of AWS's test suite for signers: `get-vanilla-with-session-token` and `double-url-encode`, as `aws-c-auth` and AWS's SDK for
/// Rust carry them.
#[test]
fn what_aws_published_has_the_published_signatures() {
    const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    let mut request = Request::get("https://example.amazonaws.com/")
        .body(())
        .unwrap();
    let token = format!(r#","SessionToken":"{TOKEN}""#);
    signed(
        &mut request,
        ("service", "us-east-1"),
        &token,
        "2015-08-30T12:36:00.000Z",
    );
    assert_eq!(
        request.headers()["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=host;x-amz-date;x-amz-security-token, \
         Signature=07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"
    );
    assert_eq!(request.headers()["x-amz-security-token"], TOKEN);
    assert!(!format!("{:?}", request.headers()).contains(TOKEN));

    let address = "https://lambda.us-east-2.amazonaws.com/2015-03-31/functions/\
        arn%3Aaws%3Alambda%3Aus-west-2%3A892717189312%3Afunction%3Amy-rusty-fun/invocations";
    let mut request = Request::post(address).body(()).unwrap();
    signed(
        &mut request,
        ("lambda", "us-east-2"),
        "",
        "2021-05-11T15:40:45.000Z",
    );
    assert_eq!(
        request.headers()["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20210511/us-east-2/lambda/aws4_request, \
         SignedHeaders=host;x-amz-date, \
         Signature=4b93abbcc68be32bd64c18e2c71150660ab4c29bbd6c32a383a7517a88fc1804"
    );
    assert_eq!(request.headers().len(), 2);
}

#[test]
fn every_header_that_is_sent_is_signed_but_the_clients_name() {
    let mut request = Request::post("http://127.0.0.1:7/x")
        .header("accept", "a")
        .header("content-type", "b")
        .header("user-agent", "c")
        .body(())
        .unwrap();
    signed(
        &mut request,
        ("bedrock", "eu-central-1"),
        "",
        "2026-12-01T00:00:00.000Z",
    );
    let authorization = request.headers()["authorization"].to_str().unwrap();
    let names = "SignedHeaders=accept;content-type;host;x-amz-date,";
    assert!(authorization.contains(names), "{authorization}");
}

#[test]
fn a_file_that_holds_no_credentials_is_none_and_is_not_quoted() {
    let good = written("");
    read(&good).unwrap();
    for bad in [
        String::new(),
        "unused".to_owned(),
        good.replace(":1,", ":2,"),
        good.replace("AKIDEXAMPLE", ""),
        good.replace("AKIDEXAMPLE", "AKID EXAMPLE"),
        good.replace("SecretAccessKey", "SecretKey"),
        written(r#","SessionToken":"a\nb""#),
        written(r#","SessionToken":7"#),
        written(r#","Expiration":"tomorrow""#),
        written(r#","AccessKeyId":"twice""#),
        written(","),
    ] {
        assert_eq!(read(&bad).err(), Some(KeyError::Form), "{bad}");
    }
}

#[test]
fn credentials_end_at_their_expiry_and_are_back_when_the_file_has_new_ones() {
    let files = Files::default();
    let until = |at: &str| written(&format!(r#","Expiration":"{at}""#));
    files.write("/aws", &until("2026-12-01T01:00:00+01:00"));
    let secrets = files.source();
    let aws = Aws::open("eu-central-1".to_owned(), "/aws".into(), &secrets).unwrap();
    let told = files.listener();
    let at = |seconds: i64| Timestamp::from_unix_seconds(1_796_083_200 + seconds);
    let ask = |seconds| {
        aws.access(at(seconds), &|change| told.tell(change))
            .map(drop)
    };
    assert_eq!(ask(-1), Ok(()));
    assert_eq!(ask(0), Err(KeyError::Expired));
    assert_eq!(ask(1), Err(KeyError::Expired));
    files.write("/aws", &until("2026-12-01T02:00:00Z"));
    assert_eq!(ask(2), Ok(()));
    assert_eq!(ask(7200), Err(KeyError::Expired));
    assert_eq!(told.all(), ["key-expired", "", "key-expired"]);
}

#[test]
fn nothing_of_credentials_is_printed() {
    let files = Files::default();
    files.write("/aws", &written(r#","SessionToken":"canary""#));
    let secrets = files.source();
    let aws = Aws::open("eu-central-1".to_owned(), "/aws".into(), &secrets).unwrap();
    let shown = format!("{aws:?}");
    for secret in ["canary", "wJalr", "AKID"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let watched: &Watched<AwsKey> = &aws.file;
    assert_eq!(format!("{watched:?}"), r#"Watched("/aws")"#);
}
