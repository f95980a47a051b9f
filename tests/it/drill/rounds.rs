//! The drills of many vaults in one drill vault, one after the other: the real binary in the Functions host.

use std::time::Duration;

use keyvault_backup::functions::work::MOST_DELIVERIES;
use serde_json::{Value, json};
use simulator::{
    functions_host::Twice,
    key_vault::{Effect, Fault},
    mishap::Mishap,
};

use super::{TARGET, azure_with};
use crate::local_azure::{App, LIMIT, LocalAzure};

const VAULTS: [&str; 3] = ["contoso-a", "contoso-b", "contoso-c"];

/// Three vaults with items, and an empty drill vault.
async fn three_vaults() -> LocalAzure {
    let azure = azure_with(&VAULTS).await;
    for (number, vault) in VAULTS.iter().enumerate() {
        azure.vaults.seed_numbers(vault, number * 10..number * 10 + 10);
    }
    azure
}

async fn app(azure: &LocalAzure) -> App {
    let vaults = VAULTS.join(",");
    azure.app_with(&[("BACKUP_VAULTS", &vaults), ("DRILL_VAULT", TARGET), ("DRILL_SAMPLE", "3")]).await
}

/// Every drill, in the order of vaults.
async fn drills(app: &App) -> Vec<Value> {
    let listed = app.get("api/operations?top=100").await.body["value"].as_array().unwrap().clone();
    let mut drills: Vec<Value> = listed.into_iter().filter(|row| row["kind"] == "drill").collect();
    drills.sort_by_key(|row| row["vault"].as_str().unwrap().to_owned());
    drills
}

/// Vault and status of each.
fn statuses(drills: &[Value]) -> Vec<(&str, &str)> {
    drills.iter().map(|row| ["vault", "status"].map(|field| row[field].as_str().unwrap()).into()).collect()
}

fn events<'a>(log: &'a str, name: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(&format!(r#""event":"{name}""#))).collect()
}

#[tokio::test]
async fn the_timer_drills_one_vault_after_the_other_also_behind_one_that_fails() {
    let azure = three_vaults().await;
    // The second has no backup.
    for vault in [VAULTS[0], VAULTS[2]] {
        assert_eq!(azure.run(&["backup", vault]).await.code, 0);
    }
    let before = azure.vaults.snapshot(TARGET);
    let app = app(&azure).await;
    assert!(app.host.fire("VerifyTimer").await.unwrap().succeeded());
    app.settle().await;
    let drills = drills(&app).await;
    let wanted = [(VAULTS[0], "Succeeded"), (VAULTS[1], "Failed"), (VAULTS[2], "Succeeded")];
    assert_eq!(statuses(&drills), wanted);
    let moments = |field| drills.iter().map(|row| row[field].as_str().unwrap()).collect::<Vec<_>>();
    let (started, finished) = (moments("startedDateTime"), moments("finishedDateTime"));
    assert!(finished[0] <= started[1] && finished[1] <= started[2], "one after the other: {drills:#?}");
    assert_eq!((&drills[0]["drill"]["items"], &drills[0]["drill"]["itemsInBackup"]), (&json!(3), &json!(10)));
    assert_eq!(before.differences(&azure.vaults.snapshot(TARGET)), Vec::<String>::new());

    let log = app.log();
    assert_eq!(events(&log, "drill.completed").len(), 2, "{log}");
    let [failed] = events(&log, "drill.failed")[..] else { panic!("{log}") };
    assert!(failed.contains("contoso-b") && failed.contains("No backup of vault"), "{failed}");
    azure.assert_all_known();
}

#[tokio::test]
async fn without_a_drill_vault_no_drill_is_asked_for() {
    let azure = three_vaults().await;
    let app = azure.app_with(&[("BACKUP_VAULTS", &VAULTS.join(","))]).await;
    let fired = app.host.fire("VerifyTimer").await.unwrap();
    assert!(fired.succeeded());
    app.settle().await;
    assert_eq!(drills(&app).await, Vec::<Value>::new());
    assert!(app.log().contains("Asked for the verify of 3 vaults.") && !app.log().contains("round of drills"));
}

#[tokio::test]
async fn a_message_that_is_delivered_twice_drills_nothing_twice() {
    let azure = three_vaults().await;
    for vault in VAULTS {
        assert_eq!(azure.run(&["backup", vault]).await.code, 0);
    }
    for how in [Twice::InTurn, Twice::AtOnce] {
        let app = app(&azure).await;
        let known = drills(&app).await.len();
        let message = json!({
            "operationId": uuid::Uuid::new_v4(), "kind": "drill", "vault": VAULTS[0], "round": uuid::Uuid::new_v4(),
            "createdAt": "2026-11-21T02:00:00Z"
        });
        app.host.deliver_twice("backup-jobs", how);
        app.host.enqueue("backup-jobs", &message.to_string()).await.unwrap();
        app.settle().await;
        let drills = drills(&app).await;
        assert_eq!(drills.len(), known + 3, "{drills:#?}");
        assert!(statuses(&drills).iter().all(|(_, status)| *status == "Succeeded"), "{drills:#?}");
        assert_eq!(app.host.queue_messages("backup-jobs-poison").await.unwrap(), Vec::<String>::new());
    }
    azure.assert_all_known();
}

/// The drills behind it must not wait for a drill that kills the handler each time.
#[tokio::test]
async fn the_last_delivery_of_a_drill_that_never_ends_hands_the_round_on() {
    let azure = three_vaults().await;
    for vault in [VAULTS[1], VAULTS[2]] {
        assert_eq!(azure.run(&["backup", vault]).await.code, 0);
    }
    let app = app(&azure).await;
    azure.vaults.add_fault(Fault::new(Effect::Before(Mishap::Hang)).in_vault(TARGET));
    let id = "0b6ec4a1-5b8c-4f5e-9a57-0c5d0f5b7d11";
    let message = json!({
        "operationId": id, "kind": "drill", "vault": VAULTS[1], "round": uuid::Uuid::new_v4(),
        "createdAt": "2026-11-21T02:00:00Z"
    });
    app.host.enqueue("backup-jobs", &message.to_string()).await.unwrap();
    for attempt in 1..MOST_DELIVERIES {
        let begun = async {
            while app.get(&format!("api/operations/{id}")).await.body["attempts"] != attempt {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, begun).await.expect("the next attempt begins");
        if attempt + 1 == MOST_DELIVERIES {
            azure.vaults.clear_faults();
        }
        app.host.restart_handler().await.unwrap();
    }
    app.settle().await;
    let drills = drills(&app).await;
    assert_eq!(statuses(&drills), [(VAULTS[1], "Failed"), (VAULTS[2], "Succeeded")]);
    let message = drills[0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("was begun 4 times and did not come to an end"), "{message}");
    assert_eq!(app.host.queue_messages("backup-jobs-poison").await.unwrap(), Vec::<String>::new());
}
