//! Clients against the real listener.
