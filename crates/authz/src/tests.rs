//! What the default policy decides, what a policy file is refused for, and the laws that hold for
//! every policy.

use std::sync::LazyLock;

use proptest::prelude::*;

use crate::{
    Access, AccessPolicy, DEFAULT_POLICY, Decision, Operation, PathAction, TaskGrant,
    WorkspacePath, path::fold,
};

fn default_policy() -> AccessPolicy {
    static PARSED: LazyLock<AccessPolicy> =
        LazyLock::new(|| AccessPolicy::parse(DEFAULT_POLICY, "access.cedar").unwrap());
    PARSED.clone()
}

fn globs(list: &[&str]) -> Vec<String> {
    list.iter().map(|glob| (*glob).to_owned()).collect()
}

fn access(read: &[&str], write: &[&str], run: &[&str]) -> Access {
    let grant = TaskGrant::compile(&globs(read), &globs(write), &globs(run)).unwrap();
    Access::new(default_policy(), grant, "builder".to_owned())
}

fn on(action: PathAction, path: &str) -> Operation {
    Operation::Path(action, WorkspacePath::parse(path).unwrap())
}

fn code(decision: &Decision) -> &'static str {
    match decision {
        Decision::Allow { .. } => "allow",
        Decision::Deny { code, .. } => code.as_str(),
    }
}

fn problems(text: &str) -> Vec<&'static str> {
    let found = AccessPolicy::parse(text, "p").unwrap_err();
    found.iter().map(super::PolicyProblem::code).collect()
}

#[test]
fn the_default_policy_loads_and_its_digest_is_of_its_bytes() {
    let policy = default_policy();
    assert_eq!(
        policy.digest(),
        proofroom_canonical::Digest::of(DEFAULT_POLICY)
    );
    assert!(policy.ids().contains(&"no-automation-changes".to_owned()));
}

#[test]
fn a4_a_protected_file_that_does_not_exist_yet_cannot_be_created_at_any_depth() {
    let access = access(&["**"], &["**"], &["*"]);
    for path in [
        ".git/config",
        "a/b/c/.git",
        ".git",
        "x/.gitmodules",
        ".proofroom/x",
    ] {
        let made = access.decide(&on(PathAction::WriteFile, path));
        assert_eq!(code(&made), "protected-path", "{path}");
        let made = access.decide(&on(PathAction::Edit, path));
        assert_eq!(code(&made), "protected-path", "{path}");
    }
}

#[test]
fn a5_every_spelling_of_a_protected_name_is_protected() {
    let access = access(&["**"], &["**"], &["*"]);
    for path in [
        ".GIT/config",
        ".Git/hooks/x",
        ".g\u{200d}it/config",
        ".gi\u{feff}t/config",
        ".g\u{131}t/config",
        "\u{ff0e}\u{ff27}\u{ff29}\u{ff34}/config",
        ".git./config",
        ".git /config",
        ".git::$INDEX_ALLOCATION/config",
        "a\\.git\\config",
        "GIT~1/config",
        ".git\u{1}/config",
    ] {
        let made = access.decide(&on(PathAction::WriteFile, path));
        assert_eq!(code(&made), "protected-path", "{path:?}");
    }
}

#[test]
fn a18_files_that_others_run_later_are_denied_in_every_spelling_and_still_readable() {
    let access = access(&["**"], &["**"], &["*"]);
    for path in [
        ".github/workflows/ci.yml",
        "sub/.GitHub/WORKFLOWS/x.yml",
        ".vscode/tasks.json",
        ".claude/settings.json",
        "pkg/.mcp.json",
        ".envrc",
        "Jenkinsfile",
    ] {
        let made = access.decide(&on(PathAction::WriteFile, path));
        assert_eq!(code(&made), "access-policy", "{path}");
        assert_eq!(
            code(&access.decide(&on(PathAction::ReadFile, path))),
            "allow"
        );
    }
    let ordinary = on(PathAction::WriteFile, ".github/ISSUE_TEMPLATE.md");
    assert_eq!(code(&access.decide(&ordinary)), "allow");
}

#[test]
fn the_grant_only_narrows() {
    let access = access(&["src/**"], &["src/*.rs"], &["cargo"]);
    let cases = [
        (on(PathAction::ReadFile, "src/a/b.rs"), "allow"),
        (on(PathAction::ReadFile, "secrets.txt"), "not-granted"),
        (on(PathAction::WriteFile, "src/a.rs"), "allow"),
        (on(PathAction::WriteFile, "src/a/b.rs"), "not-granted"),
        (on(PathAction::List, "."), "allow"),
        (on(PathAction::List, "src"), "allow"),
        (on(PathAction::List, "docs"), "not-granted"),
    ];
    for (operation, wanted) in cases {
        assert_eq!(code(&access.decide(&operation)), wanted, "{operation}");
    }
    let run = |program: &str| Operation::Run {
        argv: vec![program.to_owned()],
    };
    assert_eq!(code(&access.decide(&run("cargo"))), "allow");
    assert_eq!(code(&access.decide(&run("curl"))), "not-granted");
    assert_eq!(
        code(&access.decide(&Operation::Run { argv: vec![] })),
        "not-granted"
    );
}

#[test]
fn an_empty_grant_grants_nothing() {
    let access = access(&[], &[], &[]);
    for action in [
        PathAction::ReadFile,
        PathAction::List,
        PathAction::WriteFile,
    ] {
        assert_eq!(code(&access.decide(&on(action, "a"))), "not-granted");
    }
    assert_eq!(
        code(&access.decide(&on(PathAction::List, "."))),
        "not-granted"
    );
}

#[test]
fn unknown_endpoints_are_denied_and_connections_left_to_the_egress_policy() {
    let access = access(&["**"], &["**"], &["*"]);
    let connect = Operation::Connect {
        host: "example.com".to_owned(),
        port: 443,
    };
    assert!(matches!(access.decide(&connect), Decision::Allow { .. }));
    let files = Operation::ModelRun {
        endpoint: "/v1/files".to_owned(),
    };
    assert_eq!(code(&access.decide(&files)), "access-policy");
}

#[test]
fn paths_that_leave_or_deceive_are_refused() {
    for (path, wanted) in [
        ("/etc/passwd", "outside-workspace"),
        ("../x", "outside-workspace"),
        ("a/../../x", "outside-workspace"),
        ("a/..", "outside-workspace"),
        ("", "malformed-path"),
        ("a\0b", "malformed-path"),
    ] {
        assert_eq!(WorkspacePath::parse(path).unwrap_err().code(), wanted);
    }
    assert_eq!(WorkspacePath::parse("./a//b/.").unwrap().as_str(), "a/b");
}

#[test]
fn a_policy_file_is_refused_for_what_would_surprise_its_author() {
    const P: &str = "@id(\"p\") @reason(\"r\") ";
    let cases = [
        ("permit (principal, action, resource", vec!["policy-syntax"]),
        (
            "permit (principal, action, resource);",
            vec!["policy-unnamed"],
        ),
        (
            "@id(\"p\") @reason(\"r\") permit (principal, action == Action::\"reed\", resource);",
            vec!["policy-validation", "policy-untested"],
        ),
        (
            "@id(\"p\") @reason(\"r\") permit (principal, action == Action::\"run\", resource);\n//? allow run x by q",
            vec!["policy-example"],
        ),
        (
            "@id(\"p\") @reason(\"r\") permit (principal, action == Action::\"run\", resource);\n//? deny run x",
            vec!["policy-example"],
        ),
        (
            "@id(\"p\") @reason(\"r\") permit (principal, action == Action::\"run\", resource);\n//? allow runn x\n//? allow run x",
            vec!["policy-example-syntax"],
        ),
    ];
    for (text, wanted) in cases {
        let found = problems(text);
        assert!(
            wanted.iter().all(|code| found.contains(code)),
            "{text}: {found:?}"
        );
    }
    let shouting = format!(
        "{P}forbid (principal, action == Action::\"edit\", resource) when {{ resource.path like \"Secrets/*\" }};"
    );
    assert!(problems(&shouting).contains(&"policy-never-matches"));
}

#[test]
fn two_policies_of_one_id_are_refused() {
    let one =
        "@id(\"p\") @reason(\"r\") permit (principal, action == Action::\"run\", resource);\n";
    assert_eq!(problems(&one.repeat(2)), ["policy-unnamed"]);
}

fn operation() -> impl Strategy<Value = Operation> {
    let action = prop::sample::select(vec![
        PathAction::ReadFile,
        PathAction::List,
        PathAction::Search,
        PathAction::Edit,
        PathAction::WriteFile,
    ]);
    let name = prop_oneof![
        Just(".git".to_owned()),
        Just(".github".to_owned()),
        Just("workflows".to_owned()),
        Just("src".to_owned()),
        "\\PC{1,6}",
    ];
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    prop_oneof![
        (action, path).prop_filter_map("a path", |(action, path)| {
            Some(Operation::Path(action, WorkspacePath::parse(&path).ok()?))
        }),
        prop::collection::vec("\\PC{0,8}", 0..3).prop_map(|argv| Operation::Run { argv }),
        "\\PC{0,8}".prop_map(|endpoint| Operation::ModelRun { endpoint }),
        ("\\PC{0,8}", any::<u16>()).prop_map(|(host, port)| Operation::Connect { host, port }),
    ]
}

fn variant(path: &str, seed: u64) -> String {
    let invisible = ['\u{200b}', '\u{feff}', '\u{ad}'];
    let mut out = String::new();
    for (index, c) in path.chars().enumerate() {
        let choice = seed.rotate_left(u32::try_from(index % 64).unwrap_or(0)) % 4;
        match choice {
            0 => out.extend(c.to_uppercase()),
            1 if c.is_ascii_graphic() && c != '/' && c != '.' && c != '\\' && c != '~' => {
                // the full-width form of an ASCII character
                out.push(char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c));
            }
            2 if c != '/' && c != '.' => {
                out.push(c);
                out.push(invisible[index % 3]);
            }
            _ => out.push(c),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn removing_a_permission_never_turns_deny_into_allow(operation in operation(), which in any::<prop::sample::Index>()) {
        let policy = default_policy();
        let permits = policy.permits();
        let fewer = policy.without(which.get(permits.as_slice()).as_str());
        if code(&fewer.decide("a", &operation)) == "allow" {
            prop_assert_eq!(code(&policy.decide("a", &operation)), "allow");
        }
    }

    #[test]
    fn a_smaller_grant_never_turns_deny_into_allow(operation in operation(), keep in 0_usize..3) {
        let all = ["src/**", "*", "**/x"];
        let some = &all[..keep];
        if code(&access(some, some, some).decide(&operation)) == "allow" {
            prop_assert_eq!(code(&access(&all, &all, &all).decide(&operation)), "allow");
        }
    }

    #[test]
    fn a5_all_spellings_of_a_path_get_the_same_decision(
        path in "(\\.git|\\.GITHUB|workflows|src|[a-z]{1,4})(/(\\.git|workflows|\\.vscode|x\\.rs)){0,2}",
        seed in any::<u64>(),
    ) {
        let other = variant(&path, seed);
        let access = access(&["**"], &["src/**", ".github/**"], &["*"]);
        for action in [PathAction::ReadFile, PathAction::Edit, PathAction::WriteFile] {
            prop_assert_eq!(
                code(&access.decide(&on(action, &path))),
                code(&access.decide(&on(action, &other))),
                "{:?} and {:?}", path, other
            );
        }
    }

    #[test]
    fn folding_is_idempotent(text in "\\PC{0,24}") {
        let once = fold(&text);
        prop_assert_eq!(fold(&once), once);
    }
}

#[test]
fn folding_is_idempotent_for_every_character() {
    for c in char::MIN..=char::MAX {
        let once = fold(&c.to_string());
        assert_eq!(fold(&once), once, "{c:?}");
    }
}
