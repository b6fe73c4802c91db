//! What a session leaves in its folder: what records and bundle need is kept by name, everything else
//! is unlinked. Mounts and loop devices over the folder go first.

use std::{
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use proofroom_room::{Fact, Observed};

/// What stays in a session's folder when it is over. Nothing in these is a prompt, an answer or a
/// file of the workspace.
const KEPT: [&str; 10] = [
    "binding.json",
    "done",
    "evidence",
    "journal.jsonl",
    "lock",
    "policies",
    "records",
    "result.json",
    "room.json",
    "session.pem",
];

/// Unlinks everything in `dir` that is not kept.
pub(super) fn unlink(dir: &Path) -> io::Result<Vec<Observed>> {
    let mut count = 0_u64;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if KEPT.iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        count = count.saturating_add(if entry.file_type()?.is_dir() {
            let files = files_below(&entry.path())?;
            fs::remove_dir_all(entry.path())?;
            files
        } else {
            fs::remove_file(entry.path())?;
            1
        });
    }
    Ok(vec![Observed::now(Fact::FilesUnlinked, count.to_string())])
}

fn files_below(dir: &Path) -> io::Result<u64> {
    let mut count = 0_u64;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        count = count.saturating_add(if entry.file_type()?.is_dir() {
            files_below(&entry.path())?
        } else {
            1
        });
    }
    Ok(count)
}

/// Removes mounts below `dir`, and loop devices over its files.
pub(super) fn detach(dir: &Path) -> io::Result<Vec<Observed>> {
    let mut seen = Vec::new();
    let mut mounts = mounts_below(&fs::read_to_string("/proc/self/mountinfo")?, dir);
    // The last mounted is the first to go.
    mounts.reverse();
    for mount in &mounts {
        rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH)?;
    }
    if !mounts.is_empty() {
        let count = mounts.len().to_string();
        seen.push(Observed::now(Fact::MountsRemoved, count));
    }
    let devices = loop_devices_over(dir);
    for device in &devices {
        let detached = Command::new("losetup")
            .arg("-d")
            .arg(device)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !detached.success() {
            let message = format!("`losetup -d {}` failed", device.display());
            return Err(io::Error::other(message));
        }
    }
    if !devices.is_empty() {
        let count = devices.len().to_string();
        seen.push(Observed::now(Fact::DevicesRemoved, count));
    }
    Ok(seen)
}

/// Mount points at or below `dir`, in the order of mounting.
fn mounts_below(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescaped)
        .filter(|point| point.starts_with(dir))
        .collect()
}

/// A path of `/proc`, where space, tab, newline and backslash stand as three octal digits.
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

fn loop_devices_over(dir: &Path) -> Vec<PathBuf> {
    let Ok(blocks) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    blocks
        .flatten()
        .filter(|block| {
            let backing = fs::read_to_string(block.path().join("loop/backing_file"));
            backing.is_ok_and(|path| Path::new(path.trim_end()).starts_with(dir))
        })
        .map(|block| Path::new("/dev").join(block.file_name()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{mounts_below, unlink};

    #[test]
    fn what_is_not_kept_by_name_is_unlinked_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        fs::create_dir_all(path.join("scratch.git/objects")).unwrap();
        fs::write(path.join("scratch.git/objects/a"), "").unwrap();
        fs::write(path.join("room.json.new"), "").unwrap();
        fs::write(path.join("journal.jsonl"), "").unwrap();
        fs::create_dir(path.join("records")).unwrap();
        let seen = unlink(path).unwrap();
        assert_eq!(seen[0].detail, "2");
        let mut left: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["journal.jsonl", "records"]);
    }

    #[test]
    fn mounts_are_found_by_whole_names_also_with_spaces() {
        let text = "1 0 0:1 / / rw - ext4 d rw\n\
                    2 1 0:2 / /s/ses_a rw - tmpfs t rw\n\
                    3 1 0:3 / /s/ses_a/x\\040y rw - tmpfs t rw\n\
                    4 1 0:4 / /s/ses_ab rw - tmpfs t rw\n";
        let found = mounts_below(text, Path::new("/s/ses_a"));
        assert_eq!(found, [Path::new("/s/ses_a"), Path::new("/s/ses_a/x y")]);
    }
}
