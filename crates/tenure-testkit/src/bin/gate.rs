//! A gate in a process of its own: `testkit-gate FILE TOKEN [hold]`.
//!
//! Ends with 0 when the token is admitted and with 1 when it is not; with `hold` it says so and
//! stays inside until it is killed.

#![allow(clippy::print_stdout)] // its line is what it is for

use tenure::{Token, fence::FileGate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, token, rest @ ..] = arguments.as_slice() else {
        return Err("usage: testkit-gate FILE TOKEN [hold]".into());
    };
    let gate = FileGate::open(file)?;
    let pass = gate.enter(Token::new(token.parse()?)).map_err(|error| error.to_string())?;
    if rest.first().is_some_and(|word| word == "hold") {
        println!("entered");
        loop {
            std::thread::park();
        }
    }
    drop(pass);
    Ok(())
}
