//! The broker against honest and hostile repositories and packs.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use proofroom_record::room_api::WORKSPACE_REFERENCE;

use super::{Inspector, Objection, Origin, OriginError, WorkspaceLimits};

const ROOMY: WorkspaceLimits = WorkspaceLimits {
    tree_bytes: 1 << 30,
    history_bytes: 1 << 30,
    files: 1000,
};

struct Fixture {
    _dir: tempfile::TempDir,
    root: PathBuf,
    repo: PathBuf,
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let repo = root.join("repo");
    fs::create_dir(&repo).unwrap();
    git(&repo, &["init", "-q", "-b", "main"]);
    fs::write(repo.join("a.txt"), "one\n").unwrap();
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "-qm", "first"]);
    Fixture {
        _dir: dir,
        root,
        repo,
    }
}

impl Fixture {
    fn open(&self) -> Result<Origin, OriginError> {
        Origin::open(&self.repo, &self.root.join("scratch"), ROOMY)
    }

    /// Does in a clone what an agent does in a room; returns the tip and the pack of new objects.
    fn work(&self, origin: &Origin, change: impl FnOnce(&Path)) -> (String, Vec<u8>) {
        let bundle = self.root.join("out.bundle");
        let mut child = origin.bundle().unwrap();
        let mut bytes = Vec::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        assert!(child.wait().unwrap().success());
        fs::write(&bundle, bytes).unwrap();
        let clone = self.root.join("clone");
        let from = bundle.to_str().unwrap();
        fs::create_dir(&clone).unwrap();
        git(&clone, &["init", "-q"]);
        git(&clone, &["fetch", "-q", from, WORKSPACE_REFERENCE]);
        git(&clone, &["checkout", "-q", "-b", "work", "FETCH_HEAD"]);
        change(&clone);
        let tip = git(&clone, &["rev-parse", "HEAD"]);
        let revs = self.root.join("revs");
        fs::write(&revs, format!("{tip}\n^{}\n", origin.commit())).unwrap();
        let output = Command::new("git")
            .current_dir(&clone)
            .args(["pack-objects", "--revs", "--stdout", "-q", "--thin"])
            .stdin(fs::File::open(&revs).unwrap())
            .output()
            .unwrap();
        (tip, output.stdout)
    }
}

fn commit_file(clone: &Path, name: &str, content: &str) {
    fs::write(clone.join(name), content).unwrap();
    git(clone, &["add", "-A"]);
    git(clone, &["commit", "-qm", "change"]);
}

const REFERENCE: &str = "refs/heads/proofroom/test";

/// Objects to files named `forbidden` and to the content `SECRET`.
struct Picky;

impl Inspector for Picky {
    fn path(&self, path: &str) -> Option<Objection> {
        (path == "forbidden").then(|| Objection {
            code: "test-path",
            reason: "not this one".to_owned(),
        })
    }

    fn content(&self, _: &str, content: &[u8]) -> Option<Objection> {
        let secret = content == b"SECRET\n" || content.ends_with(b"\nSECRET MESSAGE\n");
        secret.then(|| Objection {
            code: "test-content",
            reason: "not this".to_owned(),
        })
    }
}

#[test]
fn a_commit_goes_in_and_its_successor_comes_out_as_a_branch() {
    let fixture = fixture();
    let origin = fixture.open().unwrap();
    let (tip, pack) = fixture.work(&origin, |clone| commit_file(clone, "a.txt", "two\n"));
    let delivered = origin
        .deliver(pack.as_slice(), &tip, REFERENCE, &Picky)
        .unwrap();
    assert_eq!(delivered.commit, tip);
    assert_eq!(git(&fixture.repo, &["rev-parse", REFERENCE]), tip);
    assert_eq!(
        git(&fixture.repo, &["show", &format!("{tip}:a.txt")]),
        "two"
    );
    assert_eq!(git(&fixture.repo, &["status", "--porcelain"]), "");
}

/// A16, A17: nothing that the origin's own configuration names is run on the trusted side.
#[test]
fn a16_a17_programs_named_by_the_repository_never_run() {
    let fixture = fixture();
    let mark = fixture.root.join("ran");
    let script = fixture.root.join("evil.sh");
    fs::write(&script, format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let evil = script.to_str().unwrap();
    for name in [
        "post-checkout",
        "reference-transaction",
        "post-update",
        "pre-receive",
    ] {
        fs::copy(&script, fixture.repo.join(".git/hooks").join(name)).unwrap();
    }
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "core.askPass",
        "diff.external",
        "filter.x.clean",
        "filter.x.smudge",
        "merge.x.driver",
        "uploadpack.packObjectsHook",
        "credential.helper",
        "gpg.program",
    ] {
        git(&fixture.repo, &["config", key, evil]);
    }
    fs::write(
        fixture.repo.join(".git/info/attributes"),
        "* filter=x diff=x merge=x\n",
    )
    .unwrap();
    let origin = fixture.open().unwrap();
    let (tip, pack) = fixture.work(&origin, |clone| commit_file(clone, "b.txt", "b\n"));
    origin
        .deliver(pack.as_slice(), &tip, REFERENCE, &Picky)
        .unwrap();
    assert!(!mark.exists(), "a program of the repository ran");
}

#[test]
fn an_unrelated_history_is_not_taken() {
    let fixture = fixture();
    let origin = fixture.open().unwrap();
    let (tip, pack) = fixture.work(&origin, |clone| {
        git(clone, &["checkout", "-q", "--orphan", "other"]);
        commit_file(clone, "a.txt", "other\n");
    });
    let refused = origin
        .deliver(pack.as_slice(), &tip, REFERENCE, &Picky)
        .unwrap_err();
    assert_eq!(refused.code(), "not-a-descendant");
    assert_eq!(git(&fixture.repo, &["branch", "--list", "proofroom/*"]), "");
}

#[test]
fn a_damaged_or_cut_pack_is_not_taken() {
    let fixture = fixture();
    let origin = fixture.open().unwrap();
    let (tip, pack) = fixture.work(&origin, |clone| commit_file(clone, "a.txt", "two\n"));
    let mut flipped = pack.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for bad in [
        &flipped[..],
        &pack[..pack.len() - 1],
        &pack[..20],
        b"",
        b"garbage",
    ] {
        let refused = origin.deliver(bad, &tip, REFERENCE, &Picky).unwrap_err();
        assert_eq!(refused.code(), "pack-refused");
    }
    assert_eq!(git(&fixture.repo, &["branch", "--list", "proofroom/*"]), "");
}

#[test]
fn a_file_with_a_credential_is_not_taken() {
    let fixture = fixture();
    let origin = fixture.open().unwrap();
    let (tip, pack) = fixture.work(&origin, |clone| commit_file(clone, "key.txt", "SECRET\n"));
    let refused = origin
        .deliver(pack.as_slice(), &tip, REFERENCE, &Picky)
        .unwrap_err();
    assert_eq!(refused.code(), "test-content");
    assert_eq!(
        refused.to_string(),
        "`key.txt` cannot be delivered: not this"
    );
    assert_eq!(git(&fixture.repo, &["branch", "--list", "proofroom/*"]), "");
}

#[test]
fn a_commit_message_with_a_credential_is_not_taken() {
    let fixture = fixture();
    let origin = fixture.open().unwrap();
    let (tip, pack) = fixture.work(&origin, |clone| {
        commit_file(clone, "a.txt", "two\n");
        git(clone, &["commit", "-q", "--amend", "-m", "SECRET MESSAGE"]);
    });
    let refused = origin
        .deliver(pack.as_slice(), &tip, REFERENCE, &Picky)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`commit message` cannot be delivered: not this"
    );
    assert_eq!(git(&fixture.repo, &["branch", "--list", "proofroom/*"]), "");
}

#[test]
fn a_forbidden_path_is_refused_even_when_a_later_commit_removes_it() {
    let fixture = fixture();
    let origin = fixture.open().unwrap();
    let (tip, pack) = fixture.work(&origin, |clone| {
        commit_file(clone, "forbidden", "x\n");
        fs::remove_file(clone.join("forbidden")).unwrap();
        git(clone, &["commit", "-qam", "remove it again"]);
    });
    let refused = origin
        .deliver(pack.as_slice(), &tip, REFERENCE, &Picky)
        .unwrap_err();
    assert_eq!(refused.code(), "test-path");
}

/// A20: names reach git as arguments or bytes, never a shell.
#[test]
fn a20_hostile_file_names_pass_through_unharmed() {
    let fixture = fixture();
    for name in [
        "new\nline",
        "$(touch pwned)",
        "-rf",
        "a;b",
        "\u{3000}x",
        "q\"uote",
        "tab\tx",
    ] {
        fs::write(fixture.repo.join(name), name).unwrap();
    }
    git(&fixture.repo, &["add", "-A"]);
    git(&fixture.repo, &["commit", "-qm", "names"]);
    let origin = fixture.open().unwrap();
    let (tip, pack) = fixture.work(&origin, |clone| commit_file(clone, "--version", "x"));
    origin
        .deliver(pack.as_slice(), &tip, REFERENCE, &Picky)
        .unwrap();
}

#[test]
fn a_reference_that_exists_is_not_overwritten() {
    let fixture = fixture();
    git(&fixture.repo, &["update-ref", REFERENCE, "HEAD"]);
    let origin = fixture.open().unwrap();
    let (tip, pack) = fixture.work(&origin, |clone| commit_file(clone, "a.txt", "two\n"));
    let refused = origin
        .deliver(pack.as_slice(), &tip, REFERENCE, &Picky)
        .unwrap_err();
    assert_eq!(refused.code(), "git-failed");
    assert_eq!(
        git(&fixture.repo, &["rev-parse", REFERENCE]),
        origin.commit()
    );
}

#[test]
fn what_is_too_large_is_named() {
    let fixture = fixture();
    fs::write(fixture.repo.join("big.bin"), vec![7; 3 << 20]).unwrap();
    git(&fixture.repo, &["add", "-A"]);
    git(&fixture.repo, &["commit", "-qm", "big"]);
    let tight = WorkspaceLimits {
        tree_bytes: 1 << 20,
        ..ROOMY
    };
    let refused = Origin::open(&fixture.repo, &fixture.root.join("s"), tight).unwrap_err();
    assert_eq!(refused.code(), "workspace-too-large");
    assert!(
        refused.to_string().contains("`big.bin` with 3 MiB"),
        "{refused}"
    );
    let few = WorkspaceLimits { files: 1, ..ROOMY };
    let refused = Origin::open(&fixture.repo, &fixture.root.join("t"), few).unwrap_err();
    assert!(refused.to_string().contains("it has 2 files"), "{refused}");
}

#[test]
fn a_shallow_clone_is_refused_before_a_room_is_made_for_it() {
    let fixture = fixture();
    commit_file(&fixture.repo, "b.txt", "two\n");
    let shallow = fixture.root.join("shallow");
    let from = format!("file://{}", fixture.repo.display());
    let to = shallow.to_str().unwrap();
    git(&fixture.root, &["clone", "-q", "--depth", "1", &from, to]);
    let open = |scratch: &str| Origin::open(&shallow, &fixture.root.join(scratch), ROOMY);
    assert_eq!(open("scratch1").unwrap_err().code(), "repository-shallow");
    git(&shallow, &["fetch", "-q", "--unshallow"]);
    open("scratch2").unwrap();
}

#[test]
fn what_is_not_a_repository_says_so() {
    let fixture = fixture();
    let empty = fixture.root.join("empty");
    fs::create_dir(&empty).unwrap();
    git(&empty, &["init", "-q"]);
    for path in [&fixture.root, &empty, &fixture.root.join("absent")] {
        let scratch = fixture.root.join("scratch");
        let refused = Origin::open(path, &scratch, ROOMY).unwrap_err();
        assert_eq!(refused.code(), "not-a-repository", "{}", path.display());
    }
}

#[test]
fn a_linked_work_tree_and_a_bare_repository_can_be_opened() {
    let fixture = fixture();
    let linked = fixture.root.join("linked");
    git(
        &fixture.repo,
        &["worktree", "add", "-q", linked.to_str().unwrap()],
    );
    let bare = fixture.root.join("bare.git");
    let to = bare.to_str().unwrap();
    git(&fixture.repo, &["clone", "-q", "--bare", ".", to]);
    let head = git(&fixture.repo, &["rev-parse", "HEAD"]);
    for (n, path) in [linked, bare].iter().enumerate() {
        let scratch = fixture.root.join(format!("scratch{n}"));
        let origin = Origin::open(path, &scratch, ROOMY).unwrap();
        assert_eq!(origin.commit(), head);
    }
}
