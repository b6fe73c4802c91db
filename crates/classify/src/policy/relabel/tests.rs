//! What can be told of kept findings, and what cannot.

use super::{KeptFinding, Relabelled};
use crate::{ClassificationPolicy, Classifier, Context, DEFAULT_CLASSIFICATION, Origin, Segment};
use proofroom_canonical::Timestamp;

fn policy(more: &str) -> ClassificationPolicy {
    ClassificationPolicy::parse(&format!("{DEFAULT_CLASSIFICATION}{more}"), "c").unwrap()
}

const FALCON: &str = "\n[[terms]]\nid = \"names\"\nterms = [\"Falcon\"]\nlabel = \"restricted\"\n\
                      match = [\"falcon\"]\nnot_match = [\"falconry\"]\n";
const FALCON_INTERNAL: &str = "\n[[terms]]\nid = \"names\"\nterms = [\"Falcon\", \"Eagle\"]\n\
                      label = \"confidential\"\nmatch = [\"falcon\"]\nnot_match = [\"falconry\"]\n";
const EXCEPTION: &str = "\n[[exceptions]]\nid = \"e\"\nrule = \"names\"\nrepositories = [\"**\"]\n\
                      globs = [\"a/*\"]\nowner = \"o\"\nreason = \"r\"\nexpires = \"2030-01-01T00:00:00Z\"\n";

fn label(policy: &ClassificationPolicy, found: &Relabelled) -> (String, String, usize) {
    let name = |label| policy.levels().name(label).to_owned();
    (name(found.least), name(found.most), found.unknown.len())
}

fn check(old: &str, new: &str, kept: &[(&str, &str, u64)], wanted: (&str, &str, usize)) {
    let (old, new) = (policy(old), policy(new));
    let kept: Vec<_> = kept
        .iter()
        .map(|(rule, label, count)| KeptFinding {
            rule,
            label,
            count: *count,
        })
        .collect();
    let found = new.relabel(&old, &kept, Some("acme/site"));
    let (least, most, unknown) = label(&new, &found);
    assert_eq!((&*least, &*most, unknown), wanted, "{found:?}");
}

#[test]
fn what_the_kept_findings_tell_is_told() {
    let names = [("names", "restricted", 2)];
    check(FALCON, FALCON, &names, ("restricted", "restricted", 0));
    check(FALCON, FALCON, &[], ("internal", "internal", 0));
    // a rule that went away finds nothing any more
    check(FALCON, "", &names, ("internal", "internal", 0));
    // a developer's wish and unreadable content stand
    let asked = [("raised-by-developer", "confidential", 1)];
    check("", "", &asked, ("confidential", "confidential", 0));
    let image = [("unreadable-content", "restricted", 1)];
    check("", "", &image, ("restricted", "restricted", 0));
}

#[test]
fn what_would_take_the_text_is_said() {
    // a new term: nobody knows whether it was in the text
    check("", FALCON, &[], ("internal", "restricted", 1));
    // the old term stands with its new label, and the new word changes nothing below that
    let names = [("names", "restricted", 1)];
    check(
        FALCON,
        FALCON_INTERNAL,
        &names,
        ("confidential", "confidential", 0),
    );
    check(
        FALCON,
        FALCON_INTERNAL,
        &[],
        ("internal", "confidential", 1),
    );
    // fewer words under one id
    check(
        FALCON_INTERNAL,
        FALCON,
        &names,
        ("internal", "restricted", 1),
    );
    // exceptions that came or went
    let excused = format!("{FALCON}{EXCEPTION}");
    check(FALCON, &excused, &names, ("internal", "restricted", 1));
    check(&excused, FALCON, &[], ("internal", "restricted", 1));
    check(&excused, &excused, &names, ("restricted", "restricted", 0));
    // more findings than are listed
    let many = [("contact-email", "confidential", 1000)];
    check("", "", &many, ("confidential", "restricted", 1));
}

#[test]
fn a_policy_relabels_its_own_findings_as_it_labelled_them() {
    let policy = policy(FALCON);
    let texts = [
        "hello",
        "the falcon",
        "card number 4539 5787 6362 1486",
        "write to jane.miller@acme-corp.com, +44 20 7946 0018",
        "db_password = \"t7Qk9fLw2zVx\"",
    ];
    for text in texts {
        let segment = Segment {
            text,
            origin: Origin::User,
            path: Some("src/.env"),
        };
        let context = Context {
            repository: "acme/site",
            now: Timestamp::from_unix_seconds(0),
        };
        let found = Classifier::new(&policy).classify(&[segment], &context);
        let kept: Vec<_> = found
            .findings
            .iter()
            .map(|finding| KeptFinding {
                rule: &finding.rule,
                label: policy.levels().name(finding.label),
                count: 1,
            })
            .collect();
        let again = policy.relabel(&policy, &kept, Some("acme/site"));
        assert_eq!(
            (again.least, again.most),
            (found.label, found.label),
            "{text}"
        );
    }
}
