//! The file system that a workspace's disk begins with: the blocks that a pinned `mke2fs` writes, run with
//! the pinned libraries beside it, so that every machine makes the same bytes.

use std::{fs, io::Read as _, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::machine;

const BLOCK_BYTES: usize = 4096;
/// Large enough for the first group's table of inodes; the guest grows it to its disk.
const BLOCKS: u32 = 4096;
/// As many as one group has bits for: how many a file system has is decided by its number of groups.
const INODES: &str = "32768";
/// The same in every room; nobody tells workspaces apart by it.
const UUID: &str = "70726f6f-6672-6f6f-6d77-6f726b737063";
/// Not a journal, for nothing is mounted twice; `meta_bg` instead of room kept for growing; project quotas,
/// by which the guest caps bytes and files.
const FEATURES: &str = "none,extents,64bit,meta_bg,uninit_bg,large_file,huge_file,dir_nlink,\
                        extra_isize,filetype,sparse_super,dir_index,ext_attr,quota,project";

/// Each block that holds anything, after its number of four bytes, big-endian.
pub(super) fn blocks(tools: &Path) -> Result<Vec<u8>> {
    let image = tools.join("workspace.ext4");
    if image.exists() {
        fs::remove_file(&image)?;
    }
    let libraries = tools.join("usr/lib/x86_64-linux-gnu");
    let mut mke2fs = Command::new(libraries.join("ld-linux-x86-64.so.2"));
    mke2fs
        .env_clear()
        .env("MKE2FS_CONFIG", tools.join("etc/mke2fs.conf"))
        // It takes 0 for no time at all, and the clock's instead.
        .env("SOURCE_DATE_EPOCH", "1")
        .arg("--library-path")
        .arg(&libraries)
        .arg(tools.join("usr/sbin/mke2fs"))
        .args([
            "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0",
        ])
        .args(["-N", INODES, "-U", UUID, "-O", FEATURES])
        .args([
            "-E",
            &format!(
                "lazy_itable_init=1,nodiscard,hash_seed={UUID},root_owner=0:0,quotatype=prjquota"
            ),
        ])
        .arg(&image)
        .arg(BLOCKS.to_string());
    machine::run(&mut mke2fs).context("the template of workspaces")?;
    let packed = packed(&image)?;
    fs::remove_file(&image)?;
    Ok(packed)
}

fn packed(image: &Path) -> Result<Vec<u8>> {
    let mut file = fs::File::open(image)?;
    let mut packed = Vec::new();
    let mut block = [0; BLOCK_BYTES];
    for number in 0..BLOCKS {
        file.read_exact(&mut block)
            .with_context(|| format!("`{}` ends before block {number}", image.display()))?;
        if block.iter().any(|byte| *byte != 0) {
            packed.extend(number.to_be_bytes());
            packed.extend(block);
        }
    }
    ensure!(!packed.is_empty(), "mke2fs wrote nothing");
    Ok(packed)
}
