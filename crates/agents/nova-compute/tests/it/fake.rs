//! The fake driver: life of an instance, crash of the agent, orphans.

use super::{OneImage, World, port, spec};
use base::Kind;
use host_privsep::Privsep;
use nova_types::rpc::{PowerAction, PowerState, VolumeSpec};
use oslo_service::{Supervisor, wait_until};
use std::sync::Arc;
use std::time::Duration;

const UUID: &str = "11111111-1111-4111-8111-111111111111";
const OTHER: &str = "22222222-2222-4222-8222-222222222222";

async fn start(world: &World) -> Supervisor {
    let supervisor = Supervisor::new();
    let (privsep, _) = Privsep::recorder();
    let images = Arc::new(OneImage("/nowhere".into()));
    let conf = world.conf("fake.FakeDriver");
    nova_compute::start(&world.bus, conf, privsep, images, &supervisor)
        .await
        .unwrap();
    supervisor
}

#[tokio::test]
async fn the_life_of_an_instance() {
    let world = World::new("life").await;
    world.belong(&[UUID]);
    let supervisor = start(&world).await;
    let (compute, ctx) = (&world.compute, &world.ctx);
    let id = || UUID.to_string();

    compute.prepare_instance(ctx, spec(UUID)).await.unwrap();
    assert_eq!(
        compute.instance_state(ctx, id()).await.unwrap_err().kind(),
        Kind::NotFound
    );
    for _ in 0..2 {
        assert_eq!(
            compute.ensure_instance(ctx, spec(UUID)).await.unwrap(),
            PowerState::Running
        );
    }
    // The API's schema of diagnostics knows only drivers that make guests.
    let seen = compute.diagnostics(ctx, id()).await.unwrap();
    assert_eq!(
        (&seen["driver"], &seen["state"]),
        (&"libvirt".into(), &"running".into())
    );
    let steps = [
        (PowerAction::Pause, PowerState::Paused),
        (PowerAction::Pause, PowerState::Paused),
        (PowerAction::Unpause, PowerState::Running),
        (PowerAction::Suspend, PowerState::Suspended),
        (PowerAction::Resume, PowerState::Running),
        (PowerAction::Stop { timeout_s: 1 }, PowerState::Shutdown),
        (PowerAction::Start, PowerState::Running),
        (PowerAction::RebootSoft, PowerState::Running),
        (PowerAction::RebootHard, PowerState::Running),
    ];
    for (action, state) in steps {
        assert_eq!(
            compute.power(ctx, id(), action).await.unwrap(),
            state,
            "{action:?}"
        );
    }
    for (length, lines) in [(0, 1), (1, 1), (3, 3), (5, 5)] {
        let console = compute.console_output(ctx, id(), Some(length)).await;
        let console = console.unwrap();
        assert_eq!(console.split('\n').count(), lines, "{length}: {console:?}");
        assert_eq!(console.contains("a-server login:"), length > 1);
        assert_eq!(console.is_empty(), length < 2);
    }
    assert!(
        compute
            .console_output(ctx, id(), None)
            .await
            .unwrap()
            .contains("fake")
    );
    assert_eq!(
        compute.diagnostics(ctx, id()).await.unwrap()["state"],
        "running"
    );

    let volume = VolumeSpec {
        volume_id: "v1".into(),
        device: "vdb".into(),
        ..VolumeSpec::default()
    };
    for _ in 0..2 {
        compute
            .attach_volume(ctx, id(), volume.clone())
            .await
            .unwrap();
    }
    compute
        .extend_volume(ctx, id(), "v1".into(), 2)
        .await
        .unwrap();
    compute.detach_volume(ctx, id(), "v1".into()).await.unwrap();
    compute.detach_volume(ctx, id(), "v1".into()).await.unwrap();
    assert!(
        compute
            .extend_volume(ctx, id(), "v1".into(), 3)
            .await
            .unwrap_err()
            .is_not_found()
    );
    compute
        .attach_port(ctx, id(), port("p2", "fa:16:3e:00:00:02"))
        .await
        .unwrap();
    assert_eq!(compute.diagnostics(ctx, id()).await.unwrap()["num_nics"], 2);
    compute.detach_port(ctx, id(), "p2".into()).await.unwrap();

    for _ in 0..2 {
        compute.destroy_instance(ctx, id(), true).await.unwrap();
    }
    assert!(
        compute
            .power(ctx, id(), PowerAction::Start)
            .await
            .unwrap_err()
            .is_not_found()
    );
    let bad = compute
        .destroy_instance(ctx, "../x".into(), true)
        .await
        .unwrap_err();
    assert_eq!(bad.kind(), Kind::BadRequest);
    supervisor.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn guests_outlive_the_agent_and_orphans_do_not_outlive_two_reports() {
    let world = World::new("orphans").await;
    world.belong(&[UUID, OTHER]);
    let supervisor = start(&world).await;
    for uuid in [UUID, OTHER] {
        world
            .compute
            .ensure_instance(&world.ctx, spec(uuid))
            .await
            .unwrap();
    }
    supervisor.stop(Duration::from_secs(5)).await;

    world.conductor.reports.lock().unwrap().clear();
    let supervisor = start(&world).await;
    let report = world.report_where(|_| true).await;
    let state = |uuid: &str| (uuid.to_string(), PowerState::Running);
    assert_eq!(report.instances, [state(UUID), state(OTHER)]);
    assert_eq!(
        (report.host.as_str(), report.driver.as_str()),
        ("host1", "fake")
    );

    world.belong(&[UUID]);
    let report = world.report_where(|r| r.instances.len() == 1).await;
    assert_eq!(report.instances, [state(UUID)]);
    // Two answers without it, not one: three reports still carried it, or more.
    let reports = world.conductor.reports.lock().unwrap().clone();
    assert!(reports.iter().filter(|r| r.instances.len() == 2).count() >= 3);
    supervisor.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_guest_that_switches_itself_off_is_told() {
    let world = World::new("power").await;
    world.belong(&[UUID]);
    let supervisor = start(&world).await;
    world
        .compute
        .ensure_instance(&world.ctx, spec(UUID))
        .await
        .unwrap();
    let file = world
        .folder
        .join(format!("instances/fake-host1/{UUID}.json"));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("sesame"));
    std::fs::write(&file, text.replace("\"running\"", "\"shutdown\"")).unwrap();
    let told = wait_until(
        Duration::from_secs(10),
        Duration::from_millis(20),
        || async { Ok(world.conductor.changes.lock().unwrap().first().cloned()) },
    );
    assert_eq!(
        told.await.unwrap(),
        (UUID.to_string(), PowerState::Shutdown)
    );
    supervisor.stop(Duration::from_secs(5)).await;
}
