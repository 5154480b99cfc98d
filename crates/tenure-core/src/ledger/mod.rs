//! The reference meaning of leadership.
