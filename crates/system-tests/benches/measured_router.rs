//! A router as a process, a car beside it in this process, and what the router uses of the machine.

use std::path::Path;
use std::time::Duration;

use p2p_inner::Inner;
use p2p_shared::protocol::MotionInfo;

use crate::common::procfs;
use crate::common::program::{RunningProgram, router};
use crate::common::{inner_config_of, link_up, motion};

/// A router and its car. Dropping it ends both.
pub struct MeasuredRouter {
    pub main_port: u16,
    pub service_port: u16,
    router: RunningProgram,
    _inner: Inner,
}

impl MeasuredRouter {
    /// Starts the router in this folder with these arguments, and then a car that moves by no
    /// command. `adapt` gets the router's port and the car's configuration.
    pub async fn start(
        folder: &Path,
        arguments: &[&str],
        adapt: impl FnOnce(u16, &mut p2p_inner::Config),
    ) -> Self {
        let router = RunningProgram::start(
            router(folder)
                .args(["0", "--bind", "127.0.0.1"])
                .args(arguments),
        );
        let main_port = router.main_port().await;
        let commands = folder.join("command");
        std::fs::create_dir_all(&commands).unwrap();
        let mut config = inner_config_of(main_port, commands);
        config.motion = MotionInfo {
            commands: Default::default(),
            ..motion()
        };
        adapt(main_port, &mut config);
        let inner = Inner::start(config).unwrap();
        let (_, service_port) = link_up(&inner).await;
        Self {
            main_port,
            service_port,
            router,
            _inner: inner,
        }
    }

    /// Memory that the router uses now, in KiB.
    pub fn memory(&self) -> u64 {
        procfs::status(self.router.id(), "VmRSS").unwrap()
    }

    /// The most memory that the router has used, in KiB.
    pub fn peak_memory(&self) -> u64 {
        procfs::status(self.router.id(), "VmHWM").unwrap()
    }

    /// CPU time that the router has used so far.
    pub fn cpu(&self) -> Duration {
        procfs::cpu(self.router.id())
    }
}
