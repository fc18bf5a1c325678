//! The agent as the conductor sees it: calls over a bus, reports that come back.

mod fake;
mod libvirt;
mod nbd;

use async_trait::async_trait;
use base::{Error, Result};
use nova_compute::{ComputeConf, ImageSource};
use nova_types::rpc::{
    ComputeClient, ConductorApi, ConductorClient, FlavorSpec, HostReport, ImageSpec, InstanceSpec,
    PortSpec, PowerState,
};
use oslo_context::RequestContext;
use oslo_messaging::{Bus, ServerHandle};
use oslo_service::wait_until;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A conductor that remembers what it is told, and answers what the test says.
#[derive(Default)]
struct Conductor {
    reports: Mutex<Vec<HostReport>>,
    belong: Mutex<Vec<String>>,
    changes: Mutex<Vec<(String, PowerState)>>,
}

#[async_trait]
impl ConductorApi for Conductor {
    async fn report_host(&self, _: &RequestContext, report: HostReport) -> Result<Vec<String>> {
        self.reports.lock().unwrap().push(report);
        Ok(self.belong.lock().unwrap().clone())
    }

    async fn power_state_changed(
        &self,
        _: &RequestContext,
        _: String,
        uuid: String,
        state: PowerState,
    ) -> Result<()> {
        self.changes.lock().unwrap().push((uuid, state));
        Ok(())
    }

    async fn wake(&self, _: &RequestContext) -> Result<()> {
        Ok(())
    }
}

/// A glance with one image: a file.
struct OneImage(PathBuf);

#[async_trait]
impl ImageSource for OneImage {
    async fn download(&self, image_id: &str, path: &Path) -> Result<()> {
        match image_id {
            "image-1" => tokio::fs::copy(&self.0, path)
                .await
                .map(drop)
                .map_err(Error::internal),
            other => Err(Error::not_found(format!("image {other}"))),
        }
    }
}

struct World {
    bus: Bus,
    conductor: Arc<Conductor>,
    compute: ComputeClient,
    ctx: RequestContext,
    folder: PathBuf,
    _server: ServerHandle,
}

impl World {
    async fn new(name: &str) -> World {
        let folder =
            std::env::temp_dir().join(format!("nova-compute-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let bus = Bus::in_process();
        let conductor = Arc::new(Conductor::default());
        let server = ConductorClient::serve(&bus, "c", conductor.clone())
            .await
            .unwrap();
        let compute = ComputeClient::new(bus.clone())
            .server("host1")
            .timeout(Duration::from_secs(120));
        let ctx = RequestContext::internal();
        World {
            bus,
            conductor,
            compute,
            ctx,
            folder,
            _server: server,
        }
    }

    fn conf(&self, driver: &str) -> ComputeConf {
        ComputeConf {
            host: "host1".into(),
            compute_driver: driver.into(),
            instances_path: self.folder.join("instances"),
            libvirt_path: self.folder.join("libvirt"),
            capability_cache: Some(std::env::temp_dir().join("fs-libvirt-capabilities")),
            report_interval: 1,
            power_poll_interval: 1,
            fake_delay_ms: 0,
            ..ComputeConf::default()
        }
    }

    fn belong(&self, uuids: &[&str]) {
        *self.conductor.belong.lock().unwrap() = uuids.iter().map(|u| u.to_string()).collect();
    }

    async fn report_where(&self, check: impl Fn(&HostReport) -> bool) -> HostReport {
        let patience = Duration::from_secs(20);
        wait_until(patience, Duration::from_millis(20), || async {
            let reports = self.conductor.reports.lock().unwrap();
            Ok(reports.last().filter(|r| check(r)).cloned())
        })
        .await
        .unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spec(uuid: &str) -> InstanceSpec {
    InstanceSpec {
        uuid: uuid.into(),
        name: "a <server>".into(),
        hostname: "a-server".into(),
        flavor: FlavorSpec {
            vcpus: 1,
            memory_mb: 64,
            root_gb: 1,
            ..FlavorSpec::default()
        },
        image: Some(ImageSpec {
            id: "image-1".into(),
            disk_format: "qcow2".into(),
            ..ImageSpec::default()
        }),
        ports: vec![port(
            "0fs00001-1111-4111-8111-111111111111",
            "fa:16:3e:00:00:11",
        )],
        admin_pass: Some("sesame".into()),
        power_on: true,
        ..InstanceSpec::default()
    }
}

fn port(id: &str, mac: &str) -> PortSpec {
    PortSpec {
        id: id.into(),
        mac: mac.into(),
        mtu: 1450,
        vif_type: "bridge".into(),
        ..PortSpec::default()
    }
}
