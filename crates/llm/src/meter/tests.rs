//! Tests of the meter: both dialects, every way of cutting a stream, every way of ending.

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::{Ending, Framing, MAX_ANSWER_BYTES, MAX_EVENT_BYTES, Metered, ResponseMeter};
use crate::{Api, Usage};

const OPENAI: &str = "\u{feff}: hello\n\ndata: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"hé\"},\"finish_reason\":null}],\"usage\":null}\r\n\r\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":3}}}\n\ndata: [DONE]\n\n";

const ANTHROPIC: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"c-1\",\"content\":[],\"usage\":{\"input_tokens\":20,\"output_tokens\":1,\"cache_read_input_tokens\":4,\"cache_creation_input_tokens\":2}}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

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

fn whole(text: &str) -> Metered {
    meter(Api::ChatCompletions, Framing::Json, &[text.as_bytes()])
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
        for (api, text) in [(Api::ChatCompletions, OPENAI), (Api::Messages, ANTHROPIC)] {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            prop_assert_eq!(meter(api, Framing::EventStream, &pieces), stream(api, text));
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), json in any::<bool>()) {
        let framing = if json { Framing::Json } else { Framing::EventStream };
        let metered = meter(Api::Messages, framing, &[&bytes]);
        prop_assert!(metered.ending != Ending::Complete);
    }
}
