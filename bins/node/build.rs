//! Sets `ANTIPHON_REVISION`. Git is asked for release builds alone: a development build would compile again at each commit.

use std::process::Command;

/// What git prints, if it works and prints something.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn revision() -> Option<String> {
    if let Some(given) = std::env::var("ANTIPHON_REVISION").ok().filter(|given| !given.is_empty()) {
        return Some(given);
    }
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    // A commit changes the log of HEAD, and a checkout HEAD itself.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--path-format=absolute", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ANTIPHON_REVISION");
    println!("cargo::rustc-env=ANTIPHON_REVISION={}", revision().unwrap_or_else(|| "unknown".to_owned()));
}
