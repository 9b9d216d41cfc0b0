//! Imports run downhill, and the two services never see each other.

use super::finding::Finding;
use super::rust_code::{Kind, Token, tokens};
use super::sources::SourceFile;

const DOWNHILL: &str = "imports-downhill";
const STRANGERS: &str = "services-are-strangers";
const CHASSIS: &str = "chassis-knows-no-sale";
const SQL_IN_STORE: &str = "sql-in-store";

const SERVICES: [&str; 2] = ["services/command/", "services/query/"];

/// A room of a service and what lies uphill of it.
struct Room {
    name: &'static str,
    /// Rooms of the same service that it must not name.
    rooms: &'static [&'static str],
    /// Crates that it must not name.
    crates: &'static [&'static str],
}

const WIRE: &[&str] = &["tonic", "prost", "prost_types", "tandem_proto"];

const ROOMS: [Room; 9] = [
    Room {
        name: "domain",
        rooms: &["grpc", "commit", "import", "store", "freshness", "lookup", "rollup", "live", "observation"],
        crates: &["sqlx", "tonic", "prost", "prost_types", "tandem_proto"],
    },
    Room {
        name: "store",
        rooms: &["grpc", "commit", "import", "freshness", "lookup", "rollup", "live", "observation"],
        crates: WIRE,
    },
    Room { name: "commit", rooms: &["grpc", "import"], crates: WIRE },
    Room { name: "import", rooms: &["grpc", "commit"], crates: WIRE },
    Room { name: "freshness", rooms: &["grpc", "lookup", "live", "observation"], crates: WIRE },
    Room { name: "lookup", rooms: &["grpc", "freshness", "rollup", "live", "observation"], crates: WIRE },
    Room { name: "observation", rooms: &["grpc", "live", "rollup"], crates: WIRE },
    Room { name: "rollup", rooms: &["grpc", "live"], crates: WIRE },
    Room { name: "live", rooms: &["grpc", "rollup"], crates: WIRE },
];

/// Only these may name sqlx in a service: the store, and the wiring that opens pools and runs migrations.
const MAY_NAME_SQLX: [&str; 5] = ["store/", "store.rs", "main.rs", "serve.rs", "migrate.rs"];

/// A room with its own fence: crates that may see both services.
const SEES_BOTH: [&str; 2] = ["tests/", "xtask/"];

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        if file.path.starts_with("services/chassis/") {
            chassis(file, &mut findings);
        }
        if file.is_rust() {
            let tokens = tokens(&file.text);
            strangers(file, &tokens, &mut findings);
            for service in SERVICES {
                if let Some(path) = file.path.strip_prefix(service).and_then(|path| path.strip_prefix("src/")) {
                    downhill(file, path, &tokens, &mut findings);
                    sql_in_store(file, path, &tokens, &mut findings);
                }
            }
        }
    }
    findings
}

fn finding(file: &SourceFile, line: usize, rule: &'static str, advice: String) -> Finding {
    Finding { file: file.path.clone(), line, rule, advice }
}

fn downhill(file: &SourceFile, path: &str, tokens: &[Token], findings: &mut Vec<Finding>) {
    let at = |name: &str| path.starts_with(&format!("{name}/")) || path == format!("{name}.rs");
    let Some(room) = ROOMS.iter().find(|room| at(room.name)) else { return };
    let name = room.name;
    for (line, found) in crate_paths(tokens) {
        if room.rooms.contains(&found) {
            let advice = format!("`{name}` must not know `{found}`: move what it needs downhill, or pass it in");
            findings.push(finding(file, line, DOWNHILL, advice));
        }
    }
    for token in tokens {
        if let Kind::Name(found) = &token.kind
            && room.crates.contains(&found.as_str())
        {
            let advice = format!("`{name}` must not name `{found}`: convert at the edge, in `grpc` or `store`");
            findings.push(finding(file, token.line, DOWNHILL, advice));
        }
    }
}

/// The first name behind each `crate::`, also of each branch in `crate::{…}`.
fn crate_paths(tokens: &[Token]) -> Vec<(usize, &str)> {
    let mut paths = Vec::new();
    for (start, window) in tokens.windows(4).enumerate() {
        let [Token { kind: Kind::Name(root), .. }, colon, other, next] = window else { continue };
        if root != "crate" || colon.kind != Kind::Mark(':') || other.kind != Kind::Mark(':') {
            continue;
        }
        match &next.kind {
            Kind::Name(name) => paths.push((next.line, name.as_str())),
            Kind::Open => paths.extend(branches(&tokens[start + 4..])),
            _ => {}
        }
    }
    paths
}

/// The first name of each branch of an import group, up to the group's end.
fn branches(tokens: &[Token]) -> Vec<(usize, &str)> {
    let mut branches = Vec::new();
    let (mut depth, mut at_start) = (0, true);
    for token in tokens {
        match &token.kind {
            Kind::Open => depth += 1,
            Kind::Close if depth == 0 => break,
            Kind::Close => depth -= 1,
            Kind::Mark(',') if depth == 0 => at_start = true,
            Kind::Name(name) if depth == 0 && at_start => {
                branches.push((token.line, name.as_str()));
                at_start = false;
            }
            _ => {}
        }
    }
    branches
}

fn sql_in_store(file: &SourceFile, path: &str, tokens: &[Token], findings: &mut Vec<Finding>) {
    if MAY_NAME_SQLX.iter().any(|allowed| path == *allowed || (allowed.ends_with('/') && path.starts_with(allowed))) {
        return;
    }
    // The domain has a rule of its own, with advice of its own.
    if path.starts_with("domain/") {
        return;
    }
    let named = tokens.iter().filter(|token| token.kind == Kind::Name("sqlx".to_owned()));
    findings.extend(named.map(|token| {
        let advice = "only `store` names sqlx: put the query there, and what it needs into its signature";
        finding(file, token.line, SQL_IN_STORE, advice.to_owned())
    }));
}

fn strangers(file: &SourceFile, tokens: &[Token], findings: &mut Vec<Finding>) {
    let forbidden: &[&str] = match &file.path {
        path if SEES_BOTH.iter().any(|both| path.starts_with(both)) => &[],
        path if path.starts_with("services/command/") => &["tandem_query"],
        path if path.starts_with("services/query/") => &["tandem_command"],
        _ => &["tandem_command", "tandem_query"],
    };
    for token in tokens {
        if let Kind::Name(name) = &token.kind
            && forbidden.contains(&name.as_str())
        {
            let advice = format!("only tests and xtask see both services: do without `{name}`");
            findings.push(finding(file, token.line, STRANGERS, advice));
        }
    }
}

fn chassis(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (line, text) in (1..).zip(file.text.lines()) {
        if text.to_lowercase().contains(concat!("sa", "le")) {
            let advice = "the chassis carries any service: say it without this one's trade".to_owned();
            findings.push(finding(file, line, CHASSIS, advice));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sources::file;
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        check(&[file(path, text)]).into_iter().map(|finding| (finding.line, finding.rule)).collect()
    }

    #[test]
    fn the_domain_names_no_driver_no_wire_and_no_other_room() {
        let path = "services/command/src/domain/sale.rs";
        assert_eq!(found(path, "use sqlx::PgPool;"), [(1, DOWNHILL)]);
        assert_eq!(found(path, "fn f() { prost::Message; }"), [(1, DOWNHILL)]);
        assert_eq!(found(path, "use crate::store::Sale;"), [(1, DOWNHILL)]);
        assert_eq!(found(path, "use crate::domain::Money;\nuse rust_decimal::Decimal;"), []);
    }

    #[test]
    fn the_store_names_the_domain_and_nothing_uphill() {
        let path = "services/query/src/store/sale.rs";
        assert_eq!(found(path, "use sqlx::PgPool;\nuse crate::domain::Sale;"), []);
        assert_eq!(found(path, "use crate::{\n    domain::{Sale, grpc},\n    grpc::Error,\n};"), [(3, DOWNHILL)]);
        assert_eq!(found(path, "fn f() -> tonic::Status {}"), [(1, DOWNHILL)]);
        assert_eq!(found(path, "fn f() { crate::freshness::wait() }"), [(1, DOWNHILL)]);
    }

    #[test]
    fn grpc_may_name_everything_but_sqlx() {
        let path = "services/command/src/grpc/mod.rs";
        assert_eq!(found(path, "use crate::{commit, domain, store};\nuse tonic::Status;"), []);
        assert_eq!(found(path, "fn f(e: sqlx::Error) {}"), [(1, SQL_IN_STORE)]);
    }

    #[test]
    fn the_wiring_may_name_sqlx_and_other_rooms_may_not() {
        assert_eq!(found("services/query/src/serve.rs", "use sqlx::PgPool;"), []);
        assert_eq!(found("services/query/src/freshness/token.rs", "use sqlx::PgPool;"), [(1, SQL_IN_STORE)]);
        assert_eq!(found("services/replication/src/slot.rs", "use sqlx::PgPool;"), []);
    }

    #[test]
    fn services_and_what_they_share_never_name_a_service() {
        assert_eq!(found("services/command/src/main.rs", "use tandem_query::serve;"), [(1, STRANGERS)]);
        assert_eq!(found("services/query/src/main.rs", "use tandem_command::serve;"), [(1, STRANGERS)]);
        assert_eq!(found("services/replication/src/lib.rs", "use tandem_command::serve;"), [(1, STRANGERS)]);
        assert_eq!(found("tests/src/lib.rs", "use tandem_command::serve;\nuse tandem_query::serve;"), []);
        // A role of the database has the same name; text is no import.
        assert_eq!(found("services/command/src/main.rs", "const ROLE: &str = \"tandem_query\";"), []);
    }

    #[test]
    fn the_chassis_does_not_say_what_is_sold() {
        let text = format!("//! Serves.\n// A {}.\n", concat!("Sa", "le"));
        assert_eq!(found("services/chassis/src/lib.rs", &text), [(2, CHASSIS)]);
        assert_eq!(found("services/command/src/lib.rs", &text), []);
    }
}
