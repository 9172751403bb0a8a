//! What fails is tried again, later and later, and slows nothing else.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::{Daemon, PATIENCE, arrives, document, live, stack, until, wait, with_stack};
use crate::sandbox::Sandbox;

#[test]
fn failed_steps_are_retried() {
    at_once!(
        a_hanging_backend_delays_no_other_backend,
        a_backend_that_answers_in_ten_seconds_delays_no_other_backend,
        breakers_limit_calls_while_every_backend_is_down,
        a_pool_that_returns_is_reconciled,
        retries_of_an_object_back_off_until_its_spec_changes,
        a_backend_with_intermittent_failures_converges,
    );
}

/// A second backend `slow` and a volume `far` on it.
fn with_slow(sandbox: &Sandbox, backend: &str) {
    let backend = format!("apiVersion: kiln/v1\nkind: Backend\nmetadata: {{name: slow}}\nspec: {{{backend}}}\n");
    sandbox.write("specs/slow.yaml", &(backend + &document("far", "1Mi").replace("fast", "slow")));
}

fn open_breaker(daemon: &Daemon) -> Option<Value> {
    daemon.view()["openBreakers"].as_array()?.first().cloned()
}

fn a_hanging_backend_delays_no_other_backend() {
    let sandbox = with_stack("interval: 1s");
    with_slow(&sandbox, "driver: sim, sim: {path: ../sim.pool}, timeout: 1s");
    let daemon = Daemon::start(&sandbox);
    wait("its volume", || sandbox.object("volume/far")["status"]["condition"] == "Settled");
    with_slow(&sandbox, "driver: sim, sim: {path: ../sim.pool, faults: {hang: 100%}}, timeout: 1s");
    until("that it rests", || open_breaker(&daemon));
    // Each as soon as if the other were well, but for a probe that is just being waited for.
    for n in 0..5 {
        let began = Instant::now();
        sandbox.volume(&format!("near{n}"), "size: 1Mi");
        arrives(&sandbox, &format!("near{n}"));
        assert!(began.elapsed() < PATIENCE / 6, "{:?}", began.elapsed());
    }
    let status = sandbox.kiln("status").ends(6);
    assert!(status.out.contains("breaker") && status.out.contains("next probe at "), "{}", status.out);
    let rests = open_breaker(&daemon).unwrap();
    assert!(rests["failures"].as_u64() >= Some(1) && rests["nextAttemptAt"].is_string(), "{rests}");
    assert_eq!(daemon.metric("kiln_backend_up{backend=\"slow\"}"), 0.0);
    assert_eq!(daemon.metric("kiln_backend_up{backend=\"fast\"}"), 1.0);
    assert_eq!(daemon.ask("GET /healthz") + &daemon.ask("GET /readyz"), "ok\nok\n", "the daemon itself is well");
    assert_eq!(sandbox.object("volume/far")["status"]["condition"], "Unknown");
    until("a probe that hangs", || open_breaker(&daemon).filter(|rests| rests["failures"].as_u64() >= Some(2)));
    // Declared otherwise, it is taken up at once.
    let began = Instant::now();
    with_slow(&sandbox, "driver: sim, sim: {path: ../sim.pool}, timeout: 1s");
    wait("that it answers", || sandbox.object("volume/far")["status"]["condition"] == "Settled");
    assert!(began.elapsed() < PATIENCE / 6, "{:?}", began.elapsed());
    assert_eq!(open_breaker(&daemon), None);
}

/// It is never late enough for its circuit breaker.
fn a_backend_that_answers_in_ten_seconds_delays_no_other_backend() {
    let sandbox = with_stack("interval: 1s");
    with_slow(&sandbox, "driver: sim, sim: {path: ../sim.pool}");
    let daemon = Daemon::start(&sandbox);
    wait("its volume", || sandbox.object("volume/far")["status"]["condition"] == "Settled");
    with_slow(&sandbox, "driver: sim, sim: {path: ../sim.pool, faults: {slow: 100%}}");
    sandbox.write("specs/further.yaml", &document("further", "1Mi").replace("fast", "slow"));
    for n in 0..5 {
        let began = Instant::now();
        sandbox.volume(&format!("near{n}"), "size: 1Mi");
        arrives(&sandbox, &format!("near{n}"));
        assert!(began.elapsed() < PATIENCE / 6, "{:?}", began.elapsed());
    }
    let made = daemon.metric("kiln_driver_call_seconds_count{backend=\"slow\",call=\"create\",outcome=\"ok\"}");
    assert_eq!((made, open_breaker(&daemon)), (1.0, None), "only the first of its volumes");
    // It is reconciled all the same. (Each call takes ten seconds: not waited for here.)
    with_slow(&sandbox, "driver: sim, sim: {path: ../sim.pool}");
    wait("its second volume", || sandbox.object("volume/further")["status"]["condition"] == "Settled");
}

fn breakers_limit_calls_while_every_backend_is_down() {
    let sandbox = with_stack("interval: 1s");
    let text = stack("interval: 1s").replace(", create: true", "");
    sandbox.write("specs/stack.yaml", &text);
    (0..30).for_each(|n| sandbox.volume(&format!("v{n}"), "size: 1Mi"));
    with_slow(&sandbox, "driver: sim, sim: {path: ../sim.pool, faults: {error: 100%}}, timeout: 1s");
    let daemon = Daemon::start(&sandbox);
    assert!(daemon.try_ask("GET /readyz").is_none(), "they were never seen");
    assert!(daemon.try_ask("GET /healthz").is_some());
    wait("that both rest", || daemon.view()["openBreakers"].as_array().is_some_and(|all| all.len() == 2));
    let (window, began) = (Duration::from_secs(5), Instant::now());
    let (calls, passes) = (daemon.metric("kiln_driver_call_seconds_count"), daemon.passes());
    // Not for luck: it is counted what happens meanwhile.
    std::thread::sleep(window);
    let (calls, passes) = (daemon.metric("kiln_driver_call_seconds_count") - calls, daemon.passes() - passes);
    let seconds = began.elapsed().as_secs_f64();
    assert!(calls <= 2.0 * 6.0, "{calls} calls to two backends in {seconds} s");
    assert!(passes <= 2.0 * seconds + 2.0, "{passes} passes in {seconds} s");
    assert_eq!(live(&sandbox), Vec::<String>::new());
    fs::create_dir(sandbox.path("pool")).unwrap();
    wait("all of them", || live(&sandbox).len() == 30);
    wait("that one rests", || daemon.view()["openBreakers"].as_array().is_some_and(|all| all.len() == 1));
}

fn a_pool_that_returns_is_reconciled() {
    let sandbox = with_stack("interval: 1s");
    ["a", "b"].iter().for_each(|name| sandbox.volume(name, "size: 1Mi"));
    let daemon = Daemon::start(&sandbox);
    let uid = sandbox.object("volume/a")["status"]["uid"].clone();
    fs::rename(sandbox.path("pool"), sandbox.path("away")).unwrap();
    sandbox.remove("specs/b.yaml");
    sandbox.volume("new", "size: 1Mi");
    daemon.confirmation_read();
    assert!(!sandbox.has("pool"), "no other is made in its place");
    sandbox.kiln("get").ends(6);
    sandbox.kiln("status").ends(6);
    fs::rename(sandbox.path("away"), sandbox.path("pool")).unwrap();
    arrives(&sandbox, "new");
    wait("the removal", || live(&sandbox) == ["a", "new"]);
    assert_eq!(sandbox.object("volume/a")["status"]["uid"], uid);
}

/// A volume from an image, of which another content is declared than it has: its step fails, each time.
fn failing(sandbox: &Sandbox, sha256: &str) {
    sandbox.volume(
        "stuck",
        &format!("size: 1Mi, source: {{image: {{path: ../image.raw, format: raw, sha256: {sha256}}}}}"),
    );
}

fn retries_of_an_object_back_off_until_its_spec_changes() {
    let sandbox = with_stack("interval: 1s");
    sandbox.write("image.raw", &"kiln".repeat(1024));
    failing(&sandbox, &"f".repeat(64));
    let daemon = Daemon::start(&sandbox);
    let retry = |failures: u64| {
        let retries = daemon.view()["retries"].clone();
        (retries[0]["failures"].as_u64() >= Some(failures)).then_some(retries[0].clone())
    };
    let mut at = Vec::new();
    for failures in 1..=3 {
        let told = until("another failure", || retry(failures));
        at.push(Instant::now());
        assert_eq!((&told["kind"], &told["name"]), (&"Volume".into(), &"stuck".into()));
        assert!(told["nextAttemptAt"].is_string() && told["error"].as_str().unwrap().contains("sha256"), "{told}");
    }
    // Two seconds, then four: each a quarter more or less, and a poll.
    assert!(at[1] - at[0] >= Duration::from_millis(1_400) && at[2] - at[1] >= Duration::from_millis(2_900), "{at:?}");
    let status = sandbox.object("volume/stuck")["status"].clone();
    assert_eq!(status["condition"], "Failed", "{status}");
    assert!(status["message"].as_str().unwrap().contains("consecutive failures: 3; next attempt at "), "{status}");
    assert!(status["nextAttemptAt"].is_string());
    assert!(sandbox.kiln("status").out.contains("retrying    volume/stuck, consecutive failures: 3"));
    assert_eq!(daemon.metric("kiln_retrying"), 1.0);
    // What else changes is done at once, and does not try it again: not even what moves its document within its file.
    let text = fs::read_to_string(sandbox.path("specs/stuck.yaml")).unwrap();
    sandbox.write("specs/stuck.yaml", &format!("# waits for its image\n\n{text}"));
    sandbox.volume("other", "size: 1Mi");
    arrives(&sandbox, "other");
    assert!(retry(4).is_none(), "it waits its own time");
    // Eight seconds are to be waited now. Declared otherwise, it is tried at once.
    let text = fs::read(sandbox.path("image.raw")).unwrap();
    let sha256: String = sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(text))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    failing(&sandbox, &sha256);
    arrives(&sandbox, "stuck");
    assert!(at[2].elapsed() < Duration::from_secs(6), "{:?}", at[2].elapsed());
    wait("that it is forgotten", || daemon.view()["retries"] == serde_json::json!([]));
}

fn a_backend_with_intermittent_failures_converges() {
    let sandbox = with_stack("interval: 1s");
    // By this seed the first call of a process fails: dice that begin anew with each pass fail it in each.
    with_slow(&sandbox, "driver: sim, sim: {seed: 30, faults: {error: 10%}}");
    let daemon = Daemon::start(&sandbox);
    assert!(daemon.log().contains("simulated: the call failed"), "the first call met no fault: {}", daemon.log());
    wait("its volume", || sandbox.object("volume/far")["status"]["condition"] == "Settled");
}
