//! quinn's settings. Each one that differs from its default says why.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::config::SharedKey;
use antiphon_kernel::ids::CortexId;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt};

const MIB: u32 = 1024 * 1024;

/// A peer that says nothing for so long is gone. (QUIC's own default is for ever.)
const IDLE: Duration = Duration::from_secs(30);
/// The dialler speaks at least this often: it keeps NAT bindings open, and both sides know that the other lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Questions that may be open at once on a connection, the control stream among them.
const STREAMS: u32 = 16;
/// What the dialler takes of one answer before it was read: 670 Mbit/s at 100 ms.
const STREAM_WINDOW: u32 = 8 * MIB;
/// What the dialler takes of all answers before they were read.
const CONNECTION_WINDOW: u32 = 16 * MIB;
/// What the server keeps until it is acknowledged.
const SEND_WINDOW: u64 = 8 * MIB as u64;
/// Questions are small.
const QUESTION_WINDOW: u32 = 128 * 1024;
const QUESTIONS_WINDOW: u32 = 256 * 1024;
/// The largest packets that are tried. quinn hands the system ten at once, which takes 65,507 bytes at once; of more it says
/// nothing, and all ten are lost. On roads that carry less the probes are lost, and what fits is found as before; on loopback
/// and where frames are jumbo a quarter of the packets do.
const LARGEST_PACKET: u16 = 6500;

fn common() -> TransportConfig {
    let mut config = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(LARGEST_PACKET);
    config
        .mtu_discovery_config(Some(discovery))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE.as_millis() as u32))))
        // Nothing here uses streams in one direction, or datagrams.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        // The spin bit tells bystanders the round-trip time.
        .allow_spin(false);
    config
}

/// The side that asks.
pub(crate) fn dialler() -> TransportConfig {
    let mut config = common();
    config
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(MIB));
    config
}

/// The side that answers.
pub(crate) fn answerer() -> TransportConfig {
    let mut config = common();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
        .stream_receive_window(VarInt::from_u32(QUESTION_WINDOW))
        .receive_window(VarInt::from_u32(QUESTIONS_WINDOW))
        .send_window(SEND_WINDOW);
    config
}

/// No early data: rustls offers none unless told to, quinn's own constructors would tell it to.
pub(crate) fn client(mut tls: rustls::ClientConfig) -> Result<ClientConfig, NoInitialCipherSuite> {
    tls.enable_early_data = false;
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(dialler()));
    Ok(config)
}

pub(crate) fn server(tls: Arc<rustls::ServerConfig>) -> Result<ServerConfig, NoInitialCipherSuite> {
    debug_assert_eq!(tls.max_early_data_size, 0, "no early data");
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config
        .transport_config(Arc::new(answerer()))
        // A dialler behind a NAT whose port changes goes on.
        .migration(true)
        // Handshakes that wait to be taken, and what they may send meanwhile.
        .max_incoming(1024)
        .incoming_buffer_size(64 * 1024)
        .incoming_buffer_size_total(8 * u64::from(MIB));
    Ok(config)
}

/// What both sides' sockets have in common.
pub(crate) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    large_packets(&mut config);
    config
}

fn large_packets(config: &mut EndpointConfig) {
    config.max_udp_payload_size(LARGEST_PACKET).expect("it is at least the least that QUIC asks for");
}

/// With a key that outlives the process, a peer of a server that was killed learns from the next one's stateless reset
/// that its connection is gone, instead of waiting until it falls silent for [`IDLE`].
pub(crate) fn listener(key: &SharedKey, cortex: CortexId) -> EndpointConfig {
    if key.is_open() {
        return endpoint();
    }
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.expose().as_bytes());
    let reset = ring::hmac::sign(&secret, &[b"antiphon stateless reset", &cortex.to_bytes()[..]].concat());
    let mut config = EndpointConfig::new(Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, reset.as_ref())));
    large_packets(&mut config);
    // Connection ids carry a hash, and those of others are dropped without an answer. To its successor, a process that was
    // killed must not be one of those others.
    let ids = ring::hmac::sign(&secret, &[b"antiphon connection ids", &cortex.to_bytes()[..]].concat());
    let ids = ids.as_ref().iter().take(8).fold(0, |key, &byte| key << 8 | u64::from(byte));
    config.cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(ids)));
    config
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_must_differ_from_the_defaults_does() {
        let (dialler, answerer) = (format!("{:?}", dialler()), format!("{:?}", answerer()));
        for (text, settings) in [
            (
                &dialler,
                ["keep_alive_interval: Some(10s)", "max_concurrent_bidi_streams: 0", "receive_window: 16777216"],
            ),
            (&answerer, ["keep_alive_interval: None", "max_concurrent_bidi_streams: 16", "receive_window: 262144"]),
        ] {
            let both = ["max_idle_timeout: Some(30000)", "max_concurrent_uni_streams: 0", "allow_spin: false"];
            for setting in settings.into_iter().chain(both) {
                assert!(text.contains(setting), "{setting} is not in {text}");
            }
            assert!(text.contains("datagram_receive_buffer_size: None"), "{text}");
        }
    }
}
