//! How the client finds addresses where nothing protects the key on its way.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Names resolved by the system, but for plain HTTP to loopback addresses alone: a hosts file that points `localhost`
/// elsewhere must not carry the key there.
pub(crate) struct LoopbackOnly;

impl Resolve for LoopbackOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let home: Vec<SocketAddr> = found.filter(|address| address.ip().to_canonical().is_loopback()).collect();
            if home.is_empty() {
                return Err("the name does not resolve to a loopback address".into());
            }
            Ok(Box::new(home.into_iter()) as Addrs)
        })
    }
}
