//! Healthy clusters with many sessions.

use std::time::Duration;

use tenure_sim::{Meter, Size, scale};

/// Nothing of the machine, so that two runs are alike to the last figure.
const NOTHING: Meter = Meter { cpu: || Duration::ZERO, resident: || 0 };

fn size(sessions: u32) -> Size {
    let (ttl, rest) = (Duration::from_secs(2), Duration::from_secs(4));
    Size { sessions, members: 20, ttl, rest }
}

#[test]
fn everybody_is_granted_renewed_and_succeeded() {
    let grown = scale(size(200), NOTHING).unwrap();
    let [grants, rest, proved, silent] = grown.parts.as_slice() else {
        panic!("{:?}", grown.parts);
    };
    assert_eq!((grown.elections, grants.operations), (100, 400));
    // Two hundred sessions, each renewed four times in a lease of two seconds.
    assert_eq!(rest.operations, 200 * 8);
    // A session that renews in vain, or a tenure that ends, would be an entry.
    assert_eq!(rest.entries, 0);
    assert!(proved.operations > 0 && silent.operations > 0);
    assert!(proved.virtual_ms < 1000.0, "proof waits for no lease: {proved:?}");
    assert!(silent.virtual_ms > 1500.0, "silence is no proof: {silent:?}");
    assert!(silent.virtual_ms < 2500.0, "{silent:?}");
}

#[test]
fn a_run_follows_from_its_size() {
    assert_eq!(scale(size(60), NOTHING).unwrap(), scale(size(60), NOTHING).unwrap());
}

#[test]
fn at_rest_frames_between_replicas_do_not_grow_with_sessions() {
    let frames = |sessions| scale(size(sessions), NOTHING).unwrap().parts[1].frames;
    let (few, many) = (frames(40), frames(400));
    assert!(many <= few + few / 10, "{few} frames with 40 sessions, {many} with 400");
}
