use std::sync::Mutex;

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

/// Routers by number: those that are up answer at once, the others never.
#[derive(Debug, Default, Clone)]
struct FakeNetwork {
    up: Arc<Mutex<Vec<String>>>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl FakeNetwork {
    fn reconnect(&self, hosts: &[&str]) -> Reconnect {
        let router = |host: &&str| RouterAddress {
            host: (*host).to_owned(),
            port: 8888,
        };
        let routers = hosts.iter().map(router).collect();
        Reconnect::new(routers, Box::new(self.clone()))
    }

    fn set_up(&self, hosts: &[&str]) {
        *self.up.lock().unwrap() = hosts.iter().map(|host| (*host).to_owned()).collect();
    }
}

impl Dial for FakeNetwork {
    fn dial(&self, router: &RouterAddress, _: Option<SocketAddr>) -> Dialling {
        let (router, is_up) = (
            router.clone(),
            self.up.lock().unwrap().contains(&router.host),
        );
        Box::pin(async move {
            if router.host == "refuses" {
                return Err(DialError::Denied(router, "no".to_owned()));
            }
            if !is_up {
                sleep(timing::HELLO).await;
                return Err(DialError::Timeout(router));
            }
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            near.set_nonblocking(true).unwrap();
            let near = Transport::Plain(TcpStream::from_std(near).unwrap());
            Ok(WebSocketStream::from_raw_socket(near, Role::Client, None).await)
        })
    }
}

/// Dials until a router answers; its host, and the time that it took.
async fn reached(reconnect: &mut Reconnect) -> (String, Duration) {
    let start = timing::now();
    loop {
        match reconnect.dial().await {
            Ok(_) => return (reconnect.router().1.host.clone(), timing::now() - start),
            Err(error) => {
                let pause = reconnect.pause(Retry::NotHere(error.least_pause()));
                reconnect.wait(pause).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_router_delays_the_next_by_a_quarter_of_a_second_only() {
    let network = FakeNetwork::default();
    network.set_up(&["b"]);
    let mut reconnect = network.reconnect(&["dead", "refuses", "b"]);
    let (host, took) = reached(&mut reconnect).await;
    assert_eq!((host.as_str(), took.as_millis()), ("b", 250));
}

#[tokio::test(start_paused = true)]
async fn a_router_that_is_lost_is_left_after_a_second_and_nobody_goes_back_by_himself() {
    let network = FakeNetwork::default();
    network.set_up(&["a", "b"]);
    let mut reconnect = network.reconnect(&["a", "b"]);
    assert_eq!(reached(&mut reconnect).await.0, "a");
    reconnect.connected();
    sleep(MINUTE).await;
    network.set_up(&["b"]);
    let lost = timing::now();
    let pause = reconnect.pause(Retry::NotHere(Duration::ZERO));
    reconnect.wait(pause).await;
    assert_eq!(reached(&mut reconnect).await.0, "b");
    assert_eq!((timing::now() - lost).as_millis(), 1000);
    reconnect.connected();
    // After the next loss the same holds for the new one, though the first is back.
    network.set_up(&["a", "b"]);
    sleep(MINUTE).await;
    let pause = reconnect.pause(Retry::NotHere(Duration::ZERO));
    reconnect.wait(pause).await;
    assert_eq!(reached(&mut reconnect).await.0, "b");
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_an_attempt_at_once_ends_the_pause_and_the_long_pauses() {
    let mut reconnect = FakeNetwork::default().reconnect(&["refuses"]);
    for _ in 0..10 {
        assert!(reconnect.dial().await.is_err());
        let pause = reconnect.pause(Retry::NotHere(Duration::ZERO));
        reconnect.wait(pause).await;
    }
    let asked = timing::now();
    assert!(reconnect.dial().await.is_err());
    let pause = reconnect.pause(Retry::NotHere(MINUTE));
    assert_eq!(pause, MINUTE);
    reconnect.now().notify_one();
    reconnect.wait(pause).await;
    assert!(reconnect.dial().await.is_err());
    assert_eq!(timing::now(), asked);
    let pause = reconnect.pause(Retry::NotHere(Duration::ZERO));
    assert!(pause <= Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn who_asked_while_the_connection_was_up_ends_no_pause_of_the_next_outage() {
    let network = FakeNetwork::default();
    network.set_up(&["a"]);
    let mut reconnect = network.reconnect(&["a"]);
    assert_eq!(reached(&mut reconnect).await.0, "a");
    reconnect.connected();
    reconnect.now().notify_one();
    sleep(MINUTE).await;
    let lost = timing::now();
    let pause = reconnect.pause(Retry::Nowhere(MINUTE));
    reconnect.wait(pause).await;
    assert_eq!(timing::now() - lost, MINUTE);
    // Who asks while it is dialled does.
    reconnect.now().notify_one();
    let pause = reconnect.pause(Retry::Nowhere(MINUTE));
    reconnect.wait(pause).await;
    assert_eq!(timing::now() - lost, MINUTE);
}

#[test]
fn each_router_counts_once_and_there_may_be_sixteen() {
    let router = |n: u16| RouterAddress {
        host: "router".to_owned(),
        port: n,
    };
    let twice = (0..16).chain(0..16).map(router);
    assert_eq!(distinct(twice).unwrap().len(), 16);
    assert!(distinct((0..17).map(router)).unwrap_err().contains("17"));
}
