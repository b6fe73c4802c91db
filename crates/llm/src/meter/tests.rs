//! Tests of the meter: both dialects, every way of cutting a stream, every way of ending.

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::{Ending, Framing, MAX_ANSWER_BYTES, MAX_EVENT_BYTES, Metered, ResponseMeter};
use crate::{Api, Usage};

const OPENAI: &str = "\u{feff}: hello\n\ndata: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"hé\"},\"finish_reason\":null}],\"usage\":null}\r\n\r\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":3}}}\n\ndata: [DONE]\n\n";

const ANTHROPIC: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"c-1\",\"content\":[],\"usage\":{\"input_tokens\":20,\"output_tokens\":1,\"cache_read_input_tokens\":4,\"cache_creation_input_tokens\":2}}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

const RESPONSES: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"status\":\"in_progress\",\"error\":null,\"model\":\"m-1\",\"usage\":null}}\n\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hé\"}\n\ndata: {\"type\":\"response.function_call_arguments.delta\",\"delta\":\"{\"}\n\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"error\":null,\"model\":\"m-1\",\"usage\":{\"input_tokens\":11,\"input_tokens_details\":{\"cached_tokens\":3},\"output_tokens\":5}}}\n\n";

fn meter(api: Api, framing: Framing, pieces: &[&[u8]]) -> Metered {
    let mut meter = ResponseMeter::new(api, framing);
    for piece in pieces {
        meter.push(piece);
    }
    meter.finish()
}

fn stream(api: Api, text: &str) -> Metered {
    meter(api, Framing::EventStream, &[text.as_bytes()])
}

/// The same whether the meter keeps the answer or reads it where it lies.
fn whole(text: &str) -> Metered {
    let kept = meter(Api::ChatCompletions, Framing::Json, &[text.as_bytes()]);
    let mut read = ResponseMeter::new(Api::ChatCompletions, Framing::Json);
    read.push_last(text.as_bytes());
    assert_eq!(read.finish(), kept);
    kept
}

#[test]
fn an_openai_stream_is_metered() {
    let metered = stream(Api::ChatCompletions, OPENAI);
    assert_eq!(
        metered,
        Metered {
            usage: Usage {
                input_tokens: Some(11),
                output_tokens: Some(5),
                cache_read_tokens: Some(3),
                cache_write_tokens: None,
            },
            ending: Ending::Complete,
            model: Some("m-1".into()),
            stop: Some("stop".into()),
            events: 4,
            unreadable_events: 0,
        }
    );
}

#[test]
fn an_anthropic_stream_is_metered() {
    let metered = stream(Api::Messages, ANTHROPIC);
    assert_eq!(metered.ending, Ending::Complete);
    assert_eq!(metered.usage.input_tokens, Some(20));
    assert_eq!(metered.usage.output_tokens, Some(9));
    assert_eq!(metered.usage.cache_read_tokens, Some(4));
    assert_eq!(metered.usage.cache_write_tokens, Some(2));
    assert_eq!(metered.model.as_deref(), Some("c-1"));
    assert_eq!(metered.stop.as_deref(), Some("end_turn"));
}

#[test]
fn a_stream_of_responses_is_metered() {
    let metered = stream(Api::Responses, RESPONSES);
    assert_eq!(metered.ending, Ending::Complete);
    assert_eq!(metered.usage.input_tokens, Some(11));
    assert_eq!(metered.usage.output_tokens, Some(5));
    assert_eq!(metered.usage.cache_read_tokens, Some(3));
    assert_eq!(metered.model.as_deref(), Some("m-1"));
    assert_eq!(metered.stop.as_deref(), Some("completed"));
    assert_eq!((metered.events, metered.unreadable_events), (4, 0));
    let (cut, _) = RESPONSES
        .split_once("data: {\"type\":\"response.completed")
        .unwrap();
    assert_eq!(stream(Api::Responses, cut).ending, Ending::Truncated);
    let limited = RESPONSES
        .replace("response.completed", "response.incomplete")
        .replace(
            "\"status\":\"completed\"",
            "\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"}",
        );
    let limited = stream(Api::Responses, &limited);
    assert_eq!(limited.ending, Ending::Complete);
    assert_eq!(limited.stop.as_deref(), Some("max_output_tokens"));
}

#[test]
fn a_response_that_fails_is_not_complete() {
    for (event, kind) in [
        (
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"x"}}}"#,
            Some("server_error"),
        ),
        (
            r#"{"type":"error","code":"rate_limit_exceeded","message":"x","param":null}"#,
            Some("rate_limit_exceeded"),
        ),
        (
            r#"{"error":{"type":"overloaded","message":"x"}}"#,
            Some("overloaded"),
        ),
    ] {
        let kind = kind.map(str::to_owned);
        let failed = stream(Api::Responses, &format!("data: {event}\n\n"));
        assert_eq!(failed.ending, Ending::UpstreamError { kind });
    }
    let unknown = stream(Api::Responses, "data: {\"x\":1}\n\n");
    assert_eq!((unknown.events, unknown.unreadable_events), (0, 1));
}

/// An answer of each API, how it ended, and its tokens of request and answer.
type Answer = (Api, &'static str, Ending, (Option<u64>, Option<u64>));

fn answers() -> Vec<Answer> {
    vec![
        (
            Api::Responses,
            r#"{"object":"response","status":"completed","error":null,"usage":{"input_tokens":7,"output_tokens":2}}"#,
            Ending::Complete,
            (Some(7), Some(2)),
        ),
        (
            Api::Responses,
            r#"{"status":"queued"}"#,
            Ending::Unreadable {
                code: "answer-shape",
            },
            (None, None),
        ),
        (
            Api::Responses,
            r#"{"status":"failed","error":{"code":"x"}}"#,
            Ending::UpstreamError {
                kind: Some("x".into()),
            },
            (None, None),
        ),
        (
            Api::Embeddings,
            r#"{"object":"list","data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#,
            Ending::Complete,
            (Some(4), None),
        ),
        (
            Api::Embeddings,
            r#"{"results":[]}"#,
            Ending::Unreadable {
                code: "answer-shape",
            },
            (None, None),
        ),
    ]
}

fn other_answers() -> Vec<Answer> {
    vec![
        (
            Api::Rerank,
            r#"{"results":[{"index":0,"relevance_score":0.5}],"usage":{"total_tokens":9}}"#,
            Ending::Complete,
            (Some(9), None),
        ),
        (
            Api::Rerank,
            r#"{"results":[],"meta":{"tokens":{"input_tokens":5}}}"#,
            Ending::Complete,
            (Some(5), None),
        ),
        (
            Api::CountTokens,
            r#"{"input_tokens":12}"#,
            Ending::Complete,
            (None, None),
        ),
        (
            Api::CountTokens,
            r#"{"input_tokens":"12"}"#,
            Ending::Unreadable {
                code: "answer-shape",
            },
            (None, None),
        ),
        (
            Api::CountTokens,
            r#"{"type":"error","error":{"type":"not_found_error"}}"#,
            Ending::UpstreamError {
                kind: Some("not_found_error".into()),
            },
            (None, None),
        ),
    ]
}

#[test]
fn whole_answers_of_every_api_are_metered() {
    for (api, text, ending, tokens) in answers().into_iter().chain(other_answers()) {
        let metered = meter(api, Framing::Json, &[text.as_bytes()]);
        assert_eq!(metered.ending, ending, "{text}");
        let usage = metered.usage;
        assert_eq!((usage.input_tokens, usage.output_tokens), tokens, "{text}");
    }
}

#[test]
fn a_stream_that_dies_is_truncated() {
    let (cut, _) = OPENAI
        .split_once("data: {\"choices\":[{\"delta\":{},")
        .unwrap();
    assert_eq!(stream(Api::ChatCompletions, cut).ending, Ending::Truncated);
    let cut = ANTHROPIC.replace("\"message_stop\"", "\"other\"");
    assert_eq!(stream(Api::Messages, &cut).ending, Ending::Truncated);
    assert_eq!(stream(Api::Messages, "").ending, Ending::Truncated);
}

#[test]
fn an_error_inside_a_stream_is_not_a_complete_answer() {
    let failed = format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"overloaded_error\",\"message\":\"x\"}}}}\n\n{ANTHROPIC}"
    );
    assert_eq!(
        stream(Api::Messages, &failed).ending,
        Ending::UpstreamError {
            kind: Some("overloaded_error".into())
        }
    );
    let sentence =
        "data: {\"error\":{\"code\":\"secret words of the prompt\"}}\n\ndata: [DONE]\n\n";
    assert_eq!(
        stream(Api::ChatCompletions, sentence).ending,
        Ending::UpstreamError { kind: None }
    );
}

#[test]
fn a_whole_answer_is_metered() {
    let openai = whole(
        r#"{"model":"m","choices":[{"finish_reason":"length","message":{"content":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
    );
    assert_eq!(openai.ending, Ending::Complete);
    assert_eq!(openai.stop.as_deref(), Some("length"));
    assert_eq!(openai.usage.output_tokens, Some(2));
    let anthropic = r#"{"type":"message","model":"c","stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":4}}"#;
    let metered = meter(Api::Messages, Framing::Json, &[anthropic.as_bytes()]);
    assert_eq!(metered.ending, Ending::Complete);
    assert_eq!(metered.usage.input_tokens, Some(3));
}

#[test]
fn each_unusable_answer_has_its_code() {
    let unreadable = |code| Ending::Unreadable { code };
    assert_eq!(whole("<html>").ending, unreadable("answer-not-json"));
    assert_eq!(whole("").ending, unreadable("answer-not-json"));
    assert_eq!(whole("[]").ending, unreadable("answer-shape"));
    assert_eq!(whole("{}").ending, unreadable("answer-shape"));
    assert_eq!(
        whole("{\"choices\":\"x\"}").ending,
        unreadable("answer-shape")
    );
    let piece = vec![b' '; MAX_ANSWER_BYTES / 2 + 1];
    let large = meter(Api::Messages, Framing::Json, &[&piece, &piece]);
    assert_eq!(large.ending, unreadable("answer-too-large"));
}

#[test]
fn an_event_that_never_ends_is_counted_and_holds_no_memory() {
    let mut meter = ResponseMeter::new(Api::ChatCompletions, Framing::EventStream);
    meter.push(b"data: ");
    let piece = vec![b'x'; MAX_EVENT_BYTES / 4];
    for _ in 0..12 {
        meter.push(&piece);
    }
    meter.push(b"\n\ndata: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n");
    let metered = meter.finish();
    assert_eq!(metered.unreadable_events, 1);
    assert_eq!(metered.ending, Ending::Complete);
}

#[test]
fn odd_usage_is_not_reported_rather_than_zero() {
    let odd =
        "data: {\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":\"5\"},\"choices\":[]}\n\n";
    assert_eq!(stream(Api::ChatCompletions, odd).usage, Usage::default());
}

#[test]
fn the_framing_is_read_from_the_content_type() {
    for (text, framing) in [
        ("text/event-stream", Framing::EventStream),
        ("Text/Event-Stream; charset=utf-8", Framing::EventStream),
        ("application/json", Framing::Json),
        ("", Framing::Json),
    ] {
        assert_eq!(Framing::of_content_type(text), framing);
    }
}

proptest! {
    #[test]
    fn how_a_stream_is_cut_makes_no_difference(size in 1_usize..40) {
        for (api, text) in [(Api::ChatCompletions, OPENAI), (Api::Messages, ANTHROPIC), (Api::Responses, RESPONSES)] {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            prop_assert_eq!(meter(api, Framing::EventStream, &pieces), stream(api, text));
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), json in any::<bool>()) {
        let framing = if json { Framing::Json } else { Framing::EventStream };
        for api in Api::ALL {
            let metered = meter(api, framing, &[&bytes]);
            prop_assert!(metered.ending != Ending::Complete);
        }
    }
}
