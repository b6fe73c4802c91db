//! What is given to a session and should not be: configuration that is wrong, repositories that are
//! hostile or too large. Each is refused with words that name the place, or taken and harmless.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Instant,
};

use proofroom_e2e::{Bundle, Deployment, git, program};

fn check(policy: &Path) -> (Option<i32>, String) {
    let output: Output = Command::new(program("proofroom"))
        .args(["policy", "check"])
        .arg(policy)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

fn edit(deployment: &Deployment, file: &str, change: impl Fn(String) -> String) {
    let path = deployment.policy().join(file);
    let text = fs::read_to_string(&path).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed, "the change of {file} changes nothing");
    fs::write(path, changed).unwrap();
}

/// A deployment with one upstream that nobody calls.
fn deployment() -> Deployment {
    let deployment = Deployment::empty();
    let text = r#"[[upstream]]
name = "nobody"
tier = "standard"
base_url = "http://127.0.0.1:9"
apis = ["chat", "messages"]
models = ["none"]
region = "local"
source = "cassette"
key = { from = "none" }
retention = { mode = "in-memory", contract = "nobody is there" }
attestation = { kind = "none" }
"#;
    fs::write(deployment.policy().join("upstreams.toml"), text).unwrap();
    assert_eq!(check(&deployment.policy()).0, Some(0));
    deployment
}

#[test]
fn an_unknown_key_is_refused_by_file_and_name_in_every_policy_file() {
    for file in [
        "classification.toml",
        "routing.toml",
        "room.toml",
        "appraisal.toml",
        "egress.toml",
        "upstreams.toml",
    ] {
        let deployment = deployment();
        edit(&deployment, file, |text| format!("nonsense = 1\n{text}"));
        let (code, said) = check(&deployment.policy());
        assert_eq!(code, Some(64), "{file}: {said}");
        for words in [file, "nonsense", "(policy-refused)"] {
            assert!(said.contains(words), "{file}: {said}");
        }
    }
}

#[test]
fn a_syntax_error_is_refused_by_file_and_line() {
    let cases = [
        ("access.cedar", "access.cedar", "line 3"),
        ("upstreams.toml", "upstreams.toml", "line 3"),
        ("routing.toml", "routing.toml", "line 3"),
        ("classification.toml", "classification.toml", "line 3"),
        ("room.toml", "room.toml", "line 3"),
        ("appraisal.toml", "appraisal.toml", "line 3"),
        ("egress.toml", "egress.toml", "line 3"),
    ];
    for (file, name, line) in cases {
        let deployment = deployment();
        edit(&deployment, file, |text| format!("\n\n= broken\n{text}"));
        let (code, said) = check(&deployment.policy());
        assert_eq!(code, Some(64), "{file}: {said}");
        assert!(said.contains(name) && said.contains(line), "{file}: {said}");
    }
}

#[test]
fn policies_that_contradict_each_other_are_refused_before_anything_runs() {
    // An example that the rules do not decide as it says.
    let example = deployment();
    edit(&example, "routing.toml", |text| {
        let (from, to) = (
            "match = [{ label = \"public\"",
            "match = [{ label = \"confidential\"",
        );
        text.replace(from, to)
    });
    // A tier that the routing policy does not know.
    let tier = deployment();
    edit(&tier, "upstreams.toml", |text| {
        text.replace("tier = \"standard\"", "tier = \"gold\"")
    });
    // An attested tier without evidence.
    let attested = deployment();
    edit(&attested, "upstreams.toml", |text| {
        text.replace("tier = \"standard\"", "tier = \"tee\"")
    });
    for (deployment, words) in [
        (&example, "standard-first"),
        (&tier, "gold"),
        (&attested, "attestation"),
    ] {
        let (code, said) = check(&deployment.policy());
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains(words), "{said}");
        let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
        let refused = deployment.session(&repository).command(&["true"]).run();
        assert_eq!(refused.code, Some(64), "{refused:#?}");
        assert!(refused.complaint.contains(words), "{refused:#?}");
        assert!(refused.complaint.contains("(policy-refused)"));
        assert!(refused.lines.is_empty(), "{refused:#?}");
    }
}

#[test]
fn a_missing_policy_file_is_named_and_a_file_that_exists_is_not_overwritten() {
    let deployment = deployment();
    fs::remove_file(deployment.policy().join("routing.toml")).unwrap();
    let (code, said) = check(&deployment.policy());
    assert_eq!(code, Some(64));
    assert!(said.contains("routing.toml") && said.contains("proofroom policy init"));
    let again = Command::new(program("proofroom"))
        .args(["policy", "init"])
        .arg(deployment.policy())
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&again.stderr).contains("File exists"));
}

#[test]
fn a_path_that_is_no_repository_is_refused_by_name() {
    let deployment = deployment();
    let empty = deployment.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let unborn = deployment.path().join("unborn");
    fs::create_dir(&unborn).unwrap();
    git(&unborn, &["init", "-q"]);
    let missing = deployment.path().join("missing");
    for (path, code) in [
        (&empty, "not-a-repository"),
        (&unborn, "not-a-repository"),
        (&missing, "repository-missing"),
    ] {
        let refused = deployment.session(path).command(&["true"]).run();
        assert_eq!(refused.code, Some(64), "{refused:#?}");
        assert!(refused.complaint.contains(code), "{refused:#?}");
        let name = path.display().to_string();
        assert!(refused.complaint.contains(&name), "{refused:#?}");
        let left = fs::read_dir(deployment.state().join("sessions")).unwrap();
        assert_eq!(left.count(), 0, "a folder stayed behind");
    }
}

#[test]
fn hostile_names_reach_the_room_as_names_and_nothing_more() {
    let deployment = deployment();
    let names = [
        "new\nline.txt",
        "$(touch owned) `touch owned`; touch owned.txt",
        "-rf",
        "--upload-pack=touch owned",
        "quote\"'\\.txt",
        "tab\tescape\u{1b}[31m.txt",
        "\u{202e}txt.exe",
        "nested/git/config",
        "...",
    ];
    let files: Vec<(&str, &str)> = names.iter().map(|name| (*name, "content\n")).collect();
    let repository = deployment.repository("hostile", &files);
    let outside = deployment.path().join("outside-secret");
    fs::write(&outside, "secret-of-the-host\n").unwrap();
    std::os::unix::fs::symlink(&outside, repository.join("out")).unwrap();
    std::os::unix::fs::symlink("../../../../etc/shadow", repository.join("up")).unwrap();
    git(&repository, &["add", "-A"]);
    git(&repository, &["commit", "-q", "-m", "links"]);
    let script = "find . -type f -not -path './.git/*' | tr -dc '\\n' | wc -c; \
                  cat out up; ls owned owned.txt; printf changed > ./-rf; echo end";
    let bundle = deployment
        .session(&repository)
        .command(&["sh", "-c", script])
        .run();
    assert_eq!(bundle.end(), Some("completed"), "{bundle:#?}");
    bundle.assert_accepted();
    // Nine files, one of them with a line break in its name.
    assert_eq!(said(&bundle), "10\nend\n", "{bundle:#?}");
    assert!(!format!("{bundle:?}").contains("secret-of-the-host"));
    // What comes back is one branch with one changed file; the work tree is as it was.
    let branch = bundle.session_record()["predicate"]["result"]["reference"]
        .as_str()
        .unwrap()
        .to_owned();
    let changed = git(&repository, &["diff", "--name-only", "main", &branch]);
    assert_eq!(changed, "-rf");
    assert_eq!(git(&repository, &["status", "--porcelain"]), "");
}

fn said(bundle: &Bundle) -> String {
    let lines = bundle.lines.iter();
    let out = lines.filter(|line| line["type"] == "room" && line["kind"] == "stdout");
    out.filter_map(|line| line["text"].as_str()).collect()
}

/// Writes an object without any of git's own checks; returns its id.
fn object(repository: &Path, kind: &str, content: &[u8]) -> String {
    let mut child = Command::new("git")
        .current_dir(repository)
        .args(["hash-object", "-t", kind, "-w", "--literally", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn raw(id: &str) -> Vec<u8> {
    let digits = id.as_bytes().chunks(2);
    let bytes = digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16));
    bytes.map(Result::unwrap).collect()
}

/// A repository whose one commit has one tree entry.
fn with_entry(deployment: &Deployment, name: &str, mode: &str, entry: &str) -> PathBuf {
    let repository = deployment.path().join(name);
    fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "-q", "-b", "main"]);
    let blob = object(
        &repository,
        "blob",
        b"[core]\n\tfsmonitor = touch /tmp/owned\n",
    );
    let inner = object(
        &repository,
        "tree",
        &[b"100644 config\0", &raw(&blob)[..]].concat(),
    );
    let target = match mode {
        "40000" => inner,
        "160000" => "2".repeat(40),
        _ => blob,
    };
    let line = [
        mode.as_bytes(),
        b" ",
        entry.as_bytes(),
        b"\0",
        &raw(&target),
    ]
    .concat();
    let tree = object(&repository, "tree", &line);
    let commit = git(&repository, &["commit-tree", &tree, "-m", "crafted"]);
    git(&repository, &["update-ref", "refs/heads/main", &commit]);
    repository
}

#[test]
fn tree_entries_that_leave_the_workspace_or_forge_a_git_directory_refuse_the_session() {
    let deployment = deployment();
    let cases = [
        ("dotdot", "40000", "..", "hasDotdot"),
        ("dotgit", "40000", ".git", "hasDotgit"),
        ("dotgit-case", "40000", ".GIT", "hasDotgit"),
        ("dotgit-short", "40000", "GIT~1", "hasDotgit"),
        ("slash", "100644", "../../owned", "fullPathname"),
    ];
    for (name, mode, entry, words) in cases {
        let repository = with_entry(&deployment, name, mode, entry);
        let bundle = deployment.session(&repository).command(&["true"]).run();
        assert_eq!(bundle.end(), Some("refused"), "{name}: {bundle:#?}");
        assert_eq!(bundle.code, Some(1), "{name}");
        bundle.assert_accepted();
        let told = bundle.lines.iter().any(|line| {
            let text = line["text"].as_str().unwrap_or_default();
            line["type"] == "room" && text.contains(words)
        });
        assert!(told, "{name}: {bundle:#?}");
    }
}

#[test]
fn a_submodule_stays_outside_and_is_named() {
    let deployment = deployment();
    let repository = with_entry(&deployment, "submodule", "160000", "vendor");
    let script = "ls vendor | wc -l";
    let bundle = deployment
        .session(&repository)
        .command(&["sh", "-c", script])
        .run();
    assert_eq!(bundle.end(), Some("completed"), "{bundle:#?}");
    bundle.assert_accepted();
    assert_eq!(said(&bundle).trim(), "0");
    let named = bundle.lines.iter().any(|line| {
        let text = line["text"].as_str().unwrap_or_default();
        text.contains("submodule `vendor`")
    });
    assert!(named, "{bundle:#?}");
}

/// A commit of `count` files, made without a work tree.
fn many_files(deployment: &Deployment, count: usize) -> PathBuf {
    let repository = deployment.path().join("many");
    fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "-q", "-b", "main"]);
    let mut stream = String::from(
        "blob\nmark :1\ndata 2\nx\n\ncommit refs/heads/main\n\
         committer t <t@example.org> 1700000000 +0000\ndata 1\nx\n",
    );
    for number in 0..count {
        stream.push_str(&format!("M 100644 :1 d{}/f{number}\n", number / 1000));
    }
    let mut child = Command::new("git")
        .current_dir(&repository)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(stream.as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    repository
}

#[test]
fn a_hundred_thousand_files_go_into_a_room_or_are_refused_by_number() {
    let deployment = deployment();
    let repository = many_files(&deployment, 100_000);
    let began = Instant::now();
    let bundle = deployment
        .session(&repository)
        .command(&[
            "sh",
            "-c",
            "find . -name 'f*' -not -path './.git/*' | wc -l",
        ])
        .run();
    println!(
        "100,000 files: {:.1} s for the session",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(bundle.end(), Some("completed"), "{:?}", bundle.complaint);
    bundle.assert_accepted();
    assert_eq!(said(&bundle).trim(), "100000");

    edit(&deployment, "room.toml", |text| {
        text.replace("inodes = 400000", "inodes = 20000")
    });
    let refused = deployment.session(&repository).command(&["true"]).run();
    assert_eq!(refused.code, Some(64), "{refused:#?}");
    let words = "it has 100000 files, the workspace holds 10000";
    assert!(refused.complaint.contains(words), "{refused:#?}");
    assert!(refused.complaint.contains("(workspace-too-large)"));
}

#[test]
fn a_file_of_two_gigabytes_is_refused_by_name_without_being_read() {
    let deployment = deployment();
    let repository = deployment.repository("huge", &[("a.txt", "a\n")]);
    // A loose object whose header says 2 GiB and whose content is not there: whoever reads more than
    // the header of it fails in another way than this test wants.
    let id = "1234567890".repeat(4);
    let script = "import sys, zlib, os; p = sys.argv[1]; os.makedirs(os.path.dirname(p)); \
                  open(p, 'wb').write(zlib.compress(b'blob 2147483648\\0' + b'x' * 4096))";
    let path = repository
        .join(".git/objects")
        .join(&id[..2])
        .join(&id[2..]);
    let made = Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    let line = [b"100644 huge.bin\0", &raw(&id)[..]].concat();
    let tree = object(&repository, "tree", &line);
    let commit = git(&repository, &["commit-tree", &tree, "-m", "huge"]);
    git(&repository, &["update-ref", "refs/heads/main", &commit]);
    let refused = deployment.session(&repository).command(&["true"]).run();
    assert_eq!(refused.code, Some(64), "{refused:#?}");
    for words in [
        "(workspace-too-large)",
        "`huge.bin` with 2048 MiB",
        "room.toml",
    ] {
        assert!(refused.complaint.contains(words), "{refused:#?}");
    }
    let left = fs::read_dir(deployment.state().join("sessions")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn a_repository_with_a_large_history_is_streamed_into_the_room() {
    let deployment = deployment();
    let repository = deployment.repository("large", &[("a.txt", "a\n")]);
    let mut random = fs::File::open("/dev/urandom").unwrap();
    let mut file = fs::File::create(repository.join("large.bin")).unwrap();
    std::io::copy(&mut std::io::Read::take(&mut random, 96 << 20), &mut file).unwrap();
    git(&repository, &["-c", "core.compression=0", "add", "-A"]);
    git(&repository, &["commit", "-q", "-m", "large"]);
    let bundle = deployment
        .session(&repository)
        .command(&["sh", "-c", "wc -c < large.bin"])
        .run();
    assert_eq!(bundle.end(), Some("completed"), "{bundle:#?}");
    bundle.assert_accepted();
    assert_eq!(said(&bundle).trim(), (96 << 20).to_string());
}
