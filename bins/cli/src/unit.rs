//! A systemd unit for this program and its configuration.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

const UNIT: &str = include_str!("../../packaging/antiphon.service");
const PROGRAM: &str = "/usr/bin/antiphon";
const CONFIG: &str = "/etc/antiphon/antiphon.yaml";

/// The unit, with the paths of this program and of this configuration.
pub(crate) fn text(config: &Path) -> Result<String> {
    let program = std::env::current_exe().context("this program's own path is not known")?;
    let config = if config == Path::new("antiphon.yaml") { Path::new(CONFIG) } else { config };
    fill(&program, &std::path::absolute(config)?)
}

fn fill(program: &Path, config: &Path) -> Result<String> {
    for (what, path) in [("the program", program), ("the configuration", config)] {
        let hidden = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"].iter().find(|dir| path.starts_with(dir));
        if let Some(dir) = hidden {
            eprintln!(
                "antiphon: {what} is {}, and the service sees nothing below {dir}: move it, to {} say",
                path.display(),
                if what == "the program" { PROGRAM } else { CONFIG }
            );
        }
    }
    Ok(UNIT.replace(PROGRAM, &word(program)?).replace(CONFIG, &word(config)?))
}

/// A path as one word of a command line in a unit.
fn word(path: &Path) -> Result<String> {
    let text = path.to_str().context("a path is not UTF-8")?;
    if text.contains(['\n', '"', '\\']) {
        bail!("{} cannot stand in a unit: rename it", path.display());
    }
    let text = text.replace('%', "%%");
    Ok(if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_this_program_and_configuration() {
        let unit = fill(Path::new("/opt/a b/antiphon"), Path::new("/etc/100%.yaml")).unwrap();
        assert!(unit.contains("ExecStart=\"/opt/a b/antiphon\" --config /etc/100%%.yaml serve"), "{unit}");
        assert!(unit.contains("ExecReload=") && !unit.contains(PROGRAM) && !unit.contains(CONFIG));
        assert!(fill(Path::new("/a\nb"), Path::new("/c")).is_err());
    }
}
