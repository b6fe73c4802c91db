//! What a classification policy file may say, and what is reported when it says something else.

use crate::{ClassificationPolicy, PolicyProblem};

const HEAD: &str =
    "version = 1\nlevels = [\"low\", \"high\"]\ndefault = \"low\"\nunreadable = \"high\"\n";

fn problems(rest: &str) -> Vec<PolicyProblem> {
    ClassificationPolicy::parse(&format!("{HEAD}{rest}"), "c.toml").unwrap_err()
}

fn codes(rest: &str) -> Vec<&'static str> {
    problems(rest).iter().map(PolicyProblem::code).collect()
}

#[test]
fn the_smallest_policy_loads_and_has_a_digest_of_its_bytes() {
    let policy = ClassificationPolicy::parse(HEAD, "c.toml").unwrap();
    assert_eq!(policy.digest(), proofroom_canonical::Digest::of(HEAD));
    assert_eq!(policy.levels().name(policy.default_label()), "low");
    assert_eq!(policy.levels().name(policy.unreadable_label()), "high");
}

#[test]
fn missing_and_wrong_heads_are_refused() {
    let parse = |text: &str| ClassificationPolicy::parse(text, "c.toml").unwrap_err();
    let list: Vec<_> = parse("[detectors]")
        .iter()
        .map(PolicyProblem::code)
        .collect();
    assert_eq!(
        list,
        [
            "missing-key",
            "missing-key",
            "bad-levels",
            "missing-key",
            "missing-key"
        ]
    );
    assert_eq!(parse("version = ")[0].code(), "not-toml");
    assert_eq!(
        parse(&HEAD.replace("= 1", "= 2"))[0].code(),
        "wrong-version"
    );
    assert_eq!(
        parse(&HEAD.replace("unreadable = \"high\"", "unreadable = \"low\""))[0].code(),
        "unreadable-too-low"
    );
    assert_eq!(
        parse(&" ".repeat(crate::table::MAX_POLICY_BYTES + 1))[0].code(),
        "too-large"
    );
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand() {
    assert_eq!(codes("colour = 1"), ["unknown-key"]);
    assert_eq!(codes("[detectors]\nof = []"), ["unknown-key"]);
    assert_eq!(
        codes("[[terms]]\nid = \"a\"\nterms = [\"abc\"]\nlabel = \"low\"\nmatches = []"),
        ["unknown-key"]
    );
}

#[test]
fn detectors_are_known_and_not_contradictory() {
    assert_eq!(codes("[detectors]\noff = [\"aws\"]"), ["unknown-detector"]);
    assert_eq!(
        codes("[detectors.labels]\nus-ssn = \"top\""),
        ["unknown-level"]
    );
    assert_eq!(
        codes("[detectors]\noff = [\"us-ssn\"]\n[detectors.labels]\nus-ssn = \"low\""),
        ["contradictory-detector"]
    );
}

#[test]
fn duplicate_ids_are_refused_across_kinds_of_rules() {
    let rest = "[[terms]]\nid = \"a\"\nterms = [\"abc\"]\nlabel = \"low\"\n[[paths]]\nid = \"a\"\nrepositories = [\"**\"]\nglobs = [\"x\"]\nlabel = \"low\"";
    assert_eq!(codes(rest), ["duplicate-id"]);
    assert_eq!(
        codes("[[terms]]\nid = \"us-ssn\"\nterms = [\"abc\"]\nlabel = \"low\""),
        ["duplicate-id"]
    );
}

#[test]
fn a_wrong_example_names_file_rule_and_example() {
    let rest = "[[terms]]\nid = \"falcon\"\nterms = [\"Falcon\"]\nlabel = \"high\"\nmatch = [\"the Falcon\", \"falconry\"]\nnot_match = [\"a falcon\"]";
    let shown: Vec<_> = problems(rest).iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "c.toml: terms[1] (`falcon`).match[2]: rule `falcon` should match `falconry` and does not",
            "c.toml: terms[1] (`falcon`).not_match[1]: rule `falcon` should not match `a falcon` and does",
        ]
    );
    let builtin = "[[examples]]\nrule = \"us-ssn\"\nmatch = [\"no number here\"]";
    assert_eq!(codes(builtin), ["example-not-matched"]);
    let path = "[[paths]]\nid = \"p\"\nrepositories = [\"**\"]\nglobs = [\"src/*.rs\"]\nlabel = \"low\"\nmatch = [\"src/a/b.rs\"]";
    assert_eq!(codes(path), ["example-not-matched"]);
}

#[test]
fn exceptions_need_an_owner_a_reason_a_date_and_a_narrow_scope() {
    let full = "[[exceptions]]\nid = \"x\"\nrule = \"private-key\"\nrepositories = [\"a/b\"]\nglobs = [\"t/*.pem\"]\nowner = \"o\"\nreason = \"r\"\nexpires = \"2027-06-30T00:00:00Z\"";
    assert!(ClassificationPolicy::parse(&format!("{HEAD}{full}"), "c.toml").is_ok());
    assert_eq!(codes(&full.replace("owner = \"o\"\n", "")), ["missing-key"]);
    assert_eq!(
        codes(&full.replace("reason = \"r\"", "reason = \" \"")),
        ["missing-key"]
    );
    assert_eq!(
        codes(&full.replace("2027-06-30T00:00:00Z", "next year")),
        ["bad-expiry"]
    );
    assert_eq!(
        codes(&full.replace("t/*.pem", "**")),
        ["exception-too-wide"]
    );
    assert_eq!(
        codes(&full.replace("private-key", "no-such")),
        ["unknown-rule"]
    );
    assert_eq!(
        codes(&full.replace("private-key", "unreadable-content")),
        ["unknown-rule"]
    );
}

#[test]
fn all_problems_come_at_once() {
    let rest = "[detectors]\noff = [\"nope\"]\n[[terms]]\nid = \"Bad Id\"\nterms = []\nlabel = \"mid\"\n[[paths]]\nid = \"p\"\nrepositories = [\"**\"]\nglobs = [\"a[\"]\nlabel = \"low\"";
    assert_eq!(
        codes(rest),
        [
            "unknown-detector",
            "bad-id",
            "missing-key",
            "unknown-level",
            "bad-glob"
        ]
    );
}

#[test]
fn a_file_without_rules_restricts_everything() {
    for text in ["", "\n", "# nothing yet\n\n  # really\n"] {
        let policy = ClassificationPolicy::parse(text, "c").unwrap();
        let levels = policy.levels();
        assert_eq!(policy.default_label(), levels.highest());
        assert_eq!(policy.digest(), proofroom_canonical::Digest::of(text));
    }
    let problems = ClassificationPolicy::parse("version = 1\n", "c").unwrap_err();
    assert!(
        problems
            .iter()
            .any(|problem| problem.code() == "missing-key")
    );
}

#[test]
fn credentials_are_replaced_only_where_the_file_says_secrets() {
    let with = |table: &str| {
        let text = format!("{}\n[redaction]\n{table}\n", crate::DEFAULT_CLASSIFICATION);
        let parsed = ClassificationPolicy::parse(&text, "c");
        parsed.map_err(|problems| problems.iter().map(PolicyProblem::code).collect::<Vec<_>>())
    };
    let policy = with("rules = [\"contact-email\"]\nsecrets = [\"github-token\"]").unwrap();
    assert!(policy.redacts("contact-email") && policy.redacts("github-token"));
    assert!(!policy.redacts("payment-card"));
    let refused = |table| with(table).unwrap_err();
    assert_eq!(
        refused("rules = [\"github-token\"]"),
        ["redaction-of-secret"]
    );
    assert_eq!(
        refused("rules = [\"password-in-prose\"]"),
        ["redaction-of-secret"]
    );
    assert_eq!(
        refused("secrets = [\"contact-email\"]"),
        ["redaction-no-secret"]
    );
    assert_eq!(refused("rules = [\"key-files\"]"), ["unknown-rule"]);
    assert_eq!(refused("all = true"), ["unknown-key"]);
}
