//! What a process took of its machine.

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// CPU time of this process so far, in seconds: its own code and the system's on its behalf, all threads.
pub(crate) fn cpu_seconds() -> Result<f64> {
    let used = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((used.user_time().num_microseconds() + used.system_time().num_microseconds()) as f64 / 1e6)
}

/// The most memory this process had at once so far, in KiB.
///
/// Linux's own account of the running program; `getrusage` counts in what its parent had before it.
pub(crate) fn peak_kib() -> Result<u64> {
    status("VmHWM:")
}

/// The memory this process has now, in KiB.
pub(crate) fn resident_kib() -> Result<u64> {
    status("VmRSS:")
}

fn status(field: &str) -> Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("this system does not tell a process its memory")?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix("kB"));
    value.and_then(|kib| kib.trim().parse().ok()).with_context(|| format!("/proc/self/status has no {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_something() {
        let before = cpu_seconds().unwrap();
        let work: u64 = (0..20_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
        std::hint::black_box(work);
        assert!(cpu_seconds().unwrap() > before);
        let (now, peak) = (resident_kib().unwrap(), peak_kib().unwrap());
        assert!(now > 0 && peak >= now.min(peak));
    }
}
