//! The holders of kernel locks on files.

use std::fs;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, StatxFlags, statx};

/// Returns the process that holds an exclusive `flock` on an open file. `None` if it runs on another host or in another process namespace.
pub(super) fn holder(file: impl AsFd) -> Option<u32> {
    let stat = statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::MNT_ID).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let (major, minor) = device_in(&mounts, stat.stx_mnt_id)?;
    holder_in(&fs::read_to_string("/proc/locks").ok()?, &format!("{major:02x}:{minor:02x}:{}", stat.stx_ino))
}

/// Returns the device of a mount. That of a file may be another (btrfs). A line begins with `36 35 98:0`: its number, that of its parent,
/// and the device.
fn device_in(mounts: &str, mount: u64) -> Option<(u32, u32)> {
    let mut fields = mounts.lines().map(str::split_whitespace);
    let mut line = fields.find(|line| line.clone().next().and_then(|id| id.parse().ok()) == Some(mount))?;
    let (major, minor) = line.nth(2)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A line is `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`, and that of a process that waits has `->` after its number.
fn holder_in(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let [kind, _, access, pid, at] = std::array::from_fn(|_| fields.next().unwrap_or_default());
        let pid = pid.parse().ok().filter(|pid| *pid > 0);
        pid.filter(|_| (kind, access, at) == ("FLOCK", "WRITE", file))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_that_of_the_mount() {
        let mounts = "21 1 254:0 / / rw - ext4 /dev/root rw\n36 21 0:42 /a /mnt rw,noatime - btrfs /dev/loop0 rw\n";
        assert_eq!((device_in(mounts, 36), device_in(mounts, 21)), (Some((0, 42)), Some((254, 0))));
        assert_eq!(device_in(mounts, 3), None);
    }

    #[test]
    fn the_holder_of_an_exclusive_lock_is_found_by_the_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 08:01:5678 0 EOF\n\
                     2: FLOCK  ADVISORY  READ  11 08:01:5678 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 12 08:01:56789 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 13 08:01:5678 0 EOF\n\
                     4: -> FLOCK  ADVISORY  WRITE 14 08:02:5678 0 EOF\n\
                     5: FLOCK  ADVISORY  WRITE -1 08:03:5678 0 EOF\n";
        assert_eq!(holder_in(locks, "08:01:5678"), Some(13));
        for other in ["08:02:5678", "08:03:5678", "08:01:567"] {
            assert_eq!(holder_in(locks, other), None, "{other}");
        }
    }
}
