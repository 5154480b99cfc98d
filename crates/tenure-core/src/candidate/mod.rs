//! What one contending process may believe.
