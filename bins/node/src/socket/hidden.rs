//! How commands find a node whose data directory was removed, renamed or covered while it serves: its socket in there is out of
//! reach then. On Linux it also listens on an abstract socket, whose name follows from the path of the data directory.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::frame::{read_line, read_location, request_line};
use crate::api::Request;
use crate::config::NodeConfig;

/// How long a node may take to say whether its files are in place.
const PATIENCE: Duration = Duration::from_secs(5);

/// The path that the name is made of: the same one for a node and a command, wherever they were started.
fn path_of(data: &Path) -> PathBuf {
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    match (absolute.parent().map(Path::canonicalize), absolute.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => absolute,
    }
}

/// The name of the abstract socket of a data directory.
fn name_of(data: &Path) -> String {
    let digest = Sha256::digest(path_of(data).as_os_str().as_bytes());
    let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("antiphon-{name}")
}

/// A node that serves from files which the path of its data directory does not lead to any more.
pub(crate) struct Hidden {
    pub(super) stream: Box<BufReader<UnixStream>>,
    /// What became of its files.
    why: String,
    process: u32,
}

impl Hidden {
    /// That nothing may be begun in the place of its files, as an error.
    fn refusal(&self, data: &Path) -> anyhow::Error {
        anyhow::anyhow!(
            "a node (process {}) still serves the data that were in {}: {}. Put the same files back there, or stop that process first",
            self.process,
            data.display(),
            self.why
        )
    }
}

/// Fails if a node serves from the hidden files of this data directory.
///
/// # Errors
/// That one does, and what to do.
pub async fn must_not_be_served(config: &NodeConfig) -> Result<()> {
    find(config).await.map_or(Ok(()), |hidden| Err(hidden.refusal(&config.data_dir())))
}

/// The node that serves from the hidden files of this data directory, if one does.
pub(crate) async fn find(config: &NodeConfig) -> Option<Hidden> {
    let stream = UnixStream::from_std(system::connect(&name_of(&config.data_dir())).ok()?).ok()?;
    // Root may speak to any user's node, but any user's process may have taken the name.
    let owner = fs::metadata(&config.file).ok().map(|meta| meta.uid());
    let user = stream.peer_cred().ok()?.uid();
    if !is_trusted(user) && owner != Some(user) {
        return None;
    }
    tokio::time::timeout(PATIENCE, ask(stream, config)).await.ok().flatten()
}

async fn ask(stream: UnixStream, config: &NodeConfig) -> Option<Hidden> {
    let mut stream = Box::new(BufReader::new(stream));
    stream.write_all(request_line(&Request::Location).ok()?.as_bytes()).await.ok()?;
    let location = read_location(&read_line(&mut stream).await.ok()??).ok()?;
    let (why, process) = (location.displaced?, location.process);
    // Another container may have a data directory of the same path.
    (location.name == config.node.name).then_some(Hidden { stream, why, process })
}

/// Listens for commands that do not find the socket in the data directory. A name that is taken is no reason not to serve.
pub(super) fn listen(data: &Path) -> Option<UnixListener> {
    system::listen(&name_of(data))
        .and_then(UnixListener::from_std)
        .inspect_err(|error| tracing::debug!(%error, "no abstract socket"))
        .ok()
}

/// Whether a process of this user may give commands: an abstract socket has no permissions of its own.
pub(super) fn is_trusted(user: u32) -> bool {
    user == nix::unistd::geteuid().as_raw() || user == 0
}

#[cfg(target_os = "linux")]
mod system {
    use std::io::Result;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    pub(super) fn listen(name: &str) -> Result<UnixListener> {
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        listener.set_nonblocking(true).map(|()| listener)
    }

    pub(super) fn connect(name: &str) -> Result<UnixStream> {
        let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        stream.set_nonblocking(true).map(|()| stream)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io::{Error, ErrorKind, Result};
    use std::os::unix::net::{UnixListener, UnixStream};

    pub(super) fn listen(_: &str) -> Result<UnixListener> {
        Err(Error::from(ErrorKind::Unsupported))
    }

    pub(super) fn connect(_: &str) -> Result<UnixStream> {
        Err(Error::from(ErrorKind::Unsupported))
    }
}
