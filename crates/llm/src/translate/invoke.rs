//! Requests of Messages as Amazon Bedrock's `InvokeModel` takes them: model and delivery are said by the path, the version by
//! the body. Every other member goes as it stood.

use std::collections::BTreeMap;

use proofroom_canonical::Wiped;
use serde_json::value::{RawValue, to_raw_value};

use super::{TranslateError, json::written, read_answer::parsed};

/// The version of Messages that Bedrock speaks.
const VERSION: &str = "bedrock-2023-05-31";

/// A request of Messages as the body of `InvokeModel`, with the values of `anthropic-beta`. Wiped when dropped.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html>
///
/// # Errors
/// [`TranslateError::NotSayable`] where the request has one of the two members that are added here.
pub fn invoke_body(messages: &[u8], betas: &[&str]) -> Result<Wiped<Vec<u8>>, TranslateError> {
    let mut members: BTreeMap<String, &RawValue> = parsed(messages)?;
    let added = ["anthropic_version", "anthropic_beta"];
    if let Some(taken) = added.into_iter().find(|name| members.contains_key(*name)) {
        return Err(TranslateError::not_sayable(taken.to_owned()));
    }
    members.remove("model");
    members.remove("stream");
    let unsaid = |_| TranslateError::shape("betas".to_owned());
    let (version, named) = (to_raw_value(VERSION), to_raw_value(betas));
    let (version, named) = (version.map_err(unsaid)?, named.map_err(unsaid)?);
    members.insert("anthropic_version".to_owned(), &version);
    if !betas.is_empty() {
        members.insert("anthropic_beta".to_owned(), &named);
    }
    Ok(written(&members))
}

#[cfg(test)]
mod tests {
    use super::invoke_body;

    fn said(messages: &str, betas: &[&str]) -> String {
        let body = invoke_body(messages.as_bytes(), betas).unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn model_and_stream_are_taken_out_and_the_version_put_in() {
        let asked =
            r#"{"model":"m","max_tokens":1e1,"stream":true,"x":{"b" : 1.50,"a":"ä\u0041"}}"#;
        assert_eq!(
            said(asked, &[]),
            r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":1e1,"x":{"b" : 1.50,"a":"ä\u0041"}}"#
        );
        assert_eq!(
            said("{}", &["a-1", "b\""]),
            r#"{"anthropic_beta":["a-1","b\""],"anthropic_version":"bedrock-2023-05-31"}"#
        );
    }

    #[test]
    fn a_request_that_says_what_is_added_is_refused_by_the_members_name() {
        for name in ["anthropic_version", "anthropic_beta"] {
            let body = format!(r#"{{"{name}":null}}"#);
            let error = invoke_body(body.as_bytes(), &[]).unwrap_err();
            assert_eq!(error.code(), "request-not-translatable");
            assert!(error.to_string().contains(name), "{error}");
        }
        let error = invoke_body(b"[]", &[]).unwrap_err();
        assert_eq!(error.code(), "request-member-type");
    }
}
