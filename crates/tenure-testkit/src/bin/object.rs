//! A leader that writes an object: `testkit-object PLACE KEY TOKEN CONTENT`.
//!
//! It reads the object, says `ready`, waits for a line, and only then writes: between its last
//! check and its effect it can be paused for any length of time. Ends with 0 when it has written.

#![allow(clippy::print_stdout)] // its line is what it is for

use std::{io, sync::Once};

use tenure::{
    Token,
    fence::{
        ObjectGate, ObjectStore,
        object::{Condition, Object, Written},
    },
};
use tenure_testkit::servers::Bucket;

/// Waits before its first write.
struct Paused(Bucket, Once);

impl ObjectStore for Paused {
    type Error = io::Error;

    async fn read(&self, key: &str) -> io::Result<Option<Object>> {
        self.0.read(key).await
    }

    async fn write(&self, key: &str, body: Vec<u8>, condition: Condition) -> io::Result<Written> {
        self.1.call_once(|| {
            println!("ready");
            // At the end of the input it goes on as well.
            let _ = io::stdin().read_line(&mut String::new());
        });
        self.0.write(key, body, condition).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [place, key, token, content] = arguments.as_slice() else {
        return Err("usage: testkit-object PLACE KEY TOKEN CONTENT".into());
    };
    let bucket = Bucket::at(place).ok_or("a place is PORT/BUCKET")?;
    let gate = ObjectGate::new(Paused(bucket, Once::new()));
    let written = gate.put(key, Token::new(token.parse()?), content.as_bytes()).await;
    written.map_err(|error| error.to_string().into())
}
