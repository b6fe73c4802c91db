//! What a session knows is what a whole scan says, is bounded and shows nothing.

use proptest::prelude::*;

use super::{
    super::{SessionVerdicts, scan::work},
    NOW, classifier, github_token, pieces, rules, shared, user,
};
use crate::{Context, Origin, Segment};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Conversations that grow, share their turns and are cut elsewhere, in one session that forgets
    /// some of what it knew: each is classified as if it were the first.
    #[test]
    fn a_session_that_remembers_says_what_a_whole_scan_says(
        turns in proptest::collection::vec((turn(), 0_u8..3), 1..8),
        cuts in proptest::collection::vec(0_usize..500, 1..4),
        most in prop_oneof![1_usize..12, Just(1_000)],
    ) {
        let verdicts = SessionVerdicts::with_most([7; 32], most);
        let parts: Vec<(&str, u8)> = turns.iter().map(|(t, o)| (t.as_str(), *o)).collect();
        let all = turns.iter().map(|(text, _)| text.as_str()).collect::<String>();
        for length in 1..=parts.len() {
            same(&verdicts, &segments_of(&parts[..length]))?;
        }
        // long enough to be known by the stretch
        let long: Vec<(&str, u8)> = parts.iter().cycle().take(50).copied().collect();
        for length in [33, 40, 50] {
            same(&verdicts, &segments_of(&long[..length]))?;
            same(&verdicts, &segments_of(&long[50 - length..]))?;
        }
        for cut in cuts {
            let cut = crate::detect::floor_boundary(&all, cut);
            same(&verdicts, &[user(&all[..cut]), user(&all[cut..])])?;
        }
        same(&verdicts, &segments_of(&parts))?;
    }
}

fn segments_of<'a>(parts: &[(&'a str, u8)]) -> Vec<Segment<'a>> {
    let segment = |(text, origin): &(&'a str, u8)| Segment {
        origin: [Origin::User, Origin::Assistant, Origin::ToolResult][usize::from(*origin)],
        path: (*origin == 2).then_some("tests/a.txt"),
        ..user(text)
    };
    parts.iter().map(segment).collect()
}

fn same(
    verdicts: &SessionVerdicts,
    segments: &[Segment<'_>],
) -> Result<(), proptest::test_runner::TestCaseError> {
    let remembered = shared().classify_in_session(segments, &NOW, verdicts);
    prop_assert_eq!(remembered, shared().classify(segments, &NOW));
    Ok(())
}

#[test]
fn a_session_keeps_verdicts_within_its_bound_and_none_of_another_policy() {
    let verdicts = SessionVerdicts::with_most([7; 32], 20);
    let token = github_token();
    for turn in 0..100 {
        let text = format!("turn {turn} {token}");
        let result = shared().classify_in_session(&[user(&text)], &NOW, &verdicts);
        assert_eq!(rules(&result), ["github-token"]);
        assert!(verdicts.len() <= 20, "{}", verdicts.len());
    }
    let off = classifier("[detectors]\noff = [\"github-token\"]");
    let text = format!("turn 99 {token}");
    let result = off.classify_in_session(&[user(&text)], &NOW, &verdicts);
    assert_eq!(rules(&result), [""; 0]);
    verdicts.forget();
    assert!(verdicts.is_empty());
}

/// Nor is a path that gives a label forgotten, of which another repository says something else.
#[test]
fn what_a_session_knows_is_not_looked_at_again() {
    let policy = "[[paths]]\nid = \"keys\"\nrepositories = [\"acme/web\"]\nglobs = [\"**/*.pem\"]\nlabel = \"restricted\"";
    let classifier = classifier(policy);
    let verdicts = SessionVerdicts::new([7; 32]);
    let texts: Vec<String> = (0..40).map(|turn| format!("turn {turn}")).collect();
    let mut segments: Vec<Segment<'_>> = texts.iter().map(|text| user(text)).collect();
    segments[3].path = Some("a/key.pem");
    let classify = |context| {
        let result = classifier.classify_in_session(&segments, context, &verdicts);
        assert_eq!(result, classifier.classify(&segments, context));
        work::take();
        let again = classifier.classify_in_session(&segments, context, &verdicts);
        assert_eq!((again, work::take()), (result.clone(), 0));
        rules(&result).len()
    };
    assert_eq!(classify(&NOW), 1);
    let elsewhere = Context {
        repository: "acme/other",
        ..NOW
    };
    assert_eq!(classify(&elsewhere), 0);
}

/// The text of a verdict is never kept, nor its digest without the session's key.
#[test]
fn a_session_shows_nothing_and_two_sessions_know_one_text_by_different_digests() {
    let text = github_token();
    let [one, other] = [[1; 32], [2; 32]].map(SessionVerdicts::new);
    let policy = shared().policy().digest();
    assert_ne!(one.tag(policy, &text), other.tag(policy, &text));
    let _found = shared().classify_in_session(&[user(&text)], &NOW, &one);
    assert_eq!(format!("{one:?}"), "SessionVerdicts { .. }");
}

/// Some hold a token together.
fn turn() -> impl Strategy<Value = String> {
    let part = |from: usize, to: usize| Just(github_token()[from..to].to_owned());
    prop_oneof![
        6 => pieces(),
        1 => part(0, 12),
        1 => part(12, 25),
        1 => part(25, 40),
    ]
}
