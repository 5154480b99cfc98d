//! The same without `async`: `cargo run -p tenure --example blocking [URL] [STEPS]`.
#![allow(clippy::print_stdout)] // what it says is what it is for

use std::{thread::sleep, time::Duration};

use tenure::{Error, blocking::Elector};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| String::from("mem://blocking"));
    let steps: u32 = arguments.next().and_then(|steps| steps.parse().ok()).unwrap_or(3);
    let builder = tenure::Elector::builder().ttl(Duration::from_secs(2));
    let elector = Elector::with(builder, &url)?;
    let name = format!("pid-{}", std::process::id());
    elector.candidate("examples/blocking", &name).run(|lead| {
        println!("leading with token {}", lead.token());
        for step in 1..=steps {
            // Nothing can stop a thread from outside: it has to ask.
            let token = lead.check()?;
            println!("step {step} under token {token}");
            sleep(Duration::from_millis(100));
        }
        Ok::<_, Error>(())
    })?;
    // The store confirms in the background that leadership was given up.
    while elector.leader("examples/blocking")?.view.leader().is_some() {
        sleep(Duration::from_millis(10));
    }
    println!("now: {:?}", elector.leader("examples/blocking")?.view);
    Ok(())
}
