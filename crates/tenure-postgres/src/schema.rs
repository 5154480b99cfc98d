//! The tables: looked for, made when they are missing, refused when they are not ours.

use std::collections::BTreeMap;

use tenure_core::backend::ConnectError;
use tokio_postgres::types::Type;

use crate::{
    link::{Dial, Link},
    sql::FORMAT,
    trouble,
};

/// What both tables must have, with the types as PostgreSQL writes them.
const LEASES: [(&str, &str); 12] = [
    ("election", "text"),
    ("revision", "bigint"),
    ("token", "bigint"),
    ("process", "bigint"),
    ("session", "bigint"),
    ("candidate", "text"),
    ("value", "text"),
    ("ttl_ms", "bigint"),
    ("since", "timestamp with time zone"),
    ("expires_at", "timestamp with time zone"),
    ("reserved_for", "text"),
    ("reserved_until", "timestamp with time zone"),
];
const LINE: [(&str, &str); 5] = [
    ("only_row", "boolean"),
    ("format", "integer"),
    ("lineage", "text"),
    ("quiet_until", "timestamp with time zone"),
    ("longest_ms", "bigint"),
];

const COLUMNS: &str = "SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type \
     FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";

/// Makes sure that the tables are there.
pub(crate) async fn prepare(dial: &Dial, link: &Link, migrate: bool) -> Result<(), ConnectError> {
    let sql = &dial.sql;
    if !are_there(dial, link).await? {
        if !migrate {
            return Err(dial.unusable(format!(
                "the tables {} and {} are not both there, and migrate=no forbids to make them. \
                 Let somebody who may run this:\n{}",
                sql.leases, sql.line, sql.schema
            )));
        }
        // Starters that come at once make them one after another: IF NOT EXISTS alone is not
        // safe against each other. The lock lasts as long as its transaction.
        let script = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('{}', 0)); {} COMMIT;",
            sql.channel, sql.schema
        );
        if let Err(error) = link.batch(&script).await {
            // The connection would stay inside the transaction that failed.
            let _ = link.batch("ROLLBACK").await;
            let error = trouble::of_connecting(&error, dial.label.clone());
            return Err(match error {
                ConnectError::Unusable { why, .. } => dial.unusable(format!(
                    "the tables cannot be made: {why}. Or let somebody who may run this, and go \
                     on with migrate=no:\n{}",
                    sql.schema
                )),
                error => error,
            });
        }
        if !are_there(dial, link).await? {
            return Err(dial.unusable(String::from("the tables were made, and are not there")));
        }
    }
    check_format(dial, link).await
}

async fn are_there(dial: &Dial, link: &Link) -> Result<bool, ConnectError> {
    let leases = columns(dial, link, &dial.sql.leases).await?;
    let line = columns(dial, link, &dial.sql.line).await?;
    check(&dial.sql.leases, &leases, &LEASES).map_err(|why| dial.unusable(why))?;
    check(&dial.sql.line, &line, &LINE).map_err(|why| dial.unusable(why))?;
    Ok(!leases.is_empty() && !line.is_empty())
}

async fn columns(
    dial: &Dial,
    link: &Link,
    table: &str,
) -> Result<BTreeMap<String, String>, ConnectError> {
    let rows = link.ask(COLUMNS, &[(&table, Type::TEXT)], dial.timeout).await;
    let rows = rows.map_err(|error| dial.unusable(error.to_string()))?;
    Ok(rows.iter().map(|row| (row.get("name"), row.get("type"))).collect())
}

/// A table that is missing is none of another kind.
fn check(
    table: &str,
    columns: &BTreeMap<String, String>,
    wanted: &[(&str, &str)],
) -> Result<(), String> {
    if columns.is_empty() {
        return Ok(());
    }
    let wrong =
        wanted.iter().find(|(name, kind)| columns.get(*name).is_none_or(|present| present != kind));
    let Some((name, kind)) = wrong else { return Ok(()) };
    let present = match columns.get(*name) {
        Some(present) => format!("its column {name} is {present} and not {kind}"),
        None => format!("it has no column {name}"),
    };
    Err(format!(
        "the table {table} is not one of Tenure: {present}. Nothing was changed; name another \
         one with table=NAME or schema=NAME"
    ))
}

async fn check_format(dial: &Dial, link: &Link) -> Result<(), ConnectError> {
    let (leases, line) = (&dial.sql.leases, &dial.sql.line);
    let rows = link.ask(&dial.sql.allowed, &[], dial.timeout).await;
    let rows = rows.map_err(|error| dial.unusable(error.to_string()))?;
    if !rows.first().is_none_or(|row| row.get("allowed")) {
        let user = dial.config.get_user().unwrap_or("this user");
        return Err(dial.unusable(format!(
            "{user} may not write to its tables; let their owner run: GRANT SELECT, INSERT, \
             UPDATE ON {leases}, {line} TO {user}"
        )));
    }
    match rows.first().map(|row| row.get::<_, i32>("format")) {
        Some(FORMAT) => Ok(()),
        Some(other) => Err(dial.unusable(format!(
            "the tables have format {other}, this version of Tenure knows {FORMAT}: all \
             processes must use versions that agree"
        ))),
        None => Err(dial.unusable(format!(
            "the only row of {line} is gone, so it is not known whether leases were lost. Once \
             all candidates have stopped, drop both tables and let them be made again"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_somebody_else_is_told_by_its_columns() {
        let ours = LINE.map(|(name, kind)| (name.to_owned(), kind.to_owned()));
        let mut columns = BTreeMap::from(ours);
        assert_eq!(check("t", &columns, &LINE), Ok(()));
        columns.insert(String::from("more"), String::from("text"));
        assert_eq!(check("t", &columns, &LINE), Ok(()), "a later version may have more");
        columns.insert(String::from("format"), String::from("text"));
        let why = check("t", &columns, &LINE).unwrap_err();
        assert!(why.contains("column format is text and not integer"), "{why}");
        columns.remove("format");
        assert!(check("t", &columns, &LINE).unwrap_err().contains("has no column format"));
        assert_eq!(check("t", &BTreeMap::new(), &LINE), Ok(()), "missing is not foreign");
    }
}
