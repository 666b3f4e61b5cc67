//! Commands that prepare a node: init, the configuration, certificates, manual pages.

use std::path::Path;

use antiphon_kernel::identity::KeyFiles;
use antiphon_kernel::ids::PeerName;
use antiphon_node::config::{self, NodeConfig};
use antiphon_node::init::{make_key, make_store};
use antiphon_node::reply::{Certificates, Checked, Initialised};
use antiphon_node::socket::must_not_be_served;
use antiphon_node::{dev_certs, expiry};
use anyhow::{Context as _, Result, bail};
use clap::CommandFactory as _;

use crate::cli::{Cli, InitArgs};
use crate::output::{done, raw};

pub(super) async fn init(file: &Path, args: &InitArgs, json: bool) -> Result<()> {
    if !file.exists() {
        let data_dir = args.data_dir.clone().unwrap_or_else(|| Path::new(args.name.as_str()).join("data"));
        make_key(&file.with_file_name(config::KEY_FILE))?;
        dev_certs::put(file, &config::starter(&args.name, &data_dir), 0o644)?;
    } else if args.data_dir.is_some() {
        bail!("{} exists and names the data directory; leave --data-dir out", file.display());
    }
    let config = NodeConfig::load(file)?;
    must_not_be_served(&config).await?;
    let identity = make_store(&config, args.log)?;
    let made = Initialised {
        cortex_id: identity.cortex_id,
        log: identity.log,
        epoch: identity.epoch.to_string(),
        identity_key: KeyFiles::of(config.data_dir()).working(),
        root_key: KeyFiles::of(config.data_dir()).root(),
        data_dir: config.data_dir(),
        config: file.to_owned(),
        key_file: config.federation.key_file.as_ref().map(|file| config.path(file)),
    };
    let mut text = format!(
        "cortex {} is ready in {}; start it with `antiphon serve`",
        identity.cortex_id,
        config.data_dir().display()
    );
    if let Some(log) = identity.log {
        text.push_str(&format!(
            "\nit belongs to log {log}; every other node joins it with `antiphon init --log {log}`"
        ));
    }
    text.push_str(&format!(
        "\nits root key is in {}; keep that offline: `antiphon identity export-root FILE` moves it out",
        made.root_key.display()
    ));
    if let Some(key_file) = &made.key_file {
        text.push_str(&format!("\nits shared key is in {}; copy that file to every other node", key_file.display()));
    }
    done(&made, json, &text)
}

pub(super) fn check(file: &Path, json: bool) -> Result<()> {
    let config = NodeConfig::load(file)?;
    let keys = config.shared_keys()?;
    config.check(&keys)?;
    config.list_troubles().iter().for_each(|trouble| eprintln!("{trouble}"));
    let certificate = match &config.listen.tls {
        Some(tls) => {
            let (until, soon) = expiry::of(&config.path(&tls.cert), jiff::Timestamp::now())?;
            soon.iter().for_each(|soon| eprintln!("{soon}"));
            format!(", certificate until {until}")
        }
        None => String::new(),
    };
    let text = format!(
        "{} is good: node {}, {} peers, mode {}, {}{certificate}",
        file.display(),
        config.node.name,
        config.federation.peers.len(),
        config.federation.mode,
        if keys.is_empty() { "no shared key" } else { "with a shared key" }
    );
    done(&Checked { ok: true, peers: config.federation.peers.len() }, json, &text)
}

pub(super) fn make_certificates(dir: &Path, names: &[PeerName], hosts: &[String], json: bool) -> Result<()> {
    dev_certs::write(dir, names, hosts)?;
    let text = format!("certificates for development are in {}; do not use them for anything else", dir.display());
    done(&Certificates { dir: dir.to_owned() }, json, &text)
}

pub(super) fn man(dir: Option<&Path>) -> Result<()> {
    let command = Cli::command();
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| format!("{} could not be made", dir.display()))?;
            clap_mangen::generate_to(command, dir).with_context(|| format!("{} could not be written to", dir.display()))
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            raw(&page)
        }
    }
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "antiphon", &mut text);
    raw(&text)
}
