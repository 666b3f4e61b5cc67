//! File systems of the rig's own, which go with it.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

const OWN: &str = "ANTIPHON_TORTURE_OWN_MOUNTS";

/// Starts this process again in a mount namespace of its own, where the system allows it: then nothing stays mounted
/// however it ends. Comes back where it does not.
pub(crate) fn own_namespace() {
    if std::env::var_os(OWN).is_some() {
        return;
    }
    // As root there are loop devices too; others get at least their own tmpfs.
    for how in ["-m", "-rm"] {
        let works = Command::new("unshare").args([how, "true"]).output().is_ok_and(|output| output.status.success());
        if let (true, Ok(exe)) = (works, std::env::current_exe()) {
            let again =
                Command::new("unshare").arg(how).arg(exe).args(std::env::args_os().skip(1)).env(OWN, "1").exec();
            eprintln!("antiphon-torture: no mount namespace: {again}");
        }
    }
}

/// Runs a program that says by its status whether it worked.
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("could not run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}", said.lines().next().unwrap_or("no word"));
    }
    Ok(())
}

/// Something mounted, until it is dropped.
pub(crate) struct Mount {
    at: PathBuf,
    mounted: bool,
}

impl Mount {
    pub(crate) fn tmpfs(at: &Path, megabytes: u64) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        run(
            "mount",
            [
                OsStr::new("-t"),
                "tmpfs".as_ref(),
                "-o".as_ref(),
                format!("size={megabytes}m").as_ref(),
                "tmpfs".as_ref(),
                at.as_ref(),
            ],
        )?;
        Ok(Self { at: at.to_owned(), mounted: true })
    }

    pub(crate) fn image(image: &Path, at: &Path) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        run("mount", [OsStr::new("-o"), "loop".as_ref(), image.as_ref(), at.as_ref()])?;
        Ok(Self { at: at.to_owned(), mounted: true })
    }

    pub(crate) fn remount(&self, options: &str) -> Result<()> {
        run("mount", [OsStr::new("-o"), format!("remount,{options}").as_ref(), self.at.as_ref()])
    }

    pub(crate) fn unmount(mut self) -> Result<()> {
        self.mounted = false;
        run("umount", [&self.at]).inspect_err(|_| self.let_go())
    }

    /// For when it is still in use: it goes with its last user.
    fn let_go(&self) {
        let _ = run("umount", [OsStr::new("-l"), self.at.as_ref()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted && run("umount", [&self.at]).is_err() {
            self.let_go();
        }
    }
}
