//! Rules that decide beside the ones in force: they change nothing, and the record says what they
//! would have done.

use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_record::statement::ShadowDifference;

use crate::{
    upstream::FakeUpstream,
    world::{CHAT, CLASSIFICATION, Got, Options, ROUTING, SECRET, World, chat, standard},
};

/// Other rules: the house's own word is restricted, the code name is nothing.
fn other() -> String {
    let all = CLASSIFICATION.replacen("label = \"restricted\"", "label = \"public\"", 1);
    all.replacen("label = \"internal\"", "label = \"restricted\"", 1)
}

#[tokio::test]
async fn other_rules_change_nothing_and_are_recorded() {
    let mut upstream = FakeUpstream::plain().await;
    let mut options = Options::of(standard(upstream.address));
    options.shadow = Some((other(), ROUTING.to_owned()));
    let mut world = World::with(&options);
    let caller = world.caller(1);
    let sent = chat("std-model", "a house-internal word");
    let got = Got::of(world.post(&caller, CHAT, sent.clone()).await).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.headers["x-proofroom-label"], "internal");
    assert_eq!(upstream.seen.recv().await.unwrap().body, sent);
    let (_, record) = world.record().await;
    let shadow = record.shadow.unwrap();
    let policy = ClassificationPolicy::parse(&other(), "c").unwrap();
    let routing = RoutingPolicy::parse(ROUTING, "r", &policy).unwrap();
    assert_eq!(
        (shadow.classification, shadow.routing),
        (policy.digest(), routing.digest())
    );
    assert_eq!((shadow.label.as_str(), shadow.tier), ("restricted", None));
    let difference = ShadowDifference {
        rule: "house-word".to_owned(),
        from: Some("internal".to_owned()),
        to: Some("restricted".to_owned()),
    };
    assert_eq!(shadow.differences, [difference]);
    // their mark rises by itself, and stays
    Got::of(world.post(&caller, CHAT, chat("std-model", "hello")).await).await;
    let (_, record) = world.record().await;
    let shadow = record.shadow.unwrap();
    assert_eq!(
        (shadow.label.as_str(), shadow.high_water_after.as_str()),
        ("public", "restricted")
    );
    assert_eq!(shadow.rule, "confidential-to-tee");
    assert_eq!(record.classification.high_water_after, "internal");
    // what they would let go does not go
    let got = Got::of(
        world
            .post(&world.caller(2), CHAT, chat("std-model", SECRET))
            .await,
    )
    .await;
    assert_eq!(got.code(), "label-requires-tier");
    let (_, record) = world.record().await;
    assert_eq!(record.shadow.unwrap().tier.as_deref(), Some("standard"));
}

#[tokio::test]
async fn without_other_rules_a_record_says_nothing_of_them() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    Got::of(
        world
            .post(&world.caller(1), CHAT, chat("std-model", "hello"))
            .await,
    )
    .await;
    let (_, record) = world.record().await;
    assert_eq!(record.shadow, None);
    assert_eq!(record.classification.redaction, None);
}
