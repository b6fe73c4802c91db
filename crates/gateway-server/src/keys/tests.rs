//! Keys, their file, and what is refused.

use proofroom_canonical::Timestamp;

use super::{KeyFile, KeyFileError, KeyToken, Scope, VirtualKey};
use crate::limits::Limits;

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

pub(crate) fn key_for(token: &KeyToken) -> VirtualKey {
    VirtualKey {
        id: token.id(),
        digest: token.digest(),
        user: "ada".to_owned(),
        team: "core".to_owned(),
        created: Timestamp::from_unix_seconds(1),
        expires: None,
        revoked: None,
        scope: Scope {
            models: all(),
            tiers: all(),
            labels: all(),
            regions: all(),
            repository: String::new(),
            purpose: String::new(),
        },
        limits: Limits::default(),
        session_limits: Limits::default(),
        client_key: None,
        proof_key: None,
    }
}

/// The part of a key that is no id.
fn secret(token: &KeyToken) -> &str {
    token.expose().rsplit('_').next().unwrap()
}

#[test]
fn a_key_is_known_by_its_text_alone_and_nothing_prints_it() {
    let token = KeyToken::generate().unwrap();
    let again = KeyToken::parse(token.expose()).unwrap();
    assert!(again.is(token.digest()));
    let (start, last) = token.expose().split_at(token.expose().len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    let wrong = KeyToken::parse(&format!("{start}{other}")).unwrap();
    assert!(!wrong.is(token.digest()));
    assert!(!format!("{token:?}").contains(secret(&token)));
    for end in 0..token.expose().len() {
        assert!(
            KeyToken::parse(token.expose().get(..end).unwrap()).is_none(),
            "{end}"
        );
    }
    for bad in [
        token.expose().to_uppercase(),
        format!("{}0", token.expose()),
    ] {
        assert!(KeyToken::parse(&bad).is_none(), "{bad}");
    }
}

#[test]
fn the_file_holds_digests_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let token = KeyToken::generate().unwrap();
    KeyFile::change(&path, |file| {
        file.keys.push(key_for(&token));
        Ok(())
    })
    .unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(!text.contains(secret(&token)));
    assert_eq!(KeyFile::parse(&bytes).unwrap().keys, [key_for(&token)]);
    for end in 0..bytes.len() - 1 {
        let refused = KeyFile::parse(&bytes[..end]).unwrap_err();
        assert_eq!(refused.code(), "keys-malformed", "{end}");
    }
    let revoked = |file: &mut KeyFile| {
        file.find_mut(token.id())?.revoked = Some(Timestamp::from_unix_seconds(2));
        Ok(())
    };
    KeyFile::change(&path, revoked).unwrap();
    assert!(KeyFile::load(&path).unwrap().keys[0].revoked.is_some());
}

#[test]
fn what_could_not_stand_in_a_record_or_be_matched_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let token = KeyToken::generate().unwrap();
    type Break = fn(&mut VirtualKey);
    let breaks: [(Break, &str); 5] = [
        (|key| key.user = String::new(), "keys-name"),
        (|key| key.team = "a\nb".to_owned(), "keys-name"),
        (|key| key.scope.repository = "r".repeat(129), "keys-name"),
        (|key| key.scope.purpose = "p\n".to_owned(), "keys-name"),
        (|key| key.scope.models = vec!["[".to_owned()], "keys-glob"),
    ];
    for (break_it, code) in breaks {
        let mut key = key_for(&token);
        break_it(&mut key);
        let refused = KeyFile::change(&path, |file| {
            file.keys.push(key);
            Ok(())
        });
        assert_eq!(refused.unwrap_err().code(), code);
        assert_eq!(KeyFile::load(&path).unwrap(), KeyFile::default());
    }
    let mut twice = KeyFile::default();
    twice.keys = vec![key_for(&token), key_for(&token)];
    let bytes = serde_json::to_vec(&twice).unwrap();
    assert!(matches!(
        KeyFile::parse(&bytes),
        Err(KeyFileError::Twice(_))
    ));
}
