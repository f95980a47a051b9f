//! Lists.

use serde_json::{Value, json};
use simulator::key_vault::{Kind, VaultOptions};

use crate::bench::Bench;

#[tokio::test(start_paused = true)]
async fn list_has_pages_of_25_in_the_order_of_upper_cased_names() {
    let bench = Bench::new();
    for number in (0..60).rev() {
        bench.vaults.set_secret("contoso", &format!("{}-{number:02}", ["a", "B"][number % 2]), "value");
    }
    let pages = bench.pages("contoso/secrets").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [25, 25, 10]);
    let names: Vec<_> = pages.concat().iter().map(name).collect();
    assert!(names.is_sorted_by_key(|it| it.to_uppercase()), "{names:?}");
    assert_eq!(names.len(), 60);
}

#[tokio::test(start_paused = true)]
async fn page_of_deleted_rows_is_empty_and_has_a_next_link() {
    let bench = Bench::new();
    bench.vaults.seed("contoso", 100);
    for number in 0..100 {
        if number % 10 < 4 {
            bench.vaults.delete_now("contoso", Kind::Secret, &format!("secret-{number:05}"));
        }
    }
    bench.vaults.set_secret("contoso", "zebra", "stripes");
    let pages = bench.pages("contoso/secrets").await;
    // 30 managed secrets come first, then 40 deleted ones.
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [25, 5, 1]);
    let lone = bench.pages("contoso/secrets?maxresults=10").await;
    assert_eq!(lone.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 10, 0, 0, 0, 0, 1]);
    assert_eq!(bench.pages("contoso/deletedsecrets").await.concat().len(), 40);
}

#[tokio::test(start_paused = true)]
async fn versions_have_pages_too() {
    let bench = Bench::new();
    bench.vaults.set_secret_versions("contoso", "apple", 30);
    let pages = bench.pages("contoso/secrets/apple/versions").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [25, 5]);
    let ids: Vec<_> = pages.concat().iter().map(|it| it["id"].to_string()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn page_size_outside_1_to_25_is_a_bad_parameter() {
    let bench = Bench::new();
    for size in ["0", "26", "-1", "many"] {
        let answer = bench.ask("GET", &format!("contoso/keys?maxresults={size}"), None).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "BadParameter"), "{size}");
    }
    assert_eq!(bench.vaults.unknown_requests(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn next_link_names_the_port_and_repeats_the_page_size() {
    let bench = Bench::new();
    bench.vaults.seed("contoso", 10);
    let page = bench.ask("GET", "contoso/keys?api-version=7.4&maxresults=2", None).await;
    let link = page.body["nextLink"].as_str().expect("there is another page");
    assert!(link.starts_with("https://contoso.vault.azure.net:443/keys?api-version=7.4&$skiptoken="), "{link}");
    assert!(link.ends_with("&maxresults=2"), "{link}");
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_certificates_is_listed_as_managed() {
    let bench = Bench::with(VaultOptions { name: "Contoso".to_owned(), ..Default::default() });
    let seeded = bench.vaults.seed("contoso", 50);
    assert_eq!((seeded.secrets, seeded.keys, seeded.certificates), (20, 15, 15));
    for (kind, own) in [("secrets", 20), ("keys", 15)] {
        let all = bench.pages(&format!("contoso/{kind}")).await.concat();
        let (managed, free): (Vec<Value>, Vec<Value>) = all.into_iter().partition(|it| it["managed"] == json!(true));
        assert_eq!((managed.len(), free.len()), (15, own), "{kind}");
        assert!(free.iter().all(|it| it.get("managed").is_none()), "{kind}");
    }
    assert_eq!(bench.pages("contoso/certificates").await.concat().len(), 15);
}

fn name(row: &Value) -> String {
    row["id"].as_str().and_then(|it| it.split('/').nth(4)).expect("a row has an id").to_owned()
}
