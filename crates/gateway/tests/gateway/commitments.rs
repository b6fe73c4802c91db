//! What a record commits to, who can open it, and that the record alone shows nothing of it.

use proofroom_canonical::Digest;
use proofroom_gateway::CommitmentKey;

use crate::{
    upstream::FakeUpstream,
    world::{CHAT, COMMITMENTS, Got, SECRET, World, chat, standard},
};

// put together here, so that no scanner takes this file for a leak
const KEY_ID: &str = concat!("AK", "IAQ3EGRT5XWYZ2NHKM");
const OTHER: &str = concat!("AK", "IAQ3EGRT5XWYZ2NHKN");
const RULE: &str = "aws-access-key-id";

#[tokio::test]
async fn a_record_commits_to_what_was_found_and_shows_nothing_of_it() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let caller = world.caller(1);
    let text = format!("id {KEY_ID} and again {KEY_ID}");
    let mut told = Vec::new();
    for _ in 0..2 {
        let got = Got::of(world.post(&caller, CHAT, chat("std-model", &text)).await).await;
        assert_eq!(got.code(), "label-requires-tier");
        let (_, record) = world.record().await;
        let written = serde_json::to_string(&record).unwrap();
        assert!(!written.contains(KEY_ID) && !written.contains(&Digest::of(KEY_ID).to_hex()));
        let class = &record.classification;
        let found = class.findings.iter().find(|found| found.rule == RULE);
        let found = found.unwrap();
        assert_eq!((found.count, found.commitments.len()), (2, 1));
        let deployment = CommitmentKey::new(COMMITMENTS);
        assert_eq!(class.commitment_key, Some(deployment.id()));
        let key = deployment.of_run(&record.blinding);
        let opens = |rule, value| found.commitments.contains(&key.commit(rule, value));
        assert!(opens(RULE, KEY_ID));
        assert!(!opens(RULE, OTHER) && !opens("openai-key", KEY_ID));
        let elsewhere = CommitmentKey::new([8; 32]).of_run(&record.blinding);
        assert!(!found.commitments.contains(&elsewhere.commit(RULE, KEY_ID)));
        told.push(found.commitments.clone());
    }
    // nobody sees without the key that both runs had the same value
    assert_ne!(told[0], told[1]);
}

#[tokio::test]
async fn a_customers_word_and_a_clean_request_are_committed_to_nothing() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    for text in [SECRET, "hello"] {
        let caller = world.caller(1);
        drop(Got::of(world.post(&caller, CHAT, chat("std-model", text)).await).await);
        let class = world.record().await.1.classification;
        assert_eq!(class.commitment_key, None);
        assert!(
            class
                .findings
                .iter()
                .all(|found| found.commitments.is_empty())
        );
    }
}
