//! `deny.toml` against the dependencies of this build, for those who have no cargo-deny at hand.

use crate::format_docs::read;

#[test]
fn no_refused_crate_is_locked() {
    let deny = read("deny.toml");
    let refused: Vec<&str> =
        deny.lines().filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.split('"').next()).collect();
    assert!(refused.contains(&"openssl") && refused.contains(&"azure_security_keyvault"), "{refused:?}");
    let lock = read("Cargo.lock");
    for name in refused {
        assert!(!lock.contains(&format!("\nname = \"{name}\"\n")), "{name} is in Cargo.lock; deny.toml says why not");
    }
}
