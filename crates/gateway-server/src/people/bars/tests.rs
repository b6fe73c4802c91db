//! A file of bars that is lost between two starts.

use proofroom_authn::PersonId;
use proofroom_canonical::Timestamp;

use super::{Bar, BarFile, BarList, BarredSubject};

#[test]
fn a_file_of_bars_that_is_gone_before_a_start_refuses_the_start_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (path, away) = (dir.path().join("bars.json"), dir.path().join("away"));
    let marker = dir.path().join("bars.json.made");
    let open = || BarList::open(&path).map(drop).map_err(|error| error.code());
    // where nobody was ever barred there is nothing to miss
    assert_eq!(open(), Ok(()));
    assert!(!marker.exists());
    let bar = Bar {
        subject: BarredSubject::Person {
            person: PersonId::of("https://issuer.test", "ada"),
        },
        since: Timestamp::from_unix_seconds(0),
    };
    BarFile::change(&path, |file| file.bars.push(bar.clone())).unwrap();
    std::fs::rename(&path, &away).unwrap();
    assert_eq!(open(), Err("bars-gone"));
    let refused = BarFile::load(&path).unwrap_err();
    assert!(refused.to_string().contains("bars.json.made"), "{refused}");
    // nor does another bar stand for those that are gone
    let added = BarFile::change(&path, |file| file.bars.push(bar.clone()));
    assert_eq!(added.unwrap_err().code(), "bars-gone");
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(open(), Ok(()));
    // a file of before there were markers gets one at the next start
    std::fs::remove_file(&marker).unwrap();
    assert_eq!(open(), Ok(()));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(open(), Err("bars-gone"));
    // whoever means it removes both
    std::fs::remove_file(&marker).unwrap();
    assert_eq!(open(), Ok(()));
}
