use futures_util::FutureExt;

use super::*;

fn drive(command: DriveCommand) -> ConsoleToRouter {
    ConsoleToRouter::Drive {
        service_port: 9000,
        command,
    }
}

fn id(number: u64) -> PressId {
    PressId { epoch: 1, number }
}

fn press(number: u64) -> ConsoleToRouter {
    drive(DriveCommand::Press {
        press: id(number),
        command: "forward".parse().unwrap(),
        tick_ms: 0,
    })
}

fn renew(number: u64, tick_ms: u64) -> ConsoleToRouter {
    let press = id(number);
    drive(DriveCommand::Renew { press, tick_ms })
}

fn send(request: u64) -> ConsoleToRouter {
    ConsoleToRouter::Send {
        request,
        service_port: 9000,
        command: "stop".parse().unwrap(),
        arguments: Default::default(),
        for_ms: None,
    }
}

fn all(orders: &Orders, room: bool) -> Vec<ConsoleToRouter> {
    let next = || orders.next(room).now_or_never().flatten();
    std::iter::from_fn(next).collect()
}

#[test]
fn a_stop_goes_ahead_of_a_full_queue_and_drops_the_presses_before_it() {
    let orders = Orders::default();
    assert_eq!(orders.push(press(1)), None);
    let refused = (0..100).filter_map(|n| orders.push(send(n))).count();
    assert_eq!(refused, 100 - (ORDERS - 1));
    for _ in 0..1000 {
        orders.stop(9000);
    }
    assert_eq!(orders.push(renew(1, 5)), None);
    let sent = all(&orders, true);
    assert_eq!(sent[0], drive(DriveCommand::Stop));
    assert!(sent[1..].iter().all(|it| !matches!(it, ConsoleToRouter::Drive { command, .. } if !matches!(command, DriveCommand::Renew { .. }))));
    assert_eq!(sent.len(), 1 + ORDERS);
    // It says which it has dropped.
    assert_eq!(orders.push(press(2)), None);
    assert_eq!(orders.stop(9000), [id(2)]);
}

#[test]
fn stops_need_no_room_and_a_flood_of_them_is_bounded() {
    let orders = Orders::default();
    let mut sent = 0;
    for n in 0..1000 {
        orders.stop(9000);
        orders.stop_by_run(9000, send(n));
        sent += all(&orders, false).len();
    }
    assert_eq!(sent, 1 + STOP_RUNS);
    assert_eq!(all(&orders, true).len(), STOP_RUNS);
    orders.stop(9000);
    assert_eq!(all(&orders, true).len(), 1);
}

#[test]
fn of_several_renewals_the_newest_is_kept_and_stays_behind_its_press() {
    let orders = Orders::default();
    for tick in 0..1000 {
        assert_eq!(orders.push(renew(1, tick)), None);
    }
    orders.push(press(2));
    for tick in 0..1000 {
        orders.push(renew(2, tick));
        orders.push(ConsoleToRouter::Window {
            request: 1,
            more: 1,
        });
        orders.push(ConsoleToRouter::Again);
    }
    let window = ConsoleToRouter::Window {
        request: 1,
        more: 1000,
    };
    let sent = all(&orders, true);
    assert_eq!(sent[..2], [renew(1, 999), press(2)]);
    assert!(sent.contains(&window) && sent.contains(&renew(2, 999)));
    assert_eq!(sent.len(), 5);
}

#[test]
fn after_its_end_only_stops_are_sent() {
    let orders = Orders::default();
    orders.push(press(1));
    orders.push(send(1));
    orders.stop(9001);
    orders.close();
    let stop = ConsoleToRouter::Drive {
        service_port: 9001,
        command: DriveCommand::Stop,
    };
    assert_eq!(all(&orders, true), [stop]);
}
