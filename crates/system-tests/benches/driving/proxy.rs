//! A TCP proxy that adds a fixed delay to every piece, in order, and can hold bytes back or swallow
//! them. Each direction is a reading and a writing thread: the timers of the tests' proxy are 1 ms
//! coarse, and it delays one piece after the other.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::witness::now;

/// What happens to the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteFlow {
    /// They are passed on.
    Open,
    /// They wait.
    Held,
    /// They vanish, and neither end learns of it.
    Silent,
}

struct ProxyState {
    target: u16,
    delay: Duration,
    flow: Mutex<ByteFlow>,
    changed: Condvar,
    lines: Mutex<Vec<TcpStream>>,
}

/// The proxy. Its threads end with the process.
pub struct Proxy {
    port: u16,
    shared: Arc<ProxyState>,
}

impl Proxy {
    /// To this port, with this delay each way.
    pub fn to(target: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(ProxyState {
            target,
            delay,
            flow: Mutex::new(ByteFlow::Open),
            changed: Condvar::new(),
            lines: Mutex::default(),
        });
        let mine = shared.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let target = (Ipv4Addr::LOCALHOST, mine.target);
                if let (Ok(near), Ok(far)) = (near, TcpStream::connect(target)) {
                    join(&mine, &near, &far);
                }
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, flow: ByteFlow) {
        *self.shared.flow.lock().unwrap() = flow;
        self.shared.changed.notify_all();
    }

    /// Ends the connections that there are, and passes on those to come.
    pub fn renew(&self) {
        for line in self.shared.lines.lock().unwrap().drain(..) {
            let _ = line.shutdown(Shutdown::Both);
        }
        self.set(ByteFlow::Open);
    }
}

fn join(shared: &Arc<ProxyState>, near: &TcpStream, far: &TcpStream) {
    let mut lines = shared.lines.lock().unwrap();
    for (from, to) in [(near, far), (far, near)] {
        from.set_nodelay(true).unwrap();
        let (pieces, waiting) = mpsc::channel();
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        lines.push(to.try_clone().unwrap());
        std::thread::spawn(move || read(from, &pieces));
        let shared = shared.clone();
        std::thread::spawn(move || write(to, &waiting, &shared));
    }
}

fn read(mut from: TcpStream, pieces: &Sender<(Duration, Vec<u8>)>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if pieces.send((now(), buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

fn write(mut to: TcpStream, pieces: &Receiver<(Duration, Vec<u8>)>, shared: &ProxyState) {
    for (came, piece) in pieces {
        std::thread::sleep((came + shared.delay).saturating_sub(now()));
        let flow = shared.flow.lock().unwrap();
        let flow = shared
            .changed
            .wait_while(flow, |flow| *flow == ByteFlow::Held);
        let flow = *flow.unwrap();
        if flow == ByteFlow::Open && to.write_all(&piece).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
