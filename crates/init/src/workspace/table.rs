//! The device mapper's words for the workspace's disk (the kernel's documentation of dm-integrity and
//! dm-crypt, `Documentation/admin-guide/device-mapper`).

use rustix::fs::{major, minor};
use zeroize::Zeroizing;

pub(super) const BLOCK_BYTES: u64 = 4096;
pub(super) const SECTORS_PER_BLOCK: u64 = BLOCK_BYTES / 512;
/// 32 bytes for HMAC-SHA-256, then twice 32 for AES-256 in XTS mode.
pub(super) const KEY_BYTES: usize = 96;
/// With every block: its initialisation vector of 16 bytes, random at each writing, and its tag of 32.
const TAG_BYTES: u32 = 48;

/// Room for the tags of what is above. `D`: without a journal, because nothing has to be whole after the
/// machine's end; the smallest journal is laid out and never used. Tags without the padding of old versions.
pub(super) fn integrity(disk: u64) -> String {
    let disk = format!("{}:{}", major(disk), minor(disk));
    format!("{disk} 0 {TAG_BYTES} D 3 block_size:{BLOCK_BYTES} journal_sectors:1 fix_padding")
}

/// Encrypt-then-MAC. The tag is over the block's number, its initialisation vector and its ciphertext.
pub(super) fn crypt(key: &[u8; KEY_BYTES], checked: u64) -> Zeroizing<String> {
    let key = Zeroizing::new(hex::encode(key));
    let device = format!("{}:{}", major(checked), minor(checked));
    let after = format!(" 0 {device} 0 2 integrity:{TAG_BYTES}:aead sector_size:{BLOCK_BYTES}");
    let cipher = "capi:authenc(hmac(sha256),xts(aes))-random ";
    // Joined in memory that is as large as it gets: what a growing text leaves behind is not wiped.
    Zeroizing::new([cipher, key.as_str(), &after].concat())
}

/// Sectors that a laid-out disk has for what is above: the second word of its status.
pub(super) fn provided_sectors(status: &str) -> Option<u64> {
    let sectors: u64 = status.split(' ').nth(1)?.parse().ok()?;
    (sectors > 0 && sectors.is_multiple_of(SECTORS_PER_BLOCK)).then_some(sectors)
}

#[cfg(test)]
mod tests {
    use rustix::fs::makedev;

    use super::{KEY_BYTES, crypt, integrity, provided_sectors};

    #[test]
    fn tags_are_kept_without_a_journal() {
        assert_eq!(
            integrity(makedev(8, 16)),
            "8:16 0 48 D 3 block_size:4096 journal_sectors:1 fix_padding"
        );
    }

    #[test]
    fn blocks_are_encrypted_and_authenticated_under_the_whole_key() {
        let mut key = [0xab; KEY_BYTES];
        key[0] = 0x01;
        let words = format!(
            "capi:authenc(hmac(sha256),xts(aes))-random 01{} 0 254:3 0 2 integrity:48:aead sector_size:4096",
            "ab".repeat(95)
        );
        assert_eq!(crypt(&key, makedev(254, 3)).as_str(), words);
    }

    #[test]
    fn a_disks_room_is_whole_blocks_or_unknown() {
        assert_eq!(provided_sectors("0 2048 -"), Some(2048));
        for refused in ["", "0", "0 0 -", "0 2044 -", "0 - -", "0 -8 -"] {
            assert_eq!(provided_sectors(refused), None, "{refused}");
        }
    }
}
