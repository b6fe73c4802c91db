//! Errors in the client's own format, so that its SDK shows them instead of failing to parse them.

use serde_json::json;

use crate::{Api, api::Family};

/// The JSON body of an error answer. `code` is the stable code, `message` is for a person; neither
/// may hold text of the conversation. OpenAI: `{"error": {message, type, param, code}}`; Anthropic:
/// `{"type": "error", "error": {type, message, code}}`.
#[must_use]
pub fn error_body(api: Api, status: u16, code: &str, message: &str) -> Vec<u8> {
    let body = match api.family() {
        Family::OpenAi => json!({
            "error": {
                "message": message,
                "type": openai_type(status),
                "param": null,
                "code": code,
            }
        }),
        Family::Anthropic => json!({
            "type": "error",
            "error": {
                "type": anthropic_type(status),
                "message": message,
                "code": code,
            }
        }),
    };
    body.to_string().into_bytes()
}

/// The same error as a server-sent event, for an answer whose status has already gone out.
#[must_use]
pub fn error_event(api: Api, status: u16, code: &str, message: &str) -> Vec<u8> {
    let (name, body) = match (api, api.family()) {
        (Api::Responses, _) => ("event: error\n", responses_error(status, code, message)),
        (_, Family::OpenAi) => ("", error_body(api, status, code, message)),
        (_, Family::Anthropic) => ("event: error\n", error_body(api, status, code, message)),
    };
    [name.as_bytes(), b"data: ", &body, b"\n\n"].concat()
}

/// The event of a broken stream of Responses. Its members stand at the top by OpenAI's schema and
/// below `error` in what its servers send; clients read the one or the other. Nobody here counts
/// the events before it, so that `sequence_number` says nothing.
fn responses_error(status: u16, code: &str, message: &str) -> Vec<u8> {
    let kind = openai_type(status);
    json!({
        "type": "error",
        "code": code,
        "message": message,
        "param": null,
        "sequence_number": 0,
        "error": {"type": kind, "code": code, "message": message, "param": null},
    })
    .to_string()
    .into_bytes()
}

const fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

/// <https://docs.anthropic.com/en/api/errors>
const fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{error_body, error_event};
    use crate::Api;

    #[test]
    fn each_client_gets_its_own_shape() {
        let openai: Value = serde_json::from_slice(&error_body(
            Api::ChatCompletions,
            403,
            "no",
            "not \"this\"\n",
        ))
        .unwrap();
        assert_eq!(
            openai,
            json!({"error": {"message": "not \"this\"\n", "type": "permission_error",
                "param": null, "code": "no"}})
        );
        let anthropic: Value =
            serde_json::from_slice(&error_body(Api::Messages, 413, "big", "too big")).unwrap();
        assert_eq!(
            anthropic,
            json!({"type": "error", "error":
                {"type": "request_too_large", "message": "too big", "code": "big"}})
        );
    }

    #[test]
    fn an_error_event_is_one_event_whatever_the_message() {
        for api in Api::ALL {
            let event = String::from_utf8(error_event(api, 502, "x", "a\n\nb\rc")).unwrap();
            assert!(event.ends_with("}\n\n"));
            assert_eq!(event.matches("\n\n").count(), 1, "{event}");
            assert!(!event.contains('\r'));
        }
    }
}
