//! What a connection or stream is closed with.

use quinn::VarInt;

/// All is said.
pub(crate) const DONE: VarInt = VarInt::from_u32(0);
/// The key was not accepted.
pub(crate) const KEY: VarInt = VarInt::from_u32(1);
/// The server stops.
pub(crate) const STOPPING: VarInt = VarInt::from_u32(2);
/// No room.
pub(crate) const BUSY: VarInt = VarInt::from_u32(3);
/// Something was said that the protocol does not allow.
pub(crate) const PROTOCOL: VarInt = VarInt::from_u32(4);
/// Nobody took the answer.
pub(crate) const STALLED: VarInt = VarInt::from_u32(5);
/// What let the peer in does not hold any more; a new greeting says why.
pub(crate) const GREET_AGAIN: VarInt = VarInt::from_u32(6);
