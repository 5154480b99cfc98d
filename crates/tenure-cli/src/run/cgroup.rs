//! A control group of our own (version 2): one write kills all that is in it, also what forks
//! faster than the process table can be read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::error::{Exit, Failure, Outcome};

/// A group below the one of this process; removed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    dir: PathBuf,
}

impl Group {
    /// Makes one, if this process may.
    pub(crate) fn create() -> Outcome<Self> {
        let parent = own_group().map_err(|error| impossible(&error))?;
        let dir = parent.join(format!("tenure-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| impossible(&naming(&dir, &error)))?;
        let group = Self { dir };
        // Before anything depends on it: the kernel has the file since 5.14, and a directory
        // that is not ours cannot be written to.
        let kill = group.dir.join("cgroup.kill");
        let usable = fs::OpenOptions::new().write(true).open(&kill);
        let usable = usable
            .and_then(|_| fs::OpenOptions::new().write(true).open(parent.join("cgroup.procs")));
        match usable {
            Ok(_) => Ok(group),
            Err(error) => Err(impossible(&naming(&kill, &error))),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // With a process in it the directory stays, which is better than to lose sight of it.
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Kills all that is in a group.
pub(crate) fn kill(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.kill"), "1")
}

/// The directory of the group that this process is in.
fn own_group() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let mount = mount_point(&mounts)
        .ok_or_else(|| io::Error::other("no control groups of version 2 are mounted"))?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    let own = own.ok_or_else(|| io::Error::other("this process is in no group of version 2"))?;
    Ok(mount.join(own.trim_start_matches('/')))
}

fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_ours = after.split(' ').next() == Some("cgroup2");
        is_ours.then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })
}

fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn impossible(error: &io::Error) -> Failure {
    Failure::new(
        Exit::Tool,
        "--cgroup does not work here",
        error,
        "leave --cgroup out, or have the group delegated: Delegate=yes in a systemd unit, or \
         systemd-run --user --scope -p Delegate=yes tenure run ...",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_point_is_found_among_others() {
        let mounts = "25 30 0:23 / /sys rw - sysfs sysfs rw\n\
                      31 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      32 25 0:28 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("25 30 0:23 / /sys rw - sysfs sysfs rw"), None);
    }
}
