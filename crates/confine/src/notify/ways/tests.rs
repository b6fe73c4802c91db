//! What is remembered, and what never is.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{FinalLink, MAX_BYTES, Mounts, Ways};

/// A machine's room, shortened. The root comes after what was taken before it was built.
const ROOM: &str = "\
60 84 0:40 /usr /usr ro,nosuid,nodev,noatime - overlay layers ro,lowerdir=/layers/1:/layers/0,nfs_export=off
61 84 0:41 /etc/ssl /etc/ssl ro,nosuid,nodev - erofs /dev/mapper/layers-0 ro
84 20 0:50 / / ro,nosuid,nodev - tmpfs tmpfs rw,size=4096k,nr_inodes=4096,mode=755
85 84 0:51 / /workspace rw,nosuid,nodev - tmpfs tmpfs rw,uid=1000
86 84 0:52 / /proc rw,nosuid,nodev,noexec - proc proc rw
87 84 0:53 / /opt/host ro,nosuid,nodev - ext4 /dev/vda1 rw
88 60 0:54 / /usr/local/cache rw,nosuid - tmpfs tmpfs rw
";

fn fixed(mountinfo: &str, path: &str) -> bool {
    Mounts::parse(mountinfo).fix(Path::new(path))
}

#[test]
fn places_of_layers_and_of_the_root_are_fixed_and_no_others() {
    for path in [
        "/usr",
        "/usr/bin/cc",
        "/etc/ssl/certs",
        "/lib",
        "/missing/x",
    ] {
        assert!(fixed(ROOM, path), "{path}");
    }
    for path in [
        "/workspace",
        "/workspace/src/main.rs",
        "/proc/self/maps",
        "/opt/host/bin/cc",
        "/usr/local/cache/x",
    ] {
        assert!(!fixed(ROOM, path), "{path}");
    }
}

#[test]
fn a_mount_that_can_be_written_to_elsewhere_fixes_nothing() {
    let changed = |from, to| fixed(&ROOM.replacen(from, to, 1), "/usr/bin/cc");
    assert!(changed("nothing of it", ""));
    assert!(!changed("nfs_export=off", "upperdir=/up,workdir=/work"));
    assert!(!changed("- overlay layers", "- ext4 /dev/vda1"));
    assert!(!changed(
        "/ ro,nosuid,nodev - tmpfs",
        "/ rw,nosuid,nodev - tmpfs"
    ));
    // The host's own root, and a list without a root.
    assert!(!changed(
        "- tmpfs tmpfs rw,size=4096k",
        "- ext4 /dev/vda1 rw"
    ));
    assert!(!changed("0:50 / / ro", "0:50 / /elsewhere ro"));
}

#[test]
fn a_list_that_is_not_understood_fixes_nothing() {
    for more in [
        "89 84 0:55 / /usr\\040local rw - tmpfs tmpfs rw\n",
        "89 84 0:55 / /usr/local rw tmpfs tmpfs rw\n",
        "\n",
    ] {
        let text = format!("{ROOM}{more}");
        assert!(!fixed(&text, "/usr/bin/cc"), "{more}");
    }
    assert!(!fixed("", "/usr/bin/cc"));
}

struct Place {
    directory: tempfile::TempDir,
    ways: Ways,
}

impl Place {
    /// A directory of which nobody is said to be able to change anything, or without that.
    fn new(kind: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().canonicalize().unwrap();
        let list = format!(
            "1 0 0:1 / / ro - erofs / ro\n2 1 0:2 / {} rw - {kind} x rw\n",
            at.display()
        );
        std::fs::create_dir_all(at.join("a/b")).unwrap();
        symlink("a", at.join("link")).unwrap();
        Self {
            ways: Ways::with(Mounts::parse(&list)),
            directory,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(path)
    }

    fn leads(&self, path: &str, last: FinalLink) -> PathBuf {
        let pid = i32::try_from(std::process::id()).unwrap();
        self.ways.lead(&self.at(path), last, pid)
    }

    fn turn_link(&self, to: &str) {
        std::fs::remove_file(self.at("link")).unwrap();
        symlink(to, self.at("link")).unwrap();
    }
}

const ASKED: [&str; 4] = ["link/b", "link/../link/b", "a/../link/b", "link/missing"];

#[test]
fn where_a_way_of_fixed_names_leads_is_asked_for_once() {
    let place = Place::new("erofs");
    let before = ASKED.map(|path| place.leads(path, FinalLink::Followed));
    assert_eq!(before.first(), Some(&place.at("a/b")));
    place.turn_link("elsewhere");
    let after = ASKED.map(|path| place.leads(path, FinalLink::Followed));
    assert_eq!(before, after);
    assert_eq!(place.leads("link", FinalLink::Kept), place.at("link"));
}

#[test]
fn where_somebody_may_change_a_name_it_is_asked_for_again() {
    let place = Place::new("tmpfs");
    for path in ASKED {
        place.leads(path, FinalLink::Followed);
    }
    place.turn_link("elsewhere");
    for path in ASKED {
        let leads = place.leads(path, FinalLink::Followed);
        assert!(leads.starts_with(place.at("elsewhere")), "{path} {leads:?}");
    }
}

#[test]
fn what_is_remembered_has_a_bound() {
    let place = Place::new("erofs");
    let long = "x".repeat(200) + "/";
    let long = long.repeat(15);
    for number in 0..2_000 {
        place.leads(&format!("{number}/{long}"), FinalLink::Followed);
        assert!(place.ways.known().bytes <= MAX_BYTES);
    }
    assert!(place.ways.known().leads.len() < 2_000);
}
