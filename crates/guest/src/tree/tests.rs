//! Attacks on files: links, races, planted names.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use proofroom_authz::WorkspacePath;

use super::{Owner, Tree};

struct Scene {
    _directory: tempfile::TempDir,
    root: std::path::PathBuf,
    outside: std::path::PathBuf,
    tree: Tree,
}

fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("workspace");
    let outside = directory.path().join("outside");
    std::fs::create_dir_all(root.join("src")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    let tree = Tree::open(&root, Owner::Itself).unwrap();
    Scene {
        _directory: directory,
        root,
        outside,
        tree,
    }
}

fn path(text: &str) -> WorkspacePath {
    WorkspacePath::parse(text).unwrap()
}

fn untouched(outside: &Path) {
    let names: Vec<_> = std::fs::read_dir(outside).unwrap().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"secret");
}

#[test]
fn a1_links_out_of_the_workspace_are_neither_read_nor_written() {
    let scene = scene();
    symlink(scene.outside.join("secret"), scene.root.join("file")).unwrap();
    symlink(&scene.outside, scene.root.join("dir")).unwrap();
    symlink("../outside", scene.root.join("relative")).unwrap();
    symlink("/proc/self/root/etc", scene.root.join("magic")).unwrap();
    for name in [
        "file",
        "dir/secret",
        "relative/secret",
        "magic/passwd",
        "dir/new/deep",
    ] {
        let read = scene.tree.read(&path(name)).unwrap_err();
        assert_eq!(read.code(), "outside-workspace", "{name}");
        let written = scene.tree.write(&path(name), b"x").unwrap_err();
        assert_eq!(written.code(), "outside-workspace", "{name}");
    }
    let listed = scene.tree.list("dir", 10).unwrap_err();
    assert_eq!(listed.code(), "outside-workspace");
    untouched(&scene.outside);
}

#[test]
fn a1_links_inside_the_workspace_do_not_lend_another_name_to_a_file() {
    let scene = scene();
    std::fs::create_dir(scene.root.join(".git")).unwrap();
    std::fs::write(scene.root.join(".git/config"), "[core]").unwrap();
    symlink(".git/config", scene.root.join("harmless")).unwrap();
    let refused = scene.tree.write(&path("harmless"), b"x").unwrap_err();
    assert_eq!(refused.code(), "outside-workspace");
    assert_eq!(
        std::fs::read(scene.root.join(".git/config")).unwrap(),
        b"[core]"
    );
}

#[test]
fn a2_the_workspace_is_fixed_when_the_session_begins() {
    let scene = scene();
    std::fs::write(scene.root.join("src/a"), "inside").unwrap();
    let elsewhere = scene.root.with_file_name("moved");
    std::fs::rename(&scene.root, &elsewhere).unwrap();
    symlink(&scene.outside, &scene.root).unwrap();
    assert_eq!(scene.tree.read(&path("src/a")).unwrap(), b"inside");
    assert_eq!(
        scene.tree.read(&path("secret")).unwrap_err().code(),
        "not-found"
    );
}

#[test]
fn a3_a_missing_target_is_an_error_and_no_second_way_is_tried() {
    let scene = scene();
    symlink(scene.outside.join("new"), scene.root.join("dangling")).unwrap();
    let refused = scene.tree.write(&path("dangling"), b"x").unwrap_err();
    assert_eq!(refused.code(), "outside-workspace");
    assert_eq!(
        scene.tree.read(&path("nothing/here")).unwrap_err().code(),
        "not-found"
    );
    untouched(&scene.outside);
}

/// Stops the other side of a race, also when an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a6_ten_thousand_races_of_a_directory_against_a_link_win_nothing() {
    let scene = scene();
    let stop = AtomicBool::new(false);
    let (dir, link) = (scene.root.join("d"), scene.root.join("link"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("secret"), "inside").unwrap();
    symlink(&scene.outside, &link).unwrap();
    let mut read = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // swap `d`, a directory, and `link`, a link to the outside, in one step
                let (cwd, swap) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
                rustix::fs::renameat_with(cwd, &dir, cwd, &link, swap).unwrap();
            }
        });
        let _stop = Stop(&stop);
        for round in 0..10_000 {
            if let Ok(bytes) = scene.tree.read(&path("d/secret")) {
                assert_ne!(bytes, b"secret", "round {round}");
                read += 1;
            }
            if scene.tree.write(&path("d/secret"), b"inside").is_ok() {
                read += 1;
            }
        }
    });
    assert!(read > 0, "the race was never won by the honest side either");
    untouched(&scene.outside);
}

#[test]
fn a10_a_planted_link_of_the_file_s_name_is_replaced_by_nothing_and_not_followed() {
    let scene = scene();
    symlink(scene.outside.join("secret"), scene.root.join("src/out.txt")).unwrap();
    let refused = scene.tree.write(&path("src/out.txt"), b"x").unwrap_err();
    assert_eq!(refused.code(), "outside-workspace");
    untouched(&scene.outside);
    scene.tree.write(&path("src/new.txt"), b"x").unwrap();
    let left: Vec<_> = scene.tree.list("src", 10).unwrap();
    assert_eq!(left.len(), 2, "no temporary file is left: {left:?}");
}

#[test]
fn pipes_devices_and_directories_are_not_files_and_do_not_block() {
    let scene = scene();
    let fifo = scene.root.join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(
        scene.tree.read(&path("pipe")).unwrap_err().code(),
        "wrong-kind"
    );
    assert_eq!(
        scene.tree.read(&path("src")).unwrap_err().code(),
        "wrong-kind"
    );
    assert_eq!(
        scene.tree.write(&path("src"), b"").unwrap_err().code(),
        "wrong-kind"
    );
    assert_eq!(
        scene.tree.write(&path("."), b"").unwrap_err().code(),
        "wrong-kind"
    );
}

#[test]
fn a_write_keeps_permissions_and_drops_set_user_id() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = scene();
    let file = scene.root.join("tool");
    std::fs::write(&file, "x").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o4755)).unwrap();
    scene.tree.write(&path("tool"), b"y").unwrap();
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn leaves_are_files_links_and_empty_directories_whatever_their_names_bytes() {
    let scene = scene();
    let odd = scene.root.join(OsStr::from_bytes(b"odd\xff"));
    for directory in [&scene.root.join(".git"), &odd] {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("file"), "").unwrap();
    }
    symlink(&scene.outside, scene.root.join("link")).unwrap();
    let leaves = scene.tree.leaves().unwrap();
    assert_eq!(leaves, ["link", "odd\u{fffd}/file", "src"]);
}
