//! The list itself; nothing is tried here.

use std::collections::BTreeSet;

use super::{GROUPS, each, refused};
use crate::attempt::Tried;

#[test]
fn every_attempt_has_a_name_of_its_own() {
    let mut seen = BTreeSet::new();
    for attempt in GROUPS.iter().flat_map(|group| group.attempts) {
        assert!(seen.insert(attempt.name), "{} is there twice", attempt.name);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(attempt.name.chars().all(plain), "{}", attempt.name);
    }
}

#[test]
fn every_attempt_says_what_the_record_must_hold_or_why_nothing() {
    for attempt in GROUPS.iter().flat_map(|group| group.attempts) {
        assert!(!attempt.traces.is_empty(), "{}", attempt.name);
    }
}

#[test]
fn a_call_that_came_in_is_an_escape_even_when_it_failed() {
    assert!(matches!(
        refused(Err(libc::EPERM)),
        Tried::Blocked(Some(libc::EPERM), _)
    ));
    for errno in [libc::EINVAL, libc::EFAULT, libc::EBADF, libc::ENOENT] {
        assert!(matches!(refused(Err(errno)), Tried::Escaped(_)), "{errno}");
    }
    assert!(matches!(refused(Ok(3)), Tried::Escaped(_)));
}

#[test]
fn one_escape_among_many_is_an_escape() {
    let many = [
        refused(Err(libc::EPERM)),
        refused(Ok(0)),
        refused(Err(libc::EPERM)),
    ];
    assert!(matches!(each(many), Tried::Escaped(_)));
    assert!(matches!(each([]), Tried::NotApplicable(_)));
}
