use super::*;

const HANG: Duration = Duration::from_secs(5);
const ANYWHERE: Retry = Retry::NotHere(Duration::ZERO);

/// A plan, and its time in milliseconds since the beginning.
struct Bench {
    plan: DialPlan,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new(routers: usize) -> Self {
        let start = Instant::now();
        Self {
            plan: DialPlan::new(routers),
            start,
            now: start,
        }
    }

    /// A plan whose connection to this router has been up for long.
    fn at(routers: usize, n: usize) -> Self {
        let mut bench = Self::new(routers);
        bench.connect(n);
        bench.now += backoff::STABLE;
        bench.start = bench.now;
        bench
    }

    fn connect(&mut self, n: usize) {
        self.plan.reached(n);
        self.plan.connected(n, self.now, || 0.0);
    }

    /// Fails, with 100 ms to the next round.
    fn fail(&mut self, n: usize, retry: Retry) {
        let pause = || Duration::from_millis(100);
        self.plan.failed(n, self.now, retry, pause);
    }

    /// All attempts of this time, each of which takes as long as its router does, and then fails;
    /// with their beginnings in milliseconds.
    fn attempts(&mut self, time: Duration, takes: &[Duration]) -> Vec<(usize, u128)> {
        let end = self.now + time;
        let (mut attempts, mut ends) = (Vec::new(), Vec::new());
        while self.now < end {
            let until = match self.plan.poll(self.now, || 0.0) {
                Step::Dial(n) => {
                    attempts.push((n, (self.now - self.start).as_millis()));
                    ends.push((self.now + takes[n], n));
                    continue;
                }
                Step::Wait(until) => until,
            };
            let first = ends.iter().copied().min();
            let next = [until, first.map(|(at, _)| at)].into_iter().flatten().min();
            self.now = next.unwrap().min(end);
            if let Some((at, n)) = first
                && at <= self.now
            {
                ends.retain(|it| *it != (at, n));
                self.fail(n, ANYWHERE);
            }
        }
        attempts
    }
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn the_first_attempts_are_in_the_order_of_the_list_and_a_failure_begins_the_next_at_once() {
    let takes = [HANG, millis(10), HANG, HANG];
    let attempts = Bench::new(4).attempts(millis(300), &takes);
    assert_eq!(attempts, [(0, 0), (1, 250), (2, 260)]);
}

#[test]
fn a_router_that_never_answers_holds_up_no_other() {
    let attempts = Bench::new(2).attempts(millis(560), &[HANG, millis(10)]);
    assert_eq!(attempts, [(0, 0), (1, 250), (1, 360), (1, 470)]);
}

#[test]
fn after_a_loss_its_router_has_a_second_and_then_comes_first() {
    let mut bench = Bench::at(3, 1);
    bench.fail(1, ANYWHERE);
    let attempts = bench.attempts(millis(1180), &[HANG, millis(300), HANG]);
    let alone = [(1, 100), (1, 500), (1, 900)];
    // By chance, which is always 0 here, the first one of the others.
    assert_eq!(attempts, [alone.as_slice(), &[(0, 1150)]].concat());

    let mut bench = Bench::at(3, 1);
    bench.fail(1, ANYWHERE);
    let takes = [millis(10), HANG, millis(10)];
    let attempts = bench.attempts(millis(1100), &takes);
    assert_eq!(attempts, [(1, 100), (0, 1000), (2, 1010)]);
}

#[test]
fn a_router_that_refuses_the_key_waits_while_the_others_are_dialled() {
    let minute = Duration::from_secs(60);
    for is_up in [false, true] {
        let mut bench = Bench::at(2, 0);
        if !is_up {
            bench.plan.reached(0);
        }
        bench.fail(0, Retry::NotHere(minute));
        let attempts = bench.attempts(minute, &[HANG, HANG]);
        assert!(attempts.iter().all(|(n, _)| *n == 1), "{attempts:?}");
        assert!(attempts[0].1 <= 100 && attempts.len() > 10);
        let attempts = bench.attempts(HANG, &[HANG, HANG]);
        assert!(attempts.contains(&(0, minute.as_millis())), "{attempts:?}");
    }
}

#[test]
fn a_router_that_lets_us_in_and_then_refuses_or_drops_us_keeps_us_from_no_other() {
    let slow = Duration::from_secs(3);
    for is_up in [false, true] {
        let mut bench = Bench::new(2);
        assert_eq!(bench.plan.poll(bench.now, || 0.0), Step::Dial(0));
        match is_up {
            false => bench.plan.reached(0),
            true => bench.connect(0),
        }
        bench.now += millis(100);
        bench.fail(0, ANYWHERE);
        // The other has all the time that it needs, and if it fails this one is next.
        let attempts = bench.attempts(millis(3300), &[HANG, slow]);
        assert_eq!(attempts, [(1, 100), (0, 3200)], "{is_up}");
    }
}

#[test]
fn of_several_that_refuse_each_lets_those_go_first_that_have_not_answered() {
    let mut bench = Bench::new(3);
    for n in [0, 1] {
        assert_eq!(bench.plan.poll(bench.now, || 0.0), Step::Dial(n));
        bench.plan.reached(n);
        bench.fail(n, ANYWHERE);
    }
    let attempts = bench.attempts(millis(5300), &[HANG, HANG, HANG * 2]);
    assert_eq!(attempts, [(2, 0), (0, 5000), (1, 5250)]);
}

#[test]
fn who_is_sent_elsewhere_comes_back_only_when_no_other_answers() {
    let mut bench = Bench::at(2, 0);
    bench.fail(0, Retry::Elsewhere(millis(300)));
    let attempts = bench.attempts(Duration::from_secs(6), &[HANG, HANG]);
    assert_eq!(attempts[0], (1, 300));
    let back = attempts.iter().find(|(n, _)| *n == 0);
    assert_eq!(back, Some(&(0, 5300)));

    let mut bench = Bench::at(2, 0);
    bench.fail(0, Retry::Elsewhere(millis(300)));
    let attempts = bench.attempts(millis(400), &[HANG, millis(10)]);
    assert_eq!(attempts, [(1, 300), (0, 310)], "the other has failed");

    let mut bench = Bench::at(1, 0);
    bench.fail(0, Retry::Elsewhere(millis(300)));
    let attempts = bench.attempts(millis(400), &[HANG]);
    assert_eq!(attempts, [(0, 300)], "there is no other");
}

#[test]
fn no_router_keeps_us_from_the_others_by_its_word() {
    let mut bench = Bench::at(2, 0);
    bench.fail(0, Retry::Elsewhere(timing::DRAIN));
    let attempts = bench.attempts(millis(1100), &[HANG, HANG]);
    assert_eq!(attempts, [(1, 1000)]);
}

#[test]
fn who_is_told_to_come_back_gives_the_router_a_second_more() {
    let mut bench = Bench::at(2, 0);
    bench.fail(0, Retry::Here(millis(700)));
    let attempts = bench.attempts(millis(1900), &[HANG, HANG]);
    assert_eq!(attempts, [(0, 700), (1, 1700)]);
}

#[test]
fn whose_place_another_has_dials_nobody() {
    let mut bench = Bench::at(3, 0);
    bench.fail(0, Retry::Nowhere(Duration::from_secs(60)));
    assert_eq!(bench.plan.pause(bench.now), Duration::from_secs(60));
    let attempts = bench.attempts(Duration::from_secs(60), &[HANG; 3]);
    assert_eq!(attempts, []);
}

#[test]
fn who_asks_for_it_is_at_once_at_all_of_them() {
    let mut bench = Bench::at(2, 0);
    bench.fail(0, Retry::Nowhere(Duration::from_secs(60)));
    bench.plan.restart(bench.now);
    let attempts = bench.attempts(millis(100), &[millis(10), HANG]);
    assert_eq!(attempts, [(0, 0), (1, 10)]);
}

#[test]
fn those_whom_a_router_has_lost_spread() {
    let mut seconds = std::collections::BTreeSet::new();
    for chance in [0.0, 0.4, 0.7, 0.999] {
        let mut plan = DialPlan::new(4);
        plan.reached(2);
        plan.connected(2, Instant::now(), || chance);
        assert_eq!(plan.order[0], 2);
        seconds.insert(plan.order[1]);
        let mut sorted = plan.order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3]);
    }
    assert_eq!(seconds.len(), 3);
}
