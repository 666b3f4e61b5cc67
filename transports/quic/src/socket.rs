//! UDP sockets with room for what arrives while nobody reads.

use std::io;
use std::net::{SocketAddr, UdpSocket};

/// At 1 Gbit/s, 16 ms: about as long as a busy scheduler leaves a reader waiting. What overflows is lost, and loss is what
/// slows a connection down.
const BUFFER: usize = 2 * 1024 * 1024;

pub(crate) fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(addr)?;
    let options = socket2::SockRef::from(&socket);
    // The system gives as much as its own limit allows; less costs speed, not correctness.
    let _ = options.set_recv_buffer_size(BUFFER);
    let _ = options.set_send_buffer_size(BUFFER);
    Ok(socket)
}
