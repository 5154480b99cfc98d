//! What a client may wish.

use tenure_core::Incarnation;
use tenure_replica::{MemberWish, Wish};

/// Whether a client that speaks for this process, or for any, may wish this in the name of
/// `process`.
pub(super) fn check(
    speaks_for: Option<Incarnation>,
    process: Incarnation,
    wish: &Wish,
) -> Result<(), &'static str> {
    let may_speak = |other| speaks_for.is_none_or(|own| own == other);
    if !may_speak(process) {
        return Err("the request names another process than the one that sends it");
    }
    match wish {
        Wish::Command(command) if command.is_internal() => {
            Err("only the quorum itself may propose this")
        }
        Wish::Command(command) => match command.session() {
            Some(session) if !may_speak(session.process) => {
                Err("the session belongs to another process")
            }
            _ => Ok(()),
        },
        Wish::Member(MemberWish::Promote { .. } | MemberWish::Enrol { .. }) => {
            Err("only the quorum itself gives votes")
        }
        Wish::Member(_) => Ok(()),
    }
}
