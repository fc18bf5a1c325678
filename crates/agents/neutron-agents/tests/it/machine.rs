//! A machine of its own: a thread that lives in a network and a mount namespace, with a `/run` in which its namespaces have
//! their names. What is spawned there, programs included, is on that machine.

use host_netns::{Namespace, ns};
use host_privsep::{Privsep, Program};
use neutron_agents::NeutronAgentsConf;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

pub struct Machine {
    pub namespace: Namespace,
    handle: Handle,
    power: Option<oneshot::Sender<()>>,
    undo: Option<NeutronAgentsConf>,
}

/// Runs `ip`, on the machine that the caller is on.
pub async fn ip(words: &str) -> String {
    let command = Privsep::new().command(Program::Ip);
    let output = command.args(words.split(' ').collect::<Vec<_>>()).run();
    output
        .await
        .unwrap_or_else(|e| panic!("ip {words}: {e}"))
        .text()
}

impl Machine {
    pub async fn boot(name: &str) -> Machine {
        let namespace = Namespace::parse(name).unwrap();
        ns::ensure(&namespace).await.unwrap();
        let file = std::fs::File::open(ns::path(&namespace)).unwrap();
        let (up, is_up) = oneshot::channel();
        let (power, off) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            mount(
                Some("run"),
                "/run",
                Some("tmpfs"),
                MsFlags::empty(),
                None::<&str>,
            )
            .unwrap();
            setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let _ = up.send(runtime.handle().clone());
            let _ = runtime.block_on(off);
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        Machine {
            namespace,
            handle: is_up.await.unwrap(),
            power: Some(power),
            undo: None,
        }
    }

    /// Does something there.
    pub async fn on<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.handle.spawn(work).await.unwrap()
    }

    /// A wire to a bridge of another machine; returns the name of its end there. Both ends are made here and moved.
    pub async fn plug(
        &self,
        device: &str,
        switch: &Machine,
        bridge: &str,
        address: &str,
    ) -> String {
        let port = format!("p{}", &base::new_id()[..8]);
        let (here, there) = (&self.namespace, &switch.namespace);
        ip(&format!(
            "link add {port} netns {there} type veth peer name {device} netns {here}"
        ))
        .await;
        ip(&format!("-n {there} link set {port} master {bridge} up")).await;
        ip(&format!("-n {here} link set {device} up")).await;
        if !address.is_empty() {
            ip(&format!("-n {here} addr add {address} dev {device}")).await;
        }
        port
    }

    /// What agents of this configuration leave is taken down at the end, however the test ends.
    pub fn undo(&mut self, conf: &NeutronAgentsConf) {
        self.undo = Some(conf.clone());
    }

    fn tear_down(&mut self) {
        let Some(conf) = self.undo.take() else { return };
        let (done, is_done) = mpsc::channel();
        self.handle.spawn(async move {
            let result = neutron_agents::teardown(&conf).await;
            let _ = std::fs::remove_dir_all(&conf.state_path);
            let _ = done.send(result);
        });
        let _ = is_done.recv_timeout(Duration::from_secs(20));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.tear_down();
        drop(self.power.take());
        crate::guest::forget(&self.namespace);
    }
}
