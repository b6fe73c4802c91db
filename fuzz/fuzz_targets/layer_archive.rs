//! Any bytes as a tar archive: no panic, nothing outside of the tree, nothing that no layer can have.

#![no_main]

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use proofroom_layer::reader::{DirectoryLinks, Limits, Tree, Whiteouts, extract};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory");
    let inside = dir.path().join("inside");
    fs::create_dir(&inside).expect("a directory");
    let limits = Limits {
        bytes: 1 << 20,
        entries: 1000,
    };
    let mut tree = Tree::new(&inside, limits, DirectoryLinks::Replace).expect("a tree");
    for whiteouts in [Whiteouts::None, Whiteouts::Apply, Whiteouts::PassOver] {
        let _ = extract("fuzz", &mut &bytes[..], &mut tree, whiteouts, &|_| true);
    }
    assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 1);
    look(&inside);
});

fn look(dir: &Path) {
    for entry in fs::read_dir(dir).expect("read") {
        let path = entry.expect("read").path();
        let found = fs::symlink_metadata(&path).expect("look");
        let kind = found.file_type();
        assert!(kind.is_dir() || kind.is_file() || kind.is_symlink());
        assert!(!kind.is_block_device() && !kind.is_char_device());
        assert!(kind.is_symlink() || found.mode() & 0o7000 == 0);
        if kind.is_dir() {
            look(&path);
        }
    }
}
