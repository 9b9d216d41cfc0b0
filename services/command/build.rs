//! Builds the crate anew when a migration comes: `sqlx::migrate!` does not see that by itself.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
