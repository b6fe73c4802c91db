//! Histories, and what is made of them.

use p256::{
    ecdsa::SigningKey,
    pkcs8::{EncodePublicKey as _, LineEnding},
};
use proofroom_canonical::{Digest, Nonce, Timestamp};

use super::{Interval, PolicyHistory, PolicyVersion, VersionedPolicies};
use crate::predicate::{VerifiedRecord, seal};

fn key(byte: u8) -> SigningKey {
    SigningKey::from_slice(&[byte; 32]).unwrap()
}

fn pem(key: &SigningKey) -> String {
    let key = key.verifying_key();
    key.to_public_key_pem(LineEnding::LF).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000 + seconds)
}

/// `(signed, in force from)` of each version.
fn entries(times: &[(i64, i64)], change: impl Fn(&mut PolicyVersion)) -> Vec<Vec<u8>> {
    let mut previous = None;
    let make = |(number, (signed, from)): (usize, &(i64, i64))| {
        let digest = Digest::of(number.to_string());
        let mut version = PolicyVersion {
            number: number as u64,
            previous,
            policies: VersionedPolicies {
                access: digest,
                classification: digest,
                routing: digest,
                egress: digest,
            },
            author: "security@acme.example".to_owned(),
            reason: "a new customer".to_owned(),
            signed: at(*signed),
            in_force_from: at(*from),
            signer: pem(&key(1)),
            successor: pem(&key(1)),
            blinding: Nonce::from_random([7; 32]),
        };
        change(&mut version);
        let sealed = seal(&version, &key(1)).unwrap();
        previous = Some(sealed.digest);
        sealed.bytes
    };
    times.iter().enumerate().map(make).collect()
}

fn read(entries: &[Vec<u8>]) -> Result<PolicyHistory, &'static str> {
    let entries = entries.iter().map(Vec::as_slice);
    PolicyHistory::verify(entries, key(1).verifying_key()).map_err(|error| error.code())
}

#[test]
fn a_history_says_which_version_was_in_force_when() {
    let history = read(&entries(&[(0, 0), (10, 100), (20, 30)], |_| {})).unwrap();
    let number = |seconds| history.in_force(at(seconds)).map(|v| v.predicate().number);
    assert_eq!(number(-1), None);
    assert_eq!(number(0), Some(0));
    assert_eq!(number(29), Some(0));
    assert_eq!(number(30), Some(2));
    // the second was to begin at 100, and another came before
    assert_eq!(number(100), Some(2));
    assert_eq!(history.interval(1), None);
    let first = Interval {
        from: at(0),
        until: Some(at(30)),
    };
    assert_eq!(history.interval(0), Some(first));
    assert_eq!(history.interval(2).unwrap().until, None);
}

#[test]
fn what_was_in_force_is_not_changed_by_later_versions() {
    // every order of three starts, each signed before the next
    let starts = [
        [50, 60, 70],
        [50, 70, 60],
        [60, 50, 70],
        [60, 70, 50],
        [70, 50, 60],
        [70, 60, 50],
    ];
    for start in starts {
        let times = [(0, start[0]), (40, start[1]), (50, start[2])];
        let all = entries(&times, |_| {});
        for known in 1..all.len() {
            let (short, long) = (read(&all[..known]).unwrap(), read(&all).unwrap());
            // up to the moment at which the next entry was signed
            for seconds in 0..times[known].0 {
                let number =
                    |h: &PolicyHistory| h.in_force(at(seconds)).map(VerifiedRecord::digest);
                assert_eq!(number(&short), number(&long), "{start:?} at {seconds}");
            }
        }
    }
}

#[test]
fn a_history_that_was_tampered_with_is_refused() {
    let good = entries(&[(0, 0), (10, 10), (20, 20)], |_| {});
    let without_middle = [good[0].clone(), good[2].clone()];
    assert_eq!(read(&without_middle).unwrap_err(), "policy-history-broken");
    assert_eq!(read(&good[1..]).unwrap_err(), "policy-history-broken");
    let swapped = [good[1].clone(), good[0].clone()];
    assert_eq!(read(&swapped).unwrap_err(), "policy-history-broken");
    let anchor = key(2);
    let of_another = PolicyHistory::verify([good[0].as_slice()], anchor.verifying_key());
    assert_eq!(of_another.unwrap_err().code(), "envelope-wrong-key");
    for cut in 0..good[0].len() {
        assert!(read(&[good[0][..cut].to_vec()]).is_err(), "{cut} bytes");
    }
}

#[test]
fn the_next_key_is_the_one_that_was_announced() {
    let announced = entries(&[(0, 0), (10, 10)], |v| v.successor = pem(&key(2)));
    // the second entry is signed by the first key all the same
    assert_eq!(read(&announced).unwrap_err(), "envelope-wrong-key");
    let named = entries(&[(0, 0)], |v| v.signer = pem(&key(2)));
    assert_eq!(read(&named).unwrap_err(), "policy-history-signer");
    let no_key = entries(&[(0, 0)], |v| v.successor = "none".to_owned());
    assert_eq!(read(&no_key).unwrap_err(), "policy-history-key");
    let history = read(&announced[..1]).unwrap();
    let refused = history.next(key(1).verifying_key(), at(5)).unwrap_err();
    assert_eq!(refused.code(), "policy-history-not-successor");
    let (number, previous) = history.next(key(2).verifying_key(), at(5)).unwrap();
    assert_eq!((number, previous), (1, Some(Digest::of(&announced[0]))));
}

#[test]
fn a_clock_that_went_back_is_refused() {
    let late = entries(&[(10, 10), (5, 20)], |_| {});
    assert_eq!(read(&late).unwrap_err(), "policy-history-clock");
    let history = read(&late[..1]).unwrap();
    let refused = history.check_clock(at(9)).unwrap_err();
    assert_eq!(refused.code(), "clock-backwards");
    let refused = history.next(key(1).verifying_key(), at(9)).unwrap_err();
    assert_eq!(refused.code(), "clock-backwards");
    history.check_clock(at(10)).unwrap();
}
