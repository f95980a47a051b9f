//! Throttling.

use std::time::Duration;

use serde_json::json;
use simulator::key_vault::{Throttling, VaultOptions, Window};

use crate::bench::Bench;

/// A hundredth of the documented limits: 40 requests, 3 creations in ten seconds.
const HUNDREDTH: Throttling = Throttling { scale: 0.01, retry_after: None };

#[tokio::test(start_paused = true)]
async fn vault_answers_429_beyond_its_limit_until_the_next_window() {
    let bench = Bench::new();
    bench.vaults.set_secret("contoso", "apple", "red");
    bench.vaults.set_throttling("contoso", Some(HUNDREDTH));
    for _ in 0..40 {
        assert_eq!(bench.ask("POST", "contoso/secrets/apple/backup", None).await.status, 200);
    }
    let refused = bench.ask("POST", "contoso/secrets/apple/backup", None).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (429, "Throttled"));
    assert!(refused.message().ends_with("Reason: VaultRequestTypeLimitReached"));
    assert_eq!(refused.headers.get("retry-after"), None);
    let set = bench.ask("PUT", "contoso/secrets/apple", Some(json!({"value": "green"}))).await;
    assert_eq!(set.status, 200, "setting has a limit of its own");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(bench.ask("POST", "contoso/secrets/apple/backup", None).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_slides_gives_back_each_request_after_ten_seconds() {
    let bench = Bench::new();
    bench.vaults.set_throttling("contoso", Some(HUNDREDTH));
    bench.vaults.set_window("contoso", Window::Sliding);
    let mut answered = Vec::new();
    for _second in 0..25 {
        let mut now = 0;
        while now < 30 && bench.ask("GET", "contoso/secrets", None).await.status == 200 {
            now += 1;
        }
        answered.push(now);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let mut expected = vec![0; 25];
    for start in [0, 10, 20] {
        (expected[start], expected[start + 1]) = (30, 10);
    }
    assert_eq!(answered, expected);
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_capacity_wait_in_a_queue() {
    let bench = Bench::new();
    bench.vaults.set_capacity("contoso", Some(100.0));
    let start = tokio::time::Instant::now();
    let asked = (0..50).map(|_| bench.ask("GET", "contoso/secrets", None));
    futures::future::join_all(asked).await;
    let took = start.elapsed().as_millis();
    assert!((490..=500).contains(&took), "the last of fifty waited for {took} ms");
}

#[tokio::test(start_paused = true)]
async fn restores_share_the_small_limit_with_sets() {
    let bench = Bench::new();
    bench.vaults.set_throttling("contoso", Some(Throttling { retry_after: Some(7), ..HUNDREDTH }));
    for _ in 0..3 {
        bench.ask("PUT", "contoso/secrets/apple", Some(json!({"value": "red"}))).await;
    }
    let backup = bench.ask("POST", "contoso/secrets/apple/backup", None).await.body;
    let refused = bench.ask("POST", "contoso/secrets/restore", Some(backup)).await;
    assert_eq!((refused.status.as_u16(), &refused.headers["retry-after"]), (429, &"7".parse().expect("ASCII")));
}

#[tokio::test(start_paused = true)]
async fn big_keys_and_hsms_weigh_more() {
    let bench = Bench::new();
    for (name, body, per_window) in [
        ("small", json!({"kty": "RSA"}), 40),
        ("medium", json!({"kty": "RSA", "key_size": 3072}), 10),
        ("large", json!({"kty": "RSA", "key_size": 4096}), 5),
        ("hsm", json!({"kty": "RSA-HSM"}), 20),
        ("curve", json!({"kty": "EC-HSM"}), 20),
    ] {
        bench.vaults.set_throttling("contoso", None);
        assert_eq!(bench.ask("POST", &format!("contoso/keys/{name}/create"), Some(body)).await.status, 200);
        bench.vaults.set_throttling("contoso", Some(HUNDREDTH));
        tokio::time::advance(Duration::from_secs(10)).await;
        let mut answered = 0;
        while bench.ask("GET", &format!("contoso/keys/{name}"), None).await.status == 200 {
            answered += 1;
        }
        assert_eq!(answered, per_window, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn vaults_of_a_subscription_share_five_times_the_limit() {
    let bench = Bench::new();
    let mut answered = 0;
    for number in 0..8 {
        let name = format!("vault-{number}");
        bench.add(VaultOptions { name: name.clone(), ..Default::default() });
        bench.vaults.set_throttling(&name, Some(HUNDREDTH));
        while bench.ask("GET", &format!("{name}/secrets"), None).await.status == 200 {
            answered += 1;
        }
    }
    // Five times forty: what five vaults may, whichever vaults ask.
    assert_eq!(answered, 200);
}

#[tokio::test(start_paused = true)]
async fn what_was_let_through_is_added_up_by_weight_over_all_windows() {
    let bench = Bench::new();
    assert_eq!(bench.ask("POST", "contoso/keys/hsm/create", Some(json!({"kty": "EC-HSM"}))).await.status, 200);
    bench.vaults.set_throttling("contoso", Some(HUNDREDTH));
    for _ in 0..2 {
        tokio::time::advance(Duration::from_secs(10)).await;
        while bench.ask("GET", "contoso/keys/hsm", None).await.status == 200 {}
    }
    assert!((bench.vaults.quota_granted("contoso") - 80.0).abs() < 0.01, "{}", bench.vaults.quota_granted("contoso"));
}
