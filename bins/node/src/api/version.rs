//! The version of the requests and replies.

/// The version of [`super::Request`] and [`super::Reply`]. It rises with each change that another version would misread.
pub const API_VERSION: u32 = 1;
