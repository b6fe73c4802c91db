//! Tests of `inspect`: what is read, what is refused with which code, and that garbage never panics.

use proptest::prelude::{any, prop, prop_assert, proptest};
use serde_json::json;

use super::{MAX_DEPTH, MAX_REQUEST_BYTES, MAX_VALUES, inspect};
use crate::{Api, Delivery, UsageReport};

fn code(body: &[u8]) -> &'static str {
    inspect(Api::ChatCompletions, body).unwrap_err().code()
}

#[test]
fn the_deciding_members_are_read() {
    let body = json!({"messages": [{"role": "user", "content": "hi"}], "model": "gpt-x",
        "stream": true, "stream_options": {"include_usage": true},
        "max_completion_tokens": 100, "max_tokens": 50, "temperature": 0.25,
        "tools": [{"type": "function", "function": {"name": "f"}}], "future": {"x": [1.5, null]}});
    let body = body.to_string();
    let facts = inspect(Api::ChatCompletions, body.as_bytes()).unwrap();
    assert_eq!(facts.model, "gpt-x");
    assert_eq!(&body.as_bytes()[facts.model_span], b"\"gpt-x\"");
    assert_eq!(facts.delivery, Delivery::Stream);
    assert_eq!(facts.usage, UsageReport::Expected);
    assert_eq!(facts.max_tokens, Some(100));
    assert_eq!((facts.messages, facts.tools), (1, 1));
}

#[test]
fn an_openai_stream_that_does_not_ask_for_usage_may_not_get_any() {
    let body = br#"{"model":"m","messages":[],"stream":true}"#;
    let usage = |api| inspect(api, body).unwrap().usage;
    assert_eq!(usage(Api::ChatCompletions), UsageReport::NotRequested);
    assert_eq!(usage(Api::Messages), UsageReport::Expected);
}

#[test]
fn each_malformed_request_has_its_code() {
    for (body, expected) in [
        (&b""[..], "request-not-json"),
        (b"\xef\xbb\xbf{}", "request-not-json"),
        (b"{\"model\":\"a\xff\"}", "request-not-utf8"),
        (b"[]", "request-not-an-object"),
        (b"\"text\"", "request-not-an-object"),
        (b"{\"model\":\"m\",\"messages\":[]", "request-not-json"),
        (b"{\"model\":\"m\",\"messages\":[]} x", "request-not-json"),
        (b"{\"messages\":[]}", "request-member-missing"),
        (b"{\"model\":\"m\"}", "request-member-missing"),
        (b"{\"model\":5,\"messages\":[]}", "request-member-type"),
        (b"{\"model\":null,\"messages\":[]}", "request-member-type"),
        (b"{\"model\":\"m\",\"messages\":{}}", "request-member-type"),
        (
            b"{\"model\":\"m\",\"messages\":[],\"stream\":\"true\"}",
            "request-member-type",
        ),
        (
            b"{\"model\":\"m\",\"messages\":[],\"max_tokens\":-1}",
            "request-member-type",
        ),
        (b"{\"model\":\"\",\"messages\":[]}", "request-model-name"),
        (
            b"{\"model\":\"a\\nb\",\"messages\":[]}",
            "request-model-name",
        ),
        (
            b"{\"model\":\"\xc3\xa9\",\"messages\":[]}",
            "request-model-name",
        ),
    ] {
        assert_eq!(code(body), expected, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for body in [
        r#"{"model":"a","model":"b","messages":[]}"#,
        r#"{"model":"a","mod\u0065l":"b","messages":[]}"#,
        r#"{"model":"a","messages":[],"messages":[{"content":"x"}]}"#,
        r#"{"model":"a","messages":[{"content":"x","content":"y"}]}"#,
    ] {
        assert_eq!(code(body.as_bytes()), "request-duplicate-member", "{body}");
    }
    let folded = br#"{"model":"a","Model":"b","messages":[]}"#;
    assert_eq!(code(folded), "request-ambiguous-member");
    let folded = br#"{"model":"a","messages":[],"MESSAGES":[]}"#;
    assert_eq!(code(folded), "request-ambiguous-member");
}

#[test]
fn each_api_requires_its_own_members() {
    for (api, body, expected) in [
        (
            Api::Responses,
            r#"{"model":"m"}"#,
            Some("request-member-missing"),
        ),
        (
            Api::Responses,
            r#"{"model":"m","input":{}}"#,
            Some("request-member-type"),
        ),
        (Api::Responses, r#"{"model":"m","input":"x"}"#, None),
        (Api::Responses, r#"{"model":"m","input":[]}"#, None),
        (
            Api::Embeddings,
            r#"{"model":"m","input":5}"#,
            Some("request-member-type"),
        ),
        (Api::Embeddings, r#"{"model":"m","input":["x"]}"#, None),
        (
            Api::Rerank,
            r#"{"model":"m","documents":[]}"#,
            Some("request-member-missing"),
        ),
        (
            Api::Rerank,
            r#"{"model":"m","query":"q"}"#,
            Some("request-member-missing"),
        ),
        (
            Api::Rerank,
            r#"{"model":"m","query":"q","documents":{}}"#,
            Some("request-member-type"),
        ),
        (
            Api::Rerank,
            r#"{"model":"m","query":"q","documents":["a"]}"#,
            None,
        ),
        (
            Api::CountTokens,
            r#"{"model":"m"}"#,
            Some("request-member-missing"),
        ),
        (Api::CountTokens, r#"{"model":"m","messages":[]}"#, None),
        (
            Api::Rerank,
            r#"{"model":"m","Query":"q","documents":["a"]}"#,
            Some("request-ambiguous-member"),
        ),
        (
            Api::Embeddings,
            r#"{"model":"m","input":["x"],"input":["y"]}"#,
            Some("request-duplicate-member"),
        ),
    ] {
        let refused = inspect(api, body.as_bytes()).err();
        assert_eq!(refused.map(|error| error.code()), expected, "{body}");
    }
}

#[test]
fn a_response_that_goes_on_with_what_is_kept_is_refused() {
    for more in [
        r#""previous_response_id":"resp_1""#,
        r#""conversation":"conv_1""#,
        r#""prompt":{"id":"pmpt_1"}"#,
        r#""background":true"#,
        r#""tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]"#,
        r#""tools":[{"type":"code_interpreter","container":"cntr_1"}]"#,
        r#""tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["f"]}}]"#,
    ] {
        let body = format!(r#"{{"model":"m","input":"x",{more}}}"#);
        let refused = inspect(Api::Responses, body.as_bytes()).unwrap_err();
        assert_eq!(refused.code(), "request-refers-to-kept", "{more}");
    }
    for item in [
        r#"{"type":"item_reference","id":"msg_1"}"#,
        r#"{"id":"msg_1"}"#,
        r#"{"type":null,"id":"msg_1"}"#,
    ] {
        let body = format!(r#"{{"model":"m","input":[{item}]}}"#);
        let refused = inspect(Api::Responses, body.as_bytes()).unwrap_err();
        assert_eq!(refused.code(), "request-refers-to-kept", "{item}");
    }
    let fresh = br#"{"model":"m","input":"x","background":false,"conversation":null,
        "tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}"#;
    assert!(inspect(Api::Responses, fresh).is_ok());
}

#[test]
fn size_depth_and_number_of_values_are_bounded() {
    let large = vec![b' '; MAX_REQUEST_BYTES + 1];
    let refused = inspect(Api::Messages, &large).unwrap_err();
    assert_eq!(
        (refused.code(), refused.status()),
        ("request-too-large", 413)
    );
    let nested = |n: usize| {
        format!(
            r#"{{"model":"m","messages":[],"x":{}{}}}"#,
            "[".repeat(n),
            "]".repeat(n)
        )
    };
    assert!(inspect(Api::Messages, nested(MAX_DEPTH - 1).as_bytes()).is_ok());
    assert_eq!(code(nested(MAX_DEPTH).as_bytes()), "request-too-deep");
    assert_eq!(code(nested(1_000_000).as_bytes()), "request-too-deep");
    let deep_model = format!(r#"{{"model":{}"#, "[".repeat(1_000_000));
    assert_eq!(code(deep_model.as_bytes()), "request-not-json");
    let many = format!(
        r#"{{"model":"m","messages":[{}0]}}"#,
        "0,".repeat(MAX_VALUES)
    );
    assert_eq!(code(many.as_bytes()), "request-too-many-values");
}

#[test]
fn an_error_never_quotes_the_request() {
    for body in [
        r#"{"model":["hunter2"],"messages":[]}"#,
        r#"{"model":"m","messages":"hunter2"}"#,
        r#"{"hunter2":1,"hunter2":2}"#,
        r#""hunter2""#,
        r#"{"model":"hunter2 hunter2","messages":[]}"#,
        r#"{"model":"m","messages":["hunter2"#,
    ] {
        let error = inspect(Api::ChatCompletions, body.as_bytes()).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let refused = inspect(Api::ChatCompletions, &bytes).is_err();
        prop_assert!(refused);
    }

    #[test]
    fn broken_requests_never_panic(cut in 0_usize..400, byte in any::<u8>(), at in 0_usize..400) {
        let mut body = json!({"model": "m", "system": [{"type": "text", "text": "s"}],
            "messages": [{"role": "assistant", "content": [
                {"type": "tool_use", "id": "toolu_1", "name": "r", "input": {"path": "a"}},
                {"type": "image", "source": {"type": "base64", "data": "AAAA"}}],
                "tool_calls": [{"id": "call_1", "function": {"arguments": "{\"path\":1}"}}]},
                {"role": "tool", "tool_call_id": "call_1", "content": null}]})
            .to_string()
            .into_bytes();
        if let Some(place) = body.get_mut(at) {
            *place = byte;
        }
        body.truncate(body.len().min(cut));
        for api in Api::ALL {
            if let Err(error) = inspect(api, &body) {
                prop_assert!(error.status() == 400);
            }
        }
    }
}
