//! Workers that say or do what they shouldn't: those who ask get a true answer, and the worker is
//! started again where nothing else helps.

use std::time::Duration;

use super::car::{Car, UnstartedCar};
use crate::common::{HttpAnswer, answered, asking, get, inner_config, until, until_so};

/// A car whose worker says this first, and what somebody is told who asks for what it may serve.
async fn refused(beginning: &str) -> (crate::common::World, p2p_inner::Inner, HttpAnswer) {
    refused_after(p2p_inner::WORKER_HELLO, beginning).await
}

/// The same where it has so long to say what it serves.
async fn refused_after(
    worker_hello: Duration,
    beginning: &str,
) -> (crate::common::World, p2p_inner::Inner, HttpAnswer) {
    let unstarted = UnstartedCar::with_stop().program("car", beginning);
    let config = p2p_inner::Config {
        worker_hello,
        ..inner_config(&unstarted.world)
    };
    let (inner, port) = unstarted.world.inner_with(config).await;
    let mut answer = None;
    until_so("it says why", async || {
        let refused = get(port, "/cgi?command=lights").await;
        assert_eq!(refused.verdict(), (503, "no"));
        assert!(!refused.header("retry-after").is_empty());
        let says_why = refused.text().contains("is gone (");
        answer = Some(refused);
        says_why
    })
    .await;
    // And it is tried again.
    until("another worker", || unstarted.folder().pids().len() > 1).await;
    (unstarted.world, inner, answer.unwrap())
}

#[tokio::test]
async fn one_that_says_nothing_is_told_so() {
    let (_world, _inner, answer) =
        refused_after(Duration::from_millis(500), "1 while <STDIN>;").await;
    let why = "did not say what it serves within 0.5 s";
    assert!(answer.text().contains(why), "{}", answer.text());
}

#[tokio::test]
async fn one_that_serves_nothing_is_told_so() {
    let (_world, _inner, answer) = refused("say_line({ serves => [] }); 1 while <STDIN>;").await;
    assert!(
        answer.text().contains("it serves nothing"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn one_whose_first_line_is_garbage_is_told_so() {
    let garbage = "raw(\"Starting up \\e[31m...\\n\"); 1 while <STDIN>;";
    let (_world, _inner, answer) = refused(garbage).await;
    let text = answer.text();
    assert!(
        text.contains("its first line does not say what it serves"),
        "{text}"
    );
    assert!(text.contains("Starting up"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[tokio::test]
async fn one_whose_first_line_has_no_end_is_told_so() {
    let (_world, _inner, answer) = refused("raw('x' x 100_000) while 1;").await;
    assert!(
        answer.text().contains("a line of more than"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn one_that_forks_and_leaves_is_told_so_and_leaves_nobody() {
    let leaving = "if (fork) { exit 0 } note('child', $$); sleep 1000;";
    let (world, _inner, answer) = refused(leaving).await;
    assert!(answer.text().contains("it ended with"), "{}", answer.text());
    // Its group goes with it: of all that there were, only the newest may be there.
    until("the first is gone", || {
        let text = std::fs::read_to_string(world.note("child")).unwrap_or_default();
        let Some(first) = text.lines().next() else {
            return false;
        };
        std::fs::write(world.note("first"), first).unwrap();
        !crate::common::is_alive(&world.note("first"))
    })
    .await;
}

#[tokio::test]
async fn one_that_is_not_executable_says_the_chmod_that_mends_it() {
    let unstarted = UnstartedCar::with_stop();
    let file = unstarted.folder().server("lights", "answer($r)");
    let path = unstarted.world.file("car.worker", file, 0o644);
    let (_inner, port) = unstarted.world.inner().await;
    let mend = format!("chmod +x {}", path.display());
    until_so("it says so", async || {
        let refused = get(port, "/cgi?command=lights").await;
        assert_eq!(refused.verdict(), (503, "no"));
        refused.text().contains(&mend)
    })
    .await;
    let list = get(port, "/commands").await.text();
    assert!(
        list.contains("car.worker") && list.contains(&mend),
        "{list}"
    );
    // Mended, it is there by itself, and in the list no more.
    unstarted
        .world
        .file("car.worker", std::fs::read(&path).unwrap(), 0o755);
    until_so("it serves", async || {
        get(port, "/cgi?command=lights").await.status == 200
    })
    .await;
    let list = get(port, "/commands").await.text();
    assert!(!list.contains("car.worker"), "{list}");
    // By its own name it is no command.
    assert_eq!(
        get(port, "/cgi?command=car.worker").await.verdict(),
        (404, "no")
    );
    assert_eq!(
        get(port, "/cgi?command=absent").await.verdict(),
        (404, "no")
    );
}

#[tokio::test]
async fn one_below_the_command_directory_is_not_started_and_the_list_says_so() {
    let unstarted = UnstartedCar::with_stop();
    let file = unstarted.folder().server("lights", "answer($r)");
    unstarted.world.file("deep/car.worker", file, 0o755);
    let (_inner, port) = unstarted.world.inner().await;
    let list = get(port, "/commands").await.text();
    assert!(list.contains("deep/car.worker"), "{list}");
    assert!(list.contains("move it"), "{list}");
    assert_eq!(
        get(port, "/cgi?command=lights").await.verdict(),
        (404, "no")
    );
}

#[tokio::test]
async fn a_name_that_can_be_no_command_is_not_served_and_the_others_are() {
    let car = UnstartedCar::with_stop()
        .program(
            "car",
            "say_line({ serves => ['../up', '', 'a' x 1000, 'hello', 'x/y/lights'] });
             while (my $line = <STDIN>) { answer($json->decode($line)) }",
        )
        .start("hello")
        .await;
    car.answers_hello().await;
    assert_eq!(car.run("x/y/lights").await.verdict(), (200, "yes"));
    assert_eq!(car.run("../up").await.verdict(), (400, "no"));
}

#[tokio::test]
async fn of_two_that_serve_the_same_one_does() {
    let car = UnstartedCar::with_stop()
        .worker("a", "hello first", "answer($r, output => 'a')")
        .worker("b", "hello second", "answer($r, output => 'b')")
        .start("first")
        .await;
    car.serves("second").await;
    let one = car.run("hello").await.text();
    assert!(["a", "b"].contains(&&*one), "{one}");
    for _ in 0..10 {
        assert_eq!(car.run("hello").await.text(), one);
    }
}

#[tokio::test]
async fn a_line_that_is_no_answer_is_passed_over() {
    let car = Car::with_worker(
        "hello",
        r#"raw("a stray print\n\n\x{0}\x{ff}\n[]\n");
        raw('x' x 1_000_000 . "\n");
        say_line({ serves => ['other'] });
        answer({ id => 4711 });
        answer($r, output => "hello");
        answer($r, output => "twice");"#,
    )
    .await;
    for _ in 0..30 {
        let answer = car.run("hello").await;
        assert_eq!((answer.verdict(), &*answer.text()), ((200, "yes"), "hello"));
    }
    assert_eq!(car.folder().pids().len(), 1);
    assert_eq!(car.run("other").await.status, 404);
}

#[tokio::test]
async fn an_answer_of_a_million_characters_comes_whole_and_a_longer_line_ends_the_worker() {
    let car = Car::with_worker(
        "long hello",
        "answer($r, output => $c eq 'long' ? 'x' x $r->{args}[0] : '')",
    )
    .await;
    let long = car.run("long&arg=1000000").await;
    assert_eq!((long.verdict(), long.body.len()), ((200, "yes"), 1_000_000));
    let longer = car.run("long&arg=1100000").await;
    assert_eq!(longer.verdict(), (502, "unknown"));
    let why = "a line of more than";
    assert!(longer.text().contains(why), "{}", longer.text());
    car.answers_hello().await;
    assert_eq!(car.folder().pids().len(), 2);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_told_at_once_to_whom_it_is_for() {
    let car = Car::with_worker("lights", "say_line({ id => $r->{id}, output => 42 });").await;
    let answer = car.run("lights").await;
    assert_eq!(answer.verdict(), (502, "unknown"));
    assert!(
        answer.text().contains("expected a string"),
        "{}",
        answer.text()
    );
    assert_eq!(car.run("lights").await.verdict(), (502, "unknown"));
    assert_eq!(car.folder().pids().len(), 1);
}

#[tokio::test]
async fn output_without_end_ends_the_worker_and_no_other() {
    let endless =
        |line: &str| format!("if ($c eq 'hello') {{ answer($r) }} else {{ raw({line}) while 1 }}");
    let car = UnstartedCar::with_stop()
        .worker("lines", "lines", &endless("\"x\\n\" x 1000"))
        .worker("line", "line", &endless("'x' x 1000"))
        .worker("car", "hello", "answer($r)")
        .start("hello")
        .await;
    for (command, why) in [
        ("lines", "lines in a row that are no answers"),
        ("line", "a line of more than"),
    ] {
        car.serves(command).await;
        let lost = car.run(command).await;
        assert_eq!(lost.verdict(), (502, "unknown"));
        assert!(lost.text().contains(why), "{}", lost.text());
        assert_eq!(car.run("hello").await.verdict(), (200, "yes"));
    }
}

#[tokio::test]
async fn one_that_complains_without_end_is_heard_as_far_as_somebody_could_read() {
    let car = Car::with_worker(
        "hello",
        r#"syswrite STDERR, 'x' x 100_000 for 1..30;
        syswrite STDERR, "\n\e[31mred\n";
        syswrite STDERR, "line\n" x 10_000;
        answer($r, output => 'hello');"#,
    )
    .await;
    for _ in 0..3 {
        let answer = car.run("hello").await;
        assert_eq!((answer.verdict(), &*answer.text()), ((200, "yes"), "hello"));
    }
    assert_eq!(car.folder().pids().len(), 1);
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_its_time_ends_the_worker_and_what_else_it_had() {
    let unstarted = UnstartedCar::with_stop().worker(
        "car",
        "wait hello",
        "note('did', 'waits') if $c eq 'wait'; answer($r) if $c eq 'hello'",
    );
    let config = p2p_inner::Config {
        timeout: Duration::from_millis(1500),
        ..inner_config(&unstarted.world)
    };
    let car = unstarted.start_with(config, "wait").await;
    let first = asking(car.port, "/cgi?command=wait");
    car.does("waits").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let second = asking(car.port, "/cgi?command=wait");
    // It answers others meanwhile: that saves it not.
    assert_eq!(car.run("hello").await.verdict(), (200, "yes"));
    assert_eq!(answered(first).await.verdict(), (504, "yes"));
    let lost = answered(second).await;
    assert_eq!(lost.verdict(), (502, "unknown"));
    let why = "did not answer within 1.5 s";
    assert!(lost.text().contains(why), "{}", lost.text());
    assert!(lost.text().contains("look before you run it again"));
    car.answers_hello().await;
    until("it is killed", || !car.lives(0)).await;
}

#[tokio::test]
async fn one_that_dies_at_each_request_is_started_again_ever_later_and_says_why_meanwhile() {
    let car = Car::with_worker("lights", "exit 3").await;
    let mut deaths = 0;
    let mut pauses = Vec::new();
    let began = std::time::Instant::now();
    until_so("it waits longer and longer", async || {
        let answer = car.run("lights").await;
        match answer.verdict() {
            (502, "unknown") => {
                deaths += 1;
                assert!(
                    answer.text().contains("it ended with exit code 3")
                        || answer.text().contains("ended with 3"),
                    "{}",
                    answer.text()
                );
            }
            (503, "no") if answer.text().contains("is starting") => {}
            (503, "no") => {
                let text = answer.text();
                assert!(!answer.header("retry-after").is_empty());
                let (_, pause) = text.rsplit_once("started again in ").unwrap();
                let pause: f32 = pause.trim().trim_end_matches(" s").parse().unwrap();
                if pauses.last() != Some(&pause) {
                    pauses.push(pause);
                }
            }
            other => panic!("{other:?}"),
        }
        pauses.len() >= 4
    })
    .await;
    assert!(pauses.windows(2).all(|two| two[0] < two[1]), "{pauses:?}");
    assert!(began.elapsed() >= Duration::from_millis(200 + 400 + 800));
    assert!(deaths >= 3, "{deaths}");
}
