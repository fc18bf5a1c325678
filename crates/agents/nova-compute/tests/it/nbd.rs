//! A guest with a system (made by script/guest-image) and a volume of another host: it writes while both ends are killed.

use super::{OneImage, World, spec};
use host_brick::{Export, Target};
use host_privsep::Privsep;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nova_compute::LibvirtDriver;
use nova_types::rpc::VolumeSpec;
use oslo_service::Supervisor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const UUID: &str = "55555555-3333-4333-8333-333333333333";

/// Storage daemons of this attachment, by role: `export` or `proxy`.
fn daemons(role: &str, key: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains("qemu-storage-daemon") && line.contains(&format!("id={role}-")) {
            let pid: Option<i32> = entry.file_name().to_str().and_then(|n| n.parse().ok());
            found.extend(pid.filter(|_| line.contains(key)));
        }
    }
    found
}

/// How often the guest has written, as the volume's file says.
fn beats(file: &Path) -> u64 {
    let mut head = [0; 64];
    let mut file = std::fs::File::open(file).unwrap();
    std::io::Read::read_exact(&mut file, &mut head).unwrap();
    let text = String::from_utf8_lossy(&head).into_owned();
    let number = text.strip_prefix("beat ").and_then(|t| t.lines().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

async fn more_than(file: &Path, before: u64) -> u64 {
    oslo_service::wait_until(
        Duration::from_secs(180),
        Duration::from_millis(100),
        || async { Ok(Some(beats(file)).filter(|now| *now > before)) },
    )
    .await
    .unwrap()
}

#[tokio::test]
#[allow(
    clippy::disallowed_methods,
    reason = "where the image lies is the business of whoever runs the test"
)]
async fn a_guest_writes_to_another_host_through_crashes() {
    let host = Privsep::new();
    let Some(image) = std::env::var_os("GUEST_IMAGE").map(std::path::PathBuf::from) else {
        println!("skipped: GUEST_IMAGE names no image of script/guest-image");
        return;
    };
    let world = World::new("nbd").await;
    world.belong(&[UUID]);
    let file = world.folder.join("volume");
    std::fs::File::create(&file)
        .unwrap()
        .set_len(32 << 20)
        .unwrap();
    let exports = world.folder.join("exports");
    let target = Target::new(
        &exports,
        "s1@file",
        "127.0.0.1",
        24000..=24999,
        host.clone(),
    );
    let export = Export {
        key: base::new_id(),
        volume_id: base::new_id(),
        path: file.display().to_string(),
        read_only: false,
    };
    let conf = world.conf("libvirt.LibvirtDriver");
    let images = Arc::new(OneImage(image));
    let driver = Arc::new(LibvirtDriver::start(&conf, host, images).await.unwrap());
    let supervisor = Supervisor::new();
    nova_compute::start_with(&world.bus, conf, driver.clone(), &supervisor)
        .await
        .unwrap();
    let (compute, ctx) = (&world.compute, &world.ctx);
    let mut spec = spec(UUID);
    spec.flavor.memory_mb = 128;
    spec.config_drive = true;
    spec.ports.clear();
    // #!/bin/sh
    // (i=0; while :; do i=$((i+1)); echo beat $i > /dev/vdb; sync; sleep 0.2; done) &
    spec.user_data = Some(
        "IyEvYmluL3NoCihpPTA7IHdoaWxlIDo7IGRvIGk9JCgoaSsxKSk7IGVjaG8gYmVhdCAkaSA+IC9kZXYvdmRiOyBzeW5jOyBzbGVlcCAw\
         LjI7IGRvbmUpICYK"
            .into(),
    );
    spec.volumes.push(VolumeSpec {
        volume_id: export.volume_id.clone(),
        connection_info: target.create(&export).await.unwrap(),
        device: "vdb".into(),
        ..VolumeSpec::default()
    });
    compute.ensure_instance(ctx, spec.clone()).await.unwrap();
    let mut seen = more_than(&file, 0).await;

    // The storage host's daemon is killed: the guest waits. Its next life has it back, and the guest goes on.
    let [far] = daemons("export", &export.key)[..] else {
        panic!("one export");
    };
    kill(Pid::from_raw(far), Signal::SIGKILL).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let still = beats(&file);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(beats(&file), still, "nobody writes");
    assert_eq!(target.reconcile().await.unwrap(), 1);
    seen = more_than(&file, seen.max(still)).await;
    let [near] = daemons("proxy", &export.key)[..] else {
        panic!("one proxy");
    };
    kill(Pid::from_raw(near), Signal::SIGKILL).unwrap();
    seen = more_than(&file, seen + 10).await;

    // Detached with the guest's help: nothing of it is left on either host.
    let id = || UUID.to_string();
    compute
        .detach_volume(ctx, id(), export.volume_id.clone())
        .await
        .unwrap();
    assert!(daemons("proxy", &export.key).is_empty());
    target.remove(&export.key).await.unwrap();
    assert!(daemons("export", &export.key).is_empty());
    assert!(beats(&file) >= seen);
    compute.destroy_instance(ctx, id(), true).await.unwrap();
    supervisor.stop(Duration::from_secs(5)).await;
    driver.hypervisor().daemon().stop().await;
}
