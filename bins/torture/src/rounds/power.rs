//! Power loss: an ext4 in a file, shut down without its journal being flushed. What was not synced is gone.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::plan::{Plan, chain, writing};
use crate::acks::Acks;
use crate::entropy::Entropy;
use crate::mounts::{Mount, run as command};
use crate::node::Buffers;
use crate::table::Outcome;
use crate::victim::{End, Rig};

const KIND: &str = "power";
/// How often one directory loses power in a row.
const CHAIN: u64 = 5;
const IMAGE_BYTES: u64 = 256 << 20;

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`. Perl, because an ioctl is unsafe code in Rust, and of that the
/// workspace has none.
const SHUT_DOWN: &str = r#"open(my $dir, "<", $ARGV[0]) or die "$!\n"; my $how = pack("L", 2);
    ioctl($dir, 0x8004587d, $how) or die "EXT4_IOC_SHUTDOWN: $!\n";"#;

fn cut_power(mount: &Path) -> Result<()> {
    command("perl", ["-e".as_ref(), SHUT_DOWN.as_ref(), mount.as_os_str()])
}

fn make(image: &Path) -> Result<()> {
    fs::File::create(image)?.set_len(IMAGE_BYTES)?;
    command("mkfs.ext4", ["-q".as_ref(), "-F".as_ref(), image.as_os_str()])
}

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    let (image, at) = (plan.scratch.join("image"), plan.scratch.join("mount"));
    let mounted = make(&image).and_then(|()| Mount::image(&image, &at)).and_then(|mount| {
        // It must be possible at all before anything is counted.
        cut_power(&at)?;
        mount.unmount()
    });
    if let Err(why) = mounted {
        return Ok(Outcome::skipped(KIND, format!("{why:#}")));
    }
    let rig = Rig::new(&plan.scratch)?;
    let mut outcome = Outcome::new(KIND);
    let mut acks = Acks::default();
    let mut broken = None;
    for round in plan.rounds(KIND) {
        let first = chain(round, CHAIN);
        let fresh = round == first || round == plan.first;
        if !fresh && broken == Some(first) {
            continue;
        }
        let mut entropy = Entropy::of_round(plan.seed, round);
        let buffers = if Entropy::of_round(plan.seed, first).one_in(2) { Buffers::Small } else { Buffers::Usual };
        let stop = entropy.below(140);
        let (what, again) = (format!("round {round}, cut after {stop}"), plan.again(KIND, first, round - first + 1));
        outcome.attempts += 1;
        let mount = Mount::image(&image, &at)?;
        let dir = at.join("store");
        if fresh {
            (acks, broken) = (Acks::default(), None);
            let _ = fs::remove_dir_all(&dir); // it may not be there
        }
        // Never synced, so a power loss takes it. If it is there afterwards, that was none.
        // Another name each time: ext4 writes a file that is emptied and filled again at once.
        let unsynced = at.join(format!("unsynced-{round}"));
        fs::write(&unsynced, [7; 4096])?;
        let mut cut = Ok(());
        let life = rig.write(&dir, writing(buffers), &[], &mut acks, |acked| {
            if acked <= stop {
                return ControlFlow::Continue(());
            }
            cut = cut_power(&at);
            ControlFlow::Break(())
        })?;
        // Not so with a sync that was under way: after a shutdown the system may call it done, which with a real power
        // loss nobody would hear. `life.late` does not count.
        if life.end == End::Done {
            cut = cut_power(&at);
        }
        cut.context("the power could not be cut")?;
        mount.unmount()?;
        let mount = Mount::image(&image, &at)?;
        ensure!(
            fs::read(&unsynced).unwrap_or_default().is_empty(),
            "what was never synced is there: no power was lost"
        );
        if matches!(life.end, End::Wrong(_)) || !life.errors.is_empty() {
            outcome.wrong(&format!("{what}: {life:?}"), &again);
            broken = Some(first);
        }
        let report = rig.check(&dir, &acks)?;
        if !outcome.expect_whole(1, &report, &what, &again) {
            plan.keep(KIND, round, &dir)?;
            broken = Some(first);
        }
        mount.unmount()?;
    }
    Ok(outcome)
}
