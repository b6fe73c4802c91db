//! Programs of the system that are thought harmless, variables that make them something else, and
//! names that would reach a shell. What is not in the room cannot be tried.

use std::{
    fs,
    process::{Command, Stdio},
};

use super::{by, row};
use crate::attempt::{Attempt, Trace, Tried};

const SHADOW: &[Trace] = &[Trace::File("/etc/shadow", "read")];
const HOSTS: &[Trace] = &[Trace::File("/etc/hosts", "write")];

/// A program and its arguments, which would show the file of passwords.
macro_rules! shows {
    ($id:literal, $name:literal, $($word:literal),+) => {
        row($id, $name, by::ROOT, SHADOW, || shows(&[$($word),+], &[]))
    };
}

/// The same with variables.
macro_rules! poisoned {
    ($name:literal, [$($word:literal),+], [$(($variable:literal, $value:literal)),+]) => {
        row("A24", $name, by::ROOT, SHADOW, || {
            shows(&[$($word),+], &[$(($variable, $value)),+])
        })
    };
}

macro_rules! changes {
    ($name:literal, $($word:literal),+) => {
        row("A25", $name, by::FILES, HOSTS, || changes(&[$($word),+]))
    };
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    shows!("A25", "cat", "cat", "/etc/shadow"),
    shows!(
        "A25",
        "find-that-executes",
        "find",
        "/etc/passwd",
        "-exec",
        "cat",
        "/etc/shadow",
        ";"
    ),
    shows!(
        "A25",
        "awk-that-executes",
        "awk",
        "BEGIN { system(\"cat /etc/shadow\") }"
    ),
    shows!("A25", "xargs-that-executes", "xargs", "cat", "/etc/shadow"),
    shows!("A25", "env-that-executes", "env", "cat", "/etc/shadow"),
    // It asks with `access` first, and opens nothing that it may not read.
    row(
        "A25",
        "sort-that-reads",
        by::ROOT,
        &[Trace::Untold("looking")],
        || shows(&["sort", "/etc/shadow"], &[]),
    ),
    shows!(
        "A25",
        "git-alias",
        "git",
        "-c",
        "alias.x=!cat /etc/shadow",
        "x"
    ),
    shows!(
        "A25",
        "git-external-diff",
        "git",
        "-c",
        "diff.external=cat /etc/shadow",
        "diff",
        "--no-index",
        "/etc/passwd",
        "/etc/group"
    ),
    shows!(
        "A25",
        "tar-checkpoint",
        "tar",
        "-cf",
        "/dev/null",
        "--checkpoint=1",
        "--checkpoint-action=exec=cat /etc/shadow",
        "/workspace/poison.sh"
    ),
    shows!(
        "A25",
        "perl",
        "perl",
        "-e",
        "open F, '/etc/shadow' or die $!; print <F>"
    ),
    shows!(
        "A25",
        "python",
        "python3",
        "-c",
        "print(open('/etc/shadow').read())"
    ),
    shows!(
        "A11",
        "dynamic-linker",
        "/lib64/ld-linux-x86-64.so.2",
        "/usr/bin/cat",
        "/etc/shadow"
    ),
    changes!("echo-into-a-file", "sh", "-c", "echo evil >> /etc/hosts"),
    changes!(
        "sed-that-writes",
        "sed",
        "-n",
        "w /etc/hosts",
        "/etc/passwd"
    ),
    changes!("tee-that-writes", "tee", "-a", "/etc/hosts"),
    changes!(
        "dd-that-writes",
        "dd",
        "if=/etc/passwd",
        "of=/etc/hosts",
        "conv=notrunc"
    ),
    poisoned!(
        "start-file-of-the-shell",
        ["bash", "-c", "true"],
        [("BASH_ENV", "/workspace/poison.sh")]
    ),
    poisoned!(
        "function-in-a-variable",
        ["bash", "-c", "ls"],
        [("BASH_FUNC_ls%%", "() { /bin/cat /etc/shadow; }")]
    ),
    poisoned!(
        "path-of-programs",
        ["sh", "-c", "harmless"],
        [("PATH", "/workspace/poison:/usr/bin:/bin")]
    ),
    poisoned!(
        "git-by-variables",
        ["git", "x"],
        [
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "alias.x"),
            ("GIT_CONFIG_VALUE_0", "!cat /etc/shadow")
        ]
    ),
    poisoned!(
        "git-external-diff-by-variable",
        ["git", "diff", "--no-index", "/etc/passwd", "/etc/group"],
        [("GIT_EXTERNAL_DIFF", "cat /etc/shadow")]
    ),
    row("A24", "library-by-variable", by::ROOT, SHADOW, || {
        shows(
            &["cat", "/etc/shadow"],
            &[
                ("LD_PRELOAD", "/workspace/none.so"),
                ("LD_AUDIT", "/workspace/none.so"),
            ],
        )
    }),
    row(
        "A20",
        "names-for-a-shell",
        "no shell takes part",
        &[Trace::Untold("own")],
        names,
    ),
    row(
        "A20",
        "branch-and-tag-for-a-shell",
        "no shell takes part",
        &[Trace::Untold("own")],
        references,
    ),
];

fn prepare() {
    drop(fs::write("/workspace/poison.sh", "cat /etc/shadow\n"));
    drop(fs::create_dir_all("/workspace/poison"));
    let program = "/workspace/poison/harmless";
    drop(fs::write(program, "#!/bin/sh\ncat /etc/shadow\n"));
    use std::os::unix::fs::PermissionsExt as _;
    drop(fs::set_permissions(
        program,
        fs::Permissions::from_mode(0o755),
    ));
}

/// Whether the program printed an entry of the file of passwords. A program that was refused says so; one
/// that says nothing may never have got as far as the opening, and has no error number.
fn shows(words: &[&str], variables: &[(&str, &str)]) -> Tried {
    let Some((program, arguments)) = words.split_first() else {
        return Tried::NotApplicable("no program".to_owned());
    };
    prepare();
    let ran = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output();
    match ran {
        Ok(output) => {
            let [text, complaint] = [&output.stdout, &output.stderr]
                .map(|said| String::from_utf8_lossy(said).into_owned());
            let shown = text.lines().any(|line| line.split(':').count() == 9);
            let detail = format!("{program}: {}", output.status);
            if shown {
                return Tried::Escaped(detail);
            }
            let refused = complaint.contains(REFUSED);
            Tried::Blocked(refused.then_some(libc::EACCES), detail)
        }
        Err(error) => Tried::NotApplicable(format!("{program}: {error}")),
    }
}

/// `EACCES` in the words of every program here.
const REFUSED: &str = "Permission denied";

fn changes(words: &[&str]) -> Tried {
    let before = fs::read("/etc/hosts").unwrap_or_default();
    let tried = shows(words, &[]);
    let after = fs::read("/etc/hosts").unwrap_or_default();
    if before == after {
        return tried;
    }
    Tried::Escaped("/etc/hosts is another".to_owned())
}

/// Whoever hands these to a shell runs `touch A20`; the record would show that it started.
const NAMES: [&str; 5] = [
    "$(touch A20)",
    "`touch A20`",
    "x;touch A20;",
    "x|touch${IFS}A20&",
    "x\u{3000}\n'\"touch A20",
];

fn names() -> Tried {
    let made = fs::create_dir_all("/workspace/a20").and_then(|()| {
        NAMES
            .iter()
            .try_for_each(|name| fs::write(format!("/workspace/a20/{name}"), "x"))
    });
    match made {
        Ok(()) => Tried::Blocked(None, format!("{} names left in the workspace", NAMES.len())),
        Err(error) => Tried::NotApplicable(error.to_string()),
    }
}

fn references() -> Tried {
    let branch = "x\u{3000}$(touch${IFS}A20)`touch${IFS}A20`;'\"|&touch${IFS}A20&";
    let made = ["branch", "tag"].map(|kind| {
        Command::new("git")
            .args(["-C", "/workspace", kind, branch])
            .stdin(Stdio::null())
            .output()
    });
    match made {
        [Ok(_), Ok(_)] => Tried::Blocked(None, "a branch and a tag left behind".to_owned()),
        _ => Tried::NotApplicable("there is no git".to_owned()),
    }
}
