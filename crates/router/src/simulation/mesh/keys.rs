//! The keys of a history of three routers: those that are there from the start, and others that are made at one
//! router and revoked at another while they are used at all.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use p2p_shared::key::Role;
use tokio::time::sleep;

use super::super::keys::SimKey;
use super::super::rng::Rng;
use super::scenario::MeshScenario;
use super::{NAMES, PORT, ROUTERS};
use crate::auth::key_store::KeyFile;
use crate::ops::state_file::MESH_FILE;

/// Number of keys that are there from the start, beside the car's.
const FIRST: usize = 4;

/// All keys, and the state directories of the routers.
pub(super) struct SimKeys {
    folder: tempfile::TempDir,
    pub car: SimKey,
    /// The first one is good all the time, for everything.
    others: Mutex<Vec<Arc<SimKey>>>,
}

impl SimKeys {
    /// Keys that all routers have.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = |router: usize| folder.path().join(NAMES[router]);
        let file = KeyFile::in_dir(dir(0));
        let make = |name: &str, role, port: Option<u16>| {
            let ports = port.map(|port| format!("{port}-{port}").parse().unwrap());
            let key = file.add(&name.parse().unwrap(), role, ports).unwrap();
            SimKey::new(name, &key, role, port.is_none_or(|port| port == PORT))
        };
        let car = make("car-key", Role::Link, Some(PORT));
        let others: [SimKey; FIRST] = [
            make("runs", Role::Drive, None),
            make("drives", Role::Drive, Some(PORT)),
            make("sees", Role::View, Some(PORT)),
            make("others", Role::Admin, Some(PORT + 1)),
        ];
        for router in 0..ROUTERS {
            fs::create_dir_all(dir(router)).unwrap();
            // That it is there makes the router a member's.
            fs::write(dir(router).join(MESH_FILE), "").unwrap();
            if router > 0 {
                let (from, to) = (file.path(), KeyFile::in_dir(dir(router)));
                fs::copy(from, to.path()).unwrap();
            }
        }
        Self {
            car,
            others: Mutex::new(others.into_iter().map(Arc::new).collect()),
            folder,
        }
    }

    /// The state directory of a router.
    pub(super) fn dir(&self, router: usize) -> PathBuf {
        self.folder.path().join(NAMES[router])
    }

    /// All keys but the car's.
    pub(super) fn all(&self) -> Vec<Arc<SimKey>> {
        self.others.lock().unwrap().clone()
    }

    /// Returns true for a key that all routers have had from the start: none has refused it, and pauses for that.
    pub(super) fn is_first(&self, key: &SimKey) -> bool {
        let all = self.others.lock().unwrap();
        all.iter().take(FIRST).any(|first| first.id == key.id)
    }

    /// The key that is good all the time, for everything.
    pub(super) fn good(&self) -> Arc<SimKey> {
        self.others.lock().unwrap()[0].clone()
    }

    /// A key for somebody who comes; mostly the good one, or the newest.
    pub(super) fn one_of(&self, rng: &Rng) -> Arc<SimKey> {
        let all = self.others.lock().unwrap();
        match rng.number(0..8) {
            0..=2 => all[0].clone(),
            3..=5 => all[all.len() - 1].clone(),
            _ => rng.one_of(&all).clone(),
        }
    }
}

impl MeshScenario {
    /// Changes keys; half of the time while no router reaches another, so that fetching them fails.
    pub(super) async fn change_keys(&mut self) {
        let is_cut = self.rng.one_in(2);
        let set = |is_cut| {
            let lines = self.world.lines.iter().flatten();
            lines.for_each(|line| line.set_cut(is_cut));
        };
        if is_cut {
            self.log("no router reaches another");
            set(true);
        }
        self.change_a_key().await;
        if is_cut {
            set(false);
            self.log("all reach each other");
        }
    }

    /// Makes a key at a router, and revokes it at another, or there if that does not know it yet.
    async fn change_a_key(&self) {
        let keys = &self.world.keys;
        let (made_at, revoked_at) = (self.rng.below(ROUTERS), self.rng.below(ROUTERS));
        let name = format!("key-{}", keys.all().len());
        self.log(format!("{name} is made at {}", NAMES[made_at]));
        let made =
            KeyFile::in_dir(keys.dir(made_at)).add(&name.parse().unwrap(), Role::Drive, None);
        let key = Arc::new(SimKey::new(&name, &made.unwrap(), Role::Drive, true));
        keys.others.lock().unwrap().push(key.clone());
        sleep(self.rng.ms(20..6000)).await;
        // Some stay.
        if self.rng.one_in(4) {
            return;
        }
        for at in [revoked_at, made_at] {
            let file = KeyFile::in_dir(keys.dir(at));
            if file.revoke(&name.parse().unwrap()).is_ok() {
                self.log(format!("{name} is revoked at {}", NAMES[at]));
                key.revoked();
                break;
            }
        }
        sleep(self.rng.ms(0..3000)).await;
    }
}
