//! The walk over links that exist only here.

use std::{
    ffi::OsStr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{FinalLink, Found, Links, Mounts, OfProcess, Stays, Way};

struct Table(&'static [(&'static str, &'static str)]);

impl Table {
    fn says(&self, path: &Path) -> Option<PathBuf> {
        let found = self.0.iter().find(|(from, _)| Path::new(from) == path);
        found.map(|(_, to)| PathBuf::from(to))
    }
}

impl Links for Table {
    fn read(&self, path: &Path) -> Found {
        self.says(path).map_or(Found::NoLink, Found::Link)
    }

    fn own(&self, name: &Path) -> Option<PathBuf> {
        self.says(&Path::new("own").join(name))
    }

    fn is_caller(&self, name: &OsStr) -> bool {
        name == "7"
    }

    fn none_on(&self, _path: &Path, _last: FinalLink) -> bool {
        false
    }

    fn is_plain_directory(&self, _path: &Path) -> bool {
        false
    }

    fn is_fixed(&self, path: &Path) -> bool {
        path.starts_with("/usr")
    }
}

/// The links of this process, every name asked for by itself.
struct NameByName<'a>(OfProcess<'a>);

impl Links for NameByName<'_> {
    fn read(&self, path: &Path) -> Found {
        self.0.read(path)
    }

    fn own(&self, name: &Path) -> Option<PathBuf> {
        self.0.own(name)
    }

    fn is_caller(&self, name: &OsStr) -> bool {
        self.0.is_caller(name)
    }

    fn none_on(&self, _path: &Path, _last: FinalLink) -> bool {
        false
    }

    fn is_plain_directory(&self, _path: &Path) -> bool {
        false
    }

    fn is_fixed(&self, _path: &Path) -> bool {
        false
    }
}

fn resolve(path: &Path, last: FinalLink, links: &impl Links) -> PathBuf {
    super::resolve(path, last, links).to
}

fn followed(table: &'static [(&'static str, &'static str)], path: &str) -> String {
    let path = resolve(Path::new(path), FinalLink::Followed, &Table(table));
    path.to_string_lossy().into_owned()
}

#[test]
fn links_are_followed_wherever_they_stand() {
    let table = &[
        ("/workspace/out", "/etc"),
        ("/workspace/up", "../run"),
        ("/workspace/chain", "out/passwd"),
    ];
    assert_eq!(followed(table, "/workspace/out/shadow"), "/etc/shadow");
    assert_eq!(followed(table, "/workspace/up/x"), "/run/x");
    assert_eq!(followed(table, "/workspace/chain"), "/etc/passwd");
    assert_eq!(followed(table, "/workspace/./a/../b"), "/workspace/b");
    assert_eq!(followed(table, "/../../etc/x"), "/etc/x");
}

#[test]
fn dots_after_a_link_climb_from_where_it_leads() {
    let table = &[("/workspace/out", "/usr/lib")];
    assert_eq!(followed(table, "/workspace/out/../share"), "/usr/share");
}

#[test]
fn a_call_on_the_link_itself_keeps_it() {
    let table = Table(&[("/workspace/out", "/etc"), ("/workspace/d", "/tmp")]);
    let kept = |path| resolve(Path::new(path), FinalLink::Kept, &table);
    assert_eq!(kept("/workspace/out"), Path::new("/workspace/out"));
    assert_eq!(kept("/workspace/d/x"), Path::new("/tmp/x"));
}

#[test]
fn procfs_names_of_the_caller_lead_where_the_caller_is() {
    let table = &[
        ("own/root", "/"),
        ("own/cwd", "/workspace"),
        ("own/fd/3", "/usr/bin/cat"),
        ("own/fd/4", "/memfd:x (deleted)"),
        ("own/fd/5", "pipe:[12]"),
        ("/dev/stdin", "/proc/self/fd/3"),
    ];
    assert_eq!(followed(table, "/proc/self/root/etc/shadow"), "/etc/shadow");
    assert_eq!(followed(table, "/proc/thread-self/cwd/a"), "/workspace/a");
    assert_eq!(followed(table, "/proc/7/root/etc/x"), "/etc/x");
    assert_eq!(followed(table, "/proc/self/task/9/root/etc/x"), "/etc/x");
    assert_eq!(followed(table, "/proc/self/fd/3"), "/usr/bin/cat");
    assert_eq!(followed(table, "/proc/self/fd/4"), "/proc/self/fd/4");
    assert_eq!(followed(table, "/proc/self/fd/5"), "/proc/self/fd/5");
    assert_eq!(followed(table, "/dev/stdin"), "/usr/bin/cat");
    assert_eq!(followed(table, "/proc/self/environ"), "/proc/self/environ");
}

#[test]
fn procfs_names_of_others_stay_as_they_are_written() {
    let table = &[("/proc/1/root", "/secret"), ("own/root", "/")];
    let path = "/proc/1/root/etc/shadow";
    assert_eq!(followed(table, path), path);
}

#[test]
fn loops_end() {
    let table = &[("/a", "/b"), ("/b", "/a"), ("/c", "/c/c")];
    assert!(followed(table, "/a/x").ends_with("/x"));
    assert!(!followed(table, "/c").is_empty());
}

/// Ways in the directory of [`one_question_for_the_whole_way_gives_the_answer_of_many`].
const WAYS: [&str; 23] = [
    "a/b/file",
    "a/b/file/",
    "a/b/file/below",
    "a/b/end",
    "a/b/end/",
    "a/b/end/below",
    "a//./b",
    "way",
    "way/file",
    "way/../b",
    "way/missing",
    "lost",
    "lost/below",
    "self/below",
    "missing/below",
    "a/missing/../../way/file",
    "a/missing/../b/file",
    "a/b/../b/file",
    "a/b/../../a/./b/../b/end",
    "a/../a/b/missing",
    "a/b/file/../file",
    "a/../way/../a/b/file",
    "a/../../../../../../../../..",
];
/// Ways outside of it.
const ELSEWHERE: [&str; 8] = [
    "/",
    "/proc/self/exe",
    "/dev/fd/0",
    "/dev/stdin",
    "/proc/missing",
    "/usr/../proc/self/exe",
    "/usr/../proc/self/../sys",
    "/proc/../usr/bin",
];

#[test]
fn one_question_for_the_whole_way_gives_the_answer_of_many() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::write(root.join("a/b/file"), "").unwrap();
    for (to, name) in [
        ("a/b", "way"),
        ("nowhere", "lost"),
        ("file", "a/b/end"),
        ("self", "self"),
    ] {
        symlink(to, root.join(name)).unwrap();
    }
    let pid = i32::try_from(std::process::id()).unwrap();
    let absolute = WAYS.iter().map(|way| root.join(way));
    let elsewhere = ELSEWHERE.map(PathBuf::from);
    let mounts = Mounts::default();
    let mounts = &mounts;
    let (mut at_once, mut climbing) = (0, 0);
    for path in absolute.chain(elsewhere) {
        for last in [FinalLink::Followed, FinalLink::Kept] {
            let quick = OfProcess { pid, mounts };
            let plain = super::without_links(&super::names(&path), last, &quick).is_some();
            at_once += usize::from(plain);
            climbing += usize::from(plain && path.iter().any(|name| name == ".."));
            let answer = resolve(&path, last, &quick);
            assert_eq!(
                answer,
                resolve(&path, last, &NameByName(quick)),
                "{path:?} {last:?}"
            );
        }
    }
    assert!(at_once > 10, "{at_once}");
    assert!(climbing > 5, "{climbing}");
}

#[test]
fn a_way_stays_when_every_place_on_it_is_fixed() {
    let table = Table(&[
        ("/usr/lib64", "lib"),
        ("/usr/alias", "../usr/lib"),
        ("/usr/out", "/etc/alternatives/cc"),
    ]);
    let stays = |path| super::resolve(Path::new(path), FinalLink::Followed, &table);
    for (path, to) in [
        ("/usr/lib64/x", "/usr/lib/x"),
        ("/usr/bin/../lib64/x", "/usr/lib/x"),
        ("/usr/missing/../missing/x", "/usr/missing/x"),
    ] {
        let (to, stays_always) = (PathBuf::from(to), Stays::Always);
        let wanted = Way {
            to,
            stays: stays_always,
        };
        assert_eq!(stays(path), wanted, "{path}");
    }
    for path in [
        "/etc/passwd",
        "/usr/out",
        "/usr/../workspace/../usr/lib",
        "/proc/self/exe",
    ] {
        assert_eq!(stays(path).stays, Stays::Perhaps, "{path}");
    }
}
