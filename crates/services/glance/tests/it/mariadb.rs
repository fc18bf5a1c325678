//! On MariaDB: every story of this crate again.

use crate::cloud::MARIADB;
use oslo_testing::db::MariaDb;

/// This test program once more, told to use the server.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test that runs itself")]
async fn every_story() {
    let server = MariaDb::start().await.unwrap();
    let again = std::env::current_exe().unwrap();
    let mut again = std::process::Command::new(again);
    again
        // What stores do has nothing to do with the database.
        .args([
            "--skip",
            "mariadb",
            "--skip",
            "stores::",
            "--test-threads",
            "2",
        ])
        .env(MARIADB, server.template());
    let done = tokio::task::spawn_blocking(move || again.output().unwrap());
    let done = done.await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}");
    let passed = said.matches("... ok").count();
    assert!(passed > 20, "{passed} stories:\n{said}");
}
