//! Seeds of the targets that read requests to models and their answers. A leading byte says how the
//! target cuts an answer.

use super::Seeds;

pub(super) fn seeds() -> Vec<Seeds> {
    let answers: Vec<Vec<u8>> = STREAMS
        .iter()
        .chain(&ANSWERS.map(str::as_bytes))
        .map(|answer| cut(answer))
        .collect();
    let requests = REQUESTS.map(|request| cut(request.as_bytes()));
    let framed = cut(include_bytes!(
        "../../../llm/src/bedrock/stream/example.frames"
    ));
    vec![
        ("llm_bedrock", [vec![framed], requests.to_vec()].concat()),
        ("llm_inspect", REQUESTS.map(Into::into).to_vec()),
        ("llm_meter", answers.clone()),
        (
            "llm_restore",
            [answers.clone(), vec![cut(NAMED.as_bytes())]].concat(),
        ),
        ("llm_traceparent", vec![TRACEPARENT.into()]),
        ("llm_translate", [answers, requests.to_vec()].concat()),
    ]
}

/// The example of W3C Trace Context section 3.2.4.
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const STREAMS: [&[u8]; 3] = [
    include_bytes!("../../../llm/src/translate/tests/chat.sse"),
    include_bytes!("../../../llm/src/translate/tests/messages.sse"),
    include_bytes!("../../../llm/src/translate/tests/responses.sse"),
];

/// One request of each format.
const REQUESTS: [&str; 6] = [
    r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a\u0062"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"1","content":"r"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"stream":true,"stop":["x"]}"#,
    r#"{"model":"m","max_tokens":9,"system":"s","messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"r"}]}],"stream":true}"#,
    r#"{"model":"m","instructions":"s","input":[{"role":"user","content":[{"type":"input_text","text":"a"}]},{"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"1","output":"r"}],"stream":true}"#,
    r#"{"model":"m","input":["a","b"]}"#,
    r#"{"model":"m","query":"q","documents":["a",{"text":"b"}],"top_n":1}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#,
];

/// One whole answer of each format that has tokens.
const ANSWERS: [&str; 3] = [
    r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#,
    r#"{"id":"1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}"#,
    r#"{"id":"1","object":"response","created_at":1,"model":"m","status":"completed","output":[{"type":"message","id":"2","role":"assistant","status":"completed","content":[{"type":"output_text","text":"a","annotations":[]}]}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}"#,
];

/// An answer with the placeholder that the target knows.
const NAMED: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"x REDACTED_abcdefghijklmnopabcdefgh y"},"finish_reason":"stop"}]}"#;

/// In pieces of seven bytes.
fn cut(bytes: &[u8]) -> Vec<u8> {
    [&[7], bytes].concat()
}
