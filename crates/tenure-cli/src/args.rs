//! Small things that appear on command lines: durations, drift, lists of nodes.

use std::{ops::RangeInclusive, time::Duration};

use jiff::SignedDuration;
use tenure_core::{
    NodeName,
    timing::{Drift, Ttl, adaptive::TtlRange},
};

/// A duration with a unit, for example `300ms`, `5s` or `1m 30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration = text.parse().map_err(|_| {
        format!("{text:?} is not a duration: give a number and a unit, like 300ms, 5s or 2m")
    })?;
    Duration::try_from(parsed).map_err(|_| format!("{text:?} is negative"))
}

/// A duration above zero.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("{text:?} is no time at all")),
        more => Ok(more),
    }
}

/// Two durations, the shorter one first, for example `1s..30s`.
pub(crate) fn span(text: &str) -> Result<(Duration, Duration), String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (some_time(from)?, some_time(to)?);
    if from > to { Err(format!("{text:?} begins with the longer one")) } else { Ok((from, to)) }
}

/// The length of a lease.
pub(crate) fn ttl(text: &str) -> Result<Ttl, String> {
    Ttl::new(duration(text)?).map_err(|error| error.to_string())
}

/// The length of a lease, or the bounds between which it adapts, for example `5s` or
/// `300ms..5s`.
pub(crate) fn lease(text: &str) -> Result<TtlRange, String> {
    let Some((shortest, longest)) = text.split_once("..") else { return ttl(text).map(Into::into) };
    TtlRange::new(ttl(shortest)?, ttl(longest)?).map_err(|error| error.to_string())
}

/// The bounds, as the library takes them.
pub(crate) fn bounds(lease: TtlRange) -> RangeInclusive<Duration> {
    lease.shortest().get()..=lease.longest().get()
}

/// Bound on the error of clock rates, for example `1%`, `0.05%` or `500ppm`.
pub(crate) fn drift(text: &str) -> Result<Drift, String> {
    let text = text.trim();
    let (number, ppm) = if let Some(number) = text.strip_suffix("ppm") {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix('%') {
        (number, 10_000.0)
    } else {
        return Err(format!("{text:?} has no unit: give a percentage like 1%, or 500ppm"));
    };
    match number.trim().parse::<f64>().map(|number| number * ppm) {
        // The range makes the cast exact enough: parts per million up to 200 000.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(ppm) if (0.0..=200_000.0).contains(&ppm) => Ok(Drift::from_ppm(ppm.round() as u32)),
        Ok(_) => Err(format!("{text:?} is outside 0% to 20%")),
        Err(_) => Err(format!("{text:?} is not a percentage like 1%, or 500ppm")),
    }
}

/// A node and where it is, for example `n1=10.0.0.1:7400`.
pub(crate) fn node_at(text: &str) -> Result<(NodeName, String), String> {
    let (name, address) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not NAME=HOST:PORT, like n1=10.0.0.1:7400"))?;
    let name = NodeName::new(name.trim()).map_err(|error| error.to_string())?;
    Ok((name, address_of(address)?))
}

/// An address with a port, for example `10.0.0.1:7400` or `[::1]:7400`.
pub(crate) fn address_of(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong = || format!("{text:?} is not HOST:PORT, like 10.0.0.1:7400 or [::1]:7400");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || bare_v6 || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

/// The host of an address, without the brackets of IPv6.
pub(crate) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether an address can be reached from this machine only.
pub(crate) fn is_loopback(address: &str) -> bool {
    let host = host(address);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(some_time("0s").is_err());
        for bad in ["5", "", "soon", "-1s", "5 parsecs"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_go_upwards() {
        assert_eq!(span("1s..2s"), Ok((Duration::from_secs(1), Duration::from_secs(2))));
        assert_eq!(span("3s"), Ok((Duration::from_secs(3), Duration::from_secs(3))));
        assert!(span("2s..1s").is_err());
        assert!(span("0s..1s").is_err());
    }

    #[test]
    fn leases_have_bounds() {
        assert!(ttl("1s").is_ok());
        let error = ttl("5ms").unwrap_err();
        assert!(error.contains("10ms"), "{error}");
    }

    #[test]
    fn a_lease_is_one_length_or_two() {
        let ms = Duration::from_millis;
        assert_eq!(lease("5s").map(bounds), Ok(ms(5000)..=ms(5000)));
        assert_eq!(lease("300ms..5s").map(bounds), Ok(ms(300)..=ms(5000)));
        for (bad, why) in [("5s..300ms", "longer"), ("1ms..1s", "10ms"), ("1s..", "a number")] {
            let error = lease(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn drift_is_a_share() {
        assert_eq!(drift("1%"), Ok(Drift::from_ppm(10_000)));
        assert_eq!(drift("0.05%"), Ok(Drift::from_ppm(500)));
        assert_eq!(drift("500ppm"), Ok(Drift::from_ppm(500)));
        for bad in ["1", "21%", "-1%", "x%", "NaN%"] {
            assert!(drift(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_are_names_with_addresses() {
        let (name, address) = node_at("n1=10.0.0.1:7400").unwrap();
        assert_eq!((name.as_str(), address.as_str()), ("n1", "10.0.0.1:7400"));
        assert!(node_at("n1=[::1]:7400").is_ok());
        for bad in ["n1", "=h:1", "n1=h", "n1=h:99999", "n 1=h:1", "n1=::1:7400", "n1=:7400"] {
            assert!(node_at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for yes in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1"] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
