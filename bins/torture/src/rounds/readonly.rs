//! A file system that may only be read: said as such, and left as it was.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::log::OpenError;
use antiphon_kernel::store::StoreErrorKind;
use antiphon_storage::Create;
use anyhow::Result;

use super::plan::{Plan, undisturbed, writing};
use crate::acks::Acks;
use crate::entropy::Entropy;
use crate::files;
use crate::mounts::Mount;
use crate::node::{self, Buffers};
use crate::strace::{self, Injection};
use crate::table::Outcome;
use crate::victim::{End, Rig};

const KIND: &str = "readonly";
/// What a file system refuses once it is read-only. Not `openat`: a file that is only read may be opened.
const CALLS: &str = "write,pwrite64,fsync,fdatasync,rename,unlink,fallocate,ftruncate,mkdir";

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    let at = plan.scratch.join("mount");
    let mount = match Mount::tmpfs(&at, 64) {
        Ok(mount) => mount,
        Err(why) => return Ok(Outcome::skipped(KIND, format!("{why:#}"))),
    };
    let rig = Rig::new(&plan.scratch)?;
    let mut outcome = Outcome::new(KIND);
    let dir = at.join("store");
    let mut acks = Acks::default();
    undisturbed(&rig, &dir, writing(Buffers::Usual), &mut acks)?;
    before(&mount, &at, &mut outcome, &plan.again(KIND, 0, 0))?;
    // A file system with files open for writing is not made read-only by `mount`; one with a broken disk makes itself so.
    if let Some(why) = strace::missing() {
        outcome.notes.push(format!("while it is open: not tried ({why})"));
    } else {
        for round in plan.rounds(KIND) {
            let (what, again) = (format!("round {round}, while it is open"), plan.again(KIND, round, 1));
            outcome.attempts += 1;
            let when = format!("{}+", 5 + Entropy::of_round(plan.seed, round).below(50));
            let prefix = Injection { calls: CALLS.to_owned(), what: "error=EROFS", when }.prefix();
            let life = rig.write(&dir, writing(Buffers::Usual), &prefix, &mut acks, |_| ControlFlow::Continue(()))?;
            let named = life.errors.iter().filter(|error| error.starts_with("ReadOnly ")).count();
            if life.end == End::GaveUp && named == life.errors.len() && named > 0 {
                outcome.refused += 1;
            } else {
                outcome.wrong(&format!("{what}: {life:?}"), &again);
            }
            let report = rig.check(&dir, &acks)?;
            outcome.expect_whole(1, &report, &what, &again);
        }
    }
    mount.unmount()?;
    Ok(outcome)
}

/// Read-only before anyone opens it.
fn before(mount: &Mount, at: &Path, outcome: &mut Outcome, again: &str) -> Result<()> {
    mount.remount("ro")?;
    let content = contents(at)?;
    for (name, create) in [
        ("store", Create::Never),
        ("store", Create::IfMissing),
        ("new", Create::IfMissing),
        ("new/deep", Create::IfMissing),
    ] {
        outcome.attempts += 1;
        let dir = at.join(name);
        let what = format!("{create:?} {name}");
        match node::open(&dir, create, Buffers::Usual) {
            Err(OpenError::Store(error)) if error.kind() == StoreErrorKind::ReadOnly => {
                let text = error.to_string();
                if text.contains(&*at.to_string_lossy()) && error.code() == ErrorCode::StoreReadOnly {
                    outcome.refused += 1;
                } else {
                    outcome
                        .wrong(&format!("{what}: the message does not say where, or has another code: {text}"), again);
                }
            }
            Err(error) => outcome.wrong(&format!("{what}: {error}"), again),
            Ok(_) => outcome.wrong(&format!("{what}: it opens"), again),
        }
    }
    if contents(at)? == content {
        outcome.survived += 4;
    } else {
        outcome.wrong("something was changed", again);
    }
    mount.remount("rw")
}

fn contents(dir: &Path) -> Result<Vec<(std::path::PathBuf, Vec<u8>)>> {
    files::all(dir)?.into_iter().map(|path| Ok((path.clone(), fs::read(path)?))).collect()
}
