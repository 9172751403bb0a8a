//! Reads the header of an image without a tool, so that no tool opens a file that refers to others.

use crate::model::ImageFormat;

/// Bytes that are read from the start. The longest qcow2 header that QEMU writes is far shorter, and an ISO 9660 volume starts at 32 KiB.
pub(super) const HEAD: usize = 64 << 10;
/// Bytes that are read from the end: a sector.
pub(super) const TAIL: usize = 512;

/// Formats, with bytes at an offset from the start. Sources: `block/*.c` of QEMU and the specifications of the formats.
const MARKS: &[(&str, usize, &[u8])] = &[
    ("qcow2", 0, b"QFI\xfb"),
    ("qed", 0, b"QED\0"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"COWD"),
    ("vhd", 0, b"conectix"),
    ("vhdx", 0, b"vhdxfile"),
    ("vdi", 0x40, &[0x7f, 0x10, 0xda, 0xbe]),
    ("parallels", 0, b"WithoutFreeSpace"),
    ("parallels", 0, b"WithouFreSpacExt"),
    ("bochs", 0, b"Bochs Virtual HD Image"),
    ("cloop", 0, b"#!/bin/sh\n#V2.0 Format"),
];
/// Footers at the end: of a fixed VHD and of a DMG.
const FOOTERS: &[(&str, &[u8])] = &[("vhd", b"conectix"), ("dmg", b"koly")];
/// Bytes with which a raw disk starts. In a qcow2 file these offsets are within the header.
const DISK_MARKS: &[(&str, usize, &[u8])] = &[("iso", 0x8001, b"CD001"), ("mbr", 510, &[0x55, 0xaa])];

/// Names the first format, other than the declared one, that a file appears to have.
pub(super) fn other_format(format: ImageFormat, head: &[u8], tail: &[u8]) -> Option<&'static str> {
    let marks = match format {
        ImageFormat::Raw => MARKS.iter().chain(&[]),
        ImageFormat::Qcow2 => MARKS.iter().chain(DISK_MARKS),
    };
    let there = |at: usize, mark: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(mark));
    let mut begins = marks.filter(|(_, at, mark)| there(*at, mark)).map(|(name, ..)| *name);
    let footer = FOOTERS.iter().find(|(_, mark)| tail.starts_with(mark)).map(|(name, _)| *name);
    let descriptor = is_vmdk_descriptor(head).then_some("vmdk");
    begins.find(|name| *name != format.as_str()).or(footer).or(descriptor)
}

/// Recognises a VMDK descriptor, a text that names the files with the data, like QEMU: `version=` after comments and blank lines.
fn is_vmdk_descriptor(head: &[u8]) -> bool {
    if head.starts_with(b"# Disk DescriptorFile") {
        return true;
    }
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.find(|line| !line.is_empty() && !line.starts_with(b"#")).is_some_and(|line| line.starts_with(b"version="))
}

/// The parts of a qcow2 header that are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Qcow2 {
    /// The size of the disk.
    pub(super) size: u64,
    /// End of the L1 table. A shorter file is no image, although QEMU reads it as an empty one.
    pub(super) table_end: u64,
    /// The cluster size in bytes.
    pub(super) cluster: u64,
    /// Number of internal snapshots; at most [`MOST_SNAPSHOTS`].
    pub(super) snapshots: u32,
    /// Start of the snapshot table.
    pub(super) snapshots_at: u64,
}

/// The limit of QEMU.
const MOST_SNAPSHOTS: u32 = 65536;

/// Reads the header of a qcow2 file.
///
/// # Errors
/// Why the image is refused, as the end of a sentence that starts with "it".
pub(super) fn qcow2(head: &[u8]) -> Result<Qcow2, String> {
    // Source of offsets and bits: docs/interop/qcow2.txt of QEMU.
    let u32_at = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_be_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let short = || "it is shorter than a qcow2 header".to_owned();
    let need32 = |at| u32_at(at).ok_or_else(short);
    let need64 = |at| u64_at(at).ok_or_else(short);
    if !head.starts_with(b"QFI\xfb") {
        return Err("it does not begin as a qcow2 file does".to_owned());
    }
    let version = need32(4)?;
    if !(2..=3).contains(&version) {
        return Err(format!("it is of the qcow version {version}; 2 and 3 are read"));
    }
    if need64(8)? != 0 || need32(16)? != 0 {
        return Err("it has a backing file: its data is in another file, which it chooses".to_owned());
    }
    let cluster_bits = need32(20)?;
    if !(9..=21).contains(&cluster_bits) {
        return Err("its cluster size is none that there is".to_owned());
    }
    if need32(32)? != 0 {
        return Err("it is encrypted".to_owned());
    }
    let size = need64(24)?;
    let (features, length) = if version == 2 { (0, 72) } else { (need64(72)?, need32(100)?) };
    for (bit, why) in [
        (1, "it is marked as corrupt"),
        (0, "it was not closed cleanly, or is in use; `qemu-img check -r orphans` settles that"),
        (2, "it has a data file: its data is in another file, which it chooses"),
    ] {
        if features & (1 << bit) != 0 {
            return Err(why.to_owned());
        }
    }
    // Other compression than zlib (bit 3) and extended L2 entries (bit 4) are allowed.
    if features & !0b1_1111 != 0 {
        return Err(format!("it needs features that are not known here ({features:#x})"));
    }
    let endless = || "its header does not end where one does".to_owned();
    let mut at = usize::try_from(length).ok().filter(|at| *at <= head.len()).ok_or_else(endless)?;
    while let Some(kind) = u32_at(at).filter(|kind| *kind != 0) {
        let length = need32(at + 4)? as usize;
        match kind {
            0x4441_5441 => return Err("it names a data file".to_owned()),
            0xE279_2ACA => return Err("it names the format of a backing file".to_owned()),
            0x0537_BE77 => return Err("it is encrypted".to_owned()),
            _ => {}
        }
        // Each extension is padded to eight bytes.
        let next = length.checked_next_multiple_of(8).and_then(|length| at.checked_add(8 + length));
        at = next.filter(|next| *next < head.len()).ok_or_else(endless)?;
    }
    let (snapshots, snapshots_at) = (need32(60)?, need64(64)?);
    if snapshots > MOST_SNAPSHOTS {
        return Err(format!("it has {snapshots} internal snapshots; {MOST_SNAPSHOTS} are read"));
    }
    let table_end = need64(40)?.checked_add(u64::from(need32(36)?) * 8).ok_or_else(endless)?;
    Ok(Qcow2 { size, table_end, cluster: 1 << cluster_bits, snapshots, snapshots_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Vec<u8> {
        let mut head = vec![0; 4096];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[7] = 3;
        head[23] = 16;
        head[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
        head[39] = 1;
        head[45] = 3;
        head[103] = 104;
        head
    }

    #[test]
    fn a_header_that_refers_to_anything_is_refused() {
        let good = Qcow2 { size: 1 << 30, table_end: 0x3_0008, cluster: 1 << 16, snapshots: 0, snapshots_at: 0 };
        assert_eq!(qcow2(&header()), Ok(good));
        for (at, value, why) in [
            (15, 1, "backing file"),
            (19, 1, "backing file"),
            (35, 2, "encrypted"),
            (79, 4, "data file"),
            (79, 2, "corrupt"),
            (79, 1, "closed"),
            (79, 32, "features"),
            (72, 1, "features"),
            (23, 63, "cluster size"),
            (61, 255, "internal snapshots"),
            (7, 4, "version 4"),
            (0, 0, "begin"),
        ] {
            let mut head = header();
            head[at] = value;
            let answer = qcow2(&head);
            assert!(answer.as_ref().is_err_and(|e| e.contains(why)), "{at}: {answer:?}");
        }
        for (kind, why) in
            [(b"DATA", "data file"), (b"\xe2\x79\x2a\xca", "backing"), (b"\x05\x37\xbe\x77", "encrypted")]
        {
            let mut head = header();
            // Behind an extension of another kind.
            head[104..108].copy_from_slice(&0x6803_f857_u32.to_be_bytes());
            head[111] = 9;
            head[128..132].copy_from_slice(kind);
            assert!(qcow2(&head).is_err_and(|e| e.contains(why)), "{why}");
        }
    }

    #[test]
    fn no_bytes_make_it_fail_in_another_way() {
        let whole = header();
        for length in 0..200 {
            assert_eq!(qcow2(&whole[..length]).is_ok(), length >= 104, "{length}");
        }
        // A generator of its own, so that a failure names all that is needed to see it again.
        let seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut state = seed;
        for round in 0..20_000 {
            let mut head = header();
            for _ in 0..4 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                head[(state % 160) as usize] = (state >> 32) as u8;
            }
            let answer = qcow2(&head);
            assert!(answer.is_err() || head[8..20] == [0; 12], "seed {seed:#x}, round {round}");
            other_format(ImageFormat::Raw, &head, &head[..TAIL]);
        }
    }

    #[test]
    fn an_image_of_another_format_is_detected_by_content() {
        let with = |at: usize, mark: &[u8]| {
            let mut head = vec![0; HEAD];
            head[at..at + mark.len()].copy_from_slice(mark);
            head
        };
        for (name, at, mark) in MARKS {
            assert_eq!(other_format(ImageFormat::Raw, &with(*at, mark), &[]), Some(*name));
        }
        for (name, at, mark) in DISK_MARKS {
            assert_eq!(other_format(ImageFormat::Raw, &with(*at, mark), &[]), None, "a disk is what a raw image is of");
            assert_eq!(other_format(ImageFormat::Qcow2, &with(*at, mark), &[]), Some(*name));
        }
        for (name, mark) in FOOTERS {
            assert_eq!(other_format(ImageFormat::Raw, &with(0, b""), mark), Some(*name));
        }
        for text in
            ["# Disk DescriptorFile\nversion=1\n", "\n # a\r\n\nversion=3\nRW 1 FLAT \"/etc/passwd\" 0\n", "version=1"]
        {
            assert_eq!(other_format(ImageFormat::Raw, text.as_bytes(), &[]), Some("vmdk"), "{text:?}");
        }
        assert_eq!(other_format(ImageFormat::Qcow2, &header(), &[0; TAIL]), None);
        assert_eq!(other_format(ImageFormat::Raw, b"version 1, of a text", &[]), None);
        assert_eq!(other_format(ImageFormat::Raw, &[], &[]), None);
    }
}
