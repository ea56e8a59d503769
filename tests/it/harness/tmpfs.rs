//! A small file system that can really be full.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::needs_root;

/// A mounted tmpfs; it is unmounted with the value, also when the test fails.
#[derive(Debug)]
pub(crate) struct Tmpfs {
    dir: tempfile::TempDir,
}

impl Tmpfs {
    /// `options` as for mount(8): `size=8m,nr_inodes=100`.
    pub(crate) fn mount(options: &str) -> Tmpfs {
        needs_root("it mounts a small file system");
        let dir = tempfile::Builder::new()
            .prefix("uft-it-tmpfs-")
            .tempdir()
            .unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        mount(
            "tmpfs",
            dir.path(),
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            options.as_c_str(),
        )
        .unwrap_or_else(|err| panic!("tmpfs cannot be mounted: {err}"));
        Tmpfs { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Takes every free byte; the file can be removed to give them back.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).unwrap();
        for piece in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![b'x'; piece]).is_ok() {}
        }
        assert_eq!(self.free(), 0, "the file system is full");
        path
    }

    /// Takes every free inode.
    pub(crate) fn fill_inodes(&self) -> PathBuf {
        let dir = self.path().join("fillers");
        fs::create_dir(&dir).unwrap();
        (0..)
            .take_while(|n| File::create(dir.join(n.to_string())).is_ok())
            .count();
        dir
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a daemon that the failing test leaves behind must not keep the mount.
        if let Err(err) = unmount(self.dir.path(), UnmountFlags::DETACH) {
            eprintln!("{}: cannot be unmounted: {err}", self.dir.path().display());
        }
    }
}
