//! Real servers from Debian's packages, each in a directory and on ports of its own.

mod etcd;
mod process;

pub use etcd::Etcd;
pub use process::{Server, free_port};
