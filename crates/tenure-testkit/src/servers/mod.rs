//! Real servers from Debian's packages, each in a directory and on ports of its own.

mod process;

pub use process::{Server, free_port};
