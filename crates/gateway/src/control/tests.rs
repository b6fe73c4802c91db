//! Pauses, shares and rests.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};
use proofroom_canonical::Timestamp;
use proofroom_classify::Candidate;

use super::{Control, Healths, Patience, balance, is_busy};

const CONTROL: Control = Control {
    attempts: 3,
    longest_wait: Duration::from_secs(10),
    rest_after: 2,
    rest: Duration::from_secs(30),
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn said(text: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))])
}

#[test]
fn a_pause_is_never_shorter_than_the_upstream_said_and_never_longer_than_the_run_may_wait() {
    for random in [0, 1 << 31, u32::MAX] {
        let mut patience = Patience::of(&CONTROL);
        let pause = patience.pause(&said("4"), random).unwrap();
        assert!((Duration::from_secs(4)..=Duration::from_secs(5)).contains(&pause));
        // what is left does not suffice for as much again with the longest addition
        let again = patience.pause(&said("4"), random);
        assert!(again.is_none_or(|again| pause + again <= CONTROL.longest_wait));
        assert_eq!(patience.pause(&said("11"), random), None);
    }
}

#[test]
fn pauses_grow_where_the_upstream_says_nothing() {
    let mut patience = Patience::of(&CONTROL);
    let none = HeaderMap::new();
    let pauses: Vec<u128> = (0..5)
        .map_while(|_| patience.pause(&none, 0))
        .map(|p| p.as_millis())
        .collect();
    assert_eq!(pauses, [250, 500, 1000, 2000, 4000]);
    assert_eq!(patience.pause(&none, 0), None);
}

#[test]
fn what_is_no_number_of_seconds_is_not_waited_for() {
    for text in [
        "Wed, 21 Oct 2026 07:28:00 GMT",
        "-1",
        "1.5",
        "",
        "99999999999",
    ] {
        assert_eq!(Patience::of(&CONTROL).pause(&said(text), 0), None, "{text}");
    }
}

#[test]
fn attempts_are_counted() {
    let mut patience = Patience::of(&CONTROL);
    assert_eq!(
        [(); 4].map(|()| patience.attempted()),
        [true, true, false, false]
    );
    assert!(!Patience::of(&Control::default()).attempted());
}

#[test]
fn busy_is_what_says_that_nothing_was_done() {
    let busy = (100..=599).filter(|status| is_busy(StatusCode::from_u16(*status).unwrap()));
    assert_eq!(busy.collect::<Vec<u16>>(), [429, 503, 529]);
}

fn candidates(names: &[&str]) -> Vec<Candidate> {
    let named = names.iter().map(|name| Candidate {
        upstream: (*name).to_owned(),
        model: "m".to_owned(),
    });
    named.collect()
}

#[test]
fn requests_are_shared_by_weight_and_spares_come_last() {
    let weight = |candidate: &Candidate| match candidate.upstream.as_str() {
        "three" => Some(3),
        "one" => Some(1),
        _ => None,
    };
    let mut firsts: BTreeMap<String, u32> = BTreeMap::new();
    // numbers that visit each remainder equally often
    for number in 0..4000 {
        let all = candidates(&["spare", "one", "three", "other"]);
        let ordered = balance(all, |_| (), weight, || number);
        let names: Vec<&str> = ordered.iter().map(|c| c.upstream.as_str()).collect();
        assert_eq!(names[2..], ["spare", "other"]);
        *firsts.entry(names[0].to_owned()).or_default() += 1;
    }
    assert_eq!(
        firsts,
        BTreeMap::from([("one".to_owned(), 1000), ("three".to_owned(), 3000)])
    );
}

#[test]
fn nothing_changes_places_with_another_group_or_without_weights() {
    let names = ["a", "b", "c", "d"];
    let order =
        |ordered: Vec<Candidate>| ordered.into_iter().map(|c| c.upstream).collect::<String>();
    assert_eq!(
        order(balance(candidates(&names), |_| (), |_| None, || 3)),
        "abcd"
    );
    for number in 0..16 {
        let group = |candidate: &Candidate| candidate.upstream.as_str() < "c";
        let ordered = order(balance(candidates(&names), group, |_| Some(1), || number));
        assert!(
            ["abcd", "bacd", "abdc", "badc"].contains(&&*ordered),
            "{ordered}"
        );
    }
}

#[test]
fn an_upstream_that_fails_rests_and_one_request_finds_out_whether_it_is_back() {
    let healths = Healths::default();
    let permits = |seconds| healths.permits("a", &CONTROL, at(seconds));
    assert_eq!(healths.failed("a", &CONTROL, at(0)), None);
    assert_eq!(permits(0), Ok(()));
    assert_eq!(healths.failed("a", &CONTROL, at(1)), Some(at(31)));
    assert_eq!(permits(2), Err(Duration::from_secs(29)));
    assert_eq!(healths.permits("b", &CONTROL, at(2)), Ok(()));
    // one is let through, the next waits for its outcome
    assert_eq!(permits(31), Ok(()));
    assert_eq!(permits(31), Err(Duration::from_secs(30)));
    assert_eq!(healths.failed("a", &CONTROL, at(32)), None);
    assert_eq!(permits(61), Err(Duration::from_secs(1)));
    assert_eq!(permits(62), Ok(()));
    assert!(healths.answered("a"));
    assert_eq!(permits(62), Ok(()));
    assert!(!healths.answered("a"));
}

#[test]
fn a_clock_that_is_set_back_makes_no_rest_longer() {
    let healths = Healths::default();
    assert_eq!(healths.failed("one", &CONTROL, at(7200)), None);
    assert_eq!(healths.failed("one", &CONTROL, at(7200)), Some(at(7230)));
    let left = Err(Duration::from_secs(30));
    assert_eq!(healths.permits("one", &CONTROL, at(7200)), left);
    // one request finds out, and the rest of the others is of now
    assert_eq!(healths.permits("one", &CONTROL, at(0)), Ok(()));
    assert_eq!(healths.permits("one", &CONTROL, at(0)), left);
}

#[test]
fn failures_count_in_a_row_only_and_not_at_all_where_nobody_rests() {
    let healths = Healths::default();
    for second in 0..8 {
        assert_eq!(healths.failed("a", &CONTROL, at(second)), None);
        assert!(!healths.answered("a"));
        assert_eq!(healths.failed("b", &Control::default(), at(second)), None);
    }
}
