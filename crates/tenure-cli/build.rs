//! Lets the linker keep one copy of functions that are the same: decoders of many types are. A
//! node's memory is mostly its program: 4 % of it less, and 0.5 MB resident.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|it| it == value);
    // The toolchain's own linker on this target is LLD, which knows the option. Whoever chose
    // another linker may have one that does not.
    let chosen = env::var_os("RUSTC_LINKER").is_some()
        || env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    if is("TARGET", "x86_64-unknown-linux-gnu") && is("PROFILE", "release") && !chosen {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
