//! What the beginning of a request decides, whatever follows it.

#![expect(
    clippy::string_slice,
    reason = "the samples are ASCII where they are cut"
)]

use proptest::prelude::{Strategy, any, prop, proptest};

use crate::{Api, inspect};

/// What [`crate::Segment::decided`] says: of two requests that begin alike, the segments that the common beginning
/// decides are alike.
fn decided_alike(api: Api, one: &str, other: &str) -> usize {
    let (Ok(first), Ok(second)) = (inspect(api, one.as_bytes()), inspect(api, other.as_bytes()))
    else {
        return 0;
    };
    let alike = one.bytes().zip(other.bytes());
    let common = alike.take_while(|(a, b)| a == b).count();
    let decided = first.segments.iter();
    let decided = decided.take_while(|found| found.decided.is_some_and(|bytes| bytes <= common));
    let count = decided.count();
    for (place, found) in first.segments.iter().take(count).enumerate() {
        let same = &second.segments[place];
        assert_eq!(found.text.expose(), same.text.expose(), "{one}\n{other}");
        assert_eq!((found.origin, &found.path), (same.origin, &same.path));
    }
    count
}

/// A message, block or item of any API, or what is none.
fn item() -> impl Strategy<Value = String> {
    const ITEMS: &[&str] = &[
        r#"{"role":"user","content":"a\nb"}"#,
        r#"{"content":"late role","role":"system"}"#,
        r#"{"role":"assistant","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"path\":\"a.py\"}"}}]}"#,
        r#"{"role":"tool","tool_call_id":"call_1","content":"{\"k\":[1]}"}"#,
        r#"{"content":[{"type":"tool_use","id":"toolu_1","name":"R","input":{"file_path":"b.py"}}],"role":"assistant"}"#,
        r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"x"}]}"#,
        r#"{"type":"function_call","call_id":"call_2","name":"g","arguments":"{\"path\":\"c.py\"}"}"#,
        r#"{"type":"function_call_output","call_id":"call_2","output":"y"}"#,
        r#"{"ro\u006ce":"system","content":"escaped name"}"#,
        r#"{"type":"image_url","image_url":"u"}"#,
        r#""text""#,
        "{}",
        "[[{}],7]",
    ];
    prop::sample::select(ITEMS).prop_map(str::to_owned)
}

fn request() -> impl Strategy<Value = String> {
    const MEMBERS: &[&str] = &[
        r#""model":"m""#,
        r#""stream":true"#,
        r#""system":"rules""#,
        r#""tools":[{"name":"t"}]"#,
        r#""m\u0065ta":"x""#,
        r#""unknown":{"a":1}"#,
    ];
    let list = prop::sample::select(&["messages", "input"][..]);
    let items = prop::collection::vec(item(), 0..7);
    let others = prop::sample::subsequence(MEMBERS, 0..=MEMBERS.len());
    (list, items, others, any::<prop::sample::Index>()).prop_map(|(list, items, others, at)| {
        let mut members: Vec<String> = others.into_iter().map(str::to_owned).collect();
        if !members.iter().any(|member| member.starts_with("\"model\"")) {
            members.push(r#""model":"m""#.to_owned());
        }
        let at = at.index(members.len() + 1);
        members.insert(at, format!("\"{list}\":[{}]", items.join(",")));
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(200))]
    #[test]
    fn requests_that_begin_alike_say_alike_what_the_beginning_decides(
        one in request(),
        other in request(),
        cut in any::<prop::sample::Index>(),
    ) {
        // the other request's end behind this one's beginning, at any two commas
        let commas = |text: &str| text.match_indices(',').map(|(at, _)| at).collect::<Vec<_>>();
        let (cuts, ends) = (commas(&one), commas(&other));
        for end in ends.iter().chain(&[other.len() - 1]) {
            let Some(at) = cuts.get(cut.index(cuts.len().max(1))) else { break };
            let joined = format!("{}{}", &one[..*at], &other[*end..]);
            for api in Api::ALL {
                decided_alike(api, &one, &joined);
                decided_alike(api, &joined, &one);
            }
        }
        for (from, to) in [("role", "rule"), ("user", "system"), ("call_1", "call_2"), ("id", "ie")] {
            for (at, _) in one.match_indices(from) {
                let changed = format!("{}{to}{}", &one[..at], &one[at + from.len()..]);
                for api in Api::ALL {
                    decided_alike(api, &one, &changed);
                }
            }
        }
    }
}

#[test]
fn a_conversation_that_goes_on_decides_all_but_its_last_message() {
    let messages: Vec<String> = (0..9)
        .map(|turn| format!(r#"{{"role":"user","content":"turn {turn}"}}"#))
        .collect();
    let request = |count: usize| {
        let messages = messages[..count].join(",");
        format!(r#"{{"model":"m","system":"rules","messages":[{messages}],"stream":true}}"#)
    };
    for api in [Api::ChatCompletions, Api::Messages] {
        assert_eq!(decided_alike(api, &request(8), &request(9)), 8, "{api:?}");
    }
    let facts = inspect(Api::Messages, request(8).as_bytes()).unwrap();
    let decided = facts.segments.iter().map(|found| found.decided.is_some());
    // all, as a member follows the messages
    assert!(decided.eq([true; 9]));
}
