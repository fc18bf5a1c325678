//! The bus, as its users see it: one conformance suite on both transports, and typed interfaces.

mod interface;
mod suite;

use oslo_messaging::{Bus, Options};
use std::time::Duration;

#[tokio::test]
async fn in_process_conforms() {
    let options = Options {
        patience: Duration::from_millis(50),
        ..Options::default()
    };
    suite::conforms(&Bus::in_process_with(options)).await;
}
