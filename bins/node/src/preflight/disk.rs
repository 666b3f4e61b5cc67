//! Room on the disk, and who may look into the data directory.

use antiphon_kernel::config::SharedKey;

use super::findings::Findings;
use crate::config::NodeConfig;
use crate::exposed::is_open_to_others;
use crate::reply::Level;

pub(super) fn disk(config: &NodeConfig, findings: &mut Findings) {
    let dir = config.data_dir();
    let floor = config.kernel(SharedKey::default()).effective_min_free() >> 20;
    match nix::sys::statvfs::statvfs(&dir) {
        Ok(stat) => {
            let free = (stat.blocks_available() * stat.fragment_size()) >> 20;
            let says = format!("{free} MiB are free, and {floor} are to stay so");
            match free {
                free if free < floor || free == 0 => findings.add(
                    "disk",
                    Level::Fail,
                    says,
                    "free some space: peers are not pulled, and writes fail at last",
                ),
                free if free < floor.saturating_mul(4) => findings.add("disk", Level::Warn, says, "make room soon"),
                _ => findings.ok("disk", says),
            }
        }
        Err(error) => {
            let remedy = match error {
                nix::errno::Errno::EACCES => "run this as the user that the node runs as",
                _ => "what is said of the node says what to do; only a node that never ran is made by `antiphon init`",
            };
            findings.add("disk", Level::Fail, format!("{}: {error}", dir.display()), remedy);
        }
    }
    if is_open_to_others(&dir) {
        let says = format!("others than its owner may look into {}", dir.display());
        findings.add("disk", Level::Warn, says, &format!("chmod 700 {}", dir.display()));
    }
}
