//! A resource that refuses a leader that is one no more: `cargo run -p tenure --example
//! fenced_write`.
//!
//! The first leader sleeps between its check and its write, as a paused machine would; the
//! second is elected meanwhile. The lease alone cannot help any more; the token at the resource
//! does.
#![allow(clippy::print_stdout)] // what it says is what it is for

use std::time::Duration;

use tenure::{
    Elector, Error, Token,
    fence::{Fenced, Gate},
};

/// What leaders write to. It keeps the newest token beside its data.
#[derive(Default)]
struct Resource {
    gate: Gate,
    data: std::sync::Mutex<Vec<String>>,
}

impl Resource {
    fn write(&self, token: Token, line: &str) -> Result<(), Fenced> {
        // The pass keeps newer leaders out until this write is done.
        let _pass = self.gate.enter(token)?;
        let mut data = self.data.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        data.push(line.to_owned());
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let resource = Resource::default();
    let one = Elector::connect("mem://fenced").await?;
    let two = Elector::connect("mem://fenced").await?;

    let mut first = one.campaign("examples/fenced", "first").start()?;
    let leadership = first.elected().await?;
    let stale = leadership.check()?;
    say(resource.write(stale, "by the first"));

    // Stands for the pause: the lease is gone, the first has not looked again.
    leadership.resign();
    let mut second = two.campaign("examples/fenced", "second").start()?;
    let leadership = second.elected().await?;
    say(resource.write(leadership.check()?, "by the second"));

    tokio::time::sleep(Duration::from_millis(10)).await;
    say(resource.write(stale, "too late"));
    Ok(())
}

fn say(written: Result<(), Fenced>) {
    match written {
        Ok(()) => println!("written"),
        Err(fenced) => println!("refused: {fenced}"),
    }
}
