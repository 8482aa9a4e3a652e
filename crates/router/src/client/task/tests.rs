use std::net::Ipv4Addr;

use p2p_shared::net::transport::Transport;
use p2p_shared::websocket::MessageSocket;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::net::write_timeout::WriteTimeout;

/// What the other side hears of this end.
async fn hears(end: ClientEnd, is_passed_on: bool) -> SocketEvent<RouterToConsole> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, (far, _)) = tokio::try_join!(near, listener.accept()).unwrap();
    let [near, far] = [near, far].map(|it| WriteTimeout::new(Transport::Plain(it)));
    let socket = ClientSocket::Console(MessageSocket::accepted(far, Vec::new()).await);
    let mut peer =
        MessageSocket::<_, ConsoleToRouter, RouterToConsole>::asked(near, Vec::new()).await;
    let (event, ()) = tokio::join!(
        async move { peer.event().await.unwrap() },
        end.tell(socket, is_passed_on)
    );
    event
}

#[tokio::test]
async fn another_router_is_given_the_reason_and_no_words_that_a_console_would_take_for_an_answer() {
    let end = || ClientEnd::Refused("the key was revoked".to_owned());
    let told = hears(end(), false).await;
    assert!(matches!(
        told,
        SocketEvent::Message(RouterToConsole::Refused { .. })
    ));
    let told = hears(end(), true).await;
    assert!(matches!(told, SocketEvent::Closed(why) if why.contains("the key was revoked")));
}
