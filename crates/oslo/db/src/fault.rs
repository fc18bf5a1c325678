//! What went wrong in a driver, in the house's words. Callers learn the kind; constraint names and SQL (which
//! holds no values) go to the log, values nowhere.

use base::Error;

/// Class of the error when a unique key is taken.
pub const DUPLICATE: &str = "DBDuplicateEntry";
/// Class of the error when a foreign key is violated.
pub const REFERENCE: &str = "DBReferenceError";
/// Class of the error when a page's marker does not exist.
pub const MARKER_NOT_FOUND: &str = "MarkerNotFound";

/// Class of the error when the database (not its server) does not exist.
pub const NO_DATABASE: &str = "DBNonExistentDatabase";
/// Class of the error when the connection broke during a commit: the change was made, or it was not.
pub const COMMIT_UNKNOWN: &str = "DBCommitUnknown";

/// Whether `error` says that a change may have been made or not. Work whose rows carry their own ids looks whether
/// they are there; what is done again anyhow is just done again.
pub fn is_commit_unknown(error: &Error) -> bool {
    error.error_class() == Some(COMMIT_UNKNOWN)
}

/// Whether `error` says that a unique key is taken.
pub fn is_duplicate(error: &Error) -> bool {
    error.error_class() == Some(DUPLICATE)
}

const NO_TABLE: &str = "DBNonExistentTable";

/// Whether `error` says that there is no such table.
pub(crate) fn is_no_table(error: &Error) -> bool {
    error.error_class() == Some(NO_TABLE)
}

fn duplicate(log: &str) -> Error {
    Error::conflict("A record with the same key exists already.")
        .class(DUPLICATE)
        .log(log)
}

fn reference(log: &str) -> Error {
    Error::conflict("Another record refers to this one, or one it refers to is missing.")
        .class(REFERENCE)
        .log(log)
}

pub(crate) fn unavailable(log: String) -> Error {
    Error::unavailable("The database is not available; try again later.").log(log)
}

pub(crate) fn commit_unknown(error: &Error) -> Error {
    let words =
        "The database went away during a change; look whether it was made before trying again.";
    Error::unavailable(words)
        .class(COMMIT_UNKNOWN)
        .log(error.log_message())
}

pub(crate) fn closed() -> Error {
    unavailable("the database handle is closed".into())
}

pub(crate) fn sqlite(error: rusqlite::Error, sql: &str) -> Error {
    use rusqlite::ErrorCode as Code;
    use rusqlite::ffi;
    let rusqlite::Error::SqliteFailure(failure, words) = &error else {
        return Error::internal(format!("sqlite: {error}; in: {sql}"));
    };
    let words = words.as_deref().unwrap_or("no words");
    match (failure.extended_code, failure.code) {
        (
            ffi::SQLITE_CONSTRAINT_UNIQUE
            | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            | ffi::SQLITE_CONSTRAINT_ROWID,
            _,
        ) => duplicate(words),
        (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, _) => reference(words),
        (
            _,
            Code::DatabaseBusy
            | Code::DatabaseLocked
            | Code::CannotOpen
            | Code::DiskFull
            | Code::SystemIoFailure,
        ) => unavailable(format!("sqlite {}: {words}", failure.extended_code)),
        _ => Error::internal(format!(
            "sqlite {}: {words}; in: {sql}",
            failure.extended_code
        )),
    }
}

/// What a failed statement means for its transaction on MariaDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The closure sees the error; the transaction goes on.
    None,
    /// Deadlock, lock wait timeout or certification failure: the whole closure is run again.
    Retry,
    /// The connection is gone and must not go back to the pool.
    Broken,
}

pub(crate) fn mysql(error: sqlx::Error, sql: &str) -> (Error, Trouble) {
    let database = match &error {
        sqlx::Error::Database(e) => e,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => {
            return (unavailable(format!("mariadb: {error}")), Trouble::Broken);
        }
        _ => {
            return (
                Error::internal(format!("mariadb: {error}; in: {sql}")),
                Trouble::None,
            );
        }
    };
    let Some(e) = database.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() else {
        return (
            Error::internal(format!("mariadb: {error}; in: {sql}")),
            Trouble::None,
        );
    };
    match e.number() {
        // "Duplicate entry 'value' for key 'name'": only the name may go to the log.
        1022 | 1062 | 1169 | 1586 | 1859 => {
            let key = e.message().rsplit("for key ").next().unwrap_or("?");
            (
                duplicate(&format!("duplicate entry for key {key}")),
                Trouble::None,
            )
        }
        1216 | 1217 | 1451 | 1452 => (reference(e.message()), Trouble::None),
        1049 => (
            unavailable(e.message().to_string()).class(NO_DATABASE),
            Trouble::None,
        ),
        1146 => (
            Error::internal(format!("mariadb 1146: {}; in: {sql}", e.message())).class(NO_TABLE),
            Trouble::None,
        ),
        // Record changed since last read, lock wait timeout, deadlock (also Galera's certification failure), query
        // interrupted (by a transaction of another Galera node), table or statement changed by a migration.
        1020 | 1205 | 1213 | 1317 | 1412 | 1615 => (
            unavailable(format!("mariadb {}: {}", e.number(), e.message())),
            Trouble::Retry,
        ),
        // Too many connections, access while a Galera node is not ready, shutdown in progress, aborted connections, a
        // commit that a Galera node could not send to the others (made or not), read only.
        1040 | 1047 | 1053 | 1152 | 1158..=1161 | 1180 | 1184 | 1290 | 1836 | 1927 => (
            unavailable(format!("mariadb {}: {}", e.number(), e.message())),
            Trouble::Broken,
        ),
        // Out of range, a string that its character set lacks, data too long: what came from a request was not measured.
        1264 | 1366 | 1406 => (
            Error::bad_request("A value is too long or out of range.").log(format!(
                "mariadb {}: {}; in: {sql}",
                e.number(),
                e.message()
            )),
            Trouble::None,
        ),
        number => (
            Error::internal(format!("mariadb {number}: {}; in: {sql}", e.message())),
            Trouble::None,
        ),
    }
}

pub(crate) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Error {
    let words = panic
        .downcast_ref::<&str>()
        .map(|s| s.to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no words".into());
    Error::internal(format!("a database closure panicked: {words}"))
}
