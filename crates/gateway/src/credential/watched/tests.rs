//! Files that change while they are in use.

use std::{fs, sync::Arc};

use super::{KeyError, Watched};
use crate::{
    config::{FileStamp, SecretSource, SystemSecrets},
    credential::{Key, testing::Told},
};

fn open(path: &std::path::Path) -> Watched<Key> {
    let secrets: Arc<dyn SecretSource> = Arc::new(SystemSecrets);
    Watched::open(path.to_owned(), &secrets, Key::read).unwrap()
}

fn look(file: &Watched<Key>, told: &Told) -> Result<String, KeyError> {
    let found = file.look(&|change| told.tell(change))?;
    Ok(found.0.expose().clone())
}

/// With files of the system: replaced, emptied, made a directory, too large, taken away.
#[test]
fn a_file_counts_as_it_is_and_never_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let replace = |text: &[u8]| {
        fs::write(dir.path().join("new"), text).unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
    };
    replace(b"first\n");
    let (file, told) = (open(&path), Told::default());
    assert_eq!(look(&file, &told).unwrap(), "first");
    replace(b"other\n");
    assert_eq!(look(&file, &told).unwrap(), "other");
    assert_eq!(look(&file, &told).unwrap(), "other");
    replace(b"");
    assert_eq!(look(&file, &told), Err(KeyError::Form));
    assert_eq!(look(&file, &told), Err(KeyError::Form));
    replace(b"third");
    assert_eq!(look(&file, &told).unwrap(), "third");
    replace(b"two\nlines");
    assert_eq!(look(&file, &told), Err(KeyError::Form));
    replace(&[b'x'; 16 * 1024 + 1]);
    let unreadable =
        |found: Result<String, KeyError>| matches!(found, Err(KeyError::Unreadable(_)));
    assert!(unreadable(look(&file, &told)));
    replace(b"\xff\xff");
    assert!(unreadable(look(&file, &told)));
    fs::remove_file(&path).unwrap();
    assert_eq!(
        look(&file, &told),
        Err(KeyError::Unreadable(std::io::ErrorKind::NotFound))
    );
    fs::create_dir(&path).unwrap();
    assert!(unreadable(look(&file, &told)));
    fs::remove_dir(&path).unwrap();
    replace(b"fourth");
    assert_eq!(look(&file, &told).unwrap(), "fourth");
    assert_eq!(
        told.all(),
        [
            "",
            "key-form",
            "",
            "key-form",
            "key-unreadable",
            "key-unreadable",
            "key-unreadable",
            "key-unreadable",
            ""
        ]
    );
}

#[test]
fn a_file_that_is_written_in_place_is_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, "first").unwrap();
    let before = FileStamp::of(&fs::metadata(&path).unwrap());
    let (file, told) = (open(&path), Told::default());
    let mut text = 0;
    // a clock of the file system may stand still for some milliseconds
    while FileStamp::of(&fs::metadata(&path).unwrap()) == before {
        text += 1;
        fs::write(&path, format!("{:05}", text % 100_000)).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(look(&file, &told).unwrap(), written);
}

#[test]
fn what_is_not_there_at_the_beginning_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let secrets: Arc<dyn SecretSource> = Arc::new(SystemSecrets);
    let opened = Watched::open(dir.path().join("none"), &secrets, Key::read);
    assert_eq!(
        opened.err(),
        Some(KeyError::Unreadable(std::io::ErrorKind::NotFound))
    );
}
