//! What the server or the way to it says, in words that help.

use core::error::Error as _;

use tenure_core::backend::{ConnectError, StoreError};
use tokio_postgres::{Error, error::SqlState};

/// An error with all its causes.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => error.to_string(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if error.as_db_error().is_none() && !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Whether the connection must be given up: another server, or the same one later, may do what
/// this one cannot.
pub(crate) fn is_fatal(error: &Error) -> bool {
    match error.code() {
        None => true,
        Some(code) => is_going(code) || is_standby(code),
    }
}

fn is_going(code: &SqlState) -> bool {
    matches!(code.code().get(..2), Some("08" | "57")) && *code != SqlState::QUERY_CANCELED
}

fn is_standby(code: &SqlState) -> bool {
    // "recovery is in progress" comes as the second.
    [&SqlState::READ_ONLY_SQL_TRANSACTION, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE]
        .contains(&code)
}

/// Why a statement has no answer. A statement that the server refused has changed nothing: it
/// was a transaction of its own.
pub(crate) fn of_statement(error: &Error) -> StoreError {
    let why = chain(error);
    let Some(code) = error.code() else { return StoreError::Unavailable { why } };
    if is_going(code) {
        return StoreError::Unavailable { why };
    }
    let hint = match code {
        code if is_standby(code) => STANDBY,
        code if *code == SqlState::LOCK_NOT_AVAILABLE => {
            "another transaction holds a lock on the row or the table: see pg_locks"
        }
        code => advice(code).unwrap_or_default(),
    };
    match hint {
        "" => StoreError::Refused { why },
        hint => StoreError::Refused { why: format!("{why}; {hint}") },
    }
}

/// Why it cannot be connected.
pub(crate) fn of_connecting(error: &Error, store: String) -> ConnectError {
    let why = chain(error);
    let Some(code) = error.code() else {
        let foreign = [
            "unexpected message",
            "error parsing response",
            "invalid message",
            "bytes remaining on stream",
        ];
        if foreign.iter().any(|sign| why.contains(sign)) {
            let why =
                format!("what answers there is not PostgreSQL ({why}); look at host and port");
            return ConnectError::Unusable { store, why };
        }
        if why.contains("TLS") || why.contains("certificate") {
            return ConnectError::Unusable { store, why };
        }
        return ConnectError::Unavailable { store, why };
    };
    match advice(code) {
        Some(hint) => ConnectError::Unusable { store, why: format!("{why}; {hint}") },
        None => ConnectError::Unavailable { store, why },
    }
}

/// What a server that only follows another one is told as.
pub(crate) const STANDBY: &str = "this server is in recovery or read-only, so it can grant \
     nothing: name the primary, or all hosts (postgres://a,b/db), of which the primary is taken";

fn advice(code: &SqlState) -> Option<&'static str> {
    let known = [
        (&SqlState::INVALID_PASSWORD, "check the password in the URL or in PGPASSWORD"),
        (
            &SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            "check user and database in the URL, and the server's pg_hba.conf",
        ),
        (&SqlState::INVALID_CATALOG_NAME, "make the database, or correct its name in the URL"),
        (&SqlState::INVALID_SCHEMA_NAME, "make the schema, or name one with schema=NAME"),
        (
            &SqlState::INSUFFICIENT_PRIVILEGE,
            "it takes CREATE on the schema to make the tables, and SELECT, INSERT and UPDATE on \
             them afterwards",
        ),
        (&SqlState::UNDEFINED_TABLE, "the tables are missing: see migrate=yes"),
    ];
    known.iter().find(|(known, _)| *known == code).map(|(_, hint)| *hint)
}
