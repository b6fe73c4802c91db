//! `/init` of the second test machine in `tests/guest.rs`: makes workspaces on a real disk whose beginning is not as
//! empty as a host should leave it, and plays the host that moves blocks about below a living one. One line for
//! each case goes to the console; then the machine is powered off.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: what fails here must be seen on the console"
)]

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::Path,
};

use proofroom_init::workspace::{self, Caps, Workspace};
use rustix::{
    fs::CWD,
    mount::{MountFlags, MoveMountFlags, UnmountFlags, mount, move_mount, unmount},
    system::{RebootCommand, finit_module, reboot},
};

const CAPS: Caps = Caps {
    bytes: 64 << 20,
    inodes: 1000,
};
const DISK: &str = "/dev/vda";
/// The disk that refuses to write one sector.
const FAILING: &str = "/dev/vdb";
const PLACE: &str = "/place";
const SUPERBLOCK: &str = "/superblock";
const BLOCK: u64 = 4096;
/// dm-integrity's layout: superblock and the smallest journal (one section of 264 sectors), then runs of tags
/// and of the 4,096 blocks that they belong to.
const HEAD: u64 = (8 + 264) * 512;
const RUN: u64 = 4096;
const TAG: u64 = 48;
/// Fields of dm-integrity's superblock.
const VERSION: u64 = 8;
const INTERLEAVE: u64 = 9;
const TAG_SIZE: u64 = 10;
const JOURNAL_SECTIONS: u64 = 12;
const PROVIDED: u64 = 16;
const FLAGS: u64 = 24;
const BLOCK_SIZE: u64 = 28;

fn main() {
    for (kind, at) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        fs::create_dir_all(at).unwrap();
        mount(kind, at, kind, MountFlags::empty(), None).unwrap();
    }
    fs::create_dir_all(PLACE).unwrap();
    fs::create_dir_all("/tmp").unwrap();
    for order in ["room", "workspace-disk", "spare"] {
        let names = fs::read_to_string(format!("/modules/order.{order}")).unwrap();
        for name in names.lines() {
            let file = File::open(Path::new("/modules").join(name)).unwrap();
            // Those without a device, and those of two sets.
            let _answer = finit_module(&file, c"", 0);
        }
    }
    // So that tags, too, are read from the disk again.
    fs::write("/sys/module/dm_bufio/parameters/retain_bytes", "0").unwrap();
    println!("RESULT blocks: {}", blocks(Path::new(DISK)));
    println!("RESULT unwritten: {}", unwritten());
    let flags = |flags: u8| (FLAGS, vec![flags, 0, 0, 0]);
    let cases = [
        ("as-left", vec![]),
        ("version", vec![(VERSION, vec![99])]),
        ("interleave", vec![(INTERLEAVE, vec![8])]),
        ("interleave-most", vec![(INTERLEAVE, vec![31])]),
        ("tag-size", vec![(TAG_SIZE, vec![32, 0])]),
        ("journal", vec![(JOURNAL_SECTIONS, vec![100, 0, 0, 0])]),
        ("journal-most", vec![(JOURNAL_SECTIONS, vec![255; 4])]),
        ("fewer", vec![(PROVIDED, 65_536_u64.to_le_bytes().to_vec())]),
        (
            "more",
            vec![(PROVIDED, (1_u64 << 40).to_le_bytes().to_vec())],
        ),
        ("authenticated-journal", vec![flags(0x9)]),
        ("recalculating", vec![flags(0xa)]),
        ("bitmap", vec![flags(0xc)]),
        ("padding", vec![flags(0)]),
        ("block-size", vec![(BLOCK_SIZE, vec![0])]),
    ];
    for (name, changes) in cases {
        println!("RESULT {name}: {}", forged(&changes));
    }
    reboot(RebootCommand::PowerOff).unwrap();
}

fn make(device: &Path) -> Result<(Workspace, OwnedFd), workspace::WorkspaceError> {
    let bytes = fs::read_to_string("/sys/block/vda/size").unwrap();
    let bytes = bytes.trim().parse::<u64>().unwrap() * 512;
    workspace::make(device, bytes, CAPS, Path::new("/workspace.template"))
}

/// Makes a workspace on a disk that had one, and whose superblock the host changed.
fn forged(changes: &[(u64, Vec<u8>)]) -> String {
    let device = Path::new(DISK);
    let disk = File::options().write(true).open(device).unwrap();
    disk.write_all_at(&fs::read(SUPERBLOCK).unwrap(), 0)
        .unwrap();
    for (at, bytes) in changes {
        disk.write_all_at(bytes, *at).unwrap();
    }
    disk.sync_all().unwrap();
    drop(disk);
    forget();
    let said = match make(device) {
        Ok((made, mounted)) => used(made, mounted),
        Err(error) => error.code().to_owned(),
    };
    remove_all();
    said
}

/// Whether files of a workspace are what was written.
fn used(made: Workspace, mounted: OwnedFd) -> String {
    place(mounted);
    let path = Path::new(PLACE).join("file");
    let written = pattern(7, 256);
    fs::write(&path, &written).unwrap();
    forget();
    let same = fs::read(&path).unwrap() == written;
    unmount(PLACE, UnmountFlags::empty()).unwrap();
    let errors = made.errors();
    made.erase().unwrap();
    format!("made, {same}, {errors} errors")
}

fn place(mounted: OwnedFd) {
    let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&mounted, "", CWD, PLACE, how).unwrap();
    drop(mounted);
}

fn new_file() -> File {
    File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(Path::new(PLACE).join("file"))
        .unwrap()
}

/// What a host can do to the blocks of a file of a living workspace, told by what its reader gets.
fn blocks(device: &Path) -> String {
    let (made, mounted) = make(device).unwrap();
    place(mounted);
    let (one, two) = (pattern(16, 2), pattern(32, 2));
    let file = new_file();
    file.write_all_at(&one, 0).unwrap();
    forget();
    let disk = Disk(File::options().read(true).write(true).open(device).unwrap());
    fs::write(SUPERBLOCK, disk.read(0, 4096)).unwrap();
    let [a, b] = [0, 1].map(|number| number_of(&file, number));
    let (first_a, first_b) = (disk.take(a), disk.take(b));
    let mut said = Vec::new();
    let mut look = |name: &str| said.push(format!("{name} {}", content(&file, &one, &two)));
    look("written");
    disk.put(a, &first_b);
    disk.put(b, &first_a);
    look("moved");
    disk.put(a, &first_a);
    let Sealed { block, tag } = &first_b;
    disk.put(
        b,
        &Sealed {
            block: block.clone(),
            tag: first_a.tag.clone(),
        },
    );
    look("tag-of-another");
    disk.put(
        b,
        &Sealed {
            block: block.clone(),
            tag: vec![0; tag.len()],
        },
    );
    look("no-tag");
    disk.put(b, &first_b);
    look("restored");
    file.write_all_at(&two, 0).unwrap();
    look("written-again");
    disk.put(a, &first_a);
    look("one-of-earlier");
    disk.put(b, &first_b);
    look("both-of-earlier");
    drop(file);
    unmount(PLACE, UnmountFlags::empty()).unwrap();
    made.erase().unwrap();
    said.join(", ")
}

/// What a file has in the block that the host refuses to write: `/cases.json` says which sector of the second
/// disk that is. Its kernel has taken the content from the writer before.
fn unwritten() -> String {
    let (made, mounted) = make(Path::new(FAILING)).unwrap();
    place(mounted);
    let sector: u64 = serde_json::from_slice(&fs::read("/cases.json").unwrap()).unwrap();
    let file = new_file();
    let content: Vec<u8> = pattern(64, 16).repeat(128);
    file.write_all_at(&content, 0).unwrap();
    let synced = file.sync_all().is_err();
    forget();
    let met = (0..2048).find(|block| Disk::places(number_of(&file, *block)).0 == sector * 512);
    let mut found = [0; 4096];
    let at = u64::try_from(met.unwrap_or(0)).unwrap() * BLOCK;
    let read = match file.read_exact_at(&mut found, at) {
        Ok(()) if found == [0; 4096] => "zeros",
        Ok(()) => "content",
        Err(error) if error.raw_os_error() == Some(libc::EIO) => "EIO",
        Err(_) => "another error",
    };
    drop(file);
    unmount(PLACE, UnmountFlags::empty()).unwrap();
    made.erase().unwrap();
    remove_all();
    format!("met {}, told {synced}, read {read}", met.is_some())
}

/// Which of the two contents the disk has for the file; its second block may be the other's.
fn content(file: &File, one: &[u8], two: &[u8]) -> &'static str {
    forget();
    let mixed: Vec<u8> = one
        .iter()
        .take(4096)
        .chain(two.iter().skip(4096))
        .copied()
        .collect();
    let mut found = vec![0; one.len()];
    match file.read_exact_at(&mut found, 0) {
        Ok(()) if found == one => "first",
        Ok(()) if found == two => "second",
        Ok(()) if found == mixed => "mixed",
        Ok(()) => "neither",
        Err(error) if error.raw_os_error() == Some(libc::EIO) => "EIO",
        Err(_) => "another error",
    }
}

/// The device number of a file's block (`FIBMAP`).
fn number_of(file: &File, block: i32) -> u64 {
    let mut number = block;
    #[expect(unsafe_code, reason = "no safe crate has FIBMAP")]
    // SAFETY: the descriptor is open, and the kernel reads and writes one `int`.
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), 1, &raw mut number) };
    assert_eq!(returned, 0, "{}", io::Error::last_os_error());
    u64::try_from(number).unwrap()
}

/// A block and what lies beside it, as the disk has them.
struct Sealed {
    block: Vec<u8>,
    tag: Vec<u8>,
}

/// The disk as its host sees it.
struct Disk(File);

impl Disk {
    fn read(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut found = vec![0; bytes];
        self.0.read_exact_at(&mut found, at).unwrap();
        found
    }

    /// Where a block and its tag are.
    fn places(number: u64) -> (u64, u64) {
        let run = HEAD + number / RUN * (RUN * TAG + RUN * BLOCK);
        let within = number % RUN;
        (run + RUN * TAG + within * BLOCK, run + within * TAG)
    }

    fn take(&self, number: u64) -> Sealed {
        let (block, tag) = Self::places(number);
        Sealed {
            block: self.read(block, 4096),
            tag: self.read(tag, 48),
        }
    }

    fn put(&self, number: u64, sealed: &Sealed) {
        let (block, tag) = Self::places(number);
        self.0.write_all_at(&sealed.block, block).unwrap();
        self.0.write_all_at(&sealed.tag, tag).unwrap();
        self.0.sync_all().unwrap();
    }
}

/// Forgets everything that is also on a disk.
fn forget() {
    rustix::fs::sync();
    for _ in 0..2 {
        fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    }
}

/// `DM_REMOVE_ALL`: what a making that failed left behind.
fn remove_all() {
    let mut request = [0_u8; 312];
    request[0] = 4;
    request[12..16].copy_from_slice(&312_u32.to_ne_bytes());
    request[16..20].copy_from_slice(&312_u32.to_ne_bytes());
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/mapper/control")
        .unwrap();
    #[expect(unsafe_code, reason = "the device mapper has no other interface")]
    // SAFETY: the kernel reads and writes the 312 bytes whose length stands in them.
    let returned = unsafe { libc::ioctl(control.as_raw_fd(), 0xc138_fd01, request.as_mut_ptr()) };
    assert_eq!(returned, 0, "{}", io::Error::last_os_error());
}

/// Blocks that are all different.
fn pattern(seed: u8, blocks: usize) -> Vec<u8> {
    (0..blocks)
        .flat_map(|number| vec![seed ^ u8::try_from(number).unwrap(); 4096])
        .collect()
}
