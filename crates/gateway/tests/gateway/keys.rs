//! Keys of upstreams in files: replaced while the gateway runs, and gone.

use std::{fs, path::Path};

use proofroom_record::event::RunStatus;

use crate::{
    upstream::FakeUpstream,
    world::{CHAT, Got, World, chat, standard},
};

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

/// The upstreams file of one whose key is in `path`.
fn keyed(address: impl std::fmt::Display, path: &Path) -> String {
    let key = format!("from = \"file\", path = \"{}\"", path.display());
    standard(address).replace(r#"from = "env", name = "STD_KEY""#, &key)
}

#[tokio::test]
async fn a_replaced_key_is_sent_and_one_that_is_gone_closes_its_upstream() {
    let mut upstream = FakeUpstream::plain().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    replace(&path, "first");
    let mut world = World::new(keyed(upstream.address, &path));
    let caller = world.caller(1);
    for key in ["first", "second"] {
        replace(&path, key);
        let got = Got::of(world.post(&caller, CHAT, chat("std-model", "hi")).await).await;
        assert_eq!(got.status, 200);
        let seen = upstream.seen.recv().await.unwrap();
        assert_eq!(seen.headers["authorization"], format!("Bearer {key}"));
        world.record().await;
    }
    for (text, code) in [
        (Some(""), "key-form"),
        (Some("two\nlines"), "key-form"),
        (None, "key-unreadable"),
    ] {
        match text {
            Some(text) => replace(&path, text),
            None => fs::remove_file(&path).unwrap(),
        }
        let got = Got::of(world.post(&caller, CHAT, chat("std-model", "hi")).await).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (503, code));
        let (_, record) = world.record().await;
        assert_eq!(
            (record.status, record.request.forwarded),
            (RunStatus::Refused, None)
        );
        assert_eq!(record.routing.rejected[0].code, code);
        upstream.nothing_was_sent();
    }
    assert_eq!(world.events.closed(), ["key-form", "key-unreadable"]);
    replace(&path, "third");
    world.gateway.tend();
    let got = Got::of(world.post(&caller, CHAT, chat("std-model", "hi")).await).await;
    assert_eq!(got.status, 200);
    let seen = upstream.seen.recv().await.unwrap();
    assert_eq!(seen.headers["authorization"], "Bearer third");
    assert_eq!(world.events.keys_read(), 3);
}

#[tokio::test]
async fn an_upstream_without_its_key_is_passed_over_for_the_next_of_its_tier() {
    let mut first = FakeUpstream::plain().await;
    let mut second = FakeUpstream::plain().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    replace(&path, "first");
    let other = standard(second.address).replace("\"std\"", "\"other\"");
    let mut world = World::new(keyed(first.address, &path) + &other);
    fs::remove_file(&path).unwrap();
    let got = Got::of(
        world
            .post(&world.caller(1), CHAT, chat("std-model", "hi"))
            .await,
    )
    .await;
    assert_eq!(got.status, 200);
    second.seen.recv().await.unwrap();
    first.nothing_was_sent();
    let (_, record) = world.record().await;
    assert_eq!(record.routing.upstream.as_deref(), Some("other"));
    assert_eq!(record.routing.rejected[0].code, "key-unreadable");
}
