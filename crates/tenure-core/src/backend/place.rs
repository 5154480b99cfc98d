//! Where a server is, as URLs say it.

use alloc::{format, string::String};

/// Takes `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT` apart. An IPv6 address keeps its
/// brackets: without them it would be a host and a port again.
///
/// # Errors
/// What is wrong, in words.
pub fn host_and_port(text: &str, default: u16) -> Result<(&str, u16), String> {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address without a port lie within brackets.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    if host.is_empty()
        || host.contains(['/', ' ', '@'])
        || host.contains([':', '[', ']']) && !bracketed
    {
        return Err(format!("{text:?} is no host, or host and port (IPv6 as [::1]:{default})"));
    }
    match port.map_or(Ok(default), str::parse::<u16>) {
        Ok(port) if port > 0 => Ok((host, port)),
        _ => Err(format!("{:?} is not a port", port.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (text, host, port) in [
            ("h", "h", 7),
            ("h:1", "h", 1),
            ("10.0.0.1:65535", "10.0.0.1", 65535),
            ("[::1]", "[::1]", 7),
            ("[::1]:2", "[::1]", 2),
        ] {
            assert_eq!(host_and_port(text, 7), Ok((host, port)), "{text}");
        }
        for text in ["", ":1", "[]:1", "::1", "::1:2", "[::1", "[::1]2", "a b", "u@h", "h/x:1"] {
            let why = host_and_port(text, 7).expect_err(text);
            assert!(why.contains("host and port"), "{text}: {why}");
        }
        for text in ["h:0", "h:x", "h:65536", "h:", "[::1]:x"] {
            let why = host_and_port(text, 7).expect_err(text);
            assert!(why.contains("is not a port"), "{text}: {why}");
        }
    }
}
