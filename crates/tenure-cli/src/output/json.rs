//! Lines for machines: one object each, stable keys, `v` and `event` first.

use serde::Serialize;
use serde_json::{Value, json};
use tenure_core::Leader;

use super::time;

/// Version of the shape of all lines.
pub(crate) const VERSION: u32 = 1;

/// One line of a stream: `event` is an enum tagged with `event`, `common` a struct whose
/// fields follow the tag, so that a person who reads along finds the same things in the same
/// places.
pub(crate) fn line(event: &impl Serialize, common: &impl Serialize) -> String {
    let event = object(event);
    let common = object(common);
    // The tag comes first and its value is a plain word, so the first comma ends it.
    let (tag, rest) = event.split_once(',').unwrap_or((&event, ""));
    let mut line = format!("{{\"v\":{VERSION}");
    for part in [tag, &common, rest] {
        if !part.is_empty() {
            line.push(',');
            line.push_str(part);
        }
    }
    line.push('}');
    line
}

/// The inside of an object, without its braces.
fn object(value: &impl Serialize) -> String {
    // Our own types have string keys and no fallible parts.
    let text = serde_json::to_string(value).unwrap_or_default();
    text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default().to_owned()
}

/// A leader in full.
pub(crate) fn leader(leader: &Leader) -> Value {
    json!({
        "id": leader.id,
        "value": leader.value,
        "token": leader.token,
        "ttl_ms": time::millis(leader.ttl.get()),
        "since": time::rfc3339(leader.since),
    })
}

/// One answer.
pub(crate) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    #[serde(tag = "event", rename_all = "snake_case")]
    enum Event {
        Elected { election: String, token: u64 },
        Bye,
    }

    #[derive(Serialize)]
    struct Common {
        at: &'static str,
    }

    #[test]
    fn version_and_event_come_first() {
        let common = Common { at: "now" };
        let elected = Event::Elected { election: "a,b".into(), token: 7 };
        assert_eq!(
            line(&elected, &common),
            r#"{"v":1,"event":"elected","at":"now","election":"a,b","token":7}"#
        );
        assert_eq!(line(&Event::Bye, &common), r#"{"v":1,"event":"bye","at":"now"}"#);
    }
}
