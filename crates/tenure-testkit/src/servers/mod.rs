//! Real servers from Debian's packages, each in a directory and on ports of its own.

mod certificate;
mod etcd;
mod objects;
mod postgres;
mod process;
mod redis;
mod sentinel;
mod zookeeper;

pub use certificate::Certificate;
pub use etcd::Etcd;
pub use objects::{Bucket, Objects, python};
pub use postgres::Postgres;
pub use process::{Server, free_port};
pub use redis::{Redis, ask};
pub use sentinel::Sentinels;
pub use zookeeper::{ZooKeeper, four_letters};
