//! Values that several texts of one author hold together.

use proptest::prelude::*;

use super::{NOW, classifier, github_token, rules, samples, shared, user};
use crate::{Origin, Segment};

#[test]
fn a_token_split_over_two_segments_of_one_origin_is_found_once() {
    let classifier = classifier("");
    let token = github_token();
    let (first, second) = token.split_at(17);
    let (first, second) = (format!("use {first}"), format!("{second} please"));
    let segments = [user(&first), user(&second)];
    let result = classifier.classify(&segments, &NOW);
    assert_eq!(rules(&result), ["github-token"]);
    assert_eq!(
        (result.findings[0].segment, result.findings[0].span.clone()),
        (0, 4..21)
    );
    let others = [
        user(&first),
        Segment {
            origin: Origin::Assistant,
            ..user(&second)
        },
    ];
    assert_eq!(rules(&classifier.classify(&others, &NOW)), [""; 0]);
}

/// Where the findings of a token are whose letters stand in `parts`.
fn found_in(parts: &[&str]) -> Vec<(usize, std::ops::Range<usize>)> {
    let segments: Vec<Segment<'_>> = parts.iter().map(|part| user(part)).collect();
    let result = shared().classify(&segments, &NOW);
    assert!(rules(&result).iter().all(|rule| *rule == "github-token"));
    let places = result.findings.iter();
    places.map(|f| (f.segment, f.span.clone())).collect()
}

#[test]
fn a_token_split_over_any_number_of_segments_is_found_once_where_it_begins() {
    let token = github_token();
    let (a, rest) = token.split_at(9);
    let (b, c) = rest.split_at(13);
    let (first, last) = (format!("use {a}"), format!("{c} please"));
    assert_eq!(found_in(&["so,", &first, b, &last]), [(1, 4..13)]);
    assert_eq!(found_in(&[&first, "", b, "", &last]), [(0, 4..13)]);
    let letters: Vec<&str> = (0..token.len()).map(|at| &token[at..=at]).collect();
    let alone = [&["use "][..], &letters].concat();
    assert_eq!(found_in(&alone), [(1, 0..1)]);
    // more stands between than is read
    let long = "word ".repeat(103);
    assert_eq!(found_in(&[&first, &long, &last]), []);
    let others = [&first, b, &last].map(user);
    let between = Segment {
        origin: Origin::Assistant,
        ..others[1]
    };
    let result = shared().classify(&[others[0], between, others[2]], &NOW);
    assert_eq!(rules(&result), [""; 0], "another author's text is between");
}

#[test]
fn an_exception_for_the_path_where_a_value_begins_holds() {
    let exception = "[[exceptions]]\nid = \"fixtures\"\nrule = \"github-token\"\nrepositories = [\"acme/web\"]\nglobs = [\"fixtures/**\"]\nowner = \"o\"\nreason = \"made up\"\nexpires = \"2030-01-01T00:00:00Z\"";
    let classifier = classifier(exception);
    let token = github_token();
    let parts = [&token[..9], &token[9..20], &token[20..]];
    for (place, excepted) in [(0, true), (1, false), (2, false)] {
        let mut segments = parts.map(user);
        segments[place].path = Some("fixtures/a.txt");
        let result = classifier.classify(&segments, &NOW);
        assert_eq!(result.excepted.len(), usize::from(excepted), "{place}");
        assert_eq!(result.findings.len(), usize::from(!excepted), "{place}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// As a stream is: what one message carries is found when several of one author carry it. The
    /// label may come from another rule, and 512 bytes before each message and its first 512 are looked at.
    #[test]
    fn splitting_a_text_never_lowers_its_label(text in "[ -~]{0,60}", known in samples(), cuts in proptest::collection::vec(0_usize..1_000, 1..6)) {
        let text = format!("{text}\n\n{known}\n\n");
        let alone = shared().classify(&[user(&text)], &NOW).label;
        prop_assume!(cuts.len() == 1 || text.len() <= 512);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % text.len()).collect();
        cuts.sort_unstable();
        let (mut parts, mut rest) = (Vec::new(), text.as_str());
        for cut in cuts.iter().rev() {
            let (before, after) = rest.split_at(crate::detect::floor_boundary(rest, *cut));
            parts.insert(0, user(after));
            rest = before;
        }
        parts.insert(0, user(rest));
        let split = shared().classify(&parts, &NOW);
        prop_assert!(split.label >= alone, "{parts:?}");
    }
}
