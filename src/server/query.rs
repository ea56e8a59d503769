//! Answers to `CPQ`: host data only as far as the configuration allows it.
//!
//! A query that is known but not allowed is answered as the field does when there is nothing to tell: `X: N/A`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Gateway;
use crate::display::shown;
use crate::proto::Query;

/// Lines of the message of the day that are sent, and bytes a line.
const LOGMSG_LINES: usize = 20;
const LOGMSG_LINE: usize = 160;

/// The lines of the answer.
pub(crate) fn answer(gateway: &Gateway, query: &Query, now: Timestamp) -> Vec<String> {
    let live = gateway.live();
    let name = query.name();
    if !live
        .config
        .query
        .allow
        .iter()
        .any(|allowed| Query::named(allowed).is_some_and(|q| q.name() == name))
    {
        return vec![not_available(query)];
    }
    match query {
        Query::Time => {
            let time = now
                .to_zoned(TimeZone::UTC)
                .strftime("TIME IS %H:%M:%S GMT %a %Y-%m-%d")
                .to_string();
            vec![time]
        }
        Query::CpLevel => vec![format!("uftd {}", env!("CARGO_PKG_VERSION"))],
        Query::CpuId => vec![format!("CPUID = {}", live.config.node)],
        Query::LogMsg => log_message(&live.config.query.logmsg_file),
        Query::Files => {
            let totals = gateway.spool.totals();
            vec![format!("FILES: {} UNREAD, {} BYTES", totals.items, totals.bytes)]
        }
        Query::Indicate => vec![format!("INDICATE: {} SESSIONS", gateway.sessions())],
        Query::Names | Query::Users => {
            let mut names: Vec<String> = gateway
                .notices
                .watching()
                .iter()
                .map(ToString::to_string)
                .collect();
            names.sort();
            if matches!(query, Query::Users) {
                vec![format!("USERS: {}", names.len())]
            } else {
                vec![format!("NAMES: {}", names.join(" "))]
            }
        }
        Query::User(user) => {
            let watching = gateway
                .notices
                .watching()
                .iter()
                .any(|name| name.as_str().eq_ignore_ascii_case(user));
            vec![format!(
                "{}: {}",
                shown(user),
                if watching { "LOGGED ON" } else { "NOT LOGGED ON" }
            )]
        }
        Query::Certificate => Vec::new(),
    }
}

fn not_available(query: &Query) -> String {
    match query {
        Query::CpuId => "CPUID = N/A".to_owned(),
        _ => format!("{}: N/A", query.name()),
    }
}

fn log_message(path: &std::path::Path) -> Vec<String> {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match text {
        Ok(text) => text
            .lines()
            .take(LOGMSG_LINES)
            .map(|line| line.chars().take(LOGMSG_LINE).collect())
            .collect(),
        Err(_) => vec!["LOGMSG: N/A".to_owned()],
    }
}
