//! A narrow line: everything in one direction, of all connections, waits in one queue for its turn,
//! as at the modem of a phone, and then takes its time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

/// What one packet carries.
const PACKET: usize = 1448;
/// Its headers.
const HEADERS: usize = 52;
/// So many packets wait at most: half a second of 1 Mbit/s. Then nothing is read any more.
const QUEUE: usize = 42;

type Packet = (Instant, Vec<u8>, Arc<TcpStream>);

/// The line. Its threads end with the process.
pub struct NarrowLine {
    pub port: u16,
}

impl NarrowLine {
    /// To this port, with so many bytes a second and this delay, each way.
    pub fn to(target: u16, rate: f64, delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (up, down) = (way(rate, delay), way(rate, delay));
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let far = TcpStream::connect((Ipv4Addr::LOCALHOST, target));
                let (Ok(near), Ok(far)) = (near, far) else {
                    continue;
                };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let (near, far) = (Arc::new(near), Arc::new(far));
                read(near.clone(), far.clone(), up.clone());
                read(far, near, down.clone());
            }
        });
        Self { port }
    }
}

/// One way of it.
fn way(rate: f64, delay: Duration) -> SyncSender<Packet> {
    let (queue, waiting) = sync_channel::<Packet>(QUEUE);
    let (late, flying) = channel();
    std::thread::spawn(move || narrow(&waiting, &late, rate));
    std::thread::spawn(move || delayed(&flying, delay));
    queue
}

fn read(from: Arc<TcpStream>, to: Arc<TcpStream>, queue: SyncSender<Packet>) {
    std::thread::spawn(move || {
        let mut buffer = [0; PACKET];
        loop {
            let length = (&*from).read(&mut buffer).unwrap_or(0);
            let packet = (Instant::now(), buffer[..length].to_vec(), to.clone());
            if queue.send(packet).is_err() || length == 0 {
                return;
            }
        }
    });
}

/// Each packet takes as long as the line is narrow.
fn narrow(waiting: &Receiver<Packet>, late: &Sender<Packet>, rate: f64) {
    let mut free = Instant::now();
    for (came, bytes, to) in waiting {
        let takes = Duration::from_secs_f64((bytes.len() + HEADERS) as f64 / rate);
        free = free.max(came) + takes;
        std::thread::sleep(free.saturating_duration_since(Instant::now()));
        if late.send((free, bytes, to)).is_err() {
            return;
        }
    }
}

fn delayed(flying: &Receiver<Packet>, delay: Duration) {
    for (left, bytes, to) in flying {
        std::thread::sleep((left + delay).saturating_duration_since(Instant::now()));
        if bytes.is_empty() {
            let _ = to.shutdown(Shutdown::Write);
        } else {
            let _ = (&*to).write_all(&bytes);
        }
    }
}
