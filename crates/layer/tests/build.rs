//! Whole layers on disk: built, verified, and damaged.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a broken set-up must fail its test, a skipped test must be seen"
)]

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use proofroom_layer::{
    Build, Compression, Input, LayerDescriptor, LayerError, Place, Store, Stored, build, verify,
};

/// Whether the tools are there that these tests cannot do without.
fn ready(test: &str) -> bool {
    let there = Command::new("mkfs.erofs").arg("-V").output().is_ok();
    if !there {
        eprintln!("SKIPPED {test}: `mkfs.erofs` (package erofs-utils) is not installed");
    }
    there
}

fn sample(dir: &Path, order: &[usize]) {
    fs::create_dir_all(dir.join("usr/bin")).unwrap();
    for number in order {
        let content = vec![u8::try_from(*number).unwrap(); 3000 * number];
        fs::write(dir.join(format!("usr/file-{number}")), content).unwrap();
    }
    fs::write(dir.join("usr/bin/tool"), "#!/bin/sh\n").unwrap();
    let setuid = fs::Permissions::from_mode(0o4755);
    fs::set_permissions(dir.join("usr/bin/tool"), setuid).unwrap();
    fs::hard_link(dir.join("usr/bin/tool"), dir.join("usr/bin/same")).unwrap();
    symlink("usr/bin", dir.join("bin")).unwrap();
    symlink("/usr/bin/tool", dir.join("usr/bin/link")).unwrap();
}

fn request(input: Input, compression: Compression) -> Build {
    Build {
        name: "sample".parse().unwrap(),
        input,
        compression,
    }
}

fn build_into(from: &Path, out: &Path, compression: Compression) -> Result<Stored, LayerError> {
    let build_this = request(Input::Directory(from.to_owned()), compression);
    build(&build_this, &Place::Directory(out.to_owned()), &mut |_| {})
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names
}

#[test]
fn the_same_files_give_the_same_bytes() {
    if !ready("the_same_files_give_the_same_bytes") {
        return;
    }
    for compression in [Compression::None, Compression::Lz4] {
        let dir = tempfile::tempdir().unwrap();
        sample(&dir.path().join("one"), &[1, 2, 3, 4, 5, 6, 7]);
        sample(&dir.path().join("other"), &[5, 7, 1, 6, 3, 2, 4]);
        let mut made = ["one", "other"].map(|name| {
            let out = dir.path().join(format!("{name}-layer"));
            build_into(&dir.path().join(name), &out, compression).unwrap()
        });
        let bytes = made
            .each_ref()
            .map(|layer| fs::read(layer.image()).unwrap());
        assert!(bytes[0] == bytes[1]);
        assert_eq!(made[0].descriptor, made[1].descriptor);
        made.reverse();
        assert_eq!(names(dir.path()).len(), 4, "no workshop is left");
    }
}

#[test]
fn the_hash_tree_is_what_veritysetup_makes() {
    let test = "the_hash_tree_is_what_veritysetup_makes";
    if !ready(test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // More than 128 blocks, so that the tree has two levels.
    let big: Vec<u8> = (0..900_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::create_dir(dir.path().join("in")).unwrap();
    fs::write(dir.path().join("in/big"), big).unwrap();
    let out = dir.path().join("out");
    let layer = build_into(&dir.path().join("in"), &out, Compression::None).unwrap();
    let ours = fs::read(layer.image()).unwrap();
    let descriptor = &layer.descriptor;
    assert!(descriptor.data_blocks() > 128);

    let bare = dir.path().join("bare");
    let at = usize::try_from(descriptor.hash_offset()).unwrap();
    fs::write(&bare, &ours[..at]).unwrap();
    let uuid: String = (0..)
        .zip(&ours[at + 16..at + 32])
        .map(|(position, byte)| {
            let dash = if [4, 6, 8, 10].contains(&position) {
                "-"
            } else {
                ""
            };
            format!("{dash}{byte:02x}")
        })
        .collect();
    let formatted = Command::new("veritysetup")
        .arg("format")
        .args([&bare, &bare])
        .args(["--format=1", "--hash=sha256"])
        .args(["--data-block-size=4096", "--hash-block-size=4096"])
        .arg(format!("--data-blocks={}", descriptor.data_blocks()))
        .arg(format!("--hash-offset={}", descriptor.hash_offset()))
        .arg(format!("--salt={}", descriptor.salt()))
        .arg(format!("--uuid={uuid}"))
        .output();
    let Ok(formatted) = formatted else {
        eprintln!("SKIPPED {test}: `veritysetup` (package cryptsetup-bin) is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&formatted.stdout).into_owned();
    assert!(formatted.status.success(), "{formatted:?}");
    assert!(said.contains(&descriptor.root()), "{said}");
    let theirs = fs::read(&bare).unwrap();
    assert!(ours == theirs, "the images differ");

    let verified = Command::new("veritysetup")
        .arg("verify")
        .args([layer.image(), layer.image()])
        .arg(descriptor.root())
        .arg(format!("--hash-offset={}", descriptor.hash_offset()))
        .status()
        .unwrap();
    assert!(verified.success());
}

#[test]
fn every_kind_of_damage_is_named() {
    if !ready("every_kind_of_damage_is_named") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("in")).unwrap();
    fs::write(dir.path().join("in/big"), vec![7; 700_000]).unwrap();
    let out = dir.path().join("out");
    let layer = build_into(&dir.path().join("in"), &out, Compression::None).unwrap();
    verify(&layer).unwrap();

    let image = layer.image();
    fs::set_permissions(&image, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .read(true)
        .open(&image)
        .unwrap();
    let flip = |at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    let damaged = |at: u64| {
        flip(at);
        let error = verify(&layer).unwrap_err();
        flip(at);
        error
    };
    let hashes = layer.descriptor.hash_offset();
    match damaged(5 * 4096 + 17) {
        LayerError::DataBlock { block: 5, offset } => assert_eq!(offset, 5 * 4096),
        other => panic!("{other}"),
    }
    assert_eq!(damaged(0).code(), "layer-data-block-corrupt");
    assert_eq!(damaged(hashes - 1).code(), "layer-data-block-corrupt");
    assert_eq!(damaged(hashes).code(), "layer-superblock-differs");
    assert_eq!(damaged(hashes + 20).code(), "layer-superblock-differs");
    match damaged(hashes + 4096) {
        LayerError::HashBlock {
            block: 0, level: 1, ..
        } => {}
        other => panic!("{other}"),
    }
    match damaged(hashes + 2 * 4096 + 4) {
        LayerError::HashBlock {
            block: 1, level: 0, ..
        } => {}
        other => panic!("{other}"),
    }
    let end = layer.descriptor.image_bytes();
    assert_eq!(damaged(end - 1).code(), "layer-hash-block-corrupt");
    file.set_len(end - 1).unwrap();
    assert_eq!(verify(&layer).unwrap_err().code(), "layer-length-differs");
    file.set_len(end).unwrap();
    file.set_len(end + 4096).unwrap();
    assert_eq!(verify(&layer).unwrap_err().code(), "layer-length-differs");
}

#[test]
fn a_descriptor_of_another_layer_is_refused() {
    if !ready("a_descriptor_of_another_layer_is_refused") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut made = ["one", "two"].map(|name| {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("file"), name).unwrap();
        let out = dir.path().join(format!("{name}-layer"));
        build_into(&dir.path().join(name), &out, Compression::None).unwrap()
    });
    let text = String::from_utf8(made[0].descriptor.to_bytes().unwrap()).unwrap();
    let root = |layer: &Stored| layer.descriptor.root();
    // The salt alone decides the superblock, the root alone the tree.
    let other_root = text.replace(&root(&made[0]), &root(&made[1]));
    made[0].descriptor = LayerDescriptor::parse(other_root.as_bytes()).unwrap();
    let refused = verify(&made[0]).unwrap_err().code();
    assert!(
        ["layer-hash-block-corrupt", "layer-data-block-corrupt"].contains(&refused),
        "{refused}"
    );
    let image = made[1].descriptor.image().to_string();
    let text = String::from_utf8(made[1].descriptor.to_bytes().unwrap()).unwrap();
    let other_image = text.replace(&image, &format!("sha256:{}", "0".repeat(64)));
    made[1].descriptor = LayerDescriptor::parse(other_image.as_bytes()).unwrap();
    assert_eq!(verify(&made[1]).unwrap_err().code(), "layer-image-differs");
}

#[test]
fn a_store_holds_each_layer_under_its_root_and_nothing_half_written() {
    if !ready("a_store_holds_each_layer_under_its_root_and_nothing_half_written") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("in");
    sample(&from, &[1, 2]);
    let path = dir.path().join("store");
    let store = Store::at(path.clone());
    assert!(store.list().unwrap().is_empty());
    let place = Place::Store(store.clone());
    let good = request(Input::Directory(from.clone()), Compression::None);
    let layer = build(&good, &place, &mut |_| {}).unwrap();
    assert_eq!(names(&path), [path.join(layer.descriptor.root())]);
    // Again, over a damaged copy of itself.
    fs::set_permissions(layer.image(), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(layer.image(), "damaged").unwrap();
    build(&good, &place, &mut |_| {}).unwrap();
    let found = store.find("sample").unwrap();
    verify(&found).unwrap();
    assert_eq!(store.find(&found.descriptor.root()).unwrap().dir, found.dir);
    assert_eq!(store.find("other").unwrap_err().code(), "layer-unknown");

    // What a killed build left is cleared by the next one; a failed one leaves nothing itself.
    fs::create_dir_all(path.join(".building/files/deep")).unwrap();
    rustix_mkfifo(&from.join("pipe"));
    let refused = build(&good, &place, &mut |_| {}).unwrap_err();
    assert_eq!(refused.code(), "layer-entry-special");
    assert_eq!(names(&path), std::slice::from_ref(&found.dir));

    let wrong = path.join("0".repeat(64));
    fs::rename(&found.dir, &wrong).unwrap();
    let listed = store.list().unwrap();
    assert_eq!(listed[0].as_ref().unwrap_err().code(), "layer-wrong-place");
}

fn rustix_mkfifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn a_directory_that_is_there_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let refused = build_into(dir.path(), dir.path(), Compression::None).unwrap_err();
    assert_eq!(refused.code(), "layer-exists");
}

#[test]
fn two_builds_in_one_place_do_not_meet() {
    if !ready("two_builds_in_one_place_do_not_meet") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("in");
    sample(&from, &[1]);
    let store = Place::Store(Store::at(dir.path().join("store")));
    let outer = request(Input::Directory(from), Compression::None);
    let mut refused = Vec::new();
    build(&outer, &store, &mut |_| {
        let inner = build(&outer, &store, &mut |_| {});
        refused.push(inner.unwrap_err().code());
    })
    .unwrap();
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|code| *code == "layer-busy"));
}
