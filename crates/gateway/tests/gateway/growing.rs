//! A conversation that a session has seen before is judged in each turn as if it were seen first,
//! although what begins as before is not looked at again.

use crate::{
    upstream::FakeUpstream,
    world::{CHAT, Got, MESSAGES, SECRET, World, standard},
};

/// A message of 1.5 kB: sixteen of them are a stretch, and end within two beginnings.
fn message(role: &str, turn: usize, text: &str) -> String {
    let filling = format!("line {turn} of the file ").repeat(75);
    format!("{{\"role\":\"{role}\",\"content\":\"{filling}{text}\"}}")
}

fn body(messages: &[String]) -> String {
    let messages = messages.join(",");
    format!("{{\"model\":\"both-model\",\"messages\":[{messages}],\"stream\":false}}")
}

#[tokio::test]
async fn each_turn_is_judged_as_if_the_conversation_were_seen_first() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let caller = world.caller(1);
    let mut messages: Vec<String> = Vec::new();
    let mut labels = Vec::new();
    for turn in 0..14 {
        for more in 0..7 {
            let role = ["user", "assistant"][more % 2];
            messages.push(message(role, turn * 7 + more, ""));
        }
        // what was said before is changed, and changed back
        match turn {
            4 => messages[3] = message("user", 3, SECRET),
            5 | 9 => messages[3] = message("user", 3, ""),
            7 => messages[40] = message("user", 40, "house-internal"),
            8 => {
                messages[2] = message("user", 2, "about Project");
                messages[3] = message("user", 3, " Heron");
            }
            10 => messages[2] = message("user", 2, ""),
            12 => messages.push(message("user", 1_000, SECRET)),
            _ => {}
        }
        let path = if turn == 11 { MESSAGES } else { CHAT };
        let _known = Got::of(world.post(&caller, path, body(&messages)).await).await;
        let (_, known) = world.record().await;
        let stranger = world.caller(100 + u8::try_from(turn).unwrap());
        let _first = Got::of(world.post(&stranger, path, body(&messages)).await).await;
        let (_, first) = world.record().await;
        assert_eq!(known.request.received, first.request.received);
        let [known, first] = [known.classification, first.classification];
        assert_eq!(known.label, first.label, "turn {turn}");
        let told = |found: &[proofroom_record::statement::FindingCount]| {
            let found = found.iter().map(|found| (found.rule.clone(), found.count));
            found.collect::<Vec<_>>()
        };
        assert_eq!(told(&known.findings), told(&first.findings), "turn {turn}");
        labels.push(known.label);
    }
    let secret = |turn: usize| matches!(turn, 4 | 12 | 13);
    let internal = |turn: usize| turn >= 7;
    let expected = |turn| match turn {
        turn if secret(turn) => "restricted",
        turn if internal(turn) => "internal",
        _ => "public",
    };
    assert_eq!(labels, (0..14).map(expected).collect::<Vec<_>>());
}
