//! The Lua scripts, as they are loaded.

use redis::Script;

/// Puts what the granting scripts share in front.
macro_rules! with_server {
    ($file:literal) => {
        Script::new(concat!(
            include_str!("../scripts/server.lua"),
            "\n",
            include_str!(concat!("../scripts/", $file))
        ))
    };
}

/// One script for each transition; called by its hash, loaded when the server does not know it.
#[derive(Debug, Clone)]
pub(crate) struct Scripts {
    pub(crate) hello: Script,
    pub(crate) acquire: Script,
    pub(crate) renew: Script,
    pub(crate) release: Script,
    pub(crate) leave: Script,
    pub(crate) look: Script,
    pub(crate) take: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            hello: with_server!("hello.lua"),
            acquire: with_server!("acquire.lua"),
            renew: with_server!("renew.lua"),
            release: Script::new(include_str!("../scripts/release.lua")),
            leave: Script::new(include_str!("../scripts/leave.lua")),
            look: Script::new(include_str!("../scripts/look.lua")),
            take: Script::new(include_str!("../scripts/take.lua")),
        }
    }
}
