//! Tests of `with_model`: only the model's string changes, wherever it stands.

use proptest::prelude::{prop_assert_eq, proptest};

use super::with_model;
use crate::{Api, inspect};

#[test]
fn only_the_models_string_changes() {
    let body =
        "{ \"x\" : 1.50 ,\"mod\\u0065l\" :\t\"\\u0061b\" , \"messages\":[ {\"model\":\"ab\"} ]}\n";
    let spliced = with_model(Api::Messages, body.as_bytes(), "n\"w").unwrap();
    let expected =
        "{ \"x\" : 1.50 ,\"mod\\u0065l\" :\t\"n\\\"w\" , \"messages\":[ {\"model\":\"ab\"} ]}\n";
    assert_eq!(String::from_utf8(spliced).unwrap(), expected);
}

#[test]
fn facts_of_another_body_splice_nothing() {
    let facts = inspect(Api::Messages, br#"{"messages":[],"model":"m"}"#).unwrap();
    let other = br#"{"model":"m","messages":[],"and":"more"}"#;
    let refused = facts.with_model(other, "n").unwrap_err();
    assert_eq!(refused.code(), "request-member-type");
    let refused = facts.with_model(b"", "n").unwrap_err();
    assert_eq!(refused.code(), "request-member-type");
}

proptest! {
    #[test]
    fn everything_else_stays_byte_for_byte(
        space in "[ \t\n\r]{0,4}",
        before in "(\"[a-d]{1,4}[0-9]\" : \"[^\"\\\\\\x00-\\x1f]{0,12}\",){0,1}",
        after in "(,\"[e-h]{1,4}\":[1-9]{1,3}\\.[0-9]{2}){0,1}",
        old in "[a-zA-Z0-9._/:-]{1,40}",
        new in "[ -~\u{e9}]{1,40}",
    ) {
        let head = format!("{space}{{{before}{space}\"model\"{space}:{space}");
        let tail = format!("{space},\"messages\":[]{after}{space}}}{space}");
        let body = format!("{head}\"{old}\"{tail}");
        let facts = inspect(Api::ChatCompletions, body.as_bytes()).unwrap();
        prop_assert_eq!(&facts.model, &old);
        let spliced = with_model(Api::ChatCompletions, body.as_bytes(), &new).unwrap();
        let name = serde_json::to_string(&new).unwrap();
        prop_assert_eq!(String::from_utf8(spliced.clone()).unwrap(), format!("{head}{name}{tail}"));
        prop_assert_eq!(facts.with_model(body.as_bytes(), &new).unwrap(), spliced);
    }
}
