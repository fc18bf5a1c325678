//! `ferrostack dead-letters`: messages that no server gets any more.

use crate::boot;
use crate::config::Settings;
use base::{Error, Result};
use oslo_messaging::DeadLetters;

/// So many are shown.
const SHOWN: usize = 100;

/// Those of the cloud's broker.
pub async fn open(settings: &Settings) -> Result<DeadLetters> {
    let none = "[DEFAULT] transport_url names no broker: in one process there are no dead letters. --config names the configuration of a controller.";
    let config = boot::broker(settings)?.ok_or_else(|| Error::bad_request(none))?;
    DeadLetters::open(&config).await
}

/// Prints the oldest; false if there are any.
pub async fn show(letters: &DeadLetters) -> Result<bool> {
    let count = letters.count().await?;
    let list = letters.list(SHOWN).await?;
    for letter in &list {
        let oslo_messaging::DeadLetter {
            queue,
            reason,
            words,
            time,
            method,
            request_id,
            bytes,
        } = letter;
        println!("{time:<20} {queue:<32} {reason:<14} {method:<28} {request_id:<40} {bytes} bytes");
        if !words.is_empty() {
            println!("    {words}");
        }
    }
    println!("{count} dead letters, {} shown", list.len());
    Ok(count == 0)
}

/// Sends them again; false if some are left.
pub async fn requeue(letters: &DeadLetters, of: Option<&str>) -> Result<bool> {
    let (sent, left) = letters.requeue(of).await?;
    println!("{sent} sent again, {left} left");
    Ok(left == 0 || of.is_some())
}

/// Throws all away.
pub async fn purge(letters: &DeadLetters) -> Result<bool> {
    println!("{} thrown away", letters.purge().await?);
    Ok(true)
}
