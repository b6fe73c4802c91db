//! The dm-verity table of one layer. Hash type 1, SHA-256, blocks of 4096 bytes; the hash tree
//! follows the one block that the superblock fills.

use rustix::fs::{major, minor};

use super::{BLOCK_BYTES, LayerError, LayerPlan};

const SECTOR_BYTES: u64 = 512;
/// Hashes of 32 bytes in one block.
const HASHES_PER_BLOCK: u64 = 128;
/// 1 TiB; the sums below cannot overflow.
const MAX_DATA_BLOCKS: u64 = 1 << 28;

pub(super) struct Table<'a> {
    plan: &'a LayerPlan,
    hash_start: u64,
}

impl<'a> Table<'a> {
    /// Takes what the boot configuration says: nothing in it can add a word to the table.
    pub(super) fn new(layer: usize, plan: &'a LayerPlan) -> Result<Self, LayerError> {
        let refuse = |member, problem| LayerError::Plan {
            layer,
            member,
            problem,
        };
        for (member, text) in [("root", &plan.root), ("salt", &plan.salt)] {
            let digits = text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if text.len() != 64 || !digits {
                return Err(refuse(member, "is not 64 lower-case hex digits"));
            }
        }
        if plan.data_blocks == 0 || plan.data_blocks > MAX_DATA_BLOCKS {
            return Err(refuse("data_blocks", "is not a number of blocks"));
        }
        if plan.hash_offset != plan.data_blocks * BLOCK_BYTES {
            return Err(refuse(
                "hash_offset",
                "is not where the file system's blocks end",
            ));
        }
        Ok(Self {
            plan,
            hash_start: plan.data_blocks + 1,
        })
    }

    pub(super) const fn sectors(&self) -> u64 {
        self.plan.data_blocks * (BLOCK_BYTES / SECTOR_BYTES)
    }

    /// File system, superblock and hash tree.
    pub(super) const fn needs_bytes(&self) -> u64 {
        let mut blocks = self.hash_start;
        let mut level = self.plan.data_blocks;
        while level > 1 {
            level = level.div_ceil(HASHES_PER_BLOCK);
            blocks += level;
        }
        blocks * BLOCK_BYTES
    }

    /// The target's parameters for the device with the number `device`.
    pub(super) fn parameters(&self, device: u64) -> String {
        let device = format!("{}:{}", major(device), minor(device));
        let LayerPlan {
            root,
            salt,
            data_blocks,
            ..
        } = self.plan;
        let start = self.hash_start;
        format!("1 {device} {device} 4096 4096 {data_blocks} {start} sha256 {root} {salt}")
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::verity::{LayerError, LayerPlan};

    fn plan() -> LayerPlan {
        LayerPlan {
            root: "ab".repeat(32),
            salt: "01".repeat(32),
            data_blocks: 129,
            hash_offset: 129 * 4096,
        }
    }

    #[test]
    fn the_table_names_device_sizes_root_and_salt() {
        let plan = plan();
        let table = Table::new(0, &plan).unwrap();
        assert_eq!(table.sectors(), 129 * 8);
        // 129 blocks, the superblock, two leaves and one top.
        assert_eq!(table.needs_bytes(), (129 + 1 + 2 + 1) * 4096);
        let words = table.parameters(rustix::fs::makedev(254, 16));
        let (root, salt) = ("ab".repeat(32), "01".repeat(32));
        assert_eq!(
            words,
            format!("1 254:16 254:16 4096 4096 129 130 sha256 {root} {salt}")
        );
    }

    #[test]
    fn what_could_add_a_word_to_the_table_is_refused() {
        let refused = |change: fn(&mut LayerPlan), wanted: &str| {
            let mut plan = plan();
            change(&mut plan);
            match Table::new(3, &plan).err().unwrap() {
                LayerError::Plan {
                    layer: 3, member, ..
                } => assert_eq!(member, wanted),
                other => panic!("{other:?}"),
            }
        };
        refused(|plan| plan.root = "AB".repeat(32), "root");
        refused(|plan| plan.root.push_str(" 1 ignore_corruption"), "root");
        refused(|plan| plan.salt.clear(), "salt");
        refused(|plan| plan.salt.replace_range(0..1, " "), "salt");
        refused(|plan| plan.data_blocks = 0, "data_blocks");
        refused(|plan| plan.data_blocks = u64::MAX, "data_blocks");
        refused(|plan| plan.hash_offset += 512, "hash_offset");
    }
}
