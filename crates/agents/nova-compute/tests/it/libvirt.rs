//! The libvirt driver with a guest that has no operating system; skipped where there is no libvirtd.

use super::{OneImage, World, port, spec};
use host_imagefmt::{Format, create};
use host_privsep::{Privsep, Program};
use nova_compute::{LibvirtDriver, VirtDriver};
use nova_types::rpc::{PowerAction, PowerState, VolumeSpec};
use oslo_service::Supervisor;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const UUID: &str = "33333333-3333-4333-8333-333333333333";
const OTHER: &str = "44444444-3333-4333-8333-333333333333";

#[tokio::test]
async fn a_real_guest_comes_and_goes_without_a_trace() {
    let host = Privsep::new();
    if !nix::unistd::geteuid().is_root() || !host.has(Program::Libvirtd) {
        println!("skipped: needs root and libvirtd");
        return;
    }
    let world = World::new("libvirt").await;
    world.belong(&[UUID]);
    let image = world.folder.join("image.qcow2");
    create(&host, &image, Format::Qcow2, 64 << 20, None)
        .await
        .unwrap();
    let volume = world.folder.join("volume");
    std::fs::File::create(&volume)
        .unwrap()
        .set_len(32 << 20)
        .unwrap();

    let conf = world.conf("libvirt.LibvirtDriver");
    let images = Arc::new(OneImage(image.clone()));
    let driver = Arc::new(
        LibvirtDriver::start(&conf, host.clone(), images)
            .await
            .unwrap(),
    );
    let supervisor = Supervisor::new();
    let agent = nova_compute::start_with(&world.bus, conf.clone(), driver.clone(), &supervisor)
        .await
        .unwrap();
    let (compute, ctx) = (&world.compute, &world.ctx);
    let id = || UUID.to_string();

    let mut spec = spec(UUID);
    spec.config_drive = true;
    spec.user_data = Some("IyEvYmluL3NoCg==".into());
    spec.flavor.swap_mb = 16;
    let tap = Path::new("/sys/class/net").join(spec.ports[0].tap());
    compute.prepare_instance(ctx, spec.clone()).await.unwrap();
    assert!(tap.exists());
    assert_eq!(
        agent.host_report().await.unwrap().instances,
        [(id(), PowerState::NoState)]
    );
    for _ in 0..2 {
        assert_eq!(
            compute.ensure_instance(ctx, spec.clone()).await.unwrap(),
            PowerState::Running
        );
    }
    let folder = conf.instances_path.join(UUID);
    assert!(
        !std::fs::read_to_string(folder.join("instance.json"))
            .unwrap()
            .contains("sesame")
    );
    assert!(std::fs::metadata(folder.join("disk.config")).unwrap().len() > 0);
    assert!(
        std::fs::metadata(conf.instances_path.join("_base/image-1"))
            .unwrap()
            .permissions()
            .readonly()
    );
    let report = agent.host_report().await.unwrap();
    assert_eq!(
        (report.driver.as_str(), report.hypervisor_type.as_str()),
        ("libvirt", "QEMU")
    );
    assert!(report.vcpus > 0 && report.local_gb > 0);

    assert_eq!(
        compute.power(ctx, id(), PowerAction::Pause).await.unwrap(),
        PowerState::Paused
    );
    assert_eq!(
        compute
            .power(ctx, id(), PowerAction::Unpause)
            .await
            .unwrap(),
        PowerState::Running
    );
    let volume = VolumeSpec {
        volume_id: "44444444-4444-4444-8444-444444444444".into(),
        connection_info: json!({"driver_volume_type": "local", "data": {"path": volume, "format": "raw",
            "qos_specs": {"write_iops_sec": "70", "vendor:colour": "red"}}}),
        device: "vdb".into(),
        ..VolumeSpec::default()
    };
    for _ in 0..2 {
        compute
            .attach_volume(ctx, id(), volume.clone())
            .await
            .unwrap();
    }
    let limited = driver
        .hypervisor()
        .disk_limits(UUID, &volume.volume_id)
        .await
        .unwrap();
    assert_eq!(limited, [("write_iops_sec".to_string(), "70".to_string())]);
    let second = port("0fs00002-1111-4111-8111-111111111111", "fa:16:3e:00:00:12");
    compute
        .attach_port(ctx, id(), second.clone())
        .await
        .unwrap();
    let seen = compute.diagnostics(ctx, id()).await.unwrap();
    assert_eq!(
        (&seen["num_nics"], &seen["driver"]),
        (&json!(2), &json!("libvirt"))
    );
    assert!(compute.vnc_console(ctx, id()).await.unwrap().port >= 5900);
    compute.console_output(ctx, id(), Some(10)).await.unwrap();

    // The guest has no system that could hear of it; off and on again, all its devices are there.
    let stop = PowerAction::Stop { timeout_s: 1 };
    assert_eq!(
        compute.power(ctx, id(), stop).await.unwrap(),
        PowerState::Shutdown
    );
    assert_eq!(
        compute
            .power(ctx, id(), PowerAction::RebootHard)
            .await
            .unwrap(),
        PowerState::Running
    );
    let seen = compute.diagnostics(ctx, id()).await.unwrap();
    assert_eq!(
        (&seen["num_nics"], &seen["num_disks"]),
        (&json!(2), &json!(4))
    );
    assert_eq!(
        compute
            .power(ctx, id(), PowerAction::Suspend)
            .await
            .unwrap(),
        PowerState::Suspended
    );
    assert_eq!(
        compute.power(ctx, id(), PowerAction::Resume).await.unwrap(),
        PowerState::Running
    );

    // A destruction does not wait for a shutdown.
    let shutdown = compute.power(ctx, id(), PowerAction::Stop { timeout_s: 600 });
    let end = async {
        oslo_service::wait_until(
            Duration::from_secs(60),
            Duration::from_millis(50),
            || async { compute.destroy_instance(ctx, id(), true).await.map(Some) },
        )
        .await
    };
    let (_, ended) = tokio::join!(shutdown, end);
    ended.unwrap();
    assert!(!tap.exists() && !Path::new("/sys/class/net").join(second.tap()).exists());
    assert!(!folder.exists());
    assert!(agent.host_report().await.unwrap().instances.is_empty());
    driver.tidy().await.unwrap();
    supervisor.stop(Duration::from_secs(5)).await;
    driver.hypervisor().daemon().stop().await;
}

/// With a system inside (made by script/guest-image): what needs the guest to co-operate.
#[tokio::test]
#[allow(
    clippy::disallowed_methods,
    reason = "where the image lies is the business of whoever runs the test"
)]
async fn a_guest_with_a_system_follows_requests() {
    let host = Privsep::new();
    let Some(image) = std::env::var_os("GUEST_IMAGE").map(std::path::PathBuf::from) else {
        println!("skipped: GUEST_IMAGE names no image of script/guest-image");
        return;
    };
    let world = World::new("system").await;
    world.belong(&[OTHER]);
    let volume = world.folder.join("volume");
    std::fs::File::create(&volume)
        .unwrap()
        .set_len(32 << 20)
        .unwrap();
    let conf = world.conf("libvirt.LibvirtDriver");
    let images = Arc::new(OneImage(image));
    let driver = Arc::new(LibvirtDriver::start(&conf, host, images).await.unwrap());
    let supervisor = Supervisor::new();
    nova_compute::start_with(&world.bus, conf, driver.clone(), &supervisor)
        .await
        .unwrap();
    let (compute, ctx) = (&world.compute, &world.ctx);
    let id = || OTHER.to_string();
    let boots = |times: usize| {
        oslo_service::wait_until(
            Duration::from_secs(180),
            Duration::from_millis(200),
            move || async move {
                let log = compute.console_output(ctx, id(), None).await?;
                Ok((log.matches("boot finished").count() >= times).then_some(log))
            },
        )
    };

    let mut spec = spec(OTHER);
    spec.flavor.memory_mb = 128;
    spec.config_drive = true;
    // Nobody answers DHCP here: a guest without a card boots sooner.
    spec.ports.clear();
    // #!/bin/sh, echo user-data-ran-$((6*7))
    spec.user_data = Some("IyEvYmluL3NoCmVjaG8gdXNlci1kYXRhLXJhbi0kKCg2KjcpKQo=".into());
    compute.ensure_instance(ctx, spec.clone()).await.unwrap();
    let log = boots(1).await.unwrap();
    assert!(
        log.contains("user-data-ran-42") && log.contains("a-server login:"),
        "{log}"
    );

    let volume = VolumeSpec {
        volume_id: "44444444-4444-4444-8444-444444444444".into(),
        connection_info: json!({"driver_volume_type": "local", "data": {"path": volume, "format": "raw"}}),
        device: "vdb".into(),
        ..VolumeSpec::default()
    };
    let card = port("0fs00003-1111-4111-8111-111111111111", "fa:16:3e:00:00:13");
    compute
        .attach_volume(ctx, id(), volume.clone())
        .await
        .unwrap();
    compute.attach_port(ctx, id(), card.clone()).await.unwrap();
    compute
        .detach_volume(ctx, id(), volume.volume_id.clone())
        .await
        .unwrap();
    compute
        .detach_port(ctx, id(), card.id.clone())
        .await
        .unwrap();
    let seen = compute.diagnostics(ctx, id()).await.unwrap();
    assert_eq!(
        (&seen["num_nics"], &seen["num_disks"]),
        (&json!(0), &json!(2))
    );

    compute
        .power(ctx, id(), PowerAction::RebootSoft)
        .await
        .unwrap();
    boots(2).await.unwrap();
    let stop = PowerAction::Stop { timeout_s: 60 };
    assert_eq!(
        compute.power(ctx, id(), stop).await.unwrap(),
        PowerState::Shutdown
    );
    let log = compute.console_output(ctx, id(), None).await.unwrap();
    assert_eq!(
        log.matches("power button").count(),
        2,
        "both times the guest was asked, and followed"
    );
    compute.destroy_instance(ctx, id(), true).await.unwrap();
    supervisor.stop(Duration::from_secs(5)).await;
    driver.hypervisor().daemon().stop().await;
}
