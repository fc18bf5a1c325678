//! Programs as the house runs them: output, failure, time-out, limits, daemons, and none at all.

use host_privsep::{Limits, Output, Privsep, Program, secret};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_program_speaks_and_its_failure_is_told_without_secrets() {
    let host = Privsep::new();
    let version = host.run(Program::Mke2fs, ["-V"]).await.unwrap();
    assert!(version.error_text().contains("mke2fs"));

    let failed = host
        .command(Program::Mke2fs)
        .args(["-q"])
        .arg(secret("hunter2"))
        .run()
        .await;
    let words = failed.unwrap_err().log_message().to_string();
    assert!(
        words.contains("mke2fs") && words.contains("exit code 1"),
        "{words}"
    );
    assert!(!words.contains("hunter2"), "{words}");

    let accepted = host.command(Program::Cp).accept(&[1]).run().await.unwrap();
    assert_eq!(accepted.code, 1);
}

#[tokio::test]
async fn what_hangs_is_killed() {
    let host = Privsep::new();
    let started = Instant::now();
    let command = host.command(Program::Cp).args(["/dev/zero", "/dev/null"]);
    let error = command
        .timeout(Duration::from_millis(200))
        .run()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), base::Kind::Timeout);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn limits_hold() {
    let host = Privsep::new();
    let limits = Limits {
        cpu_seconds: 1,
        address_space: 1 << 30,
        file_size: Some(1 << 20),
    };
    let command = host
        .command(Program::Cp)
        .args(["/dev/zero", "/dev/null"])
        .limits(limits);
    let error = command.run().await.unwrap_err();
    assert!(error.log_message().contains("exit code -1"), "{error}");
    let file = std::env::temp_dir().join(format!("privsep-large-{}", std::process::id()));
    let command = host.command(Program::Cp).args(["/dev/zero"]).arg(&file);
    command.limits(limits).run().await.unwrap_err();
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 1 << 20);
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn standard_input_arrives() {
    let host = Privsep::new();
    let file = std::env::temp_dir().join(format!("privsep-{}", std::process::id()));
    let command = host
        .command(Program::Cp)
        .args(["/dev/stdin"])
        .arg(&file)
        .stdin("hello");
    command.run().await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"hello");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn tests_can_watch_and_answer() {
    let (host, recorder) = Privsep::recorder();
    recorder.reply("ip link show", "1: lo");
    recorder.on(|call| {
        (call.program == Program::Nft).then(|| {
            Ok(Output {
                code: 1,
                ..Output::default()
            })
        })
    });
    assert_eq!(
        host.run(Program::Ip, ["link", "show"])
            .await
            .unwrap()
            .text(),
        "1: lo"
    );
    host.command(Program::Ip)
        .args(["addr"])
        .netns("qdhcp-1")
        .run()
        .await
        .unwrap();
    assert!(host.run(Program::Nft, ["list", "ruleset"]).await.is_err());
    assert_eq!(
        recorder.lines(),
        ["ip link show", "ip addr", "nft list ruleset"]
    );
    assert_eq!(recorder.calls()[1].netns.as_deref(), Some("qdhcp-1"));
}
