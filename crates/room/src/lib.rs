//! The host side of a room.
