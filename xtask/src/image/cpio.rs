//! The initial file system's archive format: cpio, "newc", as the kernel reads it
//! (Documentation/driver-api/early-userspace/buffer-format.rst). No times, owners or inode numbers
//! of this machine are in it.

/// An archive under construction.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    device: (u32, u32),
    content: &'a [u8],
}

impl Archive {
    pub(super) fn directory(&mut self, name: &str) {
        self.plain(name, 0o040_755, &[]);
    }

    pub(super) fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.plain(name, 0o100_000 | permissions, content);
    }

    pub(super) fn symlink(&mut self, name: &str, target: &str) {
        self.plain(name, 0o120_777, target.as_bytes());
    }

    pub(super) fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(&Entry {
            name,
            mode: 0o020_600,
            device: (major, minor),
            content: &[],
        });
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.plain("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn plain(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(&Entry {
            name,
            mode,
            device: (0, 0),
            content,
        });
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        self.entries += 1;
        let links = 1;
        let fields = [
            self.entries,
            entry.mode,
            0,
            0,
            links,
            0,
            length(entry.content),
            0,
            0,
            entry.device.0,
            entry.device.1,
            length(entry.name.as_bytes()) + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(entry.name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(entry.content);
        self.align();
    }

    fn align(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// A length as the format's 32 bits; what does not fit makes an archive that no kernel accepts.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
